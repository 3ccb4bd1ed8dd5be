//! The WAL on local files: opening, reading, releasing, and the spare file that keeps rolling cheap.
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex, RwLock};

use super::format::{FILE_HEADER_LEN, FileHeader};
use super::recovery::{self, ReplayedEntry, WalError};
use super::writer::{BackgroundJob, Writer};
use super::{Committed, Refusal, Wal, WalEntry, WalFileInfo, WalLocation, WalTag};
use crate::disk::{Disk, DiskFile};
use crate::log::Durability;

pub(super) const WAL_DIR: &str = "wal";

/// Released files kept for reuse; beyond that their space is given back.
const RECYCLED_FILES_MAX: usize = 4;

pub(super) fn file_path(id: u64) -> String {
    format!("{WAL_DIR}/{id:020}.wal")
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_millis() as u64).unwrap_or(0)
}

#[derive(Debug, Clone)]
pub struct WalOptions {
    pub durability: Durability,
    pub file_bytes: u64,
    pub commit_max_bytes: u64,
    /// Under [`Durability::Os`]: time between background syncs of the active file.
    pub os_sync_interval: Duration,
    /// After so long without an append, an empty commit records that all before it is durable.
    pub idle_commit_after: Duration,
    /// Time between attempts while the disk is full or failing.
    pub retry_interval: Duration,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions {
            durability: Durability::Fsync,
            file_bytes: 64 << 20,
            commit_max_bytes: 8 << 20,
            os_sync_interval: Duration::from_secs(1),
            idle_commit_after: Duration::from_millis(200),
            retry_interval: Duration::from_millis(200),
        }
    }
}

/// One file of the log. Readers hold it by `Arc`; it is reused only when nobody does.
pub(super) struct WalFile {
    pub id: u64,
    pub file: Arc<dyn DiskFile>,
    pub created_ms: u64,
    /// Bytes of header and commits.
    pub bytes: AtomicU64,
    pub sealed: AtomicBool,
}

pub(super) struct Queue<T> {
    pub entries: VecDeque<WalEntry<T>>,
    pub closed: bool,
}

/// A file made ahead of time; its header is written when it is put to use.
#[derive(Default)]
pub(super) struct Spare {
    pub ready: Option<(u64, Arc<dyn DiskFile>)>,
    /// Files up to this id are in use or were: a late request to prepare one of them must not touch it.
    taken_through: u64,
}

pub(super) type CommitSink<T> = Box<dyn Fn(Vec<Committed<T>>) + Send>;

/// State shared by submitters, the writer thread and the background thread.
pub(super) struct Shared<T> {
    pub disk: Arc<dyn Disk>,
    pub options: WalOptions,
    pub queue: Mutex<Queue<T>>,
    pub wake: Condvar,
    pub refusal: ArcSwapOption<Refusal>,
    pub files: RwLock<BTreeMap<u64, Arc<WalFile>>>,
    pub spare: Mutex<Spare>,
    /// Released files waiting to become the spare: their blocks are allocated and their pages are in memory.
    pub recyclable: Mutex<Vec<Arc<WalFile>>>,
    /// The last sequence known to be synced.
    pub durable_through: AtomicU64,
}

impl<T> Shared<T> {
    /// Takes the spare, or makes a file of `id` now. The directory entry is durable when this returns.
    pub fn take_file(&self, id: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut spare = self.spare.lock();
        spare.taken_through = id;
        match spare.ready.take() {
            Some((spare_id, file)) if spare_id == id => Ok(file),
            Some((spare_id, _)) => {
                self.disk.remove(&file_path(spare_id))?;
                self.make_file(id)
            }
            None => self.make_file(id),
        }
    }

    /// Makes the spare with `id` unless there is one.
    pub fn prepare_spare(&self, id: u64) -> io::Result<()> {
        let mut spare = self.spare.lock();
        if spare.ready.is_none() && id > spare.taken_through {
            spare.ready = Some((id, self.make_file(id)?));
        }
        Ok(())
    }

    fn make_file(&self, id: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = file_path(id);
        // A reader that still holds the file would see new bytes in place of old ones; then it is only unlinked.
        while let Some(old) = { self.recyclable.lock().pop() } {
            let old_path = file_path(old.id);
            match Arc::try_unwrap(old) {
                Ok(old) => {
                    self.disk.rename(&old_path, &path)?;
                    self.disk.sync_dir(WAL_DIR)?;
                    return Ok(old.file);
                }
                Err(_) => self.disk.remove(&old_path)?,
            }
        }
        if self.disk.exists(&path) {
            self.disk.remove(&path)?;
        }
        let file = self.disk.create(&path)?;
        if let Err(error) = file.allocate(self.options.file_bytes) {
            self.disk.remove(&path)?;
            return Err(error);
        }
        file.sync_all()?;
        self.disk.sync_dir(WAL_DIR)?;
        Ok(file)
    }

    pub fn refuse(&self, refusal: Refusal) {
        if self.refusal.load().as_deref() != Some(&refusal) {
            tracing::error!(?refusal, "appends are refused until the write-ahead log can be written again");
            self.refusal.store(Some(Arc::new(refusal)));
        }
    }
}

