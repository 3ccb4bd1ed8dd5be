package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.get;
import static dev.weir.compat.Clients.same;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ShareGroupDescription;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Share groups (KIP-932): each record goes to one member at a time, and comes again until somebody is done with it. */
final class ShareGroupChecks {
    private static final int PARTITIONS = 3;

    private ShareGroupChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("share-member-dies", ShareGroupChecks::memberDies);
        checks.put("share-explicit", ShareGroupChecks::explicit);
        checks.put("share-implicit", ShareGroupChecks::implicit);
        checks.put("share-released-too-often", ShareGroupChecks::releasedTooOften);
        checks.put("share-read-committed", ShareGroupChecks::readCommitted);
        checks.put("share-admin", ShareGroupChecks::admin);
    }

    static KafkaShareConsumer<byte[], byte[]> member(String bootstrap, String group, String... settings) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", group);
        config.put("default.api.timeout.ms", "20000");
        config.put("request.timeout.ms", "15000");
        for (int i = 0; i < settings.length; i += 2) {
            config.put(settings[i], settings[i + 1]);
        }
        return new KafkaShareConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static KafkaShareConsumer<byte[], byte[]> explicitMember(Suite suite, String group) {
        return member(suite.bootstrap, group, "share.acknowledgement.mode", "explicit", "max.poll.records", "100");
    }

    /** Sets a config of the group, and waits until it is told. */
    private static void configure(Suite suite, String group, String name, String value) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
        try (Admin admin = Clients.admin(suite)) {
            AlterConfigOp set = new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
            get(admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all());
            Clients.eventually("the group's config is told", 10, () ->
                    value.equals(get(admin.describeConfigs(List.of(resource)).all()).get(resource).get(name).value()));
        }
    }

    private static void commit(KafkaShareConsumer<byte[], byte[]> member) {
        Map<TopicIdPartition, Optional<KafkaException>> outcomes = member.commitSync();
        outcomes.forEach((partition, error) -> check(error.isEmpty(), partition + ": " + error));
    }

    private static String where(ConsumerRecord<byte[], byte[]> record) {
        return record.partition() + "@" + record.offset();
    }

    /** Three members, each decides about each record: most are accepted, some released or rejected at first sight. */
    private static void explicit(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("share-explicit"));
        String group = suite.name("share-explicit-group");
        Clients.createTopic(suite, ledger.topic, PARTITIONS);
        configure(suite, group, "share.auto.offset.reset", "earliest");
        Map<String, Integer> deliveries = new HashMap<>();
        Map<String, AcknowledgeType> done = new HashMap<>();
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "5", "batch.size", "4000")) {
            ledger.produce(producer, suite.flights.first(3_000), counts);
        }
        try (KafkaShareConsumer<byte[], byte[]> first = explicitMember(suite, group);
                KafkaShareConsumer<byte[], byte[]> second = explicitMember(suite, group);
                KafkaShareConsumer<byte[], byte[]> third = explicitMember(suite, group)) {
            List<KafkaShareConsumer<byte[], byte[]>> members = List.of(first, second, third);
            int[] by = new int[members.size()];
            members.forEach(member -> member.subscribe(List.of(ledger.topic)));
            Clients.eventually("every record is accepted or rejected", 90, () -> {
                for (int i = 0; i < by.length; i++) {
                    KafkaShareConsumer<byte[], byte[]> member = members.get(i);
                    for (ConsumerRecord<byte[], byte[]> record : member.poll(Duration.ofMillis(100))) {
                        counts.consumed.incrementAndGet();
                        ledger.compare(record, counts);
                        check(!done.containsKey(where(record)), where(record) + " came again after " + done.get(where(record)));
                        int delivery = deliveries.merge(where(record), 1, Integer::sum);
                        Clients.equal(delivery, (int) record.deliveryCount().orElseThrow(), "deliveries of " + where(record));
                        AcknowledgeType type = AcknowledgeType.ACCEPT;
                        if (delivery == 1 && record.offset() % 10 == 3) {
                            type = AcknowledgeType.RELEASE;
                        } else if (record.offset() % 10 == 7) {
                            type = AcknowledgeType.REJECT;
                        }
                        member.acknowledge(record, type);
                        if (type != AcknowledgeType.RELEASE) {
                            done.put(where(record), type);
                        }
                        by[i]++;
                    }
                    commit(member);
                }
                return done.size() == ledger.size();
            });
            for (int count : by) {
                check(count > 0, "every member has had records");
            }
            for (KafkaShareConsumer<byte[], byte[]> member : members) {
                same(0, member.poll(Duration.ofMillis(500)).count(), "records after the last one");
            }
        }
        same(ledger.size(), (long) done.size(), "records that somebody is done with");
        long released = deliveries.values().stream().filter(delivery -> delivery == 2).count();
        check(released > 0 && deliveries.values().stream().noneMatch(delivery -> delivery > 2), "released records came once more");
    }

    /** What a member polled is accepted with its next poll or commit; what it has not when it is closed comes again. */
    private static void implicit(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("share-implicit"));
        String group = suite.name("share-implicit-group");
        Clients.createTopic(suite, ledger.topic, PARTITIONS);
        configure(suite, group, "share.auto.offset.reset", "earliest");
        Ledger.Seen seen = ledger.new Seen();
        long[] polled = new long[1];
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "5");
                KafkaShareConsumer<byte[], byte[]> first = member(suite.bootstrap, group);
                KafkaShareConsumer<byte[], byte[]> second = member(suite.bootstrap, group)) {
            List<KafkaShareConsumer<byte[], byte[]>> members = List.of(first, second);
            members.forEach(member -> member.subscribe(List.of(ledger.topic)));
            ledger.produce(producer, suite.flights.first(4_000), counts);
            Clients.eventually("every record is polled", 60, () -> {
                members.forEach(member -> member.poll(Duration.ofMillis(100)).forEach(record -> {
                    polled[0]++;
                    seen.add(record, counts);
                }));
                return seen.size() == ledger.size();
            });
            members.forEach(ShareGroupChecks::commit);
        }
        same(ledger.size(), polled[0], "polled once each");
        try (KafkaShareConsumer<byte[], byte[]> later = member(suite.bootstrap, group)) {
            later.subscribe(List.of(ledger.topic));
            for (int i = 0; i < 5; i++) {
                same(0, later.poll(Duration.ofMillis(300)).count(), "records after all were accepted");
            }
        }
    }

    /** A member in a process of its own is killed with records in its hands: they come to another one, soon. */
    private static void memberDies(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("share-dies"));
        String group = suite.name("share-dies-group");
        Clients.createTopic(suite, ledger.topic, 1);
        configure(suite, group, "share.auto.offset.reset", "earliest");
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            ledger.produce(producer, suite.flights.first(200), counts);
        }
        Process process = GroupChecks.process("share-member", suite.bootstrap, group, ledger.topic);
        try (java.io.BufferedReader said = process.inputReader()) {
            String line = said.readLine();
            same("polled 200", line, "what the member says before it is killed");
            process.destroyForcibly().waitFor();
        }
        Ledger.Seen seen = ledger.new Seen();
        try (KafkaShareConsumer<byte[], byte[]> other = explicitMember(suite, group)) {
            other.subscribe(List.of(ledger.topic));
            // Locks last 30 s: they end with the connection of who holds them.
            Clients.eventually("the other member has them", 15, () -> {
                other.poll(Duration.ofMillis(200)).forEach(record -> {
                    seen.add(record, counts);
                    Clients.equal(2, (int) record.deliveryCount().orElseThrow(), "deliveries of " + where(record));
                    other.acknowledge(record, AcknowledgeType.ACCEPT);
                });
                commit(other);
                return seen.size() == ledger.size();
            });
        }
    }

    private static void releasedTooOften(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("share-poison"));
        String group = suite.name("share-poison-group");
        Clients.createTopic(suite, ledger.topic, 1);
        configure(suite, group, "share.auto.offset.reset", "earliest");
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite);
                KafkaShareConsumer<byte[], byte[]> one = explicitMember(suite, group)) {
            ledger.produce(producer, suite.flights.first(1), counts);
            one.subscribe(List.of(ledger.topic));
            List<Integer> deliveries = new ArrayList<>();
            Clients.eventually("it was delivered as often as Kafka delivers it", 30, () -> {
                one.poll(Duration.ofMillis(200)).forEach(record -> {
                    counts.consumed.incrementAndGet();
                    deliveries.add((int) record.deliveryCount().orElseThrow());
                    one.acknowledge(record, AcknowledgeType.RELEASE);
                });
                commit(one);
                return deliveries.size() == 5;
            });
            same(List.of(1, 2, 3, 4, 5), deliveries, "deliveries");
            same(0, one.poll(Duration.ofMillis(700)).count(), "records after it was given up");
            ledger.produce(producer, suite.flights.first(1), counts);
            Clients.eventually("the next record comes", 15, () -> {
                int[] count = new int[1];
                one.poll(Duration.ofMillis(200)).forEach(record -> {
                    count[0]++;
                    one.acknowledge(record);
                });
                return count[0] == 1;
            });
            commit(one);
        }
    }

    private static void readCommitted(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("share-committed");
        String group = suite.name("share-committed-group");
        Clients.createTopic(suite, topic, 1);
        configure(suite, group, "share.auto.offset.reset", "earliest");
        configure(suite, group, "share.isolation.level", "read_committed");
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "transactional.id", topic);
                KafkaShareConsumer<byte[], byte[]> one = explicitMember(suite, group)) {
            producer.initTransactions();
            for (int transaction = 0; transaction < 6; transaction++) {
                producer.beginTransaction();
                for (int i = 0; i < 20; i++) {
                    producer.send(new ProducerRecord<>(topic, ("t" + transaction).getBytes()));
                }
                producer.flush();
                if (transaction % 2 == 0) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
                counts.produced.addAndGet(20);
            }
            one.subscribe(List.of(topic));
            List<String> values = new ArrayList<>();
            Clients.eventually("the committed records come", 30, () -> {
                one.poll(Duration.ofMillis(200)).forEach(record -> {
                    counts.consumed.incrementAndGet();
                    values.add(new String(record.value()));
                    one.acknowledge(record);
                });
                commit(one);
                return values.size() >= 60;
            });
            same(60, values.size(), "committed records");
            same(Set.of("t0", "t2", "t4"), Set.copyOf(values), "transactions");
            producer.beginTransaction();
            get(producer.send(new ProducerRecord<>(topic, "open".getBytes())));
            same(0, one.poll(Duration.ofMillis(700)).count(), "records of an open transaction");
            producer.commitTransaction();
            Clients.eventually("it comes when it is committed", 15, () -> {
                int[] count = new int[1];
                one.poll(Duration.ofMillis(200)).forEach(record -> {
                    count[0]++;
                    one.acknowledge(record);
                });
                return count[0] == 1;
            });
            commit(one);
        }
    }

    private static void admin(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("share-admin"));
        String group = suite.name("share-admin-group");
        Clients.createTopic(suite, ledger.topic, 1);
        configure(suite, group, "share.auto.offset.reset", "earliest");
        TopicPartition partition = new TopicPartition(ledger.topic, 0);
        try (Admin admin = Clients.admin(suite);
                KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            ledger.produce(producer, suite.flights.first(100), counts);
            try (KafkaShareConsumer<byte[], byte[]> one = explicitMember(suite, group)) {
                one.subscribe(List.of(ledger.topic));
                int[] count = new int[1];
                Clients.eventually("all records come", 30, () -> {
                    one.poll(Duration.ofMillis(200)).forEach(record -> {
                        one.acknowledge(record, record.offset() < 40 ? AcknowledgeType.ACCEPT : AcknowledgeType.RELEASE);
                        count[0]++;
                    });
                    commit(one);
                    return count[0] >= 100;
                });
                ShareGroupDescription told = get(admin.describeShareGroups(List.of(group)).all()).get(group);
                same(GroupState.STABLE, told.groupState(), "state");
                same(1, told.members().size(), "members");
                same(Set.of(partition), told.members().iterator().next().assignment().topicPartitions(), "what it reads");
                check(get(admin.listGroups(ListGroupsOptions.forShareGroups()).all()).stream()
                        .anyMatch(listed -> listed.groupId().equals(group) && listed.type().equals(Optional.of(GroupType.SHARE))),
                        "it is listed");
                Clients.expect(GroupNotEmptyException.class, admin.deleteShareGroups(List.of(group)).all());
                Clients.expect(GroupNotEmptyException.class, admin.alterShareGroupOffsets(group, Map.of(partition, 5L)).all());
            }
            Clients.eventually("the group is empty", 15, () ->
                    get(admin.describeShareGroups(List.of(group)).all()).get(group).groupState() == GroupState.EMPTY);
            same(40L, start(admin, group, partition), "start offset");
            get(admin.alterShareGroupOffsets(group, Map.of(partition, 90L)).all());
            same(90L, start(admin, group, partition), "start offset that was set");
            try (KafkaShareConsumer<byte[], byte[]> one = member(suite.bootstrap, group)) {
                one.subscribe(List.of(ledger.topic));
                List<Long> offsets = new ArrayList<>();
                Clients.eventually("the last ten come", 30, () -> {
                    one.poll(Duration.ofMillis(200)).forEach(record -> offsets.add(record.offset()));
                    return offsets.size() >= 10;
                });
                same(90L, offsets.get(0), "first offset");
                same(10, offsets.size(), "records");
            }
            get(admin.deleteShareGroupOffsets(group, Set.of(ledger.topic)).all());
            get(admin.deleteShareGroups(List.of(group)).all());
            check(get(admin.listGroups().all()).stream().noneMatch(listed -> listed.groupId().equals(group)), "it is not listed");
        }
    }

    private static long start(Admin admin, String group, TopicPartition partition) throws Exception {
        ListShareGroupOffsetsSpec spec = new ListShareGroupOffsetsSpec().topicPartitions(List.of(partition));
        return get(admin.listShareGroupOffsets(Map.of(group, spec)).partitionsToOffsetInfo(group)).get(partition).startOffset();
    }
}
