//! The form of rows: which format, with or without the id of the writer's schema, and the schemas of writers.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Parts, TableError};
use crate::codec::avro::{AvroCodec, AvroOptions, AvroSchema};
use crate::codec::protobuf::{ProtoFile, ProtobufCodec, ProtobufOptions};
use crate::codec::{OnUnknown, RowErrorKind, RowPart};
use crate::schema::{FieldId, TableSchema};

/// Bound writer's schemas that one table keeps; a table has few writers, so more than these come from an attack.
const CODECS_MAX: usize = 1_024;

/// `weir.value.format`, `weir.key.format`: what a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormatKind {
    /// A JSON object.
    Json,
    /// Avro's binary encoding.
    Avro,
    /// A Protobuf message.
    Protobuf,
}

/// Whether rows begin with `0x00` and the id of their writer's schema, as serializers of a schema registry write them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Nothing in front.
    #[default]
    Plain,
    /// Always; Protobuf rows also say which message of the file they are. (JSON rows are read either way, because no JSON
    /// text begins with `0x00`.)
    Registry,
}

/// The schema of a writer, with all it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterSchema {
    /// Its id in the registry, if it has one.
    pub id: Option<i32>,
    /// Its text. Of Protobuf: a compiled `FileDescriptorSet` in base64 whose last file is the schema, with all it imports
    /// ([`ProtoFile::parse`]).
    pub text: String,
    /// Name and text of what it refers to; each comes before those that need it.
    pub references: Vec<(String, String)>,
}

/// Who knows the schemas of writers by the id in front of their rows. Asked while rows are decoded, so it must not wait.
pub trait WriterSchemas: Send + Sync {
    /// `None`: no such id (yet).
    fn writer(&self, id: i32) -> Option<Arc<WriterSchema>>;
}

/// Knows no writer: for topics without a registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWriters;

impl WriterSchemas for NoWriters {
    fn writer(&self, _: i32) -> Option<Arc<WriterSchema>> {
        None
    }
}

/// What the rows of a topic are.
#[derive(Clone)]
pub struct RowFormat {
    /// The format.
    pub kind: FormatKind,
    /// See [`Framing`].
    pub framing: Framing,
    /// The schema that plain rows are read with, and that rows are written with out of columns. JSON needs none (its id
    /// is put in front of written rows that are framed).
    pub schema: Option<Arc<WriterSchema>>,
    /// Protobuf: which message of `schema` plain rows and written rows are (index in the file, then of messages inside).
    pub message: Vec<i32>,
    /// Schemas of framed rows.
    pub writers: Arc<dyn WriterSchemas>,
}

impl fmt::Debug for RowFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RowFormat({:?}, {:?})", self.kind, self.framing)
    }
}

impl RowFormat {
    /// Plain JSON objects.
    pub fn json() -> RowFormat {
        RowFormat {
            kind: FormatKind::Json,
            framing: Framing::Plain,
            schema: None,
            message: vec![0],
            writers: Arc::new(NoWriters),
        }
    }

    /// Avro rows without frame, all of one schema.
    pub fn avro(schema: WriterSchema) -> RowFormat {
        RowFormat { kind: FormatKind::Avro, schema: Some(Arc::new(schema)), ..RowFormat::json() }
    }

    /// Protobuf rows without frame, all of the first message of one file.
    pub fn protobuf(schema: WriterSchema) -> RowFormat {
        RowFormat { kind: FormatKind::Protobuf, schema: Some(Arc::new(schema)), ..RowFormat::json() }
    }
}

/// Schema version and its columns, part, whether unknown fields are refused, id (`None`: the format's own schema).
type CodecKey = (i32, Vec<FieldId>, RowPart, bool, Option<i32>);

/// By message too, which is told by its place in the file.
type ProtobufCodecs = HashMap<(CodecKey, Vec<i32>), Result<Arc<ProtobufCodec>, String>>;

/// Writer's schemas bound to versions of the table, kept because binding costs far more than decoding.
#[derive(Debug, Default)]
pub(crate) struct Codecs {
    avro: RwLock<HashMap<CodecKey, Result<Arc<AvroCodec>, String>>>,
    protobuf: RwLock<ProtobufCodecs>,
    /// Compiled files by id: a row may name any message of its file, and reading the file costs far more than looking.
    files: RwLock<HashMap<Option<i32>, Result<ProtoFile, String>>>,
}

