package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// patience is longer than the broker is ever away.
const patience = 60 * time.Second

// historyWish says who writes and where its numbers begin.
type historyWish struct {
	Bootstrap  string `json:"bootstrap"`
	Name       string `json:"name"`
	Partitions int32  `json:"partitions"`
	First      int64  `json:"first"`
	Seed       int64  `json:"seed"`
}

// historyWriter is the class Writer of ecosystem/history.py, with franz-go.
type historyWriter struct {
	wish   historyWish
	random *rand.Rand
	client *kgo.Client
}

// runHistory writes random transactions without end and prints what became of each: NAME NUMBER committed|aborted. It exits when
// the outcome of one is not known; whoever started it starts the next, with other numbers.
func runHistory(text string) {
	var wish historyWish
	if err := json.Unmarshal([]byte(text), &wish); err != nil {
		fmt.Fprintln(os.Stderr, "--history:", err)
		os.Exit(2)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(wish.Bootstrap), kgo.TransactionalID(wish.Name), kgo.TransactionTimeout(20*time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }), kgo.RequestRetries(1_000),
		kgo.RetryTimeout(patience),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	writer := &historyWriter{wish, rand.New(rand.NewSource(wish.Seed)), client}
	for number := wish.First; ; number++ {
		outcome, err := writer.transaction(number)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s %d: %v\n", wish.Name, number, err)
			os.Exit(1)
		}
		fmt.Println(wish.Name, number, outcome)
	}
}

// transaction writes 1 to 12 records and its number as the group's offset. An error leaves the outcome open.
func (w *historyWriter) transaction(number int64) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	commits, total := w.random.Float64() < 0.75, 1+w.random.Intn(12)
	intent := "A"
	if commits {
		intent = "C"
	}
	if err := w.client.BeginTransaction(); err != nil {
		return "", err
	}
	failures := make(chan error, total)
	for index := range total {
		value := fmt.Sprintf("%s %d %d %d %s", w.wish.Name, number, index, total, intent)
		record := &kgo.Record{Topic: "history", Partition: w.random.Int31n(w.wish.Partitions), Value: []byte(value)}
		w.client.Produce(ctx, record, func(_ *kgo.Record, err error) { failures <- err })
	}
	if !commits {
		// Nothing, a part, or all of it has reached the broker when it is aborted.
		flushing, done := context.WithTimeout(ctx, []time.Duration{0, 2 * time.Millisecond, 5 * time.Second}[w.random.Intn(3)])
		_ = w.client.Flush(flushing)
		done()
		return w.abort(ctx)
	}
	if err := w.client.Flush(ctx); err != nil {
		return "", err
	}
	for range total {
		if err := <-failures; err != nil {
			return w.abort(ctx)
		}
	}
	if err := w.commitPosition(ctx, number); err != nil {
		return w.abort(ctx)
	}
	err := w.client.EndTransaction(ctx, kgo.TryCommit)
	switch {
	case err == nil:
		return "committed", nil
	case errors.Is(err, kerr.OperationNotAttempted) || errors.Is(err, kerr.TransactionAbortable):
		return w.abort(ctx)
	default:
		return "", err
	}
}

func (w *historyWriter) abort(ctx context.Context) (string, error) {
	if err := w.client.AbortBufferedRecords(ctx); err != nil {
		return "", err
	}
	return "aborted", w.client.EndTransaction(ctx, kgo.TryAbort)
}

// commitPosition makes the number the offset of the writer's group, as a part of the transaction. The client does that by itself only
// for a consumer, so these are requests by hand: TxnOffsetCommit 5 adds the group to the transaction (KIP-890).
func (w *historyWriter) commitPosition(ctx context.Context, number int64) error {
	id, epoch, err := w.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Offset = number
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = "positions", []kmsg.TxnOffsetCommitRequestTopicPartition{partition}
	request := kmsg.NewPtrTxnOffsetCommitRequest()
	request.TransactionalID, request.Group = w.wish.Name, "group-"+w.wish.Name
	request.ProducerID, request.ProducerEpoch = id, epoch
	request.Topics = []kmsg.TxnOffsetCommitRequestTopic{topic}
	for {
		response, err := request.RequestWith(ctx, w.client)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
		if !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
