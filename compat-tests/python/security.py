"""A client against a weir of its own with TLS, client certificates, PLAIN, SCRAM and OAUTHBEARER.

    security.py --client confluent-kafka|kafka-python|aiokafka|kafkajs|franz-go|java|weir-python

Prints one JSON line per check and a summary line last (see suite/report.py); exit code 1 when a check failed. The broker is
$WEIRTEST_BIN. A refusal counts if the client got nothing through *and* the broker's log gives the right reason.
"""

import argparse
import os
import ssl
import sys
import threading
import time
import uuid

from clients.secured import CLIENTS, Refused
from suite.report import CheckFailed, Report
from suite.secured import PASSWORD, USER, SecuredBroker

COUNT = 200

# Clients that authenticate again while they produce (KIP-368).
RENEWING = ("confluent-kafka", "java", "franz-go", "kafkajs")


def passes(check, broker, client, settings, count=COUNT):
    values = [f"{check.name}-{number}".encode() for number in range(count)]
    got = client.roundtrip(settings, f"{check.name}-{uuid.uuid4().hex[:6]}", values)
    check.produced += len(values)
    check.consumed += len(got)
    check.equal("the records", sorted(got), sorted(values))
    check.compared += len(values) - 1


def is_refused(check, broker, client, settings, reason):
    broker.forget_log()
    try:
        got = client.roundtrip({**settings, "refused": True}, f"{check.name}-{uuid.uuid4().hex[:6]}", [b"x"])
    except Refused as error:
        check.detail = str(error)[:300]
    else:
        raise CheckFailed(f"it got through and read {got}")
    # A client can know of the alert (TLS 1.3 sends it after the client's own handshake ended) before the line is written.
    deadline = time.monotonic() + 10
    lines = broker.refusals()
    while not any(reason in line for line in lines) and time.monotonic() < deadline:
        time.sleep(0.02)
        lines = broker.refusals()
    check.true(f"the broker's log says `{reason}`", any(reason in line for line in lines), lines[-3:])
    check.compared += 1


def rotation(check, broker, client):
    """Certificates are replaced six times while connections come and go: nothing fails, and new ones see the new certificate."""
    seen = set()
    for number in range(6):
        host, port = broker.address("sasl_ssl").split(":")
        seen.add(ssl.get_server_certificate((host, int(port))))
        broker.rotate()
        settings = broker.settings("sasl_ssl", mechanism="SCRAM-SHA-512", username=USER, password=PASSWORD, seconds=1)
        passes(check, broker, client, settings, 100)
    check.equal("certificates seen", len(seen), 6)


def rotation_under_load(check, broker, client):
    """Certificates are replaced four times while one client produces: nothing fails, and who comes later sees the last one."""
    fresh = [broker.fresh() for _ in range(4)]
    host, port = broker.address("sasl_ssl").split(":")
    seen = [ssl.get_server_certificate((host, int(port)))]

    def exchange():
        for folder in fresh:
            time.sleep(1)
            broker.rotate(folder)
        time.sleep(0.5)
        seen.append(ssl.get_server_certificate((host, int(port))))

    thread = threading.Thread(target=exchange)
    thread.start()
    settings = broker.settings("sasl_ssl", mechanism="SCRAM-SHA-512", username=USER, password=PASSWORD)
    try:
        passes(check, broker, client, {**settings, "seconds": 5}, 200)
    finally:
        thread.join()
    check.true("the certificate is another one", seen[0] != seen[1])
    passes(check, broker, client, settings, 100)


def reauthentication(check, broker, client):
    """Sessions last 1.5 s; a producer that writes for 5 s authenticates again on the way and loses nothing."""
    counts = []
    for listener in ("sasl_ssl", "reauth"):
        before = broker.metric("weir_authentications_total")
        settings = broker.settings(listener, mechanism="SCRAM-SHA-256", username=USER, password=PASSWORD, seconds=5)
        passes(check, broker, client, settings, 200)
        counts.append(broker.metric("weir_authentications_total") - before)
    check.true("sessions were renewed, beyond what connections need", counts[1] >= counts[0] + 3, counts)
    check.equal("sessions that ended", broker.metric("weir_sessions_expired_total"), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", required=True, choices=sorted(CLIENTS))
    parser.add_argument("--only")
    arguments = parser.parse_args()
    client = CLIENTS[arguments.client]()
    broker = SecuredBroker()
    report = Report(client.name, arguments.only)

    def run(name, body, *more):
        report.run(name, body, broker, client, *more)

    def sasl(mechanism, **more):
        return broker.settings("sasl_ssl", mechanism=mechanism, **more)

    run("tls", passes, broker.settings("ssl"))
    run("mtls", passes, broker.settings("mtls", **broker.certificate()))
    run("mtls-without-certificate", is_refused, broker.settings("mtls"), "TLS handshake failed")
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        right = sasl(mechanism, username=USER, password=PASSWORD)
        run(mechanism.lower(), passes, right)
        run(f"{mechanism.lower()}-wrong-password", is_refused, {**right, "password": "wrong"}, "the password is wrong")
        run(f"{mechanism.lower()}-unknown-user", is_refused, {**right, "username": "nobody"}, "the password is wrong")
    token = broker.issuer.token
    run("oauthbearer", passes, sasl("OAUTHBEARER", token=token()))
    run("oauthbearer-expired", is_refused, sasl("OAUTHBEARER", token=token(exp=1_700_000_000)), "ExpiredSignature")
    run("oauthbearer-audience", is_refused, sasl("OAUTHBEARER", token=token(aud="other")), "InvalidAudience")
    run("oauthbearer-unsigned", is_refused, sasl("OAUTHBEARER", token=token().rsplit(".", 1)[0] + ".AAAA"), "InvalidSignature")
    run("oauthbearer-alg-none", is_refused, sasl("OAUTHBEARER", token=token(alg="none")), "the token is refused")
    if arguments.client in RENEWING:
        run("re-authentication", reauthentication)
        run("rotation-under-load", rotation_under_load)
    if arguments.client == "confluent-kafka":
        run("rotation", rotation)
    problem = broker.finish()
    if problem:
        print(problem, file=sys.stderr)
    return report.finish(os.environ.get("WEIRTEST_BIN", "weir")) or int(bool(problem))


if __name__ == "__main__":
    sys.exit(main())
