//! The state of one partition log, guarded by the lock of its [`Partition`](super::Partition). No IO here.
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use weir_protocol::ids::{LeaderEpoch, Offset, ProducerId, Timestamp};
use weir_protocol::records::batch::BatchHeader;

use super::config::LogConfig;
use super::manifest::{PartitionCheckpoint, SegmentRef};
use super::partition::DataWaiter;
use super::producers::{Aborted, Producers};
use super::types::{AbortedTransaction, BatchForm, GateFigures, LogOffsets, PartitionKey, ReadLimit};
use crate::segment::KeptColumns;
use crate::wal::WalLocation;

/// A batch that is not yet in a segment: in memory, in the WAL, or both.
#[derive(Debug, Clone)]
pub struct TailBatch {
    pub base: Offset,
    pub next: Offset,
    pub max_timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
    pub len: u32,
    /// `None` until it is durable.
    pub location: Option<WalLocation>,
    /// `None` once it was evicted from memory, which needs a location.
    pub bytes: Option<Bytes>,
    pub form: BatchForm,
    /// Until the batch is merged.
    pub kept: Option<KeptColumns>,
}

/// Rows are usually less than so many times larger than their columns, both compressed.
const ROWS_TO_COLUMNS: usize = 8;

impl TailBatch {
    /// Bytes of its rows, about: what came as columns is made into rows for those who read them.
    pub fn bytes_as_rows(&self) -> usize {
        match self.form {
            BatchForm::Rows => self.len as usize,
            BatchForm::Columns => ROWS_TO_COLUMNS * self.len as usize,
        }
    }
}

/// Where the data of a read comes from.
#[derive(Debug)]
pub enum ReadPlan {
    Nothing,
    /// All in memory.
    Hot(Vec<Bytes>),
    /// In the WAL, and possibly some in memory.
    Tail(Vec<TailBatch>),
    /// One that came as columns.
    Columns(TailBatch),
    Segment(SegmentRef),
}

#[derive(Debug)]
pub struct State {
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_end: Offset,
    /// Ascending and contiguous: each begins where the one before ends.
    pub segments: Vec<SegmentRef>,
    pub segment_bytes: u64,
    pub tail: VecDeque<TailBatch>,
    pub tail_bytes: u64,
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    pub producers: Producers,
    /// The largest log append time given, so that it never goes back.
    pub last_append_time: Timestamp,
    pub config: Arc<LogConfig>,
    /// What is below is not needed by whoever the gate waits for; `None`: nobody said so since the start.
    pub released: Option<Offset>,
    pub gate: GateFigures,
    pub deleted: bool,
    /// Known to the maintenance task as having a tail.
    pub listed_dirty: bool,
    waiters: Vec<Weak<DataWaiter>>,
}

impl State {
    pub fn new(config: Arc<LogConfig>) -> State {
        State {
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            last_stable: Offset::ZERO,
            log_end: Offset::ZERO,
            segments: Vec::new(),
            segment_bytes: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            epochs: Vec::new(),
            producers: Producers::default(),
            last_append_time: Timestamp(-1),
            config,
            released: None,
            gate: GateFigures::default(),
            deleted: false,
            listed_dirty: false,
            waiters: Vec::new(),
        }
    }

    pub fn restore(&mut self, checkpoint: PartitionCheckpoint) {
        self.log_start = Offset(checkpoint.log_start);
        self.segments = checkpoint.segments;
        self.segment_bytes = self.segments.iter().map(SegmentRef::stored_bytes).sum();
        self.epochs = checkpoint.epochs.iter().map(|(e, o)| (LeaderEpoch(*e), Offset(*o))).collect();
        self.producers = checkpoint.producers.restored();
        // Batches below state_end that are not in segments come back from the WAL.
        self.log_end = self.segments_end();
    }

    pub fn checkpoint(&self, key: PartitionKey) -> PartitionCheckpoint {
        PartitionCheckpoint {
            key: key.into(),
            log_start: self.log_start.0,
            state_end: self.log_end.0,
            segments: self.segments.clone(),
            epochs: self.epochs.iter().map(|(e, o)| (e.0, o.0)).collect(),
            producers: self.producers.clone(),
        }
    }

    /// Where the tail begins.
    pub fn segments_end(&self) -> Offset {
        self.segments.last().map_or(self.log_start, |s| Offset(s.next).max(self.log_start))
    }

