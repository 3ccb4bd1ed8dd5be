//! Simple values between the wire and columns.

use super::bind::Change;
use super::schema::Wire;
use super::wire::{Cursor, write_sized, write_varint};
use crate::builder::{Column, Value};
use crate::codec::json::{RowError, RowErrorKind, cut, is_json, parse_text, write_text};
use crate::codec::plan::PlanField;
use crate::schema::DataType;

type Done = Result<(), RowError>;

fn wrong(cursor: &Cursor<'_>, field: &PlanField, text: impl std::fmt::Display, rule: &'static str) -> RowError {
    let (expected, text) = (field.data_type.to_string(), cut(&text.to_string()));
    RowError { column: String::new(), position: cursor.at, kind: RowErrorKind::Value { expected, text, rule } }
}

/// A value that does not go with the column: the schema was bound wrongly, which `bind` excludes.
fn foreign<T>(cursor: &Cursor<'_>) -> Result<T, RowError> {
    cursor.malformed("a bound schema")
}

/// Reads one value into `column`; whether it was zero. What the encoder would write differently clears `short`.
#[inline]
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    wire: &Wire,
    change: Change,
    field: &PlanField,
    column: &mut Column,
) -> Result<bool, RowError> {
    match wire {
        Wire::Double => {
            let value = f64::from_le_bytes(cursor.take(8)?.try_into().unwrap_or_default());
            appended(cursor, column.append(Value::Double(value)), value.to_bits() == 0)
        }
        Wire::Float => {
            let value = f32::from_le_bytes(cursor.take(4)?.try_into().unwrap_or_default());
            if field.data_type != DataType::Double {
                return appended(cursor, column.append(Value::Float(value)), value.to_bits() == 0);
            }
            // A NaN may lose its payload on the way to a double and back.
            cursor.short &= !value.is_nan();
            appended(cursor, column.append(Value::Double(value.into())), value.to_bits() == 0)
        }
        Wire::Bool => {
            let value = cursor.varint()?;
            cursor.short &= value <= 1;
            appended(cursor, column.append(Value::Bool(value != 0)), value == 0)
        }
        Wire::String => {
            let bytes = cursor.sized()?;
            let text = std::str::from_utf8(bytes).or_else(|_| cursor.fail(RowErrorKind::Utf8))?;
            string(cursor, text, change, field, column).map(|()| bytes.is_empty())
        }
        Wire::Bytes => {
            let bytes = cursor.sized()?;
            if field.data_type == DataType::Uuid && bytes.len() != 16 {
                return Err(wrong(cursor, field, format_args!("{} bytes", bytes.len()), "a UUID has 16 bytes"));
            }
            appended(cursor, column.append(Value::Bytes(bytes)), bytes.is_empty())
        }
        Wire::Enum(symbols) => {
            let raw = cursor.varint()?;
            let number = raw as i32;
            cursor.short &= i64::from(number) as u64 == raw;
            symbol(symbols, number, column);
            Ok(number == 0)
        }
        _ => {
            let value = integer(cursor, wire)?;
            put_integer(cursor, value, change, field, column).map(|()| value == 0)
        }
    }
}

#[inline]
fn appended(cursor: &Cursor<'_>, appended: bool, zero: bool) -> Result<bool, RowError> {
    if appended { Ok(zero) } else { foreign(cursor) }
}

/// A number that the schema does not name is kept as its digits: the writer knew more than its schema says.
fn symbol(symbols: &[(i32, String)], number: i32, column: &mut Column) {
    match symbols.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(at) => column.append_bytes(symbols[at].1.as_bytes()),
        Err(_) => column.append_bytes(itoa::Buffer::new().format(number).as_bytes()),
    }
}

#[inline]
fn integer(cursor: &mut Cursor<'_>, wire: &Wire) -> Result<i128, RowError> {
    Ok(match wire {
        Wire::Int64 => i128::from(cursor.varint()? as i64),
        Wire::Int32 => {
            let raw = cursor.varint()?;
            let value = raw as i32;
            cursor.short &= i64::from(value) as u64 == raw;
            value.into()
        }
        Wire::Uint64 => cursor.varint()?.into(),
        Wire::Uint32 => {
            let raw = cursor.varint()?;
            cursor.short &= u32::try_from(raw).is_ok();
            (raw as u32).into()
        }
        Wire::Sint64 => {
            let raw = cursor.varint()?;
            ((raw >> 1) as i64 ^ -((raw & 1) as i64)).into()
        }
        Wire::Sint32 => {
            let raw = cursor.varint()?;
            cursor.short &= u32::try_from(raw).is_ok();
            let raw = raw as u32;
            ((raw >> 1) as i32 ^ -((raw & 1) as i32)).into()
        }
        Wire::Fixed32 => u32::from_le_bytes(cursor.take(4)?.try_into().unwrap_or_default()).into(),
        Wire::Sfixed32 => i32::from_le_bytes(cursor.take(4)?.try_into().unwrap_or_default()).into(),
        Wire::Fixed64 => u64::from_le_bytes(cursor.take(8)?.try_into().unwrap_or_default()).into(),
        Wire::Sfixed64 => i64::from_le_bytes(cursor.take(8)?.try_into().unwrap_or_default()).into(),
        _ => return foreign(cursor),
    })
}

