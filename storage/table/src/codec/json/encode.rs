//! Rows back from arrays: into their shape, byte for byte, or in the canonical form.

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType as Arrow;

use super::format::{StringStyle, hundredths, write, write_hundredths};
use super::shape::{Bound, BoundEntry, BoundObject, BoundValue, Quick, RowShape, ShapeError, ShapeId, ShapeSet};
use super::{RowForm, RowPart};
use crate::codec::digits::append_integer;
use crate::codec::plan::{Aliases, Kind, Members, PlanField};
use crate::codec::reader::{Reader, Values, approach};
use crate::schema::{DataType, TableSchema};

/// Why rows cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The batch is not one of the table version.
    #[error("column {column}: the array is {found}, the table says {expected}")]
    Column {
        /// Name of the column.
        column: String,
        /// Arrow type of the array.
        found: String,
        /// Arrow type of the column.
        expected: String,
    },
    /// A row beyond the batch.
    #[error("row {row} of a batch of {rows}")]
    Row {
        /// The row asked for.
        row: usize,
        /// Rows of the batch.
        rows: usize,
    },
    /// A value that the form of the rows cannot say.
    #[error("column {column}, row {row}: the value cannot be written under the schema of the row's writer")]
    Value {
        /// Name of the column.
        column: String,
        /// Row (or item) of the array.
        row: usize,
    },
    /// The topic has no schema to write rows with, or it does not go with the columns.
    #[error("rows cannot be written from columns: {reason}")]
    Schema {
        /// Why.
        reason: String,
    },
    /// `RowForm::Raw`: the caller has the bytes of such rows.
    #[error("the row is kept as bytes, not as columns")]
    Raw,
    /// See [`ShapeError`].
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Writes rows of one table version, with the shapes of one segment.
#[derive(Debug)]
pub struct JsonEncoder {
    members: Members,
    types: Vec<Arrow>,
    canonical: Bound,
    shapes: Vec<Bound>,
}

impl JsonEncoder {
    /// For the columns of `part`. Pass an empty set of shapes for the canonical form only.
    pub fn new(schema: &TableSchema, part: RowPart, shapes: &ShapeSet) -> Result<JsonEncoder, ShapeError> {
        let members = Members::new(&schema.fields, &part.columns(schema), &Aliases::default());
        let foreign = |id: usize| ShapeError::Foreign { id: id as u16 };
        let canonical = Bound::new(&RowShape::canonical(&members), &members).ok_or(foreign(0))?;
        let mut bound = Vec::with_capacity(shapes.len());
        for id in 0..shapes.len() {
            let shape = shapes.get(ShapeId(id as u16)).ok_or(foreign(id))?;
            bound.push(Bound::new(shape, &members).ok_or(foreign(id))?);
        }
        let types = members.fields.iter().map(|field| field.data_type.to_arrow()).collect();
        Ok(JsonEncoder { members, types, canonical, shapes: bound })
    }

    /// Looks at the arrays of a batch once, for all its rows. The batch has all columns of the table version.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<JsonRows<'a>, EncodeError> {
        let mut columns = Vec::with_capacity(self.members.fields.len());
        for (field, expected) in self.members.fields.iter().zip(&self.types) {
            let found = batch.columns().get(field.slot);
            let array = found.filter(|array| array.data_type() == expected).ok_or_else(|| EncodeError::Column {
                column: field.name.clone(),
                found: found.map_or("missing".to_string(), |array| array.data_type().to_string()),
                expected: expected.to_string(),
            })?;
            let mut column = Reader::new(array);
            if field.data_type == DataType::String {
                column.look_through();
            }
            columns.push(column);
        }
        Ok(JsonRows { encoder: self, columns, rows: batch.num_rows() })
    }
}

/// The rows of one batch, ready to be written.
#[derive(Debug)]
pub struct JsonRows<'a> {
    encoder: &'a JsonEncoder,
    columns: Vec<Reader<'a>>,
    rows: usize,
}

impl JsonRows<'_> {
    /// Appends row `row` to `out`, as the decoder said it was written.
    pub fn write(&self, row: usize, form: RowForm, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if row >= self.rows {
            return Err(EncodeError::Row { row, rows: self.rows });
        }
        let shape = match form {
            RowForm::Canonical => &self.encoder.canonical,
            RowForm::Shape(id) => self.encoder.shapes.get(usize::from(id.0)).ok_or(ShapeError::Unknown { id: id.0 })?,
            RowForm::Writer(_) | RowForm::Raw => return Err(EncodeError::Raw),
        };
        approach(&self.columns, row);
        write_object(&shape.object, &self.encoder.members, &self.columns, row, shape.strings, out);
        Ok(())
    }
}

