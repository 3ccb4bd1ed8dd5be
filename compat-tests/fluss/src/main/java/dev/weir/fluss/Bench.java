package dev.weir.fluss;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.ToDoubleFunction;
import java.util.stream.Stream;

/**
 * Starts the servers, has the table written, and has it read by one process after the other. Every pass of every reader must come to
 * the rows and the sum that the writer told. The temporary folder, with the logs of all processes, is kept when something fails.
 */
public final class Bench {
    private static final int[] PROJECTIONS = {20, 10, 5, 1};
    private static final long CHILD_MINUTES_MAX = 10;
    /** No heap without a bound; the collector is what the JVM chooses by itself. */
    private static final List<String> CHILD_JVM = List.of("-Xmx1g");

    private final Options options;
    private final Programs programs;
    private volatile Cluster cluster;
    private volatile Process child;

    private Bench(Options options, Path folder) {
        this.options = options;
        this.programs = new Programs(folder);
    }

    public static void main(String[] words) throws Exception {
        Options options;
        try {
            options = Options.parse(words);
        } catch (IllegalArgumentException e) {
            System.err.println(e.getMessage() + "; see the head of run.sh");
            System.exit(2);
            return;
        }
        Path folder = Files.createTempDirectory("weir-fluss-");
        Bench bench = new Bench(options, folder);
        // Also when the bench is interrupted.
        Runtime.getRuntime().addShutdownHook(new Thread(bench::stop));
        try {
            bench.run();
        } catch (IOException | RuntimeException e) {
            System.err.println("FAILED: " + e + "; logs are in " + folder);
            System.exit(1);
        }
        bench.stop();
        remove(folder);
    }

    private void run() throws IOException, InterruptedException {
        long started = System.nanoTime();
        cluster = new Cluster(programs, options.serverCpu());
        cluster.start();
        double ready = (System.nanoTime() - started) / 1e9;
        Map<String, String> written = write();
        System.out.printf(
                Locale.ROOT,
                "{\"ready_seconds\":%.1f,\"rows\":%s,\"json_bytes\":%s,\"write_seconds\":%s,\"log_bytes\":%d,\"servers_cpu_seconds\":%.1f}%n",
                ready,
                written.get("rows"),
                written.get("json_bytes"),
                written.get("seconds"),
                cluster.logBytes(),
                cpuSeconds());
        List<Passes> all = new ArrayList<>();
        for (int round = 1; round <= options.rounds(); round++) {
            for (int columns : PROJECTIONS) {
                Passes passes = read(round, columns, written);
                System.out.println(passes.json());
                all.add(passes);
            }
        }
        printServers();
        printMedians(all);
    }

    private Map<String, String> write() throws IOException, InterruptedException {
        List<String> words = words("dev.weir.fluss.Writer", "rows=" + options.rows());
        List<String> lines = child("writer", words);
        if (lines.size() != 1) {
            throw new IOException("the writer told " + lines);
        }
        return Words.parse(lines.get(0).split(" "));
    }

    private Passes read(int round, int columns, Map<String, String> written) throws IOException, InterruptedException {
        long rows = Long.parseLong(written.get("rows"));
        long sum = 0;
        for (String name : Rows.projection(columns)) {
            sum += Long.parseLong(written.get(name));
        }
        List<String> words = words(
                "dev.weir.fluss.Reader",
                "columns=" + columns,
                "seconds=" + options.seconds(),
                "servers=" + cluster.pids());
        List<Passes.Pass> passes = new ArrayList<>();
        for (String line : child("reader", words)) {
            Passes.Pass pass = pass(Words.parse(line.split(" ")));
            if (pass.rows() != rows || pass.sum() != sum) {
                throw new IOException("a pass over %d columns found %s, not %d rows and the sum %d".formatted(columns, pass, rows, sum));
            }
            passes.add(pass);
        }
        return new Passes(columns, round, passes);
    }

