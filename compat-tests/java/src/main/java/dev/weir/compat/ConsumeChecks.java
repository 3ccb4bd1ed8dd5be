package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.same;

import dev.weir.compat.Flights.Flight;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;

/** Reading by assignment: positions, timestamps, isolation, committed offsets. */
final class ConsumeChecks {
    private ConsumeChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("seek-by-timestamp", ConsumeChecks::seekByTimestamp);
        checks.put("commit-and-resume", ConsumeChecks::commitAndResume);
        checks.put("read-committed", ConsumeChecks::readCommitted);
        checks.put("offset-out-of-range", ConsumeChecks::offsetOutOfRange);
        checks.put("pause-and-tail", ConsumeChecks::pauseAndTail);
    }

    /** The one record at {@code offset}; the consumer keeps the assignment. */
    static ConsumerRecord<byte[], byte[]> readOne(KafkaConsumer<byte[], byte[]> consumer, TopicPartition tp, long offset) {
        consumer.assign(List.of(tp));
        consumer.seek(tp, offset);
        long deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
        while (System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                return record;
            }
        }
        throw new AssertionError("no record at or after " + tp + "@" + offset + " within 20 s");
    }

    private static Ledger produced(Suite suite, Suite.Counts counts, String name, int partitions, int rows) throws Exception {
        Ledger ledger = new Ledger(suite.name(name));
        Clients.createTopic(suite, ledger.topic, partitions);
        try (KafkaProducer<byte[], byte[]> producer =
                Clients.producer(suite, "linger.ms", "10", "compression.type", "lz4", "batch.size", "16000")) {
            ledger.produce(producer, suite.flights.first(rows), counts);
        }
        return ledger;
    }

    /** The answer for a timestamp is the first offset whose record is not older; the flights are not in order of time. */
    private static void seekByTimestamp(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = produced(suite, counts, "timestamps", 3, 10_000);
        List<Long> all = suite.flights.first(10_000).stream().map(Flight::timestamp).sorted().toList();
        long first = all.get(0);
        long last = all.get(all.size() - 1);
        List<Long> wanted = List.of(0L, first, first + 1, (first + last) / 2, all.get(all.size() / 3), last, last + 1);
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            for (long timestamp : wanted) {
                Map<TopicPartition, Long> query = new HashMap<>();
                ledger.partitions().forEach(tp -> query.put(tp, timestamp));
                Map<TopicPartition, OffsetAndTimestamp> answers = consumer.offsetsForTimes(query);
                for (TopicPartition tp : query.keySet()) {
                    Map.Entry<Long, Flight> expected = null;
                    for (Map.Entry<Long, Flight> entry : ledger.acked.get(tp.partition()).entrySet()) {
                        if (entry.getValue().timestamp() >= timestamp) {
                            expected = entry;
                            break;
                        }
                    }
                    OffsetAndTimestamp answer = answers.get(tp);
                    String what = "first offset of " + tp + " at or after " + timestamp;
                    same(expected == null ? null : expected.getKey(), answer == null ? null : answer.offset(), what);
                    if (expected != null) {
                        same(expected.getValue().timestamp(), answer.timestamp(), "timestamp told for the " + what);
                        ConsumerRecord<byte[], byte[]> record = readOne(consumer, tp, answer.offset());
                        same(answer.offset(), record.offset(), "offset read after the seek");
                        counts.consumed.incrementAndGet();
                        ledger.compare(record, counts);
                    }
                }
            }
        }
    }

    private static void commitAndResume(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = produced(suite, counts, "resume", 3, 6_000);
        String group = suite.name("resume-group");
        Map<Integer, Long> next = new HashMap<>();
        ledger.partitions().forEach(tp -> next.put(tp.partition(), 0L));
        long seen = 0;
        long half = ledger.size() / 2;
        boolean resumed = false;
        while (seen < ledger.size()) {
            // The second round is a new process as far as the broker can tell.
            try (KafkaConsumer<byte[], byte[]> consumer =
                    Clients.consumer(suite, "group.id", group, "max.poll.records", "177", "auto.offset.reset", resumed ? "none" : "earliest")) {
                consumer.subscribe(List.of(ledger.topic));
                long deadline = System.nanoTime() + Duration.ofSeconds(40).toNanos();
                while (seen < (resumed ? ledger.size() : half)) {
                    check(System.nanoTime() < deadline, "only " + seen + " records within 40 s");
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                        Clients.equal(next.get(record.partition()), record.offset(), "next offset of partition " + record.partition());
                        next.put(record.partition(), record.offset() + 1);
                        counts.consumed.incrementAndGet();
                        ledger.compare(record, counts);
                        seen++;
                    }
                }
                Map<TopicPartition, OffsetAndMetadata> commit = new HashMap<>();
                ledger.partitions().forEach(tp -> commit.put(tp,
                        new OffsetAndMetadata(next.get(tp.partition()), java.util.Optional.empty(), "näht " + tp.partition())));
                consumer.commitSync(commit);
                consumer.commitSync(Map.of()); // nothing to commit is no error
                same(commit, withoutEpochs(consumer.committed(commit.keySet())), "committed offsets and metadata");
            }
            resumed = true;
        }
        for (TopicPartition tp : ledger.partitions()) {
            same(ledger.acked.get(tp.partition()).lastKey() + 1, next.get(tp.partition()), "end of " + tp);
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> withoutEpochs(Map<TopicPartition, OffsetAndMetadata> offsets) {
        Map<TopicPartition, OffsetAndMetadata> plain = new HashMap<>();
        offsets.forEach((tp, o) -> plain.put(tp, new OffsetAndMetadata(o.offset(), java.util.Optional.empty(), o.metadata())));
        return plain;
    }

    private static void readCommitted(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = produced(suite, counts, "read-committed", 3, 5_000);
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "isolation.level", "read_committed")) {
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void offsetOutOfRange(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = produced(suite, counts, "out-of-range", 1, 100);
        TopicPartition tp = new TopicPartition(ledger.topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "auto.offset.reset", "none")) {
            consumer.assign(List.of(tp));
            consumer.seek(tp, 1_000_000);
            long deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
            while (true) {
                check(System.nanoTime() < deadline, "no OffsetOutOfRangeException within 20 s");
                try {
                    check(consumer.poll(Duration.ofMillis(500)).isEmpty(), "records beyond the end");
                } catch (OffsetOutOfRangeException expected) {
                    same(Map.of(tp, 1_000_000L), expected.offsetOutOfRangePartitions(), "partitions out of range");
                    break;
                }
            }
            // Exactly the end is no error, and a record appended there arrives by the long poll.
            consumer.seek(tp, 100);
            check(consumer.poll(Duration.ofMillis(700)).isEmpty(), "records at the end");
        }
    }

    /** Pausing partitions changes the fetch session; a long poll at the tail answers as soon as a record arrives. */
    private static void pauseAndTail(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = produced(suite, counts, "tail", 4, 4_000);
        List<TopicPartition> partitions = ledger.partitions();
        TopicPartition paused = partitions.get(0);
        List<TopicPartition> others = partitions.subList(1, partitions.size());
        Ledger.Seen seen = ledger.new Seen();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "fetch.max.wait.ms", "3000");
                KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "0")) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            consumer.pause(List.of(paused));
            long expected = others.stream().mapToLong(tp -> ledger.acked.get(tp.partition()).size()).sum();
            Clients.eventually("all of the partitions that are not paused", 20, () -> {
                consumer.poll(Duration.ofMillis(300)).forEach(record -> {
                    check(record.partition() != paused.partition(), "a record of the paused partition");
                    seen.add(record, counts);
                });
                return seen.size() == expected;
            });
            consumer.resume(List.of(paused));
            Clients.eventually("the resumed partition", 20, () -> {
                consumer.poll(Duration.ofMillis(300)).forEach(record -> seen.add(record, counts));
                return seen.size() == ledger.size();
            });
            for (Map.Entry<Integer, TreeMap<Long, Flight>> entry : ledger.acked.entrySet()) {
                same(consumer.position(new TopicPartition(ledger.topic, entry.getKey())), entry.getValue().lastKey() + 1, "position");
            }
            check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "records after the end");
            long worst = 0;
            for (Flight row : suite.flights.first(20)) {
                ledger.produce1(producer, row, counts);
                long sent = System.nanoTime();
                Clients.eventually("the record appended during a long poll", 10, () -> {
                    consumer.poll(Duration.ofMillis(2000)).forEach(record -> seen.add(record, counts));
                    return seen.size() == ledger.size();
                });
                worst = Math.max(worst, System.nanoTime() - sent);
            }
            // Far below the 3 s of a poll that is not woken; far above what a busy machine needs.
            check(worst < 2_000_000_000L, "a long poll took " + worst / 1_000_000 + " ms to see an appended record");
        }
    }
}
