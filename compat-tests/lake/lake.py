"""Lake tables of topics, read by engines that share no code with weir: DuckDB and pyiceberg.

    lake.py --bootstrap 127.0.0.1:9092 --http 127.0.0.1:9644 --data ~/.cache/weir/data/flights.jsonl --rows 20000

Prints one JSON line per check and a summary line last (see ../python/suite/report.py); exit code 1 when a check failed.
The oracle is what the producer sent and was told the offset of. The check kill-9 starts brokers of its own from
$WEIRTEST_BIN.

Seen failing: with one file of a table removed, and with one copied to another name.
"""

import argparse
import glob
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import duckdb
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from history import HISTORY, log_starts, read_under_kills
from pyiceberg.table import StaticTable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from suite.records import Row, load_flights  # noqa: E402
from suite.report import Check, CheckFailed, Report  # noqa: E402
from typed_flights import NAMES, compare_typed, evolved, set_config  # noqa: E402

PARTITIONS = 3
PATIENCE = 60


class Context:
    def __init__(self, bootstrap: str, http: str, rows: list[Row], lake: str):
        self.bootstrap, self.http, self.rows, self.lake = bootstrap, http, rows, lake
        self.sent: dict[str, dict] = {}

    def create(self, form: str, **configs: str) -> str:
        topic = f"lake-{form}-{uuid.uuid4().hex[:8]}"
        self.create_named(topic, form, {name.replace("_", "."): value for name, value in configs.items()})
        return topic

    def create_named(self, topic: str, form: str, configs: dict[str, str]) -> None:
        configs = configs | {"weir.lake.format": form, "weir.lake.path": self.lake, "weir.lake.freshness": "1s"}
        # The flights are of 2013.
        configs["retention.ms"] = "-1"
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for created in admin.create_topics([NewTopic(topic, PARTITIONS, config=configs)]).values():
            created.result(30)
        self.sent[topic] = {}

    def produce(self, check: Check, topic: str, rows: list[Row], **settings) -> None:
        """Sends the rows and keeps what was acknowledged, by partition and offset."""
        sent, errors = self.sent[topic], []
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 20, "compression.type": "zstd", **settings})

        def delivered(row: Row):
            def told(error, message):
                if error is None:
                    sent[message.partition(), message.offset()] = row
                else:
                    errors.append(error)

            return told

        for number, row in enumerate(rows):
            while True:
                try:
                    producer.produce(
                        topic, row.value, row.key, number % PARTITIONS, headers=list(row.headers),
                        timestamp=row.timestamp, on_delivery=delivered(row),
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush(PATIENCE)
        check.equal("errors of the producer", errors, [])
        check.produced += len(rows)

    def wait(self, topic: str) -> dict:
        """Until the broker says that all of it is in the lake."""
        there = lambda status: status["state"] == "running" and status["epoch"] > 0 and status["lag_records"] == 0  # noqa: E731
        return self.until(topic, there)

    def until(self, topic: str, right) -> dict:
        """Until what the broker says of the table is right."""
        deadline, status = time.monotonic() + PATIENCE, None
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"http://{self.http}/lake", timeout=10) as answer:
                tables = {table["topic"]: table for table in json.load(answer)}
            status = tables.get(topic)
            if status and right(status):
                return status
            time.sleep(0.2)
        raise CheckFailed(f"{topic} is not as it should be in the lake after {PATIENCE} s: {status}")


COLUMNS = "__partition, __offset, __key, __value, __headers, epoch_ms(__timestamp)"


def compare(check: Check, reader: str, found: list[tuple], sent: dict) -> None:
    """Every record once, in every field; nothing else."""
    check.equal(f"{reader}: rows", len(found), len(sent))
    for partition, offset, key, value, headers, timestamp in found:
        row = sent.get((partition, offset))
        if row is None:
            raise CheckFailed(f"{reader}: offset {offset} of partition {partition} was not produced")
        headers = tuple((header["key"], header["value"]) for header in headers)
        if (key, value, headers, timestamp) != (row.key, row.value, row.headers, row.timestamp):
            raise CheckFailed(f"{reader}: offset {offset} of partition {partition} differs from {row}")
    distinct = len({(row[0], row[1]) for row in found})
    check.equal(f"{reader}: distinct offsets", distinct, len(sent))
    check.consumed += len(found)
    check.compared += len(found)


