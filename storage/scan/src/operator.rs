//! The scan of one partition: reads on from its cursor until the visible end or until a budget is used up.
//!
//! It can go on later: a long poll runs the same scan again when data was appended, so nothing is looked at twice.
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::ArrayRef;
use arrow_schema::ArrowError;
use arrow_select::filter::FilterBuilder;
use bytes::{Bytes, BytesMut};
use thiserror::Error;
use weir_predicate::EvaluateError;
use weir_protocol::ids::Offset;
use weir_protocol::records::{BatchHeader, DecompressLimits, batches, decode};
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::log::{AbortedTransaction, LogOffsets, Partition, ReadError, ReadLimit, ReadRequest};

use crate::committed::Visibility;
use crate::counters::ScanCounters;
use crate::output::{Output, ScannedBatch};
use crate::plan::ScanPlan;
use crate::rows::{RowBuilder, Rows};

/// Stored bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// One batch decompressed.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// A predicate that is not done with 8 Ki rows by then never will be.
const SLICE_TIME_MAX: Duration = Duration::from_secs(10);

/// How far one scan may go.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits {
    pub visible: ReadLimit,
    /// Bytes of returned columns.
    pub max_bytes: usize,
    /// Return a row even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// Bytes of input.
    pub max_scan_bytes: u64,
}

/// What a scan found.
#[derive(Debug)]
pub struct ScanResult {
    pub offsets: LogOffsets,
    /// Where the next scan goes on.
    pub next: Offset,
    pub counters: ScanCounters,
    /// The schema of every batch.
    pub schema: arrow_schema::SchemaRef,
    pub batches: Vec<ScannedBatch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the predicate is too expensive: {0}")]
    Predicate(EvaluateError),
    #[error("the scan failed: {reason}")]
    Failed { reason: String },
}

impl From<ArrowError> for ScanError {
    fn from(error: ArrowError) -> ScanError {
        ScanError::Failed { reason: error.to_string() }
    }
}

/// A scan in progress.
pub struct Scan {
    plan: Arc<ScanPlan>,
    partition: Arc<Partition>,
    cpu: CpuPool,
    limits: ScanLimits,
    offsets: LogOffsets,
    next: Offset,
    counters: ScanCounters,
    output: Output,
    full: bool,
    out_of_time: bool,
}

impl Scan {
    /// A scan from `start` on; nothing is read yet. `cpu` decodes and filters.
    pub fn new(
        plan: Arc<ScanPlan>,
        partition: Arc<Partition>,
        cpu: CpuPool,
        start: Offset,
        limits: ScanLimits,
    ) -> Scan {
        let output = Output::new(plan.output(), limits.max_bytes, limits.at_least_one);
        let offsets = partition.offsets();
        Scan {
            plan,
            partition,
            cpu,
            limits,
            offsets,
            next: start,
            counters: ScanCounters::default(),
            output,
            full: false,
            out_of_time: false,
        }
    }

    /// Where it has got to.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Bytes of rows that matched.
    pub fn matched_bytes(&self) -> usize {
        self.output.bytes()
    }

    /// A budget is used up: the scan must be answered, however little it found.
    pub fn is_exhausted(&self) -> bool {
        self.full || self.out_of_time || self.counters.bytes_scanned >= self.limits.max_scan_bytes
    }

    /// Scans on until the visible end or until a budget is used up. `time` is what this run may take; it looks at one chunk
    /// at least, so that it gets on.
    pub async fn run(mut self, time: Duration) -> Result<Scan, ScanError> {
        let cpu = self.cpu.clone();
        let started = Instant::now();
        while !self.is_exhausted() {
            let left = self.limits.max_scan_bytes.saturating_sub(self.counters.bytes_scanned);
            let request = ReadRequest {
                offset: self.next,
                max_bytes: usize::try_from(left).map_or(CHUNK_BYTES, |left| left.clamp(1, CHUNK_BYTES)),
                at_least_one: true,
                limit: self.limits.visible,
            };
            let outcome = self.partition.read(request).await?;
            self.offsets = outcome.offsets;
            if outcome.bytes == 0 {
                break;
            }
            let work = move || {
                // The chunks are ours, and with them their memory, until they have been looked at.
                self.chunk(&outcome.chunks, &outcome.aborted).map(|()| self)
            };
            let done = cpu.run(Priority::Request, work).await;
            self = done.map_err(|error| ScanError::Failed { reason: error.to_string() })??;
            self.out_of_time = started.elapsed() >= time;
        }
        Ok(self)
    }

    pub fn finish(self) -> Result<ScanResult, ScanError> {
        let Scan { offsets, next, mut counters, output, .. } = self;
        counters.rows_returned = output.rows() as u64;
        let (schema, batches) = output.finish()?;
        Ok(ScanResult { offsets, next, counters, schema, batches })
    }

    /// Whole batches in offset order.
    fn chunk(&mut self, chunks: &[Bytes], aborted: &[AbortedTransaction]) -> Result<(), ScanError> {
        let mut visibility = Visibility::new(aborted);
        let mut rows = RowBuilder::new(&self.plan, self.partition.key().partition.0);
        for chunk in whole_batches(chunks) {
            for batch in batches(&chunk) {
                let Ok(batch) = batch else {
                    return Err(ScanError::Failed { reason: "stored batches do not parse".to_owned() });
                };
                self.batch(&batch.header, batch.bytes, &mut visibility, &mut rows)?;
                if self.full {
                    return Ok(());
                }
            }
        }
        self.flush(&mut rows)
    }

