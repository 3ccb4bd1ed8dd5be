//! What is stored of a partition, and where: for scans, merges and look-ups. Bytes are verified before anybody gets them.
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::{BatchHeader, verify_crc};

use super::super::columns::{ColumnPart, Extent, View};
use super::super::manifest::SegmentRef;
use super::super::state::TailBatch;
use super::super::types::{BatchForm, ReadError, ReadLimit};
use super::{Partition, READ_ATTEMPTS};
use crate::memory::{Reservation, Share};
use crate::segment::{ColumnFile, SectionRead, SectionReader, SegmentError, SegmentReader};

/// Batches that came as columns and are parts of their own in [`Partition::stored_parts`]: whoever asks opens each.
const COLUMN_PARTS_MAX: usize = 256;

/// Why a read from disk gave nothing.
#[derive(Debug)]
pub(in crate::log) enum ColdError {
    /// A merge, retention or deletion moved the data meanwhile: plan again.
    Moved,
    Failed(ReadError),
}

impl Partition {
    /// The parts in which records from `from` on are stored, `[base, next)` each with its bytes: segments, then what no merge has
    /// taken yet: runs of batches of rows, and batches of columns. Reads nothing.
    pub fn stored_parts(&self, from: Offset) -> Vec<(Offset, Offset, u64)> {
        let state = self.lock();
        let segments = state.segments.iter().map(|s| (Offset(s.base), Offset(s.next), s.bytes));
        let mut parts: Vec<(Offset, Offset, u64)> = segments.collect();
        let (mut apart, mut last) = (0, None);
        for batch in &state.tail {
            let form = if apart < COLUMN_PARTS_MAX { batch.form } else { BatchForm::Rows };
            apart += usize::from(form == BatchForm::Columns);
            match parts.last_mut().filter(|_| form == BatchForm::Rows && last == Some(form)) {
                Some((_, next, bytes)) => {
                    *next = batch.next;
                    *bytes += u64::from(batch.len);
                }
                None => parts.push((batch.base, batch.next, u64::from(batch.len))),
            }
            last = Some(form);
        }
        parts.retain(|(_, next, _)| *next > from);
        parts
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
        match state.segments.get(at).filter(|s| s.base <= offset.0) {
            Some(segment) => segment.column_file().is_some(),
            None => state.tail_at(offset).is_some_and(|batch| batch.form == BatchForm::Columns),
        }
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

    /// The column file, or the batch that came as columns, that holds the record at `offset`. Blocking IO.
    pub fn column_part(&self, offset: Offset) -> Result<Option<ColumnPart>, ReadError> {
        for _ in 0..READ_ATTEMPTS {
            let (segment, batch) = {
                let state = self.lock();
                self.check_range(&state, offset)?;
                let at = state.segments.partition_point(|s| s.next <= offset.0);
                let segment = state.segments.get(at).filter(|s| s.base <= offset.0).cloned();
                let batch = state.tail_at(offset).filter(|_| segment.is_none()).cloned();
                (segment, batch.filter(|batch| batch.form == BatchForm::Columns))
            };
            let found = match (segment, batch) {
                (Some(segment), _) => {
                    let Some(file) = segment.column_file() else { return Ok(None) };
                    let opened = self.io.segments.open_columns(file).map_err(|e| self.segment_error(e, file, offset));
                    let (base, next) = (Offset(segment.base), Offset(segment.next));
                    opened.map(|file| ColumnPart { file, base, next, is_batch: false })
                }
                (None, Some(batch)) => {
                    let (base, next) = (batch.base, batch.next);
                    self.tail_columns(&batch).map(|file| ColumnPart { file, base, next, is_batch: true })
                }
                (None, None) => return Ok(None),
            };
            match found {
                Ok(part) => return Ok(Some(part)),
                Err(ColdError::Moved) => continue,
                Err(ColdError::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(in crate::log) fn open_columns(&self, file: u64) -> Result<Arc<dyn ColumnFile>, ColdError> {
        self.io.segments.open_columns(file).map_err(|error| self.segment_error(error, file, Offset(-1)))
    }

    /// Rows if there are any, else columns made into rows.
    pub(in crate::log) fn open_segment(&self, segment: &SegmentRef) -> Result<SegmentReader, ColdError> {
        let segments = &self.io.segments;
        let opened = if segment.columnar {
            segments.open_columns(segment.file).map(SegmentReader::Columns)
        } else {
            segments.open(segment.file).and_then(|f| SectionReader::new(f, &self.key)).map(SegmentReader::Rows)
        };
        opened.map_err(|e| self.segment_error(e, segment.file, Offset(-1)))
    }

    pub(in crate::log) fn segment_error(&self, error: SegmentError, file: u64, offset: Offset) -> ColdError {
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

    /// A tail batch as rows, whatever it came as. Blocking.
    pub(in crate::log) fn tail_rows(&self, batch: &TailBatch) -> Result<Bytes, ColdError> {
        if batch.form == BatchForm::Rows {
            return self.tail_bytes(batch);
        }
        let file = self.tail_columns(batch)?;
        let read = file.read_admitted(batch.base, batch.next, usize::MAX, true, &mut |_| true);
        match read.map_err(|error| self.batch_error(error, batch))? {
            SectionRead::Slice(slice) => Ok(slice.bytes),
            SectionRead::NothingLeft | SectionRead::Stop => {
                let detail = "a batch of columns without rows".to_owned();
                Err(self.batch_error(SegmentError::Columns { detail }, batch))
            }
        }
    }

    /// The columns of a tail batch that came as such. Blocking.
    pub(in crate::log) fn tail_columns(&self, batch: &TailBatch) -> Result<Arc<dyn ColumnFile>, ColdError> {
        let bytes = self.tail_bytes(batch)?;
        self.io.segments.open_batch(bytes).map_err(|error| self.batch_error(error, batch))
    }

    /// A batch that came as columns cannot be read.
    pub(in crate::log) fn batch_error(&self, error: SegmentError, batch: &TailBatch) -> ColdError {
        let (file, position) = match batch.location {
            Some(location) => (self.io.wal.file_name(location.file), location.position),
            None => ("memory".to_owned(), 0),
        };
        let (partition, offset, detail) = (self.key, batch.base, error.to_string());
        tracing::error!(%partition, file, position, detail, "stored columns are damaged and are not served");
        ColdError::Failed(ReadError::Corrupt { partition, offset, file, position, detail })
    }

    /// Bytes of a tail batch as they are stored, from memory or verified from the WAL. Blocking.
    fn tail_bytes(&self, batch: &TailBatch) -> Result<Bytes, ColdError> {
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
}
