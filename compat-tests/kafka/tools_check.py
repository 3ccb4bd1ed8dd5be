"""Kafka's own command-line tools (from its jars, see tool.sh) against a broker; their output is checked.

    tools_check.py --bootstrap 127.0.0.1:9092 --data FLIGHTS.jsonl [--broker weir|kafka] [--only TEXT]

Prints one JSON line per check and a summary line; exit code 1 when a check failed. Every tool is a JVM of its own, so two
checks run at a time, and the checks are few and long rather than many.

Seen failing: with the first record of each key left out of what is expected, with "PartitionCount: 4" expected.
"""

import argparse
import collections
import concurrent.futures
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

TOOL = Path(__file__).parent / "tool.sh"
PRINTING = threading.Lock()


class Check:
    """Counts, and the assertions that count."""

    def __init__(self, suite):
        self.suite = suite
        self.produced = self.consumed = self.compared = 0

    def that(self, condition, problem):
        if not condition:
            raise AssertionError(problem)
        self.compared += 1

    def tool(self, name, *arguments, stdin=None, fails=False):
        """Runs a tool; returns its standard output, or everything it said when it is expected to fail."""
        done = subprocess.run(
            [str(TOOL), name, *arguments], input=stdin, capture_output=True, text=True, timeout=90, check=False)
        said = done.stdout + done.stderr
        if fails:
            # Some of the tools exit with 0 after an error, so only the text counts.
            return said
        if done.returncode != 0:
            raise AssertionError(f"{name} {' '.join(arguments)}: exit code {done.returncode}\n{said}")
        return done.stdout

    def kafka(self, name, *arguments, **options):
        return self.tool(name, "--bootstrap-server", self.suite.bootstrap, *arguments, **options)

    def topic(self, suffix, partitions=3):
        """Creates a topic. The flights carry no timestamps here, but retention is off all the same."""
        name = self.suite.name(suffix)
        said = self.kafka("kafka-topics", "--create", "--topic", name, "--partitions", str(partitions),
                          "--replication-factor", "1", "--config", "retention.ms=-1")
        self.that(f"Created topic {name}." in said, f"creating said {said!r}")
        return name

    def produce(self, topic, rows, *arguments):
        """Produces rows with the console producer: headers, key and value, separated by tabs."""
        lines = "".join(f"{headers_text(row)}\t{row['key']}\t{row['value']}\n" for row in rows)
        self.kafka("kafka-console-producer", "--topic", topic, "--reader-property", "parse.key=true",
                   "--reader-property", "parse.headers=true", *arguments, stdin=lines)
        self.produced += len(rows)

    def offsets(self, topic, when):
        """Partition to offset, as kafka-get-offsets tells it."""
        said = self.kafka("kafka-get-offsets", "--topic", topic, "--time", str(when))
        return {int(p): int(o) for p, o in re.findall(rf"^{re.escape(topic)}:(\d+):(\d+)$", said, re.MULTILINE)}


def headers_text(row):
    return ",".join(f"{name}:{value}" for name, value in row["headers"])


def topics(check):
    topic = check.topic("topics")
    check.that(topic in check.kafka("kafka-topics", "--list").split(), "the topic is not listed")
    said = check.kafka("kafka-topics", "--describe", "--topic", topic)
    check.that("PartitionCount: 3" in said and "ReplicationFactor: 1" in said, said)
    check.that("retention.ms=-1" in said, said)
    check.that(len(re.findall(r"Partition: \d+\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+", said)) == 3, said)
    said = check.kafka("kafka-topics", "--create", "--topic", topic, "--partitions", "1", fails=True)
    check.that("TopicExistsException" in said, said)
    check.kafka("kafka-topics", "--create", "--if-not-exists", "--topic", topic, "--partitions", "1")
    check.kafka("kafka-topics", "--alter", "--topic", topic, "--partitions", "5")
    said = check.kafka("kafka-topics", "--describe", "--topic", topic)
    check.that("PartitionCount: 5" in said, said)
    said = check.kafka("kafka-topics", "--alter", "--topic", topic, "--partitions", "2", fails=True)
    check.that("InvalidPartitionsException" in said, said)
    check.kafka("kafka-topics", "--delete", "--topic", topic)
    for _ in range(20):
        gone = topic not in check.kafka("kafka-topics", "--list").split()
        if gone:
            break
    check.that(gone, "the topic is listed after its deletion")


