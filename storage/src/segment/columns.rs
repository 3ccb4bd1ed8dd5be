//! Column files as the log sees them: bytes that an encoder made of batches, and that give the batches' records back.
//!
//! What is inside is not known here: tables, types and Arrow live above storage. A broker brings one [`ColumnFormat`] that
//! opens every column file there is, and a [`ColumnLayout`] for each topic whose rows are to be stored as columns.
use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use weir_protocol::records::batch::BatchHeader;

use super::rows::{SectionRead, SegmentError};
use crate::disk::DiskFile;

/// Opens column files. Each file says all that is needed to read it, so that no change of a topic makes old data unreadable.
pub trait ColumnFormat: Send + Sync + fmt::Debug {
    /// Reads and checks the footer. Blocking IO.
    fn open(&self, file: Arc<dyn DiskFile>) -> Result<Arc<dyn ColumnFile>, SegmentError>;

    /// Opens a batch that came as columns: its header, which gives it its place in the log, and a file of such columns in memory.
    fn open_batch(&self, batch: Bytes) -> Result<Arc<dyn ColumnFile>, SegmentError> {
        let _ = batch;
        Err(SegmentError::Columns { detail: "nobody here knows batches of columns".to_owned() })
    }
}

/// How the rows of one topic become columns.
pub trait ColumnLayout: Send + Sync + fmt::Debug {
    /// Memory that an encoder holds besides the file that grows: the rows it gathers, and what compresses them.
    fn working_bytes(&self) -> usize {
        24 << 20
    }

    /// A new, empty file.
    fn encoder(&self) -> Result<Box<dyn ColumnEncoder>, EncodeError>;
}

/// Why batches cannot become columns; they are stored as rows then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EncodeError {
    pub reason: String,
}

/// The columns of a batch that somebody decoded before it was appended, for whoever makes columns of it: what that is, only
/// those two know. The log keeps it beside the batch until that is merged, and does not count its memory.
#[derive(Clone)]
pub struct KeptColumns(pub Arc<dyn Any + Send + Sync>);

impl fmt::Debug for KeptColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptColumns")
    }
}

/// One column file being made. Whole batches, in offset order.
pub trait ColumnEncoder {
    fn append(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<(), EncodeError>;
    /// The same of a batch whose columns were kept, which got this place in the log. False: they are of no use (any more), the
    /// batch itself is needed.
    fn append_kept(&mut self, kept: &KeptColumns, base: Offset, epoch: LeaderEpoch) -> Result<bool, EncodeError> {
        let _ = (kept, base, epoch);
        Ok(false)
    }
    /// All batches of another column file, or one that came as columns. False, and nothing is done: they are needed as rows.
    fn append_columns(&mut self, file: &Arc<dyn ColumnFile>) -> Result<bool, EncodeError> {
        let _ = file;
        Ok(false)
    }
    /// Bytes in memory, about.
    fn held_bytes(&self) -> usize;
    /// The file, in order.
    fn finish(self: Box<Self>) -> Result<Vec<Bytes>, EncodeError>;
}

/// An open column file. Every byte used was verified (SEG-2).
pub trait ColumnFile: Send + Sync {
    /// The records as batches, framed as their producers framed them; see [`SectionReader::read_admitted`].
    ///
    /// [`SectionReader::read_admitted`]: super::SectionReader::read_admitted
    fn read_admitted(
        &self,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<SectionRead, SegmentError>;

    /// An offset from which a batch whose max timestamp is >= `timestamp` can be found by reading on.
    fn seek_timestamp(&self, timestamp: Timestamp) -> Option<Offset>;

    /// For those who know what is inside.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
