//! Tables with a primary key, and compaction: the table equals the fold of the log, whatever step fails or crashes, and whatever
//! was merged in between.
//!
//! Seen failing: with sequence numbers that begin at 0 in every round, with deletes dropped although older runs are left, and with
//! a compaction that is committed without taking its inputs out.
use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{Array, BooleanArray, Int32Array, TimestampMillisecondArray};
use arrow_schema::Fields;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use weir_storage::cpu::CpuPool;

use super::*;
use crate::columns;
use crate::plan::RoundLimits;
use crate::round::{RoundError, TableRounds};
use crate::settings::{Format, LakeSettings};
use crate::source::{Bounds, ScanSource, Scanned, SourceError, SourceTable};
use crate::testing::lake::{Fault, FaultyStore, files_of_paimon};
use crate::verify::{VerifyProgress, VerifyReport, verify_target};

const NOW: i64 = 1_700_000_000_000;
const PARTITIONS: i64 = 2;
const BUCKETS: i32 = 2;

/// A change of a key: its new name, or none if it is deleted.
type Changed = (i64, Option<String>);

/// A typed topic in memory, whose producer routes by key. Clones share it.
#[derive(Clone, Default)]
struct KeyedLog(Arc<Mutex<BTreeMap<i32, Vec<Changed>>>>);

impl KeyedLog {
    fn put(&self, key: i64, name: Option<&str>) {
        let partition = key.rem_euclid(PARTITIONS) as i32;
        self.0.lock().entry(partition).or_default().push((key, name.map(str::to_owned)));
    }

    /// What a reader of the table is to find: name, partition and offset of each key's last row.
    fn folded(&self) -> BTreeMap<i64, (String, i32, i64)> {
        let mut rows = BTreeMap::new();
        for (&partition, changes) in self.0.lock().iter() {
            for (offset, (key, name)) in (0..).zip(changes) {
                match name {
                    Some(name) => drop(rows.insert(*key, (name.clone(), partition, offset))),
                    None => drop(rows.remove(key)),
                }
            }
        }
        rows
    }

    fn table(&self) -> SourceTable {
        let fields = Fields::from(vec![
            with_id(Field::new("id", DataType::Int64, false), 1),
            with_id(Field::new("name", DataType::Utf8, true), 2),
        ]);
        SourceTable { topic_id: Uuid::from_u128(9), name: "flights".to_owned(), schema: columns::keyed(&fields) }
    }
}

#[async_trait]
impl ScanSource for KeyedLog {
    fn table(&self) -> Result<SourceTable, SourceError> {
        Ok(KeyedLog::table(self))
    }

    fn bounds(&self) -> Result<BTreeMap<i32, Bounds>, SourceError> {
        let log = self.0.lock();
        let end = |p: i32| log.get(&p).map_or(0, |changes| changes.len() as i64);
        Ok((0..PARTITIONS as i32).map(|p| (p, Bounds { start: 0, end: end(p) })).collect())
    }

    async fn scan(&self, partition: i32, from: i64, max_bytes: usize) -> Result<Scanned, SourceError> {
        let log = self.0.lock();
        let changes = &log[&partition];
        let next = (from + 1 + max_bytes as i64 / 100).min(changes.len() as i64);
        let rows = &changes[from as usize..next as usize];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|(key, _)| Some(*key)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(_, name)| name.clone()).collect::<StringArray>()),
            Arc::new(Int32Array::from(vec![partition; rows.len()])),
            Arc::new((from..next).map(Some).collect::<Int64Array>()),
            Arc::new((from..next).map(Some).collect::<TimestampMillisecondArray>().with_timezone("UTC")),
            Arc::new(rows.iter().map(|(_, name)| Some(name.is_none())).collect::<BooleanArray>()),
        ];
        let batch = RecordBatch::try_new(KeyedLog::table(self).schema, columns).unwrap();
        Ok(Scanned { batches: vec![batch], next, unreadable: 0 })
    }
}

fn key() -> KeySettings {
    KeySettings { columns: vec!["id".to_owned()], buckets: BUCKETS }
}

