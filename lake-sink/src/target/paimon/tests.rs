//! A table over many commits, and what its manifests and schemas say.
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use serde_json::json;

use super::*;
use crate::columns::with_id;
use crate::commit::CommitContext;
use crate::encode::Encoder;
use crate::store::LocalStore;

mod keyed;
mod others;

fn columns(names: &[(&str, DataType)]) -> SchemaRef {
    let field = |((name, t), id): (&(&str, DataType), i32)| with_id(Field::new(*name, t.clone(), true), id);
    Arc::new(Schema::new(names.iter().zip(1..).map(field).collect::<Vec<_>>()))
}

fn flights() -> SchemaRef {
    columns(&[("n", DataType::Int64), ("carrier", DataType::Utf8)])
}

struct Table {
    folder: tempfile::TempDir,
    target: PaimonTarget,
    record: CommitRecord,
}

fn open(folder: &tempfile::TempDir, schema: &SchemaRef, by: &str) -> PaimonTarget {
    let store = Arc::new(LocalStore::new(folder.path().join("weir.db/flights")));
    PaimonTarget::new(store, schema.clone(), by.parse().unwrap()).unwrap()
}

impl Table {
    fn new(by: &str) -> Table {
        let folder = tempfile::tempdir().unwrap();
        let target = open(&folder, &flights(), by);
        let (topic, topic_id, commit) = ("flights".to_owned(), Uuid::from_u128(7), Uuid::new_v4());
        let context = CommitContext { topic, topic_id, partition_by: by.to_owned(), commit, now_ms: 0 };
        Table { folder, target, record: context.empty() }
    }

    /// A process of its own, which has loaded the table.
    async fn again(&self) -> PaimonTarget {
        let mut target = open(&self.folder, &flights(), &self.record.partition_by);
        target.load().await.unwrap();
        target
    }

    fn next(&self, now_ms: i64) -> CommitRecord {
        let (epoch, rows) = (self.record.epoch + 1, self.record.rows + 2);
        CommitRecord { epoch, commit: Uuid::new_v4(), rows, committed_at_ms: now_ms, ..self.record.clone() }
    }

    async fn files(&mut self, n: i64) -> Vec<RoundFile> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![n, n + 1])),
            Arc::new(StringArray::from(vec!["UA", "a carrier with a / in its name"])),
        ];
        let batch = RecordBatch::try_new(flights(), columns).unwrap();
        let spec = self.record.partition_by.parse().unwrap();
        let mut encoder = Encoder::new(flights(), self.target.file_schema().clone(), spec);
        encoder.push(batch).unwrap();
        let file = |file: EncodedFile| RoundFile { range: None, path: self.target.path(None, &file), file };
        let files: Vec<RoundFile> = encoder.finish().unwrap().into_iter().map(file).collect();
        self.target.write(&files).await.unwrap();
        files
    }

    async fn append(&mut self, n: i64, now_ms: i64) {
        let files = self.files(n).await;
        let next = self.next(now_ms);
        self.target.publish(&next, &files).await.unwrap();
        self.record = next;
    }

    fn snapshot(&self) -> &Value {
        &self.target.table.as_ref().unwrap().snapshot
    }

    async fn named(&self) -> Vec<manifest::NamedFile> {
        let mut named = Vec::new();
        for manifest in &self.target.table.as_ref().unwrap().manifests {
            let bytes = self.target.read_manifest(&manifest.name).await.unwrap();
            named.extend(self.target.writer.named_files(&bytes).unwrap());
        }
        named
    }

    async fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = self.target.store.list(folder).await.unwrap().into_iter().map(|e| e.path).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_table_stays_small_over_many_commits_and_keeps_every_file() {
    let mut table = Table::new("");
    const COMMITS: i64 = 130;
    for n in 0..COMMITS {
        table.append(n * 2, n * 60_000).await;
    }
    let snapshots = table.names("snapshot").await.len() - 2;
    assert!((20..=31).contains(&snapshots), "{snapshots} snapshots");
    assert_eq!(table.target.hint(LATEST).await.unwrap(), Some(COMMITS));
    assert_eq!(table.target.hint(EARLIEST).await.unwrap(), Some(COMMITS - snapshots as i64 + 1));
    assert!(table.target.table.as_ref().unwrap().manifests.len() <= 2 * commit::MERGE_COUNT);
    let named = table.named().await;
    let distinct: std::collections::BTreeSet<_> = named.iter().map(|file| &file.name).collect();
    assert_eq!((named.len(), distinct.len()), (COMMITS as usize, COMMITS as usize));
    assert_eq!(table.snapshot()["totalRecordCount"], COMMITS * 2);
    assert!(table.names("manifest").await.len() < 150, "{}", table.names("manifest").await.len());
    // Expiry took what only it named: nothing is left for the sweep, and everything can be read.
    assert_eq!(table.target.sweep(i64::MAX).await.unwrap(), 0);
    let mut again = table.again().await;
    assert_eq!(again.load().await.unwrap(), Some(table.record.clone()));
    assert_eq!(table.named().await.len(), COMMITS as usize);
}

