//! Bytes of a WAL file. All integers little-endian.
//!
//! ```text
//! file header, 4096 bytes
//!   0  magic        8  "WEIRWAL1"
//!   8  crc          4  CRC32C of bytes 12..96
//!  12  version      4  1
//!  16  file id      8  equals the number in the file's name; a recycled or spare file does not match
//!  24  incarnation  8  random for each use of a file: tells its commits from those of an earlier use
//!  32  first seq    8  sequence of its first commit; what older files hold from there on is superseded (LOG-4)
//!  40  durable      8  the last sequence known durable when this was written
//!  48  created ms   8
//!  56  zeros
//!
//! commit, at multiples of 8, 48 bytes of header + payload + zero padding to 8
//!   0  magic            4  "WCMT"
//!   4  header crc       4  CRC32C of bytes 8..48
//!   8  incarnation      8
//!  16  sequence         8  global, without gaps across files; 0 = a note, which is no part of the log: the next commit is
//!                          written over it
//!  24  durable through  8  the last sequence known durable when this was written
//!  32  payload length   4
//!  36  entry count      4
//!  40  payload crc      4  CRC32C
//!  44  zero             4
//!
//! entry, 40 bytes of header + data, entries back to back
//!   0  kind         1  1 = record batch, 2 = manifest record, 3 = record batch whose records are a column file
//!   1  zeros        3
//!   4  length       4  of the data
//!   8  topic id    16
//!  24  partition    4
//!  28  zeros        4
//!  32  base offset  8
//! ```
use thiserror::Error;
use weir_protocol::ids::{Offset, PartitionId, TopicId};

use crate::log::PartitionKey;

pub const FILE_HEADER_LEN: u64 = 4096;
pub const COMMIT_HEADER_LEN: usize = 48;
pub const ENTRY_HEADER_LEN: usize = 40;
pub const FORMAT_VERSION: u32 = 1;
/// Sequence of a note: it says only what is durable.
pub const NOTE: u64 = 0;

const FILE_MAGIC: [u8; 8] = *b"WEIRWAL1";
pub const COMMIT_MAGIC: [u8; 4] = *b"WCMT";
const FILE_HEADER_USED: usize = 96;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    pub file_id: u64,
    pub incarnation: u64,
    pub first_sequence: u64,
    pub durable_through: u64,
    pub created_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    #[error("not a WAL file header")]
    NotAHeader,
    #[error("WAL format version {0} is newer than this program knows ({FORMAT_VERSION}); upgrade weir")]
    NewerVersion(u32),
    #[error("not a commit header")]
    NotACommit,
    #[error("an entry of {length} bytes does not fit into the {remaining} bytes left of its commit")]
    EntryTooLong { length: u64, remaining: u64 },
    #[error("unknown entry kind {0}")]
    UnknownKind(u8),
}

