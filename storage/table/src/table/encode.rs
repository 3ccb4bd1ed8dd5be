//! Columns back to rows of the topic.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{FormatKind, Framing, KeyFormat, Parts, RowFormat, key};
use crate::codec::avro::{AvroCodec, AvroRows};
use crate::codec::json::{JsonEncoder, JsonRows, ShapeSet};
use crate::codec::protobuf::{ProtobufCodec, ProtobufRows};
use crate::codec::reader::Reader;
use crate::codec::{EncodeError, RowForm, RowPart, framing};
use crate::schema::{DataType, TableSchema};

/// Writes columns of one version of a table as keys and values of its topic.
#[derive(Debug)]
pub struct RowEncoder {
    value: PartEncoder,
    key: Option<PartEncoder>,
}

#[derive(Debug)]
enum PartEncoder {
    Json(Box<JsonEncoder>, Option<i32>),
    Avro(Arc<AvroCodec>, Option<i32>),
    Protobuf(Arc<ProtobufCodec>, Vec<u8>),
    Raw { slot: usize, name: String, data_type: DataType },
}

/// The rows of one batch, ready to be written.
#[derive(Debug)]
pub struct EncodedRows<'a> {
    value: PartRows<'a>,
    key: Option<PartRows<'a>>,
}

#[derive(Debug)]
enum PartRows<'a> {
    Json(JsonRows<'a>, Option<i32>),
    Avro(AvroRows<'a>, Option<i32>),
    Protobuf(ProtobufRows<'a>, &'a [u8]),
    Raw { name: &'a str, data_type: &'a DataType, column: Reader<'a> },
}

impl RowEncoder {
    pub(super) fn new(parts: &Parts, schema: &TableSchema) -> Result<RowEncoder, EncodeError> {
        let key = match &parts.key {
            None => None,
            Some(KeyFormat::Row(format)) => Some(PartEncoder::row(parts, schema, format, RowPart::Key)?),
            Some(KeyFormat::Raw) => schema.key_columns().first().map(|slot| {
                let field = &schema.fields[*slot];
                PartEncoder::Raw { slot: *slot, name: field.name.clone(), data_type: field.data_type.clone() }
            }),
        };
        Ok(RowEncoder { value: PartEncoder::row(parts, schema, &parts.value, RowPart::Value)?, key })
    }

    /// Looks at the arrays of a batch once, for all its rows. The batch has all columns of the version, in order.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<EncodedRows<'a>, EncodeError> {
        let key = self.key.as_ref().map(|key| key.rows(batch)).transpose()?;
        Ok(EncodedRows { value: self.value.rows(batch)?, key })
    }
}

impl PartEncoder {
    fn row(parts: &Parts, schema: &TableSchema, format: &RowFormat, part: RowPart) -> Result<PartEncoder, EncodeError> {
        let id = match format.framing {
            Framing::Plain => None,
            Framing::Registry => format.schema.as_ref().and_then(|schema| schema.id),
        };
        Ok(match format.kind {
            FormatKind::Json => PartEncoder::Json(Box::new(JsonEncoder::new(schema, part, &ShapeSet::default())?), id),
            FormatKind::Avro => {
                let codec = parts.avro(format, schema, part, false, None);
                PartEncoder::Avro(codec.map_err(|kind| EncodeError::Schema { reason: kind.to_string() })?, id)
            }
            FormatKind::Protobuf => {
                let codec = parts.protobuf(format, schema, part, false, (None, &format.message));
                let codec = codec.map_err(|kind| EncodeError::Schema { reason: kind.to_string() })?;
                let mut frame = Vec::new();
                if let Some(id) = id {
                    framing::write(id, &mut frame);
                    framing::write_indexes(&format.message, &mut frame);
                }
                PartEncoder::Protobuf(codec, frame)
            }
        })
    }

    fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<PartRows<'a>, EncodeError> {
        Ok(match self {
            PartEncoder::Json(encoder, id) => PartRows::Json(encoder.rows(batch)?, *id),
            PartEncoder::Avro(codec, id) => PartRows::Avro(codec.rows(batch)?, *id),
            PartEncoder::Protobuf(codec, frame) => PartRows::Protobuf(codec.rows(batch)?, frame),
            PartEncoder::Raw { slot, name, data_type } => {
                let found = batch.columns().get(*slot);
                let array = found.filter(|array| *array.data_type() == data_type.to_arrow());
                let array = array.ok_or_else(|| EncodeError::Column {
                    column: name.clone(),
                    found: found.map_or("missing".to_string(), |array| array.data_type().to_string()),
                    expected: data_type.to_arrow().to_string(),
                })?;
                PartRows::Raw { name, data_type, column: Reader::new(array) }
            }
        })
    }
}

impl EncodedRows<'_> {
    /// Appends the value of row `row` to `out`.
    pub fn value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.value.write(row, out).map(|_| ())
    }

    /// Appends the key of row `row` to `out`; false: it has none.
    pub fn key(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        self.key.as_ref().map_or(Ok(false), |key| key.write(row, out))
    }
}

impl PartRows<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        let frame = |id: &Option<i32>, out: &mut Vec<u8>| {
            if let Some(id) = id {
                framing::write(*id, out);
            }
        };
        match self {
            PartRows::Json(rows, id) => {
                frame(id, out);
                rows.write(row, RowForm::Canonical, out)?;
            }
            PartRows::Avro(rows, id) => {
                frame(id, out);
                rows.write(row, out)?;
            }
            PartRows::Protobuf(rows, frame) => {
                out.extend_from_slice(frame);
                rows.write(row, out)?;
            }
            PartRows::Raw { .. } => return self.write_raw(row, out),
        }
        Ok(true)
    }

    fn write_raw(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        let PartRows::Raw { name, data_type, column } = self else { return Ok(false) };
        if column.is_null(row) {
            return Ok(false);
        }
        if key::write(data_type, column.value(row), out) {
            return Ok(true);
        }
        Err(EncodeError::Value { column: (*name).to_string(), row })
    }
}
