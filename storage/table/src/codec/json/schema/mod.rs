//! JSON Schemas as tables: the columns of the objects that a schema describes.
//!
//! | JSON Schema | column |
//! |---|---|
//! | `boolean` | BOOLEAN |
//! | `integer` | BIGINT; INT with `"format": "int32"`; what `connect.type` says (`int8` to `int64`) |
//! | `number` | DOUBLE; FLOAT with `"format": "float"` or `connect.type` `float32` |
//! | `string` | STRING; DATE, TIMESTAMP_LTZ(6) and UUID with the formats `date`, `date-time` and `uuid`; BYTES with `"contentEncoding": "base64"` or `connect.type` `bytes` |
//! | `array` with one schema of items | ARRAY |
//! | `object` with `properties` | ROW |
//! | `object` with nothing but `additionalProperties` (or one pattern) | MAP |
//! | values of several types, tuples, objects of any members, `true` | JSON: any value, as it was written |
//! | one type and `null` (`type`, `oneOf`, `anyOf`) | the type's column, nullable |
//!
//! A property is NOT NULL if it is `required` and cannot be null. `allOf` adds up. What only constrains values (`enum`, `pattern`,
//! `minimum`, `if`, `not`, ...) makes no column and is not checked when rows are produced: serializers do that. A schema that
//! contains itself, or that does not describe one object, is no table. Nothing is ever fetched: a `$ref` leads into the schema
//! or into one of its registered references.

mod document;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use crate::schema::{DEFAULT_LEN_MAX, DataType, Field, NAME_LEN_MAX, TimeUnit};
use document::{Documents, Node, Place};

/// Most schemas that are looked at, each as often as something refers to it.
const NODES_MAX: usize = 10_000;
/// Deepest nesting of schemas, references and alternatives included.
const LEVELS_MAX: usize = 100;
/// Bytes of a column's path in messages.
const SHOWN_MAX: usize = 200;

/// A parsed schema of rows.
#[derive(Debug, Clone)]
pub struct JsonSchema {
    documents: Documents,
}

/// Why a schema is no schema of rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonSchemaError {
    /// No JSON.
    #[error("the JSON Schema is not valid JSON: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// Rows are objects.
    #[error(
        "JSON Schema: a table needs one object with `properties` at the top, this schema describes {found}; give the columns with weir.table.schema instead"
    )]
    NotAnObject {
        /// What it describes.
        found: String,
    },
    /// A reference that leads nowhere.
    #[error(
        "JSON Schema: column {column}: `$ref` \"{reference}\" leads into no schema that is registered with this one"
    )]
    Reference {
        /// Path of the column.
        column: String,
        /// As written.
        reference: String,
    },
    /// A schema that contains itself.
    #[error("JSON Schema: column {column}: \"{reference}\" contains itself; recursive schemas cannot be tables")]
    Recursive {
        /// Path of the column.
        column: String,
        /// The reference that leads back.
        reference: String,
    },
    /// A value that no column holds.
    #[error("JSON Schema: column {column}: {reason}")]
    Column {
        /// Path of the column.
        column: String,
        /// Why.
        reason: String,
    },
    /// Too large.
    #[error(
        "JSON Schema: more than {NODES_MAX} schemas (each counts as often as it is referred to), or nested deeper than {LEVELS_MAX} levels"
    )]
    TooLarge,
}

impl JsonSchema {
    /// Reads the text of a schema.
    pub fn parse(json: &str) -> Result<JsonSchema, JsonSchemaError> {
        JsonSchema::parse_with(&[], json)
    }

    /// Reads the text of a schema that refers to others, given by name and text.
    pub fn parse_with(references: &[(String, String)], json: &str) -> Result<JsonSchema, JsonSchemaError> {
        let documents = Documents::parse(references, json);
        let documents = documents.map_err(|error| JsonSchemaError::Json { reason: error.to_string() })?;
        Ok(JsonSchema { documents })
    }

