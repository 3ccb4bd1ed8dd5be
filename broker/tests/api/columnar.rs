//! Fetch with tag 5700, byte by byte as `protocol/COLUMNAR.md` says, against a broker on a port.
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, FetchResponse};
use weir_protocol::columnar::{
    AcceptedCodecs, ChangeTypes, ColumnarFetch, ColumnarResult, ColumnarTopic, ResultFormat, ScanOrder, TAG,
};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, Compression};

use crate::harness::*;

async fn topic(client: &mut Client, partitions: i32) -> Topic {
    Topic { name: "t".to_owned(), id: client.create_topic("t", partitions, &[]).await }
}

pub(super) fn wish(topic: &Topic, projection: Option<&[&str]>, predicate: Option<&str>) -> ColumnarFetch {
    ColumnarFetch {
        format: ResultFormat::ArrowIpc,
        codecs: AcceptedCodecs { lz4: true, zstd: false },
        order: ScanOrder::Offset,
        max_scan_bytes: None,
        topics: vec![ColumnarTopic {
            topic_id: topic.id,
            read_schema: None,
            projection: projection.map(|p| p.iter().map(|s| (*s).to_owned()).collect()),
            predicate: predicate.map(|p| Bytes::copy_from_slice(p.as_bytes())),
            change_types: ChangeTypes::ALL,
        }],
    }
}

pub(super) fn tagged(request: FetchRequest, wish: &ColumnarFetch) -> FetchRequest {
    let mut tag = BytesMut::new();
    wish.encode(&mut tag);
    request.with_unknown_tagged_fields([(TAG, tag.freeze())].into())
}

pub(super) fn result(data: &PartitionData) -> ColumnarResult {
    ColumnarResult::decode(data.unknown_tagged_fields.get(&TAG).expect("tag 5700 is there")).unwrap()
}

/// Offsets and values of the rows, with the checks that every reader makes.
fn rows(data: &PartitionData) -> Vec<(i64, Option<String>)> {
    let result = result(data);
    let stream = data.records.clone().unwrap_or_default();
    let crc = if stream.is_empty() { 0 } else { crc32c::crc32c(&stream) };
    assert_eq!(result.crc32c, crc);
    if stream.is_empty() {
        assert!(result.batches.is_empty());
        return Vec::new();
    }
    let batches: Vec<RecordBatch> = StreamReader::try_new(&stream[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), result.batches.len());
    let mut rows = Vec::new();
    for (batch, range) in batches.iter().zip(&result.batches) {
        assert_eq!(batch.num_rows(), range.rows as usize);
        let values = batch.column_by_name("_value").map(|c| c.as_binary::<i32>().clone());
        for row in range.skip_head as usize..batch.num_rows() - range.skip_tail as usize {
            let offset = match range.dense {
                true => range.first_offset + row as i64,
                false => batch.columns().last().unwrap().as_primitive::<Int64Type>().value(row),
            };
            let value = values.as_ref().filter(|v| v.is_valid(row));
            rows.push((offset, value.map(|v| String::from_utf8(v.value(row).to_vec()).unwrap())));
        }
    }
    assert_eq!(rows.len() as i64, result.rows_returned);
    rows
}

