//! Kafka batches into the columns a plan reads.
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use weir_protocol::ids::{Offset, Timestamp};
use weir_protocol::records::{BatchHeader, Record};

use crate::plan::{ScanPlan, batch_of};
use crate::system::SystemBuilder;

/// Rows gathered before they are filtered.
const ROWS_MAX: usize = weir_predicate::SLICE_ROWS;
/// Bytes gathered before they are filtered: bounds the memory of a scan over wide rows.
const BYTES_MAX: usize = 4 << 20;

/// Rows as columns, with the offset of each.
pub struct Rows {
    pub batch: RecordBatch,
    pub offsets: Vec<i64>,
    /// Records between them that could not be decoded.
    pub errored: u64,
    /// Where the log goes on behind them.
    pub end: Offset,
}

/// Gathers records. Only the columns of the plan are built.
pub struct RowBuilder {
    partition: i32,
    columns: Vec<SystemBuilder>,
    offsets: Vec<i64>,
    bytes: usize,
    errored: u64,
    end: Offset,
}

impl RowBuilder {
    pub fn new(plan: &ScanPlan, partition: i32) -> RowBuilder {
        let columns = plan.input().fields().iter().filter_map(|field| SystemBuilder::new(field.name())).collect();
        RowBuilder { partition, columns, offsets: Vec::new(), bytes: 0, errored: 0, end: Offset::ZERO }
    }

    pub fn append(&mut self, header: &BatchHeader, record: &Record<'_>) {
        let offset: Offset = record.offset(header);
        let timestamp: Timestamp = record.timestamp(header);
        for column in &mut self.columns {
            column.append(self.partition, offset, timestamp, record);
        }
        self.offsets.push(offset.0);
        self.end = offset + 1;
        self.bytes += record.raw.len();
    }

    /// So many records behind the last one cannot be decoded.
    pub fn add_errored(&mut self, records: u64) {
        self.errored += records;
    }

    /// The batch of the last record ends here: what lies between was compacted away or is not visible.
    pub fn set_end(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.offsets.len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    /// What was gathered; the builder is empty afterwards.
    pub fn take(&mut self, plan: &ScanPlan) -> Result<Rows, ArrowError> {
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(SystemBuilder::finish).collect();
        let offsets = std::mem::take(&mut self.offsets);
        self.bytes = 0;
        let batch = batch_of(plan.input(), columns, offsets.len())?;
        let errored = std::mem::take(&mut self.errored);
        Ok(Rows { batch, offsets, errored, end: self.end })
    }
}
