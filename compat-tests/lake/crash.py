"""Kills a broker again and again while it tiers one topic into a table of each format, under load; then every acknowledged record
is in each table once, and in no other state than it was produced in.

    crash.py --weir target/release/weir --cycles 200 --seed 1

Read back by DuckDB, pyiceberg and pypaimon. Prints {"counts": ...} last. Exit code 1 if anything is wrong.

Seen failing: with a record more in the oracle.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from lake import (
    Check,
    CheckFailed,
    Context,
    compare,
    free_port,
    load_flights,
    parquet_of,
    pyiceberg_rows,
    rows_of,
    start,
)
from paimon import of_python, python_rows

FORMATS = ("parquet", "iceberg", "paimon")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", required=True)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "weir" / "data" / "flights.jsonl")
    arguments = parser.parse_args()
    os.environ["WEIRTEST_BIN"] = arguments.weir
    luck, check = random.Random(arguments.seed), Check("lake-crash")
    rows = load_flights(arguments.data, 300_000)
    with tempfile.TemporaryDirectory() as folder:
        ctx = Context(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", rows, f"{folder}/lake")
        broker = start(folder, ctx.bootstrap, ctx.http)
        kills = 0
        try:
            topics = {form: ctx.create(form, weir_lake_partition_by=luck.choice(["", "__partition"])) for form in FORMATS}
            at = 0
            for _ in range(arguments.cycles):
                count = luck.randrange(50, 400)
                for topic in topics.values():
                    ctx.produce(check, topic, [rows[n % len(rows)] for n in range(at, at + count)], **{"enable.idempotence": True})
                at += count
                # Rounds begin every second.
                time.sleep(luck.uniform(0.0, 1.3))
                broker.send_signal(signal.SIGKILL)
                broker.wait()
                kills += 1
                broker = start(folder, ctx.bootstrap, ctx.http)
            for form, topic in topics.items():
                status = ctx.wait(topic)
                check.equal(f"{form}: rows by weir's own count", status["rows"], at)
                check.equal(f"{form}: lost", status["lost"], 0)
                sent = ctx.sent[topic]
                if form == "parquet":
                    compare(check, "DuckDB, Parquet", rows_of(parquet_of(ctx, topic)), sent)
                elif form == "iceberg":
                    table = f"{ctx.lake}/weir/{topic}"
                    compare(check, "DuckDB, Iceberg", rows_of(f"iceberg_scan('{table}')"), sent)
                    compare(check, "pyiceberg", pyiceberg_rows(table), sent)
                else:
                    found = [of_python(row) for row in python_rows(ctx.lake, f"weir.{topic}")]
                    compare(check, "pypaimon", found, sent)
        except CheckFailed as error:
            print(f"after {kills} kills: {error}", file=sys.stderr)
            return 1
        finally:
            broker.kill()
            broker.wait()
    counts = {"kills": kills, "produced": check.produced, "compared": check.compared, "lost": 0, "doubled": 0}
    print(json.dumps({"counts": counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
