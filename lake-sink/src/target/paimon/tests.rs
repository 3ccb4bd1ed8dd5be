//! Seen failing: manifests that are merged behind what others took out, a snapshot under a number that was free again, and a tag that
//! is believed after the table was set back.
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use serde_json::json;

use super::*;
use crate::columns::with_id;
use crate::commit::CommitContext;
use crate::encode::Encoder;
use crate::store::LocalStore;
use crate::target::avro::{AvroSchema, record};

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

    /// Another engine takes `files` out of the table, as compaction does, and commits on top of what is there.
    async fn foreign_commit(&self, removed: &[manifest::NamedFile]) -> i64 {
        let other = self.again().await;
        let table = other.table.clone().unwrap();
        let stats = || {
            record(vec![
                ("_MIN_VALUES", bytes(&[])),
                ("_MAX_VALUES", bytes(&[])),
                ("_NULL_COUNTS", crate::target::avro::none()),
            ])
        };
        let entries: Vec<_> = removed.iter().map(|file| foreign_entry(&file.name, stats())).collect();
        let schema = AvroSchema::parse(&foreign_schema()).unwrap();
        let size = schema.write(&[], entries.clone()).unwrap().len() as i64;
        let manifest = other.put("manifest-foreign", schema.write(&[], entries)).await.unwrap().0;
        let (deleted, partitions) = (removed.len() as i64, other.writer.partition_stats(&[]).record());
        let added = ManifestMeta { name: manifest, size, added: 0, deleted, schema_id: 0, partitions };
        let base = other.put("manifest-list-foreign", other.writer.list(&table.manifests)).await.unwrap();
        let delta = other.put("manifest-list-foreign", other.writer.list(&[added])).await.unwrap();
        let new = NewSnapshot { id: table.id + 1, schema_id: 0, base, delta, rows: 0, record: &self.record };
        let mut snapshot = snapshot::new_snapshot(&new, Some(&table.snapshot));
        snapshot["commitUser"] = json!("somebody");
        snapshot["properties"] = Value::Null;
        snapshot["commitKind"] = json!("COMPACT");
        let bytes = serde_json::to_vec(&snapshot).unwrap();
        other.store.create(&snapshot_path(table.id + 1), bytes.into()).await.unwrap();
        table.id + 1
    }

    async fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = self.target.store.list(folder).await.unwrap().into_iter().map(|e| e.path).collect();
        names.sort();
        names
    }
}

fn bytes(cells: &[binary_row::Cell]) -> apache_avro::types::Value {
    apache_avro::types::Value::Bytes(binary_row::stored(cells))
}

/// What another engine writes has other fields than ours.
fn foreign_schema() -> Value {
    let field = |name: &str, t: Value| json!({ "name": name, "type": t });
    let stats = json!({ "type": "record", "name": "stats", "fields": [
        field("_MIN_VALUES", json!("bytes")), field("_MAX_VALUES", json!("bytes")),
        field("_NULL_COUNTS", json!(["null", { "type": "array", "items": ["null", "long"] }])),
    ]});
    let file = json!({ "type": "record", "name": "file", "fields": [
        field("_FILE_NAME", json!("string")), field("_VALUE_STATS", stats), field("_FUTURE", json!(["null", "string"])),
    ]});
    json!({ "type": "record", "name": "entry", "fields": [
        field("_VERSION", json!("int")), field("_KIND", json!("int")), field("_PARTITION", json!("bytes")),
        field("_BUCKET", json!("int")), field("_TOTAL_BUCKETS", json!("int")), field("_FILE", file),
    ]})
}

