//! The rows of a batch against the table of a typed topic.
//!
//! A row is checked by reading it into columns, with the topic's own decoder. Where a merge is to make columns of the batch later,
//! they are kept; otherwise they are dropped again. No IO, no clock.
use std::sync::Arc;

use bytes::BytesMut;
use weir_layout::{BatchKeeper, KeptTail};
use weir_protocol::records::{BatchHeader, DecompressLimits, Record, Rewritten, WhenEmpty, rewrite_retained};
use weir_table::Table;
use weir_table::codec::RowError;
use weir_table::table::{OnInvalid, RowDecoder};

use super::dead_letters::DeadRow;
use super::validate::{RECORD_ERRORS_MAX, RefusedRecord, ValidateError};

/// Bytes of rows whose columns are held at once, if nobody keeps them.
const SLICE_BYTES: usize = 256 << 10;

/// Reads every record of a batch as a row. Under `weir.on.invalid=dead-letter` the batch is written anew without the rows that do
/// not fit, which are returned: their offsets and sequence numbers become gaps.
pub struct RowCheck<'t> {
    table: &'t Arc<Table>,
    reader: Reader,
    /// Rows that do not fit go to the dead letters.
    keep_bad: bool,
    count: usize,
    /// The first of them, for the answer.
    refused: Vec<RefusedRecord>,
    dead: Vec<DeadRow>,
}

enum Reader {
    Drops { rows: Box<RowDecoder>, held: usize },
    Keeps(Box<BatchKeeper>),
}

/// What became of a batch.
pub struct Checked {
    pub header: BatchHeader,
    /// Rows that are not part of it any more.
    pub dead: Vec<DeadRow>,
    /// Its columns.
    pub kept: Option<Box<BatchKeeper>>,
}

impl<'t> RowCheck<'t> {
    /// `keep`: columns of the batch are wanted there, and its partition.
    pub fn new(table: &'t Arc<Table>, keep: Option<(&KeptTail, i32)>) -> RowCheck<'t> {
        let keeper = keep.and_then(|(tail, partition)| BatchKeeper::new(tail, table, partition)).map(Box::new);
        let reader = keeper.map_or_else(|| Reader::Drops { rows: Box::new(table.validator()), held: 0 }, Reader::Keeps);
        let keep_bad = table.options().on_invalid == OnInvalid::DeadLetter;
        RowCheck { table, reader, keep_bad, count: 0, refused: Vec::new(), dead: Vec::new() }
    }

    /// The next record, which is sound.
    pub fn record(&mut self, index: usize, header: &BatchHeader, record: &Record<'_>) {
        let Err(error) = self.reader.push(header, record) else { return };
        self.count += 1;
        if self.keep_bad {
            self.dead.push(DeadRow::new(header, record, &error));
        } else if self.refused.len() < RECORD_ERRORS_MAX {
            self.refused.push(RefusedRecord { index: index as i32, reason: error.to_string() });
        }
    }

    /// What is to be done with the batch, after all of its records.
    pub fn finish(
        self,
        batch: &mut BytesMut,
        header: BatchHeader,
        limits: &DecompressLimits,
    ) -> Result<Checked, ValidateError> {
        let RowCheck { table, reader, keep_bad, count, refused, dead } = self;
        let kept = reader.finish(table);
        if count == 0 {
            return Ok(Checked { header, dead, kept });
        }
        if !keep_bad {
            return Err(ValidateError::Rows { count, refused });
        }
        let mut bad = dead.iter().map(|row| row.offset_delta).peekable();
        // Records come in the order in which the bad ones were found.
        let rewritten = rewrite_retained(batch, limits, WhenEmpty::KeepHeader, |_, record| {
            bad.next_if_eq(&record.offset_delta).is_none()
        });
        let Rewritten::Batch(rewritten) = rewritten.map_err(ValidateError::Recompress)? else {
            return Ok(Checked { header, dead, kept: None });
        };
        *batch = BytesMut::from(rewritten);
        Ok(Checked { header: BatchHeader::parse(batch)?, dead, kept: None })
    }
}

impl Reader {
    fn push(&mut self, header: &BatchHeader, record: &Record<'_>) -> Result<(), RowError> {
        match self {
            Reader::Keeps(keeper) => keeper.push(header, record),
            Reader::Drops { rows, held } => {
                let done = rows.push(record.key, record.value);
                *held += record.raw.len();
                if *held > SLICE_BYTES {
                    rows.clear();
                    *held = 0;
                }
                done
            }
        }
    }

    fn finish(self, table: &Table) -> Option<Box<BatchKeeper>> {
        match self {
            Reader::Keeps(keeper) => Some(keeper),
            Reader::Drops { rows, .. } => {
                table.release(*rows);
                None
            }
        }
    }
}

/// Whether so few rows are checked faster than they are handed to another thread.
pub fn are_few(header: &BatchHeader) -> bool {
    header.total_len() <= super::validate::SMALL_BATCH_BYTES
}
