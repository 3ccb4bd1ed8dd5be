"""Transactions: what a producer commits is seen by readers of committed data, what it aborts is not.

A client offers them by `transactional(id, timeout_ms)`, which returns an object with begin, send, commit, abort,
send_offsets and close, and by `consume_committed`.
"""

import time

from suite.contract import BrokerError
from suite.report import Check


def settle(check: Check, ctx, topic: str, partitions: int, count: int) -> list[bytes]:
    """What readers of committed data get, once it is so many records: markers follow the answer of a commit."""
    deadline = time.monotonic() + 20
    while True:
        values = sorted(record.value for record in ctx.client.consume_committed(topic, partitions))
        if len(values) == count or time.monotonic() > deadline:
            check.consumed += len(values)
            return values
        time.sleep(0.1)


def commit_and_abort(check: Check, ctx) -> None:
    topic = ctx.topic("txn")
    producer = ctx.client.transactional(ctx.name("txn"), 60_000)
    committed = []
    for txn in range(40):
        producer.begin()
        values = [b"%d:%d" % (txn, i) for i in range(25)]
        for i, value in enumerate(values):
            producer.send(topic, i % 3, value)
        check.produced += len(values)
        if txn % 3 == 0:
            producer.abort()
        else:
            producer.commit()
            committed += values
    producer.close()
    found = settle(check, ctx, topic, 3, len(committed))
    check.equal("committed records", found, sorted(committed))
    check.compared += len(found)


def consume_transform_produce(check: Check, ctx) -> None:
    source, target = ctx.topic("txn-in"), ctx.topic("txn-out")
    rows = ctx.rows[:600]
    ctx.client.produce(source, rows)
    check.produced += len(rows)
    member = ctx.client.member(ctx.name("txn-group"), source)
    producer = ctx.client.transactional(ctx.name("txn-ctp"), 60_000)
    done, aborted, expected = {}, 0, []
    deadline = time.monotonic() + 60
    while sum(done.values()) < len(rows) and time.monotonic() < deadline:
        records = member.poll(0.5)
        if not records:
            continue
        producer.begin()
        for record in records:
            producer.send(target, record.partition, b"out-" + record.value)
        ends = {}
        for record in records:
            ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
        if aborted < 1:
            # First as if it failed; the same offsets again with what commits.
            producer.send_offsets(member, {p: 0 for p in ends})
            producer.abort()
            aborted += 1
            producer.begin()
            for record in records:
                producer.send(target, record.partition, b"out-" + record.value)
        producer.send_offsets(member, ends)
        producer.commit()
        expected += [b"out-" + record.value for record in records]
        done |= ends
    check.equal("aborted transactions", aborted, 1)
    committed = member.committed(set(done))
    check.equal("committed offsets", {p: offset for p, (offset, _) in committed.items()}, done)
    member.close()
    producer.close()
    found = settle(check, ctx, target, 3, len(expected))
    check.equal("results", found, sorted(expected))
    check.compared += len(found)


def fencing(check: Check, ctx) -> None:
    topic = ctx.topic("txn-fence", 1)
    old = ctx.client.transactional(ctx.name("txn-fence"), 60_000)
    old.begin()
    old.send(topic, 0, b"orphan")
    old.flush()
    fresh = ctx.client.transactional(ctx.name("txn-fence"), 60_000)
    try:
        old.commit()
        check.true("the old producer is fenced", False)
    except BrokerError as error:
        check.true(f"the old producer is fenced ({error})", old.is_fenced(error), error)
    fresh.begin()
    fresh.send(topic, 0, b"fresh")
    fresh.commit()
    check.produced += 2
    check.equal("committed records", settle(check, ctx, topic, 1, 1), [b"fresh"])
    fresh.close()


CHECKS = {"txn-commit-and-abort": commit_and_abort, "txn-consume-transform-produce": consume_transform_produce,
          "txn-fencing": fencing}
