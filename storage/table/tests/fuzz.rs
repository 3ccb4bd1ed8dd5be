//! Fuzzing on stable Rust of what reads bytes of strangers here: JSON and Avro rows, DDL, Avro schemas, row shapes. It runs two seconds a
//! target with every test run; `WEIR_FUZZ_SECONDS` and `WEIR_FUZZ_SEED` make it longer and different.

#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]

#[path = "../../../protocol/tests/fuzz/allocation.rs"]
mod allocation;
#[path = "../../../protocol/tests/fuzz/mutate.rs"]
mod mutate;

use std::sync::Arc;

use allocation::peak_of;
use weir_table::codec::avro::{AvroCodec, AvroOptions, AvroSchema};
use weir_table::codec::json::{JsonDecoder, JsonEncoder, JsonOptions, RowForm, RowPart, ShapeSet};
use weir_table::{RowBuilder, TableSchema, ddl};

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

const TABLE: &str = "a BIGINT, s STRING, d DECIMAL(38,10), f DOUBLE, g FLOAT, t TIMESTAMP_LTZ(3), u TIMESTAMP(6), \
    c TIME(6), e DATE, b BYTES, i UUID, j JSON, o BOOLEAN, l ARRAY<ROW<x INT, y ARRAY<STRING>>>, m MAP<STRING,DOUBLE>, \
    r ROW<p TINYINT, q ROW<z SMALLINT>>";

fn rows() -> Vec<Vec<u8>> {
    [
        r#"{"a":1,"s":"x\u00e9\"","d":1.50,"f":1e-7,"g":2.5,"t":"2024-02-29T01:02:03.004Z","u":"1969-12-31 23:59:59"}"#,
        r#"{"c":"12:34:56.000001","e":"0000-01-01","b":"AAE=","i":"00112233-4455-6677-8899-aabbccddeeff","j":{"k":[1,{}]}}"#,
        r#"{"o":true,"l":[{"x":1,"y":["a",null]},null],"m":{"k":1.0,"l":null},"r":{"p":-1,"q":{"z":300}}}"#,
        r#" { "s" : "\ud83d\ude00/<>" , "a" : "9223372036854775807" , "l" : [ ] } "#,
    ]
    .map(|row| row.as_bytes().to_vec())
    .to_vec()
}

#[test]
fn json_rows_are_refused_or_come_back_byte_for_byte() {
    let schema = Arc::new(TableSchema::create(ddl::parse(TABLE).unwrap(), &[]).unwrap());
    let mut decoder = JsonDecoder::new(&schema, RowPart::Value, JsonOptions::default());
    let mut builder = RowBuilder::new(schema.clone());
    mutate::run("json rows", &rows(), |_, input| {
        let (form, peak) = peak_of(|| decoder.decode(input, &mut builder));
        // New shapes are kept (1 MiB of text at most, in trees), everything else is of the order of the row.
        assert!(peak <= (1 << 20) + 256 * input.len(), "{peak} bytes for a row of {}", input.len());
        let Ok(form) = form else { return false };
        builder.finish_row();
        let batch = builder.finish().unwrap();
        if form == RowForm::Raw {
            return true;
        }
        let encoder = JsonEncoder::new(&schema, RowPart::Value, decoder.shapes()).unwrap();
        let mut out = Vec::new();
        encoder.rows(&batch).unwrap().write(0, form, &mut out).unwrap();
        assert_eq!(out, input, "{}", String::from_utf8_lossy(input));
        if decoder.shapes().len() > 64 {
            decoder.take_shapes();
        }
        true
    });
}

