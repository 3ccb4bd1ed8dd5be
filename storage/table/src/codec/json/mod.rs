//! JSON rows: objects straight into column builders, and back byte for byte.
//!
//! A row is first read with the *shape* of the row before ([`shape`]): the same keys in the same order with the same
//! spacing, so that everything but values is compared and not parsed. If it has another shape, that is guessed, tried
//! and kept. What has no shape at all is parsed key by key ([`parse`]), which is also where every error is found.

mod decode;
mod derive;
mod encode;
mod error;
mod fast;
mod format;
mod parse;
mod quick;
mod scalar;
mod schema;
mod shape;
mod text;
mod time;

#[cfg(test)]
mod tests;

pub use decode::{DecodeLimits, Fidelity, JsonDecoder, JsonOptions, OnUnknown, RowForm, RowPart};
pub use encode::{EncodeError, JsonEncoder, JsonRows};
pub use error::{RowError, RowErrorKind, ValueKind};
pub(crate) use error::{cut, within};
pub(crate) use format::write_uuid;
pub(crate) use scalar::{is_number, parse_uuid};
pub use schema::{JsonSchema, JsonSchemaError};
pub use shape::{RowShape, SHAPE_BYTES_MAX, SHAPES_MAX, ShapeError, ShapeId, ShapeSet};
pub(crate) use time::{civil, days_of_date};

use arrow_array::ArrayRef;

use crate::builder::{Column, Value};
use crate::codec::plan::{Aliases, PlanField};
use crate::schema::{DataType, Field};

/// `rows` times the default of `field` (null without one).
pub(crate) fn default_array(field: &Field, rows: usize) -> Result<ArrayRef, RowError> {
    let plan = PlanField::new(field, 0, &Aliases::default());
    let mut column = Column::new(field);
    let mut scratch = parse::Scratch::default();
    for _ in 0..rows {
        let text = field.default.as_deref().unwrap_or("null");
        let mut parser = parse::Parser::new(text, OnUnknown::Reject, 1, &mut scratch);
        parser.value(&plan, &mut column)?;
        if parser.cursor.at != text.len() {
            let kind = RowErrorKind::Syntax { expected: "the end of the default" };
            return Err(RowError { column: field.name.clone(), position: parser.cursor.at, kind });
        }
    }
    column.finish(&field.data_type.to_arrow()).map_err(|_| RowError {
        column: field.name.clone(),
        position: 0,
        kind: RowErrorKind::Syntax { expected: "a value of the column" },
    })
}

/// The value of a field that a row does not have: its default, or null where that is allowed.
pub(crate) fn append_absent(field: &PlanField, column: &mut Column) -> Result<(), RowErrorKind> {
    if field.nullable && field.default.is_none() {
        column.append_null();
        return Ok(());
    }
    let mut scratch = parse::Scratch::default();
    parse::Parser::new("", OnUnknown::Keep, 1, &mut scratch).absent(field, column).map_err(|error| error.kind)
}

/// Whether `text` is one JSON value, nested at most as deeply as values of JSON columns are.
pub(crate) fn is_json(text: &str) -> bool {
    let mut cursor = text::Cursor::new(text);
    cursor.space();
    let value = cursor.skip(text::DEPTH_MAX).is_ok();
    cursor.space();
    value && cursor.at == text.len()
}

/// The value that `text` stands for as a JSON string would. Bytes are decoded into `scratch`.
pub(crate) fn parse_text<'a>(
    data_type: &DataType,
    text: &'a str,
    scratch: &'a mut Vec<u8>,
) -> Result<Value<'a>, RowErrorKind> {
    scalar::value(data_type, scalar::Token::Text(text), scratch)
}

/// The text of a value, without quotes.
pub(crate) fn write_text(data_type: &DataType, value: Value<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    format::write(&format::canonical(data_type), data_type, value, format::StringStyle::default(), out);
    if out.get(start) == Some(&b'"') {
        out.pop();
        out.remove(start);
    }
}
