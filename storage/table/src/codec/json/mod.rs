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
mod plan;
mod scalar;
mod shape;
mod text;
mod time;

#[cfg(test)]
mod tests;

pub use decode::{DecodeLimits, Fidelity, JsonDecoder, JsonOptions, OnUnknown, RowForm, RowPart};
pub use encode::{EncodeError, JsonEncoder, JsonRows};
pub use error::{RowError, RowErrorKind, ValueKind};
pub(crate) use scalar::is_number;
pub use shape::{RowShape, SHAPE_BYTES_MAX, SHAPES_MAX, ShapeError, ShapeId, ShapeSet};

use arrow_array::ArrayRef;

use crate::builder::Column;
use crate::schema::Field;

/// `rows` times the default of `field` (null without one).
pub(crate) fn default_array(field: &Field, rows: usize) -> Result<ArrayRef, RowError> {
    let plan = plan::PlanField::new(field, 0);
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
