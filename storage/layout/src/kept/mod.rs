//! What was decoded to check a batch is kept for the merge that makes columns of it: rows are decoded once.
//!
//! Rows of consecutive batches of a partition go into the same columns, a [run](run::Run): batches are often of 64 rows, and 44
//! arrays for each of them would cost more than decoding them again. A batch in the log's tail names its run and its place in it
//! ([`KeptColumns`]) for as long as there is memory; when it fills, merges come earlier ([`KeptTail::is_filling`]). Which were kept and which were not cannot be seen in the file: what is
//! missing is decoded by the merge.
mod run;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arrow_array::{Array, ArrayRef, UInt16Array};
use parking_lot::Mutex;
use weir_protocol::records::Record;
use weir_protocol::records::batch::{BatchHeader, TimestampType};
use weir_storage::memory::{MemoryBudget, Reclaim, Reservation, Share};
use weir_storage::segment::KeptColumns;
use weir_table::codec::RowError;
use weir_table::codec::json::ShapeId;
use weir_table::table::Table;

pub(crate) use self::run::ClosedRun;
use self::run::{Growing, Run};
use crate::schema::form_number;

/// A batch of fewer rows is decoded again: a place in a run costs about as much.
const ROWS_MIN: usize = 8;
/// Of the share of caches, the eighths that kept columns may take. Decoded rows and columns may have two each, so that newest data
/// as it is stored always has some.
const SHARE_EIGHTHS: usize = 3;
/// Runs to be added to are looked through for those that are gone when so many more are known.
const LANES_SLACK: usize = 64;

/// The place of one batch's records in a run.
pub(crate) struct Slot {
    pub run: Arc<Run>,
    /// As it was produced, without a place in the log.
    pub header: BatchHeader,
    /// Its first row in the run.
    pub from: usize,
    pub rows: usize,
    /// Of each record from the base offset on, ascending; `None`: 0, 1, 2 and so on.
    pub deltas: Option<Vec<i32>>,
}

/// Checks the records of a new batch and keeps them.
pub struct BatchKeeper {
    run: Arc<Run>,
    /// `None` only when it was given back.
    growing: Option<Box<Growing>>,
    from: usize,
    /// Something is not to be kept: the records are checked and no more.
    spoilt: bool,
}

impl std::fmt::Debug for BatchKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchKeeper(from row {})", self.from)
    }
}

impl BatchKeeper {
    /// For a batch of this table and partition; `None` if its rows are not kept (see [`Table::keeping_validator`]), or if there is
    /// no room for more.
    pub fn new(tail: &KeptTail, table: &Arc<Table>, partition: i32) -> Option<BatchKeeper> {
        if !tail.has_room() {
            return None;
        }
        let (run, growing) = tail.run_of(table, partition)?;
        let from = growing.len;
        Some(BatchKeeper { run, growing: Some(growing), from, spoilt: false })
    }

    /// The next record. A row that does not fit is told, and then nothing of the batch is kept.
    pub fn push(&mut self, header: &BatchHeader, record: &Record<'_>) -> Result<(), RowError> {
        // It is there until the keeper is gone.
        let Some(growing) = self.growing.as_deref_mut() else { return Ok(()) };
        let done = growing.decoder.push(record.key, record.value);
        // A frame or another form that only a file's writer can tell: its bytes would be stored beside its columns.
        let framed = record.value.is_some_and(|value| value.first() == Some(&0));
        if self.spoilt || framed || done.is_err() {
            self.spoilt = true;
            growing.decoder.truncate(growing.len);
            return done;
        }
        let form = form_number(growing.decoder.form());
        let value = if form.is_some() { None } else { record.value };
        if growing.rows.push(header, record, value).is_err() {
            self.spoilt = true;
            growing.decoder.truncate(growing.len);
            return done;
        }
        growing.forms.append_option(form);
        growing.len += 1;
        let key = record.key.map_or(0, <[u8]>::len);
        // A timestamp, a form, and the ends of what has a length.
        growing.beside += 8 + 2 + 3 * 4 + key + value.map_or(0, <[u8]>::len);
        done
    }

