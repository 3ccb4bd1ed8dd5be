//! `weir backup` and `weir restore`: everything that is not records. Topics and their settings, tables, schemas, users, access
//! control lists, quotas, settings at run time. Committed offsets and transactions are records of internal topics, and stay with
//! the data folder.
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use weir_storage::disk::OsDisk;
use weir_storage::meta::{MetaError, MetadataBackup};

use crate::broker::INCARNATION_KEY;
use crate::config::{LoadError, ServeArgs};
use crate::producer_ids;

/// Folder of the metadata's cache, which is made again from the log.
const CACHE: &str = "meta/sled";
/// A backup does not know what was given out after it was made: epochs and producer ids go on this far behind its own.
const EPOCHS_SKIPPED: i32 = 1_000;
const PRODUCER_IDS_SKIPPED: i64 = 1_000_000;

/// Flags of `weir backup`.
#[derive(Debug, Clone, clap::Args)]
pub struct BackupArgs {
    /// File to write; it holds the keys of users, so only its owner may read it
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Flags of `weir restore`.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// File that `weir backup` wrote
    file: PathBuf,
    /// Put it in the place of metadata that the data folder has; that is kept beside it
    #[arg(long)]
    replace: bool,
    /// Only say what the backup has
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Why there is no backup, or why it is not restored.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot read {path}: {source}. {fix}")]
    Read { path: String, source: io::Error, fix: &'static str },
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error("{path} exists; name another file, or write --force to replace it")]
    Exists { path: String },
    #[error("{path} is no metadata, or is damaged: {detail}. {fix}")]
    Damaged { path: String, detail: String, fix: &'static str },
    #[error("a broker uses {path}. Stop it: a restore needs the data folder for itself")]
    InUse { path: String },
    #[error(
        "data folder {path} cannot be opened: {source}. Give this user the right to write there, or name another one with --data-dir"
    )]
    Folder { path: String, source: io::Error },
    #[error(
        "{path} has metadata already, with {topics} topics; restore into an empty folder, or write --replace to put the backup in its place"
    )]
    HasMetadata { path: String, topics: usize },
}

fn summary(backup: &MetadataBackup) -> String {
    let kinds = [
        ("topics", "topic/"),
        ("tables", "table/"),
        ("registry entries", "registry/"),
        ("users", "scram/"),
        ("access control lists", "acl/"),
        ("quotas", "quota/"),
    ];
    let counts = kinds.map(|(kind, prefix)| format!("{kind}: {}", backup.count(prefix)));
    format!("revision: {}, {}", backup.revision, counts.join(", "))
}

fn read(path: &Path, fix: &'static str) -> Result<MetadataBackup, BackupError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| BackupError::Read { path: shown.clone(), source, fix })?;
    MetadataBackup::read(&bytes).map_err(|error| {
        let detail = match error {
            // Its advice is for the log of a broker, and names that.
            MetaError::Damaged { position, detail, .. } => format!("at byte {position}: {detail}"),
            other => other.to_string(),
        };
        BackupError::Damaged { path: shown, detail, fix }
    })
}

impl BackupArgs {
    /// Does it; the result is what to print. The broker may run: it goes on, and what it has made durable is in the backup.
    pub fn run(&self) -> Result<String, BackupError> {
        let data = PathBuf::from(self.serve.load()?.node.data_dir);
        let fix = "Name the broker's data folder with --data-dir, or its configuration with --config";
        let backup = read(&data.join(MetadataBackup::LOG), fix)?;
        let path = self.file.display().to_string();
        if self.file.exists() && !self.force {
            return Err(BackupError::Exists { path });
        }
        write_private(&self.file, &backup.encode())
            .map_err(|source| BackupError::Write { path: path.clone(), source })?;
        Ok(format!("wrote {path}\n{}\n", summary(&backup)))
    }
}

/// Whole and durable under its name, or not there.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    #[allow(clippy::disallowed_methods)] // not in a data folder; synced before and after
    std::fs::rename(&temporary, path)?;
    let folder = std::path::absolute(path)?;
    folder.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

impl RestoreArgs {
    /// Does it; the result is what to print. No broker may use the folder.
    pub fn run(&self) -> Result<String, BackupError> {
        let mut backup = read(&self.file, "Name a file that `weir backup` wrote")?;
        let told = summary(&backup);
        if self.dry_run {
            return Ok(format!("{told}\nnothing was changed\n"));
        }
        let data = PathBuf::from(self.serve.load()?.node.data_dir);
        let shown = data.display().to_string();
        let disk = OsDisk::open(&data).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => BackupError::InUse { path: shown.clone() },
            _ => BackupError::Folder { path: shown.clone(), source },
        })?;
        let log = data.join(MetadataBackup::LOG);
        let failed = |source| BackupError::Write { path: log.display().to_string(), source };
        let mut kept = String::new();
        let mut newer = MetadataBackup::default();
        if log.exists() && std::fs::metadata(&log).is_ok_and(|file| file.len() > 0) {
            // What does not verify any more is a reason to restore, and has no counters.
            newer = read(&log, "Check the rights on the data folder").unwrap_or_default();
            if !self.replace {
                return Err(BackupError::HasMetadata { path: shown, topics: newer.count("topic/") });
            }
            let old = keep(&log).map_err(failed)?;
            kept = format!("what was there is kept as {}\n", old.display());
        }
        go_on_behind(&mut backup, &newer);
        backup.restore(&disk).map_err(failed)?;
        match std::fs::remove_dir_all(data.join(CACHE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(format!(
            "restored {told}\n{kept}Start the broker. Data of topics that the backup does not know is kept and not served.\n"
        ))
    }
}

/// Copies the log to a name of its own beside it.
fn keep(log: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let old = log.with_file_name(format!("meta.log.before-restore-{seconds}"));
    write_private(&old, &std::fs::read(log)?)?;
    Ok(old)
}

/// Epochs and producer ids that were given out after the backup are not given out again.
fn go_on_behind(backup: &mut MetadataBackup, newer: &MetadataBackup) {
    let number = |of: &MetadataBackup, key: &[u8]| of.rows.get(key).map(|row| row.value.clone()).unwrap_or_default();
    let epoch = |of| <[u8; 4]>::try_from(number(of, INCARNATION_KEY).as_slice()).map_or(0, i32::from_le_bytes);
    let id = |of| <[u8; 8]>::try_from(number(of, producer_ids::KEY).as_slice()).map_or(0, i64::from_le_bytes);
    let (epoch, id) = (epoch(backup).max(epoch(newer)), id(backup).max(id(newer)));
    backup.put(INCARNATION_KEY, epoch.saturating_add(EPOCHS_SKIPPED).to_le_bytes().to_vec());
    backup.put(producer_ids::KEY, id.saturating_add(PRODUCER_IDS_SKIPPED).to_le_bytes().to_vec());
    backup.revision = backup.revision.max(newer.revision + 1);
}
