package dev.weir.fluss;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.admin.Admin;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.client.table.writer.AppendWriter;
import org.apache.fluss.metadata.DatabaseDescriptor;
import org.apache.fluss.metadata.LogFormat;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.row.BinaryString;
import org.apache.fluss.row.GenericRow;
import org.apache.fluss.types.DataTypes;

/** A process that creates the table, fills it, and tells what readers must find. */
final class Writer {
    /** Rows of one sequence that follow each other, about a batch of the client; which bucket they come to is the client's choice. */
    private static final int RUN_ROWS = 1_000;

    private Writer() {}

    public static void main(String[] words) throws Exception {
        Map<String, String> arguments = Words.parse(words);
        try (Connection connection = Client.connect(arguments)) {
            try (Admin admin = connection.getAdmin()) {
                awaitTabletServer(admin);
                createTable(admin);
            }
            try (Table table = connection.getTable(Client.TABLE)) {
                fill(table.newAppend().createWriter(), Long.parseLong(arguments.get("rows")));
            }
        }
    }

    /** A table is created on the tablet servers that the coordinator knows of. */
    private static void awaitTabletServer(Admin admin) throws Exception {
        long until = System.nanoTime() + Duration.ofSeconds(30).toNanos();
        while (admin.getServerNodes().get().stream().noneMatch(node -> node.serverType().name().equals("TABLET_SERVER"))) {
            if (System.nanoTime() > until) {
                throw new IllegalStateException("the coordinator knows no tablet server");
            }
            Thread.sleep(100);
        }
    }

    private static void createTable(Admin admin) throws Exception {
        Schema.Builder schema = Schema.newBuilder();
        List<String> names = Rows.names();
        for (int at = 0; at < Rows.COLUMNS; at++) {
            schema.column(names.get(at), at < Rows.INTS ? DataTypes.BIGINT() : DataTypes.STRING());
        }
        // ZSTD at level 3 is the default.
        TableDescriptor table =
                TableDescriptor.builder().schema(schema.build()).distributedBy(Rows.BUCKETS).logFormat(LogFormat.ARROW).build();
        admin.createDatabase(Client.TABLE.getDatabaseName(), DatabaseDescriptor.EMPTY, true).get();
        admin.createTable(Client.TABLE, table, false).get();
        System.err.println(admin.getTableInfo(Client.TABLE).get());
    }

    private static void fill(AppendWriter writer, long rows) {
        List<Rows> sequences = new ArrayList<>();
        for (int bucket = 0; bucket < Rows.BUCKETS; bucket++) {
            sequences.add(new Rows(bucket));
        }
        List<String> names = Rows.names();
        long each = rows / Rows.BUCKETS;
        long jsonBytes = 0;
        long[] sums = new long[Rows.COLUMNS];
        long started = System.nanoTime();
        for (long first = 0; first < each; first += RUN_ROWS) {
            for (Rows sequence : sequences) {
                for (long at = first; at < Math.min(each, first + RUN_ROWS); at++) {
                    sequence.advance();
                    writer.append(row(sequence)).exceptionally(Writer::refused);
                    jsonBytes += sequence.jsonBytes(names);
                    for (int column = 0; column < Rows.COLUMNS; column++) {
                        sums[column] += sequence.value(column);
                    }
                }
            }
        }
        writer.flush();
        StringBuilder told = new StringBuilder("rows=" + each * Rows.BUCKETS + " json_bytes=" + jsonBytes);
        told.append(" seconds=").append((System.nanoTime() - started) / 1e9);
        for (int column = 0; column < Rows.COLUMNS; column++) {
            told.append(' ').append(names.get(column)).append('=').append(sums[column]);
        }
        System.out.println(told);
    }

    private static GenericRow row(Rows sequence) {
        GenericRow row = new GenericRow(Rows.COLUMNS);
        for (int column = 0; column < Rows.COLUMNS; column++) {
            row.setField(column, column < Rows.INTS ? sequence.number(column) : BinaryString.fromBytes(sequence.text(column)));
        }
        return row;
    }

    private static <T> T refused(Throwable error) {
        error.printStackTrace();
        System.exit(1);
        throw new IllegalStateException(error);
    }
}
