//! Avro schemas: read from their JSON with every named type put in its place, so that codecs need no lookups.
//!
//! Only what codecs need is checked here; the schema registry judges schemas when they are registered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::schema::{DataType, Field, NESTING_MAX, TimeUnit};

/// Most types a schema may have once named ones are put in place.
const NODES_MAX: usize = 10_000;

/// A parsed schema of rows: a record.
#[derive(Debug, Clone)]
pub struct AvroSchema {
    pub(super) fields: Vec<AvroField>,
}

#[derive(Debug, Clone)]
pub(super) struct AvroField {
    pub(super) name: String,
    pub(super) avro: Avro,
    /// As JSON, where it is a simple value.
    pub(super) default: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Avro {
    Null,
    Leaf(Wire, Logical),
    Array(Box<Avro>),
    Map(Box<Avro>),
    Record(String, Vec<AvroField>),
    Union(Vec<Avro>),
}

/// How a simple value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wire {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Arc<[String]>),
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    Decimal { precision: u8, scale: u8 },
    Uuid,
    Date,
    Time(TimeUnit),
    Timestamp(TimeUnit),
    Local(TimeUnit),
}

/// Why a schema is no schema of rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AvroSchemaError {
    /// No JSON.
    #[error("the Avro schema is not valid JSON: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// Something that is no Avro type.
    #[error("Avro schema: {found} is not a type")]
    Type {
        /// As written.
        found: String,
    },
    /// A part of a type that is missing or wrong.
    #[error("Avro schema: type {name} needs {needs}")]
    Part {
        /// The type.
        name: String,
        /// What it needs.
        needs: &'static str,
    },
    /// A type that contains itself.
    #[error("Avro schema: type {name} contains itself; recursive schemas cannot be tables")]
    Recursive {
        /// Full name.
        name: String,
    },
    /// Too large.
    #[error("Avro schema: more than {NODES_MAX} types, or nested deeper than 64 levels")]
    TooLarge,
    /// Rows are records.
    #[error("Avro schema: a table needs a record at the top")]
    NotARecord,
    /// A type that no column has.
    #[error("column {column}: {reason}")]
    Column {
        /// Path of the column.
        column: String,
        /// Why.
        reason: &'static str,
    },
}

impl AvroSchema {
    /// Reads the JSON of a schema.
    pub fn parse(json: &str) -> Result<AvroSchema, AvroSchemaError> {
        AvroSchema::parse_with(&[], json)
    }

    /// Reads the JSON of a schema that uses named types of others; each of `references` comes before those that need it.
    pub fn parse_with(references: &[String], json: &str) -> Result<AvroSchema, AvroSchemaError> {
        let read = |json: &str| {
            serde_json::from_str::<Json>(json).map_err(|error| AvroSchemaError::Json { reason: error.to_string() })
        };
        let mut parser = Parser::default();
        for reference in references {
            parser.node(&read(reference)?, "", 0)?;
        }
        match parser.node(&read(json)?, "", 0)? {
            Avro::Record(_, fields) => Ok(AvroSchema { fields }),
            _ => Err(AvroSchemaError::NotARecord),
        }
    }

    /// The columns of a table for such rows (without ids, see [`crate::TableSchema::create`]).
    pub fn columns(&self) -> Result<Vec<Field>, AvroSchemaError> {
        self.fields.iter().map(|field| column("", field, 1)).collect()
    }
}

fn column(path: &str, field: &AvroField, depth: usize) -> Result<Field, AvroSchemaError> {
    let name = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
    let mut column = typed(&name, &field.name, &field.avro, depth)?;
    if column.data_type.children().is_empty() {
        column.default.clone_from(&field.default);
    }
    Ok(column)
}

/// Column `name` for values of type `avro`.
fn typed(path: &str, name: &str, avro: &Avro, depth: usize) -> Result<Field, AvroSchemaError> {
    let fail = |reason| Err(AvroSchemaError::Column { column: path.to_string(), reason });
    if depth > NESTING_MAX {
        return fail("nested too deeply for a table");
    }
    let data_type = match avro {
        Avro::Null => return fail("a column of nothing but null has no type"),
        Avro::Leaf(wire, logical) => leaf_type(wire, *logical),
        Avro::Array(item) => DataType::Array(Box::new(typed(path, "item", item, depth + 1)?)),
        Avro::Map(value) => {
            let key = Field::new("key", DataType::String).not_null();
            DataType::Map(Box::new(key), Box::new(typed(path, "value", value, depth + 1)?))
        }
        Avro::Record(_, fields) => {
            DataType::Row(fields.iter().map(|field| column(path, field, depth + 1)).collect::<Result<_, _>>()?)
        }
        Avro::Union(branches) => {
            let nullable = branches.iter().any(|branch| matches!(branch, Avro::Null));
            let values: Vec<_> = branches.iter().filter(|branch| !matches!(branch, Avro::Null)).collect();
            let mut column = match values.as_slice() {
                [] => return fail("a column of nothing but null has no type"),
                [one] => typed(path, name, one, depth)?,
                many => {
                    let branch = |branch: &&Avro| {
                        let mut member = typed(path, branch.branch_name(), branch, depth + 1)?;
                        (member.nullable, member.default) = (true, None);
                        Ok(member)
                    };
                    Field::new(name, DataType::Row(many.iter().map(branch).collect::<Result<_, _>>()?)).not_null()
                }
            };
            column.nullable |= nullable;
            return Ok(column);
        }
    };
    Ok(Field::new(name, data_type).not_null())
}

