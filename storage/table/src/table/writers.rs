//! Rows of any writer: of Avro and Protobuf each row says with which schema it was written.

use std::sync::Arc;

use super::decode::{Mode, Row};
use super::kept::{KeptSchema, KeptWriters, Spelling};
use super::{Framing, RowFormat};
use crate::builder::RowBuilder;
use crate::codec::avro::AvroCodec;
use crate::codec::protobuf::ProtobufCodec;
use crate::codec::{Fidelity, RowError, RowErrorKind, RowForm, RowPart, framing};

fn fail(kind: RowErrorKind) -> RowError {
    RowError { column: String::new(), position: 0, kind }
}

/// The schema id in front of a row, and what is behind it.
fn unframed(framing: Framing, row: &[u8]) -> Result<(Option<i32>, &[u8]), RowError> {
    match framing {
        Framing::Plain => Ok((None, row)),
        Framing::Registry => {
            let framed = framing::split(row).ok_or_else(|| fail(RowErrorKind::NotFramed))?;
            Ok((Some(framed.schema_id), framed.payload))
        }
    }
}

/// Whether rows need their bytes kept that come back with the same values and other bytes.
fn exact(row: &Row<'_>) -> bool {
    row.parts.options.fidelity == Fidelity::Exact
}

/// Avro rows.
#[derive(Debug)]
pub(super) struct AvroRows {
    format: RowFormat,
    part: RowPart,
    /// The writer of the row before, and its place among those that are kept.
    last: Option<(Option<i32>, Arc<AvroCodec>, Option<u16>)>,
}

impl AvroRows {
    pub(super) fn new(format: &RowFormat, part: RowPart) -> AvroRows {
        AvroRows { format: format.clone(), part, last: None }
    }

    pub(super) fn decode(
        &mut self,
        row: Row<'_>,
        builder: &mut RowBuilder,
        kept: &mut KeptWriters,
    ) -> Result<RowForm, RowError> {
        let (id, payload) = unframed(self.format.framing, row.bytes)?;
        let keeps = row.mode == Mode::Keep && self.part == RowPart::Value;
        let (_, codec, place) = match &self.last {
            Some(last) if last.0 == id => last,
            _ => {
                let strict = row.mode.is_new();
                let codec = row.parts.avro(&self.format, row.schema, self.part, strict, id).map_err(fail)?;
                let place = if keeps { self.keep(id, kept) } else { None };
                self.last.insert((id, codec, place))
            }
        };
        let form = codec.decode(payload, builder)?;
        Ok(match (form, place) {
            (RowForm::Canonical, Some(place)) => {
                kept.form(&row.bytes[..row.bytes.len() - payload.len()], Spelling::Schema(*place))
            }
            _ => RowForm::Raw,
        })
    }

    fn keep(&self, id: Option<i32>, kept: &mut KeptWriters) -> Option<u16> {
        let writer = match id {
            Some(id) => self.format.writers.writer(id)?,
            None => self.format.schema.clone()?,
        };
        let references = writer.references.iter().map(|(_, text)| text.clone()).collect();
        kept.schema(KeptSchema::Avro { text: writer.text.clone(), references })
    }
}

/// Protobuf rows.
#[derive(Debug)]
pub(super) struct ProtobufRows {
    format: RowFormat,
    part: RowPart,
    last: Option<Message>,
}

/// The message of the row before.
#[derive(Debug)]
struct Message {
    id: Option<i32>,
    /// The bytes that say which message of the file.
    indexes: Vec<u8>,
    codec: Arc<ProtobufCodec>,
    place: Option<u16>,
}

impl ProtobufRows {
    pub(super) fn new(format: &RowFormat, part: RowPart) -> ProtobufRows {
        ProtobufRows { format: format.clone(), part, last: None }
    }

    pub(super) fn decode(
        &mut self,
        row: Row<'_>,
        builder: &mut RowBuilder,
        kept: &mut KeptWriters,
    ) -> Result<RowForm, RowError> {
        let (id, framed) = unframed(self.format.framing, row.bytes)?;
        let message = match &self.last {
            Some(last) if last.id == id && (id.is_none() || framed.starts_with(&last.indexes)) => last,
            _ => {
                let message = self.message(row, id, framed, kept)?;
                self.last.insert(message)
            }
        };
        let frame = row.bytes.len() - framed.len() + message.indexes.len();
        let fit = message.codec.decode(&row.bytes[frame..], builder)?;
        Ok(match message.place {
            Some(place) if fit.exact || (fit.complete && !exact(&row)) => {
                kept.form(&row.bytes[..frame], Spelling::Schema(place))
            }
            _ => RowForm::Raw,
        })
    }

    fn message(
        &self,
        row: Row<'_>,
        id: Option<i32>,
        framed: &[u8],
        kept: &mut KeptWriters,
    ) -> Result<Message, RowError> {
        let (indexes, rest) = match id {
            None => (self.format.message.clone(), framed),
            Some(_) => framing::split_indexes(framed).ok_or_else(|| fail(RowErrorKind::NoMessageIndexes))?,
        };
        let strict = row.mode.is_new();
        let codec = row.parts.protobuf(&self.format, row.schema, self.part, strict, (id, &indexes)).map_err(fail)?;
        let keeps = row.mode == Mode::Keep && self.part == RowPart::Value;
        let place = if keeps { kept.schema(KeptSchema::Protobuf((**codec.schema()).clone())) } else { None };
        let indexes = framed[..framed.len() - rest.len()].to_vec();
        Ok(Message { id, indexes, codec, place })
    }
}
