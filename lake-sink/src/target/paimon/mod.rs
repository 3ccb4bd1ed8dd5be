//! Paimon append tables in a catalog of files: `<namespace>.db/<topic>/` with schema files, snapshots that are created if they are
//! absent, manifests, and data files in `bucket-0` of each partition.
//!
//! The commit is a property of the snapshot. Other engines may compact the table and expire snapshots, ours too, so a tag moves with
//! every commit and keeps the newest one; and before a snapshot is made its number is written down, so that nobody takes the
//! tag for the newest commit when a crash came before it moved. Snapshots of others leave our commit in force: their newest is
//! what ours is made on top of.
//!
//! Manifests of ours are merged and snapshots expire as the table grows, so a commit costs about the same for ever.
mod binary_row;
mod expire;
mod load;
mod manifest;
mod records;
mod schema;
mod snapshot;
mod stats;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use self::manifest::{ManifestMeta, ManifestWriter};
use self::schema::SchemaError;
use self::snapshot::{Intent, NewSnapshot};
use super::{FilesError, Pause, RoundFile, TableFile, Target, TargetError, write_all};
use crate::commit::CommitRecord;
use crate::encode::EncodedFile;
use crate::partitioning::PartitionSpec;
use crate::plan::Range;
use crate::store::{LakeStore, StoreError};

const LATEST: &str = "snapshot/LATEST";
const EARLIEST: &str = "snapshot/EARLIEST";
/// Names the newest snapshot that has our offsets; engines that expire snapshots keep what tags name.
const TAG: &str = "tag/tag-weir-offsets";
/// See [`Intent`].
const INTENT: &str = "_weir/next.json";
/// A commit of a topic with the most partitions has about 1 MiB.
const JSON_BYTES_MAX: u64 = 64 << 20;
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const HINT_BYTES_MAX: u64 = 1024;
/// So many manifests below [`MERGED_BYTES_MAX`] become one.
const MERGE_COUNT: usize = 30;
const MERGED_BYTES_MAX: i64 = 4 << 20;
/// Snapshots that are looked at for our newest commit.
const WALK_MAX: usize = 10_000;

/// An append-only Paimon table.
pub struct PaimonTarget {
    store: Arc<dyn LakeStore>,
    file_schema: SchemaRef,
    fields: Value,
    spec: PartitionSpec,
    writer: ManifestWriter,
    /// The newest snapshot, as it was loaded or published last.
    table: Option<Table>,
    /// The newest schema file, as far as it is known.
    schema: Option<Value>,
}

/// A table as of its newest snapshot.
#[derive(Clone)]
struct Table {
    id: i64,
    snapshot: Value,
    manifests: Vec<ManifestMeta>,
}

impl PaimonTarget {
    /// `store`: the table's folder.
    ///
    /// # Errors
    /// [`Pause::Schema`], if the columns cannot be a Paimon table.
    pub fn new(store: Arc<dyn LakeStore>, schema: SchemaRef, spec: PartitionSpec) -> Result<PaimonTarget, Pause> {
        let refused = |error: SchemaError| Pause::Schema { reason: error.to_string() };
        let file_schema = schema::file_schema(&schema, &spec).map_err(refused)?;
        let fields = schema::fields(&file_schema).map_err(refused)?;
        let writer = ManifestWriter::new(&spec, &schema, &file_schema);
        let writer = writer.map_err(|error| Pause::Schema { reason: error.to_string() })?;
        Ok(PaimonTarget { store, file_schema, fields, spec, writer, table: None, schema: None })
    }

    /// The path in the table's folder of a file with this address.
    fn relative(&self, address: &str) -> Option<String> {
        let plain = |text: &str| text.strip_prefix("file://").or(text.strip_prefix("file:")).unwrap_or(text).to_owned();
        let root = plain(&self.store.address(""));
        let path = plain(address).strip_prefix(root.trim_end_matches('/'))?.trim_start_matches('/').to_owned();
        Some(path).filter(|path| !path.split('/').any(|name| name == ".."))
    }

    fn damaged(&self, path: &str, reason: impl ToString) -> TargetError {
        Pause::Damaged { address: self.store.address(path), reason: reason.to_string() }.into()
    }

