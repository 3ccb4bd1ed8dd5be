//! Column paths: `carrier`, `user.address.city`, `"a.b".c`. The result of a nested path is the struct with only that field, and
//! paths with the same beginning share one column.
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use thiserror::Error;
use weir_predicate::Suggestion;
use weir_table::TableSchema;

/// Levels of a path.
const DEPTH_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProjectionError {
    #[error("the projection asks for column {path}, which does not exist{suggestion}")]
    UnknownColumn { path: String, suggestion: Suggestion },
    #[error("the projection asks for {path}, but {parent} is {found} and has no fields")]
    NotNested { path: String, parent: String, found: String },
    #[error("the column path {path:?} does not parse: {detail}; names that contain a dot are quoted, as in \"a.b\".c")]
    Syntax { path: String, detail: &'static str },
}

/// What is wanted of one column or struct field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Want {
    All,
    Fields(Vec<(usize, Want)>),
}

/// Columns to return, in the order in which they were first named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    columns: Vec<(usize, Want)>,
    schema: SchemaRef,
}

impl Projection {
    /// Resolves paths against `schema`.
    pub fn new(paths: &[String], schema: &Schema) -> Result<Projection, ProjectionError> {
        let mut columns = Vec::new();
        for path in paths {
            let names = split(path)?;
            add(&mut columns, schema.fields(), &names, path)?;
        }
        Ok(Projection::of(columns, schema))
    }

    /// Whole columns, by their places in `schema`.
    pub fn whole(columns: impl IntoIterator<Item = usize>, schema: &Schema) -> Projection {
        Projection::of(columns.into_iter().map(|at| (at, Want::All)).collect(), schema)
    }

    /// The same over a schema in which column `i` is at `places[i]`.
    pub fn moved(self, places: &[usize]) -> Projection {
        let columns = self.columns.into_iter().map(|(at, want)| (places[at], want)).collect();
        Projection { columns, ..self }
    }

    /// The same, and behind it these whole columns of `schema`.
    pub fn with_whole(self, columns: impl IntoIterator<Item = usize>, schema: &Schema) -> Projection {
        Projection::of(self.columns.into_iter().chain(columns.into_iter().map(|at| (at, Want::All))).collect(), schema)
    }

    fn of(columns: Vec<(usize, Want)>, schema: &Schema) -> Projection {
        let fields: Vec<Field> = columns.iter().map(|(at, want)| pruned_field(schema.field(*at), want)).collect();
        Projection { columns, schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())) }
    }

    /// The columns of the projection as a table, whose columns come first in the projected schema.
    pub fn table(&self, table: &TableSchema) -> TableSchema {
        let column = |(at, want): &(usize, Want)| Some(pruned_column(table.fields.get(*at)?, want));
        TableSchema { fields: self.columns.iter().filter_map(column).collect(), ..table.clone() }
    }

    /// The schema of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of the input schema that are read.
    pub fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|(at, _)| *at)
    }

    /// The columns of the input schema, if each is wanted whole.
    pub fn whole_columns(&self) -> Option<Vec<usize>> {
        self.columns.iter().map(|(at, want)| (*want == Want::All).then_some(*at)).collect()
    }

    /// Takes the wanted columns out of a batch's, which `column_of` finds by their place in the input schema.
    pub fn apply(&self, column_of: impl Fn(usize) -> ArrayRef) -> Vec<ArrayRef> {
        self.columns.iter().map(|(at, want)| pruned(&column_of(*at), want)).collect()
    }
}

/// The names of a path.
fn split(path: &str) -> Result<Vec<String>, ProjectionError> {
    let error = |detail| ProjectionError::Syntax { path: path.to_owned(), detail };
    let mut names = Vec::new();
    let mut rest = path;
    loop {
        let name;
        (name, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| error("a quote is not closed"))?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if name.is_empty() {
            return Err(error("a name is empty"));
        }
        names.push(name);
        if names.len() > DEPTH_MAX {
            return Err(error("it has more than 32 names"));
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(names),
            None => return Err(error("a dot is missing behind a quoted name")),
        }
    }
}

/// A quoted name up to its closing quote (`""` is a quote), and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

fn add(columns: &mut Vec<(usize, Want)>, fields: &Fields, names: &[String], path: &str) -> Result<(), ProjectionError> {
    let Some((name, deeper)) = names.split_first() else { return Ok(()) };
    let Some((at, field)) = fields.find(name) else {
        let suggestion = Suggestion::new(name, fields.iter().map(|f| f.name().as_str()));
        return Err(ProjectionError::UnknownColumn { path: path.to_owned(), suggestion });
    };
    let place = match columns.iter().position(|(column, _)| *column == at) {
        Some(place) => place,
        None => {
            let want = if deeper.is_empty() { Want::All } else { Want::Fields(Vec::new()) };
            columns.push((at, want));
            columns.len() - 1
        }
    };
    if deeper.is_empty() {
        columns[place].1 = Want::All;
        return Ok(());
    }
    let Some(children) = children(field.data_type()) else {
        let (parent, found) = (name.clone(), field.data_type().to_string());
        return Err(ProjectionError::NotNested { path: path.to_owned(), parent, found });
    };
    match &mut columns[place].1 {
        // The whole is wanted already; the path must exist all the same.
        Want::All => add(&mut Vec::new(), children, deeper, path),
        Want::Fields(wanted) => add(wanted, children, deeper, path),
    }
}

/// The fields inside of a struct, or of the structs in a list.
fn children(data_type: &DataType) -> Option<&Fields> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item) => children(item.data_type()),
        _ => None,
    }
}

fn pruned_field(field: &Field, want: &Want) -> Field {
    field.clone().with_data_type(pruned_type(field.data_type(), want))
}

