"""Kafka's own tools (compat-tests/kafka/tool.sh) over SASL_SSL: users, access control lists and quotas are made with them, and hold.

    secured_tools.py [--only TEXT]

Prints one JSON line per check and a summary line last; exit code 1 when a check failed. The broker is $WEIRTEST_BIN. Each tool is a JVM of
its own, so the checks are few and long.

Seen failing: against a broker that refused quotas of requests and addresses.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from suite.report import Report
from suite.secured import PASSWORD, USER, SecuredBroker

TOOL = Path(__file__).resolve().parents[1] / "kafka" / "tool.sh"
BOB = "bob-password"


class Tools:
    """Runs tools as somebody; returns all they said."""

    def __init__(self, broker, user, password):
        self.broker = broker
        self.file = broker.folder / f"{user}.properties"
        escaped = password.replace("\\", "\\\\").replace('"', '\\"')
        self.file.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
            f"ssl.truststore.location={broker.tls / 'ca.pem'}\ndefault.api.timeout.ms=60000\n"
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{user}" password="{escaped}";\n')

    def __call__(self, name, *arguments, flag="--command-config", stdin=None):
        done = subprocess.run(
            [str(TOOL), name, "--bootstrap-server", self.broker.address("sasl_ssl"), flag, str(self.file), *arguments],
            input=stdin, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr


def users(check, alice, bob):
    user = ("--entity-type", "users", "--entity-name", "bob")
    said = alice("kafka-configs", "--alter", *user, "--add-config", f"SCRAM-SHA-512=[iterations=4096,password={BOB}]")
    check.true("the user is made", "Completed updating config for user bob" in said, said)
    said = alice("kafka-configs", "--describe", *user)
    check.true("it is described", "SCRAM-SHA-512=iterations=4096" in said and BOB not in said, said)
    said = bob("kafka-topics", "--list")
    check.true("it gets in, and sees nothing", "Exception" not in said, said)
    said = bob("kafka-configs", "--describe", *user)
    check.true("it may not look at users", "ClusterAuthorizationException" in said, said)


def lists(check, alice, bob):
    topic = ("--topic", "flights")
    said = bob("kafka-topics", "--create", *topic, "--partitions", "1")
    check.true("bob may not create", "TopicAuthorizationException" in said, said)
    check.true("alice may", "Created topic flights" in alice("kafka-topics", "--create", *topic, "--partitions", "1"))
    said = alice("kafka-acls", "--add", "--allow-principal", "User:bob", "--producer", "--consumer", "--group", "g", *topic)
    check.true("bob may produce and consume", "Adding ACLs for resource" in said and "WRITE" in said, said)
    said = alice("kafka-acls", "--list", *topic)
    check.true("the list has it", "principal=User:bob" in said and "permissionType=ALLOW" in said, said)
    said = bob("kafka-console-producer", *topic, flag="--command-config", stdin="a\nb\nc\n")
    check.true("bob produces", "Exception" not in said, said)
    check.produced += 3
    said = bob("kafka-console-consumer", *topic, "--group", "g", "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000")
    check.equal("bob consumes", sorted(line for line in said.splitlines() if len(line) == 1), ["a", "b", "c"])
    check.consumed += 3
    deny = ("--deny-principal", "User:bob", "--operation", "Read", *topic)
    check.true("a denial is added", "Adding ACLs" in alice("kafka-acls", "--add", *deny))
    said = bob("kafka-console-consumer", *topic, "--group", "g", "--from-beginning", "--max-messages", "1", "--timeout-ms", "8000")
    check.true("a denial wins", "Not authorized to access topics" in said or "TopicAuthorizationException" in said, said)
    said = alice("kafka-acls", "--remove", "--force", *topic)
    left = alice("kafka-acls", "--list", *topic)
    check.true("all of the topic are removed", "principal=User:bob" not in left, said + left)


def quotas(check, alice, bob):
    for entity, key, value in ((("--entity-type", "users", "--entity-name", "bob"), "request_percentage", "12.5"),
                               (("--entity-type", "ips", "--entity-name", "10.1.2.3"), "connection_creation_rate", "7"),
                               (("--entity-type", "ips", "--entity-default"), "connection_creation_rate", "900")):
        said = alice("kafka-configs", "--alter", *entity, "--add-config", f"{key}={value}")
        check.true(f"{key} of {entity[1:]} is set", "Completed updating" in said, said)
        said = alice("kafka-configs", "--describe", *entity)
        check.true("it is described", f"{key}={value}" in said, said)
    said = alice("kafka-configs", "--describe", "--entity-type", "ips")
    check.true("both addresses are described", "10.1.2.3" in said and "default" in said, said)
    said = alice("kafka-configs", "--alter", "--entity-type", "users", "--entity-name", "bob", "--delete-config", "request_percentage")
    check.true("it is removed", "Completed updating" in said, said)
    said = bob("kafka-configs", "--describe", "--entity-type", "ips")
    check.true("bob may not see quotas", "ClusterAuthorizationException" in said, said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    broker = SecuredBroker()
    report = Report("secured-kafka-tools", arguments.only)
    alice, bob = Tools(broker, USER, PASSWORD), Tools(broker, "bob", BOB)
    for body in (users, lists, quotas):
        report.run(body.__name__, body, alice, bob)
    problem = broker.finish()
    if problem:
        print(problem, file=sys.stderr)
    return report.finish(os.environ.get("WEIRTEST_BIN", "weir")) or int(bool(problem))


if __name__ == "__main__":
    sys.exit(main())
