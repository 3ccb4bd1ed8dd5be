//! The rows of a batch against the table of a typed topic.
//!
//! A row is checked by reading it into columns, with the topic's own decoder; the columns are dropped again. No IO, no clock.
use weir_protocol::records::{BatchHeader, DecodeError, DecompressLimits, decode};
use weir_table::Table;

use super::validate::{RECORD_ERRORS_MAX, RefusedRecord, ValidateError};

/// Bytes of rows whose columns are held at once.
const SLICE_BYTES: usize = 256 << 10;

/// Reads every record of a batch as a row. The records were found sound before.
pub fn check(batch: &[u8], table: &Table, limits: &DecompressLimits) -> Result<(), ValidateError> {
    let decoded = decode(batch, limits)?;
    let mut rows = table.validator();
    let (mut refused, mut count, mut held) = (Vec::new(), 0, 0);
    for (index, record) in (0..).zip(decoded.records()) {
        let record = record.map_err(DecodeError::from)?;
        if let Err(error) = rows.push(record.key, record.value) {
            count += 1;
            if refused.len() < RECORD_ERRORS_MAX {
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
    if refused.is_empty() { Ok(()) } else { Err(ValidateError::Rows { count, refused }) }
}

/// Whether so few rows are checked faster than they are handed to another thread.
pub fn are_few(header: &BatchHeader) -> bool {
    header.total_len() <= super::validate::SMALL_BATCH_BYTES
}
