//! What can be wrong with a record batch.

use thiserror::Error;

/// Why bytes are not an acceptable record batch. The broker maps each variant to one Kafka error code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the header or the body does.
    #[error("record batch is cut short: {have} bytes present, {need} needed")]
    TooShort {
        /// Bytes present.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// The length field is impossible for a magic-2 batch.
    #[error("record batch length {batch_length} is smaller than the header (49 bytes after the length field)")]
    BadLength {
        /// The value of the length field.
        batch_length: i32,
    },
    /// More bytes than one batch, where exactly one is allowed.
    #[error("{bytes} bytes follow the record batch; a partition of a produce request carries exactly one batch")]
    TrailingBytes {
        /// How many bytes follow the first batch.
        bytes: usize,
    },
    /// A produced batch with an offset of its own.
    #[error("the record batch has base offset {base_offset}; a producer sends 0, offsets are assigned by the broker")]
    BaseOffset {
        /// What the header says.
        base_offset: i64,
    },
    /// A message set of the format before Kafka 0.11.
    #[error("message format {magic} is not supported; the producer must use message format 2 (Kafka 0.11 or newer)")]
    OldMagic {
        /// The magic byte, 0 or 1.
        magic: i8,
    },
    /// A magic byte that no Kafka release uses.
    #[error("unknown message format {magic}")]
    UnknownMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The checksum does not match the bytes.
    #[error("record batch is corrupt: CRC-32C is {computed:#010x}, the header says {stored:#010x}")]
    CrcMismatch {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Attribute bits 0 to 2 name no known codec.
    #[error("unknown compression codec {codec}")]
    UnknownCompression {
        /// The value of attribute bits 0 to 2.
        codec: u8,
    },
    /// Negative counts, or a count that does not fit the offset range or the bytes.
    #[error(
        "record count {record_count} does not fit last offset delta {last_offset_delta} and {body_bytes} body bytes"
    )]
    CountMismatch {
        /// Record count of the header.
        record_count: i32,
        /// Last offset delta of the header.
        last_offset_delta: i32,
        /// Bytes behind the header.
        body_bytes: usize,
    },
    /// Producer id, epoch and sequence contradict each other.
    #[error(
        "producer fields contradict each other: id {producer_id}, epoch {producer_epoch}, base sequence {base_sequence}, transactional {transactional}"
    )]
    ProducerFields {
        /// Producer id.
        producer_id: i64,
        /// Producer epoch.
        producer_epoch: i16,
        /// First sequence number.
        base_sequence: i32,
        /// Whether the batch is part of a transaction.
        transactional: bool,
    },
    /// Clients may not write transaction markers.
    #[error("a client may not write control batches")]
    ControlBatch,
    /// Only the broker sets log append time or a delete horizon.
    #[error("attributes {attributes:#06x} carry flags that only a broker sets (log append time or delete horizon)")]
    BrokerOnlyAttributes {
        /// The attributes of the header.
        attributes: i16,
    },
    /// Larger than the topic allows.
    #[error("record batch of {bytes} bytes exceeds max.message.bytes = {limit}; raise it or send smaller batches")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// The limit of the topic.
        limit: usize,
    },
}

/// Why the records of a batch cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end inside a field.
    #[error("records end inside the {field}")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A varint goes on beyond its type.
    #[error("the varint of the {field} is too long")]
    VarintTooLong {
        /// The field.
        field: &'static str,
    },
    /// A length or count below its minimum.
    #[error("the {field} is negative: {length}")]
    NegativeLength {
        /// The field.
        field: &'static str,
        /// Its value.
        length: i32,
    },
    /// More headers than bytes could hold.
    #[error("a record claims {count} headers in {remaining_bytes} bytes")]
    TooManyHeaders {
        /// Claimed headers.
        count: usize,
        /// Bytes that could hold them.
        remaining_bytes: usize,
    },
    /// More records than bytes could hold.
    #[error("{count} more records are claimed in {remaining_bytes} bytes")]
    TooManyRecords {
        /// Claimed records.
        count: usize,
        /// Bytes that could hold them.
        remaining_bytes: usize,
    },
    /// Bytes are left after the last field or record.
    #[error("{bytes} bytes follow the last field or record")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Offset deltas do not ascend within the batch.
    #[error("record {index} has offset delta {offset_delta}; deltas must ascend and end at {last_offset_delta}")]
    OffsetDelta {
        /// Position of the record in the batch.
        index: usize,
        /// Its offset delta.
        offset_delta: i32,
        /// Last offset delta of the batch.
        last_offset_delta: i32,
    },
}

/// Why a batch cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Its header is unsound.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its records section does not decompress, or not within the limits.
    #[error(transparent)]
    Compress(#[from] super::compress::CompressError),
    /// A record is unsound.
    #[error(transparent)]
    Record(#[from] RecordError),
}
