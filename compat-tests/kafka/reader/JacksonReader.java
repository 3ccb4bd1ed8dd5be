import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A consumer of rows of JSON as most are: Kafka's client, and Jackson's stream of tokens, of which what is not wanted is skipped. Takes
 * the wish of the bench's other readers and prints what they print (see src/bench/columns/reader.rs). It reads the topic once before it
 * is measured, since a compiler that is cold would be most of the figure.
 */
public final class JacksonReader {
    private final JsonFactory json = new JsonFactory();
    private final String topic;
    private final int partitions;
    private final Set<String> columns = new HashSet<>();
    private String belowColumn;
    private long belowLimit;
    private long rows;
    private long scanned;
    private long sum;
    private long bytes;

    private JacksonReader(JsonNode wish) {
        topic = wish.get("topic").asText();
        partitions = wish.get("partitions").asInt();
        wish.get("columns").forEach(column -> columns.add(column.asText()));
        if (!wish.get("below").isNull()) {
            belowColumn = wish.get("below").get(0).asText();
            belowLimit = wish.get("below").get(1).asLong();
        }
    }

    public static void main(String[] args) throws Exception {
        JsonNode wish = new ObjectMapper().readTree(args[0]);
        new JacksonReader(wish).read(wish.get("address").asText());
        JacksonReader reader = new JacksonReader(wish);
        double cpu = cpuSeconds();
        long started = System.nanoTime();
        reader.read(wish.get("address").asText());
        double seconds = (System.nanoTime() - started) / 1e9;
        System.out.printf(
                java.util.Locale.ROOT,
                "{\"rows\":%d,\"sum\":%d,\"seconds\":%f,\"cpu_seconds\":%f,\"peak_rss_mib\":%f,\"bytes\":%d,\"scanned\":%d}%n",
                reader.rows, reader.sum, seconds, cpuSeconds() - cpu, peakRssMib(), reader.bytes, reader.scanned);
    }

    private void read(String address) throws IOException {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", address, "key.deserializer", ByteArrayDeserializer.class,
                "value.deserializer", ByteArrayDeserializer.class, "max.poll.records", "2000", "fetch.min.bytes", "100000");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int partition = 0; partition < partitions; partition++) {
                all.add(new TopicPartition(topic, partition));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            long wanted = consumer.endOffsets(all).values().stream().mapToLong(Long::longValue).sum();
            long limit = System.nanoTime() + 600_000_000_000L;
            while (scanned < wanted) {
                if (System.nanoTime() > limit) {
                    throw new IOException(scanned + " of " + wanted + " rows after ten minutes");
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(10))) {
                    row(record.value());
                }
            }
            bytes = consumer.metrics().entrySet().stream()
                    .filter(metric -> metric.getKey().name().equals("bytes-consumed-total") && metric.getKey().tags().size() == 1)
                    .mapToLong(metric -> ((Double) metric.getValue().metricValue()).longValue()).sum();
        }
    }

    private void row(byte[] value) throws IOException {
        scanned++;
        long found = 0;
        boolean matches = true;
        try (JsonParser parser = json.createParser(value)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                boolean compared = name.equals(belowColumn);
                parser.nextToken();
                if (!compared && !columns.contains(name)) {
                    parser.skipChildren();
                    continue;
                }
                long one;
                if (name.startsWith("int_")) {
                    one = parser.getLongValue();
                } else if (name.startsWith("price_")) {
                    one = Math.round(parser.getDoubleValue() * 100);
                } else if (name.startsWith("flag_")) {
                    one = parser.getBooleanValue() ? 1 : 0;
                } else {
                    one = parser.getText().length();
                }
                matches &= !compared || one < belowLimit;
                found += columns.contains(name) ? one : 0;
            }
        }
        if (matches) {
            rows++;
            sum += found;
        }
    }

    private static double cpuSeconds() {
        var system = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }

    private static double peakRssMib() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) / 1024.0;
            }
        }
        throw new IOException("no VmHWM in /proc/self/status");
    }
}
