//! Rows of a topic into columns: key and value together, and a bad row leaves nothing behind.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::kept::{KeptWriters, Spelling};
use super::writers::{AvroRows, ProtobufRows};
use super::{FormatKind, KeyFormat, OnInvalid, Parts, RowFormat, key};
use crate::builder::{BuilderError, RowBuilder};
use crate::codec::json::{JsonDecoder, JsonOptions, RowForm, ShapeId, ShapeSet};
use crate::codec::{Fidelity, OnUnknown, RowError, RowErrorKind, RowPart, framing};
use crate::schema::{DataType, TableSchema};

/// Buffers of a validator that are kept from batch to batch.
const KEEP_BYTES: usize = 256 << 10;

/// What a decoder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Stored rows: whatever can be read is.
    Read,
    /// Stored rows that become columns: as [`Mode::Read`], and how to get their bytes back.
    Keep,
    /// Stored rows: every one is a row, what does not fit is null.
    Scan,
    /// New rows: every rule holds.
    Produce,
    /// New rows of plain JSON that become columns soon: every rule holds, and how to get their bytes back.
    ProduceKeep,
}

impl Mode {
    /// Whether rows are new: every rule of the topic holds for them.
    pub(super) fn is_new(self) -> bool {
        matches!(self, Mode::Produce | Mode::ProduceKeep)
    }

    fn keeps(self) -> bool {
        matches!(self, Mode::Keep | Mode::ProduceKeep)
    }
}

/// Reads rows of one topic into columns of one version of its table.
#[derive(Debug)]
pub struct RowDecoder {
    parts: Arc<Parts>,
    /// The version; when reading, with every top-level column nullable.
    schema: Arc<TableSchema>,
    mode: Mode,
    builder: RowBuilder,
    value: PartDecoder,
    /// `None`: no column comes out of the key.
    key: Option<PartDecoder>,
    /// Columns of the last row that became null because their values did not fit.
    nulled: Vec<RowError>,
    /// How the value of the last row is to be written again.
    form: RowForm,
    /// The writers that forms name.
    kept: KeptWriters,
}

/// One key or value on its way into columns.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) parts: &'a Parts,
    pub(super) schema: &'a TableSchema,
    pub(super) mode: Mode,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug)]
enum PartDecoder {
    Json(Box<JsonDecoder>),
    Avro(AvroRows),
    Protobuf(ProtobufRows),
    /// The raw key, into the column at this place.
    Raw(usize, DataType),
    /// No column is read out of this part.
    Nothing,
}

impl RowDecoder {
    pub(super) fn new(parts: &Arc<Parts>, schema: &Arc<TableSchema>, mode: Mode) -> RowDecoder {
        let schema = match mode {
            Mode::Produce | Mode::ProduceKeep => schema.clone(),
            Mode::Read | Mode::Keep | Mode::Scan => {
                let mut nullable = TableSchema::clone(schema);
                nullable.fields.iter_mut().for_each(|field| field.nullable = true);
                Arc::new(nullable)
            }
        };
        let row = |format: &RowFormat, part: RowPart| match mode == Mode::Scan && part.columns(&schema).is_empty() {
            true => PartDecoder::Nothing,
            false => PartDecoder::row(parts, &schema, mode, format, part),
        };
        let key = parts.key.as_ref().and_then(|format| match format {
            KeyFormat::Row(format) => Some(row(format, RowPart::Key)),
            KeyFormat::Raw => {
                let slot = *schema.key_columns().first()?;
                Some(PartDecoder::Raw(slot, schema.fields[slot].data_type.clone()))
            }
        });
        let value = row(&parts.value, RowPart::Value);
        let builder = RowBuilder::new(schema.clone());
        let kept = if mode == Mode::Keep { KeptWriters::new(&parts.aliases) } else { KeptWriters::default() };
        let (nulled, form) = (Vec::new(), RowForm::Raw);
        RowDecoder { parts: parts.clone(), schema, mode, builder, value, key, nulled, form, kept }
    }

    pub(super) fn belongs_to(&self, parts: &Arc<Parts>) -> bool {
        self.mode.is_new() && Arc::ptr_eq(&self.parts, parts)
    }