def console(check):
    topic = check.topic("console")
    rows = check.suite.rows[:2000]
    check.produce(topic, rows, "--compression-codec", "zstd")
    said = check.kafka(
        "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", str(len(rows)),
        "--timeout-ms", "30000", "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
        "--formatter-property", "print.partition=true")
    partitions = collections.defaultdict(list)
    for line in said.splitlines():
        partition, headers, key, value = line.split("\t")
        partitions[partition].append((headers, key, value))
    consumed = [record for records in partitions.values() for record in records]
    check.consumed += len(consumed)
    check.that(len(partitions) > 1, "keys must reach several partitions")
    # A key is in one partition, so the order of each key's records is the order in which they were produced.
    expected = collections.defaultdict(list)
    for row in rows:
        expected[row["key"]].append((headers_text(row), row["key"], row["value"]))
    found = collections.defaultdict(list)
    for record in consumed:
        found[record[1]].append(record)
    for key, records in expected.items():
        if found[key] != records:
            raise AssertionError(f"key {key}: {len(found[key])} records differ from the {len(records)} produced")
        check.compared += len(records)
    check.that(len(consumed) == len(rows), f"{len(consumed)} records, expected {len(rows)}")


def groups(check):
    topic = check.topic("groups")
    group = check.suite.name("group")
    check.produce(topic, check.suite.rows[:600])
    said = check.kafka("kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning",
                       "--max-messages", "600", "--timeout-ms", "30000")
    check.consumed += len(said.splitlines())
    check.that(len(said.splitlines()) == 600, f"{len(said.splitlines())} records, expected 600")
    check.that(group in check.kafka("kafka-consumer-groups", "--list").split(), "the group is not listed")

    def described():
        said = check.kafka("kafka-consumer-groups", "--describe", "--group", group)
        return [line.split() for line in said.splitlines() if line.startswith(group)]

    lines = described()
    check.that(sum(int(line[3]) for line in lines) == 600, f"committed offsets: {lines}")
    check.that(sum(int(line[5]) for line in lines) == 0, f"lag: {lines}")
    said = check.kafka("kafka-consumer-groups", "--describe", "--group", group, "--state")
    check.that("Empty" in said, said)
    reset = ["--reset-offsets", "--group", group, "--topic", topic, "--to-earliest"]
    check.kafka("kafka-consumer-groups", *reset, "--dry-run")
    check.that(sum(int(line[5]) for line in described()) == 0, "a dry run has changed offsets")
    check.kafka("kafka-consumer-groups", *reset, "--execute")
    check.that(sum(int(line[5]) for line in described()) == 600, f"lag after the reset: {described()}")
    said = check.kafka("kafka-consumer-groups", "--delete", "--group", group)
    check.that("was successful" in said, said)
    check.that(group not in check.kafka("kafka-consumer-groups", "--list").split(), "the group is listed after its deletion")


def configs(check):
    topic = check.topic("configs", 1)
    entity = ["--entity-type", "topics", "--entity-name", topic]
    check.kafka("kafka-configs", "--alter", *entity, "--add-config", "retention.ms=3600000,cleanup.policy=[compact,delete]")
    said = check.kafka("kafka-configs", "--describe", *entity)
    check.that("retention.ms=3600000" in said and re.search(r"cleanup.policy=(compact,delete|delete,compact)", said), said)
    check.kafka("kafka-configs", "--alter", *entity, "--delete-config", "retention.ms")
    said = check.kafka("kafka-configs", "--describe", *entity)
    check.that("retention.ms" not in said, said)
    said = check.kafka("kafka-configs", "--describe", *entity, "--all")
    check.that("retention.ms=604800000" in said and "max.message.bytes=1048588" in said, said)
    said = check.kafka("kafka-configs", "--alter", *entity, "--add-config", "no.such.config=1", fails=True)
    check.that("InvalidConfigurationException" in said or "InvalidRequestException" in said, said)
    # Quotas of a client id that nobody uses.
    client = ["--entity-type", "clients", "--entity-name", check.suite.name("client")]
    check.kafka("kafka-configs", "--alter", *client, "--add-config", "producer_byte_rate=1048576,consumer_byte_rate=2097152")
    said = check.kafka("kafka-configs", "--describe", *client)
    check.that("producer_byte_rate=1048576" in said and "consumer_byte_rate=2097152" in said, said)
    check.kafka("kafka-configs", "--alter", *client, "--delete-config", "producer_byte_rate,consumer_byte_rate")
    said = check.kafka("kafka-configs", "--describe", *client)
    check.that("byte_rate" not in said, said)


