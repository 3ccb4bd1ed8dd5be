//! Fuzzing on stable Rust of what reads bytes of strangers here: JSON, Avro and Protobuf rows, DDL, JSON, Avro and Protobuf schemas, row
//! shapes and writers of a file. It runs two seconds a target with every test run; `WEIRTEST_FUZZ_SECONDS` and `WEIRTEST_SEED` make it
//! longer and different.

#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]
#![allow(clippy::unwrap_used)]

#[path = "../../../protocol/tests/fuzz/allocation.rs"]
mod allocation;
#[path = "../../../protocol/tests/fuzz/mutate.rs"]
mod mutate;

use std::sync::Arc;

use allocation::peak_of;
use weir_table::codec::avro::{AvroCodec, AvroOptions, AvroSchema};
use weir_table::codec::json::{JsonDecoder, JsonEncoder, JsonOptions, JsonSchema, RowForm, RowPart, ShapeSet};
use weir_table::codec::protobuf::{ProtoFile, ProtobufCodec, ProtobufOptions};
use weir_table::table::{KeptEncoder, KeptWriters, RowFormat, TableOptions, WriterSchema};
use weir_table::{RowBuilder, Table, TableSchema, ddl};

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
        mutate::run(if drop == 0 { "avro rows" } else { "avro rows, one dropped" }, &seeds, |_, input| {
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

const PROTO: &str = r#"syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto";
    import "google/protobuf/wrappers.proto"; enum E { A = 0; B = 1; }
    message R { int32 a = 1; sint64 z = 2; fixed64 f = 3; double d = 4; string s = 5; bytes y = 6; E e = 7;
      optional bool o = 8; In in = 9; repeated int32 p = 10; repeated In r = 11; map<string, In> m = 12;
      google.protobuf.Timestamp at = 13; google.protobuf.StringValue w = 14; oneof c { int32 c1 = 15; In c2 = 16; }
      google.protobuf.Struct js = 17; int32 skipped = 18; repeated string t = 19; }
    message In { int32 q = 1; repeated string t = 2; In2 deep = 3; } message In2 { float f = 1; map<string, double> m = 2; }"#;

struct Main;

impl protox::file::FileResolver for Main {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match name {
            "main" => protox::file::File::from_source(name, PROTO),
            _ => protox::file::GoogleFileResolver::new().open_file(name),
        }
    }
}

fn descriptor_set() -> Vec<u8> {
    use prost_reflect::prost::Message;
    let mut compiler = protox::Compiler::with_file_resolver(Main);
    compiler.include_imports(true).open_file("main").unwrap();
    compiler.file_descriptor_set().encode_to_vec()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Rows with everything, as the reference library writes them, and spellings that it does not write.
fn proto_rows() -> Vec<Vec<u8>> {
    use prost_reflect::prost::Message;
    let pool = prost_reflect::DescriptorPool::decode(descriptor_set().as_slice()).unwrap();
    let message = pool.get_message_by_name("R").unwrap();
    let text = r#"{"a":-5,"z":"-9","f":"77","d":0.5,"s":"\u00e9","y":"AAE=","e":"B","o":false,"in":{"q":1,"t":["x",""],
        "deep":{"f":1.5,"m":{"k":2.5}}},"p":[1,300,-1],"r":[{"q":2},{}],"m":{"k":{"q":3}},"at":"2024-02-29T01:02:03.000004Z",
        "w":"w","c1":6,"js":{"a":[1,null,{"b":"c"}],"d":true},"skipped":3,"t":["a","b"]}"#;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let row = prost_reflect::DynamicMessage::deserialize(message, &mut deserializer).unwrap().encode_to_vec();
    let twice = [&row[..], &row].concat();
    vec![row, twice, vec![0x78, 1, 0x82, 1, 2, 8, 7, 0x78, 2], vec![0x50, 1, 0x50, 2, 0x4a, 2, 8, 1, 0x4a, 2, 8, 2]]
}

