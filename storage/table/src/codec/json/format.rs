//! How a simple value is written: everything about its text that the value itself does not say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::time::civil;
use crate::builder::Value;
use crate::codec::digits::{append_integer, append_unsigned};
use crate::schema::{DataType, TimeUnit};

/// The text form of one simple column in one row shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Format {
    /// The only form of booleans, strings (but see [`StringStyle`]), bytes and JSON, the usual one of integers and dates.
    Plain,
    /// An integer in quotes.
    Quoted,
    /// FLOAT and DOUBLE.
    Float(FloatStyle),
    /// DECIMAL.
    Decimal { quoted: bool, style: DecimalStyle },
    /// UUID with capital hex digits.
    UpperUuid,
    /// TIME.
    Clock(Fraction),
    /// TIMESTAMP and TIMESTAMP_LTZ as text.
    Stamp { between: char, fraction: Fraction, zone: Zone },
}

/// Shortest digits, written as different languages do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum FloatStyle {
    /// `2`, `1e+21`, `1e-7` (Go's too).
    JavaScript,
    /// `2.0`, `1e+16`, `1e-05`.
    Python,
    /// `2.0`, `1e16`, `1e-5`.
    Rust,
    /// `2.0`, `1.0E7`, `1.0E-4`.
    Java,
    /// Always so many decimals.
    Fixed(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum DecimalStyle {
    /// Always so many decimals.
    Fixed(u8),
    /// No zeros at the end: `2`, `2.5`.
    Short,
    /// The same, but `2.0`.
    PointZero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Fraction {
    /// Always so many digits, 0 to 9.
    Fixed(u8),
    /// None when it is zero, else so many.
    ZeroOr(u8),
    /// No zeros at the end.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Zone {
    None,
    Z,
    /// Minutes east of UTC, with a colon.
    Offset(i16),
}

/// How strings are escaped, the same in a whole row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct StringStyle {
    /// Everything above ASCII as \uXXXX, and DEL.
    pub(super) ascii: bool,
    /// `/` as `\/`.
    pub(super) slash: bool,
    /// `<`, `>`, `&`, U+2028 and U+2029 as \uXXXX.
    pub(super) html: bool,
    /// Capital hex digits.
    pub(super) upper: bool,
    /// No short forms \b and \f (Go before 1.22).
    pub(super) long: bool,
}

impl StringStyle {
    /// Whether a string without escapes stays as it is.
    #[inline]
    pub(super) fn keeps(self, text: &[u8]) -> bool {
        self == StringStyle::default() || self.keeps_specials(text)
    }

    fn keeps_specials(self, text: &[u8]) -> bool {
        // U+2028 and U+2029 as UTF-8.
        let separator = |bytes: &[u8]| matches!(bytes, [0xe2, 0x80, 0xa8 | 0xa9]);
        !(self.slash && text.contains(&b'/')
            || self.ascii && text.iter().any(|byte| *byte >= 0x7f)
            || self.html
                && (text.iter().any(|byte| matches!(byte, b'<' | b'>' | b'&')) || text.windows(3).any(separator)))
    }

    /// Appends `text` with escapes, without quotes.
    pub(super) fn write(self, text: &str, out: &mut Vec<u8>) {
        if self == StringStyle::default() {
            return write_plain(text, out);
        }
        let hex: &[u8; 16] = if self.upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        for each in text.chars() {
            let long = match each {
                '"' => Err(b'"'),
                '\\' => Err(b'\\'),
                '\n' => Err(b'n'),
                '\r' => Err(b'r'),
                '\t' => Err(b't'),
                '\u{8}' if !self.long => Err(b'b'),
                '\u{c}' if !self.long => Err(b'f'),
                '/' if self.slash => Err(b'/'),
                '\0'..'\u{20}' => Ok(true),
                '\u{7f}'.. if self.ascii => Ok(true),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => Ok(self.html),
                _ => Ok(false),
            };
            match long {
                Err(short) => out.extend_from_slice(&[b'\\', short]),
                Ok(false) => out.extend_from_slice(each.encode_utf8(&mut [0; 4]).as_bytes()),
                Ok(true) => {
                    for unit in each.encode_utf16(&mut [0; 2]) {
                        out.extend_from_slice(b"\\u");
                        out.extend([12, 8, 4, 0].map(|shift| hex[usize::from(*unit >> shift & 15)]));
                    }
                }
            }
        }
    }
}

/// Only what must be escaped, with the short forms where there are some.
fn write_plain(text: &str, out: &mut Vec<u8>) {
    let mut bytes = text.as_bytes();
    loop {
        let plain = super::text::plain_len(bytes);
        out.extend_from_slice(&bytes[..plain]);
        let Some(special) = bytes.get(plain) else { return };
        bytes = &bytes[plain + 1..];
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            other => {
                let hex = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend([hex[usize::from(other >> 4)], hex[usize::from(other & 15)]]);
            }
        }
    }
}

