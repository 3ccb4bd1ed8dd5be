//! Protobuf rows of the reference library go in and come back; other spellings of the same messages keep their bytes.

#[path = "tests/quick.rs"]
mod quick_rows;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, Value};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::builder::RowBuilder;
use crate::codec::json::{JsonDecoder, JsonOptions};
use crate::codec::{OnUnknown, RowError, RowPart};
use crate::ddl;
use crate::schema::TableSchema;

const ALL: &str = r#"syntax = "proto3"; package n; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto";
    import "google/protobuf/wrappers.proto";
    enum E { NONE = 0; ONE = 1; MINUS = -1; }
    message In { int32 q = 1; repeated string t = 2; }
    message Row {
      bool b = 1; int32 i = 2; sint32 z = 3; sfixed32 sf = 4; int64 l = 5; uint32 u = 6; uint64 ul = 7; fixed64 fx = 8;
      sint64 zl = 18; fixed32 f4 = 19; sfixed64 s8 = 20;
      float f = 9; double d = 10; string s = 11; bytes y = 12; E e = 13; optional int32 o = 14; In in = 15;
      repeated int32 p = 16; repeated In r = 17; map<string, double> m = 21; map<string, In> mi = 22;
      map<int32, string> by = 23; google.protobuf.Timestamp at = 24; google.protobuf.StringValue w = 25;
      oneof choice { int32 c1 = 26; string c2 = 27; In c3 = 28; } google.protobuf.Struct js = 29;
      repeated int32 up = 30 [packed = false]; repeated E es = 31;
    }"#;

struct Main(String);

impl FileResolver for Main {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "main" { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
    }
}

/// What a registry hands over.
fn compiled(text: &str) -> String {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Main(text.to_string()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("main").unwrap();
    STANDARD.encode(compiler.file_descriptor_set().encode_to_vec())
}

fn proto(body: &str) -> String {
    format!("syntax = \"proto3\"; message R {{ {body} }}")
}

/// Message `index` of a file, for us and for the reference library.
fn message(text: &str, index: i32) -> (Arc<ProtoSchema>, MessageDescriptor) {
    let set = compiled(text);
    let pool = DescriptorPool::decode(STANDARD.decode(&set).unwrap().as_slice()).unwrap();
    let descriptor = pool.get_file_by_name("main").unwrap().messages().nth(index as usize).unwrap();
    (ProtoFile::parse(&set).unwrap().message(&[index]).unwrap(), descriptor)
}

fn table(columns: &str) -> Arc<TableSchema> {
    Arc::new(TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap())
}

fn codec(table: &TableSchema, text: &str) -> Result<ProtobufCodec, ProtoBindError> {
    ProtobufCodec::new(table, RowPart::Value, message(text, 0).0, ProtobufOptions::default())
}

fn read(table: &Arc<TableSchema>, codec: &ProtobufCodec, row: &[u8]) -> Result<(ProtoFit, RecordBatch), RowError> {
    let mut builder = RowBuilder::new(table.clone());
    let fit = codec.decode(row, &mut builder)?;
    builder.finish_row();
    Ok((fit, builder.finish().unwrap()))
}

fn json(table: &Arc<TableSchema>, row: &str) -> RecordBatch {
    let mut builder = RowBuilder::new(table.clone());
    let mut decoder = JsonDecoder::new(table, RowPart::Value, JsonOptions::default());
    decoder.decode(row.as_bytes(), &mut builder).unwrap();
    builder.finish_row();
    builder.finish().unwrap()
}

fn written(codec: &ProtobufCodec, batch: &RecordBatch) -> Vec<u8> {
    let mut out = Vec::new();
    codec.rows(batch).unwrap().write(0, &mut out).unwrap();
    out
}

#[test]
fn a_table_has_the_types_of_the_message() {
    let columns = message(ALL, 1).0.columns().unwrap();
    assert_eq!(
        ddl::print(&columns),
        "b BOOLEAN NOT NULL DEFAULT false, i INT NOT NULL DEFAULT 0, z INT NOT NULL DEFAULT 0, sf INT NOT NULL DEFAULT 0, \
         l BIGINT NOT NULL DEFAULT 0, u BIGINT NOT NULL DEFAULT 0, ul DECIMAL(20,0) NOT NULL DEFAULT 0, \
         fx DECIMAL(20,0) NOT NULL DEFAULT 0, f FLOAT NOT NULL DEFAULT 0, d DOUBLE NOT NULL DEFAULT 0, \
         s STRING NOT NULL DEFAULT '', y BYTES NOT NULL DEFAULT '', e STRING NOT NULL DEFAULT 'NONE', o INT, \
         in ROW<q INT NOT NULL DEFAULT 0, t ARRAY<STRING NOT NULL>>, p ARRAY<INT NOT NULL>, \
         r ARRAY<ROW<q INT NOT NULL DEFAULT 0, t ARRAY<STRING NOT NULL>> NOT NULL>, zl BIGINT NOT NULL DEFAULT 0, \
         f4 BIGINT NOT NULL DEFAULT 0, s8 BIGINT NOT NULL DEFAULT 0, m MAP<STRING, DOUBLE NOT NULL>, \
         mi MAP<STRING, ROW<q INT NOT NULL DEFAULT 0, t ARRAY<STRING NOT NULL>> NOT NULL>, \
         by ARRAY<ROW<key INT NOT NULL DEFAULT 0, value STRING NOT NULL DEFAULT ''> NOT NULL>, at TIMESTAMP_LTZ(6), \
         w STRING, c1 INT, c2 STRING, c3 ROW<q INT NOT NULL DEFAULT 0, t ARRAY<STRING NOT NULL>>, js JSON, \
         up ARRAY<INT NOT NULL>, es ARRAY<STRING NOT NULL>"
    );
    TableSchema::create(columns, &[]).unwrap();
}

/// A random value of every field, zero or absent now and then.
fn random_row(descriptor: &MessageDescriptor, random: &mut StdRng) -> DynamicMessage {
    let mut row = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if random.random_bool(0.3) || field.name() == "js" {
            continue;
        }
        if field.is_map() {
            let prost_reflect::Kind::Message(entry) = field.kind() else { unreachable!() };
            // One entry: the reference library has no order of entries.
            let key = match entry.map_entry_key_field().kind() {
                prost_reflect::Kind::String => MapKey::String(random_text(random)),
                _ => MapKey::I32(random.random()),
            };
            // It also leaves out what is zero, which serializers of other languages do not.
            let key = if key == MapKey::String(String::new()) { MapKey::String("k".into()) } else { key };
            let value = loop {
                let value = random_value(&entry.map_entry_value_field(), random);
                if !value.is_default(&entry.map_entry_value_field().kind()) {
                    break value;
                }
            };
            row.set_field(&field, Value::Map([(key, value)].into()));
        } else if field.is_list() {
            let items = (0..random.random_range(0..4)).map(|_| random_value(&field, random)).collect();
            row.set_field(&field, Value::List(items));
        } else {
            row.set_field(&field, random_value(&field, random));
        }
    }
    row
}

