"""Kafka Connect with the file connectors against a weir of its own, standalone and distributed, under kill -9.

    connect.py [--weir BINARY] [--lines 4000] [--kills 2] [--only standalone|distributed]

A source reads lines of a file into a topic, a sink writes the topic into another file. Standalone workers promise each line at
least once, also when they are killed; the distributed worker has `exactly.once.source.support`, so its topic holds each line
once, in the order of the file. Prints one JSON line per check and a summary line, as the client suites do.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from processes import Folder, Weir, free_port, java, until

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from suite.report import Report


def write_properties(path: Path, values: dict) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return path


def worker_config(bootstrap: str, **more) -> dict:
    return {"bootstrap.servers": bootstrap, "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter", "offset.flush.interval.ms": 500,
            "listeners": f"HTTP://127.0.0.1:{free_port()}", "plugin.discovery": "only_scan",
            "producer.reconnect.backoff.max.ms": 200, "consumer.reconnect.backoff.max.ms": 200, "reconnect.backoff.max.ms": 200,
            "consumer.session.timeout.ms": 6000, "consumer.heartbeat.interval.ms": 1000} | more


def source(file: Path, topic: str, name: str) -> dict:
    return {"name": name, "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector", "tasks.max": "1",
            "file": str(file), "topic": topic, "batch.size": "100"}


def sink(file: Path, topic: str, name: str) -> dict:
    return {"name": name, "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "tasks.max": "1",
            "file": str(file), "topics": topic}


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def read_committed(bootstrap: str, topic: str, seconds: float = 60) -> list[str]:
    """Everything committed in a topic of one partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "oracle", "enable.auto.commit": False, "log_level": 0,
                         "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values, deadline = [], time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                if not message.error():
                    values.append(message.value().decode())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    return values
    finally:
        consumer.close()
    raise RuntimeError(f"the end of {topic} is not reached")


def append(file: Path, prefix: str, count: int) -> list[str]:
    new = [f"{prefix}-{number}" for number in range(count)]
    with open(file, "a", encoding="utf-8") as out:
        out.write("".join(line + "\n" for line in new))
    return new


class Ready:
    """A weir with the topic that a check needs."""

    def __init__(self, folder: Folder, weir: str, topic: str):
        self.folder = folder
        self.broker = folder.add(Weir(folder.path, weir))
        self.broker.start()
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)

    def restart_broker(self) -> None:
        self.broker.kill()
        time.sleep(0.3)
        self.broker.start()


def standalone(check, weir: str, count: int, kills: int):
    with Folder("connect") as folder:
        ready = Ready(folder, weir, "lines")
        inbox, outbox = folder.path / "in.txt", folder.path / "out.txt"
        written = append(inbox, "first", count)
        files = [
            write_properties(folder.path / "worker.properties", worker_config(
                ready.broker.bootstrap, **{"offset.storage.file.filename": folder.path / "offsets"})),
            write_properties(folder.path / "source.properties", source(inbox, "lines", "source")),
            write_properties(folder.path / "sink.properties", sink(outbox, "lines", "sink"))]
        worker = folder.add(java("standalone", folder.path, "connect-standalone", *files))
        worker.start()
        for kill in range(kills):
            until("the sink has lines", 90, lambda: len(lines_of(outbox)) > count * kill // 2, [worker])
            if kill % 2 == 0:
                ready.restart_broker()
            else:
                worker.kill()
                worker.start()
            written += append(inbox, f"kill{kill}", count)
        until("every line is in the sink's file", 120, lambda: set(written) <= set(lines_of(outbox)), [worker])
        worker.stop()
        got, topic = Counter(lines_of(outbox)), Counter(read_committed(ready.broker.bootstrap, "lines"))
        check.produced += len(written)
        check.consumed += sum(got.values())
        check.equal("lines missing in the topic", [line for line in written if line not in topic][:3], [])
        check.equal("lines that nobody wrote", sorted(set(got) - set(written))[:3], [])
        check.compared += len(got)
        check.equal("weir panicked", ready.broker.panicked(), False)


class Rest:
    def __init__(self, address: str):
        self.address = address

    def call(self, method: str, path: str, body=None):
        request = urllib.request.Request(self.address + path, method=method, data=body and json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        try:
            self.call("GET", "/connectors")
            return True
        except OSError:
            return False

    def put(self, config: dict) -> None:
        # While the worker joins its group and loads its topics it answers 409 or 500.
        def accepted():
            try:
                self.call("PUT", f"/connectors/{config['name']}/config", config)
                return True
            except OSError:
                return False

        until(f"connector {config['name']} is accepted", 90, accepted)

    def states(self) -> list[str]:
        try:
            connectors = self.call("GET", "/connectors?expand=status")
        except OSError:
            return []
        return [task["state"] for one in connectors.values() for task in one["status"]["tasks"]]


def distributed(check, weir: str, count: int, kills: int):
    with Folder("connect") as folder:
        ready = Ready(folder, weir, "lines")
        inbox, outbox = folder.path / "in.txt", folder.path / "out.txt"
        written = append(inbox, "first", count)
        config = worker_config(ready.broker.bootstrap, **{
            "group.id": "connect", "exactly.once.source.support": "enabled", "config.storage.topic": "connect-configs",
            "offset.storage.topic": "connect-offsets", "status.storage.topic": "connect-status",
            "config.storage.replication.factor": 1, "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1, "offset.storage.partitions": 5, "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000, "scheduled.rebalance.max.delay.ms": 1000, "consumer.isolation.level": "read_committed"})
        rest = Rest("http://" + config["listeners"].removeprefix("HTTP://"))
        worker = folder.add(java("distributed", folder.path, "connect-distributed",
                                 write_properties(folder.path / "worker.properties", config)))
        worker.start()
        until("the worker's REST interface answers", 90, rest.answers, [worker])
        rest.put(source(inbox, "lines", "source"))
        rest.put(sink(outbox, "lines", "sink"))
        for kill in range(kills):
            until("the sink has lines", 120, lambda: len(lines_of(outbox)) > count * kill // 2, [worker])
            if kill % 2 == 0:
                ready.restart_broker()
            else:
                worker.kill()
                worker.start()
            written += append(inbox, f"kill{kill}", count)
        until("every line is in the sink's file", 180, lambda: set(written) <= set(lines_of(outbox)), [worker])
        until("both tasks run", 60, lambda: rest.states() == ["RUNNING", "RUNNING"], [worker])
        worker.stop()
        topic, got = read_committed(ready.broker.bootstrap, "lines"), lines_of(outbox)
        check.produced += len(written)
        check.consumed += len(topic) + len(got)
        check.equal("lines in the topic", len(topic), len(written))
        check.equal("the topic's lines in order", [pair for pair in zip(topic, written) if pair[0] != pair[1]][:3], [])
        check.equal("lines that nobody wrote", sorted(set(got) - set(written))[:3], [])
        check.compared += len(topic) + len(set(got))
        check.equal("weir panicked", ready.broker.panicked(), False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN", "weir"))
    parser.add_argument("--lines", type=int, default=4000, help="lines before each kill")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    report = Report("connect", arguments.only)
    report.run("standalone", standalone, arguments.weir, arguments.lines, arguments.kills)
    report.run("distributed", distributed, arguments.weir, arguments.lines, arguments.kills)
    return report.finish(arguments.weir)


if __name__ == "__main__":
    sys.exit(main())
