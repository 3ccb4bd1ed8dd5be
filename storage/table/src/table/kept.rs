//! How rows are to be written again that are stored as columns: the part of a row that its columns do not say.
//!
//! A JSON row has a shape. A row with a registry's frame has a *writer*: the frame, and the schema that its bytes were
//! written with (of JSON rows the shape). A file of columns keeps the shapes and writers of its rows and needs nothing else,
//! neither the registry nor the topic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::codec::avro::{AvroCodec, AvroOptions, AvroRows, AvroSchema};
use crate::codec::json::{JsonEncoder, JsonRows, ShapeId, ShapeSet};
use crate::codec::protobuf::{ProtoSchema, ProtobufCodec, ProtobufOptions, ProtobufRows};
use crate::codec::{Aliases, EncodeError, OnUnknown, RowForm, RowPart};
use crate::schema::TableSchema;

/// Most writers of one file; rows of further ones keep their bytes.
pub const WRITERS_MAX: usize = 1_024;
/// Most bytes of their schemas.
pub const WRITER_BYTES_MAX: usize = 1 << 20;

/// The writers of the rows of one file, and the names that its columns had.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeptWriters {
    /// Names that writers use for columns, beside those of the table.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    aliases: Aliases,
    schemas: Vec<KeptSchema>,
    writers: Vec<KeptWriter>,
    #[serde(skip)]
    bytes: usize,
    /// Number of each writer.
    #[serde(skip)]
    known: HashMap<(String, Spelling), u16>,
}

/// A writer's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeptSchema {
    Avro { text: String, references: Vec<String> },
    Protobuf(ProtoSchema),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptWriter {
    /// What is in front of the row, in base64.
    frame: String,
    #[serde(flatten)]
    spelling: Spelling,
}

/// What makes bytes of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spelling {
    /// JSON of this shape; `None`: of any.
    Json(Option<ShapeId>),
    /// The schema with this place among the file's.
    Schema(u16),
}

/// Stored writers that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// Larger than any that were ever written.
    #[error("{bytes} bytes of writers' schemas, or too many of them: more than a file may have")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// Nothing that was written here.
    #[error("writers' schemas cannot be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl KeptWriters {
    pub(super) fn new(aliases: &Aliases) -> KeptWriters {
        KeptWriters { aliases: aliases.clone(), ..KeptWriters::default() }
    }

    /// The writer of JSON rows behind `frame`, which have no shape of their own.
    pub(super) fn of_json(frame: &[u8]) -> (RowForm, KeptWriters) {
        let mut writers = KeptWriters::default();
        (writers.form(frame, Spelling::Json(None)), writers)
    }

    /// Takes over writers of rows of another file with the same columns, whose shapes have these ids here; the forms that the
    /// writers have here. `None`: they name columns otherwise, or there are too many.
    pub(super) fn absorb(&mut self, others: &KeptWriters, shapes: &[ShapeId]) -> Option<Vec<RowForm>> {
        if !others.is_empty() && !others.aliases.is_empty() && others.aliases != self.aliases {
            return None;
        }
        let form = |writer: &KeptWriter| {
            let spelling = match writer.spelling {
                Spelling::Json(None) => Spelling::Json(None),
                Spelling::Json(Some(shape)) => Spelling::Json(Some(*shapes.get(usize::from(shape.0))?)),
                Spelling::Schema(at) => Spelling::Schema(self.schema(others.schemas.get(usize::from(at))?.clone())?),
            };
            let frame = BASE64.decode(&writer.frame).ok()?;
            Some(self.form(&frame, spelling)).filter(|form| *form != RowForm::Raw)
        };
        others.writers.iter().map(form).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.writers.is_empty()
    }

    /// The place of a schema; `None` when there is no room for it.
    pub(super) fn schema(&mut self, schema: KeptSchema) -> Option<u16> {
        if let Some(at) = self.schemas.iter().position(|known| *known == schema) {
            return Some(at as u16);
        }
        let bytes = serde_json::to_vec(&schema).ok()?.len();
        if self.schemas.len() >= WRITERS_MAX || self.bytes + bytes > WRITER_BYTES_MAX {
            return None;
        }
        self.bytes += bytes;
        self.schemas.push(schema);
        Some((self.schemas.len() - 1) as u16)
    }

    /// The form of rows behind `frame`.
    pub(super) fn form(&mut self, frame: &[u8], spelling: Spelling) -> RowForm {
        let key = (BASE64.encode(frame), spelling);
        if let Some(number) = self.known.get(&key) {
            return RowForm::Writer(*number);
        }
        if self.writers.len() >= WRITERS_MAX {
            return RowForm::Raw;
        }
        let number = self.writers.len() as u16;
        self.writers.push(KeptWriter { frame: key.0.clone(), spelling });
        self.known.insert(key, number);
        RowForm::Writer(number)
    }

    /// As stored in a file.
    pub fn to_json(&self) -> String {
        // Structs of strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`KeptWriters::to_json`] wrote; bounded and checked, as bytes from a disk must be.
    pub fn from_json(json: &str) -> Result<KeptWriters, KeptError> {
        if json.len() > 8 * WRITER_BYTES_MAX {
            return Err(KeptError::TooLarge { bytes: json.len() });
        }
        let read: KeptWriters =
            serde_json::from_str(json).map_err(|error| KeptError::Unreadable { reason: error.to_string() })?;
        if read.writers.len() > WRITERS_MAX || read.schemas.len() > WRITERS_MAX {
            return Err(KeptError::TooLarge { bytes: json.len() });
        }
        Ok(read)
    }
}

