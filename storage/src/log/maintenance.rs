//! Background work of the engine: merge, retention, checkpoints, releasing WAL files. One task, one thing at a
//! time, so manifest changes do not interleave. Nothing here can lose data: a step that fails is tried again later.
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_protocol::ids::Offset;

use super::engine::{Storage, now};
use super::manifest::{self, Checkpoint, FORMAT};
use super::merge;
use super::partition::Partition;
use super::retention::{self, Due, Held};
use crate::wal::WalFileInfo;

/// Rounds without a pause while there is work, so that merges keep up with clients that write without one.
const ROUNDS_AT_ONCE: usize = 64;
/// Retention is looked at every so many rounds.
const ROUNDS_PER_CLEANUP: u64 = 5;

pub(super) async fn run(storage: Weak<Storage>) {
    let mut round = 0;
    loop {
        let (interval, wanted) = match storage.upgrade() {
            Some(storage) => (storage.config.housekeeping_interval_ms.max(1), storage.maintenance_wanted.clone()),
            None => return,
        };
        // Timing out is the normal case. Nothing holds the storage meanwhile, so that it ends with its last user.
        let _ = tokio::time::timeout(Duration::from_millis(interval), wanted.notified()).await;
        for _ in 0..ROUNDS_AT_ONCE {
            let Some(storage) = storage.upgrade().filter(|storage| !storage.is_closing()) else { return };
            round += 1;
            if !storage.housekeep(round).await {
                break;
            }
        }
    }
}

/// Writes down what the gate keeps now that the log starts at `to`; what it had to give up is told loudly.
fn note_gate(partition: &Partition, due: &Due, to: Offset) {
    let mut state = partition.lock();
    let kept = due.held.iter().filter(|piece| piece.next > to).map(|piece| piece.bytes).sum::<u64>();
    state.gate.held_bytes = kept;
    if to <= due.to {
        return;
    }
    // Of the offsets below `to`, those that were not released.
    let needed_from = state.released.unwrap_or(due.to).max(due.to);
    let offsets = u64::try_from(to.0 - needed_from.0).unwrap_or(0);
    let bytes = due.held_bytes() - kept;
    state.gate.dropped += offsets;
    drop(state);
    metrics::counter!("weir_retention_gate_dropped_records_total").increment(offsets);
    metrics::counter!("weir_retention_gate_dropped_bytes_total").increment(bytes);
    tracing::error!(
        partition = %partition.key(), offsets, bytes, kept, log_start = to.0,
        "records are removed that are not in the lake yet: more was kept for it than `weir.lake.gate.max.bytes` or the disk allows"
    );
}

impl Storage {
    /// One round; true if the next one has work already.
    async fn housekeep(self: &Arc<Self>, round: u64) -> bool {
        self.check_disk();
        metrics::gauge!("weir_wal_bytes").set(self.io.wal.bytes() as f64);
        let failures = self.io.room.failures();
        let more = merge::run(self).await;
        let failed = self.io.room.failures() != failures;
        self.io.room.set_failing(failed);
        if round.is_multiple_of(ROUNDS_PER_CLEANUP) {
            self.retain().await;
            self.expire_producers();
        }
        // An estimate: the checkpoint looks again.
        let files = self.io.wal.files();
        let releases = match (files.first(), files.last()) {
            (Some(first), Some(active)) => self.oldest_needed_file(active) > first.id,
            _ => false,
        };
        if releases && let Err(error) = self.checkpoint().await {
            tracing::warn!(%error, "cannot write a checkpoint; WAL files are kept until it succeeds");
            return false;
        }
        self.look_for_room();
        // What is full is emptied by two checkpoints: the files that the newest one does not need go with the next.
        (more || (releases && self.io.room.is_full())) && !failed && !self.is_closing()
    }

    /// Lets produce wait, or go on, as the size of the log says.
    pub(super) fn look_for_room(&self) {
        if self.io.room.update(self.io.wal.bytes()) {
            self.maintenance_wanted.notify_one();
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
        let before = now().0 - self.producer_id_expiration_ms.load(Ordering::Relaxed) as i64;
        for partition in self.all_partitions() {
            let mut state = partition.lock();
            if !state.producers.is_empty() {
                state.producers.expire(before);
            }
        }
    }

    /// `retention.ms` and `retention.bytes`, and what gates keep of it.
    async fn retain(self: &Arc<Self>) {
        let partitions = self.all_partitions();
        let due: Vec<Due> = partitions.iter().map(|partition| retention::due(&partition.lock(), now())).collect();
        let forced = self.beyond_gates(&partitions, &due);
        for ((partition, due), forced) in partitions.into_iter().zip(due).zip(forced) {
            let to = forced.map_or(due.to, |forced| forced.max(due.to));
            if to > partition.offsets().log_start
                && let Err(error) = self.advance_log_start(&partition, to).await
            {
                tracing::warn!(%error, partition = %partition.key(), "retention is put off");
                return;
            }
            note_gate(&partition, &due, to);
            if let Err(error) = super::columns::expire_rows(self, &partition).await {
                tracing::warn!(%error, partition = %partition.key(), "rows beside columns are kept for longer");
                return;
            }
        }
    }

    /// Where logs start whose gates keep too much.
    fn beyond_gates(&self, partitions: &[Arc<Partition>], due: &[Due]) -> Vec<Option<Offset>> {
        let mut forced = vec![None; partitions.len()];
        let (mut places, mut held) = (Vec::new(), Vec::new());
        for (at, (partition, due)) in partitions.iter().zip(due).enumerate() {
            if let Some(gate) = partition.config().gate.filter(|_| !due.held.is_empty()) {
                places.push(at);
                held.push(Held { topic: partition.key().topic, gate, pieces: due.held.clone() });
            }
        }
        if held.is_empty() {
            return forced;
        }
        // What is not known is no reason to drop anything.
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        for (at, to) in places.into_iter().zip(retention::overflow(&mut held, free)) {
            forced[at] = to;
        }
        forced
    }

    /// The oldest WAL file that holds data not in segments: `active` unless a tail begins in an older one. What was submitted
    /// when `active` was the active file must have been applied: until then a tail does not know where it is.
    fn oldest_needed_file(&self, active: &WalFileInfo) -> u64 {
        let dirty = self.io.dirty.lock();
        let oldest = dirty.iter().filter_map(|p| Some(p.lock().tail.front()?.location?.file)).min();
        oldest.map_or(active.id, |file| file.min(active.id))
    }

    /// Writes a checkpoint and releases the WAL files that neither it nor the one before needs (WAL-1).
    pub(super) async fn checkpoint(self: &Arc<Self>) -> std::io::Result<()> {
        let mut state = self.manifest.lock().await;
        let closed = || std::io::Error::other("the write-ahead log closed");
        let files = self.io.wal.files();
        let active = files.last().ok_or_else(closed)?;
        if !self.barrier().await {
            return Err(closed());
        }
        let first_file = self.oldest_needed_file(active);
        let first = files.iter().find(|f| f.id == first_file).ok_or_else(closed)?;
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
            first_sequence: first.first_sequence,
            next_segment: self.next_segment.load(Ordering::Acquire),
            partitions,
        };
        // Producer state includes batches in flight: if they were lost, a retry would pass for a duplicate.
        if !self.barrier().await {
            return Err(closed());
        }
        self.sync_wal().await?;
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
