//! The scan of one partition: reads on from its cursor until the visible end or until a budget is used up.
//!
//! It can go on later: a long poll runs the same scan again when data was appended, so nothing is looked at twice.
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_select::filter::FilterBuilder;
use weir_predicate::{Matches, Predicate};
use weir_protocol::ids::Offset;
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::log::{AbortedTransaction, LogOffsets, Partition, ReadLimit, ReadOutcome, ReadRequest};

use crate::cache::{RowCache, SeriesKey};
use crate::counters::ScanCounters;
use crate::error::ScanError;
use crate::older::OlderRows;
use crate::output::{Output, ScannedBatch};
use crate::plan::ScanPlan;
use crate::restriction::{Judged, guarded_batch};
use crate::rows::{Chunk, Rows, read_chunk};
use crate::segments::{Found, Looked, SegmentScan, WindowOrder};
use crate::slices::{SliceCodecs, StoredRows};

/// Stored bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;
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
    /// Instead of batches: rows as they are stored.
    pub stored: Option<StoredRows>,
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
    /// Counted where the scan is only looked at.
    predicate_ns: AtomicU64,
    output: Output,
    /// The column file at the cursor.
    segment: Option<SegmentScan>,
    /// Codecs in which stored row groups may be returned; `None`: rows are wanted opened.
    slices: Option<SliceCodecs>,
    /// Of rows that are stored in windows.
    order: WindowOrder,
    /// Row groups that are returned unopened: then nothing else is.
    stored: Option<StoredRows>,
    full: bool,
    out_of_time: bool,
    /// Where rows are that the log has no more.
    older: Option<Arc<dyn OlderRows>>,
    /// It ends where the log begins.
    older_only: bool,
    /// Rows that were decoded before, and what those of this scan are kept under.
    cache: Option<(Arc<RowCache>, SeriesKey)>,
}

/// Behind so many bytes of opened rows an answer ends where stored ones begin.
const OPENED_BYTES: usize = 64 << 10;

/// Whether a row group is returned as it is stored.
enum Sliced {
    Taken,
    /// It has to be opened.
    NotHere,
    /// Not in this answer.
    Later,
}

