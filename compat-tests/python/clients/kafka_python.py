"""kafka-python as an adapter of `suite.contract`."""

import logging
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType
from kafka.errors import BrokerResponseError, KafkaError, for_code

from suite.contract import BrokerError
from suite.records import Record

PATIENCE_SECONDS = 60


class KafkaPython:
    name = "kafka-python"
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    # It refuses to send a record without both key and value, and a fenced static member is not told to the application.
    lacks = frozenset({"null key and value", "fencing"})

    def __init__(self, bootstrap: str):
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        self.common = {"bootstrap_servers": bootstrap}
        self.admin = KafkaAdminClient(**self.common)

    def version(self) -> str:
        return kafka.__version__

    def close(self) -> None:
        self.admin.close()

    def produce(self, topic, rows, codec="none", idempotent=False, partition=None, batch_bytes=None):
        producer = KafkaProducer(
            **self.common, acks="all", compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent, linger_ms=20, max_request_size=8_000_000,
            batch_size=65_536 if batch_bytes is None else batch_bytes,
        )
        try:
            futures = [
                producer.send(topic, row.value, row.key, list(row.headers), partition, row.timestamp) for row in rows
            ]
            producer.flush(PATIENCE_SECONDS)
            acks = []
            for future in futures:
                metadata = future.get(PATIENCE_SECONDS)
                acks.append((metadata.partition, metadata.offset))
            return acks
        except KafkaError as error:
            raise broker_error(error) from error
        finally:
            producer.close(5)

    def consumer(self, **config) -> KafkaConsumer:
        return KafkaConsumer(**self.common, enable_auto_commit=False, auto_offset_reset="earliest", check_crcs=True,
                             **{"fetch_max_wait_ms": 100, **config})

    def consume(self, topic, starts, ends, fetch_bytes=None):
        limits = {} if fetch_bytes is None else {"fetch_max_bytes": fetch_bytes,
                                                 "max_partition_fetch_bytes": fetch_bytes}
        consumer = self.consumer(max_poll_records=2000, **limits)
        consumer.assign([TopicPartition(topic, p) for p in starts])
        for partition, offset in starts.items():
            consumer.seek(TopicPartition(topic, partition), offset)
        records, open_partitions = [], {p for p in starts if ends[p] > 0}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while open_partitions and time.monotonic() < deadline:
            for part, batch in consumer.poll(500).items():
                deadline = time.monotonic() + PATIENCE_SECONDS
                records += [record_of(message) for message in batch if message.offset < ends[part.partition]]
                if batch[-1].offset + 1 >= ends[part.partition]:
                    open_partitions.discard(part.partition)
        consumer.close()
        return records

    def drain(self, topic, ends, group, wait_ms=100, seconds=PATIENCE_SECONDS):
        consumer = self.consumer(group_id=group, max_poll_records=2000, fetch_max_wait_ms=wait_ms)
        parts = {p: TopicPartition(topic, p) for p in ends}
        consumer.assign(list(parts.values()))
        records, positions = [], {}
        deadline = time.monotonic() + seconds
        while positions != ends and time.monotonic() < deadline:
            for batch in consumer.poll(500).values():
                records += [record_of(message) for message in batch]
            positions = {p: consumer.position(part) for p, part in parts.items()}
        if positions == ends:
            consumer.commit({parts[p]: OffsetAndMetadata(at, "", -1) for p, at in positions.items()})
        consumer.close()
        return records, positions

    def member(self, group, topic, instance=None):
        return KafkaPythonMember(self, group, topic, instance)

    def offsets_at(self, topic, partitions, timestamp):
        consumer = self.consumer()
        found = call(consumer.offsets_for_times, {TopicPartition(topic, p): timestamp for p in partitions})
        consumer.close()
        return {part.partition: None if at is None else at.offset for part, at in found.items()}

    def watermarks(self, topic, partition):
        consumer, part = self.consumer(), TopicPartition(topic, partition)
        try:
            return call(consumer.beginning_offsets, [part])[part], call(consumer.end_offsets, [part])[part]
        finally:
            consumer.close()

    def create_topic(self, topic, partitions, replication, configs):
        spec = {"num_partitions": partitions, "replication_factor": replication, "configs": configs}
        call(self.admin.create_topics, {topic: spec})

    def delete_topic(self, topic):
        call(self.admin.delete_topics, [topic])

    def list_topics(self):
        return set(call(self.admin.list_topics))

    def describe_topic(self, topic):
        (described,) = call(self.admin.describe_topics, [topic])
        check_code(described["error_code"])
        return {part["partition_index"]: part["replica_nodes"] for part in described["partitions"]}

    def create_partitions(self, topic, total):
        call(self.admin.create_partitions, {topic: total})

    def describe_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        answer = call(self.admin.describe_configs, [resource], config_filter="all")
        return {name: entry["value"] for name, entry in answer["topic"][topic].items()}

    def alter_configs(self, topic, put, delete):
        changes = {name: (AlterConfigOp.SET, value) for name, value in put.items()}
        changes |= {name: (AlterConfigOp.DELETE, None) for name in delete}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, changes)
        answer = call(self.admin.alter_configs, [resource], incremental=True)["topic"][topic]
        # The client tells an error only as its text, which begins with the code in brackets: "[Error 40] ...".
        if answer != "OK":
            raise BrokerError(int(answer.split("]")[0].removeprefix("[Error ")), answer)

    def delete_records(self, topic, before):
        answer = call(self.admin.delete_records, {TopicPartition(topic, p): offset for p, offset in before.items()})
        return {part.partition: result["low_watermark"] for part, result in answer.items()}

    def describe_cluster(self):
        cluster = call(self.admin.describe_cluster)
        return {
            "controller": cluster["controller_id"],
            "brokers": {node["broker_id"]: (node["host"], node["port"]) for node in cluster["brokers"]},
            "cluster_id": cluster["cluster_id"],
        }

    def list_groups(self):
        return {group["group_id"] for group in call(self.admin.list_groups)}

    def describe_group(self, group):
        described = call(self.admin.describe_groups, [group])[group]
        return described["group_state"], len(described["members"])

    def group_offsets(self, group, topic):
        answer = call(self.admin.list_group_offsets, group)[group]
        return {part.partition: at.offset for part, at in answer.items() if part.topic == topic}

    def alter_group_offsets(self, group, topic, offsets):
        wanted = {TopicPartition(topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
        for error in call(self.admin.alter_group_offsets, group, wanted).values():
            check_code(error.errno)

    def delete_group_offsets(self, group, topic, partitions):
        answer = call(self.admin.delete_group_offsets, group, [TopicPartition(topic, p) for p in partitions])
        for error in answer.values():
            check_code(error.errno)

    def delete_group(self, group):
        answer = call(self.admin.delete_groups, [group])[group]
        if answer != "OK":
            raise BrokerError(getattr(kafka.errors, answer).errno, answer)


class KafkaPythonMember:
    def __init__(self, client: KafkaPython, group: str, topic: str, instance: str | None):
        self.topic = topic
        self.consumer = client.consumer(group_id=group, group_instance_id=instance, session_timeout_ms=6000,
                                        heartbeat_interval_ms=1000, max_poll_records=2000)
        self.consumer.subscribe([topic])

    def poll(self, seconds):
        polled = call(self.consumer.poll, int(seconds * 1000))
        return [record_of(message) for batch in polled.values() for message in batch]

    def assigned(self):
        return {part.partition for part in self.consumer.assignment()}

    def commit(self, offsets, metadata=""):
        call(self.consumer.commit, {
            TopicPartition(self.topic, p): OffsetAndMetadata(offset, metadata, -1) for p, offset in offsets.items()
        })

    def committed(self, partitions):
        found = {p: call(self.consumer.committed, TopicPartition(self.topic, p), metadata=True) for p in partitions}
        return {p: None if at is None else (at.offset, at.metadata) for p, at in found.items()}

    def close(self):
        self.consumer.close()


def record_of(message) -> Record:
    return Record(message.partition, message.offset, message.key, message.value, tuple(message.headers),
                  message.timestamp, message.timestamp_type)


def call(function, *arguments, **named):
    try:
        return function(*arguments, **named)
    except KafkaError as error:
        raise broker_error(error) from error


def broker_error(error: KafkaError) -> Exception:
    """A broker's refusal with its code; the client's own errors stay what they are."""
    return BrokerError(error.errno, str(error)) if isinstance(error, BrokerResponseError) else error


def check_code(code: int) -> None:
    if code:
        raise BrokerError(code, for_code(code).__name__)
