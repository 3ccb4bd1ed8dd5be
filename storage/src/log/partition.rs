//! The handle on one partition log.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use weir_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::batch::{BatchHeader, patch_base_offset_and_epoch, set_log_append_time, verify_crc};

use super::columns::{ColumnPart, Extent, View};
use super::commit::{Tag, TailCache};
use super::config::LogConfig;
use super::manifest::SegmentRef;
use super::producers::{Marker, TransactionGuard, Verdict};
use super::room::LogRoom;
use super::state::{ReadPlan, State, TailBatch};
use super::timestamps;
use super::types::{
    AbortedTransaction, ActiveProducer, AppendError, AppendOrigin, Appended, LogOffsets, PartitionKey, ReadError,
    ReadLimit, ReadOutcome, ReadRequest, TimestampOffset,
};
use crate::memory::{Charged, MemoryBudget, Reservation, Share, SharedReservation};
use crate::segment::{SectionRead, SectionReader, SegmentError, SegmentReader, SegmentStore};
use crate::wal::{EntryKind, Wal, WalEntry};

/// How often a read starts over because a merge or retention moved the data under it.
const READ_ATTEMPTS: usize = 8;
/// Memory of a look-up by timestamp.
const LOOKUP_BYTES: usize = 1 << 20;
/// Pieces (segments, tail) that one read puts together.
const READ_PIECES_MAX: usize = 32;

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

    pub fn config(&self) -> Arc<LogConfig> {
        self.lock().config.clone()
    }

    /// Assigns offsets and queues the batch; it is neither durable nor visible when this returns.
    pub(super) fn append(
        self: &Arc<Self>,
        mut batch: BytesMut,
        mut header: BatchHeader,
        origin: AppendOrigin,
        now: Timestamp,
        memory: &Arc<SharedReservation>,
    ) -> Result<Appended, AppendError> {
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
        let log_append_time = state.config.log_append_time.then(|| now.max(state.last_append_time));
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
        state.push(&header, None, Some(bytes.clone()));
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
            kind: EntryKind::Batch,
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

    /// Reads whole batches. Data in memory is returned at once; the rest is read on a blocking thread, into memory of
    /// [`Share::Responses`], for which this waits.
    pub async fn read(self: &Arc<Self>, request: ReadRequest) -> Result<ReadOutcome, ReadError> {
        self.read_within(request, None).await
    }

    /// As [`Partition::read`], but waits for memory no longer than `patience`: then it returns what it has, or
    /// [`ReadError::NoMemory`].
    pub async fn read_within(
        self: &Arc<Self>,
        request: ReadRequest,
        patience: Option<Duration>,
    ) -> Result<ReadOutcome, ReadError> {
        let (offsets, end, aborted) = {
            let state = self.lock();
            let end = state.visible_end(request.limit);
            self.check_range(&state, request.offset)?;
            // Now, not after the data: retention may forget a transaction whose records are being read.
            let aborted: Vec<AbortedTransaction> = match request.limit {
                ReadLimit::HighWatermark => Vec::new(),
                ReadLimit::LastStable => state.aborted_in(request.offset, end),
            };
            (state.offsets(), end, aborted)
        };
        let mut outcome =
            ReadOutcome { offsets, chunks: Vec::new(), bytes: 0, aborted: Vec::new(), memory: Vec::new() };
        let mut cursor = request.offset;
        let mut attempts = 0;
        let mut memory = None;
        for _ in 0..READ_PIECES_MAX {
            let left = request.max_bytes.saturating_sub(outcome.bytes);
            let at_least_one = request.at_least_one && outcome.bytes == 0;
            if left == 0 && !at_least_one {
                break;
            }
            let plan = self.lock().plan(cursor, end, left, at_least_one);
            let piece = match plan {
                ReadPlan::Nothing => break,
                // These bytes are the tail's own, which counts them for as long as they are held.
                ReadPlan::Hot(chunks) => Piece::of(chunks),
                cold => match self.read_piece(cold, cursor, end, left, at_least_one, memory.take()).await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(PieceError::Cold(ColdError::Moved)) if attempts < READ_ATTEMPTS => {
                        attempts += 1;
                        self.check_range(&self.lock(), cursor)?;
                        continue;
                    }
                    Err(PieceError::Cold(ColdError::Moved)) => break,
                    // What was read before the damaged place, or before memory ran out, is still good.
                    Err(_) if outcome.bytes > 0 => break,
                    Err(PieceError::Cold(ColdError::Failed(error))) => return Err(error),
                    Err(PieceError::NeedsMemory(bytes)) => {
                        memory = Some(self.wait_for_memory(bytes, patience).await?);
                        continue;
                    }
                },
            };
            outcome.bytes += piece.bytes;
            cursor = piece.next;
            outcome.chunks.extend(piece.chunks);
            outcome.memory.extend(piece.memory);
            if cursor >= end {
                break;
            }
        }
        if outcome.bytes > 0 {
            outcome.aborted = aborted.into_iter().filter(|a| a.first_offset < cursor).collect();
        }
        Ok(outcome)
    }

    async fn wait_for_memory(&self, bytes: usize, patience: Option<Duration>) -> Result<Reservation, ReadError> {
        let reserve = self.io.memory.reserve(Share::Responses, bytes);
        match patience {
            None => Ok(reserve.await),
            Some(patience) => tokio::time::timeout(patience, reserve).await.map_err(|_| ReadError::NoMemory {
                partition: self.key,
                bytes,
                waited: patience,
            }),
        }
    }

    /// Reads what is not in memory on a blocking thread. `memory` is used for it, if it suffices.
    async fn read_piece(
        self: &Arc<Self>,
        plan: ReadPlan,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
        memory: Option<Reservation>,
    ) -> Result<Option<Piece>, PieceError> {
        let this = self.clone();
        let read = move || {
            let mut held = Held { budget: this.io.memory.clone(), memory, used: 0 };
            let piece = this.read_cold(plan, offset, end, max_bytes, at_least_one, &mut held)?;
            Ok(piece.map(|piece| Piece { memory: held.finish(), ..piece }))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(join) => {
                let (file, reason) = (String::new(), join.to_string());
                Err(ColdError::Failed(ReadError::Io { partition: self.key, file, reason }).into())
            }
        }
    }

    fn check_range(&self, state: &State, offset: Offset) -> Result<(), ReadError> {
        if state.deleted {
            return Err(ReadError::PartitionDeleted(self.key));
        }
        if offset < state.log_start || offset > state.log_end {
            let (log_start, limit) = (state.log_start, state.high_watermark);
            return Err(ReadError::OffsetOutOfRange { partition: self.key, offset, log_start, limit });
        }
        Ok(())
    }

    fn read_cold(
        &self,
        plan: ReadPlan,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
        held: &mut Held,
    ) -> Result<Option<Piece>, PieceError> {
        match plan {
            ReadPlan::Nothing => Ok(None),
            ReadPlan::Hot(chunks) => Ok(Some(Piece::of(chunks))),
            ReadPlan::Tail(batches) => {
                held.cover(batches.iter().filter(|b| b.bytes.is_none()).map(|b| b.len as usize).sum())?;
                let chunks: Result<Vec<Bytes>, ColdError> = batches.iter().map(|b| self.tail_bytes(b)).collect();
                Ok(Some(Piece::of(chunks?)))
            }
            ReadPlan::Segment(segment) => {
                let reader = self.open_segment(&segment)?;
                let mut refused = None;
                let mut admit = |bytes| match held.cover(bytes) {
                    Ok(()) => true,
                    Err(error) => {
                        refused = Some(error);
                        false
                    }
                };
                let found = reader
                    .read_admitted(offset, end, max_bytes, at_least_one, &mut admit)
                    .map_err(|e| self.segment_error(e, segment.file, offset));
                if let Some(refused) = refused {
                    return Err(refused);
                }
                match found? {
                    SectionRead::Slice(slice) => {
                        let bytes = slice.bytes.len();
                        let next = slice.last.next_offset();
                        Ok(Some(Piece { chunks: vec![slice.bytes], bytes, next, memory: None }))
                    }
                    SectionRead::Stop => Ok(None),
                    // Compaction left nothing between the offset and the end of the segment.
                    SectionRead::NothingLeft => {
                        let after = Offset(segment.next);
                        let plan = self.lock().plan(after, end, max_bytes, at_least_one);
                        self.read_cold(plan, after, end, max_bytes, at_least_one, held)
                    }
                }
            }
        }
    }

    /// The parts in which records from `from` on are stored, `[base, next)` each with its bytes: segments, then what no merge has
    /// taken yet. Reads nothing.
    pub fn stored_parts(&self, from: Offset) -> Vec<(Offset, Offset, u64)> {
        let state = self.lock();
        let end = state.offsets().log_end;
        let segments = state.segments.iter().map(|s| (Offset(s.base), Offset(s.next), s.bytes));
        let rest = (state.segments_end(), end, state.tail_bytes);
        segments.chain([rest]).filter(|(base, next, _)| *next > from && next > base).collect()
    }

    /// The segments, in order; what follows them is in the write-ahead log. Reads nothing.
    pub fn extents(&self) -> Vec<Extent> {
        let extent = |segment: &SegmentRef| Extent {
            base: Offset(segment.base),
            next: Offset(segment.next),
            bytes: segment.stored_bytes(),
            rows: !segment.columnar,
            columns: segment.column_file().is_some(),
        };
        self.lock().segments.iter().map(extent).collect()
    }

    /// Whether the record at `offset` is stored as columns. Reads nothing.
    pub fn stores_columns_at(&self, offset: Offset) -> bool {
        let state = self.lock();
        let at = state.segments.partition_point(|s| s.next <= offset.0);
        state.segments.get(at).is_some_and(|s| s.base <= offset.0 && s.column_file().is_some())
    }

    /// What a reader sees of `[from, to)`: the part that is visible, and the aborted transactions in it.
    pub fn view(&self, from: Offset, to: Offset, limit: ReadLimit) -> Result<View, ReadError> {
        let state = self.lock();
        self.check_range(&state, from)?;
        let end = state.visible_end(limit).min(to);
        let aborted = match limit {
            ReadLimit::HighWatermark => Vec::new(),
            ReadLimit::LastStable => state.aborted_in(from, end),
        };
        Ok(View { offsets: state.offsets(), end, aborted })
    }

    /// Memory for bytes that somebody else reads from a column file.
    pub async fn memory_to_read(&self, bytes: usize) -> Reservation {
        let most = self.io.memory.limits_of(Share::Responses).max;
        self.io.memory.reserve(Share::Responses, bytes.min(most)).await
    }

    /// The column file that holds the record at `offset`, if that is stored as columns and below `end`. Blocking IO.
    pub fn column_part(&self, offset: Offset) -> Result<Option<ColumnPart>, ReadError> {
        for _ in 0..READ_ATTEMPTS {
            let found = {
                let state = self.lock();
                self.check_range(&state, offset)?;
                let at = state.segments.partition_point(|s| s.next <= offset.0);
                state.segments.get(at).filter(|s| s.base <= offset.0).cloned()
            };
            let Some((segment, file)) = found.and_then(|s| s.column_file().map(|file| (s, file))) else {
                return Ok(None);
            };
            match self.io.segments.open_columns(file).map_err(|e| self.segment_error(e, file, offset)) {
                Ok(file) => {
                    return Ok(Some(ColumnPart { file, base: Offset(segment.base), next: Offset(segment.next) }));
                }
                Err(ColdError::Moved) => continue,
                Err(ColdError::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Rows if there are any, else columns made into rows.
    pub(super) fn open_segment(&self, segment: &SegmentRef) -> Result<SegmentReader, ColdError> {
        let segments = &self.io.segments;
        let opened = if segment.columnar {
            segments.open_columns(segment.file).map(SegmentReader::Columns)
        } else {
            segments.open(segment.file).and_then(|f| SectionReader::new(f, &self.key)).map(SegmentReader::Rows)
        };
        opened.map_err(|e| self.segment_error(e, segment.file, Offset(-1)))
    }

    pub(super) fn segment_error(&self, error: SegmentError, file: u64, offset: Offset) -> ColdError {
        let (partition, name) = (self.key, self.io.segments.name(file));
        match error {
            SegmentError::Io { source } if source.kind() == io::ErrorKind::NotFound => ColdError::Moved,
            SegmentError::Io { source } => {
                ColdError::Failed(ReadError::Io { partition, file: name, reason: source.to_string() })
            }
            SegmentError::Batch { position, detail } => {
                tracing::error!(%partition, file = name, position, detail, "stored data is damaged and is not served");
                ColdError::Failed(ReadError::Corrupt { partition, offset, file: name, position, detail })
            }
            other @ (SegmentError::Footer { .. }
            | SegmentError::NewerVersion { .. }
            | SegmentError::NoSection { .. }
            | SegmentError::Columns { .. }) => {
                let detail = other.to_string();
                tracing::error!(%partition, file = name, detail, "stored data is damaged and is not served");
                ColdError::Failed(ReadError::Corrupt { partition, offset, file: name, position: 0, detail })
            }
        }
    }

    /// Bytes of a tail batch, from memory or verified from the WAL. Blocking.
    pub(super) fn tail_bytes(&self, batch: &TailBatch) -> Result<Bytes, ColdError> {
        if let Some(bytes) = &batch.bytes {
            return Ok(bytes.clone());
        }
        let Some(location) = batch.location else {
            return Err(ColdError::Moved); // cannot happen: a batch is evicted only once it is located
        };
        let file = self.io.wal.file_name(location.file);
        let buf = self.io.wal.read(location, batch.len as usize).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ColdError::Moved,
            _ => ColdError::Failed(ReadError::Io { partition: self.key, file: file.clone(), reason: e.to_string() }),
        })?;
        let damage = match BatchHeader::parse(&buf) {
            Ok(header)
                if header.base_offset == batch.base
                    && header.next_offset() == batch.next
                    && header.total_len() == buf.len()
                    && header.leader_epoch == batch.leader_epoch =>
            {
                verify_crc(&buf).err().map(|e| e.to_string())
            }
            Ok(header) => Some(format!("its header says offset {}, expected {}", header.base_offset, batch.base)),
            Err(error) => Some(error.to_string()),
        };
        match damage {
            None => Ok(Bytes::from(buf)),
            Some(detail) => {
                let position = location.position;
                tracing::error!(partition = %self.key, file, position, detail, "stored data is damaged and is not served");
                Err(ColdError::Failed(ReadError::Corrupt {
                    partition: self.key,
                    offset: batch.base,
                    file,
                    position,
                    detail,
                }))
            }
        }
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

/// Why a read from disk gave nothing.
#[derive(Debug)]
pub(super) enum ColdError {
    /// A merge, retention or deletion moved the data meanwhile: plan again.
    Moved,
    Failed(ReadError),
}

/// The same of a read that takes memory from the budget.
enum PieceError {
    Cold(ColdError),
    /// So many bytes are not free right now.
    NeedsMemory(usize),
}

impl From<ColdError> for PieceError {
    fn from(error: ColdError) -> Self {
        PieceError::Cold(error)
    }
}

/// Memory of one read from disk: reserved before a buffer is made.
struct Held {
    budget: MemoryBudget,
    memory: Option<Reservation>,
    /// Bytes of the buffer that is in use.
    used: usize,
}

impl Held {
    /// Room for a buffer of so many bytes; one made before is gone by now.
    fn cover(&mut self, bytes: usize) -> Result<(), PieceError> {
        self.used = bytes;
        // What was waited for may be less than asked for: a share has a maximum.
        let most = self.budget.limits_of(Share::Responses).max;
        let bytes = bytes.min(most);
        let missing = bytes.saturating_sub(self.memory.as_ref().map_or(0, Reservation::bytes));
        let covered = match &mut self.memory {
            Some(memory) => missing == 0 || memory.try_grow(missing),
            None => {
                self.memory = self.budget.try_reserve(Share::Responses, bytes);
                self.memory.is_some()
            }
        };
        if covered {
            return Ok(());
        }
        // Waiting for all of it while holding a part could be waiting for another reader that does the same.
        self.memory = None;
        Err(PieceError::NeedsMemory(bytes))
    }

    fn finish(mut self) -> Option<Reservation> {
        if let Some(memory) = &mut self.memory {
            memory.shrink_to(self.used);
        }
        self.memory.filter(|memory| memory.bytes() > 0)
    }
}

struct Piece {
    chunks: Vec<Bytes>,
    bytes: usize,
    next: Offset,
    /// Of what was read from disk.
    memory: Option<Reservation>,
}

impl Piece {
    /// From batches, one per chunk.
    fn of(chunks: Vec<Bytes>) -> Piece {
        let bytes = chunks.iter().map(Bytes::len).sum();
        let next = chunks.last().and_then(|c| BatchHeader::parse(c).ok()).map_or(Offset(i64::MAX), |h| h.next_offset());
        Piece { chunks, bytes, next, memory: None }
    }
}
