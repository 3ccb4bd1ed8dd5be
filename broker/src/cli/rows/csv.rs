//! Rows as RFC 4180 has them. Nothing between two commas is null, `""` is an empty text; nested values are JSON.

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Fields, Schema};

use super::json::write_value;

/// Appends the names of the columns as a line.
pub(super) fn write_header(schema: &Schema, out: &mut Vec<u8>) {
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_cell(field.name().as_bytes(), out);
    }
    out.push(b'\n');
}

/// Appends a row as a line.
pub(super) fn write_row(fields: &Fields, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
    for (at, (field, column)) in fields.iter().zip(columns).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if column.is_valid(row) {
            let mut json = Vec::new();
            write_value(field, column, row, field.name().starts_with('_'), &mut json);
            write_cell(&unquoted(column, json), out);
        }
    }
    out.push(b'\n');
}

/// The text of a scalar without the quotes and escapes of JSON; nested values as they are.
pub(super) fn unquoted(column: &dyn Array, json: Vec<u8>) -> Vec<u8> {
    if column.data_type().is_nested() || json.first() != Some(&b'"') || column.data_type() == &DataType::Null {
        return json;
    }
    match serde_json::from_slice::<String>(&json) {
        Ok(text) => text.into_bytes(),
        // A JSON column may hold text that only begins like a string.
        Err(_) => json,
    }
}

fn write_cell(text: &[u8], out: &mut Vec<u8>) {
    if !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
