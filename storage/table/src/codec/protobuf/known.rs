//! Messages of Google's that are simple values in a table: times, dates and JSON.

use super::bind::Change;
use super::schema::Known;
use super::wire::{BITS64, Cursor, LENGTH, VARINT, write_sized, write_tag, write_varint, write_within};
use crate::builder::{Column, Value};
use crate::codec::json::{EncodeError, RowErrorKind, civil, cut, days_of_date};
use crate::codec::plan::PlanField;
use crate::schema::{DataType, TimeUnit};

/// Deepest nesting of JSON.
const DEPTH_MAX: usize = 64;

/// Reads the message `payload` into `column`; whether [`write`] gives the same bytes.
pub(super) fn read(
    known: Known,
    change: Change,
    payload: &[u8],
    field: &PlanField,
    column: &mut Column,
) -> Result<bool, RowErrorKind> {
    let value = match known {
        Known::Struct | Known::Value | Known::List => {
            let mut text = Vec::new();
            json(known, payload, 0, &mut text)?;
            column.append_bytes(&text);
            // Members come back sorted, numbers may be spelled otherwise: such rows keep their bytes.
            return Ok(false);
        }
        Known::Timestamp => timestamp(field, numbers(payload)?)?,
        Known::Date => date(field, numbers(payload)?, change)?,
        Known::TimeOfDay => clock(field, numbers(payload)?)?,
    };
    let mut written = Vec::with_capacity(payload.len());
    let exact = write(known, change, &field.data_type, Value::Int(value), &mut written).is_some() && written == payload;
    if !column.append(Value::Int(value)) {
        return Err(RowErrorKind::Malformed { expected: "a bound schema" });
    }
    Ok(exact)
}

/// The integers of fields 1 to 4.
fn numbers(payload: &[u8]) -> Result<[i64; 4], RowErrorKind> {
    let mut numbers = [0; 4];
    let mut cursor = Cursor::new(payload);
    while cursor.at < cursor.end {
        let (number, wire_type) = cursor.tag().map_err(|error| error.kind)?;
        match numbers.get_mut(number as usize - 1) {
            Some(slot) if wire_type == VARINT => *slot = cursor.varint().map_err(|error| error.kind)? as i64,
            _ => cursor.skip(wire_type).map(drop).map_err(|error| error.kind)?,
        }
    }
    Ok(numbers)
}

fn wrong(field: &PlanField, text: String, rule: &'static str) -> RowErrorKind {
    RowErrorKind::Value { expected: field.data_type.to_string(), text: cut(&text), rule }
}

const FINER: &str = "finer than the column; nothing is rounded";

fn timestamp(field: &PlanField, [seconds, nanos, ..]: [i64; 4]) -> Result<i64, RowErrorKind> {
    let DataType::TimestampLtz(unit) = field.data_type else {
        return Err(RowErrorKind::Malformed { expected: "a bound schema" });
    };
    let fail = |rule| wrong(field, format!("{seconds} s + {nanos} ns"), rule);
    let each = 1_000_000_000 / unit.per_second();
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(fail("nanos are 0 to 999,999,999"));
    }
    if nanos % each != 0 {
        return Err(fail(FINER));
    }
    let value = seconds.checked_mul(unit.per_second()).and_then(|value| value.checked_add(nanos / each));
    value.ok_or_else(|| fail("out of range"))
}

fn date(field: &PlanField, [year, month, day, _]: [i64; 4], change: Change) -> Result<i64, RowErrorKind> {
    let days = days_of_date(year, month, day)
        .ok_or_else(|| wrong(field, format!("{year}-{month}-{day}"), "not a day of the years 0000 to 9999"))?;
    Ok(if let Change::Times(factor) = change { days * factor } else { days })
}

fn clock(field: &PlanField, [hours, minutes, seconds, nanos]: [i64; 4]) -> Result<i64, RowErrorKind> {
    let DataType::Time(unit) = field.data_type else {
        return Err(RowErrorKind::Malformed { expected: "a bound schema" });
    };
    let fail = |rule| wrong(field, format!("{hours}:{minutes}:{seconds} + {nanos} ns"), rule);
    let sound = (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..60).contains(&seconds)
        && (0..1_000_000_000).contains(&nanos);
    if !sound {
        return Err(fail("not a time of day"));
    }
    let each = 1_000_000_000 / unit.per_second();
    if nanos % each != 0 {
        return Err(fail(FINER));
    }
    Ok((hours * 3_600 + minutes * 60 + seconds) * unit.per_second() + nanos / each)
}

/// Writes the message without length. `None`: it cannot say the value.
pub(super) fn write(
    known: Known,
    change: Change,
    data_type: &DataType,
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let parts = |value: i64, unit: TimeUnit| {
        let nanos = value.rem_euclid(unit.per_second()) * (1_000_000_000 / unit.per_second());
        (value.div_euclid(unit.per_second()), nanos)
    };
    let numbers = match (known, value, data_type) {
        (Known::Timestamp, Value::Int(value), DataType::TimestampLtz(unit)) => {
            let (seconds, nanos) = parts(value, *unit);
            [seconds, nanos, 0, 0]
        }
        (Known::Date, Value::Int(value), _) => {
            let days = match change {
                Change::Times(factor) if value % factor == 0 => value / factor,
                Change::Times(_) => return None,
                _ => value,
            };
            let (year, month, day) = civil(days)?;
            [year, month, day, 0]
        }
        (Known::TimeOfDay, Value::Int(value), DataType::Time(unit)) => {
            let (seconds, nanos) = parts(value, *unit);
            [seconds / 3_600, seconds / 60 % 60, seconds % 60, nanos]
        }
        (Known::Struct | Known::Value | Known::List, Value::Text(text), _) => {
            let json = serde_json::from_str(text).ok()?;
            return write_json(known, &json, out);
        }
        _ => return None,
    };
    for (index, number) in numbers.into_iter().enumerate().filter(|(_, number)| *number != 0) {
        write_tag(index as u32 + 1, VARINT, out);
        write_varint(number as u64, out);
    }
    Some(())
}

