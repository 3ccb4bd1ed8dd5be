package dev.weir.compat;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** Runs every check against one broker. Checks own their topics and groups, so several run at a time. */
public final class Main {
    private static final int DEFAULT_ROWS = 20_000;
    /** Most checks of groups only wait (session timeouts, rebalance delays). */
    private static final int CHECKS_AT_A_TIME = 4;

    private Main() {}

    public static void main(String[] args) throws Exception {
        if (args.length > 0 && args[0].equals("group-member")) {
            GroupMember.main(java.util.Arrays.copyOfRange(args, 1, args.length));
            return;
        }
        if (args.length > 0 && args[0].equals("share-member")) {
            ShareMember.main(java.util.Arrays.copyOfRange(args, 1, args.length));
            return;
        }
        if (args.length == 2 && args[0].equals("--secured")) {
            Secured.main(args[1]);
        }
        if (args.length == 2 && args[0].equals("--drain")) {
            Drain.main(args[1]);
        }
        Map<String, String> options = new LinkedHashMap<>();
        for (int i = 0; i < args.length; i += 2) {
            if (!args[i].startsWith("--") || i + 1 == args.length) {
                System.err.println("usage: --bootstrap HOST:PORT [--data FILE] [--rows N] [--broker weir|kafka] [--only CHECK]");
                System.exit(2);
            }
            options.put(args[i].substring(2), args[i + 1]);
        }
        String bootstrap = option(options, "bootstrap", "WEIRTEST_BOOTSTRAP", "127.0.0.1:9092");
        String data = option(options, "data", "WEIRTEST_DATA_FILE", System.getProperty("user.home") + "/.cache/weir/data/flights.jsonl");
        int rows = Integer.parseInt(option(options, "rows", "WEIRTEST_ROWS", Integer.toString(DEFAULT_ROWS)));
        String broker = option(options, "broker", "WEIRTEST_BROKER", "weir");
        Suite suite = new Suite(bootstrap, Flights.load(Path.of(data), rows), broker.equals("kafka"));

        Map<String, Suite.Check> checks = new LinkedHashMap<>();
        // The ones that wait longest come first, so that the others fill their pauses.
        GroupChecks.register(checks);
        GroupOfTwenty.register(checks);
        ConsumerGroupChecks.register(checks);
        ShareGroupChecks.register(checks);
        TransactionChecks.register(checks);
        ProduceChecks.register(checks);
        ConsumeChecks.register(checks);
        AdminChecks.register(checks);
        AdminGroupChecks.register(checks);
        String only = options.get("only");
        ExecutorService pool = Executors.newFixedThreadPool(CHECKS_AT_A_TIME);
        checks.forEach((name, check) -> {
            if (only == null || name.contains(only)) {
                pool.execute(() -> suite.run(name, check));
            }
        });
        pool.shutdown();
        if (!pool.awaitTermination(5, TimeUnit.MINUTES)) {
            System.err.println("checks still running after 5 minutes");
            System.exit(1);
        }
        System.exit(suite.finish() ? 0 : 1);
    }

    private static String option(Map<String, String> options, String name, String variable, String fallback) {
        if (options.containsKey(name)) {
            return options.get(name);
        }
        String value = System.getenv(variable);
        return value == null || value.isEmpty() ? fallback : value;
    }
}
