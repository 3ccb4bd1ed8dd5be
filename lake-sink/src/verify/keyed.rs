//! A table with a primary key against its log: the last change of each key of the log is the row that the table has, and what the
//! log deleted or replaced is not there. The table's rows are found without merging runs as readers do: of each key the change with
//! the greatest sequence number counts.
//!
//! Keys are remembered as hashes of 128 bits, another function in each verification. If there are too many of them, the whole is
//! done again for a part of them at a time.
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::RandomState;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_storage::cpu::{CpuPool, Priority, breathe};

use super::file::{FileError, as_table, sum_rows};
use super::report::DamagedFile;
use super::sums::{Sums, Windows};
use super::{FILE_BYTES_MAX, Lake, VerifyError, VerifyProgress, scan_log};
use crate::columns::{DELETED, OFFSET, PARTITION, conform};
use crate::source::{ScanSource, SourceTable};
use crate::target::{TableFile, Target};

/// Keys that are remembered of one side at a time.
const KEYS_MAX: usize = 2 << 20;
const BATCH_ROWS: usize = 8 << 10;
/// Columns of data files besides those of the table.
const SEQUENCE: &str = "_SEQUENCE_NUMBER";
const KIND: &str = "_VALUE_KIND";
const DELETE: i8 = 3;

type Key = u128;

/// What both sides have, and keys whose row in the table is older than what the log says.
pub struct Compared {
    pub log: Sums,
    pub lake: Lake,
    pub stale: u64,
}

/// Finds keys in rows, and tells which are looked at now.
#[derive(Clone)]
struct Keys {
    columns: SchemaRef,
    places: Vec<usize>,
    hashes: [RandomState; 2],
    part: u64,
    parts: u64,
}

impl Keys {
    /// The key of each row; `None`: not one of this part.
    fn of(&self, rows: &RecordBatch) -> Result<Vec<Option<Key>>, ArrowError> {
        let fields = self.places.iter().map(|place| SortField::new(self.columns.field(*place).data_type().clone()));
        let columns: Vec<ArrayRef> = self.places.iter().map(|place| rows.column(*place).clone()).collect();
        let rows = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
        let hash = |row: &[u8], at: usize| {
            let mut hasher = self.hashes[at].build_hasher();
            hasher.write(row);
            hasher.finish()
        };
        let key = |row: arrow_row::Row<'_>| {
            let (high, low) = (hash(row.as_ref(), 0), hash(row.as_ref(), 1));
            (high % self.parts == self.part).then_some((u128::from(high) << 64) | u128::from(low))
        };
        Ok(rows.iter().map(key).collect())
    }
}

/// The last change of a key in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Last {
    partition: i32,
    offset: i64,
    deleted: bool,
}

#[derive(Default)]
struct State {
    last: HashMap<Key, Last>,
    sums: Sums,
    error: Option<String>,
}

/// Compares the table with its log in these windows, which begin later if the log loses its beginning meanwhile.
#[expect(clippy::too_many_arguments, reason = "both sides, and what is known of both")]
pub async fn compare(
    source: &dyn ScanSource,
    table: &SourceTable,
    target: &dyn Target,
    files: &[TableFile],
    key: &[String],
    columns: &SchemaRef,
    windows: &mut Windows,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<Compared, VerifyError> {
    let places = key.iter().map(|name| columns.index_of(name)).collect::<Result<Vec<_>, _>>();
    let places = places.map_err(|error| VerifyError::Rows(error.to_string()))?;
    let hashes = [RandomState::new(), RandomState::new()];
    let mut keys = Keys { columns: columns.clone(), places, hashes, part: 0, parts: 1 };
    let damaged = Vec::new();
    let mut all = Compared { log: Sums::default(), lake: Lake { sums: Sums::default(), rows: 0, damaged }, stale: 0 };
    while keys.part < keys.parts {
        let last = last_changes(source, table, &keys, windows, cpu, progress).await?;
        let Some(last) = last else {
            // Too many: from the start, half as many at a time.
            keys = Keys { part: 0, parts: keys.parts * 2, ..keys };
            all = Compared {
                log: Sums::default(),
                lake: Lake { sums: Sums::default(), rows: 0, damaged: Vec::new() },
                stale: 0,
            };
            continue;
        };
        let last = Arc::new(last);
        all.log.merge(sum_last(source, table, &keys, &last, windows, cpu, progress).await?);
        let (lake, stale) = sum_table(target, files, &keys, &last, &Arc::new(windows.clone()), cpu, progress).await?;
        all.lake.sums.merge(lake.sums);
        all.lake.rows += lake.rows;
        all.lake.damaged = lake.damaged;
        all.stale += stale;
        keys.part += 1;
    }
    Ok(all)
}

/// The rows of the log in the table's columns, and which of them delete.
fn split(columns: &SchemaRef, batch: &RecordBatch) -> Result<(RecordBatch, BooleanArray), ArrowError> {
    let deleted = batch.column_by_name(DELETED).and_then(|column| column.as_boolean_opt()).cloned();
    let deleted = deleted.ok_or_else(|| ArrowError::SchemaError(format!("no column {DELETED}")))?;
    Ok((conform(columns, &batch.columns()[..columns.fields().len()])?, deleted))
}

fn origin(rows: &RecordBatch) -> Result<(&[i32], &[i64]), ArrowError> {
    let column = |name: &'static str| {
        rows.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
    };
    let (partitions, offsets) = (column(PARTITION)?, column(OFFSET)?);
    Ok((partitions.as_primitive::<Int32Type>().values(), offsets.as_primitive::<Int64Type>().values()))
}