/// Writes columns of a file as the values that were produced.
#[derive(Debug)]
pub struct KeptEncoder {
    json: JsonEncoder,
    schemas: Vec<Codec>,
    writers: Vec<(Vec<u8>, Spelling)>,
}

#[derive(Debug)]
enum Codec {
    Avro(AvroCodec),
    Protobuf(ProtobufCodec),
}

/// The values of one batch, ready to be written.
#[derive(Debug)]
pub struct KeptRows<'a> {
    encoder: &'a KeptEncoder,
    json: JsonRows<'a>,
    schemas: Vec<CodecRows<'a>>,
}

#[derive(Debug)]
enum CodecRows<'a> {
    Avro(AvroRows<'a>),
    Protobuf(ProtobufRows<'a>),
}

impl KeptEncoder {
    /// For files with columns of `schema`, as a [`super::Table::keeper`] makes them.
    pub fn new(schema: &TableSchema, shapes: &ShapeSet, writers: &KeptWriters) -> Result<KeptEncoder, EncodeError> {
        let failed = |reason: String| EncodeError::Schema { reason };
        let bind = |kept: &KeptSchema| bind(schema, kept, &writers.aliases).map_err(failed);
        let schemas: Vec<_> = writers.schemas.iter().map(bind).collect::<Result<_, _>>()?;
        let writer = |writer: &KeptWriter| {
            let frame = BASE64.decode(&writer.frame).map_err(|error| failed(error.to_string()))?;
            match writer.spelling {
                Spelling::Schema(at) if usize::from(at) >= schemas.len() => {
                    Err(failed(format!("schema {at} of a writer is missing")))
                }
                spelling => Ok((frame, spelling)),
            }
        };
        let writers = writers.writers.iter().map(writer).collect::<Result<_, _>>()?;
        Ok(KeptEncoder { json: JsonEncoder::new(schema, RowPart::Value, shapes)?, schemas, writers })
    }

    /// Looks at the arrays of a batch once, for all its rows. The batch begins with all columns of the table.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<KeptRows<'a>, EncodeError> {
        let rows = |codec: &'a Codec| {
            Ok::<_, EncodeError>(match codec {
                Codec::Avro(codec) => CodecRows::Avro(codec.rows(batch)?),
                Codec::Protobuf(codec) => CodecRows::Protobuf(codec.rows(batch)?),
            })
        };
        let schemas = self.schemas.iter().map(rows).collect::<Result<_, _>>()?;
        Ok(KeptRows { encoder: self, json: self.json.rows(batch)?, schemas })
    }
}

fn bind(schema: &TableSchema, kept: &KeptSchema, aliases: &Aliases) -> Result<Codec, String> {
    match kept {
        KeptSchema::Avro { text, references } => {
            let writer = AvroSchema::parse_with(references, text).map_err(|error| error.to_string())?;
            let options = AvroOptions { unknown: OnUnknown::Drop, ..AvroOptions::default() };
            let codec = AvroCodec::with_aliases(schema, RowPart::Value, &writer, aliases, options);
            codec.map(Codec::Avro).map_err(|error| error.to_string())
        }
        KeptSchema::Protobuf(message) => {
            if !message.is_sound() {
                return Err("a message is out of bounds".into());
            }
            let options = ProtobufOptions { unknown: OnUnknown::Drop, ..ProtobufOptions::default() };
            let codec =
                ProtobufCodec::with_aliases(schema, RowPart::Value, Arc::new(message.clone()), aliases, options);
            codec.map(Codec::Protobuf).map_err(|error| error.to_string())
        }
    }
}

impl KeptRows<'_> {
    /// Appends the value of row `row` to `out`: the bytes that were produced, frame included.
    pub fn write(&self, row: usize, form: RowForm, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let RowForm::Writer(number) = form else { return self.json.write(row, form, out) };
        let writer = self.encoder.writers.get(usize::from(number));
        let (frame, spelling) =
            writer.ok_or_else(|| EncodeError::Schema { reason: format!("writer {number} of a row is missing") })?;
        out.extend_from_slice(frame);
        match spelling {
            Spelling::Json(shape) => self.json.write(row, shape.map_or(RowForm::Canonical, RowForm::Shape), out),
            Spelling::Schema(at) => match &self.schemas[usize::from(*at)] {
                CodecRows::Avro(rows) => rows.write(row, out),
                CodecRows::Protobuf(rows) => rows.write(row, out),
            },
        }
    }
}
