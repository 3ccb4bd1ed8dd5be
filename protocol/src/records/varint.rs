//! Zigzag varints as records use them.

use super::RecordError;

/// Reads bytes from the front of a slice; every read says what was missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, RecordError> {
        let (&byte, rest) = self.rest.split_first().ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(byte)
    }

    pub(crate) fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], RecordError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn varint(&mut self, field: &'static str) -> Result<i32, RecordError> {
        let raw = self.unsigned(5, field)?;
        // Five bytes carry 35 bits; Kafka drops the upper three, and so do we.
        let raw = raw as u32;
        Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
    }

    pub(crate) fn varlong(&mut self, field: &'static str) -> Result<i64, RecordError> {
        let raw = self.unsigned(10, field)?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    fn unsigned(&mut self, max_bytes: u32, field: &'static str) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for i in 0..max_bytes {
            let byte = self.byte(field)?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::VarintTooLong { field })
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn varint_len(value: i32) -> usize {
    unsigned_len(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

pub(crate) fn varlong_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

fn unsigned_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip_and_know_their_length(int in any::<i32>(), long in any::<i64>(), shift in 0u32..63) {
            let (int, long) = (int >> shift.min(31), long >> shift);
            let mut out = Vec::new();
            put_varint(&mut out, int);
            prop_assert_eq!(out.len(), varint_len(int));
            put_varlong(&mut out, long);
            prop_assert_eq!(out.len(), varint_len(int) + varlong_len(long));
            let mut reader = Reader { rest: &out };
            prop_assert_eq!(reader.varint("a").unwrap(), int);
            prop_assert_eq!(reader.varlong("b").unwrap(), long);
            prop_assert!(reader.rest.is_empty());
        }
    }

    #[test]
    fn a_varint_that_never_ends_is_an_error() {
        let mut reader = Reader { rest: &[0xff; 20] };
        assert_eq!(reader.varint("x"), Err(RecordError::VarintTooLong { field: "x" }));
        let mut reader = Reader { rest: &[0xff; 20] };
        assert_eq!(reader.varlong("x"), Err(RecordError::VarintTooLong { field: "x" }));
        let mut reader = Reader { rest: &[0xff; 2] };
        assert_eq!(reader.varint("x"), Err(RecordError::Truncated { field: "x" }));
    }
}
