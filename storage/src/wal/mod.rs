//! The write-ahead log: one append stream for all partitions of a broker, group commit on a thread of its own.
//!
//! I own the files in `wal/`, their order and what counts as durable. I never interpret a batch or a manifest record.
//! A crash leaves a torn end, which recovery cuts; what is missing though it is known to have been durable is a hole and stops
//! the start (WAL-2). Sequence numbers alone order the log: a file supersedes whatever older files hold from its first
//! sequence on. Files are never appended to after a restart: a new one is begun, and what was not known durable is written to
//! it again. See docs/decisions/0004-wal-sequences.md.
mod format;
mod local;
mod recovery;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use bytes::Bytes;
use weir_protocol::ids::Offset;

pub use format::EntryKind;
pub use local::{LocalWal, WalOptions};
pub use recovery::{ReplayedEntry, WalError, WalStart};

use crate::log::PartitionKey;

/// Where the data of an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalLocation {
    pub file: u64,
    pub position: u64,
}

/// What travels with an entry through the log and comes back when it is durable.
pub trait WalTag: Send + 'static {
    /// The entry is in the file but not yet durable; called on the WAL thread, must not block.
    fn on_written(&mut self) {}
}

/// One entry to append. `data: None` is a barrier: it completes when all before it is durable and writes nothing.
#[derive(Debug)]
pub struct WalEntry<T> {
    pub kind: EntryKind,
    pub key: PartitionKey,
    pub base_offset: Offset,
    pub data: Option<Bytes>,
    pub tag: T,
}

/// An entry that is durable as the configured durability defines it. Delivered in the order of submission.
#[derive(Debug)]
pub struct Committed<T> {
    /// `None` for a barrier.
    pub location: Option<WalLocation>,
    pub tag: T,
}

/// Why appends should be refused for now. What was queued before is kept and written once the cause is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    DiskFull,
    Failing {
        reason: String,
    },
    /// Under `durability=os` a background sync failed: only a restart, which writes again what may be lost, ends this.
    Unsynced {
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFileInfo {
    pub id: u64,
    pub first_sequence: u64,
    pub bytes: u64,
    pub created_ms: u64,
    pub sealed: bool,
}

/// The log of a broker. Local files today; a sequence of objects in a shared store has the same shape.
pub trait Wal<T: WalTag>: Send + Sync {
    /// Queues an entry. The order of calls is the order in the log and of completion. Never blocks.
    fn submit(&self, entry: WalEntry<T>);
    /// Set while appends should be refused.
    fn refusal(&self) -> Option<Refusal>;
    /// Reads so many bytes of an entry's data (blocking IO). `NotFound`: the file was released, look into the segments.
    fn read(&self, location: WalLocation, length: usize) -> io::Result<Vec<u8>>;
    /// Live files, oldest first; the last one is the active one.
    fn files(&self) -> Vec<WalFileInfo>;
    /// Size of all live files together.
    fn bytes(&self) -> u64;
    /// Gives up all files with an id below `file` (WAL-1 is the caller's duty). Blocking IO.
    fn release_below(&self, file: u64) -> io::Result<()>;
    /// Makes durable what was committed before, whatever the durability of commits is. Blocking IO.
    fn sync(&self) -> io::Result<()>;
    /// Closes to new entries, writes and syncs what is queued, ends the thread. Blocking.
    fn close(&self);
    /// Name of a file for messages.
    fn file_name(&self, file: u64) -> String;
}
