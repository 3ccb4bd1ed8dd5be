package dev.weir.lake;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Answers queries over a Paimon warehouse with Flink SQL, in a cluster of this one process: a query a line, for each row a JSON array
 * (bytes as base64, times as microseconds since 1970), then a line {@code .}, or {@code ! reason}.
 */
public final class FlinkReader {
    private static final ObjectMapper JSON = new ObjectMapper();

    private FlinkReader() {}

    public static void main(String[] args) throws Exception {
        Configuration config = new Configuration();
        config.setString("rest.bind-port", "0");
        config.setString("parallelism.default", "2");
        config.setString("table.local-time-zone", "UTC");
        TableEnvironment tables =
                TableEnvironment.create(EnvironmentSettings.newInstance().inBatchMode().withConfiguration(config).build());
        tables.executeSql("CREATE CATALOG lake WITH ('type' = 'paimon', 'warehouse' = '" + args[0] + "', 'cache-enabled' = 'false')");
        tables.executeSql("USE CATALOG lake");
        BufferedReader queries = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String query = queries.readLine(); query != null; query = queries.readLine()) {
            try (CloseableIterator<Row> rows = tables.executeSql(query).collect()) {
                while (rows.hasNext()) {
                    out.println(JSON.writeValueAsString(plain(rows.next())));
                }
                out.println(".");
            } catch (Exception error) {
                Throwable cause = error;
                while (cause.getCause() != null) {
                    cause = cause.getCause();
                }
                out.println("! " + cause.toString().replace('\n', ' '));
            }
            out.flush();
        }
    }

    /** What JSON can say. */
    private static Object plain(Object value) {
        if (value instanceof Row row) {
            List<Object> fields = new ArrayList<>();
            for (int at = 0; at < row.getArity(); at++) {
                fields.add(plain(row.getField(at)));
            }
            return fields;
        }
        if (value instanceof Object[] items) {
            List<Object> plain = new ArrayList<>();
            for (Object item : items) {
                plain.add(plain(item));
            }
            return plain;
        }
        if (value instanceof LocalDateTime time) {
            return plain(time.toInstant(ZoneOffset.UTC));
        }
        if (value instanceof Instant time) {
            return time.getEpochSecond() * 1_000_000 + time.getNano() / 1_000;
        }
        return value;
    }
}
