//! The real file system.
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, folder_of};

/// The kernel's limit of buffers in one vectored write.
const IOV_MAX: usize = 1024;

/// A folder of the file system, locked while this value lives and is not released.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
    /// Holds the lock on the folder until it is released.
    lock: Mutex<Option<File>>,
}

impl OsDisk {
    /// Makes the folder if needed and takes its lock; fails with `WouldBlock` while another process has it.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<OsDisk> {
        let root = root.into();
        if !root.is_dir() {
            std::fs::create_dir_all(&root)?;
            let absolute = std::path::absolute(&root)?;
            if let Some(parent) = absolute.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(OsDisk { root, lock: Mutex::new(Some(lock)) })
    }

    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for OsDisk {
    fn release(&self) {
        drop(self.lock.lock().take());
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(path))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(OpenOptions::new().read(true).write(true).open(self.path(path))?)))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(File::open(self.path(path))?)))
    }

    #[allow(clippy::disallowed_methods)] // this is the one place; callers sync the folder
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir))? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path(path))?;
        // The names must survive, up to the root; also those that a process made which died before it came here.
        let mut dir = path.trim_matches('/');
        while !dir.is_empty() {
            dir = folder_of(dir);
            self.sync_dir(dir)?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn write_at(&self, mut position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = buffers.iter().filter(|b| !b.is_empty()).map(|b| IoSlice::new(b)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let count = rest.len().min(IOV_MAX);
            match rustix::io::pwritev(&self.0, &rest[..count], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, position)
    }

    /// Reads into memory that nobody wrote zeros to before.
    fn read_vec(&self, mut position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            // The capacity may be larger than was asked for.
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(&mut buffer), position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => position += read as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(length);
        Ok(buffer)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
                Err(rustix::io::Errno::INTR) => {}
                // Some file systems cannot reserve; then a full disk is met at the write.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    return if self.len()? < len { self.set_len(len) } else { Ok(()) };
                }
                other => return Ok(other?),
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
