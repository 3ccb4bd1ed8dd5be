package main

import (
	"slices"
	"time"
)

func adminTopics(c *Check) {
	ledger := c.create("topics", 5, map[string]string{"max.message.bytes": "2000000"})
	topics, err := c.Client.Topics()
	c.must(err, "listing topics")
	c.that(topics[ledger.topic] == 5, "%d partitions listed, expected 5", topics[ledger.topic])
	c.refused(c.Client.CreateTopic(ledger.topic, 1, 1, nil), errTopicExists, "creating it again")
	c.refused(c.Client.CreateTopic(c.Name("bad"), 0, 1, nil), errInvalidPartitions, "no partitions")
	c.refused(c.Client.CreateTopic(c.Name("bad"), 1, 1, map[string]string{"no.such.config": "1"}), errInvalidConfig, "unknown config")
	c.produce(ledger, c.first(100), ProduceOptions{Codec: "none"})
	c.must(c.Client.DeleteTopic(ledger.topic), "deleting")
	c.eventually("the topic is gone", 10*time.Second, func() bool {
		topics, err := c.Client.Topics()
		return err == nil && topics[ledger.topic] == 0
	})
	c.refused(c.Client.DeleteTopic(ledger.topic), errUnknownTopic, "deleting it again")
	again := c.create("topics", 2, nil)
	ends, err := c.Client.EndOffsets(again.topic)
	c.must(err, "end offsets")
	c.that(ends[0] == 0 && ends[1] == 0, "a topic created again is empty, its ends are %v", ends)
}

// replicationFactor3: Apache Kafka with one node refuses; weir accepts, and reports one replica.
func replicationFactor3(c *Check) {
	topic := c.Name("three-replicas")
	err := c.Client.CreateTopic(topic, 2, 3, map[string]string{"retention.ms": "-1"})
	if c.Kafka {
		c.refused(err, errInvalidReplicas, "replication factor 3")
		return
	}
	c.must(err, "replication factor 3")
	ledger := newLedger(topic)
	c.produce(ledger, c.first(100), ProduceOptions{Codec: "none"})
	c.consumeAll(ledger, ConsumeOptions{})
}

func adminConfigs(c *Check) {
	ledger := c.create("configs", 1, map[string]string{"max.message.bytes": "2000000"})
	configs, err := c.Client.TopicConfigs(ledger.topic)
	c.must(err, "describing configs")
	for name, value := range map[string]string{
		"max.message.bytes": "2000000", "cleanup.policy": "delete", "compression.type": "producer", "retention.ms": "-1",
	} {
		c.that(configs[name] == value, "%s is %q, expected %q", name, configs[name], value)
	}
	value := "3600000"
	c.must(c.Client.SetTopicConfig(ledger.topic, "retention.ms", &value), "setting retention.ms")
	c.eventually("the new value is told", 5*time.Second, func() bool {
		configs, err := c.Client.TopicConfigs(ledger.topic)
		return err == nil && configs["retention.ms"] == value && configs["max.message.bytes"] == "2000000"
	})
	c.must(c.Client.SetTopicConfig(ledger.topic, "retention.ms", nil), "unsetting retention.ms")
	c.eventually("the default is back", 5*time.Second, func() bool {
		configs, err := c.Client.TopicConfigs(ledger.topic)
		return err == nil && configs["retention.ms"] == "604800000"
	})
	bad := "soon"
	c.refused(c.Client.SetTopicConfig(ledger.topic, "retention.ms", &bad), errInvalidConfig, "retention.ms = soon")
	c.refused(c.Client.SetTopicConfig(ledger.topic, "no.such.config", &value), errInvalidConfig, "unknown config")
}

func adminPartitions(c *Check) {
	ledger := c.create("partitions", 1, nil)
	c.produce(ledger, c.first(100), ProduceOptions{Codec: "none"})
	c.must(c.Client.CreatePartitions(ledger.topic, 4), "four partitions")
	c.eventually("there are four", 10*time.Second, func() bool {
		ends, err := c.Client.EndOffsets(ledger.topic)
		return err == nil && len(ends) == 4
	})
	c.refused(c.Client.CreatePartitions(ledger.topic, 2), errInvalidPartitions, "fewer partitions")
	c.produce(ledger, c.first(1_000), ProduceOptions{Codec: "none"})
	c.that(len(ledger.next) > 1, "records reach the new partitions")
	c.consumeAll(ledger, ConsumeOptions{})
}

