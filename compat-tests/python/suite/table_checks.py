"""Checks of typed topics: rows of the official serializers come back byte for byte whatever form they are stored in, and the
files of columns say to other programs what was produced.
"""

import os
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars
import pyarrow.ipc
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from suite.other_forms import Dataset, serializer as serializer_of
from suite.registry_forms import COLUMNS, INTEGERS, codec
from suite.report import Check, CheckFailed

FORMS = ("json", "avro", "protobuf")
LAYOUTS = ("row", "column", "both")
# Of the other tables; rows as they are produced are what flights are compared in.
COLUMN_LAYOUTS = ("column", "both")
# Only a table of this topic has this column, so that its files are known among the others.
MARK = "only_of_this_topic"
DDL = ", ".join([f"{name} INT" for name in INTEGERS] + [f"{name} STRING" for name in COLUMNS if name not in INTEGERS])


class Broker:
    """One that merges early, but not so early that there is too little for columns."""

    SETTINGS = {"WEIR_WAL_FILE_BYTES": "4MiB", "WEIR_WAL_MAX_BYTES": "16MiB", "WEIR_WAL_MAX_AGE": "25s",
                "WEIR_MERGE_PARTITION_BYTES": "1MiB"}

    def __init__(self, folder: Path, settings: dict | None = None):
        self.folder = folder
        self.settings = self.SETTINGS if settings is None else settings
        self.ports = [free_port() for _ in range(3)]
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def registry(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}"

    def start(self) -> None:
        kafka, http, registry = (f"127.0.0.1:{port}" for port in self.ports)
        self.process = subprocess.Popen(
            [os.environ["WEIRTEST_BIN"], "serve", "--data-dir", str(self.folder / "data"), "--listen", kafka, "--http", http,
             "--registry", registry],
            env=os.environ | self.settings, stdout=(self.folder / "broker.log").open("ab"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.ports[2]), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise CheckFailed("the broker does not start:\n" + (self.folder / "broker.log").read_text()[-2000:])

    def files(self) -> list[Path]:
        return sorted((self.folder / "data").rglob("*.arrow"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@dataclass
class Context:
    broker: Broker
    flights: list
    # Of the other tables, by name.
    rows: dict = field(default_factory=dict)
    values: dict = field(default_factory=dict)

    def client(self) -> SchemaRegistryClient:
        """A new one: clients keep what they have seen."""
        return SchemaRegistryClient({"url": self.broker.registry})

    def create(self, topics: dict[str, dict]) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        made = admin.create_topics([NewTopic(name, 1, 1, config=config) for name, config in topics.items()])
        for future in made.values():
            future.result(30)


def topic(form: str, layout: str) -> str:
    return f"flights-{form}-{layout}"


def send(ctx: Context, check: Check, topics: list[str], values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": ctx.broker.bootstrap, "acks": "all", "linger.ms": 20})
    failed = []
    for number, value in enumerate(values):
        for name in topics:
            producer.produce(name, value, on_delivery=lambda error, _: failed.append(error) if error else None)
        if number % 200 == 0:
            producer.poll(0)
    check.equal("records not acknowledged", producer.flush(120), 0)
    check.equal("failed deliveries", failed[:3], [])
    check.produced += len(topics) * len(values)


def values_of(ctx: Context, name: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": ctx.broker.bootstrap, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(name, 0, 0)])
    found = []
    deadline = time.monotonic() + 90
    while len(found) < count and time.monotonic() < deadline:
        for message in consumer.consume(2000, 1.0):
            if message.error():
                raise CheckFailed(f"{name}: {message.error()}")
            found.append(message.value())
    consumer.close()
    return found


def compare(check: Check, ctx: Context, name: str, wanted: list[bytes]) -> None:
    found = values_of(ctx, name, len(wanted))
    check.equal(f"{name}: records", len(found), len(wanted))
    for number, (got, want) in enumerate(zip(found, wanted)):
        if got != want:
            raise CheckFailed(f"{name}: record {number} is {got!r}, {want!r} was produced")
    check.consumed += len(found)
    check.compared += len(found)


def produce(check: Check, ctx: Context, form: str) -> None:
    """One topic for each layout; the same framed rows into all of them."""
    subject = f"{topic(form, LAYOUTS[0])}-value"
    configs = {"weir.value.format": form, "weir.column.zstd.level": "1"}
    configs |= {"weir.table.schema": f"{DDL}, {MARK} STRING"} if form == "json" else {"weir.value.schema.subject": subject}
    ctx.create({topic(form, layout): configs | {"weir.layout": layout} for layout in LAYOUTS})
    write, _ = codec(form, ctx.client(), "flights")
    context = SerializationContext(topic(form, LAYOUTS[0]), MessageField.VALUE)
    rows = [write(flight, context) for flight in ctx.flights]
    check.true("rows are framed", all(row[0] == 0 for row in rows))
    ctx.values[form] = rows
    send(ctx, check, [topic(form, layout) for layout in LAYOUTS], rows)
    for layout in LAYOUTS:
        compare(check, ctx, topic(form, layout), rows)


def produce_other(check: Check, ctx: Context, dataset: Dataset, form: str) -> None:
    """As `produce`; the columns of JSON rows come out of the JSON Schema that the serializer registers."""
    topics = [f"{dataset.name}-{form}-{layout}" for layout in COLUMN_LAYOUTS]
    configs = {"weir.value.format": form, "weir.column.zstd.level": "1", "weir.value.schema.subject": f"{topics[0]}-value",
               "weir.fidelity": "exact"}
    ctx.create({name: configs | {"weir.layout": layout} for name, layout in zip(topics, COLUMN_LAYOUTS)})
    write = serializer_of(dataset, form, ctx.client())
    context = SerializationContext(topics[0], MessageField.VALUE)
    rows = [write(row, context) for row in ctx.rows[dataset.name]] * dataset.times
    check.true("rows are framed", all(row[0] == 0 for row in rows))
    ctx.values[dataset.name, form] = rows
    send(ctx, check, topics, rows)
    same_other_bytes(check, ctx, dataset, form)


def same_other_bytes(check: Check, ctx: Context, dataset: Dataset, form: str) -> None:
    for layout in COLUMN_LAYOUTS:
        compare(check, ctx, f"{dataset.name}-{form}-{layout}", ctx.values[dataset.name, form])


def stored_rows(ctx: Context, column: str) -> dict[str, int]:
    """Rows in files that have this column, by the form that the file says its rows had."""
    rows = dict.fromkeys(FORMS, 0)
    for path in ctx.broker.files():
        try:
            with pyarrow.ipc.open_file(path) as file:
                if file.schema.get_field_index(column) < 0:
                    continue
                writers = (file.schema.metadata or {}).get(b"weir.writers", b"")
                form = next((form for form in ("avro", "protobuf") if f'"{form}"'.encode() in writers), "json")
                rows[form] += file.read_all().num_rows
        except FileNotFoundError:
            pass  # a merge replaced it
    return rows


def merge(check: Check, ctx: Context, column: str, count: int) -> None:
    """Rows of two topics of each form become files of columns; little data at a time stays as rows."""
    wanted = count // 4
    deadline, rows = time.monotonic() + 90, {}
    while time.monotonic() < deadline:
        rows = stored_rows(ctx, column)
        if min(rows.values()) >= wanted:
            break
        time.sleep(1)
    for form in FORMS:
        check.true(f"rows of {form} in files of columns", rows[form] >= wanted, rows)


def same_bytes(check: Check, ctx: Context, form: str) -> None:
    for layout in LAYOUTS:
        compare(check, ctx, topic(form, layout), ctx.values[form])


def shown(check: Check, ctx: Context, form: str) -> None:
    """A view of framed rows: the official deserializer reads what it shows, and its schema says no more than that.

    Seen failing: with one flight less in what is expected, and (Protobuf) with the source's schema as the view's.
    """
    view = f"shown-{form}"
    columns = ("carrier", "dep_delay")
    known = view in ctx.values
    if not known:
        ctx.create({view: {"weir.view.source": topic(form, "column"), "weir.view.select": ", ".join(columns),
                           "weir.view.where": "dep_delay > 60 AND origin = 'JFK'"}})
        ctx.values[view] = ctx.client().get_latest_version(f"{view}-value").schema_id
    found = ctx.client().get_latest_version(f"{view}-value")
    check.equal("id of the view's schema", found.schema_id, ctx.values[view])
    text = found.schema.schema_str
    check.true("what is hidden is not in it", not any(hidden in text for hidden in ("origin", "tailnum", "arr_delay")), text)
    check.true("what is shown is", all(column in text for column in columns), text)
    wanted = [{column: flight[column] for column in columns} for flight in ctx.flights
              if flight["dep_delay"] is not None and flight["dep_delay"] > 60 and flight["origin"] == "JFK"]
    _, read = codec(form, ctx.client(), "flights")
    context = SerializationContext(view, MessageField.VALUE)
    rows = values_of(ctx, view, len(wanted))
    got = [{name: value for name, value in read(row, context).items() if value is not None} for row in rows]
    check.equal("rows", len(got), len(wanted))
    for number, (one, want) in enumerate(zip(got, wanted)):
        if one != want:
            raise CheckFailed(f"{view}: row {number} is {one}, not {want}")
    check.consumed += len(got)
    check.compared += len(got)


def restart(check: Check, ctx: Context) -> None:
    ctx.broker.process.terminate()
    check.equal("exit code", ctx.broker.process.wait(60), 0)
    ctx.broker.start()


def with_pyarrow(path: Path) -> list[dict]:
    with pyarrow.ipc.open_file(path) as file:
        return file.read_all().to_pylist() if file.schema.get_field_index("dep_time") >= 0 else []


def with_polars(path: Path) -> list[dict]:
    frame = polars.read_ipc(path)
    return frame.to_dicts() if "dep_time" in frame.columns else []


def unless_replaced(read, path: Path) -> list[dict]:
    """Rows of a file, none if a merge replaced it."""
    try:
        return read(path)
    except FileNotFoundError:
        return []


def arrow_files(check: Check, ctx: Context, read) -> None:
    """Every value of every row of a topic, out of the files of the broker's data folder as they are. Then: what columns say
    is not kept as bytes beside them."""
    rows, framed = [], 0
    for path in ctx.broker.files():
        found = unless_replaced(read, path)
        if found and MARK in found[0]:
            rows += found
        framed += sum(1 for row in found if row["_value"] is not None)
    rows = {row["_offset"]: row for row in rows}
    check.true("rows of the files", len(rows) > len(ctx.flights) // 4, len(rows))
    for offset, row in sorted(rows.items()):
        want = ctx.flights[offset]
        got = {name: row[name] for name in COLUMNS}
        if got != {name: want[name] for name in COLUMNS}:
            raise CheckFailed(f"offset {offset}: {got}, {want} was produced")
    check.consumed += len(rows)
    check.compared += len(rows)
    check.equal("rows of any form that kept their bytes", framed, 0)


def other_files(check: Check, ctx: Context, dataset: Dataset) -> None:
    """Every value of every row in files of the table's topics. Offsets tell the row: all topics got the same ones."""
    wanted, rows, framed = ctx.rows[dataset.name], 0, 0
    needed = 3 * len(wanted) * dataset.times // 4

    def read(path: Path) -> list[dict]:
        with pyarrow.ipc.open_file(path) as file:
            return file.read_all().to_pylist() if file.schema.get_field_index(dataset.mark) >= 0 else []

    for path in ctx.broker.files():
        found = unless_replaced(read, path)
        for row in found:
            want = wanted[row["_offset"] % len(wanted)]
            got = {name: row[name] for name in dataset.columns}
            if "time_hour" in got and not isinstance(got["time_hour"], str):
                # The JSON Schema says that it is a time.
                got["time_hour"] = got["time_hour"].strftime("%Y-%m-%dT%H:%M:%SZ")
            if got != want:
                raise CheckFailed(f"{path.name}, offset {row['_offset']}: {got}, {want} was produced")
            framed += row["_value"] is not None
        rows += len(found)
    check.true("rows of the files", rows >= needed, rows)
    check.equal("rows that kept their bytes", framed, 0)
    check.consumed += rows
    check.compared += rows


# The second field is called after the form, so that the files of one topic are known among the others.
AVRO = ('{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"who_avro","type":"string"}',
        ',{"name":"more","type":["null","string"],"default":null}', "]}")
OLD, NEW = "old" + "." * 120, "new" + "." * 120


def message(version: int):
    file = descriptor_pb2.FileDescriptorProto(name=f"evolving{version}.proto", package="evolving", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    kind = file.message_type.add(name="R")
    kind.field.add(name="id", number=1, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    kind.field.add(name="who_protobuf", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    if version > 1:
        kind.field.add(name="more", number=3, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL, proto3_optional=True,
                       oneof_index=0)
        kind.oneof_decl.add(name="_more")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("evolving.R"))


def serializer(form: str, client, version: int):
    if form == "avro":
        return AvroSerializer(client, AVRO[0] + (AVRO[1] if version > 1 else "") + AVRO[2])
    kind = message(version)
    write = ProtobufSerializer(kind, client)
    return lambda row, context: write(kind(**row), context)


def evolution(check: Check, ctx: Context, form: str) -> None:
    """A producer with the old schema never stops; one with a new schema comes and goes on beside it. A consumer follows both,
    and the files have the rows of both under the new table."""
    name, column, rows_each = f"evolving-{form}", f"who_{form}", 12_000
    ctx.create({name: {"weir.value.format": form, "weir.layout": "column", "weir.on.unknown": "reject"}})
    context = SerializationContext(name, MessageField.VALUE)
    sent, failures = {}, []
    # The first schema is there before the first row, as the topic needs it.
    first = serializer(form, ctx.client(), 1)
    first({"id": -1, column: "schema"}, context)

    def produce_as(who: str, version: int, after: float) -> None:
        try:
            time.sleep(after)
            write = first if version == 1 else serializer(form, ctx.client(), 2)
            producer = Producer({"bootstrap.servers": ctx.broker.bootstrap, "acks": "all", "linger.ms": 5})
            for number in range(rows_each):
                row = {"id": number, column: who} | ({"more": "x" * (number % 90)} if version > 1 else {})
                value = write(row, context)
                sent[who, number] = value
                producer.produce(name, value, on_delivery=lambda error, _: failures.append(str(error)) if error else None)
                if number % 50 == 0:
                    producer.poll(0)
                    time.sleep(0.005)
            if producer.flush(60):
                failures.append(f"{who}: not acknowledged")
        except Exception as error:  # noqa: BLE001 - whatever a client raises is a failure of the check
            failures.append(f"{who}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=produce_as, args=arguments) for arguments in ((OLD, 1, 0.0), (NEW, 2, 0.4))]
    for thread in threads:
        thread.start()
    found = values_of(ctx, name, 2 * rows_each)
    for thread in threads:
        thread.join()
    check.equal("failures", failures[:3], [])
    check.produced += 2 * rows_each
    read = AvroDeserializer(ctx.client()) if form == "avro" else ProtobufDeserializer(message(2), schema_registry_client=ctx.client())
    seen, schemas = {}, set()
    for value in found:
        row = read(value, context)
        who, number = (row[column], row["id"]) if form == "avro" else (getattr(row, column), row.id)
        seen[who, number] = value
        schemas.add(struct.unpack(">I", value[1:5])[0])
    check.equal("rows consumed", len(found), 2 * rows_each)
    check.equal("writers' schemas", len(schemas), 2)
    for key, value in sent.items():
        if seen.get(key) != value:
            raise CheckFailed(f"row {key} was produced as {value!r} and is {seen.get(key)!r}")
    check.consumed += len(found)
    check.compared += len(sent)
    rows = columns_of(ctx, column, 2 * rows_each)
    for row in rows.values():
        wanted = "x" * (row["id"] % 90) if row[column] == NEW else None
        if row.get("more") != wanted:
            raise CheckFailed(f"offset {row['_offset']} of the files: {row}")
    for who in (OLD, NEW):
        check.true(f"rows of both producers are in the files: {who}", any(row[column] == who for row in rows.values()), len(rows))
    compare(check, ctx, name, found)


def columns_of(ctx: Context, column: str, count: int) -> dict[int, dict]:
    """The rows of the files with this column, once most of them are there. Little data at a time stays as rows."""
    deadline, rows = time.monotonic() + 30, {}
    while len(rows) < count // 2 and time.monotonic() < deadline:
        time.sleep(1)
        rows = {}
        for path in ctx.broker.files():
            try:
                with pyarrow.ipc.open_file(path) as file:
                    if file.schema.get_field_index(column) >= 0:
                        rows |= {row["_offset"]: row for row in file.read_all().to_pylist()}
            except FileNotFoundError:
                pass  # a merge replaced it
    return rows
