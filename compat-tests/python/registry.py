"""Confluent's Python client and serializers against weir's Schema Registry.

    registry.py --bootstrap 127.0.0.1:9092 --registry 127.0.0.1:8081 --data ~/.cache/weir/data/flights.jsonl --rows 20000

Prints one JSON line per check and a summary line last (see suite/report.py); exit code 1 when a check failed. The check
registry-kill-9 starts a broker of its own from $WEIRTEST_BIN.
"""

import argparse
import json
import os
import sys
import uuid
from pathlib import Path

import confluent_kafka

from suite import registry_checks as checks
from suite.records import load_flights
from suite.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default=os.environ.get("WEIRTEST_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--registry", default=os.environ.get("WEIRTEST_REGISTRY", "127.0.0.1:8081"))
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()

    flights = [json.loads(row.value) for row in load_flights(arguments.data, arguments.rows)]
    ctx = checks.Context(arguments.bootstrap, f"http://{arguments.registry}", flights, uuid.uuid4().hex[:8])
    report = Report("registry-python", arguments.only)
    for form in ("avro", "json", "protobuf"):
        report.run(f"flights-{form}", checks.flights, ctx, form)
    for form in ("avro", "json", "protobuf"):
        report.run(f"evolve-{form}", checks.evolve, ctx, form)
    report.run("transitive", checks.transitive, ctx)
    report.run("references", checks.references, ctx)
    report.run("subjects-and-deletes", checks.subjects_and_deletes, ctx)
    report.run("config-and-mode", checks.config_and_mode, ctx)
    report.run("refusals", checks.refusals, ctx)
    report.run("kill-9", checks.kill_nine, ctx)
    return report.finish(confluent_kafka.__version__)


if __name__ == "__main__":
    sys.exit(main())