fn u32_at(buf: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&buf[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(buf: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&buf[at..at + 8]);
    u64::from_le_bytes(bytes)
}

impl FileHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut buf = vec![0; FILE_HEADER_LEN as usize];
        buf[0..8].copy_from_slice(&FILE_MAGIC);
        buf[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let fields = [self.file_id, self.incarnation, self.first_sequence, self.durable_through, self.created_ms];
        for (i, value) in fields.into_iter().enumerate() {
            buf[16 + i * 8..24 + i * 8].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c::crc32c(&buf[12..FILE_HEADER_USED]);
        buf[8..12].copy_from_slice(&crc.to_le_bytes());
        buf
    }

    pub fn decode(buf: &[u8]) -> Result<FileHeader, FormatError> {
        if buf.len() < FILE_HEADER_USED
            || buf[0..8] != FILE_MAGIC
            || u32_at(buf, 8) != crc32c::crc32c(&buf[12..FILE_HEADER_USED])
        {
            return Err(FormatError::NotAHeader);
        }
        let version = u32_at(buf, 12);
        if version > FORMAT_VERSION {
            return Err(FormatError::NewerVersion(version));
        }
        Ok(FileHeader {
            file_id: u64_at(buf, 16),
            incarnation: u64_at(buf, 24),
            first_sequence: u64_at(buf, 32),
            durable_through: u64_at(buf, 40),
            created_ms: u64_at(buf, 48),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitHeader {
    pub incarnation: u64,
    pub sequence: u64,
    pub durable_through: u64,
    pub payload_len: u32,
    pub entry_count: u32,
    pub payload_crc: u32,
}

impl CommitHeader {
    pub fn encode(&self) -> [u8; COMMIT_HEADER_LEN] {
        let mut buf = [0; COMMIT_HEADER_LEN];
        buf[0..4].copy_from_slice(&COMMIT_MAGIC);
        buf[8..16].copy_from_slice(&self.incarnation.to_le_bytes());
        buf[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        buf[24..32].copy_from_slice(&self.durable_through.to_le_bytes());
        buf[32..36].copy_from_slice(&self.payload_len.to_le_bytes());
        buf[36..40].copy_from_slice(&self.entry_count.to_le_bytes());
        buf[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&buf[8..]);
        buf[4..8].copy_from_slice(&crc.to_le_bytes());
        buf
    }

    pub fn decode(buf: &[u8]) -> Result<CommitHeader, FormatError> {
        if buf.len() < COMMIT_HEADER_LEN
            || buf[0..4] != COMMIT_MAGIC
            || u32_at(buf, 4) != crc32c::crc32c(&buf[8..COMMIT_HEADER_LEN])
        {
            return Err(FormatError::NotACommit);
        }
        Ok(CommitHeader {
            incarnation: u64_at(buf, 8),
            sequence: u64_at(buf, 16),
            durable_through: u64_at(buf, 24),
            payload_len: u32_at(buf, 32),
            entry_count: u32_at(buf, 36),
            payload_crc: u32_at(buf, 40),
        })
    }

    /// Bytes of the whole commit on disk, padding included.
    pub fn total_len(&self) -> u64 {
        padded(COMMIT_HEADER_LEN as u64 + u64::from(self.payload_len))
    }
}

/// Rounds up to the alignment of commits.
pub fn padded(len: u64) -> u64 {
    len.next_multiple_of(8)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Kafka batch bytes of one partition.
    Batch,
    /// A change of the manifest (`log::manifest`).
    Manifest,
    /// The header of a Kafka batch, and a column file in place of its records.
    Columns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    pub kind: EntryKind,
    pub length: u32,
    pub key: PartitionKey,
    pub base_offset: Offset,
}

impl EntryHeader {
    pub fn encode(&self) -> [u8; ENTRY_HEADER_LEN] {
        let mut buf = [0; ENTRY_HEADER_LEN];
        buf[0] = match self.kind {
            EntryKind::Batch => 1,
            EntryKind::Manifest => 2,
            EntryKind::Columns => 3,
        };
        buf[4..8].copy_from_slice(&self.length.to_le_bytes());
        buf[8..24].copy_from_slice(self.key.topic.0.as_bytes());
        buf[24..28].copy_from_slice(&self.key.partition.0.to_le_bytes());
        buf[32..40].copy_from_slice(&self.base_offset.0.to_le_bytes());
        buf
    }

    fn decode(buf: &[u8]) -> Result<EntryHeader, FormatError> {
        let kind = match buf[0] {
            1 => EntryKind::Batch,
            2 => EntryKind::Manifest,
            3 => EntryKind::Columns,
            other => return Err(FormatError::UnknownKind(other)),
        };
        let mut topic = [0; 16];
        topic.copy_from_slice(&buf[8..24]);
        Ok(EntryHeader {
            kind,
            length: u32_at(buf, 4),
            key: PartitionKey {
                topic: TopicId(uuid::Uuid::from_bytes(topic)),
                partition: PartitionId(u32_at(buf, 24) as i32),
            },
            base_offset: Offset(u64_at(buf, 32) as i64),
        })
    }
}

/// The entries of one commit payload: header and the position of the data inside the payload.
pub fn entries(payload: &[u8]) -> impl Iterator<Item = Result<(EntryHeader, usize), FormatError>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        let remaining = payload.len() - at;
        if remaining < ENTRY_HEADER_LEN {
            at = payload.len();
            return Some(Err(FormatError::EntryTooLong {
                length: ENTRY_HEADER_LEN as u64,
                remaining: remaining as u64,
            }));
        }
        let header = match EntryHeader::decode(&payload[at..]) {
            Ok(header) => header,
            Err(error) => {
                at = payload.len();
                return Some(Err(error));
            }
        };
        let data = at + ENTRY_HEADER_LEN;
        if header.length as usize > payload.len() - data {
            at = payload.len();
            return Some(Err(FormatError::EntryTooLong {
                length: u64::from(header.length),
                remaining: (payload.len() - data) as u64,
            }));
        }
        at = data + header.length as usize;
        Some(Ok((header, data)))
    })
}
