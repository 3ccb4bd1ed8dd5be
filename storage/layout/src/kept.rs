//! What was decoded to check a batch is kept for the merge that makes columns of it: rows are decoded once.
//!
//! The columns are kept beside the batch in the log's tail ([`KeptColumns`]) for as long as there is memory. Which were kept and
//! which were not cannot be seen in the file: what is missing is decoded by the merge.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arrow_array::builder::UInt16Builder;
use arrow_array::{Array, ArrayRef, UInt16Array};
use parking_lot::Mutex;
use weir_protocol::records::Record;
use weir_protocol::records::batch::{BatchHeader, TimestampType};
use weir_storage::memory::{MemoryBudget, Reclaim, Reservation, Share};
use weir_storage::segment::{EncodeError, KeptColumns};
use weir_table::codec::RowError;
use weir_table::codec::json::{ShapeId, ShapeSet};
use weir_table::table::{RowDecoder, Table};

use crate::encode::{Rows, refused};
use crate::schema::form_number;

/// Fewer rows cost more to keep than to decode again: every column is an array of its own.
const ROWS_MIN: usize = 32;
/// Of the share of caches, the part that kept columns may take: most of it is for newest data, as it is stored.
const SHARE_PART: usize = 4;

/// The records of one batch as columns of a file.
pub(crate) struct KeptBatch {
    /// The same table, not one that is alike.
    pub table: Arc<Table>,
    /// As it was produced, without a place in the log.
    pub header: BatchHeader,
    /// Ascending, from the base offset on.
    pub deltas: Vec<i32>,
    /// In the order of a file's columns.
    pub columns: Vec<ArrayRef>,
    /// Place of `_shape` among them.
    pub forms: usize,
    pub shapes: ShapeSet,
}

impl KeptBatch {
    fn bytes(&self) -> usize {
        let arrays: usize = self.columns.iter().map(|column| column.get_array_memory_size()).sum();
        arrays + 4 * self.deltas.len() + size_of::<KeptBatch>()
    }
}

/// Checks the records of a new batch and keeps them.
pub struct BatchKeeper {
    table: Arc<Table>,
    decoder: RowDecoder,
    forms: UInt16Builder,
    rows: Rows,
    /// Something is not to be kept: the records are checked and no more.
    spoilt: bool,
}

impl std::fmt::Debug for BatchKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchKeeper({} rows)", self.decoder.rows())
    }
}

impl BatchKeeper {
    /// For a batch of this table; `None` if its rows are not kept (see [`Table::keeping_validator`]).
    pub fn new(table: &Arc<Table>) -> Option<BatchKeeper> {
        let decoder = table.keeping_validator()?;
        let (table, forms, rows) = (table.clone(), UInt16Builder::new(), Rows::default());
        Some(BatchKeeper { table, decoder, forms, rows, spoilt: false })
    }

    /// The next record. A row that does not fit is told, and then nothing of the batch is kept.
    pub fn push(&mut self, header: &BatchHeader, record: &Record<'_>) -> Result<(), RowError> {
        let done = self.decoder.push(record.key, record.value);
        // A frame or another form that only a file's writer can tell: its bytes would be stored beside its columns.
        let framed = record.value.is_some_and(|value| value.first() == Some(&0));
        if self.spoilt || framed || done.is_err() {
            self.spoilt = true;
            self.decoder.clear();
            return done;
        }
        let form = form_number(self.decoder.form());
        self.forms.append_option(form);
        let value = if form.is_some() { None } else { record.value };
        self.spoilt = self.rows.push(header, record, value).is_err();
        done
    }

    /// Bytes that are held so far.
    pub fn held_bytes(&self) -> usize {
        self.decoder.len_bytes() + self.rows.bytes
    }

    /// The columns; `header` is that of the batch as it is appended. `None`: they are not worth it.
    fn finish(mut self, header: &BatchHeader) -> Option<KeptBatch> {
        let rows = self.rows.offsets.len();
        let kept = (!self.spoilt
            && rows >= ROWS_MIN
            && rows == header.record_count.max(0) as usize
            && header.attributes.timestamp_type() == TimestampType::CreateTime)
            .then(|| self.columns(header))
            .and_then(Result::ok);
        self.table.clone().release(self.decoder);
        kept
    }

