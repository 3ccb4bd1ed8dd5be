//! Rewrites stored batches: into another codec, or without the records that compaction drops.
//!
//! Both keep base offset, last offset delta, producer fields and sequence, so that offsets and the idempotence of
//! producers survive.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{BatchHeader, HEADER_LEN, TimestampType};
use super::builder::{BuildError, seal};
use super::compress::{CompressError, DecompressLimits, compress};
use super::record::{Record, decode};
use super::{Compression, DecodeError};

/// Why a batch cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RewriteError {
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It cannot be compressed again.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// It cannot be put together.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The same batch with its records in another codec (`level` as in [`compress`]).
pub fn recompress(
    batch: &[u8],
    target: Compression,
    level: Option<i32>,
    limits: &DecompressLimits,
) -> Result<Bytes, RewriteError> {
    let decoded = decode(batch, limits)?;
    write(decoded.header, target, level, &decoded.section)
}

/// What to do with a batch of which no record is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Drop it.
    Drop,
    /// Keep its header: Kafka keeps the last batch of an active producer, for its sequence.
    KeepHeader,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// Every record was retained: use the original bytes.
    Unchanged,
    /// Some were (or none, and the header was kept).
    Batch(Bytes),
    /// None was.
    Dropped,
}

/// Keeps the records that `keep` picks. Their offsets do not change; the max timestamp becomes that of what is left.
pub fn rewrite_retained(
    batch: &[u8],
    limits: &DecompressLimits,
    when_empty: WhenEmpty,
    mut keep: impl FnMut(&BatchHeader, &Record<'_>) -> bool,
) -> Result<Rewritten, RewriteError> {
    let decoded = decode(batch, limits)?;
    let mut header = decoded.header;
    let mut section = Vec::new();
    let mut retained = 0;
    let mut max_timestamp = i64::MIN;
    for record in decoded.records() {
        let record = record.map_err(DecodeError::from)?;
        if keep(&decoded.header, &record) {
            section.extend_from_slice(record.raw);
            retained += 1;
            max_timestamp = max_timestamp.max(record.timestamp(&decoded.header).0);
        }
    }
    if retained == header.record_count {
        return Ok(Rewritten::Unchanged);
    }
    if retained == 0 {
        return match when_empty {
            WhenEmpty::Drop => Ok(Rewritten::Dropped),
            WhenEmpty::KeepHeader => {
                header.record_count = 0;
                write(header, Compression::None, None, &[]).map(Rewritten::Batch)
            }
        };
    }
    header.record_count = retained;
    if header.attributes.timestamp_type() == TimestampType::CreateTime {
        header.max_timestamp = max_timestamp;
    }
    write(header, header.attributes.compression(), None, &section).map(Rewritten::Batch)
}

fn write(
    mut header: BatchHeader,
    codec: Compression,
    level: Option<i32>,
    section: &[u8],
) -> Result<Bytes, RewriteError> {
    header.attributes = header.attributes.with_compression(codec);
    let mut bytes = Vec::with_capacity(HEADER_LEN + section.len());
    bytes.resize(HEADER_LEN, 0);
    compress(codec, level, section, &mut bytes)?;
    Ok(seal(header, bytes)?)
}

#[cfg(test)]
mod tests;
