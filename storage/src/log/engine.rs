//! The engine: opens, appends, deletes, shuts down. Recovery is in `recovery`, background work in `maintenance`.
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};

use super::commit::{Committer, Tag, TailCache};
use super::compaction;
use super::config::{Durability, LogConfig, StorageConfig};
use super::maintenance;
use super::manifest::{CheckpointError, Record};
use super::partition::{LogIo, Partition};
use super::recovery;
use super::room::LogRoom;
use super::state::State;
use super::types::{AckLevel, AppendError, AppendOrigin, Appended, PartitionKey, PendingAppend, ReadError};
use crate::cpu::CpuPool;
use crate::disk::Disk;
use crate::memory::{MemoryBudget, Reservation, Share};
use crate::segment::LocalSegments;
use crate::wal::{EntryKind, LocalWal, Refusal, WalEntry, WalError, WalOptions};

/// How often a shutdown looks whether the log still takes writes.
const REFUSAL_POLL: Duration = Duration::from_millis(50);

/// A topic the metadata knows.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    pub topic: TopicId,
    pub partitions: i32,
    pub config: Arc<LogConfig>,
}

/// Resolves to one result per batch, in the order submitted.
pub type AppendFuture = Pin<Box<dyn Future<Output = Vec<Result<Appended, AppendError>>> + Send>>;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("the data folder is in use by another process, or was not released: {source}")]
    Locked { source: std::io::Error },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("segment file {file} of partition {partition} is missing; restore it from a copy of the data folder")]
    MissingSegment { file: String, partition: PartitionKey },
}

/// What the engine is doing, for health checks.
#[derive(Debug, Clone, Default)]
pub struct StorageStatus {
    /// Set while produce is refused: disk full, failed syncs.
    pub write_refused: Option<String>,
    pub wal_bytes: u64,
    pub segment_bytes: u64,
    /// Topics with data that the metadata does not know and whose deletion is not recorded either.
    pub quarantined: Vec<TopicId>,
}

/// What checkpoints must agree on with manifest changes; guards both.
pub(super) struct ManifestState {
    pub generation: u64,
    /// `first_file` of the newest checkpoint: WAL files below it go when the next one is durable.
    pub first_file: u64,
}

/// How far the log may name a deleted topic.
enum Grave {
    /// Batches may be on their way; told when they are durable.
    Open(oneshot::Receiver<()>),
    /// To this WAL file.
    Closed(u64),
}

/// How long a shutdown waits for a merge or a compaction in progress.
const TASKS_PATIENCE: Duration = Duration::from_secs(10);
/// How long an append waits for room in the log before it is refused.
const ROOM_PATIENCE: Duration = Duration::from_secs(20);
/// How long an append waits for memory before it is refused.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);

