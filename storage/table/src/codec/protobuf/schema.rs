//! Messages with every type put in its place, so that codecs need no lookups and a column segment can keep them.

use serde::{Deserialize, Serialize};

use crate::schema::{DataType, Field, NESTING_MAX, TimeUnit};

/// Most fields a schema may have once messages are put in place.
pub(super) const NODES_MAX: usize = 10_000;

/// The message of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtoSchema {
    pub(super) message: Message,
}

/// A message; its fields by ascending number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) fields: Vec<ProtoField>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProtoField {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) label: Label,
    #[serde(rename = "type")]
    pub(super) kind: Type,
}

/// How often a field is there, and what it means that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Label {
    /// Not there: zero.
    Implicit,
    /// Not there: null.
    Explicit,
    /// proto2: always there.
    Required,
    /// One of the fields with this number is there at most.
    Oneof(u32),
    /// Any number of times.
    Repeated {
        /// All values in one.
        packed: bool,
    },
    /// Any number of entries with a string as key; `kind` is their value's.
    Map,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Type {
    Leaf(Wire),
    Message(Message),
    /// A message of Google's that is a simple value here.
    Known(Known),
    /// `google.protobuf.Int64Value` and so on: a value that may be null.
    Wrapper(Wire),
}

/// How a simple value is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wire {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    /// Numbers and names, by ascending number; the first name of a number.
    Enum(Vec<(i32, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Known {
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `google.type.Date`
    Date,
    /// `google.type.TimeOfDay`
    TimeOfDay,
    /// `google.protobuf.Struct`
    Struct,
    /// `google.protobuf.Value`
    Value,
    /// `google.protobuf.ListValue`
    List,
}

/// Why a schema is no schema of rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoSchemaError {
    /// No compiled file.
    #[error("the Protobuf schema cannot be read: {reason}")]
    Descriptor {
        /// What the reader says.
        reason: String,
    },
    /// No message is there.
    #[error("Protobuf schema: the file has no message number {indexes:?}")]
    NoMessage {
        /// Index of the message, then of messages inside.
        indexes: Vec<i32>,
    },
    /// A message that contains itself.
    #[error("Protobuf schema: message {name} contains itself; recursive schemas cannot be tables")]
    Recursive {
        /// Full name.
        name: String,
    },
    /// Too large.
    #[error("Protobuf schema: more than {NODES_MAX} fields, or nested deeper than {NESTING_MAX} levels")]
    TooLarge,
    /// A type that no column has.
    #[error("column {column}: {reason}")]
    Column {
        /// Path of the column.
        column: String,
        /// Why.
        reason: &'static str,
    },
}

impl Wire {
    /// Number of the wire type in a tag.
    pub(super) fn wire_type(&self) -> u8 {
        match self {
            Wire::Double | Wire::Fixed64 | Wire::Sfixed64 => 1,
            Wire::Float | Wire::Fixed32 | Wire::Sfixed32 => 5,
            Wire::String | Wire::Bytes => 2,
            _ => 0,
        }
    }

    /// Its name in a `.proto` file.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Wire::Double => "double",
            Wire::Float => "float",
            Wire::Int32 => "int32",
            Wire::Int64 => "int64",
            Wire::Uint32 => "uint32",
            Wire::Uint64 => "uint64",
            Wire::Sint32 => "sint32",
            Wire::Sint64 => "sint64",
            Wire::Fixed32 => "fixed32",
            Wire::Fixed64 => "fixed64",
            Wire::Sfixed32 => "sfixed32",
            Wire::Sfixed64 => "sfixed64",
            Wire::Bool => "bool",
            Wire::String => "string",
            Wire::Bytes => "bytes",
            Wire::Enum(_) => "enum",
        }
    }

    fn column_type(&self) -> DataType {
        match self {
            Wire::Double => DataType::Double,
            Wire::Float => DataType::Float,
            Wire::Int32 | Wire::Sint32 | Wire::Sfixed32 => DataType::Int,
            Wire::Int64 | Wire::Sint64 | Wire::Sfixed64 | Wire::Uint32 | Wire::Fixed32 => DataType::BigInt,
            Wire::Uint64 | Wire::Fixed64 => DataType::Decimal { precision: 20, scale: 0 },
            Wire::Bool => DataType::Boolean,
            Wire::String | Wire::Enum(_) => DataType::String,
            Wire::Bytes => DataType::Bytes,
        }
    }

    /// The value that is not written under implicit presence, as JSON.
    fn zero(&self) -> String {
        match self {
            Wire::Bool => "false".into(),
            Wire::String | Wire::Bytes => "\"\"".into(),
            Wire::Enum(symbols) => {
                let first = symbols.iter().find(|(number, _)| *number == 0).map_or("", |(_, name)| name);
                // Serialising a string cannot fail.
                serde_json::to_string(first).unwrap_or_default()
            }
            _ => "0".into(),
        }
    }
}

