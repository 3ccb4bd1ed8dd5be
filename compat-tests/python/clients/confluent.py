"""confluent-kafka (librdkafka) as an adapter of `suite.contract`."""

import time

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   ResourceType)

from suite.contract import BrokerError
from suite.records import Record, Row

PATIENCE_SECONDS = 60


class Confluent:
    name = "confluent-kafka"
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    # Deleting single offsets of a group is not in its Python API.
    lacks = frozenset({"delete_group_offsets"})

    def __init__(self, bootstrap: str):
        self.common = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(dict(self.common))

    def version(self) -> str:
        return f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"

    def close(self) -> None:
        self.admin.poll(0)

    def produce(self, topic, rows, codec="none", idempotent=False, partition=None, batch_bytes=None):
        config = {"acks": "all", "compression.type": codec, "enable.idempotence": idempotent, "linger.ms": 20,
                  "message.max.bytes": 8_000_000, "queue.buffering.max.kbytes": 65_536}
        if batch_bytes is not None:
            config["batch.size"] = batch_bytes
        producer = Producer({**self.common, **config})
        acks: list = [None] * len(rows)

        def send(index: int, row: Row) -> None:
            def delivered(error, message):
                acks[index] = error if error is not None else (message.partition(), message.offset())

            where = {} if partition is None else {"partition": partition}
            while True:
                try:
                    producer.produce(topic, row.value, row.key, headers=list(row.headers), timestamp=row.timestamp,
                                     on_delivery=delivered, **where)
                    return
                except BufferError:
                    producer.poll(0.1)

        for index, row in enumerate(rows):
            send(index, row)
            if index % 256 == 0:
                producer.poll(0)
        left = producer.flush(PATIENCE_SECONDS)
        if left:
            raise TimeoutError(f"{left} of {len(rows)} records not acknowledged within {PATIENCE_SECONDS} s")
        for ack in acks:
            if not isinstance(ack, tuple):
                raise BrokerError(ack.code(), ack.str())
        return acks

    def consume(self, topic, starts, ends, fetch_bytes=None):
        config = {"group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "check.crcs": True, "fetch.wait.max.ms": 100, "enable.partition.eof": True}
        if fetch_bytes is not None:
            # librdkafka refuses a fetch.max.bytes below message.max.bytes, of which 1000 is the least.
            config |= {"max.partition.fetch.bytes": fetch_bytes, "fetch.max.bytes": 1000, "message.max.bytes": 1000}
        consumer = Consumer({**self.common, **config})
        consumer.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])
        records, open_partitions = [], {p for p in starts if ends[p] > 0}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while open_partitions and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                if message.error():
                    # The end of a partition is told behind its last record: whatever was to come has come.
                    if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                        open_partitions.discard(message.partition())
                        continue
                    raise BrokerError(message.error().code(), message.error().str())
                deadline = time.monotonic() + PATIENCE_SECONDS
                if message.offset() < ends[message.partition()]:
                    records.append(record_of(message))
                if message.offset() + 1 >= ends[message.partition()]:
                    open_partitions.discard(message.partition())
        consumer.close()
        return records

    def drain(self, topic, ends, group, wait_ms=500, seconds=PATIENCE_SECONDS):
        config = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "check.crcs": True, "enable.partition.eof": True, "fetch.wait.max.ms": wait_ms}
        consumer = Consumer({**self.common, **config})
        parts = [TopicPartition(topic, p, 0) for p in ends]
        consumer.assign(parts)
        records, positions = [], {}
        deadline = time.monotonic() + seconds
        while positions != ends and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                if not message.error():
                    records.append(record_of(message))
                elif message.error().code() != confluent_kafka.KafkaError._PARTITION_EOF:
                    raise BrokerError(message.error().code(), message.error().str())
            positions = {part.partition: part.offset for part in consumer.position(parts)}
        if positions == ends:
            consumer.commit(offsets=[TopicPartition(topic, p, at) for p, at in positions.items()], asynchronous=False)
        consumer.close()
        return records, positions

    def consume_committed(self, topic, partitions):
        config = {"group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "isolation.level": "read_committed", "fetch.wait.max.ms": 100, "enable.partition.eof": True}
        consumer = Consumer({**self.common, **config})
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        records, reading = [], set(range(partitions))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while reading and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                if not message.error():
                    records.append(record_of(message))
                elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    reading.discard(message.partition())
                else:
                    raise BrokerError(message.error().code(), message.error().str())
        consumer.close()
        return records

    def transactional(self, transactional_id, timeout_ms):
        return ConfluentTransactions(self.common, transactional_id, timeout_ms)

    def member(self, group, topic, instance=None):
        return ConfluentMember(self.common, group, topic, instance)

    def offsets_at(self, topic, partitions, timestamp):
        consumer = Consumer({**self.common, "group.id": "unused"})
        answer = consumer.offsets_for_times([TopicPartition(topic, p, timestamp) for p in partitions], timeout=30)
        consumer.close()
        for part in answer:
            if part.error is not None:
                raise BrokerError(part.error.code(), part.error.str())
        return {part.partition: None if part.offset < 0 else part.offset for part in answer}

    def watermarks(self, topic, partition):
        consumer = Consumer({**self.common, "group.id": "unused"})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        except KafkaException as error:
            raise BrokerError(error.args[0].code(), error.args[0].str()) from error
        finally:
            consumer.close()

    def create_topic(self, topic, partitions, replication, configs):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=configs)
        done(self.admin.create_topics([new]))

    def delete_topic(self, topic):
        done(self.admin.delete_topics([topic]))

    def list_topics(self):
        return set(self.admin.list_topics(timeout=30).topics)

    def describe_topic(self, topic):
        described = done(self.admin.describe_topics(confluent_kafka.TopicCollection([topic])))
        return {part.id: [replica.id for replica in part.replicas] for part in described.partitions}

    def create_partitions(self, topic, total):
        done(self.admin.create_partitions([NewPartitions(topic, total)]))

    def describe_configs(self, topic):
        described = done(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        return {name: entry.value for name, entry in described.items()}

    def alter_configs(self, topic, put, delete):
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in put.items()]
        entries += [ConfigEntry(k, None, incremental_operation=AlterConfigOpType.DELETE) for k in delete]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        done(self.admin.incremental_alter_configs([resource]))

    def delete_records(self, topic, before):
        futures = self.admin.delete_records([TopicPartition(topic, p, offset) for p, offset in before.items()])
        return {part.partition: value(future).low_watermark for part, future in futures.items()}

    def describe_cluster(self):
        cluster = value(self.admin.describe_cluster())
        return {
            "controller": cluster.controller.id,
            "brokers": {node.id: (node.host, node.port) for node in cluster.nodes},
            "cluster_id": cluster.cluster_id,
        }

    def list_groups(self):
        return {group.group_id for group in value(self.admin.list_consumer_groups()).valid}

    def describe_group(self, group):
        described = done(self.admin.describe_consumer_groups([group]))
        return described.state.name.title().replace("_", ""), len(described.members)

    def group_offsets(self, group, topic):
        answer = done(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return {part.partition: part.offset for part in answer.topic_partitions if part.topic == topic}

    def alter_group_offsets(self, group, topic, offsets):
        parts = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
        answer = done(self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, parts)]))
        for part in answer.topic_partitions:
            if part.error is not None:
                raise BrokerError(part.error.code(), part.error.str())

    def delete_group(self, group):
        done(self.admin.delete_consumer_groups([group]))


