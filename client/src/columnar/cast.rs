//! Columns of a writer as the topic's table has them: what means the same is cast, and every value is checked.
//!
//! Python's integers are 64 bits wide, pandas makes floats of integers with gaps and nanoseconds of times, Polars has large strings. A
//! cast never changes a value: what does not fit, or would be rounded, is an error with its row. The one exception is a DOUBLE in
//! a FLOAT column, which keeps the nearest FLOAT. Text is not parsed, and times without a zone are not given one.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow_buffer::OffsetBuffer;
use arrow_cast::display::array_value_to_string;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use thiserror::Error;

/// Deepest nesting that is followed; a table's is 16.
const DEPTH_MAX: usize = 32;

/// Why a column does not become one of the table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CastError {
    #[error("column {column}, row {row}: {value} {reason}")]
    Value { column: String, row: usize, value: String, reason: String },
    #[error("column {column}: it has {found}, the table {wanted}; {fix}")]
    Type { column: String, found: String, wanted: String, fix: &'static str },
    #[error("column {column}: {reason}")]
    Shape { column: String, reason: String },
}

impl CastError {
    /// The same error, of the list, map or struct around it, whose rows are found by `row_of`.
    fn around(self, row_of: impl Fn(usize) -> usize) -> CastError {
        match self {
            CastError::Value { column, row, value, reason } => {
                CastError::Value { column, row: row_of(row), value, reason }
            }
            other => other,
        }
    }
}

/// The batch with the table's types. Columns that the table does not have stay as they are: the broker names them. Rows in errors are
/// counted from `first` on.
pub(crate) fn to_table(rows: &RecordBatch, table: &Schema, first: usize) -> Result<RecordBatch, CastError> {
    let wanted = |field: &Field| match table.field_with_name(field.name()) {
        Ok(column) => column.data_type().clone(),
        Err(_) => usual(field.data_type(), 0),
    };
    cast_columns(rows, wanted).map_err(|error| error.around(|row| first + row))
}

/// The batch with the types that tables have, for a table that is not known.
pub(crate) fn to_usual(rows: &RecordBatch) -> Result<RecordBatch, CastError> {
    cast_columns(rows, |field| usual(field.data_type(), 0))
}

fn cast_columns(rows: &RecordBatch, wanted: impl Fn(&Field) -> DataType) -> Result<RecordBatch, CastError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let wanted = wanted(field);
        columns.push(cast(column, &wanted, field.name(), 0)?);
        fields.push(Arc::new(Field::new(field.name(), wanted, true)));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| CastError::Shape { column: "(all)".to_owned(), reason: error.to_string() })
}

/// The type under which tables have what a program has in another form.
fn usual(kind: &DataType, depth: usize) -> DataType {
    let inner = |field: &FieldRef| Field::new(field.name(), usual(field.data_type(), depth + 1), field.is_nullable());
    match kind {
        _ if depth > DEPTH_MAX => kind.clone(),
        DataType::Dictionary(_, value) => usual(value, depth + 1),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(inner(item).with_name("item")))
        }
        DataType::Struct(members) => DataType::Struct(members.iter().map(|member| Arc::new(inner(member))).collect()),
        other => other.clone(),
    }
}