def connect(*more: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.sql("set timezone = 'UTC'")
    for name in ("avro", "iceberg", *more):
        places = [f"{folder}/duckdb_ext/**/{name}.duckdb_extension" for folder in sys.path]
        (extension, *_) = [file for place in places for file in glob.glob(place, recursive=True)]
        connection.sql(f"load '{extension}'")
    return connection


def parquet_of(ctx: Context, topic: str) -> str:
    return f"read_parquet('{ctx.lake}/{topic}/**/*.parquet', hive_partitioning = true)"


def rows_of(relation: str) -> list[tuple]:
    with connect() as connection:
        return connection.sql(f"select {COLUMNS} from {relation}").fetchall()


def pyiceberg_rows(folder: str, **scan) -> list[tuple]:
    version = Path(folder, "metadata", "version-hint.text").read_text().strip()
    table = StaticTable.from_metadata(f"{folder}/metadata/v{version}.metadata.json").scan(**scan).to_arrow()
    rows = table.to_pylist()
    milliseconds = lambda at: int(at.timestamp() * 1000 + 0.5)  # noqa: E731
    names = ("__partition", "__offset", "__key", "__value", "__headers")
    return [tuple(row[name] for name in names) + (milliseconds(row["__timestamp"]),) for row in rows]


def parquet(check: Check, ctx: Context) -> None:
    topic = ctx.create("parquet")
    ctx.produce(check, topic, ctx.rows)
    status = ctx.wait(topic)
    check.equal("rows by weir's own count", status["rows"], len(ctx.rows))
    compare(check, "DuckDB", rows_of(parquet_of(ctx, topic)), ctx.sent[topic])


def parquet_partitioned(check: Check, ctx: Context) -> None:
    topic = ctx.create("parquet", weir_lake_partition_by="day(__timestamp), __partition")
    rows = ctx.rows[: len(ctx.rows) // 4]
    ctx.produce(check, topic, rows)
    ctx.wait(topic)
    compare(check, "DuckDB", rows_of(parquet_of(ctx, topic)), ctx.sent[topic])
    with connect() as connection:
        days = connection.sql(f"select distinct __timestamp_day::varchar from {parquet_of(ctx, topic)}").fetchall()
    wanted = {time.strftime("%Y-%m-%d", time.gmtime(row.timestamp / 1000)) for row in rows}
    check.equal("days that are folders", {day for (day,) in days}, wanted)


def iceberg(check: Check, ctx: Context) -> None:
    topic = ctx.create("iceberg")
    half = len(ctx.rows) // 2
    for rows in (ctx.rows[:half], ctx.rows[half:]):
        ctx.produce(check, topic, rows)
        ctx.wait(topic)
    folder = f"{ctx.lake}/weir/{topic}"
    compare(check, "DuckDB", rows_of(f"iceberg_scan('{folder}')"), ctx.sent[topic])
    compare(check, "pyiceberg", pyiceberg_rows(folder), ctx.sent[topic])


def iceberg_partitioned(check: Check, ctx: Context) -> None:
    topic = ctx.create("iceberg", weir_lake_partition_by="day(__timestamp), __partition", weir_lake_namespace="bay")
    rows = ctx.rows[: len(ctx.rows) // 4]
    ctx.produce(check, topic, rows)
    ctx.wait(topic)
    folder = f"{ctx.lake}/bay/{topic}"
    compare(check, "DuckDB", rows_of(f"iceberg_scan('{folder}')"), ctx.sent[topic])
    compare(check, "pyiceberg", pyiceberg_rows(folder), ctx.sent[topic])
    # Pruned by partitions and by bounds, and right all the same.
    late = {at: row for at, row in ctx.sent[topic].items() if at[0] == 1 and at[1] >= 100}
    wanted = "__partition = 1 and __offset >= 100"
    relation = f"(select * from iceberg_scan('{folder}') where {wanted})"
    compare(check, "DuckDB, filtered", rows_of(relation), late)
    compare(check, "pyiceberg, filtered", pyiceberg_rows(folder, row_filter=wanted), late)


def typed(check: Check, ctx: Context, form: str) -> None:
    """A typed topic's own columns, before and after two were added; every value is compared."""
    quarter = len(ctx.rows) // 4
    parts = [ctx.rows[:quarter], ctx.rows[quarter : 2 * quarter]]
    topic, wanted = evolved(check, ctx, form, parts, weir_lake_partition_by="month(time_hour), carrier")
    relation = f"iceberg_scan('{ctx.lake}/weir/{topic}')"
    if form == "parquet":
        relation = f"read_parquet('{ctx.lake}/{topic}/**/*.parquet', hive_partitioning = true, union_by_name = true)"
    columns = ", ".join("epoch_ms(time_hour)" if name == "time_hour" else name for name in NAMES)
    with connect() as connection:
        found = connection.sql(f"select __partition, __offset, {columns} from {relation}").fetchall()
    compare_typed(check, "DuckDB", found, wanted)


def transactions(check: Check, ctx: Context) -> None:
    """What was aborted is in no table; what was committed is."""
    topic = ctx.create("iceberg")
    producer = Producer({"bootstrap.servers": ctx.bootstrap, "transactional.id": topic})
    producer.init_transactions()
    for batch in range(10):
        producer.begin_transaction()
        rows = ctx.rows[batch * 100 : batch * 100 + 100]
        told: list = []
        for number, row in enumerate(rows):
            keep = lambda error, message, row=row: told.append((message.partition(), message.offset(), row))  # noqa: E731
            producer.produce(
                topic, row.value, row.key, number % PARTITIONS, headers=list(row.headers), timestamp=row.timestamp,
                on_delivery=keep,
            )
        producer.flush(PATIENCE)
        if batch % 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
            ctx.sent[topic] |= {(partition, offset): row for partition, offset, row in told}
        check.produced += len(rows)
    ctx.wait(topic)
    check.equal("committed", len(ctx.sent[topic]), 500)
    compare(check, "pyiceberg", pyiceberg_rows(f"{ctx.lake}/weir/{topic}"), ctx.sent[topic])


def kill_nine(check: Check, ctx: Context) -> None:
    """A broker is killed in the middle of tiering, again and again; then every acknowledged record is in both tables once."""
    luck = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        mine = Context("", "", ctx.rows, f"{folder}/lake")
        kafka, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        mine.bootstrap, mine.http = kafka, http
        broker = start(folder, kafka, http)
        try:
            topics = [mine.create("parquet", weir_lake_partition_by="__partition"), mine.create("iceberg")]
            at = 0
            for _ in range(8):
                for topic in topics:
                    mine.produce(check, topic, ctx.rows[at : at + 300], **{"enable.idempotence": True})
                at += 300
                # Rounds begin every second.
                time.sleep(luck.uniform(0.0, 1.3))
                broker.send_signal(signal.SIGKILL)
                broker.wait()
                broker = start(folder, kafka, http)
            for topic in topics:
                status = mine.wait(topic)
                check.equal("rows by weir's own count", status["rows"], 2400)
            compare(check, "DuckDB, Parquet", rows_of(parquet_of(mine, topics[0])), mine.sent[topics[0]])
            table = f"{mine.lake}/weir/{topics[1]}"
            compare(check, "DuckDB, Iceberg", rows_of(f"iceberg_scan('{table}')"), mine.sent[topics[1]])
            broker.terminate()
            check.equal("exit code", broker.wait(20), 0)
        finally:
            broker.kill()
            broker.wait()


def history_kill_nine(check: Check, ctx: Context) -> None:
    """A consumer reads from the beginning, out of the lake and then out of the log, while retention takes from the log what was tiered,
    and while the broker is killed again and again: each record once, in order."""
    with tempfile.TemporaryDirectory() as folder:
        kafka, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        mine = Context(kafka, http, ctx.rows, f"{folder}/lake")
        broker = start(folder, kafka, http)

        def kill() -> None:
            nonlocal broker
            broker.send_signal(signal.SIGKILL)
            broker.wait()
            broker = start(folder, kafka, http)

        try:
            for seed, form in enumerate(("parquet", "iceberg")):
                topic = mine.create(form, **HISTORY)
                set_config(mine, topic, "retention.ms", "1")
                read_under_kills(check, mine, topic, kill, aged, turns=3, rows_a_turn=900, seed=seed)
        finally:
            broker.kill()
            broker.wait()


def aged(check: Check, ctx: Context, topic: str) -> None:
    """Until the log has nothing any more of what was produced: it is in the lake only."""
    ends = [max(offset for of, offset in ctx.sent[topic] if of == partition) + 1 for partition in range(PARTITIONS)]
    set_config(ctx, topic, "weir.lake.history.reads", "false")
    deadline, starts = time.monotonic() + PATIENCE, []
    while starts != ends and time.monotonic() < deadline:
        time.sleep(0.2)
        starts = log_starts(ctx.bootstrap, topic, PARTITIONS)
    set_config(ctx, topic, "weir.lake.history.reads", "true")
    check.equal("retention took all of it from the log", starts, ends)


def start(folder: str, kafka: str, http: str, *more: str, **variables: str) -> subprocess.Popen:
    command = [os.environ["WEIRTEST_BIN"], "serve", "--data-dir", f"{folder}/data", "--listen", kafka, "--http", http]
    with open(f"{folder}/broker.log", "ab") as log:
        broker = subprocess.Popen(
            [*command, "--registry", "off", *more], stdout=log, stderr=log, env=os.environ | variables
        )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{http}/readyz", timeout=1):
                return broker
        except OSError:
            time.sleep(0.05)
    broker.kill()
    raise CheckFailed(f"the broker is not ready after {PATIENCE} s: {Path(folder, 'broker.log').read_text()[-500:]}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default=os.environ.get("WEIRTEST_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--http", default=os.environ.get("WEIRTEST_HTTP", "127.0.0.1:9644"))
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as lake:
        ctx = Context(arguments.bootstrap, arguments.http, load_flights(arguments.data, arguments.rows), lake)
        report = Report("lake", arguments.only)
        report.run("parquet", parquet, ctx)
        report.run("parquet-by-day", parquet_partitioned, ctx)
        report.run("iceberg", iceberg, ctx)
        report.run("iceberg-by-day", iceberg_partitioned, ctx)
        report.run("typed-parquet", typed, ctx, "parquet")
        report.run("typed-iceberg", typed, ctx, "iceberg")
        report.run("transactions", transactions, ctx)
        report.run("kill-9", kill_nine, ctx)
        report.run("history-kill-9", history_kill_nine, ctx)
        return report.finish(f"duckdb {duckdb.__version__}")


if __name__ == "__main__":
    sys.exit(main())
