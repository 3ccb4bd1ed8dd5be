"""Records what real clients send: one request per client, API and version, as golden bytes for the codec tests.

    record_requests.py [--client NAME]... [--out golden-requests.jsonl]

Starts Apache Kafka (compat-tests/kafka/run.sh) whose advertised address is a proxy in this process, runs each client's
suite through it and writes one JSON line per (client, API, version):

    {"client": "kafkajs", "api": 1, "version": 11, "request": "<hex of the frame without its length>"}

Of several requests of a kind the shortest is kept, so the file stays small. Other clients' lines in the file stay. Needs
the installations of `cargo xtask test --only install-python,install-node,install-java,install-go,data`. Recorded once and committed;
compat-tests/tests/golden_requests.rs decodes and encodes every line.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("WEIR_CACHE") or Path.home() / ".cache" / "weir")
DATA = Path(os.environ.get("WEIRTEST_DATA_DIR") or CACHE / "data") / "flights.jsonl"
ROWS = "2000"
LARGEST_KEPT = 4096


def suites() -> dict[str, list[str]]:
    python = [str(CACHE / "python/bin/python"), str(ROOT / "compat-tests/python/driver.py")]
    nodes = sorted((CACHE / "node/node_modules").glob("node-linux-*/bin/node"))
    node = [str(nodes[0]), str(ROOT / "compat-tests/node/driver.mjs")] if nodes else ["node"]
    found = {name: [*python, "--client", name] for name in ("confluent-kafka", "kafka-python", "aiokafka", "kcat")}
    found |= {name: [*node, "--client", name] for name in ("kafkajs", "platformatic")}
    found["java"] = ["bash", str(ROOT / "compat-tests/java/run.sh")]
    found |= {name: ["bash", str(ROOT / "compat-tests/go/run.sh"), "--client", name] for name in ("franz-go", "sarama")}
    return found


class Recorder:
    """Passes bytes both ways and keeps the shortest request of each API and version."""

    def __init__(self, upstream: int):
        self.upstream = upstream
        self.requests: dict[tuple[int, int], bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", self.upstream)
            await asyncio.gather(self.forward(reader, requests), copy(answers, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side closed; the other notices
        finally:
            writer.close()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = await reader.readexactly(4)
                frame = await reader.readexactly(int.from_bytes(length))
                self.keep(frame)
                writer.write(length + frame)
                await writer.drain()
        finally:
            writer.close()

    def keep(self, frame: bytes) -> None:
        kind = (int.from_bytes(frame[:2]), int.from_bytes(frame[2:4]))
        if len(frame) <= LARGEST_KEPT and len(frame) < len(self.requests.get(kind, b" " * (LARGEST_KEPT + 1))):
            self.requests[kind] = frame


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def record(client: str, command: list[str], kafka: int, proxy: int) -> list[dict]:
    recorder = Recorder(kafka)
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", proxy)
    async with server:
        words = [*command, "--bootstrap", f"127.0.0.1:{proxy}", "--broker", "kafka", "--rows", ROWS, "--data", str(DATA)]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
        code = await process.wait()
        server.close()
    print(f"{client}: {len(recorder.requests)} kinds of requests, suite ended with {code}", file=sys.stderr)
    return [
        {"client": client, "api": api, "version": version, "request": frame.hex()}
        for (api, version), frame in sorted(recorder.requests.items())
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", action="append", help="only these clients")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("golden-requests.jsonl"))
    arguments = parser.parse_args()
    chosen = {name: command for name, command in suites().items() if not arguments.client or name in arguments.client}
    lines = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    lines = [line for line in lines if line["client"] not in chosen]

    kafka, proxy = free_port(), free_port()
    folder = tempfile.mkdtemp(prefix="weir-record-")
    run = str(ROOT / "compat-tests/kafka/run.sh")
    environment = {**os.environ, "KAFKA_HEAP_OPTS": "-Xms256m -Xmx768m"}
    subprocess.run(["bash", run, "start", str(kafka), folder, "-o", f"advertised.listeners=PLAINTEXT://127.0.0.1:{proxy}"],
                   check=True, env=environment)
    try:
        for name, command in chosen.items():
            lines += asyncio.run(record(name, command, kafka, proxy))
    finally:
        subprocess.run(["bash", run, "stop", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)
    arguments.out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
