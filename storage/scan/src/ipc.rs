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

fn is_small(batches: &[&RecordBatch]) -> bool {
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let columns = || batches.iter().flat_map(|batch| batch.columns());
    // What cannot be counted is taken for large.
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(PLAIN_BYTES_MAX);
    rows <= PLAIN_ROWS_MAX && columns().map(bytes).sum::<usize>() < PLAIN_BYTES_MAX
}

/// Schema first, then the batches; a few bytes stay plain whatever the codec.
pub fn encode_stream<'a>(
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
    codec: StreamCodec,
) -> Result<Bytes, ArrowError> {
    let batches: Vec<&RecordBatch> = batches.into_iter().collect();
    let compression = match if is_small(&batches) { StreamCodec::None } else { codec } {
        StreamCodec::None => None,
        StreamCodec::Lz4Frame => Some(CompressionType::LZ4_FRAME),
        StreamCodec::Zstd => Some(CompressionType::ZSTD),
    };
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema, options)?;
    for batch in &batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(Bytes::from(writer.into_inner()?))
}
