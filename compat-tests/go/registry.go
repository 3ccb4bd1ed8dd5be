package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// registryClient is franz-go with its client of the Schema Registry; it reports under a name of its own.
type registryClient struct {
	Client
	schemas *sr.Client
}

func newRegistryClient(bootstrap, registry string) *registryClient {
	schemas, err := sr.NewClient(sr.URLs("http://" + registry))
	if err != nil {
		panic(err)
	}
	return &registryClient{Client: newFranz(bootstrap), schemas: schemas}
}

func (c *registryClient) Name() string { return "registry-franz-go" }

func registryChecks(client *registryClient) []named {
	with := func(name string, run func(*Check, *sr.Client)) named {
		return named{name, func(c *Check) { run(c, client.schemas) }}
	}
	return []named{
		with("flights", registryFlights),
		with("evolve", registryEvolve),
		with("references", registryReferences),
		with("subjects-and-deletes", registryDeletes),
		with("config-and-mode", registrySettings),
	}
}

func background() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	time.AfterFunc(20*time.Second, cancel)
	return ctx
}

// refusedWith asserts that the registry refused with exactly this code.
func (c *Check) refusedWith(err error, code int, what string) {
	var refusal *sr.ResponseError
	c.that(errors.As(err, &refusal) && refusal.ErrorCode == code, "%s: expected error code %d, got %v", what, code, err)
}

