//! What segments and ends each partition has: records in the WAL, and checkpoints that let WAL files go.
//!
//! The newest checkpoint plus the records after it is the truth. Two generations are kept, and a WAL file is released only
//! when both no longer need it (WAL-1). Both are JSON inside a CRC frame: small, readable in an emergency, and fields can
//! be added.
//!
//! ```text
//! manifest/NNN.checkpoint:  magic 8 "WEIRCKP1" | length u64 | CRC32C u32 | JSON
//! ```
use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;
use weir_protocol::ids::{PartitionId, TopicId};

use super::producers::Producers;
use super::types::PartitionKey;
use crate::disk::Disk;

const MANIFEST_DIR: &str = "manifest";
const MAGIC: [u8; 8] = *b"WEIRCKP1";
const HEADER_LEN: u64 = 20;
pub const FORMAT: u32 = 1;

/// Columns beside the rows of a segment: the same records once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSibling {
    pub file: u64,
    pub bytes: u64,
}

/// A part of a partition's log in a segment file. Offsets `[base, next)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    pub file: u64,
    pub base: i64,
    pub next: i64,
    pub bytes: u64,
    /// -1: no record has a timestamp.
    pub max_timestamp: i64,
    pub created_ms: i64,
    /// Written by compaction: keys in the leading run of such segments are unique.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compacted: bool,
    /// `file` is a column file, and there are no rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub columnar: bool,
    /// Beside a row file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnSibling>,
}

impl SegmentRef {
    /// All files it is made of.
    pub fn files(&self) -> impl Iterator<Item = u64> + use<> {
        std::iter::once(self.file).chain(self.columns.map(|columns| columns.file))
    }

    /// Bytes of all of them.
    pub fn stored_bytes(&self) -> u64 {
        self.bytes + self.columns.map_or(0, |columns| columns.bytes)
    }

    /// The column file, whatever is beside it.
    pub fn column_file(&self) -> Option<u64> {
        if self.columnar { Some(self.file) } else { self.columns.map(|columns| columns.file) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRef {
    pub topic: Uuid,
    pub partition: i32,
}

impl From<PartitionKey> for KeyRef {
    fn from(key: PartitionKey) -> Self {
        KeyRef { topic: key.topic.0, partition: key.partition.0 }
    }
}

impl From<KeyRef> for PartitionKey {
    fn from(key: KeyRef) -> Self {
        PartitionKey { topic: TopicId(key.topic), partition: PartitionId(key.partition) }
    }
}

/// The segments of one partition change: `remove` are file ids, `add` takes their place or extends the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub key: KeyRef,
    pub add: Vec<SegmentRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<u64>,
}

/// A manifest record in the WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    SegmentsSwapped { swaps: Vec<Swap> },
    LogStart { key: KeyRef, offset: i64 },
}

impl Record {
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }

    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("manifest record: {e}"))
    }
}

/// Everything about one partition that is not in WAL files at or after `Checkpoint::first_file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCheckpoint {
    pub key: KeyRef,
    pub log_start: i64,
    /// Producers and epochs include all batches below this offset.
    pub state_end: i64,
    pub segments: Vec<SegmentRef>,
    /// (epoch, first offset)
    pub epochs: Vec<(i32, i64)>,
    #[serde(default)]
    pub producers: Producers,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub format: u32,
    pub generation: u64,
    /// The oldest WAL file to replay.
    pub first_file: u64,
    /// Sequence of the first commit in it; 0 = not known.
    #[serde(default)]
    pub first_sequence: u64,
    pub next_segment: u64,
    pub partitions: Vec<PartitionCheckpoint>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        let partitions = Vec::new();
        Checkpoint { format: FORMAT, generation: 0, first_file: 0, first_sequence: 1, next_segment: 1, partitions }
    }
}

#[derive(Debug, Error)]
pub enum CheckpointError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("no checkpoint in {MANIFEST_DIR}/ can be read ({detail}); restore one from a copy of the data folder")]
    Unreadable { detail: String },
    #[error("{path} has format {format}, this program knows {FORMAT}; upgrade weir")]
    NewerFormat { path: String, format: u32 },
}

