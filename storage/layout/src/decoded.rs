//! Row groups and columns that were decoded, kept for who comes next: a plain consumer takes several fetches to read a row group,
//! and readers of a clustered topic come back to a window for the rows behind those that they got.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use arrow_array::{Array, ArrayRef, RecordBatch};
use parking_lot::Mutex;
use weir_column::ColumnSegmentReader;
use weir_storage::memory::{MemoryBudget, Reclaim, Reservation, Share};

/// Kept bytes at most: two windows with dictionaries opened.
const BYTES_MAX: usize = 64 << 20;
/// Of the share of caches, the part that is kept here at most.
const SHARE_PART: usize = 4;

/// A row group as plain arrays.
pub(crate) struct Group {
    pub batch: RecordBatch,
    pub offsets: Vec<i64>,
}

/// Keeps what was decoded last. A cache: it draws on [`Share::Tail`], which nobody waits for, and gives way to everybody. (In a
/// share that requests wait for, what is kept for ever would let them wait for ever.)
pub(crate) struct Decoded {
    memory: MemoryBudget,
    bytes_max: usize,
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
    pub fn new(memory: MemoryBudget) -> Arc<Decoded> {
        let bytes_max = BYTES_MAX.min(memory.limits_of(Share::Tail).max / SHARE_PART);
        let decoded = Arc::new(Decoded { memory, bytes_max, state: Mutex::default() });
        let weak: Weak<Decoded> = Arc::downgrade(&decoded);
        decoded.memory.add_cache(weak);
        decoded
    }

    /// One that keeps nothing: of files that nobody opens a second time.
    pub fn none(memory: MemoryBudget) -> Arc<Decoded> {
        Arc::new(Decoded { memory, bytes_max: 0, state: Mutex::default() })
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
        if bytes > self.bytes_max || self.state.lock().kept.contains_key(&key) {
            return;
        }
        self.make_room(bytes);
        // The budget is never asked under the lock: it may ask this cache to give way.
        let Some(memory) = self.memory.try_reserve(Share::Tail, bytes) else { return };
        let mut state = self.state.lock();
        let piece = Piece { of: Arc::downgrade(reader), what, memory };
        let before = state.kept.insert(key, piece);
        match &before {
            // Two readers decoded it at once. Its place in the order stays.
            Some(before) => state.bytes -= before.memory.bytes(),
            None => state.order.push_back(key),
        }
        state.bytes += bytes;
        drop(state);
        drop(before);
    }

    /// Drops the oldest pieces for one of so many bytes, and those of files that are gone.
    fn make_room(&self, bytes: usize) {
        // What goes, goes without the lock.
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        let is_full = |state: &State| state.bytes + bytes > self.bytes_max;
        while is_full(&state) || state.order.front().is_some_and(|oldest| state.is_of_no_file(oldest)) {
            let Some(piece) = state.pop() else { break };
            gone.push(piece);
        }
        drop(state);
        drop(gone);
    }
}

impl Reclaim for Decoded {
    /// The oldest go first.
    fn reclaim(&self, bytes: usize) -> usize {
        let (mut gone, mut freed) = (Vec::new(), 0);
        let mut state = self.state.lock();
        while freed < bytes {
            let Some(piece) = state.pop() else { break };
            freed += piece.memory.bytes();
            gone.push(piece);
        }
        drop(state);
        drop(gone);
        freed
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use arrow_array::Int64Array;
    use arrow_schema::{DataType, Field, Schema};
    use weir_column::{ColumnSegmentWriter, Offsets, WriterOptions};

    /// A file with rows of a few bytes.
    fn reader() -> Arc<ColumnSegmentReader> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let mut writer = ColumnSegmentWriter::new(&schema, WriterOptions::default()).unwrap();
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap();
        writer.write(&rows, Offsets::From(0)).unwrap();
        let file = bytes::Bytes::from(writer.finish().unwrap().chunks.concat());
        Arc::new(ColumnSegmentReader::open(Arc::new(file)).unwrap())
    }

    /// It took the memory that requests wait for, and they waited for ever: a broker with 512 MiB for all buffers stood still
    /// after a consumer had read 64 MiB of columns. Seen failing so.
    #[tokio::test]
    async fn what_is_kept_gives_way_and_takes_nothing_that_others_wait_for() {
        let memory = MemoryBudget::new(64 << 20);
        let (decoded, file) = (Decoded::new(memory.clone()), reader());
        let array: ArrayRef = Arc::new(Int64Array::from(vec![7; 64 << 10]));
        for group in 0..200 {
            decoded.keep_column(&file, group, 0, &array);
        }
        let full = decoded.state.lock().bytes;
        assert!(full > 2 << 20 && full <= memory.limits_of(Share::Tail).max / SHARE_PART, "{full}");
        assert!(decoded.column(&file, 199, 0).is_some() && decoded.column(&file, 0, 0).is_none());
        for share in [Share::Requests, Share::Scans, Share::Responses, Share::Decode, Share::Writes, Share::Merge] {
            let all = memory.reserve(share, memory.limits_of(share).max);
            assert!(tokio::time::timeout(Duration::from_secs(20), all).await.is_ok(), "{share:?}");
        }
        let _pool = memory.reserve(Share::Requests, memory.limits_of(Share::Requests).max).await;
        let _more = memory.reserve(Share::Responses, memory.limits_of(Share::Responses).max).await;
        assert_eq!(memory.used_by(Share::Tail), decoded.state.lock().bytes);
        assert!(Reclaim::reclaim(&*decoded, usize::MAX) <= full);
        assert_eq!((decoded.state.lock().bytes, memory.used_by(Share::Tail)), (0, 0));
        // Of files that are gone nothing is kept.
        decoded.keep_column(&file, 0, 0, &array);
        drop(file);
        let other = reader();
        decoded.keep_column(&other, 0, 0, &(Arc::new(Int64Array::from(vec![7])) as ArrayRef));
        assert_eq!(decoded.state.lock().kept.len(), 1);
    }
}
