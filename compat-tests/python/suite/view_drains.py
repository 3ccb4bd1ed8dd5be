"""Checks of views by one consumer at a time: all rows once, the position at the end, no lag, few requests, and no waiting on the way.

The broker is to look at a quarter of a mebibyte for one answer. Clients let a fetch wait for three seconds: if an answer on the way
waited, or if a consumer asked for the same range again, reading would take many times as long and as many requests.

Seen failing: `change` against a broker whose waiting fetches judged what came after the change by the old predicate, with each client;
`drop` while clients that ask for a topic could make it.
"""

import json
import threading
import time
import urllib.request
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from suite.records import Record, Row
from suite.report import Check, CheckFailed
from suite.table_checks import Broker

DDL = "carrier STRING, flight INT, origin STRING, dest STRING, dep_delay INT, distance INT, tailnum STRING"
SELECT = ("carrier", "flight", "dep_delay")
PARTITIONS = 3
SCAN_BYTES = 256 << 10
WAIT_MS = 3_000
# One wait at the end, and what a slow machine takes for 20,000 rows.
SECONDS_MAX = 8.0
# Of 2 MB in each of 3 partitions a scan looks at a quarter of a mebibyte: 8 answers for each partition at the least, and as a client that
# asks for its partitions one by one gets one of them at a time, as many requests. Room for a machine that is slow.
FETCHES_MAX = 100
# A row that every view shows.
LAST = {"carrier": "ZZ", "flight": 0, "dep_delay": 0}

# Name, predicate, the same in Python.
VIEWS = (
    ("none", "carrier = 'NOBODY'", lambda offset, row: False),
    ("rare", "_offset % 1000 = 7", lambda offset, row: offset % 1000 == 7),
    ("half", "_offset % 2 = 0", lambda offset, row: offset % 2 == 0),
    ("all", "true", lambda offset, row: True),
    ("edges", "_offset < 10 OR _offset > 6000", lambda offset, row: offset < 10 or offset > 6000),
    ("start", "_offset < 10", lambda offset, row: offset < 10),
)


def broker(folder: Path) -> Broker:
    return Broker(folder, {"WEIR_FETCH_SCAN_MAX_BYTES": str(SCAN_BYTES), "WEIR_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
                           # Otherwise a client that asks for a view that was dropped makes a topic of its name.
                           "WEIR_AUTO_CREATE_TOPICS_ENABLE": "false"})


