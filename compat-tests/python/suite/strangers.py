"""A client by hand that lies where it is told to: frames, SASL message by message, batches, bombs."""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
import time
import zlib

import cramjam
import lz4.frame
import zstandard
from aiokafka.record.util import calc_crc32c

from suite.report import CheckFailed
from suite.secured import PASSWORD, USER

MIB = 1 << 20


class Wire:
    """One connection that speaks frames and lies where it is told to."""

    def __init__(self, broker, listener="kafka", timeout=20.0):
        host, port = broker.address(listener).split(":")
        self.socket = socket.create_connection((host, int(port)), timeout)
        if listener != "kafka":
            context = ssl.create_default_context(cafile=str(broker.tls / "ca.pem"))
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, frame: bytes) -> None:
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self) -> bytes | None:
        """A frame; None = the broker hung up."""
        try:
            head = self.exactly(4)
            return head and self.exactly(struct.unpack(">i", head)[0])
        except (ConnectionError, ssl.SSLError):
            return None

    def exactly(self, count: int) -> bytes | None:
        out = b""
        while len(out) < count:
            part = self.socket.recv(count - len(out))
            if not part:
                return None
            out += part
        return out

    def call(self, key: int, version: int, body: bytes) -> bytes | None:
        """The body of the answer to a request with a plain header."""
        self.send(struct.pack(">hhih", key, version, 7, -1) + body)
        answer = self.receive()
        return None if answer is None else answer[4:]

    def close(self) -> None:
        self.socket.close()


def text(value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">h", len(value)) + value


def token(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


class Sasl(Wire):
    """An exchange, message by message: (error code, the broker's message)."""

    def __init__(self, broker, mechanism):
        super().__init__(broker, "sasl_ssl")
        answer = self.call(17, 1, text(mechanism))
        if answer is None or struct.unpack(">h", answer[:2])[0] != 0:
            raise CheckFailed(f"{mechanism} is not offered")

    def say(self, message: bytes) -> tuple[int, bytes]:
        answer = self.call(36, 0, token(message))
        if answer is None:
            return -1, b""
        (code, length) = struct.unpack(">hh", answer[:4])
        at = 4 + max(length, 0)
        size = struct.unpack(">i", answer[at:at + 4])[0]
        return code, answer[at + 4:at + 4 + size]


def first_message(user=USER, nonce=None) -> tuple[bytes, str]:
    nonce = nonce or secrets.token_hex(12)
    return f"n,,n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}".encode(), nonce


def final_message(first: bytes, challenge: bytes, password=PASSWORD, nonce=None, binding=b"n,,") -> bytes:
    """The client's proof of SCRAM-SHA-256, over a nonce of its choice."""
    parts = dict(part.split("=", 1) for part in challenge.decode().split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    bare = f"c={base64.b64encode(binding).decode()},r={nonce or parts['r']}"
    message = ",".join([first.decode()[3:], challenge.decode(), bare]).encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
    return f"{bare},p={proof}".encode()


def varint(value: int) -> bytes:
    value, out = (value << 1) ^ (value >> 63), b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def batch(payload: bytes, codec: int = 0, record: bytes | None = None) -> bytes:
    """A batch of one record, or of a payload that says it is one."""
    if record is not None:
        body = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(record)) + record + varint(0)
        payload = varint(len(body)) + body
    now = int(time.time() * 1000)
    rest = struct.pack(">hiqqqhii", codec, 0, now, now, -1, -1, -1, 1) + payload
    return struct.pack(">qiib", 0, 4 + 1 + 4 + len(rest), -1, 2) + struct.pack(">I", calc_crc32c(rest)) + rest


def produce(topic: str, records: bytes) -> bytes:
    partition = struct.pack(">iii", 1, 0, len(records)) + records
    return struct.pack(">hhii", -1, -1, 30_000, 1) + text(topic) + partition


def produced(answer: bytes | None) -> int | None:
    """The error code of the one partition; None = the broker hung up."""
    if answer is None:
        return None
    name = struct.unpack(">h", answer[4:6])[0]
    return struct.unpack(">h", answer[6 + name + 8:6 + name + 10])[0]


def zeros(codec: str, size: int) -> tuple[int, bytes]:
    """So many zeros, compressed; the batch attribute of the codec."""
    block = b"\0" * MIB
    if codec == "gzip":
        out = b""
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        for _ in range(size // MIB):
            out += packer.compress(block)
        return 1, out + packer.flush()
    if codec == "zstd":
        packer = zstandard.ZstdCompressor(level=19).compressobj()
        return 4, b"".join(packer.compress(block) for _ in range(size // MIB)) + packer.flush()
    if codec == "lz4":
        packer = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX1MB)
        out = packer.begin()
        for _ in range(size // MIB):
            out += packer.compress(block)
        return 3, out + packer.flush()
    # snappy in the frames of xerial, as Kafka has it
    chunk = bytes(cramjam.snappy.compress_raw(block))
    framed = struct.pack(">i", len(chunk)) + chunk
    return 2, b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + framed * (size // MIB)
