//! Scans over a real partition log: tail, WAL and segments, with every record looked at by a naive reader of its own.
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use bytes::BytesMut;
use proptest::prelude::*;
use weir_layout::{Format, TopicLayout};
use weir_predicate::Clock;
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader, Compression, ControlType, EndTxnMarker, HEADER_LEN};
use weir_storage::disk::OsDisk;
use weir_storage::log::{
    AckLevel, AppendOrigin, BatchForm, Layout, LogConfig, Partition, PendingAppend, ReadLimit, Storage, StorageConfig,
    TopicSpec,
};
use weir_storage::memory::MemoryBudget;
use weir_storage::segment::KeptColumns;

use crate::plan::batch_of;
use crate::*;

mod naive;
mod restricted;
mod typed;

/// One record as the tests know it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

struct Log {
    _dir: tempfile::TempDir,
    storage: Arc<Storage>,
    partition: Arc<Partition>,
}

const TOPIC: TopicId = TopicId(uuid::Uuid::from_u128(9));

async fn log() -> Log {
    log_in(Layout::Row).await
}

/// A log whose merges write this layout, a few kilobytes at a time.
async fn log_in(layout: Layout) -> Log {
    let merge_partition_bytes = if layout == Layout::Row { 16 << 10 } else { 4 << 10 };
    let memory = MemoryBudget::new(1 << 30);
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let config = LogConfig { retention_ms: None, layout, ..LogConfig::default() };
    let spec = TopicSpec { topic: TOPIC, partitions: 4, config: Arc::new(config) };
    // Small sizes, so that a few hundred rows reach WAL and segments.
    let config = StorageConfig {
        wal_file_bytes: 64 << 10,
        wal_max_bytes: 128 << 10,
        merge_partition_bytes,
        housekeeping_interval_ms: 5,
        columns: Some(Arc::new(Format::new(memory.clone()))),
        memory,
        ..StorageConfig::default()
    };
    let storage = Storage::open(disk, config, LeaderEpoch(1), vec![spec], &|_| false).await.unwrap();
    let partition = storage.partition(TOPIC, PartitionId(3)).unwrap();
    Log { _dir: dir, storage, partition }
}

impl Log {
    async fn append(&self, batch: bytes::Bytes, origin: AppendOrigin) {
        self.append_kept(batch, origin, None).await;
    }

    /// A batch that came as columns.
    async fn append_columns(&self, batch: bytes::Bytes, origin: AppendOrigin) {
        let header = BatchHeader::parse(&batch).unwrap();
        let pending = PendingAppend::rows(self.partition.clone(), BytesMut::from(&batch[..]), header, origin);
        let pending = PendingAppend { form: BatchForm::Columns, ..pending };
        self.storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
    }

    async fn append_kept(&self, batch: bytes::Bytes, origin: AppendOrigin, kept: Option<KeptColumns>) {
        let header = BatchHeader::parse(&batch).unwrap();
        let partition = self.partition.clone();
        let pending = PendingAppend::rows(partition, BytesMut::from(&batch[..]), header, origin);
        let pending = PendingAppend { kept, ..pending };
        self.storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
    }

    /// Appends one batch and fills in the offsets of its rows.
    async fn produce(&self, rows: &mut [Row], compression: Compression, transaction: Option<(i64, i32)>) {
        let base = self.partition.offsets().log_end.0;
        let mut builder = BatchBuilder::new().compression(compression, None);
        if let Some((producer, sequence)) = transaction {
            builder = builder.producer(ProducerId(producer), ProducerEpoch(0), sequence).transactional();
        }
        for (i, row) in rows.iter_mut().enumerate() {
            row.offset = base + i as i64;
            let headers: Vec<_> =
                row.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_ref().map(|v| v.as_bytes()))).collect();
            let (key, value) = (row.key.as_ref().map(|k| k.as_bytes()), row.value.as_ref().map(|v| v.as_bytes()));
            builder.append(key, value, &headers, Timestamp(row.timestamp)).unwrap();
        }
        let guard = transaction
            .and_then(|(producer, _)| self.partition.transaction_guard(ProducerId(producer), ProducerEpoch(0)));
        self.append(builder.build().unwrap(), guard.map_or(AppendOrigin::Client, AppendOrigin::Verified)).await;
    }

    async fn end_transaction(&self, producer: i64, control_type: ControlType) {
        let marker = EndTxnMarker {
            control_type,
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(0),
            coordinator_epoch: 0,
            timestamp: Timestamp(1),
        };
        self.append(marker.to_batch().unwrap(), AppendOrigin::Coordinator).await;
    }

    /// Scans an untyped topic from 0 to the end in as many steps as the limits take.
    async fn scan(&self, request: &ScanRequest, limits: ScanLimits) -> (Vec<ScanResult>, Vec<i64>) {
        self.steps(&Arc::new(ScanPlan::untyped(request, Clock::At(0)).unwrap()), limits).await
    }

    /// The same with a plan.
    async fn steps(&self, plan: &Arc<ScanPlan>, limits: ScanLimits) -> (Vec<ScanResult>, Vec<i64>) {
        let mut next = Offset::ZERO;
        let mut results = Vec::new();
        let mut offsets = Vec::new();
        for step in 0.. {
            assert!(step < 10_000, "SCAN-2: the scan does not advance at {next:?}");
            let scan = Scan::new(plan.clone(), self.partition.clone(), self.storage.cpu().clone(), next, limits);
            // In turn, so that slices begin and end everywhere.
            let scan = if step % 3 == 2 { scan } else { scan.with_slices(SliceCodecs { lz4: true, zstd: true }) };
            let scan = scan.run(LONG).await.unwrap();
            let exhausted = scan.is_exhausted();
            let result = opened(scan.finish().unwrap());
            assert!(result.next > next || !exhausted, "SCAN-2");
            next = result.next;
            offsets.extend(result.batches.iter().flat_map(offsets_of));
            results.push(result);
            if !exhausted {
                break;
            }
        }
        (results, offsets)
    }
}