class Context:
    def __init__(self, broker: Broker, drain, client: str, rows: list[Row]):
        self.broker, self.drain, self.client, self.rows = broker, drain, client, rows
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        self.source = f"source-{client}"
        # What lies in each partition of the source.
        self.stored: list[list[Row]] = [[] for _ in range(PARTITIONS)]
        self.create(self.source, {"weir.table.schema": DDL, "retention.ms": "-1"})
        self.produce(rows)

    def create(self, name: str, config: dict) -> None:
        self.admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config)])[name].result(30)

    def view(self, name: str, where: str) -> str:
        """A view that shows, beside its own rows, the last ones of a check."""
        view = f"{name}-{self.client}"
        self.create(view, {"weir.view.source": self.source, "weir.view.select": ",".join(SELECT), "weir.view.where": shown(where)})
        return view

    def produce(self, rows: list[Row]) -> None:
        producer, wrong = Producer({"bootstrap.servers": self.broker.bootstrap, "linger.ms": 20, "acks": "all"}), []

        def delivered(error, message):
            if error is not None:
                wrong.append(str(error))

        for number, row in enumerate(rows):
            partition = number % PARTITIONS
            self.stored[partition].append(row)
            producer.produce(self.source, row.value, row.key, partition, on_delivery=delivered, timestamp=row.timestamp,
                             headers=list(row.headers))
            if number % 200 == 0:
                producer.poll(0)
        if producer.flush(60) or wrong:
            raise CheckFailed(f"rows were not delivered: {wrong[:3]}")

    def produce_last(self) -> None:
        self.produce([Row(b"ZZ", json.dumps(LAST).encode(), (), 1_357_034_400_000)] * PARTITIONS)

    def ends(self) -> dict[int, int]:
        return {partition: len(rows) for partition, rows in enumerate(self.stored)}

    def metric(self, start: str) -> float:
        with urllib.request.urlopen(f"http://{self.broker.http}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(start))

    def fetches(self) -> float:
        return self.metric('weir_requests_total{api="Fetch"')

    def want(self, starts: dict[int, int], ends: dict[int, int], matches) -> dict:
        found = {}
        for partition, rows in enumerate(self.stored):
            for offset in range(starts.get(partition, 0), ends[partition]):
                row = json.loads(rows[offset].value)
                if row["carrier"] == "ZZ" or matches(offset, row):
                    found[partition, offset] = rows[offset]
        return found


def shown(where: str) -> str:
    return f"({where}) OR carrier = 'ZZ'"


class Reading:
    """A client that reads a view on a thread of its own."""

    def __init__(self, ctx: Context, view: str, ends: dict[int, int], group: str, seconds: float = 60):
        self.answer, self.raised = None, None
        wish = {"bootstrap": ctx.broker.bootstrap, "topic": view, "ends": ends, "group": group, "wait_ms": WAIT_MS, "seconds": seconds}

        def run():
            try:
                self.answer = ctx.drain(wish)
            except Exception as error:  # noqa: BLE001 - told to whoever joins
                self.raised = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def join(self):
        self.thread.join(120)
        if self.thread.is_alive():
            raise CheckFailed("the client does not end")
        if self.raised is not None:
            raise self.raised
        return self.answer


def compare(check: Check, what: str, records: list[Record], want: dict) -> None:
    check.consumed += len(records)
    places = [(record.partition, record.offset) for record in records]
    check.equal(f"{what}: no row twice", len(set(places)), len(places))
    check.equal(f"{what}: rows that are missing", sorted(set(want) - set(places))[:5], [])
    check.equal(f"{what}: rows that are too many", sorted(set(places) - set(want))[:5], [])
    last: dict[int, int] = {}
    for record in records:
        if record.offset <= last.get(record.partition, -1):
            raise CheckFailed(f"{what}: offset {record.offset} of partition {record.partition} comes behind {last[record.partition]}")
        last[record.partition] = record.offset
        row = want[record.partition, record.offset]
        full, value = json.loads(row.value), json.loads(record.value)
        # A null may be left out of a JSON row.
        got = ({name: value.get(name) for name in SELECT}, set(value) <= set(SELECT), record.key, record.timestamp)
        wanted = ({name: full[name] for name in SELECT}, True, row.key, row.timestamp)
        if got != wanted or (record.headers is not None and record.headers != row.headers):
            raise CheckFailed(f"{what}: {record} is not {row}")
        check.compared += 1


def until_scanned(ctx: Context, before: float) -> None:
    """All rows of the source have been looked at for this reading."""
    rows, deadline = sum(ctx.ends().values()), time.monotonic() + 60
    while ctx.metric("weir_scan_rows_scanned_total") - before < rows:
        if time.monotonic() > deadline:
            raise CheckFailed("the view is not read")
        time.sleep(0.1)
    time.sleep(0.3)


def drained(check: Check, ctx: Context, name: str, where: str, matches) -> None:
    view, group = ctx.view(name, where), f"group-{name}-{ctx.client}"
    before, scanned = ctx.fetches(), ctx.metric("weir_scan_rows_scanned_total")
    ends = ctx.ends()
    if getattr(ctx.drain, "tells_positions", True):
        answer = Reading(ctx, view, ends, group).join()
        asked = ctx.fetches() - before
        check.equal("positions", answer.positions, ends)
    else:
        # It tells no position; at the end it gets the next row, and waits for it without asking all the time.
        reading = Reading(ctx, view, {partition: end + 1 for partition, end in ends.items()}, group)
        until_scanned(ctx, scanned)
        time.sleep(1)
        asked = ctx.fetches() - before
        ctx.produce_last()
        ends = ctx.ends()
        answer = reading.join()
    compare(check, name, answer.records, ctx.want({}, ends, matches))
    check.true(f"no more than {FETCHES_MAX} fetches", asked <= FETCHES_MAX, asked)
    # One that tells no position has waited for the last rows too.
    limit = SECONDS_MAX if getattr(ctx.drain, "tells_positions", True) else SECONDS_MAX + 2 * WAIT_MS / 1000
    check.true(f"no longer than {limit} s", answer.seconds <= limit, answer.seconds)
    check.detail = f"{asked:.0f} fetches, {answer.seconds:.2f} s"
    committed = ctx.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    check.equal("committed", {part.partition: part.offset for part in committed.topic_partitions if part.topic == view}, ends)
    check.equal("lag", ctx.metric(f'weir_group_lag_records{{group="{group}"'), 0)


def change(check: Check, ctx: Context) -> None:
    """The predicate is changed while a consumer waits at the end: rows from then on are those of the new one."""
    old, new = "carrier = 'UA'", "carrier = 'AA'"
    view, more = ctx.view("changed", old), ctx.rows[:600]
    before, scanned = ctx.ends(), ctx.metric("weir_scan_rows_scanned_total")
    ends = {partition: end + len(more) // PARTITIONS + 1 for partition, end in before.items()}
    reading = Reading(ctx, view, ends, f"group-changed-{ctx.client}")
    until_scanned(ctx, scanned)
    entry = ConfigEntry("weir.view.where", shown(new), incremental_operation=AlterConfigOpType.SET)
    (altered,) = ctx.admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, view, incremental_configs=[entry])]).values()
    altered.result(30)
    ctx.produce(more)
    ctx.produce_last()
    check.equal("the end", ctx.ends(), ends)
    answer = reading.join()
    want = ctx.want({}, before, lambda _, row: row["carrier"] == "UA")
    want |= ctx.want(before, ends, lambda _, row: row["carrier"] == "AA")
    compare(check, "before and after the change", answer.records, want)


def drop(check: Check, ctx: Context) -> None:
    """The view is dropped while a consumer waits at the end, which gets nothing more and does not hammer; a new one of that name is
    another topic."""
    view, ends = ctx.view("dropped", "carrier = 'UA'"), ctx.ends()
    scanned = ctx.metric("weir_scan_rows_scanned_total")
    beyond = {partition: end + 1 for partition, end in ends.items()}
    reading = Reading(ctx, view, beyond, f"group-dropped-{ctx.client}", seconds=8)
    until_scanned(ctx, scanned)
    ctx.admin.delete_topics([view])[view].result(30)
    before = ctx.fetches()
    time.sleep(2)
    asked = ctx.fetches() - before
    check.true("it does not ask without end for what is gone", asked <= 200, asked)
    try:
        answer = reading.join()
    except Exception as error:  # noqa: BLE001 - each client has errors of its own for a topic that is gone
        check.detail = f"{type(error).__name__}: {error}"[:200]
    else:
        check.detail = answer.error or ""
        compare(check, "before the drop", answer.records, ctx.want({}, ends, lambda _, row: row["carrier"] == "UA"))
    again = ctx.view("dropped", "carrier = 'DL'")
    if not getattr(ctx.drain, "tells_positions", True):
        ctx.produce_last()
    answer = Reading(ctx, again, ctx.ends(), f"group-again-{ctx.client}").join()
    compare(check, "the new view", answer.records, ctx.want({}, ctx.ends(), lambda _, row: row["carrier"] == "DL"))
