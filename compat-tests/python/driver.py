"""Runs every check of one Python client (or kcat) against a broker.

    driver.py --client confluent-kafka --bootstrap 127.0.0.1:9092 --data ~/.cache/weir/data/flights.jsonl --rows 20000

Prints one JSON line per check and a summary line last (see suite/report.py); exit code 1 when a check failed.

--full CODEC     that codec's produce check takes all rows of the data instead of --rows
--broker kafka   the broker is Apache Kafka: the few answers in which weir differs on purpose are expected Kafka's way
--only TEXT      only checks whose name contains TEXT
--self-test      no broker: shows that the comparison fails on flipped, lost, repeated and reordered records
"""

import argparse
import logging
import os
import sys
import uuid
from pathlib import Path

from suite.member import run_member
from suite.records import load_flights
from suite.report import Report


def adapter(name: str, bootstrap: str):
    # Imported on demand: each child process loads one client library only.
    if name == "confluent-kafka":
        from clients.confluent import Confluent
        return Confluent(bootstrap)
    if name == "kafka-python":
        from clients.kafka_python import KafkaPython
        return KafkaPython(bootstrap)
    if name == "aiokafka":
        from clients.aio import AioKafka
        return AioKafka(bootstrap)
    sys.exit(f"unknown client {name!r}; known: confluent-kafka, kafka-python, aiokafka, kcat")


def run_checks(report: Report, ctx) -> None:
    from suite import admin_checks, checks, txn_checks, view_checks

    client = ctx.client
    for codec in client.codecs:
        report.run(f"produce-{codec}", checks.produce_codec, ctx, codec)
    if "idempotent" not in client.lacks:
        report.run("produce-idempotent", checks.produce_idempotent, ctx)
    report.run("odd-records", checks.odd_records, ctx)
    report.run("largest-record", checks.largest_record, ctx)
    report.run("log-append-time", checks.log_append_time, ctx)
    # The checks below read this topic, so it is made also when --only leaves its own line out.
    if report.wants("produce-base"):
        made = report.run("produce-base", checks.make_base, ctx)
    else:
        made = True
        checks.make_base(checks.Check("produce-base"), ctx)
    if made:
        report.run("consume-assigned", checks.consume_assigned, ctx)
        report.run("consume-out-of-range", checks.consume_out_of_range, ctx)
        report.run("seek-by-timestamp", checks.seek_by_timestamp, ctx)
        report.run("commit-and-resume", checks.commit_and_resume, ctx)
    report.run("consume-small-fetch", checks.consume_small_fetch, ctx)
    report.run("group-rebalance", checks.group_rebalance, ctx)
    if "static" not in client.lacks:
        report.run("group-static-member", checks.static_member, ctx)
    if hasattr(client, "transactional"):
        for name, body in txn_checks.CHECKS.items():
            report.run(name, body, ctx)
    if ctx.broker == "weir" and hasattr(client, "drain"):
        for name, body in view_checks.CHECKS.items():
            report.run(name, body, ctx)
    for name, body in admin_checks.CHECKS.items():
        if name in client.lacks or (name == "admin-groups" and not made):
            continue
        report.run(name, body, ctx)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", default="confluent-kafka")
    parser.add_argument("--bootstrap", default=os.environ.get("WEIRTEST_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--http", default="127.0.0.1:9644", help="where the broker's metrics are")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--full", metavar="CODEC")
    parser.add_argument("--broker", choices=("weir", "kafka"), default="weir")
    parser.add_argument("--only")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--member", nargs=2, metavar=("GROUP", "TOPIC"), help="be the second member of a group")
    parser.add_argument("--instance", help="with --member: its group.instance.id")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)

    if arguments.self_test:
        from suite.self_test import self_test
        return self_test()
    if arguments.member:
        run_member(adapter(arguments.client, arguments.bootstrap), *arguments.member, arguments.instance)
        return 0
    if arguments.data is None:
        folder = os.environ.get("WEIRTEST_DATA_DIR") or Path.home() / ".cache" / "weir" / "data"
        arguments.data = Path(folder) / "flights.jsonl"
    run = uuid.uuid4().hex[:8]
    all_rows = load_flights(arguments.data, None if arguments.full else arguments.rows)
    rows = all_rows[: arguments.rows]
    report = Report(arguments.client, arguments.only)
    if arguments.client == "kcat":
        from clients.kcat import run_kcat
        version = run_kcat(report, arguments.bootstrap, rows, run)
        return report.finish(version)

    from suite.checks import Context
    client = adapter(arguments.client, arguments.bootstrap)
    ctx = Context(client, arguments.bootstrap, arguments.broker, rows, all_rows, arguments.full, run, arguments.http)
    try:
        run_checks(report, ctx)
        return report.finish(client.version())
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(main())
