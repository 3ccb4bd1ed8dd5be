"""A broker under steady mixed work for a while: nothing is lost, and its memory does not grow.

    soak.py --weir target/release/weir [--minutes 30]

Two producers (one transactional) write numbered records to topics whose retention keeps them small; a group of two reads one of them, and one of
its members is exchanged every few seconds; connections come, ask and go; topics are made and deleted; schemas are registered. The memory is
compared after a first third, in which caches fill: the median of the last sixth of all samples with that of the sixth behind the first third. The last
line has the counts; exit code 1 if the drift is 5 % or more, or a record is missing.

`--leak` keeps the connections that come, so that the run has to fail.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from connections import Broker

DRIFT_MAX = 0.05
SMALL = {"retention.bytes": str(16 << 20), "retention.ms": "60000"}


class Soak:
    def __init__(self, broker, leak: bool):
        self.broker, self.leak = broker, leak
        self.bootstrap = f"127.0.0.1:{broker.kafka}"
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})
        self.stop = threading.Event()
        self.counts = {"produced": 0, "transactions": 0, "consumed": 0, "rebalances": 0, "connections": 0, "topics": 0}
        self.errors, self.read, self.lock, self.kept = [], set(), threading.Lock(), []
        topics = [NewTopic("plain", 3, 1, config=SMALL), NewTopic("money", 3, 1, config=SMALL),
                  NewTopic("rows", 2, 1, config=SMALL | {"weir.table.schema": "number BIGINT, text STRING", "weir.layout": "column"})]
        for result in self.admin.create_topics(topics).values():
            result.result(30)

    def count(self, name: str, more: int = 1) -> None:
        with self.lock:
            self.counts[name] += more

    def guarded(self, body):
        def run():
            try:
                while not self.stop.is_set():
                    body()
            except Exception as error:  # noqa: BLE001 - whatever ends a worker is a failure of the run
                self.errors.append(f"{body.__name__}: {error}")

        return threading.Thread(target=run)

    def delivered(self, error, _message) -> None:
        if error:
            self.errors.append(f"delivery: {error}")
        else:
            self.count("produced")

    def produce(self) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 20, "compression.type": "lz4"})
        self.number = getattr(self, "number", 0)
        for _ in range(2000):
            value = f"{self.number:012d}" + "x" * random.randrange(400)
            producer.produce("plain", value.encode(), key=str(self.number % 97), on_delivery=self.delivered)
            row = json.dumps({"number": self.number, "text": "y" * random.randrange(100)})
            producer.produce("rows", row.encode(), on_delivery=self.delivered)
            self.number += 1
            producer.poll(0)
            time.sleep(0.001)
            if self.stop.is_set():
                break
        producer.flush(60)

    def transact(self) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "soak"})
        producer.init_transactions(30)
        for _ in range(50):
            producer.begin_transaction()
            for _ in range(20):
                producer.produce("money", b"m" * 200, on_delivery=self.delivered)
            producer.flush(30)
            producer.commit_transaction(30) if random.random() < 0.8 else producer.abort_transaction(30)
            self.count("transactions")
            time.sleep(0.05)
            if self.stop.is_set():
                break

    def consumer(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.bootstrap, "group.id": "soak", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "session.timeout.ms": 10_000})

    def consume(self) -> None:
        consumer = self.consumer()
        consumer.subscribe(["plain"])
        until = time.monotonic() + 20
        while time.monotonic() < until and not (self.stop.is_set() and until - time.monotonic() < 15):
            messages = [message for message in consumer.consume(500, 0.5) if not message.error()]
            with self.lock:
                self.read.update(int(message.value()[:12]) for message in messages)
            self.count("consumed", len(messages))
            if messages:
                consumer.commit(asynchronous=False)
        consumer.close()
        self.count("rebalances")

    def churn(self) -> None:
        for _ in range(20):
            one = self.broker.connect()
            self.kept.append(one) if self.leak else one.close()
            self.count("connections")
        name = f"passing-{random.randrange(1 << 30)}"
        self.admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
        self.admin.delete_topics([name])[name].result(30)
        self.count("topics")
        urllib.request.urlopen(f"http://127.0.0.1:{self.broker.http}/metrics", timeout=10).read()
        time.sleep(1)

    def run(self, minutes: float) -> tuple[dict, list]:
        threads = [self.guarded(body) for body in (self.produce, self.transact, self.consume, self.consume, self.churn)]
        [thread.start() for thread in threads]
        samples, until = [], time.monotonic() + minutes * 60
        while time.monotonic() < until and not self.errors:
            time.sleep(1)
            samples.append(self.broker.resident())
        self.stop.set()
        [thread.join(90) for thread in threads]
        # What the group has not read yet; retention took none of it: it is younger than a minute.
        consumer, quiet = self.consumer(), 0
        consumer.subscribe(["plain"])
        while quiet < 20 and len(self.read) < self.number:
            messages = [message for message in consumer.consume(500, 0.5) if not message.error()]
            self.read.update(int(message.value()[:12]) for message in messages)
            quiet = 0 if messages else quiet + 1
        consumer.close()
        return self.verdict(samples)

    def verdict(self, samples: list) -> tuple[dict, list]:
        if len(samples) < 60:
            return self.counts, self.errors or ["the run was too short: give it a minute at least"]
        part = len(samples) // 6
        first, last = (statistics.median(some) for some in (samples[2 * part:3 * part], samples[-part:]))
        drift = (last - first) / first
        missing = self.number - len(self.read)
        counts = {**self.counts, "missing": missing, "rss_mib_first": round(first / (1 << 20), 1),
                  "rss_mib_last": round(last / (1 << 20), 1), "drift_percent": round(100 * drift, 2), "errors": len(self.errors)}
        problems = list(self.errors)
        if drift >= DRIFT_MAX:
            problems.append(f"the memory grew by {100 * drift:.1f} %")
        if missing:
            problems.append(f"{missing} records were never read")
        return counts, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--leak", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-soak-") as folder:
        broker = Broker(arguments.weir, folder, 10_000)
        try:
            counts, problems = Soak(broker, arguments.leak).run(arguments.minutes)
        finally:
            broker.process.terminate()
            broker.process.wait(60)
    print(json.dumps({"counts": counts}))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
