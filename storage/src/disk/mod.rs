//! The product's only file path. Everything durable goes through [`Disk`], so that the crash store can stand in for it and
//! no sync is forgotten unseen. Synchronous: callers are threads that may block.
//!
//! What is durable when: file data after `sync_data`/`sync_all` of the file, names (create, rename, remove) after `sync_dir`
//! of their folder. Until then a power cut may keep all, part or nothing of it. After a failed sync nothing is known about
//! what was written before it, and a later sync that succeeds proves nothing (the kernel forgets the failed pages): write
//! it again, to another file.
mod crash;
mod os;
mod publish;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

pub use crash::CrashDisk;
pub use os::OsDisk;
pub use publish::{PublishError, publish};

/// A data folder. Paths are relative to it, with `/` between names.
pub trait Disk: Send + Sync + 'static {
    /// A new, empty file, open for reading and writing; fails if it exists.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, open for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces `to` if it exists. Both are in the same folder, so that one `sync_dir` makes it durable.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Names in a folder, in no order.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Durable when it returns.
    fn create_dir_all(&self, path: &str) -> io::Result<()>;
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    fn exists(&self, path: &str) -> bool;
    /// Space that this process can still use, bytes.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Lets another process, or this one again, open the folder. The caller knows that nothing is written to it any more,
    /// whoever still holds this value.
    fn release(&self) {}
}

/// An open file. Positions and lengths in bytes.
pub trait DiskFile: Send + Sync {
    /// Writes all buffers, one after the other, from `position` on. After an error any part of them may be written.
    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()>;
    /// Fills the buffer, or fails with `UnexpectedEof`.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// So many bytes from `position` on, in a buffer of their own, or `UnexpectedEof`.
    fn read_vec(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        self.read_at(position, &mut buffer)?;
        Ok(buffer)
    }
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space up to `len`, which becomes the file's length unless it is longer; fails now rather than at a later
    /// write.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Data, and what is needed to read it back (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    fn sync_all(&self) -> io::Result<()>;
}

/// The folder part of a path, empty for the data folder itself.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
