package main

import "time"

// Ack is where the broker put a record.
type Ack struct {
	Partition int32
	Offset    int64
}

// ProduceOptions say how records are sent. Codec is one of none, gzip, snappy, lz4, zstd.
type ProduceOptions struct {
	Codec      string
	Idempotent bool
	// AcksOne asks for acks=1 in place of acks=all; only without Idempotent.
	AcksOne bool
	// Small makes many small batches, so that several requests are in flight.
	Small bool
}

// ConsumeOptions say how partitions are read.
type ConsumeOptions struct {
	ReadCommitted bool
	// FetchBytes limits a fetch of one partition; 0 is the client's default.
	FetchBytes int32
}

// GroupDescription is what an admin client sees of a group.
type GroupDescription struct {
	State    string
	Protocol string
	Members  int
	// Assigned counts the partitions over all members.
	Assigned int
}

// Member is one member of a consumer group.
type Member interface {
	// Poll returns what arrives within the time.
	Poll(wait time.Duration) ([]Record, error)
	// Assigned returns the partitions that the member has now.
	Assigned() []int32
	// Commit commits the offsets after all records that Poll has returned and that are still assigned.
	Commit() error
	// Close leaves the group (a static member stays in it).
	Close()
}

// Client is one client library under test.
type Client interface {
	Name() string
	// ErrorCode is the Kafka error code in err, or -1.
	ErrorCode(err error) int16

	// Produce returns one ack or error per record, in the order of rows.
	Produce(topic string, rows []Record, options ProduceOptions) ([]Ack, []error)
	// Consume reads each partition from its offset up to, and without, its end, and returns the records in order.
	Consume(topic string, from, end map[int32]int64, options ConsumeOptions) ([]Record, error)
	// Join makes a member; instance is the group instance id or empty.
	Join(group, topic, instance string, session time.Duration) (Member, error)

	CreateTopic(topic string, partitions int32, factor int16, configs map[string]string) error
	DeleteTopic(topic string) error
	CreatePartitions(topic string, total int32) error
	// Topics maps topic names to partition counts.
	Topics() (map[string]int, error)
	TopicConfigs(topic string) (map[string]string, error)
	SetTopicConfig(topic, name string, value *string) error

	StartOffsets(topic string) (map[int32]int64, error)
	EndOffsets(topic string) (map[int32]int64, error)
	// OffsetsAt gives the first offset per partition that is not older; the end offset or -1 where there is none.
	OffsetsAt(topic string, timestamp int64) (map[int32]int64, error)
	DeleteRecords(topic string, before map[int32]int64) error
	LogSize(topic string) (int64, error)
	Brokers() (int, error)

	Groups() ([]string, error)
	DescribeGroup(group string) (GroupDescription, error)
	GroupOffsets(group, topic string) (map[int32]int64, error)
	SetGroupOffsets(group, topic string, offsets map[int32]int64) error
	DeleteGroupOffset(group, topic string, partition int32) error
	DeleteGroup(group string) error
}
