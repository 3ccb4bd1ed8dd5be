//! Avro container files, written with the schema text as it is given: Iceberg keeps field ids in attributes of the schema. What
//! other engines wrote is read within bounds.
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use apache_avro::types::Value;
use apache_avro::{Reader, Schema, to_avro_datum};
use serde_json::Value as Json;
use thiserror::Error;
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

/// Bytes of a file's records without compression.
const DECODED_BYTES_MAX: usize = 128 << 20;
/// Values in a file, each null and each field counted.
const VALUES_MAX: usize = 16 << 20;
/// Types within types.
const DEPTH_MAX: usize = 32;

/// Why a file of records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damaged {
    #[error("it is no Avro file")]
    NotAvro,
    #[error("it ends in the middle")]
    Short,
    #[error("its schema cannot be understood: {reason}")]
    Schema { reason: String },
    #[error("its records are compressed with `{codec}`, which is not understood")]
    Codec { codec: String },
    #[error("its records cannot be decompressed: {reason}")]
    Compressed { reason: String },
    #[error("it has more than {DECODED_BYTES_MAX} bytes or {VALUES_MAX} values")]
    TooLarge,
    #[error("a text in it is no UTF-8")]
    Text,
    #[error("a value in it cannot be: {what}")]
    Value { what: &'static str },
}

/// The records of a file in the schema that it was written with, whoever wrote it. What it may take is bounded, whatever it says.
///
/// # Errors
/// [`Damaged`].
pub fn read_as_written(file: &[u8]) -> Result<Vec<Value>, Damaged> {
    let mut input = Input { left: file.strip_prefix(MAGIC).ok_or(Damaged::NotAvro)? };
    let (mut schema, mut codec) = (None, String::from("null"));
    loop {
        let count = input.count()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let (key, value) = (input.bytes()?, input.bytes()?);
            match key {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = text_of(value)?.to_owned(),
                _ => {}
            }
        }
    }
    let schema: Json = serde_json::from_slice(schema.ok_or(Damaged::NotAvro)?)
        .map_err(|error| Damaged::Schema { reason: error.to_string() })?;
    let mut names = HashMap::new();
    collect_names(&schema, &mut names);
    let mut decoder = Decoder { names, values: 0 };
    let sync = input.take(16)?;
    let (mut records, mut total) = (Vec::new(), 0);
    while !input.left.is_empty() {
        let (count, block) = (input.long()?, input.bytes()?);
        let block = decompressed(&codec, block, DECODED_BYTES_MAX - total)?;
        total += block.len();
        let mut block = Input { left: &block };
        for _ in 0..count {
            records.push(decoder.value(&schema, &mut block, 0)?);
        }
        if input.take(16)? != sync || !block.left.is_empty() {
            return Err(Damaged::Value { what: "a block's length" });
        }
    }
    Ok(records)
}

fn text_of(bytes: &[u8]) -> Result<&str, Damaged> {
    std::str::from_utf8(bytes).map_err(|_| Damaged::Text)
}

fn decompressed<'a>(codec: &str, block: &'a [u8], max: usize) -> Result<Cow<'a, [u8]>, Damaged> {
    let bounded = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        let read = reader.take(max as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| Damaged::Compressed { reason: error.to_string() })?;
        Ok(Cow::Owned(bytes))
    };
    let bytes = match codec {
        "null" => Ok(Cow::Borrowed(block)),
        "deflate" => bounded(&mut flate2::read::DeflateDecoder::new(block)),
        "zstandard" => {
            let mut reader = zstd::stream::read::Decoder::new(block)
                .map_err(|error| Damaged::Compressed { reason: error.to_string() })?;
            bounded(&mut reader)
        }
        other => Err(Damaged::Codec { codec: other.to_owned() }),
    }?;
    if bytes.len() > max { Err(Damaged::TooLarge) } else { Ok(bytes) }
}

/// Named types, by their names and by the last parts of these.
fn collect_names<'s>(schema: &'s Json, names: &mut HashMap<&'s str, &'s Json>) {
    match schema {
        Json::Array(branches) => branches.iter().for_each(|branch| collect_names(branch, names)),
        Json::Object(members) => {
            if let (Some(name), Some("record" | "fixed" | "enum")) = (schema["name"].as_str(), schema["type"].as_str())
            {
                names.insert(name, schema);
                names.insert(name.rsplit('.').next().unwrap_or(name), schema);
            }
            let below = ["type", "items", "values", "fields"];
            below.iter().filter_map(|name| members.get(*name)).for_each(|below| collect_names(below, names));
        }
        _ => {}
    }
}

