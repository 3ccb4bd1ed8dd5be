package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.get;
import static dev.weir.compat.Clients.same;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** Groups of the consumer protocol (KIP-848): the broker assigns, members hand over without stopping the others. */
final class ConsumerGroupChecks {
    private static final int PARTITIONS = 6;

    private ConsumerGroupChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("kip848-hand-over-and-leave", ConsumerGroupChecks::handOverAndLeave);
        checks.put("kip848-new-partitions-and-topics", ConsumerGroupChecks::newPartitionsAndTopics);
        checks.put("kip848-migration", ConsumerGroupChecks::migration);
        checks.put("kip848-static-member", ConsumerGroupChecks::staticMember);
        checks.put("kip848-describe-and-configs", ConsumerGroupChecks::describeAndConfigs);
    }

    private static KafkaConsumer<byte[], byte[]> member(Suite suite, String group, String... settings) {
        List<String> all = new ArrayList<>(List.of("group.id", group, "group.protocol", "consumer"));
        all.addAll(List.of(settings));
        return Clients.consumer(suite, all.toArray(String[]::new));
    }

    private static void poll(List<KafkaConsumer<byte[], byte[]>> members, Ledger.Seen seen, Suite.Counts counts) {
        for (KafkaConsumer<byte[], byte[]> member : members) {
            member.poll(Duration.ofMillis(50)).forEach(record -> seen.add(record, counts));
        }
    }

    /** The union of what the members have; fails if two have the same. */
    private static Set<TopicPartition> owned(List<KafkaConsumer<byte[], byte[]>> members) {
        Set<TopicPartition> all = new HashSet<>();
        members.forEach(m -> m.assignment().forEach(tp -> check(all.add(tp), tp + " has two owners")));
        return all;
    }

    private static void handOverAndLeave(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("kip848"));
        String group = suite.name("kip848-group");
        Clients.createTopic(suite, ledger.topic, PARTITIONS);
        Ledger.Seen seen = ledger.new Seen();
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "5");
                KafkaConsumer<byte[], byte[]> first = member(suite, group)) {
            ledger.produce(producer, suite.flights.first(3_000), counts);
            first.subscribe(List.of(ledger.topic));
            Clients.eventually("the only member has all partitions and rows", 30, () -> {
                poll(List.of(first), seen, counts);
                return first.assignment().size() == PARTITIONS && seen.size() == ledger.size();
            });
            first.commitSync();
            try (KafkaConsumer<byte[], byte[]> second = member(suite, group)) {
                second.subscribe(List.of(ledger.topic));
                Clients.eventually("each has a half", 30, () -> {
                    poll(List.of(first, second), seen, counts);
                    owned(List.of(first, second));
                    return first.assignment().size() == PARTITIONS / 2 && second.assignment().size() == PARTITIONS / 2;
                });
                ledger.produce(producer, suite.flights.rows.subList(3_000, 5_000), counts);
                Clients.eventually("the two have seen every row", 30, () -> {
                    poll(List.of(first, second), seen, counts);
                    return seen.size() == ledger.size();
                });
                first.commitSync();
                second.commitSync();
            }
            long left = System.nanoTime();
            Clients.eventually("the half of the one that left comes back", 10, () -> {
                poll(List.of(first), seen, counts);
                return first.assignment().size() == PARTITIONS;
            });
            long waited = (System.nanoTime() - left) / 1_000_000;
            check(suite.targetIsKafka || waited < 2_000, "partitions were without an owner for " + waited + " ms");
            for (TopicPartition tp : ledger.partitions()) {
                same(ledger.acked.get(tp.partition()).lastKey() + 1, first.committed(Set.of(tp)).get(tp).offset(), "committed " + tp);
            }
        }
    }

    private static void newPartitionsAndTopics(Suite suite, Suite.Counts counts) throws Exception {
        String prefix = suite.name("kip848-regex-");
        Clients.createTopic(suite, prefix + "a", 2);
        try (Admin admin = Clients.admin(suite); KafkaConsumer<byte[], byte[]> one = member(suite, suite.name("kip848-regex"))) {
            one.subscribe(new SubscriptionPattern(Pattern.quote(prefix) + "[ab]"));
            eventuallyOwns(one, 2);
            get(admin.createPartitions(Map.of(prefix + "a", NewPartitions.increaseTo(5))).all());
            eventuallyOwns(one, 5);
            Clients.createTopic(suite, prefix + "b", 3);
            Clients.createTopic(suite, prefix + "c", 3);
            // Apache Kafka resolves expressions again only every 10 minutes.
            if (!suite.targetIsKafka) {
                eventuallyOwns(one, 8);
            }
            check(one.assignment().stream().noneMatch(tp -> tp.topic().endsWith("c")), "only topics that match");
            get(admin.deleteTopics(List.of(prefix + "a")).all());
            Clients.eventually("a deleted topic is given up", 20, () -> {
                one.poll(Duration.ofMillis(100));
                return one.assignment().stream().noneMatch(tp -> tp.topic().endsWith("a"));
            });
        }
    }

    private static void eventuallyOwns(KafkaConsumer<byte[], byte[]> member, int partitions) throws Exception {
        Clients.eventually("it owns " + partitions + " partitions", 30, () -> {
            member.poll(Duration.ofMillis(100));
            return member.assignment().size() == partitions;
        });
    }

    /** A classic group goes over while its member goes on, and back again. */
    private static void migration(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("kip848-migration");
        String group = suite.name("kip848-migration-group");
        Clients.createTopic(suite, topic, PARTITIONS);
        try (Admin admin = Clients.admin(suite);
                KafkaConsumer<byte[], byte[]> old = Clients.consumer(suite, "group.id", group, "session.timeout.ms", "10000",
                        "heartbeat.interval.ms", "300")) {
            old.subscribe(List.of(topic));
            eventuallyOwns(old, PARTITIONS);
            same(GroupType.CLASSIC, typeOf(admin, group), "type of the group at first");
            try (KafkaConsumer<byte[], byte[]> newer = member(suite, group)) {
                newer.subscribe(List.of(topic));
                Clients.eventually("the two protocols share the partitions", 40, () -> {
                    old.poll(Duration.ofMillis(50));
                    newer.poll(Duration.ofMillis(50));
                    owned(List.of(old, newer));
                    return old.assignment().size() == PARTITIONS / 2 && newer.assignment().size() == PARTITIONS / 2;
                });
                same(GroupType.CONSUMER, typeOf(admin, group), "type of the group with both");
            }
            eventuallyOwns(old, PARTITIONS);
            same(GroupType.CLASSIC, typeOf(admin, group), "type of the group in the end");
        }
    }

    private static GroupType typeOf(Admin admin, String group) throws Exception {
        return get(admin.listGroups(new ListGroupsOptions()).all()).stream()
                .filter(listing -> listing.groupId().equals(group)).findFirst().orElseThrow().type().orElseThrow();
    }

    private static void staticMember(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("kip848-static");
        String group = suite.name("kip848-static-group");
        Clients.createTopic(suite, topic, PARTITIONS);
        try (KafkaConsumer<byte[], byte[]> one = member(suite, group, "group.instance.id", "one")) {
            one.subscribe(List.of(topic));
            Set<TopicPartition> before;
            try (KafkaConsumer<byte[], byte[]> two = member(suite, group, "group.instance.id", "two")) {
                two.subscribe(List.of(topic));
                Clients.eventually("each has a half", 30, () -> {
                    one.poll(Duration.ofMillis(50));
                    two.poll(Duration.ofMillis(50));
                    return one.assignment().size() == PARTITIONS / 2 && two.assignment().size() == PARTITIONS / 2;
                });
                before = Set.copyOf(two.assignment());
            }
            // It has left for a moment: nobody gets what it has.
            long until = System.nanoTime() + Duration.ofMillis(2_500).toNanos();
            Clients.eventually("a quiet time", 10, () -> {
                one.poll(Duration.ofMillis(100));
                return System.nanoTime() > until;
            });
            same(PARTITIONS / 2, one.assignment().size(), "partitions of the one that stayed");
            try (KafkaConsumer<byte[], byte[]> again = member(suite, group, "group.instance.id", "two")) {
                again.subscribe(List.of(topic));
                Clients.eventually("the restarted member has its partitions", 10, () -> {
                    one.poll(Duration.ofMillis(50));
                    again.poll(Duration.ofMillis(50));
                    return before.equals(again.assignment());
                });
            }
        }
    }

    private static void describeAndConfigs(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("kip848-described");
        String group = suite.name("kip848-described-group");
        Clients.createTopic(suite, topic, PARTITIONS);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
        try (Admin admin = Clients.admin(suite); KafkaConsumer<byte[], byte[]> one = member(suite, group, "group.remote.assignor", "range")) {
            AlterConfigOp set = new AlterConfigOp(new ConfigEntry("consumer.heartbeat.interval.ms", "6000"), AlterConfigOp.OpType.SET);
            get(admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all());
            Clients.eventually("the group's config is told", 10, () -> "6000".equals(
                    get(admin.describeConfigs(List.of(resource)).all()).get(resource).get("consumer.heartbeat.interval.ms").value()));
            one.subscribe(List.of(topic));
            eventuallyOwns(one, PARTITIONS);
            ConsumerGroupDescription told = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            same(GroupType.CONSUMER, told.type(), "type");
            same(GroupState.STABLE, told.groupState(), "state");
            same("range", told.partitionAssignor(), "assignor");
            same(1, told.members().size(), "members");
            same(PARTITIONS, told.members().iterator().next().assignment().topicPartitions().size(), "partitions of the member");
            same(told.groupEpoch(), told.targetAssignmentEpoch(), "epochs");
            one.unsubscribe();
            Clients.eventually("the group is empty", 10, () -> get(admin.describeConsumerGroups(List.of(group)).all()).get(group)
                    .groupState() == GroupState.EMPTY);
            get(admin.deleteConsumerGroups(List.of(group)).all());
            check(get(admin.listGroups().all()).stream().noneMatch(g -> g.groupId().equals(group)), "the deleted group is not listed");
        }
    }
}