    /// The columns of a table for such rows (without ids, see [`crate::TableSchema::create`]).
    pub fn columns(&self) -> Result<Vec<Field>, JsonSchemaError> {
        let mut reader = Reader { documents: &self.documents, open: Vec::new(), nodes: 0, level: 0 };
        let root = self.documents.root();
        reader.open.push(root.node);
        match reader.shape("", root)?.values {
            Values::Of(DataType::Row(columns)) => Ok(columns),
            Values::Of(DataType::Json) | Values::Any => {
                not_an_object("values of several types, or objects of any members")
            }
            Values::Of(other) => not_an_object(&format!("values of {other}")),
            Values::Null => not_an_object("nothing but null"),
        }
    }
}

fn not_an_object<T>(found: &str) -> Result<T, JsonSchemaError> {
    Err(JsonSchemaError::NotAnObject { found: shown(found) })
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

fn refused<T>(path: &str, reason: impl Into<String>) -> Result<T, JsonSchemaError> {
    let column = if path.is_empty() { "(all)".to_owned() } else { shown(path) };
    Err(JsonSchemaError::Column { column, reason: reason.into() })
}

/// What a schema says of its values.
#[derive(Debug, Clone)]
struct Shape {
    values: Values,
    /// Whether null is one of them.
    nullable: bool,
}

#[derive(Debug, Clone)]
enum Values {
    /// Nothing but null.
    Null,
    /// It says nothing of their type.
    Any,
    Of(DataType),
}

impl Shape {
    const ANY: Shape = Shape { values: Values::Any, nullable: true };

    /// The column for such values.
    fn column(self, path: &str, name: &str) -> Result<Field, JsonSchemaError> {
        let data_type = match self.values {
            Values::Null => return refused(path, "a column of nothing but null has no type"),
            Values::Any => DataType::Json,
            Values::Of(data_type) => data_type,
        };
        Ok(Field { nullable: self.nullable, ..Field::new(name, data_type) })
    }
}

/// Walks a schema; every step is counted, because references can say much with little.
struct Reader<'a> {
    documents: &'a Documents,
    /// What references led to, and is being read.
    open: Vec<&'a Node>,
    nodes: usize,
    level: usize,
}

