"""The weather and the planes in the three formats, as the official serializers take them."""

import json
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns and their types: integer, number or string, or time, which is a string of its own format where there is one. With
    a question mark they may be null."""

    name: str
    columns: dict
    # A column that only tables of these rows have.
    mark: str
    # So little data stays as rows; it is produced so many times.
    times: int = 1

    def load(self, flights: Path, limit: int) -> list[dict]:
        """From beside the flights."""
        path = flights.with_name(f"{self.name}.jsonl")
        if not path.exists():
            raise SystemExit(f"{path} does not exist: run compat-tests/data/extract.py")
        with path.open() as lines:
            return [json.loads(json.loads(line)["value"]) for line, _ in zip(lines, range(limit))]


WEATHER = Dataset("weather", {
    "origin": "string", "year": "integer", "month": "integer", "day": "integer", "hour": "integer", "temp": "number?",
    "dewp": "number?", "humid": "number?", "wind_dir": "integer?", "wind_speed": "number?", "wind_gust": "number?",
    "precip": "number", "pressure": "number?", "visib": "number", "time_hour": "time",
}, "wind_gust")
PLANES = Dataset("planes", {
    "tailnum": "string", "year": "integer?", "type": "string", "manufacturer": "string", "model": "string", "engines": "integer",
    "seats": "integer", "speed": "integer?", "engine": "string",
}, "manufacturer", times=6)

AVRO = {"integer": "int", "number": "double", "string": "string", "time": "string"}


def avro_schema(dataset: Dataset) -> str:
    def field(name: str, kind: str) -> dict:
        if kind.endswith("?"):
            return {"name": name, "type": ["null", AVRO[kind[:-1]]], "default": None}
        return {"name": name, "type": AVRO[kind]}

    fields = [field(name, kind) for name, kind in dataset.columns.items()]
    return json.dumps({"type": "record", "name": dataset.name.title(), "namespace": "dev.weir", "fields": fields})


def json_schema(dataset: Dataset) -> str:
    def property_of(kind: str) -> dict:
        if kind == "time":
            return {"type": "string", "format": "date-time"}
        return {"type": [kind[:-1], "null"]} if kind.endswith("?") else {"type": kind}

    properties = {name: property_of(kind) for name, kind in dataset.columns.items()}
    required = [name for name, kind in dataset.columns.items() if not kind.endswith("?")]
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": dataset.name.title(), "type": "object",
                       "properties": properties, "required": required, "additionalProperties": False})


def message(dataset: Dataset):
    kinds = descriptor_pb2.FieldDescriptorProto
    types = {"integer": kinds.TYPE_INT32, "number": kinds.TYPE_DOUBLE, "string": kinds.TYPE_STRING, "time": kinds.TYPE_STRING}
    file = descriptor_pb2.FileDescriptorProto(name=f"{dataset.name}.proto", package=dataset.name, syntax="proto3")
    kind = file.message_type.add(name="Row")
    for number, (name, column) in enumerate(dataset.columns.items(), start=1):
        field = kind.field.add(name=name, number=number, type=types[column.rstrip("?")], label=kinds.LABEL_OPTIONAL)
        if column.endswith("?"):
            field.proto3_optional, field.oneof_index = True, len(kind.oneof_decl)
            kind.oneof_decl.add(name=f"_{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{dataset.name}.Row"))


def serializer(dataset: Dataset, form: str, client):
    """Takes dicts of the columns."""
    if form == "avro":
        return AvroSerializer(client, avro_schema(dataset))
    if form == "json":
        return JSONSerializer(json_schema(dataset), client)
    kind = message(dataset)
    write = ProtobufSerializer(kind, client)
    return lambda row, context: write(kind(**{name: value for name, value in row.items() if value is not None}), context)