class ConfluentTransactions:
    def __init__(self, common: dict, transactional_id: str, timeout_ms: int):
        self.producer = Producer({**common, "transactional.id": transactional_id, "transaction.timeout.ms": timeout_ms})
        self.call(self.producer.init_transactions)

    @staticmethod
    def call(method, *arguments):
        try:
            return method(*arguments, PATIENCE_SECONDS)
        except KafkaException as error:
            raise BrokerError(error.args[0].code(), error.args[0].str()) from error

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, partition, value):
        self.producer.produce(topic, value, partition=partition)

    def flush(self):
        self.producer.flush(PATIENCE_SECONDS)

    def commit(self):
        self.call(self.producer.commit_transaction)

    def abort(self):
        self.call(self.producer.abort_transaction)

    def send_offsets(self, member, offsets):
        parts = [TopicPartition(member.topic, p, offset) for p, offset in offsets.items()]
        self.call(self.producer.send_offsets_to_transaction, parts, member.consumer.consumer_group_metadata())

    @staticmethod
    def is_fenced(error):
        return error.code in (confluent_kafka.KafkaError._FENCED, confluent_kafka.KafkaError.PRODUCER_FENCED,
                              confluent_kafka.KafkaError.INVALID_PRODUCER_EPOCH)

    def close(self):
        self.producer.flush(1)


class ConfluentMember:
    def __init__(self, common: dict, group: str, topic: str, instance: str | None):
        self.topic = topic
        config = {**common, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "fetch.wait.max.ms": 100,
                  "partition.assignment.strategy": "range"}
        if instance:
            config["group.instance.id"] = instance
        self.consumer = Consumer(config)
        self.consumer.subscribe([topic])

    def poll(self, seconds):
        records = []
        for message in self.consumer.consume(1000, seconds):
            if message.error():
                # librdkafka tells of fencing by one code for all that is fatal, with the broker's words.
                fenced = message.error().code() == confluent_kafka.KafkaError._FATAL and "fenced" in message.error().str()
                raise BrokerError(82 if fenced else message.error().code(), message.error().str())
            records.append(record_of(message))
        return records

    def assigned(self):
        return {part.partition for part in self.consumer.assignment()}

    def commit(self, offsets, metadata=""):
        parts = [TopicPartition(self.topic, p, offset, metadata) for p, offset in offsets.items()]
        for part in self.consumer.commit(offsets=parts, asynchronous=False):
            if part.error is not None:
                raise BrokerError(part.error.code(), part.error.str())

    def committed(self, partitions):
        parts = self.consumer.committed([TopicPartition(self.topic, p) for p in partitions], timeout=30)
        return {p.partition: None if p.offset < 0 else (p.offset, p.metadata or "") for p in parts}

    def close(self):
        self.consumer.close()


def record_of(message) -> Record:
    kind, timestamp = message.timestamp()
    # librdkafka: 1 is CreateTime, 2 LogAppendTime; on the wire they are 0 and 1.
    return Record(message.partition(), message.offset(), message.key(), message.value(),
                  tuple(message.headers() or ()), timestamp, kind - 1)


def value(future):
    try:
        return future.result(timeout=60)
    except KafkaException as error:
        raise BrokerError(error.args[0].code(), error.args[0].str()) from error


def done(futures: dict):
    """The one answer of a call that asked for one thing."""
    (future,) = futures.values()
    return value(future)
