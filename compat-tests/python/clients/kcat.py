"""kcat: the command as people use it, its output parsed and compared.

kcat neither creates topics nor sets timestamps, and its headers are per invocation. So topics are made by
confluent-kafka, each origin of the flights is produced by an invocation of its own (into a partition of its own, which
also makes the order of its delivery reports the order of the rows), timestamps are held against the time of the call, and
a topic produced by confluent-kafka shows that kcat reads foreign headers and timestamps exactly.

Seen failing: with a byte of the input changed after the rows were taken, and with `-c` one short in the resume check.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from clients.confluent import Confluent
from suite.checks import EXACT_VALUE_BYTES, wait_until_led
from suite.records import LOG_APPEND_TIME, Oracle, Record, Row
from suite.report import Check, CheckFailed, Report

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ORIGINS = ("EWR", "JFK", "LGA")
# Numbers and headers in one line, then key and value by their lengths: nothing in the data can be mistaken for a mark.
FORMAT = "%p %o %T %K %S %h\\n%k%s"
PATIENCE_SECONDS = 90


class Kcat:
    def __init__(self, bootstrap: str, rows: list[Row], run: str):
        self.bootstrap, self.rows, self.run_id = bootstrap, rows, run
        self.helper = Confluent(bootstrap)

    def topic(self, what: str, partitions: int = 3) -> str:
        name = f"kcat.{what}.{self.run_id}"
        self.helper.create_topic(name, partitions, 1, {"retention.ms": "-1"})
        wait_until_led(self.helper, name, partitions)
        return name

    def command(self, *words: str) -> list[str]:
        return ["kcat", "-b", self.bootstrap, *words]

    def call(self, *words: str, data: bytes | None = None, ok: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(self.command(*words), input=data, capture_output=True, timeout=PATIENCE_SECONDS)
        if ok and done.returncode != 0:
            raise CheckFailed(f"kcat {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        return done

    def produce(self, topic: str, partition: int, data: bytes, *words: str) -> list[tuple[int, int]]:
        """Returns what the delivery reports say, in the order in which they came."""
        done = self.call("-P", "-t", topic, "-p", str(partition), "-v", "-v", "-X", "acks=all", *words, data=data)
        return delivered(done.stderr)

    def consume(self, *words: str) -> list[Record]:
        return parse(self.call("-C", "-f", FORMAT, "-q", "-e", "-X", "check.crcs=true", *words).stdout)


def delivered(stderr: bytes) -> list[tuple[int, int]]:
    found = re.findall(rb"Message delivered to partition (\d+) \(offset (-?\d+)\)", stderr)
    return [(int(partition), int(offset)) for partition, offset in found]


def parse(output: bytes) -> list[Record]:
    records, position = [], 0
    while position < len(output):
        end = output.index(b"\n", position)
        partition, offset, timestamp, key_length, value_length, *headers = output[position:end].decode().split(" ", 5)
        position = end + 1
        fields = []
        for length in (int(key_length), int(value_length)):
            fields.append(None if length < 0 else output[position: position + length])
            position += max(length, 0)
        named = [pair.partition("=") for pair in headers[0].split(",")] if headers and headers[0] else []
        records.append(Record(int(partition), int(offset), *fields,
                              tuple((name, value.encode()) for name, _, value in named), int(timestamp)))
    return records


def lines_of(rows: list[Row]) -> bytes:
    return b"".join(row.key + b"\t" + row.value + b"\n" for row in rows)


def produce_rows(check: Check, kcat: Kcat, topic: str, rows: list[Row], *words: str) -> tuple[Oracle, int, int]:
    """Rows of each origin into a partition of their own, with that origin as header."""
    oracle, started = Oracle(), int(time.time() * 1000)
    for partition, origin in enumerate(ORIGINS):
        part = [row for row in rows if dict(row.headers)["origin"] == origin.encode()]
        headed = [replace(row, headers=(("origin", origin.encode()),)) for row in part]
        acks = kcat.produce(topic, partition, lines_of(part), "-K", "\\t", "-H", f"origin={origin}", *words)
        oracle.acked(check, headed, acks)
    oracle.contiguous(check)
    return oracle, started, int(time.time() * 1000)


def verify_but_time(check: Check, oracle: Oracle, records: list[Record], started: int, ended: int) -> None:
    for record in records:
        if not started <= record.timestamp <= ended:
            raise CheckFailed(f"offset {record.offset} has timestamp {record.timestamp}, not in {started}..{ended}")
    timeless = [replace(r, timestamp=oracle.rows[r.partition][r.offset].timestamp) for r in records]
    oracle.verify(check, timeless)


def produce_codec(check: Check, kcat: Kcat, codec: str) -> None:
    topic = kcat.topic(f"codec-{codec}")
    oracle, *times = produce_rows(check, kcat, topic, kcat.rows, "-z", codec)
    verify_but_time(check, oracle, kcat.consume("-t", topic, "-o", "beginning"), *times)


def produce_idempotent(check: Check, kcat: Kcat) -> None:
    topic = kcat.topic("idempotent")
    more = ("-X", "enable.idempotence=true", "-X", "batch.size=4096")
    oracle, *times = produce_rows(check, kcat, topic, kcat.rows, *more)
    verify_but_time(check, oracle, kcat.consume("-t", topic, "-o", "beginning"), *times)


def auto_create(check: Check, kcat: Kcat) -> None:
    """Producing to a topic that is not there makes it, as Kafka's default has it."""
    name = f"kcat.auto.{kcat.run_id}"
    rows = [Row(None, b"made by producing", (), 0)]
    acks = delivered(kcat.call("-P", "-t", name, "-v", "-v", data=b"made by producing\n").stderr)
    oracle = Oracle()
    oracle.acked(check, rows, acks)
    verify_but_time(check, oracle, kcat.consume("-t", name, "-o", "beginning"), 0, 1 << 62)


