//! Record batches (magic 2).
//!
//! | file | what |
//! |---|---|
//! | `batch.rs` | the 61-byte header: parse, patch, iterate over consecutive batches |
//! | `validate.rs` | what a produced batch must fulfil, by its header and CRC |
//! | `record.rs` | records read in place; deep validation |
//! | `compress.rs` | the five codecs, bounded |
//! | `builder.rs` | writes data batches |
//! | `control.rs` | transaction markers and the filler |
//! | `rewrite.rs` | recompression, compaction |

pub mod batch;
mod builder;
mod compress;
mod control;
mod error;
mod record;
mod rewrite;
mod validate;
mod varint;

pub use batch::{
    Attributes, BatchHeader, BatchSlice, Batches, Compression, HEADER_LEN, TimestampType, batches, increment_sequence,
    patch_base_offset_and_epoch, set_log_append_time, set_max_timestamp, verify_crc,
};
pub use builder::{BatchBuilder, BuildError};
pub use compress::{CompressError, DecompressLimits, MEASURE_SLICE_BYTES, claimed_size, compress, decompress, measure};
pub use control::{ControlType, EndTxnMarker, filler_batch};
pub use error::{BatchError, DecodeError, RecordError};
pub use record::{DecodedBatch, Header, Headers, Record, RecordSummary, Records, decode, visit_records, walk_records};
pub use rewrite::{RewriteError, Rewritten, WhenEmpty, recompress, rewrite_retained};
pub use validate::{ValidationLimits, validate_produced, validate_producer};
