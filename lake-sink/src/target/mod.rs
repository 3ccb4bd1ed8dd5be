//! How a format publishes what a round wrote.
mod avro;
#[cfg(test)]
mod costs;
mod figures;
pub(crate) mod iceberg;
mod paimon;
mod parquet;

use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use thiserror::Error;
use weir_storage::cpu::{CpuError, CpuPool};

use crate::commit::CommitRecord;
use crate::encode::{EncodeError, EncodedFile, Folding};
use crate::partitioning::PartitionSpec;
use crate::plan::Range;
use crate::settings::{Format, LakeSettings};
use crate::store::{LakeRoots, LakeStore, StoreError, open};

pub use self::iceberg::IcebergTarget;
use self::iceberg::catalog::RestCatalog;
pub use self::paimon::PaimonTarget;
pub use self::parquet::ParquetTarget;

/// What a table cannot get over without a person. It is looked at again now and then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Pause {
    #[error(
        "the table at {address} was made from another topic of this name (id {found}, this one is {ours}): move it away, \
         or set `weir.lake.path` to another place"
    )]
    OtherTopic { address: String, found: uuid::Uuid, ours: uuid::Uuid },
    #[error(
        "the table at {address} has data but no offsets of this topic, so nobody can say what it has: move it away, or \
         set `weir.lake.path` to another place"
    )]
    Foreign { address: String },
    #[error(
        "nobody can say how far the table at {address} goes, so nothing is added to it ({reason}): move it away, or set \
         `weir.lake.path` to another place"
    )]
    Lost { address: String, reason: String },
    #[error("the commit {address} cannot be understood: {reason}")]
    Damaged { address: String, reason: String },
    #[error(
        "the table at {address} is partitioned by `{found}` and `weir.lake.partition.by` is `{wanted}`: set it back, or \
         set `weir.lake.path` to another place"
    )]
    Partitioning { address: String, found: String, wanted: String },
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    #[error("`weir.lake.partition.by`: {0}")]
    Spec(#[from] crate::partitioning::PartitionSpecError),
    #[error("the topic's columns cannot be in the table: {reason}")]
    Schema { reason: String },
    #[error("{0}")]
    Path(String),
}

/// Why a target did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error(transparent)]
    Pause(#[from] Pause),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A file of a round: what it holds, and for formats with a file per partition of the topic which offsets.
#[derive(Debug, Clone)]
pub struct RoundFile {
    pub range: Option<Range>,
    /// In the table's folder.
    pub path: String,
    pub file: EncodedFile,
}

/// A data file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// In the table's folder.
    pub path: String,
    /// Offsets outside of this are not in it, where its name tells.
    pub range: Option<Range>,
}

/// Why the rows of a table are not what its files hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilesError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(
        "another engine deleted rows of the table at {address} without rewriting their files; what is left of these \
         files cannot be told here: let that engine compact the table"
    )]
    Deletions { address: String },
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    pub files_read: usize,
    pub files_written: usize,
    pub bytes_read: u64,
    pub bytes_written: u64,
}

/// Why files were not compacted. The commit may be there or not.
#[derive(Debug, Error)]
pub enum CompactError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("merging did not end: {0}")]
    Cpu(#[from] CpuError),
}

impl From<StoreError> for CompactError {
    fn from(error: StoreError) -> CompactError {
        CompactError::Target(error.into())
    }
}