def nulls_and_empties(check: Check, kcat: Kcat) -> None:
    topic = kcat.topic("nulls", 1)
    oracle = Oracle()
    for row, words, data in [
        (Row(b"key", None, (), 0), ("-K", ":", "-Z"), b"key:\n"),
        (Row(b"key", b"", (), 0), ("-K", ":"), b"key:\n"),
        (Row(None, b"no key", (), 0), (), b"no key\n"),
        (Row("\u0418\u043b".encode(), "\u6c34 \U0001f6eb".encode(), (("h", b"1"), ("h", b"2")), 0),
         ("-K", ":", "-H", "h=1", "-H", "h=2"), "\u0418\u043b:\u6c34 \U0001f6eb\n".encode()),
    ]:
        oracle.acked(check, [row], kcat.produce(topic, 0, data, *words))
    verify_but_time(check, oracle, kcat.consume("-t", topic, "-o", "beginning"), 1, 1 << 62)


def largest_record(check: Check, kcat: Kcat) -> None:
    topic = kcat.topic("largest", 1)
    oracle, more = Oracle(), ("-X", "message.max.bytes=8000000")
    with tempfile.TemporaryDirectory(prefix="weir-kcat-") as folder:
        fits, too_large = Path(folder, "fits"), Path(folder, "too-large")
        noise = os.urandom(EXACT_VALUE_BYTES + 1)
        fits.write_bytes(noise[:-1])
        too_large.write_bytes(noise)
        done = kcat.call("-P", "-t", topic, "-p", "0", "-v", "-v", *more, str(fits))
        oracle.acked(check, [Row(None, noise[:-1], (), 0)], delivered(done.stderr))
        done = kcat.call("-P", "-t", topic, "-p", "0", "-v", "-v", *more, str(too_large), ok=False)
        check.true("one byte more is refused as too large", b"Message size too large" in done.stderr, done.stderr)
        check.equal("deliveries of it", delivered(done.stderr), [])
    verify_but_time(check, oracle, kcat.consume("-t", topic, "-o", "beginning"), 1, 1 << 62)


def make_base(check: Check, kcat: Kcat, base: dict) -> None:
    """Headers and timestamps of the flights, as another client wrote them; compressed, so kcat must decompress."""
    base["topic"], base["oracle"] = kcat.topic("base"), Oracle()
    base["oracle"].acked(check, kcat.rows, kcat.helper.produce(base["topic"], kcat.rows, "zstd"))
    base["oracle"].verify(check, kcat.consume("-t", base["topic"], "-o", "beginning"))


