//! Seen failing: with columns compared by name, and with a partition column that was widened.
use super::*;
use crate::columns::{typed, untyped};

fn one(id: i32, name: &str, data_type: DataType, nullable: bool) -> Value {
    fields(&Schema::new(vec![with_id(Field::new(name, data_type, nullable), id)])).unwrap()
}

fn schema_of(fields: Value, by: &str) -> Value {
    new_schema(fields, &by.parse().unwrap(), None, Uuid::from_u128(7), 1)
}

#[test]
fn an_untyped_topic_is_a_table_of_bytes_headers_and_where_they_come_from() {
    let spec: PartitionSpec = "day(__timestamp), __partition".parse().unwrap();
    let files = file_schema(&untyped(), &spec, false).unwrap();
    let fields = fields(&files).unwrap();
    assert_eq!(fields[0], json!({ "id": 1_000_000_004, "name": "__key", "type": "BYTES" }));
    assert_eq!(fields[2]["type"]["type"], "ARRAY NOT NULL");
    assert_eq!(fields[2]["type"]["element"]["type"], "ROW NOT NULL");
    assert_eq!(fields[2]["type"]["element"]["fields"][0]["type"], "STRING NOT NULL");
    assert_eq!(fields[5]["type"], "TIMESTAMP(3) WITH LOCAL TIME ZONE NOT NULL");
    assert_eq!(fields[6], json!({ "id": 1_000_000_100, "name": "__timestamp_day", "type": "STRING" }));
    let schema = new_schema(fields, &spec, None, Uuid::from_u128(7), 1);
    assert_eq!(schema["partitionKeys"], json!(["__timestamp_day", "__partition"]));
    assert_eq!(schema["highestFieldId"], 1_000_000_100);
    assert!(schema["highestFieldId"].as_i64().unwrap() < i64::from(i32::MAX / 2), "above it ids are Paimon's own");
    assert_eq!(partition_types(&spec, &files), [CellType::Bytes, CellType::Int]);
    assert_eq!(topic_of(&schema), Some(Uuid::from_u128(7)));
}

#[test]
fn what_paimon_cannot_store_or_name_is_refused_by_column() {
    let column =
        |name: &str, data_type: DataType| typed(&Fields::from(vec![with_id(Field::new(name, data_type, true), 1)]));
    let of = |schema: &SchemaRef, by: &str| -> Result<Value, SchemaError> {
        let files: SchemaRef = file_schema(schema, &by.parse().unwrap(), false)?;
        fields(&files)
    };
    let text = |result: Result<Value, SchemaError>| result.unwrap_err().to_string();
    assert!(text(of(&column("at", DataType::Time64(TimeUnit::Microsecond)), "")).contains("`at`"));
    assert!(text(of(&column("_KEY_a", DataType::Int32), "")).contains("keeps for itself"));
    assert!(text(of(&column("rowkind", DataType::Int32), "")).contains("keeps for itself"));
    assert!(text(of(&column("late", DataType::Boolean), "late")).contains("BOOLEAN"));
    assert!(text(of(&column("__timestamp_day", DataType::Utf8), "day(__timestamp)")).contains("__timestamp_day"));
    assert!(of(&column("id", DataType::FixedSizeBinary(16)), "").unwrap()[0]["type"] == "BYTES");
}

