"""Lake tables read by ClickHouse (chdb), Spark and Flink: every record of an untyped and of a typed topic in each format, and a table with a
primary key, of a broker that was killed in between.

    engines.sh --weir target/release/weir --rows 100000 --seed 1

A long job, since these engines are large. ClickHouse and Spark read Parquet and Iceberg, Flink reads Paimon. Prints one JSON line per check
and {"counts": ...} last; exit code 1 when a check failed. The oracle is what the producer sent and was told the offset of.

Seen failing: with a record less in the oracle, and with a file of a table removed.
"""

import argparse
import base64
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import chdb
import pyarrow as pa
from lake import (
    Check,
    CheckFailed,
    Context,
    Report,
    compare,
    free_port,
    load_flights,
    start,
)
from paimon_keyed import KEYED, Log, changes
from paimon_keyed import compare as compare_keyed
from pyspark.sql import SparkSession
from typed_flights import NAMES, compare_typed, evolved

HERE = Path(__file__).resolve().parent
FORMATS = ("parquet", "iceberg", "paimon")
SYSTEM = "__partition, __offset, __key, __value, __headers"


class ClickHouse:
    name = f"ClickHouse {chdb.engine_version}"

    def source(self, ctx: Context, form: str, topic: str) -> str:
        if form == "parquet":
            return f"file('{ctx.lake}/{topic}/**/*.parquet', Parquet)"
        return f"icebergLocal('{ctx.lake}/weir/{topic}')"

    def rows(self, columns: str, source: str) -> list[tuple]:
        settings = (
            "output_format_arrow_string_as_string = 0, session_timezone = 'UTC', schema_inference_make_columns_nullable = 1, "
            # Files from before and after a column was added.
            "schema_inference_mode = 'union'"
        )
        found = chdb.query(f"select {columns} from {source} settings {settings}", "ArrowStream")
        table = pa.ipc.open_stream(found.bytes()).read_all()
        return [tuple(row.values()) for row in table.to_pylist()]

    def untyped(self, source: str) -> list[tuple]:
        rows = self.rows(f"{SYSTEM}, toUnixTimestamp64Milli(toDateTime64(__timestamp, 3))", source)
        return [(*row[:4], [named(header) for header in row[4]], row[5]) for row in rows]

    def typed(self, source: str, columns: list[str]) -> list[tuple]:
        shown = ["toUnixTimestamp64Milli(toDateTime64(time_hour, 3))" if name == "time_hour" else name for name in columns]
        rows = self.rows(f"__partition, __offset, {', '.join(shown)}", source)
        return [tuple(value.decode() if isinstance(value, bytes) else value for value in row) for row in rows]


class Spark:
    def __init__(self, lake: str, jars: str, folder: str):
        settings = {
            "spark.jars": ",".join(str(jar) for jar in Path(jars).glob("*.jar")),
            "spark.sql.session.timeZone": "UTC", "spark.ui.enabled": "false", "spark.driver.memory": "2g",
            "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.local.dir": folder,
            "spark.sql.warehouse.dir": f"{folder}/warehouse", "spark.sql.shuffle.partitions": "4",
            "spark.sql.catalog.iceberg": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.iceberg.type": "hadoop", "spark.sql.catalog.iceberg.warehouse": lake,
            # What another engine committed since is seen.
            "spark.sql.catalog.iceberg.cache-enabled": "false",
        }
        builder = SparkSession.builder.master("local[2]").appName("weir")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        self.name = f"Spark {self.session.version}"

    def source(self, ctx: Context, form: str, topic: str) -> str:
        if form == "parquet":
            view = topic.replace("-", "_")
            reader = self.session.read.option("mergeSchema", "true")
            reader.parquet(f"{ctx.lake}/{topic}").createOrReplaceTempView(view)
            return view
        return f"iceberg.weir.`{topic}`"

    def rows(self, columns: str, source: str) -> list[tuple]:
        return [tuple(row) for row in self.session.sql(f"select {columns} from {source}").collect()]

    def untyped(self, source: str) -> list[tuple]:
        rows = self.rows(f"{SYSTEM}, unix_millis(cast(__timestamp as timestamp))", source)
        octets = lambda value: None if value is None else bytes(value)  # noqa: E731
        named = lambda header: {"key": header["key"], "value": octets(header["value"])}  # noqa: E731
        return [(*row[:2], octets(row[2]), octets(row[3]), [named(header) for header in row[4]], row[5]) for row in rows]

    def typed(self, source: str, columns: list[str]) -> list[tuple]:
        shown = ["unix_millis(cast(time_hour as timestamp))" if name == "time_hour" else name for name in columns]
        return self.rows(f"__partition, __offset, {', '.join(shown)}", source)


