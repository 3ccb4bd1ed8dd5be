//! Plain reads: whole batches from memory, the WAL and segments, put together within a memory budget.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::BatchHeader;

use super::super::state::{ReadPlan, State};
use super::super::types::{
    AbortedTransaction, COLUMN_BATCH_BYTES_MAX, COLUMN_BATCH_ROW_BYTES_MAX, ReadError, ReadLimit, ReadOutcome,
    ReadRequest,
};
use super::{ColdError, Partition, READ_ATTEMPTS};
use crate::memory::{MemoryBudget, Reservation, Share};
use crate::segment::{BatchSlice, SectionRead};

/// Pieces (segments, tail) that one read puts together.
const READ_PIECES_MAX: usize = 32;

impl Partition {
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

    pub(super) fn check_range(&self, state: &State, offset: Offset) -> Result<(), ReadError> {
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
                let chunks: Result<Vec<Bytes>, ColdError> = batches.iter().map(|b| self.tail_rows(b)).collect();
                Ok(Some(Piece::of(chunks?)))
            }
            ReadPlan::Segment(segment) => {
                let reader = self.open_segment(&segment)?;
                let read = |admit: &mut dyn FnMut(usize) -> bool| {
                    let found = reader.read_admitted(offset, end, max_bytes, at_least_one, admit);
                    found.map_err(|error| self.segment_error(error, segment.file, offset))
                };
                match held.read(read)? {
                    SectionRead::Slice(slice) => Ok(Some(Piece::of_slice(slice))),
                    SectionRead::Stop => Ok(None),
                    // Compaction left nothing between the offset and the end of the segment.
                    SectionRead::NothingLeft => {
                        let after = Offset(segment.next);
                        let plan = self.lock().plan(after, end, max_bytes, at_least_one);
                        self.read_cold(plan, after, end, max_bytes, at_least_one, held)
                    }
                }
            }
            ReadPlan::Columns(batch) => {
                // Its bytes, unless they are in memory, which counts them, and what they are when they are opened.
                let stored = if batch.bytes.is_none() { batch.len as usize } else { 0 };
                let own = stored + COLUMN_BATCH_BYTES_MAX + COLUMN_BATCH_ROW_BYTES_MAX;
                held.cover(own)?;
                let file = self.tail_columns(&batch)?;
                let read = |admit: &mut dyn FnMut(usize) -> bool| {
                    let mut admit = |bytes| admit(bytes + own);
                    let found = file.read_admitted(offset, end, max_bytes, at_least_one, &mut admit);
                    found.map_err(|error| self.batch_error(error, &batch))
                };
                match held.read(read)? {
                    SectionRead::Slice(slice) => {
                        held.used = slice.bytes.len();
                        Ok(Some(Piece::of_slice(slice)))
                    }
                    SectionRead::Stop | SectionRead::NothingLeft => Ok(None),
                }
            }
        }
    }
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

    /// Reads from a file, which asks for room before it makes a buffer.
    fn read(
        &mut self,
        read: impl FnOnce(&mut dyn FnMut(usize) -> bool) -> Result<SectionRead, ColdError>,
    ) -> Result<SectionRead, PieceError> {
        let mut refused = None;
        let found = read(&mut |bytes| match self.cover(bytes) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        });
        match refused {
            Some(refused) => Err(refused),
            None => Ok(found?),
        }
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
    fn of_slice(slice: BatchSlice) -> Piece {
        let (bytes, next) = (slice.bytes.len(), slice.last.next_offset());
        Piece { chunks: vec![slice.bytes], bytes, next, memory: None }
    }

    /// From batches, one per chunk.
    fn of(chunks: Vec<Bytes>) -> Piece {
        let bytes = chunks.iter().map(Bytes::len).sum();
        let next = chunks.last().and_then(|c| BatchHeader::parse(c).ok()).map_or(Offset(i64::MAX), |h| h.next_offset());
        Piece { chunks, bytes, next, memory: None }
    }
}