/// How a type is written when nothing else is known.
pub(super) fn canonical(data_type: &DataType) -> Format {
    match data_type {
        DataType::Float | DataType::Double => Format::Float(FloatStyle::Rust),
        DataType::Decimal { scale, .. } => Format::Decimal { quoted: false, style: DecimalStyle::Fixed(*scale) },
        DataType::Time(unit) => Format::Clock(Fraction::ZeroOr(unit.digits())),
        DataType::Timestamp(unit) => {
            Format::Stamp { between: 'T', fraction: Fraction::ZeroOr(unit.digits()), zone: Zone::None }
        }
        DataType::TimestampLtz(unit) => {
            Format::Stamp { between: 'T', fraction: Fraction::ZeroOr(unit.digits()), zone: Zone::Z }
        }
        _ => Format::Plain,
    }
}

/// Appends a value of `data_type` as `format` has it. Formats of other types fall back to the plain form.
#[inline]
pub(super) fn write(format: &Format, data_type: &DataType, value: Value<'_>, strings: StringStyle, out: &mut Vec<u8>) {
    match (value, format) {
        (Value::Bool(value), _) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        (Value::Int(value), format) => write_int(format, data_type, value, out),
        (Value::Text(text), _) if matches!(data_type, DataType::Json) => out.extend_from_slice(text.as_bytes()),
        (Value::Text(text), _) => {
            out.push(b'"');
            strings.write(text, out);
            out.push(b'"');
        }
        (Value::Double(value), format) => {
            if let Some(hundredths) = hundredths(value) {
                let style = if let Format::Float(style) = format { *style } else { FloatStyle::Rust };
                write_hundredths(hundredths, style, out);
            } else if value.is_finite() {
                write_float(ryu::Buffer::new().format_finite(value), format, out);
            } else {
                write_not_finite(value, out);
            }
        }
        (Value::Float(value), format) => {
            if value.is_finite() {
                write_float(ryu::Buffer::new().format_finite(value), format, out);
            } else {
                write_not_finite(value.into(), out);
            }
        }
        (Value::Decimal(value), format) => write_decimal(format, data_type, value, out),
        (Value::Bytes(bytes), format) => {
            out.push(b'"');
            if matches!(data_type, DataType::Uuid) {
                write_uuid(bytes, *format == Format::UpperUuid, out);
            } else {
                let start = out.len();
                out.resize(start + bytes.len().div_ceil(3) * 4, 0);
                // The space is exactly what padded base64 takes.
                let written = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
                out.truncate(start + written);
            }
            out.push(b'"');
        }
    }
}

fn write_not_finite(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(match value {
        f64::INFINITY => b"\"Infinity\"".as_slice(),
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    });
}

/// The 36 characters of a UUID.
pub(crate) fn write_uuid(bytes: &[u8], upper: bool, out: &mut Vec<u8>) {
    let hex: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
    }
}

fn write_int(format: &Format, data_type: &DataType, value: i64, out: &mut Vec<u8>) {
    let mut plain = |value: i64| append_integer(value, out);
    let unit = match data_type {
        DataType::Date => {
            out.push(b'"');
            write_date(value, out);
            return out.push(b'"');
        }
        DataType::Time(unit) | DataType::Timestamp(unit) | DataType::TimestampLtz(unit) => *unit,
        _ if *format == Format::Quoted => {
            out.push(b'"');
            append_integer(value, out);
            return out.push(b'"');
        }
        _ => return plain(value),
    };
    match format {
        // Only an integer can say what is no time of a day.
        Format::Clock(fraction) if (0..86_400 * unit.per_second()).contains(&value) => {
            out.push(b'"');
            write_clock(value, unit, *fraction, out);
            out.push(b'"');
        }
        Format::Stamp { between, fraction, zone } => {
            let minutes = if let Zone::Offset(minutes) = zone { i64::from(*minutes) } else { 0 };
            let local = value.saturating_add(minutes * 60 * unit.per_second());
            let day = 86_400 * unit.per_second();
            if civil(local.div_euclid(day)).is_none() {
                // Only an integer can say a time so far away.
                return plain(value);
            }
            out.push(b'"');
            write_date(local.div_euclid(day), out);
            out.push(*between as u8);
            write_clock(local.rem_euclid(day), unit, *fraction, out);
            match zone {
                Zone::None => {}
                Zone::Z => out.push(b'Z'),
                Zone::Offset(minutes) => {
                    out.push(if *minutes < 0 { b'-' } else { b'+' });
                    write_two(i64::from(minutes.unsigned_abs()) / 60, out);
                    out.push(b':');
                    write_two(i64::from(minutes.unsigned_abs()) % 60, out);
                }
            }
            out.push(b'"');
        }
        _ => plain(value),
    }
}

