//! The Rust client's readers of columns against a broker on a port: filtered by the broker, filtered by the client, and computed
//! here from the records must be the same rows.
//!
//! Seen failing: without the cut at the end of a reading, `a_reading_ends_where_it_was_told_to` gets too many rows; with the `_offset`
//! of sparse batches left in, `only_what_is_asked_for_travels_in_any_codec` gets a column too many.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use weir_client::admin::{Admin, Isolation};
use weir_client::columnar::{Codecs, ColumnBatch, ReadStatistics, ReadUntil, TopicQuery};
use weir_client::consumer::StartAt;
use weir_client::group::GroupConfig;
use weir_client::{Client as WeirClient, ClientConfig, ClientError};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, Compression};

use crate::harness::*;
use crate::transactions::Producer;

const PARTITIONS: i32 = 3;
const RECORDS: i64 = 4_000;

fn client_of(broker: &TestBroker) -> WeirClient {
    let bootstrap = vec![broker.address().to_string().parse().unwrap()];
    WeirClient::new(ClientConfig { bootstrap, ..ClientConfig::default() }).unwrap()
}

/// Record `i` of partition `p`: key `k(i mod 5)`, null for every 11th; value `p-i`; timestamp 1000 + i; header `n` = i mod 3.
async fn filled(broker: &TestBroker) -> WeirClient {
    let mut wire = Client::connect(broker).await;
    // Its records are of 1970: retention would remove them in the middle of a test.
    let id = wire.create_topic("t", PARTITIONS, &[("retention.ms", "-1")]).await;
    let topic = Topic { name: "t".to_owned(), id };
    let codecs = [Compression::None, Compression::Lz4, Compression::Zstd];
    for partition in 0..PARTITIONS {
        for (nth, first) in (0..RECORDS).step_by(500).enumerate() {
            let mut builder = BatchBuilder::new().compression(codecs[nth % 3], None);
            for i in first..first + 500 {
                let (key, value) = (format!("k{}", i % 5), format!("{partition}-{i}"));
                let key = (i % 11 != 0).then_some(key.as_bytes());
                let count = (i % 3).to_string();
                let headers = [(&b"n"[..], Some(count.as_bytes()))];
                builder.append(key, Some(value.as_bytes()), &headers, Timestamp(1000 + i)).unwrap();
            }
            assert_eq!(wire.produce(13, &topic, partition, -1, builder.build().unwrap()).await.error_code, 0);
        }
    }
    client_of(broker)
}

type Rows = BTreeMap<(i32, i64), String>;

/// Reads to the end. Values are those of `_value`; offsets must ascend within each partition.
async fn read(query: TopicQuery) -> (Rows, ReadStatistics) {
    let mut reader = query.reader();
    let mut rows = Rows::new();
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    let mut schema = None;
    while !reader.is_at_end() {
        for batch in reader.poll(Duration::from_millis(500)).await.unwrap() {
            assert_eq!(*schema.get_or_insert(batch.rows.schema()), batch.rows.schema(), "a stream has one schema");
            for (offset, value) in batch.offsets.iter().zip(values(&batch)) {
                assert!(last.insert(batch.partition, offset).is_none_or(|last| last < offset));
                rows.insert((batch.partition, offset), value);
            }
        }
    }
    (rows, reader.statistics())
}

fn values(batch: &ColumnBatch) -> Vec<String> {
    let column = batch.rows.column_by_name("_value").map(|column| column.as_binary::<i32>().clone());
    let text = |row| column.as_ref().map_or(String::new(), |c| String::from_utf8(c.value(row).to_vec()).unwrap());
    (0..batch.rows.num_rows()).map(text).collect()
}

