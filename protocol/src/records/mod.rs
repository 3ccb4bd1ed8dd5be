//! Record batches (magic 2).
//!
//! | file | what |
//! |---|---|
//! | `batch.rs` | the 61-byte header: parse, patch, validate, iterate over consecutive batches |

pub mod batch;
mod error;

pub use batch::{
    Attributes, BatchHeader, BatchSlice, Batches, Compression, HEADER_LEN, TimestampType, ValidationLimits, batches,
    increment_sequence, patch_base_offset_and_epoch, set_log_append_time, validate_produced, verify_crc,
};
pub use error::BatchError;
