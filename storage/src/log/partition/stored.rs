//! What is stored of a partition, and where: for scans, merges and look-ups. Bytes are verified before anybody gets them.
use std::io;

use bytes::Bytes;
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::{BatchHeader, verify_crc};

use super::super::columns::{ColumnPart, Extent, View};
use super::super::manifest::SegmentRef;
use super::super::state::TailBatch;
use super::super::types::{ReadError, ReadLimit};
use super::{Partition, READ_ATTEMPTS};
use crate::memory::{Reservation, Share};
use crate::segment::{SectionReader, SegmentError, SegmentReader};

/// Why a read from disk gave nothing.
#[derive(Debug)]
pub(in crate::log) enum ColdError {
    /// A merge, retention or deletion moved the data meanwhile: plan again.
    Moved,
    Failed(ReadError),
}

impl Partition {
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

    /// Bytes of a tail batch, from memory or verified from the WAL. Blocking.
    pub(in crate::log) fn tail_bytes(&self, batch: &TailBatch) -> Result<Bytes, ColdError> {
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
