//! The handle on one partition log.
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use weir_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::batch::{BatchHeader, patch_base_offset_and_epoch, set_log_append_time};

use super::commit::{Tag, TailCache};
use super::config::LogConfig;
use super::producers::{Marker, TransactionGuard, Verdict};
use super::room::LogRoom;
use super::state::State;
use super::timestamps;
use super::types::{
    ActiveProducer, AppendError, AppendOrigin, Appended, BatchForm, GateFigures, LogOffsets, PartitionKey,
    PendingAppend, ReadError, ReadLimit, TimestampOffset,
};
use crate::memory::{Charged, MemoryBudget, Share, SharedReservation};
use crate::segment::SegmentStore;
use crate::wal::{EntryKind, Wal, WalEntry};

mod reading;
mod stored;

pub(super) use stored::ColdError;

/// How often a read starts over because a merge or retention moved the data under it.
const READ_ATTEMPTS: usize = 8;
/// Memory of a look-up by timestamp.
const LOOKUP_BYTES: usize = 1 << 20;

/// What all partitions share: where bytes go and come from.
pub(super) struct LogIo {
    pub wal: Box<dyn Wal<Tag>>,
    pub segments: Arc<dyn SegmentStore>,
    /// Partitions with a tail, for the maintenance task.
    pub dirty: Mutex<Vec<Arc<Partition>>>,
    pub cache: Arc<TailCache>,
    pub room: LogRoom,
    pub memory: MemoryBudget,
}

/// One partition log. The lock is held for moments only, never across IO or an await; the write side runs under it, so
/// offsets, tail and WAL order agree.
pub struct Partition {
    key: PartitionKey,
    epoch: LeaderEpoch,
    io: Arc<LogIo>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partition({})", self.key)
    }
}

/// Wakes one long-polling reader. Register it with every partition of the fetch, check the data, then await.
#[derive(Debug, Default)]
pub struct DataWaiter {
    notify: Notify,
}

impl DataWaiter {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Completes once any partition it was registered with has new visible data (or was deleted) since the registration.
    pub async fn notified(&self) {
        self.notify.notified().await
    }

    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }
}

impl Partition {
    pub(super) fn new(key: PartitionKey, epoch: LeaderEpoch, io: Arc<LogIo>, state: State) -> Arc<Partition> {
        Arc::new(Partition { key, epoch, io, state: Mutex::new(state) })
    }

    /// The engine shuts down: long work ends early.
    pub(super) fn is_closing(&self) -> bool {
        self.io.room.is_closed()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub fn key(&self) -> PartitionKey {
        self.key
    }

    pub fn offsets(&self) -> LogOffsets {
        self.lock().offsets()
    }

    /// Bytes on disk and in the WAL between log start and log end.
    pub fn size_bytes(&self) -> u64 {
        let state = self.lock();
        state.segment_bytes + state.tail_bytes
    }

    /// Visible bytes from `offset` on, up to `enough`; cheap, reads nothing from disk.
    pub fn available_bytes(&self, offset: Offset, limit: ReadLimit, enough: usize) -> usize {
        self.lock().available_bytes(offset, limit, enough)
    }

    /// Wake `waiter` once at the next advance of the high watermark, last stable offset or log start, or on deletion.
    pub fn register(&self, waiter: &Arc<DataWaiter>) {
        let mut state = self.lock();
        if state.deleted {
            waiter.wake();
        } else {
            state.register(waiter);
        }
    }

    /// The leader epoch new batches get.
    pub fn current_epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// OffsetForLeaderEpoch: the largest epoch <= `epoch` that has records, and the offset after its last one. None: no such epoch.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.lock().epoch_end(epoch)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.lock().epoch_at(offset)
    }

    /// Whoever the gate of retention waits for ([`LogConfig::gate`]) has everything below `offset`. It holds until the process
    /// ends or [`Partition::hold`].
    pub fn release_below(&self, offset: Offset) {
        self.lock().released = Some(offset);
    }

    /// The gate keeps everything until it is told more.
    pub fn hold(&self) {
        self.lock().released = None;
    }

    /// What the gate does, as of the last round of retention.
    pub fn gate(&self) -> GateFigures {
        self.lock().gate
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.lock().config.clone()
    }