    pub fn offsets(&self) -> LogOffsets {
        LogOffsets {
            log_start: self.log_start,
            last_stable: self.last_stable.max(self.log_start),
            high_watermark: self.high_watermark,
            log_end: self.log_end,
        }
    }

    pub fn visible_end(&self, limit: ReadLimit) -> Offset {
        match limit {
            ReadLimit::HighWatermark => self.high_watermark,
            ReadLimit::LastStable => self.last_stable,
        }
    }

    /// Aborted transactions with records in `[from, to)`, for readers that must not see them.
    pub fn aborted_in(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let found = self.producers.aborted_in(from, to);
        let shown = |a: &Aborted| AbortedTransaction {
            producer_id: ProducerId(a.producer_id),
            first_offset: Offset(a.first_offset),
        };
        found.map(shown).collect()
    }

    /// Adds a batch at the end of the tail.
    pub fn push(
        &mut self,
        header: &BatchHeader,
        form: BatchForm,
        location: Option<WalLocation>,
        bytes: Option<Bytes>,
        kept: Option<KeptColumns>,
    ) {
        debug_assert!(header.next_offset() > self.log_end, "offsets ascend");
        self.note_epoch(header.leader_epoch, header.base_offset);
        let len = header.total_len() as u32;
        self.tail.push_back(TailBatch {
            base: header.base_offset,
            next: header.next_offset(),
            max_timestamp: Timestamp(header.max_timestamp),
            leader_epoch: header.leader_epoch,
            len,
            location,
            bytes,
            form,
            kept,
        });
        self.tail_bytes += u64::from(len);
        self.log_end = header.next_offset();
    }

