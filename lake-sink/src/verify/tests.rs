//! Log and lake in every format, equal and not.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::report::compare;
use super::*;
use crate::commit::CommitRecord;
use crate::plan::RoundLimits;
use crate::round::TableRounds;
use crate::settings::Format;
use crate::source::{Bounds, Scanned};
use crate::store::LakeStore;
use crate::testing::lake::{FaultyStore, TestFormat};
use crate::testing::log::TestLog;

fn settings(by: &str) -> LakeSettings {
    LakeSettings {
        format: Format::Parquet,
        path: "/never-opened".to_owned(),
        namespace: "weir".to_owned(),
        freshness: std::time::Duration::from_secs(1),
        partition_by: by.parse().unwrap(),
        key: None,
        compaction: false,
        rest_catalog: false,
        paused: false,
    }
}

/// All that the log has, in rounds of about 600 rows.
async fn tier(format: TestFormat, log: &TestLog, store: &FaultyStore, by: &str) -> CommitRecord {
    let limits = RoundLimits { round_bytes: 60_000, scan_bytes: 15_000 };
    let table = log.table().unwrap();
    let target = format.target(store, &table, by);
    let rounds = TableRounds::new(Arc::new(log.clone()), settings(by), limits, CpuPool::new(1));
    let mut rounds = rounds.with_target(table, target);
    while rounds.run(1_700_000_000_000).await.unwrap().is_some() {}
    rounds.record().unwrap().clone()
}

async fn check(format: TestFormat, source: &dyn ScanSource, store: &FaultyStore, by: &str) -> VerifyReport {
    let table = source.table().unwrap();
    let mut target = format.target(store, &table, by);
    let (cpu, progress) = (CpuPool::new(1), VerifyProgress::default());
    let report = verify_target(source, &table, &mut *target, &[], &cpu, &progress).await.unwrap();
    assert_eq!(progress.files.into_inner(), report.files as u64);
    report
}

async fn data_files(store: &FaultyStore) -> Vec<String> {
    store.names().await.into_iter().filter(|name| name.ends_with(".parquet")).collect()
}

fn differences(report: &VerifyReport) -> usize {
    report.partitions.iter().map(|partition| partition.differences_total).sum()
}

fn covers(difference: &Difference, offset: i64) -> bool {
    (difference.start..difference.end).contains(&offset)
}