fn write_two(value: i64, out: &mut Vec<u8>) {
    out.extend([b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

fn write_date(days: i64, out: &mut Vec<u8>) {
    let Some((year, month, day)) = civil(days) else {
        // JSON takes only dates of four-digit years; other sources may hold more. They show as the number of the day.
        return out.extend_from_slice(itoa::Buffer::new().format(days).as_bytes());
    };
    write_two(year / 100, out);
    write_two(year % 100, out);
    out.push(b'-');
    write_two(month, out);
    out.push(b'-');
    write_two(day, out);
}

fn write_clock(value: i64, unit: TimeUnit, fraction: Fraction, out: &mut Vec<u8>) {
    let seconds = value.div_euclid(unit.per_second());
    write_two(seconds / 3_600, out);
    out.push(b':');
    write_two(seconds / 60 % 60, out);
    out.push(b':');
    write_two(seconds % 60, out);
    let nanos = value.rem_euclid(unit.per_second()) * (1_000_000_000 / unit.per_second());
    let digits = match fraction {
        Fraction::Fixed(digits) => digits.min(9),
        Fraction::ZeroOr(digits) => {
            if nanos == 0 {
                0
            } else {
                digits.min(9)
            }
        }
        Fraction::Short => (0..=9).find(|digits| nanos % 10i64.pow(9 - u32::from(*digits)) == 0).unwrap_or(9),
    };
    if digits > 0 {
        out.push(b'.');
        let mut place = 100_000_000;
        for _ in 0..digits {
            out.push(b'0' + (nanos / place % 10) as u8);
            place /= 10;
        }
    }
}

/// Prices and the like: a number of hundredths, if nothing else is as short and stands for the same double. Up to 15 digits no
/// two numbers do. Below ten millions every style writes digits and a point.
#[inline]
pub(super) fn hundredths(value: f64) -> Option<i64> {
    // 2^52 + 2^51: a double of this size has no digits behind the point, so adding it rounds, ties to even.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    let scaled = value * 100.0;
    if scaled.abs() >= 1e9 || value.to_bits() == (-0.0_f64).to_bits() {
        return None;
    }
    let rounded = scaled + WHOLE;
    ((rounded - WHOLE) / 100.0 == value).then_some(rounded.to_bits().wrapping_sub(WHOLE.to_bits()) as i64)
}

#[inline]
pub(super) fn write_hundredths(hundredths: i64, style: FloatStyle, out: &mut Vec<u8>) {
    let least = match style {
        FloatStyle::JavaScript => 0,
        FloatStyle::Fixed(decimals) => usize::from(decimals),
        FloatStyle::Python | FloatStyle::Rust | FloatStyle::Java => 1,
    };
    let (value, fraction) = (hundredths.unsigned_abs() / 100, (hundredths.unsigned_abs() % 100) as u8);
    if hundredths < 0 {
        out.push(b'-');
    }
    append_unsigned(value, out);
    let used = usize::from(fraction != 0) + usize::from(!fraction.is_multiple_of(10));
    let decimals = least.max(used);
    let end = out.len() + decimals + usize::from(decimals > 0);
    out.extend_from_slice(&[b'.', b'0' + fraction / 10, b'0' + fraction % 10, b'0']);
    out.resize(end, b'0');
}

/// `text` is what ryu writes: shortest digits, `12.5`, `2.0`, `1e16`, `1.5e-7`.
fn write_float(text: &str, format: &Format, out: &mut Vec<u8>) {
    let style = if let Format::Float(style) = format { *style } else { FloatStyle::Rust };
    if style == FloatStyle::Rust {
        return out.extend_from_slice(text.as_bytes());
    }
    let (text, negative) = text.strip_prefix('-').map_or((text, false), |text| (text, true));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // At most 17 digits and 22 zeros.
    let (mut digits, mut len, mut point) = ([b'0'; 48], 0, exponent.parse::<i32>().unwrap_or(0) + whole.len() as i32);
    for digit in whole.bytes().chain(fraction.bytes()).take(48) {
        if len == 0 && digit == b'0' {
            point -= 1;
            continue;
        }
        digits[len] = digit;
        len += 1;
    }
    while len > 0 && digits[len - 1] == b'0' {
        len -= 1;
    }
    if len == 0 {
        (len, point) = (1, 1);
    }
    let digits = &digits[..len];
    if negative {
        out.push(b'-');
    }
    let positional = match style {
        FloatStyle::JavaScript => (-5..=21).contains(&point),
        FloatStyle::Python => (-3..=16).contains(&point),
        FloatStyle::Java => (-2..=7).contains(&point),
        FloatStyle::Rust | FloatStyle::Fixed(_) => true,
    };
    if !positional {
        return write_exponent(digits, point - 1, style, out);
    }
    let decimals = match style {
        FloatStyle::JavaScript => 0,
        FloatStyle::Fixed(decimals) => usize::from(decimals),
        _ => 1,
    };
    write_positional(digits, point, decimals, out);
}

fn write_exponent(digits: &[u8], exponent: i32, style: FloatStyle, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 || style == FloatStyle::Java {
        out.push(b'.');
        out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
    }
    out.push(if style == FloatStyle::Java { b'E' } else { b'e' });
    if exponent < 0 {
        out.push(b'-');
    } else if style != FloatStyle::Java {
        out.push(b'+');
    }
    if style == FloatStyle::Python && exponent.abs() < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

/// `0.digits` times 10^`point`, with at least `decimals` digits behind the point.
fn write_positional(digits: &[u8], point: i32, decimals: usize, out: &mut Vec<u8>) {
    let zeros = |count: usize, out: &mut Vec<u8>| out.resize(out.len() + count, b'0');
    let before = usize::try_from(point).unwrap_or(0);
    if before == 0 {
        out.push(b'0');
    }
    out.extend_from_slice(&digits[..before.min(digits.len())]);
    zeros(before.saturating_sub(digits.len()), out);
    let leading = usize::try_from(-point).unwrap_or(0);
    let behind = &digits[before.min(digits.len())..];
    let nothing = behind.is_empty() || digits == b"0";
    let used = if nothing { 0 } else { leading + behind.len() };
    if used.max(decimals) > 0 {
        out.push(b'.');
    }
    if !nothing {
        zeros(leading, out);
        out.extend_from_slice(behind);
    }
    zeros(decimals.saturating_sub(used), out);
}

fn write_decimal(format: &Format, data_type: &DataType, value: i128, out: &mut Vec<u8>) {
    let scale = if let DataType::Decimal { scale, .. } = data_type { *scale } else { 0 };
    let (quoted, style) = match format {
        Format::Decimal { quoted, style } => (*quoted, *style),
        _ => (false, DecimalStyle::Fixed(scale)),
    };
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value.unsigned_abs());
    if quoted {
        out.push(b'"');
    }
    if value < 0 {
        out.push(b'-');
    }
    let trimmed = if value == 0 { "0" } else { text.trim_end_matches('0') };
    let point = if value == 0 { 1 } else { text.len() as i32 - i32::from(scale) };
    let decimals = match style {
        DecimalStyle::Fixed(decimals) => decimals.min(64),
        DecimalStyle::Short => 0,
        DecimalStyle::PointZero => 1,
    };
    write_positional(trimmed.as_bytes(), point, usize::from(decimals), out);
    if quoted {
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen failing with the limit of ten millions left out (Java writes 1.0E7).
    #[test]
    fn hundredths_are_written_as_their_shortest_digits_would_be() {
        use FloatStyle::*;
        let styles = [JavaScript, Python, Rust, Java, Fixed(0), Fixed(1), Fixed(2), Fixed(5)];
        let whole = [0, 1, 7, 10, 99, 1_234, 999_999, 9_999_999, 10_000_000, 123_456_789, 1_i64 << 52];
        let values = whole.iter().flat_map(|whole| (0..100).map(move |part| *whole as f64 + f64::from(part) / 100.0));
        let odd = [0.005, 0.1 + 0.2, 1.0 / 3.0, 1e-7, 1e21, f64::MAX, f64::MIN_POSITIVE, -0.0, 4.35, 2.675];
        let mut quick = 0;
        for value in values.chain(odd).flat_map(|value| [value, -value]) {
            for style in styles {
                let (format, mut written, mut expected) = (Format::Float(style), Vec::new(), Vec::new());
                write(&format, &DataType::Double, Value::Double(value), StringStyle::default(), &mut written);
                write_float(ryu::Buffer::new().format_finite(value), &format, &mut expected);
                assert_eq!(
                    String::from_utf8(written).unwrap(),
                    String::from_utf8(expected).unwrap(),
                    "{value} {style:?}"
                );
            }
            quick += usize::from(hundredths(value).is_some());
        }
        assert!(quick > 1_500, "{quick}");
    }

    /// Found by fuzzing of stored shapes: a shape may be damaged, or meant for another column.
    #[test]
    fn what_is_no_time_of_a_day_shows_as_a_number() {
        let time = DataType::Time(TimeUnit::Millis);
        for (value, expected) in [(-1, "-1"), (86_400_000, "86400000"), (86_399_000, "\"23:59:59\"")] {
            let mut out = Vec::new();
            write_int(&Format::Clock(Fraction::Short), &time, value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
