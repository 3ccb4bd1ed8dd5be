//! The text form of a schema: `id BIGINT NOT NULL, city STRING, price DECIMAL(10,2) DEFAULT 0`.
//!
//! Key words are case-insensitive, names are not. Odd names are quoted (`"my col"` or backticks, doubled inside).
//! Comments are `-- to the end of the line` and `/* ... */`. Errors carry the byte position and say what to write.

mod lexer;
mod parser;

use std::fmt;

pub use parser::{DdlError, DdlErrorKind, parse};

use crate::schema::{DataType, Field};

/// Longest DDL text, in bytes.
pub const DDL_LEN_MAX: usize = 1 << 20;

/// The columns as DDL that [`parse`] reads back (ids are not part of it).
pub fn print(columns: &[Field]) -> String {
    columns.iter().map(|column| Column(column).to_string()).collect::<Vec<_>>().join(", ")
}

struct Column<'a>(&'a Field);

impl fmt::Display for Column<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_name(&self.0.name, out)?;
        write!(out, " {}", self.0.data_type)?;
        if !self.0.nullable {
            out.write_str(" NOT NULL")?;
        }
        match &self.0.default {
            Some(json) => print_default(&self.0.data_type, json, out),
            None => Ok(()),
        }
    }
}

/// Numbers and truth values as they are; everything else as a string: the text inside for strings, JSON for JSON.
fn print_default(data_type: &DataType, json: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = match (data_type, serde_json::from_str::<serde_json::Value>(json)) {
        (DataType::Json, _) | (_, Err(_)) => json.to_string(),
        (_, Ok(serde_json::Value::String(text))) => text,
        (_, Ok(_)) => return write!(out, " DEFAULT {json}"),
    };
    write!(out, " DEFAULT '{}'", text.replace('\'', "''"))
}

fn print_name(name: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_');
    if plain { out.write_str(name) } else { write!(out, "\"{}\"", name.replace('"', "\"\"")) }
}

pub(crate) fn print_type(data_type: &DataType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let not_null = |field: &Field| if field.nullable { "" } else { " NOT NULL" };
    match data_type {
        DataType::Boolean => out.write_str("BOOLEAN"),
        DataType::TinyInt => out.write_str("TINYINT"),
        DataType::SmallInt => out.write_str("SMALLINT"),
        DataType::Int => out.write_str("INT"),
        DataType::BigInt => out.write_str("BIGINT"),
        DataType::Decimal { precision, scale } => write!(out, "DECIMAL({precision},{scale})"),
        DataType::Float => out.write_str("FLOAT"),
        DataType::Double => out.write_str("DOUBLE"),
        DataType::String => out.write_str("STRING"),
        DataType::Bytes => out.write_str("BYTES"),
        DataType::Date => out.write_str("DATE"),
        DataType::Time(unit) => write!(out, "TIME({})", unit.digits()),
        DataType::Timestamp(unit) => write!(out, "TIMESTAMP({})", unit.digits()),
        DataType::TimestampLtz(unit) => write!(out, "TIMESTAMP_LTZ({})", unit.digits()),
        DataType::Array(item) => write!(out, "ARRAY<{}{}>", item.data_type, not_null(item)),
        DataType::Map(_, value) => write!(out, "MAP<STRING, {}{}>", value.data_type, not_null(value)),
        DataType::Row(members) => {
            out.write_str("ROW<")?;
            for (index, member) in members.iter().enumerate() {
                write!(out, "{}{}", if index == 0 { "" } else { ", " }, Column(member))?;
            }
            out.write_str(">")
        }
        DataType::Uuid => out.write_str("UUID"),
        DataType::Json => out.write_str("JSON"),
    }
}

#[cfg(test)]
mod tests;
