//! A simulated disk that loses what was not synced. Tests run the whole product on it and cut the power.
//!
//! Model, after what ext4 and XFS promise and no more:
//! - Writes and length changes of a file are volatile until `sync_data`/`sync_all` of that file succeeds. At a power cut
//!   each volatile write survives as a whole, not at all, or in some of its 512-byte sectors; lengths likewise.
//! - Names are volatile until `sync_dir` of their folder: a created file may vanish, a removed one come back, a rename show
//!   the old or the new name, never both and never neither.
//! - A failed sync leaves the data of that file readable, but no later sync makes it durable (the "fsyncgate" behaviour):
//!   only data written again is.
//!
//! Everything random comes from the seed; the order of operations is the caller's.
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const SECTOR: u64 = 512;
const ENOSPC: i32 = 28;

/// SplitMix64: small, seeded, good enough to pick survivors.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { position: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { position, bytes } => {
                let end = *position as usize + bytes.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[*position as usize..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => self.bytes.resize(*len as usize, 0),
        }
    }

    /// Applies some sectors of a write.
    fn apply_torn(&mut self, position: u64, bytes: &[u8], random: &mut Random) {
        let mut at = 0;
        while at < bytes.len() {
            let sector_end = (position + at as u64) / SECTOR * SECTOR + SECTOR;
            let end = ((sector_end - position) as usize).min(bytes.len());
            if random.below(2) == 0 {
                self.apply(&Change::Write { position: position + at as u64, bytes: bytes[at..end].to_vec() });
            }
            at = end;
        }
    }
}

#[derive(Debug, Default)]
struct File {
    /// What readers see.
    current: Content,
    /// What a power cut cannot take.
    durable: Content,
    /// Not yet synced, in order.
    volatile: Vec<Change>,
    /// A sync of these failed: no later sync makes them durable.
    lost: Vec<Change>,
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
            NameChange::Link(name, id) => drop(names.insert(name.clone(), *id)),
            NameChange::Unlink(name) => drop(names.remove(name)),
            NameChange::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }

    fn dir(&self) -> &str {
        match self {
            NameChange::Link(name, _) | NameChange::Unlink(name) | NameChange::Rename(_, name) => dir_of(name),
        }
    }
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
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

#[derive(Default)]
struct State {
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    volatile_names: Vec<NameChange>,
    faults: Faults,
    operations: u64,
    syncs: u64,
    bytes_written: u64,
}

impl State {
    /// Counts an operation; fails once the power is off.
    fn operate(&mut self) -> io::Result<()> {
        if let Some(fuse) = &mut self.faults.fuse {
            if *fuse == 0 {
                self.faults.off = true;
            }
            *fuse = fuse.saturating_sub(1);
        }
        if self.faults.off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        Ok(())
    }

    /// Fails with ENOSPC when a file cannot grow by so much.
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        match &mut self.faults.free_bytes {
            Some(free) if *free < bytes => Err(io::Error::from_raw_os_error(ENOSPC)),
            Some(free) => {
                *free -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.volatile_names.push(change);
    }
}

/// See the module.
#[derive(Clone)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
}

impl Default for CrashDisk {
    fn default() -> Self {
        CrashDisk::new()
    }
}

impl CrashDisk {
    pub fn new() -> CrashDisk {
        CrashDisk { state: Arc::default() }
    }

    /// The power goes when so many more operations were done.
    pub fn power_cut_after(&self, operations: u64) {
        self.state.lock().faults.fuse = Some(operations);
    }

    pub fn power_cut_now(&self) {
        self.state.lock().faults.off = true;
    }

    pub fn is_off(&self) -> bool {
        self.state.lock().faults.off
    }

    /// Operations done so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    pub fn bytes_written(&self) -> u64 {
        self.state.lock().bytes_written
    }

    /// The next `n` syncs of files fail.
    pub fn fail_next_syncs(&self, n: u64) {
        self.state.lock().faults.fail_syncs = n;
    }

    /// Syncs of files whose path contains `part` fail until `None` is given.
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
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let file = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        for content in [&mut file.current, &mut file.durable] {
            if let Some(byte) = content.bytes.get_mut(position as usize) {
                *byte ^= 0x10;
            }
        }
        Ok(())
    }

    /// What is on the disk when the power comes back; another seed gives another legal outcome.
    pub fn after_power_cut(&self, seed: u64) -> CrashDisk {
        self.power_cut_now();
        let state = self.state.lock();
        let mut random = Random(seed);
        let mut names = state.durable_names.clone();
        // Journalled in order: a prefix of the name changes of each folder survives.
        let mut cut_of: BTreeMap<String, bool> = BTreeMap::new();
        for change in &state.volatile_names {
            let cut = cut_of.entry(change.dir().to_owned()).or_insert(false);
            *cut |= random.below(3) == 0;
            if !*cut {
                change.apply(&mut names);
            }
        }
        let mut files = BTreeMap::new();
        for (id, file) in &state.files {
            let mut content = file.durable.clone();
            // Volatile and lost changes survive independently, in their order.
            for change in file.lost.iter().chain(&file.volatile) {
                match random.below(3) {
                    0 => {}
                    1 => content.apply(change),
                    _ => match change {
                        Change::Write { position, bytes } => content.apply_torn(*position, bytes, &mut random),
                        Change::SetLen(_) => content.apply(change),
                    },
                }
            }
            files.insert(*id, File { current: content.clone(), durable: content, ..File::default() });
        }
        let next = State { files, next_file: state.next_file, durable_names: names.clone(), names, ..State::default() };
        CrashDisk { state: Arc::new(Mutex::new(next)) }
    }

    fn handle(&self, id: FileId, path: &str) -> Arc<dyn DiskFile> {
        Arc::new(CrashFile { state: self.state.clone(), id, path: path.to_owned() })
    }
}

