"""Figures of the lake: how long an acknowledged record takes to be in a snapshot, what tiering costs, what it does to producers.

    bench.py --weir target/release/weir [--seconds 60] [--rate 10] [--backfill 1024]

freshness   ack to visible in a Paimon snapshot at --rate MB/s with weir.lake.freshness = 5s: seconds, p50 and p99
backfill    MiB of values a second and core (CPU seconds of the broker) while a topic of --backfill MiB is tiered from its start
produce     p99 of acks=all at --rate MB/s, tiering off and on, in turn
files       bytes of data files

One line of a table for each, and a JSON line. A run in which the generator could not keep the rate is void and says so.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import Producer
from lake import Context, free_port, set_config, start

RECORD = 1000
# Different values: more than a compressor looks back on.
POOL = 16384


def values(count: int) -> list[bytes]:
    """Such that compression has something to do, and not everything."""
    return [(b"%012d" % (n * 7919 % 10**12)) + os.urandom(400) + b"flight from EWR to IAH " * 26 for n in range(count)]


def percentile(found: list[float], part: float) -> float:
    return statistics.quantiles(found, n=1000, method="inclusive")[min(998, int(part * 10) - 1)]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drive(bootstrap: str, topic: str, megabytes: float, seconds: float) -> tuple[dict, list[float], float]:
    """Produces at a rate; when each record was acknowledged, how long that took, and the rate that was reached."""
    pool, acked, took = values(POOL), {}, []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 2, "batch.size": 65536})

    def told(begun: float):
        def tell(error, message):
            if error is not None:
                raise RuntimeError(error)
            now = time.time()
            acked[message.partition(), message.offset()] = now
            took.append(now - begun)

        return tell

    per_tick = max(1, int(megabytes * 1e6 / RECORD / 200))
    begun, sent = time.time(), 0
    while time.time() - begun < seconds:
        for _ in range(per_tick):
            producer.produce(topic, pool[sent % POOL][:RECORD], partition=sent % 3, on_delivery=told(time.time()))
            sent += 1
        producer.poll(0)
        due = begun + sent * RECORD / (megabytes * 1e6)
        while (left := due - time.time()) > 0:
            producer.poll(min(left, 0.002))
    reached = sent * RECORD / 1e6 / (time.time() - begun)
    producer.flush(60)
    return acked, took, reached


class Watch:
    """When each snapshot of a Paimon table appeared, and the offsets it has."""

    def __init__(self, table: Path):
        self.table, self.seen, self.stop = table, [], threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self) -> None:
        number = 1
        while not self.stop.is_set():
            file = self.table / "snapshot" / f"snapshot-{number}"
            if not file.exists():
                time.sleep(0.02)
                continue
            now = time.time()
            properties = json.loads(file.read_text()).get("properties") or {}
            (record,) = [json.loads(text) for text in properties.values() if text.startswith("{") and "partitions" in text]
            self.seen.append((now, {int(partition): offset for partition, offset in record["partitions"].items()}))
            number += 1

    def ages(self, acked: dict) -> list[float]:
        self.stop.set()
        self.thread.join()
        found = []
        for (partition, offset), at in acked.items():
            visible = next((when for when, ends in self.seen if ends.get(partition, 0) > offset), None)
            if visible is None:
                raise RuntimeError(f"offset {offset} of partition {partition} is in no snapshot")
            found.append(max(0.0, visible - at))
        return found


class Broker:
    def __init__(self, folder: str):
        kafka, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        Path(folder).mkdir()
        self.ctx = Context(kafka, http, [], f"{folder}/lake")
        self.process = start(folder, kafka, http)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def show(name: str, unit: str, value: float) -> None:
    print(f"| {name} | {unit} | {value:.3f} |")
    print(json.dumps({"bench": "lake", "figure": name, "unit": unit, "weir": [value]}), flush=True)


def check_rate(reached: float, wanted: float) -> None:
    if reached < 0.9 * wanted:
        print(f"VOID: the generator reached {reached:.1f} of {wanted} MB/s", flush=True)


def freshness(folder: str, seconds: float, rate: float) -> None:
    broker = Broker(f"{folder}/freshness")
    try:
        ctx = broker.ctx
        topic = ctx.create("paimon")
        set_config(ctx, topic, "weir.lake.freshness", "5s")
        table = Path(ctx.lake, "weir.db", topic)
        watch = Watch(table)
        acked, _, reached = drive(ctx.bootstrap, topic, rate, seconds)
        check_rate(reached, rate)
        ctx.until(topic, lambda status: status["lag_records"] == 0)
        time.sleep(1)
        ages = watch.ages(acked)
        show(f"ack to visible in a Paimon snapshot at {rate:g} MB/s, p50", "s", percentile(ages, 50))
        show(f"ack to visible in a Paimon snapshot at {rate:g} MB/s, p99", "s", percentile(ages, 99))
        sizes = [file.stat().st_size / (1 << 20) for file in table.rglob("*.parquet")]
        show("data files", "count", len(sizes))
        show("data file, median", "MiB", statistics.median(sizes))
    finally:
        broker.close()


def backfill(folder: str, mebibytes: int, form: str) -> None:
    broker = Broker(f"{folder}/backfill-{form}")
    try:
        ctx = broker.ctx
        topic = ctx.create(form)
        set_config(ctx, topic, "weir.lake.paused", "true")
        drive(ctx.bootstrap, topic, 200, mebibytes * 1.05 / 200)
        time.sleep(5)  # merges settle
        lag = ctx.until(topic, lambda status: status["state"] == "paused")["lag_records"]
        before, begun = cpu_seconds(broker.process.pid), time.time()
        set_config(ctx, topic, "weir.lake.paused", "false")
        status = {}
        while status.get("lag_records") != 0 or status.get("state") != "running":
            status = ctx.until(topic, lambda status: True)
            time.sleep(0.1)
            if time.time() - begun > 600:
                raise RuntimeError(f"not done after 600 s: {status}")
        seconds, cpu = time.time() - begun, cpu_seconds(broker.process.pid) - before
        tiered = lag * RECORD / (1 << 20)
        show(f"backfill of {tiered:.0f} MiB, {form}", "MiB/s", tiered / seconds)
        show(f"backfill of {tiered:.0f} MiB, {form}", "MiB/s per core", tiered / cpu)
        files = [file.stat().st_size / (1 << 20) for file in Path(ctx.lake).rglob("*.parquet")]
        show(f"data files of the backfill, {form}, median", "MiB", statistics.median(files))
    finally:
        broker.close()


def produce(folder: str, seconds: float, rate: float, rounds: int) -> None:
    p99 = {"off": [], "on": []}
    for turn in range(rounds):
        for tiering in ("off", "on"):
            broker = Broker(f"{folder}/produce-{tiering}-{turn}")
            try:
                ctx = broker.ctx
                topic = ctx.create("paimon")
                set_config(ctx, topic, "weir.lake.freshness", "5s")
                set_config(ctx, topic, "weir.lake.paused", "true" if tiering == "off" else "false")
                _, took, reached = drive(ctx.bootstrap, topic, rate, seconds)
                check_rate(reached, rate)
                p99[tiering].append(percentile(took, 99) * 1000)
            finally:
                broker.close()
    off, on = (statistics.median(p99[tiering]) for tiering in ("off", "on"))
    show("produce p99, tiering off", "ms", off)
    show("produce p99, tiering on", "ms", on)
    show("produce p99, on / off", "ratio", on / off)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--backfill", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["WEIRTEST_BIN"] = arguments.weir
    print("| lake | unit | weir |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        freshness(folder, arguments.seconds, arguments.rate)
        for form in ("paimon", "parquet", "iceberg"):
            backfill(folder, arguments.backfill, form)
        produce(folder, arguments.seconds / 2, arguments.rate, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
