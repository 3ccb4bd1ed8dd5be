//! What is in the folder of a table: hints, snapshots, schema files, manifests, and our newest commit among what others committed.
use apache_avro::types::Value as Avro;
use bytes::Bytes;
use serde_json::Value;

use super::compact;
use super::live::Live;
use super::manifest::{self, ManifestMeta};
use super::snapshot::{self, Intent, Remembered};
use super::{
    HINT_BYTES_MAX, INTENT, JSON_BYTES_MAX, LATEST, MANIFEST_BYTES_MAX, PaimonTarget, TAG, Table, WALK_MAX, id_of,
    schema, schema_path, snapshot_path, sweep,
};
use crate::commit::CommitRecord;
use crate::store::StoreError;
use crate::target::{Pause, Target, TargetError, avro, check_partitioning};

impl PaimonTarget {
    /// The newest commit, and its snapshot if that is still there; the table is the newest snapshot from then on.
    pub(super) async fn look(&mut self) -> Result<Option<(CommitRecord, Option<Value>)>, TargetError> {
        (self.table, self.schema, self.live) = (None, None, None);
        let Some(newest) = self.newest().await? else {
            self.refuse_foreign().await?;
            return Ok(None);
        };
        let snapshot = self.read_snapshot(newest).await?;
        let (record, ours) = self.committed(newest, &snapshot).await?;
        check_partitioning(self.address(), &record.partition_by, &self.spec)?;
        let manifests = self.manifests(newest, &snapshot).await?;
        self.table = Some(Table { id: newest, snapshot, manifests });
        Ok(Some((record, ours)))
    }

