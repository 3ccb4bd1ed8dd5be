//! Zstandard, one or more frames.

use std::io::Write;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::get_frame_content_size;

use super::{CompressError, Output};
use crate::records::Compression;

/// What decoders accept by default; encoders need `--ultra --long` to exceed it.
const MAX_WINDOW_LOG: u32 = 27;
/// The window of level 19. Smaller limits would refuse ordinary frames.
const MIN_WINDOW_LOG: u32 = 23;

pub(super) fn decompress(input: &[u8], mut output: Output) -> Result<Vec<u8>, CompressError> {
    let mut decoder = Decoder::new().map_err(malformed)?;
    // The window buffer is reserved for what the frame header claims, so it gets a limit too.
    let window_log = output.limit.next_power_of_two().ilog2().clamp(MIN_WINDOW_LOG, MAX_WINDOW_LOG);
    decoder.set_parameter(DParameter::WindowLogMax(window_log)).map_err(malformed)?;
    let claimed = get_frame_content_size(input).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let first = match claimed {
        // Not trusted beyond 1 MiB: a few bytes can claim anything.
        Some(size) => size.min(output.limit).min(1 << 20),
        None => input.len().saturating_mul(6).clamp(1 << 10, 1 << 20).min(output.limit),
    };
    output.bytes.reserve_exact(first);
    let mut source = InBuffer::around(input);
    loop {
        let written = output.bytes.len();
        let consumed = source.pos();
        let hint = {
            let mut target = OutBuffer::around_pos(&mut output.bytes, written);
            decoder.run(&mut source, &mut target).map_err(malformed)?
        };
        output.check(output.bytes.len())?;
        let done_reading = source.pos() == input.len();
        if hint == 0 && done_reading {
            return Ok(output.bytes);
        }
        if output.bytes.len() == output.bytes.capacity() {
            grow(&mut output)?;
        } else if done_reading || (source.pos() == consumed && output.bytes.len() == written) {
            return Err(malformed("frame is cut short"));
        }
    }
}

/// Doubles the output, up to the limit.
fn grow(output: &mut Output) -> Result<(), CompressError> {
    let capacity = output.bytes.capacity();
    // Full at the limit and the frame goes on: one byte more would be too much.
    output.check(capacity + 1)?;
    let target = capacity.saturating_mul(2).max(1 << 10).min(output.limit);
    output.bytes.reserve_exact(target - output.bytes.len());
    Ok(())
}

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let failed = |e: std::io::Error| CompressError::Encoder { codec: Compression::Zstd, reason: e.to_string() };
    let mut encoder =
        zstd::stream::write::Encoder::new(out, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)).map_err(failed)?;
    // The size in the frame lets readers allocate once.
    encoder.set_pledged_src_size(Some(input.len() as u64)).map_err(failed)?;
    encoder.write_all(input).map_err(failed)?;
    encoder.finish().map_err(failed)?;
    Ok(())
}

fn malformed(reason: impl ToString) -> CompressError {
    CompressError::malformed(Compression::Zstd, reason)
}
