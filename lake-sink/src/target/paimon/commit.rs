//! One commit of the table: manifests, lists, the snapshot, the tag; and what is done behind it.
//!
//! Manifests of ours are merged as logs are: so many of a size become one of the next size, so an entry is written again a few
//! times in all, however many commits follow. Manifests keep their order, because a file is taken out behind where it was added.
use apache_avro::types::Value as Avro;
use serde_json::Value;
use uuid::Uuid;

use super::live::folded;
use super::manifest::ManifestMeta;
use super::snapshot::{self, Intent, NewSnapshot};
use super::{EARLIEST, INTENT, LATEST, PaimonTarget, Table, expire, snapshot_path, sweep};
use crate::commit::CommitRecord;
use crate::store::StoreError;
use crate::target::{Target, TargetError};

/// So many manifests of a size become one.
pub const MERGE_COUNT: usize = 10;
/// Larger ones stay as they are.
const MERGED_BYTES_MAX: i64 = 4 << 20;

/// What a commit does to the table.
pub struct Change {
    /// Files that are added and taken out.
    pub entries: Vec<Avro>,
    /// Rows in them: of those that are added, less those that are taken out.
    pub rows: i64,
    /// As Paimon calls it.
    pub kind: &'static str,
}

/// Which size a manifest is of: 0 below [`MERGE_COUNT`] entries, and so on.
fn size_of(manifest: &ManifestMeta) -> u32 {
    u64::try_from(manifest.added + manifest.deleted).unwrap_or(0).max(1).ilog(MERGE_COUNT as u64)
}

/// Which manifests become one: those from here to the end; `None`: nothing to do.
fn to_merge(manifests: &[ManifestMeta]) -> Option<usize> {
    let small = |m: &&ManifestMeta| sweep::is_our_manifest(&m.name) && m.size <= MERGED_BYTES_MAX;
    let mergeable = manifests.iter().rev().take_while(small).count();
    let tail = &manifests[manifests.len() - mergeable..];
    let largest = tail.iter().map(size_of).max()?;
    (0..=largest).find_map(|size| {
        let run = tail.iter().rev().take_while(|m| size_of(m) <= size).count();
        let of_size = tail[tail.len() - run..].iter().filter(|m| size_of(m) == size).count();
        (of_size >= MERGE_COUNT).then(|| manifests.len() - run)
    })
}

impl PaimonTarget {
    /// Commits a change on top of the table as it was loaded or committed last.
    pub(super) async fn commit(
        &mut self,
        next: &CommitRecord,
        schema_id: i64,
        change: Change,
    ) -> Result<(), TargetError> {
        let parent = self.table.clone();
        if let Some(parent) = &parent {
            self.expect_unchanged(parent).await?;
        }
        let id = parent.as_ref().map_or(0, |parent| parent.id).checked_add(1);
        let id = id.ok_or_else(|| self.damaged("snapshot", "its numbers are used up"))?;
        let added = self.put_entries(&change.entries, schema_id).await?;
        let before = parent.as_ref().map(|parent| parent.manifests.as_slice()).unwrap_or_default();
        let mut manifests = self.merged(before, schema_id).await?;
        let base = self.put("manifest-list", self.writer.list(&manifests)).await?;
        let delta = self.put("manifest-list", self.writer.list(&added)).await?;
        manifests.extend(added);
        let new = NewSnapshot { id, schema_id, base, delta, rows: change.rows, kind: change.kind, record: next };
        let snapshot = snapshot::new_snapshot(&new, parent.as_ref().map(|parent| &parent.snapshot));
        let intent = serde_json::to_vec(&Intent { snapshot: id, commit: next.commit });
        let intent = intent.map_err(|error| StoreError::failed("encoding", INTENT, error))?;
        self.store.replace(INTENT, intent.into()).await?;
        self.create_snapshot(id, parent.as_ref().map(|parent| parent.id), &snapshot).await?;
        self.set_hint(LATEST, id).await;
        if parent.is_none() {
            self.set_hint(EARLIEST, id).await;
        }
        // Whoever came next may have been faster.
        self.move_tag(&snapshot, |tagged| tagged.epoch >= next.epoch).await?;
        self.table = Some(Table { id, snapshot, manifests });
        self.follow_live(&change.entries);
        if self.key.is_some() {
            // The next round's sequence numbers go on behind them.
            self.know_live().await?;
        }
        if let Err(error) = expire::expire(self, id, next.committed_at_ms).await {
            tracing::warn!(table = self.address(), %error, "old snapshots are kept for now");
        }
        Ok(())
    }

