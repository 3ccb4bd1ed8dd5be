//! The vocabulary of appends and reads.
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use weir_protocol::records::batch::BatchHeader;

use super::Partition;
use super::producers::TransactionGuard;
use crate::memory::Reservation;
use crate::segment::KeptColumns;

/// Identity of a partition log: stable for the life of the topic, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    pub topic: TopicId,
    pub partition: PartitionId,
}

impl std::fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Who appends: decides which checks apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A produce request: the idempotence rules apply. A transactional batch joins a transaction that is open here.
    Client,
    /// A produce request whose transaction the coordinator has confirmed: its batch may open it here, unless a marker was
    /// written since the guard was taken.
    Verified(TransactionGuard),
    /// A coordinator or the broker itself: control batches are allowed, no sequence check, transactions open freely.
    Coordinator,
}

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckLevel {
    /// After the batch is in the WAL file (acks=1, and what acks=0 internally waits for).
    Written,
    /// After it is durable as `durability` defines it (acks=all).
    Durable,
}

/// Bytes of a column file in a batch at most, before compression: what is opened for one reader.
pub const COLUMN_BATCH_BYTES_MAX: usize = 8 << 20;

/// Bytes of its rows at most, about.
pub const COLUMN_BATCH_ROW_BYTES_MAX: usize = 16 << 20;

/// What is behind the header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchForm {
    /// Kafka's records.
    Rows,
    /// A column file with the same records, compressed as they would be, which [`ColumnFormat::open_batch`] opens: readers get rows.
    ///
    /// [`ColumnFormat::open_batch`]: crate::segment::ColumnFormat::open_batch
    Columns,
}

/// One validated batch on its way into a partition.
#[derive(Debug)]
pub struct PendingAppend {
    pub partition: Arc<Partition>,
    /// The batch bytes, header included; base offset and leader epoch are rewritten in place.
    pub batch: BytesMut,
    /// The parsed header of `batch`.
    pub header: BatchHeader,
    pub form: BatchForm,
    pub origin: AppendOrigin,
    /// Its records as columns, if somebody has decoded them.
    pub kept: Option<KeptColumns>,
}

impl PendingAppend {
    /// A batch of records.
    pub fn rows(
        partition: Arc<Partition>,
        batch: BytesMut,
        header: BatchHeader,
        origin: AppendOrigin,
    ) -> PendingAppend {
        PendingAppend { partition, batch, header, form: BatchForm::Rows, origin, kept: None }
    }
}

/// A successful append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The time the broker stamped, for `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<Timestamp>,
    pub log_start: Offset,
    /// The batch had been appended before: its first offsets are returned (idempotent producer).
    pub duplicate: bool,
}

/// Why a batch was not appended. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    #[error("producer {producer:?} sent sequence {got} to {partition}, expected {expected}")]
    OutOfOrderSequence { partition: PartitionKey, producer: ProducerId, expected: i32, got: i32 },
    #[error("producer {producer:?} uses epoch {got:?} on {partition}, the current one is {current:?}")]
    StaleProducerEpoch { partition: PartitionKey, producer: ProducerId, current: ProducerEpoch, got: ProducerEpoch },
    #[error(
        "the sequence of the duplicate batch of producer {producer:?} on {partition} is older than the 5 batches kept"
    )]
    DuplicateTooOld { partition: PartitionKey, producer: ProducerId },
    #[error("producer {producer:?} has no open transaction on {partition}, or it has just ended")]
    NoTransaction { partition: PartitionKey, producer: ProducerId },
    #[error("producer {producer:?} has an open transaction on {partition}, its batches must belong to it")]
    NotTransactional { partition: PartitionKey, producer: ProducerId },
    #[error("a transaction marker of coordinator epoch {got} came after one of epoch {current} on {partition}")]
    StaleCoordinator { partition: PartitionKey, current: i32, got: i32 },
    #[error("the disk of the data folder is full; free space or lower retention, produce resumes by itself")]
    DiskFull,
    #[error("the write-ahead log cannot be written: {reason}; produce resumes by itself when the disk works again")]
    LogUnavailable { reason: String },
    #[error(
        "the memory for batches on their way to the disk ({limit_bytes} bytes, a share of the setting `memory.limit`) is used \
         up; retry"
    )]
    Overloaded { limit_bytes: u64 },
    #[error(
        "the write-ahead log is full ({limit_bytes} bytes, the setting `wal.throttle.bytes`) and merges do not make room fast \
         enough; retry, or write more slowly"
    )]
    LogFull { limit_bytes: u64 },
    #[error("partition {0} was deleted")]
    PartitionDeleted(PartitionKey),
    #[error("the broker is shutting down")]
    ShuttingDown,
}

/// How far a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLimit {
    /// read_uncommitted consumers: below the high watermark.
    HighWatermark,
    /// read_committed consumers: below the last stable offset, with the aborted transactions listed.
    LastStable,
}

#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    pub offset: Offset,
    pub max_bytes: usize,
    /// Return one whole batch even when it is larger than `max_bytes` (Kafka's rule for the first non-empty partition).
    pub at_least_one: bool,
    pub limit: ReadLimit,
}

/// Whole batches, starting with the one that holds the requested offset (or the next one after a gap).
#[derive(Debug)]
pub struct ReadOutcome {
    pub offsets: LogOffsets,
    /// Batch bytes in offset order; a batch never crosses two chunks, except that its header may be a chunk of its own.
    pub chunks: Vec<Bytes>,
    pub bytes: usize,
    /// For [`ReadLimit::LastStable`]: aborted transactions overlapping the range returned.
    pub aborted: Vec<AbortedTransaction>,
    /// For the chunks that were read from disk; to be held as long as they are.
    pub memory: Vec<Reservation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// A producer with state on a partition, as DescribeProducers shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// Sequence of its last record.
    pub last_sequence: Option<i32>,
    /// When it last wrote.
    pub last_write: Timestamp,
    /// Epoch of the coordinator that wrote its last marker.
    pub coordinator_epoch: Option<i32>,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("offset {offset} of {partition} is outside of [{log_start}, {limit}]")]
    OffsetOutOfRange { partition: PartitionKey, offset: Offset, log_start: Offset, limit: Offset },
    #[error("stored data of {partition} at offset {offset} is damaged ({detail}) in {file} at byte {position}")]
    Corrupt { partition: PartitionKey, offset: Offset, file: String, position: u64, detail: String },
    #[error("cannot read {file} of {partition}: {reason}")]
    Io { partition: PartitionKey, file: String, reason: String },
    #[error("no memory for {bytes} bytes of {partition} within {waited:?}; retry, or raise the setting `memory.limit`")]
    NoMemory { partition: PartitionKey, bytes: usize, waited: Duration },
    #[error("partition {0} was deleted")]
    PartitionDeleted(PartitionKey),
}

/// The four ends of a log. `log_start <= last_stable <= high_watermark <= log_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOffsets {
    pub log_start: Offset,
    pub last_stable: Offset,
    /// The contiguous durable end (LOG-3).
    pub high_watermark: Offset,
    /// Next offset to be assigned; beyond the high watermark while commits are in flight.
    pub log_end: Offset,
}

/// What the gate of a partition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateFigures {
    /// Bytes that retention would have removed and that are kept for whoever does not have them yet.
    pub held_bytes: u64,
    /// Offsets that were removed although they were needed, because too much was kept; since the process started.
    pub dropped: u64,
}

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: Timestamp,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}
