//! Seen failing: without the bound on what is decompressed.
use serde_json::json;

use super::*;

fn schema() -> Json {
    json!({ "type": "record", "name": "a.b.entry", "fields": [
        { "name": "n", "type": "long" },
        { "name": "maybe", "type": ["null", "string"], "default": null },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "many", "type": { "type": "array", "items": ["null", "long"] } },
        { "name": "inner", "type": { "type": "record", "name": "inner", "fields": [{ "name": "b", "type": "bytes" }] } },
        { "name": "again", "type": "inner" },
    ]})
}

fn entry(n: i64) -> Value {
    let inner = |byte: u8| record(vec![("b", Value::Bytes(vec![byte; 3]))]);
    record(vec![
        ("n", Value::Long(n)),
        ("maybe", if n % 2 == 0 { none() } else { some(Value::String(format!("text {n}"))) }),
        ("at", Value::TimestampMillis(n * 1_000_000_007)),
        ("many", Value::Array(vec![none(), some(Value::Long(-n))])),
        ("inner", inner(1)),
        ("again", inner(2)),
    ])
}

/// Without the wrapping of logical types, which the schema alone decides.
fn plain(value: Value) -> Value {
    match value {
        Value::TimestampMillis(at) => Value::Long(at),
        Value::Record(fields) => Value::Record(fields.into_iter().map(|(name, value)| (name, plain(value))).collect()),
        other => other,
    }
}

/// The file with its only block compressed.
fn compressed(file: &[u8], codec: &str, compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    long(&mut out, 2);
    bytes(&mut out, b"avro.schema");
    bytes(&mut out, schema().to_string().as_bytes());
    bytes(&mut out, b"avro.codec");
    bytes(&mut out, codec.as_bytes());
    long(&mut out, 0);
    let sync = &file[file.len() - 16..];
    out.extend_from_slice(sync);
    let at = file.windows(16).position(|window| window == sync).unwrap() + 16;
    let mut block = Input { left: &file[at..] };
    let (count, records) = (block.long().unwrap(), block.bytes().unwrap());
    long(&mut out, count);
    bytes(&mut out, &compress(records));
    out.extend_from_slice(sync);
    out
}

#[test]
fn what_is_written_is_read_in_every_compression() {
    let wanted: Vec<Value> = (0..50).map(entry).map(plain).collect();
    let file =
        AvroSchema::parse(&schema()).unwrap().write(&[("x", "y".to_owned())], (0..50).map(entry).collect()).unwrap();
    assert_eq!(read_as_written(&file).unwrap(), wanted);
    let zstd = compressed(&file, "zstandard", |block| zstd::stream::encode_all(block, 1).unwrap());
    assert_eq!(read_as_written(&zstd).unwrap(), wanted);
    let deflate = compressed(&file, "deflate", |block| {
        let mut out = Vec::new();
        flate2::read::DeflateEncoder::new(block, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        out
    });
    assert_eq!(read_as_written(&deflate).unwrap(), wanted);
    let other = compressed(&file, "snappy", <[u8]>::to_vec);
    assert_eq!(read_as_written(&other), Err(Damaged::Codec { codec: "snappy".to_owned() }));
}

#[test]
fn a_damaged_file_is_an_error_wherever_the_damage_is() {
    let file = AvroSchema::parse(&schema()).unwrap().write(&[], (0..3).map(entry).collect()).unwrap();
    for end in 0..file.len() {
        let cut = read_as_written(&file[..end]);
        // Nothing but a header is a file without records.
        assert!(cut.is_err() || cut == Ok(Vec::new()), "cut at {end}: {cut:?}");
    }
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            let _ = read_as_written(&damaged); // it returns, whatever it says
        }
    }
}

#[test]
fn what_a_file_may_take_is_bounded() {
    let of = |schema: &Json, codec: &str, count: i64, block: &[u8]| {
        let mut out = MAGIC.to_vec();
        long(&mut out, 2);
        bytes(&mut out, b"avro.schema");
        bytes(&mut out, schema.to_string().as_bytes());
        bytes(&mut out, b"avro.codec");
        bytes(&mut out, codec.as_bytes());
        long(&mut out, 0);
        out.extend_from_slice(&[7; 16]);
        long(&mut out, count);
        bytes(&mut out, block);
        out.extend_from_slice(&[7; 16]);
        out
    };
    assert_eq!(
        read_as_written(&of(&json!("null"), "null", i64::MAX, b"")),
        Err(Damaged::TooLarge),
        "records of nothing"
    );
    let nulls = json!({ "type": "array", "items": "null" });
    let mut many = Vec::new();
    long(&mut many, i64::MAX);
    assert_eq!(read_as_written(&of(&nulls, "null", 1, &many)), Err(Damaged::TooLarge), "items of nothing");
    let itself = json!({ "type": "record", "name": "r", "fields": [{ "name": "r", "type": "r" }] });
    assert_eq!(read_as_written(&of(&itself, "null", 1, b"")), Err(Damaged::TooLarge), "a record in itself");
    let bomb = zstd::stream::encode_all(std::io::repeat(0).take(DECODED_BYTES_MAX as u64 + 5), 1).unwrap();
    assert!(bomb.len() < 1 << 20);
    assert_eq!(read_as_written(&of(&json!("bytes"), "zstandard", 1, &bomb)), Err(Damaged::TooLarge));
}
