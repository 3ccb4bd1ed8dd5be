//! The WAL on local files: opening, reading, releasing, and the spare file that keeps rolling cheap.
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex, RwLock};

use super::format::{COMMIT_HEADER_LEN, CommitHeader, FILE_HEADER_LEN, FileHeader, padded};
use super::recovery::{ReplayedEntry, Scan, WalError, WalStart};
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
    pub first_sequence: u64,
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
        if !self.is_unsynced() && self.refusal.load().as_deref() != Some(&refusal) {
            tracing::error!(?refusal, "appends are refused until the write-ahead log can be written again");
            self.refusal.store(Some(Arc::new(refusal)));
        }
    }

    /// A background sync failed: no write or sync that succeeds later makes up for it.
    pub fn is_unsynced(&self) -> bool {
        matches!(self.refusal.load().as_deref(), Some(Refusal::Unsynced { .. }))
    }
}

/// The file that a start begins. It is no part of the log until its header is written, which comes last.
struct NewFile<'a, T> {
    shared: &'a Shared<T>,
    id: u64,
    incarnation: u64,
    end: u64,
    file: Option<Arc<dyn DiskFile>>,
}

impl<T> NewFile<'_, T> {
    fn file(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        if self.file.is_none() {
            self.file = Some(self.shared.take_file(self.id)?);
        }
        self.file.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Adds a commit of an older file.
    fn carry(&mut self, commit: &CommitHeader, payload: &[u8]) -> io::Result<WalLocation> {
        let header = CommitHeader { incarnation: self.incarnation, ..*commit }.encode();
        let unpadded = COMMIT_HEADER_LEN + payload.len();
        let padding = padded(unpadded as u64) - unpadded as u64;
        self.file()?.write_at(self.end, &[&header, payload, &[0; 8][..padding as usize]])?;
        let position = self.end;
        self.end += commit.total_len();
        Ok(WalLocation { file: self.id, position })
    }

    /// Makes what was carried durable, then the file a part of the log.
    fn begin(mut self, first_sequence: u64) -> io::Result<WalFile> {
        let file = self.file()?;
        if self.end > FILE_HEADER_LEN {
            file.sync_data()?;
        }
        let header = FileHeader {
            file_id: self.id,
            incarnation: self.incarnation,
            first_sequence,
            durable_through: first_sequence - 1,
            created_ms: now_ms(),
        };
        file.write_at(0, &[&header.encode()])?;
        file.sync_data()?;
        Ok(WalFile {
            id: self.id,
            first_sequence,
            file,
            created_ms: header.created_ms,
            bytes: AtomicU64::new(self.end),
            sealed: AtomicBool::new(false),
        })
    }
}

/// The local WAL. Dropping it without [`Wal::close`] ends the threads without a final sync, as a crash would.
pub struct LocalWal<T: WalTag> {
    shared: Arc<Shared<T>>,
    /// `None` once closed: the background thread ends with the last sender.
    jobs: Mutex<Option<Sender<BackgroundJob>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: WalTag> LocalWal<T> {
    /// Replays all entries from `start` on through `visit`, then begins a new file. `on_commit` receives durable entries in
    /// order, called on the WAL thread. All that was visited is durable when this returns.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: WalOptions,
        start: WalStart,
        visit: &mut dyn FnMut(ReplayedEntry<'_>) -> Result<(), String>,
        on_commit: CommitSink<T>,
    ) -> Result<LocalWal<T>, WalError> {
        let io_error = |source| WalError::Io { path: WAL_DIR.to_owned(), source };
        disk.create_dir_all(WAL_DIR).map_err(io_error)?;
        let scan = Scan::new(&*disk, start)?;
        let reusable = reusable(&*disk, &scan.unused, options.file_bytes).map_err(io_error)?;
        let shared = Arc::new(Shared {
            disk: disk.clone(),
            options,
            queue: Mutex::new(Queue { entries: VecDeque::new(), closed: false }),
            wake: Condvar::new(),
            refusal: ArcSwapOption::empty(),
            files: RwLock::default(),
            spare: Mutex::default(),
            recyclable: Mutex::new(reusable),
            durable_through: AtomicU64::new(0),
        });
        let mut new = NewFile {
            shared: &shared,
            id: scan.next_file_id,
            incarnation: new_incarnation(),
            end: FILE_HEADER_LEN,
            file: None,
        };
        let recovered = scan.replay(&mut |commit, payload| new.carry(commit, payload), visit)?;
        let (incarnation, end) = (new.incarnation, new.end);
        let active = Arc::new(new.begin(recovered.first_sequence).map_err(io_error)?);
        // What the new header supersedes can go, unless it was made the new file or waits to be one.
        let waiting: Vec<u64> = shared.recyclable.lock().iter().map(|f| f.id).collect();
        for stale in recovered.stale {
            let path = file_path(stale);
            if !waiting.contains(&stale) && disk.exists(&path) {
                disk.remove(&path).map_err(io_error)?;
            }
        }
        disk.sync_dir(WAL_DIR).map_err(io_error)?;
        shared.durable_through.store(recovered.next_sequence - 1, Ordering::Release);
        shared.files.write().extend(recovered.files.into_iter().map(|f| (f.id, Arc::new(f))));
        shared.files.write().insert(active.id, active.clone());

        let (jobs, job_queue) = channel();
        let background = std::thread::Builder::new().name("wal-background".to_owned()).spawn({
            let shared = shared.clone();
            move || run_jobs(&shared, &job_queue)
        });
        let writer =
            Writer::new(shared.clone(), active, (incarnation, end), recovered.next_sequence, jobs.clone(), on_commit);
        let writer = std::thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run());
        let threads = vec![writer.map_err(io_error)?, background.map_err(io_error)?];
        Ok(LocalWal { shared, jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })
    }
}

