//! A local folder. What is written is synced: the file, then the names that lead to it.
//!
//! A file is written under a temporary name and gets its own by a hard link, which fails if the name is taken; so a crash
//! leaves the whole file or a temporary one, which the sweep removes.
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{Entry, LakeStore, StoreError, TEMPORARY_SUFFIX};

/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 32;

/// Files below a local folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Arc<PathBuf>,
}

impl LocalStore {
    /// The folder is made with the first file.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> LocalStore {
        LocalStore { root: Arc::new(root.into()) }
    }

    async fn run<R: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        work: impl FnOnce(&Path) -> io::Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        let full = if path.is_empty() { self.root.to_path_buf() } else { self.root.join(path) };
        let name = full.display().to_string();
        let done = tokio::task::spawn_blocking(move || work(&full)).await;
        match done {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) if error.kind() == ErrorKind::AlreadyExists => Err(StoreError::Exists { path: name }),
            Ok(Err(error)) => Err(StoreError::failed(action, &name, error)),
            Err(error) => Err(StoreError::failed(action, &name, error)),
        }
    }
}

#[async_trait]
impl LakeStore for LocalStore {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.run("creation", path, move |path| create(path, &bytes)).await
    }

    async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.run("replacement", path, move |path| replace(path, &bytes)).await
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        self.run("read", path, move |path| read(path, max_bytes)).await
    }

    async fn read_end(&self, path: &str, bytes: u64) -> Result<Option<(u64, Bytes)>, StoreError> {
        let end = move |path: &Path| {
            let Some(file) = open(path)? else { return Ok(None) };
            let len = file.metadata()?.len();
            Ok(Some((len, part(file, len.saturating_sub(bytes)..len)?)))
        };
        self.run("read", path, end).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let read = move |path: &Path| match open(path)? {
            Some(file) => part(file, range).map(Some),
            None => Ok(None),
        };
        self.run("read", path, read).await
    }

    async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        self.run("look", path, |path| path.try_exists()).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let root = self.root.clone();
        let listed = move |folder: &Path| {
            let mut found = Vec::new();
            list(&root, folder, 0, &mut found)?;
            Ok(found)
        };
        self.run("listing", folder, listed).await
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.run("deletion", path, |path| ignore_missing(fs::remove_file(path))).await
    }

    fn address(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a file needs a folder"))
}

/// Writes and syncs a file under a name that nobody has; returns it.
fn temporary(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = parent(path)?;
    create_folders(folder)?;
    // A point in front and a suffix of our own: no reader takes it for a file of the table.
    let temporary = folder.join(format!(".{}{TEMPORARY_SUFFIX}", Uuid::new_v4()));
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary); // what is left is swept
        return Err(error);
    }
    Ok(temporary)
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.try_exists()? {
        // Whoever made it may have died before its name was durable, and the caller goes on as if it were.
        sync_folder(parent(path)?)?;
        return Err(ErrorKind::AlreadyExists.into());
    }
    let temporary = temporary(path, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary); // what is left is swept
    sync_folder(parent(path)?)?;
    linked
}

#[expect(clippy::disallowed_methods, reason = "the folder is synced right behind it")]
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path, bytes)?;
    fs::rename(&temporary, path)?;
    sync_folder(parent(path)?)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes missing folders, each durable before anything is in it.
fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = parent(folder)?;
    create_folders(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        other => other?,
    }
    sync_folder(above)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn part(mut file: File, range: Range<u64>) -> io::Result<Bytes> {
    let wanted = range.end.saturating_sub(range.start);
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == wanted {
        true => Ok(bytes.into()),
        false => Err(io::Error::new(ErrorKind::UnexpectedEof, format!("it ends before byte {}", range.end))),
    }
}

fn read(path: &Path, max_bytes: u64) -> io::Result<Option<Bytes>> {
    let Some(file) = open(path)? else { return Ok(None) };
    if file.metadata()?.len() > max_bytes {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {max_bytes} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes.into()))
}

fn list(root: &Path, folder: &Path, depth: usize, found: &mut Vec<Entry>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        // A file may go while it is listed.
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let path = entry.path();
        if metadata.is_dir() && depth < DEPTH_MAX {
            list(root, &path, depth + 1, found)?;
        } else if metadata.is_file() {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
            found.push(Entry { path: relative, bytes: metadata.len(), modified_ms: modified });
        }
    }
    Ok(())
}
