package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.same;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;

/** Classic groups: rebalances, a member that dies, static members, the cooperative protocol. */
final class GroupChecks {
    private static final int PARTITIONS = 6;

    private GroupChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("group-rebalance-and-death", GroupChecks::rebalanceAndDeath);
        checks.put("static-membership", GroupChecks::staticMembership);
        checks.put("cooperative-sticky", GroupChecks::cooperativeSticky);
        checks.put("leave-hands-over-at-once", GroupChecks::leaveHandsOver);
    }

    /** Counts what a member was given and what was taken from it. */
    private static final class Watch implements ConsumerRebalanceListener {
        final List<Set<TopicPartition>> assigned = new ArrayList<>();
        final List<Set<TopicPartition>> revoked = new ArrayList<>();

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            assigned.add(Set.copyOf(partitions));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            revoked.add(Set.copyOf(partitions));
        }
    }

    /** A second member joins, takes half, dies by SIGKILL; its half comes back after the session timeout, uncommitted rows again. */
    private static void rebalanceAndDeath(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("rebalance"));
        String group = suite.name("rebalance-group");
        Clients.createTopic(suite, ledger.topic, PARTITIONS);
        Ledger.Seen seen = ledger.new Seen();
        Watch watch = new Watch();
        Process second = null;
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "5");
                KafkaConsumer<byte[], byte[]> first = Clients.consumer(suite, "group.id", group,
                        "session.timeout.ms", "6000", "heartbeat.interval.ms", "500")) {
            ledger.produce(producer, suite.flights.first(3_000), counts);
            first.subscribe(List.of(ledger.topic), watch);
            Clients.eventually("the only member has all partitions and rows", 30, () -> {
                poll(first, seen, counts);
                return first.assignment().size() == PARTITIONS && seen.size() == ledger.size();
            });
            first.commitSync();

            second = startMember(suite.bootstrap, group, ledger.topic);
            BufferedReader told = new BufferedReader(new InputStreamReader(second.getInputStream()));
            Clients.eventually("the second member takes its half", 40, () -> {
                poll(first, seen, counts);
                return first.assignment().size() == PARTITIONS / 2 && told.ready();
            });
            same("assigned " + PARTITIONS / 2, told.readLine(), "assignment of the second member");

            // Rows for all partitions, some of which the second member now reads and never commits.
            ledger.produce(producer, suite.flights.rows.subList(suite.flights.rows.size() / 2, suite.flights.rows.size()), counts);
            long dead = System.nanoTime();
            second.destroyForcibly().waitFor();
            Clients.eventually("the partitions of the dead member come back", 40, () -> {
                poll(first, seen, counts);
                return first.assignment().size() == PARTITIONS;
            });
            long waited = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - dead);
            check(waited > 3_000, "the dead member's session ended after " + waited + " ms already, its timeout is 6000 ms");
            // An eager rebalance starts all partitions from the last commit again, so seen rows are not yet a reached end.
            Clients.eventually("the member that lives has seen every row and stands at the ends", 30, () -> {
                poll(first, seen, counts);
                return seen.size() == ledger.size() && ledger.partitions().stream()
                        .allMatch(tp -> first.position(tp) == ledger.acked.get(tp.partition()).lastKey() + 1);
            });
            first.commitSync();
            for (TopicPartition tp : ledger.partitions()) {
                same(ledger.acked.get(tp.partition()).lastKey() + 1, first.committed(Set.of(tp)).get(tp).offset(), "committed " + tp);
            }
        } finally {
            if (second != null) {
                second.destroyForcibly();
            }
        }
    }

    private static Process startMember(String bootstrap, String group, String topic) throws Exception {
        return process("group-member", bootstrap, group, topic);
    }

    /** A part of this program in a process of its own. */
    static Process process(String... arguments) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx128m", "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"), "dev.weir.compat.Main"));
        command.addAll(List.of(arguments));
        return new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    }

    /** A static member that comes back within its session gets its partitions back, and nobody rebalances. */
    private static void staticMembership(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("static");
        String group = suite.name("static-group");
        Clients.createTopic(suite, topic, PARTITIONS);
        String[] common = {"group.id", group, "session.timeout.ms", "20000", "heartbeat.interval.ms", "300"};
        Watch watchFirst = new Watch();
        try (KafkaConsumer<byte[], byte[]> first = member(suite, common, "one")) {
            first.subscribe(List.of(topic), watchFirst);
            KafkaConsumer<byte[], byte[]> second = member(suite, common, "two");
            Set<TopicPartition> before;
            int generation;
            try {
                second.subscribe(List.of(topic));
                both(first, second, "both static members have a half", 40,
                        () -> first.assignment().size() == PARTITIONS / 2 && second.assignment().size() == PARTITIONS / 2);
                before = Set.copyOf(second.assignment());
                generation = first.groupMetadata().generationId();
                same(generation, second.groupMetadata().generationId(), "generation of the two");
            } finally {
                second.close(); // a static member does not leave the group when it closes
            }
            int rebalances = watchFirst.assigned.size();
            try (KafkaConsumer<byte[], byte[]> again = member(suite, common, "two")) {
                again.subscribe(List.of(topic));
                both(first, again, "the restarted member has its partitions", 10, () -> !again.assignment().isEmpty());
                same(before, again.assignment(), "partitions of the restarted member");
                same(generation, again.groupMetadata().generationId(), "generation after the restart");
                // Some heartbeats later still nobody was told to rejoin.
                long until = System.nanoTime() + Duration.ofMillis(1500).toNanos();
                both(first, again, "a quiet time", 10, () -> System.nanoTime() > until);
                same(rebalances, watchFirst.assigned.size(), "rebalances that the other member saw");
                same(generation, first.groupMetadata().generationId(), "generation of the other member");

                // A third process with the same instance id takes over: the one before it is fenced.
                try (KafkaConsumer<byte[], byte[]> thief = member(suite, common, "two")) {
                    thief.subscribe(List.of(topic));
                    Clients.eventually("the thief has the partitions", 20, () -> {
                        first.poll(Duration.ofMillis(50));
                        thief.poll(Duration.ofMillis(50));
                        return before.equals(thief.assignment());
                    });
                    Clients.eventually("the fenced member is told so", 20, () -> {
                        try {
                            again.poll(Duration.ofMillis(100));
                            return false;
                        } catch (FencedInstanceIdException expected) {
                            return true;
                        }
                    });
                }
            }
        }
    }

    private static KafkaConsumer<byte[], byte[]> member(Suite suite, String[] common, String instance) {
        List<String> settings = new ArrayList<>(List.of(common));
        settings.addAll(List.of("group.instance.id", instance, "client.id", instance));
        return Clients.consumer(suite, settings.toArray(String[]::new));
    }

    /** The first member keeps reading what it keeps: only the handed-over half is ever revoked. */
    private static void cooperativeSticky(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("cooperative"));
        Clients.createTopic(suite, ledger.topic, PARTITIONS);
        String[] settings = {"group.id", suite.name("cooperative-group"), "session.timeout.ms", "10000",
            "heartbeat.interval.ms", "300", "partition.assignment.strategy", CooperativeStickyAssignor.class.getName()};
        Ledger.Seen seen = ledger.new Seen();
        Watch watch = new Watch();
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "5");
                KafkaConsumer<byte[], byte[]> first = Clients.consumer(suite, settings)) {
            ledger.produce(producer, suite.flights.first(3_000), counts);
            first.subscribe(List.of(ledger.topic), watch);
            Clients.eventually("the only member has all", 30, () -> {
                poll(first, seen, counts);
                return first.assignment().size() == PARTITIONS && seen.size() == ledger.size();
            });
            first.commitSync();
            Set<TopicPartition> all = Set.copyOf(first.assignment());
            try (KafkaConsumer<byte[], byte[]> second = Clients.consumer(suite, settings)) {
                second.subscribe(List.of(ledger.topic));
                Clients.eventually("each has a half", 40, () -> {
                    poll(first, seen, counts);
                    poll(second, seen, counts);
                    return first.assignment().size() == PARTITIONS / 2 && second.assignment().size() == PARTITIONS / 2;
                });
                Set<TopicPartition> union = new HashSet<>(first.assignment());
                union.addAll(second.assignment());
                same(all, union, "partitions of the two");
                same(List.of(Set.copyOf(second.assignment())),
                        watch.revoked.stream().filter(set -> !set.isEmpty()).toList(), "what was ever revoked");
            }
            Clients.eventually("the half of the member that left comes back", 20, () -> {
                poll(first, seen, counts);
                return first.assignment().equals(all);
            });
        }
    }

    /** A member that closes leaves, so that its partitions move long before its session would end. */
    private static void leaveHandsOver(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("leave");
        Clients.createTopic(suite, topic, PARTITIONS);
        String[] settings = {"group.id", suite.name("leave-group"), "session.timeout.ms", "45000", "heartbeat.interval.ms", "300"};
        try (KafkaConsumer<byte[], byte[]> first = Clients.consumer(suite, settings)) {
            first.subscribe(List.of(topic));
            try (KafkaConsumer<byte[], byte[]> second = Clients.consumer(suite, settings)) {
                second.subscribe(List.of(topic));
                both(first, second, "each has a half", 40,
                        () -> first.assignment().size() == PARTITIONS / 2 && second.assignment().size() == PARTITIONS / 2);
            }
            Clients.eventually("all partitions are back", 10, () -> {
                first.poll(Duration.ofMillis(100));
                return first.assignment().size() == PARTITIONS;
            });
        }
    }

    private static void poll(KafkaConsumer<byte[], byte[]> consumer, Ledger.Seen seen, Suite.Counts counts) {
        consumer.poll(Duration.ofMillis(100)).forEach(record -> seen.add(record, counts));
    }

    private static void both(KafkaConsumer<byte[], byte[]> one, KafkaConsumer<byte[], byte[]> two, String what, long seconds,
            java.util.concurrent.Callable<Boolean> condition) throws Exception {
        Clients.eventually(what, seconds, () -> {
            one.poll(Duration.ofMillis(100));
            two.poll(Duration.ofMillis(100));
            return condition.call();
        });
    }
}
