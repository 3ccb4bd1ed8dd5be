//! Tables, their ids, their evolution, and old columns under new schemas.

use std::sync::Arc;

use super::*;
use crate::builder::RowBuilder;
use crate::codec::json::{JsonDecoder, JsonOptions, RowPart};
use crate::ddl;

fn table(columns: &str) -> TableSchema {
    TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap()
}

fn evolved(from: &TableSchema, columns: &str) -> TableSchema {
    match from.diff(&ddl::parse(columns).unwrap()).unwrap() {
        SchemaDiff::Evolved(schema) => schema,
        SchemaDiff::Unchanged => panic!("{columns} changes nothing"),
    }
}

fn batch(schema: &TableSchema, rows: &[&str]) -> arrow_array::RecordBatch {
    let mut decoder = JsonDecoder::new(schema, RowPart::Value, JsonOptions::default());
    let mut builder = RowBuilder::new(Arc::new(schema.clone()));
    for row in rows {
        decoder.decode(row.as_bytes(), &mut builder).unwrap();
        builder.finish_row();
    }
    builder.finish().unwrap()
}

#[test]
fn ids_are_handed_out_once_and_for_ever() {
    let first = table("a INT, r ROW<x INT, y INT>, b ARRAY<INT>");
    let ids = |schema: &TableSchema| schema.fields.iter().map(|field| field.id.0).collect::<Vec<_>>();
    assert_eq!((ids(&first), first.last_field_id.0), (vec![1, 2, 3], 6));
    let second = evolved(&first, "a INT, r ROW<y INT, z INT>");
    assert_eq!((second.version, second.last_field_id.0), (2, 7));
    let third = evolved(&second, "a INT, r ROW<y INT, z INT>, b ARRAY<INT>");
    assert_eq!(ids(&third), [1, 2, 8], "a dropped name that comes back is another column");
    let json = serde_json::to_string(&third).unwrap();
    assert_eq!(serde_json::from_str::<TableSchema>(&json).unwrap(), third);
    third.validate().unwrap();
}

#[test]
fn no_table_is_made_of_nonsense() {
    let error = |columns: &str| TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap_err().to_string();
    assert_eq!(error("_offset INT"), "column _offset: this is the name of a system column, choose another one");
    assert_eq!(error("a INT, a INT"), "column a appears twice; names are case-sensitive and must differ");
    assert!(error("a DECIMAL(39,0)").starts_with("column a: DECIMAL(39,0) needs"));
    assert!(error("a INT DEFAULT 'x'").starts_with("column a: the default does not fit"));
    assert!(error("a TINYINT DEFAULT 300").contains("out of range"));
    let missing = TableSchema::create(ddl::parse("a INT").unwrap(), &["k"]).unwrap_err();
    assert_eq!(missing, SchemaError::UnknownKeyColumn { column: "k".into() });
}

#[test]
fn only_safe_changes_are_taken() {
    let from = table("a INT, b INT NOT NULL, d DECIMAL(10,2), r ROW<x FLOAT>, t DATE");
    let refused = |columns: &str| from.diff(&ddl::parse(columns).unwrap()).unwrap_err().to_string();
    assert!(refused("a SMALLINT").starts_with("column a: INT cannot become SMALLINT"));
    assert!(refused("a STRING").starts_with("column a: INT cannot become STRING"));
    assert!(refused("a INT NOT NULL").starts_with("column a: nullable cannot become NOT NULL"));
    assert!(refused("d DECIMAL(12,3)").starts_with("column d: DECIMAL(10,2) cannot become"));
    assert!(refused("a DECIMAL(11,2)").starts_with("column a: INT cannot become"));
    assert!(refused("r ROW<x INT>").starts_with("column r.x: FLOAT cannot become INT"));
    assert!(refused("n INT NOT NULL").starts_with("column n is new and NOT NULL"));
    let wide = evolved(&from, "a DECIMAL(12,2), b BIGINT, d DECIMAL(20,2), r ROW<x DOUBLE, n STRING>, t TIMESTAMP(6)");
    assert_eq!(wide.fields[3].id, from.fields[3].id);
    assert_eq!(from.diff(&from.fields), Ok(SchemaDiff::Unchanged));
}

#[test]
fn single_changes_keep_ids() {
    let from = table("a INT NOT NULL, r ROW<x INT>");
    let path = |path: &str| path.split('.').map(str::to_string).collect::<Vec<_>>();
    let to = from
        .evolve(&[
            Change::Rename { path: path("a"), to: "b".into() },
            Change::Widen { path: path("r.x"), to: DataType::BigInt },
            Change::DropNotNull { path: path("b") },
            Change::Add { path: path("r"), field: Field::new("y", DataType::String) },
        ])
        .unwrap();
    assert_eq!(ddl::print(&to.fields), "b INT, r ROW<x BIGINT, y STRING>");
    assert_eq!(to.fields[0].id, from.fields[0].id);
    let gone = from.evolve(&[Change::Drop { path: path("r.q") }]).unwrap_err();
    assert_eq!(gone, EvolutionError::Unknown { column: "r.q".into() });
    let clash = from.evolve(&[Change::Rename { path: path("a"), to: "r".into() }]).unwrap_err();
    assert!(matches!(clash, EvolutionError::Schema(SchemaError::Duplicate { .. })));
}

#[test]
fn key_columns_stay() {
    let columns = ddl::parse("k INT NOT NULL, v INT").unwrap();
    let from = TableSchema::create(columns, &["k"]).unwrap();
    assert_eq!((from.key_columns(), from.value_columns()), (vec![0], vec![1]));
    for columns in ["v INT", "k BIGINT NOT NULL, v INT"] {
        let error = from.diff(&ddl::parse(columns).unwrap()).unwrap_err();
        assert_eq!(error, EvolutionError::KeyColumn { column: "k".into() });
    }
}

#[test]
fn old_columns_are_read_under_the_new_schema() {
    let from =
        table("a INT, r ARRAY<ROW<x FLOAT, gone INT>>, d DATE, m MAP<STRING, TINYINT>, dropped STRING, n DECIMAL(5,2)");
    let to = evolved(
        &from,
        "m MAP<STRING, BIGINT>, r ARRAY<ROW<x DOUBLE, y STRING>>, a DECIMAL(12,2), d TIMESTAMP(3), \
         added INT NOT NULL DEFAULT 7, n DECIMAL(9,2), nothing ROW<q INT>",
    );
    let stored = batch(
        &from,
        &[
            r#"{"a":5,"r":[{"x":1.5,"gone":1},null],"d":"1970-01-02","m":{"k":3},"dropped":"x","n":1.25}"#,
            r#"{"a":null,"r":null,"d":null,"m":null}"#,
        ],
    );
    let mapping = ReadMapping::new(&from, &to).unwrap();
    let expected = batch(
        &to,
        &[r#"{"a":5,"r":[{"x":1.5},null],"d":"1970-01-02T00:00:00","m":{"k":3},"added":7,"n":1.25}"#, r#"{"added":7}"#],
    );
    assert_eq!(mapping.batch(&stored).unwrap(), expected);
    assert_eq!(mapping.source(2), Some(0));
    assert_eq!(mapping.source(4), None);
    assert!(ReadMapping::new(&to, &from).is_err(), "narrowing is refused");
    assert!(mapping.batch(&expected).is_err(), "a batch of another version is refused");
}