impl Known {
    fn column_type(self) -> DataType {
        match self {
            Known::Timestamp => DataType::TimestampLtz(TimeUnit::Micros),
            Known::Date => DataType::Date,
            Known::TimeOfDay => DataType::Time(TimeUnit::Micros),
            Known::Struct | Known::Value | Known::List => DataType::Json,
        }
    }
}

impl Type {
    /// Number of the wire type in a tag.
    pub(super) fn wire_type(&self) -> u8 {
        if let Type::Leaf(wire) = self { wire.wire_type() } else { 2 }
    }

    /// What it is, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Type::Leaf(wire) => wire.name(),
            Type::Message(_) => "message",
            Type::Wrapper(_) => "wrapper",
            Type::Known(known) => match known {
                Known::Timestamp => "google.protobuf.Timestamp",
                Known::Date => "google.type.Date",
                Known::TimeOfDay => "google.type.TimeOfDay",
                Known::Struct => "google.protobuf.Struct",
                Known::Value => "google.protobuf.Value",
                Known::List => "google.protobuf.ListValue",
            },
        }
    }
}

impl ProtoSchema {
    /// The columns of a table for such rows (without ids, see [`crate::TableSchema::create`]). Fields of implicit presence are
    /// NOT NULL with zero as default, so that they can be added later; lists and maps are empty rather than null, but may be
    /// null for the same reason.
    pub fn columns(&self) -> Result<Vec<Field>, ProtoSchemaError> {
        columns("", &self.message, 1)
    }

    /// Bounds and order of a schema that was read from a disk.
    pub fn is_sound(&self) -> bool {
        let mut nodes = 0;
        sound(&self.message, 1, &mut nodes)
    }
}

fn sound(message: &Message, depth: usize, nodes: &mut usize) -> bool {
    *nodes += message.fields.len();
    let ascending = message.fields.windows(2).all(|pair| pair[0].number < pair[1].number);
    let field = |field: &ProtoField| match (&field.kind, field.label) {
        (Type::Message(inner), _) => sound(inner, depth + 1, nodes),
        (Type::Leaf(wire), Label::Repeated { packed: true }) => wire.wire_type() != 2,
        _ => true,
    };
    depth <= NESTING_MAX && ascending && message.fields.iter().all(field) && *nodes <= NODES_MAX
}

fn columns(path: &str, message: &Message, depth: usize) -> Result<Vec<Field>, ProtoSchemaError> {
    let fail = |reason| ProtoSchemaError::Column { column: path.to_string(), reason };
    if depth > NESTING_MAX {
        return Err(fail("nested too deeply for a table"));
    }
    if message.fields.is_empty() {
        return Err(fail("a message without fields cannot be columns"));
    }
    message.fields.iter().map(|field| column(path, field, depth)).collect()
}

fn column(path: &str, field: &ProtoField, depth: usize) -> Result<Field, ProtoSchemaError> {
    let name = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
    let data_type = |depth| match &field.kind {
        Type::Leaf(wire) | Type::Wrapper(wire) => Ok(wire.column_type()),
        Type::Known(known) => Ok(known.column_type()),
        Type::Message(message) => columns(&name, message, depth + 1).map(DataType::Row),
    };
    let wrapped = matches!(field.kind, Type::Wrapper(_));
    let inner = |name: &str| -> Result<Field, ProtoSchemaError> {
        let item = Field::new(name, data_type(depth + 1)?);
        Ok(if wrapped { item } else { item.not_null() })
    };
    let column = match field.label {
        Label::Repeated { .. } => Field::new(&field.name, DataType::Array(Box::new(inner("item")?))),
        Label::Map => {
            let key = Field::new("key", DataType::String).not_null();
            Field::new(&field.name, DataType::Map(Box::new(key), Box::new(inner("value")?)))
        }
        _ => Field::new(&field.name, data_type(depth)?),
    };
    Ok(match (field.label, &field.kind) {
        (Label::Implicit, Type::Leaf(wire)) => column.not_null().with_default(wire.zero()),
        (Label::Required, _) => column.not_null(),
        _ => column,
    })
}
