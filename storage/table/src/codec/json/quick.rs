//! Numbers, booleans and strings of the most usual forms. What is not understood here is for [`super::fast`] to read, at more length.

use super::format::{DecimalStyle, FloatStyle};
use super::text::{ascii_len, plain_len};
use crate::codec::digits::{POWERS, leading};
use crate::codec::literal::word;

/// Powers of ten that a double (and up to 10^10 a float) holds exactly.
const DOUBLES: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Whether the digits in front of `at` are all of the number.
#[inline]
fn ends(row: &[u8], at: usize) -> bool {
    !matches!(row.get(at), Some(b'.' | b'e' | b'E'))
}

/// An integer of at most 15 digits, and where it ends.
#[inline]
pub(super) fn integer(row: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = row.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let first = word(row, start);
    let (mut value, mut len) = leading(first);
    if len == 8 {
        let (behind, more) = leading(word(row, start + 8));
        if more == 8 {
            return None;
        }
        value = value * POWERS[more] + behind;
        len += more;
    }
    if len == 0 || !ends(row, start + len) || (first[0] == b'0' && (len > 1 || negative)) {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, start + len))
}

/// A number of at most 7 digits on each side of the point, without exponent, and where it ends.
#[inline]
pub(super) fn number(row: &[u8], at: usize) -> Option<(ShortNumber, usize)> {
    let negative = row.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let first = word(row, start);
    let (mut mantissa, whole) = leading(first);
    if whole == 0 || whole == 8 || (first[0] == b'0' && whole > 1) {
        return None;
    }
    let (mut end, mut decimals) = (start + whole, 0);
    if row.get(end) == Some(&b'.') {
        let (fraction, digits) = leading(word(row, end + 1));
        if digits == 0 || digits == 8 {
            return None;
        }
        mantissa = mantissa * POWERS[digits] + fraction;
        decimals = digits;
        end += 1 + digits;
    }
    let last_zero = row.get(end - 1) == Some(&b'0');
    ends(row, end).then_some((ShortNumber { negative, mantissa, whole, decimals, last_zero }, end))
}

/// The length of a string without escapes, behind whose opening quote `row` begins.
#[inline]
pub(super) fn string(row: &[u8]) -> Option<usize> {
    let len = ascii_len(row);
    match row.get(len)? {
        b'"' => Some(len),
        0x80.. => {
            let len = len + plain_len(&row[len..]);
            (row.get(len) == Some(&b'"') && std::str::from_utf8(&row[..len]).is_ok()).then_some(len)
        }
        _ => None,
    }
}

#[inline]
pub(super) fn boolean(row: &[u8], at: usize) -> Option<(bool, usize)> {
    let rest = row.get(at..)?;
    if rest.starts_with(b"true") {
        return Some((true, at + 4));
    }
    rest.starts_with(b"false").then_some((false, at + 5))
}

/// A number without exponent and with at most 15 digits.
pub(super) struct ShortNumber {
    pub(super) negative: bool,
    /// Its digits, without the point.
    pub(super) mantissa: u64,
    /// Digits in front of the point.
    pub(super) whole: usize,
    /// Digits behind the point; 0: there is none.
    pub(super) decimals: usize,
    pub(super) last_zero: bool,
}

impl ShortNumber {
    /// The double it stands for. `EXACT`: if it is written so in `style`.
    #[inline]
    pub(super) fn double<const EXACT: bool>(&self, style: FloatStyle) -> Option<f64> {
        let takes = self.whole <= 7 && (!EXACT || self.is_near() && self.has_style(style));
        let value = self.mantissa as i64 as f64 / *DOUBLES.get(self.decimals)?;
        takes.then_some(if self.negative { -value } else { value })
    }

    /// The same of a float.
    #[inline]
    pub(super) fn float<const EXACT: bool>(&self, style: FloatStyle) -> Option<f32> {
        // Fewer than 7 digits are the shortest ones.
        let small = self.mantissa < 1_000_000 && self.decimals <= 10 && self.whole <= 7;
        let takes = small && (!EXACT || self.is_near() && self.has_style(style));
        let value = self.mantissa as f32 / *DOUBLES.get(self.decimals)? as f32;
        takes.then_some(if self.negative { -value } else { value })
    }

    /// Between 0.001 and 10^7 no style uses an exponent; fewer than 16 digits are the shortest ones.
    #[inline]
    fn is_near(&self) -> bool {
        self.mantissa == 0 || self.mantissa as i64 as f64 >= DOUBLES[self.decimals.min(15)] * 1e-3
    }

    /// Whether a style that uses no exponent here writes it so.
    #[inline]
    pub(super) fn has_style(&self, style: FloatStyle) -> bool {
        match style {
            FloatStyle::Fixed(decimals) => self.decimals == usize::from(decimals),
            FloatStyle::JavaScript => self.decimals == 0 || !self.last_zero,
            _ => self.decimals == 1 || (self.decimals > 1 && !self.last_zero),
        }
    }

    /// The same of a decimal's style.
    #[inline]
    pub(super) fn is_decimal_of(&self, style: DecimalStyle) -> bool {
        match style {
            DecimalStyle::Fixed(decimals) => self.decimals == usize::from(decimals),
            DecimalStyle::Short => self.has_style(FloatStyle::JavaScript),
            DecimalStyle::PointZero => self.has_style(FloatStyle::Python),
        }
    }
}
