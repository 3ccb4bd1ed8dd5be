package dev.weir.fluss;

import java.util.ArrayList;
import java.util.List;

/** The command line. */
record Options(long rows, int rounds, double seconds, String serverCpu, String readerCpu, List<String> client) {
    static Options parse(String[] words) {
        long rows = 200_000;
        int rounds = 3;
        double seconds = 20;
        String serverCpu = "0";
        String readerCpu = "1";
        List<String> client = new ArrayList<>();
        for (int at = 0; at < words.length; at += 2) {
            if (at + 1 == words.length) {
                throw new IllegalArgumentException(words[at] + " needs a value");
            }
            String value = words[at + 1];
            switch (words[at]) {
                case "--rows" -> rows = Long.parseLong(value);
                case "--rounds" -> rounds = Integer.parseInt(value);
                case "--seconds" -> seconds = Double.parseDouble(value);
                case "--server-cpu" -> serverCpu = value;
                case "--reader-cpu" -> readerCpu = value;
                case "--client" -> client.add(value);
                default -> throw new IllegalArgumentException("unknown argument " + words[at]);
            }
        }
        if (rows < Rows.BUCKETS || rounds < 1) {
            throw new IllegalArgumentException("at least " + Rows.BUCKETS + " rows and one round");
        }
        return new Options(rows, rounds, seconds, serverCpu, readerCpu, List.copyOf(client));
    }
}
