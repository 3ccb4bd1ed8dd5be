//! Where metadata is materialised: sled in a folder, or memory where there is no folder (simulated disks).
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{MetaError, Revision, Versioned, Write};

/// Sled's page cache; metadata is small and read from snapshots above it.
const CACHE_BYTES: u64 = 2 << 20;
const APPLIED_KEY: &[u8] = b"\0applied";

pub(super) trait Table: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, MetaError>;
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Versioned)>, MetaError>;
    fn apply(&mut self, revision: Revision, writes: &[Write]) -> Result<(), MetaError>;
    fn clear(&mut self) -> Result<(), MetaError>;
    /// The last revision applied.
    fn applied(&self) -> Result<Revision, MetaError>;
}

/// Of a store that was closed.
pub(super) struct ClosedTable;

impl Table for ClosedTable {
    fn get(&self, _key: &[u8]) -> Result<Option<Versioned>, MetaError> {
        Err(MetaError::Closed)
    }

    fn scan(&self, _prefix: &[u8]) -> Result<Vec<(Vec<u8>, Versioned)>, MetaError> {
        Err(MetaError::Closed)
    }

    fn apply(&mut self, _revision: Revision, _writes: &[Write]) -> Result<(), MetaError> {
        Err(MetaError::Closed)
    }

    fn clear(&mut self) -> Result<(), MetaError> {
        Err(MetaError::Closed)
    }

    fn applied(&self) -> Result<Revision, MetaError> {
        Err(MetaError::Closed)
    }
}

#[derive(Default)]
pub(super) struct MemoryTable {
    rows: BTreeMap<Vec<u8>, Versioned>,
    applied: Revision,
}

impl Table for MemoryTable {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, MetaError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Versioned)>, MetaError> {
        let from = self.rows.range(prefix.to_vec()..);
        Ok(from.take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn apply(&mut self, revision: Revision, writes: &[Write]) -> Result<(), MetaError> {
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    self.rows.insert(key.clone(), Versioned { value: value.clone(), revision });
                }
                Write::Delete(key) => {
                    self.rows.remove(key);
                }
            }
        }
        self.applied = revision;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), MetaError> {
        *self = MemoryTable::default();
        Ok(())
    }

    fn applied(&self) -> Result<Revision, MetaError> {
        Ok(self.applied)
    }
}

/// Values are stored behind their revision, 8 bytes little-endian.
pub(super) struct SledTable {
    tree: sled::Db,
    /// Transactions since all that sled holds was last written.
    unflushed: usize,
}

/// Sled 0.34 writes on seven threads and never starts an eighth (its count of idle ones underflows). A new segment of its file
/// is handed out under a lock that all writes need, and may wait for a task behind them in the same queue: seven writes on
/// their way and it stands still for ever, seen in one of five starts after kill -9 under load. So few are ever on their way.
const UNFLUSHED_MAX: usize = 32;

fn table_error(error: impl std::fmt::Display) -> MetaError {
    MetaError::Table { detail: error.to_string() }
}

fn versioned(bytes: &[u8]) -> Result<Versioned, MetaError> {
    let (revision, value) = bytes.split_at_checked(8).ok_or_else(|| table_error("a value is cut off"))?;
    let revision = u64::from_le_bytes(revision.try_into().map_err(table_error)?);
    Ok(Versioned { value: value.to_vec(), revision })
}

impl SledTable {
    /// Opens the cache, or makes it anew where it does not open.
    pub fn open(path: &Path) -> Result<SledTable, MetaError> {
        match Self::try_open(path) {
            Ok(table) => Ok(table),
            Err(detail) => {
                tracing::warn!(path = %path.display(), detail, "the metadata cache does not open; rebuilding it from the log");
                Self::remove(path).map_err(table_error)?;
                Self::try_open(path).map_err(table_error)
            }
        }
    }

    /// Sled 0.34 fails or panics on files that a crash left half written.
    fn try_open(path: &Path) -> Result<SledTable, String> {
        let path: PathBuf = path.to_owned();
        let opened = std::panic::catch_unwind(move || {
            let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            config.mode(sled::Mode::LowSpace).open()
        });
        match opened {
            Ok(Ok(tree)) => Ok(SledTable { tree, unflushed: 0 }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("opening it panicked".to_owned()),
        }
    }

    fn remove(path: &Path) -> std::io::Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, MetaError> {
        self.tree.get(key).map_err(table_error)?.map(|bytes| versioned(&bytes)).transpose()
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Versioned)>, MetaError> {
        self.tree
            .scan_prefix(prefix)
            .filter(|row| !row.as_ref().is_ok_and(|(key, _)| key.as_ref() == APPLIED_KEY))
            .map(|row| {
                let (key, value) = row.map_err(table_error)?;
                Ok((key.to_vec(), versioned(&value)?))
            })
            .collect()
    }

    fn apply(&mut self, revision: Revision, writes: &[Write]) -> Result<(), MetaError> {
        let mut batch = sled::Batch::default();
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    let mut stored = revision.to_le_bytes().to_vec();
                    stored.extend_from_slice(value);
                    batch.insert(key.as_slice(), stored);
                }
                Write::Delete(key) => batch.remove(key.as_slice()),
            }
        }
        batch.insert(APPLIED_KEY, &revision.to_le_bytes());
        self.tree.apply_batch(batch).map_err(table_error)?;
        self.unflushed += 1;
        if self.unflushed >= UNFLUSHED_MAX {
            self.unflushed = 0;
            self.tree.flush().map_err(table_error)?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), MetaError> {
        self.tree.clear().map_err(table_error)
    }

    fn applied(&self) -> Result<Revision, MetaError> {
        let bytes = self.tree.get(APPLIED_KEY).map_err(table_error)?;
        Ok(bytes.and_then(|b| b.as_ref().try_into().ok().map(u64::from_le_bytes)).unwrap_or(0))
    }
}
