package dev.weir.compat;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Builders for the three clients, with the timeouts that let a failing check fail soon. */
final class Clients {
    private Clients() {}

    static Admin admin(Suite suite) {
        Properties config = new Properties();
        config.put("bootstrap.servers", suite.bootstrap);
        config.put("default.api.timeout.ms", "20000");
        config.put("request.timeout.ms", "10000");
        return Admin.create(config);
    }

    /** {@code settings} are name, value, name, value, ... */
    static KafkaProducer<byte[], byte[]> producer(Suite suite, String... settings) {
        Properties config = new Properties();
        config.put("bootstrap.servers", suite.bootstrap);
        config.put("acks", "all");
        config.put("delivery.timeout.ms", "30000");
        config.put("request.timeout.ms", "10000");
        config.put("max.block.ms", "20000");
        putAll(config, settings);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Suite suite, String... settings) {
        return consumer(suite.bootstrap, settings);
    }

    static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String... settings) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("default.api.timeout.ms", "20000");
        config.put("request.timeout.ms", "15000");
        config.put("group.protocol", "classic");
        putAll(config, settings);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /**
     * Creates a topic and waits until every partition is served; {@code configs} are name, value, ...
     *
     * <p>The flights are of 2013, so retention is off unless the caller sets it. The wait matters with Apache Kafka: for some
     * milliseconds after a creation it refuses single requests of a pipelining idempotent producer and accepts later ones as the
     * first of the partition, whereupon the refused ones can never be sent.
     */
    static void createTopic(Suite suite, String topic, int partitions, String... configs) throws Exception {
        Map<String, String> map = new HashMap<>(Map.of("retention.ms", "-1"));
        for (int i = 0; i < configs.length; i += 2) {
            map.put(configs[i], configs[i + 1]);
        }
        try (Admin admin = admin(suite)) {
            get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(map))).all());
            Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
            for (int i = 0; i < partitions; i++) {
                ends.put(new TopicPartition(topic, i), OffsetSpec.latest());
            }
            eventually("the partitions of " + topic + " are served", 10, () -> {
                try {
                    get(admin.listOffsets(ends).all());
                    return true;
                } catch (ExecutionException e) {
                    if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                        return false;
                    }
                    throw e;
                }
            });
        }
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    /** Runs {@code future} and expects it to fail with exactly this kind of error. */
    static <E extends Throwable> E expect(Class<E> kind, Future<?> future) throws Exception {
        try {
            Object answer = get(future);
            throw new AssertionError("expected " + kind.getSimpleName() + ", got an answer: " + answer);
        } catch (ExecutionException e) {
            if (kind.isInstance(e.getCause())) {
                Suite.asserted();
                return kind.cast(e.getCause());
            }
            throw new AssertionError("expected " + kind.getSimpleName() + ", got " + e.getCause(), e.getCause());
        }
    }

    static void check(boolean condition, String problem) {
        if (!condition) {
            throw new AssertionError(problem);
        }
    }

    static void same(Object expected, Object actual, String what) {
        equal(expected, actual, what);
        Suite.asserted();
    }

    /** {@link #same} for what is compared per record, and counted with the record. */
    static void equal(Object expected, Object actual, String what) {
        if (!java.util.Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    /** Polls {@code condition} until it holds; a broker may need a moment for what it has promised to do soon. */
    static void eventually(String what, long seconds, java.util.concurrent.Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not within " + seconds + " s: " + what);
            }
            Thread.sleep(50);
        }
        Suite.asserted();
    }

    private static void putAll(Properties config, String... settings) {
        for (int i = 0; i < settings.length; i += 2) {
            config.put(settings[i], settings[i + 1]);
        }
    }
}
