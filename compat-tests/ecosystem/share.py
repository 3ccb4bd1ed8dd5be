"""Members of a share group under kill -9 of the broker and of members: nothing is lost, nothing that was done with comes again.

    share.py [--weir BINARY] [--rows 3000] [--kills 4] [--members 3] [--seed 1]

Java share consumers accept most records, release or reject some, and tell each step. In between the broker is killed, or one of
the members. In the end each record that was produced was accepted or rejected by exactly one answered acknowledgement, or its
acknowledgement was under way when the broker died; none was polled later than moments after its acknowledgement was answered.
Prints one JSON line and a summary line, as the client suites do.
"""

import argparse
import os
import random
import time
from collections import defaultdict

from processes import Folder, Weir, java, until

from confluent_kafka import Producer
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType)
from suite.report import Report

TOPIC, GROUP, PARTITIONS = "queue", "workers", 3
# A record that was polled before its broker died may wait in its member's buffer while another one is done with it.
BUFFERED_MS = 6000
# So long without a record means that there is none left.
QUIET_SECONDS = 8
# What a killed member reads is assigned to another one when its session has timed out, after 45 s.
PATIENCE_SECONDS = 120


class Told:
    """What the members have said so far."""

    def __init__(self):
        self.got, self.done, self.unknown = defaultdict(list), defaultdict(list), set()
        # Acknowledgements of which their member has not said what became of them, by member.
        self.open = defaultdict(set)
        self.last = time.monotonic()

    def read(self, log, position: int) -> int:
        with open(log, "rb") as file:
            file.seek(position)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.decode(errors="replace").splitlines():
            words = line.split(" ")
            if len(words) != 5 or words[0] not in ("got", "try", "done", "back", "refused", "unknown"):
                continue
            word, at, when = words[0], (int(words[1]), int(words[2])), int(words[3])
            if word == "got":
                self.got[at].append((when, words[4]))
                self.last = time.monotonic()
                continue
            if word == "try":
                self.open[log].add(at)
                continue
            self.open[log].discard(at)
            if word == "done":
                self.done[at].append(when)
            elif word == "unknown":
                self.unknown.add(at)
        return position + len(whole)


def produce(bootstrap: str, first: int, count: int) -> dict:
    """Partition and offset to value of what was acknowledged."""
    acknowledged = {}
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5,
                         "message.timeout.ms": 60000, "reconnect.backoff.max.ms": 200})

    def delivered(error, message):
        if error is None:
            acknowledged[(message.partition(), message.offset())] = message.value().decode()

    for number in range(first, first + count):
        producer.produce(TOPIC, f"v{number}".encode(), on_delivery=delivered)
        producer.poll(0)
    if producer.flush(60) or len(acknowledged) != count:
        raise RuntimeError(f"{count - len(acknowledged)} of {count} records were not acknowledged")
    return acknowledged


def share(check, weir: str, rows: int, kills: int, members: int, seed: int):
    dice = random.Random(seed)
    with Folder("share") as folder:
        broker = folder.add(Weir(folder.path, weir))
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        entry = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.GROUP, GROUP, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(30)

        told, logs = Told(), {}
        clients = []

        def member(number: int):
            client = folder.add(java(f"member-{number}", folder.path, "share", broker.bootstrap, TOPIC, GROUP, str(number)))
            client.start()
            logs[client.log] = 0
            return client

        def look() -> Told:
            for log in logs:
                if log.exists():
                    logs[log] = told.read(log, logs[log])
            return told

        clients = [member(number) for number in range(members)]
        produced, started = produce(broker.bootstrap, 0, rows), members
        until("members have records", 60, lambda: look().got, clients)
        for kill in range(kills):
            before = len(look().done)
            until("records are done with", 60, lambda: len(look().done) > before or len(told.done) == len(produced), clients)
            time.sleep(dice.random())
            if kill % 3 == 2:
                clients.pop(dice.randrange(len(clients))).kill()
                clients.append(member(started))
                started += 1
            else:
                broker.kill()
                time.sleep(0.3)
                broker.start()
            produced |= produce(broker.bootstrap, rows * (kill + 1), rows)
        def left():
            """Records that are still to come."""
            look()
            return [at for at in produced if at not in told.done and at not in told.unknown
                    and not any(at in tried for tried in told.open.values()) and not released_too_often(told, at)]

        try:
            until("every record is done with", PATIENCE_SECONDS, lambda: not left(), clients)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {len(left())} are left, among them {sorted(left())[:5]}") from error
        until("nothing comes any more", 60, lambda: time.monotonic() - look().last > QUIET_SECONDS, clients)

        for at in set().union(*told.open.values()):
            told.unknown.add(at)
        check.produced, check.consumed = len(produced), sum(len(times) for times in told.got.values())
        for at, value in produced.items():
            if not told.got[at]:
                raise RuntimeError(f"{at} was never polled")
            if any(polled != value for _, polled in told.got[at]):
                raise RuntimeError(f"{at} is {value}, polled were {told.got[at]}")
            done = told.done.get(at, [])
            if len(done) > 1:
                raise RuntimeError(f"{at} was done with {len(done)} times: {done}")
            if not done and at not in told.unknown and not released_too_often(told, at):
                raise RuntimeError(f"nobody is done with {at}: {told.got[at]}")
            late = [when for when, _ in told.got[at] if done and when > done[0] + BUFFERED_MS]
            if late:
                raise RuntimeError(f"{at} was done with at {done[0]} and polled again at {late}")
            check.compared += 1
        strangers = set(told.got) - set(produced)
        if strangers:
            raise RuntimeError(f"polled and never produced: {sorted(strangers)[:5]}")
        if broker.panicked():
            raise RuntimeError("weir panicked")


def released_too_often(told: Told, at) -> bool:
    """The group gives a record up that was delivered five times and not accepted; deaths count, too."""
    return len(told.got[at]) >= 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN", "weir"))
    parser.add_argument("--rows", type=int, default=3000, help="records before each kill")
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = Report("share")
    report.run("kill-9", share, options.weir, options.rows, options.kills, options.members, options.seed)
    return report.finish(options.weir)


if __name__ == "__main__":
    raise SystemExit(main())
