//! A REST catalog of one table, after Iceberg's specification of requests and updates, whose requests fail and crash as the operations
//! of a store do. It keeps what it has as numbered metadata files beside the table's, so it is as durable as they are.
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::lake::FaultyStore;
use crate::rest::{Answer, Ask, CatalogRequests};
use crate::store::{LakeStore, StoreError};

/// Clones of the store see the same catalog.
pub struct ModelCatalog(pub FaultyStore);

fn refusal(status: u16, message: &str) -> Answer {
    Answer { status, body: json!({ "error": { "message": message, "type": "Refused", "code": status } }) }
}

fn told(metadata: Value) -> Answer {
    Answer { status: 200, body: json!({ "metadata-location": "somewhere", "metadata": metadata }) }
}

impl ModelCatalog {
    async fn newest(&self) -> (u64, Option<Value>) {
        let number =
            |name: &String| name.strip_prefix("metadata/v")?.strip_suffix(".metadata.json")?.parse::<u64>().ok();
        match self.0.names().await.iter().filter_map(number).max() {
            None => (0, None),
            Some(newest) => {
                let bytes = self.0.bytes(&format!("metadata/v{newest}.metadata.json")).await;
                (newest, Some(serde_json::from_slice(&bytes).unwrap()))
            }
        }
    }

    async fn serve(&self, path: &str, ask: Ask) -> Answer {
        let (_, table) = self.newest().await;
        match (path, ask) {
            ("namespaces/weir/tables/flights", Ask::Get) => {
                table.map_or_else(|| refusal(404, "Table does not exist: weir.flights"), told)
            }
            ("namespaces", Ask::Post(body)) => {
                assert_eq!(body["namespace"], json!(["weir"]));
                Answer { status: 409, body: Value::Null }
            }
            ("namespaces/weir/tables", Ask::Post(body)) => {
                assert_eq!((&body["name"], &body["stage-create"]), (&json!("flights"), &json!(true)));
                if table.is_some() {
                    return refusal(409, "Table already exists: weir.flights");
                }
                // Columns are numbered anew, as the reference implementation does.
                told(json!({
                    "table-uuid": Uuid::new_v4().to_string(), "location": body["location"], "schemas": [{ "fields": [] }],
                }))
            }
            ("namespaces/weir/tables/flights", Ask::Post(body)) => self.commit(&body).await,
            (path, ask) => panic!("{path}: {ask:?}"),
        }
    }

    async fn commit(&self, body: &Value) -> Answer {
        loop {
            let (number, table) = self.newest().await;
            for requirement in body["requirements"].as_array().unwrap() {
                if !holds(requirement, table.as_ref()) {
                    return refusal(409, &format!("Requirement failed: {requirement}"));
                }
            }
            let mut next = table.unwrap_or_else(empty);
            let mut added = Value::Null;
            for update in body["updates"].as_array().unwrap() {
                if let Err(reason) = apply(update, &mut next, &mut added) {
                    return refusal(400, &reason);
                }
            }
            let bytes = Bytes::from(next.to_string());
            match self.0.beneath().create(&format!("metadata/v{}.metadata.json", number + 1), bytes).await {
                Ok(()) => return told(next),
                // Another commit came first: everything is looked at again.
                Err(StoreError::Exists { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn empty() -> Value {
    json!({ "schemas": [], "partition-specs": [], "sort-orders": [], "properties": {}, "refs": {}, "snapshots": [],
        "snapshot-log": [], "last-sequence-number": 0, "last-column-id": 0, "last-updated-ms": 0, "current-snapshot-id": -1 })
}

fn holds(requirement: &Value, table: Option<&Value>) -> bool {
    let Some(table) = table else { return requirement["type"] == "assert-create" };
    match requirement["type"].as_str().unwrap() {
        "assert-create" => false,
        "assert-table-uuid" => requirement["uuid"] == table["table-uuid"],
        "assert-ref-snapshot-id" => {
            requirement["snapshot-id"] == table["refs"][requirement["ref"].as_str().unwrap()]["snapshot-id"]
        }
        "assert-current-schema-id" => requirement["current-schema-id"] == table["current-schema-id"],
        "assert-last-assigned-field-id" => requirement["last-assigned-field-id"] == table["last-column-id"],
        other => panic!("{other}"),
    }
}

fn push(table: &mut Value, list: &str, item: &Value) {
    table[list].as_array_mut().unwrap().push(item.clone());
}

fn apply(update: &Value, table: &mut Value, added: &mut Value) -> Result<(), String> {
    let last_or = |id: &Value, last: &Value| if *id == -1 { last.clone() } else { id.clone() };
    match update["action"].as_str().unwrap() {
        "assign-uuid" => table["table-uuid"] = update["uuid"].clone(),
        "upgrade-format-version" => table["format-version"] = update["format-version"].clone(),
        "add-schema" => {
            let schema = &update["schema"];
            *added = schema["schema-id"].clone();
            table["last-column-id"] = update["last-column-id"].clone();
            push(table, "schemas", schema);
        }
        "set-current-schema" => table["current-schema-id"] = last_or(&update["schema-id"], added),
        "add-spec" => push(table, "partition-specs", &update["spec"]),
        "set-default-spec" => table["default-spec-id"] = json!(0),
        "add-sort-order" => push(table, "sort-orders", &update["sort-order"]),
        "set-default-sort-order" => table["default-sort-order-id"] = json!(0),
        "set-location" => table["location"] = update["location"].clone(),
        "set-properties" => {
            for (name, value) in update["updates"].as_object().unwrap() {
                assert!(value.is_string(), "properties are texts");
                table["properties"][name.as_str()] = value.clone();
            }
        }
        "add-snapshot" => {
            let (snapshot, last) = (&update["snapshot"], table["last-sequence-number"].as_i64().unwrap());
            if snapshot["sequence-number"].as_i64().unwrap() <= last {
                return Err("Cannot add snapshot with an older sequence number".to_owned());
            }
            table["last-sequence-number"] = snapshot["sequence-number"].clone();
            table["last-updated-ms"] = snapshot["timestamp-ms"].clone();
            push(table, "snapshots", snapshot);
        }
        "set-snapshot-ref" => {
            let (name, id) = (update["ref-name"].as_str().unwrap(), &update["snapshot-id"]);
            let snapshots = table["snapshots"].as_array().unwrap();
            let found = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == *id).cloned();
            let snapshot = found.ok_or("Cannot set a reference to an unknown snapshot")?;
            table["refs"][name] = json!({ "type": update["type"], "snapshot-id": id });
            if name == "main" {
                table["current-snapshot-id"] = id.clone();
                let entry = json!({ "snapshot-id": id, "timestamp-ms": snapshot["timestamp-ms"] });
                push(table, "snapshot-log", &entry);
            }
        }
        "remove-snapshots" => {
            let gone = update["snapshot-ids"].as_array().unwrap().clone();
            for list in ["snapshots", "snapshot-log"] {
                table[list].as_array_mut().unwrap().retain(|item| !gone.contains(&item["snapshot-id"]));
            }
        }
        other => return Err(format!("unknown update {other}")),
    }
    Ok(())
}

#[async_trait]
impl CatalogRequests for ModelCatalog {
    async fn ask(&self, path: &str, ask: Ask) -> Result<Answer, StoreError> {
        self.0.request(async { Ok(self.serve(path, ask).await) }).await
    }

    fn address(&self) -> String {
        "memory://catalog".to_owned()
    }
}
