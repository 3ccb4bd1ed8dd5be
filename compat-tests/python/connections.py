"""Ten thousand clients that are connected and say nothing: what each costs, and how soon another one gets in.

    connections.py --weir target/release/weir [--connections 10000]

The clients are in this process and the broker in another: each needs as many open files as there are connections. The last line has the counts;
exit code 1 if a connection is not served, if a new client waits for a second, or if connections are kept after their clients left.

Seen failing: with a limit of 5,000 connections in the broker's settings.
"""

import argparse
import json
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

WAIT_MAX = 1.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class Broker:
    def __init__(self, weir: str, folder: str, connections: int):
        self.kafka, self.http = free_port(), free_port()
        room = str(connections + 1000)
        settings = {"max.connections.total": room, "max.connections.per.ip": room, "logging.level": "warn"}
        flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
        self.process = subprocess.Popen(
            [weir, "serve", "--data-dir", f"{folder}/data", "--listen", f"127.0.0.1:{self.kafka}", "--http", f"127.0.0.1:{self.http}",
             "--registry", "off", *flags], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "is ready after" in line:
                return
        raise SystemExit("weir did not start")

    def resident(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) << 10

    def connections(self) -> int:
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10).read().decode()
        return int(float(next(line for line in text.splitlines() if line.startswith("weir_connections ")).split()[1]))

    def connect(self) -> socket.socket:
        """A connection that was served: ApiVersions is answered."""
        one = socket.create_connection(("127.0.0.1", self.kafka), 30)
        one.sendall(struct.pack(">ihhih", 10, 18, 0, 7, -1))
        (length,) = struct.unpack(">i", exactly(one, 4))
        exactly(one, length)
        return one


def exactly(one: socket.socket, count: int) -> bytes:
    out = b""
    while len(out) < count:
        part = one.recv(count - len(out))
        if not part:
            raise ConnectionError("the broker hung up")
        out += part
    return out


def run(broker: Broker, wanted: int) -> dict:
    [broker.connect().close() for _ in range(50)]
    time.sleep(1)
    before = broker.resident()
    started = time.monotonic()
    held = [broker.connect() for _ in range(wanted)]
    opened = time.monotonic() - started
    time.sleep(3)
    more = broker.resident() - before
    counted = broker.connections()
    waits = []
    for _ in range(100):
        begun = time.monotonic()
        broker.connect().close()
        waits.append(time.monotonic() - begun)
    # Those that say something again are served too.
    for one in held[::100]:
        one.sendall(struct.pack(">ihhih", 10, 18, 0, 7, -1))
        (length,) = struct.unpack(">i", exactly(one, 4))
        exactly(one, length)
    [one.close() for one in held]
    for _ in range(100):
        left = broker.connections()
        if left == 0:
            break
        time.sleep(0.1)
    counts = {"connections": counted, "bytes_per_connection": more // wanted, "opened_in_ms": round(opened * 1000),
              "slowest_new_client_ms": round(max(waits) * 1000, 1), "left": left}
    problems = []
    if counted < wanted:
        problems.append(f"{counted} of {wanted} connections are open")
    if max(waits) >= WAIT_MAX:
        problems.append(f"a new client waited {max(waits):.2f} s")
    if left:
        problems.append(f"{left} connections are left after their clients closed them")
    return {"counts": counts, "problems": problems}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", required=True)
    parser.add_argument("--connections", type=int, default=10_000)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < arguments.connections + 500:
        raise SystemExit(f"{hard} open files are allowed, {arguments.connections + 500} are needed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="weir-connections-") as folder:
        broker = Broker(arguments.weir, folder, arguments.connections)
        try:
            result = run(broker, arguments.connections)
        finally:
            broker.process.terminate()
            broker.process.wait(30)
    print(json.dumps(result))
    for problem in result["problems"]:
        print(problem, file=sys.stderr)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
