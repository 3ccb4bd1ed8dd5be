"""A broker with TLS, client certificates, users and tokens, for the security suites. Everything is made anew for each run."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

USER, PASSWORD = "alice", "correct horse, battery=staple"
ISSUER, AUDIENCE, BEARER = "https://issuer.example", "weir", "bearer"
LISTENERS = ("kafka", "ssl", "mtls", "sasl_ssl", "reauth")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens with ES256."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> str:
        numbers = self.key.public_key().public_numbers()
        part = lambda number: b64(number.to_bytes(32, "big"))  # noqa: E731
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
                                     "x": part(numbers.x), "y": part(numbers.y)}]})

    def token(self, alg: str = "ES256", **changes) -> str:
        claims = {"sub": BEARER, "iss": ISSUER, "aud": AUDIENCE, "iat": int(time.time()), "exp": int(time.time()) + 3600,
                  **changes}
        message = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": alg, "kid": "k1", "typ": "JWT"}, claims))
        if alg == "none":
            return message + "."
        r, s = decode_dss_signature(self.key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
        return message + "." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


class SecuredBroker:
    # Settings beside those that all have.
    more: dict = {}

    def __init__(self):
        self.weir = os.environ["WEIRTEST_BIN"]
        self.folder = Path(tempfile.mkdtemp(prefix="weir-secured-"))
        self.tls = self.folder / "tls"
        self.issuer = Issuer()
        self.log = self.folder / "broker.log"
        self.seen = 0
        self.make_certificates(self.tls)
        (self.folder / "jwks.json").write_text(self.issuer.jwks())
        ports = self.free_ports(len(LISTENERS) + 1)
        self.ports = dict(zip(LISTENERS, ports))
        self.http = ports[-1]
        self.start()

    def make_certificates(self, folder: Path) -> None:
        subprocess.run([self.weir, "tls", "dev", "--out", folder, "--client", USER], check=True, capture_output=True)

    @staticmethod
    def free_ports(count: int) -> list[int]:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [one.getsockname()[1] for one in sockets]
        [one.close() for one in sockets]
        return ports

    def start(self) -> None:
        settings = {
            "data.dir": self.folder / "data",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()),
            "advertised.listeners": ",".join(f"{name}://localhost:{port}" for name, port in self.ports.items()),
            "listener.security.protocol.map": "mtls:SSL,reauth:SASL_SSL",
            "http.listen": f"127.0.0.1:{self.http}",
            "registry.listen": "off",
            "ssl.certificate.location": self.tls / "server.pem",
            "ssl.key.location": self.tls / "server.key",
            "ssl.ca.location": self.tls / "ca.pem",
            "ssl.reload.interval": "200ms",
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.mtls.ssl.principal.mapping.rules": "RULE:CN=(.*)/$1/L",
            "listener.name.reauth.connections.max.reauth.ms": "1500",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER",
            "sasl.oauthbearer.jwks.endpoint.url": f"file://{self.folder}/jwks.json",
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
            # Whoever is not exactly one of these is refused by the authoriser: names are checked too.
            "super.users": f"User:ANONYMOUS;User:{USER};User:{BEARER}",
            "group.initial.rebalance.delay.ms": "0",
            **self.more,
        }
        flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
        out = open(self.log, "wb")
        self.process = subprocess.Popen([self.weir, "serve", "--init-admin", *flags], stdout=out, stderr=out)
        deadline = time.monotonic() + 30
        while "is ready after" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"weir did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        admin = re.search(r"shown only now: (\S+)", self.log.read_text()).group(1)
        environment = {**os.environ, "WEIR_PASSWORD": admin}
        command = [self.weir, "--username", "admin", "--tls-ca", self.tls / "ca.pem", "-b", self.address("sasl_ssl"),
                   "user", "create", USER]
        subprocess.run(command, input=PASSWORD + "\n", text=True, env=environment, check=True, capture_output=True)

    def address(self, listener: str) -> str:
        return f"localhost:{self.ports[listener]}"

    def settings(self, listener: str, **more) -> dict:
        """What a client needs to know, in words of no client."""
        return {"bootstrap": self.address(listener), "ca": str(self.tls / "ca.pem"), **more}

    def certificate(self) -> dict:
        return {"cert": str(self.tls / f"{USER}.pem"), "key": str(self.tls / f"{USER}.key")}

    def forget_log(self) -> None:
        self.seen = self.log.stat().st_size

    def refusals(self) -> list[str]:
        """Lines about refused clients since `forget_log`."""
        text = self.log.read_bytes()[self.seen:].decode()
        return [line for line in text.splitlines() if "authentication refused" in line or "TLS handshake failed" in line]

    def metric(self, name: str) -> float:
        import urllib.request

        text = urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def fresh(self) -> Path:
        """A certificate to come. One of the same CA would need its key: the CA is another, and clients trust all of them."""
        fresh = Path(tempfile.mkdtemp(dir=self.folder)) / "tls"
        self.make_certificates(fresh)
        trusted = self.tls / "ca.pem"
        trusted.write_text(trusted.read_text() + (fresh / "ca.pem").read_text())
        return fresh

    def rotate(self, fresh: Path | None = None) -> None:
        """From now on new connections see another certificate."""
        fresh = fresh or self.fresh()
        for name in ("server.pem", "server.key"):
            os.replace(fresh / name, self.tls / name)
        self.process.send_signal(signal.SIGHUP)

    def finish(self) -> str:
        """What was wrong with the broker, or nothing."""
        problem = ""
        if self.process.poll() is not None:
            problem = "the broker died"
        else:
            self.process.terminate()
            if self.process.wait(20) != 0:
                problem = "the broker did not end with 0"
        text = self.log.read_text()
        if "panicked at" in text:
            problem = "the broker panicked"
        for secret in (PASSWORD, self.issuer.token().split(".")[0]):
            if secret in text:
                problem = "a secret is in the broker's log"
        if problem:
            print(text[-4000:])
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return problem
