//! The WAL thread: takes what is queued, writes it as one commit, syncs, reports. Failures never lose what is queued:
//! the thread retries, in a new file where the old one cannot be trusted, and meanwhile new appends are refused.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use super::format::{
    COMMIT_HEADER_LEN, CommitHeader, ENTRY_HEADER_LEN, EntryHeader, FILE_HEADER_LEN, FileHeader, NOTE, padded,
};
use super::local::{CommitSink, Shared, WalFile, file_path, new_incarnation, now_ms};
use super::{Committed, Refusal, WalEntry, WalLocation, WalTag};
use crate::disk::DiskFile;
use crate::log::Durability;

pub(super) enum BackgroundJob {
    PrepareSpare {
        id: u64,
    },
    /// All up to `through` is durable when this and those before it succeed.
    Sync {
        file: Arc<WalFile>,
        through: u64,
        done: Option<Sender<io::Result<()>>>,
    },
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
    /// A note already says that everything is durable.
    noted: bool,
    last_os_sync: Instant,
    jobs: Sender<BackgroundJob>,
    on_commit: CommitSink<T>,
    zeros: [u8; 8],
}

impl<T: WalTag> Writer<T> {
    pub fn new(
        shared: Arc<Shared<T>>,
        active: Arc<WalFile>,
        (incarnation, end): (u64, u64),
        sequence: u64,
        jobs: Sender<BackgroundJob>,
        on_commit: CommitSink<T>,
    ) -> Self {
        Writer {
            shared,
            active,
            incarnation,
            sequence,
            end,
            abandoned: false,
            // The header says so, unless something was carried.
            noted: end == FILE_HEADER_LEN,
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
                        // Nobody writes what came behind them either; dropping it tells its owners.
                        let unwritten = std::mem::take(&mut self.shared.queue.lock().entries);
                        drop(unwritten);
                        return;
                    }
                }
                Taken::Idle => self.on_idle(),
                Taken::Closed => break,
            }
        }
        if let Err(error) = self.finish() {
            tracing::error!(%error, "final sync of the write-ahead log failed");
        }
    }

    /// Leaves a log that is known to be durable to its end.
    fn finish(&mut self) -> io::Result<()> {
        if self.shared.options.durability == Durability::Os {
            let (done, result) = channel();
            self.sync_in_background(Some(done));
            result.recv().map_err(io::Error::other)??;
        }
        self.on_idle();
        self.active.file.sync_data()
    }

    fn take(&mut self) -> Taken<T> {
        let mut queue = self.shared.queue.lock();
        if queue.entries.is_empty() && !queue.closed {
            if self.noted && self.shared.options.durability == Durability::Fsync {
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
                    if self.shared.refusal.load().is_some() && !self.shared.is_unsynced() {
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
        self.noted = false;
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

    /// Begins the next file. It supersedes what this one holds from the next sequence on: a commit whose sync failed.
    fn roll(&mut self) -> io::Result<()> {
        let id = self.active.id + 1;
        let file = self.shared.take_file(id)?;
        let header = FileHeader {
            file_id: id,
            incarnation: new_incarnation(),
            first_sequence: self.sequence,
            durable_through: self.shared.durable_through.load(Ordering::Acquire),
            created_ms: now_ms(),
        };
        if let Err(error) = self.write_header(&*file, &header) {
            // Keep the file for the next attempt: its directory entry is durable already.
            self.shared.spare.lock().ready = Some((id, file));
            return Err(error);
        }
        if self.shared.options.durability == Durability::Os {
            // Before the next file is seen: `Wal::sync` relies on it.
            self.sync_in_background(None);
        }
        let active = Arc::new(WalFile {
            id,
            first_sequence: self.sequence,
            file,
            created_ms: header.created_ms,
            bytes: AtomicU64::new(FILE_HEADER_LEN),
            sealed: AtomicBool::new(false),
        });
        self.shared.files.write().insert(id, active.clone());
        let old = std::mem::replace(&mut self.active, active);
        old.sealed.store(true, Ordering::Release);
        if self.end == FILE_HEADER_LEN {
            self.drop_empty(&old);
        }
        self.incarnation = header.incarnation;
        self.end = FILE_HEADER_LEN;
        self.abandoned = false;
        let _ = self.jobs.send(BackgroundJob::PrepareSpare { id: id + 1 });
        Ok(())
    }

    /// Under `fsync` the header is durable before the file is used: a disk that fails does so here, where the file can be kept
    /// for the next attempt, and not in ever new files. Under `os` nobody waits for it: a start after a power cut finds the
    /// end of the log by the sequences.
    fn write_header(&self, file: &dyn DiskFile, header: &FileHeader) -> io::Result<()> {
        file.write_at(0, &[&header.encode()])?;
        if self.shared.options.durability == Durability::Fsync { file.sync_data() } else { Ok(()) }
    }

    /// A file given up before its first commit holds nothing.
    fn drop_empty(&self, file: &WalFile) {
        self.shared.files.write().remove(&file.id);
        if let Err(error) = self.shared.disk.remove(&file_path(file.id)) {
            tracing::warn!(%error, file = file_path(file.id), "cannot remove an empty WAL file; the next start will");
        }
    }

    /// Under durability=os: the kernel writes back in its own time; this bounds how long that may take.
    fn sync_in_background_if_due(&mut self) {
        if self.shared.options.durability == Durability::Os
            && self.last_os_sync.elapsed() >= self.shared.options.os_sync_interval
        {
            self.sync_in_background(None);
        }
    }

    fn sync_in_background(&mut self, done: Option<Sender<io::Result<()>>>) {
        self.last_os_sync = Instant::now();
        let (file, through) = (self.active.clone(), self.sequence - 1);
        let _ = self.jobs.send(BackgroundJob::Sync { file, through, done });
    }

    /// Notes that everything is durable, so that damage to the last commits is told from a torn end. The next commit is
    /// written over the note: it takes no part in the order of commits, and need not be synced.
    fn on_idle(&mut self) {
        if self.noted {
            return;
        }
        let synced = self.shared.durable_through.load(Ordering::Acquire);
        if synced + 1 < self.sequence {
            self.sync_in_background_if_due();
            return;
        }
        let note = CommitHeader {
            incarnation: self.incarnation,
            sequence: NOTE,
            durable_through: synced,
            payload_len: 0,
            entry_count: 0,
            payload_crc: 0,
        };
        let fits = self.end + COMMIT_HEADER_LEN as u64 <= self.shared.options.file_bytes;
        if !self.abandoned && fits {
            // Best effort: without it the last commit is only less well guarded.
            let _ = self.active.file.write_at(self.end, &[&note.encode()]);
        }
        self.noted = true;
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error() == Some(libc::ENOSPC)
}
