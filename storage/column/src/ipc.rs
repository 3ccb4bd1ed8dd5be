//! Arrow IPC messages and the file footer, written with arrow-ipc's flatbuffers.

use arrow_ipc::convert::IpcSchemaEncoder;
use arrow_ipc::writer::DictionaryTracker;
use arrow_ipc::{
    Block, BodyCompressionBuilder, BodyCompressionMethod, DictionaryBatchBuilder, FieldNode, FooterBuilder,
    MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder,
};
use arrow_schema::Schema;
use bytes::{BufMut, Bytes, BytesMut};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use crate::bytes_io::{padded, padding};
use crate::codec::Codec;

/// Begin and end of an Arrow file.
pub(crate) const MAGIC: &[u8; 6] = b"ARROW1";
/// Ends a stream, and the messages of a file.
pub(crate) const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// Begins a message, before its length.
pub(crate) const CONTINUATION: [u8; 4] = [0xff; 4];

/// What a batch message says about its body.
#[derive(Debug, Default, Clone)]
pub(crate) struct BatchShape {
    pub(crate) rows: u64,
    /// Rows and nulls of each node.
    pub(crate) nodes: Vec<(u64, u64)>,
    /// Stored length of each buffer; each begins at the next multiple of 8.
    pub(crate) buffers: Vec<u64>,
}

impl BatchShape {
    /// Bytes of the body.
    pub(crate) fn body(&self) -> u64 {
        self.buffers.iter().map(|length| padded(*length)).sum()
    }
}

/// Adds continuation marker, length and padding.
fn framed(flatbuffer: &[u8]) -> Bytes {
    let length = padded(flatbuffer.len() as u64);
    let mut out = BytesMut::with_capacity(length as usize + 8);
    out.put_slice(&CONTINUATION);
    out.put_u32_le(length as u32);
    out.put_slice(flatbuffer);
    out.put_slice(padding(flatbuffer.len() as u64));
    out.freeze()
}

fn message(
    mut builder: FlatBufferBuilder<'_>,
    kind: MessageHeader,
    header: WIPOffset<UnionWIPOffset>,
    body: u64,
) -> Bytes {
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(kind);
    message.add_bodyLength(body as i64);
    message.add_header(header);
    let root = message.finish();
    builder.finish(root, None);
    framed(builder.finished_data())
}

/// The schema message. Dictionary ids count the dictionary columns from 0.
pub(crate) fn schema_message(schema: &Schema) -> Bytes {
    let mut builder = FlatBufferBuilder::new();
    let mut dictionaries = DictionaryTracker::new(false);
    let header = IpcSchemaEncoder::new()
        .with_dictionary_tracker(&mut dictionaries)
        .schema_to_fb_offset(&mut builder, schema)
        .as_union_value();
    message(builder, MessageHeader::Schema, header, 0)
}

/// The record batch message, without its body.
pub(crate) fn batch_message(shape: &BatchShape, codec: Codec) -> Bytes {
    let mut builder = FlatBufferBuilder::new();
    let header = record_batch(&mut builder, shape, codec).as_union_value();
    message(builder, MessageHeader::RecordBatch, header, shape.body())
}

/// The dictionary batch message, without its body.
pub(crate) fn dictionary_message(id: i64, shape: &BatchShape, codec: Codec) -> Bytes {
    let mut builder = FlatBufferBuilder::new();
    let data = record_batch(&mut builder, shape, codec);
    let mut dictionary = DictionaryBatchBuilder::new(&mut builder);
    dictionary.add_id(id);
    dictionary.add_data(data);
    dictionary.add_isDelta(false);
    let header = dictionary.finish().as_union_value();
    message(builder, MessageHeader::DictionaryBatch, header, shape.body())
}

fn record_batch<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    shape: &BatchShape,
    codec: Codec,
) -> WIPOffset<arrow_ipc::RecordBatch<'a>> {
    let compression = codec.compression().map(|codec| {
        let mut compression = BodyCompressionBuilder::new(builder);
        compression.add_method(BodyCompressionMethod::BUFFER);
        compression.add_codec(codec);
        compression.finish()
    });
    let mut at = 0;
    let buffers: Vec<arrow_ipc::Buffer> = shape
        .buffers
        .iter()
        .map(|length| {
            let buffer = arrow_ipc::Buffer::new(at as i64, *length as i64);
            at += padded(*length);
            buffer
        })
        .collect();
    let nodes: Vec<FieldNode> =
        shape.nodes.iter().map(|(rows, nulls)| FieldNode::new(*rows as i64, *nulls as i64)).collect();
    let buffers = builder.create_vector(&buffers);
    let nodes = builder.create_vector(&nodes);
    let mut batch = RecordBatchBuilder::new(builder);
    batch.add_length(shape.rows as i64);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    if let Some(compression) = compression {
        batch.add_compression(compression);
    }
    batch.finish()
}

/// Where a message lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageAt {
    pub(crate) offset: u64,
    /// With marker, length and padding.
    pub(crate) header: u32,
    pub(crate) body: u64,
    pub(crate) crc: u32,
}

/// The footer's flatbuffer.
pub(crate) fn footer(schema: &Schema, dictionaries: &[MessageAt], batches: &[MessageAt]) -> Bytes {
    let block = |at: &MessageAt| Block::new(at.offset as i64, at.header as i32, at.body as i64);
    let mut builder = FlatBufferBuilder::new();
    let dictionary_blocks = builder.create_vector(&dictionaries.iter().map(block).collect::<Vec<_>>());
    let batch_blocks = builder.create_vector(&batches.iter().map(block).collect::<Vec<_>>());
    let mut tracker = DictionaryTracker::new(false);
    let schema =
        IpcSchemaEncoder::new().with_dictionary_tracker(&mut tracker).schema_to_fb_offset(&mut builder, schema);
    let mut footer = FooterBuilder::new(&mut builder);
    footer.add_version(MetadataVersion::V5);
    footer.add_schema(schema);
    footer.add_dictionaries(dictionary_blocks);
    footer.add_recordBatches(batch_blocks);
    let root = footer.finish();
    builder.finish(root, None);
    Bytes::copy_from_slice(builder.finished_data())
}
