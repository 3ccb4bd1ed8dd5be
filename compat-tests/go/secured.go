package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// secured is what the security suite (../python/security.py) wants of franz-go.
type secured struct {
	Bootstrap, CA, Cert, Key             string
	Mechanism, Username, Password, Token string
	Topic                                string
	Values                               []string
	Refused                              bool
	// Seconds over which the values are produced.
	Seconds float64
}

// runSecured takes one JSON argument and prints one JSON line.
func runSecured(text string) {
	var wanted secured
	if err := json.Unmarshal([]byte(text), &wanted); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	values, err := wanted.roundtrip()
	answer := map[string]any{"values": values}
	if err != nil {
		answer = map[string]any{"refused": err.Error()}
	}
	line, _ := json.Marshal(answer)
	fmt.Println(string(line))
}

func (w secured) options() ([]kgo.Opt, error) {
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(w.CA)
	if err != nil {
		return nil, err
	}
	pool.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: pool}
	if w.Cert != "" {
		pair, err := tls.LoadX509KeyPair(w.Cert, w.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	options := []kgo.Opt{kgo.SeedBrokers(w.Bootstrap), kgo.DialTLSConfig(config)}
	switch w.Mechanism {
	case "PLAIN":
		options = append(options, kgo.SASL(plain.Auth{User: w.Username, Pass: w.Password}.AsMechanism()))
	case "SCRAM-SHA-256":
		options = append(options, kgo.SASL(scram.Auth{User: w.Username, Pass: w.Password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		options = append(options, kgo.SASL(scram.Auth{User: w.Username, Pass: w.Password}.AsSha512Mechanism()))
	case "OAUTHBEARER":
		options = append(options, kgo.SASL(oauth.Auth{Token: w.Token}.AsMechanism()))
	}
	return options, nil
}

func (w secured) roundtrip() ([]string, error) {
	options, err := w.options()
	if err != nil {
		return nil, err
	}
	limit := callLimit
	if w.Refused {
		limit = 6 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client, err := kgo.NewClient(append(options, kgo.ConsumerGroup(w.Topic), kgo.ConsumeTopics(w.Topic))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return nil, err
	}
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, w.Topic); err != nil {
		return nil, err
	}
	var records []*kgo.Record
	for _, value := range w.Values {
		records = append(records, &kgo.Record{Topic: w.Topic, Value: []byte(value)})
	}
	pause := time.Duration(w.Seconds / float64(len(records)) * float64(time.Second))
	for pause > 0 && len(records) > 0 {
		if err := client.ProduceSync(ctx, records[0]).FirstErr(); err != nil {
			return nil, err
		}
		records = records[1:]
		time.Sleep(pause)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	var got []string
	for len(got) < len(w.Values) && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) { got = append(got, string(record.Value)) })
	}
	return got, nil
}
