package main

import (
	"fmt"
	"time"
)

// Ledger is what the broker acknowledged, at which partition and offset: the yardstick for all that is consumed.
type Ledger struct {
	topic string
	acked map[Ack]Record
	next  map[int32]int64 // the offset after the last acknowledged one
}

func newLedger(topic string) *Ledger {
	return &Ledger{topic: topic, acked: map[Ack]Record{}, next: map[int32]int64{}}
}

// create makes a topic whose partitions are served. The flights are of 2013, so retention is off unless configs set it.
func (c *Check) create(suffix string, partitions int32, configs map[string]string) *Ledger {
	topic := c.Name(suffix)
	all := map[string]string{"retention.ms": "-1"}
	for name, value := range configs {
		all[name] = value
	}
	c.must(c.Client.CreateTopic(topic, partitions, 1, all), "creating "+topic)
	// Apache Kafka answers before its log has the partitions, and a pipelining idempotent producer must not meet that.
	c.eventually("the partitions of "+topic+" are served", 10*time.Second, func() bool {
		ends, err := c.Client.EndOffsets(topic)
		return err == nil && len(ends) == int(partitions)
	})
	return newLedger(topic)
}

// produce sends the rows; any refused record fails the check, and so does an offset that is given twice.
func (c *Check) produce(ledger *Ledger, rows []Record, options ProduceOptions) {
	acks, errs := c.Client.Produce(ledger.topic, rows, options)
	for i, row := range rows {
		if errs[i] != nil {
			c.fail("record %d of %d was refused: %v", i, len(rows), errs[i])
		}
		c.add(ledger, acks[i], row)
	}
}

func (c *Check) add(ledger *Ledger, ack Ack, row Record) {
	if _, twice := ledger.acked[ack]; twice {
		c.fail("offset %d of partition %d was given twice", ack.Offset, ack.Partition)
	}
	ledger.acked[ack] = row
	ledger.next[ack.Partition] = max(ledger.next[ack.Partition], ack.Offset+1)
	c.count(1, 0, 0)
}

// compare holds one consumed record against the one acknowledged at its offset.
func (c *Check) compare(ledger *Ledger, got Record) {
	where := fmt.Sprintf("%s-%d@%d", ledger.topic, got.Partition, got.Offset)
	want, known := ledger.acked[Ack{got.Partition, got.Offset}]
	if !known {
		c.fail("%s was never acknowledged", where)
	}
	if difference := want.difference(got); difference != "" {
		c.fail("%s: %s", where, difference)
	}
	c.count(0, 1, 1)
}

// consumeAll reads every partition from its start to its end: every record once, in order, byte for byte.
func (c *Check) consumeAll(ledger *Ledger, options ConsumeOptions) {
	start, err := c.Client.StartOffsets(ledger.topic)
	c.must(err, "start offsets")
	// acks=1 promises less than the end offset shows: weir answers once a record is written, the end follows once it is durable.
	var ends map[int32]int64
	c.eventually("everything acknowledged is visible", 10*time.Second, func() bool {
		ends, err = c.Client.EndOffsets(ledger.topic)
		c.must(err, "end offsets")
		for partition, next := range ledger.next {
			if ends[partition] < next {
				return false
			}
		}
		return true
	})
	from, end := map[int32]int64{}, map[int32]int64{}
	for partition, next := range ledger.next {
		c.that(ends[partition] == next, "end of partition %d is %d, expected %d", partition, ends[partition], next)
		from[partition], end[partition] = start[partition], next
	}
	records, err := c.Client.Consume(ledger.topic, from, end, options)
	c.must(err, "consuming")
	position := map[int32]int64{}
	for partition, offset := range from {
		position[partition] = offset
	}
	wanted := 0
	for ack := range ledger.acked {
		if ack.Offset >= from[ack.Partition] {
			wanted++
		}
	}
	for _, record := range records {
		if record.Offset != position[record.Partition] {
			c.fail("partition %d: offset %d after %d", record.Partition, record.Offset, position[record.Partition]-1)
		}
		position[record.Partition]++
		c.compare(ledger, record)
	}
	c.that(len(records) == wanted, "%d records consumed, expected %d", len(records), wanted)
}

// seen collects what a group has consumed.
type seen map[Ack]bool

func (c *Check) poll(member Member, ledger *Ledger, seen seen) {
	records, err := member.Poll(100 * time.Millisecond)
	c.must(err, "polling")
	for _, record := range records {
		c.compare(ledger, record)
		seen[Ack{record.Partition, record.Offset}] = true
	}
}