    /// Assigns offsets and queues the batch; it is neither durable nor visible when this returns.
    pub(super) fn append(
        self: &Arc<Self>,
        pending: PendingAppend,
        now: Timestamp,
        memory: &Arc<SharedReservation>,
    ) -> Result<Appended, AppendError> {
        let PendingAppend { mut batch, mut header, form, origin, kept, .. } = pending;
        let mut state = self.lock();
        if state.deleted {
            return Err(AppendError::PartitionDeleted(self.key));
        }
        let marker = header.attributes.is_control().then(|| timestamps::marker_of(&batch));
        let verdict = match (origin, marker) {
            (_, Some(marker)) => state.producers.check_marker(&header, marker),
            (AppendOrigin::Client, None) => state.producers.check(&header, None),
            (AppendOrigin::Verified(guard), None) => state.producers.check(&header, Some(guard)),
            (AppendOrigin::Coordinator, None) => Verdict::Append,
        };
        if let Some(duplicate) = self.judge(&state, &header, marker, verdict)? {
            return Ok(duplicate);
        }
        header.base_offset = state.log_end;
        header.leader_epoch = self.epoch;
        patch_base_offset_and_epoch(&mut batch, header.base_offset, header.leader_epoch);
        // What came as columns has its times there: it was checked before the topic got this setting.
        let stamps = state.config.log_append_time && form == BatchForm::Rows;
        let log_append_time = stamps.then(|| now.max(state.last_append_time));
        if let Some(time) = log_append_time {
            state.last_append_time = time;
            header.max_timestamp = time.0;
            set_log_append_time(&mut batch, time);
        }
        match marker {
            Some(marker) => state.producers.record_marker(&header, marker, now.0),
            None => state.producers.record(&header, log_append_time.map(|t| t.0), now.0),
        }
        let bytes = Charged::tie(batch.freeze(), memory.clone());
        // Its timestamps are the broker's now.
        let kept = kept.filter(|_| log_append_time.is_none());
        state.push(&header, form, None, Some(bytes.clone()), kept);
        let appended = Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time,
            log_start: state.log_start,
            duplicate: false,
        };
        if !std::mem::replace(&mut state.listed_dirty, true) {
            self.io.dirty.lock().push(self.clone());
        }
        metrics::counter!("weir_storage_bytes_ingested_total").increment(bytes.len() as u64);
        // Under the lock: the WAL must see the batches of a partition in offset order.
        self.io.wal.submit(WalEntry {
            kind: match form {
                BatchForm::Rows => EntryKind::Batch,
                BatchForm::Columns => EntryKind::Columns,
            },
            key: self.key,
            base_offset: header.base_offset,
            data: Some(bytes),
            tag: Tag::batch(self.clone(), header.base_offset, header.next_offset(), memory.clone()),
        });
        Ok(appended)
    }

    /// What a verdict means for the append: go on, the answer of a duplicate, or an error.
    fn judge(
        &self,
        state: &State,
        header: &BatchHeader,
        marker: Option<Marker>,
        verdict: Verdict,
    ) -> Result<Option<Appended>, AppendError> {
        let producer = ProducerId(header.producer_id);
        match verdict {
            Verdict::Append => Ok(None),
            Verdict::Duplicate(first) => Ok(Some(Appended {
                base_offset: Offset(first.base_offset),
                last_offset: Offset(first.last_offset),
                log_append_time: (first.timestamp >= 0).then_some(Timestamp(first.timestamp)),
                log_start: state.log_start,
                duplicate: true,
            })),
            Verdict::OutOfOrder { expected } => Err(AppendError::OutOfOrderSequence {
                partition: self.key,
                producer,
                expected,
                got: header.base_sequence,
            }),
            Verdict::StaleEpoch { current } => Err(AppendError::StaleProducerEpoch {
                partition: self.key,
                producer,
                current: ProducerEpoch(current),
                got: ProducerEpoch(header.producer_epoch),
            }),
            Verdict::NoTransaction => Err(AppendError::NoTransaction { partition: self.key, producer }),
            Verdict::NotTransactional => Err(AppendError::NotTransactional { partition: self.key, producer }),
            Verdict::StaleCoordinator { current } => Err(AppendError::StaleCoordinator {
                partition: self.key,
                current,
                got: marker.map_or(-1, |marker| marker.coordinator_epoch),
            }),
        }
    }

    /// Take this before the coordinator is asked whether the transaction is open, and append with
    /// [`AppendOrigin::Verified`]. `None`: the transaction is open on this partition already, nobody needs to be asked.
    pub fn transaction_guard(&self, producer: ProducerId, epoch: ProducerEpoch) -> Option<TransactionGuard> {
        self.lock().producers.transaction_guard(producer.0, epoch.0)
    }

    /// The producers that wrote to this partition and are not forgotten yet, by id.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        let known = |value: i32| (value >= 0).then_some(value);
        let state = self.lock();
        let producers = state.producers.iter().map(|(id, producer)| ActiveProducer {
            producer_id: ProducerId(id),
            epoch: ProducerEpoch(producer.epoch),
            last_sequence: known(producer.last_sequence()),
            last_write: Timestamp(producer.last_ms),
            coordinator_epoch: known(producer.coordinator_epoch),
            transaction_start: producer.transaction_start.map(Offset),
        });
        producers.collect()
    }

    /// The first record whose timestamp is >= `timestamp` (ListOffsets).
    pub async fn offset_for_timestamp(
        self: &Arc<Self>,
        timestamp: Timestamp,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.blocking(move |p| timestamps::first_at_or_after(p, timestamp)).await
    }

    /// The record with the largest timestamp (ListOffsets -3); the earliest one of equals.
    pub async fn offset_of_max_timestamp(self: &Arc<Self>) -> Result<Option<TimestampOffset>, ReadError> {
        self.blocking(timestamps::of_max).await
    }

    async fn blocking<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Partition) -> Result<R, ReadError> + Send + 'static,
    ) -> Result<R, ReadError> {
        // Look-ups read a piece of a segment at a time.
        let _memory = self.io.memory.reserve(Share::Responses, LOOKUP_BYTES).await;
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(result) => result,
            Err(join) => Err(ReadError::Io { partition: self.key, file: String::new(), reason: join.to_string() }),
        }
    }
}
