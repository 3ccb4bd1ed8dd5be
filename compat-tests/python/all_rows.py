"""Long job: the three Python clients with all 336,776 rows in every check, against one `weir` process.

Needs WEIRTEST_BIN (a release build), WEIRTEST_DATA_FILE; started by `cargo xtask test --long clients-all-rows`. The last line of
output has the counts.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIENTS = ("confluent-kafka", "kafka-python", "aiokafka")
ROWS = 336_776


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    driver = Path(__file__).with_name("driver.py")
    totals = {"produced": 0, "consumed": 0, "compared": 0, "failed": 0}
    with tempfile.TemporaryDirectory(prefix="weir-all-rows-") as folder:
        kafka, http, registry = (f"127.0.0.1:{free_port()}" for _ in range(3))
        broker = subprocess.Popen([
            os.environ["WEIRTEST_BIN"], "serve", "--data-dir", folder, "--listen", kafka, "--http", http, "--registry", "off",
            "--registry", registry,
        ])
        try:
            wait_for(kafka)
            for client in CLIENTS:
                command = [sys.executable, str(driver), "--client", client, "--bootstrap", kafka, "--rows", str(ROWS),
                           "--data", os.environ["WEIRTEST_DATA_FILE"]]
                output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
                print(output, flush=True)
                summary = json.loads(output.splitlines()[-1])
                for key in totals:
                    totals[key] += summary[key]
                if broker.poll() is not None:
                    print(f"the broker ended with {broker.returncode}", file=sys.stderr)
                    return 1
        finally:
            broker.terminate()
            broker.wait(30)
    print(json.dumps({"counts": {"clients": len(CLIENTS), **totals}}), flush=True)
    return 1 if totals["failed"] else 0


def wait_for(address: str) -> None:
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
