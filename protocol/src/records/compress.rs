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
/// Output of [`measure`] between two pauses.
pub const MEASURE_SLICE_BYTES: usize = 256 << 10;
/// Header and trailer of a gzip member.
const GZIP_MIN: usize = 18;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

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

/// Decompresses `input` into a fresh buffer. [`Compression::None`] copies. What claims to be larger than the limits allow is not begun.
pub fn decompress(codec: Compression, input: &[u8], limits: &DecompressLimits) -> Result<Vec<u8>, CompressError> {
    let mut output = Output::new(codec, input, limits, None);
    output.check(claimed_size(codec, input).unwrap_or(0))?;
    match codec {
        Compression::None => {
            output.check(input.len())?;
            output.bytes.extend_from_slice(input);
        }
        Compression::Gzip => gunzip(input, &mut output)?,
        Compression::Snappy => snappy::decompress(input, &mut output)?,
        Compression::Lz4 => lz4::decompress(input, &mut output)?,
        Compression::Zstd => zstandard::decompress(input, &mut output)?,
    }
    Ok(output.bytes)
}

/// How many bytes `input` decompresses to, without keeping them: what a bomb takes is time, and little memory. `pause` is called about
/// every [`MEASURE_SLICE_BYTES`]. Of snappy only the lengths are added up, which decompression holds it to.
pub fn measure(
    codec: Compression,
    input: &[u8],
    limits: &DecompressLimits,
    pause: &mut dyn FnMut(),
) -> Result<usize, CompressError> {
    let mut output = Output::new(codec, input, limits, Some(pause));
    output.check(claimed_size(codec, input).unwrap_or(0))?;
    match codec {
        Compression::None => output.count(input.len())?,
        Compression::Gzip => gunzip(input, &mut output)?,
        Compression::Snappy => snappy::measure(input, &mut output)?,
        Compression::Lz4 => lz4::decompress(input, &mut output)?,
        Compression::Zstd => zstandard::decompress(input, &mut output)?,
    }
    Ok(output.len())
}

/// How many bytes `input` says that it decompresses to, or part of it does. It may lie, but who claims more than is allowed is refused in
/// either case: codecs hold their data to what it claims. None = it does not say.
#[must_use]
pub fn claimed_size(codec: Compression, input: &[u8]) -> Option<usize> {
    match codec {
        Compression::None => Some(input.len()),
        // The trailer of the last member, modulo 4 GiB. What does not begin as gzip claims nothing.
        Compression::Gzip if input.len() >= GZIP_MIN && input.starts_with(&GZIP_MAGIC) => {
            input.last_chunk().map(|size| u32::from_le_bytes(*size) as usize)
        }
        Compression::Gzip => None,
        Compression::Snappy => snappy::claimed_size(input),
        Compression::Lz4 => lz4::claimed_size(input),
        Compression::Zstd => zstandard::claimed_size(input),
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
struct Output<'p> {
    codec: Compression,
    input_bytes: usize,
    limit: usize,
    bytes: Vec<u8>,
    /// Bytes that were counted and not kept.
    dropped: usize,
    /// Of a measurement, which keeps nothing.
    pause: Option<&'p mut dyn FnMut()>,
}

impl<'p> Output<'p> {
    fn new(
        codec: Compression,
        input: &[u8],
        limits: &DecompressLimits,
        pause: Option<&'p mut dyn FnMut()>,
    ) -> Output<'p> {
        let limit = limits.budget(input.len());
        Output { codec, input_bytes: input.len(), limit, bytes: Vec::new(), dropped: 0, pause }
    }

    /// Bytes so far, kept or not.
    fn len(&self) -> usize {
        self.dropped + self.bytes.len()
    }

    fn measures(&self) -> bool {
        self.pause.is_some()
    }

    /// Counts bytes that nobody needs.
    fn count(&mut self, bytes: usize) -> Result<(), CompressError> {
        self.check(self.len().saturating_add(bytes))?;
        self.dropped += bytes;
        Ok(())
    }

    /// In a measurement: from time to time drops all bytes but the last ones.
    fn forget_all_but(&mut self, last: usize) {
        let Some(pause) = &mut self.pause else { return };
        if self.bytes.len() >= MEASURE_SLICE_BYTES + last {
            let first = self.bytes.len() - last;
            self.bytes.drain(..first);
            self.dropped += first;
            pause();
        }
    }

    /// Fails if the output would be longer than the limit.
    fn check(&self, len: usize) -> Result<(), CompressError> {
        if len <= self.limit {
            return Ok(());
        }
        Err(CompressError::TooLarge { codec: self.codec, input_bytes: self.input_bytes, limit_bytes: self.limit })
    }

    fn room(&self) -> usize {
        self.limit - self.len()
    }
}

fn gunzip(input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    let malformed = |e| CompressError::malformed(Compression::Gzip, e);
    let mut reader = flate2::bufread::MultiGzDecoder::new(input);
    if !output.measures() {
        // One byte more than the limit tells "exactly full" from "too large".
        reader.take(output.limit as u64 + 1).read_to_end(&mut output.bytes).map_err(malformed)?;
        return output.check(output.len());
    }
    loop {
        let slice =
            reader.by_ref().take(MEASURE_SLICE_BYTES as u64).read_to_end(&mut output.bytes).map_err(malformed)?;
        output.check(output.len())?;
        if slice == 0 {
            return Ok(());
        }
        output.forget_all_but(0);
    }
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
