//! A store in memory whose operations fail, crash or sleep, and what is in it.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use async_trait::async_trait;
use bytes::Bytes;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::Notify;

use super::rest::ModelCatalog;
use crate::source::SourceTable;
use crate::store::{Entry, LakeStore, RemoteStore, StoreError};
use crate::target::iceberg::catalog::RestCatalog;
use crate::target::{IcebergTarget, PaimonTarget, ParquetTarget, Target};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing is done, and an error is returned.
    FailBefore,
    /// It is done, and an error is returned.
    FailAfter,
    /// Nothing is done, and the process dies.
    CrashBefore,
    /// It is done, and the process dies.
    CrashAfter,
}

#[derive(Default)]
struct Faults {
    steps: AtomicUsize,
    /// Read and written.
    bytes: AtomicU64,
    armed: Mutex<Option<(usize, Fault)>>,
    struck: AtomicBool,
    dead: AtomicBool,
    sleep_at: Mutex<Option<usize>>,
    asleep: Notify,
    woken: Notify,
    jitter: Mutex<Option<u64>>,
}

/// Clones share everything.
#[derive(Clone)]
pub struct FaultyStore {
    inner: RemoteStore,
    faults: Arc<Faults>,
}

impl Default for FaultyStore {
    fn default() -> Self {
        let store = RemoteStore::new(Arc::new(InMemory::new()), "lake/weir/flights", "memory://");
        FaultyStore { inner: store, faults: Arc::default() }
    }
}

impl FaultyStore {
    /// The `step`th operation from now on goes wrong.
    pub fn arm(&self, step: usize, fault: Fault) {
        *self.faults.armed.lock() = Some((step, fault));
    }

    /// Operations so far.
    pub fn steps(&self) -> usize {
        self.faults.steps.load(Ordering::SeqCst)
    }

    /// Bytes that were read and written so far.
    pub fn bytes_moved(&self) -> u64 {
        self.faults.bytes.load(Ordering::SeqCst)
    }

    fn moved(&self, bytes: usize) {
        self.faults.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    pub fn has_struck(&self) -> bool {
        self.faults.struck.load(Ordering::SeqCst)
    }

    /// The process is started again.
    pub fn restart(&self) {
        self.faults.dead.store(false, Ordering::SeqCst);
    }

    /// The same files for a process of its own, that falls asleep before its `step`th operation.
    pub fn sleeping_at(&self, step: usize) -> FaultyStore {
        let faults = Faults { sleep_at: Mutex::new(Some(step)), ..Faults::default() };
        FaultyStore { inner: self.inner.clone(), faults: Arc::new(faults) }
    }

    /// The same files for a process of its own, that lets others go first now and then.
    pub fn jittery(&self, seed: u64) -> FaultyStore {
        let faults = Faults { jitter: Mutex::new(Some(seed)), ..Faults::default() };
        FaultyStore { inner: self.inner.clone(), faults: Arc::new(faults) }
    }

    /// Waits until it is asleep.
    pub async fn asleep(&self) {
        self.faults.asleep.notified().await;
    }

    pub fn wake(&self) {
        self.faults.woken.notify_one();
    }

    pub async fn names(&self) -> BTreeSet<String> {
        self.inner.list("").await.unwrap().into_iter().map(|entry| entry.path).collect()
    }

    pub async fn bytes(&self, path: &str) -> Bytes {
        self.inner.read(path, u64::MAX).await.unwrap().unwrap_or_else(|| panic!("{path} is missing"))
    }

    pub async fn put(&self, path: &str) {
        self.inner.create(path, Bytes::from_static(b"x")).await.unwrap();
    }

    /// The store without failures.
    pub fn beneath(&self) -> &RemoteStore {
        &self.inner
    }

    /// Something that is done elsewhere, as one operation.
    pub async fn request<R>(&self, operation: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        self.step(operation).await
    }

    /// 0 to 6, by Knuth's generator.
    fn draw(&self) -> u64 {
        let mut jitter = self.faults.jitter.lock();
        jitter.as_mut().map_or(0, |state| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33) % 7
        })
    }

    async fn step<R>(&self, operation: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        let faults = &self.faults;
        let step = faults.steps.fetch_add(1, Ordering::SeqCst);
        let sleeps = *faults.sleep_at.lock() == Some(step);
        if sleeps {
            faults.asleep.notify_one();
            faults.woken.notified().await;
        }
        for _ in 0..self.draw() {
            tokio::task::yield_now().await;
        }
        let failed = || Err(StoreError::failed("operation", "", "the test says so"));
        if faults.dead.load(Ordering::SeqCst) {
            return failed();
        }
        let armed = faults.armed.lock().filter(|(at, _)| *at == step);
        let Some((_, fault)) = armed else { return operation.await };
        faults.struck.store(true, Ordering::SeqCst);
        if matches!(fault, Fault::FailAfter | Fault::CrashAfter) {
            let _ = operation.await; // nobody learns of it
        }
        faults.dead.store(matches!(fault, Fault::CrashBefore | Fault::CrashAfter), Ordering::SeqCst);
        failed()
    }
}

