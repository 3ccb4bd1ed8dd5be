//! Immutable files. A *row segment* holds Kafka batches of one partition byte for byte; a *bundle* is the same file with
//! sections of several partitions. Published once (temp, sync, rename, directory sync), never changed (SEG-1).
//!
//! A crash leaves at most unpublished temporary files and published files that no manifest names; both are removed at
//! the next start.
mod index;
mod rows;
mod store;
#[cfg(test)]
mod tests;

pub use index::{IndexEntry, SectionFooter};
pub use rows::{BatchSlice, RowFileWriter, SectionRead, SectionReader, SegmentError};
pub use store::{LocalSegments, SegmentFile, SegmentStore};
