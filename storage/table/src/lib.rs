//! Typed topics: what a table is, and how rows become columns and columns rows.
//!
//! This crate knows Arrow arrays and bytes. It never sees a socket, a file, a Kafka request or a clock.
//!
//! - [`schema`]: tables with field ids that last for ever, their evolution, and reading old columns under a new schema
//! - [`ddl`]: the text form of a schema, `id BIGINT NOT NULL, city STRING, ...`
//! - [`builder`]: growing columns from which a bad row can be taken back
//! - [`codec`]: rows straight into builders, and arrays straight into rows
//! - [`table`]: all of it together: a topic's rows into columns of any version of its table, and back

pub mod builder;
pub mod codec;
pub mod ddl;
pub mod schema;
pub mod table;

pub use builder::RowBuilder;
pub use schema::{DataType, Field, FieldId, TableSchema};
pub use table::{RowDecoder, RowEncoder, Table};
