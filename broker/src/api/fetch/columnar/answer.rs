//! What a scan found as the bytes of an answer, with what is said about them. No IO but of stored row groups that are sent as they are.
use bytes::Bytes;
use weir_protocol::columnar::{BatchRange, ColumnarResult};
use weir_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use weir_protocol::records::{Compression, filler_batch};
use weir_scan::{
    EncodedRecords, ScanPlan, ScanResult, StoredRows, StreamCodec, encode_records, encode_stream, worthwhile,
};
use weir_storage::log::{Partition, ReadLimit};

use super::ColumnarFetchError;

/// What goes into an answer: the chunks of `Records`, and what is said about them.
pub(super) type Encoded = (Vec<Bytes>, ColumnarResult);

/// The limit that was hit, in the words of [`ColumnarResult::error_message`]: JSON for `weir consume --explain`.
pub(super) fn explained(
    plan: &ScanPlan,
    partition: &Partition,
    start: Offset,
    visible: ReadLimit,
    result: &ScanResult,
) -> Result<Encoded, ColumnarFetchError> {
    let found = weir_scan::explain(plan, partition, start, visible)?;
    let text = serde_json::json!({
        "columns": found.columns,
        "predicate_columns": found.predicate_columns,
        "predicate": found.predicate,
        "can_prune": found.can_prune,
        "segments": found.segments,
        "segments_skipped": found.segments_skipped,
        "row_groups": found.row_groups,
        "row_groups_skipped": found.row_groups_skipped,
        "column_bytes": found.column_bytes,
        "bytes_of_skipped_groups": found.bytes_of_skipped_groups,
        "bytes_of_other_columns": found.bytes_of_other_columns,
        "bytes_of_predicate": found.bytes_of_predicate,
        "bytes_for_matches": found.bytes_for_matches,
        "row_parts": found.row_parts,
        "row_bytes": found.row_bytes,
    });
    let columnar = summary(result, plan.schema_id(), &[]);
    Ok((Vec::new(), ColumnarResult { error_message: Some(text.to_string()), ..columnar }))
}

/// One Arrow IPC stream of what matched.
pub(super) fn stream(result: &ScanResult, schema_id: i32, codec: StreamCodec) -> Result<Encoded, ColumnarFetchError> {
    if let Some(stored) = &result.stored {
        return encode_stored(result, stored, schema_id);
    }
    let records = if result.batches.is_empty() {
        Vec::new()
    } else {
        let batches = result.batches.iter().map(|scanned| &scanned.batch);
        let codec = worthwhile(batches.clone(), codec);
        let stream = encode_stream(&result.schema, batches, codec);
        vec![stream.map_err(|error| ColumnarFetchError::Encode { reason: error.to_string() })?]
    };
    let ranges = result.batches.iter().map(|scanned| BatchRange {
        first_offset: scanned.first_offset,
        last_offset: scanned.last_offset,
        rows: scanned.batch.num_rows() as i32,
        skip_head: 0,
        skip_tail: 0,
        dense: scanned.dense,
    });
    let columnar = ColumnarResult { batches: ranges.collect(), ..summary(result, schema_id, &records) };
    Ok((records, columnar))
}

fn encode_stored(result: &ScanResult, stored: &StoredRows, schema_id: i32) -> Result<Encoded, ColumnarFetchError> {
    let (stream, crc32c) = stored.encode()?;
    let ranges = stored.groups().iter().map(|group| BatchRange {
        first_offset: group.first_offset,
        last_offset: group.last_offset,
        rows: group.rows as i32,
        skip_head: group.skip_head as i32,
        skip_tail: 0,
        dense: true,
    });
    let columnar = ColumnarResult { batches: ranges.collect(), crc32c, ..summary(result, schema_id, &[]) };
    Ok((vec![stream], columnar))
}

/// Kafka batches of the matching rows, and the offset of the last one.
fn encode_batches(
    result: &ScanResult,
    plan: &ScanPlan,
    partition: &Partition,
    compression: Compression,
) -> Result<(Encoded, Option<Offset>), ColumnarFetchError> {
    let epoch_at = |offset| partition.epoch_at(offset);
    let EncodedRecords { batches, errored, error, last } =
        encode_records(plan, &result.batches, compression, &epoch_at)?;
    if let Some(error) = error {
        tracing::warn!(partition = %partition.key(), rows = errored, error, "rows cannot be written in the format of their topic");
    }
    let mut columnar = summary(result, plan.schema_id(), &batches);
    columnar.rows_errored = columnar.rows_errored.saturating_add(errored as i64);
    columnar.rows_returned = columnar.rows_returned.saturating_sub(errored as i64);
    Ok(((batches, columnar), last))
}

/// Kafka batches of the matching rows.
pub(super) fn records(
    result: &ScanResult,
    plan: &ScanPlan,
    partition: &Partition,
    compression: Compression,
) -> Result<Encoded, ColumnarFetchError> {
    encode_batches(result, plan, partition, compression).map(|(encoded, _)| encoded)
}

/// The same for a view, whose consumers move on by what they are sent: where nothing matched up to the end of what was scanned,
/// a batch says so that they all skip.
pub(super) fn of_view(
    result: &ScanResult,
    plan: &ScanPlan,
    partition: &Partition,
    compression: Compression,
    start: Offset,
    now: Timestamp,
) -> Result<Encoded, ColumnarFetchError> {
    let ((mut batches, counted), last) = encode_batches(result, plan, partition, compression)?;
    let sent = last.map_or(start, |last| last + 1);
    if sent < result.next {
        let covered = Offset(result.next.0 - 1);
        let epoch = partition.epoch_at(covered).unwrap_or(LeaderEpoch(-1));
        let filler = filler_batch(covered, epoch, now);
        batches.push(filler.map_err(|error| ColumnarFetchError::Encode { reason: error.to_string() })?);
    }
    Ok((batches, counted))
}

/// Everything but the batches of a stream.
fn summary(result: &ScanResult, schema_id: i32, records: &[Bytes]) -> ColumnarResult {
    let counters = result.counters;
    ColumnarResult {
        schema_id,
        next_fetch_offset: result.next.0,
        rows_scanned: counters.rows_scanned as i64,
        rows_returned: counters.rows_returned as i64,
        rows_errored: counters.rows_errored as i64,
        bytes_scanned: counters.bytes_scanned as i64,
        batches: Vec::new(),
        crc32c: records.iter().fold(0, |crc, chunk| crc32c::crc32c_append(crc, chunk)),
        error_message: None,
    }
}