/// The storage engine of one broker.
pub struct Storage {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: StorageConfig,
    pub(super) epoch: LeaderEpoch,
    pub(super) io: Arc<LogIo>,
    pub(super) partitions: RwLock<HashMap<PartitionKey, Arc<Partition>>>,
    pub(super) quarantined: Mutex<Vec<TopicId>>,
    pub(super) manifest: tokio::sync::Mutex<ManifestState>,
    /// Sections per segment file that partitions refer to; the file goes with the last one.
    references: Mutex<HashMap<u64, usize>>,
    pub(super) next_segment: AtomicU64,
    pub(super) low_on_disk: AtomicBool,
    pub(super) maintenance_wanted: Arc<Notify>,
    /// Columns that are kept for merges take most of the memory there is for them.
    pub(super) kept_wanted: AtomicBool,
    /// Ends the pause between rounds of compaction.
    pub(super) compaction_wanted: Arc<Notify>,
    /// [`StorageConfig::producer_id_expiration_ms`], as it is now.
    pub(super) producer_id_expiration_ms: AtomicU64,
    /// Deleted topics that the log may still name.
    graves: Mutex<HashMap<TopicId, Grave>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    closing: AtomicBool,
    /// Nothing is written to the data folder any more.
    ended: AtomicBool,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({} partitions)", self.partitions.read().len())
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

impl Storage {
    /// Opens the data folder, replays the WAL, and is ready to serve `topics`. `epoch` is this broker incarnation: new
    /// batches carry it as their leader epoch. Data of topics that are not in `topics` is dropped if `deleted(topic)` says
    /// so, else quarantined: kept, not served.
    pub async fn open(
        disk: Arc<dyn Disk>,
        config: StorageConfig,
        epoch: LeaderEpoch,
        topics: Vec<TopicSpec>,
        deleted: &(dyn Fn(TopicId) -> bool + Sync),
    ) -> Result<Arc<Storage>, OpenError> {
        let segments = LocalSegments::new(disk.clone(), config.columns.clone())
            .map_err(|source| OpenError::Io { path: "segments".to_owned(), source })?;
        let segments = Arc::new(segments);
        let mut replay = recovery::Replay::begin(&*disk, &topics, deleted)?;
        let (commits, commit_queue) = mpsc::unbounded_channel();
        let options = WalOptions {
            durability: config.durability,
            file_bytes: config.wal_file_bytes,
            commit_max_bytes: config.commit_max_bytes,
            os_sync_interval: Duration::from_millis(config.os_sync_interval_ms),
            retry_interval: Duration::from_millis(config.wal_retry_interval_ms),
            ..WalOptions::default()
        };
        let on_commit = Box::new(move |commit| {
            let _ = commits.send(commit); // the engine may be gone
        });
        let start = replay.start();
        let wal = LocalWal::<Tag>::open(disk.clone(), options, start, &mut |e| replay.visit(e), on_commit)?;
        let replayed = replay.finish(&*segments)?;

        let cache = Arc::new(TailCache::default());
        let reclaim: Weak<TailCache> = Arc::downgrade(&cache);
        config.memory.add_cache(reclaim);
        let io = Arc::new(LogIo {
            wal: Box::new(wal),
            segments,
            dirty: Mutex::new(Vec::new()),
            cache: cache.clone(),
            room: LogRoom::new(config.wal_throttle_bytes),
            memory: config.memory.clone(),
        });
        let mut partitions = HashMap::new();
        for (key, state) in replayed.states {
            let has_tail = state.listed_dirty;
            let partition = Partition::new(key, epoch, io.clone(), state);
            if has_tail {
                io.dirty.lock().push(partition.clone());
            }
            partitions.insert(key, partition);
        }
        let storage = Arc::new(Storage {
            disk,
            producer_id_expiration_ms: AtomicU64::new(config.producer_id_expiration_ms),
            config,
            epoch,
            io,
            partitions: RwLock::new(partitions),
            quarantined: Mutex::new(replayed.quarantined),
            manifest: tokio::sync::Mutex::new(ManifestState {
                generation: replayed.generation,
                first_file: start.file,
            }),
            references: Mutex::new(replayed.references),
            next_segment: AtomicU64::new(replayed.next_segment),
            low_on_disk: AtomicBool::new(false),
            maintenance_wanted: Arc::new(Notify::new()),
            kept_wanted: AtomicBool::new(false),
            compaction_wanted: Arc::new(Notify::new()),
            graves: Mutex::default(),
            tasks: Mutex::new(Vec::new()),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        for spec in topics {
            storage.create_partitions(spec);
        }
        let committer = Committer::new(cache, Arc::downgrade(&storage));
        let weak: Weak<Storage> = Arc::downgrade(&storage);
        let tasks = [
            tokio::spawn(committer.run(commit_queue)),
            tokio::spawn(maintenance::run(weak.clone())),
            tokio::spawn(compaction::run(weak)),
        ];
        storage.tasks.lock().extend(tasks);
        Ok(storage)
    }

    pub fn partition(&self, topic: TopicId, partition: PartitionId) -> Option<Arc<Partition>> {
        let found = self.partitions.read().get(&PartitionKey { topic, partition }).cloned()?;
        if self.quarantined.lock().contains(&topic) { None } else { Some(found) }
    }

    /// Makes partitions `[existing, spec.partitions)` of a topic. Costs no disk until data arrives.
    pub fn create_partitions(&self, spec: TopicSpec) {
        self.quarantined.lock().retain(|topic| *topic != spec.topic);
        let mut partitions = self.partitions.write();
        for partition in 0..spec.partitions {
            let key = PartitionKey { topic: spec.topic, partition: PartitionId(partition) };
            partitions
                .entry(key)
                .or_insert_with(|| Partition::new(key, self.epoch, self.io.clone(), State::new(spec.config.clone())));
        }
    }

    pub fn update_config(&self, topic: TopicId, config: Arc<LogConfig>) {
        for partition in self.partitions_of(topic) {
            partition.lock().config = config.clone();
        }
        self.maintenance_wanted.notify_one();
    }

    /// Merges soon what has columns kept beside it ([`crate::segment::KeptColumns`]), where that is worth a file. Cheap to call again and again.
    pub fn merge_kept_soon(&self) {
        if !self.kept_wanted.swap(true, Ordering::AcqRel) {
            self.maintenance_wanted.notify_one();
        }
    }

    /// From now on the state of a producer goes after so long without a write.
    pub fn set_producer_id_expiration(&self, expiration_ms: u64) {
        self.producer_id_expiration_ms.store(expiration_ms, Ordering::Relaxed);
    }

    fn partitions_of(&self, topic: TopicId) -> Vec<Arc<Partition>> {
        self.partitions.read().iter().filter(|(key, _)| key.topic == topic).map(|(_, p)| p.clone()).collect()
    }

    /// Forgets a topic and its files. The caller has recorded the deletion in the metadata first. Needs no write to the log, and
    /// so not the manifest lock: on a full disk that one is held until there is space, and deleting topics makes some.
    pub fn delete_topic(&self, topic: TopicId) {
        let removed = {
            let mut partitions = self.partitions.write();
            let (removed, kept) = partitions.drain().partition::<HashMap<_, _>, _>(|(key, _)| key.topic == topic);
            *partitions = kept;
            removed
        };
        let mut files = Vec::new();
        for partition in removed.into_values() {
            let mut state = partition.lock();
            state.deleted = true;
            files.extend(state.segments.drain(..).flat_map(|s| s.files()));
            let log_end = state.log_end;
            let cached = state.drop_tail_below(log_end);
            self.io.cache.freed(cached);
            state.wake();
        }
        self.dereference(files);
        // Batches that were on their way go to the log all the same, when it can be written.
        let (notify, done) = oneshot::channel();
        self.submit_barrier(Tag::durable(notify));
        self.graves.lock().insert(topic, Grave::Open(done));
    }

    /// Notes topics that were deleted before the start: only the files of before may name them.
    pub fn bury(&self, topics: impl IntoIterator<Item = TopicId>) {
        let newest = self.newest_file();
        self.graves.lock().extend(topics.into_iter().map(|topic| (topic, Grave::Closed(newest))));
    }

    fn newest_file(&self) -> u64 {
        self.io.wal.files().last().map_or(0, |file| file.id)
    }

    /// Deleted topics that a start would not meet any more: all WAL files that may name them are gone, and those go only
    /// when the two newest checkpoints were made after them.
    pub fn unmentioned(&self) -> Vec<TopicId> {
        let (oldest, newest) = (self.io.wal.files().first().map_or(0, |file| file.id), self.newest_file());
        let mut graves = self.graves.lock();
        for grave in graves.values_mut() {
            if let Grave::Open(done) = grave
                && done.try_recv().is_ok()
            {
                *grave = Grave::Closed(newest);
            }
        }
        let gone = graves.iter().filter(|(_, grave)| matches!(grave, Grave::Closed(newest) if *newest < oldest));
        gone.map(|(topic, _)| *topic).collect()
    }

    /// Their deletion is not recorded any more.
    pub fn forget_graves(&self, topics: &[TopicId]) {
        self.graves.lock().retain(|topic, _| !topics.contains(topic));
    }

    /// Counts a section of a partition in a segment file.
    pub(super) fn reference(&self, file: u64) {
        *self.references.lock().entry(file).or_insert(0) += 1;
    }

    /// Removes the files that no partition refers to any more. Readers that hold one open finish undisturbed.
    pub(super) fn dereference(&self, files: impl IntoIterator<Item = u64>) {
        for file in files {
            let mut references = self.references.lock();
            let count = references.entry(file).or_insert(0);
            *count = count.saturating_sub(1);
            if *count > 0 {
                continue;
            }
            if self.ended.load(Ordering::Acquire) {
                return; // the next start removes what nothing refers to
            }
            references.remove(&file);
            drop(references);
            if let Err(error) = self.io.segments.remove(file) {
                tracing::warn!(%error, file = self.io.segments.name(file), "cannot remove a segment; the next start will");
            }
        }
    }

    /// Why appends are refused right now, if they are.
    fn refusal(&self) -> Option<AppendError> {
        if self.closing.load(Ordering::Acquire) {
            return Some(AppendError::ShuttingDown);
        }
        if self.low_on_disk.load(Ordering::Acquire) {
            return Some(AppendError::DiskFull);
        }
        Some(match self.io.wal.refusal()? {
            Refusal::DiskFull => AppendError::DiskFull,
            Refusal::Failing { reason } | Refusal::Unsynced { reason } => AppendError::LogUnavailable { reason },
        })
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The threads for work that computes.
    pub fn cpu(&self) -> &CpuPool {
        &self.config.cpu
    }

    /// The budget of the broker's buffers.
    pub fn memory(&self) -> &MemoryBudget {
        &self.config.memory
    }

    /// Queues batches. When this returns, their order against later submits is fixed; the future tells the outcome.
    /// Waits for memory while too much is on its way to the disk.
    pub async fn submit(&self, batches: Vec<PendingAppend>, acks: AckLevel) -> AppendFuture {
        let bytes: usize = batches.iter().map(|b| b.batch.len()).sum();
        // What the broker writes for itself must not wait behind clients: they may wait for it.
        let internal = batches.iter().all(|b| b.origin == AppendOrigin::Coordinator);
        let share = if internal { Share::Internal } else { Share::Writes };
        let memory = self.memory().reserve(share, bytes);
        self.enqueue(batches, acks, memory).await
    }

    /// As [`Storage::submit`], for batches in buffers of so many `bytes`, for which `memory` is held already: it is kept
    /// until the last of them is gone.
    pub async fn submit_held(
        &self,
        batches: Vec<PendingAppend>,
        acks: AckLevel,
        memory: Reservation,
        bytes: usize,
    ) -> AppendFuture {
        self.enqueue(batches, acks, memory.move_to(Share::Writes, bytes)).await
    }

    async fn enqueue(
        &self,
        batches: Vec<PendingAppend>,
        acks: AckLevel,
        memory: impl Future<Output = Reservation>,
    ) -> AppendFuture {
        let count = batches.len();
        let refused = |error| -> AppendFuture { Box::pin(std::future::ready(vec![Err(error); count])) };
        if let Some(error) = self.refusal() {
            return refused(error);
        }
        let internal = batches.iter().all(|b| b.origin == AppendOrigin::Coordinator);
        if !internal && tokio::time::timeout(ROOM_PATIENCE, self.io.room.wait()).await.is_err() {
            return refused(AppendError::LogFull { limit_bytes: self.io.room.limit_bytes() });
        }
        let Ok(memory) = tokio::time::timeout(MEMORY_PATIENCE, memory).await else {
            return refused(AppendError::Overloaded { limit_bytes: self.memory().limits_of(Share::Writes).max as u64 });
        };
        if self.closing.load(Ordering::Acquire) {
            return refused(AppendError::ShuttingDown);
        }
        let memory = memory.shared();
        let now = now();
        let results: Vec<_> = batches.into_iter().map(|b| b.partition.clone().append(b, now, &memory)).collect();
        // One barrier answers for all batches before it, also for duplicates and errors that depend on batches in flight.
        let (notify, done) = oneshot::channel();
        self.submit_barrier(match acks {
            AckLevel::Written => Tag::written(notify),
            AckLevel::Durable => Tag::durable(notify),
        });
        Box::pin(async move {
            match done.await {
                Ok(()) => results,
                Err(_) => vec![Err(AppendError::ShuttingDown); count],
            }
        })
    }

    fn submit_barrier(&self, tag: Tag) {
        let key = PartitionKey { topic: TopicId(uuid::Uuid::nil()), partition: PartitionId(0) };
        self.io.wal.submit(WalEntry { kind: EntryKind::Manifest, key, base_offset: Offset::ZERO, data: None, tag });
    }

    /// Completes when all that was submitted before is durable; false if the log closed first.
    pub(super) async fn barrier(&self) -> bool {
        let (notify, done) = oneshot::channel();
        self.submit_barrier(Tag::durable(notify));
        done.await.is_ok()
    }

    /// Makes a manifest record durable. The caller holds the manifest lock and applies it afterwards.
    pub(super) async fn write_record(&self, record: &Record) -> std::io::Result<()> {
        let (notify, done) = oneshot::channel();
        let key = PartitionKey { topic: TopicId(uuid::Uuid::nil()), partition: PartitionId(0) };
        self.io.wal.submit(WalEntry {
            kind: EntryKind::Manifest,
            key,
            base_offset: Offset::ZERO,
            data: Some(record.encode()?.into()),
            tag: Tag::durable(notify),
        });
        done.await.map_err(|_| std::io::Error::other("the write-ahead log closed"))?;
        self.sync_wal().await
    }

    /// What the manifest builds on is durable whatever the durability of records is: files that it replaces are removed.
    pub(super) async fn sync_wal(&self) -> std::io::Result<()> {
        if self.config.durability == Durability::Fsync {
            return Ok(());
        }
        let io = self.io.clone();
        tokio::task::spawn_blocking(move || io.wal.sync()).await.map_err(std::io::Error::other)?
    }

    /// DeleteRecords: moves the log start up to `before` (None = the high watermark); returns the new, durable log start.
    pub async fn delete_records(
        &self,
        partition: &Arc<Partition>,
        before: Option<Offset>,
    ) -> Result<Offset, ReadError> {
        let offsets = partition.offsets();
        let to = before.unwrap_or(offsets.high_watermark);
        if to < Offset::ZERO || to > offsets.high_watermark {
            return Err(ReadError::OffsetOutOfRange {
                partition: partition.key(),
                offset: to,
                log_start: offsets.log_start,
                limit: offsets.high_watermark,
            });
        }
        self.advance_log_start(partition, to).await.map_err(|error| ReadError::Io {
            partition: partition.key(),
            file: "wal".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(partition.offsets().log_start)
    }

    pub(super) async fn advance_log_start(&self, partition: &Arc<Partition>, to: Offset) -> std::io::Result<()> {
        let _manifest = self.manifest.lock().await;
        if to <= partition.offsets().log_start {
            return Ok(());
        }
        self.write_record(&Record::LogStart { key: partition.key().into(), offset: to.0 }).await?;
        let (gone, cached) = partition.lock().set_log_start(to);
        self.io.cache.freed(cached);
        self.dereference(gone.into_iter().flat_map(|s| s.files()));
        Ok(())
    }

    pub fn status(&self) -> StorageStatus {
        StorageStatus {
            write_refused: self.refusal().map(|e| e.to_string()),
            wal_bytes: self.io.wal.files().iter().map(|f| f.bytes).sum(),
            segment_bytes: self.partitions.read().values().map(|p| p.lock().segment_bytes).sum(),
            quarantined: self.quarantined.lock().clone(),
        }
    }

    /// Refuses new appends, waits for the queued ones, checkpoints, closes the files. True if nothing of the engine writes to
    /// the data folder any more, whoever still holds it.
    pub async fn shutdown(self: &Arc<Self>) -> bool {
        self.closing.store(true, Ordering::Release);
        self.io.room.close();
        self.maintenance_wanted.notify_one();
        self.compaction_wanted.notify_one();
        let mut last_checkpoint = std::pin::pin!(async {
            self.barrier().await;
            self.checkpoint().await
        });
        let error = loop {
            // Nothing that waits for the log ends while it refuses.
            if let Some(refusal) = self.io.wal.refusal() {
                break Some(format!("{refusal:?}"));
            }
            if let Ok(done) = tokio::time::timeout(REFUSAL_POLL, &mut last_checkpoint).await {
                break done.err().map(|error| error.to_string());
            }
        };
        if let Some(error) = error {
            tracing::warn!(error, "no checkpoint at shutdown; the next start replays more of the log");
        }
        let this = self.clone();
        if tokio::task::spawn_blocking(move || this.io.wal.close()).await.is_err() {
            tracing::error!("closing the write-ahead log panicked");
        }
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let ends = async {
            for task in tasks {
                let _ = task.await; // one that panicked has ended too
            }
        };
        let ended = tokio::time::timeout(TASKS_PATIENCE, ends).await.is_ok();
        if ended {
            self.ended.store(true, Ordering::Release);
        } else {
            tracing::warn!("a merge or a compaction does not end; the data folder stays locked until the process does");
        }
        ended
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Partitions and the shared IO refer to each other.
        self.io.dirty.lock().clear();
        self.partitions.write().clear();
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}
