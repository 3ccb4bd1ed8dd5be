"""Admin calls, with the answers and the error codes that Apache Kafka gives.

Seen failing: with a changed expected value (`retention.ms` after the alter) and with a wrong error code.
"""

import time

from suite.checks import Context, read_until, wait_until_led
from suite.records import Oracle
from suite.report import Check

OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
INVALID_TOPIC_EXCEPTION = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICATION_FACTOR = 38
INVALID_CONFIG = 40
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69

DEFAULT_MAX_MESSAGE_BYTES = "1048588"


def eventually(probe, want, seconds: float = 10):
    """Admin answers may lag behind the change (metadata spreads); returns the last answer."""
    deadline = time.monotonic() + seconds
    while (got := probe()) != want and time.monotonic() < deadline:
        time.sleep(0.1)
    return got


def topics(check: Check, ctx: Context) -> None:
    client, name = ctx.client, ctx.name("topics")
    client.create_topic(name, 3, 1, {"retention.ms": "-1"})
    check.equal("listed", eventually(lambda: name in client.list_topics(), True), True)
    described = client.describe_topic(name)
    check.equal("partitions", sorted(described), [0, 1, 2])
    check.equal("replicas", {len(replicas) for replicas in described.values()}, {1})
    check.raises("create again", TOPIC_ALREADY_EXISTS, lambda: client.create_topic(name, 3, 1, {}))
    check.raises("a bad name", INVALID_TOPIC_EXCEPTION, lambda: client.create_topic("a b/c", 1, 1, {}))
    check.raises("no partitions", INVALID_PARTITIONS, lambda: client.create_topic(name + "-0", 0, 1, {}))
    check.raises("an unknown config", INVALID_CONFIG,
                 lambda: client.create_topic(name + "-c", 1, 1, {"retention.mss": "1"}))
    check.raises("describe an unknown topic", UNKNOWN_TOPIC_OR_PARTITION,
                 lambda: client.describe_topic(name + "-unknown"))


def replication_factor_three(check: Check, ctx: Context) -> None:
    """weir takes any replication factor and reports its one replica; a single Apache Kafka broker refuses it."""
    client, name = ctx.client, ctx.name("rf3")
    create = lambda: client.create_topic(name, 2, 3, {"retention.ms": "-1"})  # noqa: E731
    if ctx.broker == "kafka":
        check.raises("replication factor 3 on one broker", INVALID_REPLICATION_FACTOR, create)
        client.create_topic(name, 2, 1, {"retention.ms": "-1"})
    else:
        create()
        check.true("created", True)
    described = client.describe_topic(name)
    check.equal("replicas", {partition: len(replicas) for partition, replicas in described.items()}, {0: 1, 1: 1})
    oracle, rows = Oracle(), ctx.rows[:100]
    oracle.acked(check, rows, client.produce(name, rows))
    oracle.verify(check, client.consume(name, oracle.starts(), oracle.ends()))


def configs(check: Check, ctx: Context) -> None:
    client, name = ctx.client, ctx.name("configs")
    client.create_topic(name, 1, 1, {"retention.ms": "3600000", "max.message.bytes": "2000000"})
    described = client.describe_configs(name)
    for key, want in {"retention.ms": "3600000", "max.message.bytes": "2000000", "cleanup.policy": "delete",
                      "compression.type": "producer", "segment.bytes": "1073741824"}.items():
        check.equal(key, described.get(key), want)
    client.alter_configs(name, {"retention.ms": "7200000", "cleanup.policy": "compact,delete"}, ["max.message.bytes"])
    wanted = ("7200000", "compact,delete", DEFAULT_MAX_MESSAGE_BYTES)
    keys = ("retention.ms", "cleanup.policy", "max.message.bytes")
    check.equal("after alter", eventually(lambda: tuple(client.describe_configs(name)[k] for k in keys), wanted), wanted)
    check.raises("a value of the wrong type", INVALID_CONFIG,
                 lambda: client.alter_configs(name, {"retention.ms": "soon"}, []))
    check.equal("unchanged by the refusal", client.describe_configs(name)["retention.ms"], "7200000")


def partitions(check: Check, ctx: Context) -> None:
    client, name = ctx.client, ctx.topic("grow", 2)
    oracle = Oracle()
    rows = ctx.rows[:100]
    oracle.acked(check, rows, client.produce(name, rows, partition=1))
    client.create_partitions(name, 5)
    check.equal("partitions", eventually(lambda: sorted(client.describe_topic(name)), [0, 1, 2, 3, 4]), [0, 1, 2, 3, 4])
    oracle.acked(check, rows, client.produce(name, rows, partition=4))
    oracle.verify(check, client.consume(name, oracle.starts(), oracle.ends()))
    check.raises("fewer partitions", INVALID_PARTITIONS, lambda: client.create_partitions(name, 3))
    check.raises("of an unknown topic", UNKNOWN_TOPIC_OR_PARTITION,
                 lambda: client.create_partitions(name + "-unknown", 3))


