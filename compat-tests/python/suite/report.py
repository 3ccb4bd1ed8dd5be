"""One JSON line per check on standard output, a summary line last; exit code 1 when anything failed.

    {"client": "confluent-kafka", "check": "produce-lz4", "ok": true, "produced": 20000, "consumed": 20000,
     "compared": 20000, "seconds": 1.9, "detail": ""}

The runner holds these counts against compat-tests/expected.toml, so a check that silently did nothing fails there.
"""

import json
import sys
import time
import traceback


class CheckFailed(AssertionError):
    """What a broker did differs from what the check demands."""


class Check:
    """Counts of one check. `compared` counts records of which every field was compared, and single assertions."""

    def __init__(self, name: str):
        self.name = name
        self.produced = 0
        self.consumed = 0
        self.compared = 0
        self.detail = ""

    def equal(self, what: str, got, want) -> None:
        if got != want:
            raise CheckFailed(f"{what}: got {shorten(got)}, want {shorten(want)}")
        self.compared += 1

    def true(self, what: str, condition: bool, seen=None) -> None:
        if not condition:
            raise CheckFailed(f"{what}: saw {shorten(seen)}" if seen is not None else what)
        self.compared += 1

    def raises(self, what: str, code: int, call) -> None:
        """`call` must be refused by the broker with exactly this Kafka error code."""
        from suite.contract import BrokerError

        try:
            result = call()
        except BrokerError as error:
            self.equal(f"{what}: error code ({error})", error.code, code)
            return
        raise CheckFailed(f"{what}: wanted error {code}, but it succeeded with {shorten(result)}")


class Report:
    def __init__(self, client: str, only: str | None = None):
        self.client = client
        self.only = only
        self.passed = 0
        self.failed = 0
        self.totals = {"produced": 0, "consumed": 0, "compared": 0}
        self.started = time.monotonic()

    def wants(self, name: str) -> bool:
        return self.only is None or self.only in name

    def run(self, name: str, body, *arguments) -> bool:
        """Runs `body(check, *arguments)`; a failure is reported and the next check still runs."""
        if not self.wants(name):
            return True
        check = Check(name)
        started = time.monotonic()
        ok = True
        try:
            body(check, *arguments)
        except Exception as error:  # noqa: BLE001 - a client may raise anything, and all of it is a failure
            ok = False
            check.detail = f"{type(error).__name__}: {error}"
            traceback.print_exc(file=sys.stderr)
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        for key in self.totals:
            self.totals[key] += getattr(check, key)
        self.print({
            "client": self.client,
            "check": name,
            "ok": ok,
            "produced": check.produced,
            "consumed": check.consumed,
            "compared": check.compared,
            "seconds": round(time.monotonic() - started, 2),
            "detail": check.detail,
        })
        return ok

    def finish(self, version: str) -> int:
        self.print({
            "client": self.client,
            "summary": True,
            "version": version,
            "passed": self.passed,
            "failed": self.failed,
            **self.totals,
            "seconds": round(time.monotonic() - self.started, 2),
        })
        return 1 if self.failed or not self.passed else 0

    @staticmethod
    def print(line: dict) -> None:
        print(json.dumps(line), flush=True)


def shorten(value) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} characters)"
