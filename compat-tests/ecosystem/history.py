"""Random transactional histories from several clients, under kill -9, checked against the log in linear time.

    history.py [--weir BINARY] [--cycles 8] [--seed 1] [--java 2] [--rdkafka 2] [--franz 1] [--self-test]

Writers (librdkafka, which speaks the transactions of KIP-98, Java and franz-go, which speak those of KIP-890) write transactions of
1 to 12 records over all partitions and commit their number as a group's offset in the same transaction; a quarter is aborted on
purpose. Readers of committed data read along. In each cycle the broker, a writer, or both are killed. `check_history` says what
must hold; `--self-test` damages a history in each way that it must notice, and runs no broker.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

from processes import Folder, Process, Weir, java, until

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from suite.report import Report
from txn_crash import NO_REBOOTSTRAP, patiently

PARTITIONS = 4
GO_SUITE = Path(os.environ.get("WEIR_CACHE") or Path.home() / ".cache/weir") / "go/suite"
CALM = {"log_level": 0, "reconnect.backoff.max.ms": 200}


# --- what must hold ---------------------------------------------------------------------------------------------------------


def check_history(log: list[list[tuple[int, str]]], readers: list[list[list[tuple[int, str]]]], outcomes: dict, offsets: dict) -> list[str]:
    """What is wrong, at most one text per kind. `log`: by partition, (offset, value) of committed records as read at the end;
    `readers`: the same as each reader saw it on the way; `outcomes`: (writer, number) to `committed` or `aborted`, where the
    writer was told; `offsets`: writer to the offset that its group has at the end. Each record is looked at once."""
    problems = {}

    def wrong(kind: str, text: str) -> None:
        problems.setdefault(kind, f"{kind}: {text}")

    seen, last = Counter(), {}
    totals, highest = {}, defaultdict(lambda: -1)
    for partition, records in enumerate(log):
        before = -1
        for offset, value in records:
            if offset <= before:
                wrong("offsets not increasing", f"{partition}: {offset} after {before}")
            before = offset
            writer, number, index, total, intent = value.split(" ")
            txn, number, index = (writer, int(number)), int(number), int(index)
            if intent == "A" or outcomes.get(txn) == "aborted":
                wrong("aborted read", f"{value} at {partition}:{offset}")
            if last.get((writer, partition), (-1, -1)) >= (number, index):
                wrong("doubled or out of order", f"{value} at {partition}:{offset} after {last[writer, partition]}")
            last[writer, partition] = (number, index)
            seen[txn] += 1
            totals[txn] = int(total)
            highest[writer] = max(highest[writer], number)
    for txn, total in totals.items():
        if seen[txn] != total:
            wrong("torn transaction", f"{txn}: {seen[txn]} of {total} records")
    for txn, outcome in outcomes.items():
        if outcome == "committed" and txn not in seen:
            wrong("lost write", f"{txn} was committed and is not there")
    for writer, number in highest.items():
        if offsets.get(writer, -1) != number:
            wrong("torn from its offset", f"{writer} is at {offsets.get(writer)}, its last transaction is {number}")
    for position, reader in enumerate(readers):
        for partition, records in enumerate(reader):
            if records != log[partition][: len(records)]:
                at = next(i for i, pair in enumerate(zip(records + [None], log[partition] + [None])) if pair[0] != pair[1])
                wrong("readers disagree", f"reader {position}, partition {partition}, record {at}: "
                      f"{records[at:at + 1]}, at the end {log[partition][at:at + 1]}")
    return list(problems.values())


def self_test() -> int:
    def history():
        log = [[(0, "a 1 0 2 C"), (2, "b 1 0 1 C"), (4, "a 3 0 1 C")], [(1, "a 1 1 2 C"), (5, "b 2 0 1 C")]]
        outcomes = {("a", 1): "committed", ("a", 2): "aborted", ("b", 1): "committed"}
        return log, [[list(log[0]), log[1][:1]]], outcomes, {"a": 3, "b": 2}

    def damaged(change):
        log, readers, outcomes, offsets = history()
        change(log, readers, outcomes, offsets)
        return {problem.split(":")[0] for problem in check_history(log, readers, outcomes, offsets)}

    cases = {
        "": lambda log, readers, outcomes, offsets: None,
        "aborted read": lambda log, readers, outcomes, offsets: log[1].append((6, "a 4 0 1 A")) or offsets.update(a=4),
        "lost write": lambda log, readers, outcomes, offsets: outcomes.update({("b", 9): "committed"}),
        "torn transaction": lambda log, readers, outcomes, offsets: log[1].pop(0) and readers[0][1].clear(),
        "offsets not increasing": lambda log, readers, outcomes, offsets: log[1].__setitem__(1, (1, "b 2 0 1 C")),
        "torn from its offset": lambda log, readers, outcomes, offsets: offsets.update(b=1),
        "readers disagree": lambda log, readers, outcomes, offsets: readers[0][0].pop(1),
    }
    failed = [name for name, change in cases.items() if damaged(change) != ({name} if name else set())]
    twice = damaged(lambda log, readers, outcomes, offsets: log[1].append((6, "b 2 0 1 C")))
    if twice != {"doubled or out of order", "torn transaction"}:
        failed.append("doubled or out of order")
    print(f"history.py: {len(cases) + 1} histories, wrong: {failed}")
    return 1 if failed else 0


# --- clients ----------------------------------------------------------------------------------------------------------------


class Writer:
    """As HistoryClient.java, with librdkafka."""

    def __init__(self, bootstrap: str, name: str, seed: int):
        self.name, self.random = name, random.Random(seed)
        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 20_000,
                                  "linger.ms": 1, **CALM, **NO_REBOOTSTRAP})
        patiently(lambda: self.producer.init_transactions(10))
        self.group = Consumer({"bootstrap.servers": bootstrap, "group.id": f"group-{name}", **CALM}).consumer_group_metadata()

    def transaction(self, number: int) -> None:
        commits, total, decided = self.random.random() < 0.75, self.random.randint(1, 12), False
        try:
            self.producer.begin_transaction()
            for index in range(total):
                value = f"{self.name} {number} {index} {total} {'C' if commits else 'A'}"
                self.producer.produce("history", value.encode(), partition=self.random.randrange(PARTITIONS))
            if not commits:
                self.producer.flush(self.random.choice([0, 0.01, 5]))
                patiently(lambda: self.producer.abort_transaction(10))
                print(self.name, number, "aborted", flush=True)
                return
            position = [TopicPartition("positions", 0, number)]
            patiently(lambda: self.producer.send_offsets_to_transaction(position, self.group, 10))
            decided = True
            patiently(lambda: self.producer.commit_transaction(10))
            print(self.name, number, "committed", flush=True)
        except KafkaException as error:
            # What is fatal ends the process; its successor goes on with the next number.
            if not error.args[0].txn_requires_abort():
                raise
            patiently(lambda: self.producer.abort_transaction(10))
            if not decided:
                print(self.name, number, "aborted", flush=True)


class Reader(threading.Thread):
    """Reads committed records of all partitions from the first on, and keeps them in the order in which they came."""

    def __init__(self, bootstrap: str):
        super().__init__(daemon=True)
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readers", "enable.auto.commit": False,
                                  "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                                  "enable.partition.eof": True, "fetch.wait.max.ms": 50, **CALM})
        self.records, self.at_end, self.stopped, self.problem = [[] for _ in range(PARTITIONS)], set(), False, None

    def run(self) -> None:
        self.consumer.assign([TopicPartition("history", partition, 0) for partition in range(PARTITIONS)])
        while not self.stopped:
            for message in self.consumer.consume(500, 0.2):
                if not message.error():
                    self.at_end.discard(message.partition())
                    self.records[message.partition()].append((message.offset(), message.value().decode()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    self.at_end.add(message.partition())
                elif message.error().code() == KafkaError._AUTO_OFFSET_RESET or message.error().fatal():
                    self.problem = str(message.error())
        self.consumer.close()


# --- the run ----------------------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, folder: Folder, arguments):
        self.folder, self.random = folder, random.Random(arguments.seed)
        self.broker = folder.add(Weir(folder.path, arguments.weir))
        self.broker.start()
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        topics = [NewTopic("history", PARTITIONS, 1), NewTopic("positions", 1, 1)]
        for future in admin.create_topics(topics).values():
            future.result(30)
        names = [f"java{n}" for n in range(arguments.java)] + [f"rdkafka{n}" for n in range(arguments.rdkafka)]
        names += [f"franz{n}" for n in range(arguments.franz)]
        self.writers, self.runs, self.counts = dict.fromkeys(names), Counter(), Counter()
        if arguments.franz:
            subprocess.run(["bash", Path(__file__).resolve().parent.parent / "go/run.sh", "build"], check=True)
        for name in names:
            self.start_writer(name)
        self.readers = [Reader(self.broker.bootstrap) for _ in range(2)]
        for reader in self.readers:
            reader.start()

    def start_writer(self, name: str) -> None:
        """Numbers of a run begin beyond those of the run before, whatever that one did last."""
        self.runs[name] += 1
        words = [self.broker.bootstrap, name, PARTITIONS, self.runs[name] * 1_000_000, self.random.randrange(1 << 30)]
        if name.startswith("java"):
            writer = java(name, self.folder.path, "history", *words)
        elif name.startswith("franz"):
            wish = dict(zip(("bootstrap", "name", "partitions", "first", "seed"), words))
            writer = Process(name, [GO_SUITE, "--history", json.dumps(wish)], self.folder.path)
        else:
            writer = Process(name, [sys.executable, Path(__file__).resolve(), "--writer", *words], self.folder.path)
        self.writers[name] = self.folder.add(writer)
        writer.start()

    def tend(self) -> None:
        for name, writer in list(self.writers.items()):
            if writer.process.poll() is not None:
                self.counts["writer_exits"] += 1
                self.start_writer(name)

    def outcomes(self) -> dict:
        found = {}
        for name in self.writers:
            for line in (self.folder.path / f"{name}.log").read_text(errors="replace").splitlines():
                words = line.split(" ")
                if len(words) == 3 and words[0] == name and words[2] in ("committed", "aborted"):
                    found[name, int(words[1])] = words[2]
        return found

    def progress(self) -> Counter:
        return Counter(name for (name, _), outcome in self.outcomes().items() if outcome == "committed")

    def cycle(self) -> None:
        before = self.progress()

        def everybody_got_on():
            self.tend()
            now = self.progress()
            return all(now[name] > before[name] for name in self.writers)

        until("every writer commits again", 90, everybody_got_on, [self.broker])
        time.sleep(self.random.uniform(0, 1))
        what = self.random.choice(["broker", "writer", "both"])
        if what != "broker":
            name = self.random.choice(list(self.writers))
            self.writers[name].kill()
            self.counts["writer_kills"] += 1
            self.start_writer(name)
        if what != "writer":
            self.broker.kill()
            self.counts["broker_kills"] += 1
            self.broker.start()

    def finish(self) -> tuple:
        """Ends the writers where they are and the transactions they leave, then reads what there is."""
        for writer in self.writers.values():
            writer.kill()
        for name in self.writers:
            # The next producer with the id aborts what is open, so that the end can be read.
            heir = Producer({"bootstrap.servers": self.broker.bootstrap, "transactional.id": name, **CALM, **NO_REBOOTSTRAP})
            patiently(lambda heir=heir: heir.init_transactions(10))
        last = Reader(self.broker.bootstrap)
        last.start()
        everybody = [last, *self.readers]

        def all_read():
            return all(len(r.at_end) == PARTITIONS and list(map(len, r.records)) == list(map(len, last.records)) for r in everybody)

        time.sleep(1)
        until("all readers are at the end", 60, all_read, [self.broker])
        for reader in everybody:
            reader.stopped = True
            reader.join()
        problems = [reader.problem for reader in everybody if reader.problem]
        if problems:
            raise RuntimeError(f"a reader had to start anew: {problems}")
        offsets = {}
        for name in self.writers:
            group = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": f"group-{name}", **CALM})
            offsets[name] = patiently(lambda group=group: group.committed([TopicPartition("positions", 0)], timeout=10))[0].offset
            group.close()
        return last.records, [reader.records for reader in self.readers], self.outcomes(), offsets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.environ.get("WEIRTEST_BIN", "weir"))
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--java", type=int, default=2)
    parser.add_argument("--rdkafka", type=int, default=2)
    parser.add_argument("--franz", type=int, default=1)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--writer", nargs=5, metavar=("BOOTSTRAP", "NAME", "PARTITIONS", "FIRST", "SEED"))
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.writer:
        bootstrap, name, _, first, seed = arguments.writer
        writer, number = Writer(bootstrap, name, int(seed)), int(first)
        while True:
            writer.transaction(number)
            number += 1

    report = Report("txn-history", None)
    with Folder("history") as folder:
        run = Run(folder, arguments)
        for _ in range(arguments.cycles):
            run.cycle()
        log, readers, outcomes, offsets = run.finish()
        records = sum(map(len, log))

        def history(check):
            check.produced += records
            check.consumed += records * (1 + len(readers))
            check.equal("problems", check_history(log, readers, outcomes, offsets), [])
            check.compared += records
            check.equal("weir panicked", run.broker.panicked(), False)
            writers = {value.split(" ")[0] for records in log for _, value in records}
            check.equal("writers in the log", writers, set(run.writers))

        report.run("history", history)
        failed = report.finish(arguments.weir)
        kinds = Counter(outcomes.values())
        print(json.dumps({"counts": {"cycles": arguments.cycles, **run.counts, **kinds, "records": records, "failed": failed,
                                     "seed": arguments.seed}}), flush=True)
        if failed:
            raise RuntimeError("the history is wrong, see above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
