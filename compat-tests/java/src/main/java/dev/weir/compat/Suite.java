package dev.weir.compat;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;

/** Where the suite runs and what it has counted; prints one JSON line per check. */
final class Suite {
    /** One check: what it does, and the counts it reports. */
    interface Check {
        void run(Suite suite, Counts counts) throws Exception;
    }

    /** Records that a check produced and consumed; records compared byte for byte, and single assertions. */
    static final class Counts {
        final AtomicLong produced = new AtomicLong();
        final AtomicLong consumed = new AtomicLong();
        final AtomicLong compared = new AtomicLong();
    }

    /** The counts of the check that runs on this thread. */
    private static final ThreadLocal<Counts> CURRENT = new ThreadLocal<>();

    private static final ObjectMapper JSON = new ObjectMapper();

    final String bootstrap;
    final Flights flights;
    /** True when the broker is Apache Kafka itself: it refuses a replication factor above its broker count, weir does not. */
    final boolean targetIsKafka;

    private final String run = Long.toString(System.currentTimeMillis() % 1_000_000_000L, 36);
    private final Counts totals = new Counts();
    private final AtomicLong passed = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();

    Suite(String bootstrap, Flights flights, boolean targetIsKafka) {
        this.bootstrap = bootstrap;
        this.flights = flights;
        this.targetIsKafka = targetIsKafka;
    }

    /** A name that no earlier run against the same broker has used. */
    String name(String suffix) {
        return "java-" + run + "-" + suffix;
    }

    /** Counts one assertion of the running check, so that a check without records is seen to have done something. */
    static void asserted() {
        Counts counts = CURRENT.get();
        if (counts != null) {
            counts.compared.incrementAndGet();
        }
    }

    void run(String name, Check check) {
        Counts counts = new Counts();
        CURRENT.set(counts);
        long started = System.nanoTime();
        String detail = null;
        try {
            check.run(this, counts);
        } catch (Throwable problem) {
            StringWriter trace = new StringWriter();
            problem.printStackTrace(new PrintWriter(trace));
            detail = trace.toString();
        }
        boolean ok = detail == null;
        (ok ? passed : failed).incrementAndGet();
        totals.produced.addAndGet(counts.produced.get());
        totals.consumed.addAndGet(counts.consumed.get());
        totals.compared.addAndGet(counts.compared.get());
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("client", "java");
        line.put("check", name);
        line.put("ok", ok);
        put(line, counts);
        line.put("seconds", (System.nanoTime() - started) / 10_000_000L / 100.0);
        line.put("detail", ok ? "" : detail);
        print(line);
    }

    /** Prints the summary line; the suite's exit code follows from the answer. */
    boolean finish() {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("client", "java");
        line.put("summary", true);
        line.put("ok", failed.get() == 0 && passed.get() > 0);
        line.put("passed", passed.get());
        line.put("failed", failed.get());
        put(line, totals);
        print(line);
        return failed.get() == 0 && passed.get() > 0;
    }

    private static void put(Map<String, Object> line, Counts counts) {
        line.put("produced", counts.produced.get());
        line.put("consumed", counts.consumed.get());
        line.put("compared", counts.compared.get());
    }

    private static synchronized void print(Map<String, Object> line) {
        try {
            System.out.println(JSON.writeValueAsString(line));
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }
}
