//! The schema of a view of Avro rows: its source's, without the fields that the view does not show.
//!
//! Named types are written out where they come up first, since the field that defines one in the source may be left out.
//! A record of which only some fields are shown gets a name of its own, unless it is the row itself. Bounded by the
//! registry's own checks of the source's schema; names that refer to themselves were refused with it.
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use weir_table::DataType;
use weir_table::table::WriterSchema;
use weir_table::{Field, TableSchema};

/// Levels of a schema; the registry allows fewer.
const DEPTH_MAX: usize = 128;

/// The text of the schema of `columns`, a part of the columns of the source. The error is for people.
pub fn derive(writer: &WriterSchema, columns: &TableSchema) -> Result<String, String> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let row = parse(&writer.text)?;
    let mut definitions = HashMap::new();
    for (_, text) in &writer.references {
        collect(&parse(text)?, "", &mut definitions, 0)?;
    }
    collect(&row, "", &mut definitions, 0)?;
    let mut out = Derivation { definitions, written: HashSet::new(), pruned: 0 };
    let shown: Vec<&Field> = columns.fields.iter().filter(|column| !columns.key_columns.contains(&column.id)).collect();
    let Value::Object(record) = &row else { return Err("the source's schema is no record".to_owned()) };
    let namespace = namespace_of(record, "");
    let fields = out.fields(record, &namespace, &shown, 0)?;
    if let Some(missing) = shown.iter().find(|column| !fields.iter().any(|field| field["name"] == column.name.as_str()))
    {
        return Err(format!("column {} is no field of the source's newest schema", missing.name));
    }
    let mut record = record.clone();
    record.insert("fields".to_owned(), Value::Array(fields));
    Ok(Value::Object(record).to_string())
}

fn namespace_of(named: &Map<String, Value>, around: &str) -> String {
    let name = named.get("name").and_then(Value::as_str).unwrap_or_default();
    match (name.rsplit_once('.'), named.get("namespace").and_then(Value::as_str)) {
        (Some((namespace, _)), _) => namespace.to_owned(),
        (None, Some(namespace)) => namespace.to_owned(),
        (None, None) => around.to_owned(),
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

fn is_named(kind: &str) -> bool {
    matches!(kind, "record" | "error" | "enum" | "fixed")
}

/// Every named type with the namespace that names inside of it are relative to.
fn collect(
    schema: &Value,
    around: &str,
    out: &mut HashMap<String, (Value, String)>,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("the source's schema is too deep".to_owned());
    }
    match schema {
        Value::Array(branches) => branches.iter().try_for_each(|branch| collect(branch, around, out, depth + 1)),
        Value::Object(object) => {
            let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
            let mut inner = around.to_owned();
            if is_named(kind) {
                inner = namespace_of(object, around);
                let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
                out.insert(full_name(name, &inner), (schema.clone(), around.to_owned()));
            }
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                collect(&field["type"], &inner, out, depth + 1)?;
            }
            let parts = ["type", "items", "values"].into_iter().filter_map(|part| object.get(part));
            parts.filter(|part| !part.is_string()).try_for_each(|part| collect(part, &inner, out, depth + 1))
        }
        _ => Ok(()),
    }
}

struct Derivation {
    definitions: HashMap<String, (Value, String)>,
    written: HashSet<String>,
    /// Records so far of which only a part is shown.
    pruned: usize,
}

