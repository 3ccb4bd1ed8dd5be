//! The one scan operator: offset range x projection x predicate, whatever the log of a partition is stored in.
//!
//! | file | what |
//! |---|---|
//! | `system.rs` | the system columns that every topic has |
//! | `projection.rs` | column paths of a client -> columns and pruned structs |
//! | `plan.rs` | what one kind of request reads and returns; shared between requests |
//! | `rows.rs` | Kafka batches -> the columns a plan reads |
//! | `committed.rs` | which batches a reader may see |
//! | `operator.rs` | the scan: cursor, budgets, counters |
//! | `local.rs` | the same for records that a client fetched (without feature `log` nothing here needs the log) |
//! | `output.rs` | matching rows, cut to what fits |
//! | `ipc.rs` | rows -> one Arrow IPC stream |
//!
//! SCAN-1: the same scan gives the same rows, however they are stored and batched. SCAN-2: the next offset advances whenever
//! anything was scanned. This crate knows no sockets and no requests.
#![cfg_attr(not(feature = "log"), allow(dead_code, reason = "what only the scan of a log uses is small"))]
#[cfg(feature = "log")]
mod committed;
mod counters;
mod ipc;
mod local;
#[cfg(feature = "log")]
mod operator;
mod output;
mod plan;
mod projection;
mod rows;
mod system;
#[cfg(test)]
#[cfg(feature = "log")]
mod tests;

pub use counters::ScanCounters;
pub use ipc::{StreamCodec, encode_stream};
pub use local::{LocalScan, LocalScanError};
#[cfg(feature = "log")]
pub use operator::{Scan, ScanError, ScanLimits, ScanResult};
pub use output::{OFFSET_COLUMN, ScannedBatch};
pub use plan::{ScanPlan, ScanPlanError, ScanRequest};
pub use projection::ProjectionError;
pub use system::system_schema;
