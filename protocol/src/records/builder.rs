//! Writes record batches: data batches record by record, and the control batches that end transactions.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{Attributes, BatchHeader, HEADER_LEN, LENGTH_OVERHEAD, TimestampType, write_crc};
use super::compress::{CompressError, compress};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};
use super::{Compression, RecordError};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Why a batch cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// A batch needs at least one record.
    #[error("a record batch needs at least one record")]
    Empty,
    /// Lengths on the wire are 32-bit.
    #[error("record batch of {bytes} bytes exceeds the 2 GiB that its length field can express")]
    TooLarge {
        /// Size so far.
        bytes: usize,
    },
    /// Offset deltas must ascend.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The codec failed.
    #[error(transparent)]
    Compress(#[from] CompressError),
}

/// Builds one batch. Deltas count from the first record's timestamp, as the Java client does it.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    level: Option<i32>,
    /// Room for the header, then the plain records.
    bytes: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// An empty batch at offset 0: no producer id, no compression, no leader epoch.
    #[must_use]
    pub fn new() -> BatchBuilder {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: 0,
            leader_epoch: LeaderEpoch(-1),
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: -1,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        BatchBuilder { header, compression: Compression::None, level: None, bytes: vec![0; HEADER_LEN] }
    }

    /// Sets the offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.header.base_offset = offset;
        self
    }

    /// Sets the leader epoch.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    /// Makes the batch idempotent: producer, its epoch and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.header.producer_id = id.0;
        self.header.producer_epoch = epoch.0;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Sets codec and level (`None`: the codec's default).
    #[must_use]
    pub fn compression(mut self, compression: Compression, level: Option<i32>) -> Self {
        self.compression = compression;
        self.level = level;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    /// Marks the batch as a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    /// Gives every record the broker's time.
    #[must_use]
    pub fn log_append_time(mut self, now: Timestamp) -> Self {
        self.header.attributes = self.header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = now.0;
        self
    }

    /// Lets the batch end behind its last record: what lies between was there once, or is not shown.
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.header.last_offset_delta = self.header.last_offset_delta.max(delta);
        self
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.header.record_count as usize
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Size of the batch so far, before compression.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a record at the next offset.
    pub fn append(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
        timestamp: Timestamp,
    ) -> Result<(), BuildError> {
        let offset_delta = self.header.last_offset_delta.saturating_add(1);
        self.append_at(offset_delta, key, value, headers, timestamp)
    }

    /// Appends a record at a chosen distance from the base offset, beyond that of the record before.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
        timestamp: Timestamp,
    ) -> Result<(), BuildError> {
        let header = &mut self.header;
        if offset_delta <= header.last_offset_delta {
            return Err(RecordError::OffsetDelta {
                index: header.record_count as usize,
                offset_delta,
                last_offset_delta: header.last_offset_delta,
            }
            .into());
        }
        let base_timestamp = if header.record_count == 0 { timestamp.0 } else { header.base_timestamp };
        let parts = RecordParts {
            timestamp_delta: timestamp.0.wrapping_sub(base_timestamp),
            offset_delta,
            key,
            value,
            headers,
        };
        let body_len = parts.body_len();
        let bytes = self.bytes.len().saturating_add(body_len).saturating_add(5);
        if bytes > i32::MAX as usize {
            return Err(BuildError::TooLarge { bytes });
        }
        parts.write(body_len, &mut self.bytes);
        header.base_timestamp = base_timestamp;
        header.last_offset_delta = offset_delta;
        header.record_count += 1;
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = header.max_timestamp.max(timestamp.0);
        }
        Ok(())
    }

    /// Compresses and seals the batch.
    pub fn build(self) -> Result<Bytes, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let mut header = self.header;
        header.attributes = header.attributes.with_compression(self.compression);
        seal(header, packed(self.bytes, self.compression, self.level)?)
    }
}

impl BatchBuilder {
    /// A batch with something else in place of its records, for those who know how to make `records` records of it, from the base
    /// offset on and without gaps. It is compressed as records are. `times`: the smallest and the largest timestamp.
    pub fn build_around(
        self,
        content: &[Bytes],
        records: usize,
        times: (Timestamp, Timestamp),
    ) -> Result<Bytes, BuildError> {
        if records == 0 {
            return Err(BuildError::Empty);
        }
        let record_count = i32::try_from(records).map_err(|_| BuildError::TooLarge { bytes: records })?;
        let mut header = self.header;
        header.attributes = header.attributes.with_compression(self.compression);
        (header.record_count, header.last_offset_delta) = (record_count, record_count - 1);
        (header.base_timestamp, header.max_timestamp) = (times.0.0, times.1.0);
        let mut plain = vec![0; HEADER_LEN];
        plain.reserve_exact(content.iter().map(Bytes::len).sum());
        content.iter().for_each(|part| plain.extend_from_slice(part));
        seal(header, packed(plain, self.compression, self.level)?)
    }
}

/// Compresses what is behind the room for a header.
fn packed(plain: Vec<u8>, codec: Compression, level: Option<i32>) -> Result<Vec<u8>, BuildError> {
    if codec == Compression::None {
        return Ok(plain);
    }
    let mut packed = Vec::with_capacity(HEADER_LEN + plain.len() / 2);
    packed.resize(HEADER_LEN, 0);
    compress(codec, level, &plain[HEADER_LEN..], &mut packed)?;
    Ok(packed)
}

/// Writes `header` over the first 61 bytes of `bytes` with the right length and CRC.
pub(super) fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Result<Bytes, BuildError> {
    let too_large = BuildError::TooLarge { bytes: bytes.len() };
    header.batch_length = i32::try_from(bytes.len() - LENGTH_OVERHEAD).map_err(|_| too_large)?;
    let mut head = [0; HEADER_LEN];
    header.write(&mut head);
    bytes[..HEADER_LEN].copy_from_slice(&head);
    write_crc(&mut bytes);
    Ok(Bytes::from(bytes))
}

struct RecordParts<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl RecordParts<'_> {
    /// Bytes after the length field. Lengths beyond 32 bits give a sum that the caller refuses.
    fn body_len(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(key, value)| field_len(Some(key)).saturating_add(field_len(*value)))
            .fold(0, usize::saturating_add);
        let fixed = 1
            + varlong_len(self.timestamp_delta)
            + varint_len(self.offset_delta)
            + varint_len(wire_len(self.headers.len()));
        fixed.saturating_add(field_len(self.key)).saturating_add(field_len(self.value)).saturating_add(headers)
    }

    fn write(&self, body_len: usize, out: &mut Vec<u8>) {
        put_varint(out, wire_len(body_len));
        out.push(0);
        put_varlong(out, self.timestamp_delta);
        put_varint(out, self.offset_delta);
        put_field(out, self.key);
        put_field(out, self.value);
        put_varint(out, wire_len(self.headers.len()));
        for (key, value) in self.headers {
            put_field(out, Some(key));
            put_field(out, *value);
        }
    }
}

/// The caller bounds the whole batch to 2 GiB before anything is written, so this never saturates in written bytes.
fn wire_len(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

fn field_len(field: Option<&[u8]>) -> usize {
    match field {
        None => 1,
        Some(bytes) => varint_len(wire_len(bytes.len())).saturating_add(bytes.len()),
    }
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, wire_len(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
