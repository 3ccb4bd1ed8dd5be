//! A simulated disk that loses what was not synced. Tests run the product's storage on it and cut the power.
//!
//! The model is what ext4 and XFS promise and no more:
//! - Writes and length changes of a file are volatile until `sync_data`/`sync_all` of that file succeeds. At a power cut
//!   each volatile write survives on its own: whole, not at all, in some of its 512-byte sectors, or as zeros of its length.
//! - Names are volatile until `sync_dir` of their folder: a created file may vanish, a removed one come back, a rename show
//!   the old or the new name, never both and never neither. Changes of one folder survive up to some point in their order.
//! - A failed sync leaves the data of that file readable, but no later sync makes it durable (the "fsyncgate" behaviour):
//!   only data written again is.
//! - The operation under way when the power goes fails for its caller and may have been done.
//! - A full disk takes the part of a write that still fits.
//!
//! Everything random comes from the seed of [`CrashDisk::after_power_cut`]; the order of operations is the caller's.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, folder_of};
use content::{Change, Content};
use random::Random;

mod content;
mod random;
#[cfg(test)]
mod tests;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What becomes of a change at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not synced yet.
    Volatile,
    /// A sync of it failed: no later one makes it durable.
    Lost,
    /// Synced, behind a lost one.
    Kept,
}

#[derive(Debug, Default)]
struct File {
    path: String,
    /// What readers see.
    current: Content,
    /// What a power cut cannot take.
    durable: Content,
    /// Younger than `durable`, in order.
    pending: Vec<(Change, Fate)>,
}

impl File {
    fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.pending.push((change, Fate::Volatile));
    }

    fn end_sync(&mut self, failed: bool) {
        let fate = if failed { Fate::Lost } else { Fate::Kept };
        for (_, f) in &mut self.pending {
            if *f == Fate::Volatile {
                *f = fate;
            }
        }
        let kept = self.pending.iter().take_while(|(_, fate)| *fate == Fate::Kept).count();
        for (change, _) in self.pending.drain(..kept) {
            self.durable.apply(&change);
        }
    }

    fn after_power_cut(&self, random: &mut Random) -> File {
        let mut content = self.durable.clone();
        for (change, fate) in &self.pending {
            match fate {
                Fate::Kept => content.apply(change),
                Fate::Volatile | Fate::Lost => content.apply_some(change, random),
            }
        }
        File { path: self.path.clone(), current: content.clone(), durable: content, pending: Vec::new() }
    }
}

type FileId = u64;

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, FileId),
    Unlink(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            NameChange::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameChange::Unlink(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }

    fn folder(&self) -> &str {
        match self {
            NameChange::Link(name, _) | NameChange::Unlink(name) | NameChange::Rename(name, _) => folder_of(name),
        }
    }
}

#[derive(Default)]
struct Faults {
    fail_syncs: u64,
    fail_syncs_of: Option<String>,
    free_bytes: Option<u64>,
    /// Operations until the power goes.
    fuse: Option<u64>,
    off: bool,
}

/// Whether the caller of an operation hears of its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Failing,
}

