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