/// The local WAL. Dropping it without [`Wal::close`] ends the threads without a final sync, as a crash would.
pub struct LocalWal<T: WalTag> {
    shared: Arc<Shared<T>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: WalTag> LocalWal<T> {
    /// Replays all entries from file `first_file` on through `visit`, then begins a new file. `on_commit` receives
    /// durable entries in order, called on the WAL thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: WalOptions,
        first_file: u64,
        visit: &mut dyn FnMut(ReplayedEntry<'_>) -> Result<(), String>,
        on_commit: CommitSink<T>,
    ) -> Result<LocalWal<T>, WalError> {
        let io_error = |source| WalError::Io { path: WAL_DIR.to_owned(), source };
        disk.create_dir_all(WAL_DIR).map_err(io_error)?;
        let recovered = recovery::recover(&*disk, first_file, visit)?;

        let id = recovered.next_file_id;
        let header = FileHeader {
            file_id: id,
            incarnation: uuid::Uuid::new_v4().as_u64_pair().0,
            first_sequence: recovered.next_sequence,
            prev_id: recovered.last_file,
            prev_length: recovered.last_length,
            created_ms: now_ms(),
        };
        let shared = Arc::new(Shared {
            disk: disk.clone(),
            options,
            queue: Mutex::new(Queue { entries: VecDeque::new(), closed: false }),
            wake: Condvar::new(),
            refusal: ArcSwapOption::empty(),
            files: RwLock::new(recovered.files.into_iter().map(|f| (f.id, Arc::new(f))).collect()),
            spare: Mutex::default(),
            recyclable: Mutex::default(),
            durable_through: AtomicU64::new(recovered.next_sequence.saturating_sub(1)),
        });
        let file = shared.take_file(id).map_err(io_error)?;
        file.write_at(0, &[&header.encode()]).map_err(io_error)?;
        file.sync_data().map_err(io_error)?;
        // The new header is durable and names the file before it with its length, so what lies beyond can go.
        if let Some(last) = shared.files.read().get(&recovered.last_file) {
            last.file.set_len(recovered.last_length).map_err(io_error)?;
        }
        for stale in recovered.stale {
            disk.remove(&stale).map_err(io_error)?;
        }
        disk.sync_dir(WAL_DIR).map_err(io_error)?;
        let active = Arc::new(WalFile {
            id,
            file,
            created_ms: header.created_ms,
            bytes: AtomicU64::new(FILE_HEADER_LEN),
            sealed: AtomicBool::new(false),
        });
        shared.files.write().insert(id, active.clone());

        let (jobs, job_queue) = std::sync::mpsc::channel();
        let background = std::thread::Builder::new().name("wal-background".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                while let Ok(job) = job_queue.recv() {
                    run_job(&shared, job);
                }
            }
        });
        let writer = Writer::new(shared.clone(), active, header.incarnation, recovered.next_sequence, jobs, on_commit);
        let writer = std::thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run());
        let threads = vec![writer.map_err(io_error)?, background.map_err(io_error)?];
        Ok(LocalWal { shared, threads: Mutex::new(threads) })
    }
}

fn run_job<T>(shared: &Shared<T>, job: BackgroundJob) {
    match job {
        BackgroundJob::PrepareSpare { id } => {
            if let Err(error) = shared.prepare_spare(id) {
                tracing::warn!(%error, "cannot prepare the next WAL file; it is made when it is needed");
            }
        }
        BackgroundJob::Sync { file, through } => match file.file.sync_data() {
            Ok(()) => {
                shared.durable_through.fetch_max(through, Ordering::AcqRel);
            }
            Err(error) => shared.refuse(Refusal::Failing {
                reason: format!(
                    "background sync of {} failed ({error}); what was acknowledged under durability=os since the last sync \
                     is only in memory of the system. Check the disk, then restart",
                    file_path(file.id)
                ),
            }),
        },
    }
}

impl<T: WalTag> Wal<T> for LocalWal<T> {
    fn submit(&self, entry: WalEntry<T>) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return; // dropping the tag tells its owner
        }
        queue.entries.push_back(entry);
        drop(queue);
        self.shared.wake.notify_one();
    }

    fn refusal(&self) -> Option<Refusal> {
        self.shared.refusal.load().as_deref().cloned()
    }

    fn read(&self, location: WalLocation, buf: &mut [u8]) -> io::Result<()> {
        let file = self.shared.files.read().get(&location.file).cloned();
        match file {
            Some(file) => file.file.read_at(location.position, buf),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn files(&self) -> Vec<WalFileInfo> {
        let files = self.shared.files.read();
        files
            .values()
            .map(|f| WalFileInfo {
                id: f.id,
                bytes: f.bytes.load(Ordering::Relaxed),
                created_ms: f.created_ms,
                sealed: f.sealed.load(Ordering::Acquire),
            })
            .collect()
    }

    fn release_below(&self, file: u64) -> io::Result<()> {
        let released: Vec<_> = {
            let mut files = self.shared.files.write();
            let keep = files.split_off(&file);
            std::mem::replace(&mut *files, keep).into_values().collect()
        };
        for old in released {
            debug_assert!(old.sealed.load(Ordering::Acquire), "WAL-1: the active file is never released");
            let mut recyclable = self.shared.recyclable.lock();
            let full_size = old.file.len().is_ok_and(|len| len == self.shared.options.file_bytes);
            if recyclable.len() < RECYCLED_FILES_MAX && full_size {
                recyclable.push(old);
            } else {
                drop(recyclable);
                self.shared.disk.remove(&file_path(old.id))?;
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a WAL thread panicked");
            }
        }
    }

    fn file_name(&self, file: u64) -> String {
        file_path(file)
    }
}

impl<T: WalTag> Drop for LocalWal<T> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        drop(queue);
        self.shared.wake.notify_one();
    }
}
