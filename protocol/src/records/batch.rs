//! The header of a magic-2 record batch, on plain byte slices.
//!
//! | bytes | field | | bytes | field |
//! |---|---|---|---|---|
//! | 0..8 | base offset | | 23..27 | last offset delta |
//! | 8..12 | batch length (bytes after this field) | | 27..35 | base timestamp |
//! | 12..16 | partition leader epoch | | 35..43 | max timestamp |
//! | 16 | magic = 2 | | 43..51 | producer id |
//! | 17..21 | CRC-32C of bytes 21.. | | 51..53 | producer epoch |
//! | 21..23 | attributes | | 53..57 | base sequence |
//! | | | | 57..61 | record count |
//!
//! The CRC covers byte 21 onward, so a broker rewrites base offset and leader epoch in place for free.

use super::BatchError;
use crate::ids::{LeaderEpoch, Offset, Timestamp};

/// Length of the header; records follow.
pub const HEADER_LEN: usize = 61;

/// Bytes before and including the batch length field: the field does not count them.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
pub(crate) const CRC_COVERS_FROM: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// The magic byte of the only format we store.
pub(crate) const MAGIC: i8 = 2;

/// The smallest possible record: length, attributes, two deltas, null key, null value, no headers.
pub(crate) const MIN_RECORD_LEN: usize = 7;

/// Codec of the records section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Records are stored plain.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, usually in the framing of the Java library.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// All codecs, in the order of their wire numbers.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The number in attribute bits 0 to 2.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(code)).copied()
    }

    /// The name that Kafka's `compression.type` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer did.
    CreateTime,
    /// The broker did; the max timestamp is that of every record.
    LogAppendTime,
}

/// The attribute bits of a batch. Holds only values whose codec is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(i16);

impl Attributes {
    const CODEC_MASK: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// Attributes of a batch with this codec and no flag set.
    #[must_use]
    pub fn new(compression: Compression) -> Attributes {
        Attributes(i16::from(compression.code()))
    }

    /// Reads the wire value; refuses unknown codecs. Unknown higher bits are kept.
    pub fn from_bits(bits: i16) -> Result<Attributes, BatchError> {
        // Masked to 0..=7, so the cast keeps the value.
        let codec = (bits & Self::CODEC_MASK) as u8;
        match Compression::from_code(codec) {
            Some(_) => Ok(Attributes(bits)),
            None => Err(BatchError::UnknownCompression { codec }),
        }
    }

    /// The wire value.
    #[must_use]
    pub fn bits(self) -> i16 {
        self.0
    }

    /// Codec of the records section.
    #[must_use]
    pub fn compression(self) -> Compression {
        // `from_bits` is the only way in, so the fallback is never taken.
        Compression::from_code((self.0 & Self::CODEC_MASK) as u8).unwrap_or(Compression::None)
    }

    /// Who set the timestamps.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a transaction marker instead of data.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time after which compaction may drop tombstones.
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same flags with another codec.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Attributes {
        Attributes((self.0 & !Self::CODEC_MASK) | i16::from(compression.code()))
    }

    /// The same with the timestamp type replaced.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        self.with(Self::LOG_APPEND_TIME, timestamp_type == TimestampType::LogAppendTime)
    }

    /// The same with the transactional flag set or cleared.
    #[must_use]
    pub fn with_transactional(self, on: bool) -> Attributes {
        self.with(Self::TRANSACTIONAL, on)
    }

    /// The same with the control flag set or cleared.
    #[must_use]
    pub fn with_control(self, on: bool) -> Attributes {
        self.with(Self::CONTROL, on)
    }

    fn with(self, flag: i16, on: bool) -> Attributes {
        Attributes(if on { self.0 | flag } else { self.0 & !flag })
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attributes({:#06x}, {})", self.0, self.compression().name())
    }
}

/// A parsed header. Counts and the length are known to be non-negative and the codec is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (before compaction).
    pub base_offset: Offset,
    /// Bytes that follow the length field.
    pub batch_length: i32,
    /// Epoch of the leader that wrote the batch.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of byte 21 onward, as stored.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Distance from the base offset to the last record.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from.
    pub base_timestamp: i64,
    /// Largest timestamp of the batch.
    pub max_timestamp: i64,
    /// Producer id as on the wire; -1 without idempotence.
    pub producer_id: i64,
    /// Producer epoch as on the wire; -1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence number of the first record as on the wire; -1 without idempotence.
    pub base_sequence: i32,
    /// Number of records; 0 after compaction removed the last one.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`. The body need not be present: compare [`BatchHeader::total_len`].
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        // Old message sets have their magic byte at the same place and may be shorter than our header.
        match bytes.get(MAGIC_AT) {
            None => return Err(BatchError::TooShort { have: bytes.len(), need: HEADER_LEN }),
            Some(&magic) => match magic as i8 {
                MAGIC => {}
                magic @ (0 | 1) => return Err(BatchError::OldMagic { magic }),
                magic => return Err(BatchError::UnknownMagic { magic }),
            },
        }
        let Some(b) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::TooShort { have: bytes.len(), need: HEADER_LEN });
        };
        let batch_length = i32::from_be_bytes(array(b, 8));
        if batch_length < (HEADER_LEN - LENGTH_OVERHEAD) as i32 {
            return Err(BatchError::BadLength { batch_length });
        }
        let header = BatchHeader {
            base_offset: Offset(i64::from_be_bytes(array(b, 0))),
            batch_length,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(array(b, 12))),
            crc: u32::from_be_bytes(array(b, CRC_AT)),
            attributes: Attributes::from_bits(i16::from_be_bytes(array(b, CRC_COVERS_FROM)))?,
            last_offset_delta: i32::from_be_bytes(array(b, 23)),
            base_timestamp: i64::from_be_bytes(array(b, 27)),
            max_timestamp: i64::from_be_bytes(array(b, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(array(b, 43)),
            producer_epoch: i16::from_be_bytes(array(b, 51)),
            base_sequence: i32::from_be_bytes(array(b, 53)),
            record_count: i32::from_be_bytes(array(b, 57)),
        };
        if header.record_count < 0 || header.last_offset_delta < 0 {
            return Err(header.count_mismatch());
        }
        Ok(header)
    }

    /// Writes the header into the first 61 bytes of `out`, magic and stored CRC included.
    pub(crate) fn write(&self, out: &mut [u8; HEADER_LEN]) {
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.bits().to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// Length of the whole batch, header included.
    #[must_use]
    pub fn total_len(&self) -> usize {
        LENGTH_OVERHEAD + self.batch_length as usize
    }

    /// Offset of the last record (also when compaction removed it).
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset that follows the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Sequence number of the last record; wraps from `i32::MAX` to 0. -1 without a sequence.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Whether an idempotent or transactional producer wrote the batch.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > -1
    }

    pub(crate) fn body_len(&self) -> usize {
        self.total_len() - HEADER_LEN
    }

    pub(crate) fn count_mismatch(&self) -> BatchError {
        BatchError::CountMismatch {
            record_count: self.record_count,
            last_offset_delta: self.last_offset_delta,
            body_bytes: self.body_len(),
        }
    }
}

