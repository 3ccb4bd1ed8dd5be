//! What a read of the log gives, as the columns a plan reads: the one place that knows how rows are stored.
use std::ops::ControlFlow;

use arrow_array::RecordBatch;
use bytes::{Bytes, BytesMut};
use weir_protocol::ids::Offset;
use weir_protocol::records::{BatchHeader, DecompressLimits, Record, batches, decode};
use weir_storage::log::{AbortedTransaction, PartitionKey};
use weir_table::RowDecoder;

use crate::columns::Columns;
use crate::committed::Visibility;
use crate::error::ScanError;
use crate::plan::batch_of;
use crate::system::SystemBuilder;

/// Rows gathered before they are filtered.
const ROWS_MAX: usize = weir_predicate::SLICE_ROWS;
/// Bytes gathered before they are filtered: bounds the memory of a scan over wide rows.
const BYTES_MAX: usize = 4 << 20;
/// One batch decompressed.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Contiguous rows as columns, with the offset of each.
#[derive(Debug)]
pub struct Rows {
    /// The columns of [`Columns::schema`].
    pub batch: RecordBatch,
    /// Ascending, one for each row.
    pub offsets: Vec<i64>,
    /// Records behind them that could not be decoded.
    pub errored: u64,
    /// Stored bytes that were looked at for them.
    pub stored_bytes: u64,
    /// Where they begin: there is nothing between this and the first row.
    pub start: Offset,
    /// Where the log goes on behind them.
    pub end: Offset,
}

/// Stored data that one read of the log gave.
#[derive(Debug)]
pub enum Chunk {
    /// Kafka batches in offset order, and the aborted transactions among them.
    Batches { chunks: Vec<Bytes>, aborted: Vec<AbortedTransaction> },
}

/// Turns a chunk into rows from `from` on, and hands them to `each` piece by piece, until it breaks. Pieces follow each other
/// without gaps; one without rows tells how far there is nothing to see.
pub fn read_chunk(
    chunk: &Chunk,
    columns: &Columns,
    partition: &PartitionKey,
    from: Offset,
    each: &mut dyn FnMut(Rows) -> Result<ControlFlow<()>, ScanError>,
) -> Result<(), ScanError> {
    let Chunk::Batches { chunks, aborted } = chunk;
    let mut visibility = Visibility::new(aborted);
    let mut reader = BatchReader::new(columns, partition, from);
    let mut done = ControlFlow::Continue(());
    for chunk in whole_batches(chunks) {
        for batch in batches(&chunk) {
            let batch = batch.map_err(|error| ScanError::failed(format!("stored batches do not parse: {error}")))?;
            if done.is_continue() {
                let sees = visibility.sees(&batch.header, batch.bytes);
                done = reader.batch(&batch.header, batch.bytes, sees, each)?;
            }
        }
    }
    if done.is_continue() {
        done = reader.emit(each)?;
    }
    // Whether it broke is known to whoever broke it.
    let _ = done;
    reader.finish();
    Ok(())
}

/// Gathers records. Only the columns that are read are built.
struct BatchReader<'a> {
    columns: &'a Columns,
    partition: &'a PartitionKey,
    user: Option<RowDecoder>,
    system: Vec<SystemBuilder>,
    offsets: Vec<i64>,
    bytes: usize,
    stored_bytes: u64,
    errored: u64,
    start: Offset,
    end: Offset,
}

