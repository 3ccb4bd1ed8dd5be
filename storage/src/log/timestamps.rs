//! Finding records by time, and looking inside batches where that needs it. Blocking IO.
use bytes::Bytes;
use weir_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use weir_protocol::records::batch::{BatchHeader, TimestampType};
use weir_protocol::records::{ControlType, DecompressLimits, EndTxnMarker, batches, decode};

use super::partition::{ColdError, Partition};
use super::producers::Marker;
use super::state::TailBatch;
use super::types::{ReadError, TimestampOffset};
use crate::segment::SectionRead;

const READ_BYTES: usize = 1 << 20;
const ATTEMPTS: usize = 8;

/// What a control batch says; what does not verify as a commit counts as an abort.
pub(super) fn marker_of(batch: &[u8]) -> Marker {
    let none = Marker { commit: false, coordinator_epoch: -1 };
    let Ok(decoded) = decode(batch, &DecompressLimits::default()) else { return none };
    let Some(Ok(record)) = decoded.records().next() else { return none };
    Marker {
        commit: record.key.and_then(ControlType::from_key) == Some(ControlType::Commit),
        coordinator_epoch: record.value.and_then(EndTxnMarker::coordinator_epoch_of).unwrap_or(-1),
    }
}

/// What is searched for in a batch.
#[derive(Clone, Copy)]
enum Wanted {
    AtOrAfter(Timestamp),
    Max(Timestamp),
}

impl Wanted {
    /// The smallest timestamp that qualifies.
    fn bound(self) -> Timestamp {
        match self {
            Wanted::AtOrAfter(t) | Wanted::Max(t) => t,
        }
    }
}

/// The first visible record whose timestamp is >= `timestamp`.
pub(super) fn first_at_or_after(
    partition: &Partition,
    timestamp: Timestamp,
) -> Result<Option<TimestampOffset>, ReadError> {
    find(partition, Wanted::AtOrAfter(timestamp))
}

/// The first visible record with the largest timestamp.
pub(super) fn of_max(partition: &Partition) -> Result<Option<TimestampOffset>, ReadError> {
    let max = {
        let state = partition.lock();
        let segments = state.segments.iter().map(|s| Timestamp(s.max_timestamp));
        let visible = state.tail.iter().take_while(|b| b.next <= state.high_watermark);
        segments.chain(visible.map(|b| b.max_timestamp)).max()
    };
    match max {
        Some(max) if max.0 >= 0 => find(partition, Wanted::Max(max)),
        _ => Ok(None),
    }
}

fn find(partition: &Partition, wanted: Wanted) -> Result<Option<TimestampOffset>, ReadError> {
    for _ in 0..ATTEMPTS {
        match try_find(partition, wanted) {
            Ok(found) => return Ok(found),
            Err(ColdError::Moved) => continue,
            Err(ColdError::Failed(error)) => return Err(error),
        }
    }
    Ok(None) // the log is being deleted under us
}

fn try_find(partition: &Partition, wanted: Wanted) -> Result<Option<TimestampOffset>, ColdError> {
    let (log_start, end, segments, tail) = {
        let state = partition.lock();
        let tail: Vec<TailBatch> = state
            .tail
            .iter()
            .filter(|b| b.next <= state.high_watermark && b.max_timestamp >= wanted.bound())
            .cloned()
            .collect();
        (state.log_start, state.high_watermark, state.segments.clone(), tail)
    };
    for segment in segments.iter().filter(|s| s.max_timestamp >= wanted.bound().0) {
        let reader = partition.open_segment(segment)?;
        let Some(mut offset) = reader.seek_timestamp(wanted.bound()) else { continue };
        loop {
            let found = reader
                .read(offset, end, READ_BYTES, true)
                .map_err(|e| partition.segment_error(e, segment.file, offset))?;
            let SectionRead::Slice(slice) = found else { break };
            if let Some(found) = in_bytes(&slice.bytes, wanted, log_start) {
                return Ok(Some(found));
            }
            offset = slice.last.next_offset();
        }
    }
    for batch in &tail {
        if let Some(found) = in_bytes(&partition.tail_rows(batch)?, wanted, log_start) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_bytes(bytes: &Bytes, wanted: Wanted, log_start: Offset) -> Option<TimestampOffset> {
    for batch in batches(bytes) {
        // Damage was ruled out when the bytes were read; a record that does not decode is passed over.
        let Ok(weir_protocol::records::BatchSlice { header, bytes: batch, .. }) = batch else { continue };
        // Markers count, as in Kafka: after a commit the largest timestamp is the marker's.
        if header.max_timestamp < wanted.bound().0 || header.next_offset() <= log_start {
            continue;
        }
        if let Some(found) = in_batch(&header, batch, wanted, log_start) {
            return Some(found);
        }
    }
    None
}

fn in_batch(header: &BatchHeader, batch: &[u8], wanted: Wanted, log_start: Offset) -> Option<TimestampOffset> {
    let leader_epoch: LeaderEpoch = header.leader_epoch;
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let offset = header.base_offset.max(log_start);
        return Some(TimestampOffset { timestamp: Timestamp(header.max_timestamp), offset, leader_epoch });
    }
    let decoded = decode(batch, &DecompressLimits::default()).ok()?;
    let mut records = decoded.records();
    records.find_map(|record| {
        let record = record.ok()?;
        let (timestamp, offset) = (record.timestamp(header), record.offset(header));
        (timestamp >= wanted.bound() && offset >= log_start).then_some(TimestampOffset {
            timestamp,
            offset,
            leader_epoch,
        })
    })
}
