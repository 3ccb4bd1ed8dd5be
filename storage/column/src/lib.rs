//! Column segments: immutable Arrow IPC files with statistics, checksums and sliced reads.
//!
//! Owns the bytes of a column segment and of Arrow IPC streams made from one: [`ColumnSegmentWriter`] turns record batches into
//! a file that any Arrow reader opens, [`ColumnSegmentReader`] reads row groups and columns of it, [`Slicer`] copies stored
//! buffers unopened into an IPC stream, [`StreamEncoder`] makes a stream of batches in memory and [`decode_stream`] reads one
//! that a client sent. Knows Arrow arrays and bytes; never opens a file (the caller brings a [`ReadAt`]), has no clock, no
//! threads and no randomness: the same input gives the same bytes.
//!
//! # File
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `ARROW1`, two zero bytes |
//! | message | schema |
//! | messages | at most one dictionary batch per column |
//! | messages | record batches: the row groups, at most 16 Ki rows and 4 MiB uncompressed (one row may be larger) |
//! | 8 | end-of-stream marker |
//! | n | Bloom filters, each at a multiple of 8 |
//! | n | the block: see `block.rs` |
//! | 32 | tail of the block: magic, version, lengths, CRCs |
//! | n | Arrow footer (flatbuffer) |
//! | 4 | its length |
//! | 6 | `ARROW1` |
//!
//! A stored buffer starts at a multiple of 8. In a segment with a codec it begins with its uncompressed length as int64, or -1
//! when it is stored raw because compression did not pay (or its column is kept raw by wish).
//!
//! Where rows are clustered (`writer/cluster.rs`) neighbouring row groups hold rows whose offsets lie among each other. Such
//! groups are a *window*; windows follow each other in offset order. A reader tells them by the offset ranges of the groups.
//!
//! # Not yet
//! A bound on the uncompressed size of one-row groups when a block is read, and sizes of lists measured per slice.

mod block;
mod bloom;
mod bytes_io;
mod codec;
mod decode;
mod dictionary;
mod error;
mod flatten;
mod ipc;
mod ipc_read;
mod layout;
mod projection;
mod reader;
mod slice;
mod stats;
mod stream_in;
mod stream_out;
mod writer;

pub use block::{EndMarker, GroupInfo, OriginalBatch};
pub use bytes_io::ReadAt;
pub use codec::Codec;
pub use error::ColumnError;
pub use projection::Projection;
pub use reader::{ColumnSegmentReader, Window};
pub use slice::{Part, SliceBatch, Sliced, Slicer};
pub use stream_in::{StreamLimits, decode_stream};
pub use stream_out::StreamEncoder;
pub use writer::{ColumnSegmentWriter, FinishedSegment, OffsetColumn, Offsets, WriterOptions};

/// Rows of a row group at most.
pub const GROUP_ROWS_MAX: usize = 16 << 10;
/// Uncompressed bytes of a row group at most, unless it is one row.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Rows of a window of row groups at most, where rows are clustered.
pub const WINDOW_ROWS_MAX: usize = 128 << 10;
/// Uncompressed bytes of a window at most, if no row is larger than a row group may be.
pub const WINDOW_BYTES_MAX: usize = 16 << 20;
/// Bytes of a dictionary's values at most.
pub const DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// Name of the column that holds offsets where rows are not dense.
pub const OFFSET_COLUMN: &str = "_offset";
/// Name of the column whose range is kept as time range.
pub const TIMESTAMP_COLUMN: &str = "_timestamp";
