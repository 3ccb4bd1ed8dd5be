package dev.weir.fluss;

import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.admin.Admin;
import org.apache.fluss.client.admin.OffsetSpec;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.client.table.scanner.ScanRecord;
import org.apache.fluss.client.table.scanner.log.LogScanner;
import org.apache.fluss.client.table.scanner.log.ScanRecords;
import org.apache.fluss.metadata.TableBucket;
import org.apache.fluss.row.InternalRow;

/** A process that reads some columns of all rows again and again through the client's log scanner and adds them up; a line for each pass. */
final class Reader {
    /** Short, since a poll that waits for rows sends no further fetch after one that came back empty. */
    private static final Duration POLL = Duration.ofMillis(10);
    private static final Duration LIMIT = Duration.ofSeconds(120);
    /** However short the time for passes after the first. */
    private static final int LATER_PASSES_MIN = 3;

    private final List<String> names;
    /** Which of the columns are numbers. */
    private final boolean[] numbers;
    private final long[] serverPids;

    private Reader(Map<String, String> arguments) {
        names = Rows.projection(Integer.parseInt(arguments.get("columns")));
        numbers = new boolean[names.size()];
        for (int at = 0; at < numbers.length; at++) {
            numbers[at] = Rows.names().indexOf(names.get(at)) < Rows.INTS;
        }
        serverPids = Arrays.stream(arguments.get("servers").split(",")).mapToLong(Long::parseLong).toArray();
    }

    public static void main(String[] words) throws Exception {
        long begun = System.nanoTime();
        Map<String, String> arguments = Words.parse(words);
        Reader reader = new Reader(arguments);
        double seconds = Double.parseDouble(arguments.get("seconds"));
        // The first pass has to connect and to learn of the table, as any new reader has.
        Figures first = Figures.now(reader.serverPids, begun);
        try (Connection connection = Client.connect(arguments);
                Table table = connection.getTable(Client.TABLE)) {
            reader.pass(connection, table, first);
            long until = System.nanoTime() + (long) (seconds * 1e9);
            for (int pass = 0; pass < LATER_PASSES_MIN || System.nanoTime() < until; pass++) {
                reader.pass(connection, table, Figures.now(reader.serverPids, System.nanoTime()));
            }
        }
    }

    private void pass(Connection connection, Table table, Figures before) throws Exception {
        long found = 0;
        long sum = 0;
        long limit = System.nanoTime() + LIMIT.toNanos();
        Map<Integer, Long> ends = ends(connection);
        try (LogScanner scanner = table.newScan().project(names).createLogScanner()) {
            ends.keySet().forEach(scanner::subscribeFromBeginning);
            while (!ends.isEmpty()) {
                if (System.nanoTime() > limit) {
                    throw new IllegalStateException("%d rows after %s, the end is not reached: %s".formatted(found, LIMIT, ends));
                }
                ScanRecords records = scanner.poll(POLL);
                for (TableBucket bucket : records.buckets()) {
                    long offset = -1;
                    for (ScanRecord record : records.records(bucket)) {
                        found++;
                        sum += sum(record.getRow());
                        offset = record.logOffset();
                    }
                    // A fetch of a bucket without more rows would keep the others waiting.
                    if (offset + 1 >= ends.get(bucket.getBucket())) {
                        ends.remove(bucket.getBucket());
                        scanner.unsubscribe(bucket.getBucket());
                    }
                }
            }
            before.print(found, sum, serverPids);
        }
    }

    /** The offset after the last row of each bucket that has rows. */
    private static Map<Integer, Long> ends(Connection connection) throws Exception {
        List<Integer> buckets = IntStream.range(0, Rows.BUCKETS).boxed().toList();
        try (Admin admin = connection.getAdmin()) {
            Map<Integer, Long> ends = new HashMap<>(admin.listOffsets(Client.TABLE, buckets, new OffsetSpec.LatestSpec()).all().get());
            ends.values().removeIf(end -> end == 0);
            return ends;
        }
    }

    private long sum(InternalRow row) {
        long sum = 0;
        for (int at = 0; at < numbers.length; at++) {
            sum += numbers[at] ? row.getLong(at) : row.getString(at).getSizeInBytes();
        }
        return sum;
    }

    /** Clocks and counters at the start of a pass. */
    private record Figures(long nanos, double cpuSeconds, double serverCpuSeconds, long loopbackBytes) {
        static Figures now(long[] serverPids, long nanos) throws IOException {
            double own = Usage.of(ProcessHandle.current().pid()).cpuSeconds();
            return new Figures(nanos, own, Usage.cpuSeconds(serverPids), Usage.loopbackBytes());
        }

        void print(long rows, long sum, long[] serverPids) throws IOException {
            double seconds = (System.nanoTime() - nanos) / 1e9;
            Usage own = Usage.of(ProcessHandle.current().pid());
            System.out.println(String.format(
                    Locale.ROOT,
                    "rows=%d sum=%d seconds=%.4f cpu_seconds=%.2f server_cpu_seconds=%.2f loopback_bytes=%d peak_rss_mib=%.1f",
                    rows,
                    sum,
                    seconds,
                    own.cpuSeconds() - cpuSeconds,
                    Usage.cpuSeconds(serverPids) - serverCpuSeconds,
                    Usage.loopbackBytes() - loopbackBytes,
                    own.peakRssMib()));
        }
    }
}
