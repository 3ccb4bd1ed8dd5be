package dev.weir.compat;

import dev.weir.compat.Flights.Flight;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/** What the broker acknowledged, at which partition and offset; the yardstick for everything that is consumed. */
final class Ledger {
    final String topic;
    /** (partition, offset) to the record that was acknowledged there, in offset order. */
    final Map<Integer, TreeMap<Long, Flight>> acked = new ConcurrentHashMap<>();

    Ledger(String topic) {
        this.topic = topic;
    }

    /** Sends all rows and flushes; any refused record fails the check, so does an offset that two records were given. */
    void produce(Producer<byte[], byte[]> producer, List<Flight> rows, Suite.Counts counts) {
        long before = size();
        ConcurrentLinkedQueue<String> problems = new ConcurrentLinkedQueue<>();
        for (Flight row : rows) {
            ProducerRecord<byte[], byte[]> record =
                    new ProducerRecord<>(topic, null, row.timestamp(), row.key(), row.value(), row.headers());
            producer.send(record, (metadata, error) -> {
                if (error != null) {
                    problems.add("refused: " + error);
                } else {
                    if (add(metadata.partition(), metadata.offset(), row) != null) {
                        problems.add("offset given twice: " + metadata);
                    }
                    counts.produced.incrementAndGet();
                }
            });
        }
        producer.flush();
        if (!problems.isEmpty()) {
            throw new AssertionError(problems.size() + " of " + rows.size() + " records: " + problems.peek());
        }
        Clients.equal(before + rows.size(), size(), "acknowledged records");
    }

    /** Sends one record and waits for its acknowledgement. */
    void produce1(Producer<byte[], byte[]> producer, Flight row, Suite.Counts counts) throws Exception {
        RecordMetadata metadata = Clients.get(producer.send(
                new ProducerRecord<>(topic, null, row.timestamp(), row.key(), row.value(), row.headers())));
        Clients.check(add(metadata.partition(), metadata.offset(), row) == null, "offset given twice: " + metadata);
        counts.produced.incrementAndGet();
    }

    Flight add(int partition, long offset, Flight row) {
        TreeMap<Long, Flight> rows = acked.computeIfAbsent(partition, p -> new TreeMap<>());
        synchronized (rows) {
            return rows.put(offset, row);
        }
    }

    long size() {
        return acked.values().stream().mapToLong(TreeMap::size).sum();
    }

    List<TopicPartition> partitions() {
        return acked.keySet().stream().sorted().map(p -> new TopicPartition(topic, p)).toList();
    }

    /** Consumes by assignment from the beginning to the end and compares every byte; order and gaps included. */
    void consumeAll(Consumer<byte[], byte[]> consumer, Suite.Counts counts) {
        List<TopicPartition> partitions = partitions();
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        for (TopicPartition tp : partitions) {
            Clients.equal(acked.get(tp.partition()).lastKey() + 1, ends.get(tp), "end offset of " + tp);
        }
        Map<Integer, Long> next = new HashMap<>();
        partitions.forEach(tp -> next.put(tp.partition(), acked.get(tp.partition()).firstKey()));
        long wanted = size();
        long seen = 0;
        long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (seen < wanted) {
            Clients.check(System.nanoTime() < deadline, "consumed " + seen + " of " + wanted + " records within 60 s");
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                counts.consumed.incrementAndGet();
                Clients.equal(next.get(record.partition()), record.offset(), "next offset of partition " + record.partition());
                compare(record, counts);
                Long following = acked.get(record.partition()).higherKey(record.offset());
                next.put(record.partition(), following == null ? record.offset() + 1 : following);
                seen++;
            }
        }
        for (TopicPartition tp : partitions) {
            Clients.equal(ends.get(tp), consumer.position(tp), "position of " + tp);
        }
    }

    /** Compares one consumed record with the one acknowledged at its offset. */
    void compare(ConsumerRecord<byte[], byte[]> record, Suite.Counts counts) {
        Flight expected = acked.getOrDefault(record.partition(), new TreeMap<>()).get(record.offset());
        String where = record.topic() + "-" + record.partition() + "@" + record.offset();
        Clients.check(expected != null, where + " was never acknowledged");
        Clients.check(Arrays.equals(expected.key(), record.key()), where + ": key differs");
        Clients.check(Arrays.equals(expected.value(), record.value()), where + ": value differs");
        Clients.equal(expected.timestamp(), record.timestamp(), where + ": timestamp");
        List<Header> headers = new ArrayList<>();
        record.headers().forEach(headers::add);
        Clients.equal(expected.headers(), headers, where + ": headers");
        counts.compared.incrementAndGet();
    }

    /** Collects what several group members consumed; complete when every acknowledged offset was seen. */
    final class Seen {
        private final Set<String> offsets = new HashSet<>();

        synchronized void add(ConsumerRecord<byte[], byte[]> record, Suite.Counts counts) {
            counts.consumed.incrementAndGet();
            compare(record, counts);
            offsets.add(record.partition() + "@" + record.offset());
        }

        synchronized long size() {
            return offsets.size();
        }
    }
}