fn writer(log: &KeyedLog, store: &FaultyStore) -> TableRounds {
    writer_that(log, store, true)
}

/// As [`writer`], with rounds of any size.
fn wide_writer(log: &KeyedLog, store: &FaultyStore) -> TableRounds {
    rounds_of(log, store, true, RoundLimits::default())
}

fn writer_that(log: &KeyedLog, store: &FaultyStore, compaction: bool) -> TableRounds {
    rounds_of(log, store, compaction, RoundLimits { round_bytes: 3_000, scan_bytes: 1_000 })
}

fn rounds_of(log: &KeyedLog, store: &FaultyStore, compaction: bool, limits: RoundLimits) -> TableRounds {
    let settings = LakeSettings {
        format: Format::Paimon,
        path: "/never-opened".to_owned(),
        namespace: "weir".to_owned(),
        freshness: Duration::from_secs(1),
        partition_by: PartitionSpec::default(),
        key: Some(key()),
        compaction,
        rest_catalog: false,
        paused: false,
    };
    let table = log.table();
    let target =
        PaimonTarget::open(Arc::new(store.clone()), table.schema.clone(), PartitionSpec::default(), Some(&key()));
    TableRounds::new(Arc::new(log.clone()), settings, limits, CpuPool::new(1))
        .with_target(table, Box::new(target.unwrap()))
}

async fn tier(rounds: &mut TableRounds) -> Result<usize, RoundError> {
    let mut done = 0;
    while rounds.run(NOW).await?.is_some() {
        done += 1;
    }
    Ok(done)
}

/// The rows of the table by a reader that knows files, sequence numbers and kinds, and nothing else of us.
async fn read(store: &FaultyStore) -> (BTreeMap<i64, (String, i32, i64)>, usize) {
    type Newest = (i64, i8, (String, i32, i64));
    let mut newest: BTreeMap<i64, Newest> = BTreeMap::new();
    let files = files_of_paimon(store).await;
    for path in &files {
        let mut before = None;
        for batch in ParquetRecordBatchReaderBuilder::try_new(store.bytes(path).await).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let (keys, ids, numbers) = (column("_KEY_id"), column("id"), column("_SEQUENCE_NUMBER"));
            let (kinds, names) = (column("_VALUE_KIND"), column("name"));
            let (partitions, offsets) = (column("__partition"), column("__offset"));
            assert_eq!(&keys, &ids);
            for row in 0..batch.num_rows() {
                let key = keys.as_primitive::<Int64Type>().value(row);
                assert!(before < Some(key), "{path}: in the order of keys, one row of each");
                before = Some(key);
                let names = names.as_string::<i32>();
                let name = if names.is_valid(row) { names.value(row).to_owned() } else { String::new() };
                let place =
                    (partitions.as_primitive::<Int32Type>().value(row), offsets.as_primitive::<Int64Type>().value(row));
                let number = numbers.as_primitive::<Int64Type>().value(row);
                let found = (number, kinds.as_primitive::<Int8Type>().value(row), (name, place.0, place.1));
                match newest.get(&key) {
                    Some(known) if known.0 >= number => assert_ne!(known.0, number, "two changes with one number"),
                    _ => drop(newest.insert(key, found)),
                }
            }
        }
    }
    let rows = newest.into_iter().filter(|(_, (_, kind, _))| *kind != key::DELETE);
    (rows.map(|(key, (_, _, row))| (key, row)).collect(), files.len())
}

async fn expect_folded(log: &KeyedLog, store: &FaultyStore, what: &str) -> usize {
    let (found, files) = read(store).await;
    let wanted = log.folded();
    let differs = found.keys().chain(wanted.keys()).find(|key| found.get(*key) != wanted.get(*key));
    let both = differs.map(|key| (key, found.get(key), wanted.get(key)));
    assert_eq!(both, None, "{what}: a key, what is found of it, what is wanted");
    files
}