async fn fill(client: &mut Client, topic: &Topic, from: i64, count: i64) {
    let mut builder = BatchBuilder::new().compression(Compression::Zstd, None);
    for i in from..from + count {
        let key = format!("k{}", i % 4);
        builder.append(Some(key.as_bytes()), Some(format!("v{i}").as_bytes()), &[], Timestamp(1000 + i)).unwrap();
    }
    assert_eq!(client.produce(13, topic, 0, -1, builder.build().unwrap()).await.error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feature_is_announced_and_columns_come_from_version_13_on() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let versions = client
        .call(4, &ApiVersionsRequest::default().with_client_software_name(s("a")).with_client_software_version(s("1")))
        .await;
    assert!(versions.supported_features.iter().any(|f| &*f.name == "weir.columnar" && f.max_version == 1));
    let t = topic(&mut client, 1).await;
    fill(&mut client, &t, 0, 10).await;
    for version in 13..=18 {
        let wish = wish(&t, Some(&["_value"]), Some("_offset BETWEEN 3 AND 5"));
        let response = client.call(version, &tagged(fetch_request(version, &t, 0, 0), &wish)).await;
        let data = only(&response);
        assert_eq!(data.error_code, 0, "v{version}: {:?}", result(data).error_message);
        let expected: Vec<_> = (3..=5).map(|i| (i, Some(format!("v{i}")))).collect();
        assert_eq!(rows(data), expected, "v{version}");
        assert_eq!((result(data).next_fetch_offset, data.high_watermark), (10, 10));
        assert_eq!((result(data).rows_scanned, result(data).schema_id), (10, 0));
    }
    // An older fetch cannot carry the tag: it gets Kafka records.
    let plain = client.fetch(12, &t, 0, 0).await;
    assert_eq!(records(&plain).len(), 10);
    assert!(plain.unknown_tagged_fields.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_without_a_wish_are_answered_as_plain_kafka_in_the_same_fetch() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 1).await;
    let other = Topic { name: "u".to_owned(), id: client.create_topic("u", 1, &[]).await };
    fill(&mut client, &t, 0, 6).await;
    client.produce(13, &other, 0, -1, batch(Compression::None, &["plain"])).await;
    let request = fetch_request(16, &t, 0, 0).with_topics(vec![
        fetch_topic(16, &t, vec![fetch_partition(0, 2)]),
        fetch_topic(16, &other, vec![fetch_partition(0, 0)]),
    ]);
    let wish = wish(&t, None, Some("CAST(_key AS VARCHAR) = 'k1'"));
    let response: FetchResponse = client.call(16, &tagged(request, &wish)).await;
    let [columns, plain] = [0, 1].map(|i| response.responses[i].partitions[0].clone());
    assert_eq!(rows(&columns), [(5, Some("v5".to_owned()))]);
    assert_eq!(records(&plain), [(0, "plain".to_owned())]);
    assert!(plain.unknown_tagged_fields.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_on_the_partition_and_the_connection_stays_up() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 1).await;
    fill(&mut client, &t, 0, 3).await;
    let good = wish(&t, None, None);
    let schema = {
        let mut wish = good.clone();
        wish.topics[0].read_schema = Some(7);
        wish
    };
    let cases: Vec<(ColumnarFetch, &str)> = vec![
        (wish(&t, Some(&["value"]), None), "did you mean _value"),
        (wish(&t, None, Some("_offset >")), "does not parse"),
        (wish(&t, None, Some("repeat('x', 1000000000) = 'y'")), "repeat"),
        (wish(&t, None, Some("offset > 3")), "did you mean _offset"),
        (wish(&t, None, Some("price > 3")), "there is _partition, _offset, _timestamp, _key, _value, _headers"),
        (wish(&t, Some(&["price"]), None), "there is _partition, _offset, _timestamp, _key, _value, _headers"),
        (schema, "no schema 7"),
        (ColumnarFetch { format: ResultFormat::KafkaRecords, ..good.clone() }, "typed topic"),
        (ColumnarFetch { order: ScanOrder::Window, ..good.clone() }, "weir.cluster.by"),
    ];
    for (wish, expected) in cases {
        let response = client.call(16, &tagged(fetch_request(16, &t, 0, 0), &wish)).await;
        let data = only(&response);
        let message = result(data).error_message.unwrap();
        assert_eq!(data.error_code, 42, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    for (tag, code) in [(vec![2u8, 0, 0], 35), (vec![1u8, 0], 42), (vec![1u8, 9, 0, 0], 42)] {
        let request = fetch_request(16, &t, 0, 0).with_unknown_tagged_fields([(TAG, Bytes::from(tag))].into());
        assert_eq!(only(&client.call(16, &request).await).error_code, code);
    }
    let beyond = tagged(fetch_request(16, &t, 0, 99), &good);
    assert_eq!(only(&client.call(16, &beyond).await).error_code, 1);
    assert_eq!(rows(only(&client.call(16, &tagged(fetch_request(16, &t, 0, 0), &good)).await)).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_raises_an_error_is_counted_and_left_out() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 1).await;
    fill(&mut client, &t, 0, 8).await;
    let wish = wish(&t, Some(&["_value"]), Some("100 / (_offset - 5) > 30"));
    let response = client.call(16, &tagged(fetch_request(16, &t, 0, 0), &wish)).await;
    let data = only(&response);
    assert_eq!(rows(data).iter().map(|r| r.0).collect::<Vec<_>>(), [6, 7]);
    assert_eq!((result(data).rows_errored, result(data).next_fetch_offset), (1, 8));
}

/// Nothing matched: the answer is held to max_wait, then tells how far it looked. Data that matches wakes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_waits_for_data_that_matches() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 1).await;
    fill(&mut client, &t, 0, 100).await;
    let wish = wish(&t, Some(&["_value"]), Some("_offset >= 150"));
    let request = tagged(fetch_request(16, &t, 0, 0).with_max_wait_ms(300), &wish);
    let started = Instant::now();
    let response = client.call(16, &request).await;
    assert!(started.elapsed() >= Duration::from_millis(290), "it waited {:?}", started.elapsed());
    assert!(rows(only(&response)).is_empty());
    assert_eq!(result(only(&response)).next_fetch_offset, 100, "SCAN-2");

    let request = tagged(fetch_request(16, &t, 0, 0).with_max_wait_ms(20_000), &wish);
    let started = Instant::now();
    let correlation = client.send(16, &request).await;
    let mut producer = Client::connect(&broker).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    fill(&mut producer, &t, 100, 40).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    fill(&mut producer, &t, 140, 20).await;
    let response = client.receive::<FetchRequest>(16, correlation).await;
    assert!(started.elapsed() < Duration::from_secs(10), "it waited {:?}", started.elapsed());
    assert_eq!(rows(only(&response)).iter().map(|r| r.0).collect::<Vec<_>>(), (150..160).collect::<Vec<_>>());
    assert_eq!(result(only(&response)).rows_scanned, 160, "nothing was looked at twice");
}

/// A scan budget that ends early answers at once, whatever min_bytes says, and the next fetch goes on behind it. Seen failing
/// when a budget below 1 MiB still looked at 1 MiB: there was one fetch.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_budget_ends_the_wait_and_the_position_advances() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 1).await;
    for round in 0..20 {
        fill(&mut client, &t, round * 50, 50).await;
    }
    let mut wish = wish(&t, Some(&["_value"]), Some("_offset = 990"));
    wish.max_scan_bytes = Some(1);
    let (mut offset, mut found, mut fetches) = (0, Vec::new(), 0);
    while found.is_empty() {
        let request = tagged(fetch_request(16, &t, 0, offset).with_max_wait_ms(20_000), &wish);
        let response = client.call(16, &request).await;
        let next = result(only(&response)).next_fetch_offset;
        assert!(next > offset, "SCAN-2");
        found = rows(only(&response));
        offset = next;
        fetches += 1;
    }
    assert_eq!((found, offset), (vec![(990, Some("v990".to_owned()))], 1000));
    assert_eq!(fetches, 20, "one batch in each");
}

/// The time of a scan belongs to the whole fetch: when the first partition has used it up, the fetch answers at once, and the
/// others keep their positions. Seen failing with a budget for each partition: the second was scanned as well.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_budget_is_one_for_all_partitions_of_a_fetch() {
    let broker = TestBroker::start_with(&[("fetch.scan.max.ms", "1")]).await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 2).await;
    for partition in 0..2 {
        let mut builder = BatchBuilder::new().compression(Compression::Zstd, None);
        for i in 0..20_000 {
            builder.append(None, Some(format!("value {i}").as_bytes()), &[], Timestamp(i)).unwrap();
        }
        assert_eq!(client.produce(13, &t, partition, -1, builder.build().unwrap()).await.error_code, 0);
    }
    let wish = wish(&t, Some(&["_value"]), Some("CAST(_value AS VARCHAR) LIKE '%no such%'"));
    let mut at = [0, 0];
    let started = Instant::now();
    for round in 0..2 {
        // In turns, as consumers do.
        let order = [round, 1 - round];
        let partitions = order.map(|p| fetch_partition(p as i32, at[p])).to_vec();
        let request = fetch_request(16, &t, 0, 0).with_topics(vec![fetch_topic(16, &t, partitions)]);
        let response = client.call(16, &tagged(request.with_max_wait_ms(20_000), &wish)).await;
        for data in &response.responses[0].partitions {
            at[data.partition_index as usize] = result(data).next_fetch_offset;
        }
        assert_eq!(at[round], 20_000);
        assert_eq!(at[1], if round == 0 { 0 } else { 20_000 }, "its turn comes in the next fetch");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "it waited {:?}", started.elapsed());
}

