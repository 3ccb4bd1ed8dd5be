//! Client quotas over the wire: set and described by Kafka's APIs, told in answers, kept by not reading from the connection.
//!
//! Seen failing: with the silence told and not kept (the next answer came at once).
use std::time::{Duration, Instant};

use bytes::BytesMut;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::*;
use weir_protocol::columnar::{
    AcceptedCodecs, ChangeTypes, ColumnarFetch, ColumnarTopic, ResultFormat, ScanOrder, TAG,
};
use weir_protocol::records::Compression;

use crate::harness::*;

/// Bytes in a second; the window is ten seconds long.
const RATE: usize = 50_000;

async fn set(client: &mut Client, kind: &str, key: &str, value: Option<f64>) -> i16 {
    let entity = EntityData::default().with_entity_type(s(kind)).with_entity_name(Some(s("api-test")));
    let op = OpData::default().with_key(s(key)).with_value(value.unwrap_or_default()).with_remove(value.is_none());
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
    client.call(1, &AlterClientQuotasRequest::default().with_entries(vec![entry])).await.entries[0].error_code
}

/// What is set for client ids, as `key=value`.
async fn described(client: &mut Client) -> Vec<String> {
    let any = ComponentData::default().with_entity_type(s("client-id")).with_match_type(2).with_match(None);
    let request = DescribeClientQuotasRequest::default().with_components(vec![any]);
    let answer = client.call(1, &request).await;
    let values = answer.entries.unwrap().into_iter().flat_map(|entry| entry.values);
    values.map(|value| format!("{}={}", value.key, value.value)).collect()
}

/// About two and a half seconds are due after 12.5 seconds' worth in one go.
fn is_due(throttle_ms: i32) -> bool {
    (2_000..4_000).contains(&throttle_ms)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_produces_or_fetches_too_fast_is_told_and_not_read_from() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let topic = Topic { name: "t".to_owned(), id: client.create_topic("t", 1, &[]).await };
    assert_eq!(set(&mut client, "client-id", "producer_byte_rate", Some(RATE as f64)).await, 0);
    assert_eq!(described(&mut client).await, [format!("producer_byte_rate={RATE}")]);
    let text = "x".repeat(RATE * 5 / 2);
    let values = [text.as_str(); 5];
    let request = produce_request(13, &topic, 0, -1, batch(Compression::None, &values));
    let answer = client.call(13, &request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "throttled is not refused");
    assert!(is_due(answer.throttle_time_ms), "{}", answer.throttle_time_ms);

    // A client that sends all the same is not heard; others are.
    let told = Duration::from_millis(answer.throttle_time_ms as u64);
    let start = Instant::now();
    let mut other = Client::connect(&broker).await;
    assert_eq!(set(&mut other, "client-id", "producer_byte_rate", None).await, 0);
    assert!(start.elapsed() < told / 2, "another connection waited");
    assert_eq!(set(&mut client, "client-id", "consumer_byte_rate", Some(RATE as f64)).await, 0);
    assert!(start.elapsed() >= told - Duration::from_millis(200), "{:?} of {told:?}", start.elapsed());

    let fetched = client.call(18, &fetch_request(18, &topic, 0, 0)).await;
    assert_eq!(records(only(&fetched)).len(), 5);
    assert!(is_due(fetched.throttle_time_ms), "{}", fetched.throttle_time_ms);
    let told = Duration::from_millis(fetched.throttle_time_ms as u64);
    let start = Instant::now();
    assert_eq!(described(&mut client).await, [format!("consumer_byte_rate={RATE}")]);
    assert!(start.elapsed() >= told - Duration::from_millis(200), "{:?} of {told:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_that_would_not_be_kept_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    for (kind, key, value) in [
        ("client-id", "request_percentage", 0.0),
        ("client-id", "connection_creation_rate", 5.0),
        ("client-id", "controller_mutation_rate", 5.0),
        ("ip", "connection_creation_rate", 5.0), // the name is no address
        ("client-id", "producer_byte_rate", 0.5),
        ("host", "producer_byte_rate", 5.0),
    ] {
        assert_eq!(set(&mut client, kind, key, Some(value)).await, 42, "{kind} {key} {value}");
    }
    assert!(described(&mut client).await.is_empty());
}

/// KIP-124.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_occupies_threads_for_too_long_is_told_in_every_kind_of_answer() {
    let broker = TestBroker::start().await;
    let mut admin = Client::connect(&broker).await;
    let topic = Topic { name: "t".to_owned(), id: admin.create_topic("t", 1, &[]).await };
    // A thousandth of a percent: 0.1 milliseconds in ten seconds, less than a few requests take.
    assert_eq!(set(&mut admin, "client-id", "request_percentage", Some(0.001)).await, 0);
    let mut told = Vec::new();
    for api in ["metadata", "produce", "fetch", "groups"] {
        // Another connection: the silence is one connection's, the rate all clients' of the name.
        let mut client = Client::connect(&broker).await;
        let mut ask = async || match api {
            "metadata" => client.call(12, &MetadataRequest::default()).await.throttle_time_ms,
            "produce" => {
                let request = produce_request(13, &topic, 0, 1, batch(Compression::None, &["v"]));
                client.call(13, &request).await.throttle_time_ms
            }
            "fetch" => client.call(13, &fetch_request(13, &topic, 0, 0)).await.throttle_time_ms,
            _ => client.call(4, &ListGroupsRequest::default()).await.throttle_time_ms,
        };
        let mut throttle = 0;
        for _ in 0..200 {
            throttle = ask().await;
            if throttle > 0 {
                break;
            }
        }
        let start = Instant::now();
        ask().await;
        told.push((api, throttle, start.elapsed()));
    }
    for (api, throttle, silence) in told {
        assert!((1..=1_000).contains(&throttle), "{api}: {throttle} ms; a sample is the most, as in Kafka");
        assert!(silence.as_millis() as i32 >= throttle - 200, "{api}: {silence:?} of {throttle} ms");
    }
    // A version without a field for it is answered all the same.
    let mut old = Client::connect(&broker).await;
    assert_eq!(old.call(0, &MetadataRequest::default()).await.throttle_time_ms, 0);
}

