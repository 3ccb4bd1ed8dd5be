package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"time"
)

// Kafka's error codes that checks expect.
const (
	errOffsetOutOfRange       = 1
	errUnknownTopic           = 3
	errMessageTooLarge        = 10
	errTopicExists            = 36
	errInvalidPartitions      = 37
	errInvalidReplicas        = 38
	errInvalidConfig          = 40
	errNonEmptyGroup          = 68
	errGroupIDNotFound        = 69
	errGroupSubscribedToTopic = 86
)

const maxMessageBytes = 1_048_588 // Kafka's default of max.message.bytes
const oneRecordOverhead = 72      // what a batch of one keyless record adds to a value of about a megabyte

// checks in the order in which they start; those that wait longest come first.
func checks() []named {
	all := []named{
		{"group-rebalance-and-death", rebalanceAndDeath},
		{"static-member", staticMember},
		{"commit-and-resume", commitAndResume},
		{"admin-groups", adminGroups},
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		all = append(all, named{"produce-" + codec, func(c *Check) {
			ledger := c.create("produce-"+codec, 6, nil)
			c.produce(ledger, c.Flights, ProduceOptions{Codec: codec})
			c.that(len(ledger.next) > 1, "keys must reach several partitions")
			c.consumeAll(ledger, ConsumeOptions{})
		}})
	}
	all = append(all, transactionChecks()...)
	return append(all,
		named{"produce-idempotent", func(c *Check) {
			ledger := c.create("idempotent", 6, nil)
			c.produce(ledger, c.first(8_000), ProduceOptions{Codec: "none", Idempotent: true, Small: true})
			c.consumeAll(ledger, ConsumeOptions{})
		}},
		named{"produce-acks-1", func(c *Check) {
			ledger := c.create("acks-1", 6, nil)
			c.produce(ledger, c.first(5_000), ProduceOptions{Codec: "lz4", AcksOne: true})
			c.consumeAll(ledger, ConsumeOptions{})
		}},
		named{"odd-records", oddRecords},
		named{"largest-record", largestRecord},
		named{"read-committed", func(c *Check) {
			ledger := c.create("read-committed", 3, nil)
			c.produce(ledger, c.first(5_000), ProduceOptions{Codec: "zstd", Idempotent: true})
			c.consumeAll(ledger, ConsumeOptions{ReadCommitted: true})
		}},
		named{"seek-by-timestamp", seekByTimestamp},
		named{"admin-topics", adminTopics},
		named{"admin-replication-factor-3", replicationFactor3},
		named{"admin-configs", adminConfigs},
		named{"admin-partitions", adminPartitions},
		named{"admin-delete-records", adminDeleteRecords},
		named{"admin-cluster", adminCluster},
	)
}

// noise is bytes that no codec makes smaller, the same in every run.
func noise(length int) []byte {
	out := make([]byte, 0, length+32)
	for block := uint64(0); len(out) < length; block++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, block))
		out = append(out, sum[:]...)
	}
	return out[:length]
}

// oddRecords: nulls, empty values, repeated header names; all must come back as they were.
func oddRecords(c *Check) {
	ledger := c.create("odd", 1, nil)
	headers := []Header{{"again", []byte{1}}, {"again", []byte{2}}, {"empty", []byte{}}, {"", []byte{0}}, {"ünïcode ✈", noise(300)}}
	rows := []Record{
		{Key: []byte{}, Value: []byte{}, Timestamp: 1},
		{Key: []byte{0}, Value: nil, Headers: headers, Timestamp: 1_357_034_400_000},
		{Key: nil, Value: []byte{0xff}, Headers: headers, Timestamp: 1_357_034_399_999},
		{Key: noise(20_000), Value: noise(1), Timestamp: time.Now().UnixMilli()},
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		c.produce(ledger, rows, ProduceOptions{Codec: codec})
	}
	c.consumeAll(ledger, ConsumeOptions{})
}

func largestRecord(c *Check) {
	ledger := c.create("largest", 1, nil)
	record := func(length int) Record {
		return Record{Value: noise(length), Timestamp: 1_357_034_400_000}
	}
	largest := maxMessageBytes - oneRecordOverhead
	c.produce(ledger, []Record{record(largest)}, ProduceOptions{Codec: "none"})
	_, errs := c.Client.Produce(ledger.topic, []Record{record(largest + 1)}, ProduceOptions{Codec: "none"})
	c.refused(errs[0], errMessageTooLarge, "one byte more than max.message.bytes")
	c.produce(ledger, []Record{record(10)}, ProduceOptions{Codec: "none"})
	// Smaller fetches than the record: the first batch of an answer comes whole.
	c.consumeAll(ledger, ConsumeOptions{FetchBytes: 10_000})
}

