//! From the WAL back to partitions: high watermarks advance, waiters wake, the tail cache stays within its bound.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use weir_protocol::ids::Offset;

use super::partition::Partition;
use crate::memory::{Reclaim, Share, SharedReservation};
use crate::wal::{Committed, WalTag};

struct BatchTag {
    partition: Arc<Partition>,
    base: Offset,
    next: Offset,
    memory: Arc<SharedReservation>,
}

/// What travels with a WAL entry.
#[derive(Default)]
pub(super) struct Tag {
    batch: Option<BatchTag>,
    written: Option<oneshot::Sender<()>>,
    durable: Option<oneshot::Sender<()>>,
}

impl Tag {
    pub fn batch(partition: Arc<Partition>, base: Offset, next: Offset, memory: Arc<SharedReservation>) -> Tag {
        Tag { batch: Some(BatchTag { partition, base, next, memory }), ..Tag::default() }
    }

    pub fn written(notify: oneshot::Sender<()>) -> Tag {
        Tag { written: Some(notify), ..Tag::default() }
    }

    pub fn durable(notify: oneshot::Sender<()>) -> Tag {
        Tag { durable: Some(notify), ..Tag::default() }
    }
}

impl WalTag for Tag {
    fn on_written(&mut self) {
        if let Some(notify) = self.written.take() {
            let _ = notify.send(()); // the producer may have gone
        }
    }
}

/// Durable batches kept in memory for readers, over all partitions; the oldest goes first. Their memory is charged to
/// [`Share::Tail`] for as long as anybody holds the frame they came in.
#[derive(Default)]
pub(super) struct TailCache {
    /// Signed: a merge may give back a batch a moment before it is counted.
    bytes: AtomicI64,
    /// May name batches that are gone.
    order: Mutex<VecDeque<Cached>>,
}

struct Cached {
    partition: Weak<Partition>,
    base: Offset,
}

impl Cached {
    /// Drops it from memory; returns its bytes, or 0 if it was gone.
    fn evict(&self) -> u64 {
        self.partition.upgrade().map_or(0, |partition| partition.lock().evict(self.base))
    }

    fn is_stale(&self) -> bool {
        self.partition
            .upgrade()
            .is_none_or(|partition| partition.lock().tail.front().is_none_or(|first| first.base > self.base))
    }
}

impl std::fmt::Debug for TailCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TailCache({} bytes)", self.bytes())
    }
}

impl TailCache {
    /// Batches of so many bytes are not cached any more.
    pub fn freed(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).max(0) as u64
    }

    /// Keeps a batch that is durable now if there is memory for it; older ones make room.
    fn add(&self, batch: BatchTag, bytes: u64) {
        let charged = batch.memory.bytes();
        let cached = Cached { partition: Arc::downgrade(&batch.partition), base: batch.base };
        self.bytes.fetch_add(bytes as i64, Ordering::Relaxed);
        let mut has_room = batch.memory.try_move_to(Share::Tail);
        if !has_room {
            self.reclaim(charged);
            has_room = batch.memory.try_move_to(Share::Tail);
        }
        if has_room {
            self.order.lock().push_back(cached);
        } else {
            self.freed(cached.evict());
        }
    }

    /// Batches that a merge dropped leave stale entries at the front.
    fn forget_stale(&self) {
        let mut order = self.order.lock();
        while order.front().is_some_and(Cached::is_stale) {
            order.pop_front();
        }
    }
}

impl Reclaim for TailCache {
    /// Frames are shared by batches, and readers may hold them a little longer: what is evicted here counts as freed.
    fn reclaim(&self, bytes: usize) -> usize {
        let mut freed = 0;
        while freed < bytes {
            let Some(oldest) = self.order.lock().pop_front() else { break };
            let evicted = oldest.evict();
            if evicted > 0 {
                self.freed(evicted);
                freed += evicted as usize;
            }
        }
        freed
    }
}

/// The one task that applies commits, in WAL order.
pub(super) struct Committer {
    cache: Arc<TailCache>,
}

impl Committer {
    pub fn new(cache: Arc<TailCache>) -> Committer {
        Committer { cache }
    }

    pub async fn run(mut self, mut commits: mpsc::UnboundedReceiver<Vec<Committed<Tag>>>) {
        while let Some(commit) = commits.recv().await {
            self.apply(commit);
        }
    }

    fn apply(&mut self, commit: Vec<Committed<Tag>>) {
        let mut notifications = Vec::new();
        for Committed { location, mut tag } in commit {
            if let (Some(batch), Some(location)) = (tag.batch.take(), location) {
                let cached = batch.partition.lock().committed(batch.base, batch.next, location);
                if cached > 0 {
                    self.cache.add(batch, cached);
                }
            }
            notifications.extend(tag.durable.take());
            // A barrier that finds nothing left to write is never told that it was written; it is durable, which is more.
            notifications.extend(tag.written.take());
        }
        // Acks leave after the high watermarks have moved: who is acked can read.
        for notify in notifications {
            let _ = notify.send(());
        }
        self.cache.forget_stale();
        metrics::gauge!("weir_tail_cache_bytes").set(self.cache.bytes() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A producer with acks=1 was told that the broker shuts down, and sent again what was stored: its barrier came to
    /// the writer after its batches had been committed, so it was a commit of barriers only, which writes nothing.
    #[test]
    fn a_barrier_without_anything_to_write_answers_acks_one() {
        let cache = Arc::new(TailCache::default());
        let mut committer = Committer::new(cache);
        let (notify, mut done) = oneshot::channel();
        committer.apply(vec![Committed { location: None, tag: Tag::written(notify) }]);
        assert_eq!(done.try_recv(), Ok(()));
    }
}
