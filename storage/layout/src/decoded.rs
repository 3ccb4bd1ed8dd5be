//! Row groups and columns that were decoded, kept for who comes next: a plain consumer takes several fetches to read a row group,
//! and readers of a clustered topic come back to a window for the rows behind those that they got.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use arrow_array::{Array, ArrayRef, RecordBatch};
use parking_lot::Mutex;
use weir_column::ColumnSegmentReader;
use weir_storage::memory::{MemoryBudget, Reservation, Share};

/// Kept bytes at most, if the budget has so much: two windows with dictionaries opened.
const BYTES_MAX: usize = 64 << 20;

/// A row group as plain arrays.
pub(crate) struct Group {
    pub batch: RecordBatch,
    pub offsets: Vec<i64>,
}

/// Keeps what was decoded last. Draws on [`Share::Decode`]; where that has nothing left nothing more is kept.
pub(crate) struct Decoded {
    memory: MemoryBudget,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<Key, Piece>,
    /// As they came.
    order: VecDeque<Key>,
    bytes: usize,
}

/// Of which file (its address), which row group, and which column of it; without one: the row group with plain types.
type Key = (usize, usize, Option<usize>);

struct Piece {
    /// While this is here no other file has the address.
    of: Weak<ColumnSegmentReader>,
    what: What,
    memory: Reservation,
}

enum What {
    Group(Arc<Group>),
    Column(ArrayRef),
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoded({} bytes)", self.state.lock().bytes)
    }
}

fn key(reader: &Arc<ColumnSegmentReader>, group: usize, column: Option<usize>) -> Key {
    (Arc::as_ptr(reader) as usize, group, column)
}

impl Decoded {
    pub fn new(memory: MemoryBudget) -> Decoded {
        Decoded { memory, state: Mutex::default() }
    }

    pub fn group(&self, reader: &Arc<ColumnSegmentReader>, group: usize) -> Option<Arc<Group>> {
        match &self.state.lock().kept.get(&key(reader, group, None))?.what {
            What::Group(group) => Some(group.clone()),
            What::Column(_) => None,
        }
    }

    pub fn keep_group(&self, reader: &Arc<ColumnSegmentReader>, index: usize, group: Group) -> Arc<Group> {
        let group = Arc::new(group);
        let bytes = group.batch.get_array_memory_size() + 8 * group.offsets.len();
        self.keep(reader, key(reader, index, None), What::Group(group.clone()), bytes);
        group
    }

    /// A column as it is stored: with its dictionary, if it has one.
    pub fn column(&self, reader: &Arc<ColumnSegmentReader>, group: usize, column: usize) -> Option<ArrayRef> {
        match &self.state.lock().kept.get(&key(reader, group, Some(column)))?.what {
            What::Column(column) => Some(column.clone()),
            What::Group(_) => None,
        }
    }

    pub fn keep_column(&self, reader: &Arc<ColumnSegmentReader>, group: usize, column: usize, array: &ArrayRef) {
        let bytes = array.get_array_memory_size();
        self.keep(reader, key(reader, group, Some(column)), What::Column(array.clone()), bytes);
    }

    fn keep(&self, reader: &Arc<ColumnSegmentReader>, key: Key, what: What, bytes: usize) {
        if bytes > BYTES_MAX {
            return;
        }
        // What goes, goes without the lock.
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        if state.kept.contains_key(&key) {
            return;
        }
        while state.bytes + bytes > BYTES_MAX || state.order.front().is_some_and(|oldest| state.is_of_no_file(oldest)) {
            let Some(piece) = state.pop() else { break };
            gone.push(piece);
        }
        drop(state);
        drop(gone);
        let Some(memory) = self.memory.try_reserve(Share::Decode, bytes) else { return };
        let mut state = self.state.lock();
        let piece = Piece { of: Arc::downgrade(reader), what, memory };
        if let Some(before) = state.kept.insert(key, piece) {
            // Two readers decoded it at once. Its place in the order stays.
            state.bytes -= before.memory.bytes();
        } else {
            state.order.push_back(key);
        }
        state.bytes += bytes;
    }
}

impl State {
    fn is_of_no_file(&self, key: &Key) -> bool {
        self.kept.get(key).is_none_or(|piece| piece.of.strong_count() == 0)
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.kept.remove(&self.order.pop_front()?)?;
        self.bytes -= piece.memory.bytes();
        Some(piece)
    }
}