    fn columns(&mut self, header: &BatchHeader) -> Result<KeptBatch, EncodeError> {
        let batch = self.decoder.finish().map_err(refused)?;
        let mut columns = batch.columns().to_vec();
        let offsets = std::mem::take(&mut self.rows.offsets);
        let forms = self.rows.columns_onto(&mut columns, Some(self.forms.finish()));
        let base = header.base_offset.0;
        // A batch spans no more than 2^31 offsets.
        let deltas = offsets.into_iter().map(|offset| (offset - base) as i32).collect();
        let shapes = self.decoder.take_shapes();
        Ok(KeptBatch { table: self.table.clone(), header: *header, deltas, columns, forms, shapes })
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

/// A kept batch that can be taken away.
pub(crate) struct Slot {
    tail: Arc<Held>,
    kept: Mutex<Option<(Arc<KeptBatch>, Reservation)>>,
}

impl Slot {
    /// While somebody has it, its memory is not given back.
    pub(crate) fn get(&self) -> Option<Arc<KeptBatch>> {
        self.kept.lock().as_ref().map(|(kept, _)| kept.clone())
    }

    fn give_up(&self) -> usize {
        let Some((_, memory)) = self.kept.lock().take() else { return 0 };
        self.tail.bytes.fetch_sub(memory.bytes(), Ordering::Relaxed);
        memory.bytes()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_up();
    }
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
    /// As they came; may name some that are gone.
    slots: Mutex<VecDeque<Weak<Slot>>>,
}

impl std::fmt::Debug for KeptTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptTail({} bytes)", self.bytes())
    }
}

impl KeptTail {
    /// Draws on [`Share::Tail`] of `budget`, and gives it back when others need it.
    pub fn new(budget: &MemoryBudget) -> KeptTail {
        let bytes_max = budget.limits_of(Share::Tail).max / SHARE_PART;
        let (bytes, slots) = (AtomicUsize::new(0), Mutex::default());
        let held = Arc::new(Held { budget: budget.clone(), bytes_max, bytes, slots });
        let weak: Weak<Held> = Arc::downgrade(&held);
        budget.add_cache(weak);
        KeptTail { held }
    }

    /// Bytes of the columns it keeps.
    pub fn bytes(&self) -> usize {
        self.held.bytes.load(Ordering::Relaxed)
    }

    /// Whether more may be kept; where not, a batch is better checked without it.
    pub fn has_room(&self) -> bool {
        self.bytes() < self.held.bytes_max
    }

    /// Keeps what was read of a batch, if it is worth it and there is memory. `header`: of the batch as it is appended.
    pub fn keep(&self, keeper: BatchKeeper, header: &BatchHeader) -> Option<KeptColumns> {
        let kept = keeper.finish(header)?;
        let bytes = kept.bytes();
        if self.bytes() + bytes > self.held.bytes_max {
            return None;
        }
        let memory = self.held.budget.try_reserve(Share::Tail, bytes)?;
        self.held.bytes.fetch_add(bytes, Ordering::Relaxed);
        let slot = Arc::new(Slot { tail: self.held.clone(), kept: Mutex::new(Some((Arc::new(kept), memory))) });
        let mut slots = self.held.slots.lock();
        while slots.front().is_some_and(|oldest| oldest.strong_count() == 0) {
            slots.pop_front();
        }
        slots.push_back(Arc::downgrade(&slot));
        drop(slots);
        Some(KeptColumns(slot))
    }
}

impl Reclaim for Held {
    /// The newest goes first: it is needed last.
    fn reclaim(&self, bytes: usize) -> usize {
        let mut freed = 0;
        while freed < bytes {
            let Some(newest) = self.slots.lock().pop_back() else { break };
            freed += newest.upgrade().map_or(0, |slot| slot.give_up());
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
        let mut builder = BatchBuilder::new();
        let plain = (0..rows).map(|id| format!(r#"{{"id":{id},"city":"Bern"}}"#));
        for row in plain.chain(more.iter().map(|row| (*row).to_owned())) {
            builder.append(None, Some(row.as_bytes()), &[], Timestamp(1)).unwrap();
        }
        let batch = builder.build().unwrap();
        let opened = decode(&batch, &Default::default()).unwrap();
        let mut keeper = BatchKeeper::new(table).unwrap();
        for record in opened.records() {
            let _ = keeper.push(&opened.header, &record.unwrap());
        }
        tail.keep(keeper, &opened.header)
    }

    fn is_there(kept: &KeptColumns) -> bool {
        kept.0.downcast_ref::<Slot>().unwrap().get().is_some()
    }

    #[test]
    fn whoever_needs_the_memory_gets_it_and_the_newest_go_first() {
        let budget = MemoryBudget::new(64 << 20);
        let (tail, table) = (KeptTail::new(&budget), table());
        let kept: Vec<KeptColumns> = (0..3).map(|_| keep(&tail, &table, 100, &[]).unwrap()).collect();
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
    fn few_rows_rows_that_do_not_fit_and_framed_rows_are_not_kept() {
        let (tail, table) = (KeptTail::new(&MemoryBudget::new(64 << 20)), table());
        assert!(keep(&tail, &table, ROWS_MIN - 1, &[]).is_none());
        assert!(keep(&tail, &table, 100, &[r#"{"city":"no id"}"#]).is_none());
        assert!(keep(&tail, &table, 100, &["\0\0\0\0\u{1}{\"id\":1}"]).is_none());
        assert!(keep(&tail, &table, 100, &[r#"{ "id" : 7 }"#]).is_some());
        assert_eq!(tail.bytes(), 0);
    }
}
