"""Typed topics through Confluent's client and serializers, in every layout; their column files through pyarrow and Polars.

    tables.py --data ~/.cache/weir/data/flights.jsonl --rows 20000

Starts a broker of its own from $WEIRTEST_BIN, which merges early, and restarts it. Prints one JSON line per check and a summary
line last (see suite/report.py); exit code 1 when a check failed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import confluent_kafka

from suite import table_checks as checks
from suite.other_forms import PLANES, WEATHER
from suite.records import load_flights
from suite.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()

    flights = [json.loads(row.value) for row in load_flights(arguments.data, arguments.rows)]
    report = Report("tables-python", arguments.only)
    with tempfile.TemporaryDirectory() as folder, checks.Broker(Path(folder)) as broker:
        others = {dataset: dataset.load(arguments.data, arguments.rows) for dataset in (WEATHER, PLANES)}
        ctx = checks.Context(broker, flights, {dataset.name: rows for dataset, rows in others.items()})
        for form in checks.FORMS:
            report.run(f"produce-{form}", checks.produce, ctx, form)
        for dataset in others:
            for form in checks.FORMS:
                report.run(f"produce-{dataset.name}-{form}", checks.produce_other, ctx, dataset, form)
        report.run("merge", checks.merge, ctx, "dep_time", len(flights))
        for dataset, rows in others.items():
            report.run(f"merge-{dataset.name}", checks.merge, ctx, dataset.mark, len(rows) * dataset.times)
        for form in checks.FORMS:
            report.run(f"merged-{form}", checks.same_bytes, ctx, form)
            for dataset in others:
                report.run(f"merged-{dataset.name}-{form}", checks.same_other_bytes, ctx, dataset, form)
        report.run("arrow-files-pyarrow", checks.arrow_files, ctx, checks.with_pyarrow)
        report.run("arrow-files-polars", checks.arrow_files, ctx, checks.with_polars)
        for dataset in others:
            report.run(f"arrow-files-{dataset.name}", checks.other_files, ctx, dataset)
        for form in ("avro", "protobuf"):
            report.run(f"shown-{form}", checks.shown, ctx, form)
        for form in ("avro", "protobuf"):
            report.run(f"evolution-under-load-{form}", checks.evolution, ctx, form)
        report.run("restart", checks.restart, ctx)
        for form in checks.FORMS:
            report.run(f"restarted-{form}", checks.same_bytes, ctx, form)
            for dataset in others:
                report.run(f"restarted-{dataset.name}-{form}", checks.same_other_bytes, ctx, dataset, form)
        for form in ("avro", "protobuf"):
            report.run(f"restarted-shown-{form}", checks.shown, ctx, form)
    return report.finish(confluent_kafka.__version__)


if __name__ == "__main__":
    sys.exit(main())