#[test]
fn protobuf_rows_are_refused_or_come_back() {
    let writer = ProtoFile::parse(&base64(&descriptor_set())).unwrap().message(&[0]).unwrap();
    let mut columns = writer.columns().unwrap();
    columns.retain(|column| column.name != "skipped");
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let codec = ProtobufCodec::new(&schema, RowPart::Value, writer, ProtobufOptions::default()).unwrap();
    let mut builder = RowBuilder::new(schema.clone());
    let (mut exact, mut twice) = (0, 0);
    mutate::run("protobuf rows", &proto_rows(), |_, input| {
        let (fit, peak) = peak_of(|| codec.decode(input, &mut builder));
        assert!(peak <= (8 << 20) + 256 * input.len(), "{peak} bytes for a row of {}", input.len());
        let Ok(fit) = fit else { return false };
        builder.finish_row();
        let batch = builder.finish().unwrap();
        let mut out = Vec::new();
        codec.rows(&batch).unwrap().write(0, &mut out).unwrap();
        if fit.exact {
            exact += 1;
            assert_eq!(out, input);
            return true;
        }
        // What comes out instead is the same row.
        twice += 1;
        codec.decode(&out, &mut builder).unwrap();
        builder.finish_row();
        let again = builder.finish().unwrap();
        let mut once_more = Vec::new();
        codec.rows(&again).unwrap().write(0, &mut once_more).unwrap();
        assert_eq!(once_more, out, "written twice");
        true
    });
    assert!(exact > 0 && twice > 0, "{exact} exact, {twice} others");
}

#[test]
fn compiled_protobuf_schemas_are_read_or_refused_in_bounded_memory() {
    mutate::run("protobuf schemas", &[descriptor_set()], |_, input| {
        let text = base64(input);
        let (message, peak) = peak_of(|| ProtoFile::parse(&text).and_then(|file| file.message(&[0])));
        assert!(peak <= (16 << 20) + 512 * input.len(), "{peak} bytes");
        let Ok(message) = message else { return false };
        if let Ok(columns) = message.columns() {
            let _ = TableSchema::create(columns, &[]);
        }
        true
    });
}

/// The writers that a file of columns keeps: damaged ones are refused, and none makes the encoder panic.
#[test]
fn stored_writers_are_read_or_refused_and_never_panic() {
    let text = base64(&descriptor_set());
    let writer = WriterSchema { id: None, text: text.clone(), references: Vec::new() };
    let message = ProtoFile::parse(&text).unwrap().message(&[0]).unwrap();
    let schema = Arc::new(TableSchema::create(message.columns().unwrap(), &[]).unwrap());
    let format = RowFormat::protobuf(writer);
    let table = Arc::new(Table::new(vec![schema], format, None, TableOptions::default()).unwrap());
    let mut keeper = table.keeper();
    for row in proto_rows() {
        keeper.push(None, Some(&row)).unwrap();
    }
    let stored = keeper.schema().clone();
    let batch = keeper.finish().unwrap();
    let seeds = [keeper.writers().to_json().into_bytes()];
    mutate::run("stored writers", &seeds, |_, input| {
        let Ok(json) = std::str::from_utf8(input) else { return false };
        let Ok(writers) = KeptWriters::from_json(json) else { return false };
        let Ok(encoder) = KeptEncoder::new(&stored, &ShapeSet::default(), &writers) else { return false };
        let rows = encoder.rows(&batch).unwrap();
        for row in 0..batch.num_rows() {
            for number in [0, 1, u16::MAX] {
                // Values that another message cannot say are an error.
                let _ = rows.write(row, RowForm::Writer(number), &mut Vec::new());
            }
        }
        true
    });
}

#[test]
fn json_schemas_are_read_or_refused_in_bounded_memory() {
    let seeds = [
        r##"{"$id":"a/b.json","type":"object","required":["a"],"properties":{"a":{"type":["integer","null"],"default":3},
            "b":{"$ref":"#/$defs/B"},"c":{"items":{"$ref":"c.json#leg"}},"d":{"additionalProperties":{"format":"uuid","type":"string"}}},
            "$defs":{"B":{"allOf":[{"properties":{"x":{"enum":[1,2.5,null]}}},{"$ref":"#/$defs/C"}]},"C":{"properties":{"y":true}}}}"##,
        r##"{"oneOf":[{"type":"null"},{"properties":{"a":{"anyOf":[{"const":"x"},{"type":"array","items":[{}]}]}}}]}"##,
    ];
    let other = r#"{"$id":"a/c.json","$defs":{"l":{"$anchor":"leg","type":"boolean"}}}"#;
    let references = [("c.json".to_owned(), other.to_owned())];
    mutate::run("json schemas", &seeds.map(|seed| seed.as_bytes().to_vec()), |_, input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        let read = || JsonSchema::parse_with(&references, text).and_then(|schema| schema.columns());
        let (columns, peak) = peak_of(read);
        // What is referred to again and again is a column each time: 10,000 of them at most.
        assert!(peak <= (16 << 20) + 512 * input.len(), "{peak} bytes for a schema of {}", input.len());
        let Ok(columns) = columns else { return false };
        let _ = TableSchema::create(columns, &[]);
        true
    });
}
