package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const callLimit = 30 * time.Second

// Franz is the client franz-go.
type Franz struct {
	bootstrap string
	admin     *kadm.Client
}

func newFranz(bootstrap string) *Franz {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		panic(err)
	}
	return &Franz{bootstrap, kadm.NewClient(client)}
}

// Name is the client's name in reports.
func (f *Franz) Name() string { return "franz-go" }

// ErrorCode is Kafka's code for the error.
func (f *Franz) ErrorCode(err error) int16 {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Code
	}
	return -1
}

func limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callLimit)
}

// Produce sends all rows without waiting in between.
func (f *Franz) Produce(topic string, rows []Record, options ProduceOptions) ([]Ack, []error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	// A batch must stay below the broker's limit, unless a record alone is larger.
	batch := int32(1_000_000)
	for _, row := range rows {
		if len(row.Value) > 900_000 {
			batch = 4 << 20
		}
	}
	settings := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ProducerBatchCompression(codecs[options.Codec]), kgo.ProducerLinger(10 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(batch), kgo.MaxBufferedRecords(50_000),
		// No RecordDeliveryTimeout: it counts from a record's own timestamp, and the flights are of 2013.
	}
	if !options.Idempotent {
		settings = append(settings, kgo.DisableIdempotentWrite())
	}
	if options.AcksOne {
		settings = append(settings, kgo.RequiredAcks(kgo.LeaderAck()))
	}
	if options.Small {
		settings = append(settings, kgo.ProducerBatchMaxBytes(2_000), kgo.ProducerLinger(0))
	}
	acks, errs := make([]Ack, len(rows)), make([]error, len(rows))
	client, err := kgo.NewClient(settings...)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return acks, errs
	}
	defer client.Close()
	ctx, cancel := limited()
	defer cancel()
	var running sync.WaitGroup
	for i, row := range rows {
		record := &kgo.Record{Topic: topic, Key: row.Key, Value: row.Value, Timestamp: time.UnixMilli(row.Timestamp)}
		for _, header := range row.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		running.Add(1)
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			acks[i], errs[i] = Ack{record.Partition, record.Offset}, err
			running.Done()
		})
	}
	running.Wait()
	return acks, errs
}

func fromFranz(record *kgo.Record) Record {
	out := Record{
		Key: record.Key, Value: record.Value, Timestamp: record.Timestamp.UnixMilli(),
		Partition: record.Partition, Offset: record.Offset,
	}
	for _, header := range record.Headers {
		out.Headers = append(out.Headers, Header{header.Key, header.Value})
	}
	return out
}

// Consume reads by assignment.
func (f *Franz) Consume(topic string, from, end map[int32]int64, options ConsumeOptions) ([]Record, error) {
	offsets := map[int32]kgo.Offset{}
	for partition, offset := range from {
		if offset < end[partition] {
			offsets[partition] = kgo.NewOffset().At(offset)
		}
	}
	settings := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}),
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if options.ReadCommitted {
		settings = append(settings, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if options.FetchBytes > 0 {
		settings = append(settings, kgo.FetchMaxPartitionBytes(options.FetchBytes))
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := limited()
	defer cancel()
	var records []Record
	for len(offsets) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return records, fmt.Errorf("%d partitions unfinished: %w", len(offsets), err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if record.Offset < end[record.Partition] {
				records = append(records, fromFranz(record))
			}
			if record.Offset+1 >= end[record.Partition] {
				delete(offsets, record.Partition)
			}
		})
	}
	return records, nil
}

type franzMember struct {
	client   *kgo.Client
	mu       sync.Mutex
	assigned map[int32]bool
}

// Join makes a member of a classic group.
func (f *Franz) Join(group, topic, instance string, session time.Duration) (Member, error) {
	member := &franzMember{assigned: map[int32]bool{}}
	change := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			member.mu.Lock()
			defer member.mu.Unlock()
			for _, partition := range partitions[topic] {
				if has {
					member.assigned[partition] = true
				} else {
					delete(member.assigned, partition)
				}
			}
		}
	}
	settings := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(300 * time.Millisecond), kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	}
	if instance != "" {
		settings = append(settings, kgo.InstanceID(instance))
	}
	client, err := kgo.NewClient(settings...)
	member.client = client
	return member, err
}

func (m *franzMember) Poll(wait time.Duration) ([]Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	fetches := m.client.PollFetches(ctx)
	for _, failed := range fetches.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) {
			return nil, failed.Err
		}
	}
	var records []Record
	fetches.EachRecord(func(record *kgo.Record) { records = append(records, fromFranz(record)) })
	return records, nil
}

func (m *franzMember) Assigned() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []int32
	for partition := range m.assigned {
		out = append(out, partition)
	}
	return out
}

func (m *franzMember) Commit() error {
	ctx, cancel := limited()
	defer cancel()
	return m.client.CommitUncommittedOffsets(ctx)
}

func (m *franzMember) Close() { m.client.Close() }
