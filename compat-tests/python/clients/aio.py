"""aiokafka as an adapter of `suite.contract`.

Its event loop runs in a thread of its own: heartbeats and fetches must go on between two blocking calls of the suite.
"""

import asyncio
import logging
import threading
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from suite.contract import BrokerError
from suite.records import Record

PATIENCE_SECONDS = 60


class AioKafka:
    name = "aiokafka"
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    # Its admin client has no call for the first three, it refuses to send a record without both key and value, and a
    # fenced static member is not told to the application.
    lacks = frozenset({"alter_group_offsets", "delete_group_offsets", "delete_group", "null key and value", "fencing"})

    def __init__(self, bootstrap: str):
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        # A consumer that is stopped leaves two of its tasks to the garbage collector, which logs each.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.admin = self.run(self._started(lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap)))

    def run(self, coroutine):
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_SECONDS * 2)
        except KafkaError as error:
            raise broker_error(error) from error

    @staticmethod
    async def _started(make):
        thing = make()
        await thing.start()
        return thing

    def version(self) -> str:
        return aiokafka.__version__

    def close(self) -> None:
        self.run(self.admin.close())
        self.loop.call_soon_threadsafe(self.loop.stop)

    def produce(self, topic, rows, codec="none", idempotent=False, partition=None, batch_bytes=None):
        async def produce():
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, acks="all", compression_type=None if codec == "none" else codec,
                enable_idempotence=idempotent, linger_ms=5, max_request_size=8_000_000,
                # Unlike others it refuses a record above its batch size; None stands for a batch of one record.
                max_batch_size={None: 65_536, 1: 8_000_000}.get(batch_bytes, batch_bytes),
            )
            await producer.start()
            try:
                futures = [
                    await producer.send(topic, row.value, row.key, partition, row.timestamp, list(row.headers))
                    for row in rows
                ]
                sent = await asyncio.wait_for(asyncio.gather(*futures), PATIENCE_SECONDS)
                return [(metadata.partition, metadata.offset) for metadata in sent]
            finally:
                await producer.stop()

        return self.run(produce())

    def consumer(self, *topics, **config):
        return self.run(self._started(lambda: AIOKafkaConsumer(
            *topics, bootstrap_servers=self.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest",
            check_crcs=True, **{"fetch_max_wait_ms": 100, **config},
        )))

    def consume(self, topic, starts, ends, fetch_bytes=None):
        limits = {} if fetch_bytes is None else {"fetch_max_bytes": fetch_bytes,
                                                 "max_partition_fetch_bytes": fetch_bytes}
        consumer = self.consumer(**limits)

        async def place():
            consumer.assign([TopicPartition(topic, p) for p in starts])
            for partition, offset in starts.items():
                consumer.seek(TopicPartition(topic, partition), offset)

        self.run(place())
        records, open_partitions = [], {p for p in starts if ends[p] > 0}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while open_partitions and time.monotonic() < deadline:
            for part, batch in self.run(consumer.getmany(timeout_ms=500)).items():
                deadline = time.monotonic() + PATIENCE_SECONDS
                records += [record_of(message) for message in batch if message.offset < ends[part.partition]]
                if batch[-1].offset + 1 >= ends[part.partition]:
                    open_partitions.discard(part.partition)
        self.run(consumer.stop())
        return records

    def drain(self, topic, ends, group, wait_ms=100, seconds=PATIENCE_SECONDS):
        consumer = self.consumer(group_id=group, fetch_max_wait_ms=wait_ms)
        parts = {p: TopicPartition(topic, p) for p in ends}

        async def place():
            consumer.assign(list(parts.values()))

        self.run(place())
        records, positions = [], {}
        deadline = time.monotonic() + seconds
        while positions != ends and time.monotonic() < deadline:
            for batch in self.run(consumer.getmany(timeout_ms=500)).values():
                records += [record_of(message) for message in batch]
            positions = {p: self.run(consumer.position(part)) for p, part in parts.items()}
        if positions == ends:
            self.run(consumer.commit({parts[p]: at for p, at in positions.items()}))
        self.run(consumer.stop())
        return records, positions

    def member(self, group, topic, instance=None):
        return AioMember(self, group, topic, instance)

    def offsets_at(self, topic, partitions, timestamp):
        consumer = self.consumer()
        found = self.run(consumer.offsets_for_times({TopicPartition(topic, p): timestamp for p in partitions}))
        self.run(consumer.stop())
        return {part.partition: None if at is None else at.offset for part, at in found.items()}

    def watermarks(self, topic, partition):
        consumer, part = self.consumer(), TopicPartition(topic, partition)
        try:
            return self.run(consumer.beginning_offsets([part]))[part], self.run(consumer.end_offsets([part]))[part]
        finally:
            self.run(consumer.stop())

    def create_topic(self, topic, partitions, replication, configs):
        new = NewTopic(topic, partitions, replication, topic_configs=configs)
        for _, code, *message in self.run(self.admin.create_topics([new])).topic_errors:
            check_code(code, message)

    def delete_topic(self, topic):
        for _, code in self.run(self.admin.delete_topics([topic])).topic_error_codes:
            check_code(code)

    def list_topics(self):
        return set(self.run(self.admin.list_topics()))

    def describe_topic(self, topic):
        (described,) = self.run(self.admin.describe_topics([topic]))
        check_code(described["error_code"])
        return {part["partition"]: part["replicas"] for part in described["partitions"]}

    def create_partitions(self, topic, total):
        answer = self.run(self.admin.create_partitions({topic: NewPartitions(total)}))
        for _, code, *message in answer.topic_errors:
            check_code(code, message)

    def describe_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (answer,) = self.run(self.admin.describe_configs([resource]))
        ((code, message, _, _, entries),) = answer.resources
        check_code(code, message)
        return {entry[0]: entry[1] for entry in entries}

    def alter_configs(self, topic, put, delete):
        """It has the older AlterConfigs only, which replaces everything: what is not named returns to its default."""
        kept = {"retention.ms": self.describe_configs(topic)["retention.ms"]}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={**kept, **put})
        for answer in self.run(self.admin.alter_configs([resource])):
            for code, message, *_ in answer.resources:
                check_code(code, message)

    def delete_records(self, topic, before):
        wanted = {TopicPartition(topic, p): RecordsToDelete(before_offset=offset) for p, offset in before.items()}
        return {part.partition: low for part, low in self.run(self.admin.delete_records(wanted)).items()}

    def describe_cluster(self):
        cluster = self.run(self.admin.describe_cluster())
        return {
            "controller": cluster["controller_id"],
            "brokers": {node["node_id"]: (node["host"], node["port"]) for node in cluster["brokers"]},
            "cluster_id": cluster["cluster_id"],
        }

    def list_groups(self):
        return {name for name, _ in self.run(self.admin.list_consumer_groups())}

    def describe_group(self, group):
        (answer,) = self.run(self.admin.describe_consumer_groups([group]))
        ((code, _, state, _, _, members, *_),) = answer.groups
        check_code(code)
        return state, len(members)

    def group_offsets(self, group, topic):
        answer = self.run(self.admin.list_consumer_group_offsets(group))
        return {part.partition: at.offset for part, at in answer.items() if part.topic == topic}


