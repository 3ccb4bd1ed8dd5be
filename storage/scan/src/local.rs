//! A plan over records that somebody else fetched: what a client does whose broker cannot scan.
//!
//! The rows are those of a scan of the log ([`crate::Scan`]); only budgets are missing, since what is scanned is in memory already.
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::FilterBuilder;
use thiserror::Error;
use weir_predicate::EvaluateError;
use weir_protocol::records::{BatchHeader, Record};
use weir_table::RowDecoder;

use crate::counters::ScanCounters;
use crate::output::{Output, ScannedBatch};
use crate::plan::{ScanPlan, batch_of};
use crate::system::SystemBuilder;

/// A predicate that is not done with 8 Ki rows by then never will be.
const SLICE_TIME_MAX: Duration = Duration::from_secs(10);

/// Why records cannot be scanned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LocalScanError {
    #[error("the predicate is too expensive: {0}")]
    Predicate(EvaluateError),
    #[error("the rows do not fit their columns: {reason}")]
    Columns { reason: String },
}

/// Bytes of records gathered before they are filtered.
const BYTES_MAX: usize = 4 << 20;

/// A scan of records that are handed to it.
pub struct LocalScan {
    plan: Arc<ScanPlan>,
    partition: i32,
    user: Option<RowDecoder>,
    system: Vec<SystemBuilder>,
    offsets: Vec<i64>,
    bytes: usize,
    output: Output,
    counters: ScanCounters,
}

impl LocalScan {
    /// Of one partition; nothing is scanned yet.
    pub fn new(plan: Arc<ScanPlan>, partition: i32) -> LocalScan {
        let output = Output::new(plan.output(), usize::MAX, true);
        let (user, system) = (plan.columns().decoder(), plan.columns().system());
        let (offsets, bytes, counters) = (Vec::new(), 0, ScanCounters::default());
        LocalScan { plan, partition, user, system, offsets, bytes, output, counters }
    }

    /// Takes a record of a visible batch. They come in offset order.
    pub fn append(&mut self, header: &BatchHeader, record: &Record<'_>) -> Result<(), LocalScanError> {
        let (offset, timestamp) = (record.offset(header), record.timestamp(header));
        if let Some(user) = &mut self.user {
            let done = user.push(record.key, record.value);
            done.map_err(|error| LocalScanError::Columns { reason: error.to_string() })?;
        }
        for column in &mut self.system {
            column.append(self.partition, offset, timestamp, record);
        }
        self.offsets.push(offset.0);
        self.bytes += record.raw.len();
        self.counters.bytes_scanned += record.raw.len() as u64;
        let full = self.offsets.len() >= weir_predicate::SLICE_ROWS || self.bytes >= BYTES_MAX;
        if full { self.flush() } else { Ok(()) }
    }

    /// The rows that match, and what was done.
    pub fn finish(mut self) -> Result<(SchemaRef, Vec<ScannedBatch>, ScanCounters), LocalScanError> {
        self.flush()?;
        self.counters.rows_returned = self.output.rows() as u64;
        let (schema, batches) = self.output.finish().map_err(columns_error)?;
        Ok((schema, batches, self.counters))
    }

    fn flush(&mut self) -> Result<(), LocalScanError> {
        if self.offsets.is_empty() {
            return Ok(());
        }
        let mut columns = match &mut self.user {
            Some(user) => {
                let rows = user.finish().map_err(|error| LocalScanError::Columns { reason: error.to_string() })?;
                rows.columns().to_vec()
            }
            None => Vec::new(),
        };
        columns.extend(self.system.iter_mut().map(SystemBuilder::finish));
        let offsets = std::mem::take(&mut self.offsets);
        self.bytes = 0;
        let batch = batch_of(self.plan.input(), columns, offsets.len()).map_err(columns_error)?;
        self.counters.rows_scanned += offsets.len() as u64;
        let Some(predicate) = self.plan.predicate() else {
            self.output.push(self.plan.project(&batch), offsets);
            return Ok(());
        };
        let started = Instant::now();
        let mut proceed = || match started.elapsed() {
            spent if spent < SLICE_TIME_MAX => Ok(()),
            spent => Err(format!("{} rows were not done after {} s", batch.num_rows(), spent.as_secs())),
        };
        let matches = predicate.evaluate(&batch, &mut proceed).map_err(LocalScanError::Predicate)?;
        self.counters.rows_errored += matches.errored.len() as u64;
        let matching: Vec<i64> = matches.rows.set_indices().map(|row| offsets[row]).collect();
        let filter = FilterBuilder::new(&matches.mask()).build();
        let projected = self.plan.project(&batch);
        let filtered: Result<Vec<ArrayRef>, _> = projected.iter().map(|column| filter.filter(column)).collect();
        self.output.push(filtered.map_err(columns_error)?, matching);
        Ok(())
    }
}

fn columns_error(error: ArrowError) -> LocalScanError {
    LocalScanError::Columns { reason: error.to_string() }
}
