//! What a table is: named, typed columns whose ids last for ever.
//!
//! Every column, element, map key and value and member of a row has an id of its own. Ids are handed out once and never
//! again, so stored columns are found by id whatever they were called when they were written.

mod evolve;
mod mapping;
mod types;

pub use evolve::{Change, EvolutionError, SchemaDiff};
pub use mapping::{MappingError, ReadMapping};
pub use types::{DataType, TimeUnit};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};

/// Most columns a table may have; nested members count too, so that no short row can become a huge one.
pub const COLUMNS_MAX: usize = 2_000;
/// Deepest nesting: a top-level column is level 1.
pub const NESTING_MAX: usize = 16;
/// Longest name of a column, in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Longest default value, in bytes of JSON.
pub const DEFAULT_LEN_MAX: usize = 4_096;
/// Metadata key of the field id, the one Parquet readers and writers know.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";
/// Metadata key that tells types apart which Arrow stores alike (`json`, `uuid`).
pub const TYPE_KEY: &str = "weir.type";

/// Columns every topic has; a user column cannot be called like one of them.
pub const SYSTEM_COLUMNS: [&str; 7] =
    ["_partition", "_offset", "_timestamp", "_key", "_value", "_headers", "_change_type"];

/// Names of columns that stored files have beside those.
pub const STORED_COLUMNS: [&str; 1] = ["_shape"];

/// Id of a column for ever, also after it was dropped. Starts at 1; 0 means "not assigned yet" (columns out of a DDL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldId(pub i32);

/// One column, or one part of a nested column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// See [`FieldId`].
    pub id: FieldId,
    /// Case-sensitive.
    pub name: String,
    /// Type of the values.
    pub data_type: DataType,
    /// False: a missing or null value makes a row invalid (unless there is a default for a missing one).
    pub nullable: bool,
    /// Value of rows that do not have the field, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

impl Field {
    /// A nullable column without default and without an id.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Field {
        Field { id: FieldId(0), name: name.into(), data_type, nullable: true, default: None }
    }

    /// The same column, but NOT NULL.
    #[must_use]
    pub fn not_null(mut self) -> Field {
        self.nullable = false;
        self
    }

    /// The same column with a default, as JSON text.
    #[must_use]
    pub fn with_default(mut self, json: impl Into<String>) -> Field {
        self.default = Some(json.into());
        self
    }

    /// The Arrow field: type, nullability and ids.
    pub fn to_arrow(&self) -> arrow_schema::Field {
        let mut metadata = HashMap::from([(FIELD_ID_KEY.to_string(), self.id.0.to_string())]);
        if let Some(tag) = self.data_type.tag() {
            metadata.insert(TYPE_KEY.to_string(), tag.to_string());
        }
        arrow_schema::Field::new(&self.name, self.data_type.to_arrow(), self.nullable).with_metadata(metadata)
    }

    /// This field and everything below it, outermost first.
    fn visit<'a>(&'a self, depth: usize, see: &mut impl FnMut(&'a Field, usize)) {
        see(self, depth);
        // What is too deep is refused by the caller; it is not walked, so recursion ends whatever the input.
        if depth <= NESTING_MAX {
            for child in self.data_type.children() {
                child.visit(depth + 1, see);
            }
        }
    }

    fn assign_ids(&mut self, last: &mut FieldId) {
        if self.id.0 == 0 {
            last.0 += 1;
            self.id = *last;
        }
        for child in self.data_type.children_mut() {
            child.assign_ids(last);
        }
    }
}

/// One version of a table's schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Counts from 1; every evolution adds one.
    pub version: i32,
    /// Top-level columns, in order.
    pub fields: Vec<Field>,
    /// Columns that come out of the record's key (`weir.key.format`); all others come out of its value.
    #[serde(default)]
    pub key_columns: Vec<FieldId>,
    /// The highest id ever handed out, dropped columns included.
    pub last_field_id: FieldId,
}