/// KIP-612.
#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_their_addresss_rate_are_closed_and_others_live() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let rate = async |client: &mut Client, value: Option<f64>| {
        let entity = EntityData::default().with_entity_type(s("ip")).with_entity_name(None);
        let key = s("connection_creation_rate");
        let op = OpData::default().with_key(key).with_value(value.unwrap_or_default()).with_remove(value.is_none());
        let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
        client.call(1, &AlterClientQuotasRequest::default().with_entries(vec![entry])).await.entries[0].error_code
    };
    assert_eq!(rate(&mut client, Some(1.0)).await, 0);
    let of_addresses = ComponentData::default().with_entity_type(s("ip")).with_match_type(1).with_match(None);
    let request = DescribeClientQuotasRequest::default().with_components(vec![of_addresses]);
    let entries = client.call(1, &request).await.entries.unwrap();
    assert_eq!(
        (entries.len(), entries[0].values[0].key.as_str(), entries[0].values[0].value),
        (1, "connection_creation_rate", 1.0)
    );
    let start = Instant::now();
    let (mut served, mut closed) = (0, 0);
    for _ in 0..20 {
        let mut one = Client::connect(&broker).await;
        one.send(12, &MetadataRequest::default()).await;
        match one.receive_raw().await {
            Some(_) => served += 1,
            None => closed += 1,
        }
    }
    // Ten seconds' worth at once, then one a second; who is too many waits up to a second for its end.
    assert!(served >= 10 && closed >= 5, "{served} served, {closed} closed");
    assert!(start.elapsed() >= Duration::from_millis(500 * closed), "{:?}", start.elapsed());
    assert_eq!(rate(&mut client, None).await, 0, "a connection that is open goes on");
    let mut one = Client::connect(&broker).await;
    one.call(12, &MetadataRequest::default()).await;
}

/// Scans are paid by what they look at, and not only by what they give; fetches without a scan pay nothing.
///
/// Seen failing: with one look in each predicate and pauses of 400 ms between the fetches, as on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_too_much_scanned_is_told_and_plain_fetches_are_free() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let topic = Topic { name: "t".to_owned(), id: client.create_topic("t", 1, &[]).await };
    let text = "x".repeat(RATE * 5 / 2);
    let values = [text.as_str(); 5];
    // acks=all: what is not durable yet is not there for a scan, and costs nothing.
    assert_eq!(client.produce(13, &topic, 0, -1, batch(Compression::None, &values)).await.error_code, 0);
    let plain = fetch_request(18, &topic, 0, 0);
    let scan = with_predicate(&plain, &topic, "CAST(_value AS VARCHAR) LIKE '%y%'");
    assert_eq!(client.call(18, &scan).await.throttle_time_ms, 0);
    assert_eq!(set(&mut client, "client-id", "scan_byte_rate", Some(RATE as f64)).await, 0);
    assert_eq!(client.call(18, &plain).await.throttle_time_ms, 0);
    let answer = client.call(18, &scan).await;
    assert_eq!(only(&answer).error_code, 0);
    assert!(is_due(answer.throttle_time_ms), "{}", answer.throttle_time_ms);

    // Many looks at half a megabyte take some milliseconds: a few fetches in ten seconds are more than one millisecond in each, also on a
    // machine that has no time for more.
    let looks: Vec<_> = (0..60).map(|n| format!("CAST(_value AS VARCHAR) LIKE '%y{n}%'")).collect();
    let scan = with_predicate(&plain, &topic, &looks.join(" OR "));
    assert_eq!(set(&mut client, "client-id", "scan_byte_rate", None).await, 0);
    assert_eq!(set(&mut client, "client-id", "predicate_ms_rate", Some(1.0)).await, 0);
    assert_eq!(described(&mut client).await, ["predicate_ms_rate=1"]);
    let mut told = 0;
    for _ in 0..200 {
        told = client.call(18, &scan).await.throttle_time_ms;
        if told > 0 {
            break;
        }
    }
    assert!(told > 0, "no ten seconds had ten milliseconds of predicates");
}

/// A fetch of the offsets of rows that fit, which none does.
fn with_predicate(plain: &FetchRequest, topic: &Topic, predicate: &str) -> FetchRequest {
    let fetch = ColumnarFetch {
        format: ResultFormat::ArrowIpc,
        codecs: AcceptedCodecs::default(),
        order: ScanOrder::Offset,
        max_scan_bytes: None,
        topics: vec![ColumnarTopic {
            topic_id: topic.id,
            read_schema: None,
            projection: Some(vec!["_offset".to_owned()]),
            predicate: Some(predicate.to_owned().into()),
            change_types: ChangeTypes::ALL,
        }],
    };
    let mut tag = BytesMut::new();
    fetch.encode(&mut tag);
    plain.clone().with_unknown_tagged_fields([(TAG, tag.freeze())].into())
}
