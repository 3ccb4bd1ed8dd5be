//! An object store, by way of the crate `object_store`. Creating an object only if it is absent is the store's own work: one
//! that cannot do it must not be used.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::{Entry, LakeStore, StoreError};

/// A request that is not answered by then has an outcome that is not known.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Objects below a prefix.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// `s3://bucket`, for addresses.
    base: String,
}

impl RemoteStore {
    /// `base`: the address of the store's root, without a `/` at its end.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, base: &str) -> RemoteStore {
        RemoteStore { store, prefix: Path::from(prefix), base: base.to_owned() }
    }

    fn path(&self, path: &str) -> Path {
        path.split('/').filter(|name| !name.is_empty()).fold(self.prefix.clone(), |at, name| at.join(name))
    }

    async fn put(&self, action: &'static str, path: &str, bytes: Bytes, mode: PutMode) -> Result<(), StoreError> {
        let (location, options) = (self.path(path), PutOptions { mode, ..PutOptions::default() });
        let put = self.store.put_opts(&location, PutPayload::from(bytes), options);
        within(action, path, put).await.map(|_| ())
    }
}

async fn within<R>(
    action: &'static str,
    path: &str,
    request: impl Future<Output = Result<R, Error>>,
) -> Result<R, StoreError> {
    match tokio::time::timeout(REQUEST_TIME_MAX, request).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
            Err(StoreError::Exists { path: path.to_owned() })
        }
        Ok(Err(error)) => Err(StoreError::failed(action, path, error)),
        Err(_) => Err(StoreError::failed(action, path, format!("no answer within {} s", REQUEST_TIME_MAX.as_secs()))),
    }
}

#[async_trait]
impl LakeStore for RemoteStore {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put("creation", path, bytes, PutMode::Create).await
    }

    async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put("replacement", path, bytes, PutMode::Overwrite).await
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let location = self.path(path);
        let get = async {
            match self.store.get(&location).await {
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
                Ok(result) if result.meta.size > max_bytes => Ok(Some(None)),
                Ok(result) => Ok(Some(Some(result.bytes().await?))),
            }
        };
        match within("read", path, get).await? {
            None => Ok(None),
            Some(Some(bytes)) => Ok(Some(bytes)),
            Some(None) => Err(StoreError::failed("read", path, format!("it is larger than {max_bytes} bytes"))),
        }
    }

    async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        let location = self.path(path);
        let head = async {
            match self.store.head(&location).await {
                Err(Error::NotFound { .. }) => Ok(false),
                other => other.map(|_| true),
            }
        };
        within("look", path, head).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let prefix = self.path(folder);
        let depth = format!("{}/", self.prefix);
        let entry = |meta: object_store::ObjectMeta| {
            let full = meta.location.to_string();
            let path = full.strip_prefix(&depth).unwrap_or(&full).to_owned();
            Entry { path, bytes: meta.size, modified_ms: meta.last_modified.timestamp_millis() }
        };
        let listed = self.store.list(Some(&prefix)).map_ok(entry).try_collect::<Vec<Entry>>();
        within("listing", folder, listed).await
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let location = self.path(path);
        let delete = async {
            match self.store.delete(&location).await {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        within("deletion", path, delete).await
    }

    fn address(&self, path: &str) -> String {
        format!("{}/{}", self.base, self.path(path))
    }
}
