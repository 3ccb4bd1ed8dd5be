//! What other engines do to a table of ours.
//!
//! Seen failing: manifests that are merged behind what others took out, a snapshot under a number that was free again, and a tag that
//! is believed after the table was set back.
use super::*;
use crate::target::avro::{AvroSchema, record};

impl Table {
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
        let new = snapshot::NewSnapshot {
            id: table.id + 1,
            schema_id: 0,
            base,
            delta,
            rows: 0,
            kind: "APPEND",
            record: &self.record,
        };
        let mut snapshot = snapshot::new_snapshot(&new, Some(&table.snapshot));
        snapshot["commitUser"] = json!("somebody");
        snapshot["properties"] = Value::Null;
        snapshot["commitKind"] = json!("COMPACT");
        let bytes = serde_json::to_vec(&snapshot).unwrap();
        other.store.create(&snapshot_path(table.id + 1), bytes.into()).await.unwrap();
        table.id + 1
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
