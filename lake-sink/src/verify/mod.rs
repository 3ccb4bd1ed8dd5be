//! Whether log and lake have the same rows, of all offsets that both have.
//!
//! | file | what |
//! |---|---|
//! | `sums.rs` | counts and hashes of rows, by ranges of offsets and by column (pure) |
//! | `file.rs` | the rows of one data file |
//! | `keyed.rs` | tables with a primary key: the last change of each key |
//! | `report.rs` | the comparison (pure) |
//!
//! Owns nothing and changes nothing. The lake's side is read from the files that its newest commit names, with the Parquet
//! reader that this crate also writes with; metadata of the table is read by our own code. So this finds what became of
//! the files since, and what a round did wrong; that other engines read the same is what the tests with these show.
mod file;
mod keyed;
mod report;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use thiserror::Error;
use weir_storage::cpu::{CpuError, CpuPool, Priority};

use self::file::{FileError, sum_file, sum_rows};
pub use self::report::{DamagedFile, Difference, PartitionReport, VerifyReport};
use self::sums::{Sums, Windows};
use crate::columns::conform;
use crate::plan::PlanError;
use crate::round::check_topic;
use crate::settings::LakeSettings;
use crate::source::{ScanSource, SourceError, SourceTable};
use crate::store::LakeRoots;
use crate::target::{FilesError, Pause, TableFile, Target, TargetError, open_target};

/// Rows in memory of one scan.
const SCAN_BYTES: usize = 4 << 20;
/// A larger file is not read. Ours are as large as a round at the most; those of other engines may be larger.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why log and lake could not be compared.
#[derive(Debug, Error)]
pub enum VerifyError {
    #[error(
        "topic `{topic}` is not tiered by this broker: set weir.lake.format and weir.lake.path on it (`weir topic alter`)"
    )]
    NotTiered { topic: String },
    #[error("there is nothing at {address} yet: wait for the first commit (`weir lake status`)")]
    NoTable { address: String },
    #[error(transparent)]
    Pause(#[from] Pause),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("rows of the log cannot be compared: {0}")]
    Rows(String),
    #[error("hashing did not end: {0}")]
    Cpu(#[from] CpuError),
}

impl From<TargetError> for VerifyError {
    fn from(error: TargetError) -> VerifyError {
        VerifyError::Files(error.into())
    }
}

/// How far a verification is; others may look at it.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    pub offsets: AtomicU64,
    pub offsets_total: AtomicU64,
    pub files: AtomicU64,
    pub files_total: AtomicU64,
}