#[test]
fn columns_come_go_and_change_as_files_of_older_schemas_can_be_read() {
    use DataType::{Binary, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, Utf8};
    let micros = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let good = [
        (Int8, Int16),
        (Int32, Int64),
        (Float32, Float64),
        (Int32, Decimal128(12, 2)),
        (Int64, Decimal128(19, 0)),
        (Decimal128(9, 2), Decimal128(18, 2)),
        (Date32, micros()),
        (Utf8, Utf8),
    ];
    let evolve =
        |from: &Value, to: &Value| evolved(&schema_of(from.clone(), ""), to, &PartitionSpec::default(), None, 2);
    for (from, to) in good {
        let (before, after) = (one(1, "a", from.clone(), false), one(1, "b", to.clone(), true));
        let next = evolve(&before, &after).unwrap().unwrap();
        assert_eq!((next["id"].as_i64(), &next["fields"]), (Some(1), &after), "{from} -> {to}");
    }
    let bad = [
        (Int64, Int32),
        (Int32, Utf8),
        (Decimal128(9, 2), Decimal128(18, 3)),
        (Int64, Decimal128(12, 2)),
        (Utf8, Binary),
    ];
    for (from, to) in bad {
        let result = evolve(&one(1, "a", from.clone(), true), &one(1, "a", to.clone(), true));
        assert!(matches!(result, Err(SchemaError::Change { .. })), "{from} -> {to}");
    }
    assert!(evolve(&one(1, "a", Int32, true), &one(1, "a", Int32, false)).is_err(), "nullable to NOT NULL");
    let row = |members: &[(&str, DataType, i32)]| {
        let members = members.iter().map(|(name, t, id)| with_id(Field::new(*name, t.clone(), true), *id));
        one(1, "a", DataType::Struct(members.collect()), true)
    };
    let before = row(&[("x", Int32, 2), ("y", Utf8, 3)]);
    assert!(evolve(&before, &row(&[("x", Int32, 2), ("z", Int64, 4)])).unwrap().is_some(), "members come and go");
    assert!(evolve(&before, &row(&[("x", Int64, 2)])).is_err(), "and keep their types");
    assert!(evolve(&before, &row(&[("w", Int32, 2)])).is_err(), "and their names");
    let same = one(1, "a", Int32, true);
    assert_eq!(evolve(&same, &same), Ok(None));
    let next = evolve(&one(9, "gone", Int32, true), &same).unwrap().unwrap();
    assert_eq!(next["highestFieldId"], 9, "ids are never given out again");
}

#[test]
fn a_table_that_somebody_changed_is_told_apart() {
    let fields = one(1, "a", DataType::Int32, true);
    for (member, value) in [("primaryKeys", json!(["a"])), ("partitionKeys", json!(["a"]))] {
        let mut schema = schema_of(fields.clone(), "");
        schema[member] = value;
        let error = evolved(&schema, &fields, &PartitionSpec::default(), None, 2).unwrap_err();
        assert!(matches!(error, SchemaError::Other { .. }), "{error}");
    }
    let mut schema = schema_of(fields.clone(), "");
    schema["options"]["bucket"] = json!("4");
    schema["fields"][0]["description"] = json!("kept");
    assert!(evolved(&schema, &fields, &PartitionSpec::default(), None, 2).unwrap_err().to_string().contains("bucket"));
    schema["options"]["bucket"] = json!("-1");
    assert_eq!(evolved(&schema, &fields, &PartitionSpec::default(), None, 2), Ok(None), "a comment is no change");
    let next =
        evolved(&schema, &one(1, "b", DataType::Int64, true), &PartitionSpec::default(), None, 2).unwrap().unwrap();
    assert_eq!(next["fields"][0]["description"], "kept");
    let by: PartitionSpec = "a".parse().unwrap();
    let schema = schema_of(fields, "a");
    let error = evolved(&schema, &one(1, "a", DataType::Int64, true), &by, None, 2).unwrap_err();
    assert!(matches!(error, SchemaError::Change { .. }), "a partition column keeps its type: {error}");
}

#[test]
fn snapshots_stay_as_long_as_the_options_say() {
    let schema = |min: &str, max: &str, age: &str| json!({ "options": { "snapshot.num-retained.min": min, "snapshot.num-retained.max": max, "snapshot.time-retained": age } });
    assert_eq!(Retention::of(&schema("5", "7", "1 h")), Retention { min: 5, max: 7, age_ms: 3_600_000 });
    assert_eq!(Retention::of(&schema("50", "7", "90s")), Retention { min: 50, max: 50, age_ms: 90_000 });
    assert_eq!(Retention::of(&schema("x", "-1", "soon")), RETENTION);
    assert_eq!(Retention::of(&json!({})), RETENTION);
}
