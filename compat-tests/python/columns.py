"""The Python client `weir` (client/python) against weir: what it reads is what pandas finds in the flights.

    columns.py --bootstrap 127.0.0.1:9092 --data ~/.cache/weir/data/flights.jsonl --rows 20000

Prints one JSON line per check and a summary line last (see suite/report.py); exit code 1 when a check failed.
"""

import argparse
import os
import sys
import uuid
from pathlib import Path

import weir

from suite import column_checks as checks
from suite.records import load_flights
from suite.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default=os.environ.get("WEIRTEST_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()

    ctx = checks.Context(arguments.bootstrap, load_flights(arguments.data, arguments.rows), uuid.uuid4().hex[:8])
    report = Report("weir-python", arguments.only)
    for name, body in checks.CHECKS.items():
        report.run(name, body, ctx)
    return report.finish(weir.__version__)


if __name__ == "__main__":
    sys.exit(main())
