//! What a stream says it will decompress to, before anything of it is decompressed.
//!
//! Each compressed buffer of Arrow IPC begins with its length after decompression, and a reader allocates what it says.

use arrow_ipc::{MessageHeader, RecordBatch as IpcBatch, root_as_message};

/// Marks the beginning of a message.
const CONTINUATION: u32 = u32::MAX;

/// Adds up the bytes of all buffers of a stream as they will be in memory. Refuses a stream whose parts lie outside of it and
/// one that exceeds `bytes_max`.
pub(crate) fn decoded_bytes(stream: &[u8], bytes_max: u64) -> Result<u64, String> {
    let mut rest = stream;
    let mut total = 0_u64;
    while let Some((metadata, after)) = message(rest)? {
        let message = root_as_message(metadata).map_err(|error| format!("a message does not parse: {error}"))?;
        let length = usize::try_from(message.bodyLength()).ok().filter(|length| *length <= after.len());
        let length = length.ok_or("a message is longer than its stream")?;
        let (body, next) = after.split_at(length);
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
            _ => None,
        };
        if let Some(batch) = batch {
            total = total.saturating_add(batch_bytes(&batch, body)?);
        }
        if total > bytes_max {
            return Err(format!("its columns take {total} bytes, more than the limit of {bytes_max}"));
        }
        rest = next;
    }
    Ok(total)
}

/// Metadata of a message, and what follows it.
type Parts<'a> = (&'a [u8], &'a [u8]);

/// The next message; none at the end of the stream.
fn message(stream: &[u8]) -> Result<Option<Parts<'_>>, String> {
    let Some((first, mut rest)) = word(stream) else { return Ok(None) };
    let mut length = first;
    if first == CONTINUATION {
        (length, rest) = word(rest).ok_or("a message ends within its length")?;
    }
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    match length {
        0 => Ok(None),
        length if length <= rest.len() => Ok(Some(rest.split_at(length))),
        _ => Err("a message is longer than its stream".to_owned()),
    }
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}

fn batch_bytes(batch: &IpcBatch<'_>, body: &[u8]) -> Result<u64, String> {
    let mut total = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let part = |value: i64| usize::try_from(value).ok();
        let bytes = part(buffer.offset()).and_then(|from| body.get(from..from.checked_add(part(buffer.length())?)?));
        let bytes = bytes.ok_or("a buffer lies outside of its message")?;
        let declared = match bytes.split_first_chunk() {
            Some((length, _)) if batch.compression().is_some() => i64::from_le_bytes(*length),
            // Uncompressed, or nothing at all.
            _ => -1,
        };
        // -1: the buffer was left as it is.
        total = total.saturating_add(u64::try_from(declared).unwrap_or(bytes.len() as u64));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    fn stream(compression: Option<CompressionType>) -> Vec<u8> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![7; 10_000]))]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
        writer.write(&batch).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn what_buffers_become_is_counted_before_they_are_decompressed() {
        for codec in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let stream = stream(codec);
            let counted = decoded_bytes(&stream, u64::MAX).unwrap();
            assert!((160_000..170_000).contains(&counted), "{codec:?}: {counted}");
            assert!(codec.is_none() || stream.len() < 16_000);
            assert!(decoded_bytes(&stream, 100_000).unwrap_err().contains("the limit of 100000"));
        }
    }

    /// Every byte flipped and every length cut: an answer or an error, and no panic.
    #[test]
    fn damaged_streams_are_refused_or_counted() {
        let good = stream(Some(CompressionType::LZ4_FRAME));
        for at in 0..good.len().min(1500) {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            let _ = decoded_bytes(&bad, 1 << 30);
            let _ = decoded_bytes(&good[..at], 1 << 30);
        }
        assert!(decoded_bytes(&good[..good.len() / 2], 1 << 30).is_err());
    }
}
