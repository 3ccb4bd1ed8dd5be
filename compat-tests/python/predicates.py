"""Predicates and projections through both columnar clients and through views: what they give is what DuckDB finds in the CSV.

    predicates.py --rust target/debug/columns --rows 20000

Starts a broker of its own from $WEIRTEST_BIN. The rows are first read from the tail; then the broker is started anew with other
settings, merges them into segments and bundles, and takes more rows, so that each reading crosses all of these. Prints one JSON line
per check and a summary line last (see suite/report.py); exit code 1 when a check failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import weir

from suite import bomb_checks
from suite import predicate_checks as checks
from suite.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rust", required=True, help="the Rust client's reader: compat-tests/src/bin/columns.rs")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()

    report = Report("predicates", arguments.only)
    with tempfile.TemporaryDirectory(prefix="weir-predicates-") as folder:
        with checks.Context(Path(folder), arguments.rows, arguments.rust) as ctx:
            for form in checks.FORMS:
                report.run(f"produce-{form}", checks.produce_head, ctx, form)
            for form in checks.FORMS:
                for client in checks.CLIENTS:
                    report.run(f"tail-{form}-{client}", checks.predicates, ctx, form, client, False)
            report.run("merge", checks.merge, ctx)
            for form in checks.FORMS:
                report.run(f"across-a-merge-{form}", checks.across_a_merge, ctx, form)
            report.run("stored", checks.stored, ctx)
            for form in checks.FORMS:
                for client in checks.CLIENTS:
                    report.run(f"stored-{form}-{client}", checks.predicates, ctx, form, client, True)
                report.run(f"views-{form}", checks.views, ctx, form)
            for form, client in zip(checks.FORMS, checks.CLIENTS):
                report.run(f"bombs-{form}-{client}", bomb_checks.explode, ctx, form, client)
    return report.finish(weir.__version__)


if __name__ == "__main__":
    sys.exit(main())
