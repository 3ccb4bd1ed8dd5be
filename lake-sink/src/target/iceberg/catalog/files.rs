//! A catalog of files: `metadata/vN.metadata.json`, each created if it is absent, and `version-hint.text`, which tells readers the
//! newest N and is never trusted by us further than that.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::{Catalog, Version};
use crate::store::{LakeStore, StoreError};
use crate::target::iceberg::metadata;
use crate::target::{Pause, TargetError};

const HINT: &str = "metadata/version-hint.text";
const METADATA_BYTES_MAX: u64 = 256 << 20;
/// Versions behind the newest whose metadata files stay.
const VERSIONS_KEPT: u64 = 100;

/// The catalog that a table's own folder is.
pub struct FileCatalog {
    store: Arc<dyn LakeStore>,
}

impl FileCatalog {
    /// `store`: the table's folder.
    #[must_use]
    pub fn new(store: Arc<dyn LakeStore>) -> FileCatalog {
        FileCatalog { store }
    }

    /// The newest version, 0 if there is none.
    async fn newest(&self) -> Result<u64, StoreError> {
        let mut newest = match self.hint().await? {
            Some(hint) => hint,
            // The first commit may have been its writer's last act.
            None => self.store.list("metadata").await?.iter().filter_map(|e| version_of(&e.path)).max().unwrap_or(0),
        };
        while self.store.exists(&metadata_path(newest + 1)).await? {
            newest += 1;
        }
        Ok(newest)
    }

    async fn hint(&self) -> Result<Option<u64>, StoreError> {
        let hint = self.store.read(HINT, 1024).await?;
        Ok(hint.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()))
    }

    /// Readers that know only the hint find the newest version with it; without it they find an older one.
    async fn set_hint(&self, version: u64) {
        if let Err(error) = self.store.replace(HINT, Bytes::from(version.to_string())).await {
            tracing::warn!(table = self.store.address(""), %error, "readers may see an older version for now");
        }
    }

    async fn prune(&self, version: u64) {
        // One goes with each commit; a crash leaves one, which the sweep takes.
        if let Some(old) = version.checked_sub(VERSIONS_KEPT).filter(|old| *old > 0)
            && let Err(error) = self.store.delete(&metadata_path(old)).await
        {
            tracing::debug!(%error, "old table metadata is kept");
        }
    }
}

/// Where a version's metadata is in the table's folder.
pub fn metadata_path(version: u64) -> String {
    format!("metadata/v{version}.metadata.json")
}

fn version_of(path: &str) -> Option<u64> {
    path.strip_prefix("metadata/v")?.strip_suffix(".metadata.json")?.parse().ok()
}

#[async_trait]
impl Catalog for FileCatalog {
    async fn load(&self) -> Result<Option<Version>, TargetError> {
        let number = self.newest().await?;
        if number == 0 {
            return Ok(None);
        }
        let path = metadata_path(number);
        let bytes = self.store.read(&path, METADATA_BYTES_MAX).await?;
        // A hint may be older than the files that are left.
        let bytes = bytes.ok_or_else(|| StoreError::failed("read", &path, "it is gone"))?;
        let damaged =
            |error: serde_json::Error| Pause::Damaged { address: self.store.address(&path), reason: error.to_string() };
        let metadata = serde_json::from_slice(&bytes).map_err(damaged)?;
        Ok(Some(Version { number, metadata }))
    }

    async fn settle(&self, newest: &Version) -> Result<(), TargetError> {
        if self.hint().await? != Some(newest.number) {
            self.set_hint(newest.number).await;
        }
        Ok(())
    }

    async fn commit(&self, base: Option<&Version>, mut next: Value) -> Result<Version, TargetError> {
        let number = base.map_or(0, |base| base.number) + 1;
        if let Some(base) = base {
            metadata::log_previous(&mut next, &self.store.address(&metadata_path(base.number)), &base.metadata);
        }
        let path = metadata_path(number);
        let bytes = serde_json::to_vec(&next).map_err(|error| StoreError::failed("creation", &path, error))?;
        self.store.create(&path, bytes.into()).await?;
        // Old versions are removed, so a writer that slept for long could take a number that is free again.
        if self.hint().await?.is_some_and(|hint| hint > number) {
            return Err(StoreError::Exists { path: self.store.address(&path) }.into());
        }
        self.set_hint(number).await;
        self.prune(number).await;
        Ok(Version { number, metadata: next })
    }

    fn wants_snapshots(&self) -> bool {
        false
    }

    fn leaves_metadata(&self) -> bool {
        false
    }

    fn is_old(&self, path: &str, newest: Option<&Version>) -> bool {
        let newest = newest.map_or(0, |newest| newest.number);
        version_of(path).is_some_and(|version| version + VERSIONS_KEPT < newest)
    }
}