fn path(generation: u64) -> String {
    format!("{MANIFEST_DIR}/{generation:020}.checkpoint")
}

/// The newest checkpoint that verifies, and the first WAL file that the one before it needs: it is the reserve until the
/// next one is written.
pub fn load(disk: &dyn Disk) -> Result<(Checkpoint, u64), CheckpointError> {
    let io_error = |source| CheckpointError::Io { path: MANIFEST_DIR.to_owned(), source };
    disk.create_dir_all(MANIFEST_DIR).map_err(io_error)?;
    // The process that published the newest one may have died before its name was durable.
    disk.sync_dir(MANIFEST_DIR).map_err(io_error)?;
    let mut generations = generations(disk).map_err(io_error)?;
    generations.sort_unstable_by(|a, b| b.cmp(a));
    let mut problems = Vec::new();
    for generation in &generations {
        match read(disk, *generation) {
            Ok(checkpoint) if checkpoint.format > FORMAT => {
                return Err(CheckpointError::NewerFormat { path: path(*generation), format: checkpoint.format });
            }
            Ok(checkpoint) => {
                if !problems.is_empty() {
                    tracing::error!(?problems, used = path(*generation), "a damaged checkpoint was passed over");
                }
                let reserve = generation.checked_sub(1).and_then(|before| read(disk, before).ok());
                let keep_from = reserve.map_or(checkpoint.first_file, |reserve| reserve.first_file);
                return Ok((checkpoint, keep_from));
            }
            Err(problem) => problems.push(format!("{}: {problem}", path(*generation))),
        }
    }
    if problems.is_empty() {
        return Ok((Checkpoint::default(), 0));
    }
    Err(CheckpointError::Unreadable { detail: problems.join("; ") })
}

/// Publishes a checkpoint and removes all but it and the one before. Durable when it returns.
pub fn store(disk: &dyn Disk, checkpoint: &Checkpoint) -> io::Result<u64> {
    let json = serde_json::to_vec(checkpoint).map_err(io::Error::other)?;
    let mut header = Vec::with_capacity(HEADER_LEN as usize);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&(json.len() as u64).to_le_bytes());
    header.extend_from_slice(&crc32c::crc32c(&json).to_le_bytes());
    let name = path(checkpoint.generation);
    let temporary = format!("{name}.tmp");
    if disk.exists(&temporary) {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    file.write_at(0, &[&header, &json])?;
    file.sync_all()?;
    disk.rename(&temporary, &name)?;
    disk.sync_dir(MANIFEST_DIR)?;
    for generation in generations(disk)? {
        if generation + 1 < checkpoint.generation {
            disk.remove(&path(generation))?;
        }
    }
    Ok(HEADER_LEN + json.len() as u64)
}

fn generations(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.list(MANIFEST_DIR)?;
    Ok(names.iter().filter_map(|n| n.strip_suffix(".checkpoint")?.parse().ok()).collect())
}

fn read(disk: &dyn Disk, generation: u64) -> Result<Checkpoint, String> {
    let file = disk.open_read(&path(generation)).map_err(|e| e.to_string())?;
    let len = file.len().map_err(|e| e.to_string())?;
    if len < HEADER_LEN {
        return Err(format!("only {len} bytes"));
    }
    let mut buf = vec![0; len as usize];
    file.read_at(0, &mut buf).map_err(|e| e.to_string())?;
    let (header, json) = buf.split_at(HEADER_LEN as usize);
    let length = u64::from_le_bytes(header[8..16].try_into().unwrap_or_default());
    let crc = u32::from_le_bytes(header[16..20].try_into().unwrap_or_default());
    if header[0..8] != MAGIC || length != json.len() as u64 || crc32c::crc32c(json) != crc {
        return Err("CRC or length does not match".to_owned());
    }
    serde_json::from_slice(json).map_err(|e| e.to_string())
}
