"""Views (topics with weir.view.source) read to their end by consumers that know nothing of columns.

    views.py --client confluent-kafka|kafka-python|aiokafka|kcat|rdkafka|java|franz-go|sarama|kafkajs|platformatic [--client ...]

Starts a broker of its own from $WEIRTEST_BIN, on which nothing else runs, so that requests can be counted. Prints one JSON line per
check and a summary line for each client (see suite/report.py); exit code 1 when a check failed.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from clients.drains import DRAINS
from suite import view_drains as checks
from suite.records import load_flights
from suite.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", required=True, action="append", choices=sorted(DRAINS))
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()

    rows, failed = load_flights(arguments.data, arguments.rows), 0
    with tempfile.TemporaryDirectory(prefix="weir-views-") as folder, checks.broker(Path(folder)) as broker:
        for client in arguments.client:
            report = Report(f"views-{client}", arguments.only)
            ctx = checks.Context(broker, DRAINS[client], client, rows)
            for name, where, matches in checks.VIEWS:
                report.run(f"view-{name}", checks.drained, ctx, name, where, matches)
            report.run("change-while-reading", checks.change, ctx)
            report.run("drop-while-reading", checks.drop, ctx)
            failed += report.finish(os.environ.get("WEIRTEST_BIN", "weir"))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