fn write_object(
    shape: &BoundObject,
    members: &Members,
    columns: &[Reader<'_>],
    row: usize,
    strings: StringStyle,
    out: &mut Vec<u8>,
) {
    let plain = strings == StringStyle::default();
    out.extend_from_slice(&shape.open);
    let mut first = true;
    for entry in &shape.entries {
        let Some(member) = entry.member else { continue };
        let column = &columns[member];
        let null = column.is_null(row);
        if null && entry.omit {
            continue;
        }
        // The first one that is written has no comma in front.
        let whole = !std::mem::replace(&mut first, false) || entry.lead == 0;
        if whole && !null && write_quick(entry, column, row, plain, out) {
            continue;
        }
        out.extend_from_slice(if whole { entry.glue.bytes() } else { &entry.glue.bytes()[entry.lead..] });
        if null {
            out.extend_from_slice(b"null");
        } else {
            write_value(&entry.value, &members.fields[member], column, row, strings, out);
        }
    }
    out.extend_from_slice(&shape.close);
}

/// Writes comma, key and value, if that is one of those that are quickly written. False: nothing was written.
#[inline]
fn write_quick(entry: &BoundEntry, column: &Reader<'_>, row: usize, plain: bool, out: &mut Vec<u8>) -> bool {
    match (entry.quick, &column.values) {
        (Quick::Text, Values::Text(_)) => match &column.plain {
            Some(texts) if plain => {
                entry.quoted.append(out);
                texts.append(row, out);
                out.push(b'"');
            }
            _ => return false,
        },
        (Quick::Integer, Values::I64(values)) => {
            entry.glue.append(out);
            append_integer(values[row], out);
        }
        (Quick::Double(style), Values::F64(values)) => match hundredths(values[row]) {
            Some(hundredths) => {
                entry.glue.append(out);
                write_hundredths(hundredths, style, out);
            }
            None => return false,
        },
        (Quick::Bool, Values::Bool(values)) => {
            entry.glue.append(out);
            out.extend_from_slice(if values.value(row) { b"true" } else { b"false" });
        }
        _ => return false,
    }
    true
}

#[inline]
fn write_value(
    shape: &BoundValue,
    field: &PlanField,
    column: &Reader<'_>,
    row: usize,
    strings: StringStyle,
    out: &mut Vec<u8>,
) {
    match (shape, &field.kind, &column.values) {
        (BoundValue::Simple(_), Kind::Simple, _) if column.plain.is_some() && strings == StringStyle::default() => {
            out.push(b'"');
            if let Some(texts) = &column.plain {
                texts.append(row, out);
            }
            out.push(b'"');
        }
        (BoundValue::Simple(format), Kind::Simple, _) => {
            write(format, &field.data_type, column.value(row), strings, out);
        }
        (BoundValue::Row(object), Kind::Row(members), Values::Row(children)) => {
            write_object(object, members, children, row, strings, out);
        }
        (BoundValue::List(list), Kind::Array(inner) | Kind::Map(inner), _) => {
            let (offsets, item, keys) = match &column.values {
                Values::List { offsets, item } => (offsets, item, None),
                Values::Map { offsets, item, keys } => (offsets, item, Some(keys)),
                _ => return,
            };
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            if start == end {
                return out.extend_from_slice(list.text.empty.as_bytes());
            }
            out.extend_from_slice(list.text.open.as_bytes());
            for index in start..end {
                if index > start {
                    out.extend_from_slice(list.text.comma.as_bytes());
                }
                if let Some(keys) = keys {
                    out.push(b'"');
                    strings.write(keys.value(index), out);
                    out.push(b'"');
                    out.extend_from_slice(list.text.colon.as_bytes());
                }
                if item.is_null(index) {
                    out.extend_from_slice(b"null");
                } else {
                    write_value(&list.item, inner, item, index, strings, out);
                }
            }
            out.extend_from_slice(list.text.close.as_bytes());
        }
        // A shape that saw only nulls here: its rows have nulls, others never get it.
        _ => out.extend_from_slice(b"null"),
    }
}
