//! How a consumed record is printed: the `-f` language of kcat and rpk, or one JSON object per line.

use serde_json::{Map, Value, json};
use weir_client::consumer::ConsumerRecord;
use weir_protocol::records::TimestampType;

use super::args::unescape;

/// What the placeholders are, for help texts and errors.
pub(crate) const PLACEHOLDERS: &str = "%t topic, %p partition, %o offset, %k key, %v or %s value, %T timestamp in ms, \
     %h headers, %K and %S sizes of key and value, %% a percent sign";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Timestamp,
    Headers,
    KeySize,
    ValueSize,
}

/// A parsed `-f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    /// Printed for a null key or value.
    null: Vec<u8>,
}

impl Template {
    /// Parses the text of `-f`; `null` is printed for null keys and values.
    pub(crate) fn parse(text: &str, null: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        // Escapes are resolved between placeholders, so that `%\n` is no placeholder made of an escape.
        let mut parts = text.split('%');
        push_text(&mut pieces, parts.next().unwrap_or_default())?;
        let mut literal_percent = false;
        for part in parts {
            if literal_percent {
                literal_percent = false;
                push_text(&mut pieces, part)?;
                continue;
            }
            let mut characters = part.chars();
            let piece = match characters.next() {
                None => {
                    pieces.push(Piece::Text(vec![b'%']));
                    literal_percent = true;
                    continue;
                }
                Some('t') => Piece::Topic,
                Some('p') => Piece::Partition,
                Some('o') => Piece::Offset,
                Some('k') => Piece::Key,
                Some('v' | 's') => Piece::Value,
                Some('T') => Piece::Timestamp,
                Some('h') => Piece::Headers,
                Some('K') => Piece::KeySize,
                Some('S' | 'V') => Piece::ValueSize,
                Some(other) => return Err(format!("`%{other}` is unknown; there are {PLACEHOLDERS}")),
            };
            pieces.push(piece);
            push_text(&mut pieces, characters.as_str())?;
        }
        if literal_percent {
            return Err(format!("a `%` at the end stands for nothing; there are {PLACEHOLDERS}"));
        }
        Ok(Self { pieces, null: null.as_bytes().to_vec() })
    }

    /// Appends the record as this template has it.
    pub(crate) fn write(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Topic => out.extend_from_slice(record.topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(record.partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Key => out.extend_from_slice(record.key.as_deref().unwrap_or(&self.null)),
                Piece::Value => out.extend_from_slice(record.value.as_deref().unwrap_or(&self.null)),
                Piece::Timestamp => out.extend_from_slice(record.timestamp_ms.to_string().as_bytes()),
                Piece::Headers => self.write_headers(record, out),
                Piece::KeySize => out.extend_from_slice(size(record.key.as_deref()).as_bytes()),
                Piece::ValueSize => out.extend_from_slice(size(record.value.as_deref()).as_bytes()),
            }
        }
    }

    fn write_headers(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        for (position, header) in record.headers.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&header.key);
            out.push(b'=');
            out.extend_from_slice(header.value.as_deref().unwrap_or(&self.null));
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        pieces.push(Piece::Text(unescape(text)?));
    }
    Ok(())
}

/// Null has size -1, as in kcat.
fn size(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.len().to_string())
}

/// Appends the record as one line of JSON. Bytes that are not UTF-8 appear in base64 under `key_base64`, `value_base64`.
pub(crate) fn write_json(record: &ConsumerRecord, out: &mut Vec<u8>) {
    let mut object = Map::new();
    object.insert("topic".into(), json!(&*record.topic));
    object.insert("partition".into(), json!(record.partition));
    object.insert("offset".into(), json!(record.offset));
    object.insert("timestamp".into(), json!(record.timestamp_ms));
    let kind = match record.timestamp_type {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "append",
    };
    object.insert("timestamp_type".into(), json!(kind));
    insert_bytes(&mut object, "key", record.key.as_deref());
    insert_bytes(&mut object, "value", record.value.as_deref());
    if !record.headers.is_empty() {
        let headers = record.headers.iter().map(|header| {
            let mut entry = Map::new();
            insert_bytes(&mut entry, "key", Some(&header.key));
            insert_bytes(&mut entry, "value", header.value.as_deref());
            Value::Object(entry)
        });
        object.insert("headers".into(), headers.collect());
    }
    out.extend_from_slice(Value::Object(object).to_string().as_bytes());
    out.push(b'\n');
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.into(), Value::Null),
        Some(Ok(text)) => object.insert(name.into(), text.into()),
        Some(Err(_)) => object.insert(format!("{name}_base64"), base64(bytes.unwrap_or_default()).into()),
    };
}

/// Standard alphabet with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            if position <= chunk.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * position)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_client::consumer::RecordHeader;

    use super::*;

    fn record() -> ConsumerRecord {
        let header = |key: &'static str, value: Option<&'static str>| RecordHeader {
            key: Bytes::from_static(key.as_bytes()),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        };
        ConsumerRecord {
            topic: "flights".into(),
            partition: 3,
            offset: 42,
            timestamp_ms: 1_700_000_000_000,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: Some(0),
            key: Some(Bytes::from_static(b"UA")),
            value: Some(Bytes::from_static(b"{\"a\":1}")),
            headers: vec![header("h", Some("1")), header("h", None)],
        }
    }

    fn print(text: &str, record: &ConsumerRecord) -> String {
        let mut out = Vec::new();
        Template::parse(text, "NULL").unwrap().write(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_placeholder_and_escape_is_replaced() {
        let line = print(r"%t %p %o %k %v %T %h\n", &record());
        assert_eq!(line, "flights 3 42 UA {\"a\":1} 1700000000000 h=1,h=NULL\n");
        assert_eq!(print(r"%K\t%S 100%% %%k \x41", &record()), "2\t7 100% %k A");
        assert_eq!(print("no placeholder", &record()), "no placeholder");
        assert_eq!(print("%%%k%%", &record()), "%UA%");
    }

    #[test]
    fn null_keys_and_values_are_told_from_empty_ones() {
        let mut tombstone = record();
        tombstone.value = None;
        tombstone.key = Some(Bytes::new());
        assert_eq!(print("[%k] [%v] %K %S", &tombstone), "[] [NULL] 0 -1");
    }

    #[test]
    fn unknown_placeholders_are_refused_with_the_list_of_known_ones() {
        for text in ["%x", "%", "%k %", "%%%", r"\q"] {
            let error = Template::parse(text, "").unwrap_err();
            assert!(error.contains("there are"), "{text}: {error}");
        }
    }

    #[test]
    fn json_lines_hold_everything_and_survive_binary_data() {
        let mut record = record();
        record.value = Some(Bytes::from_static(&[0xff, 0x00, 0xfe, 0x01]));
        let mut out = Vec::new();
        write_json(&record, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            parsed,
            json!({
                "topic": "flights", "partition": 3, "offset": 42, "timestamp": 1_700_000_000_000_i64,
                "timestamp_type": "create", "key": "UA", "value_base64": "/wD+AQ==",
                "headers": [{"key": "h", "value": "1"}, {"key": "h", "value": null}],
            })
        );
    }

    #[test]
    fn base64_pads_as_the_standard_says() {
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
