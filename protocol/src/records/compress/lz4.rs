//! LZ4 frames. Read by our own frame walker over the block decoder: the crate's frame reader reserves three blocks of
//! the size that the frame names (12 MiB for a batch of 1 KiB) and asserts on odd frame sequences in debug builds.
//!
//! Like the Java client, one frame is read and what follows its end mark is ignored.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::{CompressError, Output};
use crate::records::Compression;

const MAGIC: u32 = 0x184D_2204;
/// Linked blocks refer back at most so far.
const WINDOW: usize = 64 * 1024;
/// An LZ4 length byte adds at most 255 bytes.
const MAX_RATIO: usize = 255;

pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    let (frame, mut rest) = Frame::parse(input)?;
    loop {
        let word = take_u32(&mut rest)?;
        if word == 0 {
            return Ok(());
        }
        let stored = word & 0x8000_0000 != 0;
        let length = (word & 0x7fff_ffff) as usize;
        if length > frame.max_block {
            return Err(malformed("block is longer than the frame allows"));
        }
        let (block, tail) = rest.split_at_checked(length).ok_or_else(|| malformed("block is cut short"))?;
        rest = tail;
        if stored {
            output.check(output.len() + length)?;
            output.bytes.extend_from_slice(block);
        } else {
            decompress_block(block, &frame, output)?;
        }
        output.forget_all_but(WINDOW);
        if frame.block_checksums {
            take_u32(&mut rest)?;
        }
    }
}

fn decompress_block(block: &[u8], frame: &Frame, output: &mut Output<'_>) -> Result<(), CompressError> {
    let so_far = output.len();
    let most = frame.max_block.min(block.len().saturating_mul(MAX_RATIO)).min(output.room());
    // A block does not say how long it becomes; most fit the first guess.
    let mut room = block.len().saturating_mul(8).min(most);
    let start = output.bytes.len();
    loop {
        output.bytes.resize(start + room, 0);
        let (before, target) = output.bytes.split_at_mut(start);
        let result = if frame.linked {
            decompress_into_with_dict(block, target, &before[start.saturating_sub(WINDOW)..])
        } else {
            decompress_into(block, target)
        };
        match result {
            Ok(written) => {
                output.bytes.truncate(start + written);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < most => {
                output.bytes.truncate(start);
                room = most;
            }
            Err(DecompressError::OutputTooSmall { .. }) => {
                output.check(so_far.saturating_add(most).saturating_add(1))?;
                return Err(malformed("block expands beyond the block size of its frame"));
            }
            Err(error) => return Err(malformed(error)),
        }
    }
}

/// What the frame says that it holds, where it does.
pub(super) fn claimed_size(input: &[u8]) -> Option<usize> {
    let (frame, _) = Frame::parse(input).ok()?;
    frame.content.and_then(|size| usize::try_from(size).ok())
}

struct Frame {
    max_block: usize,
    linked: bool,
    content: Option<u64>,
    block_checksums: bool,
}

impl Frame {
    /// Reads the frame descriptor; returns what follows it.
    fn parse(input: &[u8]) -> Result<(Frame, &[u8]), CompressError> {
        let mut rest = input;
        if take_u32(&mut rest)? != MAGIC {
            return Err(malformed("no LZ4 frame magic"));
        }
        let Some((&[flags, block_descriptor], tail)) = rest.split_first_chunk::<2>() else {
            return Err(malformed("frame descriptor is cut short"));
        };
        if flags >> 6 != 1 {
            return Err(malformed("unknown LZ4 frame version"));
        }
        if flags & 0x01 != 0 {
            return Err(malformed("frame needs a dictionary"));
        }
        let max_block = match (block_descriptor >> 4) & 0x07 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(malformed("unknown LZ4 block size")),
        };
        // The content size, if present, and the header checksum; neither is trusted.
        let content = if flags & 0x08 != 0 { tail.first_chunk().map(|size| u64::from_le_bytes(*size)) } else { None };
        let skip = if flags & 0x08 != 0 { 9 } else { 1 };
        let rest = tail.get(skip..).ok_or_else(|| malformed("frame descriptor is cut short"))?;
        Ok((Frame { max_block, linked: flags & 0x20 == 0, content, block_checksums: flags & 0x10 != 0 }, rest))
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, CompressError> {
    let (word, tail) = rest.split_first_chunk().ok_or_else(|| malformed("frame is cut short"))?;
    *rest = tail;
    Ok(u32::from_le_bytes(*word))
}

/// Independent blocks of 64 KiB, because the Java client reads no others.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    let failed = |reason: String| CompressError::Encoder { codec: Compression::Lz4, reason };
    encoder.write_all(input).map_err(|e| failed(e.to_string()))?;
    encoder.try_finish().map_err(|e| failed(e.to_string()))
}

fn malformed(reason: impl ToString) -> CompressError {
    CompressError::malformed(Compression::Lz4, reason)
}