/// Tells the commits of one use of a file from those of another.
pub(super) fn new_incarnation() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// Spares that the last run left: a start on a full disk needs no space for its file.
fn reusable(disk: &dyn Disk, unused: &[u64], file_bytes: u64) -> io::Result<Vec<Arc<WalFile>>> {
    let mut files = Vec::new();
    for &id in unused {
        let file = disk.open(&file_path(id))?;
        if files.len() < RECYCLED_FILES_MAX && file.len()? == file_bytes {
            let bytes = AtomicU64::new(FILE_HEADER_LEN);
            let sealed = AtomicBool::new(true);
            files.push(Arc::new(WalFile { id, first_sequence: 0, file, created_ms: 0, bytes, sealed }));
        }
    }
    Ok(files)
}

fn run_jobs<T>(shared: &Shared<T>, jobs: &Receiver<BackgroundJob>) {
    while let Ok(job) = jobs.recv() {
        match job {
            BackgroundJob::PrepareSpare { id } => {
                if let Err(error) = shared.prepare_spare(id) {
                    tracing::warn!(%error, "cannot prepare the next WAL file; it is made when it is needed");
                }
            }
            BackgroundJob::Sync { file, through, done } => {
                let result = sync_in_background(shared, &file, through);
                if let Some(done) = done {
                    let _ = done.send(result); // who asked may have gone
                }
            }
        }
    }
}

/// Syncs come in the order of the files, so one that succeeds covers all before it, unless one of them failed.
fn sync_in_background<T>(shared: &Shared<T>, file: &WalFile, through: u64) -> io::Result<()> {
    if shared.is_unsynced() {
        return Err(io::Error::other("an earlier background sync failed"));
    }
    match file.file.sync_data() {
        Ok(()) => {
            shared.durable_through.fetch_max(through, Ordering::AcqRel);
            Ok(())
        }
        Err(error) => {
            shared.refuse(Refusal::Unsynced {
                reason: format!(
                    "background sync of {} failed ({error}); what was acknowledged under durability=os since the last sync \
                     may be only in the memory of the system. Check the disk, then restart weir: it writes it again",
                    file_path(file.id)
                ),
            });
            Err(error)
        }
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

    fn read(&self, location: WalLocation, length: usize) -> io::Result<Vec<u8>> {
        let file = self.shared.files.read().get(&location.file).cloned();
        match file {
            Some(file) => file.file.read_vec(location.position, length),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn files(&self) -> Vec<WalFileInfo> {
        let files = self.shared.files.read();
        files
            .values()
            .map(|f| WalFileInfo {
                id: f.id,
                first_sequence: f.first_sequence,
                bytes: f.bytes.load(Ordering::Relaxed),
                created_ms: f.created_ms,
                sealed: f.sealed.load(Ordering::Acquire),
            })
            .collect()
    }

    fn bytes(&self) -> u64 {
        self.shared.files.read().values().map(|file| file.bytes.load(Ordering::Relaxed)).sum()
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

    fn sync(&self) -> io::Result<()> {
        if self.shared.options.durability == Durability::Fsync {
            return Ok(()); // each commit was synced
        }
        // Behind the syncs of older files in the queue: the writer asks for those before it shows the next file.
        let Some(file) = self.shared.files.read().last_key_value().map(|(_, file)| file.clone()) else { return Ok(()) };
        let (done, result) = channel();
        let job = BackgroundJob::Sync { file, through: 0, done: Some(done) };
        let sent = self.jobs.lock().as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(io::Error::other("the write-ahead log is closed"));
        }
        result.recv().map_err(io::Error::other)?
    }

    fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        self.jobs.lock().take();
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