impl Derivation {
    /// The fields of a record that are shown, as they are, apart from what is left out inside of them.
    fn fields(
        &mut self,
        record: &Map<String, Value>,
        namespace: &str,
        shown: &[&Field],
        depth: usize,
    ) -> Result<Vec<Value>, String> {
        let mut fields = Vec::new();
        for field in record.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let Some(column) = shown.iter().find(|column| field["name"] == column.name.as_str()) else { continue };
            let mut field = field.clone();
            field["type"] = self.schema(&field["type"], namespace, Some(&column.data_type), depth + 1)?;
            fields.push(field);
        }
        Ok(fields)
    }

    fn schema(
        &mut self,
        schema: &Value,
        around: &str,
        shown: Option<&DataType>,
        depth: usize,
    ) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err("the source's schema is too deep".to_owned());
        }
        match schema {
            Value::String(name) => self.by_name(name, around, shown, depth),
            Value::Array(branches) => {
                // More than one branch besides null is a row of its branches, which are shown all together.
                let values = branches.iter().filter(|branch| *branch != "null").count();
                let shown = shown.filter(|_| values == 1);
                let branches = branches.iter().map(|branch| self.schema(branch, around, shown, depth + 1));
                Ok(Value::Array(branches.collect::<Result<_, _>>()?))
            }
            Value::Object(object) => self.object(object, around, shown, depth),
            _ => Err("the source's schema is not one".to_owned()),
        }
    }

    fn by_name(&mut self, name: &str, around: &str, shown: Option<&DataType>, depth: usize) -> Result<Value, String> {
        let full = full_name(name, around);
        let known = self.definitions.get(&full).or_else(|| self.definitions.get(name));
        match known.cloned() {
            Some((definition, around)) => self.schema(&definition, &around, shown, depth + 1),
            // A primitive type.
            None => Ok(Value::String(name.to_owned())),
        }
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        around: &str,
        shown: Option<&DataType>,
        depth: usize,
    ) -> Result<Value, String> {
        let mut out = object.clone();
        let Some(kind) = object.get("type").and_then(Value::as_str) else {
            let inner = object.get("type").unwrap_or(&Value::Null);
            return self.schema(inner, around, shown, depth + 1);
        };
        match (kind, shown) {
            ("array", shown) => {
                let item = match shown {
                    Some(DataType::Array(item)) => Some(&item.data_type),
                    _ => None,
                };
                out.insert("items".to_owned(), self.schema(&object["items"], around, item, depth + 1)?);
            }
            ("map", _) => {
                out.insert("values".to_owned(), self.schema(&object["values"], around, None, depth + 1)?);
            }
            (kind, shown) if is_named(kind) => return self.named(object, around, shown, depth),
            (name, _) if self.definitions.contains_key(&full_name(name, around)) => {
                return self.by_name(name, around, shown, depth);
            }
            _ => {}
        }
        Ok(Value::Object(out))
    }

    fn named(
        &mut self,
        object: &Map<String, Value>,
        around: &str,
        shown: Option<&DataType>,
        depth: usize,
    ) -> Result<Value, String> {
        let namespace = namespace_of(object, around);
        let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
        let short = name.rsplit_once('.').map_or(name, |(_, short)| short);
        let full = full_name(short, &namespace);
        let all = object.get("fields").and_then(Value::as_array);
        let part = match (all, shown) {
            (Some(all), Some(DataType::Row(members))) if members.len() < all.len() => Some(members),
            _ => None,
        };
        if part.is_none() && !self.written.insert(full.clone()) {
            return Ok(Value::String(full));
        }
        let mut out = object.clone();
        if all.is_some() {
            let fields = match (part, shown) {
                (Some(members), _) | (None, Some(DataType::Row(members))) => {
                    self.fields(object, &namespace, &members.iter().collect::<Vec<_>>(), depth)?
                }
                _ => self.all_fields(object, &namespace, depth)?,
            };
            out.insert("fields".to_owned(), Value::Array(fields));
        }
        let name = match part {
            Some(_) => {
                self.pruned += 1;
                format!("{short}_part{}", self.pruned)
            }
            None => short.to_owned(),
        };
        out.insert("name".to_owned(), Value::String(name));
        out.remove("namespace");
        if !namespace.is_empty() {
            out.insert("namespace".to_owned(), Value::String(namespace));
        }
        Ok(Value::Object(out))
    }

    fn all_fields(&mut self, record: &Map<String, Value>, namespace: &str, depth: usize) -> Result<Vec<Value>, String> {
        let mut fields = Vec::new();
        for field in record.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let mut field = field.clone();
            field["type"] = self.schema(&field["type"], namespace, None, depth + 1)?;
            fields.push(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use weir_table::codec::avro::AvroSchema;

    use super::*;

    const ORDERS: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"id","type":"long"},
        {"name":"from","type":{"type":"record","name":"Place","fields":[
            {"name":"city","type":"string"},{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}}]}},
        {"name":"to","type":["null","Place"],"default":null},
        {"name":"stops","type":{"type":"array","items":"Place"}},
        {"name":"kind","type":"Kind"},
        {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}}]}"#;

    /// The derived schema of some of the columns; nested ones by their first member only.
    fn derived(names: &[&str], first_member: bool) -> Value {
        let writer = WriterSchema { id: Some(1), text: ORDERS.to_owned(), references: Vec::new() };
        let columns = AvroSchema::parse_with(&[], ORDERS).unwrap().columns().unwrap();
        let mut table = TableSchema::create(columns, &[]).unwrap();
        table.fields.retain(|field| names.contains(&field.name.as_str()));
        for field in table.fields.iter_mut().filter(|_| first_member) {
            if let DataType::Row(members) = &mut field.data_type {
                members.truncate(1);
            }
        }
        let text = derive(&writer, &table).unwrap();
        let back = AvroSchema::parse_with(&[], &text).unwrap().columns().unwrap();
        let back: Vec<_> = back.into_iter().map(|field| (field.name, field.data_type.to_string())).collect();
        let expected: Vec<_> =
            table.fields.iter().map(|field| (field.name.clone(), field.data_type.to_string())).collect();
        assert_eq!(back, expected, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_named_type_is_defined_where_it_comes_up_first() {
        let schema = derived(&["id", "to", "kind"], false);
        assert_eq!(schema["name"], "Order");
        assert_eq!(schema["fields"][1]["type"][1]["fields"][1]["type"]["symbols"][1], "B");
        assert_eq!(schema["fields"][2]["type"], "shop.Kind", "known by then");
        assert_eq!(schema["fields"][1]["default"], Value::Null);
    }

    #[test]
    fn a_record_that_is_shown_in_part_does_not_take_the_name_of_the_whole() {
        let schema = derived(&["from", "to", "stops"], true);
        assert_eq!(schema["fields"][0]["type"]["name"], "Place_part1");
        assert_eq!(schema["fields"][1]["type"][1]["name"], "Place_part2");
        assert_eq!(schema["fields"][2]["type"]["items"]["name"], "Place", "the array's items are whole");
    }

    #[test]
    fn a_column_that_the_newest_schema_does_not_have_is_an_error() {
        let writer = WriterSchema {
            id: None,
            text: r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#.to_owned(),
            references: Vec::new(),
        };
        let table = TableSchema::create(AvroSchema::parse_with(&[], ORDERS).unwrap().columns().unwrap(), &[]).unwrap();
        assert!(derive(&writer, &table).unwrap_err().contains("column id is no field"));
    }
}
