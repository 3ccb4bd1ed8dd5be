package dev.weir.fluss;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * The table and the rows of the bench `columns-20`: the same columns, the same pseudo-random numbers, so that both come to the same sums
 * and the same bytes of JSON. (There JSON is what is sent; here it is only measured.)
 */
final class Rows {
    /** As many as the other table has partitions; each has a sequence of rows of its own. */
    static final int BUCKETS = 4;

    private static final long[] INT_LIMITS = {1_000, 1 << 20, 1L << 40};
    private static final int TEXTS = 16;
    private static final int TEXT_BYTES = 108;
    /** An odd multiplier that spreads bits. */
    private static final long SPREAD = 0x9e3779b97f4a7c15L;

    static final int INTS = INT_LIMITS.length + 1;
    static final int COLUMNS = INTS + TEXTS;

    private final long[] ints = new long[INTS];
    private final byte[][] texts = new byte[TEXTS][];
    private final StringBuilder text = new StringBuilder();
    private long random;
    private long number;

    Rows(int bucket) {
        random = bucket * SPREAD | 1;
    }

    static List<String> names() {
        List<String> names = new ArrayList<>();
        for (int at = 0; at < INTS; at++) {
            names.add("int_%02d".formatted(at));
        }
        for (int at = 0; at < TEXTS; at++) {
            names.add("text_%02d".formatted(at));
        }
        return names;
    }

    /** Every fourth or fifth column is a number, as in the table. */
    static List<String> projection(int columns) {
        int numbers = Math.max(1, columns / 5);
        List<String> names = new ArrayList<>(names().subList(0, numbers));
        names.addAll(names().subList(INTS, INTS + columns - numbers));
        return names;
    }

    /** Below a limit: xorshift, then the upper bits of a product. */
    private long below(long limit) {
        random ^= random << 13;
        random ^= random >>> 7;
        random ^= random << 17;
        return ((random * SPREAD) >>> 11) % limit;
    }

    /** The next row, in {@link #number(int)} and {@link #text(int)}. */
    void advance() {
        ints[0] = number++;
        for (int at = 0; at < INT_LIMITS.length; at++) {
            ints[at + 1] = below(INT_LIMITS[at]);
        }
        for (int at = 0; at < TEXTS; at++) {
            text.setLength(0);
            // The bytes of the text count with their opening quote.
            while (text.length() + 1 < TEXT_BYTES) {
                text.append(Long.toHexString((SPREAD * (below(1_000) + 1)) >>> 40)).append(' ');
            }
            texts[at] = text.toString().getBytes(StandardCharsets.US_ASCII);
        }
    }

    long number(int column) {
        return ints[column];
    }

    byte[] text(int column) {
        return texts[column - INTS];
    }

    /** What a reader adds up for a column of this row: numbers, and lengths of texts. */
    long value(int column) {
        return column < INTS ? ints[column] : text(column).length;
    }

    /** Bytes of this row as a JSON object without spaces. */
    long jsonBytes(List<String> names) {
        long bytes = 1;
        for (int at = 0; at < COLUMNS; at++) {
            int value = at < INTS ? Long.toString(ints[at]).length() : text(at).length + 2;
            bytes += 1 + names.get(at).length() + 3 + value;
        }
        return bytes;
    }
}
