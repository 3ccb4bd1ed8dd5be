"""Processes of the ecosystem's checks: weir, and Java programs started through run.sh."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(what: str, seconds: float, condition, alive=()):
    """Waits for a true answer and returns it; a process that ends meanwhile is a failure."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        for process in alive:
            process.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.2)


class Process:
    """A program with a log of its own; `kill` is SIGKILL."""

    def __init__(self, name: str, command: list, folder: Path):
        self.name, self.command, self.log = name, [str(word) for word in command], folder / f"{name}.log"
        self.process = None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def check(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, seconds: float = 30) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Weir(Process):
    """A weir whose WAL is small, so that merges and checkpoints happen under the test too."""

    def __init__(self, folder: Path, binary: str | None = None):
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        binary = os.path.abspath(binary or os.environ.get("WEIRTEST_BIN", "weir"))
        super().__init__("weir", [
            binary, "serve", "--data-dir", folder / "data", "--listen", f"kafka://{self.bootstrap}", "--http", "127.0.0.1:0",
            "--registry", "off", "--set", "wal.file.bytes=1MiB", "--set", "wal.max.bytes=4MiB",
            "--set", "merge.partition.bytes=64KiB"], folder)

    def start(self) -> None:
        super().start()
        until("weir listens", 30, lambda: is_open(self.port), [self])

    def panicked(self) -> bool:
        return "panicked at" in self.log.read_text(errors="replace")


def java(name: str, folder: Path, *arguments) -> Process:
    return Process(name, ["bash", HERE / "run.sh", *arguments], folder)


class Folder:
    """A scratch folder, kept if the block fails."""

    def __init__(self, name: str):
        self.path = Path(tempfile.mkdtemp(prefix=f"weir-{name}-"))
        self.processes = []

    def __enter__(self):
        return self

    def add(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def __exit__(self, kind, *_):
        for process in reversed(self.processes):
            process.kill()
        if kind is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            print(f"data and logs kept: {self.path}", file=sys.stderr)
