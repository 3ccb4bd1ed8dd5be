//! Simple values: from JSON text, exactly or not at all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::error::{RowErrorKind, ValueKind, cut};
use super::time::{parse_clock, parse_date, parse_zone};
use crate::builder::Value;
use crate::schema::{DataType, TimeUnit};

/// A simple JSON value as it was read; strings without their quotes and escapes.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    Bool(bool),
    Number(&'a str),
    Text(&'a str),
}

impl Token<'_> {
    fn kind(&self) -> ValueKind {
        match self {
            Token::Bool(_) => ValueKind::Boolean,
            Token::Number(_) => ValueKind::Number,
            Token::Text(_) => ValueKind::String,
        }
    }
}

/// The value of type `data_type` that `token` stands for. Bytes are decoded into `scratch`.
pub(super) fn value<'a>(
    data_type: &DataType,
    token: Token<'a>,
    scratch: &'a mut Vec<u8>,
) -> Result<Value<'a>, RowErrorKind> {
    let wrong = |rule| match token {
        Token::Number(text) | Token::Text(text) => {
            RowErrorKind::Value { expected: data_type.to_string(), text: cut(text), rule }
        }
        Token::Bool(_) => RowErrorKind::Type { expected: data_type.to_string(), found: ValueKind::Boolean },
    };
    let parsed = match (data_type, token) {
        (DataType::Boolean, Token::Bool(value)) => Ok(Value::Bool(value)),
        (DataType::TinyInt, Token::Number(text)) => integer(text, i8::MIN.into(), i8::MAX.into()),
        (DataType::SmallInt, Token::Number(text)) => integer(text, i16::MIN.into(), i16::MAX.into()),
        (DataType::Int, Token::Number(text)) => integer(text, i32::MIN.into(), i32::MAX.into()),
        (DataType::BigInt, Token::Number(text)) => integer(text, i64::MIN, i64::MAX),
        (DataType::BigInt, Token::Text(text)) => {
            text.parse().map(Value::Int).map_err(|_| "a string must hold the digits of a 64-bit integer")
        }
        (DataType::Decimal { precision, scale }, Token::Number(text)) => decimal(text, *precision, *scale),
        (DataType::Decimal { precision, scale }, Token::Text(text)) if is_number(text) => {
            decimal(text, *precision, *scale)
        }
        (DataType::Decimal { .. }, Token::Text(_)) => Err("a string must hold a decimal number"),
        (DataType::Float, token) => return float(token, wrong, data_type),
        (DataType::Double, token) => return double(token, wrong, data_type),
        (DataType::String, Token::Text(text)) => Ok(Value::Text(text)),
        (DataType::Bytes, Token::Text(text)) => {
            scratch.clear();
            match BASE64.decode_vec(text, scratch) {
                Ok(()) => Ok(Value::Bytes(scratch)),
                Err(_) => Err("a string must hold padded standard base64"),
            }
        }
        (DataType::Uuid, Token::Text(text)) => match parse_uuid(text) {
            Some(uuid) => {
                scratch.clear();
                scratch.extend_from_slice(&uuid);
                Ok(Value::Bytes(scratch))
            }
            None => Err("a UUID is written as 8-4-4-4-12 hex digits"),
        },
        (DataType::Date, Token::Text(text)) => match parse_date(text.as_bytes()) {
            Some((days, 10)) if text.len() == 10 => Ok(Value::Int(days)),
            _ => Err("a date is written as YYYY-MM-DD"),
        },
        (DataType::Time(unit), Token::Text(text)) => clock(text, *unit),
        (DataType::Timestamp(unit), Token::Text(text)) => timestamp(text, *unit, false),
        (DataType::TimestampLtz(unit), Token::Text(text)) => timestamp(text, *unit, true),
        (DataType::Timestamp(_) | DataType::TimestampLtz(_), Token::Number(text)) => integer(text, i64::MIN, i64::MAX),
        (expected, token) => {
            return Err(RowErrorKind::Type { expected: expected.to_string(), found: token.kind() });
        }
    };
    parsed.map_err(wrong)
}

type Parsed<'a> = Result<Value<'a>, &'static str>;

fn integer(text: &str, min: i64, max: i64) -> Parsed<'static> {
    const RANGE: &str = "out of range";
    let value = match text.parse::<i64>() {
        Ok(value) => value,
        // 1.0 and 1e3 are integral too.
        Err(_) => match decimal_digits(text, 0) {
            Some(value) => i64::try_from(value).map_err(|_| RANGE)?,
            None if text.contains(['.', 'e', 'E']) => return Err("not an integer in range"),
            None => return Err(RANGE),
        },
    };
    if (min..=max).contains(&value) { Ok(Value::Int(value)) } else { Err(RANGE) }
}

fn decimal(text: &str, precision: u8, scale: u8) -> Parsed<'static> {
    let value = decimal_digits(text, scale).ok_or("more digits than the type has; nothing is rounded")?;
    let limit = 10u128.pow(u32::from(precision));
    if value.unsigned_abs() >= limit {
        return Err("more digits than the precision allows");
    }
    Ok(Value::Decimal(value))
}