impl Power {
    fn end<T>(self, result: T) -> io::Result<T> {
        match self {
            Power::On => Ok(result),
            Power::Failing => Err(power_is_off()),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

#[derive(Default)]
struct State {
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    folders: BTreeSet<String>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    volatile_names: Vec<NameChange>,
    faults: Faults,
    operations: u64,
    syncs: u64,
    bytes_written: u64,
}

impl State {
    fn begin(&mut self) -> io::Result<Power> {
        if self.faults.off {
            return Err(power_is_off());
        }
        self.operations += 1;
        match &mut self.faults.fuse {
            Some(0) => {
                self.faults.off = true;
                return Ok(Power::Failing);
            }
            Some(fuse) => *fuse -= 1,
            None => {}
        }
        Ok(Power::On)
    }

    fn find(&self, path: &str) -> io::Result<FileId> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, id: FileId) -> io::Result<&mut File> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_folder(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() || self.folders.contains(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.volatile_names.push(change);
    }

    fn give_back(&mut self, bytes: u64) {
        if let Some(free) = &mut self.faults.free_bytes {
            *free += bytes;
        }
    }

    /// Takes space for growth, or as much as there is.
    fn take_space(&mut self, wanted: u64) -> u64 {
        match &mut self.faults.free_bytes {
            None => wanted,
            Some(free) => {
                let taken = wanted.min(*free);
                *free -= taken;
                taken
            }
        }
    }

    /// Whether this sync is to fail.
    fn count_sync(&mut self, path: &str) -> bool {
        self.syncs += 1;
        let by_count = self.faults.fail_syncs > 0;
        self.faults.fail_syncs = self.faults.fail_syncs.saturating_sub(1);
        by_count || self.faults.fail_syncs_of.as_ref().is_some_and(|part| path.contains(part))
    }
}

/// See the module. Clones are the same disk.
#[derive(Clone, Default)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
}

impl CrashDisk {
    /// An empty disk with the power on.
    pub fn new() -> CrashDisk {
        CrashDisk::default()
    }

    /// The power goes in the operation after so many more.
    pub fn power_cut_after(&self, operations: u64) {
        self.state.lock().faults.fuse = Some(operations);
    }

    pub fn power_cut_now(&self) {
        self.state.lock().faults.off = true;
    }

    pub fn is_off(&self) -> bool {
        self.state.lock().faults.off
    }

    /// Operations begun so far, reads too.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Syncs of files and folders so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    pub fn bytes_written(&self) -> u64 {
        self.state.lock().bytes_written
    }

    /// The next `n` syncs of files and folders fail.
    pub fn fail_next_syncs(&self, n: u64) {
        self.state.lock().faults.fail_syncs = n;
    }

    /// Syncs of files and folders whose path contains `part` fail until `None` is given.
    pub fn fail_syncs_of(&self, part: Option<&str>) {
        self.state.lock().faults.fail_syncs_of = part.map(str::to_owned);
    }

    /// Growth beyond this fails with ENOSPC; `None` = unlimited.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.state.lock().faults.free_bytes = free;
    }

    /// Damages a file, as a worn-out device would.
    pub fn flip_bit(&self, path: &str, position: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = state.find(path)?;
        let file = state.file(id)?;
        file.current.flip_bit(position);
        file.durable.flip_bit(position);
        for (change, _) in &mut file.pending {
            if let Change::Write { position: from, bytes } = change
                && let Some(at) = position.checked_sub(*from)
                && at < bytes.len() as u64
            {
                let mut damaged = bytes.to_vec();
                damaged[at as usize] ^= 0x10;
                *bytes = damaged.into();
            }
        }
        Ok(())
    }

    /// What is on the disk when the power comes back; another seed gives another legal outcome. This disk stays off.
    pub fn after_power_cut(&self, seed: u64) -> CrashDisk {
        let mut state = self.state.lock();
        state.faults.off = true;
        let mut random = Random::new(seed);
        let mut left: BTreeMap<&str, u64> = BTreeMap::new();
        for change in &state.volatile_names {
            *left.entry(change.folder()).or_default() += 1;
        }
        for survivors in left.values_mut() {
            *survivors = random.below(*survivors + 1);
        }
        let mut names = state.durable_names.clone();
        for change in &state.volatile_names {
            if let Some(survivors) = left.get_mut(change.folder())
                && *survivors > 0
            {
                *survivors -= 1;
                change.apply(&mut names);
            }
        }
        let mut files = BTreeMap::new();
        for (name, id) in &names {
            if let Some(file) = state.files.get(id) {
                files.insert(*id, File { path: name.clone(), ..file.after_power_cut(&mut random) });
            }
        }
        let next = State {
            files,
            next_file: state.next_file,
            folders: state.folders.clone(),
            durable_names: names.clone(),
            names,
            ..State::default()
        };
        CrashDisk { state: Arc::new(Mutex::new(next)) }
    }