fn leaf_type(wire: &Wire, logical: Logical) -> DataType {
    match (logical, wire) {
        (Logical::Decimal { precision, scale }, _) => DataType::Decimal { precision, scale },
        (Logical::Uuid, _) => DataType::Uuid,
        (Logical::Date, _) => DataType::Date,
        (Logical::Time(unit), _) => DataType::Time(unit),
        (Logical::Timestamp(unit), _) => DataType::TimestampLtz(unit),
        (Logical::Local(unit), _) => DataType::Timestamp(unit),
        (Logical::None, Wire::Boolean) => DataType::Boolean,
        (Logical::None, Wire::Int) => DataType::Int,
        (Logical::None, Wire::Long) => DataType::BigInt,
        (Logical::None, Wire::Float) => DataType::Float,
        (Logical::None, Wire::Double) => DataType::Double,
        (Logical::None, Wire::Bytes | Wire::Fixed(_)) => DataType::Bytes,
        (Logical::None, Wire::String | Wire::Enum(_)) => DataType::String,
    }
}

impl Avro {
    /// Name of a union's branch, the column for its values.
    pub(super) fn branch_name(&self) -> &str {
        match self {
            Avro::Null => "null",
            Avro::Array(_) => "array",
            Avro::Map(_) => "map",
            Avro::Record(name, _) => name.rsplit('.').next().unwrap_or(name),
            Avro::Union(_) => "union",
            Avro::Leaf(wire, _) => match wire {
                Wire::Boolean => "boolean",
                Wire::Int => "int",
                Wire::Long => "long",
                Wire::Float => "float",
                Wire::Double => "double",
                Wire::Bytes => "bytes",
                Wire::String => "string",
                Wire::Fixed(_) => "fixed",
                Wire::Enum(_) => "enum",
            },
        }
    }
}

#[derive(Default)]
struct Parser {
    /// `None` while the type is being read.
    named: HashMap<String, Option<Avro>>,
    nodes: usize,
}