/// `count` sequence numbers after `base`: sequences live in `0..=i32::MAX` and wrap to 0. Neither may be negative.
#[must_use]
pub fn increment_sequence(base: i32, count: i32) -> i32 {
    debug_assert!(base >= 0 && count >= 0);
    // Bit 31 is the only one that can overflow, and clearing it is arithmetic modulo 2^31.
    base.wrapping_add(count) & i32::MAX
}

/// Gives a batch its place in the log: rewrites base offset and leader epoch. The CRC does not cover them.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it before.
pub fn patch_base_offset_and_epoch(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_LEN, "patching a batch that was never parsed");
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Stamps a batch with the broker's time: attribute bit 3, max timestamp, new CRC. `batch` is exactly one batch.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it before.
pub fn set_log_append_time(batch: &mut [u8], now: Timestamp) {
    assert!(batch.len() >= HEADER_LEN, "stamping a batch that was never parsed");
    let bits = i16::from_be_bytes([batch[21], batch[22]]) | Attributes::LOG_APPEND_TIME;
    batch[CRC_COVERS_FROM..CRC_COVERS_FROM + 2].copy_from_slice(&bits.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now.0.to_be_bytes());
    write_crc(batch);
}

/// Corrects the max timestamp of a batch to what its records say, with a new CRC. `batch` is exactly one batch.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it before.
pub fn set_max_timestamp(batch: &mut [u8], max: Timestamp) {
    assert!(batch.len() >= HEADER_LEN, "stamping a batch that was never parsed");
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max.0.to_be_bytes());
    write_crc(batch);
}

/// Computes and stores the CRC of a batch that fills `batch`.
pub(crate) fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Compares the stored CRC with the bytes. `batch` is exactly one batch.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    let Some(head) = batch.first_chunk::<HEADER_LEN>() else {
        return Err(BatchError::TooShort { have: batch.len(), need: HEADER_LEN });
    };
    let stored = u32::from_be_bytes(array(head, CRC_AT));
    let computed = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    if stored == computed { Ok(()) } else { Err(BatchError::CrcMismatch { stored, computed }) }
}

/// One batch inside a run of batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchSlice<'a> {
    /// Its parsed header.
    pub header: BatchHeader,
    /// Where it starts in the run.
    pub position: usize,
    /// The whole batch, header included.
    pub bytes: &'a [u8],
}

/// Iterates over the complete batches at the front of `bytes`. A batch that is cut off at the end is not an error: a
/// read often ends inside one. Anything else that does not parse is yielded once as an error, then the iterator ends.
/// CRCs are not checked.
#[must_use]
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0, failed: false }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl Batches<'_> {
    /// Bytes that the batches yielded so far cover.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchSlice<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let rest = self.bytes.get(self.position..)?;
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(BatchError::TooShort { .. }) => return None,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        };
        let bytes = rest.get(..header.total_len())?;
        let position = self.position;
        self.position += bytes.len();
        Some(Ok(BatchSlice { header, position, bytes }))
    }
}

/// `N` bytes at a position that is constant at every call site and inside the header.
fn array<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
pub(super) mod tests;
