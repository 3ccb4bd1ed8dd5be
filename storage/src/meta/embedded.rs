//! The metadata store of a single broker.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::log::MetaLog;
use super::table::{MemoryTable, SledTable, Table};
use super::{Change, Condition, MetaError, MetadataStore, Revision, Versioned, Write};
use crate::disk::Disk;

/// The log is rewritten as a snapshot when it is larger than this and mostly history.
const COMPACT_MIN_BYTES: u64 = 8 << 20;
const COMPACT_RATIO: u64 = 4;

struct Watcher {
    prefix: Vec<u8>,
    changes: mpsc::UnboundedSender<Change>,
}

struct Inner {
    log: Mutex<MetaLog>,
    table: RwLock<Box<dyn Table>>,
    watchers: Mutex<Vec<Watcher>>,
    revision: AtomicU64,
}

/// Log first, then sled; see the module.
#[derive(Clone)]
pub struct EmbeddedMetadata {
    inner: Arc<Inner>,
}

impl EmbeddedMetadata {
    /// `sled_path`: where to materialise; `None` keeps the table in memory.
    pub fn open(disk: Arc<dyn Disk>, sled_path: Option<PathBuf>) -> Result<EmbeddedMetadata, MetaError> {
        let mut truth: BTreeMap<Vec<u8>, Versioned> = BTreeMap::new();
        let (log, revision) = MetaLog::open(disk, &mut |change| {
            match change {
                None => truth.clear(),
                Some(Change { revision, write: Write::Put(key, value) }) => {
                    truth.insert(key, Versioned { value, revision });
                }
                Some(Change { write: Write::Delete(key), .. }) => {
                    truth.remove(&key);
                }
            }
            Ok(())
        })?;
        let mut table: Box<dyn Table> = match sled_path {
            Some(path) => Box::new(SledTable::open(&path)?),
            None => Box::new(MemoryTable::default()),
        };
        let applied = table.applied()?;
        if applied > revision {
            return Err(MetaError::Damaged {
                path: "meta/meta.log".to_owned(),
                position: 0,
                detail: format!(
                    "it ends at revision {revision}, but the cache in meta/sled has seen {applied}: changes were lost. If they are \
                     not needed, remove the folder meta/sled"
                ),
            });
        }
        if applied != revision || !agrees(&*table, &truth)? {
            if revision > 0 {
                tracing::info!(revision, "rebuilding the metadata cache from the log");
            }
            table.clear()?;
            for (key, Versioned { value, revision }) in truth {
                table.apply(revision, &[Write::Put(key, value)])?;
            }
            table.apply(revision, &[])?;
        }
        Ok(EmbeddedMetadata {
            inner: Arc::new(Inner {
                log: Mutex::new(log),
                table: RwLock::new(table),
                watchers: Mutex::new(Vec::new()),
                revision: AtomicU64::new(revision),
            }),
        })
    }
}

/// Sled's checksums do not cover a lost write, so the cache is compared with the log at start.
fn agrees(table: &dyn Table, truth: &BTreeMap<Vec<u8>, Versioned>) -> Result<bool, MetaError> {
    let mut rows = table.scan(b"")?.into_iter();
    Ok(truth.iter().all(|(key, value)| rows.next().is_some_and(|(k, v)| &k == key && &v == value))
        && rows.next().is_none())
}

impl Inner {
    fn transact(&self, conditions: &[Condition], writes: Vec<Write>) -> Result<Revision, MetaError> {
        let mut log = self.log.lock();
        let current = self.revision.load(Ordering::Acquire);
        {
            let table = self.table.read();
            for condition in conditions {
                let (key, holds) = match condition {
                    Condition::Absent(key) => (key, table.get(key)?.is_none()),
                    Condition::Unchanged(key, revision) => {
                        (key, table.get(key)?.is_some_and(|v| v.revision == *revision))
                    }
                };
                if !holds {
                    return Err(MetaError::Conflict { key: String::from_utf8_lossy(key).into_owned() });
                }
            }
        }
        if log.is_broken() {
            self.snapshot(&mut log, current)?;
        }
        let revision = current + 1;
        log.append(revision, &writes)?;
        // Durable: the revision is used, whatever becomes of the cache.
        self.revision.store(revision, Ordering::Release);
        self.apply(revision, &writes)?;
        self.watchers.lock().retain(|watcher| {
            let mut seen = writes.iter().filter(|w| w.key().starts_with(&watcher.prefix));
            seen.all(|write| watcher.changes.send(Change { revision, write: write.clone() }).is_ok())
                && !watcher.changes.is_closed()
        });
        if log.len() > COMPACT_MIN_BYTES
            && let Err(error) = self.compact(&mut log, revision)
        {
            // The transaction is durable all the same; the next one tries again.
            tracing::warn!(%error, "the metadata log could not be compacted");
        }
        Ok(revision)
    }

    /// A cache that cannot be written (a full disk) is replaced by memory until the next start.
    fn apply(&self, revision: Revision, writes: &[Write]) -> Result<(), MetaError> {
        let mut table = self.table.write();
        let Err(error) = table.apply(revision, writes) else { return Ok(()) };
        tracing::error!(%error, "the metadata cache cannot be written; it is kept in memory until the next start");
        let mut memory = MemoryTable::default();
        for (key, Versioned { value, revision }) in table.scan(b"")? {
            memory.apply(revision, &[Write::Put(key, value)])?;
        }
        memory.apply(revision, writes)?;
        *table = Box::new(memory);
        Ok(())
    }

    fn rows(&self) -> Result<Vec<Write>, MetaError> {
        let rows = self.table.read().scan(b"")?;
        Ok(rows.into_iter().map(|(key, v)| Write::Put(key, v.value)).collect())
    }

    /// Every key gets the revision of the snapshot, in the table too: both must agree after a restart.
    fn snapshot(&self, log: &mut MetaLog, revision: Revision) -> Result<(), MetaError> {
        let rows = self.rows()?;
        log.rewrite(revision.max(1), &rows)?;
        self.apply(revision.max(1), &rows)
    }

    fn compact(&self, log: &mut MetaLog, revision: Revision) -> Result<(), MetaError> {
        let live: usize = self.rows()?.iter().map(|w| w.key().len() + value_len(w)).sum();
        if log.len() > COMPACT_RATIO * live as u64 {
            self.snapshot(log, revision)?;
        }
        Ok(())
    }
}

fn value_len(write: &Write) -> usize {
    match write {
        Write::Put(_, value) => value.len(),
        Write::Delete(_) => 0,
    }
}

#[async_trait]
impl MetadataStore for EmbeddedMetadata {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, MetaError> {
        self.inner.table.read().get(key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Versioned)>, MetaError> {
        self.inner.table.read().scan(prefix)
    }

    async fn transact(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<Revision, MetaError> {
        let inner = self.inner.clone();
        let work = tokio::task::spawn_blocking(move || inner.transact(&conditions, writes));
        work.await.map_err(|_| MetaError::Closed)?
    }

    fn watch(&self, prefix: &[u8]) -> mpsc::UnboundedReceiver<Change> {
        let (changes, receiver) = mpsc::unbounded_channel();
        self.inner.watchers.lock().push(Watcher { prefix: prefix.to_vec(), changes });
        receiver
    }

    fn revision(&self) -> Revision {
        self.inner.revision.load(Ordering::Acquire)
    }
}
