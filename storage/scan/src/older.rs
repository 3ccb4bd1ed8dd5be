//! Rows that the log has no more and that are still to be had elsewhere, in the same offsets.
use std::future::Future;
use std::pin::Pin;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_protocol::ids::Offset;
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::memory::Reservation;

use crate::error::ScanError;
use crate::operator::Scan;
use crate::rows::Rows;

/// Rows of one partition from before its log begins.
pub trait OlderRows: Send + Sync + 'static {
    /// The next rows from `from` on, of those before `until`, with these columns. `None`: not within the time that somebody may be
    /// kept waiting; ask again.
    ///
    /// # Errors
    /// [`ScanError::Read`] if offset `from` is nowhere, [`ScanError::Failed`] if what is there cannot be read.
    fn read<'a>(
        &'a self,
        columns: &'a SchemaRef,
        from: Offset,
        until: Offset,
    ) -> Pin<Box<dyn Future<Output = Result<Option<OlderBatch>, ScanError>> + Send + 'a>>;
}

/// What was found.
#[derive(Debug)]
pub struct OlderBatch {
    pub batch: RecordBatch,
    /// Ascending, one for each row.
    pub offsets: Vec<i64>,
    pub start: Offset,
    /// There is nothing else between `start` and here; it is greater than `start`.
    pub end: Offset,
    pub stored_bytes: u64,
    /// Held until the rows were looked at.
    pub memory: Vec<Reservation>,
}

impl OlderBatch {
    pub(crate) async fn taken_by(self, mut scan: Scan, cpu: &CpuPool) -> Result<Scan, ScanError> {
        let OlderBatch { batch, offsets, start, end, stored_bytes, memory } = self;
        if end <= start {
            return Err(ScanError::failed(format!("nothing is known of what follows offset {start}")));
        }
        let rows = Rows { batch, offsets, errored: 0, stored_bytes, start, end };
        let work = move || {
            let mut from = 0;
            // In pieces, as rows of the log are: a predicate has a time limit for each.
            while from < rows.offsets.len() && !scan.is_exhausted() {
                let len = (rows.offsets.len() - from).min(weir_predicate::SLICE_ROWS);
                let last = from + len == rows.offsets.len();
                let piece = Rows {
                    batch: rows.batch.slice(from, len),
                    offsets: rows.offsets[from..from + len].to_vec(),
                    errored: 0,
                    stored_bytes: if from == 0 { rows.stored_bytes } else { 0 },
                    start: if from == 0 { rows.start } else { Offset(rows.offsets[from]) },
                    end: if last { rows.end } else { Offset(rows.offsets[from + len]) },
                };
                scan.take_older(&piece)?;
                from += len;
            }
            if rows.offsets.is_empty() {
                scan.take_older(&rows)?;
            }
            drop(memory);
            Ok(scan)
        };
        cpu.run(Priority::Request, work).await.map_err(|error| ScanError::failed(error.to_string()))?
    }
}
