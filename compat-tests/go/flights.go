package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// Header is one record header; names may repeat.
type Header struct {
	Key   string
	Value []byte
}

// Record is a record to produce, or one that was consumed. Key and value may be nil, which is not the same as empty.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Timestamp  int64
	Partition  int32
	Offset     int64
}

// difference says how got differs from the record that was produced; empty when every byte is the same.
func (want Record) difference(got Record) string {
	switch {
	case !sameBytes(want.Key, got.Key):
		return fmt.Sprintf("key %q, expected %q", got.Key, want.Key)
	case !sameBytes(want.Value, got.Value):
		return fmt.Sprintf("value of %d bytes differs from the %d bytes produced", len(got.Value), len(want.Value))
	case want.Timestamp != got.Timestamp:
		return fmt.Sprintf("timestamp %d, expected %d", got.Timestamp, want.Timestamp)
	case len(want.Headers) != len(got.Headers):
		return fmt.Sprintf("%d headers, expected %d", len(got.Headers), len(want.Headers))
	}
	for i, header := range want.Headers {
		if header.Key != got.Headers[i].Key || !sameBytes(header.Value, got.Headers[i].Value) {
			return fmt.Sprintf("header %d is %v, expected %v", i, got.Headers[i], header)
		}
	}
	return ""
}

func sameBytes(a, b []byte) bool {
	return (a == nil) == (b == nil) && bytes.Equal(a, b)
}

// loadFlights reads the first limit records of compat-tests/data's file.
func loadFlights(path string, limit int) ([]Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var rows []Record
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for len(rows) < limit && lines.Scan() {
		var line struct {
			Key, Value string
			Headers    [][2]string
			Timestamp  int64
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, len(rows)+1, err)
		}
		row := Record{Key: []byte(line.Key), Value: []byte(line.Value), Timestamp: line.Timestamp}
		for _, header := range line.Headers {
			row.Headers = append(row.Headers, Header{header[0], []byte(header[1])})
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(rows) < limit {
		return nil, fmt.Errorf("%s holds %d rows, %d were asked for", path, len(rows), limit)
	}
	return rows, nil
}
