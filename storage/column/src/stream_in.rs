//! IPC streams of clients, read against a registered schema only.
//!
//! The stream's own schema is converted here (never by arrow-ipc, which panics on strange ones), compared with the registered
//! one by name and type, and everything after it is bounded: messages by the bytes that are there, uncompressed sizes by the
//! limits, offsets, UTF-8 and dictionary keys by validation.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_cast::cast;
use arrow_ipc::{CompressionType, MessageHeader, MetadataVersion};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;

use crate::codec::{self, Codec};
use crate::decode::{Parts, columns};
use crate::error::{ColumnError, Result};
use crate::flatten::plain_field;
use crate::ipc::CONTINUATION;
use crate::ipc_read;
use crate::reader::batch;

/// Bounds of one stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Uncompressed bytes of all buffers.
    pub bytes_max: u64,
    /// Rows of all batches.
    pub rows_max: u64,
}

/// The batches of a stream; columns are those the stream has (a subset of `expected`, in its order), types those of
/// `expected`. Dictionaries are resolved. Field metadata come from `expected`.
pub fn decode_stream(stream: &Bytes, expected: &Schema, limits: StreamLimits) -> Result<Vec<RecordBatch>> {
    let mut from = Stream { bytes: stream, at: 0, left: limits.bytes_max, dictionaries: BTreeMap::new() };
    let first = from.next()?.ok_or_else(|| ColumnError::corrupt("a stream without schema"))?;
    let header = ipc_read::message(first.header)?;
    let schema =
        header.header_as_schema().ok_or_else(|| ColumnError::corrupt("a stream that begins without schema"))?;
    let (sent, ids) = sent_schema(schema)?;
    let wanted = registered(&sent, expected)?;
    let mut batches = Vec::new();
    let mut rows = 0u64;
    while let Some(message) = from.next()? {
        let header = ipc_read::message(message.header)?;
        if header.version() != MetadataVersion::V5 && header.version() != MetadataVersion::V4 {
            return Err(ColumnError::corrupt("a message of an unknown Arrow format version"));
        }
        match header.header_type() {
            MessageHeader::DictionaryBatch => from.dictionary(&header, message.body, &sent, &ids)?,
            MessageHeader::RecordBatch => {
                let batch = from.batch(&header, message.body, &sent, &ids, &wanted)?;
                rows += batch.num_rows() as u64;
                bounded("the number of rows", rows, limits.rows_max)?;
                batches.push(batch);
            }
            other => return Err(ColumnError::corrupt(format!("a message of kind {other:?} in a stream"))),
        }
    }
    Ok(batches)
}

fn bounded(what: &str, value: u64, max: u64) -> Result<()> {
    match value <= max {
        true => Ok(()),
        false => Err(ColumnError::Limit { what: what.to_owned(), value, max }),
    }
}

/// The schema as it was sent, and dictionary ids of dictionary columns. Dictionaries inside of nested columns, and large
/// types, are refused: the registered schema has none, and clients of this protocol cast before they send.
fn sent_schema(from: arrow_ipc::Schema<'_>) -> Result<(Schema, Vec<i64>)> {
    let fields = ipc_read::fields(from)?;
    for field in fields.0.fields() {
        let plain = match field.data_type() {
            DataType::Dictionary(_, values) => field.as_ref().clone().with_data_type((**values).clone()),
            _ => field.as_ref().clone(),
        };
        crate::layout::Layout::of(&Fields::from(vec![plain]))?;
    }
    Ok(fields)
}

/// The fields of `expected` that were sent, in the order they were sent.
fn registered(sent: &Schema, expected: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::with_capacity(sent.fields().len());
    for field in sent.fields() {
        let name = field.name();
        let Ok(known) = expected.field_with_name(name) else {
            return Err(ColumnError::NoColumn { path: name.clone() });
        };
        let twice = fields.iter().any(|other| other.name() == name);
        let (found, wanted) = (plain_field(field), known.data_type());
        if twice || !found.data_type().equals_datatype(wanted) {
            let found = if twice { "a column sent twice".to_owned() } else { field.data_type().to_string() };
            return Err(ColumnError::Mismatch { column: name.clone(), found, expected: wanted.to_string() });
        }
        fields.push(known.clone());
    }
    Ok(Arc::new(Schema::new_with_metadata(fields, expected.metadata().clone())))
}

struct Frame<'a> {
    header: &'a [u8],
    body: Bytes,
}

struct Stream<'a> {
    bytes: &'a Bytes,
    at: usize,
    /// Uncompressed bytes that may still come.
    left: u64,
    dictionaries: BTreeMap<i64, ArrayRef>,
}

impl<'a> Stream<'a> {
    fn take(&mut self, length: usize) -> Result<usize> {
        let from = self.at;
        match from.checked_add(length) {
            Some(end) if end <= self.bytes.len() => {
                self.at = end;
                Ok(from)
            }
            _ => Err(ColumnError::corrupt(format!("the stream ends at {} inside of a message", self.bytes.len()))),
        }
    }

