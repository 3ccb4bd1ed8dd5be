//! The rows of a batch against the table of a typed topic.
//!
//! A row is checked by reading it into columns, with the topic's own decoder; the columns are dropped again. No IO, no clock.
use bytes::BytesMut;
use weir_protocol::records::{
    BatchHeader, DecodeError, DecompressLimits, Rewritten, WhenEmpty, decode, rewrite_retained,
};
use weir_table::Table;
use weir_table::table::OnInvalid;

use super::dead_letters::DeadRow;
use super::validate::{RECORD_ERRORS_MAX, RefusedRecord, ValidateError};

/// Bytes of rows whose columns are held at once.
const SLICE_BYTES: usize = 256 << 10;

/// Reads every record of a batch as a row. The records were found sound before. Under `weir.on.invalid=dead-letter` the batch
/// is written anew without the rows that do not fit, which are returned: their offsets and sequence numbers become gaps.
pub fn check(
    batch: &mut BytesMut,
    header: BatchHeader,
    table: &Table,
    limits: &DecompressLimits,
) -> Result<(BatchHeader, Vec<DeadRow>), ValidateError> {
    let keep_bad = table.options().on_invalid == OnInvalid::DeadLetter;
    let (count, refused, dead) = misfits(batch, table, limits, keep_bad)?;
    if count == 0 {
        return Ok((header, Vec::new()));
    }
    if !keep_bad {
        return Err(ValidateError::Rows { count, refused });
    }
    let mut bad = dead.iter().map(|row| row.offset_delta).peekable();
    // Records come in the order in which the bad ones were found.
    let rewritten = rewrite_retained(batch, limits, WhenEmpty::KeepHeader, |_, record| {
        bad.next_if_eq(&record.offset_delta).is_none()
    });
    let Rewritten::Batch(rewritten) = rewritten.map_err(ValidateError::Recompress)? else { return Ok((header, dead)) };
    *batch = BytesMut::from(rewritten);
    Ok((BatchHeader::parse(batch)?, dead))
}

/// How many rows do not fit; the first of them for the answer, or all of them if they are to be kept.
fn misfits(
    batch: &[u8],
    table: &Table,
    limits: &DecompressLimits,
    keep: bool,
) -> Result<(usize, Vec<RefusedRecord>, Vec<DeadRow>), ValidateError> {
    let decoded = decode(batch, limits)?;
    let mut rows = table.validator();
    let (mut refused, mut dead) = (Vec::new(), Vec::new());
    let (mut count, mut held) = (0, 0);
    for (index, record) in (0..).zip(decoded.records()) {
        let record = record.map_err(DecodeError::from)?;
        if let Err(error) = rows.push(record.key, record.value) {
            count += 1;
            if keep {
                dead.push(DeadRow::new(&decoded.header, &record, &error));
            } else if refused.len() < RECORD_ERRORS_MAX {
                refused.push(RefusedRecord { index, reason: error.to_string() });
            }
        }
        held += record.raw.len();
        if held > SLICE_BYTES {
            rows.clear();
            held = 0;
        }
    }
    table.release(rows);
    Ok((count, refused, dead))
}

/// Whether so few rows are checked faster than they are handed to another thread.
pub fn are_few(header: &BatchHeader) -> bool {
    header.total_len() <= super::validate::SMALL_BATCH_BYTES
}
