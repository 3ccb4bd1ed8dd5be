//! The five codecs of a records section, with decompression that stops at a limit.
//!
//! What is read is what clients write: any gzip members, raw snappy and the framing of snappy-java, LZ4 frames with
//! linked or independent blocks, zstd frames. What is written is what the Java client can read. Checksums inside the
//! codecs are not verified where that is optional: the batch CRC covers the same bytes.

mod lz4;
mod snappy;
mod zstandard;

use std::io::{Read, Write};

use thiserror::Error;

use super::Compression;

/// Below this output size the ratio limit does not apply: a few repeated values compress a thousandfold.
const RATIO_FREE_BYTES: usize = 1 << 20;

/// How far decompression may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Largest output.
    pub max_bytes: usize,
    /// Largest output as a multiple of the input; applies to outputs above 1 MiB.
    pub max_ratio: usize,
}

impl Default for DecompressLimits {
    /// 128 MiB and 1,024 times the input.
    fn default() -> Self {
        DecompressLimits { max_bytes: 128 << 20, max_ratio: 1024 }
    }
}

impl DecompressLimits {
    /// Largest output for an input of this size.
    fn budget(&self, input_len: usize) -> usize {
        input_len.saturating_mul(self.max_ratio).max(RATIO_FREE_BYTES).min(self.max_bytes)
    }
}

/// Why a records section could not be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompressError {
    /// The bytes are not what the codec writes.
    #[error("{} data is malformed: {reason}", codec.name())]
    Malformed {
        /// The codec that the batch names.
        codec: Compression,
        /// What the decoder found.
        reason: String,
    },
    /// Decompression was stopped at the size or ratio limit.
    #[error("{} data of {input_bytes} bytes expands beyond the limit of {limit_bytes} bytes; send smaller batches", codec.name())]
    TooLarge {
        /// The codec that the batch names.
        codec: Compression,
        /// Compressed size.
        input_bytes: usize,
        /// Where decompression stopped.
        limit_bytes: usize,
    },
    /// The encoder refused, which happens only for a level it does not know.
    #[error("{} encoder failed: {reason}; check the compression level", codec.name())]
    Encoder {
        /// The codec.
        codec: Compression,
        /// What the encoder said.
        reason: String,
    },
}

impl CompressError {
    fn malformed(codec: Compression, reason: impl ToString) -> CompressError {
        CompressError::Malformed { codec, reason: reason.to_string() }
    }
}

/// Decompresses `input` into a fresh buffer. [`Compression::None`] copies.
pub fn decompress(codec: Compression, input: &[u8], limits: &DecompressLimits) -> Result<Vec<u8>, CompressError> {
    let output = Output { codec, input_bytes: input.len(), limit: limits.budget(input.len()), bytes: Vec::new() };
    match codec {
        Compression::None => {
            output.check(input.len())?;
            Ok(input.to_vec())
        }
        Compression::Gzip => gunzip(input, output),
        Compression::Snappy => snappy::decompress(input, output),
        Compression::Lz4 => lz4::decompress(input, output),
        Compression::Zstd => zstandard::decompress(input, output),
    }
}

/// Compresses `input` and appends it to `out`. `level` follows Kafka's `compression.<codec>.level`; snappy has none and
/// LZ4's is ignored, because the encoder has one level.
pub fn compress(codec: Compression, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    match codec {
        Compression::None => out.extend_from_slice(input),
        Compression::Gzip => gzip(level, input, out)?,
        Compression::Snappy => snappy::compress(input, out)?,
        Compression::Lz4 => lz4::compress(input, out)?,
        Compression::Zstd => zstandard::compress(level, input, out)?,
    }
    Ok(())
}

/// A growing output that knows its limit.
struct Output {
    codec: Compression,
    input_bytes: usize,
    limit: usize,
    bytes: Vec<u8>,
}

impl Output {
    /// Fails if the output would be longer than the limit.
    fn check(&self, len: usize) -> Result<(), CompressError> {
        if len <= self.limit {
            return Ok(());
        }
        Err(CompressError::TooLarge { codec: self.codec, input_bytes: self.input_bytes, limit_bytes: self.limit })
    }

    fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }
}

fn gunzip(input: &[u8], mut output: Output) -> Result<Vec<u8>, CompressError> {
    // One byte more than the limit tells "exactly full" from "too large".
    let mut reader = flate2::bufread::MultiGzDecoder::new(input).take(output.limit as u64 + 1);
    reader.read_to_end(&mut output.bytes).map_err(|e| CompressError::malformed(Compression::Gzip, e))?;
    output.check(output.bytes.len())?;
    Ok(output.bytes)
}

fn gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let failed = |reason: String| CompressError::Encoder { codec: Compression::Gzip, reason };
    let level = match level {
        None | Some(-1) => flate2::Compression::default(),
        Some(level @ 1..=9) => flate2::Compression::new(level as u32),
        Some(level) => return Err(failed(format!("level {level} is not -1 or 1 to 9"))),
    };
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(input).and_then(|()| encoder.finish()).map_err(|e| failed(e.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