fn cast(array: &ArrayRef, wanted: &DataType, path: &str, depth: usize) -> Result<ArrayRef, CastError> {
    let found = array.data_type();
    if found == wanted {
        return Ok(array.clone());
    }
    let differs = |fix| Err(type_error(path, found, wanted, fix));
    if depth > DEPTH_MAX {
        return differs("it nests too deeply");
    }
    match (found, wanted) {
        (DataType::Null, _) => Ok(new_null_array(wanted, array.len())),
        (DataType::Dictionary(_, value), _) => {
            let plain = converted(array, value, path)?;
            cast(&plain, wanted, path, depth + 1)
        }
        (DataType::LargeList(item) | DataType::FixedSizeList(item, _), DataType::List(_)) => {
            let plain = converted(array, &DataType::List(item.clone()), path)?;
            cast(&plain, wanted, path, depth + 1)
        }
        (DataType::List(_), DataType::List(item)) => list(array.as_list::<i32>(), item, path, depth),
        (DataType::Map(..), DataType::Map(entries, _)) => map(array.as_map(), entries, path, depth),
        (DataType::Struct(_), DataType::Struct(members)) => {
            let parts = array.as_struct();
            let columns = struct_members(parts, members, path, depth)?;
            let built = StructArray::try_new_with_length(members.clone(), columns, parts.nulls().cloned(), parts.len());
            built.map(|built| Arc::new(built) as ArrayRef).map_err(|error| shape(path, &error))
        }
        (DataType::Struct(_), DataType::Map(..)) => {
            differs("a MAP is written as an Arrow map (pyarrow.map_), not as a struct")
        }
        _ => match rule(found, wanted) {
            Rule::Refused(fix) => differs(fix),
            Rule::Same => converted(array, wanted, path),
            Rule::Checked => checked(array, wanted, path, false),
            Rule::Exact => checked(array, wanted, path, true),
        },
    }
}

/// How values of one type become values of another.
enum Rule {
    /// They are the same in another form.
    Same,
    /// Some of them do not fit.
    Checked,
    /// Some of them do not fit, or would be rounded.
    Exact,
    /// They are not cast; what to do instead.
    Refused(&'static str),
}

fn rule(found: &DataType, wanted: &DataType) -> Rule {
    use DataType as T;
    let is_number =
        |kind: &T| kind.is_integer() || kind.is_floating() || matches!(kind, T::Decimal128(..) | T::Decimal256(..));
    match (found, wanted) {
        (T::LargeUtf8 | T::Utf8View, T::Utf8) | (T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary) => {
            Rule::Same
        }
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Binary) => Rule::Same,
        (T::Binary | T::LargeBinary | T::BinaryView, T::FixedSizeBinary(_)) => Rule::Checked,
        (from, to) if from.is_integer() && to.is_integer() => Rule::Checked,
        (T::Float16 | T::Float32, T::Float64) => Rule::Same,
        (T::Float64, T::Float32) => Rule::Checked,
        (from, T::Decimal128(..)) if from.is_floating() => Rule::Refused(
            "a float is hardly ever a decimal exactly: make decimals of it (in pyarrow, cast to decimal128)",
        ),
        (from, to) if is_number(from) && is_number(to) => Rule::Exact,
        (T::Date64, T::Date32) | (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)) => Rule::Exact,
        (T::Timestamp(_, from), T::Timestamp(_, to)) if from.is_some() == to.is_some() => Rule::Exact,
        (T::Timestamp(_, None), T::Timestamp(_, Some(_))) => {
            Rule::Refused("say which zone the times are in (in pandas, dt.tz_localize)")
        }
        (T::Timestamp(_, Some(_)), T::Timestamp(_, None)) => Rule::Refused(
            "the column has no zone: take it away (in pandas, dt.tz_localize(None)), or make it TIMESTAMP_LTZ",
        ),
        _ => Rule::Refused("cast the column, or change the table with `weir table alter`"),
    }
}

fn type_error(path: &str, found: &DataType, wanted: &DataType, fix: &'static str) -> CastError {
    CastError::Type { column: path.to_owned(), found: found.to_string(), wanted: wanted.to_string(), fix }
}

fn shape(path: &str, error: &arrow_schema::ArrowError) -> CastError {
    CastError::Shape { column: path.to_owned(), reason: error.to_string() }
}

fn converted(array: &ArrayRef, wanted: &DataType, path: &str) -> Result<ArrayRef, CastError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, wanted, &options).map_err(|error| shape(path, &error))
}

