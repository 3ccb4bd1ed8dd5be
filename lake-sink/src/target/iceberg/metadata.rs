//! Table metadata of format version 2, as JSON: what others put into it is kept.
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::schema::{PARTITION_ID_BASE, SchemaError, check_change, last_id};
use crate::commit::CommitRecord;

/// Table property that holds our [`CommitRecord`]: expiring snapshots does not take it away.
pub const OFFSETS_PROPERTY: &str = "weir.offsets";
/// Snapshots that stay however old they are.
const SNAPSHOTS_MIN: usize = 20;
/// Snapshots that stay at most, so that a commit costs the same for ever.
const SNAPSHOTS_MAX: usize = 200;
/// Younger snapshots stay: somebody may read them.
const SNAPSHOT_AGE_MS: i64 = 600_000;
/// Earlier metadata files that are listed.
pub const METADATA_LOG: usize = 20;

/// A new table without a snapshot.
pub fn new_table(location: &str, schema: &Value, partitions: Vec<Value>, now_ms: i64) -> Value {
    let last_partition = PARTITION_ID_BASE - 1 + partitions.len() as i32;
    json!({
        "format-version": 2,
        "table-uuid": Uuid::new_v4().to_string(),
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": now_ms,
        "last-column-id": last_id(schema),
        "current-schema-id": schema["schema-id"],
        "schemas": [schema],
        "default-spec-id": 0,
        "partition-specs": [{ "spec-id": 0, "fields": partitions }],
        "last-partition-id": last_partition,
        "default-sort-order-id": 0,
        "sort-orders": [{ "order-id": 0, "fields": [] }],
        "properties": { "write.format.default": "parquet", "write.parquet.compression-codec": "zstd" },
        "current-snapshot-id": -1,
        "refs": {},
        "snapshots": [],
        "statistics": [],
        "partition-statistics": [],
        "snapshot-log": [],
        "metadata-log": [],
    })
}

/// Our commit, if the table has one.
///
/// # Errors
/// Says what is wrong with it.
pub fn record_of(table: &Value) -> Result<Option<CommitRecord>, String> {
    match table["properties"][OFFSETS_PROPERTY].as_str() {
        None => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|error| format!("{OFFSETS_PROPERTY}: {error}")),
    }
}

/// The current schema.
pub fn current_schema(table: &Value) -> &Value {
    let current = &table["current-schema-id"];
    let schemas = table["schemas"].as_array().map(Vec::as_slice).unwrap_or_default();
    schemas.iter().find(|schema| schema["schema-id"] == *current).unwrap_or(&Value::Null)
}

/// The current snapshot, if there is one.
pub fn current_snapshot(table: &Value) -> Option<&Value> {
    let current = table["current-snapshot-id"].as_i64().filter(|id| *id >= 0)?;
    table["snapshots"].as_array()?.iter().find(|snapshot| snapshot["snapshot-id"] == current)
}

/// The id under which `schema` is in the table; it becomes the current one, and is added if it is new.
///
/// # Errors
/// [`SchemaError::Change`], if the table cannot become so.
pub fn evolve(table: &mut Value, schema: &Value) -> Result<i64, SchemaError> {
    let current = current_schema(table);
    if current["fields"] == schema["fields"] {
        return Ok(current["schema-id"].as_i64().unwrap_or(0));
    }
    check_change(current, schema)?;
    let schemas = table["schemas"].as_array().cloned().unwrap_or_default();
    let known = schemas.iter().find(|known| known["fields"] == schema["fields"]);
    let next = schemas.iter().filter_map(|known| known["schema-id"].as_i64()).max().unwrap_or(-1) + 1;
    let id = known.and_then(|known| known["schema-id"].as_i64()).unwrap_or(next);
    if known.is_none() {
        let mut schema = schema.clone();
        schema["schema-id"] = json!(id);
        table["last-column-id"] = json!(last_id(&schema).max(table["last-column-id"].as_i64().unwrap_or(0)));
        push(table, "schemas", schema);
    }
    table["current-schema-id"] = json!(id);
    Ok(id)
}

fn push(table: &mut Value, list: &str, item: Value) {
    match table[list].as_array_mut() {
        Some(items) => items.push(item),
        None => table[list] = json!([item]),
    }
}

/// What a commit adds.
pub struct NewSnapshot<'a> {
    pub id: i64,
    pub manifest_list: String,
    pub schema_id: i64,
    pub files: usize,
    pub rows: u64,
    pub bytes: u64,
    pub record: &'a CommitRecord,
}

