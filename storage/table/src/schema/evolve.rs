//! How a table may change while producers and consumers run: only so that everything stored stays readable.

use super::{DataType, Field, FieldId, SchemaError, TableSchema};

/// One change. Paths name nested members: `["user", "address"]`; an array's items are `item`, a map's values `value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new column at the end (of the row at `path`, empty for the table itself): nullable, or with a default.
    Add { path: Vec<String>, field: Field },
    /// The column leaves; its id and what is stored under it stay out of use for ever.
    Drop { path: Vec<String> },
    /// A new name for the same column.
    Rename { path: Vec<String>, to: String },
    /// A wider type, as `DataType::widens_to` says.
    Widen { path: Vec<String>, to: DataType },
    /// NOT NULL becomes nullable.
    DropNotNull { path: Vec<String> },
}

/// Result of comparing a table with a new list of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaDiff {
    /// The list is what the table already is.
    Unchanged,
    /// The next version.
    Evolved(TableSchema),
}

/// Why a table cannot become what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvolutionError {
    /// There is no such column.
    #[error("column {column} does not exist")]
    Unknown { column: String },
    /// A new column that old rows have no value for.
    #[error(
        "column {column} is new and NOT NULL without a default: rows stored before have no value; make it nullable or add DEFAULT"
    )]
    AddedNotNull { column: String },
    /// Types that do not widen.
    #[error(
        "column {column}: {from} cannot become {to}; only wider integers, FLOAT to DOUBLE, integers to a DECIMAL that holds them, DECIMAL to a larger precision at equal scale, and DATE to TIMESTAMP are allowed"
    )]
    Type { column: String, from: String, to: String },
    /// Nullable cannot become NOT NULL.
    #[error("column {column}: nullable cannot become NOT NULL, because stored rows may have nulls")]
    NotNull { column: String },
    /// The default is what older rows read as.
    #[error("column {column}: the default cannot change, because rows stored before the column was added read as it")]
    Default { column: String },
    /// Key columns stay as they are.
    #[error("column {column} is a key column; key columns are not dropped or retyped")]
    KeyColumn { column: String },
    /// A member is added to or dropped from something that has none.
    #[error("column {column} has no members to add or drop; only a table or a ROW has")]
    NotARow { column: String },
    /// Ids ran out.
    #[error("the table has handed out all field ids")]
    IdsExhausted,
    /// The result is no table.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl TableSchema {
    /// The next version: `changes`, one after the other, all or none.
    pub fn evolve(&self, changes: &[Change]) -> Result<TableSchema, EvolutionError> {
        let mut next = self.clone();
        next.version += 1;
        for change in changes {
            next.apply(change)?;
        }
        next.finish()
    }

    /// Compares with a complete new list of columns (of a DDL or a newly registered schema), by name: new names are
    /// added, missing ones dropped, others may widen. A rename looks like drop and add here: use [`Change::Rename`].
    /// The order of the new list becomes the order of the columns.
    pub fn diff(&self, columns: &[Field]) -> Result<SchemaDiff, EvolutionError> {
        let mut next = self.clone();
        next.version += 1;
        for field in &self.fields {
            if self.key_columns.contains(&field.id) && !columns.iter().any(|column| column.name == field.name) {
                return Err(EvolutionError::KeyColumn { column: field.name.clone() });
            }
        }
        next.fields = merge_all("", &self.fields, columns)?;
        for field in &self.fields {
            let kept = next.fields.iter().find(|kept| kept.id == field.id);
            if self.key_columns.contains(&field.id) && kept.is_some_and(|kept| kept.data_type != field.data_type) {
                return Err(EvolutionError::KeyColumn { column: field.name.clone() });
            }
        }
        if next.fields == self.fields {
            return Ok(SchemaDiff::Unchanged);
        }
        next.finish().map(SchemaDiff::Evolved)
    }

    fn finish(mut self) -> Result<TableSchema, EvolutionError> {
        super::check_columns(&self.fields)?;
        if self.last_field_id.0 > i32::MAX - 2 * super::COLUMNS_MAX as i32 {
            return Err(EvolutionError::IdsExhausted);
        }
        for field in &mut self.fields {
            field.assign_ids(&mut self.last_field_id);
        }
        self.validate()?;
        Ok(self)
    }

    fn apply(&mut self, change: &Change) -> Result<(), EvolutionError> {
        match change {
            Change::Add { path, field } => {
                let mut field = field.clone();
                super::clear_ids(&mut field);
                check_added(&joined(path, &field.name), &field)?;
                members(self, path)?.push(field);
            }
            Change::Drop { path } => {
                let unknown = || EvolutionError::Unknown { column: path.join(".") };
                let (name, parent) = path.split_last().ok_or_else(unknown)?;
                let id = find(self, path)?.id;
                self.refuse_key(id, path)?;
                members(self, parent)?.retain(|member| member.name != *name);
            }
            Change::Rename { path, to } => {
                let parent = &path[..path.len().saturating_sub(1)];
                members(self, parent)?;
                find(self, path)?.name.clone_from(to);
            }
            Change::Widen { path, to } => {
                let id = find(self, path)?.id;
                self.refuse_key(id, path)?;
                let field = find(self, path)?;
                let mut wide = Field { data_type: to.clone(), ..field.clone() };
                for child in wide.data_type.children_mut() {
                    super::clear_ids(child);
                }
                *field = merge(&path.join("."), field, &wide)?;
            }
            Change::DropNotNull { path } => find(self, path)?.nullable = true,
        }
        Ok(())
    }

    fn refuse_key(&self, id: FieldId, path: &[String]) -> Result<(), EvolutionError> {
        if self.key_columns.contains(&id) {
            return Err(EvolutionError::KeyColumn { column: path.join(".") });
        }
        Ok(())
    }
}

