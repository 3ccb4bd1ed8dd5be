package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.expect;
import static dev.weir.compat.Clients.get;
import static dev.weir.compat.Clients.same;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TransactionalIdNotFoundException;

/** Transactional producers and readers of committed data. The client follows KIP-890 when the broker announces it. */
final class TransactionChecks {
    private static final int PARTITIONS = 3;

    private TransactionChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("txn-commit-and-abort", TransactionChecks::commitAndAbort);
        checks.put("txn-consume-transform-produce", TransactionChecks::consumeTransformProduce);
        checks.put("txn-fencing", TransactionChecks::fencing);
        checks.put("txn-timeout", TransactionChecks::timeout);
        checks.put("txn-admin", TransactionChecks::admin);
    }

    private static KafkaProducer<byte[], byte[]> producer(Suite suite, String id, String... settings) {
        List<String> all = new ArrayList<>(List.of("transactional.id", id, "transaction.timeout.ms", "60000"));
        all.addAll(List.of(settings));
        return Clients.producer(suite, all.toArray(String[]::new));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Everything that a reader of this isolation level gets, partition by partition. */
    private static List<String> read(Suite suite, String topic, String isolation, Suite.Counts counts) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (int i = 0; i < PARTITIONS; i++) {
            partitions.add(new TopicPartition(topic, i));
        }
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "isolation.level", isolation)) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + 20_000_000_000L;
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                check(System.nanoTime() < deadline, "the end is not reached: " + ends);
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    values.add(new String(record.value(), StandardCharsets.UTF_8));
                    counts.consumed.incrementAndGet();
                }
            }
        }
        values.sort(null);
        return values;
    }

    /** Many transactions, every third one aborted; the end for readers of committed data comes with the markers. */
    private static void commitAndAbort(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("txn");
        Clients.createTopic(suite, topic, PARTITIONS);
        List<String> committed = new ArrayList<>();
        List<String> all = new ArrayList<>();
        List<java.util.concurrent.Future<?>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(suite, topic, "linger.ms", "2")) {
            producer.initTransactions();
            for (int txn = 0; txn < 60; txn++) {
                producer.beginTransaction();
                for (int i = 0; i < 20; i++) {
                    String value = txn + ":" + i;
                    sent.add(producer.send(new ProducerRecord<>(topic, i % PARTITIONS, null, bytes(value))));
                    counts.produced.incrementAndGet();
                    all.add(value);
                    if (txn % 3 != 0) {
                        committed.add(value);
                    }
                }
                if (txn % 3 == 0) {
                    producer.flush();
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
            for (var record : sent) {
                get(record);
            }
        }
        committed.sort(null);
        all.sort(null);
        Clients.eventually("all committed records are visible", 10,
                () -> read(suite, topic, "read_committed", new Suite.Counts()).size() == committed.size());
        same(committed, read(suite, topic, "read_committed", counts), "committed records");
        same(all, read(suite, topic, "read_uncommitted", counts), "all records");
        counts.compared.addAndGet(committed.size() + all.size());
    }

    /** Reads, transforms, writes and commits offsets in one transaction; a part of them aborts and is read again. */
    private static void consumeTransformProduce(Suite suite, Suite.Counts counts) throws Exception {
        String in = suite.name("txn-in");
        String out = suite.name("txn-out");
        Clients.createTopic(suite, in, PARTITIONS);
        Clients.createTopic(suite, out, PARTITIONS);
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> plain = Clients.producer(suite)) {
            for (int i = 0; i < 1_000; i++) {
                plain.send(new ProducerRecord<>(in, i % PARTITIONS, null, bytes("row" + i)));
                counts.produced.incrementAndGet();
                expected.add("out-row" + i);
            }
        }
        int aborts = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "group.id", suite.name("txn-group"),
                        "isolation.level", "read_committed", "max.poll.records", "100");
                KafkaProducer<byte[], byte[]> producer = producer(suite, out)) {
            producer.initTransactions();
            consumer.subscribe(List.of(in));
            int done = 0;
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (done < expected.size()) {
                check(System.nanoTime() < deadline, "only " + done + " records were transformed");
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                Map<TopicPartition, Long> first = new HashMap<>();
                var records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty()) {
                    continue;
                }
                producer.beginTransaction();
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    String value = "out-" + new String(record.value(), StandardCharsets.UTF_8);
                    producer.send(new ProducerRecord<>(out, record.partition(), null, bytes(value)));
                    TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                    first.putIfAbsent(partition, record.offset());
                    next.put(partition, new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
                if (aborts < 3 && done > 200 * aborts) {
                    producer.abortTransaction();
                    first.forEach(consumer::seek);
                    aborts++;
                } else {
                    producer.commitTransaction();
                    done += records.count();
                }
            }
            Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
            same((long) expected.size(), committed.values().stream().mapToLong(OffsetAndMetadata::offset).sum(), "committed offsets");
        }
        check(aborts == 3, "three transactions must abort, " + aborts + " did");
        expected.sort(null);
        Clients.eventually("all results are visible", 10,
                () -> read(suite, out, "read_committed", new Suite.Counts()).size() == expected.size());
        same(expected, read(suite, out, "read_committed", counts), "results");
        counts.compared.addAndGet(expected.size());
    }

    /** A second producer takes the id over: the first one's transaction aborts, and it is told. */
    private static void fencing(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("txn-fence");
        Clients.createTopic(suite, topic, PARTITIONS);
        KafkaProducer<byte[], byte[]> old = producer(suite, topic);
        try (KafkaProducer<byte[], byte[]> fresh = producer(suite, topic)) {
            old.initTransactions();
            old.beginTransaction();
            get(old.send(new ProducerRecord<>(topic, 0, null, bytes("orphan"))));
            fresh.initTransactions();
            fenced("commit of the old producer", old::commitTransaction);
            fresh.beginTransaction();
            get(fresh.send(new ProducerRecord<>(topic, 0, null, bytes("fresh"))));
            fresh.commitTransaction();
            counts.produced.addAndGet(2);
        } finally {
            old.close(Duration.ZERO);
        }
        Clients.eventually("the record is visible", 10,
                () -> !read(suite, topic, "read_committed", new Suite.Counts()).isEmpty());
        same(List.of("fresh"), read(suite, topic, "read_committed", counts), "committed records");
    }

    private static void fenced(String what, Runnable call) {
        try {
            call.run();
        } catch (ProducerFencedException | InvalidProducerEpochException e) {
            Suite.asserted();
            return;
        }
        throw new AssertionError(what + " must be refused");
    }

    /** A transaction that takes too long is aborted by the broker, and does not hold up readers for ever. */
    private static void timeout(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("txn-timeout");
        Clients.createTopic(suite, topic, PARTITIONS);
        KafkaProducer<byte[], byte[]> slow = producer(suite, topic, "transaction.timeout.ms", "5000");
        try (KafkaProducer<byte[], byte[]> plain = Clients.producer(suite)) {
            slow.initTransactions();
            slow.beginTransaction();
            get(slow.send(new ProducerRecord<>(topic, 0, null, bytes("late"))));
            get(plain.send(new ProducerRecord<>(topic, 0, null, bytes("plain"))));
            counts.produced.addAndGet(2);
            same(List.of(), read(suite, topic, "read_committed", counts), "what an open transaction holds back");
            // Kafka looks every 10 s.
            Clients.eventually("the transaction times out", 30,
                    () -> !read(suite, topic, "read_committed", new Suite.Counts()).isEmpty());
            same(List.of("plain"), read(suite, topic, "read_committed", counts), "committed records");
            fenced("commit after the timeout", slow::commitTransaction);
        } finally {
            slow.close(Duration.ZERO);
        }
    }

    private static void admin(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("txn-admin");
        Clients.createTopic(suite, topic, PARTITIONS);
        KafkaProducer<byte[], byte[]> producer = producer(suite, topic);
        try (Admin admin = Clients.admin(suite)) {
            producer.initTransactions();
            producer.beginTransaction();
            get(producer.send(new ProducerRecord<>(topic, 1, null, bytes("x"))));
            counts.produced.incrementAndGet();
            TransactionDescription open = get(admin.describeTransactions(List.of(topic)).description(topic));
            same(TransactionState.ONGOING, open.state(), "state");
            same(60_000L, open.transactionTimeoutMs(), "timeout");
            TopicPartition partition = new TopicPartition(topic, 1);
            same(java.util.Set.of(partition), open.topicPartitions(), "partitions");
            check(get(admin.listTransactions().all()).stream().anyMatch(txn -> txn.transactionalId().equals(topic)), "it is listed");
            var states = get(admin.describeProducers(List.of(partition)).partitionResult(partition)).activeProducers();
            same(List.of(open.producerId()), states.stream().map(state -> state.producerId()).toList(), "producers");
            same(0L, states.get(0).currentTransactionStartOffset().getAsLong(), "start of the transaction");
            get(admin.fenceProducers(List.of(topic)).all());
            fenced("commit after fenceProducers", producer::commitTransaction);
            expect(TransactionalIdNotFoundException.class, admin.describeTransactions(List.of("nobody")).description("nobody"));
            Clients.eventually("the transaction is aborted", 10, () -> {
                var after = get(admin.describeProducers(List.of(partition)).partitionResult(partition)).activeProducers();
                return after.stream().allMatch(state -> state.currentTransactionStartOffset().isEmpty());
            });
        } finally {
            producer.close(Duration.ZERO);
        }
    }
}
