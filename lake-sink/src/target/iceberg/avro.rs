//! Avro container files, written with the schema text as it is given: Iceberg keeps field ids in attributes of the schema.
use std::collections::BTreeMap;

use apache_avro::types::Value;
use apache_avro::{Reader, Schema, to_avro_datum};
use uuid::Uuid;

const MAGIC: &[u8] = b"Obj\x01";

/// A schema, as text and parsed.
#[derive(Debug, Clone)]
pub struct AvroSchema {
    text: String,
    parsed: Schema,
}

impl AvroSchema {
    /// # Errors
    /// The crate's, if the text is no schema.
    pub fn parse(json: &serde_json::Value) -> Result<AvroSchema, apache_avro::Error> {
        Ok(AvroSchema { text: json.to_string(), parsed: Schema::parse(json)? })
    }

    /// A file with these records in one block and this metadata besides the schema's.
    ///
    /// # Errors
    /// The crate's, if a record does not fit.
    pub fn write(&self, metadata: &[(&str, String)], records: Vec<Value>) -> Result<Vec<u8>, apache_avro::Error> {
        let mut file = MAGIC.to_vec();
        let own = [("avro.schema", self.text.clone()), ("avro.codec", "null".to_owned())];
        long(&mut file, (metadata.len() + own.len()) as i64);
        for (key, value) in own.iter().chain(metadata) {
            bytes(&mut file, key.as_bytes());
            bytes(&mut file, value.as_bytes());
        }
        long(&mut file, 0);
        let sync = Uuid::new_v4();
        file.extend_from_slice(sync.as_bytes());
        let (count, mut block) = (records.len(), Vec::new());
        for record in records {
            block.extend(to_avro_datum(&self.parsed, record)?);
        }
        if count > 0 {
            long(&mut file, count as i64);
            bytes(&mut file, &block);
            file.extend_from_slice(sync.as_bytes());
        }
        Ok(file)
    }

    /// The records of a file, whoever wrote it, as this schema has them.
    ///
    /// # Errors
    /// The crate's, if the file is damaged or cannot be read as this schema.
    pub fn read(&self, file: &[u8]) -> Result<Vec<Value>, apache_avro::Error> {
        Reader::with_schema(&self.parsed, file)?.collect()
    }
}

/// Zigzag, seven bits a byte.
fn long(file: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        file.push(left as u8 | 0x80);
        left >>= 7;
    }
    file.push(left as u8);
}

fn bytes(file: &mut Vec<u8>, value: &[u8]) {
    long(file, value.len() as i64);
    file.extend_from_slice(value);
}

/// A value of a union with null, whose first branch null is.
pub fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

/// Null of such a union.
pub fn none() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

/// A record.
pub fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// `map<int, V>` as Iceberg has it in Avro: an array of pairs.
pub fn int_map(entries: BTreeMap<i32, Value>) -> Value {
    let pair = |(key, value)| record(vec![("key", Value::Int(key)), ("value", value)]);
    Value::Array(entries.into_iter().map(pair).collect())
}

/// A field of a record.
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Record(fields) = value else { return None };
    let (_, value) = fields.iter().find(|(field, _)| field == name)?;
    Some(match value {
        Value::Union(_, inner) => inner,
        other => other,
    })
}

/// A field that is a whole number.
pub fn number(value: &Value, name: &str) -> Option<i64> {
    match field(value, name)? {
        Value::Int(number) => Some(i64::from(*number)),
        Value::Long(number) => Some(*number),
        _ => None,
    }
}

/// A field that is text.
pub fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    match field(value, name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
