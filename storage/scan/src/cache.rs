//! Rows that were decoded once, for every reader of them: a cache inside the memory budget, which gives way to everybody.
//!
//! What is kept is pieces as `rows.rs` makes them: contiguous offsets of one partition as the columns of one plan. A reader
//! that comes to an offset inside of a piece takes it from there, so readers need not be in step.
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use weir_protocol::ids::Offset;
use weir_storage::log::{PartitionKey, ReadLimit};
use weir_storage::memory::{MemoryBudget, Reclaim, Reservation, Share};
use weir_table::Table;

use crate::rows::Rows;

/// Smaller pieces cost more to keep than to decode again, unless they are of this many bytes.
const ROWS_MIN: usize = 256;
const STORED_BYTES_MIN: u64 = 64 << 10;
/// Of the share of caches, the part that decoded rows may take: most of it is for newest data, as it is stored.
const SHARE_PART: usize = 4;
/// What a piece costs besides its arrays.
const OVERHEAD: usize = 512;

/// Pieces that hold the same columns of the same rows.
#[derive(Debug, Clone)]
pub(crate) struct SeriesKey {
    pub(crate) partition: PartitionKey,
    pub(crate) limit: ReadLimit,
    /// The same table, not one that is alike: formats and names of columns are part of it.
    pub(crate) table: Arc<Table>,
    pub(crate) version: i32,
    /// Positions of the columns.
    pub(crate) columns: Arc<[usize]>,
}

impl PartialEq for SeriesKey {
    fn eq(&self, other: &SeriesKey) -> bool {
        self.partition == other.partition
            && self.limit == other.limit
            && Arc::ptr_eq(&self.table, &other.table)
            && self.version == other.version
            && self.columns == other.columns
    }
}

impl Eq for SeriesKey {}

impl Hash for SeriesKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.partition.hash(state);
        (Arc::as_ptr(&self.table) as usize, self.version, &self.columns).hash(state);
    }
}

/// The cache. Shared by all scans of a broker.
#[derive(Debug)]
pub struct RowCache {
    budget: MemoryBudget,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    series: HashMap<SeriesKey, BTreeMap<i64, Piece>>,
    /// By the time of last use.
    order: BTreeMap<u64, (SeriesKey, i64)>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    rows: Arc<Rows>,
    memory: Reservation,
    used: u64,
}

impl RowCache {
    /// A cache that draws on `budget`.
    pub fn new(budget: &MemoryBudget) -> Arc<RowCache> {
        let max_bytes = budget.limits_of(Share::Tail).max / SHARE_PART;
        let cache = Arc::new(RowCache { budget: budget.clone(), max_bytes, state: Mutex::default() });
        let weak: Weak<RowCache> = Arc::downgrade(&cache);
        budget.add_cache(weak);
        cache
    }

    /// Bytes of the rows it holds.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The piece that `offset` lies in.
    pub(crate) fn get(&self, key: &SeriesKey, offset: Offset) -> Option<Arc<Rows>> {
        let mut state = self.state.lock();
        let State { series, order, clock, .. } = &mut *state;
        let (start, piece) = series.get_mut(key)?.range_mut(..=offset.0).next_back()?;
        if piece.rows.end <= offset {
            return None;
        }
        *clock += 1;
        if let Some(entry) = order.remove(&piece.used) {
            debug_assert_eq!(entry.1, *start);
            order.insert(*clock, entry);
            piece.used = *clock;
        }
        Some(piece.rows.clone())
    }

    /// Keeps a piece, if it is worth it and there is memory.
    pub(crate) fn put(&self, key: &SeriesKey, rows: &Arc<Rows>) {
        if rows.offsets.len() < ROWS_MIN && rows.stored_bytes < STORED_BYTES_MIN {
            return;
        }
        let bytes = rows.batch.get_array_memory_size() + 8 * rows.offsets.len() + OVERHEAD;
        if bytes > self.max_bytes / 4 {
            return;
        }
        // The budget is never asked under the lock: it may ask this cache to give way.
        let over = (self.bytes() + bytes).saturating_sub(self.max_bytes);
        self.reclaim(over);
        let Some(memory) = self.budget.try_reserve(Share::Tail, bytes) else { return };
        let mut state = self.state.lock();
        state.clock += 1;
        let used = state.clock;
        let piece = Piece { rows: rows.clone(), memory, used };
        state.bytes += bytes;
        state.order.insert(used, (key.clone(), rows.start.0));
        let before = state.series.entry(key.clone()).or_default().insert(rows.start.0, piece);
        if let Some(before) = before {
            state.order.remove(&before.used);
            state.bytes -= before.memory.bytes();
        }
    }
}

impl Reclaim for RowCache {
    /// Pieces unused for longest go first.
    fn reclaim(&self, bytes: usize) -> usize {
        let mut gone = Vec::new();
        let mut freed = 0;
        {
            let mut state = self.state.lock();
            while freed < bytes {
                let Some((_, (key, start))) = state.order.pop_first() else { break };
                let Some(series) = state.series.get_mut(&key) else { continue };
                let piece = series.remove(&start);
                if series.is_empty() {
                    state.series.remove(&key);
                }
                if let Some(piece) = piece {
                    freed += piece.memory.bytes();
                    state.bytes -= piece.memory.bytes();
                    gone.push(piece);
                }
            }
        }
        // Their memory goes back without the lock.
        drop(gone);
        freed
    }
}