    /// The version that rows are read into; see [`super::Table::decoder`] about its nullability.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Adds one record as a row. After an error there is nothing of it.
    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), RowError> {
        self.nulled.clear();
        self.form = RowForm::Raw;
        if matches!(self.mode, Mode::Scan | Mode::Keep) {
            return self.push_lenient(key, value);
        }
        let mark = self.builder.mark();
        let done = self.key(key).and_then(|()| self.value(value));
        match done {
            Ok(()) => self.builder.finish_row(),
            Err(_) => self.builder.rollback(mark),
        }
        done
    }

    /// A part that does not fit leaves its columns as they were: they become null when the row is finished.
    fn push_lenient(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), RowError> {
        let mark = self.builder.mark();
        for done in [self.key(key), self.value(value)] {
            match done {
                Err(error) if matches!(error.kind, RowErrorKind::BuilderFull { .. }) => {
                    self.builder.rollback(mark);
                    return Err(error);
                }
                Err(error) => self.nulled.push(error),
                Ok(()) => {}
            }
        }
        self.builder.finish_row();
        Ok(())
    }

    /// A row of nulls, in place of a record that is no row of this version. Only when reading (see
    /// [`super::Table::decoder`]): under the rules for new rows columns may be NOT NULL.
    pub fn push_null_row(&mut self) {
        debug_assert!(!self.mode.is_new(), "columns must be nullable");
        self.builder.finish_row();
        self.form = RowForm::Raw;
    }

    /// Of a [`super::Table::keeper`]: how the value of the last row is to be written again. [`RowForm::Raw`]: only its own bytes
    /// will do.
    pub fn form(&self) -> RowForm {
        self.form
    }

    /// Of a [`super::Table::keeper`]: the shapes that forms name.
    pub fn shapes(&self) -> ShapeSet {
        match &self.value {
            PartDecoder::Json(decoder) => decoder.shapes().clone(),
            _ => ShapeSet::default(),
        }
    }

    /// Of a [`super::Table::keeping_validator`]: the shapes that forms of rows since the last call name. It begins with none
    /// again.
    pub fn take_shapes(&mut self) -> ShapeSet {
        match &mut self.value {
            PartDecoder::Json(decoder) => decoder.take_shapes(),
            _ => ShapeSet::default(),
        }
    }

    /// Of a [`super::Table::keeper`]: takes over shapes of rows that others decoded; the ids they have here. `None`: there are
    /// too many.
    pub fn absorb_shapes(&mut self, shapes: &ShapeSet) -> Option<Vec<ShapeId>> {
        match &mut self.value {
            PartDecoder::Json(decoder) => decoder.absorb_shapes(shapes).into_iter().collect(),
            _ => shapes.is_empty().then(Vec::new),
        }
    }

    /// Of a [`super::Table::keeper`]: takes over writers of rows that are columns already; `shapes`: what those that they name are
    /// here. The forms that the writers have here. `None`: there is no place for them.
    pub fn absorb_writers(&mut self, writers: &KeptWriters, shapes: &[ShapeId]) -> Option<Vec<RowForm>> {
        self.kept.absorb(writers, shapes)
    }

    pub(super) fn is_keeping(&self) -> bool {
        self.mode == Mode::ProduceKeep
    }

    /// Of a [`super::Table::keeper`]: the writers that forms name.
    pub fn writers(&self) -> &KeptWriters {
        &self.kept
    }

    /// Under `weir.on.invalid=null`, and in scans: the columns of the last row that became null, and why.
    pub fn nulled(&self) -> &[RowError] {
        &self.nulled
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.builder.rows()
    }

    /// Bytes of their columns, about what the arrays will take.
    pub fn len_bytes(&self) -> usize {
        self.builder.len_bytes()
    }

    /// The columns of all rows so far; the decoder begins anew.
    pub fn finish(&mut self) -> Result<RecordBatch, BuilderError> {
        self.builder.finish()
    }

    /// Forgets the last rows, until there are so many.
    pub fn truncate(&mut self, rows: usize) {
        self.builder.truncate(rows);
    }

    /// Forgets all rows so far.
    pub fn clear(&mut self) {
        self.builder.clear(KEEP_BYTES);
        self.nulled.clear();
    }

    fn key(&mut self, key: Option<&[u8]>) -> Result<(), RowError> {
        let Some(decoder) = &mut self.key else { return Ok(()) };
        match key {
            Some(key) => {
                let row = Row { parts: &self.parts, schema: &self.schema, mode: self.mode, bytes: key };
                decoder.decode(row, &mut self.builder, &mut self.nulled, &mut self.kept).map(drop)
            }
            None => self.all_null(RowPart::Key, RowErrorKind::NoKey),
        }
    }

    fn value(&mut self, value: Option<&[u8]>) -> Result<(), RowError> {
        match value {
            Some(value) => {
                let row = Row { parts: &self.parts, schema: &self.schema, mode: self.mode, bytes: value };
                self.form = self.value.decode(row, &mut self.builder, &mut self.nulled, &mut self.kept)?;
                Ok(())
            }
            None if self.parts.options.tombstones => Ok(()),
            None => self.all_null(RowPart::Value, RowErrorKind::Tombstone),
        }
    }

    /// Columns without a value become null when the row is finished, if all of them may.
    fn all_null(&self, part: RowPart, kind: RowErrorKind) -> Result<(), RowError> {
        let columns = part.columns(&self.schema);
        match columns.iter().map(|index| &self.schema.fields[*index]).find(|field| !field.nullable) {
            Some(field) => Err(RowError { column: field.name.clone(), position: 0, kind }),
            None => Ok(()),
        }
    }
}

