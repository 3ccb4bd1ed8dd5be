//! The WAL thread: takes what is queued, writes it as one commit, syncs, reports. Failures never lose what is queued:
//! the thread retries, in a new file where the old one cannot be trusted, and meanwhile new appends are refused.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::format::{
    COMMIT_HEADER_LEN, CommitHeader, ENTRY_HEADER_LEN, EntryHeader, FILE_HEADER_LEN, FileHeader, padded,
};
use super::local::{CommitSink, Shared, WalFile, file_path, now_ms};
use super::{Committed, Refusal, WalEntry, WalLocation, WalTag};
use crate::log::Durability;

pub(super) enum BackgroundJob {
    PrepareSpare { id: u64 },
    Sync { file: Arc<WalFile>, through: u64 },
}

/// A write or a sync that did not succeed.
enum CommitFailure {
    Write(io::Error),
    Sync(io::Error),
    NewFile(io::Error),
}

/// What the queue gave.
enum Taken<T> {
    Entries(Vec<WalEntry<T>>),
    Idle,
    Closed,
}

pub(super) struct Writer<T: WalTag> {
    shared: Arc<Shared<T>>,
    active: Arc<WalFile>,
    incarnation: u64,
    /// Sequence of the next commit.
    sequence: u64,
    /// End of the last good commit in the active file.
    end: u64,
    /// The active file must not be written any more: a sync of it failed.
    abandoned: bool,
    /// An empty commit already says that everything is durable.
    idle_recorded: bool,
    /// Where an empty commit begins that no sync has covered yet. A roll leaves it out: the next file's commits would
    /// otherwise claim that it is durable.
    unsynced_idle: Option<u64>,
    last_os_sync: Instant,
    jobs: Sender<BackgroundJob>,
    on_commit: CommitSink<T>,
    zeros: [u8; 8],
}

impl<T: WalTag> Writer<T> {
    pub fn new(
        shared: Arc<Shared<T>>,
        active: Arc<WalFile>,
        incarnation: u64,
        sequence: u64,
        jobs: Sender<BackgroundJob>,
        on_commit: CommitSink<T>,
    ) -> Self {
        Writer {
            shared,
            active,
            incarnation,
            sequence,
            end: FILE_HEADER_LEN,
            abandoned: false,
            idle_recorded: true,
            unsynced_idle: None,
            last_os_sync: Instant::now(),
            jobs,
            on_commit,
            zeros: [0; 8],
        }
    }

    pub fn run(mut self) {
        let _ = self.jobs.send(BackgroundJob::PrepareSpare { id: self.active.id + 1 });
        loop {
            match self.take() {
                Taken::Entries(entries) => {
                    if !self.commit_until_done(entries) {
                        return;
                    }
                }
                Taken::Idle => self.on_idle(),
                Taken::Closed => break,
            }
        }
        if let Err(error) = self.active.file.sync_data() {
            tracing::error!(%error, "final sync of the write-ahead log failed");
        }
    }

    fn take(&mut self) -> Taken<T> {
        let mut queue = self.shared.queue.lock();
        if queue.entries.is_empty() && !queue.closed {
            if self.idle_recorded && self.shared.options.durability == Durability::Fsync {
                self.shared.wake.wait(&mut queue);
            } else {
                let wait = self.shared.options.idle_commit_after;
                let timed_out = self.shared.wake.wait_for(&mut queue, wait).timed_out();
                if timed_out && queue.entries.is_empty() && !queue.closed {
                    return Taken::Idle;
                }
            }
        }
        if queue.entries.is_empty() {
            // A spurious wake-up is treated as idleness, which is harmless.
            return if queue.closed { Taken::Closed } else { Taken::Idle };
        }
        let mut bytes = 0;
        let mut count = 0;
        for entry in &queue.entries {
            let size = entry.data.as_ref().map_or(0, |d| (d.len() + ENTRY_HEADER_LEN) as u64);
            if count > 0 && bytes + size > self.shared.options.commit_max_bytes {
                break;
            }
            bytes += size;
            count += 1;
        }
        Taken::Entries(queue.entries.drain(..count).collect())
    }

