"""Views (topics with weir.view.source) read as any topic is: rows of 0 %, 0.1 %, 50 % and 100 % of their source.

What is expected is computed from the acknowledged rows, not from what the broker says. The consumer is assigned, reads until its
own position is at the end of the source, and commits that. Fetch requests are counted by the broker's metrics: a client that
asks for the same filtered range again and again would need far more than a few for each partition.

Seen failing: with the expected rows of the 50 % view shifted by one, and against a broker whose fetches of views ended
without a filler (the position never reached the end).
"""

import json
import urllib.request

from suite.checks import Context
from suite.records import Oracle
from suite.report import Check

DDL = "carrier STRING, flight INT, origin STRING, dest STRING, dep_delay INT, distance INT, tailnum STRING"
SELECT = ("carrier", "flight", "dep_delay")
PARTITIONS = 3
# A fetch for each partition and view, long polls at the end, and room for a slow machine: 20,000 rows fit into few fetches.
FETCHES_MAX = 60

# Name, predicate, the same in Python (offset, row), columns that are shown (None: the value as it was produced).
VIEWS = (
    ("none", "carrier = 'NOBODY'", lambda offset, row: False, None),
    ("rare", "_offset % 1000 = 7", lambda offset, row: offset % 1000 == 7, SELECT),
    ("half", "_offset % 2 = 0", lambda offset, row: offset % 2 == 0, SELECT),
    ("all", None, lambda offset, row: True, None),
    ("late", "dep_delay > 60 AND origin = 'JFK'", lambda offset, row: (row["dep_delay"] or 0) > 60
     and row["origin"] == "JFK", SELECT),
)


def fetches(http: str) -> float:
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('weir_requests_total{api="Fetch"'))


def shown(value: bytes, select) -> object:
    """What a view must show of a value: the bytes, or the selected columns (a null may be left out of a JSON row)."""
    return value if select is None else {name: json.loads(value)[name] for name in select}


def read(value: bytes, select) -> object:
    if select is None:
        return value
    row = json.loads(value)
    return {**row, **{name: row.get(name) for name in select}}


def views(check: Check, ctx: Context) -> None:
    client, source = ctx.client, ctx.topic("view-source", PARTITIONS, **{"weir.table.schema": DDL})
    oracle = Oracle()
    oracle.acked(check, ctx.rows, client.produce(source, ctx.rows, "zstd"))
    oracle.contiguous(check)
    ends = oracle.ends()
    for name, where, matches, select in VIEWS:
        view = ctx.name(f"view-{name}")
        configs = {"weir.view.source": source}
        configs |= {} if where is None else {"weir.view.where": where}
        configs |= {} if select is None else {"weir.view.select": ",".join(select)}
        client.create_topic(view, PARTITIONS, 1, configs)
        check.equal(f"{name}: partitions", len(client.describe_topic(view)), PARTITIONS)
        before = fetches(ctx.http)
        records, positions = client.drain(view, ends, ctx.name(f"view-group-{name}"))
        asked = fetches(ctx.http) - before
        check.consumed += len(records)
        check.equal(f"{name}: positions at the end", positions, ends)
        check.true(f"{name}: no more than {FETCHES_MAX} fetches", asked <= FETCHES_MAX, asked)
        want = {(p, offset): row for p, rows in oracle.rows.items() for offset, row in rows.items()
                if matches(offset, json.loads(row.value))}
        check.equal(f"{name}: number of rows", len(records), len(want))
        check.equal(f"{name}: no row twice", len({(r.partition, r.offset) for r in records}), len(records))
        for record in records:
            row = want[record.partition, record.offset]
            got = (read(record.value, select), record.key, record.headers, record.timestamp)
            check.equal(f"{name}: {record.partition}/{record.offset}", got,
                        (shown(row.value, select), row.key, row.headers, row.timestamp))
        for partition, end in ends.items():
            check.equal(f"{name}: watermarks", client.watermarks(view, partition), (0, end))
        check.equal(f"{name}: no lag", client.group_offsets(ctx.name(f"view-group-{name}"), view), ends)
    refused(check, ctx, source)


def refused(check: Check, ctx: Context, source: str) -> None:
    client, view = ctx.client, ctx.name("view-half")
    row = ctx.rows[:1]
    check.raises("produce to a view", 17, lambda: client.produce(view, row))
    check.raises("delete a source", 42, lambda: client.delete_topic(source))
    check.raises("a view that depends on the clock", 40, lambda: client.create_topic(
        ctx.name("view-now"), PARTITIONS, 1, {"weir.view.source": source, "weir.view.where": "_timestamp < now()"}))
    check.raises("drop a column that a view uses", 40, lambda: client.alter_configs(
        source, {"weir.table.schema": DDL.replace("dep_delay INT, ", "")}, []))
    client.delete_topic(view)
    check.equal("the source keeps its records", client.watermarks(source, 0)[0], 0)


CHECKS = {"views": views}
