//! Seen failing: merged manifests without inherited sequence numbers, and a snapshot log that names expired snapshots.
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::{DataType, Field, Schema};
use serde_json::json;

use super::*;
use crate::columns::with_id;
use crate::commit::CommitContext;
use crate::encode::Encoder;
use crate::store::LocalStore;

fn table_schema() -> SchemaRef {
    let fields = [("n", DataType::Int64), ("carrier", DataType::Utf8)];
    let fields: Vec<Field> =
        fields.into_iter().zip(1..).map(|((name, t), id)| with_id(Field::new(name, t, true), id)).collect();
    Arc::new(Schema::new(fields))
}

struct Table {
    _folder: tempfile::TempDir,
    target: IcebergTarget,
    record: CommitRecord,
}

impl Table {
    fn new(by: &str) -> Table {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::new(folder.path().join("weir/flights")));
        let target = IcebergTarget::new(store, table_schema(), by.parse().unwrap()).unwrap();
        Table { _folder: folder, target, record: context(by, 0).empty() }
    }

    async fn append(&mut self, by: &str, n: i64, now_ms: i64) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![n, n + 1])),
            Arc::new(StringArray::from(vec!["UA", "a carrier with a name"])),
        ];
        let batch = arrow_array::RecordBatch::try_new(table_schema(), columns).unwrap();
        let mut encoder = Encoder::new(table_schema(), self.target.file_schema().clone(), by.parse().unwrap());
        encoder.push(batch).unwrap();
        let file = |file: EncodedFile| RoundFile { range: None, path: self.target.path(None, &file), file };
        let files: Vec<RoundFile> = encoder.finish().unwrap().into_iter().map(file).collect();
        self.target.write(&files).await.unwrap();
        self.record = CommitRecord {
            epoch: self.record.epoch + 1,
            commit: Uuid::new_v4(),
            rows: self.record.rows + 2,
            committed_at_ms: now_ms,
            ..self.record.clone()
        };
        self.target.publish(&self.record.clone(), &files).await.unwrap();
    }

    fn metadata(&self) -> &Value {
        &self.target.table.as_ref().unwrap().metadata
    }

    /// Entries of all manifests of the current snapshot, with the record of their manifest.
    async fn entries(&self) -> Vec<(Avro, Avro)> {
        let metadata = self.metadata();
        let writer =
            ManifestWriter::new(&self.target.spec, &self.target.file_schema, metadata::current_schema(metadata))
                .unwrap();
        let mut entries = Vec::new();
        for manifest in self.target.manifests(&writer, metadata).await.unwrap() {
            let bytes = self.target.read_at(avro::text(&manifest, "manifest_path").unwrap()).await.unwrap();
            entries.extend(writer.read_entries(&bytes).unwrap().into_iter().map(|entry| (manifest.clone(), entry)));
        }
        entries
    }
}

fn context(by: &str, now_ms: i64) -> CommitContext {
    let (topic, topic_id, commit) = ("flights".to_owned(), Uuid::from_u128(7), Uuid::new_v4());
    CommitContext { topic, topic_id, partition_by: by.to_owned(), commit, now_ms }
}

#[tokio::test]
async fn a_table_stays_small_over_many_commits_and_keeps_every_file_with_its_sequence_number() {
    let mut table = Table::new("");
    const COMMITS: i64 = 130;
    for n in 0..COMMITS {
        table.append("", n, n * 60_000).await;
    }
    let metadata = table.metadata().clone();
    let snapshots = metadata["snapshots"].as_array().unwrap().len();
    assert_eq!(snapshots, metadata["snapshot-log"].as_array().unwrap().len());
    assert!((20..=30).contains(&snapshots), "{snapshots} snapshots");
    assert_eq!(metadata["metadata-log"].as_array().unwrap().len(), metadata::METADATA_LOG);
    let mut sequences = Vec::new();
    let mut manifests = std::collections::BTreeSet::new();
    for (manifest, entry) in table.entries().await {
        manifests.insert(avro::text(&manifest, "manifest_path").unwrap().to_owned());
        let inherited = avro::number(&manifest, "sequence_number").unwrap();
        sequences.push(avro::number(&entry, "sequence_number").unwrap_or(inherited));
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=COMMITS).collect::<Vec<_>>());
    assert!(manifests.len() < MERGE_COUNT, "{} manifests", manifests.len());
    // What was expired and merged is swept, and nothing else.
    let swept = table.target.sweep(i64::MAX).await.unwrap();
    assert!(swept > 100, "{swept} swept");
    assert_eq!(table.entries().await.len(), COMMITS as usize);
    let record = table.target.load().await.unwrap().unwrap();
    assert_eq!(record, table.record);
}