impl<'a> BatchReader<'a> {
    fn new(columns: &'a Columns, partition: &'a PartitionKey, from: Offset) -> BatchReader<'a> {
        BatchReader {
            columns,
            partition,
            user: columns.decoder(),
            system: columns.system(),
            offsets: Vec::new(),
            bytes: 0,
            stored_bytes: 0,
            errored: 0,
            start: from,
            end: from,
        }
    }

    fn batch(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        sees: bool,
        each: &mut dyn FnMut(Rows) -> Result<ControlFlow<()>, ScanError>,
    ) -> Result<ControlFlow<()>, ScanError> {
        self.stored_bytes += bytes.len() as u64;
        if sees && self.records(header, bytes, each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.end = self.end.max(header.next_offset());
        // Errors end a piece: together with later rows, they would be counted again when those do not fit.
        if self.errored > 0 { self.emit(each) } else { Ok(ControlFlow::Continue(())) }
    }

    /// The records of a batch. What cannot be decoded was stored before it was checked, and no consumer can read it: it is
    /// counted, and passed over.
    fn records(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        each: &mut dyn FnMut(Rows) -> Result<ControlFlow<()>, ScanError>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let count = u64::from(header.record_count.unsigned_abs());
        let limits = DecompressLimits { max_bytes: BATCH_BYTES_MAX, ..DecompressLimits::default() };
        let partition = self.partition;
        let unreadable = |done: u64, error: &dyn std::fmt::Display| {
            let offset = header.base_offset.0;
            tracing::warn!(%partition, offset, done, count, %error, "a batch cannot be decoded to its end");
            count.saturating_sub(done)
        };
        let decoded = match decode(bytes, &limits) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.errored += unreadable(0, &error);
                return Ok(ControlFlow::Continue(()));
            }
        };
        for (done, record) in decoded.records().enumerate() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.errored += unreadable(done as u64, &error);
                    break;
                }
            };
            if record.offset(header) < self.start {
                continue;
            }
            self.append(header, &record)?;
            if (self.offsets.len() >= ROWS_MAX || self.bytes >= BYTES_MAX) && self.emit(each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn append(&mut self, header: &BatchHeader, record: &Record<'_>) -> Result<(), ScanError> {
        let (offset, timestamp) = (record.offset(header), record.timestamp(header));
        if let Some(user) = &mut self.user {
            // Every record is a row; only a full builder is an error, and pieces are far smaller.
            user.push(record.key, record.value).map_err(|error| ScanError::failed(error.to_string()))?;
        }
        for column in &mut self.system {
            column.append(self.partition.partition.0, offset, timestamp, record);
        }
        self.offsets.push(offset.0);
        self.end = offset + 1;
        self.bytes += record.raw.len();
        Ok(())
    }

    /// Hands over what was gathered; the next piece begins where it ends.
    fn emit(
        &mut self,
        each: &mut dyn FnMut(Rows) -> Result<ControlFlow<()>, ScanError>,
    ) -> Result<ControlFlow<()>, ScanError> {
        if self.end == self.start {
            return Ok(ControlFlow::Continue(()));
        }
        let mut columns = match &mut self.user {
            Some(user) => user.finish().map_err(|error| ScanError::failed(error.to_string()))?.columns().to_vec(),
            None => Vec::new(),
        };
        columns.extend(self.system.iter_mut().map(SystemBuilder::finish));
        let offsets = std::mem::take(&mut self.offsets);
        let batch = batch_of(self.columns.schema(), columns, offsets.len())?;
        let rows = Rows {
            batch,
            offsets,
            errored: std::mem::take(&mut self.errored),
            stored_bytes: std::mem::take(&mut self.stored_bytes),
            start: self.start,
            end: self.end,
        };
        (self.start, self.bytes) = (self.end, 0);
        each(rows)
    }

    fn finish(self) {
        if let Some(user) = self.user {
            self.columns.give_back(user);
        }
    }
}

/// Chunks whose batches are whole: a header that is a chunk of its own is joined with its body.
fn whole_batches(chunks: &[Bytes]) -> Vec<Bytes> {
    let mut whole: Vec<Bytes> = Vec::with_capacity(chunks.len());
    let mut pending: Option<BytesMut> = None;
    for chunk in chunks {
        if let Some(mut open) = pending.take() {
            open.extend_from_slice(chunk);
            match BatchHeader::parse(&open) {
                Ok(header) if open.len() < header.total_len() => pending = Some(open),
                _ => whole.push(open.freeze()),
            }
            continue;
        }
        match BatchHeader::parse(chunk) {
            Ok(header) if chunk.len() < header.total_len() => pending = Some(BytesMut::from(&chunk[..])),
            _ => whole.push(chunk.clone()),
        }
    }
    whole
}
