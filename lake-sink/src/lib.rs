//! Tiering: every topic that asks for it is also a table in a lake, exactly once (LAKE-1).
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | what a topic asks for: format, path, freshness, partitioning |
//! | `source.rs` | where rows come from: the trait that the broker implements over its scans |
//! | `columns.rs` | the columns of lake tables and their field ids |
//! | `plan.rs` | what one round reads (pure) |
//! | `commit.rs` | what a commit says, and what to do when its outcome is not known (pure) |
//! | `partitioning.rs` | rows to partitions of the lake table (pure) |
//! | `encode.rs` | rows to Parquet files in memory, within bounds |
//! | `store/` | where files go: local folders, made durable by us, and object stores |
//! | `rest/` | requests to an Iceberg REST catalog |
//! | `target/` | how a format publishes: hive directories of Parquet, Iceberg |
//! | `history/` | rows that the log has no more, read from the table's files |
//! | `round.rs` | one round of one table: scan, encode, write, publish |
//! | `pool.rs` | many tables: one task each, few at a time; their states |
//! | `verify/` | whether log and lake have the same rows |
//!
//! The newest commit in the lake is the authority on what is tiered; what the broker holds is a cache of it. A crash
//! leaves files that no commit names; they are not read by anybody and are swept. This crate knows no Kafka wire format
//! and no sockets of ours.
pub mod columns;
pub mod commit;
mod encode;
pub mod history;
pub mod partitioning;
pub mod plan;
pub mod pool;
pub mod rest;
pub mod round;
pub mod settings;
pub mod source;
pub mod store;
pub mod target;
#[cfg(test)]
mod testing;
pub mod verify;

pub use history::{History, HistoryError, HistoryRead, HistoryRows};
pub use pool::{Lake, LakeLimits, TableState, TableStatus};
pub use rest::RestSettings;
pub use settings::{Format, KeySettings, LakeSettings, SettingsError};
pub use source::{Bounds, GateStatus, ScanSource, Scanned, SourceError, SourceTable};
pub use store::{LakeRoots, RootsError, S3Address, S3Settings};
pub use verify::{VerifyError, VerifyProgress, VerifyReport};
