"""Exactly once under kill -9 of the broker and of the clients.

    txn_crash.py --weir BINARY [--cycles 12] [--seed 1]

Workers (processes of their own, librdkafka) read rows, write each to another topic and commit their offsets in one
transaction; some transactions are aborted on purpose and hold rows that must never be seen. In each cycle the broker, a
worker, or both are killed with SIGKILL and started again. The oracle is what this process was acknowledged as input: at the
end every row is in the output once. Prints a line of counts as the client suites do, and {"counts": ...} last.

Seen failing: with the offsets committed beside the transaction 73 of 4,800 rows were lost; with a reader of uncommitted data
289 aborted rows were seen.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
WORKERS = 2
GROUP = "txn-crash"
ABORTED = b"ABORTED:"
ABORT_SHARE = 0.15
# librdkafka's issue 5511: when all brokers were down it starts from its bootstrap servers anew (KIP-1102) and drops the broker that
# it knows as the group's coordinator, but goes on waiting for that one: send_offsets_to_transaction never returns, and nothing is
# sent. Measured with 2.16.0 and a broker that restarts two or three times within two seconds: stuck after 7 and 11 kills; without
# re-bootstrapping not after 76.
NO_REBOOTSTRAP = {"metadata.recovery.strategy": "none"}


def consumer_of(bootstrap: str, **more) -> Consumer:
    return Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "enable.auto.commit": False,
                     "isolation.level": "read_committed", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50,
                     "reconnect.backoff.max.ms": 200, "log_level": 0, **more})


def patiently(call, seconds: float = 60):
    """Calls until it succeeds: the broker may be down. What is fatal or needs an abort is the caller's."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except KafkaException as error:
            problem = error.args[0]
            if problem.fatal() or problem.txn_requires_abort() or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Worker:
    """Owns every WORKERS-th partition. The transactional id fences the process before, whatever became of it."""

    def __init__(self, bootstrap: str, number: int, seed: int):
        self.random = random.Random(seed)
        self.parts = [p for p in range(PARTITIONS) if p % WORKERS == number]
        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"crash-{number}",
                                  "transaction.timeout.ms": 20_000, "linger.ms": 1, "reconnect.backoff.max.ms": 200,
                                  "log_level": 0, **NO_REBOOTSTRAP})
        patiently(lambda: self.producer.init_transactions(10))
        self.consumer = consumer_of(bootstrap)
        self.rewind()

    def rewind(self) -> None:
        """To what is committed: everything after it was aborted."""
        parts = [TopicPartition("in", p) for p in self.parts]
        committed = patiently(lambda: self.consumer.committed(parts, timeout=10))
        self.consumer.assign([TopicPartition("in", p.partition, max(p.offset, 0)) for p in committed])

    def write(self, values: list[tuple[int, bytes]]) -> None:
        self.producer.begin_transaction()
        for partition, value in values:
            self.producer.produce("out", value, partition=partition)

    def step(self) -> None:
        messages = [m for m in self.consumer.consume(self.random.randint(1, 60), 0.2) if not m.error()]
        if not messages:
            return
        try:
            if self.random.random() < ABORT_SHARE:
                self.write([(m.partition(), ABORTED + m.value()) for m in messages])
                self.producer.flush(self.random.choice([0, 0.05, 5]))
                patiently(lambda: self.producer.abort_transaction(10))
            self.write([(m.partition(), m.value()) for m in messages])
            ends = {m.partition(): m.offset() + 1 for m in messages}
            parts = [TopicPartition("in", p, offset) for p, offset in ends.items()]
            metadata = self.consumer.consumer_group_metadata()
            patiently(lambda: self.producer.send_offsets_to_transaction(parts, metadata, 10))
            patiently(lambda: self.producer.commit_transaction(10))
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            patiently(lambda: self.producer.abort_transaction(10))
            self.rewind()

    def run(self) -> None:
        while True:
            self.step()


