"""Strangers and liars against a weir of its own with TLS, SASL and an open listener, while an honest client goes on producing.

    attacks.py [--only TEXT] [--long --weir target/release/weir]

Prints one JSON line per check and a summary line last (see suite/report.py); exit code 1 when a check failed. The broker is $WEIRTEST_BIN.
Each attack must be refused, leave the broker's memory within 64 MiB of what it was, and the honest client served. With --long each runs five
times, and the median of the honest client's 99th percentiles must stay below twice that without the attack.

What "without the attack" is: whoever attacks computes too, and on a machine of two cores the attacker's own work, and the kernel's with
its bytes, would be counted against the broker. So each attack but the flood is compared with as many harmless requests, over as many
connections and TLS handshakes, at the same times: batches for a topic that does not exist in place of bombs, users who log in in place
of replays and false proofs, tokens that are none in place of wrong passwords, frames as long as they say in place of lies. The flood, which
is of connections that say nothing, is compared with silence. What attacks are made of is made before the clock runs, and the honest
client is a process of its own.

Seen failing: with the limit of connections that have not authenticated left out of the broker's settings.
"""

import argparse
import os
import secrets
import socket
import statistics
import struct
import sys
import time
from pathlib import Path

from suite.honest import Honest
from suite.report import CheckFailed, Report
from suite.secured import PASSWORD, USER, SecuredBroker
from suite.strangers import MIB, Sasl, Wire, batch, final_message, first_message, produce, produced, zeros

MEMORY_MAX = 64 * MIB
# In a debug build beside other work; with --long the comparison counts.
HONEST_WITHIN = 5.0
# Of each attack: the honest client's 99th percentile with it and without it.
RATIOS: list = []
# So long at least each attack lasts with --long, repeated if it has to be.
LASTS = 3.0
# What frames say of their length, by listener; and how many connections promise 99 MiB and send a thousand bytes.
LIES = {"sasl_ssl": (513 << 10, 100 * MIB, 0x7FFFFFFF, -1, 0), "kafka": (101 * MIB, 0x7FFFFFFF, -1)}
CROWD = 100
REFUSED = (10, 18, 42, 58, 76, 87, 2)


class AttackedBroker(SecuredBroker):
    """Answers to failures are not held back, so that what a check costs shows in its time."""

    more = {"connection.failed.authentication.delay.ms": "0", "max.connections.unauthenticated.per.ip": "300",
            "connections.authentication.timeout.ms": "3000", "max.connections.per.ip": "1000"}


def memory(broker) -> int:
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) << 10


def settled(broker, before: int) -> int:
    """By how much the memory is more than before, once what was freed went back to the system."""
    for _ in range(40):
        more = memory(broker) - before
        if more < MEMORY_MAX:
            break
        time.sleep(0.5)
    return more


