//! The metadata store: small ordered key-values with compare-and-set transactions and watch.
//!
//! Embedded, [`EmbeddedMetadata`] makes every change durable in `meta/meta.log` first and materialises it in sled, which is
//! a cache: it is deleted and rebuilt from the log whenever it does not open or does not agree. Transactions that come while
//! one is being synced share the next sync. A cluster keeps the same keys in etcd, whose transactions and revisions have this shape.
mod backup;
mod embedded;
mod group;
mod log;
mod table;
#[cfg(test)]
mod tests;

use std::io;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::mpsc;

pub use backup::MetadataBackup;
pub use embedded::EmbeddedMetadata;

/// Grows by one with each transaction; a key's revision is that of the last transaction that wrote it.
pub type Revision = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    pub value: Vec<u8>,
    pub revision: Revision,
}

/// What must hold for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Absent(Vec<u8>),
    /// The key was last written at this revision.
    Unchanged(Vec<u8>, Revision),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

impl Write {
    pub fn key(&self) -> &[u8] {
        match self {
            Write::Put(key, _) | Write::Delete(key) => key,
        }
    }

    /// `None` for a deletion.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Write::Put(_, value) => Some(value),
            Write::Delete(_) => None,
        }
    }
}

/// A change that was applied, in order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub write: Write,
}

#[derive(Debug, Error)]
pub enum MetaError {
    #[error("the metadata changed meanwhile (key `{key}`); read again and retry")]
    Conflict { key: String },
    #[error("cannot write the metadata log {path}: {source}; the change was not applied")]
    Io { path: String, source: io::Error },
    #[error("{path} is damaged at byte {position}: {detail}. Restore the file from a backup")]
    Damaged { path: String, position: u64, detail: String },
    #[error("the materialised metadata cannot be read: {detail}; restart weir, it is rebuilt from the log")]
    Table { detail: String },
    #[error("the metadata store was closed")]
    Closed,
}

impl MetaError {
    /// The same once more, for everybody who shares the failed sync.
    #[must_use]
    pub fn again(&self) -> MetaError {
        match self {
            MetaError::Conflict { key } => MetaError::Conflict { key: key.clone() },
            MetaError::Io { path, source } => {
                MetaError::Io { path: path.clone(), source: io::Error::new(source.kind(), source.to_string()) }
            }
            MetaError::Damaged { path, position, detail } => {
                MetaError::Damaged { path: path.clone(), position: *position, detail: detail.clone() }
            }
            MetaError::Table { detail } => MetaError::Table { detail: detail.clone() },
            MetaError::Closed => MetaError::Closed,
        }
    }
}

/// Metadata of a broker or a cluster.
#[async_trait]
pub trait MetadataStore: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, MetaError>;
    /// All keys with a prefix, in order.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Versioned)>, MetaError>;
    /// Applies all writes if all conditions hold; durable when it returns.
    async fn transact(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<Revision, MetaError>;
    /// Changes of keys with a prefix from now on.
    fn watch(&self, prefix: &[u8]) -> mpsc::UnboundedReceiver<Change>;
    fn revision(&self) -> Revision;
    /// Finishes what is being written; from then on everything is [`MetaError::Closed`], and the files may be somebody else's.
    /// Blocking.
    fn close(&self);
}
