package dev.weir.compat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/**
 * The Java client for the suite of views (../python/clients/drains.py): reads a topic until its positions are at the ends, commits
 * them, and prints what it read. One JSON argument in, one JSON line out.
 */
final class Drain {
    private Drain() {}

    static void main(String text) throws Exception {
        ObjectMapper json = new ObjectMapper();
        JsonNode wish = json.readTree(text);
        ObjectNode answer = json.createObjectNode();
        long started = System.nanoTime();
        try {
            read(wish, answer);
        } catch (KafkaException error) {
            answer.put("error", error.getClass().getSimpleName() + ": " + error.getMessage());
        }
        answer.put("seconds", (System.nanoTime() - started) / 1e9);
        System.out.println(json.writeValueAsString(answer));
        System.exit(0);
    }

    private static void read(JsonNode wish, ObjectNode answer) {
        Map<TopicPartition, Long> ends = new HashMap<>();
        wish.get("ends").properties().forEach(end ->
                ends.put(new TopicPartition(wish.get("topic").asText(), Integer.parseInt(end.getKey())), end.getValue().asLong()));
        ArrayNode records = answer.putArray("records");
        Map<TopicPartition, Long> positions = new HashMap<>();
        long deadline = System.nanoTime() + (long) (wish.get("seconds").asDouble() * 1e9);
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(wish.get("bootstrap").asText(),
                "group.id", wish.get("group").asText(), "fetch.max.wait.ms", wish.get("wait_ms").asText(), "max.poll.records", "5000")) {
            consumer.assign(ends.keySet());
            consumer.seekToBeginning(ends.keySet());
            while (!positions.equals(ends) && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    add(records.addArray(), record);
                }
                ends.keySet().forEach(tp -> positions.put(tp, consumer.position(tp)));
            }
            Map<TopicPartition, OffsetAndMetadata> commit = new HashMap<>();
            positions.forEach((tp, at) -> commit.put(tp, new OffsetAndMetadata(at)));
            if (positions.equals(ends)) {
                consumer.commitSync(commit);
            }
        }
        ObjectNode told = answer.putObject("positions");
        positions.forEach((tp, at) -> told.put(Integer.toString(tp.partition()), at));
    }

    private static void add(ArrayNode out, ConsumerRecord<byte[], byte[]> record) {
        out.add(record.partition()).add(record.offset()).add(record.timestamp()).add(record.key()).add(record.value());
        ArrayNode headers = out.addArray();
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
    }
}
