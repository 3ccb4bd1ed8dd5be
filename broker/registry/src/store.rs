//! Where a registry keeps its entries.
//!
//! | key | value (JSON) |
//! |---|---|
//! | `schema/{id, ten digits}` | text, format, references, digest of its identity |
//! | `version/{subject}\0{version, ten digits}` | id, whether soft-deleted, when it was registered |
//! | `config/{subject}`, `mode/{subject}` | settings of a subject; the empty subject stands for all |
//! | `next-id` | the id that the next new schema gets |
//!
//! All changes go through one sequence number, so of two brokers that change at once one is told to look again.
use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use thiserror::Error;

/// Grows with each change of the registry.
pub type Sequence = u64;

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(String, Vec<u8>),
    /// Removes a key.
    Delete(String),
}

/// Why the store did not answer.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else changed the registry since `after`.
    #[error("the registry was changed by another broker meanwhile; try again")]
    Conflict,
    /// The store failed; nothing was changed.
    #[error("the metadata store failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Durable, ordered entries. The broker keeps them in its metadata store; [`MemoryStore`] is for tests.
#[async_trait]
pub trait RegistryStore: Send + Sync + 'static {
    /// All entries, and the sequence number they are of.
    async fn load(&self) -> Result<(Vec<(String, Vec<u8>)>, Sequence), StoreError>;

    /// Applies all changes or none, if the registry is still as it was at `after`; durable when it returns. The result is
    /// the new sequence number.
    async fn commit(&self, after: Sequence, changes: Vec<Change>) -> Result<Sequence, StoreError>;
}

/// Entries in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: Mutex<(BTreeMap<String, Vec<u8>>, Sequence)>,
}

#[async_trait]
impl RegistryStore for MemoryStore {
    async fn load(&self) -> Result<(Vec<(String, Vec<u8>)>, Sequence), StoreError> {
        let entries = self.entries.lock();
        Ok((entries.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect(), entries.1))
    }

    async fn commit(&self, after: Sequence, changes: Vec<Change>) -> Result<Sequence, StoreError> {
        let mut entries = self.entries.lock();
        if entries.1 != after {
            return Err(StoreError::Conflict);
        }
        for change in changes {
            match change {
                Change::Put(key, value) => entries.0.insert(key, value),
                Change::Delete(key) => entries.0.remove(&key),
            };
        }
        entries.1 += 1;
        Ok(entries.1)
    }
}
