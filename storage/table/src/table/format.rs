//! The form of rows: which format, with or without the id of the writer's schema, and the schemas of writers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Parts, TableError};
use crate::codec::avro::{AvroCodec, AvroOptions, AvroSchema};
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
}

/// Whether rows begin with `0x00` and the id of their writer's schema, as serializers of a schema registry write them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Nothing in front.
    #[default]
    Plain,
    /// Always. (JSON rows are read either way, because no JSON text begins with `0x00`.)
    Registry,
}

/// The schema of a writer, with all it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterSchema {
    /// Its id in the registry, if it has one.
    pub id: Option<i32>,
    /// Its text.
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
        RowFormat { kind: FormatKind::Json, framing: Framing::Plain, schema: None, writers: Arc::new(NoWriters) }
    }

    /// Avro rows without frame, all of one schema.
    pub fn avro(schema: WriterSchema) -> RowFormat {
        RowFormat {
            kind: FormatKind::Avro,
            framing: Framing::Plain,
            schema: Some(Arc::new(schema)),
            writers: Arc::new(NoWriters),
        }
    }
}

/// Schema version and its columns, part, whether unknown fields are refused, id (`None`: the format's own schema).
type CodecKey = (i32, Vec<FieldId>, RowPart, bool, Option<i32>);

/// Writer's schemas bound to versions of the table, kept because binding costs far more than decoding.
#[derive(Debug, Default)]
pub(crate) struct Codecs {
    known: RwLock<HashMap<CodecKey, Result<Arc<AvroCodec>, String>>>,
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
        let columns = schema.fields.iter().map(|field| field.id).collect();
        let key = (schema.version, columns, part, strict, id);
        let failed = |reason: String| RowErrorKind::Writer { id, reason };
        if let Some(known) = self.codecs.known.read().get(&key) {
            return known.clone().map_err(failed);
        }
        let writer = match id {
            // Not remembered: the id may be given later.
            Some(id) => format.writers.writer(id).ok_or(RowErrorKind::UnknownSchema { id })?,
            None => format.schema.clone().ok_or_else(|| failed("the topic has no schema for plain rows".into()))?,
        };
        let reject = strict && self.options.on_unknown == OnUnknown::Reject;
        let unknown = if reject { OnUnknown::Reject } else { OnUnknown::Drop };
        let options = AvroOptions { unknown, limits: self.options.limits };
        let references: Vec<_> = writer.references.iter().map(|(_, text)| text.clone()).collect();
        let bound =
            AvroSchema::parse_with(&references, &writer.text).map_err(|error| error.to_string()).and_then(|writer| {
                let codec = AvroCodec::with_aliases(schema, part, &writer, &self.aliases, options);
                codec.map(Arc::new).map_err(|error| error.to_string())
            });
        let mut known = self.codecs.known.write();
        if known.len() >= CODECS_MAX {
            known.clear();
        }
        known.insert(key, bound.clone());
        bound.map_err(failed)
    }

    /// The format's own schema must go into the current version, or no row ever will.
    pub(crate) fn check_writer(&self) -> Result<(), TableError> {
        if self.value.kind == FormatKind::Avro && self.value.schema.is_some() {
            self.avro(&self.value, self.current(), RowPart::Value, true, None)
                .map_err(|kind| TableError::Writer { reason: kind.to_string() })?;
        }
        Ok(())
    }
}
