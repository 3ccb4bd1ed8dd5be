//! An object store, by way of the crate `object_store`. Creating an object only if it is absent is the store's own work: one
//! that cannot do it must not be used.
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::s3::Bucket;
use super::{Entry, LakeStore, StoreError};

/// Of a store whose own limits are not known.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// The store's client tries again within one request of ours.
const TRIES: u32 = 4;

/// Objects below a prefix.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    bucket: Arc<Bucket>,
    /// Without `/` at either end.
    prefix: String,
    /// `s3://bucket`, for addresses.
    base: String,
}

impl RemoteStore {
    /// Of a store that is known to refuse the creation of an object that exists. `base`: the address of the store's root,
    /// without a `/` at its end.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, base: &str) -> RemoteStore {
        RemoteStore::in_bucket(Arc::new(Bucket::trusted(store, REQUEST_TIME_MAX)), prefix, base)
    }

    pub(super) fn in_bucket(bucket: Arc<Bucket>, prefix: &str, base: &str) -> RemoteStore {
        RemoteStore { bucket, prefix: prefix.trim_matches('/').to_owned(), base: base.to_owned() }
    }

    fn name(&self, path: &str) -> String {
        let names = [self.prefix.as_str(), path].into_iter().flat_map(|part| part.split('/'));
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// As it is: names of hive partitions have percent signs in them that readers decode, so nothing is encoded here.
    fn path(&self, action: &'static str, path: &str) -> Result<Path, StoreError> {
        Path::parse(self.name(path)).map_err(|error| StoreError::failed(action, path, error))
    }

    async fn put(&self, action: &'static str, path: &str, bytes: Bytes, mode: PutMode) -> Result<(), StoreError> {
        let (location, options) = (self.path(action, path)?, PutOptions { mode, ..PutOptions::default() });
        let put = self.bucket.store.put_opts(&location, PutPayload::from(bytes), options);
        self.within(action, path, put).await.map(|_| ())
    }

    async fn within<R>(
        &self,
        action: &'static str,
        path: &str,
        request: impl Future<Output = Result<R, Error>>,
    ) -> Result<R, StoreError> {
        let limit = self.bucket.request_timeout.saturating_mul(TRIES);
        match tokio::time::timeout(limit, request).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
                Err(StoreError::Exists { path: path.to_owned() })
            }
            Ok(Err(error)) => Err(StoreError::failed(action, path, error)),
            Err(_) => Err(StoreError::failed(action, path, format!("no answer within {} s", limit.as_secs()))),
        }
    }
}

#[async_trait]
impl LakeStore for RemoteStore {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.bucket.check_conditional(&self.prefix, &self.address("")).await?;
        match self.put("creation", path, bytes, PutMode::Create).await {
            // S3 refuses (409) while another creation is in progress too, and that one may still fail.
            Err(StoreError::Exists { .. }) if !self.exists(path).await? => {
                Err(StoreError::failed("creation", path, "another writer was about to create it"))
            }
            other => other,
        }
    }

    async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put("replacement", path, bytes, PutMode::Overwrite).await
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let location = self.path("read", path)?;
        let get = async {
            match self.bucket.store.get(&location).await {
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
                Ok(result) if result.meta.size > max_bytes => Ok(Some(None)),
                Ok(result) => Ok(Some(Some(result.bytes().await?))),
            }
        };
        match self.within("read", path, get).await? {
            None => Ok(None),
            Some(Some(bytes)) => Ok(Some(bytes)),
            Some(None) => Err(StoreError::failed("read", path, format!("it is larger than {max_bytes} bytes"))),
        }
    }

    async fn read_end(&self, path: &str, bytes: u64) -> Result<Option<(u64, Bytes)>, StoreError> {
        let location = self.path("read", path)?;
        let options = GetOptions { range: Some(GetRange::Suffix(bytes.max(1))), ..GetOptions::default() };
        let get = async {
            match self.bucket.store.get_opts(&location, options).await {
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
                Ok(result) => {
                    let len = result.meta.size;
                    Ok(Some((len, result.bytes().await?)))
                }
            }
        };
        self.within("read", path, get).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let location = self.path("read", path)?;
        let wanted = range.end.saturating_sub(range.start);
        let get = async {
            match self.bucket.store.get_range(&location, range).await {
                Err(Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        match self.within("read", path, get).await? {
            Some(bytes) if bytes.len() as u64 != wanted => {
                Err(StoreError::failed("read", path, format!("{} of {wanted} bytes are there", bytes.len())))
            }
            other => Ok(other),
        }
    }

    async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        let location = self.path("look", path)?;
        let head = async {
            match self.bucket.store.head(&location).await {
                Err(Error::NotFound { .. }) => Ok(false),
                other => other.map(|_| true),
            }
        };
        self.within("look", path, head).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let prefix = self.path("listing", folder)?;
        let depth = format!("{}/", self.prefix);
        let entry = |meta: object_store::ObjectMeta| {
            let full = meta.location.to_string();
            let path = full.strip_prefix(&depth).unwrap_or(&full).to_owned();
            Entry { path, bytes: meta.size, modified_ms: meta.last_modified.timestamp_millis() }
        };
        let listed = self.bucket.store.list(Some(&prefix)).map_ok(entry).try_collect::<Vec<Entry>>();
        self.within("listing", folder, listed).await
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let location = self.path("deletion", path)?;
        let delete = async {
            match self.bucket.store.delete(&location).await {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        self.within("deletion", path, delete).await
    }

    fn address(&self, path: &str) -> String {
        format!("{}/{}", self.base, self.name(path))
    }
}