#[tokio::test]
async fn manifests_tell_partitions_and_bounds() {
    let mut table = Table::new("carrier");
    table.append("carrier", 41, 1).await;
    let entries = table.entries().await;
    assert_eq!(entries.len(), 2, "a file for each carrier");
    let (manifest, entry) = &entries[0];
    let file = avro::field(entry, "data_file").unwrap();
    let bounds = |name: &str| format!("{:?}", avro::field(file, name).unwrap());
    assert!(bounds("lower_bounds").contains("Bytes([41, 0, 0, 0, 0, 0, 0, 0])"), "{}", bounds("lower_bounds"));
    assert!(bounds("upper_bounds").contains("Bytes([85, 65])"), "{}", bounds("upper_bounds"));
    let other = avro::field(&entries[1].1, "data_file").unwrap();
    let upper = format!("{:?}", avro::field(other, "upper_bounds").unwrap());
    assert!(!upper.contains("Int(2)"), "an upper bound that would have to be cut is left out: {upper}");
    let partitions = format!("{:?}", avro::field(manifest, "partitions").unwrap());
    assert!(partitions.contains("Bytes([85, 65])") && partitions.contains("Boolean(false)"), "{partitions}");
}

#[tokio::test]
async fn what_another_engine_adds_to_the_metadata_is_kept() {
    let mut table = Table::new("");
    table.append("", 1, 1).await;
    let Version { number, mut metadata } = table.target.table.clone().unwrap();
    metadata["properties"]["owner"] = json!("somebody");
    metadata["refs"]["kept"] = json!({ "snapshot-id": metadata["current-snapshot-id"], "type": "tag" });
    let path = format!("metadata/v{}.metadata.json", number + 1);
    table.target.store.create(&path, serde_json::to_vec(&metadata).unwrap().into()).await.unwrap();
    assert_eq!(table.target.load().await.unwrap(), Some(table.record.clone()), "their version is the newest");
    for n in 0..40 {
        table.append("", n, 10_000_000 + n * 1_000_000).await;
    }
    let metadata = table.metadata();
    assert_eq!(metadata["properties"]["owner"], "somebody");
    let tagged = &metadata["refs"]["kept"]["snapshot-id"];
    assert!(metadata["snapshots"].as_array().unwrap().iter().any(|snapshot| snapshot["snapshot-id"] == *tagged));
}

#[test]
fn schemas_may_change_as_iceberg_can_express_it() {
    let schema = |fields: Value| json!({ "type": "struct", "schema-id": 0, "fields": fields });
    let one = |t: Value, required: bool| schema(json!([{ "id": 1, "name": "a", "required": required, "type": t }]));
    let list = |t: &str| json!({ "type": "list", "element-id": 2, "element-required": false, "element": t });
    let good = [
        (one(json!("int"), true), one(json!("long"), false)),
        (one(json!("float"), false), one(json!("double"), false)),
        (one(json!("decimal(9, 2)"), false), one(json!("decimal(18, 2)"), false)),
        (one(list("int"), false), one(list("long"), false)),
        (one(json!("int"), false), schema(json!([]))),
        (schema(json!([])), one(json!("string"), false)),
    ];
    for (from, to) in good {
        assert_eq!(schema::check_change(&from, &to), Ok(()), "{from} -> {to}");
    }
    let bad = [
        (one(json!("long"), false), one(json!("int"), false)),
        (one(json!("int"), false), one(json!("string"), false)),
        (one(json!("int"), false), one(json!("int"), true)),
        (one(json!("decimal(9, 2)"), false), one(json!("decimal(18, 3)"), false)),
        (one(list("int"), false), one(json!("int"), false)),
        (schema(json!([])), one(json!("int"), true)),
    ];
    for (from, to) in bad {
        assert!(schema::check_change(&from, &to).is_err(), "{from} -> {to}");
    }
}

#[test]
fn an_evolved_schema_gets_an_id_of_its_own_and_one_that_was_there_its_old_one() {
    let schema = |names: &[&str]| {
        let field = |(name, id): (&&str, i32)| json!({ "id": id, "name": name, "required": false, "type": "int" });
        json!({ "type": "struct", "schema-id": 0, "fields": names.iter().zip(1..).map(field).collect::<Vec<_>>() })
    };
    let mut table = metadata::new_table("/t", &schema(&["a"]), Vec::new(), 1);
    assert_eq!(metadata::evolve(&mut table, &schema(&["a"])), Ok(0));
    assert_eq!(metadata::evolve(&mut table, &schema(&["a", "b"])), Ok(1));
    assert_eq!(table["last-column-id"], 2);
    assert_eq!(metadata::evolve(&mut table, &schema(&["a"])), Ok(0));
    assert_eq!(table["last-column-id"], 2, "ids are never given out again");
    assert_eq!((table["current-schema-id"].as_i64(), table["schemas"].as_array().unwrap().len()), (Some(0), 2));
}
