//! The footer of a row file: where each partition's section lies, and a sparse index into it.
//!
//! ```text
//! row file
//!   0  magic  8 "WEIRROW1"
//!   8  batches of section 0, section 1, ... back to back, byte for byte as produced
//!   .  footer: section count u32, then per section
//!        topic id 16 | partition i32 | base offset i64 | next offset i64 | position u64 | length u64
//!        max timestamp i64 | batches u64 | records u64 | index count u32
//!        index entries: base offset i64 | position in section u64 | running max timestamp i64 | header CRC u32
//!   .  trailer, 24 bytes: footer length u64 | footer CRC32C u32 | version u32 | magic 8 "WEIRROWF"
//! ```
use weir_protocol::ids::{Offset, PartitionId, Timestamp, TopicId};

use super::rows::SegmentError;
use crate::log::PartitionKey;

pub const FILE_MAGIC: [u8; 8] = *b"WEIRROW1";
pub const TRAILER_MAGIC: [u8; 8] = *b"WEIRROWF";
pub const TRAILER_LEN: usize = 24;
pub const VERSION: u32 = 1;
/// A footer larger than this is refused before memory is reserved for it.
pub const FOOTER_MAX_BYTES: u64 = 256 << 20;
/// An index entry is written for the first batch after so many bytes.
pub const INDEX_INTERVAL_BYTES: u64 = 16 << 10;

const SECTION_LEN: usize = 16 + 4 + 8 * 7 + 4;
const ENTRY_LEN: usize = 28;

/// A batch boundary inside a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    pub base_offset: Offset,
    /// From the start of the section.
    pub position: u64,
    /// The largest timestamp of all batches from the start of the section up to the next index entry.
    pub max_timestamp: Timestamp,
    /// CRC32C over the first 21 bytes of each batch up to the next index entry: what the batches' own CRCs do not cover.
    pub header_crc: u32,
}

/// One partition's part of a row file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionFooter {
    pub key: PartitionKey,
    pub base_offset: Offset,
    pub next_offset: Offset,
    /// From the start of the file.
    pub position: u64,
    pub length: u64,
    pub max_timestamp: Timestamp,
    pub batches: u64,
    pub records: u64,
    pub index: Vec<IndexEntry>,
}

pub fn encode_footer(sections: &[SectionFooter]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    for s in sections {
        out.extend_from_slice(s.key.topic.0.as_bytes());
        out.extend_from_slice(&s.key.partition.0.to_le_bytes());
        out.extend_from_slice(&s.base_offset.0.to_le_bytes());
        out.extend_from_slice(&s.next_offset.0.to_le_bytes());
        for value in [s.position, s.length] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&s.max_timestamp.0.to_le_bytes());
        for value in [s.batches, s.records] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&(s.index.len() as u32).to_le_bytes());
        for entry in &s.index {
            out.extend_from_slice(&entry.base_offset.0.to_le_bytes());
            out.extend_from_slice(&entry.position.to_le_bytes());
            out.extend_from_slice(&entry.max_timestamp.0.to_le_bytes());
            out.extend_from_slice(&entry.header_crc.to_le_bytes());
        }
    }
    let length = out.len() as u64;
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&TRAILER_MAGIC);
    out
}

/// Length of the footer that this trailer announces, and its CRC.
pub fn decode_trailer(trailer: &[u8], file_len: u64) -> Result<(u64, u32), SegmentError> {
    let mut reader = Cursor { buf: trailer };
    let (length, crc, version) = (reader.u64()?, reader.u32()?, reader.u32()?);
    if trailer.len() != TRAILER_LEN || trailer[16..] != TRAILER_MAGIC {
        return Err(SegmentError::Footer { detail: "no trailer magic at the end of the file".to_owned() });
    }
    if version > VERSION {
        return Err(SegmentError::NewerVersion { version });
    }
    if length > FOOTER_MAX_BYTES || length + TRAILER_LEN as u64 + FILE_MAGIC.len() as u64 > file_len {
        return Err(SegmentError::Footer {
            detail: format!("footer length {length} does not fit the file of {file_len} bytes"),
        });
    }
    Ok((length, crc))
}

/// Decodes a footer whose sections must lie inside the first `data_end` bytes of the file.
pub fn decode_footer(footer: &[u8], crc: u32, data_end: u64) -> Result<Vec<SectionFooter>, SegmentError> {
    if crc32c::crc32c(footer) != crc {
        return Err(SegmentError::Footer { detail: "footer CRC does not match".to_owned() });
    }
    let mut reader = Cursor { buf: footer };
    let count = reader.count(SECTION_LEN)?;
    let mut sections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut topic = [0; 16];
        topic.copy_from_slice(reader.take(16)?);
        let partition = PartitionId(reader.u32()? as i32);
        let (base_offset, next_offset) = (Offset(reader.i64()?), Offset(reader.i64()?));
        let (position, length) = (reader.u64()?, reader.u64()?);
        let max_timestamp = Timestamp(reader.i64()?);
        let (batches, records) = (reader.u64()?, reader.u64()?);
        let entries = reader.count(ENTRY_LEN)?;
        let mut index = Vec::with_capacity(entries);
        for _ in 0..entries {
            index.push(IndexEntry {
                base_offset: Offset(reader.i64()?),
                position: reader.u64()?,
                max_timestamp: Timestamp(reader.i64()?),
                header_crc: reader.u32()?,
            });
        }
        let in_file = position.checked_add(length).is_some_and(|end| end <= data_end);
        let in_section = index.iter().all(|e| e.position < length)
            && index.is_sorted_by(|a, b| a.position < b.position && a.base_offset < b.base_offset)
            && index.first().map_or(length == 0, |e| e.position == 0);
        if !in_file || !in_section || next_offset < base_offset {
            return Err(SegmentError::Footer {
                detail: format!("section of partition {partition} lies outside of the file"),
            });
        }
        let key = PartitionKey { topic: TopicId(uuid::Uuid::from_bytes(topic)), partition };
        sections.push(SectionFooter {
            key,
            base_offset,
            next_offset,
            position,
            length,
            max_timestamp,
            batches,
            records,
            index,
        });
    }
    Ok(sections)
}

struct Cursor<'a> {
    buf: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SegmentError> {
        if n > self.buf.len() {
            return Err(SegmentError::Footer { detail: format!("{n} bytes needed, {} left", self.buf.len()) });
        }
        let (head, tail) = self.buf.split_at(n);
        self.buf = tail;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, SegmentError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, SegmentError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn i64(&mut self) -> Result<i64, SegmentError> {
        Ok(self.u64()? as i64)
    }

    /// A count of elements of `size` bytes, refused before anything is allocated if they cannot be there.
    fn count(&mut self, size: usize) -> Result<usize, SegmentError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(size) > self.buf.len() {
            return Err(SegmentError::Footer {
                detail: format!("{count} elements announced, {} bytes left", self.buf.len()),
            });
        }
        Ok(count)
    }
}
