"""Paimon tables of topics, read by pypaimon and by Paimon's Java library, which also compacts them and expires their snapshots.

    paimon.py --bootstrap 127.0.0.1:9092 --http 127.0.0.1:9644 --data ~/.cache/weir/data/flights.jsonl --rows 20000

Prints one JSON line per check and a summary line last (see ../python/suite/report.py); exit code 1 when a check failed.
The oracle is what the producer sent and was told the offset of. The check kill-9 starts brokers of its own from
$WEIRTEST_BIN.

Seen failing: with a row taken out of a data file, and with a manifest that is listed twice.
"""

import argparse
import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

import paimon_keyed
from lake import (
    PATIENCE,
    Check,
    CheckFailed,
    Context,
    Report,
    Row,
    compare,
    free_port,
    load_flights,
    start,
)
from pypaimon import CatalogFactory
from typed_flights import DDL, LATER, compare_typed, milliseconds, set_config, wanted_rows

HERE = Path(__file__).resolve().parent
BY = "day(__timestamp), __partition"


class Java:
    """Paimon's Java library in one process, a command a line (see paimon-java)."""

    def __init__(self, log: str):
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            ["bash", str(HERE / "paimon-java" / "run.sh")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, encoding="utf-8",
        )

    def __call__(self, command: str, lake: str, table: str, *more) -> list[str]:
        namespace, name = table.split(".", 1)
        print(command, lake, namespace, name, *more, file=self.process.stdin, flush=True)
        lines = []
        for line in self.process.stdout:
            if line.startswith(".\n"):
                return lines
            if line.startswith("! "):
                raise CheckFailed(f"Paimon Java, {command}: {line[2:].strip()}")
            lines.append(line)
        raise CheckFailed(f"Paimon Java ended: {Path(self.log.name).read_text()[-2000:]}")

    def rows(self, lake: str, table: str, *more) -> list[dict]:
        return [json.loads(line) for line in self("rows", lake, table, *more)]

    def where(self, lake: str, table: str, column: str, value: int) -> list[dict]:
        return [json.loads(line) for line in self("where", lake, table, column, value)]

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def python_rows(lake: str, table: str, partition: int | None = None, offset: int = 0) -> list[dict]:
    builder = CatalogFactory.create({"warehouse": lake}).get_table(table).new_read_builder()
    if partition is not None:
        predicates = builder.new_predicate_builder()
        ours = [predicates.equal("__partition", partition), predicates.greater_or_equal("__offset", offset)]
        builder = builder.with_filter(predicates.and_predicates(ours))
    splits = builder.new_scan().plan().splits()
    return builder.new_read().to_arrow(splits).to_pylist() if splits else []