// seekByTimestamp: the answer is the first offset that is not older; the flights are not in the order of time.
func seekByTimestamp(c *Check) {
	ledger := c.create("timestamps", 3, nil)
	rows := c.first(10_000)
	c.produce(ledger, rows, ProduceOptions{Codec: "lz4"})
	var times []int64
	for _, row := range rows {
		times = append(times, row.Timestamp)
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	first, last := times[0], times[len(times)-1]
	for _, timestamp := range []int64{1, first, first + 1, (first + last) / 2, times[len(times)/3], last} {
		expected := map[int32]int64{}
		for ack, row := range ledger.acked {
			if old, found := expected[ack.Partition]; row.Timestamp >= timestamp && (!found || ack.Offset < old) {
				expected[ack.Partition] = ack.Offset
			}
		}
		offsets, err := c.Client.OffsetsAt(ledger.topic, timestamp)
		c.must(err, "offsets for a timestamp")
		for partition, offset := range expected {
			c.that(offsets[partition] == offset, "partition %d at %d: offset %d, expected %d", partition, timestamp, offsets[partition], offset)
			records, err := c.Client.Consume(ledger.topic, map[int32]int64{partition: offset}, map[int32]int64{partition: offset + 1}, ConsumeOptions{})
			c.must(err, "consuming from the found offset")
			c.that(len(records) == 1, "%d records at the found offset", len(records))
			c.compare(ledger, records[0])
		}
	}
}

// commitAndResume: a second member of the group begins exactly where the first one has committed.
func commitAndResume(c *Check) {
	ledger := c.create("resume", 3, nil)
	rows := c.first(6_000)
	c.produce(ledger, rows[:3_000], ProduceOptions{Codec: "snappy"})
	group := c.Name("resume-group")
	for round := range 2 {
		member, err := c.Client.Join(group, ledger.topic, "", 20*time.Second)
		c.must(err, "joining")
		seen := seen{}
		c.eventually("3000 records", 40*time.Second, func() bool {
			c.poll(member, ledger, seen)
			return len(seen) >= 3_000
		})
		c.must(member.Commit(), "committing")
		member.Close()
		c.that(len(seen) == 3_000, "round %d: %d different records, expected 3000", round, len(seen))
		committed, err := c.Client.GroupOffsets(group, ledger.topic)
		c.must(err, "committed offsets")
		for partition, next := range ledger.next {
			c.that(committed[partition] == next, "partition %d: committed %d, expected %d", partition, committed[partition], next)
		}
		if round == 0 {
			c.produce(ledger, rows[3_000:], ProduceOptions{Codec: "gzip"})
		}
	}
}

// rebalanceAndDeath: a second member takes half, dies by SIGKILL, and its half comes back after the session timeout.
func rebalanceAndDeath(c *Check) {
	ledger := c.create("rebalance", 6, nil)
	group := c.Name("rebalance-group")
	c.produce(ledger, c.first(3_000), ProduceOptions{Codec: "none"})
	member, err := c.Client.Join(group, ledger.topic, "", 6*time.Second)
	c.must(err, "joining")
	defer member.Close()
	seen := seen{}
	c.eventually("the only member has all partitions and rows", 40*time.Second, func() bool {
		c.poll(member, ledger, seen)
		return len(member.Assigned()) == 6 && len(seen) == len(ledger.acked)
	})
	c.must(member.Commit(), "committing")

	self, err := os.Executable()
	c.must(err, "own path")
	second := exec.Command(self, "--client", c.Client.Name(), "--bootstrap", c.Bootstrap, "--member", group+","+ledger.topic)
	output, err := second.StdoutPipe()
	c.must(err, "pipe")
	c.must(second.Start(), "starting the second member")
	defer func() { _ = second.Process.Kill() }()
	told := make(chan string, 100)
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			told <- lines.Text()
		}
	}()
	has := 0
	c.eventually("the second member takes its half", 40*time.Second, func() bool {
		c.poll(member, ledger, seen)
		select {
		case line := <-told:
			_, _ = fmt.Sscanf(line, "assigned %d", &has)
		default:
		}
		return len(member.Assigned()) == 3 && has == 3
	})
	c.produce(ledger, c.Flights[len(c.Flights)/2:], ProduceOptions{Codec: "none"})
	dead := time.Now()
	c.must(second.Process.Kill(), "killing the second member")
	_ = second.Wait()
	c.eventually("the partitions of the dead member come back", 40*time.Second, func() bool {
		c.poll(member, ledger, seen)
		return len(member.Assigned()) == 6
	})
	waited := time.Since(dead)
	c.that(waited > 3*time.Second, "the dead member's session of 6 s ended after %v already", waited)
	c.eventually("the member that lives has seen every row", 40*time.Second, func() bool {
		c.poll(member, ledger, seen)
		return len(seen) == len(ledger.acked)
	})
	c.eventually("and can commit all of it", 20*time.Second, func() bool {
		c.poll(member, ledger, seen)
		if member.Commit() != nil {
			return false
		}
		committed, err := c.Client.GroupOffsets(group, ledger.topic)
		for partition, next := range ledger.next {
			if err != nil || committed[partition] != next {
				return false
			}
		}
		return true
	})
}

// staticMember: one that comes back within its session has its partitions at once, without a rebalance.
func staticMember(c *Check) {
	ledger := c.create("static", 4, nil)
	group := c.Name("static-group")
	c.produce(ledger, c.first(200), ProduceOptions{Codec: "none"})
	seen := seen{}
	for round := range 2 {
		member, err := c.Client.Join(group, ledger.topic, "fixed", 20*time.Second)
		c.must(err, "joining")
		begun := time.Now()
		c.eventually("the static member has all partitions", 30*time.Second, func() bool {
			c.poll(member, ledger, seen)
			return len(member.Assigned()) == 4
		})
		if round == 1 {
			c.that(time.Since(begun) < 2500*time.Millisecond, "coming back took %v, as long as a rebalance", time.Since(begun))
		}
		c.eventually("all rows", 20*time.Second, func() bool {
			c.poll(member, ledger, seen)
			return len(seen) == len(ledger.acked)
		})
		c.must(member.Commit(), "committing")
		member.Close()
		group, err := c.Client.DescribeGroup(group)
		c.must(err, "describing")
		c.that(group.Members == 1, "%d members after a static member has closed, expected 1", group.Members)
	}
}
