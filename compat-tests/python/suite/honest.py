"""An honest client in a process of its own: it sends a request, waits for the answer, and again, until its standard input ends.

    honest.py HOST:PORT        (the frame in hexadecimal on the first line of standard input)

Prints `ready`, then the seconds of each request in one line. A process of its own, because threads of one Python take turns of five
milliseconds: beside an attack that computes, a thread measures Python and not the broker.
"""

import select
import socket
import subprocess
import sys
import time

PAUSE = 0.005


class Honest:
    """The process, as a context; afterwards `seconds` has what it measured."""

    def __init__(self, address: str, frame: bytes):
        self.seconds: list[float] = []
        self.process = subprocess.Popen([sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(frame.hex() + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the honest client did not get through")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        out, _ = self.process.communicate(timeout=60)
        if self.process.returncode != 0:
            raise RuntimeError("the honest client was refused, or hung up on")
        self.seconds = [float(one) for one in out.split()]

    def p99(self) -> float:
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


def exactly(connection: socket.socket, count: int) -> bytes:
    out = b""
    while len(out) < count:
        part = connection.recv(count - len(out))
        if not part:
            raise ConnectionError("the broker hung up")
        out += part
    return out


def main() -> None:
    host, port = sys.argv[1].split(":")
    frame = bytes.fromhex(sys.stdin.readline())
    connection = socket.create_connection((host, int(port)), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seconds, expected = [], None
    while True:
        started = time.monotonic()
        connection.sendall(frame)
        answer = exactly(connection, int.from_bytes(exactly(connection, 4), "big"))
        seconds.append(time.monotonic() - started)
        # A produce response of version 8: correlation, one topic with a name, one partition with index and error code.
        name = int.from_bytes(answer[8:10], "big")
        code = int.from_bytes(answer[10 + name + 8:10 + name + 10], "big", signed=True)
        if code != 0:
            sys.exit(f"error code {code}")
        if expected is None:
            expected = code
            print("ready", flush=True)
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            break
    # The first one made the connection.
    print(*(f"{one:.6f}" for one in seconds[1:]))


if __name__ == "__main__":
    main()
