//! Iceberg, format version 2. Which metadata of a table is the newest is the catalog's to say (`catalog/`): its own folder,
//! `<namespace>/<topic>/metadata/vN.metadata.json`, or a REST catalog.
//!
//! Append only. The commit is a table property, so it is there atomically with the snapshot, and stays when other engines
//! expire snapshots or compact files: they write a next version with all properties. Data files have names of their own; one
//! that no manifest names is not in the table, and is swept.
//!
//! Manifests are merged and snapshots expire as the table grows, so a commit costs about the same for ever.
pub mod catalog;
mod manifest;
mod metadata;
mod schema;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use self::catalog::{Catalog, FileCatalog, Version};
use self::manifest::{ManifestFile, ManifestWriter};
use self::metadata::NewSnapshot;
use super::{FilesError, Pause, RoundFile, TableFile, Target, TargetError, avro, check_partitioning, write_all};
use crate::commit::CommitRecord;
use crate::encode::EncodedFile;
use crate::partitioning::PartitionSpec;
use crate::plan::Range;
use crate::store::{LakeStore, StoreError};

const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// So many manifests below [`MERGED_BYTES_MAX`] become one.
const MERGE_COUNT: usize = 50;
const MERGED_BYTES_MAX: i64 = 4 << 20;
const METADATA_SUFFIX: &str = ".metadata.json";
/// More first commits that failed are not looked at.
const ATTEMPTS_LEFT_MAX: usize = 100;
/// The format version that is written; in others there is more to say of snapshots and files.
const FORMAT_VERSION: i64 = 2;

/// An append-only Iceberg table.
pub struct IcebergTarget {
    store: Arc<dyn LakeStore>,
    catalog: Box<dyn Catalog>,
    source_schema: SchemaRef,
    file_schema: SchemaRef,
    spec: PartitionSpec,
    /// The newest version, as it was loaded or published last.
    table: Option<Version>,
}

impl IcebergTarget {
    /// In a catalog of files. `store`: the table's folder.
    ///
    /// # Errors
    /// [`Pause::Schema`], if a column has no Iceberg type.
    pub fn new(store: Arc<dyn LakeStore>, schema: SchemaRef, spec: PartitionSpec) -> Result<IcebergTarget, Pause> {
        let catalog = Box::new(FileCatalog::new(store.clone()));
        IcebergTarget::in_catalog(store, catalog, schema, spec)
    }

    /// In this catalog. `store`: the table's folder.
    ///
    /// # Errors
    /// [`Pause::Schema`], if a column has no Iceberg type.
    pub fn in_catalog(
        store: Arc<dyn LakeStore>,
        catalog: Box<dyn Catalog>,
        schema: SchemaRef,
        spec: PartitionSpec,
    ) -> Result<IcebergTarget, Pause> {
        schema::to_json(&schema, 0).map_err(|error| Pause::Schema { reason: error.to_string() })?;
        let file_schema = schema::file_schema(&schema);
        Ok(IcebergTarget { store, catalog, source_schema: schema, file_schema, spec, table: None })
    }