fn pruned_type(data_type: &DataType, want: &Want) -> DataType {
    match (data_type, want) {
        (DataType::Struct(fields), Want::Fields(wanted)) => {
            DataType::Struct(wanted.iter().map(|(at, want)| pruned_field(&fields[*at], want)).collect())
        }
        (DataType::List(item), Want::Fields(_)) => DataType::List(Arc::new(pruned_field(item, want))),
        (other, _) => other.clone(),
    }
}

/// As [`pruned_field`], of a table's column.
fn pruned_column(column: &weir_table::Field, want: &Want) -> weir_table::Field {
    weir_table::Field { data_type: pruned_table_type(&column.data_type, want), ..column.clone() }
}

fn pruned_table_type(data_type: &weir_table::DataType, want: &Want) -> weir_table::DataType {
    use weir_table::DataType as T;
    match (data_type, want) {
        (T::Row(members), Want::Fields(wanted)) => {
            T::Row(wanted.iter().map(|(at, want)| pruned_column(&members[*at], want)).collect())
        }
        (T::Array(item), Want::Fields(_)) => T::Array(Box::new(pruned_column(item, want))),
        (other, _) => other.clone(),
    }
}

fn pruned(array: &ArrayRef, want: &Want) -> ArrayRef {
    match (array.data_type(), want) {
        (DataType::Struct(fields), Want::Fields(wanted)) => {
            let whole = array.as_struct();
            let columns = wanted.iter().map(|(at, want)| pruned(whole.column(*at), want)).collect();
            let fields: Fields = wanted.iter().map(|(at, want)| pruned_field(&fields[*at], want)).collect();
            Arc::new(StructArray::new(fields, columns, whole.nulls().cloned()))
        }
        (DataType::List(item), Want::Fields(_)) => {
            let list = array.as_list::<i32>();
            let field = Arc::new(pruned_field(item, want));
            let values = pruned(list.values(), want);
            Arc::new(ListArray::new(field, list.offsets().clone(), values, list.nulls().cloned()))
        }
        _ => array.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let address = DataType::Struct(Fields::from(vec![
            Field::new("city", DataType::Utf8, true),
            Field::new("zip", DataType::Int32, true),
        ]));
        let user =
            Fields::from(vec![Field::new("name", DataType::Utf8, true), Field::new("address", address.clone(), true)]);
        Schema::new(vec![
            Field::new("a.b", DataType::Int32, true),
            Field::new("user", DataType::Struct(user), true),
            Field::new("stops", DataType::List(Arc::new(Field::new("item", address, true))), true),
            Field::new("carrier", DataType::Utf8, true),
        ])
    }

    fn project(paths: &[&str]) -> Result<String, ProjectionError> {
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        let projection = Projection::new(&paths, &schema())?;
        Ok(projection.schema().fields().iter().map(|f| shape(f)).collect::<Vec<_>>().join(","))
    }

    fn shape(field: &Field) -> String {
        match children(field.data_type()) {
            Some(fields) => {
                format!("{}<{}>", field.name(), fields.iter().map(|f| shape(f)).collect::<Vec<_>>().join(","))
            }
            None => field.name().clone(),
        }
    }

    #[test]
    fn paths_select_columns_and_prune_structs() {
        assert_eq!(project(&["carrier", "\"a.b\""]).unwrap(), "carrier,a.b");
        assert_eq!(project(&["user.address.city"]).unwrap(), "user<address<city>>");
        assert_eq!(project(&["user.address.zip", "carrier", "user.name"]).unwrap(), "user<address<zip>,name>,carrier");
        assert_eq!(project(&["user.name", "user"]).unwrap(), "user<name,address<city,zip>>");
        assert_eq!(project(&["user", "user.name"]).unwrap(), "user<name,address<city,zip>>");
        assert_eq!(project(&["stops.zip"]).unwrap(), "stops<zip>");
        assert_eq!(project(&[]).unwrap(), "");
    }

    #[test]
    fn errors_name_the_path() {
        let message = |path: &str| project(&[path]).unwrap_err().to_string();
        assert_eq!(
            message("carier"),
            "the projection asks for column carier, which does not exist; did you mean carrier?"
        );
        assert_eq!(
            message("user.address.street"),
            "the projection asks for column user.address.street, which does not exist; there is city, zip"
        );
        assert!(message("carrier.x").contains("carrier is Utf8 and has no fields"));
        assert!(message("user..name").contains("a name is empty"));
        assert!(message("\"user").contains("a quote is not closed"));
        assert!(message("\"user\"name").contains("a dot is missing"));
        assert!(message(&"a.".repeat(40)).contains("more than 32"));
    }

    #[test]
    fn pruned_arrays_keep_nulls() {
        let projection = Projection::new(&["stops.zip".to_owned()], &schema()).unwrap();
        let DataType::List(item) = schema().field(2).data_type().clone() else { panic!("stops is a list") };
        let DataType::Struct(fields) = item.data_type().clone() else { panic!("of structs") };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(arrow_array::StringArray::from(vec![Some("x"), None, Some("z")])),
            Arc::new(arrow_array::Int32Array::from(vec![Some(1), Some(2), None])),
        ];
        let items = StructArray::new(fields, columns, Some(vec![true, false, true].into()));
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([2, 0, 1]);
        let list = ListArray::new(item, offsets, Arc::new(items), Some(vec![true, false, true].into()));
        let list: ArrayRef = Arc::new(list);
        let result = projection.apply(|_| list.clone());
        assert_eq!(result[0].data_type(), projection.schema().field(0).data_type());
        assert_eq!(result[0].null_count(), 1);
        let zips = result[0].as_list::<i32>().values().as_struct().clone();
        assert_eq!((zips.num_columns(), zips.null_count(), zips.column(0).null_count()), (1, 1, 1));
    }
}