class AioMember:
    def __init__(self, client: AioKafka, group: str, topic: str, instance: str | None):
        self.run, self.topic = client.run, topic
        self.consumer = client.consumer(topic, group_id=group, group_instance_id=instance, session_timeout_ms=6000,
                                        heartbeat_interval_ms=1000)

    def poll(self, seconds):
        polled = self.run(self.consumer.getmany(timeout_ms=int(seconds * 1000)))
        return [record_of(message) for batch in polled.values() for message in batch]

    def assigned(self):
        return {part.partition for part in self.consumer.assignment()}

    def commit(self, offsets, metadata=""):
        self.run(self.consumer.commit({
            TopicPartition(self.topic, p): OffsetAndMetadata(offset, metadata) for p, offset in offsets.items()
        }))

    def committed(self, partitions):
        # The consumer tells offsets without their metadata; the coordinator's answer has both.
        parts = [TopicPartition(self.topic, p) for p in partitions]
        found = self.run(self.consumer._coordinator.fetch_committed_offsets(parts))
        return {p.partition: (found[p].offset, found[p].metadata) if p in found else None for p in parts}

    def close(self):
        self.run(self.consumer.stop())


def record_of(message) -> Record:
    return Record(message.partition, message.offset, message.key, message.value, tuple(message.headers),
                  message.timestamp, message.timestamp_type)


def broker_error(error: KafkaError) -> Exception:
    """A broker's refusal with its code; the client's own errors (no code above 0) stay what they are."""
    code = getattr(error, "errno", None)
    return BrokerError(code, str(error)) if isinstance(code, int) and code > 0 else error


def check_code(code: int, message="") -> None:
    if code:
        raise BrokerError(code, f"{for_code(code).__name__} {message}")