impl Log {
    /// Offsets of the rows that scans in window order find; sorted, since each window is to be given whole by one scan.
    async fn in_windows(&self, plan: &Arc<ScanPlan>, limits: ScanLimits) -> Vec<i64> {
        let mut next = Offset::ZERO;
        let mut found = Vec::new();
        for step in 0.. {
            assert!(step < 10_000, "SCAN-2: the scan does not advance at {next:?}");
            let scan = Scan::new(plan.clone(), self.partition.clone(), self.storage.cpu().clone(), next, limits);
            let scan = scan.in_window_order().run(LONG).await.unwrap();
            let exhausted = scan.is_exhausted();
            let result = opened(scan.finish().unwrap());
            assert!(result.next > next || !exhausted, "SCAN-2");
            let mut rows = Vec::new();
            for batch in &result.batches {
                let offsets = offsets_of(batch);
                assert!(offsets.is_sorted(), "a batch in order");
                assert_eq!((batch.first_offset, Some(batch.last_offset)), (offsets[0], offsets.last().copied()));
                rows.extend(offsets);
            }
            rows.sort_unstable();
            assert!(rows.iter().all(|offset| (next.0..result.next.0).contains(offset)), "{next:?} {rows:?}");
            found.extend(rows);
            next = result.next;
            if !exhausted {
                break;
            }
        }
        found
    }
}

fn offsets_of(batch: &ScannedBatch) -> Vec<i64> {
    if batch.dense {
        return (batch.first_offset..=batch.last_offset).collect();
    }
    let last = batch.batch.columns().last().unwrap();
    last.as_primitive::<Int64Type>().values().to_vec()
}

const LONG: Duration = Duration::from_secs(60);

fn limits() -> ScanLimits {
    ScanLimits { visible: ReadLimit::HighWatermark, max_bytes: 1 << 20, at_least_one: true, max_scan_bytes: u64::MAX }
}

fn request(projection: Option<&[&str]>, predicate: Option<&str>) -> ScanRequest {
    ScanRequest {
        projection: projection.map(|p| p.iter().map(|s| (*s).to_owned()).collect()),
        predicate: predicate.map(|p| p.as_bytes().to_vec()),
    }
}

fn text(column: &dyn Array, row: usize) -> Option<String> {
    let column = column.as_binary::<i32>();
    column.is_valid(row).then(|| String::from_utf8(column.value(row).to_vec()).unwrap())
}

/// Rows of a batch with the default projection of untyped topics.
fn rows_of(scanned: &ScannedBatch) -> Vec<Row> {
    let batch: &RecordBatch = &scanned.batch;
    let headers = batch.column_by_name("_headers").unwrap().as_list::<i32>();
    let timestamps = batch.column_by_name("_timestamp").unwrap().as_primitive::<TimestampMillisecondType>();
    let offsets = offsets_of(scanned);
    (0..batch.num_rows())
        .map(|row| {
            let items = headers.value(row);
            let items = items.as_struct();
            let names = items.column(0).as_string::<i32>();
            Row {
                offset: offsets[row],
                timestamp: timestamps.value(row),
                key: text(batch.column_by_name("_key").unwrap(), row),
                value: text(batch.column_by_name("_value").unwrap(), row),
                headers: (0..items.len()).map(|i| (names.value(i).to_owned(), text(items.column(1), i))).collect(),
            }
        })
        .collect()
}