impl PartDecoder {
    fn row(parts: &Parts, schema: &TableSchema, mode: Mode, format: &RowFormat, part: RowPart) -> PartDecoder {
        match format.kind {
            FormatKind::Json => {
                let reject = mode.is_new() && parts.options.on_unknown == OnUnknown::Reject;
                let unknown = if reject { OnUnknown::Reject } else { OnUnknown::Drop };
                let keep = mode.keeps() && part == RowPart::Value;
                let (unknown, fidelity) = match keep {
                    // In every layout the same bytes come back.
                    true if reject => (OnUnknown::Reject, parts.options.fidelity),
                    true => (OnUnknown::Keep, parts.options.fidelity),
                    false => (unknown, Fidelity::Semantic),
                };
                let options = JsonOptions { unknown, fidelity, limits: parts.options.limits };
                PartDecoder::Json(Box::new(JsonDecoder::with_aliases(schema, part, &parts.aliases_of(schema), options)))
            }
            FormatKind::Avro => PartDecoder::Avro(AvroRows::new(format, part)),
            FormatKind::Protobuf => PartDecoder::Protobuf(ProtobufRows::new(format, part)),
        }
    }

    fn decode(
        &mut self,
        row: Row<'_>,
        builder: &mut RowBuilder,
        nulled: &mut Vec<RowError>,
        kept: &mut KeptWriters,
    ) -> Result<RowForm, RowError> {
        match self {
            PartDecoder::Json(decoder) => {
                // No JSON text begins with 0x00, so what does is framed.
                let framed = framing::split(row.bytes);
                let text = framed.map_or(row.bytes, |framed| framed.payload);
                let lenient =
                    row.parts.options.on_invalid == OnInvalid::Null || matches!(row.mode, Mode::Scan | Mode::Keep);
                let form = if !lenient {
                    decoder.decode(text, builder)?
                } else {
                    let (form, mut errors) = decoder.decode_nulling(text, builder)?;
                    nulled.append(&mut errors);
                    form
                };
                // A shape does not know of a frame.
                let frame = &row.bytes[..row.bytes.len() - text.len()];
                Ok(match form {
                    form if frame.is_empty() => form,
                    form if !row.mode.keeps() => form,
                    // Writers are told by who stores columns.
                    _ if row.mode == Mode::ProduceKeep => RowForm::Raw,
                    RowForm::Shape(shape) => kept.form(frame, Spelling::Json(Some(shape))),
                    RowForm::Canonical => kept.form(frame, Spelling::Json(None)),
                    RowForm::Writer(_) | RowForm::Raw => RowForm::Raw,
                })
            }
            PartDecoder::Nothing => Ok(RowForm::Raw),
            PartDecoder::Avro(rows) => rows.decode(row, builder, kept),
            PartDecoder::Protobuf(rows) => rows.decode(row, builder, kept),
            PartDecoder::Raw(slot, data_type) => {
                let fail = |kind| RowError { column: row.schema.fields[*slot].name.clone(), position: 0, kind };
                if let Err(BuilderError::Full { bytes }) = builder.reserve_row(row.bytes.len()) {
                    return Err(fail(RowErrorKind::BuilderFull { bytes }));
                }
                key::read(data_type, row.bytes, &mut builder.columns[*slot]).map_err(fail).map(|()| RowForm::Raw)
            }
        }
    }
}
