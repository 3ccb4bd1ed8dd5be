//! Compiled `.proto` files: the messages of rows out of their descriptors.
//!
//! A schema comes as a `FileDescriptorSet` in base64 whose last file is the schema itself; who compiles it has bounded it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};

use super::schema::{Known, Label, Message, NODES_MAX, ProtoField, ProtoSchema, ProtoSchemaError, Type, Wire};
use crate::codec::json::cut;
use crate::schema::NESTING_MAX;

/// Longest text of a compiled schema: files are bounded where they are compiled.
const TEXT_LEN_MAX: usize = 16 << 20;

/// A compiled file.
#[derive(Debug, Clone)]
pub struct ProtoFile {
    file: FileDescriptor,
}

impl ProtoFile {
    /// Reads a `FileDescriptorSet` in base64; its last file is the schema.
    pub fn parse(text: &str) -> Result<ProtoFile, ProtoSchemaError> {
        let fail = |reason: String| ProtoSchemaError::Descriptor { reason };
        if text.len() > TEXT_LEN_MAX {
            return Err(fail(format!("{} bytes; at most {TEXT_LEN_MAX} are taken", text.len())));
        }
        let bytes = STANDARD.decode(text).map_err(|error| fail(error.to_string()))?;
        let set = FileDescriptorSet::decode(bytes.as_slice()).map_err(|error| fail(error.to_string()))?;
        // The crate that resolves names panics at a syntax it does not know.
        let unknown = |file: &FileDescriptorProto| {
            let syntax = file.syntax.as_deref().unwrap_or("proto2");
            (!["proto2", "proto3"].contains(&syntax)).then(|| cut(syntax))
        };
        if let Some(syntax) = set.file.iter().find_map(unknown) {
            return Err(fail(format!("syntax `{syntax}` is not known; proto2 and proto3 are")));
        }
        let name = set.file.last().and_then(|file| file.name.clone()).ok_or_else(|| fail("no file is in it".into()))?;
        let pool = DescriptorPool::from_file_descriptor_set(set).map_err(|error| fail(error.to_string()))?;
        let file = pool.get_file_by_name(&name).ok_or_else(|| fail(format!("file {name} is not in it")))?;
        Ok(ProtoFile { file })
    }

    /// The message that rows say they are: its index in the file, then of messages inside.
    pub fn message(&self, indexes: &[i32]) -> Result<Arc<ProtoSchema>, ProtoSchemaError> {
        let missing = || ProtoSchemaError::NoMessage { indexes: indexes.to_vec() };
        let at = |index: i32| usize::try_from(index).map_err(|_| missing());
        let (first, inner) = indexes.split_first().ok_or_else(missing)?;
        let mut message = self.file.messages().nth(at(*first)?).ok_or_else(missing)?;
        for index in inner {
            let child = message.child_messages().nth(at(*index)?).ok_or_else(missing)?;
            message = child;
        }
        let mut reader = Reader { within: Vec::new(), nodes: 0 };
        Ok(Arc::new(ProtoSchema { message: reader.message(&message)? }))
    }

    /// Indexes of the message called `name` (with or without the package).
    pub fn find(&self, name: &str) -> Option<Vec<i32>> {
        fn search(messages: &mut dyn Iterator<Item = MessageDescriptor>, name: &str) -> Option<Vec<i32>> {
            for (index, message) in messages.enumerate() {
                if message.full_name() == name || message.name() == name {
                    return Some(vec![index as i32]);
                }
                if let Some(mut inner) = search(&mut message.child_messages(), name) {
                    inner.insert(0, index as i32);
                    return Some(inner);
                }
            }
            None
        }
        search(&mut self.file.messages(), name)
    }
}

struct Reader {
    /// Messages around the one that is read.
    within: Vec<String>,
    nodes: usize,
}

