//! Lake tables as clients see them: retention that waits for the lake, tables that rest, log and lake compared.
//!
//! The rows that the lake has in the end are read with the Parquet reader here; that other engines read them is shown in
//! `compat-tests/lake`.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DeleteRecordsRequest, IncrementalAlterConfigsRequest};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use weir_lake_sink::{TableState, TableStatus};
use weir_protocol::ids::{PartitionId, TopicId};
use weir_protocol::records::Compression;
use weir_storage::log::LogOffsets;

use crate::harness::{Client, TestBroker, Topic, batch, s, topic_name};

const PATIENCE: Duration = Duration::from_secs(60);

fn status(broker: &TestBroker, topic: &str) -> Option<TableStatus> {
    broker.lake().status().into_iter().find(|table| table.topic == topic)
}

pub(super) async fn until(
    what: &str,
    broker: &TestBroker,
    topic: &str,
    right: impl Fn(&TableStatus) -> bool,
) -> TableStatus {
    let begun = Instant::now();
    loop {
        let status = status(broker, topic);
        if let Some(status) = status.as_ref().filter(|status| right(status)) {
            return status.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn offsets(broker: &TestBroker, topic: &Topic) -> LogOffsets {
    broker.inner().storage.partition(TopicId(topic.id), PartitionId(0)).unwrap().offsets()
}

pub(super) async fn until_log_start(what: &str, broker: &TestBroker, topic: &Topic, right: impl Fn(i64) -> bool) {
    let begun = Instant::now();
    while !right(offsets(broker, topic).log_start.0) {
        assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", offsets(broker, topic));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn alter(client: &mut Client, topic: &str, name: &str, value: &str) {
    let config = AlterableConfig::default().with_name(s(name)).with_config_operation(0).with_value(Some(s(value)));
    let resource =
        AlterConfigsResource::default().with_resource_type(2).with_resource_name(s(topic)).with_configs(vec![config]);
    let answer = client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
}

/// Records of long ago: `retention.ms` has no use for them.
async fn produce(client: &mut Client, topic: &Topic, from: usize, records: usize) {
    let values: Vec<String> = (from..from + records).map(|n| format!("{n:06}-{}", "x".repeat(500))).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for values in values.chunks(100) {
        let answer = client.produce(9, topic, 0, -1, batch(Compression::None, values)).await;
        assert_eq!(answer.error_code, 0);
    }
}

pub(super) async fn tiered_topic(client: &mut Client, name: &str, lake: &Path, configs: &[(&str, &str)]) -> Topic {
    let lake = lake.display().to_string();
    let base = [("weir.lake.format", "parquet"), ("weir.lake.path", lake.as_str()), ("weir.lake.freshness", "1s")];
    let configs: BTreeMap<&str, &str> = base.iter().chain(configs).copied().collect();
    let id = client.create_topic(name, 1, &Vec::from_iter(configs)).await;
    Topic { name: name.to_owned(), id }
}

pub(super) fn data_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
}

/// How often each offset is in the table.
fn lake_offsets(folder: &Path) -> BTreeMap<i64, usize> {
    let mut found = BTreeMap::new();
    for path in data_files(folder) {
        let file = std::fs::File::open(path).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let offsets = batch.column_by_name("__offset").unwrap().as_primitive::<Int64Type>().clone();
            offsets.values().iter().for_each(|offset| *found.entry(*offset).or_default() += 1);
        }
    }
    found
}

/// The last thing that a verification says.
async fn verify(broker: &TestBroker, topic: &str) -> Value {
    let mut lines = broker.lake().verify(broker.inner(), topic).unwrap();
    let mut last = Value::Null;
    while let Some(line) = lines.recv().await {
        last = line;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_lake_keeps_the_log_and_one_that_heals_lets_it_go_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    // A file is where a folder should be.
    std::fs::File::create(&lake).unwrap();
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let gate = [("weir.lake.gate.retention", "true"), ("retention.ms", "1")];
    let topic = tiered_topic(&mut client, "gated", &lake, &gate).await;
    let free = tiered_topic(&mut client, "free", &lake, &[("retention.ms", "1")]).await;
    produce(&mut client, &topic, 0, 1000).await;
    produce(&mut client, &free, 0, 1000).await;
    // The same without a gate is gone; and with it nothing is.
    until_log_start("retention works", &broker, &free, |start| start == 1000).await;
    let status = until("bytes are kept", &broker, "gated", |status| {
        status.state == TableState::Retrying && status.gate.is_some_and(|gate| gate.held_bytes > 100_000)
    })
    .await;
    assert_eq!((offsets(&broker, &topic).log_start.0, status.gate.unwrap().dropped), (0, 0));
    // Also after a restart, which knows nothing of the lake yet.
    drop(client);
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    until("it is tried again", &broker, "gated", |status| status.state == TableState::Retrying).await;
    produce(&mut client, &topic, 1000, 500).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(offsets(&broker, &topic).log_start.0, 0);
    std::fs::remove_file(&lake).unwrap();
    let status = until("it heals", &broker, "gated", |status| status.rows == 1500 && status.lag_records == 0).await;
    assert_eq!((status.state, status.lost), (TableState::Running, 0));
    until_log_start("then retention goes on", &broker, &topic, |start| start == 1500).await;
    let found = lake_offsets(&lake.join("gated"));
    assert!(found.keys().copied().eq(0..1500) && found.values().all(|n| *n == 1), "every record once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_ends_at_its_limit_and_deleting_records_does_not_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    std::fs::File::create(&lake).unwrap();
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let gate = [("weir.lake.gate.retention", "true"), ("weir.lake.gate.max.bytes", "200000"), ("retention.ms", "1")];
    let topic = tiered_topic(&mut client, "bounded", &lake, &gate).await;
    produce(&mut client, &topic, 0, 200).await;
    until("within the limit", &broker, "bounded", |s| s.gate.is_some_and(|gate| gate.held_bytes > 50_000)).await;
    // DeleteRecords wins over the gate.
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(50);
    let of = DeleteRecordsTopic::default().with_name(topic_name("bounded")).with_partitions(vec![partition]);
    let answer = client.call(2, &DeleteRecordsRequest::default().with_timeout_ms(9000).with_topics(vec![of])).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 50);
    assert_eq!(status(&broker, "bounded").unwrap().gate.unwrap().dropped, 0);
    produce(&mut client, &topic, 200, 2000).await;
    let status = until("the limit is kept", &broker, "bounded", |status| {
        status.gate.is_some_and(|gate| gate.dropped > 0 && gate.held_bytes <= 200_000)
    })
    .await;
    let start = offsets(&broker, &topic).log_start.0;
    assert!(start > 50 && status.gate.unwrap().dropped <= start.unsigned_abs() - 50, "{status:?} {start}");
    std::fs::remove_file(&lake).unwrap();
    let status = until("it heals", &broker, "bounded", |status| status.epoch > 0 && status.lag_records == 0).await;
    // Nothing was tiered before, so nothing is missed in the table; all that the log had is there.
    let found = lake_offsets(&lake.join("bounded"));
    assert_eq!(*found.keys().next_back().unwrap(), 2199);
    assert_eq!(status.rows, found.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_rests_does_so_after_a_restart_too_and_then_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let topic = tiered_topic(&mut client, "resting", folder.path(), &[("retention.ms", "-1")]).await;
    produce(&mut client, &topic, 0, 100).await;
    until("tiered", &broker, "resting", |status| status.rows == 100).await;
    alter(&mut client, "resting", "weir.lake.paused", "true").await;
    until("paused", &broker, "resting", |status| status.state == TableState::Paused).await;
    produce(&mut client, &topic, 100, 100).await;
    drop(client);
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    let status = until("paused again", &broker, "resting", |s| s.state == TableState::Paused && s.epoch > 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((status.rows, status.lag_records), (100, 100));
    assert!(status.error.unwrap().contains("weir lake resume"));
    alter(&mut client, "resting", "weir.lake.paused", "false").await;
    until("it goes on", &broker, "resting", |status| status.rows == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_lake_of_a_typed_topic_are_compared_and_a_missing_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["parquet", "iceberg", "paimon"] {
        let broker = TestBroker::start().await;
        let mut client = Client::connect(&broker).await;
        let configs = [
            ("retention.ms", "-1"),
            ("weir.lake.format", format),
            (
                "weir.table.schema",
                "id BIGINT NOT NULL, city STRING, price DECIMAL(10,2), at TIMESTAMP, tags ARRAY<STRING>",
            ),
        ];
        let topic = tiered_topic(&mut client, "typed", folder.path(), &configs).await;
        for from in [0, 1500] {
            let rows: Vec<String> = (from..from + 1500)
                .map(|n| {
                    format!(
                        r#"{{"id":{n},"city":"c{}","price":{n}.25,"at":"2013-01-01T00:00:00","tags":["a","{n}"]}}"#,
                        n % 7
                    )
                })
                .collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            for rows in rows.chunks(500) {
                let answer = client.produce(9, &topic, 0, -1, batch(Compression::None, rows)).await;
                assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
            }
            until("tiered", &broker, "typed", |status| status.rows == from + 1500).await;
        }
        let found = verify(&broker, "typed").await;
        let report = &found["report"];
        assert_eq!(report["equal"], true, "{format}: {found}");
        assert_eq!(report["partitions"][0]["lake_rows"], 3000, "{format}: {found}");
        assert_eq!(report["columns"].as_array().unwrap().len(), 8, "{format}: {found}");
        assert!(report["files"].as_u64().unwrap() >= 2);
        let table = match format {
            "parquet" => folder.path().join("typed"),
            "iceberg" => folder.path().join("weir/typed/data"),
            _ => folder.path().join("weir.db/typed/bucket-0"),
        };
        std::fs::remove_file(data_files(&table).pop().unwrap()).unwrap();
        let found = verify(&broker, "typed").await;
        assert_eq!(found["report"]["equal"], false, "{format}: {found}");
        let partition = &found["report"]["partitions"][0];
        assert!(
            partition["lake_rows"].as_u64() < Some(3000) && partition["differences_total"] != 0,
            "{format}: {found}"
        );
        let refused = broker.lake().verify(broker.inner(), "no-such-topic").unwrap_err().to_string();
        assert!(refused.contains("weir.lake.format"), "{refused}");
    }
}