def consume_json(check: Check, kcat: Kcat, base: dict) -> None:
    output = kcat.call("-C", "-t", base["topic"], "-J", "-q", "-e", "-o", "beginning").stdout
    records = []
    for line in output.splitlines():
        seen = json.loads(line)
        headers = tuple(zip(seen["headers"][::2], (value.encode() for value in seen["headers"][1::2])))
        kind = LOG_APPEND_TIME if seen["tstype"] == "logappend" else 0
        records.append(Record(seen["partition"], seen["offset"], seen["key"].encode(), seen["payload"].encode(), headers,
                              seen["ts"], kind))
    base["oracle"].verify(check, records)


def consume_assigned(check: Check, kcat: Kcat, base: dict) -> None:
    oracle = base["oracle"]
    for partition, end in oracle.ends().items():
        middle, count = end // 2, end // 4
        starts = {partition: middle}
        where = ("-t", base["topic"], "-p", str(partition))
        oracle.verify(check, kcat.consume(*where, "-o", str(middle)), starts, {partition: end})
        some = kcat.consume(*where, "-o", str(middle), "-c", str(count))
        oracle.verify(check, some, starts, {partition: middle + count})
        last = kcat.consume(*where, "-o", f"-{count}")
        oracle.verify(check, last, {partition: end - count}, {partition: end})


