//! Reading columns that were written under one version of a schema as another version wants them.
//!
//! Columns are bound by field id: renamed ones are found, added ones are null or their default, widened ones are cast,
//! dropped ones are left out. The same holds inside of nested columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow_schema::{ArrowError, DataType as Arrow, SchemaRef};

use super::{DataType, Field, TableSchema};

/// Why columns of one version cannot be read as another.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The types of a column are not related.
    #[error("column {column} (field id {id}): stored as {from}, which does not widen to {to}")]
    Type { column: String, id: i32, from: String, to: String },
    /// A column that was added without default and does not allow nulls.
    #[error("column {column} (field id {id}) is NOT NULL without default and is missing from what is stored")]
    Missing { column: String, id: i32 },
    /// The batch is not of the version it claims.
    #[error("column {column}: the stored array is {found}, the schema says {expected}")]
    Stored { column: String, found: String, expected: String },
    /// A default that became unreadable, or a cast that failed.
    #[error("column {column}: {reason}")]
    Value { column: String, reason: String },
    /// Arrow refuses the result.
    #[error("a batch of the mapped columns: {0}")]
    Arrow(#[from] ArrowError),
}

/// How to get the columns of `to` from those of `from`.
#[derive(Debug, Clone)]
pub struct ReadMapping {
    schema: SchemaRef,
    columns: Vec<(Field, Source)>,
    from_types: Vec<Arrow>,
}

/// Where one field comes from.
#[derive(Debug, Clone)]
enum Source {
    /// Not stored: nulls, or the default.
    Absent,
    /// Child or column `index`, as it is.
    Same { index: usize },
    /// Child or column `index`, cast.
    Cast { index: usize },
    /// Child or column `index`, rebuilt from its parts.
    Nested { index: usize, parts: Vec<(Field, Source)> },
}

impl Source {
    fn index(&self) -> Option<usize> {
        match self {
            Source::Absent => None,
            Source::Same { index } | Source::Cast { index } | Source::Nested { index, .. } => Some(*index),
        }
    }
}

impl ReadMapping {
    /// Binds the columns of `to` to those of `from`.
    pub fn new(from: &TableSchema, to: &TableSchema) -> Result<ReadMapping, MappingError> {
        let columns = bind_all("", &from.fields, &to.fields)?;
        let from_types = from.fields.iter().map(|field| field.data_type.to_arrow()).collect();
        Ok(ReadMapping { schema: to.to_arrow(), columns, from_types })
    }

    /// The Arrow schema of what comes out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Position in the stored schema of what column `to` is made from; `None` when nothing stored is needed.
    pub fn source(&self, to: usize) -> Option<usize> {
        self.columns.get(to).and_then(|(_, source)| source.index())
    }

    /// Whether column `to` is stored as it is read.
    pub fn is_same(&self, to: usize) -> bool {
        matches!(self.columns.get(to), Some((_, Source::Same { .. })))
    }

    /// Column `to` out of the stored array [`ReadMapping::source`] names (all rows), or `rows` nulls or defaults.
    pub fn column(&self, to: usize, stored: Option<&ArrayRef>, rows: usize) -> Result<ArrayRef, MappingError> {
        let (field, source) = &self.columns[to];
        if let (Some(index), Some(stored)) = (source.index(), stored) {
            let expected = &self.from_types[index];
            if stored.data_type() != expected {
                return Err(MappingError::Stored {
                    column: field.name.clone(),
                    found: stored.data_type().to_string(),
                    expected: expected.to_string(),
                });
            }
        }
        match (source, stored) {
            (Source::Absent, _) => absent(field, rows),
            (_, Some(stored)) => apply(field, source, stored),
            (_, None) => Err(MappingError::Missing { column: field.name.clone(), id: field.id.0 }),
        }
    }