    /// The next message; `None` at the end, marked or not.
    fn next(&mut self) -> Result<Option<Frame<'a>>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let bytes = self.bytes;
        let start = self.take(8)?;
        let (marker, length) = bytes[start..start + 8].split_at(4);
        if marker != CONTINUATION {
            return Err(ColumnError::corrupt(format!("no message at byte {start}")));
        }
        let length = i32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        if length == 0 {
            return match self.at == bytes.len() {
                true => Ok(None),
                false => Err(ColumnError::corrupt("bytes after the end of the stream")),
            };
        }
        let length = usize::try_from(length).map_err(|_| ColumnError::corrupt("a message of negative length"))?;
        bounded("the size of a message header", length as u64, ipc_read::HEADER_BYTES_MAX)?;
        let start = self.take(length)?;
        let header = &bytes[start..start + length];
        let body = ipc_read::message(header)?.bodyLength();
        let body = usize::try_from(body).map_err(|_| ColumnError::corrupt("a body of negative length"))?;
        let start = self.take(body)?;
        Ok(Some(Frame { header, body: bytes.slice(start..start + body) }))
    }

    fn dictionary(&mut self, header: &arrow_ipc::Message<'_>, body: Bytes, sent: &Schema, ids: &[i64]) -> Result<()> {
        let none = || ColumnError::corrupt("a dictionary message without dictionary");
        let dictionary = header.header_as_dictionary_batch().ok_or_else(none)?;
        let data = dictionary.data().ok_or_else(none)?;
        let keyed = sent.fields().iter().filter(|field| matches!(field.data_type(), DataType::Dictionary(_, _)));
        let field = keyed.zip(ids).find(|(_, id)| **id == dictionary.id()).map(|(field, _)| field);
        let field =
            field.ok_or_else(|| ColumnError::corrupt(format!("dictionary {} of no column", dictionary.id())))?;
        if dictionary.isDelta() {
            return Err(ColumnError::corrupt("a delta dictionary: send each dictionary whole"));
        }
        let values = Arc::new(plain_field(field).with_nullable(true));
        let fields = Fields::from(vec![values]);
        let values = self.columns(&data, body, &fields, &mut std::iter::empty())?;
        self.dictionaries.insert(dictionary.id(), values[0].clone());
        Ok(())
    }

    fn batch(
        &mut self,
        header: &arrow_ipc::Message<'_>,
        body: Bytes,
        sent: &Schema,
        ids: &[i64],
        wanted: &SchemaRef,
    ) -> Result<RecordBatch> {
        let data = header.header_as_record_batch();
        let data = data.ok_or_else(|| ColumnError::corrupt("a batch message without batch"))?;
        let known: Vec<ArrayRef> = ids.iter().filter_map(|id| self.dictionaries.get(id).cloned()).collect();
        if known.len() != ids.len() {
            return Err(ColumnError::corrupt("a batch before its dictionaries"));
        }
        let rows = usize::try_from(data.length()).map_err(|_| ColumnError::corrupt("a batch of negative length"))?;
        let arrays = self.columns(&data, body, sent.fields(), &mut known.into_iter())?;
        let resolved = arrays.iter().zip(wanted.fields()).map(|(array, field)| {
            // What a dictionary expands to counts too: keys are small, values need not be.
            if let DataType::Dictionary(_, _) = array.data_type() {
                self.left = self.left.saturating_sub(expanded(array)?);
                bounded("the uncompressed size of buffers", u64::from(self.left == 0), 0)?;
            }
            match array.data_type() == field.data_type() {
                true => Ok(array.clone()),
                false => Ok(cast(array, field.data_type())?),
            }
        });
        let resolved = resolved.collect::<Result<Vec<_>>>()?;
        batch(wanted.clone(), resolved, rows)
    }

    fn columns(
        &mut self,
        data: &arrow_ipc::RecordBatch<'_>,
        body: Bytes,
        fields: &Fields,
        dictionaries: &mut dyn Iterator<Item = ArrayRef>,
    ) -> Result<Vec<ArrayRef>> {
        let negative = |_| ColumnError::corrupt("a negative length in a batch");
        let codec = match data.compression().map(|compression| compression.codec()) {
            None => Codec::None,
            Some(CompressionType::LZ4_FRAME) => Codec::Lz4,
            Some(CompressionType::ZSTD) => Codec::Zstd(0),
            Some(other) => return Err(ColumnError::corrupt(format!("compression {other:?}"))),
        };
        let rows = u64::try_from(data.length()).map_err(negative)?;
        let mut nodes = Vec::new();
        for node in data.nodes().into_iter().flatten() {
            nodes.push((
                u64::try_from(node.length()).map_err(negative)?,
                u64::try_from(node.null_count()).map_err(negative)?,
            ));
        }
        let mut opened: Vec<Result<Buffer>> = Vec::new();
        for buffer in data.buffers().into_iter().flatten() {
            let from = usize::try_from(buffer.offset()).map_err(negative)?;
            let length = usize::try_from(buffer.length()).map_err(negative)?;
            let Some(end) = from.checked_add(length).filter(|end| *end <= body.len()) else {
                return Err(ColumnError::corrupt("a buffer beyond its message"));
            };
            let buffer = codec::open(codec, body.slice(from..end), self.left)?;
            self.left -= buffer.len() as u64;
            opened.push(Ok(buffer));
        }
        let (mut nodes, mut opened) = (nodes.into_iter(), opened.into_iter());
        let mut parts = Parts { nodes: &mut nodes, buffers: &mut opened, dictionaries };
        let arrays = columns(fields, rows, &mut parts)?;
        match (nodes.next(), opened.next()) {
            (None, None) => Ok(arrays),
            _ => Err(ColumnError::corrupt("a batch with more nodes or buffers than its schema has")),
        }
    }
}

/// Bytes of a dictionary array's rows as plain values. Only strings and bytes come as dictionaries.
fn expanded(array: &ArrayRef) -> Result<u64> {
    let data = array.to_data();
    let Some(values) = data.child_data().first() else { return Ok(0) };
    if !matches!(values.data_type(), DataType::Utf8 | DataType::Binary) {
        return Err(ColumnError::corrupt(format!("a dictionary of {} values", values.data_type())));
    }
    let offsets = values.buffers().first().map(|buffer| buffer.typed_data::<i32>()).unwrap_or_default();
    let largest = offsets.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).max().unwrap_or(0);
    Ok(array.len() as u64 * (largest.max(0) as u64 + 4))
}