struct Input<'a> {
    left: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (taken, left) = self.left.split_at_checked(len).ok_or(Damaged::Short)?;
        self.left = left;
        Ok(taken)
    }

    fn long(&mut self) -> Result<i64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Damaged::Value { what: "a number of more than 64 bits" })
    }

    /// Items in a block of an array or map.
    fn count(&mut self) -> Result<i64, Damaged> {
        let count = self.long()?;
        if count >= 0 {
            return Ok(count);
        }
        self.long()?; // bytes of the block, for those who skip it
        count.checked_neg().ok_or(Damaged::Value { what: "a count" })
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let len = self.long()?;
        self.take(usize::try_from(len).map_err(|_| Damaged::Value { what: "a length" })?)
    }
}

struct Decoder<'s> {
    names: HashMap<&'s str, &'s Json>,
    values: usize,
}

impl<'s> Decoder<'s> {
    fn value(&mut self, schema: &'s Json, input: &mut Input<'_>, depth: usize) -> Result<Value, Damaged> {
        self.values += 1;
        if self.values > VALUES_MAX || depth > DEPTH_MAX {
            return Err(Damaged::TooLarge);
        }
        match schema {
            Json::String(name) => self.named(name, input, depth),
            Json::Array(branches) => {
                let branch = input.long()?;
                let chosen = usize::try_from(branch).ok().and_then(|at| branches.get(at));
                let chosen = chosen.ok_or(Damaged::Value { what: "a branch of a union" })?;
                Ok(Value::Union(branch as u32, Box::new(self.value(chosen, input, depth + 1)?)))
            }
            Json::Object(_) => match schema["type"].as_str() {
                Some("record") => self.record(schema, input, depth),
                Some("array") => {
                    let mut items = Vec::new();
                    self.blocks(input, |this, input| {
                        items.push(this.value(&schema["items"], input, depth + 1)?);
                        Ok(())
                    })?;
                    Ok(Value::Array(items))
                }
                Some("map") => {
                    let mut entries = HashMap::new();
                    self.blocks(input, |this, input| {
                        let key = text_of(input.bytes()?)?.to_owned();
                        entries.insert(key, this.value(&schema["values"], input, depth + 1)?);
                        Ok(())
                    })?;
                    Ok(Value::Map(entries))
                }
                Some("fixed") => {
                    let size = schema["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                    let bytes = input.take(size.ok_or(Damaged::Schema { reason: "fixed without size".to_owned() })?)?;
                    Ok(Value::Fixed(bytes.len(), bytes.to_vec()))
                }
                Some("enum") => Ok(Value::Enum(input.long()? as u32, String::new())),
                // A type with attributes, such as a logical one.
                _ => self.value(&schema["type"], input, depth + 1),
            },
            _ => Err(Damaged::Schema { reason: "a type is missing".to_owned() }),
        }
    }

    fn named(&mut self, name: &str, input: &mut Input<'_>, depth: usize) -> Result<Value, Damaged> {
        Ok(match name {
            "null" => Value::Null,
            "boolean" => Value::Boolean(input.take(1)?[0] != 0),
            "int" => Value::Int(input.long()? as i32),
            "long" => Value::Long(input.long()?),
            "float" => Value::Float(f32::from_le_bytes(array(input.take(4)?)?)),
            "double" => Value::Double(f64::from_le_bytes(array(input.take(8)?)?)),
            "bytes" => Value::Bytes(input.bytes()?.to_vec()),
            "string" => Value::String(text_of(input.bytes()?)?.to_owned()),
            other => {
                let known = self.names.get(other).copied();
                let known = known.ok_or_else(|| Damaged::Schema { reason: format!("there is no type `{other}`") })?;
                return self.value(known, input, depth + 1);
            }
        })
    }

    fn record(&mut self, schema: &'s Json, input: &mut Input<'_>, depth: usize) -> Result<Value, Damaged> {
        let fields = schema["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field["name"].as_str().unwrap_or_default().to_owned();
            values.push((name, self.value(&field["type"], input, depth + 1)?));
        }
        Ok(Value::Record(values))
    }

    fn blocks(
        &mut self,
        input: &mut Input<'_>,
        mut item: impl FnMut(&mut Self, &mut Input<'_>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        loop {
            let count = input.count()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                item(self, input)?;
            }
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Damaged> {
    bytes.try_into().map_err(|_| Damaged::Short)
}

#[cfg(test)]
mod tests;