/// Why a column list is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// No column at all.
    #[error("a table needs at least one column")]
    NoColumns,
    /// Too many columns, nested ones included.
    #[error("{count} columns (nested ones included), but a table has at most {COLUMNS_MAX}")]
    TooManyColumns { count: usize },
    /// Nested too deeply.
    #[error("column {column}: types nest at most {NESTING_MAX} levels deep")]
    TooDeep { column: String },
    /// Empty or too long a name, or one with a control character.
    #[error("column name {name:?}: names have 1 to {NAME_LEN_MAX} bytes and no control characters")]
    BadName { name: String },
    /// Two columns of one name.
    #[error("column {name} appears twice; names are case-sensitive and must differ")]
    Duplicate { name: String },
    /// A name that belongs to the broker.
    #[error("column {name}: this is the name of a system column, choose another one")]
    SystemName { name: String },
    /// A DECIMAL that does not exist.
    #[error(
        "column {column}: DECIMAL({precision},{scale}) needs a precision of 1 to 38 and a scale of at most the precision"
    )]
    BadDecimal { column: String, precision: u8, scale: u8 },
    /// A map whose keys are not strings, or may be null.
    #[error("column {column}: the keys of a MAP are STRING NOT NULL")]
    BadMapKey { column: String },
    /// A default that is no value of the column.
    #[error("column {column}: the default does not fit: {reason}")]
    BadDefault { column: String, reason: String },
    /// A key column that is not there.
    #[error("key column {column} is not a column of the table")]
    UnknownKeyColumn { column: String },
    /// Ids of a stored schema contradict each other.
    #[error("field id {id} is used twice, not assigned, or above the last id handed out")]
    BadFieldId { id: i32 },
}