    /// Whether the folder has a table, or what is left of one, although the catalog knows none.
    async fn is_somebodys(&self) -> Result<bool, TargetError> {
        let mut left = 0;
        for entry in self.store.list("").await? {
            let path = entry.path;
            // Data files of ours that no first commit followed are orphans, and not somebody's table.
            if path.ends_with(".parquet") && !sweep::is_ours(&path) {
                return Ok(true);
            }
            if path.ends_with(METADATA_SUFFIX) {
                left += 1;
                if !self.catalog.leaves_metadata() || left > ATTEMPTS_LEFT_MAX || !self.is_first_attempt(&path).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether metadata are of a first commit of ours, before which there was nothing.
    async fn is_first_attempt(&self, path: &str) -> Result<bool, TargetError> {
        let Some(bytes) = self.store.read(path, MANIFEST_BYTES_MAX).await? else { return Ok(true) };
        let table: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(metadata::record_of(&table).is_ok_and(|record| record.is_some_and(|record| record.epoch <= 1)))
    }

    fn damaged(&self, path: &str, reason: impl ToString) -> TargetError {
        Pause::Damaged { address: self.store.address(path), reason: reason.to_string() }.into()
    }

    /// The manifests of the current snapshot, as records of the list.
    async fn manifests(&self, writer: &ManifestWriter, table: &Value) -> Result<Vec<Avro>, TargetError> {
        let Some(snapshot) = metadata::current_snapshot(table) else { return Ok(Vec::new()) };
        let path = snapshot["manifest-list"].as_str().unwrap_or_default().to_owned();
        let bytes = self.read_at(&path).await?;
        writer.read_list(&bytes).map_err(|error| self.damaged(&path, error))
    }

    /// A file by the address that the table has for it.
    async fn read_at(&self, address: &str) -> Result<Bytes, TargetError> {
        let path = self.relative(address);
        let path = path.ok_or_else(|| self.damaged(address, "it is outside of the table's folder"))?;
        let bytes = self.store.read(&path, MANIFEST_BYTES_MAX).await?;
        bytes.ok_or_else(|| StoreError::failed("read", address, "it is not there").into())
    }

    fn relative(&self, address: &str) -> Option<String> {
        let plain = |text: &str| text.strip_prefix("file://").or(text.strip_prefix("file:")).unwrap_or(text).to_owned();
        let root = plain(&self.store.address(""));
        let path = plain(address).strip_prefix(root.trim_end_matches('/'))?.trim_start_matches('/').to_owned();
        Some(path).filter(|path| !path.split('/').any(|name| name == ".."))
    }

    /// One manifest instead of many small ones.
    async fn merged(
        &self,
        writer: &ManifestWriter,
        mut manifests: Vec<Avro>,
        snapshot: i64,
        sequence: i64,
    ) -> Result<Vec<Avro>, TargetError> {
        let small = |m: &Avro| {
            let is = |name, value| avro::number(m, name) == Some(value);
            let len = avro::number(m, "manifest_length").unwrap_or(i64::MAX);
            // Those of another partitioning or with deletions are somebody else's.
            len <= MERGED_BYTES_MAX && is("content", 0) && is("partition_spec_id", 0) && is("deleted_files_count", 0)
        };
        if manifests.iter().filter(|m| small(m)).count() < MERGE_COUNT {
            return Ok(manifests);
        }
        let (small, kept): (Vec<Avro>, Vec<Avro>) = manifests.drain(..).partition(small);
        let (mut entries, mut rows, mut min_sequence) = (Vec::new(), 0, sequence);
        for manifest in &small {
            let path = avro::text(manifest, "manifest_path").unwrap_or_default();
            let bytes = self.read_at(path).await?;
            for entry in writer.read_entries(&bytes).map_err(|error| self.damaged(path, error))? {
                let entry = manifest::inherited(&entry, manifest).ok_or_else(|| self.damaged(path, "no sequence"))?;
                let file = avro::field(&entry, "data_file");
                rows += file.and_then(|file| avro::number(file, "record_count")).unwrap_or(0) as u64;
                min_sequence = min_sequence.min(avro::number(&entry, "sequence_number").unwrap_or(0));
                entries.push(entry);
            }
        }
        let (path, files) = (format!("metadata/{}-m1.avro", Uuid::new_v4()), entries.len());
        let bytes = writer.existing(entries).map_err(|error| self.damaged(&path, error))?;
        let len = bytes.len() as u64;
        self.store.create(&path, bytes.into()).await?;
        let path = self.store.address(&path);
        let merged =
            ManifestFile { path, len, files, rows, added: false, sequence, min_sequence, snapshot, partitions: vec![] };
        Ok(std::iter::once(writer.listed(&merged)).chain(kept).collect())
    }

    /// Writes manifest and list of a snapshot with these files and puts it into the table.
    async fn add_snapshot(
        &self,
        table: &mut Value,
        schema_id: i64,
        record: &CommitRecord,
        files: &[RoundFile],
    ) -> Result<(), TargetError> {
        let encoding = |error: apache_avro::Error| StoreError::failed("encoding", "a manifest", error);
        let writer = ManifestWriter::new(&self.spec, &self.file_schema, metadata::current_schema(table));
        let writer = writer.map_err(encoding)?;
        let (id, sequence) = (snapshot_id(), metadata::next_sequence(table));
        let rows = files.iter().map(|file| file.file.rows).sum();
        let mut manifests = Vec::new();
        if !files.is_empty() {
            manifests.push(self.add_manifest(&writer, id, sequence, files).await?);
        }
        let before = self.manifests(&writer, table).await?;
        manifests.extend(self.merged(&writer, before, id, sequence).await?);
        let parent = metadata::current_snapshot(table).and_then(|snapshot| snapshot["snapshot-id"].as_i64());
        let list = writer.list(id, parent, sequence, manifests).map_err(encoding)?;
        let path = format!("metadata/snap-{id}-1-{}.avro", Uuid::new_v4());
        self.store.create(&path, list.into()).await?;
        let (manifest_list, bytes) = (self.store.address(&path), files.iter().map(|f| f.file.bytes.len() as u64).sum());
        let new = NewSnapshot { id, manifest_list, schema_id, files: files.len(), rows, bytes, record };
        metadata::append_snapshot(table, &new);
        Ok(())
    }

    /// Writes the manifest of files that are new with a snapshot; its record in the list.
    async fn add_manifest(
        &self,
        writer: &ManifestWriter,
        snapshot: i64,
        sequence: i64,
        files: &[RoundFile],
    ) -> Result<Avro, TargetError> {
        let path = format!("metadata/{}-m0.avro", Uuid::new_v4());
        let bytes = writer.added(snapshot, files, |path| self.store.address(path));
        let bytes = bytes.map_err(|error| StoreError::failed("encoding", "a manifest", error))?;
        let added = ManifestFile {
            path: self.store.address(&path),
            len: bytes.len() as u64,
            files: files.len(),
            rows: files.iter().map(|file| file.file.rows).sum(),
            added: true,
            sequence,
            min_sequence: sequence,
            snapshot,
            partitions: writer.summaries(files),
        };
        self.store.create(&path, bytes.into()).await?;
        Ok(writer.listed(&added))
    }
}

/// Positive, and like no other.
fn snapshot_id() -> i64 {
    (Uuid::new_v4().as_u128() as i64) & i64::MAX
}

#[async_trait]
impl Target for IcebergTarget {
    async fn load(&mut self) -> Result<Option<CommitRecord>, TargetError> {
        let record = self.inspect().await?;
        if let Some(newest) = &self.table {
            self.catalog.settle(newest).await?;
        }
        Ok(record)
    }

    async fn inspect(&mut self) -> Result<Option<CommitRecord>, TargetError> {
        self.table = None;
        let Some(newest) = self.catalog.load().await? else {
            if self.is_somebodys().await? {
                return Err(Pause::Foreign { address: self.address() }.into());
            }
            return Ok(None);
        };
        let table = &newest.metadata;
        let Some(record) = metadata::record_of(table).map_err(|reason| self.damaged("metadata", reason))? else {
            return Err(Pause::Foreign { address: self.address() }.into());
        };
        if table["format-version"].as_i64() != Some(FORMAT_VERSION) {
            let reason =
                format!("its format version is {}, and {FORMAT_VERSION} is written here", table["format-version"]);
            return Err(self.damaged("metadata", reason));
        }
        check_partitioning(self.address(), &record.partition_by, &self.spec)?;
        self.table = Some(newest);
        Ok(Some(record))
    }

    async fn files(&mut self) -> Result<Vec<TableFile>, FilesError> {
        let Some(Version { metadata: table, .. }) = &self.table else { return Ok(Vec::new()) };
        let schema = metadata::current_schema(table);
        let writer = ManifestWriter::new(&self.spec, &self.file_schema, schema);
        let writer = writer.map_err(|error| self.damaged("a manifest schema", error))?;
        let mut files = Vec::new();
        for manifest in self.manifests(&writer, table).await? {
            if avro::number(&manifest, "content") != Some(0) {
                return Err(FilesError::Deletions { address: self.address() });
            }
            let address = avro::text(&manifest, "manifest_path").unwrap_or_default();
            let bytes = self.read_at(address).await?;
            for entry in writer.read_entries(&bytes).map_err(|error| self.damaged(address, error))? {
                if avro::number(&entry, "status") == Some(manifest::DELETED) {
                    continue;
                }
                let file = avro::field(&entry, "data_file").and_then(|file| avro::text(file, "file_path"));
                let path = file.and_then(|file| self.relative(file));
                let path = path.ok_or_else(|| self.damaged(address, "a data file outside of the table's folder"))?;
                files.push(TableFile { path, range: None });
            }
        }
        Ok(files)
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
        match self.spec.hive_path(&file.values, &self.source_schema) {
            folder if folder.is_empty() => format!("data/weir-{}.parquet", Uuid::new_v4()),
            folder => format!("data/{folder}/weir-{}.parquet", Uuid::new_v4()),
        }
    }

    async fn write(&mut self, files: &[RoundFile]) -> Result<(), TargetError> {
        write_all(&self.store, files).await
    }

    async fn publish(&mut self, next: &CommitRecord, files: &[RoundFile]) -> Result<(), TargetError> {
        let refused = |error: schema::SchemaError| Pause::Schema { reason: error.to_string() };
        let mut table = match &self.table {
            Some(base) => base.metadata.clone(),
            None => {
                let schema = schema::to_json(&self.source_schema, 0).map_err(refused)?;
                let partitions = schema::spec_fields(&self.spec, &self.source_schema);
                let location = self.store.address("");
                metadata::new_table(location.trim_end_matches('/'), &schema, partitions, next.committed_at_ms)
            }
        };
        let wanted = schema::to_json(&self.source_schema, 0).map_err(refused)?;
        let schema_id = metadata::evolve(&mut table, &wanted).map_err(refused)?;
        if !files.is_empty() || self.catalog.wants_snapshots() {
            self.add_snapshot(&mut table, schema_id, next, files).await?;
        }
        metadata::expire(&mut table, next.committed_at_ms);
        metadata::set_record(&mut table, next);
        self.table = Some(self.catalog.commit(self.table.as_ref(), table).await?);
        Ok(())
    }

    async fn sweep(&mut self, before_ms: i64) -> Result<usize, TargetError> {
        sweep::sweep(self, before_ms).await
    }

    fn address(&self) -> String {
        let folder = self.store.address("");
        self.catalog.address().map_or(folder.clone(), |catalog| format!("{folder} ({catalog})"))
    }
}
