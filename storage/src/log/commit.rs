//! From the WAL back to partitions: high watermarks advance, waiters wake, the tail cache stays within its bound.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use weir_protocol::ids::Offset;

use super::engine::Storage;
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
    storage: Weak<Storage>,
}

impl Committer {
    pub fn new(cache: Arc<TailCache>, storage: Weak<Storage>) -> Committer {
        Committer { cache, storage }
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
        if let Some(storage) = self.storage.upgrade() {
            storage.look_for_room();
        }
        metrics::gauge!("weir_tail_cache_bytes").set(self.cache.bytes() as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use weir_protocol::ids::{LeaderEpoch, PartitionId, Timestamp, TopicId};
    use weir_protocol::records::{BatchBuilder, BatchHeader};

    use super::*;
    use crate::disk::CrashDisk;
    use crate::log::{
        AckLevel, AppendOrigin, LogConfig, PendingAppend, ReadLimit, ReadRequest, StorageConfig, TopicSpec,
    };

    /// A batch that was written to a file and not applied when that file was sealed was in no tail that says where it is: a checkpoint
    /// began after it, and a start from that checkpoint lost it. Seen failing
    /// without the first barrier of [`Storage::checkpoint`]: the start is refused ("continues at offset 6, expected 0").
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_checkpoint_waits_for_what_is_in_flight_over_a_roll() {
        const TOPIC: TopicId = TopicId(uuid::Uuid::from_u128(9));
        let disk = CrashDisk::new();
        let open = async |disk: &CrashDisk, epoch: i32| {
            let config = StorageConfig {
                wal_file_bytes: 16 << 10,
                housekeeping_interval_ms: 3_600_000,
                ..StorageConfig::default()
            };
            let spec = TopicSpec { topic: TOPIC, partitions: 1, config: Arc::new(LogConfig::default()) };
            Storage::open(Arc::new(disk.clone()), config, LeaderEpoch(epoch), vec![spec], &|_| false).await.unwrap()
        };
        let storage = open(&disk, 1).await;
        #[allow(clippy::async_yields_async, reason = "acks are awaited when the committer goes on")]
        let submit = async |text: String| {
            let mut builder = BatchBuilder::new();
            builder.append(None, Some(text.as_bytes()), &[], Timestamp(1)).unwrap();
            let bytes = builder.build().unwrap();
            let header = BatchHeader::parse(&bytes).unwrap();
            let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
            let batch = BytesMut::from(&bytes[..]);
            let pending = PendingAppend::rows(partition, batch, header, AppendOrigin::Client);
            storage.submit(vec![pending], AckLevel::Durable).await
        };
        // The committer stands still behind a commit of no batch.
        let (standstill, go_on) = std::sync::mpsc::channel::<()>();
        let cache = storage.io.cache.clone();
        let (held, holds) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let _order = cache.order.lock();
            held.send(()).unwrap();
            go_on.recv().unwrap();
        });
        holds.recv().unwrap();
        let blocked = tokio::spawn({
            let storage = storage.clone();
            async move { storage.barrier().await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let first = submit("in flight".to_owned()).await;
        let mut later = Vec::new();
        while storage.io.wal.files().len() < 2 {
            later.push(submit("x".repeat(2_000)).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let checkpoint = tokio::spawn({
            let storage = storage.clone();
            async move { storage.checkpoint().await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        standstill.send(()).unwrap();
        holder.join().unwrap();
        checkpoint.await.unwrap().unwrap();
        assert!(blocked.await.unwrap());
        assert!(first.await.remove(0).is_ok());
        for append in &mut later {
            assert!(append.await.remove(0).is_ok());
        }
        let again = open(&disk.after_kill(), 2).await;
        let offsets = again.partition(TOPIC, PartitionId(0)).unwrap().offsets();
        assert_eq!(offsets.log_end.0, later.len() as i64 + 1);
        let request =
            ReadRequest { offset: Offset::ZERO, max_bytes: 1, at_least_one: true, limit: ReadLimit::HighWatermark };
        let read = again.partition(TOPIC, PartitionId(0)).unwrap().read(request).await.unwrap();
        assert!(read.chunks.concat().windows(9).any(|bytes| bytes == b"in flight"), "an acked batch is gone");
    }

    /// A producer with acks=1 was told that the broker shuts down, and sent again what was stored: its barrier came to
    /// the writer after its batches had been committed, so it was a commit of barriers only, which writes nothing.
    #[test]
    fn a_barrier_without_anything_to_write_answers_acks_one() {
        let cache = Arc::new(TailCache::default());
        let mut committer = Committer::new(cache, Weak::new());
        let (notify, mut done) = oneshot::channel();
        committer.apply(vec![Committed { location: None, tag: Tag::written(notify) }]);
        assert_eq!(done.try_recv(), Ok(()));
    }
}
