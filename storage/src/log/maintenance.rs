//! Background work of the engine: merge, retention, checkpoints, releasing WAL files. One task, one thing at a
//! time, so manifest changes do not interleave. Nothing here can lose data: a step that fails is tried again later.
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::{Storage, now};
use super::manifest::{self, Checkpoint, FORMAT};
use super::merge;
use super::partition::Partition;

/// Retention is looked at every so many rounds.
const ROUNDS_PER_CLEANUP: u64 = 5;

pub(super) async fn run(storage: Weak<Storage>) {
    let mut round = 0;
    loop {
        let Some(strong) = storage.upgrade() else { return };
        let interval = Duration::from_millis(strong.config.housekeeping_interval_ms.max(1));
        let weak_wait = {
            let storage = strong;
            let wanted = tokio::time::timeout(interval, storage.maintenance_wanted.notified());
            // Timing out is the normal case.
            let _ = wanted.await;
            Arc::downgrade(&storage)
        };
        let Some(storage) = weak_wait.upgrade() else { return };
        round += 1;
        storage.housekeep(round).await;
    }
}

impl Storage {
    async fn housekeep(self: &Arc<Self>, round: u64) {
        self.check_disk();
        let files = self.io.wal.files();
        let wal_bytes: u64 = files.iter().map(|f| f.bytes).sum();
        metrics::gauge!("weir_wal_bytes").set(wal_bytes as f64);
        merge::run(self).await;
        if round.is_multiple_of(ROUNDS_PER_CLEANUP) {
            self.retain().await;
            self.expire_producers();
        }
        let needed = self.oldest_needed_file();
        let first = self.io.wal.files().first().map_or(0, |f| f.id);
        if needed > first
            && let Err(error) = self.checkpoint().await
        {
            tracing::warn!(%error, "cannot write a checkpoint; WAL files are kept until it succeeds");
        }
    }

    /// Refuses appends while less than two WAL files' worth of space is left, so that merges can still run.
    fn check_disk(&self) {
        let reserve = 2 * self.config.wal_file_bytes;
        match self.disk.free_bytes() {
            Ok(free) => {
                let low = free < reserve;
                if low != self.low_on_disk.swap(low, Ordering::AcqRel) {
                    if low {
                        tracing::error!(
                            free,
                            reserve,
                            "the disk of the data folder is nearly full; produce is refused"
                        );
                    } else {
                        tracing::info!(free, "there is disk space again; produce is accepted");
                    }
                }
                metrics::gauge!("weir_disk_free_bytes").set(free as f64);
            }
            Err(error) => tracing::warn!(%error, "cannot tell the free space of the data folder"),
        }
    }

    fn all_partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().values().cloned().collect()
    }

    fn expire_producers(&self) {
        let before = now().0 - self.config.producer_id_expiration_ms as i64;
        for partition in self.all_partitions() {
            let mut state = partition.lock();
            if !state.producers.is_empty() {
                state.producers.expire(before);
            }
        }
    }

    /// `retention.ms` and `retention.bytes`.
    async fn retain(self: &Arc<Self>) {
        for partition in self.all_partitions() {
            let target = {
                let state = partition.lock();
                if state.config.cleanup.delete { super::retention::target(&state, now()) } else { None }
            };
            if let Some(to) = target
                && let Err(error) = self.advance_log_start(&partition, to).await
            {
                tracing::warn!(%error, partition = %partition.key(), "retention is put off");
                return;
            }
        }
    }

    /// The oldest WAL file that holds data not in segments.
    fn oldest_needed_file(&self) -> u64 {
        // Read first: what is pending now goes to this file or a later one.
        let active = self.io.wal.files().last().map_or(0, |f| f.id);
        let dirty = self.io.dirty.lock();
        let oldest = dirty.iter().filter_map(|p| Some(p.lock().tail.front()?.location?.file)).min();
        oldest.map_or(active, |file| file.min(active))
    }

    /// Writes a checkpoint and releases the WAL files that neither it nor the one before needs (WAL-1).
    pub(super) async fn checkpoint(self: &Arc<Self>) -> std::io::Result<()> {
        let mut state = self.manifest.lock().await;
        let first_file = self.oldest_needed_file();
        let partitions = self
            .all_partitions()
            .iter()
            .map(|p| p.lock().checkpoint(p.key()))
            .filter(|c| c.state_end > 0 || c.log_start > 0)
            .collect();
        let checkpoint = Checkpoint {
            format: FORMAT,
            generation: state.generation + 1,
            first_file,
            next_segment: self.next_segment.load(Ordering::Acquire),
            partitions,
        };
        // Producer state includes batches in flight: if they were lost, a retry would pass for a duplicate.
        if !self.barrier().await {
            return Err(std::io::Error::other("the write-ahead log closed"));
        }
        let this = self.clone();
        let release = state.first_file.min(first_file);
        let written = tokio::task::spawn_blocking(move || {
            let written = manifest::store(&*this.disk, &checkpoint)?;
            this.io.wal.release_below(release)?;
            Ok::<u64, std::io::Error>(written)
        });
        let written = written.await.map_err(std::io::Error::other)??;
        metrics::counter!("weir_storage_bytes_written_total").increment(written);
        state.generation += 1;
        state.first_file = first_file;
        Ok(())
    }
}
