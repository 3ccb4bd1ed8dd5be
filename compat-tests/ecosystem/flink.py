"""Flink SQL with the exactly-once sink of its Kafka connector against a weir of its own, under kill -9 of broker and job.

    flink.py [--weir BINARY] [--rows 3000] [--kills 4] [--seed 1]

The job (compat-tests/flink/FlinkApp.java) reads `numbers` and writes `doubled`; its transactions end with Flink's checkpoints, also
with those of a run that was killed: the next one commits what was prepared. So each row has to be there once, in the order in
which it was read. Prints one JSON line per check and a summary line, as the client suites do.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from processes import HERE, Folder, Process, Weir, until

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from suite.report import Report

PARTITIONS = 2


def newest_checkpoint(folder: Path) -> Path | None:
    """A checkpoint is complete when it has its metadata."""
    complete = [path.parent for path in folder.glob("*/chk-*/_metadata")]
    return max(complete, key=lambda path: (path / "_metadata").stat().st_mtime, default=None)


class Job:
    """The Flink job; a start after a kill goes on from the newest checkpoint."""

    def __init__(self, folder: Folder, bootstrap: str):
        self.folder, self.bootstrap, self.checkpoints = folder, bootstrap, folder.path / "checkpoints"
        self.checkpoints.mkdir()
        self.process = None

    def start(self) -> None:
        checkpoint = newest_checkpoint(self.checkpoints)
        words = [self.bootstrap, self.checkpoints, *([checkpoint] if checkpoint else [])]
        self.process = self.folder.add(Process("flink", ["bash", HERE.parent / "flink/run.sh", *words], self.folder.path))
        self.process.start()

    def kill(self) -> None:
        # Without a checkpoint the next run would begin anew, and what this one prepared would be nobody's.
        until("the first checkpoint is complete", 120, lambda: newest_checkpoint(self.checkpoints), [self.process])
        self.process.kill()


class Output:
    def __init__(self, bootstrap: str):
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "oracle", "enable.auto.commit": False, "log_level": 0,
                                  "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                                  "reconnect.backoff.max.ms": 200})
        self.consumer.assign([TopicPartition("doubled", partition, 0) for partition in range(PARTITIONS)])
        self.rows = []

    def read(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            messages = [message for message in self.consumer.consume(1000, 0.2) if not message.error()]
            self.rows += [(message.partition(), message.value().decode().strip()) for message in messages]
        return len(self.rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN", "weir"))
    parser.add_argument("--rows", type=int, default=3000, help="rows before each kill")
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = Report("flink", None)
    with Folder("flink") as folder:
        broker = folder.add(Weir(folder.path, arguments.weir))
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in ("numbers", "doubled")]).values():
            future.result(30)
        source = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0,
                           "message.timeout.ms": 300_000, "reconnect.backoff.max.ms": 200})
        problems, sent, chance = [], 0, random.Random(arguments.seed)
        job, output = Job(folder, broker.bootstrap), Output(broker.bootstrap)
        job.start()
        for kill in range(arguments.kills + 1):
            for _ in range(arguments.rows):
                source.produce("numbers", b"%d,word%d" % (sent, sent), partition=sent % PARTITIONS,
                               on_delivery=lambda error, _: error and problems.append(str(error)))
                source.poll(0)
                sent += 1
            if kill == arguments.kills:
                break
            before = len(output.rows)
            until("the job gets on", 300, lambda: output.read(0.2) > before, [job.process, broker])
            time.sleep(chance.uniform(0, 1.5))
            if kill % 3 != 1:
                broker.kill()
                time.sleep(chance.uniform(0, 0.5))
                broker.start()
            if kill % 3 != 0:
                job.kill()
                job.start()
        if source.flush(120) or problems:
            raise RuntimeError(f"input not acknowledged: {problems[:3]}")

        def exactly_once(check):
            wanted = [f"{number * 2},WORD{number}" for number in range(sent) if number % 10 != 7]
            deadline = time.monotonic() + 180
            while output.read(1) < len(wanted) and time.monotonic() < deadline:
                job.process.check()
            output.read(4)  # what is doubled comes late: with the next checkpoints
            check.produced += sent
            check.consumed += len(output.rows)
            got = Counter(row for _, row in output.rows)
            check.equal("lost", [row for row in wanted if row not in got][:5], [])
            check.equal("doubled or strange", list((got - Counter(wanted)).items())[:5], [])
            last = defaultdict(lambda: -1)
            for partition, row in output.rows:
                number = int(row.split(",")[0]) // 2
                # One task reads a partition of the input; it may write to any of the output.
                way = (number % PARTITIONS, partition)
                check.true(f"{row} after {last[way]} in partition {partition}", number > last[way])
                last[way] = number
            check.equal("weir panicked", broker.panicked(), False)

        report.run("exactly-once", exactly_once)
        if report.finish(arguments.weir):
            raise RuntimeError("a check failed, see above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
