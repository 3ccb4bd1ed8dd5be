//! Amazon S3 and what speaks its protocol.
//!
//! Everything rests on the store refusing to create an object that exists (`If-None-Match: *`). Not every store does, and one
//! that ignores the condition would let two writers commit the same epoch; so each bucket is tried before anything is
//! created in it.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{StoreError, TEMPORARY_SUFFIX};

/// What addresses of S3 begin with.
pub const SCHEME: &str = "s3://";
/// Where a store that names no region is.
const REGION: &str = "us-east-1";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Requests that are tried again after 5xx, besides the first.
const RETRIES: usize = 3;

/// How S3 is reached: the broker's settings `lake.s3.*`, and the variables that all of Amazon's tools read.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// Variables `AWS_*`; what follows wins over them.
    pub environment: BTreeMap<String, String>,
    /// `http://host:port` of a store that is not Amazon's.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// A request that is not answered by then has an outcome that is not known.
    pub request_timeout: Duration,
}

impl Default for S3Settings {
    fn default() -> Self {
        S3Settings {
            environment: BTreeMap::new(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            path_style: true,
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Without secrets: this is what logs get.
impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

/// `s3://bucket/prefix`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Address<'a> {
    pub bucket: &'a str,
    /// Without `/` at either end; empty is the whole bucket.
    pub prefix: &'a str,
}

impl<'a> S3Address<'a> {
    /// `None`: it is no address of S3.
    ///
    /// # Errors
    /// Says what is wrong with one.
    pub fn parse(url: &'a str) -> Option<Result<S3Address<'a>, String>> {
        let rest = url.strip_prefix(SCHEME)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let address = S3Address { bucket, prefix: prefix.trim_end_matches('/') };
        Some(address.check().map(|()| address))
    }

    /// Whether it is this one or in it.
    #[must_use]
    pub fn is_below(&self, root: &S3Address<'_>) -> bool {
        let rest = self.prefix.strip_prefix(root.prefix).filter(|_| self.bucket == root.bucket);
        rest.is_some_and(|rest| root.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    fn check(&self) -> Result<(), String> {
        let of_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(of_bucket) {
            return Err(format!(
                "`{}` is no bucket: its name has 3 to 63 of the characters a-z, 0-9, `-` and `.`, as in s3://bucket/path",
                self.bucket
            ));
        }
        let bad_name = |name: &str| name.is_empty() || name == "." || name == "..";
        if !self.prefix.is_empty() && self.prefix.split('/').any(bad_name) {
            return Err("it must not have `.`, `..` or an empty name in it".to_owned());
        }
        let bad = |c: char| c.is_control() || "\\{}^%`[]\"<>~#|*?".contains(c);
        match self.prefix.chars().find(|c| bad(*c)) {
            Some(found) => {
                Err(format!("`{}` must not be in it: tools disagree on what it means", found.escape_default()))
            }
            None => Ok(()),
        }
    }
}

/// The buckets that are in use; clones share them.
#[derive(Debug, Clone)]
pub struct S3Stores {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: S3Settings,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
}

impl PartialEq for S3Stores {
    fn eq(&self, other: &S3Stores) -> bool {
        self.inner.settings == other.inner.settings
    }
}

impl Eq for S3Stores {}

impl Default for S3Stores {
    fn default() -> Self {
        S3Stores::new(S3Settings::default())
    }
}

impl S3Stores {
    /// Nothing is connected to before it is needed.
    #[must_use]
    pub fn new(settings: S3Settings) -> S3Stores {
        S3Stores { inner: Arc::new(Inner { settings, buckets: Mutex::default() }) }
    }

    /// A bucket.
    ///
    /// # Errors
    /// Says which setting cannot be used.
    pub(crate) fn bucket(&self, name: &str) -> Result<Arc<Bucket>, String> {
        let mut buckets = self.inner.buckets.lock();
        if let Some(known) = buckets.get(name) {
            return Ok(known.clone());
        }
        let settings = &self.inner.settings;
        let store = build(settings, name).map_err(|error| format!("S3 cannot be used: {error}; see `lake.s3.*`"))?;
        let bucket = Arc::new(Bucket::new(store, settings.request_timeout));
        buckets.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }
}

fn build(settings: &S3Settings, bucket: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut builder = AmazonS3Builder::new().with_region(REGION);
    for (name, value) in &settings.environment {
        // Variables that mean nothing here are for other programs.
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let given = [
        (AmazonS3ConfigKey::Endpoint, &settings.endpoint),
        (AmazonS3ConfigKey::Region, &settings.region),
        (AmazonS3ConfigKey::AccessKeyId, &settings.access_key_id),
        (AmazonS3ConfigKey::SecretAccessKey, &settings.secret_access_key),
        (AmazonS3ConfigKey::Token, &settings.session_token),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_allow_http(plain)
        .with_timeout(settings.request_timeout)
        .with_connect_timeout(CONNECT_TIME_MAX.min(settings.request_timeout));
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: settings.request_timeout,
    };
    let builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!settings.path_style)
        .with_client_options(client)
        .with_retry(retry);
    Ok(Arc::new(builder.build()?))
}

/// A store, and whether it refuses what it must refuse.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Longest wait for one request; tries again included, it takes as long again for each.
    pub(super) request_timeout: Duration,
    conditional: OnceCell<()>,
}

impl Bucket {
    pub(super) fn new(store: Arc<dyn ObjectStore>, request_timeout: Duration) -> Bucket {
        Bucket { store, request_timeout, conditional: OnceCell::new() }
    }

    /// It need not be tried.
    pub(super) fn trusted(store: Arc<dyn ObjectStore>, request_timeout: Duration) -> Bucket {
        Bucket { store, request_timeout, conditional: OnceCell::new_with(Some(())) }
    }

    /// Tries it once in `prefix`, which tables are written to: a second creation of the same object must be refused.
    pub(super) async fn check_conditional(&self, prefix: &str, address: &str) -> Result<(), StoreError> {
        self.conditional.get_or_try_init(|| self.probe(prefix, address)).await.map(|_| ())
    }

    async fn probe(&self, prefix: &str, address: &str) -> Result<(), StoreError> {
        // Named as what is being written: whatever happens to this, sweeps remove what is left of it.
        let name = format!("{prefix}/.{}{TEMPORARY_SUFFIX}", Uuid::new_v4());
        let location = Path::parse(&name).map_err(|error| StoreError::failed("creation", &name, error))?;
        let create = |content: &'static str| {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            self.store.put_opts(&location, content.into(), options)
        };
        let unsuitable = |how: &str| StoreError::Unconditional { address: address.to_owned(), how: how.to_owned() };
        let mut verdict = Ok(());
        for attempt in ["first", "second"] {
            match create(attempt).await {
                // Of the first one too, if it was tried again: it was refused.
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => break,
                Err(error) if is_not_implemented(&error) => {
                    verdict = Err(unsuitable("answers that it has no conditional requests"));
                    break;
                }
                Err(error) => {
                    verdict = Err(StoreError::failed("trying out", &name, error));
                    break;
                }
                Ok(_) if attempt == "second" => verdict = Err(unsuitable("created an object twice")),
                Ok(_) => {}
            }
        }
        let _ = self.store.delete(&location).await; // what is left is swept
        verdict
    }
}

fn is_not_implemented(error: &Error) -> bool {
    matches!(error, Error::NotImplemented { .. } | Error::NotSupported { .. })
        || error.to_string().contains("501 Not Implemented")
}

#[cfg(test)]
mod tests;
