//! Reading and writing columns instead of records: `client.topic("flights").columns(["carrier", "dep_delay"]).filter("dep_delay > 60")`.
//!
//! Against a broker with the feature `weir.columnar` (protocol/COLUMNAR.md) only the wanted columns of the matching rows travel, as
//! Arrow. Against any other broker the same call fetches records, and decodes, filters and projects on this side (feature
//! `stock-kafka` of this crate).
//!
//! | file | what |
//! |---|---|
//! | `query.rs` | [`TopicQuery`]: what to read, from where to where |
//! | `reader.rs` | [`ColumnReader`] and [`GroupColumnReader`]: batches on demand |
//! | `explain.rs` | what a reading would cost |
//! | `writer.rs` | [`ColumnWriter`]: batches to a topic |
//! | `cast.rs` | what a program has, in the types of the table |
//! | `table.rs` | the columns of a typed topic |
//! | `stream.rs` | [`ColumnStream`]: the same as an async stream |
//! | `batch.rs` | [`ColumnBatch`]: rows with their offsets |
//! | `ipc.rs`, `bounds.rs` | an answer's bytes, checked, as batches |
//! | `system.rs` | columns of a topic without rows |
//! | `local.rs` | records of other brokers as batches |
//!
//! Positions, retries, leader changes and backpressure are those of [`crate::consumer`]: what is fetched and not yet taken is at most
//! about `fetch_bytes_max` and one answer per broker.

mod batch;
mod bounds;
mod cast;
mod explain;
mod ipc;
#[cfg(feature = "stock-kafka")]
mod local;
mod open;
mod query;
mod reader;
mod statistics;
mod stream;
mod system;
mod table;
mod writer;

pub use batch::{ColumnBatch, RowOffsets};
pub use query::{Codecs, ReadUntil, TopicQuery};
pub use reader::{ColumnReader, GroupColumnReader};
pub use statistics::ReadStatistics;
pub use stream::ColumnStream;
pub use writer::{ColumnWriter, Written};

/// The system column of offsets. A batch with gaps brings it along.
const OFFSET_COLUMN: &str = "_offset";