    fn batch(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        visibility: &mut Visibility,
        rows: &mut RowBuilder,
    ) -> Result<(), ScanError> {
        self.counters.bytes_scanned += bytes.len() as u64;
        if visibility.sees(header, bytes) {
            let errored = self.records(header, bytes, rows)?;
            if self.full {
                return Ok(());
            }
            if errored > 0 && rows.is_empty() {
                self.counters.rows_scanned += errored;
                self.counters.rows_errored += errored;
            } else if errored > 0 {
                // Not together with later rows: if those do not fit, these are counted all the same.
                rows.add_errored(errored);
                rows.set_end(header.next_offset());
                return self.flush(rows);
            }
        }
        if rows.is_empty() {
            self.next = self.next.max(header.next_offset());
        } else {
            rows.set_end(header.next_offset());
        }
        Ok(())
    }

    /// Gathers the records of a batch from the cursor on; says how many could not be decoded. Those were stored before they
    /// were checked, and no consumer can read them: they are counted, and passed over.
    fn records(&mut self, header: &BatchHeader, bytes: &[u8], rows: &mut RowBuilder) -> Result<u64, ScanError> {
        let count = u64::from(header.record_count.unsigned_abs());
        let limits = DecompressLimits { max_bytes: BATCH_BYTES_MAX, ..DecompressLimits::default() };
        let partition = self.partition.clone();
        let unreadable = |done: u64, error: &dyn std::fmt::Display| {
            let (partition, offset) = (partition.key(), header.base_offset.0);
            tracing::warn!(%partition, offset, done, count, %error, "a batch cannot be decoded to its end");
            count.saturating_sub(done)
        };
        let decoded = match decode(bytes, &limits) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(unreadable(0, &error)),
        };
        for (done, record) in decoded.records().enumerate() {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Ok(unreadable(done as u64, &error)),
            };
            if record.offset(header) < self.next {
                continue;
            }
            rows.append(header, &record);
            if rows.is_full() {
                self.flush(rows)?;
                if self.full {
                    break;
                }
            }
        }
        Ok(0)
    }

    /// Filters what was gathered and hands it to the output; moves the cursor behind what was dealt with.
    fn flush(&mut self, rows: &mut RowBuilder) -> Result<(), ScanError> {
        if rows.is_empty() {
            return Ok(());
        }
        let Rows { batch, offsets, errored: undecoded, end } = rows.take(&self.plan)?;
        let mut errored = Vec::new();
        let (columns, matching) = match self.plan.predicate() {
            None => (self.plan.project(&batch), offsets.clone()),
            Some(predicate) => {
                let started = Instant::now();
                let mut proceed = || match started.elapsed() {
                    spent if spent < SLICE_TIME_MAX => Ok(()),
                    spent => Err(format!("{} rows were not done after {} s", batch.num_rows(), spent.as_secs())),
                };
                let matches = predicate.evaluate(&batch, &mut proceed).map_err(ScanError::Predicate)?;
                errored = matches.errored.iter().map(|row| offsets[*row]).collect();
                let matching: Vec<i64> = matches.rows.set_indices().map(|row| offsets[row]).collect();
                if matching.is_empty() {
                    (Vec::new(), matching)
                } else if matching.len() == offsets.len() {
                    (self.plan.project(&batch), matching)
                } else {
                    let filter = FilterBuilder::new(&matches.mask()).build();
                    let projected = self.plan.project(&batch);
                    let filtered: Result<Vec<ArrayRef>, _> = projected.iter().map(|c| filter.filter(c)).collect();
                    (filtered?, matching)
                }
            }
        };
        let wanted = matching.len();
        let first_left = |taken: usize| matching[taken];
        let taken = if wanted == 0 { 0 } else { self.output.push(columns, matching.clone()) };
        let before = |offsets: &[i64], next: Offset| offsets.partition_point(|o| *o < next.0) as u64;
        if taken < wanted {
            // The next scan begins with the first row that was left, and counts it and all behind it.
            self.full = true;
            self.next = Offset(first_left(taken));
            self.counters.rows_scanned += before(&offsets, self.next);
            self.counters.rows_errored += before(&errored, self.next);
        } else {
            self.next = end;
            self.counters.rows_scanned += offsets.len() as u64 + undecoded;
            self.counters.rows_errored += errored.len() as u64 + undecoded;
        }
        Ok(())
    }
}

/// Chunks whose batches are whole: a header that is a chunk of its own is joined with its body.
fn whole_batches(chunks: &[Bytes]) -> Vec<Bytes> {
    let mut whole: Vec<Bytes> = Vec::with_capacity(chunks.len());
    let mut pending: Option<BytesMut> = None;
    for chunk in chunks {
        if let Some(mut open) = pending.take() {
            open.extend_from_slice(chunk);
            match BatchHeader::parse(&open) {
                Ok(header) if open.len() < header.total_len() => pending = Some(open),
                _ => whole.push(open.freeze()),
            }
            continue;
        }
        match BatchHeader::parse(chunk) {
            Ok(header) if chunk.len() < header.total_len() => pending = Some(BytesMut::from(&chunk[..])),
            _ => whole.push(chunk.clone()),
        }
    }
    whole
}
