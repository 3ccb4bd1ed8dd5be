// Command go is the compat suite of the Go clients: franz-go and sarama.
//
//	go --client franz-go|sarama --bootstrap 127.0.0.1:9092 [--data FILE] [--rows N] [--broker weir|kafka] [--only CHECK]
//
// It prints one JSON line per check and a summary line, and exits with 1 when a check failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// checksAtATime: most checks of groups only wait (session timeouts, rebalance delays).
const checksAtATime = 4

func main() {
	home, _ := os.UserHomeDir()
	name := flag.String("client", "franz-go", "franz-go, sarama or registry-franz-go")
	bootstrap := flag.String("bootstrap", "127.0.0.1:9092", "HOST:PORT of the broker")
	data := flag.String("data", filepath.Join(home, ".cache/weir/data/flights.jsonl"), "the flights")
	rows := flag.Int("rows", 20_000, "rows of the flights to take")
	broker := flag.String("broker", "weir", "weir or kafka")
	only := flag.String("only", "", "only checks whose name contains this")
	registry := flag.String("registry", "127.0.0.1:8081", "HOST:PORT of the Schema Registry, for registry-franz-go")
	member := flag.String("member", "", "GROUP,TOPIC: be a member until killed (used by the suite itself)")
	wanted := flag.String("secured", "", "JSON: one round trip with TLS and SASL, for the security suite")
	toDrain := flag.String("drain", "", "JSON: a topic to its end, for the suite of views")
	writes := flag.String("history", "", "JSON: random transactions until killed, for ecosystem/history.py")
	flag.Parse()
	if *writes != "" {
		runHistory(*writes)
		return
	}
	if *toDrain != "" {
		runDrain(*name, *toDrain)
		return
	}
	if *wanted != "" {
		runSecured(*wanted)
		return
	}

	var client Client
	switch *name {
	case "franz-go":
		client = newFranz(*bootstrap)
	case "sarama":
		client = newSarama(*bootstrap)
	case "registry-franz-go":
		client = newRegistryClient(*bootstrap, *registry)
	default:
		fmt.Fprintf(os.Stderr, "unknown client %q; known: franz-go, sarama, registry-franz-go\n", *name)
		os.Exit(2)
	}
	if *member != "" {
		group, topic, _ := strings.Cut(*member, ",")
		beMember(client, group, topic)
		return
	}

	flights, err := loadFlights(*data, *rows)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	suite := &Suite{
		Client: client, Bootstrap: *bootstrap, Flights: flights, Kafka: *broker == "kafka",
		run: strconv.FormatInt(time.Now().UnixMilli()%1_000_000_000, 36),
	}
	slots := make(chan struct{}, checksAtATime)
	var running sync.WaitGroup
	all := checks()
	if schemas, ok := client.(*registryClient); ok {
		all = registryChecks(schemas)
	}
	for _, check := range all {
		if !strings.Contains(check.name, *only) {
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			suite.execute(check)
			<-slots
		})
	}
	running.Wait()
	if !suite.finish() {
		os.Exit(1)
	}
}

// beMember polls and never commits. It ends by itself should the suite die before it could kill it.
func beMember(client Client, group, topic string) {
	member, err := client.Join(group, topic, "", 6*time.Second)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	told := -1
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
		if _, err := member.Poll(100 * time.Millisecond); err != nil {
			fmt.Println("error", err)
		}
		if assigned := len(member.Assigned()); assigned != told {
			told = assigned
			fmt.Println("assigned", assigned)
		}
	}
}