    /// Its place in the run, if it is worth one; the run is given back.
    fn finish(mut self, tail: &KeptTail, header: &BatchHeader) -> Option<Slot> {
        let mut growing = self.growing.take()?;
        let rows = growing.len - self.from;
        let offsets = std::mem::take(&mut growing.rows.offsets);
        let fits = !self.spoilt
            && rows >= ROWS_MIN
            && rows == header.record_count.max(0) as usize
            && header.attributes.timestamp_type() == TimestampType::CreateTime;
        let memory = if fits { tail.held.reserve(self.run.uncounted(&growing)) } else { None };
        let is_kept = memory.is_some();
        // Without memory for this batch there is none for the next one either.
        if !self.run.take_back(growing, memory, self.spoilt || fits && !is_kept) || !is_kept {
            return None;
        }
        let base = header.base_offset.0;
        // A batch spans no more than 2^31 offsets.
        let deltas: Vec<i32> = offsets.iter().map(|offset| (offset - base) as i32).collect();
        let is_dense = deltas.iter().copied().eq(0..rows as i32);
        let deltas = (!is_dense).then_some(deltas);
        Some(Slot { run: self.run.clone(), header: *header, from: self.from, rows, deltas })
    }
}

impl Drop for BatchKeeper {
    /// The batch was refused: its rows stay in the run, and nobody names them.
    fn drop(&mut self) {
        if let Some(growing) = self.growing.take() {
            self.run.take_back(growing, None, true);
        }
    }
}

/// Numbers of shapes, as another set numbers them.
pub(crate) fn renumbered(forms: &ArrayRef, ids: &[ShapeId]) -> Option<ArrayRef> {
    let forms = forms.as_any().downcast_ref::<UInt16Array>()?;
    if ids.iter().enumerate().all(|(at, id)| usize::from(id.0) == at) {
        return Some(Arc::new(forms.clone()));
    }
    // What is no shape (any form will do) stays.
    let number = |form: u16| ids.get(usize::from(form)).map_or(form, |id| id.0);
    Some(Arc::new(forms.iter().map(|form| form.map(number)).collect::<UInt16Array>()))
}

/// Kept batches that are in some log's tail, within a part of the memory for caches. Where there is no more, new ones are not
/// kept: the oldest are the next to be merged.
#[derive(Clone)]
pub struct KeptTail {
    held: Arc<Held>,
}

struct Held {
    budget: MemoryBudget,
    bytes_max: usize,
    bytes: AtomicUsize,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    /// By table and partition, the one that the next batch is added to; may name some that are gone.
    lanes: HashMap<(usize, i32), Weak<Run>>,
    lanes_max: usize,
    /// As they came; may name some that are gone.
    all: VecDeque<Weak<Run>>,
}

impl std::fmt::Debug for KeptTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptTail({} bytes)", self.bytes())
    }
}

impl KeptTail {
    /// Draws on [`Share::Tail`] of `budget`, and gives it back when others need it.
    pub fn new(budget: &MemoryBudget) -> KeptTail {
        let bytes_max = budget.limits_of(Share::Tail).max / 8 * SHARE_EIGHTHS;
        let (bytes, runs) = (AtomicUsize::new(0), Mutex::default());
        let held = Arc::new(Held { budget: budget.clone(), bytes_max, bytes, runs });
        let weak: Weak<Held> = Arc::downgrade(&held);
        budget.add_cache(weak);
        KeptTail { held }
    }

    /// Bytes of the columns it keeps.
    pub fn bytes(&self) -> usize {
        self.held.bytes.load(Ordering::Relaxed)
    }

    /// Whether more may be kept; where not, a batch is better checked without it.
    fn has_room(&self) -> bool {
        self.bytes() < self.held.bytes_max
    }

    /// Whether so much is kept that merges should give some of it back soon: they take a while, and what comes meanwhile needs room too.
    pub fn is_filling(&self) -> bool {
        self.bytes() > self.held.bytes_max / 2
    }

    /// Keeps what was read of a batch, if it is worth it and there is memory. `header`: of the batch as it is appended.
    pub fn keep(&self, keeper: BatchKeeper, header: &BatchHeader) -> Option<KeptColumns> {
        keeper.finish(self, header).map(|slot| KeptColumns(Arc::new(slot)))
    }