def seek_by_timestamp(check: Check, kcat: Kcat, base: dict) -> None:
    oracle, topic = base["oracle"], base["topic"]
    times = sorted(row.timestamp for row in kcat.rows)
    asked = [times[0], times[len(times) // 4] + 1, times[len(times) // 2], times[-1]]
    for timestamp in asked:
        for partition in oracle.ends():
            answer = kcat.call("-Q", "-t", f"{topic}:{partition}:{timestamp}").stdout.decode()
            found = int(answer.split("offset")[1].split()[0])
            want = oracle.first_at(partition, timestamp)
            check.equal(f"offset of partition {partition} at {timestamp}", found, -1 if want is None else want)
            if want is not None:
                records = kcat.consume("-t", topic, "-p", str(partition), "-o", f"s@{timestamp}")
                oracle.verify(check, records, {partition: want}, {partition: oracle.ends()[partition]})


def metadata(check: Check, kcat: Kcat, base: dict) -> None:
    listed = json.loads(kcat.call("-L", "-J").stdout)
    check.equal("brokers", [broker["name"] for broker in listed["brokers"]], [kcat.bootstrap])
    (topic,) = [topic for topic in listed["topics"] if topic["topic"] == base["topic"]]
    check.equal("partitions", sorted(part["partition"] for part in topic["partitions"]), [0, 1, 2])
    for part in topic["partitions"]:
        check.equal("replicas", len(part["replicas"]), 1)
        check.equal("leader", part["leader"], listed["brokers"][0]["id"])
    done = kcat.call("-C", "-t", f"kcat.none.{kcat.run_id}", "-e", "-X", "allow.auto.create.topics=false", ok=False)
    check.true("an unknown topic is told", b"Unknown topic or partition" in done.stderr, done.stderr)


class GroupMember:
    """`kcat -G`: its records and partitions, read while it runs."""

    def __init__(self, kcat: Kcat, group: str, topic: str, commits: bool):
        commit = ("-X", "auto.commit.interval.ms=100") if commits else ("-X", "enable.auto.commit=false")
        words = ("-G", group, "-f", FORMAT, "-u", "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000",
                 "-X", "heartbeat.interval.ms=1000", "-X", "partition.assignment.strategy=range", *commit, topic)
        self.process = subprocess.Popen(kcat.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.output, self.partitions = bytearray(), set()
        self.readers = [threading.Thread(target=read, daemon=True) for read in (self._read_records, self._read_events)]
        for reader in self.readers:
            reader.start()

    def _read_records(self) -> None:
        while chunk := self.process.stdout.read1(1 << 16):
            self.output += chunk

    def _read_events(self) -> None:
        for line in self.process.stderr:
            if b"assigned:" in line:
                self.partitions = {int(p) for p in re.findall(rb"\[(\d+)\]", line.split(b"assigned:")[1])}
            elif b"revoked:" in line:
                self.partitions = set()

    def count(self) -> int:
        """A lower bound while it runs: the lines that begin a record."""
        return len(re.findall(rb"\d+ \d+ \d+ -?\d+ -?\d+ origin=", bytes(self.output)))

    def end(self, how: int) -> list[Record]:
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        self.process.wait(PATIENCE_SECONDS)
        for reader in self.readers:
            reader.join(10)
        return parse(bytes(self.output))


def wait_for(what: str, condition) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_SECONDS} s until {what}")
        time.sleep(0.1)


def commit_and_resume(check: Check, kcat: Kcat, base: dict) -> None:
    group, oracle = f"kcat.resume.{kcat.run_id}", base["oracle"]
    half = len(kcat.rows) // 2
    words = ("-G", group, "-f", FORMAT, "-q", "-X", "auto.offset.reset=earliest", "-c")
    first = parse(kcat.call(*words, str(half), base["topic"]).stdout)
    rest = parse(kcat.call(*words, str(len(kcat.rows) - half), base["topic"]).stdout)
    check.equal("records of the first", len(first), half)
    oracle.verify(check, sorted(first + rest, key=lambda record: (record.partition, record.offset)))


def group_rebalance(check: Check, kcat: Kcat) -> None:
    topic, group, oracle = kcat.topic("rebalance", 6), f"kcat.rebalance.{kcat.run_id}", Oracle()
    rows = kcat.rows
    half = len(rows) // 2

    def produce(some: list[Row]) -> None:
        for partition in range(6):
            oracle.acked(check, some[partition::6], kcat.helper.produce(topic, some[partition::6], partition=partition))

    produce(rows[:half])
    first = GroupMember(kcat, group, topic, commits=True)
    second = None
    try:
        wait_for("the first member has read the first half", lambda: first.count() >= half)
        check.equal("partitions of the only member", first.partitions, set(range(6)))
        time.sleep(0.5)  # its commits are periodic
        second = GroupMember(kcat, group, topic, commits=False)
        wait_for("both members have half", lambda: len(first.partitions) == 3 and len(second.partitions) == 3)
        theirs = set(second.partitions)
        produce(rows[half:])
        share = sum(len(rows[half:][p::6]) for p in theirs)
        wait_for("the second member has read its share", lambda: second.count() >= share)
        wait_for("the first member has read its share", lambda: first.count() >= len(rows) - share)
        seen = second.end(signal.SIGKILL)
        wait_for("the first member has it all", lambda: first.count() >= len(rows))
        check.equal("partitions after the other's death", first.partitions, set(range(6)))
    finally:
        if second is not None:
            second.end(signal.SIGKILL)
        records = first.end(signal.SIGTERM)
    oracle.verify(check, sorted(records, key=lambda record: (record.partition, record.offset)))
    starts = {p: half // 6 + (1 if p < half % 6 else 0) for p in theirs}
    oracle.verify(check, sorted(seen, key=lambda record: (record.partition, record.offset)), starts,
                  {p: oracle.ends()[p] for p in theirs})


def run_kcat(report: Report, bootstrap: str, rows: list[Row], run: str) -> str:
    kcat = Kcat(bootstrap, rows, run)
    for codec in CODECS:
        report.run(f"produce-{codec}", produce_codec, kcat, codec)
    report.run("produce-idempotent", produce_idempotent, kcat)
    report.run("auto-create", auto_create, kcat)
    report.run("nulls-and-empties", nulls_and_empties, kcat)
    report.run("largest-record", largest_record, kcat)
    base: dict = {}
    report.run("consume-foreign", make_base, kcat, base)
    if base:
        report.run("consume-json", consume_json, kcat, base)
        report.run("consume-assigned", consume_assigned, kcat, base)
        report.run("seek-by-timestamp", seek_by_timestamp, kcat, base)
        report.run("commit-and-resume", commit_and_resume, kcat, base)
        report.run("metadata", metadata, kcat, base)
    report.run("group-rebalance", group_rebalance, kcat)
    version = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    return " ".join(re.findall(r"Version \S+|librdkafka \S+", version))