def of_java(row: dict) -> tuple:
    bytes_of = lambda text: None if text is None else base64.b64decode(text)  # noqa: E731
    headers = [{"key": header["key"], "value": bytes_of(header["value"])} for header in row["__headers"]]
    origin = (row["__partition"], row["__offset"])
    return (*origin, bytes_of(row["__key"]), bytes_of(row["__value"]), headers, row["__timestamp"] // 1000)


def of_python(row: dict) -> tuple:
    at = int(row["__timestamp"].timestamp() * 1000 + 0.5)
    return tuple(row[name] for name in ("__partition", "__offset", "__key", "__value", "__headers")) + (at,)


def compare_both(check: Check, ctx: Context, java: Java, table: str, sent: dict, *where) -> None:
    what = ", filtered" if where else ""
    compare(check, f"pypaimon{what}", [of_python(row) for row in python_rows(ctx.lake, table, *where)], sent)
    compare(check, f"Paimon Java{what}", [of_java(row) for row in java.rows(ctx.lake, table, *where)], sent)


def folder(ctx: Context, topic: str, namespace: str = "weir") -> Path:
    return Path(ctx.lake, f"{namespace}.db", topic)


def newest(table: Path) -> dict:
    """The newest snapshot, found without the hint; an empty one if there is none."""
    ids = [int(path.name.split("-")[1]) for path in (table / "snapshot").glob("snapshot-*")]
    if not ids:
        return {"id": 0, "totalRecordCount": 0}
    return json.loads((table / "snapshot" / f"snapshot-{max(ids)}").read_text())


def flights(check: Check, ctx: Context, java: Java) -> None:
    topic = ctx.create("paimon")
    half = len(ctx.rows) // 2
    for rows in (ctx.rows[:half], ctx.rows[half:]):
        ctx.produce(check, topic, rows)
        status = ctx.wait(topic)
    check.equal("rows by weir's own count", status["rows"], len(ctx.rows))
    compare_both(check, ctx, java, f"weir.{topic}", ctx.sent[topic])
    hint = (folder(ctx, topic) / "snapshot" / "LATEST").read_text()
    check.equal("LATEST", int(hint), newest(folder(ctx, topic))["id"])


def by_day(check: Check, ctx: Context, java: Java) -> None:
    topic = ctx.create("paimon", weir_lake_partition_by=BY, weir_lake_namespace="bay")
    rows = ctx.rows[: len(ctx.rows) // 4]
    for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        ctx.produce(check, topic, part)
        ctx.wait(topic)
    compare_both(check, ctx, java, f"bay.{topic}", ctx.sent[topic])
    # Pruned by partitions and by bounds, and right all the same.
    late = {at: row for at, row in ctx.sent[topic].items() if at[0] == 1 and at[1] >= 1200}
    compare_both(check, ctx, java, f"bay.{topic}", late, 1, 1200)
    (left,) = java("splits", ctx.lake, f"bay.{topic}", 1, 1200)
    files = len(list(folder(ctx, topic, "bay").glob("*/*/bucket-0/*.parquet")))
    check.true("files are ruled out by partitions and bounds", 0 < int(left) < files / 3, (left.strip(), files))
    days = {row["__timestamp_day"] for row in python_rows(ctx.lake, f"bay.{topic}")}
    wanted = {time.strftime("%Y-%m-%d", time.gmtime(row.timestamp / 1000)) for row in rows}
    check.equal("days by pypaimon", days, wanted)


def typed(check: Check, ctx: Context, java: Java) -> None:
    """A typed topic's own columns while they are added, renamed, widened and dropped; every value is compared."""
    topic = ctx.create("paimon", weir_table_schema=DDL, weir_lake_partition_by="month(time_hour), carrier")
    size = len(ctx.rows) // 6
    parts = [ctx.rows[at * size : (at + 1) * size] for at in range(3)]
    ctx.produce(check, topic, parts[0])
    ctx.wait(topic)
    first = set(ctx.sent[topic])
    set_config(ctx, topic, "weir.table.schema", DDL + LATER)
    ctx.produce(check, topic, parts[1])
    ctx.wait(topic)
    second = set(ctx.sent[topic]) - first
    set_config(ctx, topic, "weir.table.renames", "distance:miles")
    changed = (DDL + LATER).replace("distance INT", "miles BIGINT").replace("origin STRING, ", "")
    set_config(ctx, topic, "weir.table.schema", changed)
    ctx.produce(check, topic, parts[2])
    ctx.wait(topic)
    names = [column.split()[0] for column in changed.split(",")]
    wanted = wanted_rows(ctx.sent[topic], names, first, miles="distance")
    check.true("there are rows of every schema", len(first) == len(second) == size)
    readers = [
        ("pypaimon", python_rows(ctx.lake, f"weir.{topic}"), milliseconds),
        ("Paimon Java", java.rows(ctx.lake, f"weir.{topic}"), lambda at: at // 1000),
    ]
    for reader, rows, time_of in readers:
        shown = lambda row, name: time_of(row[name]) if name == "time_hour" else row[name]  # noqa: B023, E731
        found = [(row["__partition"], row["__offset"], *(shown(row, name) for name in names)) for row in rows]
        compare_typed(check, reader, found, wanted)


EVERY_TYPE = """a BOOLEAN, b TINYINT, c SMALLINT, d INT, e BIGINT, f DECIMAL(9,2), g DECIMAL(18,3), h DECIMAL(30,5), i FLOAT, j DOUBLE,
    k STRING, l BYTES, m DATE, n TIME(3), o TIMESTAMP(3), p TIMESTAMP(6), q TIMESTAMP_LTZ(3), r TIMESTAMP_LTZ(6), s ARRAY<INT>,
    t MAP<STRING, BIGINT>, u ROW<x INT, y STRING>, v UUID"""


def typed_value(number: int) -> dict:
    """A row of every type as it is produced."""
    identity = uuid.UUID(int=number * 7919)
    return {
        "a": number % 2 == 0, "b": number % 256 - 128, "c": -number, "d": number * 65_537, "e": number * 10**12,
        "f": f"{number}.25", "g": f"-{number}.125", "h": f"{number}12345678901234567890.00001", "i": number / 4, "j": number / 8,
        "k": f"text {number} \u00fc\u2713", "l": base64.b64encode(bytes([number % 256]) * 9).decode(),
        "m": f"2013-{1 + number % 12:02}-05", "n": f"12:34:{number % 60:02}.678", "o": f"2013-01-01T05:06:07.{number % 1000:03}",
        "p": f"1969-12-31T23:59:58.{number:06}", "q": f"2013-01-01T05:06:07.{number % 1000:03}Z",
        "r": f"2013-01-01T05:06:07.{number:06}Z", "s": [number, None, -1], "t": {"one": number, "two": None},
        "u": {"x": number, "y": None}, "v": str(identity),
    }


def typed_wanted(row: dict) -> dict:
    """The same with numbers for what readers have different objects for."""
    micros = lambda text: round(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1e6)  # noqa: E731
    clock = row["n"].replace(":", " ").replace(".", " ").split()
    wanted = dict(row)
    wanted |= {name: Decimal(row[name]) for name in "fgh"}
    wanted |= {name: micros(row[name].replace("Z", "")) for name in "opqr"}
    wanted["l"], wanted["v"] = base64.b64decode(row["l"]), uuid.UUID(row["v"]).bytes
    wanted["m"] = (date.fromisoformat(row["m"]) - date(1970, 1, 1)).days
    wanted["n"] = ((int(clock[0]) * 60 + int(clock[1])) * 60 + int(clock[2])) * 1000 + int(clock[3])
    return wanted


def typed_of_java(row: dict) -> dict:
    found = {name: row[name] for name in typed_value(0)}
    if found["a"] is None:
        return found
    found |= {name: Decimal(row[name]) for name in "fgh"}
    found["l"], found["v"] = base64.b64decode(row["l"]), base64.b64decode(row["v"])
    found["t"] = dict(zip(row["t"]["keys"], row["t"]["values"], strict=True))
    return found


def typed_of_python(row: dict) -> dict:
    micros = lambda at: round(at.replace(tzinfo=timezone.utc).timestamp() * 1e6)  # noqa: E731
    found = {name: row[name] for name in typed_value(0)}
    if found["a"] is None:
        return found
    found |= {name: micros(row[name]) for name in "opqr"}
    found["m"] = (row["m"] - date(1970, 1, 1)).days
    found["n"] = ((row["n"].hour * 60 + row["n"].minute) * 60 + row["n"].second) * 1000 + row["n"].microsecond // 1000
    found["t"] = dict(row["t"])
    return found


def types(check: Check, ctx: Context, java: Java) -> None:
    """A column of every type, every value compared, and rows of nulls; then a member of a row goes and another comes."""
    topic = ctx.create("paimon", weir_table_schema=EVERY_TYPE)
    rows_of = lambda values: [Row(b"key", json.dumps(row).encode(), (), 1_357_000_000_000) for row in values]  # noqa: E731
    ctx.produce(check, topic, rows_of(typed_value(number) if number % 7 else {} for number in range(200)))
    ctx.wait(topic)
    first = set(ctx.sent[topic])
    set_config(ctx, topic, "weir.table.schema", EVERY_TYPE.replace("y STRING", "z BIGINT"))
    then = (typed_value(number) | {"u": {"x": number, "z": number * 10**10}} for number in range(1, 51))
    ctx.produce(check, topic, rows_of(then))
    ctx.wait(topic)
    wanted = {}
    for at, row in ctx.sent[topic].items():
        value = json.loads(row.value)
        wanted[at] = typed_wanted(value) if value else dict.fromkeys(typed_value(0))
        if at in first and value:
            wanted[at]["u"] = {"x": value["u"]["x"], "z": None}
    readers = [
        ("pypaimon", python_rows(ctx.lake, f"weir.{topic}"), typed_of_python),
        ("Paimon Java", java.rows(ctx.lake, f"weir.{topic}"), typed_of_java),
    ]
    for reader, found, of_reader in readers:
        check.equal(f"{reader}: rows", len(found), len(wanted))
        for row in found:
            at = (row["__partition"], row["__offset"])
            row = of_reader(row)
            for name, want in wanted[at].items():
                if row[name] != want:
                    raise CheckFailed(f"{reader}: column {name} of {at}: got {row[name]!r}, want {want!r}")
        check.consumed += len(found)
        check.compared += len(found)


def others(check: Check, ctx: Context, java: Java) -> None:
    """Paimon's own compaction and expiry between our commits: our offsets stay in force, and every row is there once."""
    topic = ctx.create("paimon")
    table, size = f"weir.{topic}", 50
    for at in range(6):
        ctx.produce(check, topic, ctx.rows[at * size : (at + 1) * size])
        ctx.wait(topic)
    (compacted,) = java("compact", ctx.lake, table)
    check.true("files were compacted", int(compacted) >= 5, compacted)
    check.true("the newest snapshot is theirs", newest(folder(ctx, topic))["commitUser"] != "weir")
    (expired,) = java("expire", ctx.lake, table, 1)
    check.true("snapshots expired", int(expired) >= 6, expired)
    left = [json.loads(path.read_text()) for path in (folder(ctx, topic) / "snapshot").glob("snapshot-*")]
    check.true("none of the snapshots that are left is ours", all(one["commitUser"] != "weir" for one in left))
    compare_both(check, ctx, java, table, ctx.sent[topic])
    # Begun again, the broker has nothing but the table to go by.
    for state in ("none", "paimon"):
        set_config(ctx, topic, "weir.lake.format", state)
        time.sleep(1.0)
    ctx.produce(check, topic, ctx.rows[6 * size : 8 * size])
    status = ctx.wait(topic)
    check.equal("rows by weir's own count", status["rows"], 8 * size)
    check.equal("the newest snapshot is ours again", newest(folder(ctx, topic))["commitUser"], "weir")
    compare_both(check, ctx, java, table, ctx.sent[topic])


def foreign(check: Check, ctx: Context, java: Java) -> None:
    """A table that somebody else made, or whose offsets are gone, is left alone, with the reason."""
    topic = ctx.create("paimon")
    ctx.produce(check, topic, ctx.rows[:100])
    ctx.wait(topic)
    sent = dict(ctx.sent[topic])
    set_config(ctx, topic, "weir.lake.format", "none")
    time.sleep(1.0)
    table = folder(ctx, topic)
    before = newest(table)
    for path in (table / "snapshot").glob("snapshot-*"):
        snapshot = json.loads(path.read_text())
        path.write_text(json.dumps(snapshot | {"commitUser": "somebody", "properties": None}))
    shutil.rmtree(table / "tag")
    shutil.rmtree(table / "_weir")
    set_config(ctx, topic, "weir.lake.format", "paimon")
    ctx.produce(check, topic, ctx.rows[100:200])
    status = ctx.until(topic, lambda status: status["state"] == "paused")
    check.true("the reason says what to do", "no offsets of this topic" in status["error"], status["error"])
    check.equal("nothing was committed", newest(table)["id"], before["id"])
    compare_both(check, ctx, java, f"weir.{topic}", sent)


def fresh(check: Check, ctx: Context, java: Java) -> None:
    """With a freshness of a second: how long after its acknowledgement a record is in the newest snapshot."""
    topic = ctx.create("paimon")
    worst = 0.0
    for number, row in enumerate(ctx.rows[:8]):
        ctx.produce(check, topic, [row])
        sent = time.monotonic()
        while newest(folder(ctx, topic))["totalRecordCount"] <= number:
            if time.monotonic() - sent > PATIENCE:
                raise CheckFailed(f"record {number} is not in the table after {PATIENCE} s")
            time.sleep(0.02)
        worst = max(worst, time.monotonic() - sent)
        time.sleep(random.uniform(0, 0.5))
    compare_both(check, ctx, java, f"weir.{topic}", ctx.sent[topic])
    check.true("freshness is kept", worst < 5, worst)
    check.detail = f"at most {worst:.2f} s"


def kill_nine(check: Check, ctx: Context, java: Java) -> None:
    """A broker is killed in the middle of tiering, again and again; then every acknowledged record is in the tables once."""
    luck = random.Random(7)
    with tempfile.TemporaryDirectory() as own:
        mine = Context("", "", ctx.rows, f"{own}/lake")
        kafka, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        mine.bootstrap, mine.http = kafka, http
        broker = start(own, kafka, http)
        try:
            topics = [mine.create("paimon"), mine.create("paimon", weir_lake_partition_by="__partition")]
            at = 0
            for _ in range(6):
                for topic in topics:
                    mine.produce(check, topic, ctx.rows[at : at + 300], **{"enable.idempotence": True})
                at += 300
                # Rounds begin every second.
                time.sleep(luck.uniform(0.0, 1.3))
                broker.send_signal(signal.SIGKILL)
                broker.wait()
                broker = start(own, kafka, http)
            for topic in topics:
                status = mine.wait(topic)
                check.equal("rows by weir's own count", status["rows"], 1800)
                compare_both(check, mine, java, f"weir.{topic}", mine.sent[topic])
            broker.terminate()
            check.equal("exit code", broker.wait(20), 0)
        finally:
            broker.kill()
            broker.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default=os.environ.get("WEIRTEST_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--http", default=os.environ.get("WEIRTEST_HTTP", "127.0.0.1:9644"))
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=12, help="of a broker that writes and compacts tables with a key")
    parser.add_argument("--seed", type=int, default=7, help="of these kills")
    parser.add_argument("--weir", help="the broker's binary, and only these kills: the long job")
    parser.add_argument("--only")
    arguments = parser.parse_args()
    if arguments.weir:
        os.environ["WEIRTEST_BIN"], arguments.only = arguments.weir, "keyed-kill-9"

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as lake:
        ctx = Context(arguments.bootstrap, arguments.http, load_flights(arguments.data, arguments.rows), lake)
        java = Java(f"{lake}/java.log")
        report = Report("lake-paimon", arguments.only)
        checks = [
            ("flights", flights), ("by-day", by_day), ("typed", typed), ("types", types), ("others", others),
            ("foreign", foreign), ("fresh", fresh), ("kill-9", kill_nine), ("keyed", paimon_keyed.keyed),
            ("keyed-by-city", paimon_keyed.keyed_partitioned), ("key-types", paimon_keyed.key_types),
        ]
        for name, body in checks:
            report.run(name, body, ctx, java)
        report.run("compacted", paimon_keyed.appended, ctx, java, compare_both)
        report.run("keyed-kill-9", paimon_keyed.kill_nine, ctx, java, compare_both, arguments.kills, arguments.seed)
        java.close()
        failed = report.finish("pypaimon 2.1.0, Paimon Java 1.4.2")
        if arguments.weir and not failed:
            # The last line of a long job.
            print(json.dumps({"counts": {"kills": arguments.kills, "tables": 2, "records": 180 * arguments.kills}}))
        return failed


if __name__ == "__main__":
    sys.exit(main())
