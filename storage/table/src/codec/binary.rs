//! Simple values that Avro and Protobuf write alike: read and written in whole words, without a branch for each byte.
//!
//! Only the usual is read here: numbers as short as they go, in range, and valid text. What is not is left to the codec, which says
//! what is wrong with it.

use super::literal::{append_front, word};
use super::reader::{Reader, Values};
use crate::builder::{Column, Data};

/// A kind of simple values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// A varint, into INT or BIGINT.
    Varint,
    /// One with its sign in the lowest bit.
    Zigzag,
    Double,
    Float,
    Bool,
    /// A varint as length, and text.
    Text,
    /// A varint with a sign as length, and text.
    ZigzagText,
}

const HIGH: u64 = 0x8080_8080_8080_8080;

/// A varint of at most eight bytes, as short as it goes, and where it ends.
#[inline]
pub(crate) fn varint(row: &[u8], at: usize) -> Option<(u64, usize)> {
    let first = *row.get(at)?;
    if first < 0x80 {
        return Some((first.into(), at + 1));
    }
    let word = u64::from_le_bytes(word(row, at));
    let ends = !word & HIGH;
    if ends == 0 {
        return None;
    }
    // All bits up to the end of the first byte that is the last one of a number.
    let used = word & (ends ^ ends.wrapping_sub(1));
    let end = at + (ends.trailing_zeros() / 8) as usize + 1;
    // A zero at the end says nothing, or is no part of the row.
    if row.get(end - 1).is_none_or(|last| *last == 0) {
        return None;
    }
    let value = used & 0x7f7f_7f7f_7f7f_7f7f;
    let value = (value & 0x007f_007f_007f_007f) | (value & 0x7f00_7f00_7f00_7f00) >> 1;
    let value = (value & 0x0000_3fff_0000_3fff) | (value & 0x3fff_0000_3fff_0000) >> 2;
    Some(((value & 0x0fff_ffff) | (value & 0x0fff_ffff_0000_0000) >> 4, end))
}

#[inline]
pub(crate) fn zigzag(row: &[u8], at: usize) -> Option<(i64, usize)> {
    varint(row, at).map(|(value, end)| ((value >> 1) as i64 ^ -((value & 1) as i64), end))
}

/// Appends text of `len` bytes; false if it is not all there, or no text.
#[inline]
fn append_text(row: &[u8], at: usize, len: usize, values: &mut Vec<u8>) -> bool {
    let Some(from) = row.get(at..) else { return false };
    if len > from.len() || !is_ascii(from, len) && std::str::from_utf8(&from[..len]).is_err() {
        return false;
    }
    append_front(values, from, len);
    true
}

/// Whether the first `len` bytes are known to be ASCII.
#[inline]
fn is_ascii(from: &[u8], len: usize) -> bool {
    const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080_8080_8080;
    match (from.first_chunk::<16>(), len) {
        (_, 0) => true,
        (Some(chunk), 1..=16) => (u128::from_le_bytes(*chunk) << (128 - 8 * len)) & HIGH == 0,
        (Some(chunk), 17..=32) => match from[len - 16..].first_chunk::<16>() {
            Some(last) => (u128::from_le_bytes(*chunk) | u128::from_le_bytes(*last)) & HIGH == 0,
            None => false,
        },
        _ => from[..len].is_ascii(),
    }
}

/// Reads the value at `at` into `column`: where it ends, and whether it is zero. `None`: nothing was read.
#[inline]
pub(crate) fn read(plain: Plain, row: &[u8], at: usize, column: &mut Column) -> Option<(usize, bool)> {
    let (end, zero) = match (plain, &mut column.data) {
        (Plain::Text | Plain::ZigzagText, Data::Var { ends, values }) => {
            let (len, start) = varint(row, at)?;
            let len = if plain == Plain::Text { len } else { (len & 1 == 0).then_some(len >> 1)? };
            let len = usize::try_from(len).ok()?;
            if !append_text(row, start, len, values) {
                return None;
            }
            // `reserve_row` keeps all values together below 2^31.
            ends.push(values.len() as i32);
            (start + len, len == 0)
        }
        (Plain::Varint, data) => {
            let (value, end) = varint(row, at)?;
            put(value as i64, data)?;
            (end, value == 0)
        }
        (Plain::Zigzag, data) => {
            let (value, end) = zigzag(row, at)?;
            put(value, data)?;
            (end, value == 0)
        }
        (Plain::Double, Data::F64(values)) => {
            let bits = u64::from_le_bytes(*row.get(at..)?.first_chunk()?);
            values.push(f64::from_bits(bits));
            (at + 8, bits == 0)
        }
        (Plain::Float, Data::F32(values)) => {
            let bits = u32::from_le_bytes(*row.get(at..)?.first_chunk()?);
            values.push(f32::from_bits(bits));
            (at + 4, bits == 0)
        }
        (Plain::Bool, Data::Bool(values)) => {
            let byte = *row.get(at).filter(|byte| **byte <= 1)?;
            values.append(byte == 1);
            (at + 1, byte == 0)
        }
        _ => return None,
    };
    column.written();
    Some((end, zero))
}