/// A few bytes of null items stand for 2,000 columns each: the bound on values stops them.
#[test]
fn short_rows_cannot_claim_much_memory() {
    let members = (0..1_900).map(|index| format!("c{index} BIGINT")).collect::<Vec<_>>().join(", ");
    let columns = ddl::parse(&format!("l ARRAY<ROW<{members}>>")).unwrap();
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let row = format!("{{\"l\":[{}null]}}", "null,".repeat(20_000));
    let mut decoder = JsonDecoder::new(&schema, RowPart::Value, JsonOptions::default());
    let mut builder = RowBuilder::new(schema);
    let (result, peak) = peak_of(|| decoder.decode(row.as_bytes(), &mut builder));
    assert!(result.unwrap_err().to_string().contains("expands to more than"));
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn schemas_are_parsed_or_refused() {
    let seeds = [TABLE, "a INT NOT NULL DEFAULT 1, -- x\n \"b\"\"c\" DECIMAL(10,2) DEFAULT 0.5 /* y */"];
    mutate::run("ddl", &seeds.map(|seed| seed.as_bytes().to_vec()), |_, input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        let Ok(columns) = ddl::parse(text) else { return false };
        assert_eq!(ddl::parse(&ddl::print(&columns)).as_ref(), Ok(&columns));
        let _ = TableSchema::create(columns, &[]);
        true
    });
}

#[test]
fn stored_shapes_are_read_or_refused_and_never_panic() {
    let schema = Arc::new(TableSchema::create(ddl::parse(TABLE).unwrap(), &[]).unwrap());
    let mut decoder = JsonDecoder::new(&schema, RowPart::Value, JsonOptions::default());
    let mut builder = RowBuilder::new(schema.clone());
    for row in rows() {
        decoder.decode(&row, &mut builder).unwrap();
        builder.finish_row();
    }
    let batch = builder.finish().unwrap();
    let seeds = [decoder.shapes().to_bytes()];
    mutate::run("row shapes", &seeds, |_, input| {
        let Ok(shapes) = ShapeSet::from_bytes(input) else { return false };
        let Ok(encoder) = JsonEncoder::new(&schema, RowPart::Value, &shapes) else { return false };
        let rows = encoder.rows(&batch).unwrap();
        for row in 0..batch.num_rows() {
            for id in 0..shapes.len() {
                let shape = weir_table::codec::json::ShapeId(id as u16);
                rows.write(row, RowForm::Shape(shape), &mut Vec::new()).unwrap();
            }
        }
        true
    });
}

const AVRO: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","long"]},
    {"name":"s","type":{"type":"array","items":{"type":"map","values":["int","string","null"]}}},
    {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":3}},{"name":"b","type":"double"},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"skip","type":{"type":"array","items":["null","int"]}}]}"#;

#[test]
fn avro_rows_are_refused_or_come_back_byte_for_byte() {
    let writer = AvroSchema::parse(AVRO).unwrap();
    for drop in [0, 1] {
        let mut columns = writer.columns().unwrap();
        columns.truncate(columns.len() - drop);
        let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
        let codec = AvroCodec::new(&schema, RowPart::Value, &writer, AvroOptions::default()).unwrap();
        let mut builder = RowBuilder::new(schema.clone());
        let double = 1.5f64.to_le_bytes();
        let seeds = [
            [&[2, 200, 1, 2, 4, 2, b'k', 0, 6, 2, b'l', 2, 4, b'x', b'y', 0, 0, 4, 1, 200], &double[..], &[2, 0]]
                .concat(),
            [&[0, 0, 2, 0], &double[..], &[0, 6, 0, 0, 2, 4, 0]].concat(),
        ];
        mutate::run("avro rows", &seeds, |_, input| {
            let (form, peak) = peak_of(|| codec.decode(input, &mut builder));
            assert!(peak <= (8 << 20) + 256 * input.len(), "{peak} bytes for a row of {}", input.len());
            let Ok(form) = form else { return false };
            builder.finish_row();
            let batch = builder.finish().unwrap();
            if form == RowForm::Canonical {
                let mut out = Vec::new();
                codec.rows(&batch).unwrap().write(0, &mut out).unwrap();
                assert_eq!(out, input);
            }
            true
        });
    }
}

#[test]
fn avro_schemas_are_parsed_or_refused_in_bounded_memory() {
    mutate::run("avro schemas", &[AVRO.as_bytes().to_vec()], |_, input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        let (schema, peak) = peak_of(|| AvroSchema::parse(text));
        assert!(peak <= (4 << 20) + 256 * input.len(), "{peak} bytes");
        let Ok(schema) = schema else { return false };
        if let Ok(columns) = schema.columns() {
            let _ = TableSchema::create(columns, &[]);
        }
        true
    });
}
