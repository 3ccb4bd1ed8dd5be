use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::store::{Change, MemoryStore, RegistryStore, Sequence, StoreError};
use crate::*;

fn definition(schema_type: Format, schema: &str) -> SchemaDefinition {
    let schema = schema.to_owned();
    SchemaDefinition { schema_type, schema, references: Vec::new(), metadata: None, rule_set: None }
}

fn avro(schema: &str) -> Registration {
    Registration::of(definition(Format::Avro, schema))
}

async fn open(store: Arc<dyn RegistryStore>) -> Arc<Registry> {
    Arc::new(Registry::open(store, RegistryOptions { cluster_id: String::new() }).await.unwrap())
}

struct Guard {
    reviewed: Mutex<Vec<String>>,
    registered: Mutex<Vec<Registered>>,
}

#[async_trait]
impl RegistrationGuard for Guard {
    async fn review(&self, subject: &str, schema: &ResolvedSchema) -> Result<(), String> {
        self.reviewed.lock().push(format!("{subject} {} {}", schema.text, schema.references.len()));
        if schema.text.contains("map") { Err("column `m` would be a map".to_owned()) } else { Ok(()) }
    }

    async fn registered(&self, _subject: &str, registered: Registered) {
        self.registered.lock().push(registered);
    }
}

#[tokio::test]
async fn a_guard_refuses_with_its_reason_and_hears_of_what_was_registered() {
    let registry = open(Arc::new(MemoryStore::default())).await;
    let guard = Arc::new(Guard { reviewed: Mutex::default(), registered: Mutex::default() });
    registry.set_guard(guard.clone());
    registry.register("t-value", avro(r#""int""#)).await.unwrap();
    let error = registry.register("u-value", avro(r#"{"type":"map","values":"int"}"#)).await.unwrap_err();
    assert_eq!(error.codes(), (409, 409));
    assert!(error.to_string().contains("column `m` would be a map"), "{error}");
    registry.register("t-value", avro(r#""int""#)).await.unwrap();
    assert_eq!(guard.reviewed.lock().len(), 2, "what is registered already is not reviewed again");
    assert_eq!(*guard.registered.lock(), [Registered { id: 1, version: 1 }]);
    assert!(registry.version("u-value", VersionSelector::Latest, true).is_err());
}

#[tokio::test]
async fn a_schema_is_found_with_all_it_refers_to() {
    let registry = open(Arc::new(MemoryStore::default())).await;
    let reference = |name: &str| Reference { name: name.to_owned(), subject: name.to_owned(), version: -1 };
    registry.register("A", avro(r#"{"type":"fixed","name":"A","size":1}"#)).await.unwrap();
    let mut b = avro(r#"{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}"#);
    b.definition.references = vec![reference("A")];
    registry.register("B", b).await.unwrap();
    let mut c = avro(r#"{"type":"record","name":"C","fields":[{"name":"b","type":"B"}]}"#);
    c.definition.references = vec![reference("B")];
    registry.register(&Registry::value_subject("t"), c).await.unwrap();
    let (listing, resolved) = registry.resolved("t-value", VersionSelector::Latest).unwrap();
    assert_eq!((listing.id, listing.version, resolved.format), (3, 1, Format::Avro));
    let names: Vec<_> = resolved.references.iter().map(|r| (r.name.as_str(), r.version)).collect();
    assert_eq!(names, [("A", 1), ("B", 1)], "each comes before those that need it");
    assert_eq!(registry.resolved_by_id(3).unwrap(), resolved);
}

/// Commits that fail now and then, also after they were made durable, as a broker that dies does.
struct Unreliable {
    inner: MemoryStore,
    calls: Mutex<u32>,
}

#[async_trait]
impl RegistryStore for Unreliable {
    async fn load(&self) -> Result<(Vec<(String, Vec<u8>)>, Sequence), StoreError> {
        self.inner.load().await
    }

    async fn commit(&self, after: Sequence, changes: Vec<Change>) -> Result<Sequence, StoreError> {
        let call = {
            let mut calls = self.calls.lock();
            *calls += 1;
            *calls
        };
        let failed = || Err(StoreError::Failed("no space".into()));
        match call % 5 {
            1 => failed(),
            3 => {
                self.inner.commit(after, changes).await?;
                failed()
            }
            _ => self.inner.commit(after, changes).await,
        }
    }
}

/// Whatever fails, what was answered is what a restart finds, and no id stands for two schemas. Seen failing when the next
/// id was not written with the schema: ids were given twice.
#[tokio::test]
async fn what_was_answered_survives_failures_and_restarts() {
    let store = Arc::new(Unreliable { inner: MemoryStore::default(), calls: Mutex::new(0) });
    let mut told = std::collections::BTreeMap::new();
    for round in 0..10 {
        let registry = open(store.clone()).await;
        for number in 0..7 {
            let text = format!(r#"{{"type":"fixed","name":"F{round}x{number}","size":4}}"#);
            let subject = format!("s{}", number % 3);
            registry
                .set_config(None, SubjectConfig { compatibility: Some(Compatibility::None), ..Default::default() })
                .await
                .ok();
            if let Ok(registered) = registry.register(&subject, avro(&text)).await {
                let before = told.insert(registered.id, (subject, registered.version, text));
                assert_eq!(before, None, "id {} was given before", registered.id);
            }
        }
    }
    assert!(told.len() > 20, "{}", told.len());
    let registry = open(store).await;
    for (id, (subject, version, text)) in told {
        let listing = registry.version(&subject, VersionSelector::Exactly(version), false).unwrap();
        assert_eq!((listing.id, listing.definition.schema), (id, text));
    }
}

/// Schemas that are small and mean a lot of work. Each is refused, or dealt with, in little time.
#[tokio::test]
async fn schema_bombs_are_dealt_with_in_bounded_time() {
    let registry = open(Arc::new(MemoryStore::default())).await;
    let doubling =
        |count: usize, branch: &dyn Fn(usize) -> String| (0..count).map(branch).collect::<Vec<_>>().join(",");
    let json_laughs = format!(
        r##"{{"$ref":"#/$defs/d0","$schema":"https://json-schema.org/draft/2020-12/schema","$defs":{{{},"d40":{{"type":"string"}}}}}}"##,
        doubling(40, &|n| format!(
            r##""d{n}":{{"anyOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}","title":"x"}}]}}"##,
            n + 1
        ))
    );
    let avro_chain = {
        let mut text = r#"{"type":"fixed","name":"T400","size":1}"#.to_owned();
        for n in (0..60).rev() {
            text = format!(r#"{{"type":"record","name":"T{n}","fields":[{{"name":"a","type":["null",{text}]}}]}}"#);
        }
        text
    };
    let fields = |count: usize| doubling(count, &|n| format!(r#"{{"name":"f{n}","type":"int","default":0}}"#));
    let avro_wide = format!(r#"{{"type":"record","name":"W","fields":[{}]}}"#, fields(15_000));
    let proto_wide = format!(
        "syntax = \"proto3\"; message M {{ {} }}",
        (1..15_000).map(|n| format!("int32 f{n} = {};", if n < 19_000 { n } else { n + 1000 })).collect::<String>()
    );
    let deep = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    let bombs = [
        (Format::Json, json_laughs),
        (Format::Json, r#"{"type":"string","pattern":"(a+)+$"}"#.to_owned()),
        (Format::Json, r#"{"type":"string","pattern":"((a{1,1000}){1,1000}){1,1000}"}"#.to_owned()),
        (Format::Json, deep(r#"{"items":"#, "{}", "}", 90_000)),
        (Format::Json, deep(r#"{"not":"#, "{}", "}", 80)),
        (Format::Json, format!("[{}]", "[],".repeat(300_000))),
        (Format::Json, r##"{"$ref":"#"}"##.to_owned()),
        (Format::Json, r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##.to_owned()),
        (Format::Avro, avro_chain),
        (Format::Avro, avro_wide),
        (Format::Avro, deep(r#"{"type":"array","items":"#, r#""int""#, "}", 40_000)),
        (Format::Avro, deep("[", "", "]", 500_000)),
        (Format::Avro, r#"{"type":"fixed","name":"F","size":9223372036854775807}"#.to_owned()),
        (Format::Protobuf, proto_wide),
        (Format::Protobuf, deep("message M {", "", "}", 50_000)),
        (Format::Protobuf, format!("syntax = \"proto3\"; option x = {};", deep("{ a: ", "1", "}", 50_000))),
        (Format::Protobuf, format!("syntax = \"proto3\"; message M {{ int32 a = 1 [{}", "(".repeat(100_000))),
        (Format::Protobuf, "/*".repeat(200_000)),
    ];
    for (number, (format, text)) in bombs.into_iter().enumerate() {
        let started = Instant::now();
        let subject = format!("bomb-{number}");
        let first = registry.register(&subject, Registration::of(definition(format, &text))).await;
        // The comparison is where recursion multiplies.
        let second = format!("{} ", text.replacen("default\":0", "default\":1", 1));
        let second = registry.register(&subject, Registration::of(definition(format, &second))).await;
        for error in [first.err(), second.err()].into_iter().flatten() {
            assert!(matches!(error.codes().0, 409 | 422), "bomb {number}: {error}");
            assert!(error.to_string().len() < 4 << 20, "bomb {number}");
        }
        // Far more than it takes, because tests run in a debug build on a busy machine.
        assert!(started.elapsed() < Duration::from_secs(30), "bomb {number}: {:?}", started.elapsed());
    }
}