/// Sessions name a partition again only when something changed: an advance of the position is a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_tells_of_a_position_that_moved_without_rows() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, 1).await;
    let none = wish(&t, Some(&["_value"]), Some("false"));
    let first = tagged(fetch_request(16, &t, 0, 0), &none);
    let response = client.call(16, &first.with_session_id(0).with_session_epoch(0)).await;
    let session = response.session_id;
    assert_ne!(session, 0);
    let next =
        |epoch| FetchRequest::default().with_max_bytes(1 << 20).with_session_id(session).with_session_epoch(epoch);
    let response = client.call(16, &tagged(next(1), &none)).await;
    assert!(response.responses.is_empty(), "nothing changed");
    fill(&mut client, &t, 0, 5).await;
    let response = client.call(16, &tagged(next(2), &none)).await;
    assert_eq!(result(only(&response)).next_fetch_offset, 5);
    let moved = next(3).with_topics(vec![fetch_topic(16, &t, vec![fetch_partition(0, 5)])]);
    let response = client.call(16, &tagged(moved, &none)).await;
    assert!(response.responses.is_empty(), "the client has gone there");
    let response = client.call(16, &tagged(next(4), &wish(&t, Some(&["_key"]), Some("false")))).await;
    assert_eq!(response.responses.len(), 1, "a changed projection is a change");
}