#[inline]
fn put(value: i64, data: &mut Data) -> Option<()> {
    match data {
        Data::I64(values) => values.push(value),
        Data::I32(values) => values.push(i32::try_from(value).ok()?),
        _ => return None,
    }
    Some(())
}

/// Appends a varint, as short as it goes.
#[inline]
fn append_varint(value: u64, out: &mut Vec<u8>) {
    if value >> 56 != 0 {
        let mut value = value;
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        return out.push(value as u8);
    }
    let bits = 64 - (value | 1).leading_zeros() as usize;
    let len = bits.div_ceil(7);
    let spread = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let spread = (spread & 0x0000_3fff_0000_3fff) | (spread & 0x0fff_c000_0fff_c000) << 2;
    let spread = (spread & 0x007f_007f_007f_007f) | (spread & 0x3f80_3f80_3f80_3f80) << 1;
    let more = HIGH & ((1 << (8 * (len - 1))) - 1);
    let end = out.len() + len;
    out.extend_from_slice(&(spread | more).to_le_bytes());
    out.truncate(end);
}

/// Appends the value of `row`, which is not null; whether it is zero. `None`: it is of another type, and nothing was written.
#[inline]
pub(crate) fn write(plain: Plain, column: &Reader<'_>, row: usize, out: &mut Vec<u8>) -> Option<bool> {
    Some(match (plain, &column.values) {
        (Plain::Text | Plain::ZigzagText, Values::Text(strings)) => {
            let offsets = strings.value_offsets();
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            let len = end - start;
            append_varint((len as u64) << u32::from(plain == Plain::ZigzagText), out);
            append_front(out, &strings.value_data()[start..], len);
            len == 0
        }
        (Plain::Varint, values) => {
            let value = integer(values, row)?;
            append_varint(value as u64, out);
            value == 0
        }
        (Plain::Zigzag, values) => {
            let value = integer(values, row)?;
            append_varint((value << 1 ^ value >> 63) as u64, out);
            value == 0
        }
        (Plain::Double, Values::F64(values)) => {
            out.extend_from_slice(&values[row].to_le_bytes());
            values[row].to_bits() == 0
        }
        (Plain::Float, Values::F32(values)) => {
            out.extend_from_slice(&values[row].to_le_bytes());
            values[row].to_bits() == 0
        }
        (Plain::Bool, Values::Bool(values)) => {
            let value = values.value(row);
            out.push(value.into());
            !value
        }
        _ => return None,
    })
}

#[inline]
fn integer(values: &Values<'_>, row: usize) -> Option<i64> {
    match values {
        Values::I64(values) => Some(values[row]),
        Values::I32(values) => Some(values[row].into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    proptest! {
        /// Seen failing where a zero at the end was let through.
        #[test]
        fn varints_are_written_and_short_ones_read(value: u64, shift in 0..64_u32, behind: Vec<u8>, cut in 0..10_usize) {
            let value = value >> shift;
            let bytes = written(value);
            let mut out = behind.clone();
            append_varint(value, &mut out);
            prop_assert_eq!(out, [&behind[..], &bytes].concat());
            let row = [&bytes[..], &behind].concat();
            prop_assert_eq!(varint(&row, 0), (bytes.len() <= 8).then_some((value, bytes.len())));
            if cut < bytes.len() {
                prop_assert_eq!(varint(&bytes[..cut], 0), None);
            }
            // Longer than it need be.
            let mut long = bytes;
            *long.last_mut().unwrap() |= 0x80;
            long.push(0);
            prop_assert_eq!(varint(&long, 0), None);
        }

        /// Seen failing with `len - 15` for the last chunk.
        #[test]
        fn ascii_is_known(bytes in prop::collection::vec(0..0x80_u8, 0..70), behind: Vec<u8>, at: prop::sample::Index) {
            let mut row = [&bytes[..], &behind].concat();
            let known = is_ascii(&row, bytes.len());
            // The codec looks itself where the row ends too soon.
            prop_assert!(known || row.len() < bytes.len() + 16);
            if !bytes.is_empty() {
                row[at.index(bytes.len())] |= 0x80;
                prop_assert!(!is_ascii(&row, bytes.len()));
            }
        }
    }
}
