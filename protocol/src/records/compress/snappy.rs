//! Snappy, raw and in the framing of snappy-java ("xerial"), which the Java client and most others write.
//!
//! Frame: `82 53 4E 41 50 50 59 00`, version i32, compatible version i32, then blocks of `length i32, raw snappy`.

use super::{CompressError, Output};
use crate::records::Compression;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_LEN: usize = 16;
/// Block size of snappy-java.
const BLOCK_LEN: usize = 32 * 1024;
/// A three-byte copy yields at most 64 bytes; a block that claims more is lying.
const MAX_RATIO: usize = 22;

pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    each_block(input, |bytes| block(bytes, output))
}

/// Adds up what the blocks claim.
pub(super) fn measure(input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    each_block(input, |bytes| output.count(claimed_by(bytes)?))
}

/// What all blocks claim; None = they cannot be told apart.
pub(super) fn claimed_size(input: &[u8]) -> Option<usize> {
    let mut claimed = 0usize;
    each_block(input, |bytes| {
        claimed = claimed.saturating_add(claimed_by(bytes)?);
        Ok(())
    })
    .ok()?;
    Some(claimed)
}

fn each_block(input: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), CompressError>) -> Result<(), CompressError> {
    if !input.starts_with(&MAGIC) {
        return take(input);
    }
    let mut rest = input;
    while !rest.is_empty() {
        // Concatenated streams repeat the header, and snappy-java reads that.
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER_LEN..).ok_or_else(|| malformed("stream header is cut short"))?;
            continue;
        }
        let (length, tail) = rest.split_first_chunk().ok_or_else(|| malformed("block length is cut short"))?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| malformed("negative block length"))?;
        let (bytes, tail) = tail.split_at_checked(length).ok_or_else(|| malformed("block is cut short"))?;
        take(bytes)?;
        rest = tail;
    }
    Ok(())
}

/// What a block says that it decompresses to.
fn claimed_by(block: &[u8]) -> Result<usize, CompressError> {
    let length = snap::raw::decompress_len(block).map_err(malformed)?;
    if length > block.len().saturating_mul(MAX_RATIO) {
        return Err(malformed("claimed length is impossible"));
    }
    Ok(length)
}

fn block(input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    let length = claimed_by(input)?;
    let start = output.bytes.len();
    output.check(start.saturating_add(length))?;
    output.bytes.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(input, &mut output.bytes[start..]).map_err(malformed)?;
    output.bytes.truncate(start + written);
    Ok(())
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let failed = |e: snap::Error| CompressError::Encoder { codec: Compression::Snappy, reason: e.to_string() };
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in input.chunks(BLOCK_LEN) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(chunk.len()), 0);
        let written = encoder.compress(chunk, &mut out[start..]).map_err(failed)?;
        out.truncate(start + written);
        // At most 38 KiB, see BLOCK_LEN.
        out[length_at..start].copy_from_slice(&(written as i32).to_be_bytes());
    }
    Ok(())
}

fn malformed(reason: impl ToString) -> CompressError {
    CompressError::malformed(Compression::Snappy, reason)
}
