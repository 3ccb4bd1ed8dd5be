//! Rows of consecutive batches of a partition, in the same columns.
use std::sync::{Arc, Weak};

use arrow_array::ArrayRef;
use arrow_array::builder::UInt16Builder;
use parking_lot::Mutex;
use weir_storage::memory::Reservation;
use weir_storage::segment::EncodeError;
use weir_table::codec::json::ShapeSet;
use weir_table::table::{RowDecoder, Table};

use super::Held;
use crate::encode::{Rows, refused};

/// A run with as many rows or bytes takes no more batches. It is given up as a whole, so it should not be large.
const ROWS_MAX: usize = 8 << 10;
const BYTES_MAX: usize = 1 << 20;

/// What grows.
pub(super) struct Growing {
    pub decoder: RowDecoder,
    pub forms: UInt16Builder,
    pub rows: Rows,
    /// Rows of all batches so far.
    pub len: usize,
    /// Bytes beside the table's columns, about.
    pub beside: usize,
}

impl Growing {
    pub(super) fn new(decoder: RowDecoder) -> Growing {
        Growing { decoder, forms: UInt16Builder::new(), rows: Rows::default(), len: 0, beside: 0 }
    }

    /// Bytes that are in use, about.
    pub(super) fn bytes(&self) -> usize {
        self.decoder.len_bytes() + self.beside
    }

    fn close(&mut self) -> Result<ClosedRun, EncodeError> {
        let batch = self.decoder.finish().map_err(refused)?;
        let mut columns = batch.columns().to_vec();
        self.rows.offsets = Vec::new();
        let forms = self.rows.columns_onto(&mut columns, Some(self.forms.finish()));
        Ok(ClosedRun { columns, forms, shapes: self.decoder.take_shapes() })
    }
}

/// Columns of a file, of many batches.
pub(crate) struct ClosedRun {
    /// In the order of a file's columns.
    pub columns: Vec<ArrayRef>,
    /// Place of `_shape` among them.
    pub forms: usize,
    pub shapes: ShapeSet,
}

enum Content {
    /// The next batch may be added.
    Open(Box<Growing>),
    /// A batch is being added.
    Lent,
    Closed(Arc<ClosedRun>),
    /// Its memory was needed.
    Gone,
}

/// The rows of some batches of one partition; of batches that were refused there may be rows too. It lives as long as one of
/// its batches.
pub(crate) struct Run {
    tail: Weak<Held>,
    pub table: Arc<Table>,
    state: Mutex<State>,
}

struct State {
    content: Content,
    memory: Vec<Reservation>,
}

impl Run {
    pub(super) fn new(tail: Weak<Held>, table: Arc<Table>) -> Run {
        Run { tail, table, state: Mutex::new(State { content: Content::Lent, memory: Vec::new() }) }
    }

    /// For one batch more; `None`: it takes no more, or another one is being added.
    pub(super) fn lend(&self) -> Option<Box<Growing>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.content, Content::Lent) {
            Content::Open(growing) => Some(growing),
            other => {
                state.content = other;
                None
            }
        }
    }

    /// Bytes of `growing` that are not counted yet.
    pub(super) fn uncounted(&self, growing: &Growing) -> usize {
        growing.bytes().saturating_sub(self.state.lock().bytes())
    }

    /// Takes back what was lent, with memory for what was added; `last`: no batch comes behind this one. False: it is given up.
    pub(super) fn take_back(&self, mut growing: Box<Growing>, memory: Option<Reservation>, last: bool) -> bool {
        let bytes = growing.bytes();
        let is_full = growing.len >= ROWS_MAX || bytes >= BYTES_MAX;
        let mut state = self.state.lock();
        let was_given_up = matches!(state.content, Content::Gone);
        if let Some(memory) = memory {
            if was_given_up {
                self.freed(memory.bytes());
            } else {
                state.memory.push(memory);
            }
        }
        if !was_given_up && !last && !is_full {
            state.content = Content::Open(growing);
            return true;
        }
        // What nobody named is not counted; it may not be much.
        let uncounted = bytes.saturating_sub(state.bytes());
        if !was_given_up && uncounted <= BYTES_MAX {
            state.content = closed(&mut growing);
        }
        drop(state);
        self.table.release(growing.decoder);
        if !was_given_up && uncounted > BYTES_MAX {
            self.give_up();
        }
        !was_given_up && uncounted <= BYTES_MAX
    }

    /// Its columns; no batch is added any more. `None` while one is.
    pub(crate) fn columns(&self) -> Option<Arc<ClosedRun>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.content, Content::Lent) {
            Content::Open(mut growing) => {
                state.content = closed(&mut growing);
                self.table.release(growing.decoder);
            }
            other => state.content = other,
        }
        match &state.content {
            Content::Closed(run) => Some(run.clone()),
            _ => None,
        }
    }

    /// How many bytes come back.
    pub(super) fn give_up(&self) -> usize {
        let mut state = self.state.lock();
        state.content = Content::Gone;
        let freed = std::mem::take(&mut state.memory).iter().map(Reservation::bytes).sum();
        drop(state);
        self.freed(freed);
        freed
    }

    fn freed(&self, bytes: usize) {
        if let Some(tail) = self.tail.upgrade() {
            tail.freed(bytes);
        }
    }
}

impl State {
    fn bytes(&self) -> usize {
        self.memory.iter().map(Reservation::bytes).sum()
    }
}

fn closed(growing: &mut Growing) -> Content {
    growing.close().map_or(Content::Gone, |run| Content::Closed(Arc::new(run)))
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Content::Open(growing) = std::mem::replace(&mut self.state.get_mut().content, Content::Gone) {
            self.table.release(growing.decoder);
        }
        self.give_up();
    }
}
