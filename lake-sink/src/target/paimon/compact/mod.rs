//! Makes large files of small ones, and merges changes of keys, so that readers need not do it again and again.
//!
//! | file | what |
//! |---|---|
//! | `pick.rs` | which files (pure) |
//! | `merge.rs` | files into fewer files (pure) |
//!
//! It is a commit of its own, which carries our offsets forward, made by the task that also appends: so a change that comes
//! meanwhile comes behind it. If somebody else committed, what was made is worth nothing and is swept later; files that were
//! replaced go when the last snapshot that names them expires.
mod merge;
mod pick;

use bytes::Bytes;
use weir_storage::cpu::{CpuPool, Priority};

use self::merge::Output;
use self::pick::{Limits, Pick};
use super::PaimonTarget;
use super::commit::Change;
use super::live::{LiveFile, Place, deleted};
use super::manifest::{COMPACTED, NewFile};
use super::schema::{bytes_option, count_option};
use crate::commit::CommitRecord;
use crate::encode::EncodedFile;
use crate::store::StoreError;
use crate::target::{CompactError, Compacted, TargetError};

/// Compressed bytes that are held in memory at once, and about as many again of what becomes of them.
const INPUT_BYTES: u64 = 96 << 20;
/// Files of a table of appended rows.
pub const FILE_BYTES: u64 = 128 << 20;
/// Files of a table with a primary key: smaller, because each is held whole when its bucket is merged.
const KEYED_FILE_BYTES: u64 = 24 << 20;
const RUNS: usize = 5;
const FILES: usize = 10;

/// What is to be done: in which place, with which files.
struct Plan {
    place: Place,
    pick: Pick,
    files: Vec<LiveFile>,
}

/// See [`Target::compact`].
pub async fn compact(
    target: &mut PaimonTarget,
    next: &CommitRecord,
    cpu: &CpuPool,
) -> Result<Option<Compacted>, CompactError> {
    let Some(plan) = plan(target).await? else { return Ok(None) };
    let inputs = read(target, &plan.files).await?;
    let bytes_read = inputs.iter().map(|bytes| bytes.len() as u64).sum();
    let made = made_of(target, &plan, inputs, cpu).await?;
    let bytes_written = made.iter().map(|file| file.bytes.len() as u64).sum();
    let done = Compacted { files_read: plan.files.len(), files_written: made.len(), bytes_read, bytes_written };
    let schema_id = target.ensure_schema(next).await?;
    let change = write(target, &plan, made, schema_id, next.committed_at_ms).await?;
    target.commit(next, schema_id, change).await?;
    Ok(Some(done))
}

/// The place that needs it most.
async fn plan(target: &mut PaimonTarget) -> Result<Option<Plan>, TargetError> {
    let Some(table) = &target.table else { return Ok(None) };
    // Rows that another engine deleted are told by places in files.
    if table.snapshot["indexManifest"].is_string() {
        return Ok(None);
    }
    let Some(schema) = target.newest_schema().await? else { return Ok(None) };
    target.know_live().await?;
    let keyed = target.key.is_some();
    let file_bytes = if keyed { KEYED_FILE_BYTES } else { FILE_BYTES };
    let limits = Limits {
        runs: count_option(&schema, "num-sorted-run.compaction-trigger").unwrap_or(RUNS),
        files: count_option(&schema, "compaction.min.file-num").unwrap_or(FILES),
        file_bytes: bytes_option(&schema, "target-file-size").unwrap_or(file_bytes).min(file_bytes),
        input_bytes: INPUT_BYTES,
    };
    let places = target.live.iter().flat_map(|live| &live.files);
    let enough = if keyed { limits.runs } else { limits.files };
    let picks = places.filter(|(_, files)| files.len() >= enough).filter_map(|(place, files)| {
        // Rows of older columns are left as they are where they need not be merged.
        let readable =
            |file: &LiveFile| file.path.is_some() && (keyed || Some(file.schema_id) == schema["id"].as_i64());
        let files: Vec<LiveFile> = if keyed {
            files.iter().all(readable).then(|| files.clone())?
        } else {
            files.iter().filter(|file| readable(file)).cloned().collect()
        };
        let pick = if keyed { pick::of_bucket(&files, &limits) } else { pick::of_rows(&files, &limits) }?;
        let mut picked: Vec<LiveFile> = pick.files.iter().map(|at| files[*at].clone()).collect();
        match &target.key {
            Some(key) => picked.sort_by_cached_key(|file| (file.level, key.sortable(&file.keys.0))),
            None => picked.sort_by_key(|file| file.sequence.0),
        }
        Some(Plan { place: place.clone(), pick, files: picked })
    });
    Ok(picks.max_by_key(|plan| plan.files.len()))
}