    /// The run that the next batch of a partition is added to, and what is in it. `None`: rows of the table are not kept.
    fn run_of(&self, table: &Arc<Table>, partition: i32) -> Option<(Arc<Run>, Box<Growing>)> {
        let lane = (Arc::as_ptr(table) as usize, partition);
        let known = self.held.runs.lock().lanes.get(&lane).and_then(Weak::upgrade);
        // The address of a table that is gone may be another one's by now.
        if let Some(run) = known.filter(|run| Arc::ptr_eq(&run.table, table))
            && let Some(growing) = run.lend()
        {
            return Some((run, growing));
        }
        let growing = Box::new(Growing::new(table.keeping_validator()?));
        let run = Arc::new(Run::new(Arc::downgrade(&self.held), table.clone()));
        self.held.runs.lock().add(lane, Arc::downgrade(&run));
        Some((run, growing))
    }
}

impl Runs {
    fn add(&mut self, lane: (usize, i32), run: Weak<Run>) {
        while self.all.front().is_some_and(|oldest| oldest.strong_count() == 0) {
            self.all.pop_front();
        }
        self.all.push_back(run.clone());
        self.lanes.insert(lane, run);
        if self.lanes.len() > self.lanes_max {
            self.lanes.retain(|_, run| run.strong_count() > 0);
            self.lanes_max = 2 * self.lanes.len() + LANES_SLACK;
        }
    }
}

