package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// drain is what the suite of views (../python/clients/drains.py) wants: a topic from the beginning to the ends.
type drain struct {
	Bootstrap, Topic, Group string
	Ends                    map[int32]int64
	WaitMs                  int64 `json:"wait_ms"`
	Seconds                 float64
}

// drained is the answer: partition, offset, timestamp, key, value and headers of each record, and where the client stands.
type drained struct {
	Records   [][]any         `json:"records"`
	Positions map[int32]int64 `json:"positions"`
	Seconds   float64         `json:"seconds"`
	Error     string          `json:"error,omitempty"`
}

// runDrain takes one JSON argument and prints one JSON line.
func runDrain(client, text string) {
	var wish drain
	if err := json.Unmarshal([]byte(text), &wish); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	answer := drained{Records: [][]any{}}
	started := time.Now()
	read := map[string]func(*drained) error{"franz-go": wish.franz, "sarama": wish.sarama}[client]
	if err := read(&answer); err != nil {
		answer.Error = err.Error()
	}
	answer.Seconds = time.Since(started).Seconds()
	line, _ := json.Marshal(answer)
	fmt.Println(string(line))
}

func (d drain) wait() time.Duration { return time.Duration(d.WaitMs) * time.Millisecond }

func (a *drained) add(record Record) {
	headers := [][]any{}
	for _, header := range record.Headers {
		headers = append(headers, []any{header.Key, header.Value})
	}
	a.Records = append(a.Records, []any{record.Partition, record.Offset, record.Timestamp, record.Key, record.Value, headers})
}

// franz tells its position by the control records that it is told to keep: where nothing matches there is one.
func (d drain) franz(answer *drained) error {
	offsets := map[int32]kgo.Offset{}
	for partition := range d.Ends {
		offsets[partition] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(d.Bootstrap), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{d.Topic: offsets}),
		kgo.FetchMaxWait(d.wait()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(d.Seconds*float64(time.Second)))
	defer cancel()
	answer.Positions = map[int32]int64{}
	for !d.reached(answer.Positions) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			answer.Positions[record.Partition] = record.Offset + 1
			if !record.Attrs.IsControl() {
				answer.add(fromFranz(record))
			}
		})
	}
	commits := kadm.Offsets{}
	for partition, at := range answer.Positions {
		commits.AddOffset(d.Topic, partition, at, -1)
	}
	return kadm.NewClient(client).CommitAllOffsets(ctx, d.Group, commits)
}

func (d drain) reached(positions map[int32]int64) bool {
	for partition, end := range d.Ends {
		if positions[partition] < end {
			return false
		}
	}
	return true
}

// forward hands on what a partition brings until it is over.
func forward(stream sarama.PartitionConsumer, messages chan<- *sarama.ConsumerMessage, failures chan<- error, over <-chan struct{}) {
	for {
		select {
		case message := <-stream.Messages():
			if message == nil {
				return
			}
			select {
			case messages <- message:
			case <-over:
				return
			}
		case failed := <-stream.Errors():
			if failed == nil {
				return
			}
			select {
			case failures <- failed:
			case <-over:
				return
			}
		case <-over:
			return
		}
	}
}

// sarama tells no position: it reads until the rows in front of the ends have come, and commits these.
func (d drain) sarama(answer *drained) error {
	config := newSarama(d.Bootstrap).config()
	config.Consumer.MaxWaitTime = d.wait()
	config.Consumer.Return.Errors = true
	config.Consumer.Offsets.AutoCommit.Enable = false
	client, err := sarama.NewClient([]string{d.Bootstrap}, config)
	if err != nil {
		return err
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	defer consumer.Close()
	manager, err := sarama.NewOffsetManagerFromClient(d.Group, client)
	if err != nil {
		return err
	}
	defer manager.Close()
	limit := time.After(time.Duration(d.Seconds * float64(time.Second)))
	// All partitions are fetched from the beginning on, and taken in one channel, so that none holds up the others.
	messages, failures := make(chan *sarama.ConsumerMessage), make(chan error)
	over := make(chan struct{})
	defer close(over)
	for partition := range d.Ends {
		stream, err := consumer.ConsumePartition(d.Topic, partition, 0)
		if err != nil {
			return err
		}
		defer stream.AsyncClose()
		go forward(stream, messages, failures, over)
	}
	next := map[int32]int64{}
	for !d.reached(next) {
		select {
		case message := <-messages:
			next[message.Partition] = message.Offset + 1
			answer.add(fromSarama(message))
		case failed := <-failures:
			return failed
		case <-limit:
			return errors.New("the time is over")
		}
	}
	for partition, at := range next {
		offsets, err := manager.ManagePartition(d.Topic, partition)
		if err != nil {
			return err
		}
		offsets.MarkOffset(at, "")
		defer offsets.AsyncClose()
	}
	manager.Commit()
	return nil
}