/// Whether `text` is a number by JSON's grammar, and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    let mut cursor = super::text::Cursor::new(text);
    cursor.number().is_ok() && cursor.at == text.len()
}

/// The number times 10^`scale` if that is an integer of at most 38 digits. `text` is a JSON number.
fn decimal_digits(text: &str, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        // An exponent that does not fit is far out of range, unless the number is zero.
        Some((mantissa, exponent)) => {
            let far = if exponent.starts_with('-') { i32::MIN / 2 } else { i32::MAX / 2 };
            (mantissa, exponent.parse::<i32>().map_or(far, |exponent| exponent.clamp(i32::MIN / 2, i32::MAX / 2)))
        }
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let digits = mantissa.trim_start_matches('-');
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let mut shift = i64::from(exponent) - i64::try_from(fraction).ok()? + i64::from(scale);
    let (mut value, mut zeros) = (0i128, 0u32);
    for digit in digits.bytes().filter(u8::is_ascii_digit) {
        if digit == b'0' {
            // Trailing zeros may be cut off again by the shift, so they are not multiplied in yet.
            zeros = zeros.saturating_add(1);
            continue;
        }
        if value == 0 {
            zeros = 0;
        }
        let power = 10i128.checked_pow(zeros.checked_add(1)?)?;
        value = value.checked_mul(power)?.checked_add(i128::from(digit - b'0'))?;
        zeros = 0;
    }
    if value == 0 {
        return Some(0);
    }
    shift += i64::from(zeros);
    if shift < 0 {
        // The last digit that counts is not zero, so nothing can be cut off.
        return None;
    }
    let power = 10i128.checked_pow(u32::try_from(shift).ok()?)?;
    value = value.checked_mul(power)?;
    Some(if negative { -value } else { value })
}

fn float<'a>(
    token: Token<'_>,
    wrong: impl Fn(&'static str) -> RowErrorKind,
    expected: &DataType,
) -> Result<Value<'a>, RowErrorKind> {
    match token {
        Token::Number(text) => match text.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(Value::Float(value)),
            _ => Err(wrong("out of range")),
        },
        Token::Text(text) => match not_finite(text) {
            Some(value) => Ok(Value::Float(value as f32)),
            None => Err(wrong("the only strings are NaN, Infinity and -Infinity")),
        },
        Token::Bool(_) => Err(RowErrorKind::Type { expected: expected.to_string(), found: ValueKind::Boolean }),
    }
}

fn double<'a>(
    token: Token<'_>,
    wrong: impl Fn(&'static str) -> RowErrorKind,
    expected: &DataType,
) -> Result<Value<'a>, RowErrorKind> {
    match token {
        Token::Number(text) => match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value::Double(value)),
            _ => Err(wrong("out of range")),
        },
        Token::Text(text) => match not_finite(text) {
            Some(value) => Ok(Value::Double(value)),
            None => Err(wrong("the only strings are NaN, Infinity and -Infinity")),
        },
        Token::Bool(_) => Err(RowErrorKind::Type { expected: expected.to_string(), found: ValueKind::Boolean }),
    }
}

fn not_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The bytes of a UUID of either case.
pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let (mut uuid, mut digits) = ([0u8; 16], 0);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = (*byte as char).to_digit(16)? as u8;
        uuid[digits / 2] = uuid[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(uuid)
}

const FRACTION: &str = "more digits of a second than the type has; nothing is rounded";

/// Nanoseconds in units, if that is exact.
fn fraction(nanos: i64, unit: TimeUnit) -> Result<i64, &'static str> {
    let each = 1_000_000_000 / unit.per_second();
    if nanos % each == 0 { Ok(nanos / each) } else { Err(FRACTION) }
}

fn clock(text: &str, unit: TimeUnit) -> Parsed<'static> {
    match parse_clock(text.as_bytes()) {
        Some((seconds, nanos, used)) if used == text.len() => {
            Ok(Value::Int(seconds * unit.per_second() + fraction(nanos, unit)?))
        }
        _ => Err("a time is written as HH:MM:SS, with or without a fraction"),
    }
}

fn timestamp(text: &str, unit: TimeUnit, zoned: bool) -> Parsed<'static> {
    const LOCAL: &str = "a timestamp is written as YYYY-MM-DDTHH:MM:SS with or without a fraction, and without a zone";
    const ZONED: &str =
        "a timestamp is written as YYYY-MM-DDTHH:MM:SS with or without a fraction, and with a zone (Z or +HH:MM)";
    let form = if zoned { ZONED } else { LOCAL };
    let bytes = text.as_bytes();
    let (days, used) = parse_date(bytes).ok_or(form)?;
    if !matches!(bytes.get(used), Some(b'T' | b't' | b' ')) {
        return Err(form);
    }
    let (seconds, nanos, clock) = parse_clock(&bytes[used + 1..]).ok_or(form)?;
    let rest = &bytes[used + 1 + clock..];
    let offset = match (zoned, rest.is_empty()) {
        (true, false) => parse_zone(rest).ok_or(form)?,
        (false, true) => 0,
        _ => return Err(form),
    };
    let seconds = days * 86_400 + seconds - 60 * offset;
    Ok(Value::Int(seconds * unit.per_second() + fraction(nanos, unit)?))
}
