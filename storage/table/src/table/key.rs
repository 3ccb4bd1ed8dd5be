//! Keys: a row of their own, or one value as Kafka's own serializers write it.

use super::{RowFormat, TableError};
use crate::builder::{Column, Value};
use crate::codec::RowErrorKind;
use crate::codec::json::{parse_uuid, write_uuid};
use crate::schema::{DataType, TableSchema};

/// `weir.key.format`.
#[derive(Clone, Debug)]
pub enum KeyFormat {
    /// One column out of the whole key, as Kafka's serializers of simple types write it: big-endian numbers, UTF-8, bytes,
    /// the text of a UUID (16 bytes are read too).
    Raw,
    /// A row with the key columns.
    Row(RowFormat),
}

pub(super) fn check(schema: &TableSchema, format: Option<&KeyFormat>) -> Result<(), TableError> {
    let columns = schema.key_columns();
    match (format, columns.as_slice()) {
        (None, []) | (Some(KeyFormat::Row(_)), [_, ..]) => Ok(()),
        (None, _) | (Some(_), []) => Err(TableError::KeyFormat { columns: columns.len() }),
        (Some(KeyFormat::Raw), [one]) if raw_type(&schema.fields[*one].data_type) => Ok(()),
        (Some(KeyFormat::Raw), _) => {
            let column = |index: &usize| format!("{} {}", schema.fields[*index].name, schema.fields[*index].data_type);
            Err(TableError::RawKey { columns: columns.iter().map(column).collect::<Vec<_>>().join(", ") })
        }
    }
}

fn raw_type(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Boolean | T::SmallInt | T::Int | T::BigInt | T::Float | T::Double | T::String | T::Bytes | T::Uuid
    )
}

/// A raw key into its column; nothing is written after an error.
pub(super) fn read(data_type: &DataType, key: &[u8], column: &mut Column) -> Result<(), RowErrorKind> {
    use DataType as T;
    let length = || RowErrorKind::RawLength { expected: data_type.to_string(), len: key.len() };
    let uuid;
    let value = match data_type {
        T::String => Value::Text(std::str::from_utf8(key).map_err(|_| RowErrorKind::Utf8)?),
        T::Bytes => Value::Bytes(key),
        T::Boolean => match key {
            [byte @ (0 | 1)] => Value::Bool(*byte == 1),
            _ => return Err(length()),
        },
        T::SmallInt => Value::Int(i16::from_be_bytes(key.try_into().map_err(|_| length())?).into()),
        T::Int => Value::Int(i32::from_be_bytes(key.try_into().map_err(|_| length())?).into()),
        T::BigInt => Value::Int(i64::from_be_bytes(key.try_into().map_err(|_| length())?)),
        T::Float => Value::Float(f32::from_be_bytes(key.try_into().map_err(|_| length())?)),
        T::Double => Value::Double(f64::from_be_bytes(key.try_into().map_err(|_| length())?)),
        T::Uuid if key.len() == 16 => Value::Bytes(key),
        T::Uuid => {
            uuid = std::str::from_utf8(key).ok().and_then(parse_uuid).ok_or_else(length)?;
            Value::Bytes(&uuid)
        }
        _ => return Err(length()),
    };
    if column.append(value) { Ok(()) } else { Err(length()) }
}

/// The raw key of a value; false when the type has none.
pub(super) fn write(data_type: &DataType, value: Value<'_>, out: &mut Vec<u8>) -> bool {
    match (data_type, value) {
        (DataType::SmallInt, Value::Int(value)) => out.extend_from_slice(&(value as i16).to_be_bytes()),
        (DataType::Int, Value::Int(value)) => out.extend_from_slice(&(value as i32).to_be_bytes()),
        (DataType::BigInt, Value::Int(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (_, Value::Bool(value)) => out.push(value.into()),
        (_, Value::Float(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (_, Value::Double(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (_, Value::Text(text)) => out.extend_from_slice(text.as_bytes()),
        (DataType::Uuid, Value::Bytes(bytes)) => write_uuid(bytes, false, out),
        (_, Value::Bytes(bytes)) => out.extend_from_slice(bytes),
        _ => return false,
    }
    true
}