#[inline]
fn put_integer(cursor: &Cursor<'_>, value: i128, change: Change, field: &PlanField, column: &mut Column) -> Done {
    if let Change::Scaled(scale) = change {
        let DataType::Decimal { precision, .. } = field.data_type else { return foreign(cursor) };
        let limit = 10u128.pow(u32::from(precision.min(38)));
        let scaled = 10i128.checked_pow(u32::from(scale)).and_then(|power| value.checked_mul(power));
        return match scaled.filter(|scaled| scaled.unsigned_abs() < limit) {
            Some(scaled) if column.append(Value::Decimal(scaled)) => Ok(()),
            _ => Err(wrong(cursor, field, value, "more digits than the precision allows")),
        };
    }
    let fits = |value: &i64| match field.data_type {
        DataType::TinyInt => i8::try_from(*value).is_ok(),
        DataType::SmallInt => i16::try_from(*value).is_ok(),
        DataType::Int => i32::try_from(*value).is_ok(),
        _ => true,
    };
    match i64::try_from(value).ok().filter(fits) {
        Some(value) if column.append(Value::Int(value)) => Ok(()),
        Some(_) => foreign(cursor),
        None => Err(wrong(cursor, field, value, "out of range")),
    }
}

fn string(cursor: &mut Cursor<'_>, text: &str, change: Change, field: &PlanField, column: &mut Column) -> Done {
    match change {
        Change::Json if !is_json(text) => Err(wrong(cursor, field, text, "not valid JSON")),
        Change::Text => {
            let mut scratch = Vec::new();
            let value = parse_text(&field.data_type, text, &mut scratch).or_else(|kind| cursor.fail(kind))?;
            let mut written = Vec::new();
            write_text(&field.data_type, value, &mut written);
            cursor.short &= written == text.as_bytes();
            if column.append(value) { Ok(()) } else { foreign(cursor) }
        }
        _ => {
            column.append_bytes(text.as_bytes());
            Ok(())
        }
    }
}

/// The value of a field of implicit presence that is not there. False: its column has no such value (empty text is no
/// date), so it is null.
pub(super) fn zero(wire: &Wire, change: Change, field: &PlanField, column: &mut Column) -> bool {
    match wire {
        _ if change == Change::Text || change == Change::Json || field.data_type == DataType::Uuid => false,
        Wire::Double | Wire::Float if field.data_type == DataType::Double => column.append(Value::Double(0.0)),
        Wire::Double | Wire::Float => column.append(Value::Float(0.0)),
        Wire::Bool => column.append(Value::Bool(false)),
        Wire::String | Wire::Bytes => column.append(Value::Text("")),
        Wire::Enum(symbols) => {
            symbol(symbols, 0, column);
            true
        }
        _ if matches!(change, Change::Scaled(_)) => column.append(Value::Decimal(0)),
        _ => column.append(Value::Int(0)),
    }
}

/// Writes one value without tag; whether it is zero. `None`: the writer's type cannot say it.
#[inline]
pub(super) fn write(
    wire: &Wire,
    change: Change,
    data_type: &DataType,
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Option<bool> {
    Some(match (wire, value) {
        (Wire::Double, Value::Double(value)) => {
            out.extend_from_slice(&value.to_le_bytes());
            value.to_bits() == 0
        }
        (Wire::Float, Value::Float(value)) => {
            out.extend_from_slice(&value.to_le_bytes());
            value.to_bits() == 0
        }
        (Wire::Float, Value::Double(value)) => {
            out.extend_from_slice(&(value as f32).to_le_bytes());
            (value as f32).to_bits() == 0
        }
        (Wire::Bool, Value::Bool(value)) => {
            out.push(value.into());
            !value
        }
        (Wire::String | Wire::Bytes, value) if change != Change::Text => {
            let bytes = match value {
                Value::Text(text) => text.as_bytes(),
                Value::Bytes(bytes) => bytes,
                _ => return None,
            };
            write_sized(bytes, out);
            bytes.is_empty()
        }
        (Wire::String, value) => {
            let mut text = Vec::new();
            write_text(data_type, value, &mut text);
            write_sized(&text, out);
            text.is_empty()
        }
        (Wire::Enum(symbols), Value::Text(text)) => {
            let number = symbols.iter().find(|(_, name)| name == text).map(|(number, _)| *number);
            let number = number.or_else(|| text.parse().ok())?;
            write_varint(i64::from(number) as u64, out);
            number == 0
        }
        (_, Value::Int(value)) => {
            write_integer(wire, value.into(), out)?;
            value == 0
        }
        (_, Value::Decimal(value)) => {
            let Change::Scaled(scale) = change else { return None };
            let power = 10i128.checked_pow(scale.into())?;
            if value % power != 0 {
                return None;
            }
            write_integer(wire, value / power, out)?;
            value == 0
        }
        _ => return None,
    })
}

#[inline]
fn write_integer(wire: &Wire, value: i128, out: &mut Vec<u8>) -> Option<()> {
    match wire {
        Wire::Int64 => write_varint(i64::try_from(value).ok()? as u64, out),
        Wire::Int32 => write_varint(i64::from(i32::try_from(value).ok()?) as u64, out),
        Wire::Uint64 => write_varint(u64::try_from(value).ok()?, out),
        Wire::Uint32 => write_varint(u32::try_from(value).ok()?.into(), out),
        Wire::Sint64 => {
            let value = i64::try_from(value).ok()?;
            write_varint((value << 1 ^ value >> 63) as u64, out);
        }
        Wire::Sint32 => {
            let value = i32::try_from(value).ok()?;
            write_varint(((value << 1 ^ value >> 31) as u32).into(), out);
        }
        Wire::Fixed32 => out.extend_from_slice(&u32::try_from(value).ok()?.to_le_bytes()),
        Wire::Sfixed32 => out.extend_from_slice(&i32::try_from(value).ok()?.to_le_bytes()),
        Wire::Fixed64 => out.extend_from_slice(&u64::try_from(value).ok()?.to_le_bytes()),
        Wire::Sfixed64 => out.extend_from_slice(&i64::try_from(value).ok()?.to_le_bytes()),
        _ => return None,
    }
    Some(())
}
