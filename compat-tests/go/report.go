package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Check is one running check: what it counts, and where its assertions fail.
type Check struct {
	*Suite
	mu                           sync.Mutex
	produced, consumed, compared int64
}

// failure is what a failed assertion panics with; the check ends there.
type failure struct{ text string }

func (c *Check) fail(format string, args ...any) {
	panic(failure{fmt.Sprintf(format, args...)})
}

// must ends the check when err is set.
func (c *Check) must(err error, what string) {
	if err != nil {
		c.fail("%s: %v", what, err)
	}
}

// that asserts a condition and counts the assertion.
func (c *Check) that(condition bool, format string, args ...any) {
	if !condition {
		c.fail(format, args...)
	}
	c.count(0, 0, 1)
}

// refused asserts that err carries exactly this Kafka error code.
func (c *Check) refused(err error, code int16, what string) {
	if err == nil {
		c.fail("%s: expected error code %d, it was accepted", what, code)
	}
	c.that(c.Client.ErrorCode(err) == code, "%s: expected error code %d, got %v", what, code, err)
}

// eventually polls until the condition holds: a broker may need a moment for what it has promised to do soon.
func (c *Check) eventually(what string, limit time.Duration, condition func() bool) {
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.fail("not within %v: %s", limit, what)
		}
	}
	c.count(0, 0, 1)
}

func (c *Check) count(produced, consumed, compared int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.produced += int64(produced)
	c.consumed += int64(consumed)
	c.compared += int64(compared)
}

// Suite runs the checks of one client against one broker.
type Suite struct {
	Client    Client
	Bootstrap string
	Flights   []Record
	// Kafka is true when the broker is Apache Kafka itself, which refuses a replication factor above its broker count.
	Kafka bool

	run            string
	mu             sync.Mutex
	passed, failed int
	totals         [3]int64
}

type named struct {
	name string
	run  func(*Check)
}

// Name is a topic or group name that no earlier run against the same broker has used.
func (s *Suite) Name(suffix string) string {
	return s.Client.Name() + "-" + s.run + "-" + suffix
}

// first returns the first n rows, or all when there are fewer.
func (s *Suite) first(n int) []Record {
	return s.Flights[:min(n, len(s.Flights))]
}

// execute runs one check and prints its line.
func (s *Suite) execute(check named) {
	c := &Check{Suite: s}
	begun := time.Now()
	detail := ""
	func() {
		defer func() {
			switch problem := recover().(type) {
			case nil:
			case failure:
				detail = problem.text
			default:
				detail = fmt.Sprintf("panic: %v\n%s", problem, debug.Stack())
			}
		}()
		check.run(c)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if detail == "" {
		s.passed++
	} else {
		s.failed++
	}
	s.totals[0] += c.produced
	s.totals[1] += c.consumed
	s.totals[2] += c.compared
	s.print(map[string]any{
		"client": s.Client.Name(), "check": check.name, "ok": detail == "", "produced": c.produced,
		"consumed": c.consumed, "compared": c.compared, "seconds": time.Since(begun).Seconds(), "detail": detail,
	})
}

// finish prints the summary line; true when all passed.
func (s *Suite) finish() bool {
	ok := s.failed == 0 && s.passed > 0
	s.print(map[string]any{
		"client": s.Client.Name(), "summary": true, "ok": ok, "passed": s.passed, "failed": s.failed,
		"produced": s.totals[0], "consumed": s.totals[1], "compared": s.totals[2],
	})
	return ok
}

func (s *Suite) print(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		text = []byte(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	fmt.Fprintln(os.Stdout, string(text))
}
