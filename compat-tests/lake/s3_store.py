"""An S3 server (versitygw, with files in a folder) that a test starts, and a proxy in front of it that makes things go wrong."""

import hashlib
import hmac
import os
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote, urlsplit

ACCESS, SECRET, REGION, BUCKET = "weir-tests", "not-secret-at-all", "us-east-1", "bay"
PATIENCE = 30


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """One bucket; ends with `close`."""

    def __init__(self, folder: str):
        binary = Path(os.environ.get("WEIR_CACHE", Path.home() / ".cache" / "weir"), "s3-server", "versitygw")
        data = Path(folder, "objects")
        data.mkdir()
        self.host = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.host}"
        command = [binary, "--access", ACCESS, "--secret", SECRET, "--region", REGION, "--port", self.host, "posix", data]
        self.log = Path(folder, "s3-server.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                status = self.request("PUT", f"/{BUCKET}")
                assert status == 200, status
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no S3 server: {self.log.read_text()[-1000:]}") from None
                time.sleep(0.05)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """A signed request; the status of its answer."""
        now = datetime.now(timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{quote(path)}\n\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for part in (day, REGION, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        authorization = f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}"
        request = urllib.request.Request(self.url + quote(path), body or None, signed | {"Authorization": authorization}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


# What the proxy does to one request. `after`: the server did what was asked, and the client is not told.
FAULTS = ("503", "503-after", "cut", "cut-after", "late", "answer-late")


class Proxy:
    """Passes requests on, each over connections of its own, except those that a fault was armed for."""

    def __init__(self, server: str, seconds: float):
        self.server, self.seconds = server, seconds
        self.lock = threading.Lock()
        self.armed: list[tuple[str, re.Pattern, str]] = []
        self.struck: list[tuple[str, str]] = []
        # Whether it is told as done what a condition forbade, as by stores that do not know conditions.
        self.careless = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.accept, daemon=True).start()

    def arm(self, path: str, fault: str, method: str = "PUT") -> None:
        """The next such request whose path this pattern finds goes wrong."""
        assert fault in FAULTS
        with self.lock:
            self.armed.append((method, re.compile(path), fault))

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def fault_of(self, line: str) -> str | None:
        method, target, _ = line.split(" ", 2)
        with self.lock:
            for number, (armed, pattern, fault) in enumerate(self.armed):
                if method == armed and pattern.search(urlsplit(target).path):
                    del self.armed[number]
                    self.struck.append((target, fault))
                    return fault
        return None

    def serve(self, client: socket.socket) -> None:
        with client:
            try:
                request = read_request(client)
                if request is None:
                    return
                line, head, body = request
                fault = self.fault_of(line)
                if fault == "503":
                    return client.sendall(answer_503())
                if fault == "cut":
                    return
                if fault == "late":
                    time.sleep(self.seconds)
                answer = self.forward(line, head, body)
                if fault in ("late", "cut-after"):
                    return
                if fault == "503-after":
                    return client.sendall(answer_503())
                if fault == "answer-late":
                    time.sleep(self.seconds)
                client.sendall(answer)
            except OSError:
                pass  # whoever asked is gone, or the server is

    def forward(self, line: str, head: list[str], body: bytes) -> bytes:
        kept = [header for header in head if not header.lower().startswith("connection:")]
        host, port = self.server.split(":")
        with socket.create_connection((host, int(port)), PATIENCE) as server:
            server.sendall("\r\n".join([line, *kept, "Connection: close", "", ""]).encode("latin-1") + body)
            parts = []
            while part := server.recv(1 << 16):
                parts.append(part)
        answer = b"".join(parts)
        if self.careless and answer.startswith(b"HTTP/1.1 412"):
            return b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
        return answer


def answer_503() -> bytes:
    body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>not now</Message></Error>"
    head = f"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def read_request(client: socket.socket) -> tuple[str, list[str], bytes] | None:
    """Its first line, its headers, its body; `None` if the client has none."""
    client.settimeout(PATIENCE)
    got = b""
    while b"\r\n\r\n" not in got:
        part = client.recv(1 << 16)
        if not part:
            return None
        got += part
    head, body = got.split(b"\r\n\r\n", 1)
    line, *headers = head.decode("latin-1").split("\r\n")
    lengths = [int(header.split(":")[1]) for header in headers if header.lower().startswith("content-length:")]
    while len(body) < sum(lengths):
        part = client.recv(1 << 16)
        if not part:
            return None
        body += part
    return line, headers, body
