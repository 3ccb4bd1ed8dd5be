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
//! | `output.rs` | matching rows, cut to what fits |
//! | `ipc.rs` | rows -> one Arrow IPC stream |
//!
//! SCAN-1: the same scan gives the same rows, however they are stored and batched. SCAN-2: the next offset advances whenever
//! anything was scanned. This crate knows no sockets and no requests.
mod committed;
mod ipc;
mod operator;
mod output;
mod plan;
mod projection;
mod rows;
mod system;
#[cfg(test)]
mod tests;

pub use ipc::{StreamCodec, encode_stream};
pub use operator::{Scan, ScanCounters, ScanError, ScanLimits, ScanResult};
pub use output::{OFFSET_COLUMN, ScannedBatch};
pub use plan::{ScanPlan, ScanPlanError, ScanRequest};
pub use projection::ProjectionError;
pub use system::system_schema;
