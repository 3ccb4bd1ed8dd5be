package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.expect;
import static dev.weir.compat.Clients.get;
import static dev.weir.compat.Clients.same;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics, partitions, configs, offsets, record deletion, log directories and the cluster, through the Admin client. */
final class AdminChecks {
    private AdminChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("create-topic", AdminChecks::createTopic);
        checks.put("create-topic-replication-factor-3", AdminChecks::replicationFactor3);
        checks.put("delete-topic", AdminChecks::deleteTopic);
        checks.put("create-partitions", AdminChecks::createPartitions);
        checks.put("topic-configs", AdminChecks::topicConfigs);
        checks.put("list-offsets", AdminChecks::listOffsets);
        checks.put("delete-records", AdminChecks::deleteRecords);
        checks.put("describe-log-dirs", AdminChecks::describeLogDirs);
        checks.put("describe-cluster", AdminChecks::describeCluster);
    }

    private static void createTopic(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("created");
        try (Admin admin = Clients.admin(suite)) {
            NewTopic wanted = new NewTopic(topic, 5, (short) 1).configs(Map.of("retention.ms", "86400000", "cleanup.policy", "compact"));
            get(admin.createTopics(List.of(wanted), new CreateTopicsOptions().validateOnly(true)).all());
            expect(UnknownTopicOrPartitionException.class, admin.describeTopics(List.of(topic)).allTopicNames());

            CreateTopicsResult created = admin.createTopics(List.of(wanted));
            get(created.all());
            same(5, get(created.numPartitions(topic)), "partitions told at creation");
            same(1, get(created.replicationFactor(topic)), "replication factor told at creation");
            Uuid id = get(created.topicId(topic));
            check(!id.equals(Uuid.ZERO_UUID), "a topic id");
            same("86400000", get(created.config(topic)).get("retention.ms").value(), "config told at creation");
            expect(TopicExistsException.class, admin.createTopics(List.of(wanted)).all());

            TopicDescription byName = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
            TopicDescription byId = get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id);
            same(id, byName.topicId(), "topic id");
            same(topic, byId.name(), "name in the description by id");
            same(leaders(byName), leaders(byId), "partitions and leaders described by name and by id");
            same(5, byName.partitions().size(), "partitions");
            check(!byName.isInternal(), "not internal");
            byName.partitions().forEach(p -> {
                check(p.leader() != null && p.replicas().size() == 1 && p.isr().size() == 1, "leader, replicas and ISR of " + p);
            });
            check(get(admin.listTopics().names()).contains(topic), "listed");

            NewTopic byDefault = new NewTopic(suite.name("defaults"), java.util.Optional.empty(), java.util.Optional.empty());
            CreateTopicsResult defaults = admin.createTopics(List.of(byDefault));
            get(defaults.all());
            check(get(defaults.numPartitions(byDefault.name())) >= 1, "default partitions");

            NewTopic assigned = new NewTopic(suite.name("assigned"), Map.of(0, List.of(nodeId(admin)), 1, List.of(nodeId(admin))));
            get(admin.createTopics(List.of(assigned)).all());
            same(2, get(admin.describeTopics(List.of(assigned.name())).allTopicNames()).get(assigned.name()).partitions().size(),
                    "partitions of a topic with assignments");

            expect(InvalidPartitionsException.class, admin.createTopics(List.of(new NewTopic(suite.name("bad"), 0, (short) 1))).all());
            expect(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic("bad name", 1, (short) 1))).all());
            expect(InvalidConfigurationException.class, admin.createTopics(List.of(
                    new NewTopic(suite.name("bad"), 1, (short) 1).configs(Map.of("no.such.config", "1")))).all());
            expect(InvalidConfigurationException.class, admin.createTopics(List.of(
                    new NewTopic(suite.name("bad"), 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all());
        }
    }

    private static List<String> leaders(TopicDescription topic) {
        return topic.partitions().stream().map(p -> p.partition() + ":" + p.leader().id()).sorted().toList();
    }

    private static int nodeId(Admin admin) throws Exception {
        return get(admin.describeCluster().nodes()).iterator().next().id();
    }

    /** Charts and Connect ask for three replicas. Apache Kafka with one node refuses; weir accepts and reports one replica. */
    private static void replicationFactor3(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("three-replicas");
        try (Admin admin = Clients.admin(suite)) {
            CreateTopicsResult created = admin.createTopics(List.of(new NewTopic(topic, 2, (short) 3)));
            if (suite.targetIsKafka) {
                expect(InvalidReplicationFactorException.class, created.all());
                return;
            }
            get(created.all());
            get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions()
                    .forEach(p -> same(1, p.replicas().size(), "replicas reported"));
        }
        Ledger ledger = new Ledger(topic);
        List<Flights.Flight> today = ProduceChecks.today(suite.flights.first(100)); // the topic has the default retention
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(suite);
                KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.produce(producer, today, counts);
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void deleteTopic(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("deleted");
        try (Admin admin = Clients.admin(suite); KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            Clients.createTopic(suite, topic, 2);
            new Ledger(topic).produce(producer, suite.flights.first(100), counts);
            Uuid first = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId();
            get(admin.deleteTopics(List.of(topic)).all());
            Clients.eventually("the topic is gone", 10, () -> !get(admin.listTopics().names()).contains(topic));
            expect(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());
            expect(UnknownTopicIdException.class, admin.deleteTopics(TopicCollection.ofTopicIds(List.of(first))).all());

            // Created again it is another topic, and empty.
            Clients.createTopic(suite, topic, 2);
            Uuid second = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId();
            check(!first.equals(second), "a topic created again has a new id");
            try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
                List<TopicPartition> partitions = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
                consumer.endOffsets(partitions).forEach((tp, end) -> same(0L, end, "end of " + tp));
            }
            get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(second))).all());
            Clients.eventually("deleted by id", 10, () -> !get(admin.listTopics().names()).contains(topic));
        }
    }

    private static void createPartitions(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("grown"));
        Clients.createTopic(suite, ledger.topic, 1);
        try (Admin admin = Clients.admin(suite);
                KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "metadata.max.age.ms", "500");
                KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.produce(producer, suite.flights.first(500), counts);
            get(admin.createPartitions(Map.of(ledger.topic, NewPartitions.increaseTo(4))).all());
            Clients.eventually("there are 4 partitions", 5, () -> 4
                    == get(admin.describeTopics(List.of(ledger.topic)).allTopicNames()).get(ledger.topic).partitions().size());
            expect(InvalidPartitionsException.class, admin.createPartitions(Map.of(ledger.topic, NewPartitions.increaseTo(4))).all());
            expect(InvalidPartitionsException.class, admin.createPartitions(Map.of(ledger.topic, NewPartitions.increaseTo(2))).all());
            expect(UnknownTopicOrPartitionException.class,
                    admin.createPartitions(Map.of(suite.name("nowhere"), NewPartitions.increaseTo(2))).all());
            // A running producer finds the new partitions with its next refresh.
            Clients.eventually("records reach the new partitions", 20, () -> {
                ledger.produce(producer, suite.flights.first(200), counts);
                return ledger.acked.size() > 1;
            });
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void topicConfigs(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("configs");
        Clients.createTopic(suite, topic, 1, "retention.ms", "604800001");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = Clients.admin(suite)) {
            same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, describe(admin, resource).get("retention.ms").source(), "source of a value given at creation");
            get(admin.incrementalAlterConfigs(Map.of(resource, List.of(op("retention.ms", null, AlterConfigOp.OpType.DELETE)))).all());
            Clients.eventually("the value of the creation is gone", 5, () -> describe(admin, resource).get("retention.ms").isDefault());
            Config before = describe(admin, resource);
            same("604800000", before.get("retention.ms").value(), "default of retention.ms");
            check(before.get("retention.ms").isDefault(), "retention.ms is a default");
            same(ConfigEntry.ConfigSource.DEFAULT_CONFIG, before.get("retention.ms").source(), "source of retention.ms");
            for (String name : List.of("cleanup.policy", "compression.type", "delete.retention.ms", "max.message.bytes", "message.timestamp.type",
                    "message.timestamp.before.max.ms", "message.timestamp.after.max.ms", "min.cleanable.dirty.ratio", "min.insync.replicas",
                    "retention.bytes", "segment.bytes", "segment.ms", "flush.messages")) {
                check(before.get(name) != null, "DescribeConfigs lists " + name);
            }

            get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
                    set("retention.ms", "3600000"), op("cleanup.policy", "compact", AlterConfigOp.OpType.APPEND)))).all());
            Clients.eventually("the new values are told", 5,
                    () -> "3600000".equals(describe(admin, resource).get("retention.ms").value()));
            Config set = describe(admin, resource);
            check(!set.get("retention.ms").isDefault(), "retention.ms is set");
            same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, set.get("retention.ms").source(), "source of a set value");
            same(Set.of("delete", "compact"), Set.of(set.get("cleanup.policy").value().split(",")), "cleanup.policy after APPEND");

            get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
                    op("retention.ms", null, AlterConfigOp.OpType.DELETE), op("cleanup.policy", "delete", AlterConfigOp.OpType.SUBTRACT)))).all());
            Clients.eventually("the default is back", 5, () -> "604800000".equals(describe(admin, resource).get("retention.ms").value()));
            same("compact", describe(admin, resource).get("cleanup.policy").value(), "cleanup.policy after SUBTRACT");

            expect(InvalidConfigurationException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(set("retention.ms", "never")))).all());
            expect(InvalidConfigurationException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(set("cleanup.policy", "shred")))).all());
            expect(InvalidConfigurationException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(set("no.such.config", "1")))).all());
            expect(UnknownTopicOrPartitionException.class, admin.describeConfigs(List.of(
                    new ConfigResource(ConfigResource.Type.TOPIC, suite.name("nowhere")))).all());

            ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(nodeId(admin)));
            check(!describe(admin, broker).entries().isEmpty(), "a broker has configs");
        }
    }

    private static Config describe(Admin admin, ConfigResource resource) throws Exception {
        return get(admin.describeConfigs(List.of(resource)).all()).get(resource);
    }

    private static AlterConfigOp set(String name, String value) {
        return op(name, value, AlterConfigOp.OpType.SET);
    }

    private static AlterConfigOp op(String name, String value, AlterConfigOp.OpType type) {
        return new AlterConfigOp(new ConfigEntry(name, value), type);
    }

    private static void listOffsets(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("offsets"));
        Clients.createTopic(suite, ledger.topic, 1);
        TopicPartition tp = new TopicPartition(ledger.topic, 0);
        try (Admin admin = Clients.admin(suite); KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            same(-1L, offset(admin, tp, OffsetSpec.maxTimestamp()).offset(), "max timestamp of an empty partition");
            same(0L, offset(admin, tp, OffsetSpec.latest()).offset(), "latest of an empty partition");
            ledger.produce(producer, suite.flights.first(2_000), counts);
            same(0L, offset(admin, tp, OffsetSpec.earliest()).offset(), "earliest");
            same(2_000L, offset(admin, tp, OffsetSpec.latest()).offset(), "latest");
            same(0L, offset(admin, tp, OffsetSpec.earliestLocal()).offset(), "earliest local");
            long max = suite.flights.first(2_000).stream().mapToLong(Flights.Flight::timestamp).max().orElseThrow();
            ListOffsetsResultInfo at = offset(admin, tp, OffsetSpec.maxTimestamp());
            same(max, at.timestamp(), "max timestamp");
            same(max, ledger.acked.get(0).get(at.offset()).timestamp(), "timestamp of the record at the offset told");
            same(-1L, offset(admin, tp, OffsetSpec.forTimestamp(max + 1)).offset(), "no record that late");
            expect(UnknownTopicOrPartitionException.class,
                    admin.listOffsets(Map.of(new TopicPartition(ledger.topic, 0), OffsetSpec.latest(),
                            new TopicPartition(suite.name("nowhere"), 0), OffsetSpec.latest())).all());
        }
    }

    private static ListOffsetsResultInfo offset(Admin admin, TopicPartition tp, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(tp, spec)).partitionResult(tp));
    }

    private static void deleteRecords(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("truncated"));
        Clients.createTopic(suite, ledger.topic, 1);
        TopicPartition tp = new TopicPartition(ledger.topic, 0);
        try (Admin admin = Clients.admin(suite);
                KafkaProducer<byte[], byte[]> producer = Clients.producer(suite, "linger.ms", "10");
                KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite)) {
            ledger.produce(producer, suite.flights.first(3_000), counts);
            same(1_234L, get(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(1_234))).lowWatermarks().get(tp)).lowWatermark(), "low watermark");
            same(1_234L, consumer.beginningOffsets(List.of(tp)).get(tp), "beginning");
            // An offset inside a batch: the rest of the batch stays readable, what lies before is not delivered.
            ledger.acked.get(0).headMap(1_234L).clear();
            ledger.consumeAll(consumer, counts);
            expect(OffsetOutOfRangeException.class, admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(3_001))).all());
            // Up to the high watermark (-1 on the wire).
            same(3_000L, get(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(tp)).lowWatermark(), "low watermark");
            same(3_000L, consumer.beginningOffsets(List.of(tp)).get(tp), "beginning");
            ledger.acked.get(0).clear();
            ledger.produce(producer, suite.flights.first(100), counts);
            same(3_000L, ledger.acked.get(0).firstKey(), "offsets go on where they were");
            ledger.consumeAll(consumer, counts);
        }
    }

    private static void describeLogDirs(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("log-dirs"));
        Clients.createTopic(suite, ledger.topic, 1);
        try (Admin admin = Clients.admin(suite); KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            ledger.produce(producer, suite.flights.first(1_000), counts);
            int node = nodeId(admin);
            Collection<LogDirDescription> dirs = get(admin.describeLogDirs(List.of(node)).allDescriptions()).get(node).values();
            TopicPartition tp = new TopicPartition(ledger.topic, 0);
            long size = dirs.stream().filter(d -> d.replicaInfos().containsKey(tp)).mapToLong(d -> d.replicaInfos().get(tp).size()).sum();
            check(size > 100_000, "size of the partition: " + size);
            dirs.forEach(d -> check(d.error() == null, "log dir error: " + d.error()));
        }
    }

    private static void describeCluster(Suite suite, Suite.Counts counts) throws Exception {
        try (Admin admin = Clients.admin(suite)) {
            DescribeClusterResult cluster = admin.describeCluster();
            check(!get(cluster.clusterId()).isEmpty(), "a cluster id");
            same(1, get(cluster.nodes()).size(), "nodes");
            same(get(cluster.nodes()).iterator().next().id(), get(cluster.controller()).id(), "the controller is the only node");
        }
    }
}
