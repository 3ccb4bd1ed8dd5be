package dev.weir.fluss;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** CPU seconds (user and system) and memory of a process, from /proc. */
record Usage(double cpuSeconds, double rssMib, double peakRssMib) {
    private static final double TICKS_A_SECOND = 100;

    static Usage of(long pid) throws IOException {
        String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
        // The command name may hold spaces; fields are counted after its closing bracket.
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        long ticks = Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
        List<String> status = Files.readAllLines(Path.of("/proc/" + pid + "/status"));
        return new Usage(ticks / TICKS_A_SECOND, mib(status, "VmRSS:"), mib(status, "VmHWM:"));
    }

    static double cpuSeconds(long[] pids) throws IOException {
        double sum = 0;
        for (long pid : pids) {
            sum += of(pid).cpuSeconds;
        }
        return sum;
    }

    private static double mib(List<String> status, String name) throws IOException {
        for (String line : status) {
            if (line.startsWith(name)) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) / 1024.0;
            }
        }
        throw new IOException("no " + name + " in /proc");
    }

    /** Bytes that left the loopback interface: what all processes of this machine sent each other. */
    static long loopbackBytes() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/net/dev"))) {
            String words = line.strip();
            if (words.startsWith("lo:")) {
                return Long.parseLong(words.substring(3).strip().split("\\s+")[8]);
            }
        }
        throw new IOException("no loopback interface in /proc/net/dev");
    }
}
