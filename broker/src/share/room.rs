//! Where share partitions live: each behind its own lock, scheduled by its next deadline, written one state at a time.
//!
//! A record of `__share_group_state` is the whole state of a share partition. While one is being written, changes add up; the
//! next record covers all of them, so many acknowledgements cost one write.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use weir_protocol::ids::{Timestamp, TopicId};

use super::partition::{AckBatch, AckError, Acquired, FetchedBatch, SharePartition, StoredPartition, Terms, Wish};
use super::records::{self, SnapshotFacts};
use super::{SessionKey, ShareKey};
use crate::group::configs::GroupConfigs;
use crate::group::coordinator::{LogEntry, LogRecord, OffsetsLog};
use crate::group::records::partition_of;

mod admin;
mod load;
#[cfg(test)]
mod tests;

pub use admin::ShareOffsets;

/// Why nothing can be done with a share partition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShareError {
    #[error("the states of share partitions are being loaded; retry")]
    Loading,
    #[error("the state of the share partition cannot be read or written; retry")]
    NotAvailable,
    #[error("the member has not fetched from this partition")]
    Unknown,
    #[error(transparent)]
    Acknowledgement(#[from] AckError),
}

const LOADING: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

/// All share partitions. Cheap to clone.
#[derive(Clone)]
pub struct Shares {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    log: Arc<dyn OffsetsLog>,
    configs: Arc<GroupConfigs>,
    leader_epoch: i32,
    loaded: Vec<AtomicU8>,
    cells: RwLock<HashMap<ShareKey, Arc<Cell>>>,
    deadlines: Mutex<BTreeSet<(Timestamp, ShareKey)>>,
    reschedule: Notify,
}

/// One share partition.
pub struct Cell {
    key: ShareKey,
    log_partition: i32,
    /// Held by who reads for it: two members must not read the same bytes to find that one of them is late.
    pub reading: tokio::sync::Mutex<()>,
    entry: Mutex<Entry>,
}

struct Entry {
    /// `None`: the group has not begun to read.
    partition: Option<SharePartition>,
    snapshot_epoch: i32,
    created_at: Timestamp,
    /// The revision that is durable; `None`: nothing is.
    durable: Option<u64>,
    writing: bool,
    /// Who waits until a revision is durable.
    waiting: Vec<(u64, oneshot::Sender<bool>)>,
    /// Who waits for records.
    watching: Vec<Weak<Notify>>,
    scheduled: Option<Timestamp>,
    /// It was deleted: nothing more is written.
    gone: bool,
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

impl Shares {
    /// Starts loading; until a partition of the log is loaded, its share partitions answer [`ShareError::Loading`].
    pub fn start(log: Arc<dyn OffsetsLog>, configs: Arc<GroupConfigs>, leader_epoch: i32) -> Shares {
        let inner = Arc::new(Inner {
            loaded: (0..log.partitions()).map(|_| AtomicU8::new(LOADING)).collect(),
            log,
            configs,
            leader_epoch,
            cells: RwLock::default(),
            deadlines: Mutex::default(),
            reschedule: Notify::new(),
        });
        tokio::spawn(load::load_all(inner.clone()));
        tokio::spawn(tick_loop(Arc::downgrade(&inner)));
        Shares { inner }
    }

    /// Whether every partition of the log is loaded.
    pub fn is_ready(&self) -> bool {
        self.inner.loaded.iter().all(|p| p.load(Ordering::Acquire) == READY)
    }

