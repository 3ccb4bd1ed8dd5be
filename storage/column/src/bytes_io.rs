//! Positional reads of the caller's file, and bounded reads and writes of little-endian fields.

use std::io;

use bytes::Bytes;

use crate::error::{ColumnError, Result};

/// A file, or bytes in memory, that is read by position.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `length` bytes from `offset`; less is an `UnexpectedEof`.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let from = usize::try_from(offset).ok();
        let range = from.and_then(|from| Some(from..from.checked_add(length)?));
        match range {
            Some(range) if range.end <= Bytes::len(self) => Ok(self.slice(range)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Reads after having compared with the length of the source: nothing is allocated because a length says so.
pub(crate) fn read(source: &dyn ReadAt, offset: u64, length: u64) -> Result<Bytes> {
    let fail = |source| ColumnError::Read { offset, length, source };
    if offset.checked_add(length).is_none_or(|end| end > source.len()) {
        return Err(fail(io::ErrorKind::UnexpectedEof.into()));
    }
    let bytes = source.read_at(offset, length as usize).map_err(fail)?;
    if bytes.len() as u64 != length {
        return Err(fail(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// Rounds up to a multiple of 8.
pub(crate) fn padded(length: u64) -> u64 {
    length.next_multiple_of(8)
}

/// Zero bytes that round `length` up to a multiple of 8.
pub(crate) fn padding(length: u64) -> &'static [u8] {
    &[0u8; 8][..(padded(length) - length) as usize]
}

/// A position in bytes that were not checked yet.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Fields<'a> {
        Fields { rest: bytes, what }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(ColumnError::corrupt(format!("{} ends early", self.what)));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A count of things that take at least `each` bytes, so that the rest bounds it.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count.saturating_mul(each) > self.left() {
            return Err(ColumnError::corrupt(format!(
                "{} counts {count} entries, more than its bytes hold",
                self.what
            )));
        }
        Ok(count)
    }
}