#[async_trait]
impl LakeStore for FaultyStore {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.moved(bytes.len());
        self.step(self.inner.create(path, bytes)).await
    }

    async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.moved(bytes.len());
        self.step(self.inner.replace(path, bytes)).await
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let found = self.step(self.inner.read(path, max_bytes)).await?;
        self.moved(found.as_ref().map_or(0, Bytes::len));
        Ok(found)
    }

    async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        self.step(self.inner.exists(path)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        self.step(self.inner.list(folder)).await
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.step(self.inner.delete(path)).await
    }

    fn address(&self, path: &str) -> String {
        self.inner.address(path)
    }
}

/// A format under test.
#[derive(Debug, Clone, Copy)]
pub enum TestFormat {
    Parquet,
    Iceberg,
    /// In a REST catalog.
    IcebergRest,
    Paimon,
}

impl TestFormat {
    pub const ALL: [TestFormat; 4] =
        [TestFormat::Parquet, TestFormat::Iceberg, TestFormat::IcebergRest, TestFormat::Paimon];

    pub fn target(self, store: &FaultyStore, table: &SourceTable, by: &str) -> Box<dyn Target> {
        let requests = ModelCatalog(store.clone());
        let store = Arc::new(store.clone());
        match self {
            TestFormat::Parquet => Box::new(ParquetTarget::new(store, table.schema.clone(), by.parse().unwrap())),
            TestFormat::Iceberg => {
                Box::new(IcebergTarget::new(store, table.schema.clone(), by.parse().unwrap()).unwrap())
            }
            TestFormat::IcebergRest => {
                let catalog = RestCatalog::new(requests, "weir", "flights", &store.address(""));
                let (schema, by) = (table.schema.clone(), by.parse().unwrap());
                Box::new(IcebergTarget::in_catalog(store, Box::new(catalog), schema, by).unwrap())
            }
            TestFormat::Paimon => {
                Box::new(PaimonTarget::new(store, table.schema.clone(), by.parse().unwrap()).unwrap())
            }
        }
    }

    /// Data that somebody else wrote.
    pub async fn make_foreign(self, store: &FaultyStore) {
        match self {
            TestFormat::Parquet => store.put("at_day=2013-01-01/part-0.parquet").await,
            TestFormat::Iceberg | TestFormat::IcebergRest => store.put("data/part-0.parquet").await,
            TestFormat::Paimon => store.put("bucket-0/data-1.parquet").await,
        }
    }

    /// What a crash can leave.
    pub fn orphans(self) -> &'static [&'static str] {
        match self {
            TestFormat::Parquet => &["_weir/.a.tmp", ".b.tmp", "k=v/.c.tmp"],
            TestFormat::Iceberg | TestFormat::IcebergRest => &[
                "data/weir-1.parquet",
                "data/k=v/weir-2.parquet",
                "metadata/1-m0.avro",
                "metadata/2-m1.avro",
                "metadata/snap-3-1-x.avro",
                "metadata/.d.tmp",
            ],
            TestFormat::Paimon => &[
                "bucket-0/data-weir-1-0.parquet",
                "k=v/bucket-0/data-weir-2-0.parquet",
                "manifest/manifest-weir-1-0",
                "manifest/manifest-list-weir-2-0",
                "snapshot/.d.tmp",
            ],
        }
    }
}

/// `(__partition, __offset, __value)` of every row that a reader of the table finds.
pub async fn rows_in(store: &FaultyStore, format: TestFormat) -> Vec<(i32, i64, Vec<u8>)> {
    let paths: Vec<String> = match format {
        TestFormat::Parquet => store.names().await.into_iter().filter(|path| path.ends_with(".parquet")).collect(),
        TestFormat::Iceberg | TestFormat::IcebergRest => files_of_iceberg(store).await,
        TestFormat::Paimon => files_of_paimon(store).await,
    };
    let mut rows = Vec::new();
    for path in paths {
        let bytes = store.bytes(&path).await;
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let (partitions, offsets, values) = (column("__partition"), column("__offset"), column("__value"));
            let (partitions, offsets) = (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
            let values = values.as_binary::<i32>();
            for row in 0..batch.num_rows() {
                rows.push((partitions.value(row), offsets.value(row), values.value(row).to_vec()));
            }
        }
    }
    rows
}