    /// False when the log was closed while it could not be written: the entries are dropped, unacknowledged.
    fn commit_until_done(&mut self, mut entries: Vec<WalEntry<T>>) -> bool {
        let mut attempts_after_close = 0;
        loop {
            let started = Instant::now();
            match self.try_commit(&mut entries) {
                Ok(locations) => {
                    metrics::histogram!("weir_wal_commit_seconds").record(started.elapsed().as_secs_f64());
                    if self
                        .shared
                        .refusal
                        .load()
                        .as_deref()
                        .is_some_and(|r| !is_permanent(r, &self.shared.options.durability))
                    {
                        tracing::info!("the write-ahead log can be written again");
                        self.shared.refusal.store(None);
                    }
                    let committed = entries
                        .into_iter()
                        .zip(locations)
                        .map(|(entry, location)| Committed { location, tag: entry.tag })
                        .collect();
                    (self.on_commit)(committed);
                    return true;
                }
                Err(failure) => self.on_failure(failure),
            }
            std::thread::sleep(self.shared.options.retry_interval);
            if self.shared.queue.lock().closed {
                attempts_after_close += 1;
                if attempts_after_close > 3 {
                    return false;
                }
            }
        }
    }

    fn on_failure(&mut self, failure: CommitFailure) {
        let (error, what) = match failure {
            CommitFailure::Write(error) => {
                if !is_disk_full(&error) {
                    self.abandoned = true;
                }
                (error, "write to")
            }
            CommitFailure::Sync(error) => {
                // LOG-4: after a failed sync the system may have dropped the pages and forgotten the error.
                self.abandoned = true;
                (error, "sync of")
            }
            CommitFailure::NewFile(error) => (error, "creation of the file after"),
        };
        let refusal = if is_disk_full(&error) {
            Refusal::DiskFull
        } else {
            Refusal::Failing { reason: format!("{what} {} failed: {error}", file_path(self.active.id)) }
        };
        metrics::counter!("weir_wal_failures_total").increment(1);
        self.shared.refuse(refusal);
    }

    /// Writes one commit and makes it durable. On failure nothing counts as written.
    fn try_commit(&mut self, entries: &mut [WalEntry<T>]) -> Result<Vec<Option<WalLocation>>, CommitFailure> {
        let payload_len: usize =
            entries.iter().filter_map(|e| e.data.as_ref()).map(|d| d.len() + ENTRY_HEADER_LEN).sum();
        if payload_len == 0 {
            // Barriers only: all before them is durable already, and so written.
            entries.iter_mut().for_each(|entry| entry.tag.on_written());
            return Ok(vec![None; entries.len()]);
        }
        let total = padded((COMMIT_HEADER_LEN + payload_len) as u64);
        let full = self.end + total > self.shared.options.file_bytes && self.end > FILE_HEADER_LEN;
        if self.abandoned || full {
            self.roll().map_err(CommitFailure::NewFile)?;
        }
        let locations = self.write(entries, payload_len).map_err(CommitFailure::Write)?;
        for entry in entries.iter_mut() {
            entry.tag.on_written();
        }
        if self.shared.options.durability == Durability::Fsync {
            let started = Instant::now();
            self.active.file.sync_data().map_err(CommitFailure::Sync)?;
            metrics::histogram!("weir_wal_fsync_seconds").record(started.elapsed().as_secs_f64());
            self.shared.durable_through.store(self.sequence, Ordering::Release);
        }
        metrics::histogram!("weir_wal_commit_bytes").record(total as f64);
        metrics::counter!("weir_storage_bytes_written_total").increment(total);
        self.end += total;
        self.active.bytes.store(self.end, Ordering::Relaxed);
        self.sequence += 1;
        self.idle_recorded = false;
        self.unsynced_idle = None;
        self.sync_in_background_if_due();
        Ok(locations)
    }

