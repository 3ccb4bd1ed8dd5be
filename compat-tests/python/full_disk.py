"""A broker on a real file system of 160 MiB that another file fills up, with librdkafka as the client.

Checked: produce is refused with a retriable error, reads go on, a topic can be deleted and its space comes back, produce is accepted
again within 10 s of space being freed, and after kill -9 everything acknowledged is there, at its offset, once.

Started by `cargo xtask test --long full-disk`. Needs WEIRTEST_BIN and the right to mount a tmpfs. Without that it is skipped, except under CI=true, where a skip is a failure.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SIZE = 160 << 20
RECOVERY_SECONDS = 10
VALUE = b"v" * 1000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_bytes(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


class Broker:
    def __init__(self, data: Path):
        self.data = data
        self.address = f"127.0.0.1:{free_port()}"
        self.start()

    def start(self) -> None:
        settings = ["wal.file.bytes=4MiB", "wal.max.bytes=16MiB", "merge.partition.bytes=1MiB"]
        http, registry = (f"127.0.0.1:{free_port()}" for _ in range(2))
        command = [os.environ["WEIRTEST_BIN"], "serve", "--data-dir", str(self.data), "--listen", self.address,
                   "--http", http, "--registry", registry]
        for setting in settings:
            command += ["--set", setting]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        host, port = self.address.split(":")
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the broker does not start")
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Client:
    """Produces one record after the other and remembers what was acknowledged: number by offset."""

    def __init__(self, address: str):
        self.acked: dict[int, int] = {}
        self.number = 0
        # No retries: the broker's own answer is what the callback gets.
        self.producer = Producer({"bootstrap.servers": address, "acks": "all", "retries": 0, "linger.ms": 0})

    def produce(self, topic: str, count: int) -> list[KafkaError]:
        errors: list[KafkaError] = []

        def done(number: int):
            def callback(error, message):
                if error is not None:
                    errors.append(error)
                elif topic == "kept":
                    self.acked[message.offset()] = number
            return callback

        for _ in range(count):
            value = b"%d:" % self.number + VALUE
            self.producer.produce(topic, value, on_delivery=done(self.number))
            self.number += 1
            self.producer.poll(0)
        self.producer.flush(30)
        return errors

    def produce_until(self, topic: str, refused: bool, seconds: float) -> tuple[float, list[KafkaError]]:
        started = time.monotonic()
        while True:
            errors = self.produce(topic, 10)
            if bool(errors) == refused:
                return time.monotonic() - started, errors
            if time.monotonic() - started > seconds:
                raise SystemExit(f"produce is {'accepted' if refused else f'refused ({errors[0]})'} after {seconds} s")
            time.sleep(0.1)


def compare(address: str, client: Client) -> int:
    """Reads `kept` from the start; every acknowledged record is at its offset, no number twice."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "compare", "enable.auto.commit": False})
    low, high = consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=10)
    consumer.assign([TopicPartition("kept", 0, low)])
    found: dict[int, int] = {}
    deadline = time.monotonic() + 60
    while len(found) < high - low:
        for message in consumer.consume(1000, timeout=1):
            if message.error():
                raise SystemExit(f"reading fails: {message.error()}")
            found[message.offset()] = int(message.value().split(b":", 1)[0])
        if time.monotonic() > deadline:
            raise SystemExit(f"only {len(found)} of {high - low} records can be read")
    consumer.close()
    for offset, number in client.acked.items():
        if found.get(offset) != number:
            raise SystemExit(f"record {number} was acknowledged at offset {offset}, there is {found.get(offset)}")
    if len(set(found.values())) != len(found):
        raise SystemExit("a record is there twice")
    return len(client.acked)


def fill(ballast: Path, leave: int) -> None:
    with ballast.open("ab") as out:
        try:
            while (free := free_bytes(ballast.parent)) > leave:
                out.write(b"\0" * min(free - leave, 1 << 20))
                out.flush()
        except OSError:
            if leave:
                raise


def check(root: Path, broker: Broker) -> dict:
    client = Client(broker.address)
    admin = AdminClient({"bootstrap.servers": broker.address})
    topics = [NewTopic(name, 1, 1, config={"retention.ms": "-1"}) for name in ("kept", "victim")]
    for future in admin.create_topics(topics).values():
        future.result(10)
    for topic in ("kept", "victim"):
        for _ in range(20):
            if errors := client.produce(topic, 1000):
                raise SystemExit(f"produce with space fails: {errors[0]}")
    # Until most of it is in segments: what is only in the WAL is given back later.
    segments = root / "data" / "segments"
    deadline = time.monotonic() + 90
    while sum(f.stat().st_size for f in segments.glob("*.rows")) < 30 << 20 and time.monotonic() < deadline:
        time.sleep(0.2)
    ballast = root / "ballast"
    counts = {"segment_bytes": sum(f.stat().st_size for f in segments.glob("*.rows"))}

    fill(ballast, leave=2 << 20)
    seconds, errors = client.produce_until("kept", refused=True, seconds=10)
    counts["refused"] = len(errors)
    for error in errors:
        if error.code() != KafkaError.KAFKA_STORAGE_ERROR:  # which clients retry
            raise SystemExit(f"not a storage error: {error}")
    compare(broker.address, client)
    before = free_bytes(root)
    started = time.monotonic()
    admin.delete_topics(["victim"], operation_timeout=5)["victim"].result(10)
    deadline = started + 10
    while free_bytes(root) < before + (4 << 20):
        if time.monotonic() > deadline:
            raise SystemExit(f"the deleted topic's space does not come back: {before} bytes were free, {free_bytes(root)} are")
        time.sleep(0.05)
    counts["freed_by_deletion"] = free_bytes(root) - before
    client.produce_until("kept", refused=False, seconds=RECOVERY_SECONDS)

    # Now to the last byte, with merges and rolls due.
    fill(ballast, leave=0)
    client.produce_until("kept", refused=True, seconds=10)
    time.sleep(3)
    compare(broker.address, client)
    ballast.unlink()
    seconds, _ = client.produce_until("kept", refused=False, seconds=RECOVERY_SECONDS)
    counts["writable_after_ms"] = int(seconds * 1000)
    if errors := client.produce("kept", 2000):
        raise SystemExit(f"produce after the disk had space: {errors[0]}")
    broker.kill()
    broker.start()
    counts["compared"] = compare(broker.address, client)
    broker.kill()
    return counts


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="weir-full-disk-") as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=False)
        if mounted.returncode != 0:
            print("SKIPPED: a tmpfs cannot be mounted here (root can)", file=sys.stderr)
            return 1 if os.environ.get("CI") == "true" else 0
        broker = Broker(Path(folder) / "data")
        try:
            print(json.dumps({"counts": check(Path(folder), broker)}))
        finally:
            broker.kill()
            subprocess.run(["umount", "--lazy", folder], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
