//! One reader for both kinds of files.
use std::sync::Arc;

use weir_protocol::ids::{Offset, Timestamp};

use super::columns::ColumnFile;
use super::rows::{SectionRead, SectionReader, SegmentError};

/// Reads one partition's part of a segment, as batches. Blocking IO.
pub enum SegmentReader {
    Rows(SectionReader),
    Columns(Arc<dyn ColumnFile>),
}

impl SegmentReader {
    /// See [`SectionReader::read`].
    pub fn read(
        &self,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<SectionRead, SegmentError> {
        self.read_admitted(offset, end, max_bytes, at_least_one, &mut |_| true)
    }

    /// See [`SectionReader::read_admitted`].
    pub fn read_admitted(
        &self,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<SectionRead, SegmentError> {
        match self {
            SegmentReader::Rows(reader) => reader.read_admitted(offset, end, max_bytes, at_least_one, admit),
            SegmentReader::Columns(file) => file.read_admitted(offset, end, max_bytes, at_least_one, admit),
        }
    }

    /// An offset from which a batch whose max timestamp is >= `timestamp` can be found by reading on.
    pub fn seek_timestamp(&self, timestamp: Timestamp) -> Option<Offset> {
        match self {
            SegmentReader::Rows(reader) => reader.seek_timestamp(timestamp),
            SegmentReader::Columns(file) => file.seek_timestamp(timestamp),
        }
    }
}