    /// How many share partitions there are.
    pub fn len(&self) -> usize {
        self.inner.cells.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What holds for a group at this moment.
    pub fn terms(&self, group: &str) -> Terms {
        self.inner.configs.share(group).terms
    }

    /// A share partition that exists.
    pub fn find(&self, key: &ShareKey) -> Result<Option<Arc<Cell>>, ShareError> {
        self.inner.check_loaded(key)?;
        Ok(self.inner.cells.read().get(key).cloned())
    }

    /// A share partition that is read. If the group has not begun to, it begins at `start`, which is durable when this
    /// returns: "latest" must not mean something else after a restart.
    pub async fn open<F: Future<Output = Option<i64>>>(
        &self,
        key: &ShareKey,
        start: impl FnOnce() -> F,
    ) -> Result<Arc<Cell>, ShareError> {
        let cell = self.inner.find_or_create(key)?;
        if cell.entry.lock().partition.is_none() {
            let start = start().await.ok_or(ShareError::NotAvailable)?;
            let mut entry = cell.entry.lock();
            if entry.partition.is_none() {
                tracing::info!(group = %key.group, topic = %key.topic.0, partition = key.partition, start, "share group begins to read");
                entry.partition = Some(SharePartition::new(start, 0));
            }
        }
        let durable = self.inner.flush(&cell, &mut cell.entry.lock());
        durable_or_error(durable).await?;
        Ok(cell)
    }

    /// Gives a member what it can have of what was read from `from` on.
    pub fn acquire(
        &self,
        cell: &Arc<Cell>,
        member: &Arc<str>,
        wish: Wish,
        from: i64,
        fetched: &[FetchedBatch],
    ) -> Vec<Acquired> {
        let terms = self.terms(&cell.key.group);
        self.inner
            .step(cell, |now, partition| partition.acquire(now, member, &terms, wish, from, fetched))
            .unwrap_or_default()
    }

    /// Applies what a member says of its records, which must not be answered before it is durable. Tells how many records each
    /// type was said of.
    pub fn acknowledge(
        &self,
        key: &ShareKey,
        member: &str,
        batches: &[AckBatch],
    ) -> Result<([i64; 4], Durable), ShareError> {
        let cell = self.find(key)?.ok_or(ShareError::Unknown)?;
        let terms = self.terms(&key.group);
        let mut entry = cell.entry.lock();
        let partition = entry.partition.as_mut().ok_or(ShareError::Unknown)?;
        let counts = partition.acknowledge(member, batches, &terms)?;
        let durable = self.inner.finish(&cell, &mut entry);
        Ok((counts, Durable(durable)))
    }

    /// The log of a share partition begins here now.
    pub fn log_starts_at(&self, cell: &Arc<Cell>, log_start: i64) {
        if cell.look(|partition| partition.start() < log_start) == Some(true) {
            self.inner.step(cell, |_, partition| partition.log_starts_at(log_start));
        }
    }

    /// Records of a member whose session has ended go to others. `closed`: in good order, by the member itself.
    pub fn end_session(&self, session: &SessionKey, partitions: &[(TopicId, i32)], closed: bool) -> i64 {
        let terms = self.terms(&session.group);
        let mut count = 0;
        for (topic, partition) in partitions {
            let key = ShareKey { group: session.group.clone(), topic: *topic, partition: *partition };
            let Ok(Some(cell)) = self.find(&key) else { continue };
            count += self
                .inner
                .step(&cell, |_, partition| match closed {
                    true => partition.release(&session.member),
                    false => partition.abandon(&session.member, &terms),
                })
                .unwrap_or(0);
        }
        count
    }
}

/// Something that was applied and is being written.
#[derive(Debug)]
pub struct Durable(Option<oneshot::Receiver<bool>>);

impl Durable {
    /// Nothing has to be written.
    pub fn already() -> Durable {
        Durable(None)
    }

    /// Returns when it is durable, or cannot be written.
    pub async fn wait(self) -> Result<(), ShareError> {
        durable_or_error(self.0).await
    }
}

async fn durable_or_error(durable: Option<oneshot::Receiver<bool>>) -> Result<(), ShareError> {
    match durable {
        None => Ok(()),
        Some(durable) => match durable.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(ShareError::NotAvailable),
        },
    }
}

impl Cell {
    fn new(key: ShareKey, log_partition: i32) -> Arc<Cell> {
        let entry = Entry {
            partition: None,
            snapshot_epoch: 0,
            created_at: now(),
            durable: None,
            writing: false,
            waiting: Vec::new(),
            watching: Vec::new(),
            scheduled: None,
            gone: false,
        };
        Arc::new(Cell { key, log_partition, reading: tokio::sync::Mutex::new(()), entry: Mutex::new(entry) })
    }

    pub fn key(&self) -> &ShareKey {
        &self.key
    }

    /// Wakes `waiter` once when records may have become available since.
    pub fn watch(&self, waiter: &Arc<Notify>) {
        let mut entry = self.entry.lock();
        entry.watching.retain(|other| other.strong_count() > 0);
        entry.watching.push(Arc::downgrade(waiter));
    }

    /// Looks at the state.
    pub fn look<R>(&self, look: impl FnOnce(&SharePartition) -> R) -> Option<R> {
        self.entry.lock().partition.as_ref().map(look)
    }

    /// Wakes everybody who waits for records.
    fn wake(entry: &mut Entry) {
        for waiter in entry.watching.drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.notify_one();
            }
        }
    }
}

impl Inner {
    fn check_loaded(&self, key: &ShareKey) -> Result<i32, ShareError> {
        let partition = partition_of(&key.coordinator_key(), self.log.partitions());
        match self.loaded.get(partition as usize).map(|p| p.load(Ordering::Acquire)) {
            Some(READY) => Ok(partition),
            Some(LOADING) => Err(ShareError::Loading),
            _ => Err(ShareError::NotAvailable),
        }
    }

    fn find_or_create(&self, key: &ShareKey) -> Result<Arc<Cell>, ShareError> {
        let partition = self.check_loaded(key)?;
        if let Some(cell) = self.cells.read().get(key) {
            return Ok(cell.clone());
        }
        let mut cells = self.cells.write();
        Ok(cells.entry(key.clone()).or_insert_with(|| Cell::new(key.clone(), partition)).clone())
    }

    /// Runs a step on a share partition; what of it is to be stored is written, and nobody waits for that. `None`: the group
    /// has not begun to read it.
    fn step<R>(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        step: impl FnOnce(Timestamp, &mut SharePartition) -> R,
    ) -> Option<R> {
        let mut entry = cell.entry.lock();
        let result = step(now(), entry.partition.as_mut()?);
        drop(self.finish(cell, &mut entry));
        Some(result)
    }

