use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::*;
use crate::registry::RegistryOptions;
use crate::store::MemoryStore;

async fn open() -> Arc<Registry> {
    let options = RegistryOptions { cluster_id: "cluster".to_owned() };
    Arc::new(Registry::open(Arc::new(MemoryStore::default()), options).await.unwrap())
}

/// Status, content type and body of what a request is answered.
async fn ask(registry: &Arc<Registry>, verb: &str, path: &str, body: Option<Value>) -> (u16, String, String) {
    let mut request = Request::builder().method(verb.parse::<Method>().unwrap()).uri(path);
    if body.is_some() {
        request = request.header("content-type", "application/vnd.schemaregistry.v1+json");
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    answer_of(registry, request.body(body).unwrap()).await
}

async fn answer_of(registry: &Arc<Registry>, request: Request<Body>) -> (u16, String, String) {
    let response = serve(State(Served { registry: registry.clone(), gate: Arc::new(Open) }), request).await;
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    (status, kind, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Each line: verb, path, body, status, then the answer or, for an error, its code.
async fn check(registry: &Arc<Registry>, lines: &[(&str, &str, Value, u16, Value)]) {
    for (verb, path, body, status, wanted) in lines {
        let (got_status, kind, text) = ask(registry, verb, path, Some(body.clone()).filter(|b| !b.is_null())).await;
        let got: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(got_status, *status, "{verb} {path}: {text}");
        assert_eq!(kind, "application/vnd.schemaregistry.v1+json");
        let got = if *status == 200 { got } else { got["error_code"].clone() };
        assert_eq!(got, *wanted, "{verb} {path}: {text}");
    }
}

fn avro(schema: &str) -> Value {
    json!({ "schema": schema })
}

#[tokio::test]
async fn every_endpoint_answers_as_confluents_registry() {
    let registry = open().await;
    let none = Value::Null;
    let (_, _, first) = ask(&registry, "POST", "/subjects/s/versions", Some(avro(r#" "string" "#))).await;
    let first: Value = serde_json::from_str(&first).unwrap();
    let guid = first["guid"].as_str().unwrap().to_owned();
    assert_eq!((&first["id"], &first["version"], guid.len()), (&json!(1), &json!(1), 36));
    let whole = json!({ "subject": "s", "version": 1, "id": 1, "guid": guid, "schema": "\"string\"" });
    check(
        &registry,
        &[
            ("GET", "/", none.clone(), 200, json!({})),
            ("GET", "/subjects", none.clone(), 200, json!(["s"])),
            ("GET", "/subjects?subjectPrefix=:*:x", none.clone(), 200, json!([])),
            ("GET", "/subjects/s/versions", none.clone(), 200, json!([1])),
            ("GET", "/subjects/:.:s/versions", none.clone(), 200, json!([1])),
            ("GET", "/subjects/s/versions/1", none.clone(), 200, whole.clone()),
            ("GET", "/subjects/s/versions/latest", none.clone(), 200, whole.clone()),
            ("GET", "/subjects/s/versions/-1", none.clone(), 200, whole.clone()),
            ("GET", "/subjects/s/versions/1/schema", none.clone(), 200, json!("string")),
            ("GET", "/subjects/s/versions/1/referencedby", none.clone(), 200, json!([])),
            ("GET", "/subjects/s/versions/2", none.clone(), 404, json!(40402)),
            ("GET", "/subjects/s/versions/0", none.clone(), 422, json!(42202)),
            ("GET", "/subjects/s/versions/x", none.clone(), 422, json!(42202)),
            ("GET", "/subjects/t/versions", none.clone(), 404, json!(40401)),
            ("GET", "/subjects/t/versions/1", none.clone(), 404, json!(40401)),
            ("POST", "/subjects/s", avro(r#"{"type":"string"}"#), 200, whole.clone()),
            ("POST", "/subjects/s", avro(r#""long""#), 404, json!(40403)),
            ("POST", "/subjects/t", avro(r#""long""#), 404, json!(40401)),
            ("POST", "/subjects/s/versions", avro(r#""int""#), 409, json!(409)),
            ("POST", "/subjects/s/versions", avro(r#""strange""#), 422, json!(42201)),
            ("POST", "/subjects/s/versions", avro(""), 422, json!(42201)),
            ("POST", "/subjects/s/versions", json!({ "schema": "x", "schemaType": "THRIFT" }), 422, json!(42201)),
            ("POST", "/subjects/s/versions", json!({ "schemas": "x" }), 422, json!(422)),
            ("POST", "/subjects/s/versions", json!({ "schema": "\"int\"", "id": 7 }), 422, json!(42205)),
            ("POST", "/subjects/:.other:s/versions", avro(r#""int""#), 422, json!(42208)),
            ("GET", "/schemas/ids/1", none.clone(), 200, json!({ "schema": "\"string\"", "guid": guid })),
            (
                "GET",
                "/schemas/ids/1?fetchMaxId=true",
                none.clone(),
                200,
                json!({ "schema": "\"string\"", "guid": guid, "maxId": 1 }),
            ),
            ("GET", "/schemas/ids/1/schema", none.clone(), 200, json!("string")),
            ("GET", "/schemas/ids/1/subjects", none.clone(), 200, json!(["s"])),
            ("GET", "/schemas/ids/1/versions", none.clone(), 200, json!([{ "subject": "s", "version": 1 }])),
            ("GET", "/schemas/ids/2", none.clone(), 404, json!(40403)),
            ("GET", &format!("/schemas/guids/{guid}/ids"), none.clone(), 200, json!([{ "context": ".", "id": 1 }])),
            ("GET", "/schemas/types", none.clone(), 200, json!(["JSON", "PROTOBUF", "AVRO"])),
            ("GET", "/schemas", none.clone(), 200, json!([whole])),
            ("GET", "/contexts", none.clone(), 200, json!(["."])),
            (
                "POST",
                "/compatibility/subjects/s/versions/latest",
                avro(r#""bytes""#),
                200,
                json!({ "is_compatible": true }),
            ),
            ("POST", "/compatibility/subjects/s/versions", avro(r#""int""#), 200, json!({ "is_compatible": false })),
            (
                "POST",
                "/compatibility/subjects/none/versions/latest",
                avro(r#""int""#),
                200,
                json!({ "is_compatible": true }),
            ),
            ("POST", "/compatibility/subjects/s/versions/9", avro(r#""int""#), 404, json!(40402)),
            ("GET", "/nothing", none.clone(), 404, json!(404)),
            ("PUT", "/subjects/s", none.clone(), 405, json!(405)),
        ],
    )
    .await;
    let (_, _, text) =
        ask(&registry, "POST", "/compatibility/subjects/s/versions/1?verbose=true", Some(avro(r#""int""#))).await;
    let verbose: Value = serde_json::from_str(&text).unwrap();
    assert!(verbose["messages"][0].as_str().unwrap().contains("TYPE_MISMATCH"), "{text}");
    assert_eq!(verbose["messages"].as_array().unwrap().last().unwrap(), "{compatibility: 'BACKWARD'}");
}

#[tokio::test]
async fn levels_and_modes_are_of_subjects_and_of_all() {
    let registry = open().await;
    let none = Value::Null;
    check(
        &registry,
        &[
            ("GET", "/config", none.clone(), 200, json!({ "compatibilityLevel": "BACKWARD" })),
            ("GET", "/config/s", none.clone(), 404, json!(40408)),
            ("GET", "/config/s?defaultToGlobal=True", none.clone(), 200, json!({ "compatibilityLevel": "BACKWARD" })),
            ("PUT", "/config", json!({ "compatibility": "full" }), 200, json!({ "compatibility": "FULL" })),
            (
                "PUT",
                "/config/s",
                json!({ "compatibility": "NONE", "normalize": true }),
                200,
                json!({ "compatibility": "NONE", "normalize": true }),
            ),
            ("GET", "/config/s", none.clone(), 200, json!({ "compatibilityLevel": "NONE", "normalize": true })),
            ("PUT", "/config/s", json!({ "compatibility": "X" }), 422, json!(42203)),
            ("PUT", "/config/s", json!({ "alias": "t" }), 422, json!(422)),
            (
                "DELETE",
                "/config/s",
                none.clone(),
                200,
                json!({ "compatibilityLevel": "NONE", "compatibility": "NONE", "normalize": true }),
            ),
            ("DELETE", "/config/s", none.clone(), 404, json!(40408)),
            ("GET", "/mode", none.clone(), 200, json!({ "mode": "READWRITE" })),
            ("GET", "/mode/s", none.clone(), 404, json!(40409)),
            ("PUT", "/mode/s", json!({ "mode": "X" }), 422, json!(42204)),
            ("PUT", "/mode/s", json!({ "mode": "IMPORT" }), 200, json!({ "mode": "IMPORT" })),
            ("POST", "/subjects/s/versions", avro(r#""int""#), 422, json!(42205)),
        ],
    )
    .await;
    let imported = json!({ "schema": "\"int\"", "id": 100, "version": 5 });
    let (status, _, text) = ask(&registry, "POST", "/subjects/s/versions", Some(imported)).await;
    assert!(status == 200 && text.contains("\"id\":100") && text.contains("\"version\":5"), "{text}");
    check(
        &registry,
        &[
            ("POST", "/subjects/s/versions", json!({ "schema": "\"long\"", "id": 100 }), 422, json!(42205)),
            ("PUT", "/mode", json!({ "mode": "READONLY_OVERRIDE" }), 200, json!({ "mode": "READONLY_OVERRIDE" })),
            ("DELETE", "/subjects/s", none.clone(), 422, json!(42205)),
            ("PUT", "/mode", json!({ "mode": "READWRITE" }), 200, json!({ "mode": "READWRITE" })),
            ("PUT", "/mode", json!({ "mode": "IMPORT" }), 422, json!(42205)),
            ("DELETE", "/mode/s", none.clone(), 200, json!({ "mode": "IMPORT" })),
        ],
    )
    .await;
    let (_, _, text) = ask(&registry, "POST", "/subjects/t/versions", Some(avro(r#""boolean""#))).await;
    assert!(text.contains("\"id\":101"), "ids go on behind imported ones: {text}");
}

#[tokio::test]
async fn deletion_is_soft_first_and_guards_references() {
    let registry = open().await;
    let none = Value::Null;
    for (subject, body) in [
        ("p", avro(r#"{"type":"fixed","name":"P","size":1}"#)),
        ("r", json!({ "schema": r#"["null","P"]"#, "references": [{ "name": "P", "subject": "p", "version": -1 }] })),
    ] {
        let (status, _, text) = ask(&registry, "POST", &format!("/subjects/{subject}/versions"), Some(body)).await;
        assert_eq!(status, 200, "{text}");
    }
    check(
        &registry,
        &[
            ("GET", "/subjects/p/versions/1/referencedby", none.clone(), 200, json!([2])),
            ("DELETE", "/subjects/p", none.clone(), 422, json!(42206)),
            ("DELETE", "/subjects/r?permanent=true", none.clone(), 404, json!(40405)),
            ("DELETE", "/subjects/r/versions/1?permanent=true", none.clone(), 404, json!(40407)),
            ("DELETE", "/subjects/r/versions/latest", none.clone(), 200, json!(1)),
            ("DELETE", "/subjects/r/versions/1", none.clone(), 404, json!(40406)),
            ("DELETE", "/subjects/r", none.clone(), 404, json!(40404)),
            ("GET", "/subjects", none.clone(), 200, json!(["p"])),
            ("GET", "/subjects?deleted=true", none.clone(), 200, json!(["p", "r"])),
            ("GET", "/subjects/r/versions?deletedOnly=true", none.clone(), 200, json!([1])),
            ("DELETE", "/subjects/r?permanent=true", none.clone(), 200, json!([1])),
            ("GET", "/schemas/ids/2", none.clone(), 404, json!(40403)),
            ("DELETE", "/subjects/p", none.clone(), 200, json!([1])),
            ("DELETE", "/subjects/p?permanent=true", none.clone(), 200, json!([1])),
            ("DELETE", "/subjects/p", none.clone(), 404, json!(40401)),
        ],
    )
    .await;
}

#[tokio::test]
async fn bodies_are_bounded_and_typed() {
    let registry = open().await;
    let request = |kind: Option<&str>, body: Vec<u8>| {
        let mut request = Request::builder().method("POST").uri("/subjects/s/versions");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        request.body(Body::from(body)).unwrap()
    };
    let body = br#"{"schema":"\"int\""}"#.to_vec();
    // What a web page can send without asking first.
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        assert_eq!(answer_of(&registry, request(kind, body.clone())).await.0, 415, "{kind:?}");
    }
    assert_eq!(answer_of(&registry, request(Some("application/json; charset=utf-8"), body)).await.0, 200);
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(answer_of(&registry, request(Some("application/json"), large)).await.0, 413);
    for (body, status) in [(&b""[..], 400), (b"{", 400), (b"[]", 422), (b"\xff", 400)] {
        let (got, _, text) = answer_of(&registry, request(Some("application/json"), body.to_vec())).await;
        assert_eq!(got, status, "{text}");
    }
    let plain = Request::builder().uri("/subjects").header("accept", "application/json").body(Body::empty()).unwrap();
    assert_eq!(answer_of(&registry, plain).await.1, "application/json");
}
