package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.expect;
import static dev.weir.compat.Clients.get;
import static dev.weir.compat.Clients.same;

import dev.weir.compat.Flights.Flight;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

/** Codecs, acks levels, idempotence, sizes, and records of unusual shape. */
final class ProduceChecks {
    private static final int PARTITIONS = 6;
    /** Kafka's default of max.message.bytes, and what a batch with one uncompressed record of a long value adds to it. */
    private static final int MAX_MESSAGE_BYTES = 1_048_588;
    private static final int ONE_RECORD_OVERHEAD = 72;

    private ProduceChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.put("produce-" + codec, (suite, counts) -> roundTrip(suite, counts, codec,
                    "compression.type", codec, "enable.idempotence", "false", "linger.ms", "20", "batch.size", "65536"));
        }
        checks.put("produce-acks-1", (suite, counts) -> roundTrip(suite, counts, "acks1",
                "acks", "1", "enable.idempotence", "false", "linger.ms", "5"));
        checks.put("produce-idempotent", (suite, counts) -> roundTrip(suite, counts, "idempotent",
                "enable.idempotence", "true", "max.in.flight.requests.per.connection", "5", "batch.size", "2000", "linger.ms", "0"));
        checks.put("produce-acks-0", ProduceChecks::acksNone);
        checks.put("broker-recompresses", ProduceChecks::brokerRecompresses);
        checks.put("largest-record", ProduceChecks::largestRecord);
        checks.put("raised-record-size", ProduceChecks::raisedRecordSize);
        checks.put("unusual-records", ProduceChecks::unusualRecords);
        checks.put("log-append-time", ProduceChecks::logAppendTime);
        checks.put("timestamp-limits", ProduceChecks::timestampLimits);
        checks.put("compacted-topic-needs-keys", ProduceChecks::compactedTopicNeedsKeys);
        checks.put("auto-create", ProduceChecks::autoCreate);
    }

    private static void roundTrip(Suite suite, Suite.Counts counts, String name, String... settings) throws Exception {
        Ledger ledger = new Ledger(suite.name("produce-" + name));
        Clients.createTopic(suite, ledger.topic, PARTITIONS);
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, settings)) {
            ledger.produce(producer, suite.flights.rows, counts);
        }
        check(ledger.acked.size() > 1, "keys must reach several partitions, reached " + ledger.acked.keySet());
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            // acks=1 promises less than the end offset shows: weir answers once a record is written, the end follows once it is durable.
            Clients.eventually("everything acknowledged is visible", 10, () -> consumer.endOffsets(ledger.partitions()).entrySet().stream()
                    .allMatch(end -> end.getValue() == ledger.acked.get(end.getKey().partition()).lastKey() + 1));
            ledger.consumeAll(consumer, counts);
        }
    }

    /** With acks=0 offsets are not told, but one partition keeps the order of one producer. */
    private static void acksNone(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("acks0");
        Clients.createTopic(suite, topic, 1);
        List<Flight> rows = suite.flights.first(5_000);
        try (KafkaProducer<byte[], byte[]> producer =
                Clients.producer(suite, "acks", "0", "enable.idempotence", "false", "linger.ms", "5")) {
            for (Flight row : rows) {
                producer.send(new ProducerRecord<>(topic, 0, row.timestamp(), row.key(), row.value(), row.headers()));
                counts.produced.incrementAndGet();
            }
        }
        Ledger ledger = new Ledger(topic);
        for (int i = 0; i < rows.size(); i++) {
            ledger.add(0, i, rows.get(i));
        }
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            consumer.assign(List.of(tp));
            Clients.eventually("all records of the acks=0 producer are there", 20,
                    () -> consumer.endOffsets(List.of(tp)).get(tp) == rows.size());
            ledger.consumeAll(consumer, counts);
        }
    }

    /** compression.type other than "producer" makes the broker recompress; the records stay what they were. */
    private static void brokerRecompresses(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("recompress"));
        Clients.createTopic(suite, ledger.topic, 2, "compression.type", "lz4");
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "compression.type", "gzip", "linger.ms", "20")) {
            ledger.produce(producer, suite.flights.first(5_000), counts);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void largestRecord(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("largest"));
        Clients.createTopic(suite, ledger.topic, 1);
        byte[] largest = noise(MAX_MESSAGE_BYTES - ONE_RECORD_OVERHEAD);
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "max.request.size", "10000000")) {
            ledger.produce(producer, List.of(new Flight(null, largest, List.of(), 1_357_034_400_000L)), counts);
            expect(RecordTooLargeException.class, producer.send(new ProducerRecord<>(ledger.topic, null,
                    1_357_034_400_000L, null, noise(largest.length + 1))));
            // The refusal must not cost the connection or the partition.
            ledger.produce1(producer, new Flight(null, noise(10), List.of(), 1_357_034_400_001L), counts);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.consumeAll(consumer, counts);
        }
    }

    /** A batch larger than every limit of the fetch still comes whole, as the first one of its response. */
    private static void raisedRecordSize(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("raised"));
        Clients.createTopic(suite, ledger.topic, 1, "max.message.bytes", "4000000");
        try (KafkaProducer<byte[], byte[]> producer =
                Clients.producer(suite, "max.request.size", "10000000", "batch.size", "1000")) {
            ledger.produce(producer, List.of(
                    new Flight(null, noise(1000), List.of(), 1_357_034_400_000L),
                    new Flight(null, noise(3_500_000), List.of(), 1_357_034_400_001L),
                    new Flight(null, noise(2_500_000), List.of(), 1_357_034_400_002L)), counts);
            expect(RecordTooLargeException.class,
                    producer.send(new ProducerRecord<>(ledger.topic, null, noise(4_000_000))));
        }
        try (KafkaConsumer<byte[], byte[]> consumer =
                Clients.consumer(suite, "fetch.max.bytes", "10000", "max.partition.fetch.bytes", "1000")) {
            ledger.consumeAll(consumer, counts);
        }
    }

    /** Nulls, empty values, repeated header names, timestamps at both ends: all must come back as they were. */
    private static void unusualRecords(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("unusual"));
        Clients.createTopic(suite, ledger.topic, 1);
        byte[] empty = new byte[0];
        List<Header> odd = List.of(
                new RecordHeader("again", new byte[] {1}),
                new RecordHeader("again", new byte[] {2}),
                new RecordHeader("null", (byte[]) null),
                new RecordHeader("empty", empty),
                new RecordHeader("", new byte[] {0}),
                new RecordHeader("ünïcode ✈", noise(300)));
        List<Flight> rows = List.of(
                new Flight(null, null, List.of(), 0),
                new Flight(empty, empty, List.of(), 1),
                new Flight(new byte[] {0}, null, odd, 1_357_034_400_000L),
                new Flight(null, new byte[] {(byte) 0xff}, odd, 1_357_034_399_999L),
                new Flight(noise(20_000), noise(1), List.of(), System.currentTimeMillis()));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "compression.type", codec, "linger.ms", "50")) {
                for (Flight row : rows) {
                    ledger.produce1(producer, row, counts);
                }
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void logAppendTime(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("append-time");
        Clients.createTopic(suite, topic, 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        RecordMetadata metadata;
        Flight row = suite.flights.rows.get(0);
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            metadata = get(producer.send(new ProducerRecord<>(topic, 0, row.timestamp(), row.key(), row.value(), row.headers())));
            counts.produced.incrementAndGet();
        }
        check(metadata.timestamp() >= before - 1000 && metadata.timestamp() <= System.currentTimeMillis() + 1000,
                "the producer is told the append time, got " + metadata.timestamp());
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ConsumerRecord<byte[], byte[]> record = ConsumeChecks.readOne(consumer, new TopicPartition(topic, 0), 0);
            counts.consumed.incrementAndGet();
            same(TimestampType.LOG_APPEND_TIME, record.timestampType(), "timestamp type");
            same(metadata.timestamp(), record.timestamp(), "append time");
            check(Arrays.equals(row.value(), record.value()), "value differs");
            counts.compared.incrementAndGet();
        }
    }

    private static void timestampLimits(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("timestamp-limits");
        Clients.createTopic(suite, topic, 1,
                "message.timestamp.before.max.ms", "3600000", "message.timestamp.after.max.ms", "3600000");
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            long now = System.currentTimeMillis();
            expect(InvalidTimestampException.class,
                    producer.send(new ProducerRecord<>(topic, 0, now - 7_200_000, null, noise(5))));
            expect(InvalidTimestampException.class,
                    producer.send(new ProducerRecord<>(topic, 0, now + 7_200_000, null, noise(5))));
            same(0L, get(producer.send(new ProducerRecord<>(topic, 0, now, null, noise(5)))).offset(), "first accepted offset");
            counts.produced.incrementAndGet();
        }
    }

    private static void compactedTopicNeedsKeys(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("compacted"));
        Clients.createTopic(suite, ledger.topic, 1, "cleanup.policy", "compact");
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            expect(org.apache.kafka.common.InvalidRecordException.class,
                    producer.send(new ProducerRecord<>(ledger.topic, 0, null, noise(5))));
            ledger.produce1(producer, suite.flights.rows.get(0), counts);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void autoCreate(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("auto-created"));
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            // One at a time: see Clients.createTopic. As of today: an auto-created topic has the default retention.
            for (Flight row : today(suite.flights.first(100))) {
                ledger.produce1(producer, row, counts);
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.consumeAll(consumer, counts);
        }
        String unwanted = suite.name("not-auto-created");
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "allow.auto.create.topics", "false")) {
            consumer.assign(List.of(new TopicPartition(unwanted, 0)));
            check(consumer.poll(Duration.ofMillis(500)).isEmpty(), "records of a topic that does not exist");
            check(!consumer.listTopics().containsKey(unwanted), "a consumer that forbids it has created a topic");
        }
    }

    static List<Flight> today(List<Flight> rows) {
        long now = System.currentTimeMillis();
        return rows.stream().map(row -> new Flight(row.key(), row.value(), row.headers(), now)).toList();
    }

    /** Bytes that no codec makes smaller, the same in every run. */
    static byte[] noise(int length) {
        byte[] bytes = new byte[length];
        new Random(length).nextBytes(bytes);
        return bytes;
    }
}
