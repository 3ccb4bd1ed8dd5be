//! Zstandard, one or more frames.

use std::cell::RefCell;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{
    DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, SafeResult, get_error_name, get_frame_content_size,
};

use super::{CompressError, MEASURE_SLICE_BYTES, Output};
use crate::records::Compression;

/// What decoders accept by default; encoders need `--ultra --long` to exceed it.
const MAX_WINDOW_LOG: u32 = 27;
/// The window of level 19. Smaller limits would refuse ordinary frames.
const MIN_WINDOW_LOG: u32 = 23;

/// A context that grew beyond this is not kept: a frame with a large window made it large.
const KEPT_CONTEXT_BYTES: usize = 1 << 20;
/// Contexts of higher levels are too large to keep one on each thread.
const KEPT_LEVEL_MAX: i32 = 9;

thread_local! {
    /// Making a context takes as long as decompressing a small batch.
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    /// With its level.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
}

pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    let kept = DECOMPRESSOR.with(|kept| kept.borrow_mut().take());
    let mut context = kept.or_else(DCtx::try_create).ok_or_else(|| malformed("no memory for a context"))?;
    let result = decompress_with(&mut context, input, output);
    // After an error too: the session is begun anew.
    if context.sizeof() <= KEPT_CONTEXT_BYTES && context.reset(ResetDirective::SessionAndParameters).is_ok() {
        DECOMPRESSOR.with(|kept| *kept.borrow_mut() = Some(context));
    }
    result
}

fn succeeded(result: SafeResult) -> Result<usize, CompressError> {
    result.map_err(|code| malformed(get_error_name(code)))
}

/// What the first frame says that it holds, where it does.
pub(super) fn claimed_size(input: &[u8]) -> Option<usize> {
    get_frame_content_size(input).ok().flatten().and_then(|size| usize::try_from(size).ok())
}

fn decompress_with(context: &mut DCtx<'static>, input: &[u8], output: &mut Output<'_>) -> Result<(), CompressError> {
    // The window buffer is reserved for what the frame header claims, so it gets a limit too.
    let window_log = output.limit.next_power_of_two().ilog2().clamp(MIN_WINDOW_LOG, MAX_WINDOW_LOG);
    succeeded(context.set_parameter(DParameter::WindowLogMax(window_log)))?;
    let first = match claimed_size(input) {
        _ if output.measures() => MEASURE_SLICE_BYTES.min(output.limit),
        // Not trusted beyond 1 MiB: a few bytes can claim anything.
        Some(size) => size.min(output.limit).min(1 << 20),
        None => input.len().saturating_mul(6).clamp(1 << 10, 1 << 20).min(output.limit),
    };
    output.bytes.reserve_exact(first);
    let mut source = InBuffer::around(input);
    loop {
        let (written, so_far) = (output.bytes.len(), output.len());
        let consumed = source.pos();
        let hint = {
            let mut target = OutBuffer::around_pos(&mut output.bytes, written);
            succeeded(context.decompress_stream(&mut target, &mut source))?
        };
        output.check(output.len())?;
        let done_reading = source.pos() == input.len();
        if hint == 0 && done_reading {
            return Ok(());
        }
        if output.bytes.len() < output.bytes.capacity() {
            if done_reading || (source.pos() == consumed && output.len() == so_far) {
                return Err(malformed("frame is cut short"));
            }
            continue;
        }
        output.forget_all_but(0);
        if output.bytes.len() == output.bytes.capacity() {
            grow(output)?;
        }
    }
}

/// Doubles the output, up to the limit.
fn grow(output: &mut Output<'_>) -> Result<(), CompressError> {
    // Full at the limit and the frame goes on: one byte more would be too much.
    output.check(output.len() + 1)?;
    let more = output.bytes.capacity().max(1 << 10).min(output.room());
    output.bytes.reserve_exact(more);
    Ok(())
}

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let failed = |e: std::io::Error| CompressError::Encoder { codec: Compression::Zstd, reason: e.to_string() };
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let kept = COMPRESSOR.with(|kept| kept.borrow_mut().take()).filter(|(of, _)| *of == level);
    let mut compressor = match kept {
        Some((_, compressor)) => compressor,
        None => Compressor::new(level).map_err(failed)?,
    };
    // The frame says its size, which lets readers allocate once.
    let frame = compressor.compress(input).map_err(failed)?;
    out.extend_from_slice(&frame);
    if level <= KEPT_LEVEL_MAX {
        COMPRESSOR.with(|kept| *kept.borrow_mut() = Some((level, compressor)));
    }
    Ok(())
}

fn malformed(reason: impl ToString) -> CompressError {
    CompressError::malformed(Compression::Zstd, reason)
}
