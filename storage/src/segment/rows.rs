//! Writing and reading row files.
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use weir_protocol::ids::{Offset, Timestamp};
use weir_protocol::records::batch::{BatchHeader, verify_crc};

use super::index::{FILE_MAGIC, INDEX_INTERVAL_BYTES, IndexEntry, SectionFooter, encode_footer};
use super::store::{Section, SegmentFile};
use crate::disk::DiskFile;
use crate::log::PartitionKey;

#[derive(Debug, Error)]
pub enum SegmentError {
    #[error("{source}")]
    Io { source: io::Error },
    #[error("footer: {detail}")]
    Footer { detail: String },
    #[error("segment format version {version} is newer than this program knows; upgrade weir")]
    NewerVersion { version: u32 },
    #[error("the batch at byte {position} does not verify: {detail}")]
    Batch { position: u64, detail: String },
    #[error("the file has no section of partition {key}")]
    NoSection { key: PartitionKey },
    #[error("{detail}")]
    Columns { detail: String },
}

/// Bytes gathered before they are written; bounds the memory of a merge.
const WRITE_CHUNK_BYTES: usize = 1 << 20;
/// Base offset, length, leader epoch, magic and CRC: the head of a batch that its own CRC does not cover.
const UNCOVERED_LEN: usize = 21;

/// Writes the sections of one file, one after the other.
pub struct RowFileWriter<'a> {
    file: &'a dyn DiskFile,
    position: u64,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    sections: Vec<SectionFooter>,
    since_index: u64,
}

