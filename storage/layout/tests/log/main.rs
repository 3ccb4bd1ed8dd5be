//! A log whose segments are columns: plain readers get the same bytes back, after merges, restarts and without rows.
//!
//! Seen failing: with headers rebuilt in reverse order, with shapes left out of the metadata, and with the offsets of a row
//! group counted from its first one on regardless of gaps, four of the tests fail at the first such record.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use weir_column::Codec;
use weir_layout::{BatchKeeper, ColumnSegment, Format, KeptTail, TopicLayout};
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader, Compression, ControlType, EndTxnMarker, batches, decode};
use weir_storage::disk::OsDisk;
use weir_storage::log::{
    AckLevel, AppendOrigin, Layout, LogConfig, Partition, PendingAppend, ReadLimit, ReadRequest, Storage,
    StorageConfig, TopicSpec,
};
use weir_storage::memory::MemoryBudget;
use weir_storage::segment::KeptColumns;
use weir_table::table::{RowFormat, Table, TableOptions};
use weir_table::{TableSchema, ddl};

mod batches;

const TOPIC: TopicId = TopicId(Uuid::from_u128(11));
const DDL: &str = "id BIGINT NOT NULL, city STRING, price DECIMAL(10,2), score DOUBLE, tags ARRAY<STRING>, \
                   place ROW<lat DOUBLE, lon DOUBLE>";

fn table() -> Arc<Table> {
    let schema = TableSchema::create(ddl::parse(DDL).unwrap(), &[]).unwrap();
    Arc::new(Table::new(vec![Arc::new(schema)], RowFormat::json(), None, TableOptions::default()).unwrap())
}

/// The tasks of a storage that was dropped let go of the folder soon.
async fn unlocked(dir: &std::path::Path) -> OsDisk {
    for _ in 0..500 {
        if let Ok(disk) = OsDisk::open(dir) {
            return disk;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    OsDisk::open(dir).unwrap()
}

async fn open(dir: &std::path::Path, epoch: i32, layout: Layout) -> Arc<Storage> {
    open_within(dir, epoch, layout, 256 << 20, 1 << 20).await
}

/// With so much memory, and merges of so many bytes.
async fn open_within(
    dir: &std::path::Path,
    epoch: i32,
    layout: Layout,
    memory: usize,
    merge_partition_bytes: u64,
) -> Arc<Storage> {
    let disk = Arc::new(unlocked(dir).await);
    let log = LogConfig { retention_ms: None, layout, ..LogConfig::default() };
    let spec = TopicSpec { topic: TOPIC, partitions: 1, config: Arc::new(log) };
    let memory = MemoryBudget::new(memory);
    let config = StorageConfig {
        wal_file_bytes: 1 << 20,
        wal_max_bytes: 8 << 20,
        merge_partition_bytes,
        housekeeping_interval_ms: 10,
        columns: Some(Arc::new(Format::new(memory.clone()))),
        memory,
        ..StorageConfig::default()
    };
    Storage::open(disk, config, LeaderEpoch(epoch), vec![spec], &|_| false).await.unwrap()
}

fn partition(storage: &Storage) -> Arc<Partition> {
    storage.partition(TOPIC, PartitionId(0)).unwrap()
}

/// What a reader sees of a record, and of the batch it came in.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    producer: (i64, i16, i32),
    attributes: i16,
    epoch: i32,
    last_offset_delta: i32,
}

fn see(bytes: &[u8]) -> Vec<Seen> {
    let mut out = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.unwrap();
        let header = batch.header;
        for record in decode(batch.bytes, &Default::default()).unwrap().records() {
            let record = record.unwrap();
            let headers = record.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
            out.push(Seen {
                offset: record.offset(&header).0,
                timestamp: record.timestamp(&header).0,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers,
                producer: (header.producer_id, header.producer_epoch, header.base_sequence),
                attributes: header.attributes.bits(),
                epoch: header.leader_epoch.0,
                last_offset_delta: header.last_offset_delta,
            });
        }
    }
    out
}

