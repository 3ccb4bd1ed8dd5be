"""Flights in a topic whose table gets two columns more while it is written: what the suites produce, and what their readers must find."""

import json
import sys
from datetime import datetime
from pathlib import Path

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from suite.report import Check, CheckFailed  # noqa: E402

DDL = """year INT, month INT, day INT, dep_time INT, dep_delay DOUBLE, arr_delay DOUBLE, carrier STRING, flight INT,
    tailnum STRING, origin STRING, dest STRING, air_time INT, distance INT, time_hour TIMESTAMP_LTZ(3)"""
LATER = ", hour BIGINT, minute SMALLINT"
ADDED = ("hour", "minute")
NAMES = [column.split()[0] for column in (DDL + LATER).split(",")]


def evolved(check: Check, ctx, form: str, parts: list, between=lambda: None, **configs) -> tuple[str, dict]:
    """Produces the first part, adds the columns, produces the second, does what comes between, and produces what is left. Returns the
    topic, and by partition and offset what each row must be."""
    topic = ctx.create(form, weir_table_schema=DDL, **configs)
    ctx.produce(check, topic, parts[0])
    ctx.wait(topic)
    before = set(ctx.sent[topic])
    set_config(ctx, topic, "weir.table.schema", DDL + LATER)
    ctx.produce(check, topic, parts[1])
    status = ctx.wait(topic)
    between()
    for part in parts[2:]:
        ctx.produce(check, topic, part)
        status = ctx.wait(topic)
    check.equal("rows by weir's own count", status["rows"], sum(len(part) for part in parts))
    return topic, wanted_rows(ctx.sent[topic], NAMES, before)


def wanted_rows(sent: dict, names: list[str], before: set, **renamed: str) -> dict:
    """Of each row these columns; null where they were added later. `renamed` says by which name the producer knows a column."""
    wanted = {}
    for at, row in sent.items():
        flight = json.loads(row.value)
        flight["time_hour"] = milliseconds_of(flight["time_hour"])
        wanted[at] = tuple(None if at in before and name in ADDED else flight[renamed.get(name, name)] for name in names)
    return wanted


def compare_typed(check: Check, reader: str, found, wanted: dict) -> None:
    """Every row once, in every column; nothing else. `found`: partition, offset and the columns of each row."""
    left = dict(wanted)
    found = list(found)
    check.equal(f"{reader}: rows", len(found), len(left))
    for partition, offset, *values in found:
        want = left.pop((partition, offset), None)
        if want is None:
            raise CheckFailed(f"{reader}: offset {offset} of partition {partition} was not produced, or is there twice")
        if tuple(values) != want:
            raise CheckFailed(f"{reader}: offset {offset} of partition {partition}: got {values}, want {want}")
    check.consumed += len(found)
    check.compared += len(found)


def milliseconds(value):
    """Of a timestamp; everything else is as it is."""
    return int(value.timestamp() * 1000 + 0.5) if hasattr(value, "timestamp") else value


def milliseconds_of(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def set_config(ctx, topic: str, name: str, value: str) -> None:
    admin = AdminClient({"bootstrap.servers": ctx.bootstrap})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(30)