#[tokio::test]
async fn a_table_has_the_last_row_of_each_key_and_few_files() {
    let (log, store) = (KeyedLog::default(), FaultyStore::default());
    let mut rounds = writer(&log, &store);
    for round in 0..60_i64 {
        for key in 0..20 {
            log.put((round * 7 + key) % 50, Some(&format!("{round}-{key}")));
        }
        log.put(round % 50, None);
        tier(&mut rounds).await.unwrap();
    }
    let files = expect_folded(&log, &store, "60 rounds").await;
    assert!(files <= 5 * BUCKETS as usize, "{files} files");
    let record = rounds.record().unwrap();
    assert_eq!(record.partitions.values().sum::<i64>(), 60 * 21);
}

#[tokio::test]
async fn what_is_deleted_everywhere_takes_no_room_in_the_end() {
    let (log, store) = (KeyedLog::default(), FaultyStore::default());
    let mut rounds = writer(&log, &store);
    for round in 0..9 {
        (0..10).for_each(|key| log.put(key, (round != 8).then_some("x")));
        tier(&mut rounds).await.unwrap();
    }
    assert_eq!(expect_folded(&log, &store, "deleted").await, 0, "all runs were merged with the last one");
    log.put(3, Some("again"));
    tier(&mut rounds).await.unwrap();
    expect_folded(&log, &store, "after nothing was left").await;
}

#[tokio::test]
async fn a_deletion_stays_while_an_older_run_is_left_to_itself() {
    let (log, store) = (KeyedLog::default(), FaultyStore::default());
    let mut rounds = wide_writer(&log, &store);
    let tiers = async |rounds: &mut TableRounds| tier(rounds).await.unwrap();
    (0..6_000).for_each(|key| log.put(key, Some(&format!("{}{}", Uuid::new_v4(), Uuid::new_v4()))));
    for round in 0..5 {
        (0..10).for_each(|key| log.put(key, Some(&format!("{round}"))));
        tiers(&mut rounds).await;
    }
    let one = expect_folded(&log, &store, "all in one run").await;
    (20..40).for_each(|key| log.put(key, None));
    for round in 0..4 {
        (0..10).for_each(|key| log.put(key, Some(&format!("again {round}"))));
        tiers(&mut rounds).await;
    }
    let two = expect_folded(&log, &store, "the small ones became another run").await;
    assert_eq!((one, two), (BUCKETS as usize, 2 * BUCKETS as usize));
}

/// Every operation on the store goes wrong in each way, those of compactions too; the process dies or goes on.
#[tokio::test]
async fn a_table_with_a_key_is_exact_whatever_step_fails_or_crashes() {
    // Every third step in each way, and another third in the next one: all of them take a minute.
    for (at, fault) in
        [Fault::FailBefore, Fault::CrashAfter, Fault::FailAfter, Fault::CrashBefore].into_iter().enumerate()
    {
        let mut step = at % 3;
        loop {
            let (log, store) = (KeyedLog::default(), FaultyStore::default());
            let put = |from: i64, to: i64| (from..to).for_each(|n| log.put(n % 7, (n % 5 != 0).then_some("name")));
            put(0, 40);
            let mut rounds = writer(&log, &store);
            for at in 0..3 {
                put(40 + at * 10, 50 + at * 10);
                tier(&mut rounds).await.unwrap();
            }
            // From the fourth file of each bucket on.
            store.arm(store.steps() + step, fault);
            put(70, 90);
            let mut results = Vec::new();
            for at in 0..3 {
                put(90 + at * 10, 100 + at * 10);
                results.push(tier(&mut rounds).await.is_ok());
            }
            let what = format!("{fault:?} at step {step}: {results:?}");
            if !store.has_struck() {
                assert!(step > 60, "{what}: the steps were really walked through");
                break;
            }
            if matches!(fault, Fault::CrashBefore | Fault::CrashAfter) {
                store.restart();
                rounds = writer(&log, &store);
            }
            put(120, 140);
            tier(&mut rounds).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            expect_folded(&log, &store, &what).await;
            assert_eq!(rounds.record().unwrap().partitions.values().sum::<i64>(), 140, "{what}");
            step += 3;
        }
    }
}