/// The last change of each key; `None` if there are too many.
async fn last_changes(
    source: &dyn ScanSource,
    table: &SourceTable,
    keys: &Keys,
    windows: &mut Windows,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<Option<HashMap<Key, Last>>, VerifyError> {
    let work = |mut state: State, batches: &[RecordBatch], keys: &Keys, _: &Windows| {
        let mut follow = |batch: &RecordBatch| -> Result<(), FileError> {
            let (rows, deleted) = split(&keys.columns, batch)?;
            let (partitions, offsets) = origin(&rows)?;
            for (row, key) in keys.of(&rows)?.into_iter().enumerate() {
                let Some(key) = key.filter(|_| state.last.len() <= KEYS_MAX) else { continue };
                let (partition, offset, deleted) = (partitions[row], offsets[row], deleted.value(row));
                state.last.insert(key, Last { partition, offset, deleted });
            }
            breathe();
            Ok(())
        };
        let done = batches.iter().try_for_each(&mut follow);
        state.error = done.err().map(|error| error.to_string());
        state
    };
    let state = fold_log(source, table, keys, windows, cpu, progress, State::default(), work).await?;
    Ok((state.last.len() <= KEYS_MAX).then_some(state.last))
}

/// Counts the rows of the log that are the last of their keys.
async fn sum_last(
    source: &dyn ScanSource,
    table: &SourceTable,
    keys: &Keys,
    last: &Arc<HashMap<Key, Last>>,
    windows: &mut Windows,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<Sums, VerifyError> {
    let last = last.clone();
    let work = move |mut state: State, batches: &[RecordBatch], keys: &Keys, windows: &Windows| {
        let mut follow = |batch: &RecordBatch| -> Result<(), FileError> {
            let (rows, _) = split(&keys.columns, batch)?;
            let (partitions, offsets) = origin(&rows)?;
            let found = keys.of(&rows)?;
            let is_last = |(row, key): (usize, &Option<Key>)| {
                let wanted = Last { partition: partitions[row], offset: offsets[row], deleted: false };
                Some(key.as_ref().is_some_and(|key| last.get(key) == Some(&wanted)))
            };
            let kept: BooleanArray = found.iter().enumerate().map(is_last).collect();
            state.sums.merge(sum_rows(&filter_record_batch(&rows, &kept)?, windows)?);
            Ok(())
        };
        let done = batches.iter().try_for_each(&mut follow);
        state.error = done.err().map(|error| error.to_string());
        state
    };
    Ok(fold_log(source, table, keys, windows, cpu, progress, State::default(), work).await?.sums)
}

#[expect(clippy::too_many_arguments, reason = "as `compare`")]
async fn fold_log<W>(
    source: &dyn ScanSource,
    table: &SourceTable,
    keys: &Keys,
    windows: &mut Windows,
    cpu: &CpuPool,
    progress: &VerifyProgress,
    mut state: State,
    work: W,
) -> Result<State, VerifyError>
where
    W: Fn(State, &[RecordBatch], &Keys, &Windows) -> State + Clone + Send + 'static,
{
    for partition in windows.ranges.keys().copied().collect::<Vec<_>>() {
        let mut from = windows.ranges.get(&partition).map_or(0, |range| range.0);
        while let Some((batches, next, lost)) = scan_log(source, table, windows, partition, from).await? {
            if lost {
                state.sums.forget(partition);
            }
            let (keys, windows, work) = (keys.clone(), windows.clone(), work.clone());
            let moved = std::mem::take(&mut state);
            state = cpu.run(Priority::Background, move || work(moved, &batches, &keys, &windows)).await?;
            if let Some(error) = state.error.take() {
                return Err(VerifyError::Rows(error));
            }
            progress.offsets.fetch_add((next - from).unsigned_abs(), Ordering::Relaxed);
            from = next;
        }
    }
    Ok(state)
}

/// The newest change of a key in the files: its sequence number, and whether it deletes.
type Newest = HashMap<Key, (i64, bool)>;

/// Counts the rows that readers of the table find, and those that the log replaced or deleted.
async fn sum_table(
    target: &dyn Target,
    files: &[TableFile],
    keys: &Keys,
    last: &Arc<HashMap<Key, Last>>,
    windows: &Arc<Windows>,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<(Lake, u64), VerifyError> {
    let mut lake = Lake { sums: Sums::default(), rows: 0, damaged: Vec::new() };
    let (mut newest, mut stale, mut readable) = (Newest::new(), 0, Vec::new());
    for file in files {
        match read(target, file).await {
            Ok(bytes) => {
                let (keys, mut moved) = (keys.clone(), std::mem::take(&mut newest));
                let work = move || {
                    let done = follow_file(bytes, &keys, &mut moved).map_err(|error| error.to_string());
                    (moved, done)
                };
                let (back, done) = cpu.run(Priority::Background, work).await?;
                newest = back;
                match done {
                    Ok(()) => readable.push(file),
                    Err(reason) => lake.damaged.push(DamagedFile { file: file.path.clone(), reason }),
                }
            }
            Err(reason) => lake.damaged.push(DamagedFile { file: file.path.clone(), reason }),
        }
    }
    let newest = Arc::new(newest);
    for file in readable {
        progress.files.fetch_add(1, Ordering::Relaxed);
        let found = match read(target, file).await {
            Ok(bytes) => {
                let (keys, newest, last, windows) = (keys.clone(), newest.clone(), last.clone(), windows.clone());
                let work = move || sum_file(bytes, &keys, &newest, &last, &windows).map_err(|error| error.to_string());
                cpu.run(Priority::Background, work).await?
            }
            Err(reason) => Err(reason),
        };
        match found {
            Ok((sums, rows, older)) => {
                lake.sums.merge(sums);
                lake.rows += rows;
                stale += older;
            }
            Err(reason) => lake.damaged.push(DamagedFile { file: file.path.clone(), reason }),
        }
    }
    Ok((lake, stale))
}

async fn read(target: &dyn Target, file: &TableFile) -> Result<Bytes, String> {
    match target.read_file(&file.path, FILE_BYTES_MAX).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err("it is not there".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Rows of a file in the table's columns, with sequence numbers and whether they delete.
fn batches(
    bytes: Bytes,
    columns: &SchemaRef,
    mut each: impl FnMut(RecordBatch, &[i64], &[i8], Vec<usize>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(BATCH_ROWS).build()? {
        let batch = batch?;
        let numbers = batch.column_by_name(SEQUENCE).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let kinds = batch.column_by_name(KIND).and_then(|column| column.as_primitive_opt::<Int8Type>());
        let numbers = numbers.ok_or(FileError::NoColumn(SEQUENCE))?;
        let kinds = kinds.ok_or(FileError::NoColumn(KIND))?;
        let (rows, lacking) = as_table(&batch, columns)?;
        each(rows, numbers.values(), kinds.values(), lacking)?;
        breathe();
    }
    Ok(())
}

fn follow_file(bytes: Bytes, keys: &Keys, newest: &mut Newest) -> Result<(), FileError> {
    batches(bytes, &keys.columns, |rows, numbers, kinds, _| {
        for (row, key) in keys.of(&rows)?.into_iter().enumerate() {
            let Some(key) = key else { continue };
            let found = (numbers[row], kinds[row] == DELETE);
            let known = newest.entry(key).or_insert(found);
            *known = (*known).max(found);
        }
        Ok(())
    })
}

/// Counts of a file's rows that readers find: sums, all of them, and those that the log says something newer of.
fn sum_file(
    bytes: Bytes,
    keys: &Keys,
    newest: &Newest,
    last: &HashMap<Key, Last>,
    windows: &Windows,
) -> Result<(Sums, u64, u64), FileError> {
    let (mut sums, mut count, mut stale) = (Sums::default(), 0, 0);
    batches(bytes, &keys.columns, |rows, numbers, _, lacking| {
        let (partitions, offsets) = origin(&rows)?;
        let mut kept = vec![false; rows.num_rows()];
        for (row, key) in keys.of(&rows)?.into_iter().enumerate() {
            let Some(key) = key.filter(|key| newest.get(key) == Some(&(numbers[row], false))) else { continue };
            (kept[row], count) = (true, count + 1);
            let here = Last { partition: partitions[row], offset: offsets[row], deleted: false };
            stale += u64::from(last.get(&key).is_some_and(|last| *last != here));
        }
        let mut found = sum_rows(&filter_record_batch(&rows, &BooleanArray::from(kept))?, windows)?;
        found.lack(&lacking);
        sums.merge(found);
        Ok(())
    })?;
    Ok((sums, count, stale))
}