#[tokio::test]
async fn manifests_tell_partitions_and_bounds() {
    let mut table = Table::new("carrier");
    table.append(41, 1).await;
    let manifests = table.target.manifests(1, table.snapshot()).await.unwrap();
    let stats = format!("{:?}", manifests[0].partitions);
    assert!(stats.contains("Long(0)"), "no partition is null: {stats}");
    let bytes = table.target.read_manifest(&manifests[0].name).await.unwrap();
    let entries = crate::target::avro::read_as_written(&bytes).unwrap();
    assert_eq!(entries.len(), 2, "a file for each carrier");
    let file = |at: usize| crate::target::avro::field(&entries[at], "_FILE").unwrap().clone();
    let stats = file(0);
    let stats = crate::target::avro::field(&stats, "_VALUE_STATS").unwrap();
    let Some(apache_avro::types::Value::Bytes(min)) = crate::target::avro::field(stats, "_MIN_VALUES") else {
        panic!()
    };
    let types = [binary_row::CellType::Long, binary_row::CellType::Bytes];
    let wanted = vec![binary_row::Cell::Long(41), binary_row::Cell::Bytes(b"UA".to_vec())];
    assert_eq!(binary_row::read(min, &types), Some(wanted));
    // Readers that do not escape names of folders find the file by its full path.
    let external = |at: usize| crate::target::avro::text(&file(at), "_EXTERNAL_PATH").map(str::to_owned);
    assert_eq!(external(0), None);
    let path = external(1).unwrap();
    assert!(path.contains("carrier=a carrier with a %2F in its name/bucket-0/data-weir-"), "{path}");
    assert!(std::path::Path::new(&path).is_file());
}

#[tokio::test]
async fn columns_change_with_a_schema_file_of_their_own_and_old_files_keep_theirs() {
    let mut table = Table::new("");
    table.append(0, 0).await;
    let wider = columns(&[("number", DataType::Int64), ("carrier", DataType::Utf8), ("late", DataType::Boolean)]);
    let mut target = open(&table.folder, &wider, "");
    assert_eq!(target.load().await.unwrap(), Some(table.record.clone()));
    target.publish(&table.next(1), &[]).await.unwrap();
    assert_eq!(table.names("schema").await, ["schema/schema-0", "schema/schema-1"]);
    let schema = target.read_json("schema/schema-1").await.unwrap().unwrap();
    let names: Vec<_> = schema["fields"].as_array().unwrap().iter().map(|field| field["name"].clone()).collect();
    assert_eq!(names, [json!("number"), json!("carrier"), json!("late")]);
    assert_eq!(target.read_snapshot(2).await.unwrap()["schemaId"], 1);
    let other = columns(&[("number", DataType::Utf8)]);
    let mut target = open(&table.folder, &other, "");
    target.load().await.unwrap();
    let error = target.publish(&table.next(2), &[]).await.unwrap_err();
    assert!(matches!(&error, TargetError::Pause(Pause::Schema { reason }) if reason.contains("`number`")), "{error}");
}