async fn read(target: &PaimonTarget, files: &[LiveFile]) -> Result<Vec<Bytes>, TargetError> {
    let mut inputs = Vec::with_capacity(files.len());
    for file in files {
        let path = file.path.as_deref().unwrap_or_default();
        let bytes = target.store.read(path, INPUT_BYTES).await?;
        inputs.push(bytes.ok_or_else(|| StoreError::failed("read", path, "it is not there"))?);
    }
    Ok(inputs)
}

/// New files of what was read.
async fn made_of(
    target: &PaimonTarget,
    plan: &Plan,
    inputs: Vec<Bytes>,
    cpu: &CpuPool,
) -> Result<Vec<EncodedFile>, CompactError> {
    let rows: i64 = plan.files.iter().map(|file| file.rows).sum();
    let bytes: u64 = plan.files.iter().map(|file| file.bytes).sum();
    let per_row = (bytes / u64::try_from(rows).unwrap_or(1).max(1)).max(1);
    let output = Output { rows: (KEYED_FILE_BYTES / per_row).max(1) };
    let (columns, key) = (target.file_schema.clone(), target.key.clone());
    let bucket = i32::try_from(plan.place.1).unwrap_or(0);
    let (runs, last) = (by_run(&plan.files, inputs), plan.pick.last);
    let work = move || match key {
        Some(key) => merge::merge(&key, bucket, runs, last, output),
        None => merge::append(&columns, runs.into_iter().flatten().collect()).map(|file| vec![file]),
    };
    Ok(cpu.run(Priority::Background, work).await??)
}

/// Files of a level above 0 are one run, in the order of their keys.
fn by_run(files: &[LiveFile], inputs: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let mut runs: Vec<(i64, Vec<Bytes>)> = Vec::new();
    for (file, bytes) in files.iter().zip(inputs) {
        match runs.last_mut().filter(|(level, _)| *level > 0 && *level == file.level) {
            Some((_, run)) => run.push(bytes),
            None => runs.push((file.level, vec![bytes])),
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}

/// Makes the new files durable; says what the commit is to do.
async fn write(
    target: &PaimonTarget,
    plan: &Plan,
    made: Vec<EncodedFile>,
    schema_id: i64,
    now_ms: i64,
) -> Result<Change, TargetError> {
    let mut entries: Vec<_> = plan.files.iter().map(|file| deleted(&file.entry)).collect();
    let mut rows: i64 = -plan.files.iter().map(|file| file.rows).sum::<i64>();
    // Where the first of them is: their folder is the same.
    let first = plan.files.first().and_then(|file| Some((file.path.as_deref()?, file.is_external())));
    let (folder, external) =
        first.and_then(|(path, external)| Some((path.rsplit_once('/')?.0, external))).unwrap_or_default();
    let least = plan.files.iter().map(|file| file.sequence.0).min().unwrap_or(0);
    let greatest = plan.files.iter().map(|file| file.sequence.1).max().unwrap_or(0);
    for file in &made {
        let name = format!("data-weir-{}-0.parquet", uuid::Uuid::new_v4());
        let path = format!("{folder}/{name}");
        target.store.create(&path, file.bytes.clone()).await?;
        let sequence = file.keyed.as_ref().map_or((least, greatest), |keyed| keyed.sequence);
        let new = NewFile {
            name: &name,
            file,
            schema_id,
            sequence,
            level: plan.pick.level as i32,
            source: COMPACTED,
            now_ms,
            external: external.then(|| target.store.address(&path)),
        };
        let bucket = i32::try_from(plan.place.1).unwrap_or(0);
        entries.push(target.writer.entry(plan.place.0.clone(), bucket, target.writer.data_file(new)));
        rows += file.rows as i64;
    }
    Ok(Change { entries, rows, kind: "COMPACT" })
}
