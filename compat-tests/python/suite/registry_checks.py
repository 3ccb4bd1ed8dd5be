"""Checks of the Schema Registry through Confluent's client: what is registered, read, refused, and what a kill leaves.

Each uses subjects of its own, so they may run against a registry with others.
"""

import concurrent.futures
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass

import httpx2
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from suite.registry_forms import CHANGES, codec
from suite.report import Check, CheckFailed

LEVELS = ("NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")


@dataclass
class Context:
    bootstrap: str
    url: str
    flights: list
    run: str

    def client(self) -> SchemaRegistryClient:
        """A new one: clients keep what they have seen."""
        return SchemaRegistryClient({"url": self.url})

    def name(self, text: str) -> str:
        return f"{text}-{self.run}"


def refused(check: Check, what: str, code: int, call) -> str:
    try:
        result = call()
    except SchemaRegistryError as error:
        check.equal(f"{what}: error code ({error})", error.error_code, code)
        return error.error_message
    raise CheckFailed(f"{what}: wanted error {code}, but it succeeded with {result!r}")


def flights(check: Check, ctx: Context, form: str) -> None:
    """Every flight is framed by the official serializer, produced, consumed, and read back by the official deserializer with
    a client that has seen nothing."""
    topic = ctx.name(f"flights-{form}")
    admin = AdminClient({"bootstrap.servers": ctx.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    package = f"run{ctx.run}"
    write, _ = codec(form, ctx.client(), package)
    _, read = codec(form, ctx.client(), package)
    context = SerializationContext(topic, MessageField.VALUE)
    producer = Producer({"bootstrap.servers": ctx.bootstrap, "acks": "all", "linger.ms": 20})
    failed = []
    for number, flight in enumerate(ctx.flights):
        producer.produce(topic, write(flight, context), on_delivery=lambda error, _: failed.append(error) if error else None)
        if number % 500 == 0:
            producer.poll(0)
    check.equal("records not acknowledged", producer.flush(60), 0)
    check.equal("failed deliveries", failed, [])
    check.produced = len(ctx.flights)
    registered = ctx.client().get_latest_version(f"{topic}-value")
    check.equal("version", registered.version, 1)
    check.equal("format", registered.schema.schema_type, form.upper())
    consumer = Consumer({"bootstrap.servers": ctx.bootstrap, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    deadline = time.monotonic() + 60
    while check.consumed < len(ctx.flights) and time.monotonic() < deadline:
        for message in consumer.consume(1000, 1.0):
            if message.error():
                raise CheckFailed(str(message.error()))
            magic, identifier = struct.unpack(">bI", message.value()[:5])
            if (magic, identifier) != (0, registered.schema_id):
                raise CheckFailed(f"frame {magic} {identifier}, the schema's id is {registered.schema_id}")
            check.equal(f"flight {check.consumed}", read(message.value(), context), ctx.flights[check.consumed])
            check.consumed += 1
    consumer.close()
    check.equal("records consumed", check.consumed, len(ctx.flights))


def evolve(check: Check, ctx: Context, form: str) -> None:
    """The table of changes under each level: registered, or refused with 409 and the reason, and the same answer from the
    compatibility resource."""
    base, changes = CHANGES[form]
    kind = form.upper()
    for level in LEVELS:
        for name, changed, backward, forward in changes:
            subject = ctx.name(f"evolve-{form}-{level}-{name.replace(' ', '-')}")
            client = ctx.client()
            client.register_schema(subject, Schema(base, kind))
            client.set_compatibility(subject, level)
            allowed = ("BACKWARD" not in level and "FULL" not in level) or backward
            allowed = allowed and (("FORWARD" not in level and "FULL" not in level) or forward)
            what = f"{level}: {name}"
            check.equal(f"{what}: test", client.test_compatibility(subject, Schema(changed, kind)), allowed)
            if allowed:
                client.register_schema(subject, Schema(changed, kind))
                check.equal(f"{what}: versions", client.get_versions(subject), [1, 2])
            else:
                reason = refused(check, what, 409, lambda: client.register_schema(subject, Schema(changed, kind)))
                check.true(f"{what}: the reason names rule and version",
                           "errorType" in reason and "oldSchemaVersion: 1" in reason and level in reason, reason)


def transitive(check: Check, ctx: Context) -> None:
    """Version 3 reads version 2 but not version 1: only a transitive level minds."""
    def field(extra):
        return '{"type":"record","name":"R","fields":[' + extra + "]}"

    first = field('{"name":"a","type":"int"}')
    second = field('{"name":"a","type":"int"},{"name":"b","type":"int","default":0}')
    third = field('{"name":"a","type":"int"},{"name":"b","type":"int"}')
    for level, wanted in (("BACKWARD", True), ("BACKWARD_TRANSITIVE", False)):
        client, subject = ctx.client(), ctx.name(f"transitive-{level}")
        client.set_compatibility(subject, level)
        client.register_schema(subject, Schema(first, "AVRO"))
        client.register_schema(subject, Schema(second, "AVRO"))
        if wanted:
            client.register_schema(subject, Schema(third, "AVRO"))
            check.equal(level, client.get_versions(subject), [1, 2, 3])
        else:
            reason = refused(check, level, 409, lambda: client.register_schema(subject, Schema(third, "AVRO")))
            check.true("the version that does not fit is named", "oldSchemaVersion: 1" in reason, reason)


def references(check: Check, ctx: Context) -> None:
    client = ctx.client()
    parts = {
        "AVRO": ("n.P", '{"type":"record","name":"P","namespace":"n","fields":[{"name":"x","type":"int"}]}',
                 '{"type":"record","name":"R","fields":[{"name":"p","type":"n.P"}]}'),
        "JSON": ("p.json", '{"type":"object","properties":{"x":{"type":"integer"}}}',
                 '{"type":"object","properties":{"p":{"$ref":"p.json"}}}'),
        "PROTOBUF": ("p.proto", 'syntax = "proto3"; message P { int32 x = 1; }',
                     'syntax = "proto3"; import "p.proto"; message R { P p = 1; }'),
    }
    for kind, (name, part, whole) in parts.items():
        subject, user = ctx.name(f"part-{kind}"), ctx.name(f"whole-{kind}")
        client.register_schema(subject, Schema(part, kind))
        message = refused(check, f"{kind} without reference", 42201,
                          lambda: client.register_schema(user, Schema(whole, kind)))
        check.true("the message names what is missing", name in message, message)
        reference = [SchemaReference(name, subject, 1)]
        identifier = client.register_schema(user, Schema(whole, kind, references=reference))
        got = ctx.client().get_schema(identifier)
        check.equal(f"{kind} references", [(r.name, r.subject, r.version) for r in got.references], [(name, subject, 1)])
        check.equal(f"{kind} referenced by", ctx.client().get_referenced_by(subject, 1), [identifier])
        refused(check, f"{kind} delete of what is referenced", 42206, lambda: client.delete_version(subject, 1))
        missing = [SchemaReference(name, subject, 7)]
        refused(check, f"{kind} reference to nothing", 42201,
                lambda: client.register_schema(ctx.name("x"), Schema(whole, kind, references=missing)))


def subjects_and_deletes(check: Check, ctx: Context) -> None:
    client = ctx.client()
    a, b = ctx.name("a/slash and space"), ctx.name("b")
    one, two = Schema('"string"', "AVRO"), Schema('["null","string"]', "AVRO")
    identifier = client.register_schema(a, one)
    check.equal("the same schema has the same id", ctx.client().register_schema(b, one), identifier)
    check.equal("and once more", ctx.client().register_schema(a, one), identifier)
    other = client.register_schema(a, two)
    check.true("another schema has another id", other != identifier, other)
    check.true("both subjects are listed", {a, b} <= set(client.get_subjects()), client.get_subjects())
    check.equal("versions", client.get_versions(a), [1, 2])
    check.equal("lookup", ctx.client().lookup_schema(a, one).version, 1)
    check.equal("users of the id", sorted(ctx.client().get_subjects_by_schema_id(identifier)), sorted([a, b]))
    check.equal("latest", ctx.client().get_latest_version(a).version, 2)
    refused(check, "unknown subject", 40401, lambda: client.get_versions(ctx.name("none")))
    refused(check, "unknown version", 40402, lambda: client.get_version(a, 9))
    refused(check, "unknown id", 40403, lambda: client.get_schema(2_000_000_000))
    refused(check, "unknown schema", 40403, lambda: client.lookup_schema(a, Schema('"long"', "AVRO")))
    refused(check, "permanent before soft", 40407, lambda: client.delete_version(a, 1, permanent=True))
    check.equal("soft delete", ctx.client().delete_version(a, 1), 1)
    refused(check, "deleted twice", 40406, lambda: ctx.client().delete_version(a, 1))
    check.equal("versions left", ctx.client().get_versions(a), [2])
    check.equal("the id can still be read", ctx.client().get_schema(identifier).schema_str, '"string"')
    check.equal("permanent delete", ctx.client().delete_version(a, 1, permanent=True), 1)
    refused(check, "subject permanent before soft", 40405,
            lambda: httpx_delete(ctx, f"/subjects/{b}?permanent=true"))
    check.equal("delete of a subject", ctx.client().delete_subject(b), [1])
    refused(check, "deleted twice", 40404, lambda: httpx_delete(ctx, f"/subjects/{b}"))
    check.true("it is not listed", b not in ctx.client().get_subjects(), b)
    httpx_delete(ctx, f"/subjects/{b}?permanent=true")
    refused(check, "an id that nothing uses is gone", 40403, lambda: ctx.client().get_schema(identifier))


def httpx_delete(ctx: Context, path: str):
    answer = httpx2.delete(ctx.url + path)
    body = answer.json()
    if answer.status_code != 200:
        raise SchemaRegistryError(answer.status_code, body["error_code"], body["message"])
    return body


def config_and_mode(check: Check, ctx: Context) -> None:
    client, subject = ctx.client(), ctx.name("config")
    check.equal("the default level", client.get_compatibility(), "BACKWARD")
    refused(check, "no level of its own", 40408, lambda: client.get_compatibility(subject))
    client.set_compatibility(subject, "FULL_TRANSITIVE")
    check.equal("level", client.get_compatibility(subject), "FULL_TRANSITIVE")
    refused(check, "unknown level", 42203, lambda: client.set_compatibility(subject, "SIDEWAYS"))
    check.equal("global mode", client.get_global_mode(), "READWRITE")
    refused(check, "no mode of its own", 40409, lambda: client.get_mode(subject))
    client.update_mode(subject, "READONLY")
    refused(check, "read-only", 42205, lambda: client.register_schema(subject, Schema('"int"', "AVRO")))
    client.update_mode(subject, "READWRITE")
    check.true("writable again", client.register_schema(subject, Schema('"int"', "AVRO")) > 0)
    check.equal("types", sorted(client.get_schema_types()), ["AVRO", "JSON", "PROTOBUF"])


def refusals(check: Check, ctx: Context) -> None:
    """What cannot be a schema gets 42201 and a reason, quickly, also where it is meant to hurt."""
    client = ctx.client()
    deep = '{"type":"array","items":' * 5_000 + '"int"' + "}" * 5_000
    bombs = [
        ("AVRO", "{"), ("AVRO", '{"type":"record","name":"R"}'), ("AVRO", deep),
        ("JSON", '{"type":"strange"}'), ("JSON", '{"items":' * 5_000 + "{}" + "}" * 5_000), ("JSON", '{"pattern":"("}'),
        ("JSON", '{"$ref":"http://127.0.0.1:1/x.json"}'),
        ("PROTOBUF", "message"), ("PROTOBUF", 'syntax = "proto3"; ' + "message M { " * 5_000 + "} " * 5_000),
        ("PROTOBUF", 'syntax = "proto3"; import "/etc/passwd"; message M {}'), ("THRIFT", "struct"),
    ]
    for number, (kind, text) in enumerate(bombs):
        started = time.monotonic()
        refused(check, f"bomb {number}", 42201, lambda: client.register_schema(ctx.name("bomb"), Schema(text, kind)))
        check.true("answered in time", time.monotonic() - started < 5, time.monotonic() - started)
    refused(check, "too large", 42209,
            lambda: client.register_schema(ctx.name("bomb"), Schema('"' + "x" * 1_100_000 + '"', "AVRO")))
    check.equal("and the registry lives", httpx2.get(ctx.url + "/").json(), {})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: str, registry: int) -> subprocess.Popen:
    broker = subprocess.Popen(
        [os.environ["WEIRTEST_BIN"], "serve", "--data-dir", folder, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
         "--registry", f"127.0.0.1:{registry}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            if httpx2.get(f"http://127.0.0.1:{registry}/").status_code == 200:
                return broker
        except httpx2.HTTPError:
            time.sleep(0.1)
    broker.kill()
    raise CheckFailed("the broker did not start")


def kill_nine(check: Check, ctx: Context) -> None:
    """Four threads register schemas while the broker is killed, three times over: every id that a client was told is that
    schema's afterwards, and no id was told for two."""
    told: dict[int, tuple[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cycle in range(3):
            port = free_port()
            broker = start(folder, port)
            try:
                with concurrent.futures.ThreadPoolExecutor(4) as pool:
                    threads = [pool.submit(register_until_killed, port, cycle, thread) for thread in range(4)]
                    time.sleep(1.5)
                    broker.send_signal(signal.SIGKILL)
                    broker.wait()
                    for thread in threads:
                        for identifier, subject, text in thread.result():
                            if identifier in told:
                                raise CheckFailed(f"id {identifier} for {told[identifier]} and for {(subject, text)}")
                            told[identifier] = (subject, text)
            finally:
                broker.kill()
                broker.wait()
        port = free_port()
        broker = start(folder, port)
        try:
            client = SchemaRegistryClient({"url": f"http://127.0.0.1:{port}"})
            check.true("there were registrations", len(told) > 20, len(told))
            for identifier, (subject, text) in told.items():
                check.equal(f"schema {identifier}", client.get_schema(identifier).schema_str, text)
                check.equal(f"id of {subject}", client.register_schema(subject, Schema(text, "AVRO")), identifier)
        finally:
            broker.terminate()
            check.equal("exit code", broker.wait(20), 0)


def register_until_killed(port: int, cycle: int, thread: int) -> list[tuple[int, str, str]]:
    told = []
    with httpx2.Client() as http:
        for number in range(1_000_000):
            name = f"c{cycle}t{thread}n{number}"
            text = json.dumps({"type": "fixed", "name": name, "size": 4}, separators=(",", ":"))
            try:
                answer = http.post(f"http://127.0.0.1:{port}/subjects/{name}/versions", json={"schema": text})
            except httpx2.HTTPError:
                return told
            if answer.status_code == 200:
                told.append((answer.json()["id"], name, text))
    return told
