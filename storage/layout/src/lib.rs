//! Rows of a partition log as column segments, and column segments as rows again.
//!
//! The log hands over whole batches and gets a file; it hands over a file and gets batches. In between the records are rows of
//! a table: its columns, and what Kafka knows of a record (`_timestamp`, `_key`, `_headers`).
//!
//! TAB-2: key, value, headers and timestamp of each record come back byte for byte. Of a JSON value the columns keep the values
//! and `_shape` the number of its *row shape*, which says the rest; of an Avro or Protobuf value, or a framed one, it has the
//! number of its writer. What comes back neither way keeps its bytes in `_value`. Batch
//! framing is rebuilt from the file's table of original batches; compression is done anew with the producer's codec.
//!
//! A file says itself what is needed to read it (table, format, shapes: the schema's metadata), so no later change of the topic
//! makes it unreadable. Never opens a file, never looks at a topic's configuration.
mod batch;
mod decoded;
mod encode;
mod file;
mod headers;
mod kept;
mod schema;

pub use batch::{BatchColumns, batch_of_columns};
pub use encode::TopicLayout;
pub use file::{ColumnSegment, Format};
pub use kept::{BatchKeeper, KeptTail};
pub use schema::{SHAPE_COLUMN, StoredTable};
