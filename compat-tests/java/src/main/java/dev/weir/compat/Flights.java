package dev.weir.compat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The records to produce: flights as JSON events, keyed by carrier (see compat-tests/data). */
final class Flights {
    /** One record as it must come back. */
    record Flight(byte[] key, byte[] value, List<Header> headers, long timestamp) {}

    final List<Flight> rows;

    private Flights(List<Flight> rows) {
        this.rows = rows;
    }

    static Flights load(Path file, int limit) throws IOException {
        ObjectMapper json = new ObjectMapper();
        List<Flight> rows = new ArrayList<>(limit);
        try (BufferedReader in = Files.newBufferedReader(file)) {
            for (String line = in.readLine(); line != null && rows.size() < limit; line = in.readLine()) {
                JsonNode node = json.readTree(line);
                List<Header> headers = new ArrayList<>();
                for (JsonNode header : node.get("headers")) {
                    headers.add(new RecordHeader(header.get(0).textValue(), bytes(header.get(1).textValue())));
                }
                rows.add(new Flight(
                        bytes(node.get("key").textValue()),
                        bytes(node.get("value").textValue()),
                        headers,
                        node.get("timestamp").longValue()));
            }
        }
        if (rows.size() < limit) {
            throw new IOException(file + " holds " + rows.size() + " rows, " + limit + " were asked for");
        }
        return new Flights(rows);
    }

    /** The first {@code count} rows; fewer when the suite was given fewer. */
    List<Flight> first(int count) {
        return rows.subList(0, Math.min(count, rows.size()));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
