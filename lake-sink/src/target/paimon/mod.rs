//! Paimon tables in a catalog of files: `<namespace>.db/<topic>/` with schema files, snapshots that are created if they are absent,
//! manifests, and data files: in `bucket-0` of each partition for rows that are appended, in as many buckets as there are for a
//! table with a primary key, which has the last row of each key (`key.rs`, `fold.rs`).
//!
//! The commit is a property of the snapshot. Other engines may compact the table and expire snapshots, ours too, so a tag moves with
//! every commit and keeps the newest one; and before a snapshot is made its number is written down, so that nobody takes the
//! tag for the newest commit when a crash came before it moved. Snapshots of others leave our commit in force: their newest is
//! what ours is made on top of.
//!
//! Manifests of ours are merged and snapshots expire as the table grows, so a commit costs about the same for ever.
mod binary_row;
mod commit;
mod compact;
mod expire;
mod fold;
mod key;
mod live;
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

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use weir_storage::cpu::CpuPool;

use self::commit::Change;
use self::key::KeyShape;
use self::live::Live;
use self::manifest::{ManifestMeta, ManifestWriter};
use self::schema::SchemaError;
use super::{CompactError, Compacted, FilesError, Pause, RoundFile, TableFile, Target, TargetError, write_all};
use crate::commit::CommitRecord;
use crate::encode::{EncodedFile, Folding};
use crate::partitioning::PartitionSpec;
use crate::plan::Range;
use crate::settings::KeySettings;
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
/// Snapshots that are looked at for our newest commit.
const WALK_MAX: usize = 10_000;

/// A Paimon table.
pub struct PaimonTarget {
    store: Arc<dyn LakeStore>,
    /// The table's columns.
    file_schema: SchemaRef,
    key: Option<Arc<KeyShape>>,
    fields: Value,
    spec: PartitionSpec,
    writer: ManifestWriter,
    /// The newest snapshot, as it was loaded or published last.
    table: Option<Table>,
    /// The newest schema file, as far as it is known.
    schema: Option<Value>,
    /// Files of `table`, read when they are needed.
    live: Option<Live>,
}

/// A table as of its newest snapshot.
#[derive(Clone)]
struct Table {
    id: i64,
    snapshot: Value,
    manifests: Vec<ManifestMeta>,
}

impl PaimonTarget {
    /// A table of appended rows. `store`: the table's folder.
    ///
    /// # Errors
    /// [`Pause::Schema`], if the columns cannot be a Paimon table.
    pub fn new(store: Arc<dyn LakeStore>, schema: SchemaRef, spec: PartitionSpec) -> Result<PaimonTarget, Pause> {
        PaimonTarget::open(store, schema, spec, None)
    }

    /// A table with this primary key, or of appended rows. With a key `schema` is that of [`crate::columns::keyed`].
    ///
    /// # Errors
    /// [`Pause::Schema`], if the columns cannot be such a table.
    pub fn open(
        store: Arc<dyn LakeStore>,
        schema: SchemaRef,
        spec: PartitionSpec,
        key: Option<&KeySettings>,
    ) -> Result<PaimonTarget, Pause> {
        let refused = |error: SchemaError| Pause::Schema { reason: error.to_string() };
        let columns = schema.fields().len() - usize::from(key.is_some());
        let schema: SchemaRef = Arc::new(Schema::new(schema.fields()[..columns].to_vec()));
        let file_schema = schema::file_schema(&schema, &spec, key.is_some()).map_err(refused)?;
        let key = key.map(|key| KeyShape::new(key, &file_schema, &spec)).transpose().map_err(refused)?.map(Arc::new);
        let fields = schema::fields(&file_schema).map_err(refused)?;
        let writer = ManifestWriter::new(&spec, &schema, &file_schema, key.clone());
        let writer = writer.map_err(|error| Pause::Schema { reason: error.to_string() })?;
        Ok(PaimonTarget { store, file_schema, key, fields, spec, writer, table: None, schema: None, live: None })
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
            None => schema::new_schema(self.fields.clone(), &self.spec, self.key.as_deref(), next.topic_id, now),
            Some(current) => {
                if let Some(found) = schema::topic_of(&current).filter(|found| *found != next.topic_id) {
                    return Err(Pause::OtherTopic { address: self.address(), found, ours: next.topic_id }.into());
                }
                match schema::evolved(&current, &self.fields, &self.spec, self.key.as_deref(), now).map_err(refused)? {
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
        if self.key.is_some() {
            self.know_live().await?;
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

    fn folding(&self) -> Option<Folding> {
        let shape = self.key.clone()?;
        // Numbers go on behind every file of the table, so they do in every bucket.
        let mut next = self.live.as_ref().and_then(Live::last_sequence).map_or(0, |last| last.saturating_add(1));
        Some(Box::new(move |values, batches| {
            let (files, behind) = fold::fold(&shape, values, &batches, next)?;
            next = behind;
            Ok(files)
        }))
    }

    fn path(&self, _range: Option<Range>, file: &EncodedFile) -> String {
        let (folder, _) = self.writer.folder(&file.values, file.keyed.as_ref().map_or(0, |keyed| keyed.bucket));
        format!("{folder}/data-weir-{}-0.parquet", Uuid::new_v4())
    }

    async fn write(&mut self, files: &[RoundFile]) -> Result<(), TargetError> {
        write_all(&self.store, files).await
    }

    async fn publish(&mut self, next: &CommitRecord, files: &[RoundFile]) -> Result<(), TargetError> {
        let schema_id = self.ensure_schema(next).await?;
        let rows_before =
            self.table.as_ref().and_then(|table| table.snapshot["totalRecordCount"].as_i64()).unwrap_or(0);
        let now = next.committed_at_ms;
        let entries = self.writer.added(files, schema_id, rows_before, now, |path| self.store.address(path));
        let rows = files.iter().map(|file| file.file.rows as i64).sum();
        self.commit(next, schema_id, Change { entries, rows, kind: "APPEND" }).await
    }

    async fn compact(&mut self, next: &CommitRecord, cpu: &CpuPool) -> Result<Option<Compacted>, CompactError> {
        compact::compact(self, next, cpu).await
    }

    async fn sweep(&mut self, before_ms: i64) -> Result<usize, TargetError> {
        sweep::sweep(self, before_ms).await
    }

    fn address(&self) -> String {
        self.store.address("")
    }
}