fn row(i: i64) -> Row {
    Row {
        offset: -1,
        timestamp: 1_000_000 + i,
        key: (i % 5 != 0).then(|| format!("key-{}", i % 7)),
        value: (i % 11 != 0).then(|| format!("{{\"n\": {i}, \"pad\": \"{}\"}}", "x".repeat((i % 90) as usize))),
        headers: if i % 3 == 0 { vec![("h".into(), Some(i.to_string())), ("h".into(), None)] } else { Vec::new() },
    }
}

async fn filled(batches: usize) -> (Log, Vec<Row>) {
    let log = log().await;
    let mut all = Vec::new();
    for batch in 0..batches {
        let mut rows: Vec<Row> = (0..17).map(|i| row((batch * 17 + i) as i64)).collect();
        log.produce(&mut rows, Compression::ALL[batch % 5], None).await;
        all.extend(rows);
    }
    (log, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_comes_back_as_it_was_produced_from_tail_and_segments() {
    let (log, rows) = filled(60).await;
    for _ in 0..200 {
        if log.storage.status().segment_bytes > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(log.storage.status().segment_bytes > 0, "a part of the log is in segments");
    let (results, _) = log.scan(&request(None, None), limits()).await;
    let scanned: Vec<Row> = results.iter().flat_map(|r| r.batches.iter().flat_map(rows_of)).collect();
    assert_eq!(scanned, rows);
    assert!(results[0].batches.iter().all(|b| b.dense), "a log without gaps needs no offsets");
}

#[tokio::test(flavor = "multi_thread")]
async fn predicates_over_system_columns_select_as_a_naive_reader_does() {
    let (log, rows) = filled(30).await;
    type Naive = fn(&Row) -> bool;
    let table: &[(&str, Naive)] = &[
        ("_key IS NULL", |r| r.key.is_none()),
        ("CAST(_key AS VARCHAR) = 'key-3'", |r| r.key.as_deref() == Some("key-3")),
        ("_timestamp >= '1970-01-01T00:16:40.200'", |r| r.timestamp >= 1_000_200),
        ("_offset % 100 = 7", |r| r.offset % 100 == 7),
        ("_partition = 3 AND _value IS NULL", |r| r.value.is_none()),
        ("_partition = 2", |_| false),
        ("cardinality(_headers) = 2", |r| r.headers.len() == 2),
        ("_headers[1].value = CAST('9' AS BYTEA)", |r| r.headers.first().is_some_and(|h| h.1.as_deref() == Some("9"))),
        ("CAST(_value AS VARCHAR) LIKE '%\"n\": 12,%'", |r| r.value.as_ref().is_some_and(|v| v.contains("\"n\": 12,"))),
    ];
    for (text, naive) in table {
        let expected: Vec<i64> = rows.iter().filter(|r| naive(r)).map(|r| r.offset).collect();
        let (results, offsets) = log.scan(&request(Some(&["_key", "_offset"]), Some(text)), limits()).await;
        assert_eq!(offsets, expected, "{text}");
        let scanned: u64 = results.iter().map(|r| r.counters.rows_scanned).sum();
        let returned: u64 = results.iter().map(|r| r.counters.rows_returned).sum();
        assert_eq!((scanned, returned), (rows.len() as u64, expected.len() as u64), "{text}");
        assert_eq!(
            results.last().unwrap().next,
            log.partition.offsets().high_watermark,
            "{text}: filtered rows are passed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_projection_counts_rows() {
    let (log, rows) = filled(10).await;
    let (results, offsets) = log.scan(&request(Some(&[]), Some("_offset >= 100")), limits()).await;
    assert_eq!(offsets, (100..rows.len() as i64).collect::<Vec<_>>());
    assert!(results[0].schema.fields().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn read_committed_shows_nothing_aborted_and_nothing_undecided() {
    let log = log().await;
    let mut seen = Vec::new();
    let (mut sequence_a, mut sequence_b) = (0, 0);
    for round in 0..12i64 {
        let mut a: Vec<Row> = (0..3).map(|i| row(round * 100 + i)).collect();
        let mut b: Vec<Row> = (0..2).map(|i| row(round * 100 + 50 + i)).collect();
        let mut plain: Vec<Row> = vec![row(round * 100 + 90)];
        log.produce(&mut a, Compression::None, Some((1, sequence_a))).await;
        log.produce(&mut b, Compression::Lz4, Some((2, sequence_b))).await;
        log.produce(&mut plain, Compression::None, None).await;
        (sequence_a, sequence_b) = (sequence_a + 3, sequence_b + 2);
        log.end_transaction(2, if round % 3 == 0 { ControlType::Abort } else { ControlType::Commit }).await;
        log.end_transaction(1, if round % 2 == 0 { ControlType::Abort } else { ControlType::Commit }).await;
        let committed_a = if round % 2 == 0 { Vec::new() } else { a };
        let committed_b = if round % 3 == 0 { Vec::new() } else { b };
        seen.extend(committed_a.into_iter().chain(committed_b).chain(plain).map(|r| r.offset));
    }
    let mut undecided = vec![row(5000)];
    log.produce(&mut undecided, Compression::None, Some((1, sequence_a))).await;
    let committed = ScanLimits { visible: ReadLimit::LastStable, ..limits() };
    let (results, offsets) = log.scan(&request(None, None), committed).await;
    assert_eq!(offsets, seen);
    assert_eq!(results.last().unwrap().next.0, undecided[0].offset);
    // From the middle of an aborted transaction on, in small steps.
    let small = ScanLimits { max_bytes: 1, max_scan_bytes: 1, ..committed };
    assert_eq!(log.scan(&request(None, None), small).await.1, seen);
    // read_uncommitted shows all rows and no markers.
    assert_eq!(log.scan(&request(None, None), limits()).await.1.len(), 12 * 6 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_goes_on_where_it_stopped() {
    let (log, rows) = filled(3).await;
    let request = request(Some(&["_offset"]), Some("_key IS NULL"));
    let plan = Arc::new(ScanPlan::untyped(&request, Clock::At(0)).unwrap());
    let scan =
        Scan::new(plan, log.partition.clone(), log.storage.cpu().clone(), Offset(5), limits()).run(LONG).await.unwrap();
    assert_eq!(scan.next(), log.partition.offsets().high_watermark);
    let mut more = vec![row(0), row(1), row(5)];
    log.produce(&mut more, Compression::Zstd, None).await;
    let result = scan.run(LONG).await.unwrap().finish().unwrap();
    let expected: Vec<i64> = rows[5..].iter().chain(&more).filter(|r| r.key.is_none()).map(|r| r.offset).collect();
    let offsets: Vec<i64> = result.batches.iter().flat_map(offsets_of).collect();
    assert_eq!(offsets, expected);
    assert_eq!(result.counters.rows_scanned, (rows.len() - 5 + more.len()) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_can_be_read_by_arrow_with_every_codec() {
    let (log, _) = filled(5).await;
    let (mut results, _) = log.scan(&request(None, None), limits()).await;
    let result = results.remove(0);
    let batch = &result.batches[0].batch;
    let mut lengths = Vec::new();
    for codec in [StreamCodec::None, StreamCodec::Lz4Frame, StreamCodec::Zstd] {
        let stream = encode_stream(&result.schema, std::iter::repeat_n(batch, 50), codec).unwrap();
        let read: Vec<RecordBatch> = StreamReader::try_new(&stream[..], None).unwrap().map(Result::unwrap).collect();
        assert_eq!((read.len(), &read[0]), (50, batch));
        lengths.push(stream.len());
        // A row by itself is not worth it.
        assert_eq!(worthwhile(std::iter::repeat_n(batch, 50), codec), codec);
        assert_eq!(worthwhile([batch.slice(1, 1)].iter(), codec), StreamCodec::None);
    }
    assert!(lengths[2] < lengths[1] && lengths[1] < lengths[0], "{lengths:?}");
}

/// Seen failing when the first record that could not be decoded ended the batch: one was counted, and not the two behind it.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_decoded_are_counted_however_the_scan_is_cut() {
    let (log, _) = filled(1).await;
    let base = log.partition.offsets().log_end.0;
    let mut builder = BatchBuilder::new();
    for i in 0..5i64 {
        builder.append(None, Some(format!("value-{i}").as_bytes()), &[], Timestamp(1)).unwrap();
    }
    let mut batch = BytesMut::from(&builder.build().unwrap()[..]);
    // The length of the third record (all have 15 bytes) becomes one that runs past the end.
    let third = HEADER_LEN + 2 * (batch.len() - HEADER_LEN) / 5;
    batch[third] = 0x7f;
    log.append(batch.freeze(), AppendOrigin::Client).await;
    log.produce(&mut [row(7), row(8)], Compression::None, None).await;
    let all = request(Some(&["_offset"]), Some("100 / (_offset - 3) > -1000"));
    for max_bytes in [1 << 20, 1, 20, 50] {
        for max_scan_bytes in [u64::MAX, 1] {
            let (results, offsets) = log.scan(&all, ScanLimits { max_bytes, max_scan_bytes, ..limits() }).await;
            let expected: Vec<i64> = (0..base + 7).filter(|o| *o != 3 && !(base + 2..base + 5).contains(o)).collect();
            assert_eq!(offsets, expected);
            let counted = |count: fn(&ScanCounters) -> u64| results.iter().map(|r| count(&r.counters)).sum::<u64>();
            // Three that cannot be decoded, and one that divides by zero.
            assert_eq!(counted(|c| c.rows_errored), 4, "{max_bytes} {max_scan_bytes}");
            assert_eq!(counted(|c| c.rows_scanned), base as u64 + 7, "{max_bytes} {max_scan_bytes}");
        }
    }
}

/// A run looks at a chunk at least, however little time it has, and says that there is more.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_without_time_still_gets_on() {
    let (log, rows) = filled(10).await;
    let plan = Arc::new(ScanPlan::untyped(&request(None, None), Clock::At(0)).unwrap());
    let limits = ScanLimits { max_scan_bytes: 1 << 40, ..limits() };
    let scan = Scan::new(plan, log.partition.clone(), log.storage.cpu().clone(), Offset(0), limits);
    let scan = scan.run(Duration::ZERO).await.unwrap();
    assert!(scan.next() > Offset(0) && scan.is_exhausted());
    assert!(scan.finish().unwrap().counters.rows_returned <= rows.len() as u64);
}

/// One log for all cases of the property test: filling one takes longer than a scan.
fn shared() -> &'static (tokio::runtime::Runtime, Log, Vec<Row>) {
    static SHARED: std::sync::OnceLock<(tokio::runtime::Runtime, Log, Vec<Row>)> = std::sync::OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (log, rows) = runtime.block_on(filled(40));
        (runtime, log, rows)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// However small the limits are, the steps together give every matching row once. Seen failing when a scan that was
    /// cut in the middle of its rows went on behind them.
    #[test]
    fn limits_change_the_steps_and_not_the_rows(
        max_bytes in 1usize..20_000,
        max_scan_bytes in 1u64..60_000,
        modulus in 1i64..50,
    ) {
        let (runtime, log, rows) = shared();
        let predicate = format!("_offset % {modulus} = 0");
        let limits = ScanLimits { max_bytes, max_scan_bytes, ..limits() };
        let (results, offsets) = runtime.block_on(log.scan(&request(Some(&["_value", "_key"]), Some(&predicate)), limits));
        let expected: Vec<i64> = rows.iter().map(|r| r.offset).filter(|o| o % modulus == 0).collect();
        prop_assert_eq!(offsets, expected);
        let scanned: u64 = results.iter().map(|r| r.counters.rows_scanned).sum();
        prop_assert_eq!(scanned, rows.len() as u64);
        for result in &results {
            let bytes: usize = result.batches.iter().flat_map(|b| b.batch.columns()).map(|c| c.to_data().get_slice_memory_size().unwrap()).sum();
            let rows: usize = result.batches.iter().map(|b| b.batch.num_rows()).sum();
            prop_assert!(rows <= 1 || bytes <= max_bytes * 4 + 4096, "{} bytes in {} rows for a limit of {}", bytes, rows, max_bytes);
        }
    }
}

/// Stored row groups as a client opens them.
fn opened(mut result: ScanResult) -> ScanResult {
    let Some(stored) = result.stored.take() else { return result };
    assert!(result.batches.is_empty(), "an answer is one or the other");
    let (stream, crc) = stored.encode().unwrap();
    assert_eq!(crc32c::crc32c(&stream), crc);
    let reader = arrow_ipc::reader::StreamReader::try_new(std::io::Cursor::new(stream), None).unwrap();
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.len(), stored.groups().len());
    for (batch, group) in batches.into_iter().zip(stored.groups()) {
        let columns = batch.columns().iter().zip(result.schema.fields());
        let columns = columns.map(|(column, field)| arrow_cast::cast(column, field.data_type()).unwrap()).collect();
        let names: Vec<&String> = batch.schema_ref().fields().iter().map(|field| field.name()).collect();
        assert_eq!(names, result.schema.fields().iter().map(|field| field.name()).collect::<Vec<_>>());
        let batch = batch_of(&result.schema, columns, batch.num_rows()).unwrap();
        let (head, rows) = (group.skip_head as usize, batch.num_rows());
        assert_eq!(rows, group.rows as usize);
        result.batches.push(ScannedBatch {
            first_offset: group.first_offset + head as i64,
            last_offset: group.last_offset,
            dense: true,
            batch: batch.slice(head, rows - head),
        });
    }
    result
}