impl Held {
    fn reserve(&self, bytes: usize) -> Option<Reservation> {
        if self.bytes.load(Ordering::Relaxed) + bytes > self.bytes_max {
            return None;
        }
        let memory = self.budget.try_reserve(Share::Tail, bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(memory)
    }

    fn freed(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reclaim for Held {
    /// The newest goes first: it is needed last.
    fn reclaim(&self, bytes: usize) -> usize {
        let mut freed = 0;
        while freed < bytes {
            let Some(newest) = self.runs.lock().all.pop_back() else { break };
            freed += newest.upgrade().map_or(0, |run| run.give_up());
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::Timestamp;
    use weir_protocol::records::{BatchBuilder, decode};
    use weir_table::table::{RowFormat, TableOptions};
    use weir_table::{TableSchema, ddl};

    use super::*;

    fn table() -> Arc<Table> {
        let schema = TableSchema::create(ddl::parse("id BIGINT NOT NULL, city STRING").unwrap(), &[]).unwrap();
        Arc::new(Table::new(vec![Arc::new(schema)], RowFormat::json(), None, TableOptions::default()).unwrap())
    }

    /// Kept are rows, checked against the table; with them every row that `more` gives.
    fn keep(tail: &KeptTail, table: &Arc<Table>, rows: usize, more: &[&str]) -> Option<KeptColumns> {
        keep_of(tail, table, 0, rows, more)
    }

    fn keep_of(tail: &KeptTail, table: &Arc<Table>, lane: i32, rows: usize, more: &[&str]) -> Option<KeptColumns> {
        let mut builder = BatchBuilder::new();
        let plain = (0..rows).map(|id| format!(r#"{{"id":{id},"city":"Bern"}}"#));
        for row in plain.chain(more.iter().map(|row| (*row).to_owned())) {
            builder.append(None, Some(row.as_bytes()), &[], Timestamp(1)).unwrap();
        }
        let batch = builder.build().unwrap();
        let opened = decode(&batch, &Default::default()).unwrap();
        let mut keeper = BatchKeeper::new(tail, table, lane)?;
        for record in opened.records() {
            let _ = keeper.push(&opened.header, &record.unwrap());
        }
        tail.keep(keeper, &opened.header)
    }

    fn is_there(kept: &KeptColumns) -> bool {
        kept.0.downcast_ref::<Slot>().unwrap().run.columns().is_some()
    }

    #[test]
    fn whoever_needs_the_memory_gets_it_and_the_newest_go_first() {
        let budget = MemoryBudget::new(64 << 20);
        let (tail, table) = (KeptTail::new(&budget), table());
        let kept: Vec<KeptColumns> = (0..3).map(|lane| keep_of(&tail, &table, lane, 100, &[]).unwrap()).collect();
        assert!(tail.bytes() > 0 && budget.used_by(Share::Tail) == tail.bytes());
        assert!(Reclaim::reclaim(&*tail.held, 1) > 0);
        assert_eq!(kept.iter().map(is_there).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(budget.used_by(Share::Tail), tail.bytes());
        drop(kept);
        assert_eq!((tail.bytes(), budget.used_by(Share::Tail)), (0, 0));
        // Where there is no memory nothing is kept; full is what cannot take one more.
        assert!(tail.has_room());
        let mut many = Vec::new();
        while let Some(kept) = keep(&tail, &table, 10_000, &[]) {
            many.push(kept);
        }
        assert!(many.len() > 1 && tail.bytes() <= tail.held.bytes_max);
        tail.held.bytes.fetch_add(tail.held.bytes_max, Ordering::Relaxed);
        assert!(!tail.has_room());
        tail.held.bytes.fetch_sub(tail.held.bytes_max, Ordering::Relaxed);
        drop(many);
        let _others = budget.try_reserve(Share::Tail, budget.limits_of(Share::Tail).max).unwrap();
        assert!(keep(&tail, &table, 100, &[]).is_none());
    }

    #[test]
    fn batches_of_a_partition_share_a_run_until_it_is_full_or_one_of_them_is_refused() {
        let (tail, table) = (KeptTail::new(&MemoryBudget::new(64 << 20)), table());
        let slot = |kept: &KeptColumns| kept.0.clone().downcast::<Slot>().unwrap();
        let place = |kept: &KeptColumns| (slot(kept).from, slot(kept).rows);
        let is_same = |one: &KeptColumns, other: &KeptColumns| Arc::ptr_eq(&slot(one).run, &slot(other).run);
        let first = keep(&tail, &table, 100, &[]).unwrap();
        let second = keep(&tail, &table, 50, &[]).unwrap();
        assert_eq!((place(&first), place(&second)), ((0, 100), (100, 50)));
        assert!(is_same(&first, &second));
        let other = keep_of(&tail, &table, 1, 20, &[]).unwrap();
        assert!(!is_same(&first, &other));
        // Ten rows of this one are in the run and nobody's; no batch comes behind them.
        assert!(keep(&tail, &table, 10, &[r#"{"city":"no id"}"#]).is_none());
        let third = keep(&tail, &table, 20, &[]).unwrap();
        assert!(!is_same(&first, &third));
        let columns = slot(&second).run.columns().unwrap();
        assert_eq!(
            columns.columns.iter().map(|column| column.len()).collect::<Vec<_>>(),
            vec![160; columns.columns.len()]
        );
        // Two at once are in two runs.
        let mut busy = BatchKeeper::new(&tail, &table, 0).unwrap();
        assert!(!is_same(&third, &keep(&tail, &table, 20, &[]).unwrap()));
        busy.spoilt = true;
        drop(busy);
        let many: Vec<KeptColumns> = (0..12).map(|_| keep(&tail, &table, 1_000, &[]).unwrap()).collect();
        let runs = many.windows(2).filter(|pair| !is_same(&pair[0], &pair[1])).count();
        assert!((1..6).contains(&runs), "{runs}");
        let counted = tail.bytes();
        drop((first, second, other, third, columns));
        assert!(tail.bytes() < counted);
        drop(many);
        assert_eq!(tail.bytes(), 0);
    }

    #[test]
    fn few_rows_rows_that_do_not_fit_and_framed_rows_are_not_kept() {
        let (tail, table) = (KeptTail::new(&MemoryBudget::new(64 << 20)), table());
        assert!(keep(&tail, &table, ROWS_MIN - 1, &[]).is_none());
        assert!(keep(&tail, &table, 100, &[r#"{"city":"no id"}"#]).is_none());
        assert!(keep(&tail, &table, 100, &["\0\0\0\0\u{1}{\"id\":1}"]).is_none());
        assert!(keep(&tail, &table, 100, &[r#"{ "id" : 7 }"#]).is_some());
        assert_eq!(tail.bytes(), 0);
    }
}
