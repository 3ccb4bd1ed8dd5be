"""Predicates that ask for too much, and some that only look like it: over the flights of suite/flights_table.py.

Each is a name, the text, and what must come of it: `refused` with words of the reason, or `answers` with the same in DuckDB's words. Nothing
takes long, and nothing takes memory that the broker does not have.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bomb:
    name: str
    text: str
    # Words of the reason; empty: it must be answered.
    refused: str = ""
    # What DuckDB is asked for the rows, if not the text itself.
    duckdb: str = ""


NODES, DEEP, TEXT, ITEMS, LIST = "more than 1000", "levels", "bytes, at most", "items together", "not on the list"
SUB, PATTERN, PARSE = "a subquery cannot", "regular expression", "does not parse"


def wrapped(before: str, inner: str, after: str, times: int) -> str:
    return before * times + inner + after * times


def tree(items: list[str], joint: str) -> str:
    """All items joined, in parentheses that halve them: a tree of few levels."""
    if len(items) == 1:
        return items[0]
    half = len(items) // 2
    return f"({tree(items[:half], joint)} {joint} {tree(items[half:], joint)})"


REFUSED = [
    ("an OR chain of 1,000", " OR ".join(["late"] * 1000), DEEP),
    ("an OR chain of 100", " OR ".join(f"flight = {n}" for n in range(100)), DEEP),
    ("an AND chain of 1,000", " AND ".join(["late"] * 1000), DEEP),
    ("a balanced OR of 600", tree([f"flight = {n}" for n in range(600)], "OR"), NODES),
    ("20,000 terms", "1" + "+1" * 19_999 + " > 0", TEXT),
    ("a sum of 8,000 ones", "1" + "+1" * 7_999 + " > 0", NODES),
    ("a sum of 1,200 columns", " + ".join(["day"] * 1200) + " > 0", DEEP),
    ("a product of 100 columns", " * ".join(["distance"] * 100) + " > 0", DEEP),
    ("5,000 parentheses", wrapped("(", "late", ")", 5000), DEEP),
    ("100 parentheses and NOT", wrapped("NOT (", "late", ")", 100), DEEP),
    ("4,000 NOT", "NOT " * 4000 + "late", "one boolean expression"),
    ("6,000 minus signs", "- " * 6000 + "day > 0", ""),
    ("5,000 brackets", wrapped("[", "1", "]", 5000) + " = stops", DEEP),
    ("2,000 calls", wrapped("lower(", "carrier", ")", 2000) + " = 'x'", DEEP),
    ("70 calls", wrapped("abs(", "day", ")", 70) + " = 1", DEEP),
    ("CASE in CASE", wrapped("CASE WHEN ", "late", " THEN late END", 900), TEXT),
    ("CASE in CASE, 100 levels", wrapped("CASE WHEN ", "late", " THEN late END", 100), DEEP),
    ("CASE of 400 branches", "CASE " + "".join(f"WHEN day = {n} THEN late " for n in range(400)) + "END", NODES),
    ("1,500 casts", wrapped("CAST(", "1", " AS INT)", 1500) + " = 1", TEXT),
    ("an IN list of 1,001", f"flight IN ({','.join(map(str, range(1001)))})", ITEMS),
    ("two IN lists of 600", f"flight IN ({','.join(map(str, range(600)))}) OR day IN ({','.join(map(str, range(600)))})", ITEMS),
    ("an IN list of 8,000", f"flight IN ({','.join(['7'] * 8000)})", NODES),
    ("an IN list of 20,000 bytes", "carrier IN ('" + "x" * 20_000 + "')", TEXT),
    ("an IN list of sums", f"flight IN ({','.join(['1+1'] * 700)})", NODES),
    ("800 intervals", "time_hour > now() " + "- INTERVAL '1 day' " * 800, ""),
    ("400 BETWEEN", "day " + "BETWEEN 0 AND 1 AND late AND day " * 400 + "> 1", ""),
    ("an open quote", "carrier = 'x", PARSE),
    ("comments that do not end", "/* " * 5000, PARSE),
    ("7,000 dots", "route" + ".a" * 7000 + " = 1", ""),
    ("5,000 subscripts", "stops" + "[1]" * 5000 + " = 'x'", ""),
    ("bytes that are zero", "\0" * 1000, PARSE),
    ("8,000 letters beyond ASCII", "é" * 8000, "there is no column"),
    ("repeat()", "repeat(carrier, 1000000000) = 'x'", LIST),
    ("repeat() of repeat()", "repeat(repeat(carrier, 100000), 100000) = 'x'", LIST),
    ("lpad()", "lpad(carrier, 2000000000, 'x') = 'x'", LIST),
    ("rpad()", "rpad(carrier, 2000000000, 'x') = 'x'", LIST),
    ("replace()", "replace(carrier, 'U', repeat('U', 1000000)) = 'x'", LIST),
    ("range()", "array_length(range(0, 1000000000)) > 0", LIST),
    ("generate_series()", "array_length(generate_series(1, 1000000000)) > 0", LIST),
    ("array_repeat()", "array_length(array_repeat(1, 1000000000)) > 0", LIST),
    ("random()", "random() < 0.5", LIST),
    ("a sum over rows", "sum(day) > 3", LIST),
    ("a window", "row_number() OVER (ORDER BY day) = 1", "a window function cannot"),
    ("a subquery", "day IN (SELECT 1)", SUB),
    ("EXISTS", "EXISTS (SELECT 1)", SUB),
    ("a subquery of subqueries", "day = (SELECT (SELECT (SELECT 1)))", SUB),
    ("a second statement", "day > 3; DROP TABLE flights", "after the predicate comes ;"),
    ("a regular expression of a billion states", "carrier ~ '((a{1000}){1000}){1000}'", PATTERN),
    ("a regular expression that is open", "carrier ~ '(a'", PATTERN),
    ("a regular expression that looks back", r"carrier ~ '(a)\1'", PATTERN),
    ("a regular expression out of the rows", "carrier ~ tailnum", "must be a literal"),
    ("a number that is too large", "CAST(99999999999999999999 AS BIGINT) = day", "out of range"),
    ("a regular expression of classes", r"tailnum ~ '(\p{L}{1,500}){1,500}'", PATTERN),
]

ANSWERS = [
    ("an IN list of 1,000", f"flight IN ({','.join(map(str, range(1000)))})", ""),
    ("an OR of 120", tree([f"flight = {n}" for n in range(120)], "OR"), ""),
    ("50 parentheses", wrapped("(", "late", ")", 50), ""),
    ("a sum of 50 columns", " + ".join(["day"] * 50) + " > 200", ""),
    ("a product that overflows", " * ".join(["CAST(distance AS BIGINT)"] * 8) + " > 0",
     "distance::DOUBLE ** 8 <= 9223372036854775807"),
    ("division by zero", "1 / 0 = 1", "false"),
    ("division by a column that is zero", "100 / (day - 1) > 10", "day > 1 AND 100 // (day - 1) > 10"),
    ("the rest of a division by zero", "day % 0 = 0", "false"),
    ("a cast that always fails", "CAST(carrier AS INT) = 1", "false"),
    ("a cast that sometimes fails", "CAST(substr(tailnum, 2, 5) AS INT) > 90000", "TRY_CAST(substr(tailnum, 2, 5) AS INT) > 90000"),
    ("a nested quantifier that backtracks elsewhere", "tailnum ~ '^(N+)+$'", "regexp_matches(tailnum, '^(N+)+$')"),
    ("alternatives that backtrack elsewhere", "tailnum ~ '(a|aa|aaa)+$'", "regexp_matches(tailnum, '(a|aa|aaa)+$')"),
    ("a pattern of LIKE with 500 signs", f"tailnum LIKE '{'%N' * 500}'", ""),
    ("ten thousand bytes of text", f"carrier <> '{'x' * 10_000}'", ""),
]

BOMBS = [Bomb(name, text, refused or "?") for name, text, refused in REFUSED] + \
        [Bomb(name, text, "", duckdb or text) for name, text, duckdb in ANSWERS]
