"""The clients of the security suites: each writes records, reads them back in a group, or says why it was refused.

`roundtrip(settings, topic, values)` returns the values read, or raises `Refused` with whatever the client says. Settings: bootstrap,
ca, cert, key, mechanism, username, password, token, seconds (produce over so long).
"""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path

LIMIT = 30
REFUSED_LIMIT = 5


class Refused(Exception):
    """The client did not get in."""


def protocol(settings: dict) -> str:
    return "SASL_SSL" if "mechanism" in settings else "SSL"


def deadline(settings: dict) -> float:
    return REFUSED_LIMIT if settings.get("refused") else LIMIT


class Confluent:
    name = "secured-confluent-kafka"

    def config(self, settings: dict, said: list) -> dict:
        config = {
            "bootstrap.servers": settings["bootstrap"], "security.protocol": protocol(settings),
            "ssl.ca.location": settings["ca"], "error_cb": lambda error: said.append(str(error)),
            "logger": __import__("logging").getLogger("silent"),
        }
        if "cert" in settings:
            config |= {"ssl.certificate.location": settings["cert"], "ssl.key.location": settings["key"]}
        if "mechanism" in settings:
            config["sasl.mechanism"] = settings["mechanism"]
        if "token" in settings:
            config["oauth_cb"] = lambda _: (settings["token"], time.time() + 3600)
        elif "username" in settings:
            config |= {"sasl.username": settings["username"], "sasl.password": settings["password"]}
        return config

    def roundtrip(self, settings: dict, topic: str, values: list) -> list:
        from confluent_kafka import Consumer, Producer
        from confluent_kafka.admin import AdminClient, NewTopic

        said: list = []
        config = self.config(settings, said)
        admin = AdminClient(config)
        try:
            admin.poll(0)
            admin.list_topics(timeout=deadline(settings))
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(LIMIT)
        except Exception as error:
            admin.poll(0.1)
            raise Refused(f"{error}; {said}") from error
        producer = Producer(config | {"linger.ms": 5})
        failed: list = []
        pause = settings.get("seconds", 0) / len(values)
        for value in values:
            producer.produce(topic, value, on_delivery=lambda error, _: error and failed.append(str(error)))
            producer.poll(0)
            time.sleep(pause)
        if producer.flush(LIMIT) or failed:
            raise Refused(f"not delivered: {failed[:3]}; {said}")
        consumer = Consumer(config | {"group.id": topic, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        got, until = [], time.monotonic() + LIMIT
        while len(got) < len(values) and time.monotonic() < until:
            got += [message.value() for message in consumer.consume(500, 0.5) if not message.error()]
        consumer.close()
        return got


class KafkaPython:
    name = "secured-kafka-python"

    def config(self, settings: dict) -> dict:
        config = {"bootstrap_servers": settings["bootstrap"], "security_protocol": protocol(settings),
                  "ssl_cafile": settings["ca"], "ssl_certfile": settings.get("cert"), "ssl_keyfile": settings.get("key")}
        if "mechanism" in settings:
            config["sasl_mechanism"] = settings["mechanism"]
        if "token" in settings:
            from kafka.net.sasl.oauth import AbstractTokenProvider

            class Provider(AbstractTokenProvider):
                def token(self):
                    return settings["token"]

            config["sasl_oauth_token_provider"] = Provider()
        elif "username" in settings:
            config |= {"sasl_plain_username": settings["username"], "sasl_plain_password": settings["password"]}
        return config

    def roundtrip(self, settings: dict, topic: str, values: list) -> list:
        from kafka import KafkaConsumer, KafkaProducer

        config = self.config(settings)
        try:
            # Its own limit for finding out about the broker at the start.
            producer = KafkaProducer(**config, bootstrap_timeout_ms=int(deadline(settings) * 1000))
            futures = [producer.send(topic, value) for value in values]
            producer.flush(LIMIT)
            [future.get(LIMIT) for future in futures]
            producer.close()
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        consumer = KafkaConsumer(topic, **config, group_id=topic, auto_offset_reset="earliest")
        got, until = [], time.monotonic() + LIMIT
        while len(got) < len(values) and time.monotonic() < until:
            got += [record.value for records in consumer.poll(500).values() for record in records]
        consumer.close()
        return got


class AioKafka:
    name = "secured-aiokafka"

    def config(self, settings: dict) -> dict:
        from aiokafka.abc import AbstractTokenProvider
        from aiokafka.helpers import create_ssl_context

        context = create_ssl_context(cafile=settings["ca"], certfile=settings.get("cert"), keyfile=settings.get("key"))
        config = {"bootstrap_servers": settings["bootstrap"], "security_protocol": protocol(settings), "ssl_context": context}
        if "mechanism" in settings:
            config["sasl_mechanism"] = settings["mechanism"]
        if "token" in settings:

            class Provider(AbstractTokenProvider):
                async def token(self):
                    return settings["token"]

            config["sasl_oauth_token_provider"] = Provider()
        elif "username" in settings:
            config |= {"sasl_plain_username": settings["username"], "sasl_plain_password": settings["password"]}
        return config

    def roundtrip(self, settings: dict, topic: str, values: list) -> list:
        return asyncio.run(asyncio.wait_for(self.run(settings, topic, values), 3 * LIMIT))

    async def run(self, settings: dict, topic: str, values: list) -> list:
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

        producer = AIOKafkaProducer(**self.config(settings))
        try:
            await asyncio.wait_for(producer.start(), deadline(settings))
            sent = [await producer.send(topic, value) for value in values]
            await asyncio.gather(*sent)
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(topic, **self.config(settings), group_id=topic, auto_offset_reset="earliest")
        await consumer.start()
        got, until = [], time.monotonic() + LIMIT
        while len(got) < len(values) and time.monotonic() < until:
            batches = await consumer.getmany(timeout_ms=500)
            got += [record.value for records in batches.values() for record in records]
        await consumer.stop()
        return got


class Weir:
    """client/python: rows of one column, written and read as Arrow. The topic is made by another client, as it has no admin."""

    name = "secured-weir-python"

    def roundtrip(self, settings: dict, topic: str, values: list) -> list:
        import weir
        from confluent_kafka.admin import AdminClient, NewTopic

        security = weir.Security(ca=settings["ca"], certificate=settings.get("cert"), key=settings.get("key"),
                                 username=settings.get("username"), password=settings.get("token", settings.get("password")),
                                 mechanism=settings.get("mechanism"))
        try:
            # It finds out by itself what is wrong: nothing is there to be read yet.
            weir.schema(settings["bootstrap"], topic, timeout=deadline(settings), security=security)
        except weir.WeirError as error:
            if "UNKNOWN_TOPIC_OR_PARTITION" not in str(error):
                raise Refused(str(error)) from error
        table = {"weir.table.schema": "number INT, value BYTES"}
        admin = AdminClient(Confluent().config(settings, []))
        admin.poll(0)
        admin.create_topics([NewTopic(topic, 1, 1, config=table)])[topic].result(LIMIT)
        try:
            weir.write(settings["bootstrap"], topic, {"value": values, "number": list(range(len(values)))}, security=security)
            rows = weir.read(settings["bootstrap"], topic, ["value"], "number >= 0", security=security, progress=False)
            return [value for batch in rows.to_arrow() for value in batch["value"].to_pylist()]
        except weir.WeirError as error:
            raise Refused(str(error)) from error


class Program:
    """A client in another language: gets everything as one JSON argument, prints `{"values": [...]}` or `{"refused": "..."}`."""

    def __init__(self, name: str, command: list):
        self.name = f"secured-{name}"
        self.command = command

    def roundtrip(self, settings: dict, topic: str, values: list) -> list:
        wanted = {**settings, "topic": topic, "values": [value.decode() for value in values]}
        done = subprocess.run([*self.command, json.dumps(wanted)], capture_output=True, text=True, timeout=4 * LIMIT)
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
        if not lines:
            raise RuntimeError(f"exit {done.returncode}: {done.stderr[-800:]}")
        answer = json.loads(lines[-1])
        if "refused" in answer:
            raise Refused(answer["refused"])
        return [value.encode() for value in answer["values"]]


ROOT = Path(__file__).resolve().parents[2]

CLIENTS = {
    "confluent-kafka": Confluent,
    "kafka-python": KafkaPython,
    "aiokafka": AioKafka,
    "weir-python": Weir,
    "franz-go": lambda: Program("franz-go", ["bash", str(ROOT / "go/run.sh"), "--secured"]),
    "java": lambda: Program("java", ["bash", str(ROOT / "java/run.sh"), "--secured"]),
    "kafkajs": lambda: Program("kafkajs", [os.environ.get("WEIRTEST_NODE", "node"), str(ROOT / "node/secured.mjs")]),
}