const ORDERS: &str =
    "id BIGINT NOT NULL, user ROW<name STRING, address ROW<city STRING, zip STRING>>, amount DECIMAL(10,2)";

async fn orders(client: &mut Client, count: i64) -> Topic {
    let id = client.create_topic("orders", 1, &[("weir.table.schema", ORDERS)]).await;
    let t = Topic { name: "orders".to_owned(), id };
    let mut builder = BatchBuilder::new().compression(Compression::Lz4, None);
    for i in 0..count {
        let city = ["Ulm", "Bern", "Graz"][(i % 3) as usize];
        let row = format!(
            r#"{{"id": {i}, "user": {{"name": "n{i}", "address": {{"city": "{city}", "zip": "{i}"}}}}, "amount": {i}.25}}"#
        );
        builder
            .append(
                Some(b"k"),
                Some(row.as_bytes()),
                &[("h", Some(b"1".as_slice()))].map(|(k, v)| (k.as_bytes(), v)),
                Timestamp(7),
            )
            .unwrap();
    }
    assert_eq!(client.produce(13, &t, 0, -1, builder.build().unwrap()).await.error_code, 0);
    t
}

fn only_batch(data: &PartitionData) -> RecordBatch {
    assert_eq!(data.error_code, 0, "{:?}", result(data).error_message);
    let stream = data.records.clone().unwrap();
    assert_eq!(result(data).crc32c, crc32c::crc32c(&stream));
    let mut batches = StreamReader::try_new(&stream[..], None).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none());
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_topics_give_their_columns_under_any_version_of_their_schema() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = orders(&mut client, 12).await;
    let fetch = async |client: &mut Client, wish: &ColumnarFetch| {
        only(&client.call(16, &tagged(fetch_request(16, &t, 0, 0), wish)).await).clone()
    };
    let all = fetch(&mut client, &wish(&t, None, None)).await;
    let batch = only_batch(&all);
    assert_eq!((batch.num_columns(), batch.num_rows(), result(&all).schema_id), (3, 12, 1));
    assert_eq!(batch.schema().field(1).metadata()["PARQUET:field_id"], "2");
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values()[3], 3);
    let some = wish(&t, Some(&["user.address.city", "_offset"]), Some("user.address.city = 'Bern' AND amount > 4.25"));
    let data = fetch(&mut client, &some).await;
    let batch = only_batch(&data);
    let cities = batch.column(0).as_struct().column(0).as_struct();
    assert_eq!((cities.num_columns(), cities.column(0).as_string::<i32>().value(0)), (1, "Bern"));
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[7, 10]);
    assert_eq!((result(&data).rows_scanned, result(&data).next_fetch_offset), (12, 12));

    let mut old = wish(&t, Some(&["amount"]), None);
    old.topics[0].read_schema = Some(1);
    assert_eq!(result(&fetch(&mut client, &old).await).rows_returned, 12);
    old.topics[0].read_schema = Some(9);
    let refused = fetch(&mut client, &old).await;
    assert_eq!(refused.error_code, 42);
    assert!(result(&refused).error_message.unwrap().contains("no schema version 9; it has 1 to 1"));
    for (projection, predicate, expected) in [
        (Some(&["amout"][..]), None, "did you mean amount"),
        (Some(&["user.address.town"][..]), None, "there is city, zip"),
        (None, Some("user.adress.zip = '1'"), "did you mean address"),
    ] {
        let refused = fetch(&mut client, &wish(&t, projection, predicate)).await;
        let message = result(&refused).error_message.unwrap();
        assert!(refused.error_code == 42 && message.contains(expected), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn result_format_1_gives_kafka_records_of_the_rows_that_match() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = orders(&mut client, 9).await;
    let read = async |client: &mut Client, projection: Option<&[&str]>, predicate: &str| {
        let wish = ColumnarFetch { format: ResultFormat::KafkaRecords, ..wish(&t, projection, Some(predicate)) };
        only(&client.call(16, &tagged(fetch_request(16, &t, 0, 0), &wish)).await).clone()
    };
    let same = read(&mut client, None, "id = 4").await;
    let row = r#"{"id": 4, "user": {"name": "n4", "address": {"city": "Bern", "zip": "4"}}, "amount": 4.25}"#;
    assert_eq!(records(&same), [(4, row.to_owned())], "the bytes that were produced");
    assert!(result(&same).batches.is_empty());
    assert_eq!((result(&same).rows_returned, result(&same).next_fetch_offset), (1, 9));
    assert_eq!(result(&same).crc32c, crc32c::crc32c(&same.records.clone().unwrap()));
    let pruned = read(&mut client, Some(&["user.address.zip", "amount"]), "id >= 7").await;
    let expected = [7, 8].map(|i| (i, format!(r#"{{"user":{{"address":{{"zip":"{i}"}}}},"amount":{i}.25}}"#)));
    assert_eq!(records(&pruned), expected);
    let refused = read(&mut client, Some(&["_key"]), "id >= 7").await;
    assert_eq!(refused.error_code, 42);
    assert!(records(&read(&mut client, None, "id < 0").await).is_empty());
}
