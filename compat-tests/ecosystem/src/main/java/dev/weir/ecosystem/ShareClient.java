package dev.weir.ecosystem;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A member of a share group that decides at random about each record and commits after each poll, until it is killed.
 *
 * <p>It tells on standard output what it does, a line each with partition, offset, the time in milliseconds, and the value:
 * {@code got} when a record was polled; {@code try} before it is accepted or rejected; {@code done} when an acceptance or rejection was answered, {@code back} when a release
 * was; {@code refused} when the broker said no; {@code unknown} when it said nothing.
 */
public final class ShareClient {
    private ShareClient() {}

    public static void main(String[] args) {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[2]);
        config.put("share.acknowledgement.mode", "explicit");
        config.put("max.poll.records", "50");
        config.put("default.api.timeout.ms", "5000");
        config.put("request.timeout.ms", "4000");
        config.put("reconnect.backoff.max.ms", "200");
        Random random = new Random(Long.parseLong(args[3]));
        try (KafkaShareConsumer<String, String> consumer =
                new KafkaShareConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(args[1]));
            while (true) {
                round(consumer, random);
            }
        }
    }

    private static void round(KafkaShareConsumer<String, String> consumer, Random random) {
        Map<Integer, List<String>> final_ = new HashMap<>();
        Map<Integer, List<String>> released = new HashMap<>();
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
            String what = record.partition() + " " + record.offset() + " %d " + record.value();
            say("got", what);
            int dice = random.nextInt(100);
            AcknowledgeType type = dice < 90 ? AcknowledgeType.ACCEPT : dice < 95 ? AcknowledgeType.REJECT : AcknowledgeType.RELEASE;
            consumer.acknowledge(record, type);
            (type == AcknowledgeType.RELEASE ? released : final_)
                    .computeIfAbsent(record.partition(), partition -> new ArrayList<>()).add(what);
        }
        // Told before it can be true: who is killed from here on may have been heard.
        final_.values().forEach(records -> records.forEach(record -> say("try", record)));
        System.out.flush();
        Map<TopicIdPartition, Optional<KafkaException>> outcomes;
        try {
            outcomes = consumer.commitSync();
        } catch (KafkaException e) {
            outcomes = Map.of();
        }
        Map<Integer, String> verdicts = new HashMap<>();
        outcomes.forEach((partition, error) -> verdicts.put(partition.partition(), verdict(error)));
        final_.forEach((partition, records) -> tell(records, verdicts.getOrDefault(partition, "unknown"), "done"));
        released.forEach((partition, records) -> tell(records, verdicts.getOrDefault(partition, "unknown"), "back"));
        System.out.flush();
    }

    /** Retriable errors say nothing about what became of an acknowledgement; the others mean that nothing did. */
    private static String verdict(Optional<KafkaException> error) {
        if (error.isEmpty()) {
            return "ok";
        }
        return error.get() instanceof org.apache.kafka.common.errors.InvalidRecordStateException ? "refused" : "unknown";
    }

    private static void tell(List<String> records, String verdict, String ifOk) {
        records.forEach(record -> say(verdict.equals("ok") ? ifOk : verdict, record));
    }

    private static void say(String word, String what) {
        System.out.println(word + " " + String.format(what, System.currentTimeMillis()));
    }
}
