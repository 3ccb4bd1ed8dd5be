package main

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transactor is a client that writes in transactions.
type transactor interface {
	// Transact writes each part in a transaction of one transactional producer; parts whose commit is false are aborted.
	Transact(id, topic string, parts []transactionPart) ([][]Ack, error)
}

type transactionPart struct {
	rows   []Record
	commit bool
}

func transactionChecks() []named {
	return []named{{"transactions", transactions}}
}

// transactions: read_committed readers see the committed records and no others, at the acknowledged offsets; everybody else
// sees the aborted ones too. A second producer of the same id takes over.
func transactions(c *Check) {
	client, able := c.Client.(transactor)
	c.that(able, "%s writes no transactions", c.Client.Name())
	ledger := c.create("transactions", 3, nil)
	rows := c.first(3_000)
	all := newLedger(ledger.topic)
	for producer := range 2 {
		from := producer * 1_500
		parts := []transactionPart{
			{rows[from : from+500], true}, {rows[from+500 : from+1_000], false}, {rows[from+1_000 : from+1_500], true},
		}
		acks, err := client.Transact(c.Name("transactional-id"), ledger.topic, parts)
		c.must(err, "transactions")
		for i, part := range parts {
			for j, row := range part.rows {
				c.add(all, acks[i][j], row)
				if part.commit {
					ledger.acked[acks[i][j]] = row
				}
			}
		}
	}
	// The end of a partition is a record and no marker, so that readers know when they are done.
	last := c.first(300)
	acks, errs := c.Client.Produce(ledger.topic, last, ProduceOptions{Codec: "none"})
	for i, row := range last {
		c.must(errs[i], "the records behind the transactions")
		c.add(all, acks[i], row)
		ledger.acked[acks[i]] = row
	}
	from := map[int32]int64{}
	for partition := range all.next {
		from[partition] = 0
	}
	for _, read := range []struct {
		ledger    *Ledger
		committed bool
	}{{ledger, true}, {all, false}} {
		records, err := c.Client.Consume(ledger.topic, from, all.next, ConsumeOptions{ReadCommitted: read.committed})
		c.must(err, "consuming")
		position := map[int32]int64{}
		for _, record := range records {
			c.that(record.Offset >= position[record.Partition], "offset %d again", record.Offset)
			position[record.Partition] = record.Offset + 1
			c.compare(read.ledger, record)
		}
		c.that(len(records) == len(read.ledger.acked), "%d records, expected %d (committed only: %t)", len(records), len(read.ledger.acked), read.committed)
	}
}

// Transact writes through kgo's transactional producer.
func (f *Franz) Transact(id, topic string, parts []transactionPart) ([][]Ack, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.bootstrap), kgo.TransactionalID(id), kgo.ProducerLinger(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := limited()
	defer cancel()
	var all [][]Ack
	for _, part := range parts {
		if err := client.BeginTransaction(); err != nil {
			return nil, err
		}
		records := make([]*kgo.Record, len(part.rows))
		for i, row := range part.rows {
			records[i] = &kgo.Record{Topic: topic, Key: row.Key, Value: row.Value, Timestamp: time.UnixMilli(row.Timestamp)}
			for _, header := range row.Headers {
				records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
			}
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return nil, err
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(part.commit)); err != nil {
			return nil, err
		}
		acks := make([]Ack, len(records))
		for i, record := range records {
			acks[i] = Ack{record.Partition, record.Offset}
		}
		all = append(all, acks)
	}
	return all, nil
}

// Transact writes through sarama's transactional producer.
func (s *Sarama) Transact(id, topic string, parts []transactionPart) ([][]Ack, error) {
	config := s.config()
	config.Producer.Return.Successes = true
	config.Producer.Return.Errors = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Producer.Transaction.ID = id
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer([]string{s.bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	var all [][]Ack
	for _, part := range parts {
		if err := producer.BeginTxn(); err != nil {
			return nil, err
		}
		messages := make([]*sarama.ProducerMessage, len(part.rows))
		for i, row := range part.rows {
			message := &sarama.ProducerMessage{Topic: topic, Timestamp: time.UnixMilli(row.Timestamp)}
			message.Key, message.Value = sarama.ByteEncoder(row.Key), sarama.ByteEncoder(row.Value)
			for _, header := range row.Headers {
				message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
			}
			messages[i] = message
		}
		if err := producer.SendMessages(messages); err != nil {
			return nil, fmt.Errorf("sending: %w", err)
		}
		end := producer.AbortTxn
		if part.commit {
			end = producer.CommitTxn
		}
		if err := end(); err != nil {
			return nil, err
		}
		acks := make([]Ack, len(messages))
		for i, message := range messages {
			acks[i] = Ack{message.Partition, message.Offset}
		}
		all = append(all, acks)
	}
	return all, nil
}