def broker_configs(check):
    """Settings of the broker and of all brokers, while it runs. `log.roll.jitter.ms` acts on nothing that other checks look at."""
    name = "log.roll.jitter.ms"
    broker = ["--entity-type", "brokers", "--entity-name", "1"]
    default = ["--entity-type", "brokers", "--entity-default"]
    check.kafka("kafka-configs", "--alter", *default, "--add-config", f"{name}=5000")
    check.kafka("kafka-configs", "--alter", *broker, "--add-config", f"{name}=6000,log.cleaner.threads=2")
    said = check.kafka("kafka-configs", "--describe", *default)
    check.that(re.search(rf"{name}=5000 .*DYNAMIC_DEFAULT_BROKER_CONFIG:{name}=5000", said), said)
    said = check.kafka("kafka-configs", "--describe", *broker)
    chain = rf"DYNAMIC_BROKER_CONFIG:{name}=6000, DYNAMIC_DEFAULT_BROKER_CONFIG:{name}=5000"
    check.that(re.search(rf"{name}=6000 .*{chain}", said) and "log.cleaner.threads=2" in said, said)
    said = check.kafka("kafka-configs", "--alter", *broker, "--add-config", "log.dirs=/tmp", fails=True)
    check.that("InvalidRequestException" in said, said)
    topic = check.topic("follows", 1)
    said = check.kafka("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic, "--all")
    check.that(re.search(rf"segment.jitter.ms=6000 .*DYNAMIC_BROKER_CONFIG:{name}=6000", said), said)
    check.kafka("kafka-configs", "--alter", *broker, "--delete-config", f"{name},log.cleaner.threads")
    said = check.kafka("kafka-configs", "--describe", *broker)
    check.that(name not in said and "log.cleaner.threads" not in said, said)
    check.kafka("kafka-configs", "--alter", *default, "--delete-config", name)
    check.that(name not in check.kafka("kafka-configs", "--describe", *default), "the default is set after its deletion")
    loggers = ("--entity-type", "broker-loggers", "--entity-name", "1")
    check.kafka("kafka-configs", "--alter", *loggers, "--add-config", "weir.txn=TRACE")
    said = check.kafka("kafka-configs", "--describe", *loggers)
    check.that(re.search(r"weir\.txn=TRACE .*synonyms=\{\}", said) and "root=" in said, said)
    check.kafka("kafka-configs", "--alter", *loggers, "--delete-config", "weir.txn")


def offsets_and_deletion(check):
    topic = check.topic("offsets")
    check.produce(topic, check.suite.rows[:600])
    ends = check.offsets(topic, -1)
    check.that(len(ends) == 3 and sum(ends.values()) == 600, f"ends: {ends}")
    check.that(set(check.offsets(topic, -2).values()) == {0}, "starts")
    partition = max(ends, key=ends.get)
    wanted = {"partitions": [{"topic": topic, "partition": partition, "offset": 100}], "version": 1}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(wanted, file)
        file.flush()
        said = check.kafka("kafka-delete-records", "--offset-json-file", file.name)
    check.that(f"partition: {topic}-{partition}\tlow_watermark: 100" in said, said)
    check.that(check.offsets(topic, -2)[partition] == 100, "the start after the deletion")
    said = check.kafka("kafka-log-dirs", "--describe", "--topic-list", topic)
    dirs = json.loads([line for line in said.splitlines() if line.startswith("{")][-1])
    sizes = [p["size"] for broker in dirs["brokers"] for d in broker["logDirs"] for p in d["partitions"]]
    check.that(len(sizes) == 3 and sum(sizes) > 10_000, f"sizes: {sizes}")


def cluster(check):
    said = check.kafka("kafka-broker-api-versions")
    for api in ("Produce(0): 0 to 1", "Fetch(1): 4 to ", "ApiVersions(18): 0 to ", "JoinGroup(11): "):
        check.that(api in said, said)
    check.that("UNSUPPORTED" not in said.split("Fetch(1)")[1].splitlines()[0], said)
    said = check.tool("kafka-cluster", "cluster-id", "--bootstrap-server", check.suite.bootstrap)
    check.that(re.search(r"Cluster ID: \S+", said), said)


def share_groups(check):
    topic = check.topic("shares", 1)
    group = check.suite.name("share-group")
    check.kafka("kafka-configs", "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config",
                "share.auto.offset.reset=earliest")
    check.produce(topic, check.suite.rows[:300])

    def consume(count):
        said = check.kafka("kafka-console-share-consumer", "--topic", topic, "--group", group, "--max-messages", str(count),
                           "--timeout-ms", "30000", "--formatter-property", "print.key=true")
        lines = said.splitlines()
        check.consumed += len(lines)
        return [tuple(line.split("\t")) for line in lines]

    got = consume(300)
    check.that(got == [(row["key"], row["value"]) for row in check.suite.rows[:300]], f"{len(got)} records, or others")
    check.that(group in check.kafka("kafka-share-groups", "--list").split(), "the group is not listed")
    said = check.kafka("kafka-groups", "--list", "--share")
    check.that(group in said, said)

    def start():
        said = check.kafka("kafka-share-groups", "--describe", "--group", group)
        return [line.split()[3] for line in said.splitlines() if line.startswith(group)]

    check.that(start() == ["300"], f"start offsets: {start()}")
    said = check.kafka("kafka-share-groups", "--describe", "--group", group, "--state")
    check.that(re.search(r"Empty\s+0", said), said)
    check.kafka("kafka-share-groups", "--describe", "--group", group, "--members")
    reset = ["--reset-offsets", "--group", group, "--topic", topic, "--to-earliest"]
    check.kafka("kafka-share-groups", *reset, "--dry-run")
    check.that(start() == ["300"], "a dry run has changed offsets")
    check.kafka("kafka-share-groups", *reset, "--execute")
    check.that(start() == ["0"], f"start after the reset: {start()}")
    check.that(len(consume(300)) == 300, "all records again")
    said = check.kafka("kafka-share-groups", "--delete-offsets", "--group", group, "--topic", topic)
    check.that(topic in said and "successful" in said.lower(), said)
    said = check.kafka("kafka-share-groups", "--delete", "--group", group)
    check.that("was successful" in said, said)
    check.that(group not in check.kafka("kafka-share-groups", "--list").split(), "the group is listed after its deletion")


def performance_tools(check):
    topic = check.topic("perf", 6)
    said = check.tool("kafka-producer-perf-test", "--topic", topic, "--num-records", "50000", "--record-size", "200",
                      "--throughput", "-1", "--bootstrap-server", check.suite.bootstrap)
    check.that(re.search(r"^50000 records sent", said, re.MULTILINE), said)
    check.produced += 50_000
    said = check.kafka("kafka-consumer-perf-test", "--topic", topic, "--num-records", "50000", "--timeout", "30000")
    rows = [line for line in said.splitlines() if re.match(r"\d{4}-", line)]
    check.that(rows and int(rows[-1].split(",")[4]) == 50_000, said)
    check.consumed += 50_000


CHECKS = {
    "topics": topics, "console": console, "groups": groups, "configs": configs,
    "broker-configs": broker_configs, "offsets-and-deletion": offsets_and_deletion, "cluster": cluster, "share-groups": share_groups,
    "performance-tools": performance_tools,
}


class Suite:
    def __init__(self, bootstrap, rows):
        self.bootstrap = bootstrap
        self.rows = rows
        self.run = f"{time.time_ns() % 10**9:x}"
        self.results = []

    def name(self, suffix):
        return f"tools-{self.run}-{suffix}"

    def execute(self, name, body):
        check = Check(self)
        begun = time.monotonic()
        detail = ""
        try:
            body(check)
        except Exception:  # every failure of a check is its result
            detail = traceback.format_exc()
        self.results.append((not detail, check))
        with PRINTING:
            print(json.dumps({
                "client": "kafka-tools", "check": name, "ok": not detail, "produced": check.produced,
                "consumed": check.consumed, "compared": check.compared,
                "seconds": round(time.monotonic() - begun, 2), "detail": detail}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache/weir/data/flights.jsonl")
    parser.add_argument("--rows", type=int, default=2000, help="accepted for the contract of all suites; 2000 are enough")
    parser.add_argument("--broker", choices=("weir", "kafka"), default="weir")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with options.data.open() as lines:
        rows = [json.loads(line) for _, line in zip(range(2000), lines)]
    suite = Suite(options.bootstrap, rows)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, body in CHECKS.items():
            if options.only in name:
                pool.submit(suite.execute, name, body)
    passed = sum(ok for ok, _ in suite.results)
    failed = len(suite.results) - passed
    print(json.dumps({
        "client": "kafka-tools", "summary": True, "ok": not failed and passed > 0, "passed": passed, "failed": failed,
        "produced": sum(c.produced for _, c in suite.results), "consumed": sum(c.consumed for _, c in suite.results),
        "compared": sum(c.compared for _, c in suite.results)}))
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
