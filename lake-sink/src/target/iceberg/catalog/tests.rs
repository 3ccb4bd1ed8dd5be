//! What a REST catalog is asked for. The crash tests of `round` run these requests against a model of a catalog.
//!
//! Seen failing, with all of this broken at once: the branch's own settings and the requirement of where it is left out, no look at the
//! location, every 404 taken for a table that does not exist, and failures taken for refusals.
use serde_json::{Value, json};

use super::changes::{between, creating};
use super::*;
use crate::rest::{Answer, Ask, CatalogRequests};
use crate::store::StoreError;
use crate::target::Pause;

fn snapshot(id: i64) -> Value {
    json!({ "snapshot-id": id, "sequence-number": id, "manifest-list": format!("/t/snap-{id}") })
}

fn table(snapshots: &[i64], main: Option<i64>) -> Value {
    let mut table = json!({
        "format-version": 2, "table-uuid": "u", "location": "/t", "last-column-id": 7, "current-schema-id": 0,
        "schemas": [{ "schema-id": 0, "fields": [] }], "partition-specs": [{ "spec-id": 0, "fields": [] }],
        "sort-orders": [{ "order-id": 0, "fields": [] }], "properties": { "owner": "somebody", "weir.offsets": "1" },
        "refs": {}, "snapshots": snapshots.iter().copied().map(snapshot).collect::<Vec<_>>(),
    });
    if let Some(main) = main {
        table["refs"]["main"] = json!({ "type": "branch", "snapshot-id": main, "max-ref-age-ms": 9 });
    }
    table
}

#[test]
fn a_commit_requires_the_branch_where_it_was_and_tells_no_more_than_what_changed() {
    let base = table(&[1, 2], Some(2));
    let mut next = table(&[2, 3], Some(3));
    next["properties"]["weir.offsets"] = json!("2");
    let changes = between(&base, &next);
    let requirements = [
        json!({ "type": "assert-table-uuid", "uuid": "u" }),
        json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 2 }),
    ];
    assert_eq!(changes.requirements, requirements);
    let updates = [
        json!({ "action": "add-snapshot", "snapshot": snapshot(3) }),
        json!({ "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 3, "max-ref-age-ms": 9 }),
        json!({ "action": "set-properties", "updates": { "weir.offsets": "2" } }),
        json!({ "action": "remove-snapshots", "snapshot-ids": [1] }),
    ];
    assert_eq!(changes.updates, updates);
}

/// The first snapshot of a table without one requires that there is none.
#[test]
fn a_branch_that_is_not_there_is_required_not_to_be() {
    let changes = between(&table(&[], None), &table(&[1], Some(1)));
    assert_eq!(
        changes.requirements[1],
        json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null })
    );
}

#[test]
fn a_new_schema_becomes_the_current_one_and_an_old_one_by_its_number() {
    let base = table(&[1], Some(1));
    let mut next = base.clone();
    let schema = json!({ "schema-id": 1, "fields": [{ "id": 8 }] });
    next["schemas"].as_array_mut().unwrap().push(schema.clone());
    next["current-schema-id"] = json!(1);
    next["last-column-id"] = json!(8);
    let changes = between(&base, &next);
    let updates = [
        json!({ "action": "add-schema", "schema": schema, "last-column-id": 8 }),
        json!({ "action": "set-current-schema", "schema-id": -1 }),
    ];
    assert_eq!(changes.updates, updates);
    let schemas = [
        json!({ "type": "assert-current-schema-id", "current-schema-id": 0 }),
        json!({ "type": "assert-last-assigned-field-id", "last-assigned-field-id": 7 }),
    ];
    assert_eq!(changes.requirements[2..], schemas);
    let mut back = next.clone();
    back["current-schema-id"] = json!(0);
    let updates = [json!({ "action": "set-current-schema", "schema-id": 0 })];
    assert_eq!(between(&next, &back).updates, updates);
}

#[test]
fn a_table_begins_with_all_that_it_has() {
    let changes = creating(&table(&[1], Some(1)));
    assert_eq!(changes.requirements, [json!({ "type": "assert-create" })]);
    let actions: Vec<&str> = changes.updates.iter().map(|update| update["action"].as_str().unwrap()).collect();
    let expected = [
        "assign-uuid",
        "upgrade-format-version",
        "add-schema",
        "set-current-schema",
        "add-spec",
        "set-default-spec",
        "add-sort-order",
        "set-default-sort-order",
        "set-location",
        "set-properties",
        "add-snapshot",
        "set-snapshot-ref",
    ];
    assert_eq!(actions, expected);
}

/// Answers everything alike.
struct Always(Answer);

#[async_trait]
impl CatalogRequests for Always {
    async fn ask(&self, _path: &str, _ask: Ask) -> Result<Answer, StoreError> {
        Ok(self.0.clone())
    }

    fn address(&self) -> String {
        "http://catalog".to_owned()
    }
}

async fn load(status: u16, body: Value) -> Result<Option<Version>, TargetError> {
    RestCatalog::new(Always(Answer { status, body }), "weir", "flights", "/t/").load().await
}

#[tokio::test]
async fn only_a_table_at_its_place_is_loaded_and_only_a_catalog_says_that_there_is_none() {
    let metadata = table(&[1], Some(1));
    let found = load(200, json!({ "metadata": metadata })).await.unwrap().unwrap();
    assert_eq!(found.metadata, metadata);
    for location in ["file:///t", "file:/t/", "/t"] {
        let mut metadata = metadata.clone();
        metadata["location"] = json!(location);
        assert!(load(200, json!({ "metadata": metadata })).await.unwrap().is_some(), "{location}");
    }
    let gone = json!({ "error": { "message": "Table does not exist", "type": "NoSuchTableException", "code": 404 } });
    assert_eq!(load(404, gone).await, Ok(None));
    for (status, body) in
        [(404, json!(null)), (200, json!({})), (200, json!(null)), (503, json!(null)), (302, json!(null))]
    {
        let error = load(status, body).await.unwrap_err();
        assert!(matches!(&error, TargetError::Store(StoreError::Failed { .. })), "{status}: {error}");
        assert!(error.to_string().contains("weir.flights"), "{error}");
    }
    let mut elsewhere = metadata.clone();
    elsewhere["location"] = json!("/secret");
    let error = load(200, json!({ "metadata": elsewhere })).await.unwrap_err();
    assert!(matches!(&error, TargetError::Pause(Pause::Path(text)) if text.contains("weir.lake.path")), "{error}");
}

#[tokio::test]
async fn what_a_catalog_does_not_confirm_is_no_commit() {
    for status in [400, 409, 500, 503, 504] {
        let body = json!({ "error": { "message": "not now", "type": "X", "code": status } });
        let catalog = RestCatalog::new(Always(Answer { status, body }), "weir", "flights", "/t");
        let base = Version { number: 0, metadata: table(&[1], Some(1)) };
        let error = catalog.commit(Some(&base), table(&[1, 2], Some(2))).await.unwrap_err();
        let refused = matches!(&error, TargetError::Store(StoreError::Exists { .. }));
        assert_eq!(refused, status == 409, "{status}: {error}");
    }
}
