"""The bombs of suite/bombs.py against a broker that has other work: each is answered rightly or refused with its reason, in bounded time and
memory, while another client goes on producing.
"""

import threading
import time
from pathlib import Path

import weir
from confluent_kafka import Producer

from suite.bombs import BOMBS
from suite.predicate_checks import Context, read, topic
from suite.report import Check, CheckFailed

# Of one bomb, in a debug build beside other work; and of all of them together.
BOMB_SECONDS = 10.0
BOMB_MIB = 256


class Beside:
    """Another client that produces one record after the other, each acknowledged before the next."""

    def __init__(self, bootstrap: str):
        self.seconds, self.wrong, self.stopped = [], [], threading.Event()
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0})
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.stopped.is_set():
            started = time.monotonic()
            self.producer.produce("beside", b"x" * 100, on_delivery=lambda error, _: error and self.wrong.append(str(error)))
            if self.producer.flush(30):
                self.wrong.append("not acknowledged")
            self.seconds.append(time.monotonic() - started)
            time.sleep(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(60)


def peak_memory(pid: int) -> int:
    """The most memory that the broker ever had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) >> 10


def explode(check: Check, ctx: Context, form: str, client: str) -> None:
    """Each bomb is answered rightly or refused with its reason, soon, while another client produces."""
    name, total, slowest = topic(form, "column"), sum(ctx.ends()), (0.0, "")
    before = peak_memory(ctx.broker.process.pid)
    with Beside(ctx.broker.bootstrap) as beside:
        for bomb in BOMBS:
            started, reason, rows = time.monotonic(), "", -1
            try:
                rows = read(ctx, client, name, ["_offset"], bomb.text)[0].num_rows
            except (weir.QueryError, CheckFailed) as error:
                reason = str(error)
            seconds = time.monotonic() - started
            slowest = max(slowest, (seconds, bomb.name))
            check.true(f"{bomb.name}: not longer than {BOMB_SECONDS} s", seconds < BOMB_SECONDS, seconds)
            if bomb.refused:
                said = "the predicate" if bomb.refused == "?" else bomb.refused
                check.true(f"{bomb.name} is refused with a reason", rows < 0 and "INVALID_REQUEST" in reason and said in reason,
                           reason or rows)
            else:
                check.equal(f"{bomb.name}: no error", reason, "")
                want = ctx.oracle.execute(f"SELECT count(*) FROM flights WHERE {bomb.duckdb}").fetchone()[0]
                check.equal(f"{bomb.name}: rows of {total}", rows, want)
    check.equal("the other client's errors", beside.wrong[:3], [])
    check.true("the other client produced all the time", len(beside.seconds) > len(BOMBS), len(beside.seconds))
    more = peak_memory(ctx.broker.process.pid) - before
    check.true(f"not more than {BOMB_MIB} MiB of memory in addition", more <= BOMB_MIB, more)
    latencies = sorted(beside.seconds)
    check.detail = (f"{len(BOMBS)} bombs, slowest {slowest[1]} {slowest[0]:.2f} s, {more} MiB more; beside them {len(latencies)} "
                    f"records, p99 {latencies[len(latencies) * 99 // 100] * 1000:.0f} ms")