/// What a commit costs does not grow with the number of commits before it.
#[tokio::test]
async fn a_commit_takes_as_many_operations_after_many_commits_as_after_few() {
    let store = crate::testing::lake::FaultyStore::default();
    let spec = PartitionSpec::default();
    let mut target = PaimonTarget::new(Arc::new(store.clone()), flights(), spec).unwrap();
    let mut table = Table::new("");
    let files = table.files(1).await;
    let (mut steps, mut before) = (Vec::new(), 0);
    for n in 0..420 {
        let next = table.next(n * 10_000);
        target.publish(&next, &files).await.unwrap();
        table.record = next;
        steps.push(store.steps() - before);
        before = store.steps();
    }
    let sum = |range: std::ops::Range<usize>| steps[range].iter().sum::<usize>();
    let (early, late) = (sum(120..180), sum(360..420));
    assert!(late <= early + early / 5, "60 commits took {early} operations, and later {late}");
}

#[tokio::test]
async fn every_type_of_a_topic_is_stored_as_readers_expect_it() {
    use arrow_array::types::Int64Type;
    use arrow_array::{
        Array, FixedSizeBinaryArray, ListArray, MapArray, StructArray, Time32SecondArray, TimestampSecondArray,
    };
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let numbered =
        |name: &str, t: DataType, nullable: bool, id: i32| Arc::new(with_id(Field::new(name, t, nullable), id));
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let item = numbered("item", DataType::Int64, true, 11);
    let (_, offsets, values, nulls) = list.into_parts();
    let list = ListArray::new(item, offsets, values, nulls);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let pair = vec![numbered("keys", DataType::Utf8, false, 12), numbered("values", DataType::Int64, true, 13)];
    let entries = StructArray::new(pair.clone().into(), vec![keys, numbers], None);
    let entries_field = Arc::new(Field::new("entries", DataType::Struct(pair.into()), false));
    let offsets = arrow_buffer::OffsetBuffer::from_lengths([1, 2]);
    let map = MapArray::new(entries_field, offsets, entries, None, false);
    let uuid = FixedSizeBinaryArray::try_from_iter([[7_u8; 16], [9; 16]].into_iter()).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("list", Arc::new(list)),
        ("map", Arc::new(map)),
        ("uuid", Arc::new(uuid)),
        ("time", Arc::new(Time32SecondArray::from(vec![5, 86_399]))),
        ("at", Arc::new(TimestampSecondArray::from(vec![5, -5]).with_timezone("UTC"))),
    ];
    let field = |((name, column), id): (&(&str, ArrayRef), i32)| numbered(name, column.data_type().clone(), true, id);
    let schema: SchemaRef = Arc::new(Schema::new(columns.iter().zip(1..).map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect()).unwrap();
    let spec = PartitionSpec::default();
    let store = Arc::new(LocalStore::new(tempfile::tempdir().unwrap().path()));
    let target = PaimonTarget::new(store, schema.clone(), spec.clone()).unwrap();
    let names: Vec<_> = target.fields.as_array().unwrap().iter().map(|f| f["type"].clone()).collect();
    assert_eq!(names[0], json!({ "type": "ARRAY", "element": "BIGINT" }));
    assert_eq!(names[1], json!({ "type": "MAP", "key": "STRING NOT NULL", "value": "BIGINT", "nullable": true }));
    assert_eq!(names[2..], [json!("BYTES"), json!("TIME(3)"), json!("TIMESTAMP(3) WITH LOCAL TIME ZONE")]);
    let mut encoder = Encoder::new(schema, target.file_schema().clone(), spec);
    encoder.push(batch).unwrap();
    let file = encoder.finish().unwrap().remove(0);
    let leaves: Vec<_> =
        file.metadata.file_metadata().schema_descr().columns().iter().map(|c| c.path().string()).collect();
    assert_eq!(leaves, ["list.list.element", "map.key_value.key", "map.key_value.value", "uuid", "time", "at"]);
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap().build().unwrap();
    let read = reader.next().unwrap().unwrap();
    assert_eq!(read.column(1).len(), 2);
    assert_eq!(
        format!("{:?}", read.column(4)),
        format!("{:?}", arrow_array::TimestampMillisecondArray::from(vec![5_000, -5_000]).with_timezone("UTC"))
    );
}
