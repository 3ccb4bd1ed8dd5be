"""Reading a topic from its beginning when the log has only the end of it: the union of lake and log, by librdkafka.

Seen failing: with the last offset before the log left out of what is read from the table (broker/src/lake/history.rs), over local files;
with a row skipped where a fetch goes on in rows that were read before, over local files and S3.
"""

import random
import threading
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

PATIENCE = 90
HISTORY = {"weir_lake_history_reads": "true", "weir_lake_gate_retention": "true"}


class Gap(AssertionError):
    """A reader saw something else than the log had."""


def consumer(bootstrap: str) -> Consumer:
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False,
        # An offset that is nowhere is an error, and not a reason to begin elsewhere.
        "auto.offset.reset": "error",
        # Many fetches, so that much happens between two of them.
        "fetch.message.max.bytes": 16_384, "queued.max.messages.kbytes": 64, "reconnect.backoff.max.ms": 200,
    })


def read_through(bootstrap: str, topic: str, sent: dict, progress=None) -> int:
    """Reads all of `sent` from offset 0 of each partition on, and stops there: each offset once, in order, as it was produced."""
    ends: dict[int, int] = {}
    for partition, offset in sent:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    reader, next_of, read = consumer(bootstrap), dict.fromkeys(ends, 0), 0
    reader.assign([TopicPartition(topic, partition, 0) for partition in ends])
    deadline = time.monotonic() + PATIENCE
    try:
        while any(next_of[partition] < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise Gap(f"at {next_of} of {ends} after {PATIENCE} s")
            message = reader.poll(0.5)
            if message is None:
                continue
            if message.error():
                # While the broker is away; librdkafka goes on by itself.
                if message.error().code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._PARTITION_EOF):
                    continue
                raise Gap(f"at {next_of}: {message.error()}")
            partition, offset = message.partition(), message.offset()
            if offset >= ends[partition]:
                continue  # produced since
            if offset != next_of[partition]:
                raise Gap(f"partition {partition}: offset {offset} came instead of {next_of[partition]}")
            row = sent[partition, offset]
            found = (message.key(), message.value(), tuple(message.headers() or ()), message.timestamp()[1])
            if found != (row.key, row.value, tuple(row.headers), row.timestamp):
                raise Gap(f"partition {partition} offset {offset}: {found} instead of {row}")
            next_of[partition], read = offset + 1, read + 1
            if progress:
                progress(read)
    finally:
        reader.close()
    return read


def log_starts(bootstrap: str, topic: str, partitions: int) -> list[int]:
    """Where a topic that reads no history begins."""
    reader = consumer(bootstrap)
    try:
        return [reader.get_watermark_offsets(TopicPartition(topic, n), timeout=30)[0] for n in range(partitions)]
    finally:
        reader.close()


def read_under_kills(check, ctx, topic: str, kill, aged, turns: int, rows_a_turn: int, seed: int) -> None:
    """Produces, lets retention take what is in the lake, and reads all of it again from the beginning, while `kill` ends the broker with
    kill -9 and starts it anew somewhere in the middle of each reading; `aged` waits until the log has nothing of it any more."""
    luck, at = random.Random(seed), 0
    for _ in range(turns):
        ctx.produce(check, topic, ctx.rows[at : at + rows_a_turn], **{"enable.idempotence": True})
        at += rows_a_turn
        # These are tiered, and taken from the log, while they are read; those of earlier turns are in the lake only.
        sent, struck = dict(ctx.sent[topic]), threading.Event()
        when, killed = luck.randrange(len(sent) // 10, len(sent) * 9 // 10), []

        def progress(read: int, when=when, struck=struck) -> None:
            if read >= when:
                struck.set()

        def kill_once(struck=struck, killed=killed) -> None:
            if struck.wait(PATIENCE):
                kill()
                killed.append(True)

        killer = threading.Thread(target=kill_once)
        killer.start()
        read = read_through(ctx.bootstrap, topic, sent, progress)
        killer.join()
        check.equal("killed in the middle", killed, [True])
        check.equal("records, each once", read, len(sent))
        check.consumed += read
        check.compared += read
        aged(check, ctx, topic)
