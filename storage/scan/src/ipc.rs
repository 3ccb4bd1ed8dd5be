//! Rows as one self-contained Arrow IPC stream.
use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;

/// Compression of the bodies of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamCodec {
    None,
    Lz4Frame,
    Zstd,
}

/// Schema first, then the batches.
pub fn encode_stream<'a>(
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
    codec: StreamCodec,
) -> Result<Bytes, ArrowError> {
    let compression = match codec {
        StreamCodec::None => None,
        StreamCodec::Lz4Frame => Some(CompressionType::LZ4_FRAME),
        StreamCodec::Zstd => Some(CompressionType::ZSTD),
    };
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema, options)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(Bytes::from(writer.into_inner()?))
}
