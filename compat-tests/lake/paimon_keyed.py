"""Paimon tables with a primary key, and compaction, read by pypaimon and by Paimon's Java library; see paimon.py.

The oracle is the fold of what the producer sent and was told the offset of: of each key the last record, none if that has no value.

Seen failing: with an oracle that ignores deletions, and with the newest file of a bucket replaced by an older one.
"""

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Producer
from lake import PATIENCE, Check, CheckFailed, Context, free_port, set_config, start
from pypaimon import CatalogFactory

DDL = "id BIGINT NOT NULL, city STRING NOT NULL, n INT, note STRING"
KEYED = {
    "weir_table_schema": DDL, "weir_key_columns": "id,city", "weir_key_format": "json", "weir_primary_key": "id,city",
}
CITIES = ["", "LA", "New York City", "Z\u00fcrich", "S\u00e3o Paulo / Guarulhos"]


class Log:
    """What was produced to a topic, in the order of its partitions."""

    def __init__(self, ctx: Context, topic: str):
        self.ctx, self.topic = ctx, topic
        self.sent: dict[tuple, tuple] = {}

    def produce(self, check: Check, changes: list[tuple[dict, dict | None]]) -> None:
        """Routed by key, as every producer does it by itself."""
        producer = Producer({"bootstrap.servers": self.ctx.bootstrap, "linger.ms": 5, "enable.idempotence": True})
        errors = []
        for key, value in changes:
            def told(error, message, key=key, value=value):
                if error is None:
                    self.sent[message.partition(), message.offset()] = (key, value)
                else:
                    errors.append(error)

            body = None if value is None else json.dumps(value).encode()
            producer.produce(self.topic, body, json.dumps(key).encode(), on_delivery=told)
            producer.poll(0)
        producer.flush(PATIENCE)
        check.equal("errors of the producer", errors, [])
        check.produced += len(changes)

    def folded(self) -> dict[tuple, tuple]:
        """The last value of each key, and where it is."""
        rows: dict[tuple, tuple] = {}
        for at in sorted(self.sent):
            key, value = self.sent[at]
            rows.pop(tuple(key.values()), None)
            if value is not None:
                rows[tuple(key.values())] = (value, *at)
        return rows


def python_rows(ctx: Context, table: str, where=None) -> list[dict]:
    builder = CatalogFactory.create({"warehouse": ctx.lake}).get_table(table).new_read_builder()
    if where is not None:
        builder = builder.with_filter(builder.new_predicate_builder().equal(*where))
    splits = builder.new_scan().plan().splits()
    return builder.new_read().to_arrow(splits).to_pylist() if splits else []


def compare(check: Check, reader: str, found: list[dict], wanted: dict[tuple, dict], keys: list[str], **as_read) -> None:
    """Every key once, with its last row; nothing else."""
    left = dict(wanted)
    for row in found:
        row = {name: as_read.get(name, lambda value: value)(value) for name, value in row.items()}
        key = tuple(row[name] for name in keys)
        want = left.pop(key, None)
        if want is None:
            raise CheckFailed(f"{reader}: {key} was deleted, never produced, or is there twice")
        got = {name: row[name] for name in want}
        if got != want:
            raise CheckFailed(f"{reader}: {key} is {got}, want {want}")
    if left:
        raise CheckFailed(f"{reader}: {len(left)} keys are missing, the first is {next(iter(left))}")
    check.consumed += len(found)
    check.compared += len(found)


def compare_both(check: Check, ctx: Context, java, table: str, log: Log, shape=lambda value: value) -> None:
    wanted = {
        key: shape(value) | {"__partition": partition, "__offset": offset}
        for key, (value, partition, offset) in log.folded().items()
    }
    keys = ["id", "city"]
    compare(check, "pypaimon", python_rows(ctx, table), wanted, keys)
    compare(check, "Paimon Java", java.rows(ctx.lake, table), wanted, keys)
    # Files are ruled out by the bounds of their keys; where `id` is all of the key within a partition, by the bucket of its hash.
    for number in random.Random(3).sample(sorted({key[0] for key in wanted}), min(5, len(wanted))):
        some = {key: row for key, row in wanted.items() if key[0] == number}
        compare(check, "pypaimon, one key", python_rows(ctx, table, ("id", number)), some, keys)
        compare(check, "Paimon Java, one key", java.where(ctx.lake, table, "id", number), some, keys)
    # A filter of another column does not bring older rows back.
    some = {key: row for key, row in wanted.items() if row["__partition"] == 1}
    compare(check, "pypaimon, filtered", python_rows(ctx, table, ("__partition", 1)), some, keys)
    compare(check, "Paimon Java, filtered", java.where(ctx.lake, table, "__partition", 1), some, keys)