/// A writer that sleeps in the middle of a compaction while another one goes on takes nothing away from it.
#[tokio::test]
async fn a_compaction_that_was_overtaken_loses_no_change() {
    for step in 0..24 {
        let (log, store) = (KeyedLog::default(), FaultyStore::default());
        let mut rounds = writer(&log, &store);
        for round in 0..4 {
            (0..10).for_each(|key| log.put(key, Some(&format!("{round}"))));
            tier(&mut rounds).await.unwrap();
        }
        let sleepy = store.sleeping_at(step + 4);
        let mut zombie = writer(&log, &sleepy);
        (0..10).for_each(|key| log.put(key, None));
        let asleep = tokio::spawn(async move { tier(&mut zombie).await.is_ok() });
        tokio::select! {
            () = sleepy.asleep() => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("step {step} was never reached"),
        }
        let mut other = writer(&log, &store);
        (5..10).for_each(|key| log.put(key, Some("meanwhile")));
        tier(&mut other).await.unwrap();
        sleepy.wake();
        let _ = asleep.await.unwrap(); // it may have lost
        (0..3).for_each(|key| log.put(key, Some("later")));
        let mut last = writer(&log, &store);
        tier(&mut last).await.unwrap();
        expect_folded(&log, &store, &format!("asleep at {step}")).await;
    }
}

async fn verified(log: &KeyedLog, store: &FaultyStore) -> VerifyReport {
    let (table, key) = (log.table(), key());
    let spec = PartitionSpec::default();
    let mut target = PaimonTarget::open(Arc::new(store.clone()), table.schema.clone(), spec, Some(&key)).unwrap();
    let progress = VerifyProgress::default();
    verify_target(log, &table, &mut target, &key.columns, &CpuPool::new(1), &progress).await.unwrap()
}

#[tokio::test]
async fn a_verification_compares_the_last_row_of_each_key_and_finds_what_was_replaced() {
    let (log, store) = (KeyedLog::default(), FaultyStore::default());
    let mut rounds = writer(&log, &store);
    for round in 0..8_i64 {
        (0..30).for_each(|key| log.put(key, (key % 4 != round % 4).then_some(&format!("{round}")).map(String::as_str)));
        tier(&mut rounds).await.unwrap();
    }
    let report = verified(&log, &store).await;
    assert!(report.equal && report.stale == 0, "{report:?}");
    assert_eq!(report.rows_found, log.folded().len() as u64);
    assert_eq!(report.partitions.iter().map(|p| p.log_rows).sum::<u64>(), report.rows_found);
    // The log says that a key was deleted, and the table has its row.
    let changes = log.0.lock().get_mut(&0).map(|changes| std::mem::replace(changes.last_mut().unwrap(), (28, None)));
    let report = verified(&log, &store).await;
    assert!(!report.equal && report.stale == 1, "{changes:?} {report:?}");
    *log.0.lock().get_mut(&0).unwrap().last_mut().unwrap() = changes.unwrap();
    let path = files_of_paimon(&store).await.pop().unwrap();
    store.delete(&path).await.unwrap();
    let report = verified(&log, &store).await;
    assert!(!report.equal && report.damaged.len() == 1, "{report:?}");
}

#[derive(Debug, Clone)]
enum Event {
    Put(i64, bool),
    Tier,
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..12_i64, any::<bool>()).prop_map(|(key, delete)| Event::Put(key, delete)),
        2 => Just(Event::Tier),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_table_is_the_fold_of_the_log_after_any_changes(events in events(), compaction in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (log, store) = (KeyedLog::default(), FaultyStore::default());
            let mut rounds = writer_that(&log, &store, compaction);
            for (at, event) in events.into_iter().enumerate() {
                match event {
                    Event::Put(key, delete) => log.put(key, (!delete).then_some(&format!("{at}")).map(String::as_str)),
                    Event::Tier => drop(tier(&mut rounds).await.unwrap()),
                    Event::Restart => rounds = writer_that(&log, &store, compaction),
                }
            }
            tier(&mut rounds).await.unwrap();
            expect_folded(&log, &store, "at the end").await;
        });
    }
}
