//! Immutable files. A *row segment* holds Kafka batches of one partition byte for byte; a *bundle* is the same file with
//! sections of several partitions; a *column file* holds the rows of one partition as columns. Published once (temp, sync, rename, directory sync), never changed (SEG-1).
//!
//! A crash leaves at most unpublished temporary files and published files that no manifest names; both are removed at
//! the next start.
mod columns;
mod index;
mod reader;
mod rows;
mod store;
#[cfg(test)]
mod tests;

pub use columns::{ColumnEncoder, ColumnFile, ColumnFormat, ColumnLayout, EncodeError, KeptColumns};
pub use index::{IndexEntry, SectionFooter};
pub use reader::SegmentReader;
pub use rows::{BatchSlice, RowFileWriter, SectionRead, SectionReader, SegmentError};
pub use store::{FileKind, LocalSegments, SegmentFile, SegmentStore};