    pub(super) async fn read_json(&self, path: &str) -> Result<Option<Value>, TargetError> {
        let Some(bytes) = self.store.read(path, JSON_BYTES_MAX).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.damaged(path, error))
    }

    /// A snapshot that must be there.
    pub(super) async fn read_snapshot(&self, id: i64) -> Result<Value, TargetError> {
        let path = snapshot_path(id);
        let snapshot = self.read_json(&path).await?;
        // Expired between the look for it and now.
        let snapshot = snapshot.ok_or_else(|| StoreError::failed("read", &path, "it is gone"))?;
        match snapshot["id"] == id {
            true => Ok(snapshot),
            false => Err(self.damaged(&path, format!("it says that it is snapshot {}", snapshot["id"]))),
        }
    }

    pub(super) async fn hint(&self, path: &str) -> Result<Option<i64>, StoreError> {
        let hint = self.store.read(path, HINT_BYTES_MAX).await?;
        Ok(hint.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()))
    }

    /// Readers find the snapshots without it, but they look longer.
    pub(super) async fn set_hint(&self, path: &str, id: i64) {
        if let Err(error) = self.store.replace(path, Bytes::from(id.to_string())).await {
            tracing::warn!(table = self.store.address(""), %error, "readers list snapshots for now");
        }
    }

    /// Numbers of the snapshots that are there, ascending.
    pub(super) async fn snapshots(&self) -> Result<Vec<i64>, StoreError> {
        let entries = self.store.list("snapshot").await?;
        let mut ids: Vec<i64> = entries.iter().filter_map(|entry| id_of(&entry.path, "snapshot/snapshot-")).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The newest snapshot's number.
    pub(super) async fn newest(&self) -> Result<Option<i64>, StoreError> {
        let mut newest = match self.hint(LATEST).await? {
            Some(hint) if hint > 0 && self.store.exists(&snapshot_path(hint)).await? => hint,
            _ => match self.snapshots().await?.pop() {
                Some(newest) => newest,
                None => return Ok(None),
            },
        };
        while let Some(next) = newest.checked_add(1)
            && self.store.exists(&snapshot_path(next)).await?
        {
            newest = next;
        }
        Ok(Some(newest))
    }

    /// The newest schema file, read if it is not known.
    pub(super) async fn newest_schema(&mut self) -> Result<Option<Value>, TargetError> {
        if self.schema.is_none() {
            let entries = self.store.list("schema").await?;
            let newest = entries.iter().filter_map(|entry| id_of(&entry.path, "schema/schema-")).max();
            if let Some(id) = newest {
                let path = schema_path(id);
                let schema = self.read_json(&path).await?;
                let schema = schema.ok_or_else(|| StoreError::failed("read", &path, "it is gone"))?;
                if schema["id"] != id {
                    return Err(self.damaged(&path, format!("it says that it is schema {}", schema["id"])));
                }
                self.schema = Some(schema);
            }
        }
        Ok(self.schema.clone())
    }

    /// A folder without snapshots: nothing, what a crash of ours left, or somebody else's.
    pub(super) async fn refuse_foreign(&mut self) -> Result<(), TargetError> {
        let entries = self.store.list("").await?;
        let (data, schema) = entries.iter().fold((false, false), |(data, schema), entry| {
            let path = entry.path.as_str();
            let is_data = [".parquet", ".orc", ".avro"].iter().any(|end| path.ends_with(end)) && !sweep::is_ours(path);
            (data || is_data, schema || path.starts_with("schema/schema-"))
        });
        let ours = match schema {
            true => self.newest_schema().await?.is_some_and(|schema| schema::topic_of(&schema).is_some()),
            false => true,
        };
        if data || !ours {
            return Err(Pause::Foreign { address: self.address() }.into());
        }
        Ok(())
    }

    /// Our newest commit, and its snapshot if that is still there.
    pub(super) async fn committed(
        &self,
        newest: i64,
        snapshot: &Value,
    ) -> Result<(CommitRecord, Option<Value>), TargetError> {
        let of = |id: i64, snapshot: &Value| {
            snapshot::record_of(snapshot).map_err(|reason| self.damaged(&snapshot_path(id), reason))
        };
        if let Some(record) = of(newest, snapshot)? {
            return Ok((record, Some(snapshot.clone())));
        }
        let mut id = newest;
        for _ in 0..WALK_MAX {
            let Some(below) = self.read_json(&snapshot_path(id - 1)).await? else { break };
            id -= 1;
            if let Some(record) = of(id, &below)? {
                return Ok((record, Some(below)));
            }
        }
        self.remembered(id, newest).await.map(|record| (record, None))
    }

    /// Our newest commit when none is among the snapshots from `earliest` to `newest`.
    pub(super) async fn remembered(&self, earliest: i64, newest: i64) -> Result<CommitRecord, TargetError> {
        let tag = self.read_json(TAG).await?;
        let intent = match self.store.read(INTENT, HINT_BYTES_MAX).await? {
            Some(bytes) => Some(serde_json::from_slice::<Intent>(&bytes).map_err(|error| self.damaged(INTENT, error))?),
            None => None,
        };
        let tagged = tag.as_ref().and_then(|tag| tag["id"].as_i64());
        match snapshot::remembered(tagged, intent, earliest, newest) {
            Remembered::Nothing => Err(Pause::Foreign { address: self.address() }.into()),
            Remembered::Unclear { reason } => Err(Pause::Lost { address: self.address(), reason }.into()),
            Remembered::Tag => {
                let record = snapshot::record_of(tag.as_ref().unwrap_or(&Value::Null));
                let record = record.map_err(|reason| self.damaged(TAG, reason))?;
                record.ok_or_else(|| self.damaged(TAG, "it has no offsets"))
            }
        }
    }

    /// A manifest or list by its name.
    pub(super) async fn read_manifest(&self, name: &str) -> Result<Bytes, TargetError> {
        let path = format!("manifest/{name}");
        let bytes = self.store.read(&path, MANIFEST_BYTES_MAX).await?;
        bytes.ok_or_else(|| StoreError::failed("read", &path, "it is not there").into())
    }

    pub(super) async fn read_list(&self, name: &str) -> Result<Vec<ManifestMeta>, TargetError> {
        let bytes = self.read_manifest(name).await?;
        manifest::read_list(&bytes).map_err(|error| self.damaged(&format!("manifest/{name}"), error))
    }

    /// The manifests of a snapshot, in their order.
    pub(super) async fn manifests(&self, id: i64, snapshot: &Value) -> Result<Vec<ManifestMeta>, TargetError> {
        let mut manifests = Vec::new();
        for list in ["baseManifestList", "deltaManifestList"] {
            let name = snapshot[list].as_str().filter(|name| snapshot::is_name(name));
            let name = name.ok_or_else(|| self.damaged(&snapshot_path(id), format!("it has no {list}")))?;
            manifests.extend(self.read_list(name).await?);
        }
        Ok(manifests)
    }

    /// Reads which data files the table has, if that is not known.
    pub(super) async fn know_live(&mut self) -> Result<(), TargetError> {
        if self.live.is_some() {
            return Ok(());
        }
        let mut live = Live::default();
        for manifest in self.table.iter().flat_map(|table| &table.manifests) {
            let bytes = self.read_manifest(&manifest.name).await?;
            let entries = avro::read_as_written(&bytes);
            let applied = entries.and_then(|entries| live.apply(&self.writer, &entries, |path| self.relative(path)));
            applied.map_err(|error| self.damaged(&format!("manifest/{}", manifest.name), error))?;
            self.keep_needed(&mut live);
        }
        self.live = Some(live);
        Ok(())
    }

    /// What was committed, if the files are known.
    pub(super) fn follow_live(&mut self, entries: &[Avro]) {
        let Some(mut live) = self.live.take() else { return };
        // What we write can be understood; if not, it is read again when it is needed.
        if live.apply(&self.writer, entries, |path| self.relative(path)).is_ok() {
            self.keep_needed(&mut live);
            self.live = Some(live);
        }
    }

    /// Of a table of appended rows only small files are of interest.
    fn keep_needed(&self, live: &mut Live) {
        if self.key.is_none() {
            live.forget_large(compact::FILE_BYTES);
        }
    }
}