/// Compares the table of these settings with its log.
///
/// # Errors
/// [`VerifyError`], if it cannot be told; a difference is no error.
pub async fn verify(
    source: &dyn ScanSource,
    settings: &LakeSettings,
    roots: &LakeRoots,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<VerifyReport, VerifyError> {
    let table = source.table()?;
    let mut target = open_target(settings, roots, &table.name, &table.schema)?;
    let key = settings.key.as_ref().map(|key| key.columns.as_slice()).unwrap_or_default();
    verify_target(source, &table, &mut *target, key, cpu, progress).await
}

/// See [`verify`]; `key`: columns of the table's primary key.
pub(crate) async fn verify_target(
    source: &dyn ScanSource,
    table: &SourceTable,
    target: &mut dyn Target,
    key: &[String],
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<VerifyReport, VerifyError> {
    let record = target.inspect().await?;
    check_topic(target, table, record.as_ref())?;
    let record = record.ok_or_else(|| VerifyError::NoTable { address: target.address() })?;
    let mut files = target.files().await?;
    files.retain(|file| is_committed(file, &record.partitions));
    // Columns that partitions add to files are not the topic's.
    let columns: Vec<_> = target
        .file_schema()
        .fields()
        .iter()
        .take(table.schema.fields().len() - usize::from(!key.is_empty()))
        .cloned()
        .collect();
    let columns: SchemaRef = Arc::new(Schema::new(columns));
    let ranges = common(source, &record.partitions)?;
    let mut windows = Windows::new(ranges, columns.fields().len());
    let total: u64 = windows.ranges.values().map(|(start, end)| (end - start).unsigned_abs()).sum();
    progress.offsets_total.store(total, Ordering::Relaxed);
    progress.files_total.store(files.len() as u64, Ordering::Relaxed);
    // The log first: where it begins moves meanwhile.
    let (log, Lake { sums: lake, rows, damaged }, stale) = match key.is_empty() {
        true => {
            let log = sum_log(source, table, &columns, &mut windows, cpu, progress).await?;
            let shared = Arc::new(windows.clone());
            (log, sum_lake(target, &files, &columns, &shared, cpu, progress).await?, 0)
        }
        false => {
            let (target, windows) = (&*target, &mut windows);
            let found = keyed::compare(source, table, target, &files, key, &columns, windows, cpu, progress).await?;
            (found.log, found.lake, found.stale)
        }
    };
    let (partitions, older) = report::compare(&windows, &columns, &log, &lake);
    let whole = rows == record.rows || !target.announces();
    let equal = whole
        && stale == 0
        && damaged.is_empty()
        && partitions.iter().all(|partition| partition.differences_total == 0);
    Ok(VerifyReport {
        topic: table.name.clone(),
        address: target.address(),
        epoch: record.epoch,
        equal,
        columns: columns.fields().iter().map(|field| field.name().clone()).collect(),
        partitions,
        rows_committed: record.rows,
        rows_found: rows,
        files: files.len(),
        damaged,
        older,
        keyed: !key.is_empty(),
        stale,
    })
}

/// The offsets that both have, by partition. The lake had all that the log has up to where it is tiered: a log never gets
/// back what it lost.
fn common(source: &dyn ScanSource, tiered: &BTreeMap<i32, i64>) -> Result<BTreeMap<i32, (i64, i64)>, VerifyError> {
    let bounds = source.bounds()?;
    let mut ranges = BTreeMap::new();
    for (&partition, &next) in tiered {
        let Some(bounds) = bounds.get(&partition) else { continue };
        if next > bounds.end.max(bounds.start) {
            return Err(Pause::from(PlanError::AheadOfLog { partition, committed: next, end: bounds.end }).into());
        }
        ranges.insert(partition, (bounds.start.min(next), next));
    }
    Ok(ranges)
}

/// Reads the log. Where it lost its beginning meanwhile, the window begins later.
async fn sum_log(
    source: &dyn ScanSource,
    table: &SourceTable,
    columns: &SchemaRef,
    windows: &mut Windows,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<Sums, VerifyError> {
    let mut sums = Sums::default();
    for partition in windows.ranges.keys().copied().collect::<Vec<_>>() {
        let mut from = windows.ranges.get(&partition).map_or(0, |range| range.0);
        while let Some((batches, next, lost)) = scan_log(source, table, windows, partition, from).await? {
            if lost {
                // All that was read is gone too.
                sums.forget(partition);
            }
            let (columns, windows) = (columns.clone(), windows.clone());
            let found = cpu.run(Priority::Background, move || sum_batches(&batches, &columns, &windows)).await?;
            sums.merge(found.map_err(|error| VerifyError::Rows(error.to_string()))?);
            progress.offsets.fetch_add((next - from).unsigned_abs(), Ordering::Relaxed);
            from = next;
        }
    }
    Ok(sums)
}

/// Rows of a partition's window from `from` on, where the next ones are, and whether the log lost its beginning (the window
/// begins later then); `None`: there are no more.
async fn scan_log(
    source: &dyn ScanSource,
    table: &SourceTable,
    windows: &mut Windows,
    partition: i32,
    mut from: i64,
) -> Result<Option<(Vec<RecordBatch>, i64, bool)>, VerifyError> {
    let end = windows.ranges.get(&partition).map_or(from, |range| range.1);
    let mut lost = false;
    while from < end {
        let scanned = match source.scan(partition, from, SCAN_BYTES).await {
            Err(SourceError::Lost { log_start, .. }) if log_start > from => {
                (from, lost) = (log_start.min(end), true);
                windows.ranges.insert(partition, (from, end));
                continue;
            }
            other => other?.cut(end),
        };
        if scanned.next <= from {
            let reason = format!("the log has nothing from there on, and {end} was committed to the lake");
            return Err(SourceError::Read { partition, offset: from, reason }.into());
        }
        if scanned.batches.iter().any(|batch| batch.schema().fields() != table.schema.fields()) {
            return Err(SourceError::Changed { topic: table.name.clone() }.into());
        }
        return Ok(Some((scanned.batches, scanned.next, lost)));
    }
    // All that is left may be gone.
    Ok(lost.then(|| (Vec::new(), end, true)))
}

/// Rows of the log as files of the table would have them.
fn sum_batches(batches: &[RecordBatch], columns: &SchemaRef, windows: &Windows) -> Result<Sums, FileError> {
    let mut sums = Sums::default();
    for batch in batches {
        sums.merge(sum_rows(&conform(columns, batch.columns())?, windows)?);
    }
    Ok(sums)
}

/// Whether a file has rows of the commit: a round in progress writes others.
fn is_committed(file: &TableFile, tiered: &BTreeMap<i32, i64>) -> bool {
    file.range.is_none_or(|range| tiered.get(&range.partition).is_some_and(|next| range.start < *next))
}

/// What is in the files.
struct Lake {
    sums: Sums,
    rows: u64,
    damaged: Vec<DamagedFile>,
}

/// Reads the files. One that cannot be read is told; its rows are missing then.
async fn sum_lake(
    target: &dyn Target,
    files: &[TableFile],
    columns: &SchemaRef,
    windows: &Arc<Windows>,
    cpu: &CpuPool,
    progress: &VerifyProgress,
) -> Result<Lake, VerifyError> {
    let mut lake = Lake { sums: Sums::default(), rows: 0, damaged: Vec::new() };
    for file in files {
        progress.files.fetch_add(1, Ordering::Relaxed);
        let found = match target.read_file(&file.path, FILE_BYTES_MAX).await {
            Ok(Some(bytes)) => {
                let (columns, windows) = (columns.clone(), windows.clone());
                let work = move || sum_file(bytes, &columns, &windows).map_err(|error| error.to_string());
                // What a damaged file does to its reader is contained there.
                cpu.run(Priority::Background, work).await.unwrap_or_else(|error| Err(error.to_string()))
            }
            Ok(None) => Err("it is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok((sums, rows)) => {
                lake.sums.merge(sums);
                lake.rows += rows;
            }
            Err(reason) => lake.damaged.push(DamagedFile { file: file.path.clone(), reason }),
        }
    }
    Ok(lake)
}
