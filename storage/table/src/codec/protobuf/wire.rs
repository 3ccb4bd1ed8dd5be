//! Protobuf's wire format: tags, varints and lengths, within the bounds of one row.

use crate::codec::json::{RowError, RowErrorKind};

pub(super) const VARINT: u8 = 0;
pub(super) const BITS64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
pub(super) const BITS32: u8 = 5;

/// A place in a row, and where the message ends that is being read.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) end: usize,
    /// So far everything was written as shortly as it goes.
    pub(super) short: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, end: bytes.len(), short: true }
    }

    pub(super) fn fail<T>(&self, kind: RowErrorKind) -> Result<T, RowError> {
        Err(RowError { column: String::new(), position: self.at, kind })
    }

    pub(super) fn malformed<T>(&self, expected: &'static str) -> Result<T, RowError> {
        self.fail(RowErrorKind::Malformed { expected })
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, RowError> {
        if self.at < self.end {
            let byte = self.bytes[self.at];
            if byte < 0x80 {
                self.at += 1;
                return Ok(byte.into());
            }
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, RowError> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            if self.at >= self.end {
                return self.malformed("more bytes");
            }
            let byte = self.bytes[self.at];
            if shift == 63 && byte > 1 {
                return self.malformed("a number of at most 64 bits");
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.short &= byte != 0 || shift == 0;
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// Number and wire type of a field.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<(u32, u8), RowError> {
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => Ok((number, (tag & 7) as u8)),
            _ => self.malformed("a field number of 1 to 2^29 - 1"),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], RowError> {
        if len > self.end - self.at {
            return self.malformed("more bytes");
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// A length and so many bytes.
    #[inline]
    pub(super) fn sized(&mut self) -> Result<&'a [u8], RowError> {
        match usize::try_from(self.varint()?) {
            Ok(len) => self.take(len),
            Err(_) => self.malformed("more bytes"),
        }
    }

    /// A length: the message (or packed list) that begins here ends there. Returns the end of the one around it, for
    /// [`Cursor::leave`].
    #[inline]
    pub(super) fn enter(&mut self) -> Result<usize, RowError> {
        let len = self.varint()?;
        if len > (self.end - self.at) as u64 {
            return self.malformed("more bytes");
        }
        let outer = self.end;
        self.end = self.at + len as usize;
        Ok(outer)
    }

    #[inline]
    pub(super) fn leave(&mut self, outer: usize) {
        self.end = outer;
    }

    /// Steps over a value; its bytes.
    pub(super) fn skip(&mut self, wire_type: u8) -> Result<&'a [u8], RowError> {
        let start = self.at;
        match wire_type {
            VARINT => self.varint().map(drop)?,
            BITS64 => self.take(8).map(drop)?,
            LENGTH => self.sized().map(drop)?,
            BITS32 => self.take(4).map(drop)?,
            _ => return self.malformed("a value that is no group"),
        }
        Ok(&self.bytes[start..self.at])
    }
}

#[inline]
pub(super) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn write_tag(number: u32, wire_type: u8, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | u64::from(wire_type), out);
}

#[inline]
pub(super) fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Writes what `inside` writes, with its length in front.
pub(super) fn write_within<E>(out: &mut Vec<u8>, inside: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    out.push(0);
    inside(out)?;
    let len = out.len() - start - 1;
    if len < 0x80 {
        out[start] = len as u8;
        return Ok(());
    }
    // Longer than a byte's worth: room for the rest of the length is made behind the first byte.
    let mut prefix = Vec::with_capacity(5);
    write_varint(len as u64, &mut prefix);
    out.splice(start..=start, prefix);
    Ok(())
}
