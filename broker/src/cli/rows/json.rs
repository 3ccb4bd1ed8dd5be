//! One value of an array as JSON. Types look as in the JSON rows of a typed topic; keys, values and headers of records are text
//! where they are UTF-8, and `{"base64": "..."}` where they are not.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Fields};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Metadata of fields whose Arrow type does not tell all: `json`, `uuid`.
const TYPE_KEY: &str = "weir.type";

/// Appends a row as an object.
pub(super) fn write_object(fields: &Fields, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (field, column)) in fields.iter().zip(columns).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(field.name(), out);
        out.push(b':');
        write_value(field, column, row, field.name().starts_with('_'), out);
    }
    out.push(b'}');
}

/// Appends a value. `system`: it belongs to a system column, whose bytes are mostly text.
pub(super) fn write_value(field: &Field, array: &dyn Array, row: usize, system: bool, out: &mut Vec<u8>) {
    if array.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    match array.data_type() {
        DataType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => out.extend_from_slice(display(array, row).as_bytes()),
        DataType::Float32 => write_float(f64::from(array.as_primitive::<Float32Type>().value(row)), array, row, out),
        DataType::Float64 => write_float(array.as_primitive::<Float64Type>().value(row), array, row, out),
        DataType::Decimal128(..) => {
            out.extend_from_slice(array.as_primitive::<Decimal128Type>().value_as_string(row).as_bytes());
        }
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            match field.metadata().get(TYPE_KEY).map(String::as_str) {
                // Any JSON value, kept as its text.
                Some("json") => out.extend_from_slice(text.as_bytes()),
                _ => write_string(text, out),
            }
        }
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(row), system, out),
        DataType::FixedSizeBinary(_) => {
            let bytes = array.as_fixed_size_binary().value(row);
            match (field.metadata().get(TYPE_KEY).map(String::as_str), <[u8; 16]>::try_from(bytes)) {
                (Some("uuid"), Ok(bytes)) => write_string(&uuid::Uuid::from_bytes(bytes).to_string(), out),
                _ => write_bytes(bytes, false, out),
            }
        }
        DataType::Struct(fields) => {
            out.push(b'{');
            for (at, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(field.name(), out);
                out.push(b':');
                write_value(field, column, row, system, out);
            }
            out.push(b'}');
        }
        DataType::List(item) => {
            let values = array.as_list::<i32>().value(row);
            out.push(b'[');
            for at in 0..values.len() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(item, &values, at, system, out);
            }
            out.push(b']');
        }
        DataType::Map(entries, _) => write_map(entries, array, row, system, out),
        // Dates, times and everything that JSON has no form for.
        _ => write_string(&display(array, row), out),
    }
}

fn write_map(entries: &Field, array: &dyn Array, row: usize, system: bool, out: &mut Vec<u8>) {
    let pairs = array.as_map().value(row);
    let (keys, values) = (pairs.column(0), pairs.column(1));
    let value_field = match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => fields[1].clone(),
        // Arrow knows no other map.
        _ => return out.extend_from_slice(b"null"),
    };
    out.push(b'{');
    for at in 0..pairs.len() {
        if at > 0 {
            out.push(b',');
        }
        write_string(&display(keys, at), out);
        out.push(b':');
        write_value(&value_field, values, at, system, out);
    }
    out.push(b'}');
}

fn write_float(value: f64, array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    match value {
        value if value.is_nan() => out.extend_from_slice(b"\"NaN\""),
        f64::INFINITY => out.extend_from_slice(b"\"Infinity\""),
        f64::NEG_INFINITY => out.extend_from_slice(b"\"-Infinity\""),
        _ => out.extend_from_slice(display(array, row).as_bytes()),
    }
}

fn write_bytes(bytes: &[u8], system: bool, out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) if system => write_string(text, out),
        _ if system => {
            out.extend_from_slice(b"{\"base64\":");
            write_string(&STANDARD.encode(bytes), out);
            out.push(b'}');
        }
        _ => write_string(&STANDARD.encode(bytes), out),
    }
}

/// The value as Arrow shows it: ISO 8601 for dates and times.
pub(super) fn display(array: &dyn Array, row: usize) -> String {
    let mut text = String::new();
    let options = FormatOptions::new();
    let shown = ArrayFormatter::try_new(array, &options).map(|formatter| write!(text, "{}", formatter.value(row)));
    match shown {
        Ok(Ok(())) => text,
        // Types that Arrow cannot show do not come from a topic.
        _ => array.data_type().to_string(),
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