    fn write(&self, entries: &[WalEntry<T>], payload_len: usize) -> io::Result<Vec<Option<WalLocation>>> {
        let mut headers = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(data) = &entry.data {
                let header = EntryHeader {
                    kind: entry.kind,
                    length: data.len() as u32,
                    key: entry.key,
                    base_offset: entry.base_offset,
                };
                headers.push(header.encode());
            }
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(headers.len() * 2 + 2);
        let mut locations = Vec::with_capacity(entries.len());
        let mut position = self.end + COMMIT_HEADER_LEN as u64;
        let mut payload_crc = 0;
        let mut next_header = headers.iter();
        parts.push(&[]); // place of the commit header
        for entry in entries {
            match (&entry.data, entry.data.as_ref().and_then(|_| next_header.next())) {
                (Some(data), Some(header)) => {
                    payload_crc = crc32c::crc32c_append(payload_crc, header);
                    payload_crc = crc32c::crc32c_append(payload_crc, data);
                    position += ENTRY_HEADER_LEN as u64;
                    locations.push(Some(WalLocation { file: self.active.id, position }));
                    position += data.len() as u64;
                    parts.push(header);
                    parts.push(data);
                }
                _ => locations.push(None),
            }
        }
        let commit = CommitHeader {
            incarnation: self.incarnation,
            sequence: self.sequence,
            durable_through: self.shared.durable_through.load(Ordering::Acquire),
            payload_len: payload_len as u32,
            entry_count: headers.len() as u32,
            payload_crc,
        }
        .encode();
        parts[0] = &commit;
        let unpadded = (COMMIT_HEADER_LEN + payload_len) as u64;
        let padding = (padded(unpadded) - unpadded) as usize;
        parts.push(&self.zeros[..padding]);
        self.active.file.write_at(self.end, &parts)?;
        Ok(locations)
    }

    /// Begins the next file; its header is durable when this returns.
    fn roll(&mut self) -> io::Result<()> {
        let id = self.active.id + 1;
        let file = self.shared.take_file(id)?;
        let (prev_length, first_sequence) = match self.unsynced_idle {
            Some(begin) => (begin, self.sequence - 1),
            None => (self.end, self.sequence),
        };
        let header = FileHeader {
            file_id: id,
            incarnation: uuid::Uuid::new_v4().as_u64_pair().0,
            first_sequence,
            prev_id: self.active.id,
            prev_length,
            created_ms: now_ms(),
        };
        // Durable before anything is chained to it: a file whose header was lost must never be named by a later one.
        let written = file.write_at(0, &[&header.encode()]).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Keep the file for the next attempt: its directory entry is durable already.
            self.shared.spare.lock().ready = Some((id, file));
            return Err(error);
        }
        let active = Arc::new(WalFile {
            id,
            file,
            created_ms: header.created_ms,
            bytes: AtomicU64::new(FILE_HEADER_LEN),
            sealed: AtomicBool::new(false),
        });
        self.shared.files.write().insert(id, active.clone());
        let old = std::mem::replace(&mut self.active, active);
        old.sealed.store(true, Ordering::Release);
        if self.shared.options.durability == Durability::Os {
            let _ = self.jobs.send(BackgroundJob::Sync { file: old, through: first_sequence.saturating_sub(1) });
        }
        self.incarnation = header.incarnation;
        self.sequence = first_sequence;
        self.unsynced_idle = None;
        self.end = FILE_HEADER_LEN;
        self.abandoned = false;
        let _ = self.jobs.send(BackgroundJob::PrepareSpare { id: id + 1 });
        Ok(())
    }

    /// Under durability=os: the kernel writes back in its own time; this bounds how long that may take.
    fn sync_in_background_if_due(&mut self) {
        if self.shared.options.durability == Durability::Os
            && self.last_os_sync.elapsed() >= self.shared.options.os_sync_interval
        {
            self.last_os_sync = Instant::now();
            let _ = self.jobs.send(BackgroundJob::Sync { file: self.active.clone(), through: self.sequence - 1 });
        }
    }

    /// Records that everything is durable, so that damage to the last commits is told from a torn tail.
    fn on_idle(&mut self) {
        if self.idle_recorded {
            return;
        }
        let synced = self.shared.durable_through.load(Ordering::Acquire);
        if synced + 1 < self.sequence {
            self.sync_in_background_if_due();
            return;
        }
        let commit = CommitHeader {
            incarnation: self.incarnation,
            sequence: self.sequence,
            durable_through: synced,
            payload_len: 0,
            entry_count: 0,
            payload_crc: 0,
        };
        let fits = self.end + COMMIT_HEADER_LEN as u64 <= self.shared.options.file_bytes;
        if !self.abandoned && fits && self.active.file.write_at(self.end, &[&commit.encode()]).is_ok() {
            self.unsynced_idle = Some(self.end);
            self.end += COMMIT_HEADER_LEN as u64;
            self.active.bytes.store(self.end, Ordering::Relaxed);
            self.sequence += 1;
        }
        self.idle_recorded = true;
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error() == Some(libc::ENOSPC)
}

/// A failed background sync is not healed by a later write that succeeds.
fn is_permanent(refusal: &Refusal, durability: &Durability) -> bool {
    *durability == Durability::Os && matches!(refusal, Refusal::Failing { reason } if reason.starts_with("background"))
}