fn random_text(random: &mut StdRng) -> String {
    ["", "é", "long text \u{1F600}"][random.random_range(0..3)].repeat(random.random_range(1..20))
}

fn random_value(field: &prost_reflect::FieldDescriptor, random: &mut StdRng) -> Value {
    use prost_reflect::Kind as K;
    let long = random.random::<i64>() >> random.random_range(0..64);
    match field.kind() {
        K::Bool => Value::Bool(random.random()),
        K::Int32 | K::Sint32 | K::Sfixed32 => Value::I32(long as i32),
        K::Int64 | K::Sint64 | K::Sfixed64 => Value::I64(long),
        K::Uint32 | K::Fixed32 => Value::U32(long as u32),
        K::Uint64 | K::Fixed64 => Value::U64(long as u64),
        K::Float => Value::F32([0.0, -0.0, 1.5, f32::NAN, f32::INFINITY][random.random_range(0..5)]),
        K::Double => Value::F64([0.0, -0.0, 1e300, f64::NAN, -3.25][random.random_range(0..5)]),
        K::String => Value::String(random_text(random)),
        K::Bytes => Value::Bytes(vec![7; random.random_range(0..200)].into()),
        // 9: a value that a newer version of the enum has.
        K::Enum(_) => Value::EnumNumber([0, 1, -1, 9][random.random_range(0..4)]),
        K::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            let mut at = DynamicMessage::new(message);
            at.set_field_by_name("seconds", Value::I64(random.random_range(-100_000_000_000..100_000_000_000)));
            at.set_field_by_name("nanos", Value::I32(1_000 * random.random_range(0..1_000_000)));
            Value::Message(at)
        }
        K::Message(message) => Value::Message(random_row(&message, random)),
    }
}