def changes(luck: random.Random, count: int, keys: int, **more) -> list[tuple[dict, dict | None]]:
    def one(number: int):
        key = {"id": luck.randrange(keys) * 1_000_003 - 5, "city": luck.choice(CITIES)}
        if luck.random() < 0.2:
            return key, None
        value = {"n": number, "note": luck.choice([None, "", f"note {number} \u2713"])}
        return key, value | {name: make(number) for name, make in more.items()}

    return [one(number) for number in range(count)]


def data_files(ctx: Context, topic: str) -> int:
    """Files that the newest snapshot has, by pypaimon's plan."""
    builder = CatalogFactory.create({"warehouse": ctx.lake}).get_table(f"weir.{topic}").new_read_builder()
    return sum(len(split.files) for split in builder.new_scan().plan().splits())


def verified(check: Check, ctx: Context, topic: str) -> None:
    """What the broker itself says of log and table."""
    binary = os.environ.get("WEIRTEST_BIN")
    if binary:
        command = [binary, "lake", "verify", topic, "--http", ctx.http, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        check.true("weir lake verify: equal", done.returncode == 0, (done.stdout[-500:], done.stderr[-500:]))


def keyed(check: Check, ctx: Context, java) -> None:
    """Updates and deletes over many rounds, while columns are added, renamed and widened."""
    topic = ctx.create("paimon", **KEYED)
    log, luck, table = Log(ctx, topic), random.Random(11), f"weir.{topic}"
    for count in (400, 300, 1, 200, 200, 200, 200, 200):
        log.produce(check, changes(luck, count, 90))
        ctx.wait(topic)
    compare_both(check, ctx, java, table, log)
    files = data_files(ctx, topic)
    check.true("runs are merged", files <= 4 * 5, files)
    set_config(ctx, topic, "weir.table.renames", "n:number")
    set_config(ctx, topic, "weir.table.schema", DDL.replace("n INT", "number BIGINT") + ", late BOOLEAN")
    renamed = [
        (key, value and {"number": value["n"] * 10**10, "note": value["note"], "late": value["n"] % 2 == 0})
        for key, value in changes(luck, 200, 90)
    ]

    def shape(value: dict) -> dict:
        number = value["n"] if "n" in value else value["number"]
        return {"number": number, "note": value["note"], "late": value.get("late")}

    for part in (renamed[:60], renamed[60:130], renamed[130:]):
        log.produce(check, part)
        ctx.wait(topic)
    compare_both(check, ctx, java, table, log, shape)
    # Until runs of both schemas are one.
    for _ in range(4):
        log.produce(check, [(key, value and shape(value)) for key, value in changes(luck, 60, 90)])
        ctx.wait(topic)
    compare_both(check, ctx, java, table, log, shape)
    verified(check, ctx, topic)
    everything = [({"id": key[0], "city": key[1]}, None) for key in log.folded()]
    log.produce(check, everything)
    ctx.wait(topic)
    check.equal("rows after all were deleted", (python_rows(ctx, table), java.rows(ctx.lake, table)), ([], []))


def keyed_partitioned(check: Check, ctx: Context, java) -> None:
    """Partitions by a column of the key."""
    topic = ctx.create("paimon", weir_lake_partition_by="city", weir_lake_paimon_bucket="2", **KEYED)
    log, luck = Log(ctx, topic), random.Random(12)
    for count in (300, 200, 100, 100, 100, 100):
        log.produce(check, changes(luck, count, 40))
        ctx.wait(topic)
    # An empty text names no folder: Paimon's readers take it for the default partition.
    log.produce(check, [({"id": key[0], "city": key[1]}, None) for key in log.folded() if key[1] == ""])
    ctx.wait(topic)
    compare_both(check, ctx, java, f"weir.{topic}", log)
    verified(check, ctx, topic)


KEY_TYPES = {
    "a": ("TINYINT", lambda n: n % 100 - 50), "b": ("SMALLINT", lambda n: -n), "c": ("INT", lambda n: n * 65_537),
    "d": ("DECIMAL(18,3)", lambda n: f"{n - 50}.125"), "e": ("STRING", lambda n: f"text {n} \u2713" * (n % 3)),
    "f": ("DATE", lambda n: f"19{60 + n % 40}-03-0{1 + n % 9}"), "g": ("TIMESTAMP(3)", lambda n: f"1969-12-31T23:59:58.{n:03}"),
    "h": ("TIMESTAMP(6)", lambda n: f"2013-01-01T05:06:07.{n:06}"),
}


def key_types(check: Check, ctx: Context, java) -> None:
    """A key of many types; each key is looked up by all of its columns."""
    ddl = ", ".join(f"{name} {kind} NOT NULL" for name, (kind, _) in KEY_TYPES.items()) + ", n INT"
    names = ",".join(KEY_TYPES)
    topic = ctx.create(
        "paimon", weir_table_schema=ddl, weir_key_columns=names, weir_key_format="json", weir_primary_key=names,
        weir_lake_paimon_bucket="7",
    )
    log, luck = Log(ctx, topic), random.Random(13)
    key_of = lambda n: {name: make(n) for name, (_, make) in KEY_TYPES.items()}  # noqa: E731
    for _ in range(7):
        some = [luck.randrange(100) for _ in range(80)]
        log.produce(check, [(key_of(n), None if luck.random() < 0.2 else {"n": luck.randrange(10**9)}) for n in some])
        ctx.wait(topic)
    micros = lambda text: round(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1e6)  # noqa: E731
    days = lambda text: (date.fromisoformat(text) - date(1970, 1, 1)).days  # noqa: E731
    as_number = {"d": Decimal, "f": days, "g": micros, "h": micros}
    wanted = {}
    for key, (value, partition, offset) in log.folded().items():
        key = tuple(as_number.get(name, lambda value: value)(part) for name, part in zip(KEY_TYPES, key, strict=True))
        wanted[key] = value | {"__partition": partition, "__offset": offset}
    at = lambda moment: round(moment.replace(tzinfo=timezone.utc).timestamp() * 1e6)  # noqa: E731
    keys = list(KEY_TYPES)
    as_python = {"f": lambda day: (day - date(1970, 1, 1)).days, "g": at, "h": at}
    compare(check, "pypaimon", python_rows(ctx, f"weir.{topic}"), wanted, keys, **as_python)
    compare(check, "Paimon Java", java.rows(ctx.lake, f"weir.{topic}"), wanted, keys, d=Decimal)
    # Where Paimon's own writer would put each row is where it is.
    table = CatalogFactory.create({"warehouse": ctx.lake}).get_table(f"weir.{topic}")
    from pypaimon.write.row_key_extractor import FixedBucketRowKeyExtractor

    extractor = FixedBucketRowKeyExtractor(table.table_schema)
    builder, placed = table.new_read_builder(), 0
    for split in builder.new_scan().plan().splits():
        rows = builder.new_read().to_arrow([split])
        for batch in rows.to_batches():
            _, buckets = extractor.extract_partition_bucket_batch(batch)
            check.equal("buckets by pypaimon", set(buckets), {split.bucket})
            placed += len(buckets)
    check.equal("rows whose bucket was compared", placed, len(wanted))


def appended(check: Check, ctx: Context, java, compare_rows) -> None:
    """Small files of a table of all rows become large ones."""
    topic = ctx.create("paimon")
    rounds, size = 32, 20
    for at in range(rounds):
        ctx.produce(check, topic, ctx.rows[at * size : (at + 1) * size])
        ctx.wait(topic)
    files = data_files(ctx, topic)
    check.true("files were merged", files < rounds / 2, files)
    compare_rows(check, ctx, java, f"weir.{topic}", ctx.sent[topic])
    verified(check, ctx, topic)
    check.detail = f"{files} files after {rounds} rounds"


def kill_nine(check: Check, ctx: Context, java, compare_rows, kills: int, seed: int) -> None:
    """A broker is killed again and again while it writes and compacts tables with and without a key."""
    luck = random.Random(seed)
    with tempfile.TemporaryDirectory() as own:
        mine = Context("", "", ctx.rows, f"{own}/lake")
        mine.bootstrap, mine.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        broker = start(own, mine.bootstrap, mine.http)
        try:
            log = Log(mine, mine.create("paimon", weir_lake_paimon_bucket="2", **KEYED))
            topic = mine.create("paimon")
            at = 0
            for _ in range(kills):
                log.produce(check, changes(luck, 120, 60))
                mine.produce(check, topic, [ctx.rows[n % len(ctx.rows)] for n in range(at, at + 60)], **{"enable.idempotence": True})
                at += 60
                # Rounds begin every second.
                time.sleep(luck.uniform(0.0, 1.3))
                broker.send_signal(signal.SIGKILL)
                broker.wait()
                broker = start(own, mine.bootstrap, mine.http)
            for name in (log.topic, topic):
                mine.wait(name)
            compare_both(check, mine, java, f"weir.{log.topic}", log)
            compare_rows(check, mine, java, f"weir.{topic}", mine.sent[topic])
            kinds = [
                json.loads(path.read_text())["commitKind"]
                for path in Path(mine.lake, "weir.db", log.topic, "snapshot").glob("snapshot-*")
            ]
            check.true("it was compacted meanwhile", "COMPACT" in kinds, kinds)
            for name in (log.topic, topic):
                verified(check, mine, name)
            broker.terminate()
            check.equal("exit code", broker.wait(20), 0)
        finally:
            broker.kill()
            broker.wait()