class Run:
    def __init__(self, weir: str, seed: int, folder: Path):
        self.weir, self.folder = weir, folder
        self.random = random.Random(seed)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.broker, self.workers = None, {}
        self.counts = Counter(broker_kills=0, client_kills=0, client_exits=0)

    def start_broker(self) -> None:
        log = open(self.folder / "weir.log", "ab")
        self.broker = subprocess.Popen(
            [self.weir, "serve", "--data-dir", self.folder / "data", "--listen", f"kafka://{self.bootstrap}",
             "--http", "127.0.0.1:0", "--registry", "off", "--set", "wal.file.bytes=1MiB", "--set", "wal.max.bytes=4MiB",
             "--set", "merge.partition.bytes=64KiB"], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.broker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"weir did not start, see {self.folder / 'weir.log'}")
            time.sleep(0.02)

    def start_worker(self, number: int) -> None:
        log = open(self.folder / f"worker{number}.log", "ab")
        command = [sys.executable, __file__, "--worker", str(number), "--bootstrap", self.bootstrap,
                   "--seed", str(self.random.randrange(1 << 30))]
        self.workers[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, process) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def tend(self) -> None:
        """A worker that was fenced or found no way out ends by itself; the next one takes over."""
        for number, worker in list(self.workers.items()):
            if worker.poll() is not None:
                self.counts["client_exits"] += 1
                self.start_worker(number)

    def cycle(self) -> None:
        until = time.monotonic() + self.random.uniform(0.3, 2.0)
        while time.monotonic() < until:
            self.tend()
            time.sleep(0.05)
        what = self.random.choice(["broker", "worker", "both"])
        if what != "broker":
            number = self.random.randrange(WORKERS)
            self.kill(self.workers[number])
            self.counts["client_kills"] += 1
            self.start_worker(number)
        if what != "worker":
            self.kill(self.broker)
            self.counts["broker_kills"] += 1
            self.start_broker()

    def stop(self) -> None:
        for process in [*self.workers.values(), self.broker]:
            if process is not None and process.poll() is None:
                self.kill(process)

    def wait_for_workers(self, ends: dict[int, int]) -> None:
        consumer = consumer_of(self.bootstrap)
        deadline = time.monotonic() + 120
        while True:
            parts = patiently(lambda: consumer.committed([TopicPartition("in", p) for p in ends], timeout=10))
            left = {p.partition: ends[p.partition] - max(p.offset, 0) for p in parts}
            if not any(left.values()):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"rows not processed, by partition: {left}")
            self.tend()
            time.sleep(0.2)
        consumer.close()

    def output(self) -> list[bytes]:
        consumer = consumer_of(self.bootstrap, **{"enable.partition.eof": True})
        consumer.assign([TopicPartition("out", p, 0) for p in range(PARTITIONS)])
        values, reading = [], set(range(PARTITIONS))
        deadline = time.monotonic() + 120
        while reading and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                if not message.error():
                    values.append(message.value())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    reading.discard(message.partition())
        consumer.close()
        if reading:
            raise RuntimeError(f"the end of partitions {reading} of the output is not reached")
        return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="weir")
    parser.add_argument("--cycles", type=int, default=12)
    parser.add_argument("--rows", type=int, default=400, help="input rows of a cycle")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", type=int)
    parser.add_argument("--bootstrap")
    arguments = parser.parse_args()
    if arguments.worker is not None:
        Worker(arguments.bootstrap, arguments.worker, arguments.seed).run()
        return 0

    folder = Path(tempfile.mkdtemp(prefix="weir-txn-crash-"))
    run = Run(os.path.abspath(arguments.weir), arguments.seed, folder)
    acked, problems = {}, []
    try:
        run.start_broker()
        admin = AdminClient({"bootstrap.servers": run.bootstrap})
        for future in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in ("in", "out")]).values():
            future.result(30)
        source = Producer({"bootstrap.servers": run.bootstrap, "enable.idempotence": True, "linger.ms": 5,
                           "message.timeout.ms": 300_000, "reconnect.backoff.max.ms": 200, "log_level": 0})

        def delivered(error, message):
            if error is not None:
                problems.append(f"input refused: {error}")
            else:
                acked[message.value()] = (message.partition(), message.offset())

        for number in range(WORKERS):
            run.start_worker(number)
        sent = 0
        for _ in range(arguments.cycles):
            for _ in range(arguments.rows):
                source.produce("in", b"row%d" % sent, partition=sent % PARTITIONS, on_delivery=delivered)
                sent += 1
            source.poll(0)
            run.cycle()
        source.flush(120)
        if len(acked) != sent or problems:
            raise RuntimeError(f"{len(acked)} of {sent} input rows acknowledged; {problems[:3]}")
        ends = {p: 1 + max(offset for part, offset in acked.values() if part == p) for p in range(PARTITIONS)}
        run.wait_for_workers(ends)
        found = Counter(run.output())
        aborted = sum(count for value, count in found.items() if value.startswith(ABORTED))
        lost = [value for value in acked if value not in found]
        doubled = [value for value, count in found.items() if count > 1]
        strange = [value for value in found if value not in acked and not value.startswith(ABORTED)]
        counts = {"cycles": arguments.cycles, **run.counts, "rows": sent, "lost": len(lost), "doubled": len(doubled),
                  "aborted_seen": aborted, "strange": len(strange), "seed": arguments.seed}
        failed = bool(lost or doubled or aborted or strange)
        problem = f"lost {lost[:5]} doubled {doubled[:5]} aborted {aborted} strange {strange[:5]}" if failed else ""
        print(json.dumps({"client": "txn-crash", "check": "exactly-once", "ok": not failed, "produced": sent,
                          "consumed": sum(found.values()), "compared": len(acked), "detail": problem}))
        print(json.dumps({"client": "txn-crash", "summary": True, "passed": int(not failed), "failed": int(failed)}))
        print(json.dumps({"counts": counts}), flush=True)
        if failed:
            print(f"{problem}; kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
        return 1 if failed else 0
    except Exception:
        print(f"data and logs kept: {folder}", file=sys.stderr)
        raise
    finally:
        run.stop()


if __name__ == "__main__":
    sys.exit(main())
