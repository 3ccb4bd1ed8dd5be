//! Compression of single buffers as Arrow IPC has it: int64 uncompressed length, or -1 and the bytes as they are.

use std::cell::RefCell;
use std::io::{Read, Write};

use arrow_buffer::Buffer;
use arrow_ipc::CompressionType;
use bytes::Bytes;

use crate::error::{ColumnError, Result};

/// Codec of a segment or stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Buffers as they are, without length prefix.
    None,
    /// LZ4 frames.
    Lz4,
    /// ZSTD with a level (1 to 22, 3 is usual).
    Zstd(i32),
}

/// Stored bytes in a codec's segment that say "raw".
const RAW: i64 = -1;
/// A buffer is kept raw when compression leaves more than this share, in eighths: reading it costs more than that.
const PAYS_EIGHTHS: usize = 7;

impl Codec {
    pub(crate) fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Lz4 => 1,
            Codec::Zstd(_) => 2,
        }
    }

    pub(crate) fn level(self) -> i32 {
        match self {
            Codec::Zstd(level) => level,
            Codec::None | Codec::Lz4 => 0,
        }
    }

    pub(crate) fn from_id(id: u8, level: i32) -> Option<Codec> {
        match id {
            0 => Some(Codec::None),
            1 => Some(Codec::Lz4),
            2 => Some(Codec::Zstd(level)),
            _ => None,
        }
    }

    pub(crate) fn compression(self) -> Option<CompressionType> {
        match self {
            Codec::None => None,
            Codec::Lz4 => Some(CompressionType::LZ4_FRAME),
            Codec::Zstd(_) => Some(CompressionType::ZSTD),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Lz4 => "LZ4_FRAME",
            Codec::Zstd(_) => "ZSTD",
        }
    }

    fn failed(self, reason: impl ToString) -> ColumnError {
        ColumnError::Codec { codec: self.name(), reason: reason.to_string() }
    }
}

/// A buffer as the owner of `Bytes`: uncompressed columns are not copied.
struct Shared(Buffer);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Compresses buffers; holds what a codec can use again.
pub(crate) struct Compressor {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Where a buffer is compressed: its size is known only afterwards, and what is stored lives as long as the segment is made.
    scratch: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(codec: Codec) -> Result<Compressor> {
        let zstd = match codec {
            Codec::Zstd(level) => Some(zstd::bulk::Compressor::new(level).map_err(|e| codec.failed(e))?),
            Codec::None | Codec::Lz4 => None,
        };
        Ok(Compressor { codec, zstd, scratch: Vec::new() })
    }

    /// The stored form of `raw`. Empty stays empty; `keep_raw` stores it uncompressed whatever the codec.
    pub(crate) fn store(&mut self, raw: &Buffer, keep_raw: bool) -> Result<Bytes> {
        if raw.is_empty() {
            return Ok(Bytes::new());
        }
        if self.codec == Codec::None {
            return Ok(Bytes::from_owner(Shared(raw.clone())));
        }
        if !keep_raw {
            let stored = self.compress(raw)?;
            if stored.len() <= raw.len() / 8 * PAYS_EIGHTHS {
                return Ok(prefixed(raw.len() as i64, stored));
            }
        }
        Ok(prefixed(RAW, raw))
    }

    fn compress(&mut self, raw: &[u8]) -> Result<&[u8]> {
        let Compressor { codec, zstd, scratch } = self;
        scratch.clear();
        if let Some(zstd) = zstd {
            scratch.reserve(zstd::zstd_safe::compress_bound(raw.len()));
            zstd.compress_to_buffer(raw, scratch).map_err(|e| codec.failed(e))?;
        } else {
            let mut frame = lz4_flex::frame::FrameEncoder::new(&mut *scratch);
            frame.write_all(raw).map_err(|e| codec.failed(e))?;
            frame.finish().map_err(|e| codec.failed(e))?;
        }
        Ok(scratch)
    }
}

fn prefixed(length: i64, bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    out.into()
}

/// The uncompressed form of a stored buffer. It is refused before anything is decompressed when it claims more than `max`
/// bytes, and it never grows past what it claims.
pub(crate) fn open(codec: Codec, stored: Bytes, max: u64) -> Result<Buffer> {
    if stored.is_empty() {
        return Ok(Buffer::from_vec(Vec::<u8>::new()));
    }
    if codec == Codec::None {
        return bounded(stored.len() as u64, max).map(|_| Buffer::from(stored));
    }
    let Some((prefix, rest)) = stored.split_first_chunk::<8>() else {
        return Err(ColumnError::corrupt("a compressed buffer shorter than its length prefix"));
    };
    let length = i64::from_le_bytes(*prefix);
    if length == RAW {
        return bounded(rest.len() as u64, max).map(|_| Buffer::from(stored.slice(8..)));
    }
    let Ok(length) = u64::try_from(length) else {
        return Err(ColumnError::corrupt(format!("a buffer of {length} uncompressed bytes")));
    };
    let length = bounded(length, max)?;
    let raw = decompress(codec, rest, length)?;
    if raw.len() != length {
        let (says, has) = (length, raw.len());
        return Err(ColumnError::corrupt(format!("a buffer says it has {says} bytes uncompressed, it has {has}")));
    }
    Ok(Buffer::from_vec(raw))
}

fn bounded(value: u64, max: u64) -> Result<usize> {
    if value > max {
        return Err(ColumnError::Limit { what: "the uncompressed size of buffers".into(), value, max });
    }
    Ok(value as usize)
}

/// LZ4 cannot do better than 1:255, so a claim beyond that reserves nothing.
const LZ4_RATIO_MAX: usize = 255;

thread_local! {
    /// Making a context takes as long as opening a small buffer. It needs no window: all of a buffer is opened at once.
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn decompress(codec: Codec, stored: &[u8], length: usize) -> Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(stored.to_vec()),
        Codec::Lz4 => {
            let mut out = Vec::with_capacity(length.min(stored.len().saturating_mul(LZ4_RATIO_MAX)));
            let frame = lz4_flex::frame::FrameDecoder::new(stored);
            frame.take(length as u64 + 1).read_to_end(&mut out).map_err(|e| codec.failed(e))?;
            Ok(out)
        }
        Codec::Zstd(_) => {
            // The frame says its size too; a claim without that support reserves nothing.
            let content = zstd::zstd_safe::get_frame_content_size(stored);
            if !matches!(content, Ok(Some(size)) if size == length as u64) {
                return zstd_stream(codec, stored, length);
            }
            let opened = ZSTD.with(|kept| -> std::io::Result<Vec<u8>> {
                let mut kept = kept.borrow_mut();
                match &mut *kept {
                    Some(context) => context.decompress(stored, length),
                    None => kept.insert(zstd::bulk::Decompressor::new()?).decompress(stored, length),
                }
            });
            opened.map_err(|e| codec.failed(e))
        }
    }
}

/// For frames that do not say their size (streaming writers): grows with what comes out.
fn zstd_stream(codec: Codec, stored: &[u8], length: usize) -> Result<Vec<u8>> {
    let frame = zstd::stream::read::Decoder::with_buffer(stored).map_err(|e| codec.failed(e))?;
    let mut out = Vec::new();
    frame.take(length as u64 + 1).read_to_end(&mut out).map_err(|e| codec.failed(e))?;
    Ok(out)
}