def groups(check: Check, ctx: Context) -> None:
    client, group, topic = ctx.client, ctx.name("admin-group"), ctx.base_topic
    member = client.member(group, topic)
    read: list = []
    read_until(member, read, lambda: len(read) > 0 and len(member.assigned()) == 3, 60)
    member.commit({0: 5, 1: 6})
    check.equal("listed", eventually(lambda: group in client.list_groups(), True), True)
    check.equal("state while used", client.describe_group(group), ("Stable", 1))
    if "delete_group" not in client.lacks:
        check.raises("delete while used", NON_EMPTY_GROUP, lambda: client.delete_group(group))
    check.equal("offsets", client.group_offsets(group, topic), {0: 5, 1: 6})
    member.close()
    check.equal("state when left", eventually(lambda: client.describe_group(group), ("Empty", 0)), ("Empty", 0))
    if "alter_group_offsets" not in client.lacks:
        client.alter_group_offsets(group, topic, {0: 1, 2: 9})
        check.equal("offsets after alter", client.group_offsets(group, topic), {0: 1, 1: 6, 2: 9})
    if "delete_group_offsets" not in client.lacks:
        client.delete_group_offsets(group, topic, [1])
        check.equal("partition 1 after its offset is deleted", 1 in client.group_offsets(group, topic), False)
    if "delete_group" not in client.lacks:
        client.delete_group(group)
        check.equal("still listed", eventually(lambda: group in client.list_groups(), False), False)
        check.raises("delete again", GROUP_ID_NOT_FOUND, lambda: client.delete_group(group))


def delete_records(check: Check, ctx: Context) -> None:
    client, topic = ctx.client, ctx.topic("delete-records", 2)
    oracle, rows = Oracle(), ctx.rows[:1000]
    for partition in (0, 1):
        oracle.acked(check, rows, client.produce(topic, rows, partition=partition))
    check.equal("new log starts", client.delete_records(topic, {0: 321, 1: -1}), {0: 321, 1: 1000})
    check.equal("watermarks of 0", client.watermarks(topic, 0), (321, 1000))
    check.equal("watermarks of 1", client.watermarks(topic, 1), (1000, 1000))
    starts, ends = {0: 321}, {0: 1000}
    oracle.verify(check, client.consume(topic, starts, ends), starts, ends)
    # Position 0 is out of range now; with a reset to earliest the first record is the new log start.
    oracle.verify(check, client.consume(topic, {0: 0}, ends), starts, ends)
    check.raises("behind the high watermark", OFFSET_OUT_OF_RANGE, lambda: client.delete_records(topic, {0: 1001}))


def delete_topic(check: Check, ctx: Context) -> None:
    client, name = ctx.client, ctx.topic("delete-topic", 1)
    oracle, rows = Oracle(), ctx.rows[:50]
    oracle.acked(check, rows, client.produce(name, rows))
    client.delete_topic(name)
    check.equal("still listed", eventually(lambda: name in client.list_topics(), False), False)
    check.raises("delete again", UNKNOWN_TOPIC_OR_PARTITION, lambda: client.delete_topic(name))
    # The same name again is another, empty topic.
    client.create_topic(name, 1, 1, {"retention.ms": "-1"})
    wait_until_led(client, name, 1)
    check.equal("watermarks of the new topic", client.watermarks(name, 0), (0, 0))
    again, rows = Oracle(), ctx.rows[50:120]
    again.acked(check, rows, client.produce(name, rows))
    again.verify(check, client.consume(name, again.starts(), again.ends()))


def cluster(check: Check, ctx: Context) -> None:
    described = ctx.client.describe_cluster()
    check.true("one broker", len(described["brokers"]) == 1, described)
    (node, address), = described["brokers"].items()
    host, port = ctx.bootstrap.rsplit(":", 1)
    check.equal("its address", (address[0], address[1]), (host, int(port)))
    check.equal("it is the controller", described["controller"], node)
    check.true("a cluster id", bool(described["cluster_id"]), described)


CHECKS = {
    "admin-topics": topics,
    "admin-replication-factor": replication_factor_three,
    "admin-configs": configs,
    "admin-partitions": partitions,
    "admin-groups": groups,
    "admin-delete-records": delete_records,
    "admin-delete-topic": delete_topic,
    "admin-cluster": cluster,
}
