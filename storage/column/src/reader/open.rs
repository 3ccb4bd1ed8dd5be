//! Opening: from the last bytes to the block, nothing believed before it is verified.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::windows::windows;
use super::{ColumnSegmentReader, compare, plain_schema};
use crate::block::{Block, TAIL_BYTES, Tail};
use crate::bytes_io::{ReadAt, padded, read};
use crate::error::{ColumnError, Result};
use crate::ipc::MAGIC;
use crate::ipc_read;

/// Footer length and magic.
const END_BYTES: u64 = 10;
/// Read at first from the end; most blocks fit.
const FIRST_READ: u64 = 64 << 10;

impl ColumnSegmentReader {
    /// Opens a segment and verifies footer and block.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<ColumnSegmentReader> {
        let short = ColumnError::NotSegment { reason: "too short" };
        let length = source.len();
        if length < 8 + TAIL_BYTES as u64 + END_BYTES {
            return Err(short);
        }
        let end = End::read(&*source, length)?;
        let footer_at = length - END_BYTES - end.footer_bytes()?;
        let tail_at = footer_at.checked_sub(TAIL_BYTES as u64).ok_or(short)?;
        let tail = Tail::decode(&end.range(&*source, tail_at, TAIL_BYTES as u64)?)?;
        let footer = end.range(&*source, footer_at, length - END_BYTES - footer_at)?;
        if u64::from(tail.footer) != footer.len() as u64 {
            return Err(ColumnError::corrupt("the footer is not as long as its block says"));
        }
        compare("the footer", footer_at, tail.footer_crc, crc32c::crc32c(&footer))?;
        let beyond = || ColumnError::corrupt("a block longer than its file");
        let block_at = tail_at.checked_sub(padded(u64::from(tail.block))).ok_or_else(beyond)?;
        let bytes = end.range(&*source, block_at, u64::from(tail.block))?;
        compare("the block", block_at, tail.block_crc, crc32c::crc32c(&bytes))?;
        let footer = ipc_read::footer(&footer)?;
        let stored = footer.schema().ok_or_else(|| ColumnError::corrupt("a footer without schema"))?;
        let (stored, layout) = ipc_read::schema(stored)?;
        let block = Block::decode(&bytes, &layout, block_at)?;
        let windows = windows(&block.groups)?;
        let keyed = layout.dictionary_columns();
        let buffers = block.groups.len() * layout.buffers;
        Ok(ColumnSegmentReader {
            source,
            schema: Arc::new(plain_schema(&stored)),
            stored_schema: Arc::new(stored),
            dictionaries: keyed.iter().map(|_| OnceLock::new()).collect(),
            keyed,
            layout,
            block,
            windows,
            verified: (0..buffers.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        })
    }
}

/// The last bytes of the file.
struct End {
    at: u64,
    bytes: Bytes,
}

impl End {
    fn read(source: &dyn ReadAt, length: u64) -> Result<End> {
        let at = length.saturating_sub(FIRST_READ);
        let bytes = read(source, at, length - at)?;
        match bytes.ends_with(MAGIC) {
            true => Ok(End { at, bytes }),
            false => Err(ColumnError::NotSegment { reason: "no Arrow magic at the end" }),
        }
    }

    fn footer_bytes(&self) -> Result<u64> {
        let length = &self.bytes[self.bytes.len() - END_BYTES as usize..][..4];
        let length = i32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        let max = (self.at + self.bytes.len() as u64 - END_BYTES).min(ipc_read::HEADER_BYTES_MAX);
        match u64::try_from(length) {
            Ok(length) if length <= max => Ok(length),
            _ => Err(ColumnError::corrupt(format!("a footer of {length} bytes"))),
        }
    }

    /// From what is here already, or the file.
    fn range(&self, source: &dyn ReadAt, offset: u64, length: u64) -> Result<Bytes> {
        match offset.checked_sub(self.at) {
            Some(from) if from + length <= self.bytes.len() as u64 => {
                Ok(self.bytes.slice(from as usize..(from + length) as usize))
            }
            _ => read(source, offset, length),
        }
    }
}
