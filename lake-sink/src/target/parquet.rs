//! Plain Parquet: `<topic>/[k=v/]p{partition}-{start:020}-{end:020}.parquet`, read by whatever reads directories.
//!
//! There is no snapshot that makes several files visible at once: a file is in the table when it has its name. So the ranges
//! of a round are committed first, in `_weir/{epoch:020}.json`; then the files are written; then their offsets are
//! committed. A crash in between leaves announced ranges, and whoever comes next writes exactly these, under the same
//! names: what is there already is the same. Readers skip `_weir`, as they skip every name that begins with `_`.
//!
//! An epoch's file is created if it is absent, and a writer trusts its own only after it saw that there is no newer one
//! (old ones are removed, so a writer that slept could take a number that is free again).
use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::{FilesError, Pause, RoundFile, TableFile, Target, TargetError, check_partitioning, write_all};
use crate::commit::CommitRecord;
use crate::encode::EncodedFile;
use crate::partitioning::PartitionSpec;
use crate::plan::Range;
use crate::store::{Entry, LakeStore, StoreError, TEMPORARY_SUFFIX};

const COMMITS: &str = "_weir";
/// Commits that are kept; the newest counts, the others are for people.
const COMMITS_KEPT: usize = 20;
/// A commit of a topic with the most partitions has about 1 MiB.
const COMMIT_BYTES_MAX: u64 = 64 << 20;

/// A hive directory of Parquet files.
pub struct ParquetTarget {
    store: Arc<dyn LakeStore>,
    schema: SchemaRef,
    spec: PartitionSpec,
}

impl ParquetTarget {
    /// `store`: the table's folder.
    #[must_use]
    pub fn new(store: Arc<dyn LakeStore>, schema: SchemaRef, spec: PartitionSpec) -> ParquetTarget {
        ParquetTarget { store, schema, spec }
    }

    /// Epochs of the commits that are there, ascending.
    async fn epochs(&self) -> Result<Vec<u64>, StoreError> {
        let entries = self.store.list(COMMITS).await?;
        let mut epochs: Vec<u64> = entries.iter().filter_map(|entry| epoch_of(&entry.path)).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    async fn prune(&self, epochs: &[u64]) {
        for epoch in &epochs[..epochs.len().saturating_sub(COMMITS_KEPT)] {
            if let Err(error) = self.store.delete(&commit_path(*epoch)).await {
                tracing::debug!(%error, "an old commit is kept");
                return;
            }
        }
    }
}

fn commit_path(epoch: u64) -> String {
    format!("{COMMITS}/{epoch:020}.json")
}

fn epoch_of(path: &str) -> Option<u64> {
    path.strip_prefix(COMMITS)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

/// The offsets that a file's name says it has.
fn range_of(path: &str) -> Option<Range> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut parts = name.strip_prefix('p')?.strip_suffix(".parquet")?.split('-');
    let range = Range {
        partition: parts.next()?.parse().ok()?,
        start: parts.next()?.parse().ok()?,
        end: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(range)
}

fn is_temporary(entry: &Entry) -> bool {
    let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
    name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX)
}

#[async_trait]
impl Target for ParquetTarget {
    async fn load(&mut self) -> Result<Option<CommitRecord>, TargetError> {
        let Some(newest) = self.epochs().await?.pop() else {
            let entries = self.store.list("").await?;
            if entries.iter().any(|entry| !is_temporary(entry) && entry.path.ends_with(".parquet")) {
                return Err(Pause::Foreign { address: self.address() }.into());
            }
            return Ok(None);
        };
        let path = commit_path(newest);
        let damaged = |reason: String| Pause::Damaged { address: self.store.address(&path), reason };
        let bytes = self.store.read(&path, COMMIT_BYTES_MAX).await?;
        // Removed between the listing and now: another writer has gone far beyond it.
        let bytes = bytes.ok_or_else(|| StoreError::failed("read", &path, "it is gone"))?;
        let record: CommitRecord = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.epoch != newest {
            return Err(damaged(format!("it says that it is epoch {}", record.epoch)).into());
        }
        check_partitioning(self.address(), &record.partition_by, &self.spec)?;
        Ok(Some(record))
    }

    async fn inspect(&mut self) -> Result<Option<CommitRecord>, TargetError> {
        self.load().await
    }

    /// Whatever a reader of directories takes, ours or not.
    async fn files(&mut self) -> Result<Vec<TableFile>, FilesError> {
        // `_a=1` is a partition, as Hive has it.
        let hidden_name = |name: &str| name.starts_with('.') || (name.starts_with('_') && !name.contains('='));
        let hidden = |path: &str| path.split('/').any(hidden_name);
        let entries = self.store.list("").await.map_err(TargetError::from)?;
        let data = entries.into_iter().filter(|entry| entry.path.ends_with(".parquet") && !hidden(&entry.path));
        Ok(data.map(|entry| TableFile { range: range_of(&entry.path), path: entry.path }).collect())
    }

    async fn read_file(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        self.store.read(path, max_bytes).await
    }

    fn announces(&self) -> bool {
        true
    }

    fn file_schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn path(&self, range: Option<Range>, file: &EncodedFile) -> String {
        let Range { partition, start, end } = range.unwrap_or(Range { partition: 0, start: 0, end: 0 });
        let name = format!("p{partition}-{start:020}-{end:020}.parquet");
        match self.spec.hive_path(&file.values, &self.schema) {
            folder if folder.is_empty() => name,
            folder => format!("{folder}/{name}"),
        }
    }

    async fn write(&mut self, files: &[RoundFile]) -> Result<(), TargetError> {
        write_all(&self.store, files).await
    }

    async fn publish(&mut self, next: &CommitRecord, _files: &[RoundFile]) -> Result<(), TargetError> {
        let path = commit_path(next.epoch);
        let bytes = serde_json::to_vec_pretty(next).map_err(|error| StoreError::failed("creation", &path, error))?;
        self.store.create(&path, bytes.into()).await?;
        let epochs = self.epochs().await?;
        if epochs.last() != Some(&next.epoch) {
            return Err(StoreError::Exists { path: self.store.address(&path) }.into());
        }
        self.prune(&epochs).await;
        Ok(())
    }

    async fn sweep(&mut self, before_ms: i64) -> Result<usize, TargetError> {
        let mut swept = 0;
        for entry in self.store.list("").await? {
            if is_temporary(&entry) && entry.modified_ms < before_ms {
                self.store.delete(&entry.path).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn address(&self) -> String {
        self.store.address("")
    }
}