impl<'a> Reader<'a> {
    fn shape(&mut self, path: &str, place: Place<'a>) -> Result<Shape, JsonSchemaError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || self.level >= LEVELS_MAX {
            return Err(JsonSchemaError::TooLarge);
        }
        match place.node {
            Node::Bool(true) => return Ok(Shape::ANY),
            Node::Bool(false) => return refused(path, "its schema is `false`, under which no value is valid"),
            Node::Object(_) => {}
            _ => return refused(path, "its schema is neither an object nor a boolean"),
        }
        self.level += 1;
        let reference = ["$ref", "$dynamicRef", "$recursiveRef"].iter().find_map(|key| place.node.text(key));
        let shape = match reference {
            Some(reference) => self.referred(path, place, reference),
            None => self.composed(path, place),
        };
        self.level -= 1;
        shape
    }

    fn referred(&mut self, path: &str, place: Place<'a>, reference: &str) -> Result<Shape, JsonSchemaError> {
        let target = self.documents.resolve(place.document, reference);
        let (column, reference) = (shown(path), shown(reference));
        let Some(target) = target else {
            return Err(JsonSchemaError::Reference { column, reference });
        };
        if self.open.iter().any(|open| std::ptr::eq(*open, target.node)) {
            return Err(JsonSchemaError::Recursive { column, reference });
        }
        self.open.push(target.node);
        let shape = self.shape(path, target);
        self.open.pop();
        shape
    }

    /// What the schema itself says (or else the one of its alternatives), and `allOf` in addition.
    fn composed(&mut self, path: &str, place: Place<'a>) -> Result<Shape, JsonSchemaError> {
        let mut shape = self.own(path, place)?;
        if matches!(shape.values, Values::Any) {
            for key in ["oneOf", "anyOf"] {
                if let Some(branches) = place.node.list(key) {
                    let alternatives = self.union(path, place, branches)?;
                    shape = both(path, shape, alternatives)?;
                }
            }
        }
        for part in place.node.list("allOf").unwrap_or_default() {
            let part = self.shape(path, Place { node: part, ..place })?;
            shape = both(path, shape, part)?;
        }
        Ok(shape)
    }

    /// What `type` says, or what follows from the values or members that are listed.
    fn own(&mut self, path: &str, place: Place<'a>) -> Result<Shape, JsonSchemaError> {
        let mut types: Vec<&str> = match place.node.get("type") {
            Some(Node::Text(one)) => vec![one.as_str()],
            Some(Node::List(many)) => many.iter().filter_map(Node::as_text).collect(),
            _ => implied(place.node),
        };
        if types.is_empty() {
            return Ok(Shape::ANY);
        }
        let nullable = types.contains(&"null");
        types.retain(|name| *name != "null");
        if types.contains(&"number") {
            types.retain(|name| *name != "integer");
        }
        types.dedup();
        let values = match types.as_slice() {
            [] => Values::Null,
            [one] => Values::Of(self.of_type(path, place, one)?),
            _ => Values::Of(DataType::Json),
        };
        Ok(Shape { values, nullable })
    }

    fn of_type(&mut self, path: &str, place: Place<'a>, name: &str) -> Result<DataType, JsonSchemaError> {
        let node = place.node;
        let (format, connect) =
            (node.text("format").unwrap_or_default(), node.text("connect.type").unwrap_or_default());
        Ok(match name {
            "boolean" => DataType::Boolean,
            "integer" => match (connect, format) {
                ("int8", _) => DataType::TinyInt,
                ("int16", _) => DataType::SmallInt,
                ("int32", _) | ("", "int32") => DataType::Int,
                _ => DataType::BigInt,
            },
            "number" => match (connect, format) {
                ("float32", _) | ("", "float") => DataType::Float,
                _ => DataType::Double,
            },
            "string" if connect == "bytes" || node.text("contentEncoding") == Some("base64") => DataType::Bytes,
            "string" => match format {
                "date" => DataType::Date,
                "date-time" => DataType::TimestampLtz(TimeUnit::Micros),
                "uuid" => DataType::Uuid,
                _ => DataType::String,
            },
            "array" => self.array(path, place)?,
            "object" => self.object(path, place)?,
            other => return refused(path, format!("`{}` is no type of JSON", shown(other))),
        })
    }

    fn array(&mut self, path: &str, place: Place<'a>) -> Result<DataType, JsonSchemaError> {
        let items = match place.node.get("items") {
            // A list of schemas is a tuple.
            Some(Node::List(_)) => return Ok(DataType::Json),
            _ if place.node.get("prefixItems").is_some() => return Ok(DataType::Json),
            Some(items) => self.shape(path, Place { node: items, ..place })?,
            None => Shape::ANY,
        };
        Ok(DataType::Array(Box::new(items.column(path, "item")?)))
    }

    fn object(&mut self, path: &str, place: Place<'a>) -> Result<DataType, JsonSchemaError> {
        let properties = place.node.get("properties").map_or(&[][..], Node::members);
        if !properties.is_empty() {
            let required = place.node.list("required").unwrap_or_default();
            let required: HashSet<&str> = required.iter().filter_map(Node::as_text).collect();
            let member = |(name, node): &'a (String, Node)| {
                self.property(path, name, Place { node, ..place }, required.contains(name.as_str()))
            };
            return properties.iter().map(member).collect::<Result<_, _>>().map(DataType::Row);
        }
        let patterns = place.node.get("patternProperties").map_or(&[][..], Node::members);
        let node = match (place.node.get("additionalProperties"), patterns) {
            (Some(node @ Node::Object(_)), []) | (Some(Node::Bool(false)), [(_, node)]) => node,
            _ => return Ok(DataType::Json),
        };
        let value = self.shape(path, Place { node, ..place })?.column(path, "value")?;
        Ok(DataType::Map(Box::new(Field::new("key", DataType::String).not_null()), Box::new(value)))
    }

    fn property(&mut self, path: &str, name: &str, place: Place<'a>, required: bool) -> Result<Field, JsonSchemaError> {
        if name.len() > NAME_LEN_MAX {
            return refused(path, format!("a property's name is longer than {NAME_LEN_MAX} bytes: {}", shown(name)));
        }
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut column = self.shape(&path, place)?.column(&path, name)?;
        column.nullable |= !required;
        column.default = default(place.node, &column.data_type);
        if column.default.as_ref().is_some_and(|text| text.len() > DEFAULT_LEN_MAX) {
            return refused(&path, format!("its default is longer than {DEFAULT_LEN_MAX} bytes"));
        }
        Ok(column)
    }

    /// Any of `branches`: one type and null are that type, several types are JSON.
    fn union(&mut self, path: &str, place: Place<'a>, branches: &'a [Node]) -> Result<Shape, JsonSchemaError> {
        let (mut types, mut nullable) = (Vec::new(), false);
        for node in branches {
            let branch = self.shape(path, Place { node, ..place })?;
            nullable |= branch.nullable;
            let data_type = match branch.values {
                Values::Null => continue,
                // An alternative that only constrains says nothing of types, so neither do all together.
                Values::Any => return Ok(Shape::ANY),
                Values::Of(data_type) => data_type,
            };
            if !types.contains(&data_type) {
                types.push(data_type);
            }
        }
        let values = match (types.pop(), types.is_empty()) {
            (None, _) => Values::Null,
            (Some(one), true) => Values::Of(one),
            _ => Values::Of(DataType::Json),
        };
        Ok(Shape { values, nullable })
    }
}

