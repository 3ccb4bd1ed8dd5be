"""Each stock client as a reader of one topic to its end.

`DRAINS[name](wish)` takes bootstrap, topic, group, ends (offset by partition), wait_ms (how long a broker may hold an answer) and
seconds (when to give up), reads from the beginning by assignment (or as the only member of the group, where a client has nothing
else) until its own positions are at the ends, commits these, and returns a `Drained`. `tells_positions` is false for a client that does
not tell them: it reads until it has got the rows in front of the ends.
"""

import base64
import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from suite.records import Record

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Drained:
    records: list[Record]
    positions: dict[int, int] | None
    seconds: float
    error: str | None = None


class InPython:
    """A client of this process, through its adapter."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, wish: dict) -> Drained:
        from driver import adapter

        client = adapter(self.name, wish["bootstrap"])
        started = time.monotonic()
        try:
            records, positions = client.drain(wish["topic"], wish["ends"], wish["group"], wish["wait_ms"], wish["seconds"])
            return Drained(records, positions, time.monotonic() - started)
        finally:
            client.close()


class Program:
    """A client in another language: gets everything as one JSON argument, prints one JSON line with what it read."""

    def __init__(self, command: list[str], tells_positions: bool = True):
        self.command, self.tells_positions = command, tells_positions

    def __call__(self, wish: dict) -> Drained:
        done = subprocess.run([*self.command, json.dumps(wish)], capture_output=True, text=True, timeout=wish["seconds"] + 60)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise RuntimeError(f"exit {done.returncode}: {done.stderr[-800:]}")
        answer = json.loads(lines[-1])
        if answer.get("error") and not answer.get("records"):
            raise RuntimeError(answer["error"])
        positions = answer.get("positions")
        return Drained([record_of(*record) for record in answer["records"]],
                       positions and {int(partition): int(offset) for partition, offset in positions.items()},
                       answer["seconds"], answer.get("error"))


def record_of(partition, offset, timestamp, key, value, headers) -> Record:
    def decoded(text):
        return None if text is None else base64.b64decode(text)

    return Record(int(partition), int(offset), decoded(key), decoded(value),
                  tuple((name, decoded(content)) for name, content in headers), int(timestamp))


class Kcat:
    """`kcat -G`, which says where the ends are and commits when it is told to end."""

    def __call__(self, wish: dict) -> Drained:
        from clients.kcat import FORMAT, parse

        settings = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": wish["wait_ms"], "check.crcs": "true"}
        process = subprocess.Popen(
            ["kcat", "-b", wish["bootstrap"], *(word for item in settings.items() for word in ("-X", f"{item[0]}={item[1]}")),
             "-G", wish["group"], "-u", "-f", FORMAT, wish["topic"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, positions, began, said = bytearray(), {}, time.monotonic(), []

        def read_records():
            while chunk := process.stdout.read1(1 << 16):
                output.extend(chunk)

        def read_events():
            nonlocal began
            for line in process.stderr:
                said.append(line.decode(errors="replace"))
                if b"assigned:" in line:
                    began = time.monotonic()
                elif found := re.search(rb"Reached end of topic \S+ \[(\d+)\] at offset (\d+)", line):
                    positions[int(found[1])] = int(found[2])

        readers = [threading.Thread(target=read, daemon=True) for read in (read_records, read_events)]
        for reader in readers:
            reader.start()
        deadline = began + wish["seconds"]
        while positions != wish["ends"] and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        seconds = time.monotonic() - began
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        for reader in readers:
            reader.join(10)
        error = None if positions == wish["ends"] else "".join(said[-3:])
        return Drained(parse(bytes(output)), positions, seconds, error)


def node(client: str) -> list[str]:
    return [os.environ.get("WEIRTEST_NODE", "node"), str(ROOT / "node/drain.mjs"), client]


DRAINS = {
    "confluent-kafka": InPython("confluent-kafka"),
    "kafka-python": InPython("kafka-python"),
    "aiokafka": InPython("aiokafka"),
    "kcat": Kcat(),
    "rdkafka": Program(["bash", str(ROOT / "rdkafka/run.sh"), "--drain"]),
    "java": Program(["bash", str(ROOT / "java/run.sh"), "--drain"]),
    "franz-go": Program(["bash", str(ROOT / "go/run.sh"), "--client", "franz-go", "--drain"]),
    "sarama": Program(["bash", str(ROOT / "go/run.sh"), "--client", "sarama", "--drain"], tells_positions=False),
    "kafkajs": Program(node("kafkajs")),
    "platformatic": Program(node("platformatic")),
}
