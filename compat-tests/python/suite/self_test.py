"""Shows that the comparison can fail: each way of damaging what was consumed must be noticed.

Needs no broker. Seen failing itself: with `same` emptied, every field's line below reports that the damage passed.
"""

import json
from dataclasses import replace

from suite.records import LOG_APPEND_TIME, Oracle, Record, Row
from suite.report import Check, CheckFailed


def sample() -> tuple[Oracle, list[Record]]:
    rows = [Row(b"UA%d" % i, b'{"flight":%d}' % i, (("origin", b"EWR"),), 1_357_034_400_000 + i) for i in range(9)]
    acks = [(i % 3, i // 3) for i in range(9)]
    oracle = Oracle()
    oracle.acked(Check("self-test"), rows, acks)
    records = [Record(p, o, row.key, row.value, row.headers, row.timestamp) for row, (p, o) in zip(rows, acks)]
    return oracle, records


def flip_a_byte(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


DAMAGE = {
    "key byte flipped": lambda r: [*r[:4], replace(r[4], key=flip_a_byte(r[4].key)), *r[5:]],
    "key null instead of text": lambda r: [*r[:4], replace(r[4], key=None), *r[5:]],
    "value byte flipped": lambda r: [*r[:4], replace(r[4], value=flip_a_byte(r[4].value)), *r[5:]],
    "header value changed": lambda r: [*r[:4], replace(r[4], headers=(("origin", b"JFK"),)), *r[5:]],
    "header repeated": lambda r: [*r[:4], replace(r[4], headers=r[4].headers * 2), *r[5:]],
    "header dropped": lambda r: [*r[:4], replace(r[4], headers=()), *r[5:]],
    "timestamp off by one": lambda r: [*r[:4], replace(r[4], timestamp=r[4].timestamp + 1), *r[5:]],
    "timestamp type changed": lambda r: [*r[:4], replace(r[4], timestamp_type=LOG_APPEND_TIME), *r[5:]],
    "record lost": lambda r: r[:4] + r[5:],
    "last record lost": lambda r: r[:-1],
    "record repeated": lambda r: r[:5] + r[4:],
    "records reordered": lambda r: [r[3], r[0], *r[1:3], *r[4:]],
    "record of an unknown offset": lambda r: [*r, replace(r[8], offset=99)],
    "nothing consumed": lambda r: [],
}


def self_test() -> int:
    oracle, records = sample()
    oracle.verify(Check("intact"), records)
    unnoticed = []
    for name, damage in DAMAGE.items():
        try:
            oracle.verify(Check(name), damage(records))
        except CheckFailed:
            continue
        unnoticed.append(name)
    for name, acks in {"acked twice": [(0, 0), (0, 0)], "acked out of order": [(0, 1), (0, 0)],
                       "too few acks": [(0, 0)]}.items():
        try:
            Oracle().acked(Check(name), [Row(b"k", b"v", (), 1), Row(b"k", b"w", (), 2)], acks)
        except CheckFailed:
            continue
        unnoticed.append(name)
    ok = not unnoticed
    print(json.dumps({"client": "self-test", "check": "damage-is-noticed", "ok": ok, "produced": 0, "consumed": 0,
                      "compared": len(DAMAGE) + 3 - len(unnoticed), "detail": ", ".join(unnoticed)}))
    return 0 if ok else 1