impl Reader {
    fn message(&mut self, message: &MessageDescriptor) -> Result<Message, ProtoSchemaError> {
        let name = message.full_name().to_owned();
        if self.within.contains(&name) {
            return Err(ProtoSchemaError::Recursive { name });
        }
        if self.within.len() >= NESTING_MAX {
            return Err(ProtoSchemaError::TooLarge);
        }
        self.within.push(name);
        let mut fields = message.fields().map(|field| self.field(&field)).collect::<Result<Vec<_>, _>>()?;
        self.within.pop();
        fields.sort_by_key(|field| field.number);
        Ok(Message { fields })
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<ProtoField, ProtoSchemaError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(ProtoSchemaError::TooLarge);
        }
        if field.is_group() {
            let column = field.full_name().to_owned();
            return Err(ProtoSchemaError::Column { column, reason: "groups cannot be columns; use a message" });
        }
        let (number, name) = (field.number(), field.name().to_owned());
        if field.is_map()
            && let Kind::Message(entry) = field.kind()
            // Not by the functions for entries of maps: those panic where a descriptor has no such field.
            && entry.get_field(1).is_some_and(|key| key.kind() == Kind::String)
            && let Some(value) = entry.get_field(2)
        {
            let kind = self.kind(&value)?;
            return Ok(ProtoField { number, name, label: Label::Map, kind });
        }
        // Maps with other keys are lists of entries, as on the wire.
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let label = match (field.cardinality(), oneof) {
            (Cardinality::Repeated, _) => Label::Repeated { packed: field.is_packed() },
            (Cardinality::Required, _) => Label::Required,
            (_, Some(oneof)) => {
                let members = oneof.fields().map(|member| member.number());
                Label::Oneof(members.min().unwrap_or(number))
            }
            _ if field.supports_presence() => Label::Explicit,
            _ => Label::Implicit,
        };
        Ok(ProtoField { number, name, label, kind: self.kind(field)? })
    }

    fn kind(&mut self, field: &FieldDescriptor) -> Result<Type, ProtoSchemaError> {
        Ok(match field.kind() {
            Kind::Message(message) => match known(message.full_name()) {
                Some(kind) => kind,
                None => Type::Message(self.message(&message)?),
            },
            Kind::Enum(symbols) => {
                self.nodes += symbols.values().len();
                Type::Leaf(Wire::Enum(names(&symbols)))
            }
            Kind::Double => Type::Leaf(Wire::Double),
            Kind::Float => Type::Leaf(Wire::Float),
            Kind::Int32 => Type::Leaf(Wire::Int32),
            Kind::Int64 => Type::Leaf(Wire::Int64),
            Kind::Uint32 => Type::Leaf(Wire::Uint32),
            Kind::Uint64 => Type::Leaf(Wire::Uint64),
            Kind::Sint32 => Type::Leaf(Wire::Sint32),
            Kind::Sint64 => Type::Leaf(Wire::Sint64),
            Kind::Fixed32 => Type::Leaf(Wire::Fixed32),
            Kind::Fixed64 => Type::Leaf(Wire::Fixed64),
            Kind::Sfixed32 => Type::Leaf(Wire::Sfixed32),
            Kind::Sfixed64 => Type::Leaf(Wire::Sfixed64),
            Kind::Bool => Type::Leaf(Wire::Bool),
            Kind::String => Type::Leaf(Wire::String),
            Kind::Bytes => Type::Leaf(Wire::Bytes),
        })
    }
}

fn known(name: &str) -> Option<Type> {
    Some(match name {
        "google.protobuf.Timestamp" => Type::Known(Known::Timestamp),
        "google.type.Date" => Type::Known(Known::Date),
        "google.type.TimeOfDay" => Type::Known(Known::TimeOfDay),
        "google.protobuf.Struct" => Type::Known(Known::Struct),
        "google.protobuf.Value" => Type::Known(Known::Value),
        "google.protobuf.ListValue" => Type::Known(Known::List),
        "google.protobuf.DoubleValue" => Type::Wrapper(Wire::Double),
        "google.protobuf.FloatValue" => Type::Wrapper(Wire::Float),
        "google.protobuf.Int64Value" => Type::Wrapper(Wire::Int64),
        "google.protobuf.UInt64Value" => Type::Wrapper(Wire::Uint64),
        "google.protobuf.Int32Value" => Type::Wrapper(Wire::Int32),
        "google.protobuf.UInt32Value" => Type::Wrapper(Wire::Uint32),
        "google.protobuf.BoolValue" => Type::Wrapper(Wire::Bool),
        "google.protobuf.StringValue" => Type::Wrapper(Wire::String),
        "google.protobuf.BytesValue" => Type::Wrapper(Wire::Bytes),
        _ => return None,
    })
}

/// Ascending numbers, each with its first name.
fn names(symbols: &EnumDescriptor) -> Vec<(i32, String)> {
    let mut names: Vec<_> = symbols.values().map(|value| (value.number(), value.name().to_owned())).collect();
    names.sort_by_key(|(number, _)| *number);
    names.dedup_by_key(|(number, _)| *number);
    names
}