fn joined(path: &[String], name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{}.{name}", path.join(".")) }
}

fn find<'a>(schema: &'a mut TableSchema, path: &[String]) -> Result<&'a mut Field, EvolutionError> {
    let unknown = || EvolutionError::Unknown { column: path.join(".") };
    let (first, rest) = path.split_first().ok_or_else(unknown)?;
    let mut at = schema.fields.iter_mut().find(|field| field.name == *first).ok_or_else(unknown)?;
    for name in rest {
        let children = at.data_type.children_mut();
        at = children.into_iter().find(|field| field.name == *name).ok_or_else(unknown)?;
    }
    Ok(at)
}

fn members<'a>(schema: &'a mut TableSchema, path: &[String]) -> Result<&'a mut Vec<Field>, EvolutionError> {
    if path.is_empty() {
        return Ok(&mut schema.fields);
    }
    match &mut find(schema, path)?.data_type {
        DataType::Row(members) => Ok(members),
        _ => Err(EvolutionError::NotARow { column: path.join(".") }),
    }
}

fn check_added(column: &str, field: &Field) -> Result<(), EvolutionError> {
    if !field.nullable && field.default.is_none() {
        return Err(EvolutionError::AddedNotNull { column: column.to_string() });
    }
    Ok(())
}

fn merge_all(path: &str, old: &[Field], new: &[Field]) -> Result<Vec<Field>, EvolutionError> {
    let one = |column: &Field| {
        let name = if path.is_empty() { column.name.clone() } else { format!("{path}.{}", column.name) };
        match old.iter().find(|field| field.name == column.name) {
            Some(field) => merge(&name, field, column),
            None => {
                check_added(&name, column)?;
                let mut added = column.clone();
                super::clear_ids(&mut added);
                Ok(added)
            }
        }
    };
    new.iter().map(one).collect()
}

/// `old` with the type and nullability of `new`, ids kept.
fn merge(column: &str, old: &Field, new: &Field) -> Result<Field, EvolutionError> {
    if old.nullable && !new.nullable {
        return Err(EvolutionError::NotNull { column: column.to_string() });
    }
    if old.default != new.default {
        return Err(EvolutionError::Default { column: column.to_string() });
    }
    let one = |old: &Field, new: &Field, name: &str| merge(&format!("{column}.{name}"), old, new).map(Box::new);
    let data_type = match (&old.data_type, &new.data_type) {
        (DataType::Array(a), DataType::Array(b)) => DataType::Array(one(a, b, "item")?),
        (DataType::Map(key, a), DataType::Map(_, b)) => DataType::Map(key.clone(), one(a, b, "value")?),
        (DataType::Row(a), DataType::Row(b)) => DataType::Row(merge_all(column, a, b)?),
        (a, b) if a.children().is_empty() && a.widens_to(b) => b.clone(),
        (a, b) => {
            let (from, to) = (a.to_string(), b.to_string());
            return Err(EvolutionError::Type { column: column.to_string(), from, to });
        }
    };
    Ok(Field { data_type, nullable: new.nullable, ..old.clone() })
}