/// The types of a schema without `type`.
fn implied(node: &Node) -> Vec<&'static str> {
    let one = node.get("const").map(std::slice::from_ref);
    if let Some(values) = one.or_else(|| node.list("enum")) {
        let mut types: Vec<_> = values.iter().map(type_of).collect();
        types.sort_unstable();
        types.dedup();
        return types;
    }
    if node.get("properties").is_some() {
        return vec!["object"];
    }
    if node.get("items").is_some_and(|items| *items != Node::Bool(true)) {
        return vec!["array"];
    }
    Vec::new()
}

fn type_of(value: &Node) -> &'static str {
    match value {
        Node::Null => "null",
        Node::Bool(_) => "boolean",
        Node::Number(number) if number.is_f64() => "number",
        Node::Number(_) => "integer",
        Node::Text(_) => "string",
        Node::List(_) => "array",
        Node::Object(_) => "object",
    }
}

/// Values that both shapes take.
fn both(path: &str, a: Shape, b: Shape) -> Result<Shape, JsonSchemaError> {
    let nullable = a.nullable && b.nullable;
    let values = match (a.values, b.values) {
        (Values::Any, other) | (other, Values::Any) => other,
        (Values::Of(DataType::Json), other) | (other, Values::Of(DataType::Json)) => other,
        (Values::Null, Values::Null) => Values::Null,
        (Values::Of(DataType::Row(a)), Values::Of(DataType::Row(b))) => Values::Of(DataType::Row(members(path, a, b)?)),
        (Values::Of(a), Values::Of(b)) if a == b => Values::Of(a),
        (Values::Of(a), Values::Of(b)) => return refused(path, format!("`allOf` gives it two types, {a} and {b}")),
        (Values::Null, _) | (_, Values::Null) => return refused(path, "`allOf` leaves no value but null"),
    };
    Ok(Shape { values, nullable })
}

/// The members of two objects that are one.
fn members(path: &str, mut all: Vec<Field>, more: Vec<Field>) -> Result<Vec<Field>, JsonSchemaError> {
    let known: HashMap<String, usize> = all.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
    for field in more {
        let Some(at) = known.get(&field.name) else {
            all.push(field);
            continue;
        };
        let name = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        let shape = |field: Field| Shape { values: Values::Of(field.data_type), nullable: field.nullable };
        let default = all[*at].default.take().or_else(|| field.default.clone());
        let merged = both(&name, shape(all[*at].clone()), shape(field))?;
        let merged = merged.column(&name, &all[*at].name)?;
        all[*at] = Field { default, ..merged };
    }
    Ok(all)
}

/// The `default` of a property as a column has it: JSON text, of simple values only.
fn default(node: &Node, data_type: &DataType) -> Option<String> {
    use DataType::{BigInt, Boolean, Double, Float, Int, SmallInt, String as Text, TinyInt};
    match (data_type, node.get("default")?) {
        (Boolean, Node::Bool(value)) => Some(value.to_string()),
        (TinyInt | SmallInt | Int | BigInt | Float | Double, Node::Number(number)) => Some(number.to_string()),
        (Text, Node::Text(text)) => serde_json::to_string(text).ok(),
        _ => None,
    }
}