/// The sequence number that the next snapshot has.
pub fn next_sequence(table: &Value) -> i64 {
    table["last-sequence-number"].as_i64().unwrap_or(0) + 1
}

/// Appends a snapshot and makes it the current one.
pub fn append_snapshot(table: &mut Value, new: &NewSnapshot<'_>) {
    let at = new.record.committed_at_ms.max(table["last-updated-ms"].as_i64().unwrap_or(0));
    let parent = current_snapshot(table).cloned();
    let total = |name: &str, added: u64| {
        let before = parent.as_ref().and_then(|p| p["summary"][name].as_str()?.parse::<u64>().ok()).unwrap_or(0);
        (before + added).to_string()
    };
    let summary = json!({
        "operation": "append",
        "added-data-files": new.files.to_string(),
        "added-records": new.rows.to_string(),
        "added-files-size": new.bytes.to_string(),
        "total-data-files": total("total-data-files", new.files as u64),
        "total-records": total("total-records", new.rows),
        "total-files-size": total("total-files-size", new.bytes),
        "total-delete-files": "0",
        "total-position-deletes": "0",
        "total-equality-deletes": "0",
        "weir.epoch": new.record.epoch.to_string(),
        "weir.commit": new.record.commit.to_string(),
    });
    let sequence = next_sequence(table);
    let mut snapshot = json!({
        "snapshot-id": new.id,
        "sequence-number": sequence,
        "timestamp-ms": at,
        "manifest-list": new.manifest_list,
        "summary": summary,
        "schema-id": new.schema_id,
    });
    if let Some(parent) = &parent {
        snapshot["parent-snapshot-id"] = parent["snapshot-id"].clone();
    }
    push(table, "snapshots", snapshot);
    push(table, "snapshot-log", json!({ "snapshot-id": new.id, "timestamp-ms": at }));
    table["last-sequence-number"] = json!(sequence);
    table["current-snapshot-id"] = json!(new.id);
    if !table["refs"].is_object() {
        table["refs"] = Value::Object(Map::new());
    }
    // What others said of the branch stays, such as how long its snapshots do.
    if !table["refs"]["main"].is_object() {
        table["refs"]["main"] = json!({ "type": "branch" });
    }
    table["refs"]["main"]["snapshot-id"] = json!(new.id);
}

/// Writes our commit into the properties.
pub fn set_record(table: &mut Value, record: &CommitRecord) {
    let before = table["last-updated-ms"].as_i64().unwrap_or(0);
    table["last-updated-ms"] = json!(record.committed_at_ms.max(before));
    if !table["properties"].is_object() {
        table["properties"] = Value::Object(Map::new());
    }
    // Numbers, strings and lists of them always serialise.
    table["properties"][OFFSETS_PROPERTY] = json!(serde_json::to_string(record).unwrap_or_default());
}

/// Notes the metadata file that this one follows.
pub fn log_previous(table: &mut Value, address: &str, previous: &Value) {
    let at = previous["last-updated-ms"].as_i64().unwrap_or(0);
    push(table, "metadata-log", json!({ "metadata-file": address, "timestamp-ms": at }));
    if let Some(log) = table["metadata-log"].as_array_mut() {
        let extra = log.len().saturating_sub(METADATA_LOG);
        log.drain(..extra);
    }
}

/// Takes out old snapshots that no branch or tag names. Their data is in the newer ones.
pub fn expire(table: &mut Value, now_ms: i64) {
    let named: Vec<i64> =
        table["refs"].as_object().into_iter().flatten().filter_map(|(_, r)| r["snapshot-id"].as_i64()).collect();
    let Some(snapshots) = table["snapshots"].as_array_mut() else { return };
    let count = snapshots.len();
    let mut at = 0;
    snapshots.retain(|snapshot| {
        at += 1;
        let from_end = count - at;
        let young = now_ms - snapshot["timestamp-ms"].as_i64().unwrap_or(0) < SNAPSHOT_AGE_MS;
        from_end < SNAPSHOTS_MIN
            || (young && from_end < SNAPSHOTS_MAX)
            || named.contains(&snapshot["snapshot-id"].as_i64().unwrap_or(-1))
    });
    let kept: Vec<Value> = snapshots.iter().map(|snapshot| snapshot["snapshot-id"].clone()).collect();
    // The log must not name what is gone; by the specification it begins behind the newest entry that does.
    if let Some(log) = table["snapshot-log"].as_array_mut() {
        let behind = log.iter().rposition(|entry| !kept.contains(&entry["snapshot-id"])).map_or(0, |at| at + 1);
        log.drain(..behind);
    }
}
