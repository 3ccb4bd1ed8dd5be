"""The long job `flink-connect-mm2`: Flink, Kafka Connect and MirrorMaker 2 with more kills than a quick run has.

    long.py [--weir BINARY] [--kills 6]

Runs flink.py, connect.py and mirror.py; fails when one of them does, and prints {"counts": ...} last.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter

from processes import HERE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN", "weir"))
    parser.add_argument("--kills", type=int, default=6)
    arguments = parser.parse_args()
    counts, failed = Counter(), 0
    for script in ("flink.py", "connect.py", "mirror.py"):
        run = subprocess.run([sys.executable, HERE / script, "--weir", arguments.weir, "--kills", str(arguments.kills)],
                             stdout=subprocess.PIPE, text=True)
        summaries = 0
        for line in run.stdout.splitlines():
            print(line, flush=True)
            report = json.loads(line) if line.startswith("{") else {}
            if report.get("summary"):
                summaries += 1
                counts.update({name: report[name] for name in ("passed", "failed", "produced", "consumed", "compared")})
        failed += run.returncode != 0 or summaries != 1
    print(json.dumps({"counts": {"kills": arguments.kills, **counts}}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