    /// Lets the tag name this snapshot, unless `stays` says otherwise of the commit that it names.
    async fn move_tag(
        &self,
        snapshot: &Value,
        stays: impl Fn(&CommitRecord) -> bool + Send,
    ) -> Result<(), TargetError> {
        let tag = self.read_json(TAG).await.ok().flatten();
        let tagged = tag.and_then(|tag| snapshot::record_of(&tag).ok().flatten());
        if tagged.is_some_and(|tagged| stays(&tagged)) {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(snapshot).map_err(|error| StoreError::failed("encoding", TAG, error))?;
        Ok(self.store.replace(TAG, bytes.into()).await?)
    }

    /// The id of the schema file with the topic's columns; it is made if there is none.
    async fn ensure_schema(&mut self, next: &CommitRecord) -> Result<i64, TargetError> {
        let refused = |error: SchemaError| Pause::Schema { reason: error.to_string() };
        let now = next.committed_at_ms;
        let schema = match self.newest_schema().await? {
            None => schema::new_schema(self.fields.clone(), &self.spec, next.topic_id, now),
            Some(current) => {
                if let Some(found) = schema::topic_of(&current).filter(|found| *found != next.topic_id) {
                    return Err(Pause::OtherTopic { address: self.address(), found, ours: next.topic_id }.into());
                }
                match schema::evolved(&current, &self.fields, &self.spec, now).map_err(refused)? {
                    None => return Ok(current["id"].as_i64().unwrap_or(0)),
                    Some(evolved) => evolved,
                }
            }
        };
        let id = schema["id"].as_i64().unwrap_or(0);
        let path = schema_path(id);
        let bytes = serde_json::to_vec_pretty(&schema).map_err(|error| StoreError::failed("encoding", &path, error))?;
        // Whoever was faster may have made another one of it: it is read again.
        self.schema = None;
        self.store.create(&path, bytes.into()).await?;
        self.schema = Some(schema);
        Ok(id)
    }

    /// Writes a manifest or list under a name of ours; returns its name and size.
    async fn put(&self, kind: &str, bytes: Result<Vec<u8>, apache_avro::Error>) -> Result<(String, u64), TargetError> {
        let name = format!("{kind}-weir-{}-0", Uuid::new_v4());
        let path = format!("manifest/{name}");
        let bytes = bytes.map_err(|error| StoreError::failed("encoding", &path, error))?;
        let size = bytes.len() as u64;
        self.store.create(&path, bytes.into()).await?;
        Ok((name, size))
    }

    /// The manifest of these files.
    async fn put_added(
        &self,
        files: &[RoundFile],
        schema_id: i64,
        parent: Option<&Table>,
        now_ms: i64,
    ) -> Result<Vec<ManifestMeta>, TargetError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let rows = parent.and_then(|parent| parent.snapshot["totalRecordCount"].as_i64()).unwrap_or(0);
        let bytes = self.writer.added(files, schema_id, rows, now_ms, |path| self.store.address(path));
        let (name, size) = self.put("manifest", bytes).await?;
        let partitions = self.writer.partition_stats(files).record();
        let (size, added) = (size as i64, files.len() as i64);
        Ok(vec![ManifestMeta { name, size, added, deleted: 0, schema_id, partitions }])
    }

