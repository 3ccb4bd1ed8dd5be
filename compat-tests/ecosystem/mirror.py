"""MirrorMaker 2 between Apache Kafka and weir, both ways at once, under kill -9 of weir and of MirrorMaker.

    mirror.py [--weir BINARY] [--rows 3000] [--kills 2]

`kafka` is Apache Kafka from Maven artifacts, `weir` is weir. Topics of each are mirrored to the other with exactly-once sources,
so each record has to be there once, in its partition, in its order, with key, value, headers and timestamp; offsets of a consumer
group that Kafka knows have to arrive, translated. Prints one JSON line per check and a summary line, as the client suites do.
"""

import argparse
import os
import subprocess
import sys
import time

from connect import write_properties
from processes import HERE, Folder, Weir, free_port, java, until

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from suite.report import Report

PARTITIONS = 3
GROUP = "readers"


class Kafka:
    """Apache Kafka through compat-tests/kafka/run.sh."""

    def __init__(self, folder):
        self.script, self.data = HERE.parent / "kafka/run.sh", folder / "kafka"
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"

    def start(self) -> None:
        subprocess.run(["bash", self.script, "start", str(self.port), self.data, "-o", "group.initial.rebalance.delay.ms=0"],
                       check=True, stdout=subprocess.DEVNULL, env={**os.environ, "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m"})

    def kill(self) -> None:
        subprocess.run(["bash", self.script, "stop", self.data], check=True)


class Side:
    """One cluster: what was written to it, and what arrived from the other."""

    def __init__(self, name: str, bootstrap: str):
        self.name, self.bootstrap, self.written = name, bootstrap, [[] for _ in range(PARTITIONS)]
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic("orders", PARTITIONS, 1)])["orders"].result(30)
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0,
                                  "message.timeout.ms": 300_000, "reconnect.backoff.max.ms": 200})
        self.problems, self.sent = [], 0
        # Of today, or retention would delete them.
        self.first_ms = int(time.time() * 1000) - 3_600_000

    def write(self, rows: int) -> None:
        for _ in range(rows):
            number = self.sent
            self.sent += 1
            key = None if number % 7 == 0 else f"key{number}".encode()
            value = None if number % 11 == 0 and key else f"{self.name}-{number}".encode()
            headers = [("n", str(number).encode()), ("empty", b"")] if number % 3 == 0 else []
            record = (key, value, headers, self.first_ms + number)
            self.written[number % PARTITIONS].append(record)
            self.producer.produce("orders", value, key, number % PARTITIONS, headers=headers, timestamp=record[3],
                                  on_delivery=lambda error, _: error and self.problems.append(str(error)))
            self.producer.poll(0)

    def finish(self) -> None:
        if self.producer.flush(120) or self.problems:
            raise RuntimeError(f"input of {self.name} not acknowledged: {self.problems[:3]}")


def consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0,
                     "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True,
                     "reconnect.backoff.max.ms": 200})


def partitions_of(bootstrap: str, topic: str, wanted: int, seconds: float) -> list[list[tuple]]:
    """Records by partition: until there are so many, and two seconds more, since what is doubled comes late."""
    reader = consumer(bootstrap, "oracle")
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found, count, deadline = [[] for _ in range(PARTITIONS)], 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        for message in reader.consume(1000, 0.5):
            if not message.error():
                found[message.partition()].append(
                    (message.key(), message.value(), message.headers() or [], message.timestamp()[1]))
                count += 1
        if count >= wanted:
            deadline, wanted = time.monotonic() + 2, sys.maxsize
    reader.close()
    return found