#[tokio::test]
async fn what_was_tiered_is_equal_whatever_the_format_and_nothing_is_changed_in_the_lake() {
    for format in TestFormat::ALL {
        for by in ["", "__partition"] {
            let (log, store) = (TestLog::new(2), FaultyStore::default());
            log.append(0, 2500);
            log.append_invisible(0, 10);
            log.append(1, 700);
            tier(format, &log, &store, by).await;
            // Not tiered yet, and gone from the log: nobody can compare these.
            log.append(0, 50);
            log.delete_below(0, 1200);
            // What a writer would mend.
            store.delete("metadata/version-hint.text").await.unwrap();
            store.delete("snapshot/LATEST").await.unwrap();
            let before = store.names().await;
            let report = check(format, &log, &store, by).await;
            assert!(report.equal, "{format:?} by `{by}`: {report:?}");
            let figures: Vec<_> =
                report.partitions.iter().map(|p| (p.partition, p.start, p.end, p.log_rows, p.lake_rows)).collect();
            assert_eq!(figures, [(0, 1200, 2510, 1300, 1300), (1, 0, 700, 700, 700)], "{format:?} by `{by}`");
            assert!(report.files > 3 && report.columns.contains(&"__value".to_owned()), "{report:?}");
            assert_eq!(store.names().await, before, "{format:?}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_gone_or_damaged_is_found_with_the_offsets_that_it_had() {
    for format in TestFormat::ALL {
        for damage in ["removed", "cut", "scrambled"] {
            let (log, store) = (TestLog::new(2), FaultyStore::default());
            log.append(0, 3000);
            log.append(1, 10);
            tier(format, &log, &store, "__partition").await;
            let victim = data_files(&store).await.into_iter().next_back().unwrap();
            let bytes = store.bytes(&victim).await;
            let rows = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap();
            let rows: Vec<RecordBatch> = rows.map(Result::unwrap).collect();
            let of = |name: &str| rows[0].column_by_name(name).unwrap().clone();
            let partition = of("__partition").as_primitive::<arrow_array::types::Int32Type>().value(0);
            let offset = of("__offset").as_primitive::<arrow_array::types::Int64Type>().value(0);
            match damage {
                "removed" => store.delete(&victim).await.unwrap(),
                "cut" => store.replace(&victim, bytes.slice(..bytes.len() / 2)).await.unwrap(),
                _ => {
                    let mut scrambled = bytes.to_vec();
                    scrambled[4..200].iter_mut().for_each(|byte| *byte ^= 0x5A);
                    store.replace(&victim, scrambled.into()).await.unwrap();
                }
            }
            let report = check(format, &log, &store, "__partition").await;
            let what = format!("{format:?} {damage}: {report:?}");
            assert!(!report.equal, "{what}");
            // A directory of files does not know what is missing in it.
            let told = matches!((format, damage), (TestFormat::Parquet, "removed"));
            assert_eq!(
                report.damaged.iter().map(|file| &file.file).collect::<Vec<_>>(),
                Vec::from_iter((!told).then_some(&victim)),
                "{what}"
            );
            let found = &report.partitions[partition as usize];
            assert!(found.lake_rows < found.log_rows && found.differences_total == 1, "{what}");
            assert!(covers(&found.differences[0], offset), "{what}");
            assert!(found.differences[0].lake_rows < found.differences[0].log_rows, "{what}");
        }
    }
}

#[tokio::test]
async fn rows_that_only_the_lake_had_are_missed_in_a_directory_of_files() {
    let (log, store) = (TestLog::new(1), FaultyStore::default());
    log.append(0, 3000);
    tier(TestFormat::Parquet, &log, &store, "").await;
    log.delete_below(0, 3000);
    let report = check(TestFormat::Parquet, &log, &store, "").await;
    assert_eq!((report.equal, report.rows_committed, report.rows_found), (true, 3000, 3000));
    store.delete(&data_files(&store).await.remove(0)).await.unwrap();
    let report = check(TestFormat::Parquet, &log, &store, "").await;
    assert!(!report.equal && differences(&report) == 0 && report.rows_found < 3000, "{report:?}");
}

/// The same file with what `change` makes of its rows.
async fn rewrite(store: &FaultyStore, path: &str, change: impl Fn(RecordBatch) -> RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(store.bytes(path).await).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(|batch| change(batch.unwrap())).collect();
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), None).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    store.replace(path, Bytes::from(writer.into_inner().unwrap())).await.unwrap();
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let at = batch.schema().index_of(name).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[tokio::test]
async fn one_changed_value_is_found_with_its_column_and_two_that_changed_places_too() {
    for format in TestFormat::ALL {
        for change in ["changed", "exchanged"] {
            let (log, store) = (TestLog::new(1), FaultyStore::default());
            log.append(0, 3000);
            tier(format, &log, &store, "").await;
            let victim = data_files(&store).await.into_iter().next().unwrap();
            rewrite(&store, &victim, |batch| {
                let values = batch.column_by_name("__value").unwrap().as_binary::<i32>().clone();
                let mut values: Vec<&[u8]> = values.iter().map(Option::unwrap).collect();
                match change {
                    "changed" => values[1] = b"another",
                    _ => values.swap(1, 2),
                }
                with_column(&batch, "__value", Arc::new(BinaryArray::from_vec(values)))
            })
            .await;
            let report = check(format, &log, &store, "").await;
            let what = format!("{format:?} {change}: {report:?}");
            assert_eq!((report.equal, differences(&report)), (false, 1), "{what}");
            let difference = &report.partitions[0].differences[0];
            assert_eq!(difference.columns, ["__value"], "{what}");
            assert!(difference.end - difference.start <= 1000 && difference.log_rows == difference.lake_rows, "{what}");
        }
    }
}

#[tokio::test]
async fn files_that_are_twice_in_a_directory_or_are_somebody_elses_are_found() {
    let (log, store) = (TestLog::new(1), FaultyStore::default());
    log.append(0, 100);
    tier(TestFormat::Parquet, &log, &store, "").await;
    let file = data_files(&store).await.remove(0);
    store.create("copy.parquet", store.bytes(&file).await).await.unwrap();
    let report = check(TestFormat::Parquet, &log, &store, "").await;
    assert_eq!((report.partitions[0].log_rows, report.partitions[0].lake_rows), (100, 200), "{report:?}");
    store.delete("copy.parquet").await.unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
    writer.write(&RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1]))]).unwrap()).unwrap();
    store.create("theirs.parquet", Bytes::from(writer.into_inner().unwrap())).await.unwrap();
    let report = check(TestFormat::Parquet, &log, &store, "").await;
    assert_eq!((report.equal, differences(&report)), (false, 0));
    assert!(
        report.damaged[0].file == "theirs.parquet" && report.damaged[0].reason.contains("__partition"),
        "{report:?}"
    );
}

/// A log that loses its beginning while it is read.
struct Shrinking {
    log: TestLog,
    scans: Mutex<usize>,
}

#[async_trait]
impl ScanSource for Shrinking {
    fn table(&self) -> Result<SourceTable, SourceError> {
        self.log.table()
    }

    fn bounds(&self) -> Result<BTreeMap<i32, Bounds>, SourceError> {
        ScanSource::bounds(&self.log)
    }

    async fn scan(&self, partition: i32, from: i64, max_bytes: usize) -> Result<Scanned, SourceError> {
        let found = self.log.scan(partition, from, max_bytes.min(100_000)).await;
        let mut scans = self.scans.lock();
        *scans += 1;
        if *scans == 2 {
            self.log.delete_below(0, 2700);
        }
        found
    }
}

#[tokio::test]
async fn a_log_that_loses_its_beginning_meanwhile_is_compared_from_where_it_begins_then() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(1), FaultyStore::default());
        log.append(0, 4000);
        tier(format, &log, &store, "").await;
        let source = Shrinking { log, scans: Mutex::new(0) };
        let report = check(format, &source, &store, "").await;
        assert!(report.equal, "{report:?}");
        let found = &report.partitions[0];
        assert_eq!((found.start, found.log_rows, found.lake_rows), (2700, 1300, 1300), "{format:?}");
    }
}