impl TableSchema {
    /// Version 1 of a table: checks the columns and hands out ids. `key_columns` are names.
    pub fn create(mut columns: Vec<Field>, key_columns: &[&str]) -> Result<TableSchema, SchemaError> {
        check_columns(&columns)?;
        let mut last_field_id = FieldId(0);
        for column in &mut columns {
            clear_ids(column);
        }
        // Top-level columns first: their ids then are 1..=n, as readers of Parquet files are used to.
        for column in &mut columns {
            last_field_id.0 += 1;
            column.id = last_field_id;
        }
        for column in &mut columns {
            column.assign_ids(&mut last_field_id);
        }
        let key_columns = key_columns
            .iter()
            .map(|name| columns.iter().find(|column| column.name == *name).map(|column| column.id).ok_or(*name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|name| SchemaError::UnknownKeyColumn { column: name.to_string() })?;
        let schema = TableSchema { version: 1, fields: columns, key_columns, last_field_id };
        schema.validate()?;
        Ok(schema)
    }

    /// Checks everything a table must be: to be called on a schema that comes out of a store.
    pub fn validate(&self) -> Result<(), SchemaError> {
        check_columns(&self.fields)?;
        let mut ids = HashSet::new();
        let mut bad = None;
        for field in &self.fields {
            field.visit(1, &mut |field, _| {
                if field.id.0 <= 0 || field.id > self.last_field_id || !ids.insert(field.id) {
                    bad.get_or_insert(field.id.0);
                }
            });
        }
        if let Some(id) = bad {
            return Err(SchemaError::BadFieldId { id });
        }
        for id in &self.key_columns {
            if !self.fields.iter().any(|field| field.id == *id) {
                return Err(SchemaError::UnknownKeyColumn { column: format!("with id {}", id.0) });
            }
        }
        Ok(())
    }

    /// The Arrow schema: types, nullability, field ids; the version is in the schema's metadata.
    pub fn to_arrow(&self) -> SchemaRef {
        let fields: Vec<_> = self.fields.iter().map(Field::to_arrow).collect();
        let metadata = HashMap::from([("weir.schema.version".to_string(), self.version.to_string())]);
        Arc::new(arrow_schema::Schema::new_with_metadata(fields, metadata))
    }

    /// Position and field of the top-level column `name`.
    pub fn column(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// Positions of the columns that come out of the record's value, in order.
    pub fn value_columns(&self) -> Vec<usize> {
        (0..self.fields.len()).filter(|index| !self.key_columns.contains(&self.fields[*index].id)).collect()
    }

    /// Positions of the columns that come out of the record's key, in the order of `key_columns`.
    pub fn key_columns(&self) -> Vec<usize> {
        let position = |id: &FieldId| self.fields.iter().position(|field| field.id == *id);
        self.key_columns.iter().filter_map(position).collect()
    }
}

fn clear_ids(field: &mut Field) {
    field.id = FieldId(0);
    for child in field.data_type.children_mut() {
        clear_ids(child);
    }
}

/// Everything about a column list that does not concern ids.
fn check_columns(columns: &[Field]) -> Result<(), SchemaError> {
    if columns.is_empty() {
        return Err(SchemaError::NoColumns);
    }
    let (mut count, mut too_deep) = (0, None);
    for column in columns {
        column.visit(1, &mut |_, depth| {
            count += 1;
            if depth > NESTING_MAX {
                too_deep.get_or_insert(column);
            }
        });
    }
    if let Some(column) = too_deep {
        return Err(SchemaError::TooDeep { column: column.name.clone() });
    }
    if count > COLUMNS_MAX {
        return Err(SchemaError::TooManyColumns { count });
    }
    if let Some(system) = columns.iter().find(|column| is_reserved(&column.name)) {
        return Err(SchemaError::SystemName { name: system.name.clone() });
    }
    check_members("", columns)
}

fn is_reserved(name: &str) -> bool {
    SYSTEM_COLUMNS.contains(&name) || STORED_COLUMNS.contains(&name)
}

fn check_members(path: &str, fields: &[Field]) -> Result<(), SchemaError> {
    let mut names = HashSet::new();
    for field in fields {
        let name = &field.name;
        if name.is_empty() || name.len() > NAME_LEN_MAX || name.chars().any(char::is_control) {
            return Err(SchemaError::BadName { name: name.chars().take(80).collect() });
        }
        let column = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if !names.insert(name) {
            return Err(SchemaError::Duplicate { name: column });
        }
        check_type(&column, &field.data_type)?;
        if let Some(json) = &field.default {
            check_default(&column, field, json)?;
        }
    }
    Ok(())
}

fn check_type(column: &str, data_type: &DataType) -> Result<(), SchemaError> {
    match data_type {
        DataType::Decimal { precision, scale } if !(1..=38).contains(precision) || scale > precision => {
            Err(SchemaError::BadDecimal { column: column.to_string(), precision: *precision, scale: *scale })
        }
        DataType::Array(item) => check_type(column, &item.data_type),
        DataType::Map(key, value) => {
            if key.data_type != DataType::String || key.nullable {
                return Err(SchemaError::BadMapKey { column: column.to_string() });
            }
            check_type(column, &value.data_type)
        }
        DataType::Row(members) if members.is_empty() => {
            Err(SchemaError::BadName { name: format!("{column}: a ROW needs at least one member") })
        }
        DataType::Row(members) => check_members(column, members),
        _ => Ok(()),
    }
}

fn check_default(column: &str, field: &Field, json: &str) -> Result<(), SchemaError> {
    let bad = |reason: String| SchemaError::BadDefault { column: column.to_string(), reason };
    if json.len() > DEFAULT_LEN_MAX {
        return Err(bad(format!("it is longer than {DEFAULT_LEN_MAX} bytes")));
    }
    if !field.data_type.children().is_empty() {
        return Err(bad("only columns of a simple type can have one".to_string()));
    }
    crate::codec::json::default_array(field, 1).map(|_| ()).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests;
