//! Expires snapshots, by the table's own options and as Paimon does it: what a consumer still has to read stays, what a tag names
//! stays, and data files go once a snapshot that took them out of the table is the oldest one.
use std::collections::HashSet;

use serde_json::Value;

use super::manifest::ManifestMeta;
use super::schema::Retention;
use super::{EARLIEST, PaimonTarget, snapshot, snapshot_path};
use crate::target::TargetError;

/// Snapshots that expire together, so that few commits do such work.
const BATCH: i64 = 10;
/// Batches after one commit.
const BATCHES_MAX: usize = 5;
/// Tags that are looked at; a table with more keeps its snapshots.
const TAGS_MAX: usize = 1_000;

/// Expires what may go, now that `newest` is the newest snapshot.
pub async fn expire(target: &PaimonTarget, newest: i64, now_ms: i64) -> Result<(), TargetError> {
    let Some(schema) = &target.schema else { return Ok(()) };
    let retention = Retention::of(schema);
    let Some(mut earliest) = earliest(target).await? else { return Ok(()) };
    for _ in 0..BATCHES_MAX {
        let end = earliest + BATCH;
        let left = newest - end + 1;
        if left < retention.min {
            return Ok(());
        }
        // As in Paimon, a snapshot goes when the one behind it is old enough.
        let kept = target.read_snapshot(end).await?;
        let age = now_ms - kept["timeMillis"].as_i64().unwrap_or(now_ms);
        let old = age > retention.age_ms || left >= retention.max;
        if !old || consumed_from(target).await?.is_some_and(|next| next < end) {
            return Ok(());
        }
        expire_until(target, earliest, end, &kept).await?;
        earliest = end;
    }
    Ok(())
}

/// The oldest snapshot's number.
pub async fn earliest(target: &PaimonTarget) -> Result<Option<i64>, TargetError> {
    match target.hint(EARLIEST).await? {
        Some(hint) if hint > 0 && target.store.exists(&snapshot_path(hint)).await? => Ok(Some(hint)),
        _ => Ok(target.snapshots().await?.first().copied()),
    }
}

/// The least snapshot that a consumer of another engine reads next.
async fn consumed_from(target: &PaimonTarget) -> Result<Option<i64>, TargetError> {
    let mut least = None;
    for entry in target.store.list("consumer").await? {
        let Some(consumer) = target.read_json(&entry.path).await? else { continue };
        // One that cannot be understood may read anything.
        let next = consumer["nextSnapshot"].as_i64().unwrap_or(0);
        least = Some(least.map_or(next, |least: i64| least.min(next)));
    }
    Ok(least)
}

/// Snapshots that tags name.
pub async fn tagged(target: &PaimonTarget) -> Result<Vec<Value>, TargetError> {
    let entries = target.store.list("tag").await?;
    let tags: Vec<_> = entries.iter().filter(|entry| entry.path.starts_with("tag/tag-")).collect();
    if tags.len() > TAGS_MAX {
        return Err(target.damaged("tag", format!("there are more than {TAGS_MAX} tags")));
    }
    let mut snapshots = Vec::new();
    for tag in tags {
        snapshots.extend(target.read_json(&tag.path).await?);
    }
    Ok(snapshots)
}

/// The manifests of a snapshot by its lists; a list that is gone was expired half by somebody.
async fn manifests_left(target: &PaimonTarget, snapshot: &Value) -> Result<Vec<ManifestMeta>, TargetError> {
    let mut manifests = Vec::new();
    for list in snapshot::lists(snapshot) {
        if target.store.exists(&format!("manifest/{list}")).await? {
            manifests.extend(target.read_list(list).await?);
        }
    }
    Ok(manifests)
}

/// Names of the lists and manifests of a snapshot.
async fn names_of(target: &PaimonTarget, snapshot: &Value, names: &mut HashSet<String>) -> Result<(), TargetError> {
    names.extend(snapshot::lists(snapshot).map(str::to_owned));
    names.extend(manifests_left(target, snapshot).await?.into_iter().map(|manifest| manifest.name));
    Ok(())
}

/// Removes the snapshots `from..end` and what only they name; `kept` is snapshot `end`.
async fn expire_until(target: &PaimonTarget, from: i64, end: i64, kept: &Value) -> Result<(), TargetError> {
    let (mut gone, mut used, mut snapshots) = (HashSet::new(), HashSet::new(), Vec::new());
    for id in from..end {
        // Somebody else expires too.
        if let Some(snapshot) = target.read_json(&snapshot_path(id)).await? {
            names_of(target, &snapshot, &mut gone).await?;
            snapshots.push(snapshot);
        }
    }
    let tags = tagged(target).await?;
    for snapshot in tags.iter().chain([kept]) {
        names_of(target, snapshot, &mut used).await?;
    }
    // First of all: a number below it that is free again is not one to commit under.
    target.store.replace(EARLIEST, end.to_string().into()).await?;
    // The first one took out what older snapshots had, which are gone already.
    let since = snapshots.iter().skip(1).chain([kept]);
    delete_removed(target, since, &tags).await?;
    for name in gone.difference(&used) {
        target.store.delete(&format!("manifest/{name}")).await?;
    }
    for id in from..end {
        target.store.delete(&snapshot_path(id)).await?;
    }
    Ok(())
}

/// Removes the data files that these snapshots, of which our appends take nothing out, took out of the table.
async fn delete_removed(
    target: &PaimonTarget,
    snapshots: impl Iterator<Item = &Value>,
    tags: &[Value],
) -> Result<(), TargetError> {
    let mut removed = Vec::new();
    let append = |snapshot: &Value| snapshot["commitUser"] == snapshot::USER && snapshot["commitKind"] == "APPEND";
    for snapshot in snapshots.filter(|snapshot| !append(snapshot)) {
        let Some(list) = snapshot["deltaManifestList"].as_str().filter(|name| snapshot::is_name(name)) else {
            continue;
        };
        if !target.store.exists(&format!("manifest/{list}")).await? {
            continue;
        }
        for manifest in target.read_list(list).await? {
            let bytes = target.read_manifest(&manifest.name).await?;
            let files = target.writer.named_files(&bytes);
            let files = files.map_err(|error| target.damaged(&format!("manifest/{}", manifest.name), error))?;
            removed.extend(files.into_iter().filter(|file| file.deleted));
        }
    }
    if removed.is_empty() {
        return Ok(());
    }
    let mut kept = HashSet::new();
    for tag in tags {
        for manifest in manifests_left(target, tag).await? {
            let bytes = target.read_manifest(&manifest.name).await?;
            let files = target.writer.named_files(&bytes);
            let files = files.map_err(|error| target.damaged(&format!("manifest/{}", manifest.name), error))?;
            for file in files {
                if file.deleted {
                    kept.remove(&file.name)
                } else {
                    kept.insert(file.name)
                };
            }
        }
    }
    for file in removed.into_iter().filter(|file| !kept.contains(&file.name)) {
        // What is not certainly in the table's folder is left.
        let path = file.path.or_else(|| target.relative(&file.external?));
        if let Some(path) = path.filter(|path| !path.split('/').any(|name| name == "..")) {
            target.store.delete(&path).await?;
        }
    }
    Ok(())
}