fn expected(matches: impl Fn(i32, i64) -> bool) -> Rows {
    let all = (0..PARTITIONS).flat_map(|partition| (0..RECORDS).map(move |i| (partition, i)));
    all.filter(|(p, i)| matches(*p, *i)).map(|(p, i)| ((p, i), format!("{p}-{i}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_the_client_and_arithmetic_find_the_same_rows() {
    let broker = TestBroker::start().await;
    let client = filled(&broker).await;
    type Matches = fn(i32, i64) -> bool;
    let cases: [(&str, Matches); 9] =
        [
            ("true", |_, _| true),
            ("_offset % 7 = 3", |_, i| i % 7 == 3),
            ("_offset BETWEEN 1500 AND 1510 AND _partition <> 1", |p, i| p != 1 && (1500..=1510).contains(&i)),
            ("CAST(_key AS VARCHAR) = 'k2'", |_, i| i % 11 != 0 && i % 5 == 2),
            ("_key IS NULL", |_, i| i % 11 == 0),
            ("CAST(_value AS VARCHAR) LIKE '%99'", |_, i| i % 100 == 99),
            ("_timestamp >= '1970-01-01T00:00:04.900'", |_, i| i >= 3900),
            ("CASE WHEN _partition = 2 THEN _offset < 10 ELSE _offset > 3990 END", |p, i| {
                if p == 2 { i < 10 } else { i > 3990 }
            }),
            // Raises an error for every 100th row, which counts as not matching.
            ("100 / (_offset % 100) > 50", |_, i| i % 100 == 1),
        ];
    for (predicate, matches) in cases {
        let query = client.topic("t").columns(["_value"]).filter(predicate).to_end();
        let wanted = expected(matches);
        let errored = if predicate.contains('/') { (RECORDS / 100 * i64::from(PARTITIONS)) as u64 } else { 0 };
        let total = (RECORDS * i64::from(PARTITIONS)) as u64;
        // Small fetches: answers end in the middle of batches, and reading goes on from there.
        for query in [query.clone(), query.fetch_bytes(3_000, 5_000)] {
            let (rows, statistics) = read(query.clone()).await;
            assert_eq!(rows, wanted, "{predicate}");
            assert_eq!((statistics.rows_scanned, statistics.rows_errored), (total, errored), "{predicate}");
            assert_eq!(statistics.rows_returned as usize, wanted.len());
            assert_eq!(statistics.record_answers, 0);
            let (rows, statistics) = read(query.on_this_side()).await;
            assert_eq!(rows, wanted, "{predicate}, on this side");
            assert_eq!((statistics.rows_scanned, statistics.rows_errored), (total, errored), "{predicate}");
            assert_eq!(statistics.columnar_answers, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_travels_in_any_codec() {
    let broker = TestBroker::start().await;
    let client = filled(&broker).await;
    let query = client.topic("t").columns(["_offset", "_timestamp"]).filter("_offset % 2 = 1").to_end();
    let mut received = Vec::new();
    for codecs in [Codecs::NONE, Codecs { lz4: true, zstd: false }, Codecs { lz4: false, zstd: true }] {
        for query in [query.clone(), query.clone().on_this_side()] {
            let mut stream = query.codecs(codecs).stream();
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                let batch = batch.unwrap();
                let names: Vec<_> = batch.rows.schema().fields().iter().map(|field| field.name().clone()).collect();
                assert_eq!(names, ["_offset", "_timestamp"]);
                let offsets = batch.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
                assert_eq!(offsets, batch.offsets.iter().collect::<Vec<_>>());
                let times = batch.rows.column(1).as_primitive::<TimestampMillisecondType>();
                assert!(
                    offsets.iter().zip(times.values()).all(|(offset, time)| offset % 2 == 1 && *time == 1000 + offset)
                );
                rows += batch.rows.num_rows();
            }
            assert_eq!(rows as i64, RECORDS / 2 * i64::from(PARTITIONS));
            received.push(stream.statistics().bytes_received);
        }
    }
    // By broker and here, for each codec: plain columns are half of what the compressed records are at most, LZ4 less than plain.
    assert!(received[2] < received[0] && received[4] < received[0], "{received:?}");
    let (rows, _) = read(client.topic("t").columns::<&str>([]).filter("_offset < 5").to_end()).await;
    assert_eq!(rows.len(), 5 * PARTITIONS as usize, "no column at all still counts rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_ends_where_it_was_told_to() {
    let broker = TestBroker::start().await;
    let client = filled(&broker).await;
    let query = client.topic("t").columns(["_value"]);
    type Matches = fn(i32, i64) -> bool;
    let cases: [(TopicQuery, Matches); 6] = [
        (query.clone().start(StartAt::Offset(1234)).until(ReadUntil::Offset(1300)), |_, i| (1234..1300).contains(&i)),
        (query.clone().start(StartAt::Timestamp(2000)).until(ReadUntil::Timestamp(2007)), |_, i| {
            (1000..1007).contains(&i)
        }),
        (query.clone().start(StartAt::BeforeEnd(3)).to_end(), |_, i| i >= RECORDS - 3),
        (query.clone().start(StartAt::Latest).to_end(), |_, _| false),
        (query.clone().partitions([2]).until(ReadUntil::Offset(i64::MAX)), |p, _| p == 2),
        (query.clone().filter("_offset > 10").until(ReadUntil::Timestamp(1020)), |_, i| (11..20).contains(&i)),
    ];
    for (query, matches) in cases {
        assert_eq!(read(query.clone()).await.0, expected(matches));
        assert_eq!(read(query.on_this_side()).await.0, expected(matches));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_query_is_said_once_and_by_name() {
    let broker = TestBroker::start().await;
    let client = filled(&broker).await;
    let topic = || client.topic("t").to_end();
    let cases = [
        (topic().columns(["value"]), "did you mean _value"),
        (topic().filter("_offset >"), "does not parse"),
        (topic().filter("offset > 3"), "did you mean _offset"),
        (topic().filter("repeat('x', 1000000000) = 'y'"), "repeat"),
    ];
    for (query, message) in cases {
        for query in [query.clone(), query.on_this_side()] {
            let mut stream = query.stream();
            let error = stream.next().await.unwrap().unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().unwrap().contains("_value"), "{error}");
            assert!(stream.next().await.is_none(), "an error ends the stream");
        }
    }
    let error = topic().partitions([7]).stream().next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::UnknownPartition { partition: 7, .. }), "{error}");
    let error = topic().start(StartAt::Offset(RECORDS + 1)).until(ReadUntil::Forever).stream().next().await;
    assert!(error.unwrap().unwrap_err().to_string().contains("OFFSET_OUT_OF_RANGE"));
    let error = topic().decoded_bytes_max(100).columns(["_value"]).stream().next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("more than the limit of 100"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_without_end_waits_for_what_matches() {
    let broker = TestBroker::start().await;
    let client = filled(&broker).await;
    for (on_this_side, end) in [(false, RECORDS + 4), (true, RECORDS + 8)] {
        let predicate = format!("CAST(_value AS VARCHAR) LIKE 'new%' AND _offset >= {}", end - 4);
        let query = client.topic("t").columns(["_value"]).filter(predicate).partitions([0]);
        let query = query.start(StartAt::BeforeEnd(50));
        let mut reader = if on_this_side { query.on_this_side() } else { query }.reader();
        assert!(reader.poll(Duration::from_millis(300)).await.unwrap().is_empty());
        assert!(!reader.is_at_end());
        let mut wire = Client::connect(&broker).await;
        let topic = Topic {
            name: "t".to_owned(),
            id: client.topic_info("t", weir_client::AutoCreate::Forbidden).await.unwrap().id.unwrap(),
        };
        wire.produce(13, &topic, 0, -1, batch(Compression::None, &["old", "new-1", "old", "new-2"])).await;
        let mut found = Vec::new();
        while found.len() < 2 {
            let batches = reader.poll(Duration::from_secs(20)).await.unwrap();
            assert!(!batches.is_empty(), "{found:?}");
            found.extend(batches.iter().flat_map(values));
        }
        assert_eq!(found, ["new-1", "new-2"]);
        assert_eq!(reader.positions()[&(Arc::from("t"), 0)], end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_readers_see_no_aborted_rows_wherever_they_are_filtered() {
    let broker = TestBroker::start().await;
    let mut wire = Client::connect(&broker).await;
    let topic = Topic { name: "t".to_owned(), id: wire.create_topic("t", 1, &[]).await };
    let mut producer = Producer::start(&mut wire, false).await;
    for (value, commit) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        producer.write(&mut wire, &topic, 0, value).await;
        producer.write(&mut wire, &topic, 0, &format!("{value}{value}")).await;
        producer.end(&mut wire, commit).await;
    }
    let client = client_of(&broker);
    // Markers are written after the transaction's end was answered.
    let key = (Arc::<str>::from("t"), 0);
    let read_all = |isolation, on_this_side| {
        let query = client.topic("t").columns(["_value"]).filter("_offset >= 0").isolation(isolation).to_end();
        read(if on_this_side { query.on_this_side() } else { query })
    };
    let admin = Admin::new(client.clone());
    let queries = BTreeMap::from([((key.0.to_string(), key.1), weir_client::admin::OffsetQuery::Latest)]);
    for _ in 0..500 {
        let stable = admin.list_offsets(&queries, Isolation::ReadCommitted).await.unwrap();
        if stable.values().all(|listed| listed.offset == Some(12)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for on_this_side in [false, true] {
        let (rows, _) = read_all(Isolation::ReadCommitted, on_this_side).await;
        assert_eq!(rows.values().collect::<Vec<_>>(), ["a", "aa", "c", "cc"], "{on_this_side}");
        let (rows, _) = read_all(Isolation::ReadUncommitted, on_this_side).await;
        assert_eq!(rows.len(), 8, "{on_this_side}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_stopped_also_where_nothing_matched() {
    let broker = TestBroker::start().await;
    let client = filled(&broker).await;
    let mut rows = Rows::new();
    let matches = |_: i32, i: i64| i % 2 == 0 && i < 2000;
    let query =
        client.topic("t").columns(["_value"]).filter("_offset % 2 = 0 AND _offset < 2000").fetch_bytes(2_000, 4_000);
    // The first member takes some and leaves; of its last batches only part is processed.
    let mut first = query.clone().reader_in_group(GroupConfig::new("g"));
    let mut take = |batch: &ColumnBatch| {
        let taken = batch.offsets.iter().zip(values(batch));
        taken.filter(|(offset, value)| rows.insert((batch.partition, *offset), value.clone()).is_some()).count()
    };
    let mut again = 0;
    for _ in 0..5 {
        let batches = first.poll(Duration::from_secs(20)).await.unwrap();
        again += batches.iter().map(&mut take).sum::<usize>();
    }
    let last = loop {
        let batches = first.poll(Duration::from_secs(20)).await.unwrap();
        if batches[0].rows.num_rows() > 1 {
            break batches;
        }
        again += batches.iter().map(&mut take).sum::<usize>();
    };
    // Of the last answer half a batch is processed; the second member has the rest to do.
    let half = last[0].slice(0, last[0].rows.num_rows().div_ceil(2));
    again += take(&half);
    first.mark_processed([((half.topic.clone(), half.partition), half.offsets.last().unwrap() + 1)]);
    first.close().await.unwrap();
    let mut second = query.reader_in_group(GroupConfig::new("g"));
    let at_end = |positions: BTreeMap<_, i64>| positions.len() == 3 && positions.values().all(|p| *p == RECORDS);
    while !at_end(second.positions()) {
        let batches = second.poll(Duration::from_millis(500)).await.unwrap();
        again += batches.iter().map(&mut take).sum::<usize>();
    }
    second.close().await.unwrap();
    assert_eq!(again, 0, "nothing processed came twice");
    assert_eq!(rows, expected(matches));
    let committed = Admin::new(client).group_offsets("g").await.unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset).collect::<Vec<_>>(), [RECORDS; 3]);
}