    /// The manifest of these entries; none of none.
    async fn put_entries(&self, entries: &[Avro], schema_id: i64) -> Result<Vec<ManifestMeta>, TargetError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let partitions = self.writer.partition_stats(entries).record();
        let (name, size) = self.put("manifest", self.writer.manifest(entries.to_vec())).await?;
        let (added, deleted) = counts(entries);
        Ok(vec![ManifestMeta { name, size: size as i64, added, deleted, schema_id, partitions }])
    }

    /// One manifest instead of the last ones, if there are many of a size.
    async fn merged(&self, manifests: &[ManifestMeta], schema_id: i64) -> Result<Vec<ManifestMeta>, TargetError> {
        let Some(from) = to_merge(manifests) else { return Ok(manifests.to_vec()) };
        let (before, tail) = manifests.split_at(from);
        let Some(stats) = self.writer.merged_stats(tail.iter()) else { return Ok(manifests.to_vec()) };
        let mut entries = Vec::new();
        for manifest in tail {
            let bytes = self.read_manifest(&manifest.name).await?;
            let own = self.writer.own_entries(&bytes);
            entries.extend(own.map_err(|error| self.damaged(&format!("manifest/{}", manifest.name), error))?);
        }
        let entries = folded(entries);
        let (added, deleted) = counts(&entries);
        let (name, size) = self.put("manifest", self.writer.manifest(entries)).await?;
        let size = size as i64;
        let merged = ManifestMeta { name, size, added, deleted, schema_id, partitions: stats.record() };
        Ok(before.iter().cloned().chain([merged]).collect())
    }

    /// Writes a manifest or list under a name of ours; returns its name and size.
    pub(super) async fn put(
        &self,
        kind: &str,
        bytes: Result<Vec<u8>, apache_avro::Error>,
    ) -> Result<(String, u64), TargetError> {
        let name = format!("{kind}-weir-{}-0", Uuid::new_v4());
        let path = format!("manifest/{name}");
        let bytes = bytes.map_err(|error| StoreError::failed("encoding", &path, error))?;
        let size = bytes.len() as u64;
        self.store.create(&path, bytes.into()).await?;
        Ok((name, size))
    }

    /// An engine that does not create snapshots only if they are absent may have put its own in place of the parent.
    async fn expect_unchanged(&self, parent: &Table) -> Result<(), TargetError> {
        let path = snapshot_path(parent.id);
        match self.read_json(&path).await? {
            Some(found) if found == parent.snapshot => Ok(()),
            Some(_) => Err(StoreError::failed("commit", &path, "somebody replaced this snapshot").into()),
            None => Err(StoreError::failed("commit", &path, "somebody expired this snapshot").into()),
        }
    }

    /// Creates the snapshot, and takes it back if its number was free only because it had expired.
    async fn create_snapshot(&self, id: i64, parent: Option<i64>, snapshot: &Value) -> Result<(), TargetError> {
        let path = snapshot_path(id);
        let bytes =
            serde_json::to_vec_pretty(snapshot).map_err(|error| StoreError::failed("encoding", &path, error))?;
        self.store.create(&path, bytes.into()).await?;
        let there = self.snapshots().await?;
        if there.last().is_none_or(|newest| *newest <= id) {
            return Ok(());
        }
        // Newer ones were made on top of it, unless what is before it is gone.
        let expired = self.hint(EARLIEST).await?.is_some_and(|earliest| earliest > id);
        if expired || parent.is_some_and(|parent| !there.contains(&parent)) {
            self.store.delete(&path).await?;
            return Err(StoreError::Exists { path: self.store.address(&path) }.into());
        }
        Ok(())
    }
}

/// Files that entries add and take out.
fn counts(entries: &[Avro]) -> (i64, i64) {
    let deleted = entries.iter().filter(|entry| crate::target::avro::number(entry, "_KIND") == Some(1)).count();
    ((entries.len() - deleted) as i64, deleted as i64)
}
