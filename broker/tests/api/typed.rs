//! Typed topics: what does not fit is refused at the door, and the table outlives the broker.
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{CreateTopicsRequest, IncrementalAlterConfigsRequest};
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::{BatchBuilder, Compression, DecompressLimits, decode};
use weir_registry::{Compatibility, Format, Registration, SchemaDefinition, SubjectConfig};

use crate::harness::*;

const INVALID_CONFIG: i16 = 40;
const INVALID_RECORD: i16 = 87;

async fn topic(client: &mut Client, name: &str, configs: &[(&str, &str)]) -> Topic {
    Topic { name: name.to_owned(), id: client.create_topic(name, 1, configs).await }
}

/// Error code and message of a creation that does not work.
async fn refused(client: &mut Client, name: &str, configs: &[(&str, &str)]) -> (i16, String) {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(s(name)).with_value(Some(s(value))));
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let response = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    let result = &response.topics[0];
    (result.error_code, result.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// Sets one config; error code and message.
async fn alter(client: &mut Client, topic: &str, name: &str, value: &str, dry: bool) -> (i16, String) {
    let config = AlterableConfig::default().with_name(s(name)).with_value(Some(s(value)));
    let resource =
        AlterConfigsResource::default().with_resource_type(2).with_resource_name(s(topic)).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(dry);
    let response = client.call(1, &request).await;
    let result = &response.responses[0];
    (result.error_code, result.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

fn errors(answer: &PartitionProduceResponse) -> Vec<(i32, String)> {
    let text = |error: &kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage| {
        error.batch_index_error_message.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    answer.record_errors.iter().map(|error| (error.batch_index, text(error))).collect()
}

async fn values(client: &mut Client, topic: &Topic) -> Vec<String> {
    records(&client.fetch(12, topic, 0, 0).await).into_iter().map(|(_, value)| value).collect()
}

const FLIGHTS: &str = "id BIGINT NOT NULL, carrier STRING NOT NULL, delay INT, tags ARRAY<STRING>";

/// Seen failing with validation of rows taken out of produce.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_are_refused_with_column_and_rule_and_nothing_is_stored() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "flights", &[("weir.table.schema", FLIGHTS)]).await;
    let good = r#"{ "id": 1, "carrier": "UA", "delay": null, "tags": ["a"] }"#;
    let bad = [
        (r#"{"id":"x1","carrier":"UA"}"#, "column id: \"x1\" is not a value of BIGINT"),
        (r#"{"id":2}"#, "column carrier: missing, but the column is NOT NULL"),
        (r#"{"id":2,"carrier":null}"#, "column carrier: null in a NOT NULL column"),
        (r#"{"id":2,"carrier":"UA","delay":3000000000}"#, "column delay: "),
        (r#"{"id":2,"carrier":"UA","tags":["a",1]}"#, "column tags[1]: expected STRING, found a number"),
        (r#"{"id":2,"carrier":"UA""#, "not valid JSON"),
        ("7", "expected an object with the table's columns, found a number"),
    ];
    for codec in Compression::ALL {
        for (row, reason) in &bad {
            let answer = client.produce(11, &t, 0, -1, batch(codec, &[good, row, good])).await;
            assert_eq!((answer.error_code, answer.base_offset), (INVALID_RECORD, -1), "{row}");
            let errors = errors(&answer);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0].0, 1);
            assert!(errors[0].1.contains(reason), "{row}: {}", errors[0].1);
            let message = answer.error_message.unwrap().to_string();
            assert!(message.contains(reason), "clients without record errors are told too: {message}");
        }
    }
    assert_eq!(values(&mut client, &t).await, [""; 0], "nothing of a refused batch is stored");
    for codec in Compression::ALL {
        let answer = client.produce(11, &t, 0, -1, batch(codec, &[good, good])).await;
        assert_eq!(answer.error_code, 0, "{codec:?} {:?}", answer.error_message);
    }
    assert_eq!(values(&mut client, &t).await, [good; 10], "what fits comes back byte for byte");
}

/// Large batches go to other threads, small ones do not; each is answered in order and takes its place in the log.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_batches_keep_their_order_and_refused_ones_leave_no_gap() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", &[("weir.table.schema", "n INT NOT NULL, pad STRING")]).await;
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let pad = "x".repeat(if n % 2 == 0 { 20_000 } else { 1 });
        let row = format!(r#"{{"n":{n},"pad":"{pad}"}}"#);
        let codec = if n % 3 == 0 { Compression::Lz4 } else { Compression::None };
        let bytes = if n % 5 == 0 { batch(codec, &[&row, "{}"]) } else { batch(codec, &[&row]) };
        sent.push((n, client.send(11, &produce_request(11, &t, 0, -1, bytes)).await));
        if n % 5 != 0 {
            expected.push(row);
        }
    }
    let mut next = 0;
    for (n, correlation) in sent {
        let response = client.receive::<kafka_protocol::messages::ProduceRequest>(11, correlation).await;
        let answer = &response.responses[0].partition_responses[0];
        if n % 5 == 0 {
            assert_eq!(answer.error_code, INVALID_RECORD);
        } else {
            assert_eq!((answer.error_code, answer.base_offset), (0, next), "{n}");
            next += 1;
        }
    }
    assert_eq!(values(&mut client, &t).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_make_no_table_are_refused_with_the_setting_and_the_reason() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let ddl = "weir.table.schema";
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[(ddl, "id BIGINTT")], "weir.table.schema"),
        (&[(ddl, "id INT, id INT")], "column id appears twice"),
        (&[(ddl, "_offset INT")], "system column"),
        (&[(ddl, "id INT"), ("weir.key.columns", "x")], "weir.key.columns: key column x is not a column"),
        (&[("weir.key.columns", "x")], "weir.key.columns is `x`, but the topic has no schema"),
        (&[(ddl, "a INT, b INT"), ("weir.key.columns", "a,b")], "use weir.key.format=json"),
        (&[(ddl, "id INT"), ("weir.value.schema.subject", "s")], "both name the columns of JSON rows"),
        (&[(ddl, "id INT"), ("weir.on.invalid", "ignore")], "one of reject, dead-letter, null"),
    ];
    for (configs, reason) in cases {
        let (code, message) = refused(&mut client, "t", configs).await;
        assert_eq!(code, INVALID_CONFIG, "{configs:?}");
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_evolves_while_producers_of_both_versions_write_and_survives_a_restart() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", &[("weir.table.schema", "id INT NOT NULL, old STRING")]).await;
    let (first, second) = (r#"{"id":1,"old":"x"}"#, r#"{"id":5000000000,"at":7}"#);
    let send = async |client: &mut Client, row| {
        client.produce(11, &t, 0, -1, batch(Compression::None, &[row])).await.error_code
    };
    assert_eq!(send(&mut client, first).await, 0);
    assert_eq!(send(&mut client, second).await, INVALID_RECORD, "5000000000 is no INT");
    let wider = "id BIGINT NOT NULL, at INT DEFAULT 3";
    assert_eq!(alter(&mut client, "t", "weir.table.schema", wider, true).await.0, 0);
    assert_eq!(send(&mut client, second).await, INVALID_RECORD, "a dry run changes nothing");
    assert_eq!(alter(&mut client, "t", "weir.table.schema", wider, false).await.0, 0);
    assert_eq!((send(&mut client, first).await, send(&mut client, second).await), (0, 0));
    for (bad, reason) in [
        ("id INT NOT NULL, at INT DEFAULT 3", "BIGINT cannot become INT"),
        ("id BIGINT NOT NULL, at INT DEFAULT 3, x INT NOT NULL", "make it nullable or add DEFAULT"),
        ("id BIGINT NOT NULL, at INT NOT NULL DEFAULT 3", "nullable cannot become NOT NULL"),
        ("id", "weir.table.schema"),
    ] {
        for dry in [true, false] {
            let (code, message) = alter(&mut client, "t", "weir.table.schema", bad, dry).await;
            assert_eq!(code, INVALID_CONFIG, "{bad}");
            assert!(message.contains(reason), "{message}");
        }
    }
    assert_eq!(send(&mut client, second).await, 0, "what was refused has wedged nothing");
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    assert_eq!((send(&mut client, first).await, send(&mut client, second).await), (0, 0));
    assert_eq!(send(&mut client, r#"{"id":"x"}"#).await, INVALID_RECORD);
    assert_eq!(alter(&mut client, "t", "weir.table.schema", "id BIGINT NOT NULL, old STRING", false).await.0, 0);
    let topic = broker.inner().topics.get("t").unwrap();
    let ids = |version: i32| {
        let schema = topic.table().unwrap().version(version).unwrap().clone();
        schema.fields.iter().map(|field| (field.name.clone(), field.id.0)).collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, i32)]| pairs.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect::<Vec<_>>();
    assert_eq!(ids(1), pairs(&[("id", 1), ("old", 2)]));
    assert_eq!(ids(2), pairs(&[("id", 1), ("at", 3)]));
    assert_eq!(ids(3), pairs(&[("id", 1), ("old", 4)]), "an id is never given out twice");
}

/// Seen failing with versions that are not written.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topics_schemas_go_with_it() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    topic(&mut client, "t", &[("weir.table.schema", "id INT")]).await;
    assert_eq!(alter(&mut client, "t", "weir.table.schema", "id INT, b INT", false).await.0, 0);
    assert_eq!(broker.inner().meta.scan(b"table/").unwrap().len(), 2);
    let topics = &broker.inner().topics;
    topics.delete(&topics.get("t").unwrap()).await.unwrap();
    assert_eq!(broker.inner().meta.scan(b"table/").unwrap().len(), 0);
    topic(&mut client, "t", &[]).await;
    let t = Topic { name: "t".into(), id: topics.get("t").unwrap().id.0 };
    let answer = client.produce(11, &t, 0, -1, batch(Compression::None, &["anything"])).await;
    assert_eq!(answer.error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_nobody_knows_and_values_that_do_not_fit_follow_the_policies() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let ddl = ("weir.table.schema", "id INT NOT NULL, n INT");
    let keep = topic(&mut client, "keep", &[ddl]).await;
    let strict = topic(&mut client, "strict", &[ddl, ("weir.on.unknown", "reject")]).await;
    let null = topic(&mut client, "null", &[ddl, ("weir.on.invalid", "null")]).await;
    let one = |row| batch(Compression::None, &[row]);
    let (unknown, misfit) = (r#"{"id":1,"more":true}"#, r#"{"id":1, "n": "many"}"#);
    assert_eq!(client.produce(11, &keep, 0, -1, one(unknown)).await.error_code, 0);
    assert_eq!(client.produce(11, &keep, 0, -1, one(misfit)).await.error_code, INVALID_RECORD);
    let answer = client.produce(11, &strict, 0, -1, one(unknown)).await;
    assert_eq!(answer.error_code, INVALID_RECORD);
    assert!(errors(&answer)[0].1.contains("column more: the table has no such column"), "{answer:?}");
    assert_eq!(client.produce(11, &null, 0, -1, one(misfit)).await.error_code, 0);
    assert_eq!(values(&mut client, &null).await, [misfit], "the original bytes are kept");
    let answer = client.produce(11, &null, 0, -1, one(r#"{"id":"x"}"#)).await;
    assert_eq!(answer.error_code, INVALID_RECORD, "a NOT NULL column cannot be null");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_columns_and_a_record_without_value_must_be_allowed() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let ddl = ("weir.table.schema", "k BIGINT NOT NULL, v STRING NOT NULL");
    let keyed = topic(&mut client, "keyed", &[ddl, ("weir.key.columns", "k")]).await;
    let configs = [ddl, ("weir.key.columns", "k"), ("cleanup.policy", "compact")];
    let compacted = topic(&mut client, "compacted", &configs).await;
    let record = |key: Option<&[u8]>, value: Option<&[u8]>| -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.append(key, value, &[], Timestamp(1000)).unwrap();
        builder.build().unwrap()
    };
    let (key, row) = (7i64.to_be_bytes(), br#"{"v":"x"}"#.as_slice());
    assert_eq!(client.produce(11, &keyed, 0, -1, record(Some(&key), Some(row))).await.error_code, 0);
    for (key, value, reason) in [
        (Some(&b"abc"[..]), Some(row), "column k: 3 bytes are not a BIGINT as Kafka's serializers write it"),
        (None, Some(row), "column k: the record has no key"),
        (Some(&key[..]), None, "column v: the record has no value"),
    ] {
        let answer = client.produce(11, &keyed, 0, -1, record(key, value)).await;
        assert_eq!(answer.error_code, INVALID_RECORD);
        assert!(errors(&answer)[0].1.contains(reason), "{answer:?}");
    }
    assert_eq!(client.produce(11, &compacted, 0, -1, record(Some(&key), None)).await.error_code, 0);
}

fn schema(schema_type: Format, schema: String) -> Registration {
    Registration::of(SchemaDefinition { schema_type, schema, references: Vec::new(), metadata: None, rule_set: None })
}

fn avro(fields: &str) -> Registration {
    schema(Format::Avro, format!(r#"{{"type":"record","name":"Flight","fields":[{fields}]}}"#))
}

/// An object of these properties and no others, of which `id` is required.
fn json(properties: &str) -> Registration {
    let text =
        format!(r#"{{"type":"object","properties":{{{properties}}},"required":["id"],"additionalProperties":false}}"#);
    schema(Format::Json, text)
}

/// A row of the schema with this id.
fn framed(id: u32, row: &[u8]) -> Bytes {
    let mut value = vec![0];
    value.extend_from_slice(&id.to_be_bytes());
    value.extend_from_slice(row);
    let mut builder = BatchBuilder::new();
    builder.append(None, Some(&value), &[], Timestamp(1000)).unwrap();
    builder.build().unwrap()
}

/// Seen failing without the guard: the registration that no table can follow is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_follows_the_schemas_of_its_subject_and_schemas_it_cannot_follow_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "flights", &[("weir.value.format", "avro"), ("weir.on.invalid", "reject")]).await;
    let answer = client.produce(11, &t, 0, -1, framed(1, b"\x02")).await;
    assert_eq!(answer.error_code, INVALID_RECORD);
    assert!(answer.error_message.unwrap().contains("register one under subject `flights-value`"));
    let registry = broker.inner().registry.clone();
    let first = registry.register("flights-value", avro(r#"{"name":"id","type":"int"}"#)).await.unwrap();
    assert_eq!(client.produce(11, &t, 0, -1, framed(first.id, b"\x02")).await.error_code, 0);
    let wider = r#"{"name":"id","type":"long"},{"name":"city","type":["null","string"],"default":null}"#;
    let second = registry.register("flights-value", avro(wider)).await.unwrap();
    assert_eq!(client.produce(11, &t, 0, -1, framed(second.id, b"\x04\x02\x06Ulm")).await.error_code, 0);
    assert_eq!(client.produce(11, &t, 0, -1, framed(first.id, b"\x02")).await.error_code, 0, "the old writer goes on");
    let anything = SubjectConfig { compatibility: Some(Compatibility::None), ..SubjectConfig::default() };
    registry.set_config(Some("flights-value"), anything).await.unwrap();
    let narrow = avro(r#"{"name":"id","type":"int"},{"name":"n","type":"string"}"#);
    let error = registry.register("flights-value", narrow).await.unwrap_err().to_string();
    assert!(error.contains("topic `flights` cannot follow") && error.contains("BIGINT cannot become INT"), "{error}");
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    let table = broker.inner().topics.get("flights").unwrap().table().unwrap().clone();
    assert_eq!(table.versions().len(), 2);
    assert_eq!(client.produce(11, &t, 0, -1, framed(second.id, b"\x04\x02\x06Ulm")).await.error_code, 0);
    for (row, reason) in [
        (framed(second.id, b"\x04\x02\x08Ulm"), "malformed row: expected more bytes"),
        (framed(99, b"\x02"), "schema id 99 is not known to the registry"),
        (batch(Compression::None, &["\u{4}"]), "no schema id in front"),
    ] {
        let answer = client.produce(11, &t, 0, -1, row).await;
        assert_eq!(answer.error_code, INVALID_RECORD);
        assert!(errors(&answer)[0].1.contains(reason), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_schema_of_the_registry_is_a_table_and_its_next_version_adds_columns() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "flights", &[("weir.value.schema.subject", "flights-value")]).await;
    let row = |id: u32, row: &str| framed(id, row.as_bytes());
    let answer = client.produce(11, &t, 0, -1, row(1, r#"{"id":1}"#)).await;
    assert_eq!(answer.error_code, INVALID_RECORD);
    assert!(answer.error_message.unwrap().contains("register one under subject `flights-value`"));
    let registry = broker.inner().registry.clone();
    let first = json(r#""id":{"type":"integer","format":"int32"},"at":{"type":"string","format":"date-time"}"#);
    let first = registry.register("flights-value", first).await.unwrap();
    let good = r#"{ "id": 1, "at": "2024-02-29T12:00:00Z" }"#;
    // Serializers put a frame in front, others need not.
    assert_eq!(client.produce(11, &t, 0, -1, row(first.id, good)).await.error_code, 0);
    assert_eq!(client.produce(11, &t, 0, -1, batch(Compression::None, &[good])).await.error_code, 0);
    for (bad, reason) in [
        (r#"{"at":"2024-02-29T12:00:00Z"}"#, "column id: missing, but the column is NOT NULL"),
        (r#"{"id":"x"}"#, "column id: expected INT, found a string"),
        (r#"{"id":1,"at":"noon"}"#, "column at: \"noon\" is not a value of TIMESTAMP_LTZ(6)"),
    ] {
        let answer = client.produce(11, &t, 0, -1, row(first.id, bad)).await;
        assert_eq!(answer.error_code, INVALID_RECORD);
        assert!(errors(&answer)[0].1.contains(reason), "{answer:?}");
    }
    let wider = json(
        r#""id":{"type":"integer"},"at":{"type":"string","format":"date-time"},"tags":{"type":"array","items":{"type":"string"}}"#,
    );
    let second = registry.register("flights-value", wider).await.unwrap();
    let tagged = r#"{"id":5000000000,"tags":["a"]}"#;
    assert_eq!(client.produce(11, &t, 0, -1, row(second.id, tagged)).await.error_code, 0);
    let anything = SubjectConfig { compatibility: Some(Compatibility::None), ..SubjectConfig::default() };
    registry.set_config(Some("flights-value"), anything).await.unwrap();
    for (refused, reason) in [
        (json(r#""id":{"type":"string"}"#), "column id: BIGINT cannot become STRING"),
        (schema(Format::Json, r#"{"type":"object"}"#.to_owned()), "one object with `properties` at the top"),
        (json(r##""id":{"type":"integer"},"more":{"items":{"$ref":"#"}}"##), "recursive schemas cannot be tables"),
        (avro(r#"{"name":"id","type":"long"}"#), "the schema is Avro, but the topic's weir.value.format is Json"),
    ] {
        let error = registry.register("flights-value", refused).await.unwrap_err().to_string();
        assert!(error.contains("topic `flights` cannot follow") && error.contains(reason), "{error}");
    }
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    let table = broker.inner().topics.get("flights").unwrap().table().unwrap().clone();
    assert_eq!(
        weir_table::ddl::print(&table.current().fields),
        "id BIGINT NOT NULL, at TIMESTAMP_LTZ(6), tags ARRAY<STRING NOT NULL>"
    );
    assert_eq!(table.versions().len(), 2);
    assert_eq!(client.produce(11, &t, 0, -1, row(second.id, tagged)).await.error_code, 0);
    let frame = |id: u32| [&[0][..], &id.to_be_bytes()].concat();
    let expected = [[frame(first.id), good.into()].concat(), good.into(), [frame(second.id), tagged.into()].concat()];
    let found = values(&mut client, &t).await;
    let expected: Vec<String> = [0, 1, 2, 2].map(|at: usize| String::from_utf8(expected[at].clone()).unwrap()).to_vec();
    assert_eq!(found, expected, "byte for byte");
}

/// Seen failing with a batch that is stored whole.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_leave_gaps_and_are_kept_with_where_they_came_from_and_why() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let ddl = ("weir.table.schema", "id INT NOT NULL");
    let t = topic(&mut client, "t", &[ddl, ("weir.on.invalid", "dead-letter")]).await;
    let (good, bad) = (r#"{"id":1}"#, r#"{ "id": "x" }"#);
    for codec in Compression::ALL {
        let at = client.produce(11, &t, 0, -1, batch(codec, &[bad, good, bad, good])).await;
        assert_eq!(at.error_code, 0, "{:?}", at.error_message);
    }
    let answer = client.produce(11, &t, 0, -1, batch(Compression::None, &[bad, bad])).await;
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (0, 20),
        "a batch of nothing but dead letters takes its offsets"
    );
    let answer = client.produce(11, &t, 0, -1, batch(Compression::None, &[good])).await;
    assert_eq!(answer.base_offset, 22);
    let mut offsets = Vec::new();
    let mut next = 0;
    while next < 23 {
        let data = client.fetch(12, &t, 0, next).await;
        offsets.extend(records(&data).into_iter().map(|(offset, value)| {
            assert_eq!(value, good);
            offset
        }));
        let last =
            weir_protocol::records::batches(&data.records.unwrap()).last().unwrap().unwrap().header.last_offset();
        next = last.0 + 1;
    }
    assert_eq!(offsets, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 22]);
    let dlq = broker.inner().topics.get("t.dlq").unwrap();
    let dlq = Topic { name: "t.dlq".into(), id: dlq.id.0 };
    let data = client.fetch(12, &dlq, 0, 0).await;
    let copies = records(&data);
    assert_eq!(copies.len(), 12);
    assert!(copies.iter().all(|(_, value)| value == bad), "the original bytes");
    let bytes = data.records.unwrap();
    let mut sources = Vec::new();
    for batch in weir_protocol::records::batches(&bytes) {
        let decoded = decode(batch.unwrap().bytes, &DecompressLimits::default()).unwrap();
        for record in decoded.records() {
            let record = record.unwrap();
            let header = |name: &str| {
                let found = record.headers.iter().find(|header| header.key == name.as_bytes()).unwrap();
                String::from_utf8(found.value.unwrap().to_vec()).unwrap()
            };
            assert_eq!((header("weir.dlq.topic"), header("weir.dlq.partition")), ("t".into(), "0".into()));
            assert_eq!((header("weir.dlq.column"), header("weir.dlq.schema.version")), ("id".into(), "1".into()));
            assert!(header("weir.dlq.reason").contains("expected INT, found a string"));
            sources.push(header("weir.dlq.offset").parse::<i64>().unwrap());
        }
    }
    assert_eq!(sources, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21]);
}

/// The sequence range of a batch is that of all its records, also of those that are not stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_producer_does_not_notice_dead_letters() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let ddl = ("weir.table.schema", "id INT NOT NULL");
    let t = topic(&mut client, "t", &[ddl, ("weir.on.invalid", "dead-letter")]).await;
    let batch = |sequence: i32, rows: &[&str]| {
        let mut builder = BatchBuilder::new().producer(ProducerId(77), ProducerEpoch(0), sequence);
        for row in rows {
            builder.append(None, Some(row.as_bytes()), &[], Timestamp(1000)).unwrap();
        }
        builder.build().unwrap()
    };
    let first = batch(0, &["1", r#"{"id":1}"#, "2"]);
    for _ in 0..2 {
        let answer = client.produce(11, &t, 0, -1, first.clone()).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 0), "the second time it is a duplicate");
    }
    let answer = client.produce(11, &t, 0, -1, batch(3, &[r#"{"id":2}"#])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 3));
}
