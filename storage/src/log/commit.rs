//! From the WAL back to partitions: high watermarks advance, waiters wake, the tail cache stays within its bound.
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use weir_protocol::ids::Offset;

use super::partition::Partition;
use crate::wal::{Committed, WalTag};

struct BatchTag {
    partition: Arc<Partition>,
    base: Offset,
    next: Offset,
}

/// What travels with a WAL entry.
#[derive(Default)]
pub(super) struct Tag {
    batch: Option<BatchTag>,
    written: Option<oneshot::Sender<()>>,
    durable: Option<oneshot::Sender<()>>,
    /// Share of the write buffer, given back when durable.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Tag {
    pub fn batch(partition: Arc<Partition>, base: Offset, next: Offset) -> Tag {
        Tag { batch: Some(BatchTag { partition, base, next }), ..Tag::default() }
    }

    pub fn written(notify: oneshot::Sender<()>, permit: Option<OwnedSemaphorePermit>) -> Tag {
        Tag { written: Some(notify), _permit: permit, ..Tag::default() }
    }

    pub fn durable(notify: oneshot::Sender<()>, permit: Option<OwnedSemaphorePermit>) -> Tag {
        Tag { durable: Some(notify), _permit: permit, ..Tag::default() }
    }
}

impl WalTag for Tag {
    fn on_written(&mut self) {
        if let Some(notify) = self.written.take() {
            let _ = notify.send(()); // the producer may have gone
        }
    }
}

/// Bytes of durable batches kept in memory for readers, over all partitions.
#[derive(Debug, Default)]
pub(super) struct TailCache {
    /// Signed: a merge may give back a batch a moment before it is counted.
    bytes: AtomicI64,
}

impl TailCache {
    pub fn freed(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).max(0) as u64
    }
}

/// The one task that applies commits, in WAL order.
pub(super) struct Committer {
    pub cache: Arc<TailCache>,
    pub cache_limit: u64,
    order: VecDeque<(Arc<Partition>, Offset)>,
}

impl Committer {
    pub fn new(cache: Arc<TailCache>, cache_limit: u64) -> Committer {
        Committer { cache, cache_limit, order: VecDeque::new() }
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
                    self.cache.bytes.fetch_add(cached as i64, Ordering::Relaxed);
                    self.order.push_back((batch.partition, batch.base));
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
        self.evict();
    }

    fn evict(&mut self) {
        while self.cache.bytes() > self.cache_limit {
            let Some((partition, base)) = self.order.pop_front() else { break };
            let freed = partition.lock().evict(base);
            self.cache.freed(freed);
        }
        // Batches that a merge dropped leave stale entries at the front.
        while let Some((partition, base)) = self.order.front() {
            if partition.lock().tail.front().is_some_and(|b| b.base <= *base) {
                break;
            }
            self.order.pop_front();
        }
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
        let mut committer = Committer::new(cache, 0);
        let (notify, mut done) = oneshot::channel();
        committer.apply(vec![Committed { location: None, tag: Tag::written(notify, None) }]);
        assert_eq!(done.try_recv(), Ok(()));
    }
}