fn foreign_entry(name: &str, stats: apache_avro::types::Value) -> apache_avro::types::Value {
    use apache_avro::types::Value as Avro;
    let file = record(vec![
        ("_FILE_NAME", Avro::String(name.to_owned())),
        ("_VALUE_STATS", stats),
        ("_FUTURE", crate::target::avro::some(Avro::String("?".to_owned()))),
    ]);
    record(vec![
        ("_VERSION", Avro::Int(2)),
        ("_KIND", Avro::Int(1)),
        ("_PARTITION", bytes(&[])),
        ("_BUCKET", Avro::Int(0)),
        ("_TOTAL_BUCKETS", Avro::Int(-1)),
        ("_FILE", file),
    ])
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
    assert!(table.target.table.as_ref().unwrap().manifests.len() <= MERGE_COUNT);
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
async fn others_commit_and_expire_and_our_commit_stays_in_force() {
    let mut table = Table::new("");
    for n in 0..5 {
        table.append(n, n).await;
    }
    let files = table.named().await;
    let newest = table.foreign_commit(&files[..2]).await;
    let mut target = table.again().await;
    assert_eq!(target.load().await.unwrap(), Some(table.record.clone()), "theirs is the newest, ours is in force");
    // A commit of ours comes on top of theirs, after it found out.
    let files = table.files(100).await;
    let next = table.next(10);
    assert!(matches!(table.target.publish(&next, &files).await, Err(TargetError::Store(StoreError::Exists { .. }))));
    table.target.load().await.unwrap();
    table.target.publish(&next, &files).await.unwrap();
    table.record = next;
    assert_eq!(table.target.newest().await.unwrap(), Some(newest + 1));
    // They commit more and expire all of ours: the tag has it.
    for _ in 0..2 {
        table.foreign_commit(&[]).await;
    }
    for id in 1..=newest + 1 {
        table.target.store.delete(&snapshot_path(id)).await.unwrap();
    }
    let mut target = table.again().await;
    assert_eq!(target.load().await.unwrap(), Some(table.record.clone()));
    target.publish(&table.next(11), &[]).await.unwrap();
}

#[tokio::test]
async fn what_others_took_out_goes_when_its_snapshot_is_the_oldest_and_tags_keep_it() {
    let mut table = Table::new("");
    for n in 0..4 {
        table.append(n, 0).await;
    }
    let files = table.named().await;
    let tagged = serde_json::to_vec(table.snapshot()).unwrap();
    // One that a tag names, and one that came later.
    table.append(9, 0).await;
    let later: Vec<_> = table.named().await.into_iter().filter(|file| !files.contains(file)).collect();
    table.target.store.create("tag/tag-theirs", tagged.into()).await.unwrap();
    table.foreign_commit(&[files[0].clone(), later[0].clone()]).await;
    table.target.load().await.unwrap();
    let there = |table: &Table, file: &manifest::NamedFile| {
        table.folder.path().join("weir.db/flights").join(file.path.as_ref().unwrap()).exists()
    };
    for n in 0..60 {
        assert!(n > 10 || there(&table, &later[0]), "older snapshots have it");
        table.append(n, 1_000_000 * n).await;
    }
    assert!(!there(&table, &later[0]) && there(&table, &files[0]), "a tag names it");
    assert!(files.iter().all(|file| there(&table, file)));
    // Readers go by the order: nothing is taken out before it is added.
    let mut added = std::collections::BTreeSet::new();
    for file in table.named().await {
        assert!(!file.deleted || added.contains(&file.name), "{} is taken out before it is added", file.name);
        added.insert(file.name);
    }
    assert!(table.target.table.as_ref().unwrap().manifests.len() < 60, "manifests were merged");
    assert_eq!(table.target.sweep(i64::MAX).await.unwrap(), 0, "what a tag names is no orphan");
}

#[tokio::test]
async fn a_consumer_of_another_engine_keeps_what_it_reads_next() {
    let mut table = Table::new("");
    table.append(0, 0).await;
    let consumer = json!({ "nextSnapshot": 7 }).to_string();
    table.target.store.create("consumer/consumer-flink", consumer.into()).await.unwrap();
    for n in 1..80 {
        table.append(n, n * 1_000_000).await;
    }
    assert!(table.names("snapshot").await.contains(&"snapshot/snapshot-7".to_owned()));
    table.target.store.delete("consumer/consumer-flink").await.unwrap();
    table.append(80, 81_000_000).await;
    assert!(!table.names("snapshot").await.contains(&"snapshot/snapshot-7".to_owned()));
}

#[tokio::test]
async fn a_number_that_is_free_because_it_expired_is_not_committed_under() {
    let mut table = Table::new("");
    let mut early = open(&table.folder, &flights(), "");
    assert_eq!(early.load().await.unwrap(), None);
    table.append(0, 0).await;
    let mut asleep = table.again().await;
    let before = table.next(5);
    for n in 1..60 {
        table.append(n, n * 1_000_000).await;
    }
    let snapshots = table.names("snapshot").await;
    assert!(!snapshots.contains(&"snapshot/snapshot-2".to_owned()));
    for target in [&mut asleep, &mut early] {
        // The one that knows a parent sees that it is gone.
        assert!(target.publish(&before, &[]).await.is_err());
        target.table = None;
        assert!(target.publish(&before, &[]).await.is_err());
        assert_eq!(table.names("snapshot").await, snapshots);
    }
    assert_eq!(table.again().await.load().await.unwrap(), Some(table.record.clone()));
}

#[tokio::test]
async fn a_table_that_was_set_back_goes_on_from_there_and_one_without_our_commits_pauses() {
    let mut table = Table::new("");
    for n in 0..5 {
        table.append(n, n).await;
    }
    let record = |value: &Value| snapshot::record_of(value).unwrap().unwrap();
    let third = record(&table.target.read_snapshot(3).await.unwrap());
    for id in [4, 5] {
        table.target.store.delete(&snapshot_path(id)).await.unwrap();
    }
    let mut target = table.again().await;
    assert_eq!(target.load().await.unwrap(), Some(third.clone()));
    let tag = target.read_json(TAG).await.unwrap().unwrap();
    assert_eq!(record(&tag), third, "the tag is set back too");
    // Somebody else's table under our tag.
    for id in 1..=3 {
        let mut snapshot = target.read_snapshot(id).await.unwrap();
        snapshot["commitUser"] = json!("somebody");
        let bytes = serde_json::to_vec(&snapshot).unwrap();
        target.store.replace(&snapshot_path(id), bytes.into()).await.unwrap();
    }
    let error = target.load().await.unwrap_err();
    assert!(matches!(&error, TargetError::Pause(Pause::Lost { .. })), "{error}");
    assert!(target.publish(&table.next(9), &[]).await.is_err(), "and it is not begun anew");
    target.store.delete(TAG).await.unwrap();
    target.store.delete(INTENT).await.unwrap();
    let error = target.load().await.unwrap_err();
    assert!(matches!(&error, TargetError::Pause(Pause::Foreign { .. })), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_somebody_replaced_is_noticed_before_the_next_commit() {
    let mut table = Table::new("");
    table.append(0, 0).await;
    table.append(1, 1).await;
    let mut theirs = table.target.read_snapshot(2).await.unwrap();
    theirs["commitUser"] = json!("somebody");
    theirs["uuid"] = json!("another");
    table.target.store.replace(&snapshot_path(2), serde_json::to_vec(&theirs).unwrap().into()).await.unwrap();
    let error = table.target.publish(&table.next(2), &[]).await.unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
    let found = table.target.load().await.unwrap().unwrap();
    assert_eq!(found.epoch, 1, "what was in it is tiered again");
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

#[tokio::test]
async fn tables_of_others_are_refused_also_while_they_are_empty() {
    for (path, content) in
        [("schema/schema-0", json!({ "id": 0, "options": {} })), ("snapshot/snapshot-1", json!({ "id": 1 }))]
    {
        let mut table = Table::new("");
        table.target.store.create(path, content.to_string().into()).await.unwrap();
        let error = table.target.load().await.unwrap_err();
        assert!(matches!(&error, TargetError::Pause(Pause::Foreign { .. })), "{path}: {error}");
    }
    // What our own first commit left when it died goes on.
    let mut table = Table::new("");
    let files = table.files(1).await;
    table.target.ensure_schema(&table.next(1)).await.unwrap();
    assert_eq!(table.target.load().await.unwrap(), None);
    table.target.publish(&table.next(1), &files).await.unwrap();
}

#[tokio::test]
async fn files_that_others_damaged_are_named_in_the_error_and_take_nothing() {
    let paths = ["snapshot/snapshot-2", "manifest/", "schema/schema-0"];
    for path in paths {
        for content in ["", "{", "null", "[]", "{\"id\": 2}", "Obj\u{1}", "\u{0}\u{0}\u{0}"] {
            let mut table = Table::new("");
            table.append(0, 0).await;
            table.append(1, 1).await;
            let base = table.snapshot()["baseManifestList"].as_str().unwrap().to_owned();
            let path = if path == "manifest/" { format!("manifest/{base}") } else { path.to_owned() };
            table.target.store.replace(&path, content.to_owned().into()).await.unwrap();
            let mut target = open(&table.folder, &flights(), "");
            let error = match target.load().await {
                Err(error) => error,
                Ok(_) => target.publish(&table.next(2), &[]).await.unwrap_err(),
            };
            let text = error.to_string();
            assert!(matches!(error, TargetError::Pause(_)), "{path} with {content:?}: {text}");
            assert_eq!(table.names("snapshot").await.len(), 4, "{text}");
        }
    }
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
