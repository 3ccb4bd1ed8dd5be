//! The one scan operator: offset range x projection x predicate, whatever the log of a partition is stored in.
//!
//! | file | what |
//! |---|---|
//! | `system.rs` | the system columns that every topic has |
//! | `projection.rs` | column paths of a client -> columns and pruned structs |
//! | `plan.rs` | what one kind of request reads and returns; shared between requests |
//! | `columns.rs` | which columns are read, and what makes them out of records |
//! | `rows.rs` | what a read of the log gives -> the columns a plan reads |
//! | `segments.rs` | column files: pruned, and read by column |
//! | `slices.rs` | row groups returned as they are stored |
//! | `committed.rs` | which batches a reader may see |
//! | `cache.rs` | rows that were decoded once, for every reader |
//! | `operator.rs` | the scan: cursor, budgets, counters |
//! | `older.rs` | rows that the log has no more |
//! | `explain.rs` | what a scan would read and skip |
//! | `local.rs` | the same for records that a client fetched (without feature `log` nothing here needs the log) |
//! | `output.rs` | matching rows, cut to what fits |
//! | `ipc.rs` | rows -> one Arrow IPC stream |
//! | `records.rs` | rows -> Kafka batches |
//! | `restriction.rs` | columns and rows that a reader may not see |
//!
//! SCAN-1: the same scan gives the same rows, however they are stored and batched. SCAN-2: the next offset advances whenever
//! anything was scanned. This crate knows no sockets and no requests.
#![cfg_attr(not(feature = "log"), allow(dead_code, reason = "what only the scan of a log uses is small"))]
#[cfg(feature = "log")]
mod cache;
mod columns;
#[cfg(feature = "log")]
mod committed;
mod counters;
mod error;
#[cfg(feature = "log")]
mod explain;
mod ipc;
mod local;
#[cfg(feature = "log")]
mod older;
#[cfg(feature = "log")]
mod operator;
mod output;
mod plan;
mod projection;
mod records;
mod restriction;
#[cfg(feature = "log")]
mod rows;
#[cfg(feature = "log")]
mod segments;
#[cfg(feature = "log")]
mod slices;
mod system;
#[cfg(test)]
#[cfg(feature = "log")]
mod tests;

#[cfg(feature = "log")]
pub use cache::RowCache;
pub use counters::ScanCounters;
pub use error::ScanError;
#[cfg(feature = "log")]
pub use explain::{Explanation, explain};
pub use ipc::{StreamCodec, encode_stream, worthwhile};
pub use local::{LocalScan, LocalScanError};
#[cfg(feature = "log")]
pub use older::{OlderBatch, OlderRows};
#[cfg(feature = "log")]
pub use operator::{Scan, ScanLimits, ScanResult};
pub use output::{OFFSET_COLUMN, ScannedBatch};
pub use plan::{ResultRows, ScanPlan, ScanPlanError, ScanRequest, UNTYPED};
pub use projection::ProjectionError;
pub use records::{EncodedRecords, RecordParts, encode_records};
pub use restriction::{Readable, Restriction, RowRule};
#[cfg(feature = "log")]
pub use slices::{SliceCodecs, SlicedGroup, StoredRows};
pub use system::{system_schema, topic_schema};
