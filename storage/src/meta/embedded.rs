//! The metadata store of a single broker.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::group::{Staged, Waiting, WaitingRoom};
use super::log::MetaLog;
use super::table::{ClosedTable, MemoryTable, SledTable, Table};
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
    waiting: WaitingRoom,
    log: Mutex<MetaLog>,
    table: RwLock<Box<dyn Table>>,
    watchers: Mutex<Vec<Watcher>>,
    revision: AtomicU64,
    closed: AtomicBool,
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
                waiting: WaitingRoom::default(),
                log: Mutex::new(log),
                table: RwLock::new(table),
                watchers: Mutex::new(Vec::new()),
                revision: AtomicU64::new(revision),
                closed: AtomicBool::new(false),
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

type Answer = (oneshot::Sender<Result<Revision, MetaError>>, Result<Revision, MetaError>);

fn answer(outcomes: Vec<Answer>) {
    for (done, outcome) in outcomes {
        let _ = done.send(outcome); // the caller may have gone
    }
}

impl Inner {
    /// Works on what waits, a group after the other, until nothing does.
    fn run_groups(self: Arc<Self>) {
        let Some(mut group) = self.waiting.take() else { return };
        loop {
            let outcomes = self.commit_group(group);
            match self.waiting.take() {
                Some(next) => {
                    answer(outcomes);
                    group = next;
                }
                None => {
                    // Whoever hears of the last one may close the store and open it again.
                    drop(self);
                    return answer(outcomes);
                }
            }
        }
    }

    /// Decides transactions in order and makes those that hold durable with one sync. Nobody may hear of it before: a
    /// conflict may be with a transaction of the same group.
    fn commit_group(&self, waiting: Vec<Waiting>) -> Vec<Answer> {
        let mut log = self.log.lock();
        let mut outcomes = Vec::with_capacity(waiting.len());
        let committed = self.try_commit(&mut log, &waiting, &mut outcomes);
        let revision = self.revision.load(Ordering::Acquire);
        if log.len() > COMPACT_MIN_BYTES
            && let Err(error) = self.compact(&mut log, revision)
        {
            // The transactions are durable all the same; the next one tries again.
            tracing::warn!(%error, "the metadata log could not be compacted");
        }
        let outcome = |index: usize| match &committed {
            Ok(()) => outcomes.get_mut(index).and_then(Option::take).unwrap_or(Err(MetaError::Closed)),
            Err(error) => Err(error.again()),
        };
        let outcomes: Vec<_> = (0..waiting.len()).map(outcome).collect();
        waiting.into_iter().map(|transaction| transaction.done).zip(outcomes).collect()
    }

    fn try_commit(
        &self,
        log: &mut MetaLog,
        waiting: &[Waiting],
        outcomes: &mut Vec<Option<Result<Revision, MetaError>>>,
    ) -> Result<(), MetaError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(MetaError::Closed);
        }
        if log.is_broken() {
            let at = self.revision.load(Ordering::Acquire).max(1);
            self.snapshot(log, at)?;
            self.revision.store(at, Ordering::Release);
        }
        let first = self.revision.load(Ordering::Acquire) + 1;
        let mut group: Vec<&[Write]> = Vec::new();
        {
            let table = self.table.read();
            let mut staged = Staged::default();
            for transaction in waiting {
                let outcome = match staged.conflict(&**table, &transaction.conditions)? {
                    Some(key) => Err(MetaError::Conflict { key: String::from_utf8_lossy(key).into_owned() }),
                    None => {
                        let revision = first + group.len() as Revision;
                        staged.add(revision, &transaction.writes);
                        group.push(&transaction.writes);
                        Ok(revision)
                    }
                };
                outcomes.push(Some(outcome));
            }
        }
        if group.is_empty() {
            return Ok(());
        }
        log.append(first, &group)?;
        // Durable: the revisions are used, whatever becomes of the cache.
        self.revision.store(first + group.len() as Revision - 1, Ordering::Release);
        for (revision, writes) in (first..).zip(group) {
            self.apply(revision, writes)?;
            self.notify(revision, writes);
        }
        Ok(())
    }

    fn notify(&self, revision: Revision, writes: &[Write]) {
        self.watchers.lock().retain(|watcher| {
            let mut seen = writes.iter().filter(|w| w.key().starts_with(&watcher.prefix));
            seen.all(|write| watcher.changes.send(Change { revision, write: write.clone() }).is_ok())
                && !watcher.changes.is_closed()
        });
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

    /// Every key keeps its revision: a condition on it holds before and after.
    fn snapshot(&self, log: &mut MetaLog, revision: Revision) -> Result<(), MetaError> {
        let rows = self.table.read().scan(b"")?;
        log.rewrite(revision, &rows)
    }

    fn compact(&self, log: &mut MetaLog, revision: Revision) -> Result<(), MetaError> {
        let rows = self.table.read().scan(b"")?;
        let live: usize = rows.iter().map(|(key, row)| key.len() + row.value.len()).sum();
        if log.len() > COMPACT_RATIO * live as u64 {
            log.rewrite(revision, &rows)?;
        }
        Ok(())
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
        let (done, outcome) = oneshot::channel();
        if self.inner.waiting.push(Waiting { conditions, writes, done }) {
            let inner = self.inner.clone();
            // Goes on also if the caller does not wait for it: others may have joined.
            tokio::task::spawn_blocking(move || {
                // Sled 0.34 may panic; nobody may wait for ever then.
                let weak = Arc::downgrade(&inner);
                let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inner.run_groups()));
                if let (Err(_), Some(inner)) = (worked, weak.upgrade()) {
                    inner.waiting.give_up();
                }
            });
        }
        outcome.await.map_err(|_| MetaError::Closed)?
    }

    fn watch(&self, prefix: &[u8]) -> mpsc::UnboundedReceiver<Change> {
        let (changes, receiver) = mpsc::unbounded_channel();
        self.inner.watchers.lock().push(Watcher { prefix: prefix.to_vec(), changes });
        receiver
    }

    fn revision(&self) -> Revision {
        self.inner.revision.load(Ordering::Acquire)
    }

    fn close(&self) {
        // Held while a group is written: none is after this.
        let _log = self.inner.log.lock();
        self.inner.closed.store(true, Ordering::Release);
        *self.inner.table.write() = Box::new(ClosedTable);
    }
}
