"""Rows to produce, records as consumed, and the comparison of every byte between the two.

Seen failing: with `flip_a_byte` applied to one consumed record (driver.py --self-test does that to key, value, header
and timestamp in turn, and drops and repeats a record) `verify` raises; the runner's step runs the self-test first.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from suite.report import Check, CheckFailed, shorten

CREATE_TIME = 0
LOG_APPEND_TIME = 1


@dataclass(frozen=True, slots=True)
class Row:
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


@dataclass(frozen=True, slots=True)
class Record:
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int
    timestamp_type: int = CREATE_TIME


def load_flights(path: Path, limit: int | None) -> list[Row]:
    rows = []
    with path.open("rb") as source:
        for line in source:
            if limit is not None and len(rows) == limit:
                break
            record = json.loads(line)
            headers = tuple((name, value.encode()) for name, value in record["headers"])
            rows.append(Row(record["key"].encode(), record["value"].encode(), headers, record["timestamp"]))
    if limit is not None and len(rows) < limit:
        raise SystemExit(f"{path} holds {len(rows)} rows, {limit} were asked for: run compat-tests/data/extract.py")
    return rows


def odd_rows() -> list[Row]:
    """What real data has none of: nulls, empties, every byte value, repeated and non-ASCII header names."""
    every_byte = bytes(range(256))
    start = 1_700_000_000_000
    shapes = [
        (None, b"null key", ()),
        (b"null value", None, ()),
        (None, None, ()),
        (b"", b"", ()),
        (every_byte, every_byte * 3, ()),
        (b"headers", b"empty header value", (("empty", b""),)),
        (b"headers", b"repeated header names", (("h", b"1"), ("h", b"2"), ("g", b"3"), ("h", b"1"))),
        (b"headers", b"non-ASCII header name", (("\u00fcberschrift-\u6c34", every_byte),)),
        (b"headers", b"many headers", tuple((f"h{i}", str(i).encode() * i) for i in range(200))),
        ("\u0418\u043b\u044c\u044f".encode(), "\U0001f6eb text".encode(), (("origin", b"SVO"),)),
        (b"repetitive", b"a" * 200_000, ()),
        (b"first timestamp", b"epoch", ()),
    ]
    rows = [Row(key, value, headers, start + i * 1000) for i, (key, value, headers) in enumerate(shapes)]
    rows[-1] = replace(rows[-1], timestamp=1)
    return rows


def digest(row: Row | Record) -> str:
    """A hash over all four compared fields; how a second process tells what it consumed."""
    text = repr((row.key, row.value, row.headers, row.timestamp))
    return hashlib.sha256(text.encode()).hexdigest()


class Oracle:
    """Which row an acked (partition, offset) holds: what the broker said when it acknowledged, nothing it said later."""

    def __init__(self):
        self.rows: dict[int, dict[int, Row]] = defaultdict(dict)

    def acked(self, check: Check, rows: list[Row], acks: list[tuple[int, int]]) -> None:
        """Takes acks in the order of `rows`; within a partition, offsets must be new and grow with that order."""
        if len(rows) != len(acks):
            raise CheckFailed(f"{len(rows)} rows produced, {len(acks)} acknowledged")
        last: dict[int, int] = {}
        for row, (partition, offset) in zip(rows, acks):
            if offset in self.rows[partition]:
                raise CheckFailed(f"partition {partition} acknowledged offset {offset} twice")
            if offset <= last.get(partition, -1):
                raise CheckFailed(f"partition {partition} was reordered: {offset} after {last[partition]}")
            last[partition] = offset
            self.rows[partition][offset] = row
        check.produced += len(rows)

    def ends(self) -> dict[int, int]:
        return {p: max(rows) + 1 for p, rows in self.rows.items() if rows}

    def starts(self) -> dict[int, int]:
        return {p: min(rows) for p, rows in self.rows.items() if rows}

    def contiguous(self, check: Check) -> None:
        """A producer that neither failed nor retried leaves no gap and no duplicate behind."""
        for partition, rows in self.rows.items():
            check.equal(f"offsets of partition {partition} from 0 without gaps", len(rows), max(rows) + 1)

    def first_at(self, partition: int, timestamp: int) -> int | None:
        """The answer ListOffsets owes for a timestamp: the first offset whose record is not older."""
        found = [offset for offset, row in self.rows[partition].items() if row.timestamp >= timestamp]
        return min(found) if found else None

    def between(self, starts: dict[int, int], ends: dict[int, int]) -> int:
        return sum(1 for p, start in starts.items() for o in self.rows[p] if start <= o < ends[p])

    def verify(self, check: Check, records: list[Record], starts=None, ends=None) -> None:
        """Every row of the ranges exactly once, ascending inside its partition, equal in each byte."""
        starts = self.starts() if starts is None else starts
        ends = self.ends() if ends is None else ends
        check.consumed += len(records)
        next_offset = dict(starts)
        for record in records:
            want = self.rows[record.partition].get(record.offset)
            where = f"partition {record.partition} offset {record.offset}"
            if want is None:
                raise CheckFailed(f"{where} was never acknowledged")
            if record.offset < next_offset.get(record.partition, 0):
                raise CheckFailed(f"{where} came twice or out of order")
            for skipped in range(next_offset[record.partition], record.offset):
                if skipped in self.rows[record.partition]:
                    raise CheckFailed(f"{where} came, but offset {skipped} before it never did")
            next_offset[record.partition] = record.offset + 1
            same(where, record, want)
            check.compared += 1
        wanted = self.between(starts, ends)
        if len(records) != wanted:
            raise CheckFailed(f"{len(records)} records consumed, {wanted} acknowledged in these ranges")


def same(where: str, got: Record, want: Row) -> None:
    for field in ("key", "value", "headers", "timestamp"):
        if getattr(got, field) != getattr(want, field):
            raise CheckFailed(
                f"{where}: {field} differs: got {shorten(getattr(got, field))}, want {shorten(getattr(want, field))}"
            )
    if got.timestamp_type != CREATE_TIME:
        raise CheckFailed(f"{where}: timestamp type {got.timestamp_type}, want CreateTime")