    /// After each step: wakes who waits, writes, schedules.
    fn finish(self: &Arc<Self>, cell: &Arc<Cell>, entry: &mut Entry) -> Option<oneshot::Receiver<bool>> {
        let terms = self.configs.share(&cell.key.group).terms;
        if entry.partition.as_ref().is_some_and(|partition| partition.next_fetch(&terms).is_some()) {
            Cell::wake(entry);
        }
        let durable = self.flush(cell, entry);
        self.schedule(cell, entry);
        durable
    }

    /// Writes what is not stored yet; the receiver learns when it is durable (true) or failed. `None`: it is.
    fn flush(self: &Arc<Self>, cell: &Arc<Cell>, entry: &mut Entry) -> Option<oneshot::Receiver<bool>> {
        let revision = entry.partition.as_ref()?.revision();
        if entry.durable == Some(revision) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        entry.waiting.push((revision, sender));
        if !entry.writing {
            entry.writing = true;
            tokio::spawn(write_loop(self.clone(), cell.clone()));
        }
        Some(receiver)
    }

    fn schedule(&self, cell: &Cell, entry: &mut Entry) {
        let Some(deadline) = entry.partition.as_ref().and_then(SharePartition::next_deadline) else { return };
        // An earlier wake-up that finds nothing to do schedules the next one.
        if entry.scheduled.is_none_or(|at| deadline < at) {
            entry.scheduled = Some(deadline);
            let mut deadlines = self.deadlines.lock();
            let earliest = deadlines.first().is_none_or(|(at, _)| deadline < *at);
            deadlines.insert((deadline, cell.key.clone()));
            if earliest {
                self.reschedule.notify_one();
            }
        }
    }
}

/// The record of a share partition as it is, and the revision that it stores.
fn snapshot(cell: &Cell, entry: &mut Entry, leader_epoch: i32) -> Option<(LogRecord, u64)> {
    let partition = entry.partition.as_ref()?;
    entry.snapshot_epoch = entry.snapshot_epoch.wrapping_add(1);
    let facts = SnapshotFacts {
        snapshot_epoch: entry.snapshot_epoch,
        leader_epoch,
        created_at: entry.created_at,
        written_at: now(),
    };
    let value = records::encode_value(&facts, &partition.stored());
    Some(((records::encode_key(&cell.key), Some(value)), partition.revision()))
}

/// Writes the state until all of it is durable, or nobody waits for what cannot be written.
async fn write_loop(inner: Arc<Inner>, cell: Arc<Cell>) {
    loop {
        let (record, revision) = {
            let mut entry = cell.entry.lock();
            let next = if entry.gone { None } else { snapshot(&cell, &mut entry, inner.leader_epoch) };
            match next.filter(|(_, revision)| entry.durable != Some(*revision)) {
                Some(next) => next,
                None => {
                    entry.writing = false;
                    let gone = entry.gone;
                    for (_, waiter) in entry.waiting.drain(..) {
                        let _ = waiter.send(!gone); // the client may have gone
                    }
                    return;
                }
            }
        };
        let written = inner.log.append(cell.log_partition, vec![record]).await;
        let waiters: Vec<_> = {
            let mut entry = cell.entry.lock();
            if written.is_ok() {
                entry.durable = Some(revision);
            }
            let (done, rest) = std::mem::take(&mut entry.waiting).into_iter().partition(|(r, _)| *r <= revision);
            entry.waiting = rest;
            done
        };
        for (_, waiter) in waiters {
            let _ = waiter.send(written.is_ok()); // the client may have gone
        }
        if let Err(error) = written {
            tracing::error!(group = %cell.key.group, partition = cell.key.partition, error, "cannot write to __share_group_state");
            {
                let mut entry = cell.entry.lock();
                if entry.waiting.is_empty() {
                    // What could not be written goes with the next change.
                    entry.writing = false;
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn tick_loop(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let first = strong.deadlines.lock().first().map(|(at, _)| *at);
        let wait = first.map_or(60_000, |at| (at.0 - now().0).max(0)) as u64;
        if wait > 0 {
            // Either way the deadlines are looked at again.
            let _ = tokio::time::timeout(Duration::from_millis(wait), strong.reschedule.notified()).await;
            continue;
        }
        let mut due = Vec::new();
        {
            let (mut deadlines, now) = (strong.deadlines.lock(), now());
            while deadlines.first().is_some_and(|(at, _)| *at <= now) {
                due.extend(deadlines.pop_first().map(|(_, key)| key));
            }
        }
        for key in due {
            let Some(cell) = strong.cells.read().get(&key).cloned() else { continue };
            let terms = strong.configs.share(&key.group).terms;
            let mut entry = cell.entry.lock();
            entry.scheduled = None;
            let Some(partition) = entry.partition.as_mut() else { continue };
            let count = partition.tick(now(), &terms);
            if count > 0 {
                metrics::counter!(crate::metrics::tables::shares::LOCKS_EXPIRED.name).increment(count as u64);
                tracing::debug!(group = %key.group, partition = key.partition, count, "acquisition locks have timed out");
            }
            drop(strong.finish(&cell, &mut entry));
        }
    }
}
