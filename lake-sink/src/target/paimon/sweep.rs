//! Removes files of ours that no snapshot and no tag names: what crashes and lost races left.
use std::collections::HashSet;

use super::{PaimonTarget, expire, id_of, snapshot, snapshot_path};
use crate::store::TEMPORARY_SUFFIX;
use crate::target::TargetError;

/// Whether a file has a name that we give. Files of others are never touched.
pub fn is_ours(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let bucket = folder.rsplit('/').next().and_then(|folder| folder.strip_prefix("bucket-"));
    let bucket = bucket.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    (bucket && name.starts_with("data-weir-") && name.ends_with(".parquet"))
        || (folder == "manifest" && (is_our_manifest(name) || name.starts_with("manifest-list-weir-")))
        || (name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX))
}

/// Whether a manifest has a name that we give.
pub fn is_our_manifest(name: &str) -> bool {
    name.starts_with("manifest-weir-")
}

/// See [`crate::target::Target::sweep`]. Reads every manifest that a snapshot or tag names, so it is not for every round.
pub async fn sweep(target: &PaimonTarget, before_ms: i64) -> Result<usize, TargetError> {
    // Listed first: what is committed afterwards is either not listed or named by what is read afterwards.
    let entries = target.store.list("").await?;
    let earliest = expire::earliest(target).await?;
    let mut named = Named { names: HashSet::new(), read: HashSet::new() };
    for id in target.snapshots().await?.into_iter().filter(|id| Some(*id) >= earliest) {
        // Expired meanwhile, with what only it names.
        let Some(snapshot) = target.read_json(&snapshot_path(id)).await? else { continue };
        named.add(target, &snapshot).await?;
    }
    for snapshot in expire::tagged(target).await? {
        named.add(target, &snapshot).await?;
    }
    // Branches have snapshots of their own, of the same data files and manifests.
    let branches = entries.iter().any(|entry| entry.path.starts_with("branch/"));
    let mut swept = 0;
    for entry in entries.into_iter().filter(|entry| entry.modified_ms < before_ms) {
        let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
        let temporary = name.ends_with(TEMPORARY_SUFFIX);
        let orphan = is_ours(&entry.path) && !named.names.contains(name) && (temporary || !branches);
        if orphan || is_stranded(target, &entry.path, earliest).await? {
            target.store.delete(&entry.path).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// A snapshot of ours under a number that had expired, whose writer died before it took it back.
async fn is_stranded(target: &PaimonTarget, path: &str, earliest: Option<i64>) -> Result<bool, TargetError> {
    match id_of(path, "snapshot/snapshot-") {
        Some(id) if earliest.is_some_and(|earliest| id < earliest) => {
            Ok(target.read_json(path).await?.is_some_and(|snapshot| snapshot["commitUser"] == snapshot::USER))
        }
        _ => Ok(false),
    }
}

struct Named {
    /// Of lists, manifests and data files.
    names: HashSet<String>,
    /// Lists and manifests that were read.
    read: HashSet<String>,
}

impl Named {
    async fn add(&mut self, target: &PaimonTarget, snapshot: &serde_json::Value) -> Result<(), TargetError> {
        for list in snapshot::lists(snapshot) {
            self.names.insert(list.to_owned());
            if !self.read.insert(list.to_owned()) {
                continue;
            }
            for manifest in target.read_list(list).await? {
                if !self.read.insert(manifest.name.clone()) {
                    continue;
                }
                let bytes = target.read_manifest(&manifest.name).await?;
                let files = target.writer.named_files(&bytes);
                let files = files.map_err(|error| target.damaged(&format!("manifest/{}", manifest.name), error))?;
                self.names.extend(files.into_iter().map(|file| file.name));
                self.names.insert(manifest.name);
            }
        }
        Ok(())
    }
}
