//! Who says which metadata of a table is the newest, and lets only one writer put the next in its place.
//!
//! | file | what |
//! |---|---|
//! | `files.rs` | a catalog of files: numbered metadata, each created if it is absent |
//! | `rest.rs` | a REST catalog: a commit is a request that the catalog refuses if the table is another one by then |
//! | `changes.rs` | two versions of metadata to what a REST catalog is asked for (pure) |
mod changes;
mod files;
mod rest;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde_json::Value;

use crate::target::TargetError;

pub use self::files::FileCatalog;
pub use self::rest::RestCatalog;

/// Metadata of a table as a catalog has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// In catalogs that count.
    pub number: u64,
    pub metadata: Value,
}

/// The catalog of one table.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// The newest version; `None` if there is no table.
    async fn load(&self) -> Result<Option<Version>, TargetError>;

    /// Tells readers of the newest version, if a crash kept somebody from it.
    async fn settle(&self, _newest: &Version) -> Result<(), TargetError> {
        Ok(())
    }

    /// Puts `next` in the place of `base`, or makes the table if there is none; returns what is there then. After an error it may be
    /// there or not. Of several on the same base one succeeds at most, however late it arrives.
    async fn commit(&self, base: Option<&Version>, next: Value) -> Result<Version, TargetError>;

    /// Whether only a new snapshot keeps two commits on the same base apart.
    fn wants_snapshots(&self) -> bool;

    /// Whether metadata can be in the folder of a table that was never made: its first commit failed after they were written.
    fn leaves_metadata(&self) -> bool;

    /// Whether a file in the table's folder is metadata of ours that nobody needs when this is the newest.
    fn is_old(&self, path: &str, newest: Option<&Version>) -> bool;

    /// For people: the catalog, if it is something of its own.
    fn address(&self) -> Option<String> {
        None
    }
}