    /// What the next process finds when this one is killed and the power stays on: all that was written, synced or not. What
    /// no sync covered can still go in a later power cut, and what a failed sync gave up cannot be saved any more. This disk
    /// stays off.
    pub fn after_kill(&self) -> CrashDisk {
        let mut state = self.state.lock();
        state.faults.off = true;
        let next = State {
            files: std::mem::take(&mut state.files),
            next_file: state.next_file,
            folders: state.folders.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            volatile_names: state.volatile_names.clone(),
            ..State::default()
        };
        CrashDisk { state: Arc::new(Mutex::new(next)) }
    }

    fn handle(&self, id: FileId) -> Arc<dyn DiskFile> {
        Arc::new(CrashFile { state: self.state.clone(), id })
    }
}

impl Disk for CrashDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        state.check_folder(folder_of(path))?;
        if state.names.contains_key(path) || state.folders.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, File { path: path.to_owned(), ..File::default() });
        state.change_name(NameChange::Link(path.to_owned(), id));
        power.end(self.handle(id))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let id = state.find(path)?;
        power.end(self.handle(id))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let id = state.find(from)?;
        if folder_of(from) != folder_of(to) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a rename stays within its folder"));
        }
        if from == to {
            return power.end(());
        }
        if let Some(replaced) = state.names.get(to).copied() {
            let freed = state.file(replaced)?.current.len();
            state.give_back(freed);
        }
        state.file(id)?.path = to.to_owned();
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        power.end(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let id = state.find(path)?;
        let freed = state.file(id)?.current.len();
        state.give_back(freed);
        state.change_name(NameChange::Unlink(path.to_owned()));
        power.end(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        state.check_folder(dir)?;
        let paths = state.names.keys().chain(&state.folders).filter(|path| folder_of(path) == dir);
        let names = paths.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect();
        power.end(names)
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let mut dir = path;
        while !dir.is_empty() {
            state.folders.insert(dir.to_owned());
            dir = folder_of(dir);
        }
        power.end(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        state.check_folder(dir)?;
        if state.count_sync(dir) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if power == Power::On {
            for change in std::mem::take(&mut state.volatile_names) {
                if change.folder() == dir {
                    change.apply(&mut state.durable_names);
                } else {
                    state.volatile_names.push(change);
                }
            }
        }
        power.end(())
    }

    fn exists(&self, path: &str) -> bool {
        let state = self.state.lock();
        state.names.contains_key(path) || state.folders.contains(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().faults.free_bytes.unwrap_or(1 << 40))
    }
}

struct CrashFile {
    state: Arc<Mutex<State>>,
    id: FileId,
}

impl CrashFile {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let path = state.file(self.id)?.path.clone();
        let failed = state.count_sync(&path);
        if power == Power::On {
            state.file(self.id)?.end_sync(failed);
        }
        if failed { Err(io::Error::from_raw_os_error(EIO)) } else { power.end(()) }
    }

    fn change_len(&self, len: impl FnOnce(u64) -> u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let now = state.file(self.id)?.current.len();
        let len = len(now);
        if len < now {
            state.give_back(now - len);
        } else {
            let taken = state.take_space(len - now);
            if taken < len - now {
                state.give_back(taken);
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
        }
        if len != now {
            state.file(self.id)?.change(Change::SetLen(len));
        }
        power.end(())
    }
}

impl DiskFile for CrashFile {
    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let mut bytes = buffers.concat();
        if bytes.is_empty() {
            return power.end(());
        }
        let now = state.file(self.id)?.current.len();
        let wanted = (position + bytes.len() as u64).saturating_sub(now);
        let missing = wanted - state.take_space(wanted);
        bytes.truncate(bytes.len().saturating_sub(missing as usize));
        state.bytes_written += bytes.len() as u64;
        if !bytes.is_empty() {
            state.file(self.id)?.change(Change::Write { position, bytes: bytes.into() });
        }
        if missing > 0 { Err(io::Error::from_raw_os_error(ENOSPC)) } else { power.end(()) }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        if !state.file(self.id)?.current.read(position, buffer) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        power.end(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        let power = state.begin()?;
        let len = state.file(self.id)?.current.len();
        power.end(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change_len(|_| len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change_len(|now| now.max(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
