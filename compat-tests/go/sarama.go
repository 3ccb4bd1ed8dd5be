package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Sarama is the client sarama.
type Sarama struct {
	bootstrap string
}

func newSarama(bootstrap string) *Sarama { return &Sarama{bootstrap} }

// Name is the client's name in reports.
func (s *Sarama) Name() string { return "sarama" }

// ErrorCode is Kafka's code for the error.
func (s *Sarama) ErrorCode(err error) int16 {
	var kafka sarama.KError
	var topic *sarama.TopicError
	var partition *sarama.TopicPartitionError
	switch {
	case errors.As(err, &kafka):
		return int16(kafka)
	case errors.As(err, &topic):
		return int16(topic.Err)
	case errors.As(err, &partition):
		return int16(partition.Err)
	}
	return -1
}

func (s *Sarama) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Admin.Timeout = callLimit
	config.Admin.Retry.Max = 0
	return config
}

// Produce sends all rows without waiting in between.
func (s *Sarama) Produce(topic string, rows []Record, options ProduceOptions) ([]Ack, []error) {
	config := s.config()
	config.Producer.Return.Successes = true
	config.Producer.Return.Errors = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	// This also bounds a batch, which must stay below the broker's limit, unless a record alone is larger.
	config.Producer.MaxMessageBytes = 1_000_000
	for _, row := range rows {
		if len(row.Value) > 900_000 {
			config.Producer.MaxMessageBytes = 4 << 20
		}
	}
	config.Producer.Flush.Frequency = 10 * time.Millisecond
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[options.Codec]
	if options.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	if options.AcksOne {
		config.Producer.RequiredAcks = sarama.WaitForLocal
	}
	if options.Small {
		config.Producer.Flush.MaxMessages = 20
		config.Producer.Flush.Frequency = time.Millisecond
	}
	acks, errs := make([]Ack, len(rows)), make([]error, len(rows))
	producer, err := sarama.NewAsyncProducer([]string{s.bootstrap}, config)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return acks, errs
	}
	go func() {
		for i, row := range rows {
			message := &sarama.ProducerMessage{Topic: topic, Timestamp: time.UnixMilli(row.Timestamp), Metadata: i}
			if row.Key != nil {
				message.Key = sarama.ByteEncoder(row.Key)
			}
			if row.Value != nil {
				message.Value = sarama.ByteEncoder(row.Value)
			}
			for _, header := range row.Headers {
				message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
			}
			producer.Input() <- message
		}
	}()
	limit := time.After(callLimit)
	for range rows {
		select {
		case message := <-producer.Successes():
			acks[message.Metadata.(int)] = Ack{message.Partition, message.Offset}
		case failed := <-producer.Errors():
			errs[failed.Msg.Metadata.(int)] = failed.Err
		case <-limit:
			errs[0] = errors.New("not all records were acknowledged in time")
			return acks, errs
		}
	}
	if err := producer.Close(); err != nil {
		errs[0] = err
	}
	return acks, errs
}

func fromSarama(message *sarama.ConsumerMessage) Record {
	out := Record{
		Key: message.Key, Value: message.Value, Timestamp: message.Timestamp.UnixMilli(),
		Partition: message.Partition, Offset: message.Offset,
	}
	for _, header := range message.Headers {
		out.Headers = append(out.Headers, Header{string(header.Key), header.Value})
	}
	return out
}

// Consume reads by assignment.
func (s *Sarama) Consume(topic string, from, end map[int32]int64, options ConsumeOptions) ([]Record, error) {
	config := s.config()
	config.Consumer.MaxWaitTime = 300 * time.Millisecond
	config.Consumer.Return.Errors = true
	if options.ReadCommitted {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	if options.FetchBytes > 0 {
		config.Consumer.Fetch.Default = options.FetchBytes
	}
	consumer, err := sarama.NewConsumer([]string{s.bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	limit := time.After(callLimit)
	var records []Record
	// One partition after the other, but all of them fetch from the beginning on.
	streams := map[int32]sarama.PartitionConsumer{}
	for partition, offset := range from {
		if offset < end[partition] {
			stream, err := consumer.ConsumePartition(topic, partition, offset)
			if err != nil {
				return nil, err
			}
			defer stream.Close()
			streams[partition] = stream
		}
	}
	for partition, stream := range streams {
		for next := from[partition]; next < end[partition]; {
			select {
			case message := <-stream.Messages():
				next = message.Offset + 1
				records = append(records, fromSarama(message))
			case failed := <-stream.Errors():
				return records, failed
			case <-limit:
				return records, fmt.Errorf("partition %d stands at %d of %d", partition, next, end[partition])
			}
		}
	}
	return records, nil
}

type claimed struct {
	message *sarama.ConsumerMessage
	session sarama.ConsumerGroupSession
}

type saramaMember struct {
	group    sarama.ConsumerGroup
	topic    string
	messages chan claimed
	stop     context.CancelFunc
	done     chan struct{}
	mu       sync.Mutex
	session  sarama.ConsumerGroupSession
	failed   error
}

// Join makes a member of a classic group.
func (s *Sarama) Join(group, topic, instance string, session time.Duration) (Member, error) {
	config := s.config()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 300 * time.Millisecond
	config.Consumer.Group.Session.Timeout = session
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.InstanceId = instance
	consumers, err := sarama.NewConsumerGroup([]string{s.bootstrap}, group, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	member := &saramaMember{group: consumers, topic: topic, messages: make(chan claimed), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(member.done)
		for ctx.Err() == nil {
			if err := consumers.Consume(ctx, []string{topic}, member); err != nil && ctx.Err() == nil {
				member.mu.Lock()
				member.failed = err
				member.mu.Unlock()
				return
			}
		}
	}()
	return member, nil
}

// Setup is called when a generation begins.
func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = session
	return nil
}

// Cleanup is called when a generation ends.
func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = nil
	return nil
}

// ConsumeClaim hands one partition's messages to Poll until the generation ends.
func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			select {
			case m.messages <- claimed{message, session}:
			case <-session.Context().Done():
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *saramaMember) Poll(wait time.Duration) ([]Record, error) {
	limit := time.After(wait)
	var records []Record
	for len(records) < 1_000 {
		select {
		case one := <-m.messages:
			one.session.MarkMessage(one.message, "")
			records = append(records, fromSarama(one.message))
		case <-limit:
			m.mu.Lock()
			defer m.mu.Unlock()
			return records, m.failed
		}
	}
	return records, nil
}

func (m *saramaMember) Assigned() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil
	}
	return m.session.Claims()[m.topic]
}

func (m *saramaMember) Commit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return errors.New("no generation to commit in")
	}
	m.session.Commit() // tells no error: checks look at the committed offsets instead
	return nil
}

func (m *saramaMember) Close() {
	m.stop()
	<-m.done
	_ = m.group.Close()
}
