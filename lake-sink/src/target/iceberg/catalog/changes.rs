//! What a REST catalog is asked for, so that metadata becomes what it should be: requirements and updates, in the words of
//! Iceberg's REST catalog specification. Pure.
use serde_json::{Value, json};

/// The body of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The catalog refuses the commit unless all of them hold.
    pub requirements: Vec<Value>,
    pub updates: Vec<Value>,
}

/// From `base` to `next`. Of all commits on the same base the catalog takes one: each has a new snapshot, and each requires that the
/// main branch is where it was.
#[must_use]
pub fn between(base: &Value, next: &Value) -> Changes {
    let main = |table: &Value| table["refs"]["main"].clone();
    let mut requirements = vec![
        json!({ "type": "assert-table-uuid", "uuid": base["table-uuid"] }),
        json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": main(base)["snapshot-id"] }),
    ];
    let mut updates = Vec::new();
    let known = ids(base, "schemas", "schema-id");
    let new: Vec<&Value> = items(next, "schemas").filter(|schema| !known.contains(&schema["schema-id"])).collect();
    if !new.is_empty() || base["current-schema-id"] != next["current-schema-id"] {
        requirements
            .push(json!({ "type": "assert-current-schema-id", "current-schema-id": base["current-schema-id"] }));
        requirements
            .push(json!({ "type": "assert-last-assigned-field-id", "last-assigned-field-id": base["last-column-id"] }));
    }
    let last_column = &next["last-column-id"];
    updates.extend(
        new.iter().map(|schema| json!({ "action": "add-schema", "schema": schema, "last-column-id": last_column })),
    );
    if base["current-schema-id"] != next["current-schema-id"] {
        // -1 is what was added last, whatever number the catalog gave it.
        let added = new.iter().any(|schema| schema["schema-id"] == next["current-schema-id"]);
        let id = if added { json!(-1) } else { next["current-schema-id"].clone() };
        updates.push(json!({ "action": "set-current-schema", "schema-id": id }));
    }
    updates.extend(snapshots(base, next));
    if main(base) != main(next) {
        updates.push(set_main(&main(next)));
    }
    updates.extend(properties(base, next));
    let kept = ids(next, "snapshots", "snapshot-id");
    let gone: Vec<Value> = ids(base, "snapshots", "snapshot-id").into_iter().filter(|id| !kept.contains(id)).collect();
    if !gone.is_empty() {
        updates.push(json!({ "action": "remove-snapshots", "snapshot-ids": gone }));
    }
    Changes { requirements, updates }
}

/// All of a table that is not there yet.
#[must_use]
pub fn creating(next: &Value) -> Changes {
    let mut updates = vec![
        json!({ "action": "assign-uuid", "uuid": next["table-uuid"] }),
        json!({ "action": "upgrade-format-version", "format-version": next["format-version"] }),
    ];
    let last_column = &next["last-column-id"];
    let added = items(next, "schemas")
        .map(|schema| json!({ "action": "add-schema", "schema": schema, "last-column-id": last_column }));
    updates.extend(added);
    updates.push(json!({ "action": "set-current-schema", "schema-id": -1 }));
    updates.extend(items(next, "partition-specs").map(|spec| json!({ "action": "add-spec", "spec": spec })));
    updates.push(json!({ "action": "set-default-spec", "spec-id": -1 }));
    updates.extend(items(next, "sort-orders").map(|order| json!({ "action": "add-sort-order", "sort-order": order })));
    updates.push(json!({ "action": "set-default-sort-order", "sort-order-id": -1 }));
    updates.push(json!({ "action": "set-location", "location": next["location"] }));
    updates.extend(properties(&Value::Null, next));
    updates.extend(snapshots(&Value::Null, next));
    if next["refs"]["main"].is_object() {
        updates.push(set_main(&next["refs"]["main"]));
    }
    Changes { requirements: vec![json!({ "type": "assert-create" })], updates }
}

fn items<'a>(table: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    table[list].as_array().into_iter().flatten()
}

fn ids(table: &Value, list: &str, id: &str) -> Vec<Value> {
    items(table, list).map(|item| item[id].clone()).collect()
}

fn snapshots(base: &Value, next: &Value) -> Vec<Value> {
    let known = ids(base, "snapshots", "snapshot-id");
    let new = items(next, "snapshots").filter(|snapshot| !known.contains(&snapshot["snapshot-id"]));
    new.map(|snapshot| json!({ "action": "add-snapshot", "snapshot": snapshot })).collect()
}

/// With what others said of the branch, such as how long its snapshots stay.
fn set_main(main: &Value) -> Value {
    let mut update = main.clone();
    update["action"] = json!("set-snapshot-ref");
    update["ref-name"] = json!("main");
    update
}

fn properties(base: &Value, next: &Value) -> Option<Value> {
    let changed = next["properties"].as_object().into_iter().flatten();
    let changed: serde_json::Map<String, Value> = changed
        .filter(|(name, value)| base["properties"].get(name.as_str()) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!changed.is_empty()).then(|| json!({ "action": "set-properties", "updates": changed }))
}
