//! Plans without a broker.
use weir_table::table::FormatKind;

use super::*;
use crate::topic_config::TopicConfigs;

fn settings(pairs: &[(&str, &str)]) -> TableSettings {
    TopicConfigs::parse(pairs.iter().map(|(name, value)| (*name, Some(*value)))).unwrap().resolve().table
}

fn writer(text: &str) -> Option<weir_table::table::WriterSchema> {
    Some(weir_table::table::WriterSchema { id: Some(1), text: text.to_owned(), references: Vec::new() })
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn topics_without_a_schema_are_no_tables() {
    let none = settings(&[("weir.on.invalid", "null"), ("weir.layout", "column")]);
    assert!(!none.is_typed());
    let table = plan("t", &TopicTable::default(), &none, &Schemas::default(), None).unwrap();
    assert!(matches!(table.typing, Typing::Untyped));
}

#[test]
fn a_table_of_the_registry_waits_for_its_first_schema_and_follows_the_next() {
    let avro = settings(&[("weir.value.format", "avro")]);
    assert_eq!((avro.format, avro.subject_of("t").as_deref()), (FormatKind::Avro, Some("t-value")));
    let schemas = Schemas::default();
    let waiting = plan("t", &TopicTable::default(), &avro, &schemas, None).unwrap();
    assert!(matches!(&waiting.typing, Typing::Waiting { reason } if reason.contains("`t-value`")));
    let first = record(r#"{"name":"id","type":"int"},{"name":"s","type":"string","default":"a"}"#);
    let first = plan("t", &waiting, &avro, &schemas, writer(&first)).unwrap();
    assert_eq!(first.versions.len(), 1);
    let second = record(r#"{"name":"id","type":"long","default":1},{"name":"s","type":"string","default":"b"}"#);
    let second = plan("t", &first, &avro, &schemas, writer(&second)).unwrap();
    let current = second.table().unwrap().current();
    assert_eq!((current.version, current.fields[0].data_type.to_string().as_str()), (2, "BIGINT"));
    let defaults: Vec<_> = current.fields.iter().map(|field| field.default.as_deref()).collect();
    assert_eq!(defaults, [None, Some("\"a\"")], "rows without a column read as they always did");
    let required = record(r#"{"name":"id","type":"long"},{"name":"n","type":"int"}"#);
    let error = plan("t", &second, &avro, &schemas, writer(&required)).unwrap_err();
    assert!(error.to_string().contains("column n is new and NOT NULL without a default"), "{error}");
}

#[test]
fn a_topic_that_was_a_table_before_goes_on_counting() {
    let ddl = settings(&[("weir.table.schema", "a INT, b INT")]);
    let schemas = Schemas::default();
    let typed = plan("t", &TopicTable::default(), &ddl, &schemas, None).unwrap();
    let untyped = plan("t", &typed, &settings(&[]), &schemas, None).unwrap();
    assert!(matches!(untyped.typing, Typing::Untyped));
    let again = plan("t", &untyped, &settings(&[("weir.table.schema", "a INT, c INT")]), &schemas, None).unwrap();
    let current = again.table().unwrap().current();
    assert_eq!((current.version, current.fields[0].id.0, current.fields[1].id.0), (2, 1, 3));
}

#[test]
fn key_columns_cannot_change() {
    let ddl = ("weir.table.schema", "a INT, b INT");
    let schemas = Schemas::default();
    let keyed = settings(&[ddl, ("weir.key.columns", "a")]);
    let table = plan("t", &TopicTable::default(), &keyed, &schemas, None).unwrap();
    for keys in ["b", "a,b"] {
        let other = settings(&[ddl, ("weir.key.columns", keys), ("weir.key.format", "json")]);
        let error = plan("t", &table, &other, &schemas, None).unwrap_err();
        assert!(matches!(error, TablePlanError::KeysChanged { .. }), "{error}");
    }
}

#[test]
fn a_schema_of_the_registry_that_does_not_fit_the_ddl_makes_no_table() {
    let both = settings(&[("weir.value.format", "avro"), ("weir.table.schema", "id INT, s STRING")]);
    let schemas = Schemas::default();
    let fits = record(r#"{"name":"id","type":"int"},{"name":"more","type":"long"}"#);
    let table = plan("t", &TopicTable::default(), &both, &schemas, writer(&fits)).unwrap();
    let other = record(r#"{"name":"id","type":"string"}"#);
    let error = plan("t", &table, &both, &schemas, writer(&other)).unwrap_err();
    assert!(matches!(error, TablePlanError::Table(_)), "{error}");
    let reloaded = reload("t", table.versions, &both, &schemas);
    assert!(reloaded.table().is_some(), "a table without a writer's schema goes on");
}

/// As the registry hands it over.
fn compiled(text: &str) -> Option<weir_table::table::WriterSchema> {
    writer(&weir_registry::format::compiled(text, &[]).unwrap())
}

#[test]
fn a_protobuf_message_is_a_table_and_its_next_version_adds_columns() {
    let protobuf = settings(&[("weir.value.format", "protobuf")]);
    assert_eq!((protobuf.format, protobuf.subject_of("t").as_deref()), (FormatKind::Protobuf, Some("t-value")));
    let schemas = Schemas::default();
    let first = compiled("syntax = \"proto3\"; message R { int32 id = 1; In in = 2; } message In { string s = 1; }");
    let first = plan("t", &TopicTable::default(), &protobuf, &schemas, first).unwrap();
    let second = compiled(
        "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; message R { int32 id = 1; In in = 2; double d = 3; \
         google.protobuf.Timestamp at = 4; } message In { string s = 1; repeated int32 more = 2; }",
    );
    let second = plan("t", &first, &protobuf, &schemas, second).unwrap();
    let current = second.table().unwrap().current();
    assert_eq!(
        weir_table::ddl::print(&current.fields),
        "id INT NOT NULL DEFAULT 0, in ROW<s STRING NOT NULL DEFAULT '', more ARRAY<INT NOT NULL>>, \
         d DOUBLE NOT NULL DEFAULT 0, at TIMESTAMP_LTZ(6)"
    );
    let other = compiled("syntax = \"proto3\"; message R { string id = 1; }");
    let error = plan("t", &second, &protobuf, &schemas, other).unwrap_err();
    assert!(error.to_string().contains("column id: INT cannot become STRING"), "{error}");
}

#[test]
fn the_message_of_a_table_may_be_named() {
    let inner = settings(&[("weir.value.format", "protobuf"), ("weir.value.message", "Outer.Inner")]);
    let text = "syntax = \"proto3\"; package p; message First { int32 a = 1; } message Outer { message Inner { bool b = 1; } }";
    let schemas = Schemas::default();
    let error = plan("t", &TopicTable::default(), &inner, &schemas, compiled(text)).unwrap_err();
    assert!(error.to_string().contains("no message `Outer.Inner`"), "{error}");
    for name in ["p.Outer.Inner", "Inner"] {
        let named = settings(&[("weir.value.format", "protobuf"), ("weir.value.message", name)]);
        let table = plan("t", &TopicTable::default(), &named, &schemas, compiled(text)).unwrap();
        let table = table.table().unwrap();
        assert_eq!((table.current().fields[0].name.as_str(), &table.value_format().message[..]), ("b", &[1, 0][..]));
    }
}

#[test]
fn a_renamed_column_stays_the_same_column() {
    let schemas = Schemas::default();
    let first = settings(&[("weir.table.schema", "id INT, city STRING")]);
    let first = plan("t", &TopicTable::default(), &first, &schemas, None).unwrap();
    let next = [("weir.table.schema", "id BIGINT, town STRING"), ("weir.table.renames", "city:town")];
    let second = plan("t", &first, &settings(&next), &schemas, None).unwrap();
    let current = second.table().unwrap().current();
    assert_eq!((current.version, second.versions.len()), (2, 2), "renamed and widened in one version");
    assert_eq!((current.fields[1].name.as_str(), current.fields[1].id), ("town", first.versions[0].fields[1].id));
    let mut rows = second.table().unwrap().validator();
    rows.push(None, Some(br#"{"id":1,"city":"Ulm"}"#)).unwrap();
    assert_eq!(rows.finish().unwrap().column(1).null_count(), 0, "producers may go on with the old name");
    let again = plan("t", &second, &settings(&next), &schemas, None).unwrap();
    assert_eq!(again.versions.len(), 2, "the setting may stay");
    let key = [("weir.table.schema", "k INT NOT NULL, v INT"), ("weir.key.columns", "k")];
    let keyed = plan("t", &TopicTable::default(), &settings(&key), &schemas, None).unwrap();
    let other =
        [("weir.table.schema", "n INT NOT NULL, v INT"), ("weir.key.columns", "n"), ("weir.table.renames", "k:n")];
    assert!(plan("t", &keyed, &settings(&other), &schemas, None).is_err(), "key columns keep their names");
    let wrong = [("weir.table.schema", "id INT, city STRING"), ("weir.table.renames", "city")];
    let error = plan("t", &first, &settings(&wrong), &schemas, None).unwrap_err();
    assert!(matches!(error, TablePlanError::Rename { .. }), "{error}");
}
