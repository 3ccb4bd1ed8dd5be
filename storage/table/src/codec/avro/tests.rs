//! Avro rows of the reference library go in and come back; other spellings of the same values keep their bytes.

#[path = "tests/quick.rs"]
mod quick_rows;

use std::sync::Arc;

use apache_avro::types::Value;
use arrow_array::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::builder::RowBuilder;
use crate::codec::json::{JsonDecoder, JsonOptions};
use crate::codec::{RowForm, RowPart};
use crate::ddl;
use crate::schema::TableSchema;

const ALL: &str = r#"{"type":"record","name":"Row","namespace":"n","fields":[
    {"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":["null","long"],"default":null},
    {"name":"f","type":"float"},{"name":"d","type":["double","null"]},{"name":"s","type":"string","default":"x"},
    {"name":"y","type":"bytes"},{"name":"x","type":{"type":"fixed","name":"Two","size":2}},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"e2","type":"E"},
    {"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},
    {"name":"u","type":{"type":"string","logicalType":"uuid"}},{"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"local","type":{"type":"long","logicalType":"local-timestamp-micros"}},
    {"name":"clock","type":{"type":"int","logicalType":"time-millis"}},
    {"name":"a","type":{"type":"array","items":["null",{"type":"record","name":"In","fields":[{"name":"q","type":"int"}]}]}},
    {"name":"m","type":{"type":"map","values":"double"}},{"name":"un","type":["null","int","string","In"]}]}"#;

fn table(columns: &str) -> Arc<TableSchema> {
    Arc::new(TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap())
}

