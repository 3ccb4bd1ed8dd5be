//! What S3 must be able to do, how its addresses are read, and what of its settings is told.
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutPayload,
    PutResult, Result,
};

use super::*;
use crate::store::{LakeStore, RemoteStore};

/// A store that knows nothing of conditions, as there are some.
#[derive(Debug, Default)]
struct Careless {
    inner: InMemory,
    puts: AtomicUsize,
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.inner.put_opts(location, payload, PutOptions::default()).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn in_bucket(store: Arc<dyn ObjectStore>) -> RemoteStore {
    let bucket = Arc::new(Bucket::new(store, Duration::from_secs(5)));
    RemoteStore::in_bucket(bucket, "lake/flights", "s3://bay")
}

#[tokio::test]
async fn a_store_that_creates_an_object_twice_is_refused_before_anything_is_in_it() {
    let careless = Arc::new(Careless::default());
    let store = in_bucket(careless.clone());
    for puts in [2, 4] {
        let error = store.create("commit", "one".into()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unconditional { .. }), "{error:?}");
        assert!(text.contains("s3://bay/lake/flights") && text.contains("If-None-Match"), "{text}");
        assert_eq!(careless.puts.load(Ordering::SeqCst), puts, "tried again each time: it may be mended");
    }
    assert_eq!(store.list("").await.unwrap(), [], "nothing is left of it");
}

#[tokio::test]
async fn a_store_that_refuses_is_tried_once_and_nothing_is_left_of_it() {
    let store = in_bucket(Arc::new(InMemory::new()));
    store.create("a=b%20c/commit", "one".into()).await.unwrap();
    assert!(matches!(store.create("a=b%20c/commit", "two".into()).await, Err(StoreError::Exists { .. })));
    let listed: Vec<String> = store.list("").await.unwrap().into_iter().map(|entry| entry.path).collect();
    assert_eq!(listed, ["a=b%20c/commit"], "and no name is encoded a second time");
    assert_eq!(store.address("a=b%20c/commit"), "s3://bay/lake/flights/a=b%20c/commit");
}

#[test]
fn addresses_are_a_bucket_and_names_that_mean_the_same_everywhere() {
    let parse = |url| S3Address::parse(url);
    assert_eq!(parse("/lake"), None);
    assert_eq!(parse("s3a://bay/x"), None);
    assert_eq!(parse("s3://bay/x/y/"), Some(Ok(S3Address { bucket: "bay", prefix: "x/y" })));
    assert_eq!(parse("s3://bay"), Some(Ok(S3Address { bucket: "bay", prefix: "" })));
    for url in [
        "s3://",
        "s3://B",
        "s3://Bay/x",
        "s3://bay//x",
        "s3://bay/../x",
        "s3://bay/a?b",
        "s3://bay/a%20b",
        "s3://b_y/x",
    ] {
        assert!(matches!(parse(url), Some(Err(_))), "{url}");
    }
}

#[test]
fn secrets_are_in_no_text() {
    let settings = S3Settings {
        environment: BTreeMap::from([("AWS_SECRET_ACCESS_KEY".to_owned(), "hush-env".to_owned())]),
        secret_access_key: Some("hush-key".to_owned()),
        session_token: Some("hush-token".to_owned()),
        access_key_id: Some("of-nobody".to_owned()),
        ..S3Settings::default()
    };
    let stores = S3Stores::new(settings.clone());
    stores.bucket("bay").unwrap();
    for text in [format!("{settings:?}"), format!("{stores:?}")] {
        assert!(text.contains("S3Settings") && !text.contains("hush"), "{text}");
    }
}