/// What one look at a column file came to.
enum Step {
    /// The cursor moved.
    Moved,
    /// There is nothing visible behind the cursor.
    AtEnd,
    /// What is here is to be read as rows.
    Rows,
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
            predicate_ns: AtomicU64::new(0),
            output,
            segment: None,
            slices: None,
            order: WindowOrder::Offset,
            stored: None,
            full: false,
            out_of_time: false,
            older: None,
            older_only: false,
            cache: None,
        }
    }

    /// Takes rows that were decoded before out of `cache`, and puts there what it decodes.
    #[must_use]
    pub fn with_cache(mut self, cache: &Arc<RowCache>) -> Scan {
        let series = self.plan.columns().series(self.partition.key(), self.limits.visible);
        self.cache = series.map(|series| (cache.clone(), series));
        self
    }

    /// Reads what is older than the log from there. `only`: and nothing else.
    #[must_use]
    pub fn with_older(mut self, older: Arc<dyn OlderRows>, only: bool) -> Scan {
        (self.older, self.older_only) = (Some(older), only);
        self
    }

    /// Lets it return stored row groups unopened, see [`ScanResult::stored`].
    #[must_use]
    pub fn with_slices(mut self, codecs: SliceCodecs) -> Scan {
        self.slices = Some(codecs);
        self
    }

    /// Another limit of what it returns in all.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Scan {
        self.limits.max_bytes = max_bytes;
        self.output.limit(max_bytes);
        self
    }

    /// Gives rows of windows group by group. A window is given whole, whatever the limits are, so that the next scan can go on
    /// behind it.
    #[must_use]
    pub fn in_window_order(mut self) -> Scan {
        self.order = WindowOrder::Stored;
        self
    }

    /// Where it has got to.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Bytes of rows that matched.
    pub fn matched_bytes(&self) -> usize {
        self.output.bytes() + self.stored.as_ref().map_or(0, |stored| stored.bytes() as usize)
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
            let log_start = self.partition.offsets().log_start;
            if let Some(older) = self.older.clone().filter(|_| self.next < log_start) {
                if self.stored.is_some() {
                    self.full = true;
                    break;
                }
                let next = self.next;
                self.offsets = self.partition.offsets();
                let Some(found) = older.read(self.plan.input(), next, log_start).await? else {
                    self.out_of_time = true;
                    break;
                };
                self = found.taken_by(self, &cpu).await?;
                self.out_of_time = started.elapsed() >= time;
                continue;
            }
            if self.older_only {
                self.full = true;
                break;
            }
            if self.partition.stores_columns_at(self.next) {
                let least = 2 * weir_column::GROUP_BYTES_MAX;
                let held = self.segment.as_ref().map_or(least, |segment| segment.look_bytes().max(least));
                let memory = self.partition.memory_to_read(held).await;
                let work = move || {
                    let step = self.column_step(held);
                    drop(memory);
                    step.map(|step| (self, step))
                };
                let done = cpu.run(Priority::Request, work).await;
                let step;
                (self, step) = done.map_err(|error| ScanError::Failed { reason: error.to_string() })??;
                match step {
                    Step::Moved => {
                        self.out_of_time = started.elapsed() >= time;
                        continue;
                    }
                    Step::AtEnd => break,
                    Step::Rows => {}
                }
            }
            if self.stored.is_some() {
                // Rows that have to be opened are for the next answer.
                self.full = true;
                break;
            }
            let left = self.limits.max_scan_bytes.saturating_sub(self.counters.bytes_scanned);
            if let Some(rows) = self.cached(left) {
                self.offsets = self.partition.offsets();
                self.counters.rows_cached += rows.offsets.len() as u64;
                let done = cpu.run(Priority::Request, move || self.take(&rows).map(|_| self)).await;
                self = done.map_err(|error| ScanError::failed(error.to_string()))??;
                self.out_of_time = started.elapsed() >= time;
                continue;
            }
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
            let ReadOutcome { chunks, aborted, memory, .. } = outcome;
            let work = move || {
                let done = self.chunk(&Chunk::Batches { chunks, aborted });
                // What was read from disk is held until it has been looked at.
                drop(memory);
                done.map(|()| self)
            };
            let done = cpu.run(Priority::Request, work).await;
            self = done.map_err(|error| ScanError::Failed { reason: error.to_string() })??;
            self.out_of_time = started.elapsed() >= time;
        }
        Ok(self)
    }

    /// Takes rows that are older than the log.
    pub(crate) fn take_older(&mut self, rows: &Rows) -> Result<(), ScanError> {
        self.take(rows).map(|_| ())
    }

    pub fn finish(self) -> Result<ScanResult, ScanError> {
        let Scan { offsets, next, mut counters, output, stored, predicate_ns, .. } = self;
        counters.predicate_us = predicate_ns.into_inner() / 1_000;
        counters.rows_returned = output.rows() as u64 + stored.as_ref().map_or(0, StoredRows::rows);
        let (schema, batches) = output.finish()?;
        Ok(ScanResult { offsets, next, counters, schema, batches, stored })
    }

    /// Rows from the cursor on that were decoded before, if the budget allows for them. What retention has deleted is not read
    /// out of a cache: the log says so.
    fn cached(&self, left: u64) -> Option<Arc<Rows>> {
        let (cache, series) = self.cache.as_ref()?;
        let rows = cache.get(series, self.next)?;
        (rows.stored_bytes <= left && self.partition.offsets().log_start <= self.next).then_some(rows)
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), ScanError> {
        let (plan, key, from) = (self.plan.clone(), self.partition.key(), self.next);
        let cache = self.cache.clone();
        read_chunk(chunk, plan.columns(), &key, from, &mut |rows| {
            let rows = Arc::new(rows);
            if let Some((cache, series)) = &cache {
                cache.put(series, &rows);
            }
            self.take(&rows)
        })
    }

    /// Looks at the next rows that statistics do not rule out. `held`: memory for that; a file that takes more is opened only.
    fn column_step(&mut self, held: usize) -> Result<Step, ScanError> {
        let segment = match self.segment.take().filter(|segment| segment.covers(self.next)) {
            Some(segment) => segment,
            None => {
                let Some(part) = self.partition.column_part(self.next)? else { return Ok(Step::Rows) };
                let number = self.partition.key().partition.0;
                let Some(segment) = SegmentScan::open(&part, &self.plan, number, self.slices)? else {
                    return Ok(Step::Rows);
                };
                segment
            }
        };
        if segment.look_bytes() > held {
            self.segment = Some(segment);
            return Ok(Step::Moved);
        }
        let view = self.partition.view(self.next, segment.next(), self.limits.visible)?;
        self.offsets = view.offsets;
        if self.next >= view.end {
            return Ok(Step::AtEnd);
        }
        while self.next < view.end && !self.is_exhausted() {
            match self.slice(&segment, view.end, &view.aborted)? {
                Sliced::Taken => continue,
                Sliced::NotHere => {}
                Sliced::Later => {
                    self.full = true;
                    break;
                }
            }
            let judge = |batch: &RecordBatch| self.judge(batch);
            match segment.look(&self.plan, (self.next, view.end), self.order, &view.aborted, &judge)? {
                Looked::Passed { end, pruned } => {
                    self.counters.groups_pruned += pruned;
                    self.next = self.next.max(end);
                }
                Looked::Rows { parts, read, pruned } => {
                    self.counters.groups_read += read;
                    self.counters.groups_pruned += pruned;
                    self.accept_all(parts);
                    break;
                }
            }
        }
        self.segment = Some(segment);
        Ok(Step::Moved)
    }

    /// Takes the row group at the cursor as it is stored, if that can be.
    fn slice(
        &mut self,
        segment: &SegmentScan,
        end: Offset,
        aborted: &[AbortedTransaction],
    ) -> Result<Sliced, ScanError> {
        let Some((group, bytes)) = segment.slice(self.next, end, aborted)? else {
            return Ok(if self.stored.is_some() { Sliced::Later } else { Sliced::NotHere });
        };
        if self.output.rows() > 0 {
            // A few opened rows go on with opened rows; behind many, stored ones are for the next answer.
            return Ok(if self.output.bytes() > OPENED_BYTES { Sliced::Later } else { Sliced::NotHere });
        }
        let begun = match &mut self.stored {
            Some(stored) => stored,
            None => match segment.stored_rows(&self.plan) {
                Some(begun) if self.limits.max_bytes > 0 || self.limits.at_least_one => self.stored.insert(begun),
                _ => return Ok(Sliced::NotHere),
            },
        };
        let fits = begun.groups().is_empty() || begun.bytes() + bytes <= self.limits.max_bytes as u64;
        if !begun.is_of(segment.segment()) || !fits {
            return Ok(Sliced::Later);
        }
        begun.push(group, bytes);
        self.full = begun.bytes() >= self.limits.max_bytes as u64;
        self.next = Offset(group.last_offset + 1);
        self.counters.groups_sliced += 1;
        self.counters.bytes_scanned += bytes;
        self.counters.rows_scanned += u64::from(group.rows - group.skip_head);
        Ok(Sliced::Taken)
    }

    /// Filters rows and hands them to the output; moves the cursor behind what was dealt with. Rows in front of the cursor were
    /// dealt with before.
    fn take(&mut self, rows: &Rows) -> Result<ControlFlow<()>, ScanError> {
        let from = rows.offsets.partition_point(|offset| *offset < self.next.0);
        let scanned = rows.offsets[from..].to_vec();
        let batch = rows.batch.slice(from, scanned.len());
        let judged = self.judge(&batch)?;
        let matches = judged.as_ref().map(|judged| &judged.matches);
        let errored = matches.iter().flat_map(|m| &m.errored).map(|row| scanned[*row]).collect();
        let (columns, matching) = match matches {
            Some(matches) if matches.matched == 0 => (Vec::new(), Vec::new()),
            Some(matches) if matches.matched < scanned.len() => {
                let filter = FilterBuilder::new(&matches.mask()).build();
                let columns = self.plan.project(&batch);
                let columns = columns.iter().map(|c| filter.filter(c)).collect::<Result<Vec<_>, _>>()?;
                (columns, matches.rows.set_indices().map(|row| scanned[row]).collect())
            }
            _ => (self.plan.project(&batch), scanned.clone()),
        };
        let scanned = match &judged {
            Some(judged) => judged.visible_of(scanned),
            None => scanned,
        };
        // Nobody knows whether a record that cannot be decoded may be seen.
        let lost = if self.plan.is_restricted() { 0 } else { rows.errored };
        let found = Found { columns, matching, scanned, errored, stored_bytes: rows.stored_bytes, end: rows.end };
        Ok(self.accept(found, lost))
    }

    /// Hands the rows of a window to the output: of several parts all or none.
    fn accept_all(&mut self, mut parts: Vec<Found>) {
        if parts.len() < 2 {
            let _ = parts.pop().map(|found| self.accept(found, 0));
            return;
        }
        if !parts.iter().all(|part| part.matching.is_empty()) && !self.output.has_room(parts.iter().map(|p| &p.columns))
        {
            self.full = true;
            return;
        }
        for Found { columns, matching, scanned, errored, stored_bytes, end } in parts {
            self.counters.bytes_scanned += stored_bytes;
            self.counters.rows_scanned += scanned.len() as u64;
            self.counters.rows_errored += errored.len() as u64;
            self.output.push_whole(columns, matching);
            self.next = self.next.max(end);
        }
    }

    /// Hands rows that match to the output. `lost`: records behind them that could not be decoded.
    fn accept(&mut self, found: Found, lost: u64) -> ControlFlow<()> {
        self.counters.bytes_scanned += found.stored_bytes;
        let Found { columns, matching, scanned, errored, end, .. } = found;
        let wanted = matching.len();
        let last = matching.clone();
        let taken = if wanted == 0 { 0 } else { self.output.push(columns, matching) };
        let before = |offsets: &[i64], next: Offset| offsets.partition_point(|o| *o < next.0) as u64;
        if taken < wanted {
            // The next scan begins with the first row that was left, and counts it and all behind it.
            self.full = true;
            self.next = Offset(last[taken]);
            self.counters.rows_scanned += before(&scanned, self.next);
            self.counters.rows_errored += before(&errored, self.next);
            return ControlFlow::Break(());
        }
        self.next = self.next.max(end);
        self.counters.rows_scanned += scanned.len() as u64 + lost;
        self.counters.rows_errored += errored.len() as u64 + lost;
        ControlFlow::Continue(())
    }

    /// `None`: nothing is asked, every row matches. What hides rows comes first: the predicate does not see these.
    fn judge(&self, batch: &RecordBatch) -> Result<Option<Judged>, ScanError> {
        let started = Instant::now();
        let judged = match (self.plan.guard(), self.plan.predicate()) {
            (None, None) => return Ok(None),
            (None, Some(predicate)) => Judged::open(matches(predicate, batch)?),
            (Some(guard), predicate) => {
                let seen = guard.evaluate(batch, &mut within(Instant::now(), batch.num_rows()));
                let seen = seen.map_err(|error| ScanError::failed(format!("the row filter of a reader: {error}")))?;
                let matches = match predicate.filter(|_| seen.matched > 0) {
                    Some(predicate) => Some(matches(predicate, &guarded_batch(batch, &seen)?)?),
                    None => None,
                };
                Judged::guarded(seen, matches)
            }
        };
        let spent = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.predicate_ns.fetch_add(spent, Ordering::Relaxed);
        Ok(Some(judged))
    }
}

fn matches(predicate: &Predicate, batch: &RecordBatch) -> Result<Matches, ScanError> {
    predicate.evaluate(batch, &mut within(Instant::now(), batch.num_rows())).map_err(ScanError::Predicate)
}

/// Asked between slices of the rows: an error ends their evaluation.
fn within(started: Instant, rows: usize) -> impl FnMut() -> Result<(), String> {
    move || match started.elapsed() {
        spent if spent < SLICE_TIME_MAX => Ok(()),
        spent => Err(format!("{rows} rows were not done after {} s", spent.as_secs())),
    }
}