class Flink:
    """Flink in a process of its own (see flink-reader), a query a line."""

    name = "Flink 2.0.0"

    def __init__(self, lake: str, log: str):
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            ["bash", str(HERE / "flink-reader" / "run.sh"), lake], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, encoding="utf-8",
        )

    def source(self, ctx: Context, form: str, topic: str) -> str:
        return f"weir.`{topic}`"

    def rows(self, columns: str, source: str) -> list[list]:
        print(f"select {columns} from {source}", file=self.process.stdin, flush=True)
        rows = []
        for line in self.process.stdout:
            if line == ".\n":
                return rows
            if line.startswith("! "):
                raise CheckFailed(f"Flink: {line[2:].strip()}")
            rows.append(json.loads(line))
        raise CheckFailed(f"Flink ended: {Path(self.log.name).read_text()[-2000:]}")

    def untyped(self, source: str) -> list[tuple]:
        octets = lambda text: None if text is None else base64.b64decode(text)  # noqa: E731
        named = lambda header: {"key": header[0], "value": octets(header[1])}  # noqa: E731
        rows = self.rows(f"{SYSTEM}, __timestamp", source)
        return [(*r[:2], octets(r[2]), octets(r[3]), [named(h) for h in r[4]], r[5] // 1000) for r in rows]

    def typed(self, source: str, columns: list[str]) -> list[tuple]:
        shown = ", ".join(f"`{name}`" for name in columns)
        rows = self.rows(f"__partition, __offset, {shown}", source)
        at = 2 + columns.index("time_hour")
        return [(*row[:at], row[at] // 1000, *row[at + 1 :]) for row in rows]

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def named(header: dict) -> dict:
    """ClickHouse's Arrow has names as bytes too."""
    key = header["key"]
    return {"key": key.decode() if isinstance(key, bytes) else key, "value": header["value"]}


class World:
    """A broker that can be killed, and the engines."""

    def __init__(self, ctx: Context, folder: str, jars: str):
        self.ctx, self.folder = ctx, folder
        self.spark, self.flink = Spark(ctx.lake, jars, f"{folder}/spark"), Flink(ctx.lake, f"{folder}/flink.log")
        self.broker = start(folder, ctx.bootstrap, ctx.http)

    def kill(self) -> None:
        self.broker.send_signal(signal.SIGKILL)
        self.broker.wait()
        self.broker = start(self.folder, self.ctx.bootstrap, self.ctx.http)

    def engines(self, form: str) -> list:
        return [self.flink] if form == "paimon" else [self.spark, ClickHouse()]

    def close(self) -> None:
        self.broker.kill()
        self.broker.wait()
        self.flink.close()
        self.spark.session.stop()


def untyped(check: Check, world: World, form: str) -> None:
    """Every record, in every field, over a kill."""
    ctx = world.ctx
    topic = ctx.create(form, weir_lake_partition_by="" if form == "paimon" else "day(__timestamp), __partition")
    half = len(ctx.rows) // 2
    for rows in (ctx.rows[:half], ctx.rows[half:]):
        ctx.produce(check, topic, rows, **{"enable.idempotence": True})
        world.kill()
    check.equal("rows by weir's own count", ctx.wait(topic)["rows"], len(ctx.rows))
    for engine in world.engines(form):
        compare(check, engine.name, engine.untyped(engine.source(ctx, form, topic)), ctx.sent[topic])


def typed(check: Check, world: World, form: str) -> None:
    """A typed topic's own columns, before and after two were added; every value."""
    ctx, quarter = world.ctx, len(world.ctx.rows) // 4
    parts = [ctx.rows[:quarter], ctx.rows[quarter : 2 * quarter]]
    topic, wanted = evolved(check, ctx, form, parts, weir_lake_partition_by="carrier")
    for engine in world.engines(form):
        compare_typed(check, engine.name, engine.typed(engine.source(ctx, form, topic), NAMES), wanted)


def keyed(check: Check, world: World, seed: int) -> None:
    """Of each key the last row, and none that was deleted."""
    ctx, luck = world.ctx, random.Random(seed)
    log = Log(ctx, ctx.create("paimon", **KEYED))
    for count in (2_000, 1_000, 500, 500, 500):
        log.produce(check, changes(luck, count, 300))
        ctx.wait(log.topic)
        world.kill()
    wanted = {
        key: value | {"__partition": partition, "__offset": offset}
        for key, (value, partition, offset) in log.folded().items()
    }
    names = ["id", "city", "n", "note", "__partition", "__offset"]
    rows = world.flink.rows(", ".join(names), world.flink.source(ctx, "paimon", log.topic))
    found = [dict(zip(names, row, strict=True)) for row in rows]
    compare_keyed(check, world.flink.name, found, wanted, ["id", "city"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, required=True, help="flights as JSON lines (../data/extract.py)")
    parser.add_argument("--jars", required=True, help="folder of Spark's jar for Iceberg (flink-reader/run.sh build)")
    parser.add_argument("--only")
    arguments = parser.parse_args()
    os.environ["WEIRTEST_BIN"] = os.path.abspath(arguments.weir)
    report = Report("lake-engines", arguments.only)
    with tempfile.TemporaryDirectory() as folder:
        rows = load_flights(arguments.data, arguments.rows)
        # ClickHouse reads tables below the folder that it is started in.
        os.chdir(folder)
        lake = f"{folder}/lake"
        ctx = Context(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", rows, lake)
        world = World(ctx, folder, arguments.jars)
        try:
            for form in FORMATS:
                report.run(f"untyped-{form}", untyped, world, form)
                report.run(f"typed-{form}", typed, world, form)
            report.run("keyed-paimon", keyed, world, arguments.seed)
        finally:
            world.close()
    failed = report.finish(f"{ClickHouse.name}, {world.spark.name}, {Flink.name}")
    counts = report.totals | {"passed": report.passed, "failed": report.failed}
    print(json.dumps({"counts": counts}))
    return failed


if __name__ == "__main__":
    sys.exit(main())