const flightJSON = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{
	"year":{"type":"integer"},"carrier":{"type":"string"},"tailnum":{"type":["string","null"]},"distance":{"type":"integer"}}}`

// registryFlights frames each flight with the registered id, produces, consumes and compares.
func registryFlights(c *Check, schemas *sr.Client) {
	topic := c.Name("flights")
	c.must(c.Client.CreateTopic(topic, 1, 1, map[string]string{"retention.ms": "-1"}), "create the topic")
	registered, err := schemas.CreateSchema(background(), topic+"-value", sr.Schema{Schema: flightJSON, Type: sr.TypeJSON})
	c.must(err, "register")
	c.that(registered.Version == 1 && registered.Type == sr.TypeJSON, "registered as %+v", registered)
	var serde sr.Serde
	serde.Register(registered.ID, map[string]any{}, sr.EncodeFn(json.Marshal), sr.DecodeFn(json.Unmarshal))
	rows := c.first(5_000)
	framed := make([]Record, len(rows))
	for i, row := range rows {
		var flight map[string]any
		c.must(json.Unmarshal(row.Value, &flight), "a flight")
		value, err := serde.Encode(flight)
		c.must(err, "encode")
		framed[i] = Record{Key: row.Key, Value: value, Timestamp: row.Timestamp}
	}
	_, failed := c.Client.Produce(topic, framed, ProduceOptions{Codec: "lz4", Idempotent: true})
	for _, err := range failed {
		c.must(err, "produce")
	}
	c.count(len(framed), 0, 0)
	got, err := c.Client.Consume(topic, map[int32]int64{0: 0}, map[int32]int64{0: int64(len(rows))}, ConsumeOptions{})
	c.must(err, "consume")
	c.that(len(got) == len(rows), "%d records, expected %d", len(got), len(rows))
	for i, record := range got {
		frame := binary.BigEndian.Uint32(record.Value[1:5])
		c.that(record.Value[0] == 0 && int(frame) == registered.ID, "frame of record %d: %x", i, record.Value[:5])
		var flight, want map[string]any
		c.must(serde.Decode(record.Value, &flight), "decode")
		c.must(json.Unmarshal(rows[i].Value, &want), "a flight")
		a, _ := json.Marshal(flight)
		b, _ := json.Marshal(want)
		c.that(bytes.Equal(a, b), "record %d differs", i)
	}
	c.count(0, len(got), 0)
}

// registryEvolve: what may follow under which level, for all three formats.
func registryEvolve(c *Check, schemas *sr.Client) {
	avro := func(fields string) string {
		return `{"type":"record","name":"R","fields":[{"name":"a","type":"int"}` + fields + `]}`
	}
	closed := func(properties string) string {
		return `{"type":"object","properties":{"a":{"type":"integer"}` + properties + `},"additionalProperties":false}`
	}
	changes := []struct {
		kind              sr.SchemaType
		base, changed     string
		backward, forward bool
	}{
		{sr.TypeAvro, avro(""), avro(`,{"name":"b","type":"int","default":0}`), true, true},
		{sr.TypeAvro, avro(""), avro(`,{"name":"b","type":"int"}`), false, true},
		{sr.TypeAvro, avro(""), strings.Replace(avro(""), `"int"`, `"long"`, 1), true, false},
		{sr.TypeJSON, closed(""), closed(`,"b":{"type":"string"}`), true, false},
		{sr.TypeJSON, closed(""), strings.Replace(closed(""), "integer", "string", 1), false, false},
		{sr.TypeProtobuf, `syntax = "proto3"; message R { int32 a = 1; }`, `syntax = "proto3"; message R { int64 a = 1; }`, true, true},
		{sr.TypeProtobuf, `syntax = "proto3"; message R { int32 a = 1; }`, `syntax = "proto3"; message R { string a = 1; }`, false, false},
	}
	levels := map[sr.CompatibilityLevel][2]bool{ // must read backward, forward
		sr.CompatNone: {}, sr.CompatBackward: {true, false}, sr.CompatBackwardTransitive: {true, false},
		sr.CompatForward: {false, true}, sr.CompatForwardTransitive: {false, true},
		sr.CompatFull: {true, true}, sr.CompatFullTransitive: {true, true},
	}
	for level, must := range levels {
		for i, change := range changes {
			subject := c.Name(fmt.Sprintf("evolve-%s-%d", level, i))
			_, err := schemas.CreateSchema(background(), subject, sr.Schema{Schema: change.base, Type: change.kind})
			c.must(err, "register the base")
			c.must(schemas.SetCompatibility(background(), sr.SetCompatibility{Level: level}, subject)[0].Err, "set the level")
			allowed := (!must[0] || change.backward) && (!must[1] || change.forward)
			changed := sr.Schema{Schema: change.changed, Type: change.kind}
			verdict, err := schemas.CheckCompatibility(sr.WithParams(background(), sr.Verbose), subject, -1, changed)
			c.must(err, "check")
			c.that(verdict.Is == allowed && (len(verdict.Messages) == 0) == allowed, "%v %d: %+v", level, i, verdict)
			_, err = schemas.CreateSchema(background(), subject, changed)
			if allowed {
				c.must(err, "register the change")
			} else {
				c.refusedWith(err, 409, "an incompatible change")
				c.that(strings.Contains(err.Error(), "errorType"), "the reason: %v", err)
			}
		}
	}
}

func registryReferences(c *Check, schemas *sr.Client) {
	part, whole := c.Name("part"), c.Name("whole")
	_, err := schemas.CreateSchema(background(), part, sr.Schema{Schema: `syntax = "proto3"; message P { int32 x = 1; }`, Type: sr.TypeProtobuf})
	c.must(err, "register the part")
	user := sr.Schema{Schema: `syntax = "proto3"; import "p.proto"; message R { P p = 1; }`, Type: sr.TypeProtobuf}
	_, err = schemas.CreateSchema(background(), whole, user)
	c.refusedWith(err, 42201, "an import that is not named")
	user.References = []sr.SchemaReference{{Name: "p.proto", Subject: part, Version: 1}}
	registered, err := schemas.CreateSchema(background(), whole, user)
	c.must(err, "register")
	users, err := schemas.SchemaReferences(background(), part, 1)
	c.must(err, "references")
	c.that(len(users) == 1 && users[0].ID == registered.ID, "referenced by %+v", users)
	c.refusedWith(schemas.DeleteSchema(background(), part, 1, sr.SoftDelete), 42206, "delete what is referenced")
}

func registryDeletes(c *Check, schemas *sr.Client) {
	subject := c.Name("a/b c")
	text := fmt.Sprintf(`{"type":"fixed","name":"F%d","size":4}`, time.Now().UnixNano())
	first, err := schemas.CreateSchema(background(), subject, sr.Schema{Schema: text})
	c.must(err, "register")
	again, err := schemas.CreateSchema(background(), subject, sr.Schema{Schema: text})
	c.must(err, "register again")
	c.that(again.ID == first.ID && again.Version == 1, "again: %+v", again)
	got, err := schemas.SchemaTextByID(background(), first.ID)
	c.must(err, "text")
	c.that(got == text, "text %q", got)
	looked, err := schemas.LookupSchema(background(), subject, sr.Schema{Schema: text})
	c.must(err, "lookup")
	c.that(looked.ID == first.ID, "looked up %+v", looked)
	byGUID, err := schemas.SchemaByGUID(background(), first.GUID)
	c.must(err, "by guid")
	c.that(byGUID.Schema.Schema == text, "by guid %+v", byGUID)
	subjects, err := schemas.Subjects(background())
	c.must(err, "subjects")
	c.that(strings.Contains(strings.Join(subjects, "\n"), subject), "subjects %v", subjects)
	_, err = schemas.SchemaByVersion(background(), subject, 9)
	c.refusedWith(err, 40402, "an unknown version")
	_, err = schemas.SchemaByID(background(), 2_000_000_000)
	c.refusedWith(err, 40403, "an unknown id")
	_, err = schemas.DeleteSubject(background(), subject, sr.HardDelete)
	c.refusedWith(err, 40405, "permanent before soft")
	versions, err := schemas.DeleteSubject(background(), subject, sr.SoftDelete)
	c.must(err, "soft delete")
	c.that(len(versions) == 1 && versions[0] == 1, "deleted %v", versions)
	_, err = schemas.SubjectVersions(background(), subject)
	c.refusedWith(err, 40401, "a deleted subject")
	_, err = schemas.DeleteSubject(background(), subject, sr.HardDelete)
	c.must(err, "permanent delete")
	_, err = schemas.SchemaByID(background(), first.ID)
	c.refusedWith(err, 40403, "an id that nothing uses")
}

func registrySettings(c *Check, schemas *sr.Client) {
	subject := c.Name("settings")
	global := schemas.Compatibility(background())[0]
	c.that(global.Err == nil && global.Level == sr.CompatBackward, "global level %+v", global)
	c.refusedWith(schemas.Compatibility(background(), subject)[0].Err, 40408, "no level of its own")
	set := schemas.SetCompatibility(background(), sr.SetCompatibility{Level: sr.CompatFull}, subject)[0]
	c.that(set.Err == nil && set.Level == sr.CompatFull, "set %+v", set)
	reset := schemas.ResetCompatibility(background(), subject)[0]
	c.that(reset.Err == nil && reset.Level == sr.CompatFull, "reset %+v", reset)
	mode := schemas.SetMode(background(), sr.ModeReadOnly, subject)[0]
	c.that(mode.Err == nil && mode.Mode == sr.ModeReadOnly, "mode %+v", mode)
	_, err := schemas.CreateSchema(background(), subject, sr.Schema{Schema: `"int"`})
	c.refusedWith(err, 42205, "read-only")
	c.that(schemas.ResetMode(background(), subject)[0].Err == nil, "reset the mode")
	types, err := schemas.SupportedTypes(background())
	c.must(err, "types")
	c.that(len(types) == 3, "types %v", types)
}
