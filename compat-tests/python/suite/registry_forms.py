"""The flights in the three formats, as the official serializers take them, and how each schema may evolve."""

import json

from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

INTEGERS = ("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
            "flight", "air_time", "distance", "hour", "minute")
STRINGS = ("carrier", "tailnum", "origin", "dest", "time_hour")
COLUMNS = INTEGERS + STRINGS


def avro_schema() -> str:
    fields = [{"name": name, "type": ["null", "int"], "default": None} for name in INTEGERS]
    fields += [{"name": name, "type": ["null", "string"], "default": None} for name in STRINGS]
    return json.dumps({"type": "record", "name": "Flight", "namespace": "dev.weir", "fields": fields})


def json_schema() -> str:
    properties = {name: {"type": ["integer", "null"]} for name in INTEGERS}
    properties |= {name: {"type": ["string", "null"]} for name in STRINGS}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Flight", "type": "object",
                       "properties": properties, "additionalProperties": False})


def flight_message(package: str):
    """A generated class, made at run time: no protoc is needed."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}/flight.proto", package=package, syntax="proto3")
    message = file.message_type.add(name="Flight")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate(COLUMNS, start=1):
        kind = kinds.TYPE_INT32 if name in INTEGERS else kinds.TYPE_STRING
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL, proto3_optional=True,
                          oneof_index=number - 1)
        message.oneof_decl.add(name=f"_{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Flight"))


def codec(form: str, client, package: str):
    """(serializer, deserializer) that take and give dicts of the columns."""
    if form == "avro":
        return AvroSerializer(client, avro_schema()), AvroDeserializer(client)
    if form == "json":
        return JSONSerializer(json_schema(), client), JSONDeserializer(json_schema(), schema_registry_client=client)
    kind = flight_message(package)
    write, read = ProtobufSerializer(kind, client), ProtobufDeserializer(kind, schema_registry_client=client)

    def to_message(flight, context):
        return write(kind(**{name: value for name, value in flight.items() if value is not None}), context)

    def from_message(data, context):
        message = read(data, context)
        return {name: getattr(message, name) if message.HasField(name) else None for name in COLUMNS}

    return to_message, from_message


def avro(fields: str) -> str:
    return '{"type":"record","name":"R","fields":[{"name":"a","type":"int"}' + fields + "]}"


def closed(properties: str, required: str = '"a"') -> str:
    return ('{"type":"object","properties":{"a":{"type":"integer"}' + properties + '},"required":[' + required +
            '],"additionalProperties":false}')


# Per format: the schema, then changes of it: name, schema, whether it may follow under BACKWARD, and under FORWARD. FULL
# is both, NONE takes everything. From Confluent's page on schema evolution.
CHANGES = {
    "avro": (avro(""), [
        ("optional field added", avro(',{"name":"b","type":"int","default":0}'), True, True),
        ("required field added", avro(',{"name":"b","type":"int"}'), False, True),
        ("type widened", '{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}', True, False),
        ("field without default removed", '{"type":"record","name":"R","fields":[]}', True, False),
        ("type changed", '{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}', False, False),
    ]),
    "json": (closed(""), [
        ("optional property added", closed(',"b":{"type":"string"}'), True, False),
        ("required property added", closed(',"b":{"type":"string"}', '"a","b"'), False, False),
        ("property not required any more", closed("", ""), True, False),
        ("type widened", closed("").replace("integer", "number"), True, False),
        ("type changed", closed("").replace("integer", "string"), False, False),
    ]),
    "protobuf": ('syntax = "proto3"; message R { int32 a = 1; } message S {}', [
        ("field added", 'syntax = "proto3"; message R { int32 a = 1; string b = 2; } message S {}', True, True),
        ("number widened", 'syntax = "proto3"; message R { int64 a = 1; } message S {}', True, True),
        ("message removed", 'syntax = "proto3"; message R { int32 a = 1; }', False, True),
        ("message added", 'syntax = "proto3"; message R { int32 a = 1; } message S {} message T {}', True, False),
        ("type changed", 'syntax = "proto3"; message R { string a = 1; } message S {}', False, False),
    ]),
}
