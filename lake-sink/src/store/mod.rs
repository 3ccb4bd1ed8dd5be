//! Where a table's files are: a local folder or an object store.
//!
//! A file is there under its name with all its bytes, durably, or not at all, and creating one that exists is refused: all
//! that the commits need. An outcome that is not known is told apart from a refusal.
mod local;
mod remote;
mod roots;
mod s3;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

pub use local::LocalStore;
pub use remote::RemoteStore;
pub use roots::{LakeRoots, RootsError};
pub use s3::{S3Address, S3Settings, S3Stores};

/// Names in a folder that are not part of a table: files that are being written.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub bytes: u64,
    /// Last change by the store's clock, milliseconds since 1970.
    pub modified_ms: i64,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    #[error("{path} exists")]
    Exists { path: String },
    /// Nothing was changed, or whether it was is not known: read again before anything is concluded.
    #[error("{action} of {path} failed: {reason}")]
    Failed { action: &'static str, path: String, reason: String },
    /// Two writers could both commit there.
    #[error(
        "the object store at {address} {how}: it must refuse to create an object that exists (`If-None-Match: *`), or two \
         writers could both commit; use a store that does, such as Amazon S3, or a folder"
    )]
    Unconditional { address: String, how: String },
}

impl StoreError {
    pub(crate) fn failed(action: &'static str, path: &str, reason: impl ToString) -> StoreError {
        StoreError::Failed { action, path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A folder of files. Paths are relative to it, with `/` between names.
#[async_trait]
pub trait LakeStore: Send + Sync + 'static {
    /// A new file; durable and whole when it returns. [`StoreError::Exists`] if there is one.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;

    /// A new file, or another content of an existing one; readers see one or the other.
    async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;

    /// The bytes of a file of at most `max_bytes`; `None` if there is none.
    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError>;

    /// The length of a file and its last bytes, at most so many; `None` if there is no such file.
    async fn read_end(&self, path: &str, bytes: u64) -> Result<Option<(u64, Bytes)>, StoreError> {
        let Some(whole) = self.read(path, u64::MAX).await? else { return Ok(None) };
        let kept = usize::try_from(bytes).unwrap_or(usize::MAX).min(whole.len());
        Ok(Some((whole.len() as u64, whole.slice(whole.len() - kept..))))
    }

    /// These bytes of a file, which must have them; `None` if there is no such file.
    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let Some(whole) = self.read(path, u64::MAX).await? else { return Ok(None) };
        let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        match within.filter(|(start, end)| start <= end && *end <= whole.len()) {
            Some((start, end)) => Ok(Some(whole.slice(start..end))),
            None => Err(StoreError::failed("read", path, format!("it has {} bytes only", whole.len()))),
        }
    }

    /// Whether there is such a file.
    async fn exists(&self, path: &str) -> Result<bool, StoreError>;

    /// All files below a folder, in no order; none if there is no such folder.
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError>;

    /// It is no error if there is none.
    async fn delete(&self, path: &str) -> Result<(), StoreError>;

    /// The address of a file for other programs.
    fn address(&self, path: &str) -> String;
}

/// Whether a warehouse can be opened, without opening it; the error says what is wrong.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    if let Some(address) = S3Address::parse(path) {
        return address.map(|_| ());
    }
    let local = path.strip_prefix("file://").unwrap_or(path);
    if let Some((scheme, _)) = local.split_once("://") {
        return Err(format!(
            "this build cannot write to `{scheme}://`; give an absolute folder, file:///folder or s3://bucket/path"
        ));
    }
    if !local.starts_with('/') {
        return Err("it must be absolute, such as /lake, file:///lake or s3://bucket/lake".to_owned());
    }
    if local.split('/').any(|name| name == ".." || name == ".") {
        return Err("it must not have `.` or `..` in it".to_owned());
    }
    Ok(())
}

/// The store of a warehouse and folder in it, which must be below `roots`.
///
/// # Errors
/// Says what is wrong with the path, if it cannot be used.
pub fn open(roots: &LakeRoots, path: &str, folder: &str) -> Result<Arc<dyn LakeStore>, String> {
    check_path(path)?;
    let root = path.strip_prefix("file://").unwrap_or(path).trim_end_matches('/');
    let table = format!("{root}/{folder}");
    // Of the table itself: a link may have come into the warehouse since the topic was configured.
    roots.check(&table).map_err(|error| error.to_string())?;
    if let Some(address) = S3Address::parse(&table) {
        let S3Address { bucket, prefix } = address?;
        let store = roots.s3().bucket(bucket)?;
        return Ok(Arc::new(RemoteStore::in_bucket(store, prefix, &format!("s3://{bucket}"))));
    }
    Ok(Arc::new(LocalStore::new(table)))
}