    private static Passes.Pass pass(Map<String, String> told) {
        return new Passes.Pass(
                Long.parseLong(told.get("rows")),
                Long.parseLong(told.get("sum")),
                Double.parseDouble(told.get("seconds")),
                Double.parseDouble(told.get("cpu_seconds")),
                Double.parseDouble(told.get("server_cpu_seconds")),
                Long.parseLong(told.get("loopback_bytes")),
                Double.parseDouble(told.get("peak_rss_mib")));
    }

    private List<String> words(String main, String... arguments) {
        List<String> words = new ArrayList<>(List.of(main, "bootstrap=" + cluster.bootstrap()));
        words.addAll(List.of(arguments));
        words.addAll(options.client());
        return words;
    }

    /** Runs a process of Fluss's client to its end; what it printed. */
    private List<String> child(String name, List<String> words) throws IOException, InterruptedException {
        Process process = programs.start(name, "client", options.readerCpu(), CHILD_JVM, words, true);
        child = process;
        // Its output ends with it, and this waits for that.
        CompletableFuture.delayedExecutor(CHILD_MINUTES_MAX, TimeUnit.MINUTES).execute(process::destroyForcibly);
        List<String> lines;
        try (BufferedReader output = process.inputReader()) {
            lines = output.lines().toList();
        }
        if (process.waitFor() != 0) {
            throw new IOException("the " + name + " did not end well, or not within " + CHILD_MINUTES_MAX + " minutes");
        }
        return lines;
    }

    private double cpuSeconds() throws IOException {
        double sum = 0;
        for (Process process : cluster.processes().values()) {
            sum += Usage.of(process.pid()).cpuSeconds();
        }
        return sum;
    }

    private void printServers() throws IOException {
        for (Map.Entry<String, Process> server : cluster.processes().entrySet()) {
            Usage usage = Usage.of(server.getValue().pid());
            System.out.printf(
                    Locale.ROOT,
                    "{\"server\":\"%s\",\"cpu_seconds\":%.2f,\"rss_mib\":%.1f,\"peak_rss_mib\":%.1f}%n",
                    server.getKey(),
                    usage.cpuSeconds(),
                    usage.rssMib(),
                    usage.peakRssMib());
        }
    }

    private static void printMedians(List<Passes> all) {
        System.out.println("medians of the rounds:");
        System.out.println("| columns | first pass, M rows/s | best later pass | median of the warm passes | reader CPU, s/M rows "
                + "| servers' CPU, s/M rows | wire, B/row | reader memory, MiB |");
        System.out.println("|---|---|---|---|---|---|---|---|");
        for (int columns : PROJECTIONS) {
            List<Passes> some = all.stream().filter(passes -> passes.columns() == columns).toList();
            System.out.printf(
                    Locale.ROOT,
                    "| %d | %.3f | %.3f | %.3f | %.2f | %.2f | %.1f | %.0f |%n",
                    columns,
                    median(some, passes -> passes.first().rowsPerSecond() / 1e6),
                    median(some, passes -> passes.best().rowsPerSecond() / 1e6),
                    median(some, passes -> passes.warmRowsPerSecond() / 1e6),
                    median(some, passes -> passes.cpuPerMillion(Passes.Pass::cpuSeconds)),
                    median(some, passes -> passes.cpuPerMillion(Passes.Pass::serverCpuSeconds)),
                    median(some, Passes::wireBytesPerRow),
                    median(some, Passes::peakRssMib));
        }
    }

    private static double median(List<Passes> some, ToDoubleFunction<Passes> figure) {
        return Passes.median(some.stream().map(figure::applyAsDouble).toList());
    }

    private synchronized void stop() {
        if (child != null) {
            child.destroyForcibly();
        }
        if (cluster != null) {
            cluster.close();
        }
    }

    private static void remove(Path folder) throws IOException {
        try (Stream<Path> paths = Files.walk(folder)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        }
    }
}
