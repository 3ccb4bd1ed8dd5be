//! A decoded answer as a JSON tree.
//!
//! The protocol crate's structs do not serialise, but all of them derive `Debug`, whose output names every field. So the
//! tree is parsed from that text: one parser instead of a conversion per API. An unknown construct is an error, never skipped.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// The tree of anything with a derived `Debug`: structs become objects, lists arrays, bytes a string of hex digits.
pub fn of(value: &impl std::fmt::Debug) -> anyhow::Result<Value> {
    let text = format!("{value:?}");
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let tree = parser.value().with_context(|| format!("at byte {} of {text}", parser.at))?;
    parser.skip_spaces();
    if parser.at != text.len() {
        bail!("text left at byte {} of {text}", parser.at);
    }
    Ok(tree)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self) -> anyhow::Result<Value> {
        self.skip_spaces();
        match self.peek() {
            Some(b'[') => self.list(),
            Some(b'{') => self.map(),
            Some(b'"') => Ok(Value::String(String::from_utf8(self.quoted()?)?)),
            Some(b'b') if self.text.get(self.at + 1) == Some(&b'"') => {
                self.at += 1;
                let bytes = self.quoted()?;
                Ok(Value::String(bytes.iter().map(|b| format!("{b:02x}")).collect()))
            }
            Some(_) => self.word_or_struct(),
            None => bail!("the text ends where a value should be"),
        }
    }

    /// A number, a UUID, `true`, `None`, `Some(..)`, or a struct by its name.
    fn word_or_struct(&mut self) -> anyhow::Result<Value> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at])?.to_owned();
        self.skip_spaces();
        match (word.as_str(), self.peek()) {
            ("", _) => bail!("no value"),
            ("None", _) => Ok(Value::Null),
            ("true", _) => Ok(Value::Bool(true)),
            ("false", _) => Ok(Value::Bool(false)),
            (_, Some(b'(')) => {
                self.at += 1;
                let inner = self.value()?;
                self.expect(b')')?;
                Ok(inner)
            }
            (_, Some(b'{')) if word.starts_with(|c: char| c.is_ascii_uppercase()) => self.map(),
            _ => Ok(word.parse::<i64>().map_or(Value::String(word), Value::from)),
        }
    }

    fn list(&mut self) -> anyhow::Result<Value> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        while !self.ended(b']') {
            items.push(self.value()?);
            self.separator(b']')?;
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self) -> anyhow::Result<Value> {
        self.expect(b'{')?;
        let mut fields = Map::new();
        while !self.ended(b'}') {
            let name = match self.value()? {
                Value::String(name) => name,
                other => other.to_string(),
            };
            self.expect(b':')?;
            let value = self.value()?;
            // Tagged fields that the crate does not know are kept only where there are any.
            if name != "unknown_tagged_fields" || value != Value::Object(Map::new()) {
                fields.insert(name, value);
            }
            self.separator(b'}')?;
        }
        Ok(Value::Object(fields))
    }

    /// The bytes of a quoted string with Rust's escapes.
    fn quoted(&mut self) -> anyhow::Result<Vec<u8>> {
        self.expect(b'"')?;
        let mut out = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Ok(out),
                b'\\' => match self.next()? {
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    b't' => out.push(b'\t'),
                    b'0' => out.push(0),
                    b'x' => {
                        let digits = [self.next()?, self.next()?];
                        out.push(u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?);
                    }
                    b'u' => {
                        self.expect(b'{')?;
                        let start = self.at;
                        while self.peek().is_some_and(|b| b != b'}') {
                            self.at += 1;
                        }
                        let digits = std::str::from_utf8(&self.text[start..self.at])?;
                        let c = char::from_u32(u32::from_str_radix(digits, 16)?).context("no such character")?;
                        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                        self.expect(b'}')?;
                    }
                    other => out.push(other),
                },
                byte => out.push(byte),
            }
        }
    }

    fn ended(&mut self, close: u8) -> bool {
        self.skip_spaces();
        let ended = self.peek() == Some(close);
        if ended {
            self.at += 1;
        }
        ended
    }

    fn separator(&mut self, close: u8) -> anyhow::Result<()> {
        self.skip_spaces();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(())
            }
            Some(b) if b == close => Ok(()),
            other => bail!("expected a comma, found {:?}", other.map(char::from)),
        }
    }

    fn expect(&mut self, byte: u8) -> anyhow::Result<()> {
        self.skip_spaces();
        match self.next()? {
            b if b == byte => Ok(()),
            b => bail!("expected {:?}, found {:?}", char::from(byte), char::from(b)),
        }
    }

    fn next(&mut self) -> anyhow::Result<u8> {
        let byte = self.peek().context("the text ends too early")?;
        self.at += 1;
        Ok(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
    use kafka_protocol::messages::{BrokerId, JoinGroupResponse, MetadataResponse, TopicName};
    use kafka_protocol::protocol::StrBytes;
    use serde_json::json;

    #[test]
    fn every_field_of_a_nested_answer_is_in_the_tree() {
        let answer = MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(7))
                    .with_host(StrBytes::from_static_str("a \"quoted\" \u{fffd}\n host")),
            ])
            .with_topics(vec![
                MetadataResponseTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_static_str("t, {x: [1]}"))))
                    .with_error_code(-3),
            ]);
        let tree = of(&answer).unwrap();
        assert_eq!(tree["brokers"][0]["node_id"], json!(7));
        assert_eq!(tree["brokers"][0]["host"], json!("a \"quoted\" \u{fffd}\n host"));
        assert_eq!(tree["brokers"][0]["rack"], Value::Null);
        assert_eq!(tree["topics"][0]["name"], json!("t, {x: [1]}"));
        assert_eq!(tree["topics"][0]["error_code"], json!(-3));
        assert_eq!(tree["topics"][0]["topic_id"], json!("00000000-0000-0000-0000-000000000000"));
        assert_eq!(tree["topics"][0]["partitions"], json!([]));
    }

    #[test]
    fn bytes_become_hex_digits() {
        let answer = JoinGroupResponse::default().with_members(vec![
            kafka_protocol::messages::join_group_response::JoinGroupResponseMember::default()
                .with_metadata(Bytes::from_static(b"\0\x01a\"\\\n\xff")),
        ]);
        assert_eq!(of(&answer).unwrap()["members"][0]["metadata"], json!("000161225c0aff"));
    }

    #[test]
    fn text_that_is_no_debug_output_is_refused() {
        struct Odd;
        impl std::fmt::Debug for Odd {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Odd { a: 1 } and more")
            }
        }
        assert!(of(&Odd).is_err());
    }
}