/// A table in the lake, of some format.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// The newest commit, read from the lake; `None` if there is no table. A table with data and without a commit of ours is
    /// [`Pause::Foreign`].
    async fn load(&mut self) -> Result<Option<CommitRecord>, TargetError>;

    /// As [`Target::load`], but nothing in the lake is mended or changed on the way.
    async fn inspect(&mut self) -> Result<Option<CommitRecord>, TargetError>;

    /// The data files that a reader finds in what was loaded or inspected last.
    async fn files(&mut self) -> Result<Vec<TableFile>, FilesError>;

    /// The bytes of a file in the table's folder, of at most `max_bytes`; `None` if there is none.
    async fn read_file(&self, path: &str, max_bytes: u64) -> Result<Option<bytes::Bytes>, StoreError>;

    /// Files are visible as soon as they are there, so their ranges must be committed before ([`CommitRecord::planned`]),
    /// and a file holds one partition of the topic.
    fn announces(&self) -> bool;

    /// The columns as data files have them: those of the topic, one for one, each perhaps in another type, and behind them those of
    /// partitions, if the format keeps these in files. Of a table with a primary key: as readers of the table see them.
    fn file_schema(&self) -> &SchemaRef;

    /// What becomes of the rows of a round, if the table has a primary key; as of what was loaded or published last.
    fn folding(&self) -> Option<Folding> {
        None
    }

    /// Where a file of a round goes.
    fn path(&self, range: Option<Range>, file: &EncodedFile) -> String;

    /// Makes the files durable. One that exists under its name is the same.
    async fn write(&mut self, files: &[RoundFile]) -> Result<(), TargetError>;

    /// Commits `next` with its files on top of the commit that was loaded or published last. After an error it may be there or
    /// not; [`Target::load`] tells.
    async fn publish(&mut self, next: &CommitRecord, files: &[RoundFile]) -> Result<(), TargetError>;

    /// Makes larger files of some small ones, or merges changes of keys, if the table has too many; commits that as `next`, which has
    /// the offsets of the commit before it. `None`: there is nothing to do, and nothing was committed. After an error it may be
    /// committed or not; [`Target::load`] tells.
    async fn compact(&mut self, _next: &CommitRecord, _cpu: &CpuPool) -> Result<Option<Compacted>, CompactError> {
        Ok(None)
    }

    /// Removes files that nobody will ever read and that are older than `before_ms`; says how many.
    async fn sweep(&mut self, before_ms: i64) -> Result<usize, TargetError>;

    /// Where the table is, for people.
    fn address(&self) -> String;
}

/// The table of a topic with these columns, in a folder below `roots`.
///
/// # Errors
/// [`Pause`], if the settings cannot be used.
pub fn open_target(
    settings: &LakeSettings,
    roots: &LakeRoots,
    topic: &str,
    schema: &SchemaRef,
) -> Result<Box<dyn Target>, Pause> {
    settings.partition_by.check(schema)?;
    match settings.format {
        Format::Parquet => {
            let store = open(roots, &settings.path, &folder_of(settings, topic)).map_err(Pause::Path)?;
            Ok(Box::new(ParquetTarget::new(store, schema.clone(), settings.partition_by.clone())))
        }
        Format::Iceberg => {
            let store = open(roots, &settings.path, &folder_of(settings, topic)).map_err(Pause::Path)?;
            let by = settings.partition_by.clone();
            if !settings.rest_catalog {
                return Ok(Box::new(IcebergTarget::new(store, schema.clone(), by)?));
            }
            roots.check_rest_catalog().map_err(|error| Pause::Path(error.to_string()))?;
            let location = store.address("");
            let catalog = RestCatalog::new(roots.rest().clone(), &settings.namespace, topic, &location);
            Ok(Box::new(IcebergTarget::in_catalog(store, Box::new(catalog), schema.clone(), by)?))
        }
        Format::Paimon => {
            let store = open(roots, &settings.path, &folder_of(settings, topic)).map_err(Pause::Path)?;
            Ok(Box::new({
                let (by, key) = (settings.partition_by.clone(), settings.key.as_ref());
                PaimonTarget::open(store, schema.clone(), by, key)?
            }))
        }
    }
}

/// The folder of a topic's table in its warehouse.
#[must_use]
pub fn folder_of(settings: &LakeSettings, topic: &str) -> String {
    match settings.format {
        Format::Parquet => topic.to_owned(),
        Format::Iceberg => format!("{}/{topic}", settings.namespace),
        Format::Paimon => format!("{}.db/{topic}", settings.namespace),
    }
}

/// Writes files, each under its name; one that is there already is left as it is.
async fn write_all(store: &Arc<dyn LakeStore>, files: &[RoundFile]) -> Result<(), TargetError> {
    for file in files {
        match store.create(&file.path, file.file.bytes.clone()).await {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a table written with `found` may be written with `wanted`.
fn check_partitioning(address: String, found: &str, wanted: &PartitionSpec) -> Result<(), Pause> {
    let wanted = wanted.to_string();
    if found == wanted {
        return Ok(());
    }
    Err(Pause::Partitioning { address, found: found.to_owned(), wanted })
}
