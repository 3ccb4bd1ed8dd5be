//! Row groups that are returned as they are stored: no buffer is opened between the file and the client.
//!
//! Legal only where every row of the group is visible, each wanted column is stored as it is read, and the client takes the
//! file's codec. All groups of one answer come from one file, since they share its dictionaries.
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use weir_column::{Projection, Slicer};
use weir_layout::ColumnSegment;

use crate::error::ScanError;

/// Codecs of stored buffers that a client takes; plain ones it always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceCodecs {
    pub lz4: bool,
    pub zstd: bool,
}

impl SliceCodecs {
    pub(crate) fn take(self, codec: weir_column::Codec) -> bool {
        match codec {
            weir_column::Codec::None => true,
            weir_column::Codec::Lz4 => self.lz4,
            weir_column::Codec::Zstd(_) => self.zstd,
        }
    }
}

/// One row group of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlicedGroup {
    pub index: usize,
    pub first_offset: i64,
    pub last_offset: i64,
    /// All of them; row `i` has offset `first_offset + i`.
    pub rows: u32,
    /// Rows in front that the reader has seen before.
    pub skip_head: u32,
}

/// Row groups of one column file.
pub struct StoredRows {
    segment: Arc<ColumnSegment>,
    projection: Projection,
    /// Names of the columns, and their plain types.
    schema: SchemaRef,
    groups: Vec<SlicedGroup>,
    bytes: u64,
}

impl std::fmt::Debug for StoredRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredRows({:?})", self.groups)
    }
}

impl StoredRows {
    pub(crate) fn new(segment: Arc<ColumnSegment>, projection: Projection, schema: SchemaRef) -> StoredRows {
        StoredRows { segment, projection, schema, groups: Vec::new(), bytes: 0 }
    }

    pub(crate) fn is_of(&self, segment: &Arc<ColumnSegment>) -> bool {
        Arc::ptr_eq(&self.segment, segment)
    }

    pub(crate) fn push(&mut self, group: SlicedGroup, bytes: u64) {
        self.groups.push(group);
        self.bytes += bytes;
    }

    /// The groups, in offset order.
    pub fn groups(&self) -> &[SlicedGroup] {
        &self.groups
    }

    /// Rows that the reader has not seen before.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.rows - group.skip_head)).sum()
    }

    /// Bytes of the stored buffers.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The IPC stream, and its CRC-32C, which the file's own checksums agree with.
    pub fn encode(&self) -> Result<(Bytes, u32), ScanError> {
        let failed = |error| ScanError::failed(format!("a column file: {error}"));
        let mut slicer = Slicer::named(self.segment.reader(), &self.projection, &self.schema).map_err(failed)?;
        for group in &self.groups {
            slicer.add(group.index).map_err(failed)?;
        }
        let (bytes, sliced) = slicer.into_bytes().map_err(failed)?;
        Ok((bytes, sliced.crc))
    }
}
