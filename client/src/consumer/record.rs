//! A record as a consumer sees it, and the walk from fetched bytes to records.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::columnar::ColumnarResult;
use weir_protocol::records::{
    BatchSlice, ControlType, DecompressLimits, Records, TimestampType, batches, decode, verify_crc,
};

use crate::admin::Isolation;
use crate::error::{ClientError, Result};

/// One header of a record. Keys are UTF-8 by convention only, and may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its key.
    pub key: Bytes,
    /// Its value; null and empty differ.
    pub value: Option<Bytes>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970; negative if the producer set none.
    pub timestamp_ms: i64,
    /// Whether producer or broker set the timestamp.
    pub timestamp_type: TimestampType,
    /// Epoch of the leader that wrote it, if known.
    pub leader_epoch: Option<i32>,
    /// Its key; null and empty differ.
    pub key: Option<Bytes>,
    /// Its value; null is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers in the order of the producer.
    pub headers: Vec<RecordHeader>,
}

/// A transaction that was aborted: the producer's data from this offset until its abort marker is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
}

/// What came for one partition, not yet opened.
#[derive(Debug, Clone)]
pub(crate) struct FetchedData {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The offset that was asked for; earlier records of its batch are skipped.
    pub(crate) from: i64,
    pub(crate) bytes: Bytes,
    pub(crate) aborted: Vec<Aborted>,
    /// Says that the bytes are columns, and which rows they are; without it they are Kafka's batches.
    pub(crate) columnar: Option<ColumnarResult>,
}

/// How to open batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeOptions {
    pub(crate) isolation: Isolation,
    pub(crate) check_crcs: bool,
    pub(crate) limits: DecompressLimits,
}

/// The offset that follows the last whole batch, from the headers alone. `from` if there is no whole batch. Of columns, what the
/// broker says: it covers rows that were filtered out.
pub(crate) fn offset_after(data: &FetchedData) -> Result<i64> {
    if let Some(result) = &data.columnar {
        return Ok(result.next_fetch_offset);
    }
    let mut after = data.from;
    for batch in batches(&data.bytes) {
        let batch = batch.map_err(|error| corrupt(data, after, &error))?;
        after = after.max(batch.header.next_offset().0);
    }
    Ok(after)
}

/// Opens all batches, leaving out control records, aborted data (if asked to) and what lies before `from`.
pub(crate) fn decode_records(data: &FetchedData, options: &DecodeOptions) -> Result<Vec<ConsumerRecord>> {
    let mut records = Vec::new();
    visible_batches(data, options, |batch| open_batch(data, batch, options, &mut records))?;
    Ok(records)
}

/// Hands over each batch whose records are for the caller: checked, no control batch, not aborted (if asked to), and not
/// wholly before `from`.
pub(crate) fn visible_batches(
    data: &FetchedData,
    options: &DecodeOptions,
    mut open: impl FnMut(&BatchSlice<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<()> {
    let mut filter = AbortFilter::new(&data.aborted, options.isolation);
    for batch in batches(&data.bytes) {
        let batch = batch.map_err(|error| corrupt(data, data.from, &error))?;
        let at = batch.header.base_offset.0;
        if options.check_crcs {
            verify_crc(batch.bytes).map_err(|error| corrupt(data, at, &error))?;
        }
        if filter.passes(&batch, &options.limits) && batch.header.next_offset().0 > data.from {
            open(&batch).map_err(|error| corrupt(data, at, &*error))?;
        }
    }
    Ok(())
}

pub(crate) fn corrupt(data: &FetchedData, offset: i64, reason: &dyn std::fmt::Display) -> ClientError {
    ClientError::CorruptBatch {
        topic: data.topic.to_string(),
        partition: data.partition,
        offset,
        reason: reason.to_string(),
    }
}

fn open_batch(
    data: &FetchedData,
    batch: &BatchSlice<'_>,
    options: &DecodeOptions,
    records: &mut Vec<ConsumerRecord>,
) -> Result<(), Box<dyn std::error::Error>> {
    let decoded = decode(batch.bytes, &options.limits)?;
    let header = decoded.header;
    // One owner for all records of the batch; the records are slices of it.
    let section = match decoded.section {
        std::borrow::Cow::Borrowed(plain) => data.bytes.slice_ref(plain),
        std::borrow::Cow::Owned(plain) => Bytes::from(plain),
    };
    let slice = |part: &[u8]| section.slice_ref(part);
    for record in Records::new(&section, usize::try_from(header.record_count)?) {
        let record = record?;
        let offset = record.offset(&header).0;
        if offset < data.from {
            continue;
        }
        let headers = record.headers.iter();
        records.push(ConsumerRecord {
            topic: data.topic.clone(),
            partition: data.partition,
            offset,
            timestamp_ms: record.timestamp(&header).0,
            timestamp_type: header.attributes.timestamp_type(),
            leader_epoch: (header.leader_epoch.0 >= 0).then_some(header.leader_epoch.0),
            key: record.key.map(slice),
            value: record.value.map(slice),
            headers: headers
                .map(|found| RecordHeader { key: slice(found.key), value: found.value.map(slice) })
                .collect(),
        });
    }
    Ok(())
}

/// Tells data from aborted data and markers, batch by batch in offset order.
struct AbortFilter {
    isolation: Isolation,
    /// Not yet reached, by first offset.
    waiting: VecDeque<Aborted>,
    /// Producers whose transaction is being skipped.
    active: BTreeSet<i64>,
}

impl AbortFilter {
    fn new(aborted: &[Aborted], isolation: Isolation) -> Self {
        let mut waiting = aborted.to_vec();
        waiting.sort_by_key(|transaction| transaction.first_offset);
        Self { isolation, waiting: waiting.into(), active: BTreeSet::new() }
    }

    fn passes(&mut self, batch: &BatchSlice<'_>, limits: &DecompressLimits) -> bool {
        let header = &batch.header;
        if self.isolation == Isolation::ReadCommitted && header.has_producer_id() {
            while let Some(next) = self.waiting.front().filter(|next| next.first_offset <= header.last_offset().0) {
                self.active.insert(next.producer_id);
                self.waiting.pop_front();
            }
            if header.attributes.is_control() {
                if is_abort_marker(batch, limits) {
                    self.active.remove(&header.producer_id);
                }
            } else if header.attributes.is_transactional() && self.active.contains(&header.producer_id) {
                return false;
            }
        }
        !header.attributes.is_control()
    }
}

fn is_abort_marker(batch: &BatchSlice<'_>, limits: &DecompressLimits) -> bool {
    let Ok(decoded) = decode(batch.bytes, limits) else { return false };
    let marker = decoded.records().next().and_then(Result::ok);
    marker.and_then(|marker| marker.key).and_then(ControlType::from_key) == Some(ControlType::Abort)
}

#[cfg(test)]
mod tests;
