//! What a batch from a producer must fulfil before it is appended: one CRC pass, records stay closed.

use super::BatchError;
use super::batch::{BatchHeader, Compression, MIN_RECORD_LEN, TimestampType, verify_crc};

/// Limits for [`validate_produced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationLimits {
    /// Largest batch, as stored; the topic's `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// Largest records section after decompression; bounds the record count that a compressed batch can claim.
    pub max_decompressed_bytes: usize,
}

impl Default for ValidationLimits {
    /// Kafka's default for `max.message.bytes`, and 128 MiB decompressed.
    fn default() -> Self {
        ValidationLimits { max_batch_bytes: 1_048_588, max_decompressed_bytes: 128 << 20 }
    }
}

/// Checks what a client sent as the records of one partition: exactly one data batch, by its header and CRC.
///
/// Costs one CRC pass. The records themselves are not opened: for that see `walk_records`.
pub fn validate_produced(bytes: &[u8], limits: &ValidationLimits) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    let total = header.total_len();
    if bytes.len() < total {
        return Err(BatchError::TooShort { have: bytes.len(), need: total });
    }
    if total > limits.max_batch_bytes {
        return Err(BatchError::TooLarge { bytes: total, limit: limits.max_batch_bytes });
    }
    // Before what follows the batch is blamed: with a wrong length, the bytes after it are part of it.
    verify_crc(&bytes[..total])?;
    if bytes.len() > total {
        return Err(BatchError::TrailingBytes { bytes: bytes.len() - total });
    }
    if header.base_offset.0 != 0 {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset.0 });
    }
    check_produced_flags(&header)?;
    check_produced_count(&header, limits)?;
    validate_producer(&header)?;
    Ok(header)
}

fn check_produced_flags(header: &BatchHeader) -> Result<(), BatchError> {
    let attributes = header.attributes;
    if attributes.is_control() {
        return Err(BatchError::ControlBatch);
    }
    if attributes.has_delete_horizon() || attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::BrokerOnlyAttributes { attributes: attributes.bits() });
    }
    Ok(())
}

fn check_produced_count(header: &BatchHeader, limits: &ValidationLimits) -> Result<(), BatchError> {
    // Otherwise a tiny batch could claim, and burn, two billion offsets.
    let room = match header.attributes.compression() {
        Compression::None => header.body_len(),
        _ => limits.max_decompressed_bytes,
    };
    let count = header.record_count as usize;
    let fits = count.checked_mul(MIN_RECORD_LEN).is_some_and(|least| least <= room);
    if count == 0 || count - 1 != header.last_offset_delta as usize || !fits {
        return Err(header.count_mismatch());
    }
    Ok(())
}

/// Checks that producer id, epoch and sequence belong together. Without an id the other two mean nothing: sarama and kafkajs send
/// zeros there, others -1.
pub fn validate_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let transactional = header.attributes.is_transactional();
    let coherent = match header.producer_id {
        -1 => !transactional,
        id => id >= 0 && header.producer_epoch >= 0 && header.base_sequence >= 0,
    };
    if coherent {
        return Ok(());
    }
    Err(BatchError::ProducerFields {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional,
    })
}

#[cfg(test)]
mod tests;