    /// One manifest instead of many small ones of ours, in front: what others take away comes behind what was added.
    async fn merged(&self, manifests: &[ManifestMeta], schema_id: i64) -> Result<Vec<ManifestMeta>, TargetError> {
        let small = |m: &&ManifestMeta| sweep::is_our_manifest(&m.name) && m.deleted == 0 && m.size <= MERGED_BYTES_MAX;
        let few = || manifests.to_vec();
        if manifests.iter().filter(small).count() < MERGE_COUNT {
            return Ok(few());
        }
        let Some(stats) = self.writer.merged_stats(manifests.iter().filter(small)) else { return Ok(few()) };
        let mut entries = Vec::new();
        for manifest in manifests.iter().filter(small) {
            let bytes = self.read_manifest(&manifest.name).await?;
            let own = self.writer.own_entries(&bytes);
            entries.extend(own.map_err(|error| self.damaged(&format!("manifest/{}", manifest.name), error))?);
        }
        let added = entries.len() as i64;
        let (name, size) = self.put("manifest", self.writer.again(entries)).await?;
        let size = size as i64;
        let merged = ManifestMeta { name, size, added, deleted: 0, schema_id, partitions: stats.record() };
        Ok(std::iter::once(merged).chain(manifests.iter().filter(|m| !small(m)).cloned()).collect())
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

fn snapshot_path(id: i64) -> String {
    format!("snapshot/snapshot-{id}")
}

fn schema_path(id: i64) -> String {
    format!("schema/schema-{id}")
}

/// The number behind a prefix, in the one way of writing it.
fn id_of(path: &str, prefix: &str) -> Option<i64> {
    let digits = path.strip_prefix(prefix)?;
    digits.parse().ok().filter(|id: &i64| *id >= 0 && id.to_string() == digits)
}

#[async_trait]
impl Target for PaimonTarget {
    async fn load(&mut self) -> Result<Option<CommitRecord>, TargetError> {
        let Some((record, ours)) = self.look().await? else { return Ok(None) };
        if let Some(newest) = self.table.as_ref().map(|table| table.id)
            && self.hint(LATEST).await? != Some(newest)
        {
            self.set_hint(LATEST, newest).await;
        }
        if let Some(ours) = ours {
            // A crash came before it moved, or somebody set the table back.
            self.move_tag(&ours, |tagged| tagged.commit == record.commit).await?;
        }
        Ok(Some(record))
    }

    async fn inspect(&mut self) -> Result<Option<CommitRecord>, TargetError> {
        Ok(self.look().await?.map(|(record, _)| record))
    }

    async fn files(&mut self) -> Result<Vec<TableFile>, FilesError> {
        let Some(table) = &self.table else { return Ok(Vec::new()) };
        if table.snapshot["indexManifest"].is_string() {
            return Err(FilesError::Deletions { address: self.address() });
        }
        let mut files = BTreeMap::new();
        for manifest in &table.manifests {
            let bytes = self.read_manifest(&manifest.name).await?;
            let path = format!("manifest/{}", manifest.name);
            let named = self.writer.named_files(&bytes).map_err(|error| self.damaged(&path, error))?;
            for file in named {
                // Names are used once.
                match file.deleted {
                    true => drop(files.remove(&file.name)),
                    false => {
                        let place = file.path.or_else(|| self.relative(&file.external?));
                        let place = place.ok_or_else(|| self.damaged(&path, "a data file of an unknown place"))?;
                        files.insert(file.name, place);
                    }
                }
            }
        }
        Ok(files.into_values().map(|path| TableFile { path, range: None }).collect())
    }

    async fn read_file(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        self.store.read(path, max_bytes).await
    }

    fn announces(&self) -> bool {
        false
    }

    fn file_schema(&self) -> &SchemaRef {
        &self.file_schema
    }

    fn path(&self, _range: Option<Range>, file: &EncodedFile) -> String {
        let (folder, _) = self.writer.folder(&file.values);
        format!("{folder}/data-weir-{}-0.parquet", Uuid::new_v4())
    }

    async fn write(&mut self, files: &[RoundFile]) -> Result<(), TargetError> {
        write_all(&self.store, files).await
    }

    async fn publish(&mut self, next: &CommitRecord, files: &[RoundFile]) -> Result<(), TargetError> {
        let schema_id = self.ensure_schema(next).await?;
        let parent = self.table.clone();
        if let Some(parent) = &parent {
            self.expect_unchanged(parent).await?;
        }
        let id = parent.as_ref().map_or(0, |parent| parent.id).checked_add(1);
        let id = id.ok_or_else(|| self.damaged("snapshot", "its numbers are used up"))?;
        let added = self.put_added(files, schema_id, parent.as_ref(), next.committed_at_ms).await?;
        let before = parent.as_ref().map(|parent| parent.manifests.as_slice()).unwrap_or_default();
        let mut manifests = self.merged(before, schema_id).await?;
        let base = self.put("manifest-list", self.writer.list(&manifests)).await?;
        let delta = self.put("manifest-list", self.writer.list(&added)).await?;
        manifests.extend(added);
        let rows = files.iter().map(|file| file.file.rows as i64).sum();
        let new = NewSnapshot { id, schema_id, base, delta, rows, record: next };
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
        if let Err(error) = expire::expire(self, id, next.committed_at_ms).await {
            tracing::warn!(table = self.address(), %error, "old snapshots are kept for now");
        }
        Ok(())
    }

    async fn sweep(&mut self, before_ms: i64) -> Result<usize, TargetError> {
        sweep::sweep(self, before_ms).await
    }

    fn address(&self) -> String {
        self.store.address("")
    }
}