/// Every value, or the first that does not fit; with `exact` also the first that would be rounded.
fn checked(array: &ArrayRef, wanted: &DataType, path: &str, exact: bool) -> Result<ArrayRef, CastError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast =
        |array: &ArrayRef, to: &DataType| cast_with_options(array, to, &options).map_err(|error| shape(path, &error));
    let made = cast(array, wanted)?;
    let lost = |row: &usize| array.is_valid(*row) && (made.is_null(*row) || is_infinite(&made, array, *row));
    let unfit = |row: usize, reason: String| {
        let value = array_value_to_string(array, row).unwrap_or_else(|_| "a value".to_owned());
        Err(CastError::Value { column: path.to_owned(), row, value, reason })
    };
    if let Some(row) = (0..array.len()).find(lost) {
        return unfit(row, format!("does not fit {wanted}"));
    }
    if exact {
        let back = cast(&made, array.data_type())?;
        if back.to_data() != array.to_data() {
            let rounded = (0..array.len()).find(|row| back.slice(*row, 1).to_data() != array.slice(*row, 1).to_data());
            if let Some(row) = rounded {
                return unfit(row, format!("would be rounded as {wanted}"));
            }
        }
    }
    Ok(made)
}

/// A DOUBLE too large for a FLOAT becomes infinite, not null.
fn is_infinite(made: &ArrayRef, array: &ArrayRef, row: usize) -> bool {
    match (made.as_primitive_opt::<Float32Type>(), array.as_primitive_opt::<Float64Type>()) {
        (Some(made), Some(array)) => made.value(row).is_infinite() && array.value(row).is_finite(),
        _ => false,
    }
}

/// The row whose list holds an item.
fn row_of(offsets: &OffsetBuffer<i32>, item: usize) -> usize {
    offsets.partition_point(|offset| usize::try_from(*offset).is_ok_and(|offset| offset <= item)).saturating_sub(1)
}

fn list(array: &ListArray, item: &FieldRef, path: &str, depth: usize) -> Result<ArrayRef, CastError> {
    let path = format!("{path}[]");
    let values = cast(array.values(), item.data_type(), &path, depth + 1);
    let values = values.map_err(|error| error.around(|at| row_of(array.offsets(), at)))?;
    let built = ListArray::try_new(item.clone(), array.offsets().clone(), values, array.nulls().cloned());
    built.map(|built| Arc::new(built) as ArrayRef).map_err(|error| shape(&path, &error))
}

fn map(array: &MapArray, entries: &FieldRef, path: &str, depth: usize) -> Result<ArrayRef, CastError> {
    let DataType::Struct(members) = entries.data_type() else {
        return Err(type_error(path, array.data_type(), entries.data_type(), "it is no map"));
    };
    // Keys and values are called as their writer likes.
    let mut columns = Vec::new();
    for (column, member) in array.entries().columns().iter().zip(members) {
        let part = cast(column, member.data_type(), &format!("{path}.{}", member.name()), depth + 1);
        columns.push(part.map_err(|error| error.around(|at| row_of(array.offsets(), at)))?);
    }
    let failed = |error| shape(path, &error);
    let built = StructArray::try_new(members.clone(), columns, None).map_err(failed)?;
    let built = MapArray::try_new(entries.clone(), array.offsets().clone(), built, array.nulls().cloned(), false);
    Ok(Arc::new(built.map_err(failed)?))
}

/// The members that the table has; one that is not sent is null.
fn struct_members(
    parts: &StructArray,
    members: &arrow_schema::Fields,
    path: &str,
    depth: usize,
) -> Result<Vec<ArrayRef>, CastError> {
    if let Some(name) = parts.column_names().into_iter().find(|name| members.iter().all(|member| member.name() != name))
    {
        return Err(CastError::Shape {
            column: path.to_owned(),
            reason: format!("the table has no member {name} in it"),
        });
    }
    let member = |member: &FieldRef| match parts.column_by_name(member.name()) {
        Some(column) => cast(column, member.data_type(), &format!("{path}.{}", member.name()), depth + 1),
        None => Ok(new_null_array(member.data_type(), parts.len())),
    };
    members.iter().map(member).collect()
}

#[cfg(test)]
mod tests;
