//! Partition logs: what the broker calls.
//!
//! [`Storage`] is the engine of one broker; [`Partition`] is a cheap handle on one partition log. Follow a batch:
//! `engine::submit` -> `partition::append` (offset, tail) -> the WAL -> `commit` (high watermark, acks) -> `merge`
//! (segments). `recovery` builds the same state from checkpoint and WAL at start.
mod columns;
mod commit;
mod compaction;
mod config;
mod engine;
#[cfg(test)]
mod gate_tests;
mod maintenance;
mod manifest;
mod merge;
mod partition;
mod producers;
mod recovery;
mod retention;
mod room;
mod state;
#[cfg(test)]
mod tests;
mod timestamps;
#[cfg(test)]
mod transaction_tests;
mod types;

pub use columns::{ColumnPart, Extent, View};
pub use config::{CleanupPolicy, Durability, Gate, Layout, LogConfig, StorageConfig};
pub use engine::{AppendFuture, OpenError, Storage, StorageStatus, TopicSpec};
pub use partition::{DataWaiter, Partition};
pub use producers::TransactionGuard;
pub use types::{
    AbortedTransaction, AckLevel, ActiveProducer, AppendError, AppendOrigin, Appended, BatchForm,
    COLUMN_BATCH_BYTES_MAX, COLUMN_BATCH_ROW_BYTES_MAX, GateFigures, LogOffsets, PartitionKey, PendingAppend,
    ReadError, ReadLimit, ReadOutcome, ReadRequest, TimestampOffset,
};
