//! Room in the write-ahead log: produce waits while merges are behind by more than the log may hold.
//!
//! The log grows with every batch and shrinks when a merge has moved its oldest data to segments. If clients write faster than
//! that for long, somebody has to wait, or the disk fills with a log that the next start has to read.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The gate in front of the log. What the broker writes for itself (offsets, markers, the manifest) does not pass through it.
#[derive(Debug)]
pub(super) struct LogRoom {
    /// Of all its files together.
    limit_bytes: u64,
    full: AtomicBool,
    /// Merges do not work at all: to wait for them would be to wait for ever.
    failing: AtomicBool,
    closed: AtomicBool,
    failures: AtomicU64,
    changed: Notify,
}

impl LogRoom {
    pub fn new(limit_bytes: u64) -> LogRoom {
        LogRoom {
            limit_bytes,
            full: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Bytes above which produce waits.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Told after each commit and each release; true when this made it full.
    pub fn update(&self, wal_bytes: u64) -> bool {
        let full = wal_bytes > self.limit_bytes;
        if self.full.swap(full, Ordering::AcqRel) == full {
            return false;
        }
        let limit_bytes = self.limit_bytes;
        if full {
            tracing::warn!(
                wal_bytes,
                limit_bytes,
                "clients write faster than merges move data to segments; produce waits for them (`wal.throttle.bytes`)"
            );
        } else {
            tracing::info!(wal_bytes, limit_bytes, "the write-ahead log has room again");
            self.changed.notify_waiters();
        }
        metrics::gauge!("weir_wal_full").set(f64::from(u8::from(full)));
        full
    }

    /// Whether the log holds more than it may.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// A merge failed.
    pub fn merge_failed(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
    }

    /// How many merges failed so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Whether the last round of merges failed. Then nobody waits: the log may grow until the disk is full, which is refused
    /// elsewhere.
    pub fn set_failing(&self, failing: bool) {
        if self.failing.swap(failing, Ordering::AcqRel) != failing && failing {
            self.changed.notify_waiters();
        }
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn is_open(&self) -> bool {
        !self.full.load(Ordering::Acquire) || self.failing.load(Ordering::Acquire) || self.is_closed()
    }

    /// Completes when there is room.
    pub async fn wait(&self) {
        if self.is_open() {
            return;
        }
        metrics::counter!("weir_wal_waits_total").increment(1);
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on no notification is missed.
            changed.as_mut().enable();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::Arc;
    use std::time::Duration;

    async fn is_ready(wait: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), wait).await.is_ok()
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_there_is_room_when_merges_fail_and_when_the_log_closes() {
        let endings: [fn(&LogRoom); 3] =
            [|room| assert!(!room.update(100)), |room| room.set_failing(true), LogRoom::close];
        for end in endings {
            let room = Arc::new(LogRoom::new(100));
            assert!(is_ready(room.wait()).await);
            assert!(room.update(101) && !room.update(102), "it became full once");
            assert!(!is_ready(room.wait()).await);
            let waiting = tokio::spawn({
                let room = room.clone();
                async move { room.wait().await }
            });
            tokio::task::yield_now().await;
            end(&room);
            tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        }
    }
}