#[test]
fn rows_of_the_reference_library_come_back_byte_for_byte_from_their_columns() {
    let (writer, descriptor) = message(ALL, 1);
    let schema = Arc::new(TableSchema::create(writer.columns().unwrap(), &[]).unwrap());
    let codec = ProtobufCodec::new(&schema, RowPart::Value, writer, ProtobufOptions::default()).unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let mut builder = RowBuilder::new(schema);
    let mut rows = Vec::new();
    for _ in 0..2_000 {
        let row = random_row(&descriptor, &mut random).encode_to_vec();
        let fit = codec.decode(&row, &mut builder).unwrap();
        assert_eq!(fit, ProtoFit { exact: true, complete: true }, "{row:?}");
        builder.finish_row();
        rows.push(row);
    }
    let batch = builder.finish().unwrap();
    let encoder = codec.rows(&batch).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let mut out = Vec::new();
        encoder.write(index, &mut out).unwrap();
        assert_eq!(out, *row);
    }
}

#[test]
fn values_arrive_in_their_columns() {
    let (writer, descriptor) = message(ALL, 1);
    let schema = Arc::new(TableSchema::create(writer.columns().unwrap(), &[]).unwrap());
    let codec = ProtobufCodec::new(&schema, RowPart::Value, writer, ProtobufOptions::default()).unwrap();
    let text = r#"{"b":true,"i":-1,"ul":"18446744073709551615","f":1.5,"s":"é","y":"AAE=","e":"MINUS","in":{"q":7,"t":["a",""]},
        "p":[1,-2],"r":[{},{"q":2}],"m":{"k":0.5},"by":{"5":"five"},"at":"1969-12-31T23:59:59.000001Z","w":"","c2":"x",
        "js":{"a":[1,null,{"b":1.5}]}}"#;
    // One member in each map: the writer of this row puts several in any order.
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let row = DynamicMessage::deserialize(descriptor, &mut deserializer).unwrap().encode_to_vec();
    let (fit, batch) = read(&schema, &codec, &row).unwrap();
    assert_eq!(fit, ProtoFit { exact: false, complete: true }, "a Struct does not come back byte for byte");
    let expected = r#"{"b":true,"i":-1,"z":0,"sf":0,"l":0,"u":0,"ul":18446744073709551615,"fx":0,"f":1.5,"d":0,"s":"é","y":"AAE=",
        "e":"MINUS","in":{"q":7,"t":["a",""]},"p":[1,-2],"r":[{"q":0,"t":[]},{"q":2,"t":[]}],"zl":0,"f4":0,"s8":0,"m":{"k":0.5},
        "mi":{},"by":[{"key":5,"value":"five"}],"at":"1969-12-31T23:59:59.000001Z","w":"","c2":"x",
        "js":{"a":[1,null,{"b":1.5}]},"up":[],"es":[]}"#;
    assert_eq!(batch, json(&schema, expected));
    assert_eq!(read(&schema, &codec, &written(&codec, &batch)).unwrap().1, batch, "the same message comes back");
}