impl Parser {
    fn node(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<Avro, AvroSchemaError> {
        self.count(1)?;
        if depth > 64 {
            return Err(AvroSchemaError::TooLarge);
        }
        match json {
            Json::String(name) => self.name(name, namespace),
            Json::Array(branches) => {
                let branch = |branch| match self.node(branch, namespace, depth + 1)? {
                    Avro::Union(_) => Err(part("union", "branches that are not unions themselves")),
                    branch => Ok(branch),
                };
                Ok(Avro::Union(branches.iter().map(branch).collect::<Result<_, _>>()?))
            }
            Json::Object(_) => self.object(json, namespace, depth),
            other => Err(AvroSchemaError::Type { found: shown(other) }),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), AvroSchemaError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX { Err(AvroSchemaError::TooLarge) } else { Ok(()) }
    }

    fn name(&mut self, name: &str, namespace: &str) -> Result<Avro, AvroSchemaError> {
        if let Some(simple) = primitive(name) {
            return Ok(simple);
        }
        let full = full_name(name, namespace);
        let known = self.named.get(&full).or_else(|| self.named.get(name)).cloned();
        match known {
            Some(Some(avro)) => {
                self.count(size(&avro))?;
                Ok(avro)
            }
            Some(None) => Err(AvroSchemaError::Recursive { name: full }),
            None => Err(AvroSchemaError::Type { found: name.chars().take(80).collect() }),
        }
    }

    fn object(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<Avro, AvroSchemaError> {
        let kind = match &json["type"] {
            Json::String(kind) => kind.as_str(),
            nested @ (Json::Object(_) | Json::Array(_)) => return self.node(nested, namespace, depth + 1),
            other => return Err(AvroSchemaError::Type { found: shown(other) }),
        };
        match kind {
            "array" => Ok(Avro::Array(Box::new(self.node(&json["items"], namespace, depth + 1)?))),
            "map" => Ok(Avro::Map(Box::new(self.node(&json["values"], namespace, depth + 1)?))),
            "record" | "error" | "enum" | "fixed" => self.define(kind, json, namespace, depth),
            simple => match self.name(simple, namespace)? {
                Avro::Leaf(wire, Logical::None) => Ok(with_logical(wire, json)),
                other => Ok(other),
            },
        }
    }

    /// A named type.
    fn define(&mut self, kind: &str, json: &Json, namespace: &str, depth: usize) -> Result<Avro, AvroSchemaError> {
        let name = json["name"].as_str().ok_or_else(|| part(kind, "a name"))?;
        let namespace = json["namespace"].as_str().unwrap_or(namespace);
        let full = full_name(name, namespace);
        let namespace = full.rsplit_once('.').map_or("", |(space, _)| space);
        self.named.insert(full.clone(), None);
        let avro = match kind {
            "enum" => {
                let symbols = json["symbols"].as_array().ok_or_else(|| part(&full, "symbols"))?;
                let symbols =
                    symbols.iter().map(|symbol| symbol.as_str().map(str::to_string)).collect::<Option<Vec<_>>>();
                let symbols = symbols.ok_or_else(|| part(&full, "symbols that are strings"))?;
                if symbols.iter().collect::<HashSet<_>>().len() < symbols.len() {
                    return Err(part(&full, "symbols that differ"));
                }
                Avro::Leaf(Wire::Enum(symbols.into()), Logical::None)
            }
            "fixed" => {
                let size = json["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                let size =
                    size.filter(|size| *size <= 1 << 20).ok_or_else(|| part(&full, "a size of at most 1 MiB"))?;
                with_logical(Wire::Fixed(size), json)
            }
            _ => {
                let fields = json["fields"].as_array().ok_or_else(|| part(&full, "fields"))?;
                let fields = fields.iter().map(|field| self.field(field, &full, namespace, depth));
                let fields = fields.collect::<Result<Vec<_>, _>>()?;
                if fields.iter().map(|field| &field.name).collect::<HashSet<_>>().len() < fields.len() {
                    return Err(part(&full, "fields with different names"));
                }
                Avro::Record(full.clone(), fields)
            }
        };
        self.named.insert(full, Some(avro.clone()));
        Ok(avro)
    }

    fn field(
        &mut self,
        json: &Json,
        record: &str,
        namespace: &str,
        depth: usize,
    ) -> Result<AvroField, AvroSchemaError> {
        let name = json["name"].as_str().ok_or_else(|| part(record, "a name for each field"))?.to_string();
        let avro = self.node(&json["type"], namespace, depth + 1)?;
        // Bytes have defaults in a spelling of their own; dates and the like are numbers there and texts here.
        let plain = matches!(
            &avro,
            Avro::Leaf(
                Wire::Boolean | Wire::Int | Wire::Long | Wire::Float | Wire::Double | Wire::String | Wire::Enum(_),
                Logical::None
            )
        );
        let default = json.get("default").filter(|default| plain && !default.is_null()).map(Json::to_string);
        Ok(AvroField { name, avro, default })
    }
}

fn part(name: &str, needs: &'static str) -> AvroSchemaError {
    AvroSchemaError::Part { name: name.chars().take(80).collect(), needs }
}

fn shown(json: &Json) -> String {
    json.to_string().chars().take(80).collect()
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_string() } else { format!("{namespace}.{name}") }
}

/// Types in `avro`; long names count too, because they are copied wherever the type is put.
fn size(avro: &Avro) -> usize {
    1 + match avro {
        Avro::Array(inner) | Avro::Map(inner) => size(inner),
        Avro::Record(name, fields) => {
            let field = |field: &AvroField| {
                field.name.len() / 32 + field.default.as_ref().map_or(0, |text| text.len() / 32) + size(&field.avro)
            };
            name.len() / 32 + fields.iter().map(field).sum::<usize>()
        }
        Avro::Union(branches) => branches.iter().map(size).sum(),
        Avro::Null | Avro::Leaf(..) => 0,
    }
}

fn primitive(name: &str) -> Option<Avro> {
    let wire = match name {
        "null" => return Some(Avro::Null),
        "boolean" => Wire::Boolean,
        "int" => Wire::Int,
        "long" => Wire::Long,
        "float" => Wire::Float,
        "double" => Wire::Double,
        "bytes" => Wire::Bytes,
        "string" => Wire::String,
        _ => return None,
    };
    Some(Avro::Leaf(wire, Logical::None))
}

/// Logical types that do not fit their type are ignored, as Avro's specification has it.
fn with_logical(wire: Wire, json: &Json) -> Avro {
    let number = |key: &str| json[key].as_u64().and_then(|number| u8::try_from(number).ok());
    let logical = match (json["logicalType"].as_str().unwrap_or_default(), &wire) {
        ("decimal", Wire::Bytes | Wire::Fixed(_)) => {
            let (precision, scale) = (number("precision").unwrap_or(0), number("scale").unwrap_or(0));
            if (1..=38).contains(&precision) && scale <= precision {
                Logical::Decimal { precision, scale }
            } else {
                Logical::None
            }
        }
        ("uuid", Wire::String | Wire::Fixed(16)) => Logical::Uuid,
        ("date", Wire::Int) => Logical::Date,
        ("time-millis", Wire::Int) => Logical::Time(TimeUnit::Millis),
        ("time-micros", Wire::Long) => Logical::Time(TimeUnit::Micros),
        ("timestamp-millis", Wire::Long) => Logical::Timestamp(TimeUnit::Millis),
        ("timestamp-micros", Wire::Long) => Logical::Timestamp(TimeUnit::Micros),
        ("local-timestamp-millis", Wire::Long) => Logical::Local(TimeUnit::Millis),
        ("local-timestamp-micros", Wire::Long) => Logical::Local(TimeUnit::Micros),
        _ => Logical::None,
    };
    Avro::Leaf(wire, logical)
}