async fn append(storage: &Storage, batch: Bytes, origin: AppendOrigin, log: &mut Vec<Seen>) {
    append_kept(storage, batch, origin, None, log).await;
}

/// What a broker keeps of a batch that it has checked.
fn checked(tail: &KeptTail, table: &Arc<Table>, batch: &Bytes) -> Option<KeptColumns> {
    let mut keeper = BatchKeeper::new(tail, table, 0)?;
    let opened = decode(batch, &Default::default()).unwrap();
    for record in opened.records() {
        let _ = keeper.push(&opened.header, &record.unwrap());
    }
    tail.keep(keeper, &opened.header)
}

async fn append_kept(
    storage: &Storage,
    batch: Bytes,
    origin: AppendOrigin,
    kept: Option<KeptColumns>,
    log: &mut Vec<Seen>,
) {
    let header = BatchHeader::parse(&batch).unwrap();
    let pending = PendingAppend::rows(partition(storage), BytesMut::from(&batch[..]), header, origin);
    let pending = PendingAppend { kept, ..pending };
    let appended = storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
    let epoch = partition(storage).current_epoch();
    let mut placed = BytesMut::from(&batch[..]);
    weir_protocol::records::batch::patch_base_offset_and_epoch(&mut placed, appended.base_offset, epoch);
    log.extend(see(&placed));
}

async fn read_from(storage: &Storage, from: i64, max_bytes: usize) -> Vec<Seen> {
    let partition = partition(storage);
    let mut offset = Offset(from);
    let mut out = Vec::new();
    loop {
        let request = ReadRequest { offset, max_bytes, at_least_one: true, limit: ReadLimit::HighWatermark };
        let outcome = partition.read(request).await.unwrap();
        if outcome.bytes == 0 {
            return out;
        }
        let all: Bytes = outcome.chunks.concat().into();
        offset = batches(&all).last().unwrap().unwrap().header.next_offset();
        out.extend(see(&all).into_iter().filter(|seen| seen.offset >= from));
    }
}

