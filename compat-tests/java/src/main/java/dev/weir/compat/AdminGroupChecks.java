package dev.weir.compat;

import static dev.weir.compat.Clients.check;
import static dev.weir.compat.Clients.expect;
import static dev.weir.compat.Clients.get;
import static dev.weir.compat.Clients.same;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.UnknownMemberIdException;

/** Groups seen and changed from outside: list, describe, reset and delete offsets, remove members, delete. */
final class AdminGroupChecks {
    private AdminGroupChecks() {}

    static void register(Map<String, Suite.Check> checks) {
        checks.put("groups-list-and-describe", AdminGroupChecks::listAndDescribe);
        checks.put("groups-reset-offsets", AdminGroupChecks::resetOffsets);
        checks.put("groups-remove-members", AdminGroupChecks::removeMembers);
        checks.put("groups-topic-deletion", AdminGroupChecks::topicDeletion);
    }

    private static void listAndDescribe(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("group-admin");
        String group = suite.name("group-admin-group");
        Clients.createTopic(suite, topic, 3);
        TopicPartition tp = new TopicPartition(topic, 1);
        try (Admin admin = Clients.admin(suite)) {
            expect(GroupIdNotFoundException.class, admin.describeConsumerGroups(List.of(group)).all());
            try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "group.id", group, "client.id", "watched")) {
                consumer.subscribe(List.of(topic));
                Clients.eventually("the member has its partitions", 30, () -> {
                    consumer.poll(Duration.ofMillis(100));
                    return consumer.assignment().size() == 3;
                });
                consumer.commitSync(Map.of(tp, new OffsetAndMetadata(0, "from the member")));

                GroupListing listing = get(admin.listGroups().all()).stream()
                        .filter(g -> g.groupId().equals(group)).findFirst().orElseThrow(() -> new AssertionError("the group is not listed"));
                same("consumer", listing.protocol(), "protocol");
                same(GroupState.STABLE, listing.groupState().orElseThrow(), "state in the list");
                check(get(admin.listGroups(new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).all()).stream()
                        .noneMatch(g -> g.groupId().equals(group)), "a stable group is not listed among empty ones");

                ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
                same(GroupState.STABLE, described.groupState(), "state");
                same("range", described.partitionAssignor(), "assignor");
                same(1, described.members().size(), "members");
                MemberDescription member = described.members().iterator().next();
                same("watched", member.clientId(), "client id");
                check(member.host().contains("127.0.0.1"), "host of the member: " + member.host());
                same(consumer.assignment(), member.assignment().topicPartitions(), "assignment");
                same(get(admin.describeCluster().nodes()).iterator().next().id(), described.coordinator().id(), "coordinator");
                same(consumer.groupMetadata().memberId(), member.consumerId(), "member id");

                expect(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all());
                expect(UnknownMemberIdException.class,
                        admin.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(0))).all());
                expect(GroupSubscribedToTopicException.class, admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all());
            }
            Clients.eventually("the group is empty", 10, () ->
                    get(admin.describeConsumerGroups(List.of(group)).all()).get(group).groupState() == GroupState.EMPTY);
            get(admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all());
            check(offsets(admin, group).isEmpty(), "offsets after their deletion");
            get(admin.deleteConsumerGroups(List.of(group)).all());
            expect(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(group)).all());
            expect(GroupIdNotFoundException.class, admin.describeConsumerGroups(List.of(group)).all());
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> offsets(Admin admin, String group) throws Exception {
        return get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
    }

    /** Offsets set from outside are where the next member starts. */
    private static void resetOffsets(Suite suite, Suite.Counts counts) throws Exception {
        Ledger ledger = new Ledger(suite.name("reset"));
        String group = suite.name("reset-group");
        Clients.createTopic(suite, ledger.topic, 2);
        try (Admin admin = Clients.admin(suite); KafkaProducer<byte[], byte[]> producer = Clients.producer(suite)) {
            ledger.produce(producer, suite.flights.first(1_000), counts);
            Map<TopicPartition, OffsetAndMetadata> wanted = new java.util.HashMap<>();
            for (TopicPartition tp : ledger.partitions()) {
                long middle = ledger.acked.get(tp.partition()).lastKey() / 2;
                wanted.put(tp, new OffsetAndMetadata(middle, "reset"));
                ledger.acked.get(tp.partition()).headMap(middle).clear();
            }
            get(admin.alterConsumerGroupOffsets(group, wanted).all());
            same(wanted, offsets(admin, group), "offsets after the reset");
            Map<String, ListConsumerGroupOffsetsSpec> some =
                    Map.of(group, new ListConsumerGroupOffsetsSpec().topicPartitions(ledger.partitions().subList(0, 1)));
            same(1, get(admin.listConsumerGroupOffsets(some).partitionsToOffsetAndMetadata(group)).size(), "offsets asked for one partition");
            same(GroupState.EMPTY, get(admin.listGroups().all()).stream().filter(g -> g.groupId().equals(group))
                    .findFirst().orElseThrow().groupState().orElseThrow(), "state of a group that only has offsets");

            Ledger.Seen seen = ledger.new Seen();
            try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "group.id", group, "auto.offset.reset", "none")) {
                consumer.subscribe(List.of(ledger.topic));
                Clients.eventually("all rows from the reset offsets on", 30, () -> {
                    consumer.poll(Duration.ofMillis(200)).forEach(record -> seen.add(record, counts));
                    return seen.size() == ledger.size();
                });
            }
        }
    }

    private static void removeMembers(Suite suite, Suite.Counts counts) throws Exception {
        String topic = suite.name("removal");
        String group = suite.name("removal-group");
        Clients.createTopic(suite, topic, 2);
        try (Admin admin = Clients.admin(suite)) {
            try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(suite, "group.id", group,
                    "group.instance.id", "fixed", "session.timeout.ms", "40000")) {
                consumer.subscribe(List.of(topic));
                Clients.eventually("the static member has its partitions", 30, () -> {
                    consumer.poll(Duration.ofMillis(100));
                    return consumer.assignment().size() == 2;
                });
            }
            same(1, get(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().size(),
                    "a static member stays when it closes");
            get(admin.removeMembersFromConsumerGroup(group,
                    new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("fixed")))).all());
            Clients.eventually("the removed member is gone", 10, () ->
                    get(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().isEmpty());
            expect(UnknownMemberIdException.class, admin.removeMembersFromConsumerGroup(group,
                    new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("fixed")))).memberResult(new MemberToRemove("fixed")));
        }
    }

    /** Deleting a topic deletes what groups have committed for it. */
    private static void topicDeletion(Suite suite, Suite.Counts counts) throws Exception {
        String doomed = suite.name("doomed");
        String kept = suite.name("kept");
        String group = suite.name("doomed-group");
        Clients.createTopic(suite, doomed, 1);
        Clients.createTopic(suite, kept, 1);
        try (Admin admin = Clients.admin(suite)) {
            get(admin.alterConsumerGroupOffsets(group, Map.of(
                    new TopicPartition(doomed, 0), new OffsetAndMetadata(0), new TopicPartition(kept, 0), new OffsetAndMetadata(0))).all());
            get(admin.deleteTopics(List.of(doomed)).all());
            Clients.eventually("only the offsets of the topic that exists remain", 15,
                    () -> offsets(admin, group).keySet().equals(Set.of(new TopicPartition(kept, 0))));
        }
    }
}