class Turns:
    """When each request of an attack began, so that something harmless can be sent at the same pace."""

    def __init__(self):
        self.begun, self.at = time.monotonic(), []

    def __call__(self, request, *arguments):
        self.at.append(time.monotonic() - self.begun)
        return request(*arguments)

    def lasted(self) -> float:
        return time.monotonic() - self.begun

    def replay(self, requests: list, seconds: float) -> None:
        """Sends the requests when those of the attack were sent, and waits until as much time has passed."""
        begun = time.monotonic()
        for at, request in zip(self.at, requests * (len(self.at) // max(len(requests), 1))):
            time.sleep(max(0.0, begun + at - time.monotonic()))
            request()
        time.sleep(max(0.0, begun + seconds - time.monotonic()))


def honest(broker) -> Honest:
    request = struct.pack(">hhih", 0, 8, 7, -1) + produce("honest", batch(b"", record=b"x" * 100))
    return Honest(broker.address("kafka"), struct.pack(">i", len(request)) + request)


def under_attack(check, broker, rounds, attack, harmless, *arguments):
    """Runs an attack; the broker keeps its memory and the honest client its service. `harmless` gives what is sent for comparison, a
    request for each of the attack's; without it, nothing is sent."""
    before, figures = memory(broker), []
    requests = harmless(broker, *arguments) if harmless else []
    for _ in range(rounds):
        turns = Turns()
        with honest(broker) as loud:
            # Long enough for a percentile, and whole times what was agreed on as harmless.
            while not turns.at or (rounds > 1 and turns.lasted() < LASTS):
                attack(check, broker, turns, *arguments)
                turns.at = turns.at or [0.0]
            seconds = turns.lasted()
        with honest(broker) as quiet:
            turns.replay(requests, seconds)
        figures.append((quiet.p99(), loud.p99(), len(loud.seconds), max(loud.seconds)))
    quiet, loud = (statistics.median(figure[at] for figure in figures) for at in (0, 1))
    RATIOS.append(loud / quiet)
    more = settled(broker, before)
    beside = "beside harmless requests" if harmless else "without"
    check.detail = (f"{more / MIB:.1f} MiB more; honest client p99 {quiet * 1000:.1f} ms {beside}, {loud * 1000:.1f} ms beside the attack "
                    f"({figures[-1][2]} requests, slowest {figures[-1][3] * 1000:.0f} ms)")
    check.true(f"memory within {MEMORY_MAX // MIB} MiB of before", more < MEMORY_MAX, check.detail)
    check.true(f"nobody honest waited {HONEST_WITHIN} s", figures[-1][3] < HONEST_WITHIN, check.detail)
    if rounds > 1:
        check.true("p99 below twice that without the attack", loud < 2 * quiet, check.detail)


def scram_replay(check, broker, turns):
    """What an honest client said, said again: the broker's nonce is another one."""
    honest, (first, _) = Sasl(broker, "SCRAM-SHA-256"), first_message()
    _, challenge = honest.say(first)
    final = final_message(first, challenge)
    check.equal("the honest exchange", honest.say(final)[0], 0)

    def steal():
        thief = Sasl(broker, "SCRAM-SHA-256")
        code, other = thief.say(first)
        check.true("the nonce is a new one", code == 0 and other != challenge, other)
        return thief.say(final)[0]

    for repeated in range(20):
        check.true(f"replay {repeated} is refused", turns(steal) in (-1, 58))


def log_in(broker):
    """What everybody does: a handshake, a challenge, a proof."""
    sasl, (first, _) = Sasl(broker, "SCRAM-SHA-256"), first_message()
    code = sasl.say(final_message(first, sasl.say(first)[1]))[0]
    sasl.close()
    if code != 0:
        raise CheckFailed(f"{USER} does not get in: error code {code}")


def users_who_log_in(count):
    """In place of replays and of false proofs: as many handshakes and messages, all as they should be."""
    return lambda broker: [lambda: log_in(broker)] * count


def scram_tampering(check, broker, turns):
    """Proofs that are right for another conversation than the one that was held."""
    def attempt(what, **changes):
        def converse():
            sasl, (first, nonce) = Sasl(broker, "SCRAM-SHA-256"), first_message()
            _, challenge = sasl.say(first)
            parts = dict(part.split("=", 1) for part in challenge.decode().split(","))
            return sasl.say(final_message(first, challenge, **{key: value(nonce, parts["r"]) for key, value in changes.items()}))

        answer = turns(converse)
        check.true(what, answer[0] in (-1, 58), answer)

    attempt("the client's nonce alone", nonce=lambda own, whole: own)
    attempt("a longer nonce", nonce=lambda own, whole: whole + "x")
    attempt("a nonce that begins alike", nonce=lambda own, whole: whole[:-1])
    attempt("another nonce of the same length", nonce=lambda own, whole: own + "x" * (len(whole) - len(own)))
    attempt("an empty nonce", nonce=lambda own, whole: ",")
    attempt("a channel binding that was not made", binding=lambda own, whole: b"p=tls-unique,,")
    attempt("a wrong password", password=lambda own, whole: "wrong")

    def end_with(message):
        sasl = Sasl(broker, "SCRAM-SHA-256")
        sasl.say(first_message()[0])
        return sasl.say(message)[0]

    for what, message in (("no proof", b"c=biws,r=x"), ("empty", b""), ("a proof of nothing", b"c=biws,r=,p=")):
        check.true(what, turns(end_with, message) in (-1, 58))


def user_enumeration(check, broker, turns):
    """A user that does not exist costs the time, and has the salt, of one that does."""
    def seconds(user):
        sasl = Sasl(broker, "PLAIN")
        started = time.perf_counter()
        answer = sasl.say(b"\0" + user.encode() + b"\0wrong")
        spent = time.perf_counter() - started
        sasl.close()
        return spent, answer

    times, answers = {USER: [], "nobody": []}, set()
    for _ in range(60):
        for user, spent in times.items():
            one, answer = turns(seconds, user)
            spent.append(one)
            answers.add(answer)
    check.equal("answers of both, of one kind", len(answers), 1)
    known, unknown = (statistics.median(spent) for spent in times.values())
    check.detail = f"known {known * 1000:.2f} ms, unknown {unknown * 1000:.2f} ms"
    check.true("the same work within a quarter", abs(known - unknown) < 0.25 * max(known, unknown), check.detail)
    salts = []
    for user in ("nobody", "nobody", "somebody"):
        code, challenge = Sasl(broker, "SCRAM-SHA-256").say(first_message(user)[0])
        check.true(f"{user} is challenged", code == 0 and b"i=4096" in challenge, challenge)
        salts.append(challenge.split(b"s=")[1].split(b",")[0])
    check.true("a salt stays with its user", salts[0] == salts[1] != salts[2], salts)


def tokens_that_are_none(broker):
    """In place of wrong passwords: as many handshakes, and nothing to verify."""
    def request():
        sasl = Sasl(broker, "PLAIN")
        sasl.say(b"no password at all")
        sasl.close()

    return [request] * 120


def pre_auth_flood(check, broker, turns):
    """Strangers who connect and say nothing, or half a handshake: they are limited, and gone after a while."""
    host, port = broker.address("sasl_ssl").split(":")
    hello = bytes.fromhex("16030100c8010000c40303") + secrets.token_bytes(20)
    strangers, hung_up = [], 0
    for number in range(500):
        one = socket.create_connection((host, int(port)), 10)
        if number % 2:
            one.sendall(hello)
        strangers.append(one)
    time.sleep(1)
    for one in strangers:
        one.setblocking(False)
        try:
            hung_up += one.recv(1) == b""
        except BlockingIOError:
            pass
        except OSError:
            hung_up += 1
    check.true("those beyond the limit of 300 were refused at once", 195 <= hung_up <= 300, hung_up)
    time.sleep(4)
    alive = 0
    for one in strangers:
        try:
            alive += one.recv(4096) not in (b"",)
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
        one.close()
    check.equal("strangers that are left after the time for authentication", alive, 0)
    check.equal("who knows the password gets in", Sasl(broker, "PLAIN").say(f"\0{USER}\0{PASSWORD}".encode())[0], 0)


def lying_lengths(check, broker, turns):
    """Frames that say they are large, before and after authentication."""
    def lie(listener, length):
        wire = Wire(broker, listener, 5)
        wire.socket.sendall(struct.pack(">i", length) + b"\0\x12\0\0")
        return wire.receive()

    def promise():
        wire = Wire(broker)
        wire.socket.sendall(struct.pack(">i", 99 * MIB) + b"\0\0\0\x08" + b"\0" * 1000)
        return wire

    for listener, lengths in LIES.items():
        for length in lengths:
            check.true(f"{listener}: a frame of {length} bytes ends the connection", turns(lie, listener, length) is None)
    crowd = [turns(promise) for _ in range(CROWD)]
    time.sleep(0.5)
    for wire in crowd:
        wire.close()


def true_lengths(broker):
    """In place of lies: frames that are as long as they say, with a request, and a batch for nobody in place of each promise."""
    nobody = produce("no-topic-at-all", b"\0" * 960)

    def tell(listener, key, version, body):
        wire = Wire(broker, listener, 5)
        answer = wire.call(key, version, body)
        wire.close()
        if answer is None:
            raise CheckFailed(f"{listener}: what is harmless was refused")

    short = [lambda listener=listener: tell(listener, 18, 0, b"") for listener, lengths in LIES.items() for _ in lengths]
    return short + [lambda: tell("kafka", 0, 8, nobody)] * CROWD


def many_fields(count: int) -> bytes:
    """A frame with so many tagged fields, all of them there."""
    length, number = b"", count
    while number > 127:
        length, number = length + bytes([number & 127 | 128]), number >> 7
    return struct.pack(">hhih", 18, 3, 7, -1) + length + bytes([number]) + b"\x01\x00" * count


def tagged_fields(check, broker, turns, frame):
    """Twenty million tagged fields: refused without being kept."""
    def send(listener):
        wire = Wire(broker, listener, 30)
        try:
            wire.send(frame)
        except OSError:
            pass  # hung up on before all of it was sent
        answer = wire.receive()
        wire.close()
        return answer

    for listener in ("kafka", "sasl_ssl"):
        check.true(f"{listener}: the connection ends", turns(send, listener) is None)


def plain_bytes(broker, frame):
    """In place of tagged fields: as many bytes for a topic that does not exist, and the same frame where it is too long to be read."""
    body = produce("nowhere", b"\0" * len(frame))

    def send(listener, key, version, body):
        wire = Wire(broker, listener, 30)
        try:
            wire.call(key, version, body)
        except OSError:
            pass
        wire.close()

    return [lambda: send("kafka", 0, 8, body), lambda: send("sasl_ssl", 18, 3, frame[10:])]


def made_bombs(codec: str) -> list[tuple[int, str, bytes, bytes]]:
    """From 1 MiB to 1 GiB, to a topic that checks rows and to one that compresses anew: size, topic, request, and the same request to a
    topic that does not exist."""
    made = []
    for size in (MIB, 16 * MIB, 256 * MIB, 1024 * MIB):
        attribute, payload = zeros(codec, size)
        # A bomb that is larger than the largest request is none.
        if len(payload) > 90 * MIB:
            continue
        records = batch(payload, attribute)
        made += [(size, topic, produce(topic, records), produce("no-topic-at-all", records)) for topic in ("bombs-rows", "bombs-again")]
    return made


def bombs(check, broker, turns, made):
    for size, topic, request, _ in made:
        code = turns(throw, broker, request)
        check.true(f"{size // MIB} MiB in a request of {len(request)} bytes to {topic} are refused", code in REFUSED, code)


def throw(broker, request) -> int | None:
    wire = Wire(broker, timeout=60)
    code = produced(wire.call(0, 8, request))
    wire.close()
    return code


def duds(broker, made):
    """In place of bombs: the same bytes for nobody."""
    return [lambda request=request: throw(broker, request) for *_, request in made]


def topics(broker):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": broker.address("kafka")})
    made = [NewTopic("honest", 1, 1),
            NewTopic("bombs-rows", 1, 1, config={"weir.table.schema": "a BIGINT", "max.message.bytes": str(95 * MIB)}),
            NewTopic("bombs-again", 1, 1, config={"compression.type": "uncompressed", "max.message.bytes": str(95 * MIB)})]
    for result in admin.create_topics(made).values():
        result.result(30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--weir")
    arguments = parser.parse_args()
    if arguments.weir:
        os.environ["WEIRTEST_BIN"] = arguments.weir
    broker = AttackedBroker()
    topics(broker)
    report = Report("attacks", arguments.only)
    rounds = 5 if arguments.long else 1
    for name, attack, harmless, *prepare in (
        ("scram-replay", scram_replay, users_who_log_in(20)), ("scram-tampering", scram_tampering, users_who_log_in(10)),
        ("user-enumeration", user_enumeration, tokens_that_are_none),
        ("pre-auth-flood", pre_auth_flood, None), ("lying-lengths", lying_lengths, true_lengths),
        ("tagged-fields", tagged_fields, plain_bytes, many_fields, 20_000_000),
        *((f"bombs-{codec}", bombs, duds, made_bombs, codec) for codec in ("gzip", "snappy", "lz4", "zstd")),
    ):
        made = [prepare[0](*prepare[1:])] if prepare and report.wants(name) else []
        report.run(name, under_attack, broker, rounds, attack, harmless, *made)
    problem = broker.finish()
    if problem:
        print(problem, file=sys.stderr)
    if arguments.long:
        counts = {"attacks": len(RATIOS), "passed": report.passed, "failed": report.failed, "worst_p99_ratio": round(max(RATIOS), 2)}
        Report.print({"counts": counts})
    return report.finish(os.environ.get("WEIRTEST_BIN", "weir")) or int(bool(problem))


if __name__ == "__main__":
    sys.exit(main())