impl<'a> RowFileWriter<'a> {
    pub fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        file.write_at(0, &[&FILE_MAGIC])?;
        Ok(RowFileWriter {
            file,
            position: FILE_MAGIC.len() as u64,
            pending: Vec::new(),
            pending_bytes: 0,
            sections: Vec::new(),
            since_index: 0,
        })
    }

    /// Begins the section of a partition; offsets of its batches ascend from `base_offset`.
    pub fn begin_section(&mut self, key: PartitionKey, base_offset: Offset) {
        self.since_index = INDEX_INTERVAL_BYTES;
        self.sections.push(SectionFooter {
            key,
            base_offset,
            next_offset: base_offset,
            position: self.position,
            length: 0,
            max_timestamp: Timestamp(-1),
            batches: 0,
            records: 0,
            index: Vec::new(),
        });
    }

    /// Adds a whole batch to the section begun last.
    pub fn append(&mut self, header: &BatchHeader, batch: Bytes) -> io::Result<()> {
        let Some(section) = self.sections.last_mut() else {
            return Err(io::Error::other("append before begin_section"));
        };
        let length = batch.len() as u64;
        section.max_timestamp = section.max_timestamp.max(Timestamp(header.max_timestamp));
        if self.since_index >= INDEX_INTERVAL_BYTES {
            self.since_index = 0;
            section.index.push(IndexEntry {
                base_offset: header.base_offset,
                position: section.length,
                max_timestamp: section.max_timestamp,
                header_crc: 0,
            });
        }
        if let Some(entry) = section.index.last_mut() {
            entry.max_timestamp = section.max_timestamp;
            entry.header_crc = crc32c::crc32c_append(entry.header_crc, &batch[..UNCOVERED_LEN]);
        }
        self.since_index += length;
        section.length += length;
        section.next_offset = header.next_offset();
        section.batches += 1;
        section.records += header.record_count.max(0) as u64;
        self.position += length;
        self.pending_bytes += batch.len();
        self.pending.push(batch);
        if self.pending_bytes >= WRITE_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Leaves out the section begun last; what was written of it stays in the file and belongs to nobody.
    pub fn abandon_section(&mut self) {
        self.sections.pop();
    }

    /// Extends the offset range of the section begun last beyond its last batch (compaction leaves gaps at the end).
    pub fn set_next_offset(&mut self, next_offset: Offset) {
        if let Some(section) = self.sections.last_mut() {
            section.next_offset = section.next_offset.max(next_offset);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let parts: Vec<&[u8]> = self.pending.iter().map(|b| &b[..]).collect();
        self.file.write_at(self.position - self.pending_bytes as u64, &parts)?;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Writes the footer; returns the sections and the length of the file. The caller syncs.
    pub fn finish(mut self) -> io::Result<(Vec<SectionFooter>, u64)> {
        self.flush()?;
        let footer = encode_footer(&self.sections);
        self.file.write_at(self.position, &[&footer])?;
        Ok((self.sections, self.position + footer.len() as u64))
    }
}

/// A run of whole batches as they lie in a file.
#[derive(Debug, Clone)]
pub struct BatchSlice {
    pub bytes: Bytes,
    pub first: BatchHeader,
    pub last: BatchHeader,
}

/// What a read of a section found.
#[derive(Debug)]
pub enum SectionRead {
    Slice(BatchSlice),
    /// The section has no batch at or after the offset.
    NothingLeft,
    /// The next batch does not fit `max_bytes`, or lies at or beyond `end`.
    Stop,
}

/// Reads one partition's section. Blocking IO; every batch returned was verified when it was first read (SEG-2).
pub struct SectionReader {
    file: Arc<SegmentFile>,
    section: Arc<Section>,
}

impl SectionReader {
    pub fn new(file: Arc<SegmentFile>, key: &PartitionKey) -> Result<SectionReader, SegmentError> {
        let section = file.section(key).ok_or(SegmentError::NoSection { key: *key })?;
        Ok(SectionReader { file, section })
    }

    pub fn footer(&self) -> &SectionFooter {
        &self.section.footer
    }

    /// Whole batches from the one that holds `offset` (or the next after it) up to `max_bytes`, at least one if
    /// `at_least_one`, none at or beyond `end`.
    pub fn read(
        &self,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<SectionRead, SegmentError> {
        self.read_admitted(offset, end, max_bytes, at_least_one, &mut |_| true)
    }

    /// As [`SectionReader::read`]; before a buffer of so many bytes is made, `admit` is asked, and [`SectionRead::Stop`]
    /// returned if it refuses.
    pub fn read_admitted(
        &self,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<SectionRead, SegmentError> {
        if offset >= self.footer().next_offset || self.footer().index.is_empty() {
            return Ok(SectionRead::NothingLeft);
        }
        let first = self.footer().index.partition_point(|e| e.base_offset <= offset).saturating_sub(1);
        // An offset in a gap after the last batch of its interval is answered from the next one.
        for interval in first..self.footer().index.len() {
            let Some((start, bytes)) = self.read_intervals(interval, max_bytes, admit)? else {
                return Ok(SectionRead::Stop);
            };
            match self.trim(&bytes, start, offset, end, max_bytes, at_least_one)? {
                SectionRead::NothingLeft => continue,
                found => return Ok(found),
            }
        }
        Ok(SectionRead::NothingLeft)
    }

    /// Reads whole index intervals from `first` on, as many as fit `max_bytes` and at least one, and verifies those that were not
    /// yet. What changes in a file that was read is for the device and the kernel to notice.
    /// None if memory for them is refused.
    fn read_intervals(
        &self,
        first: usize,
        max_bytes: usize,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<(u64, Bytes)>, SegmentError> {
        let index = &self.footer().index;
        let interval_end = |i: usize| index.get(i + 1).map_or(self.footer().length, |e| e.position);
        let start = index[first].position;
        let mut last = first;
        while last + 1 < index.len() && interval_end(last + 1) - start <= max_bytes as u64 + INDEX_INTERVAL_BYTES {
            last += 1;
        }
        let length = (interval_end(last) - start) as usize;
        if !admit(length) {
            return Ok(None);
        }
        let buf = self.file.file.read_vec(self.footer().position + start, length);
        let buf = buf.map_err(|source| SegmentError::Io { source })?;
        for (i, entry) in index.iter().enumerate().take(last + 1).skip(first) {
            if !self.section.is_verified(i) {
                let range = (entry.position - start) as usize..(interval_end(i) - start) as usize;
                self.verify_interval(&buf[range], entry)?;
                self.section.set_verified(i);
            }
        }
        Ok(Some((start, Bytes::from(buf))))
    }

    fn verify_interval(&self, bytes: &[u8], entry: &IndexEntry) -> Result<(), SegmentError> {
        let mut at = 0;
        let mut header_crc = 0;
        while at < bytes.len() {
            let position = entry.position + at as u64;
            let header = self.parse(&bytes[at..], position)?;
            let batch = bytes
                .get(at..at + header.total_len())
                .ok_or_else(|| self.damaged(position, "the batch is longer than its index interval".to_owned()))?;
            verify_crc(batch).map_err(|e| self.damaged(position, e.to_string()))?;
            header_crc = crc32c::crc32c_append(header_crc, &batch[..UNCOVERED_LEN]);
            at += batch.len();
        }
        if header_crc != entry.header_crc {
            return Err(self.damaged(entry.position, "the CRC over the batch headers does not match".to_owned()));
        }
        Ok(())
    }

    /// Cuts bytes to what was asked for.
    fn trim(
        &self,
        bytes: &Bytes,
        start: u64,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<SectionRead, SegmentError> {
        let mut at = 0;
        let mut range: Option<(usize, BatchHeader, BatchHeader)> = None;
        while at < bytes.len() {
            let header = self.parse(&bytes[at..], start + at as u64)?;
            let next_at = at + header.total_len();
            if next_at > bytes.len() {
                // Verified once, and read otherwise now.
                let detail = "the batch is longer than its index interval".to_owned();
                return Err(self.damaged(start + at as u64, detail));
            }
            if header.base_offset >= end {
                break;
            }
            if header.next_offset() > offset {
                let from = range.as_ref().map_or(at, |(from, ..)| *from);
                let fits = next_at - from <= max_bytes || (range.is_none() && at_least_one);
                if !fits {
                    break;
                }
                let first = range.take().map_or_else(|| header, |(_, first, _)| first);
                range = Some((from, first, header));
            }
            at = next_at;
        }
        Ok(match range {
            Some((from, first, last)) => SectionRead::Slice(BatchSlice { bytes: bytes.slice(from..at), first, last }),
            None if at >= bytes.len() => SectionRead::NothingLeft,
            None => SectionRead::Stop,
        })
    }

    /// The index position from which a batch whose max timestamp is >= `timestamp` can be found by reading on.
    pub fn seek_timestamp(&self, timestamp: Timestamp) -> Option<Offset> {
        let at = self.footer().index.partition_point(|e| e.max_timestamp < timestamp);
        self.footer().index.get(at).map(|e| e.base_offset)
    }

    fn parse(&self, buf: &[u8], position: u64) -> Result<BatchHeader, SegmentError> {
        BatchHeader::parse(buf).map_err(|e| self.damaged(position, e.to_string()))
    }

    fn damaged(&self, position: u64, detail: String) -> SegmentError {
        SegmentError::Batch { position: self.footer().position + position, detail }
    }
}