#[test]
fn other_spellings_are_understood_and_not_exact() {
    let text = proto(
        "int32 a = 1; string s = 2; repeated int32 p = 3; In m = 4; oneof o { int32 x = 5; In y = 6; } \
        message In { int32 q = 1; int32 w = 2; repeated int32 l = 3; } map<string, int32> k = 7;",
    );
    let columns = message(&text, 0).0.columns().unwrap();
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let codec = codec(&schema, &text).unwrap();
    // Row, and the same message in JSON.
    let rows: [(&str, &[u8], &str); 14] = [
        ("other order", &[0x12, 1, b'x', 8, 5], r#"{"a":5,"s":"x"}"#),
        ("a long varint", &[8, 0x85, 0], r#"{"a":5}"#),
        ("a long length", &[0x12, 0x81, 0, b'x'], r#"{"s":"x"}"#),
        ("a long tag", &[0x88, 0, 5], r#"{"a":5}"#),
        ("a zero", &[8, 0], "{}"),
        ("twice", &[8, 5, 8, 6], r#"{"a":6}"#),
        ("not packed", &[0x18, 1, 0x18, 2], r#"{"p":[1,2]}"#),
        ("packed twice", &[0x1a, 1, 1, 0x1a, 1, 2], r#"{"p":[1,2]}"#),
        ("packed nothing", &[0x1a, 0], "{}"),
        (
            "messages are merged",
            &[0x22, 2, 8, 1, 8, 9, 0x22, 4, 16, 2, 0x18, 5],
            r#"{"a":9,"m":{"q":1,"w":2,"l":[5]}}"#,
        ),
        ("the last of a oneof", &[0x28, 5, 0x32, 2, 8, 7], r#"{"y":{"q":7}}"#),
        ("the first again", &[0x32, 2, 8, 7, 0x28, 5, 0x32, 2, 16, 1], r#"{"y":{"w":1}}"#),
        ("32 bits of more", &[8, 0x81, 0x80, 0x80, 0x80, 0x10], r#"{"a":1}"#),
        ("an entry without key", &[0x3a, 2, 16, 3], r#"{"k":{"":3}}"#),
    ];
    for (what, row, values) in rows {
        let (fit, batch) = read(&schema, &codec, row).unwrap();
        assert_eq!(fit, ProtoFit { exact: false, complete: true }, "{what}");
        let mut full: serde_json::Value = serde_json::from_str(values).unwrap();
        for (list, empty) in [("p", "[]"), ("k", "{}")] {
            let members = full.as_object_mut().unwrap();
            members.entry(list).or_insert_with(|| serde_json::from_str(empty).unwrap());
        }
        for inner in ["m", "y"] {
            if let Some(inner) = full.get_mut(inner).and_then(|inner| inner.as_object_mut()) {
                inner.entry("l").or_insert_with(|| serde_json::json!([]));
            }
        }
        assert_eq!(batch, json(&schema, &full.to_string()), "{what}");
        let again = written(&codec, &batch);
        assert_eq!(read(&schema, &codec, &again).unwrap(), (ProtoFit { exact: true, complete: true }, batch), "{what}");
    }
    let unknown: &[u8] = &[8, 5, 0x78, 1];
    assert_eq!(read(&schema, &codec, unknown).unwrap().0, ProtoFit { exact: false, complete: false });
    let options = ProtobufOptions { unknown: OnUnknown::Reject, ..ProtobufOptions::default() };
    let strict = ProtobufCodec::new(&schema, RowPart::Value, message(&text, 0).0, options).unwrap();
    assert_eq!(read(&schema, &strict, unknown).unwrap_err().column, "field 15");
}

/// Were each level read again by itself, each would double the work.
#[test]
fn fields_twice_on_every_level_are_read_in_time() {
    let mut text = "syntax = \"proto3\"; message M0 { M1 m = 1; int32 x = 2; }".to_string();
    for level in 1..15 {
        let inner = if level < 14 { format!("M{} m = 1;", level + 1) } else { String::new() };
        text.push_str(&format!("message M{level} {{ {inner} int32 x = 2; }}"));
    }
    let columns = message(&text, 0).0.columns().unwrap();
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let codec = codec(&schema, &text).unwrap();
    let mut row = vec![16, 1, 16, 2];
    for _ in 0..14 {
        let mut outer = vec![0x0a];
        wire::write_sized(&row, &mut outer);
        outer.extend([16, 1, 16, 3]);
        row = outer;
    }
    let (fit, batch) = read(&schema, &codec, &row).unwrap();
    assert!(!fit.exact);
    assert_eq!(batch.column(1).as_primitive::<Int32Type>().values(), &[3]);
    assert!(written(&codec, &batch).len() < row.len());
}

#[test]
fn rows_that_are_none_are_refused() {
    let text = proto("int32 a = 1; string s = 2; In m = 3; repeated fixed32 p = 4; message In { double d = 1; }");
    let columns = message(&text, 0).0.columns().unwrap();
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let codec = codec(&schema, &text).unwrap();
    let rows: [(&[u8], &str); 10] = [
        (&[8], "column a: malformed row: expected more bytes (byte 1)"),
        (&[0], "malformed row: expected a field number of 1 to 2^29 - 1 (byte 1)"),
        (&[9, 0, 0, 0, 0, 0, 0, 0, 0], "column a: malformed row: expected the wire type of the field (byte 1)"),
        (&[0x12, 5, b'a'], "column s: malformed row: expected more bytes (byte 2)"),
        (&[0x12, 1, 0xff], "column s: not valid UTF-8 (byte 3)"),
        (&[0x1a, 9, 9, 0, 0, 0, 0, 0, 0, 0], "column m: malformed row: expected more bytes (byte 2)"),
        (&[0x1a, 5, 9, 0, 0, 0, 0, 0, 0, 0, 0], "column m.d: malformed row: expected more bytes (byte 3)"),
        (&[0x22, 3, 1, 2, 3], "column p: malformed row: expected more bytes (byte 2)"),
        (
            &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
            "column a: malformed row: expected a number of at most 64 bits (byte 10)",
        ),
        (&[0x7b], "malformed row: expected a value that is no group (byte 1)"),
    ];
    for (row, error) in rows {
        assert_eq!(read(&schema, &codec, row).unwrap_err().to_string(), error);
    }
}

#[test]
fn fields_bind_by_name_and_absent_columns_get_their_default() {
    let schema =
        table("s STRING, new INT NOT NULL DEFAULT 7, a BIGINT, d DECIMAL(5,2), u UUID, t TIMESTAMP(3), gone INT");
    let text = proto("string u = 1; int32 a = 2; sint32 d = 3; string t = 4; string s = 9;");
    let codec = codec(&schema, &text).unwrap();
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let mut row = vec![0x0a, 36];
    row.extend(uuid.as_bytes());
    row.extend([16, 5, 24, 3, 0x22, 19]);
    row.extend(b"2024-02-29T01:02:03");
    row.extend([0x4a, 1, b'x']);
    let (fit, batch) = read(&schema, &codec, &row).unwrap();
    assert!(fit.exact);
    assert_eq!(written(&codec, &batch), row);
    let values = format!(r#"{{"s":"x","a":5,"d":-2,"u":"{uuid}","t":"2024-02-29T01:02:03"}}"#);
    assert_eq!(batch, json(&schema, &values));
    // Text that is none of the column's type is refused; nothing at all is null.
    assert!(read(&schema, &codec, &[0x22, 1, b'x']).is_err());
    let (fit, batch) = read(&schema, &codec, &[]).unwrap();
    assert!(fit.exact && batch.column(4).is_null(0) && written(&codec, &batch).is_empty());
    let error = |body: &str| super::tests::codec(&schema, &proto(body)).unwrap_err().to_string();
    assert_eq!(error("double a = 1;"), "column a: the writer's double does not go into BIGINT");
    assert_eq!(error("repeated int32 a = 1;"), "column a: the writer's repeated int32 does not go into BIGINT");
    let strict = table("k INT NOT NULL");
    let error = super::tests::codec(&strict, &proto("int32 a = 1;")).unwrap_err();
    assert_eq!(error, ProtoBindError::Missing { column: "k".into() });
}

#[test]
fn schemas_that_are_no_table_are_refused_by_name() {
    let error = |text: &str| {
        let file = ProtoFile::parse(&compiled(text)).unwrap();
        file.message(&[0]).and_then(|message| message.columns()).unwrap_err().to_string()
    };
    assert_eq!(
        error("syntax = \"proto3\"; package n; message A { B b = 1; } message B { repeated A a = 1; }"),
        "Protobuf schema: message n.A contains itself; recursive schemas cannot be tables"
    );
    assert_eq!(error(&proto("message In {} In i = 1;")), "column i: a message without fields cannot be columns");
    assert_eq!(
        error("syntax = \"proto2\"; message A { optional group G = 1 { optional int32 a = 1; } }"),
        "column A.g: groups cannot be columns; use a message"
    );
    let file = ProtoFile::parse(&compiled(ALL)).unwrap();
    assert_eq!(file.message(&[7]), Err(ProtoSchemaError::NoMessage { indexes: vec![7] }));
    assert_eq!(file.find("n.Row"), Some(vec![1]));
    assert!(ProtoFile::parse("AAAA").is_err());
}

#[test]
fn proto2_messages_have_required_and_optional_fields() {
    let text = "syntax = \"proto2\"; message R { required int32 a = 1; optional string s = 2; repeated int32 p = 3; }";
    let (writer, _) = message(text, 0);
    let columns = writer.columns().unwrap();
    assert_eq!(ddl::print(&columns), "a INT NOT NULL, s STRING, p ARRAY<INT NOT NULL>");
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let codec = ProtobufCodec::new(&schema, RowPart::Value, writer, ProtobufOptions::default()).unwrap();
    let row: &[u8] = &[8, 0, 0x12, 0, 0x18, 1, 0x18, 2];
    let (fit, batch) = read(&schema, &codec, row).unwrap();
    assert!(fit.exact, "zeros are written where presence is explicit, lists are not packed");
    assert_eq!(written(&codec, &batch), row);
    assert_eq!(read(&schema, &codec, &[]).unwrap_err().column, "a");
}

/// Found by fuzzing: the library's functions for entries of maps panic at these.
#[test]
fn an_entry_of_a_map_without_key_or_value_is_a_list_of_messages() {
    use prost_reflect::prost_types::FileDescriptorSet;
    let file = File::from_source("m", "syntax = \"proto3\"; message M { map<string, int32> m = 1; }").unwrap();
    for number in [1, 2] {
        let mut descriptor = file.file_descriptor_proto().clone();
        descriptor.message_type[0].nested_type[0].field.retain(|field| field.number != Some(number));
        let text = STANDARD.encode(FileDescriptorSet { file: vec![descriptor] }.encode_to_vec());
        let columns = ProtoFile::parse(&text).unwrap().message(&[0]).unwrap().columns().unwrap();
        assert!(ddl::print(&columns).starts_with("m ARRAY<ROW<"), "{}", ddl::print(&columns));
    }
}