func adminGroups(c *Check) {
	ledger := c.create("groups", 2, nil)
	c.produce(ledger, c.first(200), ProduceOptions{Codec: "none"})
	group := c.Name("groups-group")
	member, err := c.Client.Join(group, ledger.topic, "", 20*time.Second)
	c.must(err, "joining")
	seen := seen{}
	c.eventually("all rows", 30*time.Second, func() bool {
		c.poll(member, ledger, seen)
		return len(seen) == len(ledger.acked)
	})
	c.must(member.Commit(), "committing")
	groups, err := c.Client.Groups()
	c.must(err, "listing groups")
	c.that(slices.Contains(groups, group), "the group is listed")
	described, err := c.Client.DescribeGroup(group)
	c.must(err, "describing")
	c.that(described.State == "Stable", "state %q, expected Stable", described.State)
	c.that(described.Members == 1 && described.Assigned == 2, "members and partitions: %+v", described)
	c.refused(c.Client.DeleteGroup(group), errNonEmptyGroup, "deleting a group with a member")
	c.refused(c.Client.DeleteGroupOffset(group, ledger.topic, 0), errGroupSubscribedToTopic, "deleting an offset in use")
	member.Close()
	c.eventually("the group is empty", 10*time.Second, func() bool {
		described, err := c.Client.DescribeGroup(group)
		return err == nil && described.State == "Empty"
	})

	reset := map[int32]int64{0: ledger.next[0] / 2, 1: ledger.next[1] / 2}
	c.must(c.Client.SetGroupOffsets(group, ledger.topic, reset), "resetting offsets")
	offsets, err := c.Client.GroupOffsets(group, ledger.topic)
	c.must(err, "committed offsets")
	c.that(offsets[0] == reset[0] && offsets[1] == reset[1], "offsets %v, expected %v", offsets, reset)
	member, err = c.Client.Join(group, ledger.topic, "", 20*time.Second)
	c.must(err, "joining again")
	again := map[Ack]bool{}
	wanted := int(ledger.next[0] - reset[0] + ledger.next[1] - reset[1])
	c.eventually("all rows from the reset offsets on", 30*time.Second, func() bool {
		c.poll(member, ledger, again)
		return len(again) == wanted
	})
	member.Close()
	for ack := range again {
		if ack.Offset < reset[ack.Partition] {
			c.fail("offset %d of partition %d lies before the reset", ack.Offset, ack.Partition)
		}
	}
	c.eventually("an offset can be deleted", 10*time.Second, func() bool {
		return c.Client.DeleteGroupOffset(group, ledger.topic, 0) == nil
	})
	offsets, err = c.Client.GroupOffsets(group, ledger.topic)
	c.must(err, "committed offsets")
	_, left := offsets[0]
	c.that(!left || offsets[0] == -1, "partition 0 has an offset after its deletion: %v", offsets)
	c.must(c.Client.DeleteGroup(group), "deleting the group")
	c.refused(c.Client.DeleteGroup(group), errGroupIDNotFound, "deleting it again")
}

func adminDeleteRecords(c *Check) {
	ledger := c.create("delete-records", 1, nil)
	c.produce(ledger, c.first(3_000), ProduceOptions{Codec: "gzip"})
	c.must(c.Client.DeleteRecords(ledger.topic, map[int32]int64{0: 1_234}), "deleting records")
	start, err := c.Client.StartOffsets(ledger.topic)
	c.must(err, "start offsets")
	c.that(start[0] == 1_234, "start %d, expected 1234", start[0])
	for ack := range ledger.acked {
		if ack.Offset < 1_234 {
			delete(ledger.acked, ack)
		}
	}
	c.consumeAll(ledger, ConsumeOptions{})
	c.refused(c.Client.DeleteRecords(ledger.topic, map[int32]int64{0: 3_001}), errOffsetOutOfRange, "beyond the end")
}

func adminCluster(c *Check) {
	ledger := c.create("cluster", 1, nil)
	c.produce(ledger, c.first(1_000), ProduceOptions{Codec: "none"})
	brokers, err := c.Client.Brokers()
	c.must(err, "describing the cluster")
	c.that(brokers == 1, "%d brokers, expected 1", brokers)
	size, err := c.Client.LogSize(ledger.topic)
	c.must(err, "describing log directories")
	c.that(size > 100_000, "the log of 1000 flights has %d bytes", size)
}
