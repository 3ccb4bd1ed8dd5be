"""The second member of a group, as a process of its own, so that it can die without leaving.

The child (`driver.py --member ...`) prints one JSON line per event: {"assigned": [0, 1]} when its partitions change and
{"records": [[partition, offset, digest], ...]} after each poll. It never commits.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from suite.records import Oracle, digest

DRIVER = Path(__file__).resolve().parent.parent / "driver.py"


class SecondMember:
    def __init__(self, client: str, bootstrap: str, group: str, topic: str, instance: str | None = None):
        command = [sys.executable, str(DRIVER), "--client", client, "--bootstrap", bootstrap, "--member", group, topic]
        if instance:
            command += ["--instance", instance]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()
        self._assigned: set[int] = set()
        self._assignments = 0
        self._records: list[tuple[int, int, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line of a killed process may be half a line
            with self._lock:
                if "assigned" in event:
                    self._assigned = set(event["assigned"])
                    self._assignments += 1
                self._records += [tuple(record) for record in event.get("records", [])]

    def assigned(self) -> set[int]:
        with self._lock:
            return set(self._assigned)

    def assignments(self) -> int:
        with self._lock:
            return self._assignments

    def consumed(self) -> int:
        with self._lock:
            return len(self._records)

    def kill(self) -> list[tuple[int, int, str]]:
        """Ends the process by SIGKILL: no goodbye to the coordinator. Returns what it had read."""
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(10)
        return self._records

    @staticmethod
    def digest_of(oracle: Oracle, partition: int, offset: int) -> str:
        return digest(oracle.rows[partition][offset])

    def __enter__(self) -> "SecondMember":
        return self

    def __exit__(self, *_) -> None:
        self.kill()


def run_member(client, group: str, topic: str, instance: str | None) -> None:
    """The child's loop, until it is killed or its parent is gone."""
    parent = os.getppid()
    member = client.member(group, topic, instance=instance)
    assigned: set[int] | None = None
    while os.getppid() == parent:
        records = member.poll(0.2)
        now = member.assigned()
        if now != assigned:
            assigned = now
            print(json.dumps({"assigned": sorted(now)}), flush=True)
        if records:
            seen = [(record.partition, record.offset, digest(record)) for record in records]
            print(json.dumps({"records": seen}), flush=True)