impl Disk for CrashDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operate()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, File::default());
        state.change_name(NameChange::Link(path.to_owned(), id));
        Ok(self.handle(id, path))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operate()?;
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(id, path))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let freed = state.files.get(&id).map_or(0, |f| f.current.bytes.len() as u64);
        if let Some(free) = &mut state.faults.free_bytes {
            *free += freed;
        }
        state.change_name(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.operate()?;
        let names = state.names.keys().filter(|path| dir_of(path) == dir);
        Ok(names.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    fn create_dir_all(&self, _path: &str) -> io::Result<()> {
        self.state.lock().operate() // folders are there once named; OsDisk syncs them
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        let changes = std::mem::take(&mut state.volatile_names);
        for change in changes {
            if change.dir() == dir {
                change.apply(&mut state.durable_names);
            } else {
                state.volatile_names.push(change);
            }
        }
        Ok(())
    }

    fn exists(&self, path: &str) -> bool {
        self.state.lock().names.contains_key(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().faults.free_bytes.unwrap_or(1 << 40))
    }
}

struct CrashFile {
    state: Arc<Mutex<State>>,
    id: FileId,
    path: String,
}

impl CrashFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        let len = state.files.get(&self.id).map_or(0, |f| f.current.bytes.len() as u64);
        let end = match &change {
            Change::Write { position, bytes } => position + bytes.len() as u64,
            Change::SetLen(len) => *len,
        };
        state.grow(end.saturating_sub(len))?;
        if let Change::Write { bytes, .. } = &change {
            state.bytes_written += bytes.len() as u64;
        }
        if let Some(file) = state.files.get_mut(&self.id) {
            file.current.apply(&change);
            file.volatile.push(change);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        state.syncs += 1;
        let by_path = state.faults.fail_syncs_of.as_ref().is_some_and(|part| self.path.contains(part));
        let fails = by_path || state.faults.fail_syncs > 0;
        state.faults.fail_syncs = state.faults.fail_syncs.saturating_sub(1);
        let Some(file) = state.files.get_mut(&self.id) else { return Ok(()) };
        let volatile = std::mem::take(&mut file.volatile);
        if fails {
            file.lost.extend(volatile);
            return Err(io::Error::from_raw_os_error(5));
        }
        for change in volatile {
            // What was lost before must not come back over what is durable now.
            if let Change::Write { position, bytes } = &change {
                let range = *position..position + bytes.len() as u64;
                file.lost.retain(|lost| match lost {
                    Change::Write { position, bytes } => {
                        range.end <= *position || position + bytes.len() as u64 <= range.start
                    }
                    Change::SetLen(_) => true,
                });
            }
            file.durable.apply(&change);
        }
        Ok(())
    }
}

impl DiskFile for CrashFile {
    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        self.change(Change::Write { position, bytes: buffers.concat() })
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        let file = state.files.get(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let end = position as usize + buffer.len();
        let bytes = file.current.bytes.get(position as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.operate()?;
        Ok(state.files.get(&self.id).map_or(0, |f| f.current.bytes.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if now < len { self.change(Change::SetLen(len)) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &CrashDisk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(path).ok()?;
        let mut buf = vec![0; file.len().ok()? as usize];
        file.read_at(0, &mut buf).ok()?;
        Some(buf)
    }

    #[test]
    fn synced_data_always_survives_and_the_rest_only_sometimes() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = CrashDisk::new();
            let file = disk.create("d/a").unwrap();
            file.write_at(0, &[&[1; 1000]]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir("d").unwrap();
            file.write_at(1000, &[&[2; 1000]]).unwrap();
            let after = read(&disk.after_power_cut(seed), "d/a").unwrap();
            assert_eq!(after[..1000], [1; 1000]);
            let survived = after[1000..].iter().filter(|b| **b == 2).count();
            outcomes.insert(match survived {
                0 => "none",
                1000 => "all",
                _ => "torn",
            });
        }
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["all", "none", "torn"]);
    }

    #[test]
    fn an_unsynced_rename_shows_the_old_or_the_new_name_and_never_neither() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..100 {
            let disk = CrashDisk::new();
            disk.create("d/a").unwrap().sync_all().unwrap();
            disk.sync_dir("d").unwrap();
            disk.rename("d/a", "d/b").unwrap();
            let after = disk.after_power_cut(seed);
            match (after.exists("d/a"), after.exists("d/b")) {
                (true, false) => old += 1,
                (false, true) => new += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(old > 0 && new > 0);
    }

    #[test]
    fn what_a_failed_sync_left_is_not_made_durable_by_a_later_one() {
        let mut lost = 0;
        for seed in 0..100 {
            let disk = CrashDisk::new();
            let file = disk.create("d/a").unwrap();
            disk.sync_dir("d").unwrap();
            file.write_at(0, &[b"x"]).unwrap();
            disk.fail_next_syncs(1);
            assert!(file.sync_data().is_err());
            file.sync_data().unwrap();
            assert_eq!(read(&disk, "d/a").unwrap(), b"x", "it is still read back");
            lost += u64::from(read(&disk.after_power_cut(seed), "d/a").unwrap() != b"x");
        }
        assert!(lost > 0);
    }

    #[test]
    fn a_full_disk_refuses_growth_only() {
        let disk = CrashDisk::new();
        let file = disk.create("d/a").unwrap();
        file.allocate(100).unwrap();
        disk.set_free_bytes(Some(10));
        file.write_at(0, &[&[1; 100]]).unwrap();
        assert_eq!(file.write_at(95, &[&[1; 100]]).unwrap_err().raw_os_error(), Some(ENOSPC));
        disk.set_free_bytes(None);
        file.write_at(95, &[&[1; 100]]).unwrap();
    }
}
