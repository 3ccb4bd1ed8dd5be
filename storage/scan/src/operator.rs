//! The scan of one partition: reads on from its cursor until the visible end or until a budget is used up.
//!
//! It can go on later: a long poll runs the same scan again when data was appended, so nothing is looked at twice.
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::ArrayRef;
use arrow_select::filter::FilterBuilder;
use bytes::{Bytes, BytesMut};
use thiserror::Error;
use weir_predicate::EvaluateError;
use weir_protocol::ids::Offset;
use weir_protocol::records::{BatchHeader, DecompressLimits, batches, decode};
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::log::{AbortedTransaction, LogOffsets, Partition, ReadError, ReadLimit, ReadRequest};

use crate::committed::Visibility;
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
    pub max_time: Duration,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanCounters {
    pub rows_scanned: u64,
    pub rows_returned: u64,
    pub rows_errored: u64,
    pub bytes_scanned: u64,
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

/// A scan in progress.
pub struct Scan {
    plan: Arc<ScanPlan>,
    partition: Arc<Partition>,
    cpu: CpuPool,
    limits: ScanLimits,
    offsets: LogOffsets,
    next: Offset,
    counters: ScanCounters,
    time: Duration,
    output: Output,
    full: bool,
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
            time: Duration::ZERO,
            output,
            full: false,
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
        self.full || self.counters.bytes_scanned >= self.limits.max_scan_bytes || self.time >= self.limits.max_time
    }

    /// Scans on until the visible end or until a budget is used up.
    pub async fn run(mut self) -> Result<Scan, ScanError> {
        let cpu = self.cpu.clone();
        while !self.is_exhausted() {
            let request = ReadRequest {
                offset: self.next,
                max_bytes: CHUNK_BYTES,
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
                let started = Instant::now();
                let result = self.chunk(&outcome.chunks, &outcome.aborted);
                self.time += started.elapsed();
                result.map(|()| self)
            };
            let done = cpu.run(Priority::Request, work).await;
            self = done.map_err(|error| ScanError::Failed { reason: error.to_string() })??;
        }
        Ok(self)
    }

    pub fn finish(self) -> ScanResult {
        let Scan { offsets, next, mut counters, output, .. } = self;
        counters.rows_returned = output.rows() as u64;
        let (schema, batches) = output.finish();
        ScanResult { offsets, next, counters, schema, batches }
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
            let limits = DecompressLimits { max_bytes: BATCH_BYTES_MAX, ..DecompressLimits::default() };
            match decode(bytes, &limits) {
                Ok(decoded) => {
                    for record in decoded.records() {
                        let Ok(record) = record else {
                            self.counters.rows_errored += 1;
                            break;
                        };
                        if record.offset(header) < self.next {
                            continue;
                        }
                        rows.append(header, &record);
                        if rows.is_full() {
                            self.flush(rows)?;
                            if self.full {
                                return Ok(());
                            }
                        }
                    }
                }
                // Stored before it was checked, and unreadable for every consumer: counted, and passed over.
                Err(error) => {
                    tracing::warn!(partition = %self.partition.key(), offset = header.base_offset.0, %error, "a batch cannot be decoded");
                    self.counters.rows_errored += u64::from(header.record_count.unsigned_abs());
                }
            }
        }
        if rows.is_empty() {
            self.next = self.next.max(header.next_offset());
        } else {
            rows.set_end(header.next_offset());
        }
        Ok(())
    }

    /// Filters what was gathered and hands it to the output; moves the cursor behind what was dealt with.
    fn flush(&mut self, rows: &mut RowBuilder) -> Result<(), ScanError> {
        if rows.is_empty() {
            return Ok(());
        }
        let Some(Rows { batch, offsets, end }) = rows.take(&self.plan) else {
            return Err(ScanError::Failed { reason: "rows do not fit their schema".to_owned() });
        };
        let total = offsets.len() as u64;
        let (columns, matching) = match self.plan.predicate() {
            None => (self.plan.project(&batch), offsets.clone()),
            Some(predicate) => {
                let started = Instant::now();
                let mut proceed = || match started.elapsed() {
                    spent if spent < SLICE_TIME_MAX => Ok(()),
                    spent => Err(format!("{} rows were not done after {} s", batch.num_rows(), spent.as_secs())),
                };
                let matches = predicate.evaluate(&batch, &mut proceed).map_err(ScanError::Predicate)?;
                self.counters.rows_errored += matches.errored as u64;
                let matching: Vec<i64> = matches.rows.set_indices().map(|row| offsets[row]).collect();
                if matching.is_empty() {
                    (Vec::new(), matching)
                } else if matching.len() == offsets.len() {
                    (self.plan.project(&batch), matching)
                } else {
                    let filter = FilterBuilder::new(&matches.mask()).build();
                    let projected = self.plan.project(&batch);
                    let filtered: Result<Vec<ArrayRef>, _> = projected.iter().map(|c| filter.filter(c)).collect();
                    let filtered = filtered.map_err(|e| ScanError::Failed { reason: e.to_string() })?;
                    (filtered, matching)
                }
            }
        };
        let wanted = matching.len();
        let first_left = |taken: usize| matching[taken];
        let taken = if wanted == 0 { 0 } else { self.output.push(columns, matching.clone()) };
        if taken < wanted {
            // The next scan begins with the first row that was left.
            self.full = true;
            self.next = Offset(first_left(taken));
            self.counters.rows_scanned += offsets.partition_point(|o| *o < self.next.0) as u64;
        } else {
            self.next = end;
            self.counters.rows_scanned += total;
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