/// The data files that the newest version's current snapshot names, found as a reader does that knows nothing of us.
async fn files_of_iceberg(store: &FaultyStore) -> Vec<String> {
    let version = |name: &String| name.strip_prefix("metadata/v")?.strip_suffix(".metadata.json")?.parse::<u64>().ok();
    let Some(newest) = store.names().await.iter().filter_map(version).max() else { return Vec::new() };
    let table = store.bytes(&format!("metadata/v{newest}.metadata.json")).await;
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
    let current = &table["current-snapshot-id"];
    let snapshots = table["snapshots"].as_array().unwrap();
    let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == *current) else {
        return Vec::new();
    };
    let relative = |address: String| address.strip_prefix("memory:///lake/weir/flights/").unwrap().to_owned();
    let (mut files, mut counted) = (Vec::new(), 0);
    let list = store.bytes(&relative(snapshot["manifest-list"].as_str().unwrap().to_owned())).await;
    for manifest in records(&list) {
        let path = text(&manifest, "manifest_path");
        let bytes = store.bytes(&relative(path)).await;
        assert_eq!(bytes.len() as i64, long(&manifest, "manifest_length"));
        counted += long(&manifest, "added_files_count") + long(&manifest, "existing_files_count");
        files.extend(records(&bytes).iter().map(|entry| relative(text(&member(entry, "data_file"), "file_path"))));
    }
    assert_eq!(counted, files.len() as i64, "the list counts the files of its manifests");
    assert_eq!(snapshot["summary"]["total-data-files"], files.len().to_string());
    files
}

/// The data files of the newest snapshot, found as a reader does that knows nothing of us.
pub async fn files_of_paimon(store: &FaultyStore) -> Vec<String> {
    let names = store.names().await;
    let id = |name: &String| name.strip_prefix("snapshot/snapshot-")?.parse::<u64>().ok();
    let Some(newest) = names.iter().filter_map(id).max() else { return Vec::new() };
    let json = |bytes: Bytes| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    let snapshot = json(store.bytes(&format!("snapshot/snapshot-{newest}")).await);
    assert_eq!(snapshot["id"], newest);
    let schema = json(store.bytes(&format!("schema/schema-{}", snapshot["schemaId"])).await);
    let (mut files, mut rows) = (BTreeMap::new(), 0);
    for (list, size) in [("baseManifestList", "baseManifestListSize"), ("deltaManifestList", "deltaManifestListSize")] {
        let bytes = store.bytes(&format!("manifest/{}", snapshot[list].as_str().unwrap())).await;
        assert_eq!(snapshot[size], bytes.len());
        for manifest in records(&bytes) {
            let bytes = store.bytes(&format!("manifest/{}", text(&manifest, "_FILE_NAME"))).await;
            assert_eq!(bytes.len() as i64, long(&manifest, "_FILE_SIZE"));
            let entries = records(&bytes);
            let counted = (long(&manifest, "_NUM_ADDED_FILES"), long(&manifest, "_NUM_DELETED_FILES"));
            assert_eq!(entries.len() as i64, counted.0 + counted.1);
            for entry in entries {
                let file = member(&entry, "_FILE");
                let (name, count) = (text(&file, "_FILE_NAME"), long(&file, "_ROW_COUNT"));
                if long(&entry, "_KIND") == 1 {
                    rows -= count;
                    assert!(files.remove(&name).is_some(), "{name} was not there");
                    continue;
                }
                assert_eq!(long(&file, "_SCHEMA_ID"), schema["id"].as_i64().unwrap());
                rows += count;
                // Names are used once.
                let end = format!("bucket-{}/{name}", long(&entry, "_BUCKET"));
                let mut found = names.iter().filter(|path| path.ends_with(&end));
                let path = found.next().unwrap_or_else(|| panic!("{name} is missing")).clone();
                assert_eq!(found.next(), None);
                assert_eq!(files.insert(name, path), None, "added twice");
            }
        }
    }
    assert_eq!(snapshot["totalRecordCount"], rows, "the snapshot counts the rows of its files");
    files.into_values().collect()
}

type Avro = apache_avro::types::Value;

fn records(bytes: &[u8]) -> Vec<Avro> {
    apache_avro::Reader::new(bytes).unwrap().collect::<Result<_, _>>().unwrap()
}

fn member(record: &Avro, name: &str) -> Avro {
    let Avro::Record(fields) = record else { panic!("{record:?}") };
    fields.iter().find(|(field, _)| field == name).unwrap().1.clone()
}

fn text(record: &Avro, name: &str) -> String {
    let Avro::String(text) = member(record, name) else { panic!("{name}") };
    text
}

fn long(record: &Avro, name: &str) -> i64 {
    match member(record, name) {
        Avro::Int(number) => number.into(),
        Avro::Long(number) => number,
        other => panic!("{name}: {other:?}"),
    }
}
