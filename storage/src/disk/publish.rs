//! The one way to make a whole file appear: all of it or nothing, whatever happens.
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::{Disk, DiskFile, folder_of};

/// What is behind the name after a failed [`publish`].
#[derive(Debug, Error)]
pub enum PublishError {
    /// What was there before.
    #[error("cannot write {temporary}: {source}")]
    Write { temporary: String, source: io::Error },
    /// The old file or the new one: the rename or the sync of the folder failed.
    #[error("cannot give {path} its name: {source}")]
    Name { path: String, source: io::Error },
}

impl From<PublishError> for io::Error {
    fn from(error: PublishError) -> io::Error {
        match error {
            PublishError::Write { source, .. } | PublishError::Name { source, .. } => source,
        }
    }
}

/// Makes `path` with what `write` writes, replacing a file of that name: temporary name, sync, rename, sync of the folder.
/// Whole and durable when it returns. A crash may leave `PATH.tmp` behind; the next publication replaces it.
pub fn publish(
    disk: &dyn Disk,
    path: &str,
    write: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> Result<Arc<dyn DiskFile>, PublishError> {
    let temporary = format!("{path}.tmp");
    let prepare = || {
        if disk.exists(&temporary) {
            disk.remove(&temporary)?;
        }
        let file = disk.create(&temporary)?;
        write(&*file).and_then(|()| file.sync_all()).inspect_err(|_| {
            // Best effort: it takes space that may be short.
            let _ = disk.remove(&temporary);
        })?;
        Ok(file)
    };
    let file = prepare().map_err(|source| PublishError::Write { temporary: temporary.clone(), source })?;
    disk.rename(&temporary, path)
        .and_then(|()| disk.sync_dir(folder_of(path)))
        .map_err(|source| PublishError::Name { path: path.to_owned(), source })?;
    Ok(file)
}