/// The JSON text of a `Struct`, `Value` or `ListValue`.
fn json(known: Known, payload: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    if depth > DEPTH_MAX {
        return Err(RowErrorKind::TooDeep { max: DEPTH_MAX });
    }
    let mut cursor = Cursor::new(payload);
    let mut first = true;
    match known {
        Known::Struct => out.push(b'{'),
        Known::List => out.push(b'['),
        _ => return json_value(cursor, depth, out),
    }
    while cursor.at < cursor.end {
        let (number, wire_type) = cursor.tag().map_err(|error| error.kind)?;
        if number != 1 || wire_type != LENGTH {
            cursor.skip(wire_type).map_err(|error| error.kind)?;
            continue;
        }
        let item = cursor.sized().map_err(|error| error.kind)?;
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match known {
            Known::Struct => member(item, depth, out)?,
            _ => json(Known::Value, item, depth + 1, out)?,
        }
    }
    out.push(if known == Known::Struct { b'}' } else { b']' });
    Ok(())
}

fn member(entry: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut cursor = Cursor::new(entry);
    while cursor.at < cursor.end {
        match cursor.tag().map_err(|error| error.kind)? {
            (1, LENGTH) => key = cursor.sized().map_err(|error| error.kind)?,
            (2, LENGTH) => value = cursor.sized().map_err(|error| error.kind)?,
            (_, wire_type) => cursor.skip(wire_type).map(drop).map_err(|error| error.kind)?,
        }
    }
    quote(key, out)?;
    out.push(b':');
    json(Known::Value, value, depth + 1, out)
}

fn quote(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let text = std::str::from_utf8(text).map_err(|_| RowErrorKind::Utf8)?;
    // Serialising a string into memory cannot fail.
    serde_json::to_writer(out, text).map_err(|_| RowErrorKind::Utf8)
}

/// The last field of the oneof counts; none is null.
fn json_value(mut cursor: Cursor<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let start = out.len();
    let bad = |error: crate::codec::json::RowError| error.kind;
    out.extend_from_slice(b"null");
    while cursor.at < cursor.end {
        let tag = cursor.tag().map_err(bad)?;
        if (1..=6).contains(&tag.0) {
            out.truncate(start);
        }
        match tag {
            (1, VARINT) => {
                cursor.varint().map_err(bad)?;
                out.extend_from_slice(b"null");
            }
            (2, BITS64) => {
                number(f64::from_le_bytes(cursor.take(8).map_err(bad)?.try_into().unwrap_or_default()), out)?
            }
            (3, LENGTH) => quote(cursor.sized().map_err(bad)?, out)?,
            (4, VARINT) => {
                let value = cursor.varint().map_err(bad)? != 0;
                out.extend_from_slice(if value { b"true" } else { b"false" });
            }
            (5, LENGTH) => json(Known::Struct, cursor.sized().map_err(bad)?, depth + 1, out)?,
            (6, LENGTH) => json(Known::List, cursor.sized().map_err(bad)?, depth + 1, out)?,
            (1..=6, _) => return Err(RowErrorKind::Malformed { expected: "the wire type of the field" }),
            (_, wire_type) => cursor.skip(wire_type).map(drop).map_err(bad)?,
        }
    }
    Ok(())
}

fn number(value: f64, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    if !value.is_finite() {
        let (expected, text) = ("JSON".to_string(), value.to_string());
        return Err(RowErrorKind::Value { expected, text, rule: "JSON has no such number" });
    }
    if value.fract() == 0.0 && value.abs() < 9e15 && (value != 0.0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    }
    Ok(())
}

fn write_json(known: Known, json: &serde_json::Value, out: &mut Vec<u8>) -> Option<()> {
    use serde_json::Value as Json;
    let failed = || EncodeError::Raw;
    match (known, json) {
        (Known::Struct, Json::Object(members)) => {
            for (key, value) in members {
                write_tag(1, LENGTH, out);
                let entry = write_within(out, |out| {
                    write_tag(1, LENGTH, out);
                    write_sized(key.as_bytes(), out);
                    write_tag(2, LENGTH, out);
                    write_within(out, |out| write_json(Known::Value, value, out).ok_or_else(failed))
                });
                entry.ok()?;
            }
        }
        (Known::List, Json::Array(items)) => {
            for item in items {
                write_tag(1, LENGTH, out);
                write_within(out, |out| write_json(Known::Value, item, out).ok_or_else(failed)).ok()?;
            }
        }
        (Known::Value, Json::Null) => {
            write_tag(1, VARINT, out);
            out.push(0);
        }
        (Known::Value, Json::Number(number)) => {
            write_tag(2, BITS64, out);
            out.extend_from_slice(&number.as_f64()?.to_le_bytes());
        }
        (Known::Value, Json::String(text)) => {
            write_tag(3, LENGTH, out);
            write_sized(text.as_bytes(), out);
        }
        (Known::Value, Json::Bool(value)) => {
            write_tag(4, VARINT, out);
            out.push((*value).into());
        }
        (Known::Value, Json::Object(_)) => {
            write_tag(5, LENGTH, out);
            write_within(out, |out| write_json(Known::Struct, json, out).ok_or_else(failed)).ok()?;
        }
        (Known::Value, Json::Array(_)) => {
            write_tag(6, LENGTH, out);
            write_within(out, |out| write_json(Known::List, json, out).ok_or_else(failed)).ok()?;
        }
        _ => return None,
    }
    Some(())
}
