//! Storage of Weir: the write-ahead log, partition logs and their shards, immutable segments, and the metadata store.
//!
//! Owns every byte on disk. Never sees a request or response type of the wire protocol: it speaks offsets, record batches
//! and bytes. Start reading at [`log`].
pub mod cpu;
pub mod disk;
pub mod log;
pub mod memory;
pub mod meta;
pub mod segment;
pub mod wal;
