"""Apache Iceberg's own REST catalog (over SQLite, with files in a folder) that a test starts, a proxy in front of it that makes things
go wrong, and pyiceberg's client of it."""

import os
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from pyiceberg.catalog.rest import RestCatalog
from s3_store import PATIENCE, Proxy, free_port

CREDENTIAL = "weir:not-secret-at-all"


class Server:
    """A catalog; ends with `close`."""

    def __init__(self, folder: str, **more: str):
        """`more`: properties of the catalog, as variables name them."""
        self.folder, self.more, port = folder, more, free_port()
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        self.log = Path(folder, "catalog.log")
        self.start()

    def start(self) -> None:
        variables = {
            "CATALOG_REST_PORT": self.host.split(":")[1],
            "CATALOG_WAREHOUSE": f"{self.folder}/warehouse",
            # One connection: SQLite refuses what comes at the same time.
            "CATALOG_CLIENTS": "1",
            # A table's version is as durable as the file.
            "CATALOG_URI": f"jdbc:sqlite:{self.folder}/catalog.db",
        }
        run = Path(__file__).resolve().parent / "rest-catalog" / "run.sh"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["bash", str(run)], stdout=log, stderr=log, env=os.environ | variables | self.more)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/v1/config", timeout=PATIENCE):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no catalog: {self.log.read_text()[-1000:]}") from None
                time.sleep(0.1)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.close()
        self.start()

    def client(self, **more: str) -> RestCatalog:
        return RestCatalog("tests", uri=self.url, **more)


class CatalogProxy(Proxy):
    """Lets nobody through without the token that it saw the catalog give."""

    def __init__(self, server: str, seconds: float):
        self.tokens = 0
        self.commits = 0
        self.refused = 0
        self.valid: str | None = None
        self.counting = threading.Lock()
        super().__init__(server, seconds)

    def expire(self) -> None:
        """Whoever has a token must get another one."""
        self.valid = None

    def forward(self, line: str, head: list[str], body: bytes) -> bytes:
        method, target, _ = line.split(" ", 2)
        path = urlsplit(target).path
        if path.endswith("/oauth/tokens"):
            name, secret = CREDENTIAL.split(":")
            right = f"client_id={name}&client_secret={secret}".encode() in body
            if not right:
                return answer(401, b'{"error": "invalid_client"}')
            with self.counting:
                self.tokens += 1
                self.valid = f"token-{self.tokens}"
            return answer(200, b'{"access_token": "%s", "token_type": "bearer"}' % self.valid.encode())
        given = [header.split(":", 1)[1].strip() for header in head if header.lower().startswith("authorization:")]
        if self.valid is None or given != [f"Bearer {self.valid}"]:
            with self.counting:
                self.refused += 1
            return answer(401, b'{"error": {"message": "the token is not valid", "type": "NotAuthorizedException", "code": 401}}')
        with self.counting:
            self.commits += method == "POST" and "/tables/" in path
        return super().forward(line, head, body)


def answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
