package dev.weir.fluss;

import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/** What one reader process did: its first pass over the table, and the ones after it. */
record Passes(int columns, int round, List<Pass> passes) {
    /** Whose seconds are printed, to see the reader warm up. */
    private static final int SHOWN_PASSES = 40;

    record Pass(
            long rows, long sum, double seconds, double cpuSeconds, double serverCpuSeconds, long loopbackBytes, double peakRssMib) {
        double rowsPerSecond() {
            return rows / seconds;
        }
    }

    Pass first() {
        return passes.get(0);
    }

    private List<Pass> later() {
        return passes.subList(1, passes.size());
    }

    Pass best() {
        return later().stream().min(Comparator.comparingDouble(Pass::seconds)).orElseThrow();
    }

    /** The later half of the later passes: when most of the compiler's work is done. */
    private List<Pass> warm() {
        return later().subList(later().size() / 2, later().size());
    }

    double warmRowsPerSecond() {
        return median(warm().stream().map(Pass::rowsPerSecond).toList());
    }

    /** Counted in ticks of 10 ms, of which short passes have few: so of all warm passes together, for a million rows. */
    double cpuPerMillion(ToDoubleFunction<Pass> cpuSeconds) {
        return warm().stream().mapToDouble(cpuSeconds).sum() * 1e6 / warm().stream().mapToLong(Pass::rows).sum();
    }

    double wireBytesPerRow() {
        return median(warm().stream().map(pass -> (double) pass.loopbackBytes() / pass.rows()).toList());
    }

    double peakRssMib() {
        return passes.get(passes.size() - 1).peakRssMib();
    }

    String json() {
        return line("first", first()) + "\n" + line("best", best()) + "\n"
                + String.format(
                        Locale.ROOT,
                        "{\"round\":%d,\"columns\":%d,\"pass\":\"warm\",\"passes\":%d,\"rows\":%d,\"median_rows_per_second\":%.0f,"
                                + "\"reader_cpu_s_per_m_rows\":%.3f,\"servers_cpu_s_per_m_rows\":%.3f,\"wire_bytes_per_row\":%.1f,"
                                + "\"reader_peak_rss_mib\":%.1f,\"seconds_of_first_passes\":%s}",
                        round,
                        columns,
                        warm().size(),
                        first().rows(),
                        warmRowsPerSecond(),
                        cpuPerMillion(Pass::cpuSeconds),
                        cpuPerMillion(Pass::serverCpuSeconds),
                        wireBytesPerRow(),
                        peakRssMib(),
                        passes.stream().limit(SHOWN_PASSES).map(pass -> String.format(Locale.ROOT, "%.2f", pass.seconds())).toList());
    }

    private String line(String name, Pass pass) {
        return String.format(
                Locale.ROOT,
                "{\"round\":%d,\"columns\":%d,\"pass\":\"%s\",\"rows\":%d,\"sum\":%d,\"seconds\":%.3f,\"rows_per_second\":%.0f,"
                        + "\"reader_cpu_seconds\":%.2f,\"servers_cpu_seconds\":%.2f}",
                round,
                columns,
                name,
                pass.rows(),
                pass.sum(),
                pass.seconds(),
                pass.rowsPerSecond(),
                pass.cpuSeconds(),
                pass.serverCpuSeconds());
    }

    static double median(List<Double> values) {
        List<Double> sorted = values.stream().sorted().toList();
        int middle = sorted.size() / 2;
        return sorted.size() % 2 == 1 ? sorted.get(middle) : (sorted.get(middle - 1) + sorted.get(middle)) / 2;
    }
}