fn assert_same(found: &[Seen], expected: &[Seen], what: &str) {
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("{what}: record {at} differs:\n{:?}\n{:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Rows as people write them: other orders and spacings of keys, numbers in many forms, what does not fit, no value.
fn value(rng: &mut StdRng, id: i64) -> Option<Vec<u8>> {
    let city = ["Z\u{fc}rich", "O\\u0073lo", "a \\\"b\\\"", ""][rng.random_range(0..4)];
    let score = ["1.50", "1e3", "-0.0", "0.1", "null"][rng.random_range(0..5)];
    let filler: String = (0..rng.random_range(0..900)).map(|_| rng.random_range('a'..='z')).collect();
    Some(match rng.random_range(0..100) {
        0 => return None,
        1 => b"not a row".to_vec(),
        2 => vec![0xff; 40],
        3 => format!(r#"{{"id":{id},"unknown":{{"deep":[1,2]}},"city":"{city}"}}"#).into_bytes(),
        4..30 => format!(r#"{{ "city" : "{city}{filler}", "id" : {id}, "score": {score} }}"#).into_bytes(),
        _ => format!(
            r#"{{"id":{id},"city":"{filler}","price":{}.{:02},"score":{score},"tags":["a","{city}"],"place":{{"lat":4.5,"lon":-7}}}}"#,
            rng.random_range(0..9999),
            rng.random_range(0..100),
        )
        .into_bytes(),
    })
}

fn batch(rng: &mut StdRng, next_id: &mut i64, sequence: &mut i32) -> Bytes {
    let codec = Compression::ALL[rng.random_range(0..Compression::ALL.len())];
    let mut builder = BatchBuilder::new().compression(codec, None);
    let idempotent = rng.random_bool(0.5);
    if idempotent {
        builder = builder.producer(ProducerId(77), ProducerEpoch(0), *sequence);
    }
    let mut delta = -1;
    for _ in 0..rng.random_range(1..60) {
        // Idempotent producers number their records without gaps.
        delta += if idempotent { 1 } else { rng.random_range(1..3) };
        let value = value(rng, *next_id);
        let key = (*next_id % 3 != 0).then(|| next_id.to_be_bytes());
        let text = next_id.to_string();
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(text.as_bytes())), (b"h", None)];
        let headers = &headers[..rng.random_range(0..3)];
        let timestamp = Timestamp(1_700_000_000_000 + rng.random_range(-5000..5000));
        builder.append_at(delta, key.as_ref().map(|k| &k[..]), value.as_deref(), headers, timestamp).unwrap();
        *next_id += 1;
    }
    if idempotent {
        *sequence += delta + 1;
    }
    builder.build().unwrap()
}

async fn settled(storage: &Storage, what: &str, done: impl Fn() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within a minute ({storage:?})");
}

fn names(dir: &std::path::Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

fn files(dir: &std::path::Path, extension: &str) -> usize {
    names(dir, extension).len()
}

async fn bytes_come_back(table: Option<Arc<Table>>, layout: impl Fn(Arc<TopicLayout>) -> Layout, seed: u64) {
    bytes_come_back_from(TopicLayout::new(table, Codec::Zstd(1)), layout, seed).await;
}

async fn bytes_come_back_from(topic: TopicLayout, layout: impl Fn(Arc<TopicLayout>) -> Layout, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let topic = Arc::new(topic);
    let (mut log, mut next_id, mut sequence) = (Vec::new(), 0, 0);
    for epoch in 1..=3 {
        let storage = open(dir.path(), epoch, layout(topic.clone())).await;
        assert_same(&read_from(&storage, 0, 50_000).await, &log, &format!("after restart {epoch}"));
        for _ in 0..250 {
            append(&storage, batch(&mut rng, &mut next_id, &mut sequence), AppendOrigin::Client, &mut log).await;
        }
        settled(&storage, "column files", || files(dir.path(), "arrow") > 0).await;
        for _ in 0..8 {
            let from = rng.random_range(0..log.last().unwrap().offset);
            let expected: Vec<Seen> = log.iter().filter(|seen| seen.offset >= from).cloned().collect();
            let found = read_from(&storage, from, rng.random_range(1..200_000)).await;
            assert_same(&found, &expected, &format!("from {from}"));
        }
        storage.shutdown().await;
        drop(storage);
    }
    // What no plan of a table can have changed: another start reads columns that it did not write.
    let storage = open(dir.path(), 9, Layout::Row).await;
    assert_same(&read_from(&storage, 0, 1 << 20).await, &log, "with another layout");
    storage.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_made_of_columns_are_the_bytes_that_were_produced() {
    bytes_come_back(Some(table()), |layout| Layout::Column { layout, row_retention_ms: 0 }, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beside_columns_are_read_as_they_are() {
    bytes_come_back(Some(table()), |layout| Layout::Both { layout }, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_a_table_can_be_columns_too() {
    bytes_come_back(None, |layout| Layout::Column { layout, row_retention_ms: 0 }, 3).await;
}

/// Seen failing with the rows of a window taken group by group: no batch can be made of them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_clustered_come_back_in_their_order() {
    let by = ["score".to_owned(), "price".to_owned()];
    let topic = TopicLayout::new(Some(table()), Codec::Zstd(1)).clustered_by(&by).with_cluster_rows_min(20);
    bytes_come_back_from(topic, |layout| Layout::Column { layout, row_retention_ms: 0 }, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_after_their_time_and_columns_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(4);
    let topic = Arc::new(TopicLayout::new(Some(table()), Codec::Zstd(1)));
    let (mut log, mut next_id, mut sequence) = (Vec::new(), 0, 0);
    let storage = open(dir.path(), 1, Layout::Both { layout: topic.clone() }).await;
    for _ in 0..200 {
        append(&storage, batch(&mut rng, &mut next_id, &mut sequence), AppendOrigin::Client, &mut log).await;
    }
    settled(&storage, "column files", || files(dir.path(), "arrow") > 0).await;
    let before = names(dir.path(), "rows");
    assert!(!before.is_empty(), "they have rows beside them");
    let log_config = LogConfig {
        retention_ms: None,
        layout: Layout::Column { layout: topic.clone(), row_retention_ms: 1 },
        ..LogConfig::default()
    };
    storage.update_config(TOPIC, Arc::new(log_config));
    // A last piece that is too small for columns stays as it is.
    settled(&storage, "rows go", || before.iter().any(|name| !names(dir.path(), "rows").contains(name))).await;
    assert!(partition(&storage).column_part(Offset(0)).unwrap().is_some());
    assert_same(&read_from(&storage, 0, 100_000).await, &log, "columns only");
    storage.shutdown().await;
    drop(storage);
    let storage = open(dir.path(), 2, Layout::Column { layout: topic, row_retention_ms: 1 }).await;
    assert_same(&read_from(&storage, 0, 100_000).await, &log, "columns only, after a restart");
    storage.shutdown().await;
}

/// Whole rows, written by three programs.
fn rows_of_programs(rng: &mut StdRng, next_id: &mut i64, sequence: &mut i32) -> Bytes {
    let mut builder = BatchBuilder::new().compression(Compression::None, None);
    let count = rng.random_range(1..200);
    if rng.random() {
        builder = builder.producer(ProducerId(77), ProducerEpoch(0), *sequence);
        *sequence += count;
    }
    for delta in 0..count {
        let (id, n) = (*next_id, rng.random_range(0..100));
        let value = match rng.random_range(0..4) {
            0 => format!(r#"{{"id":{id},"city":"c{n}","price":{n}.50,"tags":["a","b{n}"]}}"#),
            1 => format!(r#"{{ "city": "Z\u00fc{n}", "id": {id}, "score": {n}e1 }}"#),
            2 => format!(r#"{{"id":{id},"city":null,"place":{{"lat":4.{n},"lon":-7}},"more":{n}}}"#),
            _ => format!("  {{\n\"id\" : {id}}}"),
        };
        let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", None)];
        let headers = &headers[..rng.random_range(0..2)];
        builder.append_at(delta, Some(b"k"), Some(value.as_bytes()), headers, Timestamp(1_000 + id)).unwrap();
        *next_id += 1;
    }
    builder.build().unwrap()
}

/// Decoded once, when they came: the merge takes what was kept, whatever shapes it met in which order, and what was not kept
/// it decodes. Seen failing with shapes of kept rows left under their own numbers.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_kept_are_the_same_columns_and_their_memory_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    let table = table();
    let topic = Arc::new(TopicLayout::new(Some(table.clone()), Codec::Zstd(1)));
    let layout = || Layout::Column { layout: topic.clone(), row_retention_ms: 0 };
    let storage = open(dir.path(), 1, layout()).await;
    let tail = KeptTail::new(storage.memory());
    let (mut log, mut next_id, mut sequence, mut kept_most) = (Vec::new(), 0, 0, 0);
    // Of another table, as that of a topic that was changed meanwhile: of no use.
    let other = self::table();
    for _ in 0..600 {
        let batch = rows_of_programs(&mut rng, &mut next_id, &mut sequence);
        let kept = match rng.random_range(0..5) {
            0 => None,
            1 => checked(&tail, &other, &batch),
            _ => checked(&tail, &table, &batch),
        };
        append_kept(&storage, batch, AppendOrigin::Client, kept, &mut log).await;
        kept_most = kept_most.max(tail.bytes());
    }
    assert!(kept_most > 100_000, "{kept_most}");
    settled(&storage, "column files", || files(dir.path(), "arrow") > 0).await;
    for from in [0, 777, log.len() as i64 / 2] {
        let expected: Vec<Seen> = log.iter().filter(|seen| seen.offset >= from).cloned().collect();
        assert_same(&read_from(&storage, from, 100_000).await, &expected, "kept");
    }
    storage.shutdown().await;
    drop(storage);
    assert_eq!(tail.bytes(), 0, "nobody has them any more");
    let storage = open(dir.path(), 2, layout()).await;
    assert_same(&read_from(&storage, 0, 100_000).await, &log, "after a restart");
    storage.shutdown().await;
}

/// The side column is small where rows are written by programs: TAB-2 does not cost a second copy.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_shape_keep_no_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Arc::new(TopicLayout::new(Some(table()), Codec::Zstd(1)));
    let storage = open(dir.path(), 1, Layout::Column { layout: topic, row_retention_ms: 0 }).await;
    let mut log = Vec::new();
    for id in 0..3000 {
        let mut builder = BatchBuilder::new();
        let value = format!(r#"{{"id": {id}, "city": "{}", "price": {id}.25}}"#, "city".repeat(100));
        builder.append(None, Some(value.as_bytes()), &[], Timestamp(id)).unwrap();
        append(&storage, builder.build().unwrap(), AppendOrigin::Client, &mut log).await;
    }
    settled(&storage, "columns", || partition(&storage).column_part(Offset(0)).unwrap().is_some()).await;
    let part = partition(&storage).column_part(Offset(0)).unwrap().unwrap();
    let segment = part.file.as_any().downcast::<ColumnSegment>().unwrap();
    let raw = weir_column::Projection::paths(segment.reader().schema(), &[["_value"]]).unwrap();
    for group in 0..segment.reader().group_count() {
        let rows = segment.reader().read(group, &raw).unwrap();
        assert_eq!(rows.column(0).null_count(), rows.num_rows(), "no value is kept beside its columns");
    }
    assert_same(&read_from(&storage, 0, 100_000).await, &log, "rows");
    storage.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_of_transactions_are_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let topic = Arc::new(TopicLayout::new(Some(table()), Codec::Lz4));
    let (mut log, mut next_id, mut sequence) = (Vec::new(), 0, 0);
    let storage = open(dir.path(), 1, Layout::Column { layout: topic.clone(), row_retention_ms: 0 }).await;
    let (id, epoch) = (ProducerId(5), ProducerEpoch(3));
    for own in 0..200 {
        append(&storage, batch(&mut rng, &mut next_id, &mut sequence), AppendOrigin::Client, &mut log).await;
        let mut builder = BatchBuilder::new().producer(id, epoch, own).transactional();
        builder.append(None, Some(br#"{"id":1}"#), &[], Timestamp(7)).unwrap();
        let guard = partition(&storage).transaction_guard(id, epoch);
        let origin = guard.map_or(AppendOrigin::Client, AppendOrigin::Verified);
        append(&storage, builder.build().unwrap(), origin, &mut log).await;
        let control_type = if own % 3 == 0 { ControlType::Abort } else { ControlType::Commit };
        let (timestamp, coordinator_epoch) = (Timestamp(9), 12);
        let marker =
            EndTxnMarker { control_type, producer_id: id, producer_epoch: epoch, coordinator_epoch, timestamp };
        append(&storage, marker.to_batch().unwrap(), AppendOrigin::Coordinator, &mut log).await;
    }
    settled(&storage, "column files", || files(dir.path(), "arrow") > 0).await;
    assert_same(&read_from(&storage, 0, 30_000).await, &log, "with markers");
    storage.shutdown().await;
    drop(storage);
    let storage = open(dir.path(), 2, Layout::Column { layout: topic, row_retention_ms: 0 }).await;
    assert_same(&read_from(&storage, 0, 30_000).await, &log, "with markers, after a restart");
    storage.shutdown().await;
}