def settings(kafka: str, weir: str) -> dict:
    return {
        "clusters": "kafka, weir", "kafka.bootstrap.servers": kafka, "weir.bootstrap.servers": weir,
        "kafka->weir.enabled": "true", "weir->kafka.enabled": "true", "topics": "orders", "groups": GROUP,
        # What is told without the name of a cluster does not reach the workers.
        **{f"{cluster}.{name}": value for cluster in ("kafka", "weir") for name, value in {
            "exactly.once.source.support": "enabled", "offset.flush.interval.ms": 500, "scheduled.rebalance.max.delay.ms": 1000,
            "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "consumer.isolation.level": "read_committed"}.items()},
        "dedicated.mode.enable.internal.rest": "true",
        "listeners": f"http://127.0.0.1:{free_port()}", "plugin.discovery": "only_scan",
        "replication.factor": 1, "checkpoints.topic.replication.factor": 1, "heartbeats.topic.replication.factor": 1,
        "offset-syncs.topic.replication.factor": 1, "offset.storage.replication.factor": 1,
        "status.storage.replication.factor": 1, "config.storage.replication.factor": 1,
        "refresh.topics.interval.seconds": 5, "refresh.groups.interval.seconds": 2, "sync.group.offsets.enabled": "true",
        "emit.checkpoints.interval.seconds": 1, "sync.group.offsets.interval.seconds": 1, "offset.lag.max": 10,
        "reconnect.backoff.max.ms": 200, "tasks.max": 1,
    }


def commit_some(kafka: Side) -> dict[int, int]:
    """A group on Kafka that has read the first half of each partition."""
    reader = consumer(kafka.bootstrap, GROUP)
    halves = {partition: len(records) // 2 for partition, records in enumerate(kafka.written)}
    reader.commit(offsets=[TopicPartition("orders", p, offset) for p, offset in halves.items()], asynchronous=False)
    reader.close()
    return halves


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN", "weir"))
    parser.add_argument("--rows", type=int, default=3000, help="rows before each kill")
    parser.add_argument("--kills", type=int, default=2)
    arguments = parser.parse_args()
    report = Report("mirror", None)
    with Folder("mirror") as folder:
        kafka, weir = folder.add(Kafka(folder.path)), folder.add(Weir(folder.path, arguments.weir))
        kafka.start()
        weir.start()
        sides = [Side("kafka", kafka.bootstrap), Side("weir", weir.bootstrap)]
        for side in sides:
            side.write(arguments.rows)
            side.finish()
        config = write_properties(folder.path / "mm2.properties", settings(kafka.bootstrap, weir.bootstrap))
        mirror = folder.add(java("mirror", folder.path, "mirror-maker", config))
        mirror.start()
        mirrored = [(sides[0], sides[1].bootstrap), (sides[1], sides[0].bootstrap)]
        for source, bootstrap in mirrored:
            until(f"orders of {source.name} are mirrored",
                  120, lambda: f"{source.name}.orders" in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics,
                  [mirror])
        for kill in range(arguments.kills):
            for side in sides:
                side.write(arguments.rows)
            time.sleep(2)
            victim = weir if kill % 2 == 0 else mirror
            victim.kill()
            victim.start()
        for side in sides:
            side.write(arguments.rows)
            side.finish()

        def compare(check, source, bootstrap):
            want = sum(map(len, source.written))
            check.produced += want
            found = partitions_of(bootstrap, f"{source.name}.orders", want, 240)
            check.consumed += sum(map(len, found))
            for partition, records in enumerate(source.written):
                check.equal(f"records of partition {partition}", len(found[partition]), len(records))
                different = [pair for pair in zip(found[partition], records) if pair[0] != pair[1]]
                check.equal(f"records that differ in partition {partition}", different[:2], [])
            check.compared += want

        def groups(check):
            """A group's offset may arrive early by as much as `offset.lag.max` allows, never late."""
            halves = commit_some(sides[0])
            reader = consumer(weir.bootstrap, GROUP)
            parts = [TopicPartition("kafka.orders", partition) for partition in range(PARTITIONS)]

            def arrived():
                return all(p.offset > 0 for p in reader.committed(parts, timeout=10))

            until("the group's offsets arrive", 120, arrived, [mirror])
            reader.assign([TopicPartition(p.topic, p.partition, p.offset) for p in reader.committed(parts, timeout=10)])
            first = {}
            deadline = time.monotonic() + 60
            while len(first) < PARTITIONS and time.monotonic() < deadline:
                for message in reader.consume(1000, 0.5):
                    if not message.error():
                        record = (message.key(), message.value(), message.headers() or [], message.timestamp()[1])
                        first.setdefault(message.partition(), record)
            reader.close()
            for partition, half in halves.items():
                at = sides[0].written[partition].index(first[partition])
                check.true(f"the group goes on at {half} or before in partition {partition}", at <= half, at)
                check.true(f"the group has got on in partition {partition}", at > 0, at)

        for source, bootstrap in mirrored:
            report.run(f"from-{source.name}", compare, source, bootstrap)
        report.run("group-offsets", groups)
        report.run("clean", lambda check: check.equal("weir panicked", weir.panicked(), False))
        if report.finish(arguments.weir):
            raise RuntimeError("a check failed, see above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
