//! Rows as one self-contained Arrow IPC stream.
use arrow_array::{Array, ArrayRef, RecordBatch};
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

/// Less is not compressed: setting a codec up for each buffer takes writer and reader longer than the bytes take on their way.
const PLAIN_BYTES_MAX: usize = 4 << 10;
/// Of more rows the bytes are not counted.
const PLAIN_ROWS_MAX: usize = 512;

/// The codec that is worth it for these batches, where `wanted` may be used.
pub fn worthwhile<'a>(batches: impl Iterator<Item = &'a RecordBatch> + Clone, wanted: StreamCodec) -> StreamCodec {
    let rows: usize = batches.clone().map(RecordBatch::num_rows).sum();
    // What cannot be counted is taken for large.
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(PLAIN_BYTES_MAX);
    let all = || batches.flat_map(RecordBatch::columns).map(bytes).sum::<usize>();
    if rows <= PLAIN_ROWS_MAX && all() < PLAIN_BYTES_MAX { StreamCodec::None } else { wanted }
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