    fn note_epoch(&mut self, epoch: LeaderEpoch, at: Offset) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, at));
        }
    }

    /// LOG-3: called in offset order, so the high watermark stays the contiguous durable end. Returns the bytes that are
    /// now in the tail cache: held in memory and evictable.
    pub fn committed(&mut self, base: Offset, next: Offset, location: WalLocation) -> u64 {
        debug_assert!(next >= self.high_watermark, "LOG-3: the high watermark never goes back");
        self.set_high_watermark(next);
        let Ok(at) = self.tail.binary_search_by_key(&base, |b| b.base) else { return 0 };
        let batch = &mut self.tail[at];
        batch.location = Some(location);
        if batch.bytes.is_some() { u64::from(batch.len) } else { 0 }
    }

    pub fn set_high_watermark(&mut self, to: Offset) {
        self.high_watermark = self.high_watermark.max(to);
        self.last_stable = self.producers.last_stable(self.high_watermark);
        self.wake();
    }

    /// Drops tail batches below `to`; returns the bytes that were cached in memory.
    pub fn drop_tail_below(&mut self, to: Offset) -> u64 {
        let mut cached = 0;
        while self.tail.front().is_some_and(|b| b.next <= to) {
            if let Some(batch) = self.tail.pop_front() {
                self.tail_bytes -= u64::from(batch.len);
                if batch.bytes.is_some() && batch.location.is_some() {
                    cached += u64::from(batch.len);
                }
            }
        }
        cached
    }

    /// Applies a durable swap; returns the bytes freed from the tail cache.
    pub fn swap_segments(&mut self, add: &[SegmentRef], remove: &[u64]) -> u64 {
        self.segments.retain(|s| !remove.contains(&s.file));
        self.segments.extend(add.iter().cloned());
        self.segments.sort_by_key(|s| s.base);
        debug_assert!(self.segments.is_sorted_by(|a, b| a.next <= b.base), "segments do not overlap");
        self.segment_bytes = self.segments.iter().map(SegmentRef::stored_bytes).sum();
        let end = self.segments_end();
        self.log_end = self.log_end.max(end);
        self.drop_tail_below(end)
    }

    /// Moves the log start; returns segments that are now wholly below it and the bytes freed from the tail cache.
    pub fn set_log_start(&mut self, to: Offset) -> (Vec<SegmentRef>, u64) {
        if to <= self.log_start {
            return (Vec::new(), 0);
        }
        self.log_start = to;
        let gone = self.segments.iter().take_while(|s| s.next <= to.0).count();
        let gone: Vec<_> = self.segments.drain(..gone).collect();
        self.segment_bytes = self.segments.iter().map(SegmentRef::stored_bytes).sum();
        let cached = self.drop_tail_below(to);
        self.producers.truncate_front(to);
        // Keep the epoch that covers the new start, moved up to it.
        let covering = self.epochs.iter().rposition(|(_, start)| *start <= to).unwrap_or(0);
        self.epochs.drain(..covering);
        if let Some((_, start)) = self.epochs.first_mut() {
            *start = (*start).max(to);
        }
        self.log_end = self.log_end.max(to);
        self.high_watermark = self.high_watermark.max(to);
        self.last_stable = self.producers.last_stable(self.high_watermark);
        self.wake();
        (gone, cached)
    }

    /// Drops the memory of a located batch; returns the bytes freed.
    pub fn evict(&mut self, base: Offset) -> u64 {
        let Ok(at) = self.tail.binary_search_by_key(&base, |b| b.base) else { return 0 };
        let batch = &mut self.tail[at];
        if batch.location.is_some() && batch.bytes.take().is_some() { u64::from(batch.len) } else { 0 }
    }

    pub fn plan(&self, offset: Offset, end: Offset, max_bytes: usize, at_least_one: bool) -> ReadPlan {
        if offset >= end {
            return ReadPlan::Nothing;
        }
        if self.tail.front().is_none_or(|b| offset < b.base) {
            let at = self.segments.partition_point(|s| s.next <= offset.0);
            if let Some(segment) = self.segments.get(at) {
                return ReadPlan::Segment(segment.clone());
            }
        }
        let mut at = self.tail.partition_point(|b| b.next <= offset);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = self.tail.get(at) {
            let len = batch.len as usize;
            let fits = bytes + len <= max_bytes || (taken.is_empty() && at_least_one);
            let comes_apart = batch.form == BatchForm::Columns && !taken.is_empty();
            if batch.next > end || !fits || comes_apart {
                break;
            }
            if batch.form == BatchForm::Columns {
                return ReadPlan::Columns(batch.clone());
            }
            bytes += len;
            taken.push(batch);
            at += 1;
        }
        if taken.is_empty() {
            return ReadPlan::Nothing;
        }
        let hot: Option<Vec<Bytes>> = taken.iter().map(|b| b.bytes.clone()).collect();
        match hot {
            Some(chunks) => ReadPlan::Hot(chunks),
            None => ReadPlan::Tail(taken.into_iter().cloned().collect()),
        }
    }

    /// The batch of the tail that holds the record at `offset`.
    pub fn tail_at(&self, offset: Offset) -> Option<&TailBatch> {
        let at = self.tail.partition_point(|batch| batch.next <= offset);
        self.tail.get(at).filter(|batch| batch.base <= offset)
    }

    /// Visible bytes from `offset` on, up to about `enough`.
    pub fn available_bytes(&self, offset: Offset, limit: ReadLimit, enough: usize) -> usize {
        let end = self.visible_end(limit);
        let mut bytes = 0;
        if self.tail.front().is_none_or(|b| offset < b.base) {
            let at = self.segments.partition_point(|s| s.next <= offset.0);
            for segment in &self.segments[at..] {
                if segment.base >= end.0 || bytes >= enough {
                    break;
                }
                // The share of the segment by offsets: exact enough for a long poll.
                let span = (segment.next - segment.base).max(1) as u64;
                let left = (segment.next - offset.0.max(segment.base)) as u64;
                bytes += ((segment.bytes.saturating_mul(left) / span) as usize).max(1);
            }
        }
        let at = self.tail.partition_point(|b| b.next <= offset);
        for batch in self.tail.range(at..) {
            if batch.next > end || bytes >= enough {
                break;
            }
            bytes += batch.len as usize;
        }
        bytes
    }

    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let at = self.epochs.partition_point(|(e, _)| *e <= epoch).checked_sub(1)?;
        let end = self.epochs.get(at + 1).map_or(self.high_watermark, |(_, start)| *start);
        Some((self.epochs[at].0, end))
    }

    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let at = self.epochs.partition_point(|(_, start)| *start <= offset).checked_sub(1)?;
        Some(self.epochs[at].0)
    }

    pub fn register(&mut self, waiter: &Arc<DataWaiter>) {
        if self.waiters.len() >= 32 && self.waiters.len().is_power_of_two() {
            self.waiters.retain(|w| w.strong_count() > 0);
        }
        self.waiters.push(Arc::downgrade(waiter));
    }

    pub fn wake(&mut self) {
        for waiter in self.waiters.drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.wake();
            }
        }
    }
}