fn codec(table: &TableSchema, writer: &str) -> Result<AvroCodec, BindError> {
    AvroCodec::new(table, RowPart::Value, &AvroSchema::parse(writer).unwrap(), AvroOptions::default())
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

fn read(table: &Arc<TableSchema>, codec: &AvroCodec, row: &[u8]) -> (RowForm, RecordBatch) {
    let mut builder = RowBuilder::new(table.clone());
    let form = codec.decode(row, &mut builder).unwrap();
    builder.finish_row();
    (form, builder.finish().unwrap())
}

fn json(table: &Arc<TableSchema>, row: &str) -> RecordBatch {
    let mut builder = RowBuilder::new(table.clone());
    let mut decoder = JsonDecoder::new(table, RowPart::Value, JsonOptions::default());
    decoder.decode(row.as_bytes(), &mut builder).unwrap();
    builder.finish_row();
    builder.finish().unwrap()
}

fn row(random: &mut StdRng) -> Value {
    let inner = |random: &mut StdRng| Value::Record(vec![("q".into(), Value::Int(random.random()))]);
    let text = |random: &mut StdRng| ["", "é", "long text \u{1F600}"][random.random_range(0..3)].to_string();
    let optional = |null: u32, value: Value, random: &mut StdRng| match random.random_bool(0.3) {
        true => Value::Union(null, Box::new(Value::Null)),
        false => Value::Union(1 - null, Box::new(value)),
    };
    let long = Value::Long(random.random::<i64>() >> random.random_range(0..64));
    let unscaled = i64::from(random.random::<i32>()).to_be_bytes();
    let first = unscaled.iter().position(|byte| *byte != unscaled[0]).unwrap_or(7);
    let first = if (unscaled[first] ^ unscaled[0]) & 0x80 != 0 { first - 1 } else { first };
    let union = match random.random_range(0..4) {
        0 => Value::Union(0, Box::new(Value::Null)),
        1 => Value::Union(1, Box::new(Value::Int(random.random()))),
        2 => Value::Union(2, Box::new(Value::String(text(random)))),
        _ => Value::Union(3, Box::new(inner(random))),
    };
    let items = (0..random.random_range(0..4)).map(|_| {
        let value = inner(random);
        optional(0, value, random)
    });
    let items = Value::Array(items.collect());
    let symbol = |index: u32| Value::Enum(index, ["A", "B"][index as usize].into());
    let fields = [
        ("b", Value::Boolean(random.random())),
        ("i", Value::Int(random.random())),
        ("l", optional(0, long, random)),
        ("f", Value::Float(random.random())),
        ("d", optional(1, Value::Double(f64::from_bits(random.random())), random)),
        ("s", Value::String(text(random))),
        ("y", Value::Bytes(vec![7; random.random_range(0..4)])),
        ("x", Value::Fixed(2, vec![1, random.random()])),
        ("e", symbol(random.random_range(0..2))),
        ("e2", symbol(random.random_range(0..2))),
        ("dec", Value::Bytes(unscaled[first..].to_vec())),
        ("u", Value::String("00112233-4455-6677-8899-aabbccddeeff".into())),
        ("day", Value::Int(random.random())),
        ("ts", Value::Long(random.random())),
        ("local", Value::Long(random.random())),
        ("clock", Value::Int(random.random_range(0..86_400_000))),
        ("a", items),
        ("m", Value::Map((0..random.random_range(0..3)).map(|key| (key.to_string(), Value::Double(0.5))).collect())),
        ("un", union),
    ];
    Value::Record(fields.map(|(name, value)| (name.to_string(), value)).to_vec())
}

/// The schema without logical types, so that the reference library writes the plain values above.
fn plain(schema: &str) -> apache_avro::Schema {
    apache_avro::Schema::parse_str(&schema.replace("logicalType", "ignored")).unwrap()
}

#[test]
fn a_table_has_the_types_of_the_schema() {
    let columns = AvroSchema::parse(ALL).unwrap().columns().unwrap();
    assert_eq!(
        ddl::print(&columns),
        "b BOOLEAN NOT NULL, i INT NOT NULL, l BIGINT, f FLOAT NOT NULL, d DOUBLE, s STRING NOT NULL DEFAULT 'x', \
         y BYTES NOT NULL, x BYTES NOT NULL, e STRING NOT NULL, e2 STRING NOT NULL, dec DECIMAL(20,2) NOT NULL, \
         u UUID NOT NULL, day DATE NOT NULL, ts TIMESTAMP_LTZ(3) NOT NULL, local TIMESTAMP(6) NOT NULL, \
         clock TIME(3) NOT NULL, a ARRAY<ROW<q INT NOT NULL>> NOT NULL, m MAP<STRING, DOUBLE NOT NULL> NOT NULL, \
         un ROW<int INT, string STRING, In ROW<q INT NOT NULL>>"
    );
    TableSchema::create(columns, &[]).unwrap();
}

#[test]
fn rows_of_the_reference_library_come_back_byte_for_byte() {
    let writer = AvroSchema::parse(ALL).unwrap();
    let table = Arc::new(TableSchema::create(writer.columns().unwrap(), &[]).unwrap());
    let codec = codec(&table, ALL).unwrap();
    let schema = plain(ALL);
    let mut random = StdRng::seed_from_u64(5);
    let mut builder = RowBuilder::new(table.clone());
    let mut rows = Vec::new();
    for _ in 0..2_000 {
        let bytes = apache_avro::to_avro_datum(&schema, row(&mut random)).unwrap();
        assert_eq!(codec.decode(&bytes, &mut builder), Ok(RowForm::Canonical), "{bytes:02x?}");
        builder.finish_row();
        rows.push(bytes);
    }
    let batch = builder.finish().unwrap();
    let written = codec.rows(&batch).unwrap();
    for (index, bytes) in rows.iter().enumerate() {
        let mut out = Vec::new();
        written.write(index, &mut out).unwrap();
        assert_eq!(out, *bytes, "row {index}");
    }
}

#[test]
fn values_go_to_columns_by_name_and_are_converted() {
    let table = table(
        "added INT DEFAULT 9, wide DECIMAL(30,4), t TIMESTAMP_LTZ(6), small TINYINT, day TIMESTAMP(3), j JSON, u UUID",
    );
    let writer = record(
        r#"{"name":"small","type":"long"},{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},
           {"name":"wide","type":{"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":6,"scale":2}},
           {"name":"day","type":{"type":"int","logicalType":"date"}},{"name":"j","type":["null","string"]},
           {"name":"u","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}"#,
    );
    let codec = codec(&table, &writer).unwrap();
    let mut bytes = vec![0x0d, 0x02, 0xff, 0xff, 0x85, 0x02, 0x02, 0x06, b'[', b'1', b']'];
    bytes.extend(0..16);
    let (form, batch) = read(&table, &codec, &bytes);
    assert_eq!(form, RowForm::Canonical);
    let expected = r#"{"small":-7,"t":"1970-01-01T00:00:00.001Z","wide":-1.23,"day":"1970-01-02T00:00:00","j":[1],
        "u":"00010203-0405-0607-0809-0a0b0c0d0e0f"}"#;
    assert_eq!(batch, json(&table, expected));
    let mut out = Vec::new();
    codec.rows(&batch).unwrap().write(0, &mut out).unwrap();
    assert_eq!(out, bytes);
}

/// Seen failing: with the count of blocks left out of `Walk::blocks`, the row of two blocks was called canonical.
#[test]
fn other_spellings_of_a_value_keep_their_bytes() {
    let ints = table("a ARRAY<INT>, n BIGINT");
    let writer = record(r#"{"name":"a","type":{"type":"array","items":"int"}},{"name":"n","type":"long"}"#);
    let codec_of_ints = codec(&ints, &writer).unwrap();
    let expected = json(&ints, r#"{"a":[1,2],"n":3}"#);
    let check = |row: &[u8], form| assert_eq!(read(&ints, &codec_of_ints, row), (form, expected.clone()), "{row:?}");
    check(&[4, 2, 4, 0, 6], RowForm::Canonical);
    check(&[2, 2, 2, 4, 0, 6], RowForm::Raw);
    check(&[3, 4, 2, 4, 0, 6], RowForm::Raw);
    check(&[4, 2, 4, 0, 0x86, 0], RowForm::Raw);
    let one = table("n BIGINT");
    assert_eq!(read(&one, &codec(&one, &writer).unwrap(), &[0, 6]).0, RowForm::Raw, "a field the table does not have");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let bind = |columns: &str, fields: &str| codec(&table(columns), &record(fields)).unwrap_err().to_string();
    assert_eq!(bind("a INT", r#"{"name":"a","type":"string"}"#), "column a: the writer's string does not go into INT");
    assert_eq!(
        bind("a INT, b INT NOT NULL", r#"{"name":"a","type":"int"}"#),
        "column b is NOT NULL without default, and the writer's schema does not have it"
    );
    let narrow = table("a TINYINT NOT NULL, s STRING");
    let writer = record(r#"{"name":"a","type":["null","int"]},{"name":"s","type":"string"}"#);
    let codec = codec(&narrow, &writer).unwrap();
    let error = |row: &[u8]| {
        let mut builder = RowBuilder::new(narrow.clone());
        let error = codec.decode(row, &mut builder).unwrap_err().to_string();
        assert_eq!(builder.len_bytes(), RowBuilder::new(narrow.clone()).len_bytes());
        error
    };
    assert_eq!(error(&[0, 0]), "column a: null in a NOT NULL column (byte 1)");
    assert_eq!(error(&[2, 0x80, 2, 0]), r#"column a: "128" is not a value of TINYINT: out of range (byte 3)"#);
    assert_eq!(error(&[4]), "column a: malformed row: expected a branch of the union (byte 1)");
    assert_eq!(error(&[2, 2, 2, 0xff]), "column s: not valid UTF-8 (byte 4)");
    assert_eq!(error(&[2, 2, 9, b'x']), "column s: malformed row: expected a length of at least 0 (byte 3)");
    assert_eq!(error(&[2, 2, 2]), "column s: malformed row: expected more bytes (byte 3)");
    assert_eq!(error(&[2, 2, 0, 0]), "malformed row: expected the end of the row (byte 3)");
}

#[test]
fn schemas_that_are_no_tables_are_refused() {
    let error = |json: &str| AvroSchema::parse(json).and_then(|schema| schema.columns()).unwrap_err();
    let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    assert_eq!(error(list), AvroSchemaError::Recursive { name: "L".into() });
    assert_eq!(error(r#""int""#), AvroSchemaError::NotARecord);
    assert_eq!(error(&record(r#"{"name":"a","type":"nope"}"#)), AvroSchemaError::Type { found: "nope".into() });
    let bomb = (0..40).map(|level| {
        let inner = if level == 0 { "\"int\"".to_string() } else { format!("\"T{}\"", level - 1) };
        let define = format!(
            r#"{{"type":"record","name":"T{level}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":{inner}}}]}}"#
        );
        format!(r#"{{"name":"f{level}","type":{define}}}"#)
    });
    assert_eq!(error(&record(&bomb.collect::<Vec<_>>().join(","))), AvroSchemaError::TooLarge);
}