    /// A whole batch of the old schema as one of the new.
    pub fn batch(&self, stored: &RecordBatch) -> Result<RecordBatch, MappingError> {
        let column = |to: usize| {
            let array = self.source(to).and_then(|index| stored.columns().get(index));
            self.column(to, array, stored.num_rows())
        };
        let columns = (0..self.columns.len()).map(column).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

fn bind_all(path: &str, from: &[Field], to: &[Field]) -> Result<Vec<(Field, Source)>, MappingError> {
    to.iter().map(|field| Ok((field.clone(), bind(path, from, field)?))).collect()
}

fn bind(path: &str, from: &[Field], to: &Field) -> Result<Source, MappingError> {
    let column = if path.is_empty() { to.name.clone() } else { format!("{path}.{}", to.name) };
    let Some((index, stored)) = from.iter().enumerate().find(|(_, field)| field.id == to.id) else {
        if !to.nullable && to.default.is_none() {
            return Err(MappingError::Missing { column, id: to.id.0 });
        }
        return Ok(Source::Absent);
    };
    let parts = match (&stored.data_type, &to.data_type) {
        (a, b) if a.to_arrow() == b.to_arrow() => return Ok(Source::Same { index }),
        (DataType::Array(a), DataType::Array(b)) => {
            bind_all(&column, std::slice::from_ref(&**a), std::slice::from_ref(&**b))?
        }
        (DataType::Map(_, a), DataType::Map(_, b)) => {
            bind_all(&column, std::slice::from_ref(&**a), std::slice::from_ref(&**b))?
        }
        (DataType::Row(a), DataType::Row(b)) => bind_all(&column, a, b)?,
        (a, b) if a.widens_to(b) => return Ok(Source::Cast { index }),
        (a, b) => {
            return Err(MappingError::Type { column, id: to.id.0, from: a.to_string(), to: b.to_string() });
        }
    };
    Ok(Source::Nested { index, parts })
}

fn absent(field: &Field, rows: usize) -> Result<ArrayRef, MappingError> {
    if field.default.is_none() {
        return Ok(new_null_array(&field.data_type.to_arrow(), rows));
    }
    crate::codec::json::default_array(field, rows)
        .map_err(|error| MappingError::Value { column: field.name.clone(), reason: error.to_string() })
}

fn apply(field: &Field, source: &Source, stored: &ArrayRef) -> Result<ArrayRef, MappingError> {
    match source {
        Source::Absent => absent(field, stored.len()),
        Source::Same { .. } => Ok(stored.clone()),
        Source::Cast { .. } => {
            let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
            arrow_cast::cast_with_options(stored, &field.data_type.to_arrow(), &options)
                .map_err(|error| MappingError::Value { column: field.name.clone(), reason: error.to_string() })
        }
        Source::Nested { parts, .. } => nested(field, parts, stored),
    }
}

fn nested(field: &Field, parts: &[(Field, Source)], stored: &ArrayRef) -> Result<ArrayRef, MappingError> {
    match field.data_type.to_arrow() {
        Arrow::Struct(fields) => {
            let stored = stored.as_struct();
            // Below a null struct a default would be a value nobody wrote, but it is masked.
            let child = |each| part(each, stored.columns(), stored.len());
            let children = parts.iter().map(child).collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields, children, stored.nulls().cloned(), stored.len())?))
        }
        Arrow::List(item) => {
            let stored = stored.as_list::<i32>();
            let child = part(&parts[0], std::slice::from_ref(stored.values()), stored.values().len())?;
            Ok(Arc::new(ListArray::try_new(item, stored.offsets().clone(), child, stored.nulls().cloned())?))
        }
        Arrow::Map(entries, ordered) => {
            let stored = stored.as_map();
            let value = part(&parts[0], std::slice::from_ref(stored.values()), stored.values().len())?;
            let Arrow::Struct(fields) = entries.data_type() else {
                return Err(MappingError::Value { column: field.name.clone(), reason: "map without entries".into() });
            };
            let pairs = StructArray::try_new(fields.clone(), vec![stored.keys().clone(), value], None)?;
            let nulls = stored.nulls().cloned();
            Ok(Arc::new(MapArray::try_new(entries, stored.offsets().clone(), pairs, nulls, ordered)?))
        }
        other => Err(MappingError::Value { column: field.name.clone(), reason: format!("{other} is not nested") }),
    }
}

fn part((field, source): &(Field, Source), stored: &[ArrayRef], rows: usize) -> Result<ArrayRef, MappingError> {
    match source.index() {
        None => absent(field, rows),
        Some(index) => apply(field, source, &stored[index]),
    }
}