/// What is known of `key`, or else what `bind` makes of it, remembered.
fn remembered<K: Eq + Hash, T: Clone>(
    known: &RwLock<HashMap<K, Result<T, String>>>,
    key: K,
    bind: impl FnOnce() -> Result<Result<T, String>, RowErrorKind>,
) -> Result<Result<T, String>, RowErrorKind> {
    if let Some(known) = known.read().get(&key) {
        return Ok(known.clone());
    }
    let bound = bind()?;
    let mut known = known.write();
    if known.len() >= CODECS_MAX {
        known.clear();
    }
    known.insert(key, bound.clone());
    Ok(bound)
}

impl Parts {
    /// The codec for rows of the writer with this id (`None`: of the format's own schema).
    pub(crate) fn avro(
        &self,
        format: &RowFormat,
        schema: &TableSchema,
        part: RowPart,
        strict: bool,
        id: Option<i32>,
    ) -> Result<Arc<AvroCodec>, RowErrorKind> {
        let key = codec_key(schema, part, strict, id);
        let bound = remembered(&self.codecs.avro, key, || {
            let writer = writer(format, id)?;
            let options = AvroOptions { unknown: self.unknown(strict), limits: self.options.limits };
            let references: Vec<_> = writer.references.iter().map(|(_, text)| text.clone()).collect();
            let parsed = AvroSchema::parse_with(&references, &writer.text).map_err(|error| error.to_string());
            Ok(parsed.and_then(|writer| {
                let codec = AvroCodec::with_aliases(schema, part, &writer, &self.aliases_of(schema), options);
                codec.map(Arc::new).map_err(|error| error.to_string())
            }))
        })?;
        bound.map_err(|reason| RowErrorKind::Writer { id, reason })
    }

    /// The same for message `indexes` of the writer's file.
    pub(crate) fn protobuf(
        &self,
        format: &RowFormat,
        schema: &TableSchema,
        part: RowPart,
        strict: bool,
        (id, indexes): (Option<i32>, &[i32]),
    ) -> Result<Arc<ProtobufCodec>, RowErrorKind> {
        let key = (codec_key(schema, part, strict, id), indexes.to_vec());
        let bound = remembered(&self.codecs.protobuf, key, || {
            let file = remembered(&self.codecs.files, id, || {
                let writer = writer(format, id)?;
                Ok(ProtoFile::parse(&writer.text).map_err(|error| error.to_string()))
            })?;
            let options = ProtobufOptions { unknown: self.unknown(strict), limits: self.options.limits };
            let message = file.and_then(|file| file.message(indexes).map_err(|error| error.to_string()));
            Ok(message.and_then(|message| {
                let codec = ProtobufCodec::with_aliases(schema, part, message, &self.aliases_of(schema), options);
                codec.map(Arc::new).map_err(|error| error.to_string())
            }))
        })?;
        bound.map_err(|reason| RowErrorKind::Writer { id, reason })
    }

    fn unknown(&self, strict: bool) -> OnUnknown {
        if strict && self.options.on_unknown == OnUnknown::Reject { OnUnknown::Reject } else { OnUnknown::Drop }
    }

    /// The format's own schema must go into the current version, or no row ever will.
    pub(crate) fn check_writer(&self) -> Result<(), TableError> {
        if self.value.schema.is_none() {
            return Ok(());
        }
        let (schema, part) = (self.current(), RowPart::Value);
        let bound = match self.value.kind {
            FormatKind::Json => Ok(()),
            FormatKind::Avro => self.avro(&self.value, schema, part, true, None).map(drop),
            FormatKind::Protobuf => {
                self.protobuf(&self.value, schema, part, true, (None, &self.value.message)).map(drop)
            }
        };
        bound.map_err(|kind| TableError::Writer { reason: kind.to_string() })
    }
}

fn codec_key(schema: &TableSchema, part: RowPart, strict: bool, id: Option<i32>) -> CodecKey {
    (schema.version, schema.fields.iter().map(|field| field.id).collect(), part, strict, id)
}

fn writer(format: &RowFormat, id: Option<i32>) -> Result<Arc<WriterSchema>, RowErrorKind> {
    match id {
        // Not remembered when it is unknown: the id may be given later.
        Some(id) => format.writers.writer(id).ok_or(RowErrorKind::UnknownSchema { id }),
        None => format
            .schema
            .clone()
            .ok_or_else(|| RowErrorKind::Writer { id, reason: "the topic has no schema for plain rows".into() }),
    }
}
