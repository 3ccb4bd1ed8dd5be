package dev.weir.ecosystem;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.OutOfOrderSequenceException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes random transactions without end and prints what became of each: {@code NAME NUMBER committed|aborted}. The same as the
 * class Writer in history.py, with the client that follows KIP-890 when the broker announces it.
 */
public final class HistoryClient {
    private final String bootstrap;
    private final String name;
    private final int partitions;
    private final Random random;
    private KafkaProducer<String, String> producer;

    private HistoryClient(String bootstrap, String name, int partitions, long seed) {
        this.bootstrap = bootstrap;
        this.name = name;
        this.partitions = partitions;
        this.random = new Random(seed);
    }

    /** {@code BOOTSTRAP NAME PARTITIONS FIRST_NUMBER SEED} */
    public static void main(String[] args) throws Exception {
        HistoryClient client =
                new HistoryClient(args[0], args[1], Integer.parseInt(args[2]), Long.parseLong(args[4]));
        client.open();
        for (long number = Long.parseLong(args[3]); ; number++) {
            client.transaction(number);
        }
    }

    private void open() throws Exception {
        if (producer != null) {
            producer.close(Duration.ZERO);
        }
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("transactional.id", name);
        config.put("transaction.timeout.ms", "20000");
        config.put("max.block.ms", "10000");
        config.put("reconnect.backoff.max.ms", "200");
        producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        patiently(producer::initTransactions);
    }

    /** A timeout says nothing of the outcome; the call is made again, which is how the client wants it. */
    private static void patiently(Runnable call) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException e) {
                if (System.nanoTime() > deadline) {
                    throw e;
                }
                Thread.sleep(50);
            }
        }
    }

    private void transaction(long number) throws Exception {
        boolean commits = random.nextInt(100) < 75;
        int total = 1 + random.nextInt(12);
        boolean decided = false;
        try {
            producer.beginTransaction();
            for (int index = 0; index < total; index++) {
                String value = name + " " + number + " " + index + " " + total + " " + (commits ? "C" : "A");
                producer.send(new ProducerRecord<>("history", random.nextInt(partitions), null, value));
            }
            if (commits) {
                Map<TopicPartition, OffsetAndMetadata> offset =
                        Map.of(new TopicPartition("positions", 0), new OffsetAndMetadata(number));
                patiently(() -> producer.sendOffsetsToTransaction(offset, new ConsumerGroupMetadata("group-" + name)));
                decided = true;
                patiently(producer::commitTransaction);
                System.out.println(name + " " + number + " committed");
            } else {
                if (random.nextBoolean()) {
                    producer.flush();
                }
                patiently(producer::abortTransaction);
                System.out.println(name + " " + number + " aborted");
            }
        } catch (ProducerFencedException | InvalidProducerEpochException | OutOfOrderSequenceException | AuthorizationException e) {
            System.err.println(name + " " + number + " starts anew: " + e);
            open();
        } catch (KafkaException e) {
            System.err.println(name + " " + number + (decided ? " outcome unknown: " : " fails: ") + e);
            try {
                patiently(producer::abortTransaction);
                if (!decided) {
                    System.out.println(name + " " + number + " aborted");
                }
            } catch (KafkaException again) {
                open();
            }
        }
        System.out.flush();
    }
}
