//! IPC streams of batches in memory: tail data, filtered rows, and row groups whose codec a client does not take.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use bytes::{BufMut, Bytes, BytesMut};

use crate::bytes_io::padding;
use crate::codec::{Codec, Compressor};
use crate::error::Result;
use crate::flatten::{plain_columns, plain_field};
use crate::ipc::{self, BatchShape, END_OF_STREAM};
use crate::layout::Layout;
use crate::writer::encode_column;

/// Makes one stream; plain types, no dictionaries.
pub struct StreamEncoder {
    schema: SchemaRef,
    codec: Codec,
    compressor: Compressor,
    out: BytesMut,
}

impl StreamEncoder {
    /// Begins with the schema message. Large, view and dictionary types become the plain ones.
    pub fn new(schema: &Schema, codec: Codec) -> Result<StreamEncoder> {
        let fields: Vec<Field> = schema.fields().iter().map(|field| plain_field(field)).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Layout::of(schema.fields())?;
        let mut out = BytesMut::new();
        out.put_slice(&ipc::schema_message(&schema));
        Ok(StreamEncoder { schema, codec, compressor: Compressor::new(codec)?, out })
    }

    /// The best codec among those a client takes (bit 0 LZ4_FRAME, bit 1 ZSTD): the stored one if it is among them.
    pub fn codec_for(accepted: u8, stored: Codec) -> Codec {
        match stored {
            Codec::None => Codec::None,
            Codec::Zstd(_) if accepted & 2 != 0 => stored,
            _ if accepted & 1 != 0 => Codec::Lz4,
            Codec::Lz4 if accepted & 2 != 0 => Codec::Zstd(1),
            Codec::Lz4 | Codec::Zstd(_) => Codec::None,
        }
    }

    /// The schema of the stream.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes so far.
    pub fn length(&self) -> usize {
        self.out.len()
    }

    /// Adds a record batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<ArrayRef> = plain_columns(batch, &self.schema)?;
        let mut shape = BatchShape { rows: batch.num_rows() as u64, ..BatchShape::default() };
        let mut bodies = Vec::new();
        for column in &columns {
            let stored = encode_column(column, &mut self.compressor, false)?;
            shape.nodes.extend(stored.nodes);
            shape.buffers.extend(stored.buffers.iter().map(|buffer| buffer.stored.len() as u64));
            bodies.extend(stored.buffers);
        }
        self.out.put_slice(&ipc::batch_message(&shape, self.codec));
        for buffer in bodies {
            self.out.put_slice(&buffer.stored);
            self.out.put_slice(padding(buffer.stored.len() as u64));
        }
        Ok(())
    }

    /// The stream and its CRC-32C.
    pub fn finish(mut self) -> (Bytes, u32) {
        self.out.put_slice(&END_OF_STREAM);
        let bytes = self.out.freeze();
        let crc = crc32c::crc32c(&bytes);
        (bytes, crc)
    }
}