#[tokio::test]
async fn no_table_one_of_another_topic_and_one_ahead_of_the_log_are_errors() {
    let (log, store) = (TestLog::new(1), FaultyStore::default());
    let error = async |log: &TestLog| {
        let table = log.table().unwrap();
        let mut target = TestFormat::Iceberg.target(&store, &table, "");
        let cpu = CpuPool::new(1);
        verify_target(log, &table, &mut *target, &[], &cpu, &VerifyProgress::default()).await.unwrap_err()
    };
    assert!(matches!(error(&log).await, VerifyError::NoTable { .. }));
    log.append(0, 10);
    tier(TestFormat::Iceberg, &log, &store, "").await;
    let other = TestLog::new(1);
    assert!(matches!(error(&other).await, VerifyError::Pause(Pause::OtherTopic { .. })));
    log.truncate(0, 5);
    assert!(matches!(error(&log).await, VerifyError::Pause(Pause::Plan(PlanError::AheadOfLog { .. }))));
}

fn windows(columns: usize) -> Windows {
    Windows::new(BTreeMap::from([(0, (0, 100))]), columns)
}

fn sums_of(windows: &Windows, offsets: &[i64], columns: &[Option<ArrayRef>]) -> Sums {
    let mut sums = Sums::default();
    let (partitions, offsets) = (Int32Array::from(vec![0; offsets.len()]), Int64Array::from(offsets.to_vec()));
    sums.add(windows, &partitions, &offsets, columns).unwrap();
    sums
}

#[test]
fn the_order_of_rows_and_the_cuts_between_batches_do_not_matter() {
    let windows = windows(1);
    let texts = |texts: &[&str]| -> [Option<ArrayRef>; 1] { [Some(Arc::new(StringArray::from(texts.to_vec())))] };
    let whole = sums_of(&windows, &[1, 2, 3], &texts(&["a", "b", "c"]));
    let mut parts = sums_of(&windows, &[3, 1], &texts(&["c", "a"]));
    assert_ne!(parts.windows, whole.windows);
    parts.merge(sums_of(&windows, &[2], &texts(&["b"])));
    assert_eq!(parts.windows, whole.windows);
    assert_eq!(sums_of(&windows, &[100, -1], &texts(&["a", "b"])).windows.len(), 0, "outside");
}

#[test]
fn values_that_look_alike_side_by_side_are_different() {
    let windows = windows(1);
    let pair = |first: &str, second: Option<&str>| -> [Option<ArrayRef>; 1] {
        let fields = ["a", "b"].map(|name| Arc::new(Field::new(name, DataType::Utf8, true)));
        let members: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec![first])), Arc::new(StringArray::from(vec![second]))];
        [Some(Arc::new(StructArray::new(fields.to_vec().into(), members, None)))]
    };
    let sums = [pair("ab", Some("c")), pair("a", Some("bc")), pair("abc", Some("")), pair("abc", None)]
        .map(|pair| sums_of(&windows, &[1], &pair).windows[&(0, 0)].columns[0]);
    let distinct: std::collections::BTreeSet<u64> = sums.into_iter().collect();
    assert_eq!(distinct.len(), 4, "{sums:?}");
}

#[test]
fn a_column_that_older_files_lack_is_told_and_no_difference() {
    let windows = windows(2);
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("grade", DataType::Utf8, true)]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let grades: ArrayRef = Arc::new(StringArray::from(vec![Some("A"), None]));
    let log = sums_of(&windows, &[1, 2], &[Some(ids.clone()), Some(grades)]);
    let lake = sums_of(&windows, &[1, 2], &[Some(ids.clone()), None]);
    let (partitions, older) = compare(&windows, &schema, &log, &lake);
    assert_eq!((partitions[0].differences_total, older), (0, vec!["grade".to_owned()]));
    // With nulls in the log there is nothing to tell: readers find the same.
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
    let log = sums_of(&windows, &[1, 2], &[Some(ids.clone()), Some(nulls)]);
    assert_eq!(compare(&windows, &schema, &log, &lake).1, Vec::<String>::new());
    // Another column that is lacking hides nothing.
    let others: ArrayRef = Arc::new(Int64Array::from(vec![1, 3]));
    let lake = sums_of(&windows, &[1, 2], &[Some(others), None]);
    let (partitions, _) = compare(&windows, &schema, &log, &lake);
    assert_eq!(partitions[0].differences[0].columns, ["id"]);
}

#[test]
fn windows_grow_with_the_log_so_that_memory_does_not() {
    let wide = Windows::new(BTreeMap::from([(0, (0, 4_000_000_000)), (1, (7, 9))]), 99);
    let (from, to) = wide.offsets((0, 3));
    assert!((to - from) >= 4_000_000_000 * 100 / (2 << 20), "{}", to - from);
    assert_eq!(wide.offsets((1, 0)), (7, 9), "no wider than what is compared");
}
