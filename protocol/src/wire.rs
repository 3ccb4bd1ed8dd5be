//! Kafka's primitive types, read from a slice with a bound on every length. Shared by the request header, the guard
//! and the produce path.

use thiserror::Error;

/// Tagged fields of one struct at most. The protocol has three of one at most; millions would only be walked.
const TAGS_MAX: usize = 1_000;

/// What is wrong with bytes on the wire. `field` is Kafka's name of the field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("{field} needs {need} bytes, {have} are left")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Bytes it needs.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// An array claims more elements than the bytes that are left could hold.
    #[error("{field} claims {count} elements in {remaining} bytes")]
    CountTooLarge {
        /// The field.
        field: &'static str,
        /// Claimed elements.
        count: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A length or count below -1.
    #[error("{field} has negative length {length}")]
    NegativeLength {
        /// The field.
        field: &'static str,
        /// The length.
        length: i32,
    },
    /// Null where a value is required.
    #[error("{field} must not be null")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// A varint goes on beyond 32 bits.
    #[error("the varint of {field} exceeds 32 bits")]
    VarintTooLong {
        /// The field.
        field: &'static str,
    },
    /// The request has more elements than its budget.
    #[error("at {field} the request exceeds its budget of {limit} elements; split it")]
    TooManyElements {
        /// The field.
        field: &'static str,
        /// The budget.
        limit: usize,
    },
    /// A tagged field is larger than its content.
    #[error("tagged field {tag} ({field}) has {extra} bytes behind its value")]
    TagSize {
        /// The field.
        field: &'static str,
        /// Its tag.
        tag: u32,
        /// Bytes behind its value.
        extra: usize,
    },
    /// A tagged field that this version does not have.
    #[error("tagged field {tag} ({field}) is not part of version {version}")]
    TagNotInVersion {
        /// The field.
        field: &'static str,
        /// Its tag.
        tag: u32,
        /// The version of the request.
        version: i16,
    },
    /// Bytes follow the last field.
    #[error("{bytes} bytes follow the last field")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A string is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
}

/// A cursor over wire bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Wire<'a> {
        Wire { bytes, position: 0 }
    }

    /// Starts inside of `bytes`, at most at its end.
    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Wire<'a> {
        Wire { bytes, position: position.min(bytes.len()) }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Succeeds if everything was read.
    pub(crate) fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(WireError::TrailingBytes { bytes }),
        }
    }

    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let have = self.remaining();
        if len > have {
            return Err(WireError::Truncated { field, need: len, have });
        }
        let start = self.position;
        self.position += len;
        Ok(&self.bytes[start..self.position])
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, field)?);
        Ok(out)
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, WireError> {
        self.array(field).map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        self.array(field).map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<uuid::Uuid, WireError> {
        self.array(field).map(uuid::Uuid::from_bytes)
    }

    /// At most five bytes and 32 bits; the protocol crate silently drops what exceeds that.
    pub(crate) fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(field)?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                return Err(WireError::VarintTooLong { field });
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong { field })
    }

    /// The length of a string; `None` is null.
    fn str_len(&mut self, compact: bool, field: &'static str) -> Result<Option<usize>, WireError> {
        if compact {
            return self.compact_len(field);
        }
        let length = i32::from(self.i16(field)?);
        self.signed_len(length, field)
    }

    /// The length of bytes or the count of an array; `None` is null.
    pub(crate) fn nullable_count(&mut self, compact: bool, field: &'static str) -> Result<Option<usize>, WireError> {
        if compact {
            return self.compact_len(field);
        }
        let length = self.i32(field)?;
        self.signed_len(length, field)
    }

    fn compact_len(&mut self, field: &'static str) -> Result<Option<usize>, WireError> {
        Ok(self.unsigned_varint(field)?.checked_sub(1).map(|length| length as usize))
    }

    fn signed_len(&self, length: i32, field: &'static str) -> Result<Option<usize>, WireError> {
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| WireError::NegativeLength { field, length }),
        }
    }

    pub(crate) fn nullable_str(&mut self, compact: bool, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
        let length = self.str_len(compact, field)?;
        length.map(|length| self.take(length, field)).transpose()
    }

    pub(crate) fn nullable_bytes(&mut self, compact: bool, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
        let length = self.nullable_count(compact, field)?;
        length.map(|length| self.take(length, field)).transpose()
    }

    /// Number of tagged fields; each takes at least two bytes.
    pub(crate) fn tag_count(&mut self) -> Result<usize, WireError> {
        let field = "tagged fields";
        let count = self.unsigned_varint(field)? as usize;
        if count > self.remaining() / 2 {
            return Err(WireError::CountTooLarge { field, count, remaining: self.remaining() });
        }
        if count > TAGS_MAX {
            return Err(WireError::TooManyElements { field, limit: TAGS_MAX });
        }
        Ok(count)
    }

    /// The bytes of the tagged field with this number; the others are skipped.
    pub(crate) fn find_tagged_field(&mut self, number: u32) -> Result<Option<&'a [u8]>, WireError> {
        let mut found = None;
        for _ in 0..self.tag_count()? {
            let tag = self.unsigned_varint("tag")?;
            let length = self.unsigned_varint("tagged field size")? as usize;
            let bytes = self.take(length, "tagged field")?;
            if tag == number {
                found = Some(bytes);
            }
        }
        Ok(found)
    }

    /// Skips tagged fields of which none is known.
    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        for _ in 0..self.tag_count()? {
            self.unsigned_varint("tag")?;
            let length = self.unsigned_varint("tagged field size")? as usize;
            self.take(length, "tagged field")?;
        }
        Ok(())
    }
}
