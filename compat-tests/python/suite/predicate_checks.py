"""Every predicate of compat-tests/data/predicates.toml over typed topics in JSON and Avro, in every layout.

Partition 0 has nearly all rows, partition 1 so few that they share a file with others. What is expected is what DuckDB selects from
the CSV (suite/flights_table.py): the rows, their order, and each value of each column that is read.

Seen failing: with `sched_time BETWEEN TIME '06:00:00' AND TIME '08:30:00'` in the table, which the planner refused for a column of
TIME(3); and `merge` and `across_a_merge` against a broker that had not merged yet.
"""

import itertools
import json
import subprocess
import time
import tomllib
import urllib.request
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.ipc
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

import weir
from suite import flights_table
from suite.report import Check, CheckFailed
from suite.table_checks import Broker

FORMS = ("json", "avro")
LAYOUTS = ("row", "column", "both")
CLIENTS = ("rust", "python")
PARTITIONS = 2
FETCH_BYTES = 1 << 20
TABLE = tomllib.loads((Path(__file__).parents[2] / "data" / "predicates.toml").read_text())
# Nothing is merged; then everything of the time before the restart, and more as soon as there is half a mebibyte.
TAIL_ONLY = {"WEIR_WAL_MAX_AGE": "1h"}
MERGES = {"WEIR_WAL_MAX_AGE": "1s", "WEIR_MERGE_PARTITION_BYTES": "512KiB"}
# What is selected for `route.leg.miles`: the struct, pruned.
PRUNED = {"route.leg.miles": ("route", "{'leg': {'miles': route.leg.miles}}")}
# Columns that mean the same in JSON and Avro as they do in Python, so that rows of views can be compared.
PLAIN = ("carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "distance", "late", "speed")


class RustReader:
    """The Rust client: one process that reads what it is asked for and leaves the rows in a file."""

    def __init__(self, program: str, bootstrap: str, folder: Path):
        self.process = subprocess.Popen([program, bootstrap], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.folder, self.numbers = folder, itertools.count()

    def begin(self, topic: str, columns, where, **wish) -> Path:
        out = self.folder / f"rust-{next(self.numbers)}.arrow"
        wish |= {"topic": topic, "columns": columns, "where": where, "out": str(out)}
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        return out

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise CheckFailed(f"the Rust client ended with {self.process.wait()}")
        return json.loads(line)

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self, out: Path) -> tuple[pyarrow.Table, dict]:
        answer = self.answer()
        if "error" in answer:
            raise CheckFailed(answer["error"])
        with pyarrow.ipc.open_stream(out.read_bytes()) as stream:
            table = stream.read_all()
        out.unlink()
        return table, answer

    def read(self, *what, **wish):
        return self.finish(self.begin(*what, **wish))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


class Context:
    def __init__(self, folder: Path, rows: int, rust: str):
        self.folder = folder
        self.program = rust
        self.csv = flights_table.csv_rows(rows)
        self.flights = [flights_table.flight(row) for row in self.csv]
        # Every 32nd row goes to the partition of the few.
        partitions = [int(number % 32 == 31) for number in range(rows)]
        counters = [itertools.count() for _ in range(PARTITIONS)]
        self.places = [(partition, next(counters[partition])) for partition in partitions]
        self.produced = 0
        self.values: dict[str, list[bytes]] = {}
        self.expected: dict = {}
        self.oracle = flights_table.oracle(folder, self.csv, self.places)
        self.broker = Broker(folder, TAIL_ONLY)

    def __enter__(self):
        self.broker.start()
        self.rust = RustReader(self.program, self.broker.bootstrap, self.folder)
        return self

    def __exit__(self, *_):
        self.rust.close()
        self.broker.process.kill()
        self.broker.process.wait()

    def ends(self) -> list[int]:
        """Offsets behind the rows that were produced."""
        return [sum(place[0] == partition for place in self.places[:self.produced]) for partition in range(PARTITIONS)]

    def registry(self) -> SchemaRegistryClient:
        return SchemaRegistryClient({"url": self.broker.registry})

    def segments(self, topic: str, partition: int) -> list[dict]:
        with urllib.request.urlopen(f"http://{self.broker.http}/tables/{topic}", timeout=10) as answer:
            # A broker that has just started may not know its topics yet.
            table = json.load(answer) or {"segments": []}
        return [segment for segment in table["segments"] if segment["partition"] == partition]

    def want(self, number: int, start: int, partitions) -> pyarrow.Table:
        """What DuckDB selects for a predicate, of the rows that were produced."""
        key = (number, self.produced)
        if key not in self.expected:
            predicate = TABLE["predicate"][number]
            columns = ["_partition", "_offset"]
            columns += ["{1} AS {0}".format(*PRUNED.get(name, (name, name))) for name in projection(number)]
            zero, one = self.ends()
            self.expected[key] = self.oracle.sql(
                f"SELECT {', '.join(columns)} FROM flights WHERE ({predicate.get('duckdb', predicate['where'])}) "
                f"AND _offset < CASE _partition WHEN 0 THEN {zero} ELSE {one} END ORDER BY _partition, _offset").to_arrow_table()
        table = self.expected[key]
        if start:
            table = table.filter(pyarrow.compute.field("_offset") >= start)
        return table if partitions is None else table.filter(pyarrow.compute.field("_partition").isin(partitions))


def topic(form: str, layout: str) -> str:
    return f"flights-{form}-{layout}"


def projection(number: int) -> list[str]:
    predicate, some = TABLE["predicate"][number], TABLE["projections"]
    return predicate.get("columns", some[number % len(some)])


def produce(check: Check, ctx: Context, name: str, form: str, rows: range) -> None:
    producer = Producer({"bootstrap.servers": ctx.broker.bootstrap, "acks": "all", "linger.ms": 20})
    wrong = []

    def delivered(number: int):
        def note(error, message):
            if error is not None or (message.partition(), message.offset()) != ctx.places[number]:
                wrong.append((number, str(error), message and message.offset()))
        return note

    for number in rows:
        flight = ctx.flights[number]
        producer.produce(name, ctx.values[form][number], flight["carrier"].encode(), ctx.places[number][0],
                         on_delivery=delivered(number), timestamp=round(flight["time_hour"].timestamp() * 1000))
        if number % 200 == 0:
            producer.poll(0)
    check.equal("not acknowledged", producer.flush(60), 0)
    check.equal("rows elsewhere than meant", wrong[:3], [])
    check.produced += len(rows)


def produce_head(check: Check, ctx: Context, form: str) -> None:
    """Three quarters of the rows into a topic for each layout."""
    admin = AdminClient({"bootstrap.servers": ctx.broker.bootstrap})
    configs = {"retention.ms": "-1", "weir.value.format": form, "weir.column.zstd.level": "1"}
    if form == "json":
        configs["weir.table.schema"] = flights_table.ddl()
        ctx.values[form] = [flights_table.json_value(number, row) for number, row in enumerate(ctx.flights)]
    else:
        configs["weir.value.schema.subject"] = "flights-value"
        write = AvroSerializer(ctx.registry(), flights_table.avro())
        context = SerializationContext("flights", MessageField.VALUE)
        ctx.values[form] = [write(row, context) for row in ctx.flights]
        check.true("rows are framed", all(value[0] == 0 for value in ctx.values[form]))
    made = admin.create_topics([NewTopic(topic(form, layout), PARTITIONS, 1, config=configs | {"weir.layout": layout})
                                for layout in LAYOUTS])
    for future in made.values():
        future.result(30)
    head = len(ctx.csv) * 3 // 4
    for layout in LAYOUTS:
        produce(check, ctx, topic(form, layout), form, range(head))
    ctx.produced = head


def predicates(check: Check, ctx: Context, form: str, client: str, every: bool) -> None:
    """All predicates: from the beginning, from an offset inside of a row group, and in pieces of at most a mebibyte. With `every` each
    of them in every layout; otherwise in one after the other, for a tail that is the same in all."""
    ends = ctx.ends()
    for turn, layout in enumerate(LAYOUTS):
        for number, predicate in enumerate(TABLE["predicate"]):
            if not every and number % len(LAYOUTS) != turn:
                continue
            way = (number + number // 3 + turn) % 3
            wish = {"start": number * 4099 % ends[0], "partitions": [0]} if way == 1 else {}
            wish |= {"fetch_bytes": FETCH_BYTES} if way else {}
            what = f"{layout}: {predicate['where']} {wish or ''}"
            columns = ["_partition", "_offset", *projection(number)]
            got, cost = read(ctx, client, topic(form, layout), columns, predicate["where"], **wish)
            want = ctx.want(number, wish.get("start", 0), wish.get("partitions"))
            compare(check, what, got, want)
            check.equal(f"{what}: answers that were not columns", cost["record_answers"], 0)
            if way == 0:
                all_rows = sum(ends)
                check.true(f"{what}: some rows match and not all", (0 < got.num_rows < all_rows) != predicate.get("none", False),
                           got.num_rows)
                check.equal(f"{what}: some rows raised an error", cost["rows_errored"] > 0, predicate.get("errors", False))


def read(ctx: Context, client: str, name: str, columns: list[str], where: str, **wish) -> tuple[pyarrow.Table, dict]:
    if client == "rust":
        return ctx.rust.read(name, columns, where, **wish)
    rows = weir.read(ctx.broker.bootstrap, name, columns, where, progress=False, **wish)
    return pyarrow.table(rows), rows.statistics


def compare(check: Check, what: str, got: pyarrow.Table, want: pyarrow.Table) -> None:
    """The same rows, each partition's in the order of their offsets, with the same values."""
    check.equal(f"{what}: rows", got.num_rows, want.num_rows)
    check.consumed += got.num_rows
    check.compared += got.num_rows
    if not got.num_rows:
        return
    for partition in range(PARTITIONS):
        offsets = got.filter(pyarrow.compute.field("_partition") == partition)["_offset"].to_numpy()
        check.true(f"{what}: offsets of partition {partition} ascend", (offsets[1:] > offsets[:-1]).all())
    got = got.sort_by([("_partition", "ascending"), ("_offset", "ascending")])
    check.equal(f"{what}: columns", got.column_names, want.column_names)
    for name in got.column_names:
        mine, theirs = got[name].combine_chunks(), want[name].combine_chunks()
        if name in flights_table.NESTED:
            same = normal(mine.to_pylist()) == normal(theirs.to_pylist())
        else:
            theirs = theirs.cast(mine.type)
            same = mine.equals(theirs)
        if not same:
            first = next(row for row in range(len(mine)) if normal(mine[row].as_py()) != normal(theirs[row].as_py()))
            place = (got["_partition"][first].as_py(), got["_offset"][first].as_py())
            raise CheckFailed(f"{what}: {name} at {place}: got {mine[first].as_py()!r}, want {theirs[first].as_py()!r}")


def normal(value):
    """The entries of a map are in no order."""
    if isinstance(value, list):
        pairs = bool(value) and all(isinstance(item, tuple) for item in value)
        return sorted(value) if pairs else [normal(item) for item in value]
    return value


def wait(what: str, done, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise CheckFailed(f"waited {seconds} s until {what}")
        time.sleep(0.05)


def merge(check: Check, ctx: Context) -> None:
    """After a start with other settings all that was written before it leaves the write-ahead log."""
    ctx.broker.process.terminate()
    check.equal("exit code", ctx.broker.process.wait(60), 0)
    ctx.broker.settings = MERGES
    ctx.broker.start()
    ends = ctx.ends()
    for form, layout, partition in itertools.product(FORMS, LAYOUTS, range(PARTITIONS)):
        name = topic(form, layout)
        wait(f"{name}-{partition} is merged",
             lambda: sum(part["next"] - part["base"] for part in ctx.segments(name, partition)) == ends[partition])
        check.compared += 1


def across_a_merge(check: Check, ctx: Context, form: str) -> None:
    """A reading that began in the tail goes on in what a merge made of it: no row is missing, none comes twice."""
    limit = 512 << 10
    rows = range(ctx.produced, len(ctx.csv))
    held = itertools.accumulate(len(ctx.values[form][number]) for number in rows)
    few = rows[:sum(size < limit // 2 for size in held)]
    where, columns = "_offset >= 0", ["_partition", "_offset", "carrier", "dep_delay"]
    for layout, client in zip(LAYOUTS, ("rust", "python", "rust")):
        name, start = topic(form, layout), ctx.ends()[0]
        produce(check, ctx, name, form, few)
        wish = {"start": start, "end": sum(place[0] == 0 for place in ctx.places), "partitions": [0], "fetch_bytes": 16_000}
        reading = follow(ctx, client, name, columns, where, wish)
        taken = next(reading)
        check.true(f"{layout}: a part was read from the tail", 0 < taken < len(few), taken)
        before = max(part["next"] for part in ctx.segments(name, 0))
        check.equal(f"{layout}: nothing of it was merged before", before, start)
        produce(check, ctx, name, form, rows[len(few):])
        wait(f"{name} is merged past {start + len(few)}", lambda: ctx.segments(name, 0)[-1]["next"] > start + len(few))
        got = next(reading)
        want = ctx.oracle.sql(f"SELECT {', '.join(columns)} FROM flights WHERE _partition = 0 AND _offset >= {start} "
                                  "ORDER BY _partition, _offset").to_arrow_table()
        compare(check, f"{layout} by {client}", got, want)
    if form == FORMS[-1]:
        ctx.produced = len(ctx.csv)


def follow(ctx: Context, client: str, name: str, columns: list[str], where: str, wish: dict):
    """Yields the number of rows of the first batch, and then, when it is asked again, the table of all."""
    if client == "rust":
        out = ctx.rust.begin(name, columns, where, pause=True, forever=True, **wish)
        yield ctx.rust.answer()["paused"]
        ctx.rust.go_on()
        yield ctx.rust.finish(out)[0]
        return
    end = wish.pop("end")
    with weir.stream(ctx.broker.bootstrap, name, columns, where, **wish) as rows:
        batches = [pyarrow.record_batch(next(rows))]
        yield batches[0].num_rows
        while batches[-1]["_offset"][-1].as_py() < end - 1:
            batches.append(pyarrow.record_batch(next(rows)))
    yield pyarrow.Table.from_batches(batches)


def stored(check: Check, ctx: Context) -> None:
    """What the readings that follow go through: columns and rows as the layout says, shared files, and a tail."""
    forms = {"row": {"rows"}, "column": {"columns"}, "both": {"rows and columns"}}
    for form, layout in itertools.product(FORMS, LAYOUTS):
        name = topic(form, layout)
        many, few = (ctx.segments(name, partition) for partition in range(PARTITIONS))
        check.true(f"{name}: its segments", forms[layout] <= {part["form"] for part in many}, many)
        check.equal(f"{name}: form of the few", {part["form"] for part in few}, {"rows"})
        ends = ctx.ends()
        check.true(f"{name}: rows of the few are in the tail", few[-1]["next"] < ends[1], few)
        for client in CLIENTS:
            got, cost = read(ctx, client, name, [], None)
            check.equal(f"{name}: rows without columns", (got.num_columns, cost["rows_returned"]), (0, sum(ends)))


def views(check: Check, ctx: Context, form: str) -> None:
    """Views with some of the predicates, one layout after the other, read by a consumer that knows nothing of columns."""
    admin, ends = AdminClient({"bootstrap.servers": ctx.broker.bootstrap}), ctx.ends()
    chosen = [number for number, predicate in enumerate(TABLE["predicate"]) if predicate.get("view")]
    for turn, number in enumerate(chosen):
        predicate, layout = TABLE["predicate"][number], LAYOUTS[turn % len(LAYOUTS)]
        name = f"view-{form}-{turn}"
        config = {"weir.view.source": topic(form, layout), "weir.view.where": predicate["where"], "weir.view.select": ",".join(PLAIN)}
        admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config)])[name].result(30)
        decode = json.loads
        if form == "avro":
            deserializer, context = AvroDeserializer(ctx.registry()), SerializationContext(name, MessageField.VALUE)
            decode = lambda value: deserializer(value, context)  # noqa: E731 - used in this turn of the loop only
        got = drained(ctx, name, ends)
        want = ctx.oracle.execute(
            f"SELECT _partition, _offset, {', '.join(PLAIN)} FROM flights WHERE {predicate.get('duckdb', predicate['where'])} "
            "ORDER BY _partition, _offset").fetchall()
        what = f"{layout}: view of {predicate['where']}"
        check.equal(f"{what}: rows", len(got), len(want))
        check.true(f"{what}: some rows match and not all", 0 < len(got) < sum(ends), len(got))
        for message, row in zip(got, want):
            flight = decode(message.value())
            found = (message.partition(), message.offset(), *(flight.get(column) for column in PLAIN))
            if found != row:
                raise CheckFailed(f"{what}: got {found}, want {row}")
            check.compared += 1
        check.consumed += len(got)


def drained(ctx: Context, name: str, ends: list[int]) -> list:
    """All records of a topic, by partition; the consumer's own position says when it is at the end."""
    consumer = Consumer({"bootstrap.servers": ctx.broker.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                         "enable.partition.eof": True, "check.crcs": True})
    parts = [TopicPartition(name, partition, 0) for partition in range(PARTITIONS)]
    consumer.assign(parts)
    found, deadline = [], time.monotonic() + 60
    while [part.offset for part in consumer.position(parts)] != ends:
        if time.monotonic() > deadline:
            raise CheckFailed(f"{name}: at {consumer.position(parts)} after a minute, not at {ends}")
        for message in consumer.consume(2000, 0.2):
            if message.error() is None:
                found.append(message)
            elif message.error().code() != KafkaError._PARTITION_EOF:
                raise CheckFailed(f"{name}: {message.error()}")
    consumer.close()
    return sorted(found, key=lambda message: (message.partition(), message.offset()))
