//! Texts of JSON: without white space, and with sorted keys.
use serde_json::Value;

/// Valid JSON without the white space between its tokens; numbers, escapes and the order of keys stay as they are.
#[must_use]
pub fn compact_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        if !quoted && matches!(character, ' ' | '\n' | '\r' | '\t') {
            continue;
        }
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        }
        out.push(character);
    }
    out
}

/// JSON with the keys of each object in order. Does not depend on how the JSON library keeps objects.
#[must_use]
pub fn sorted_json(value: &Value) -> String {
    let mut out = String::new();
    write_sorted(value, &mut out);
    out
}

fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_string(key, out);
                out.push(':');
                write_sorted(member, out);
            }
            out.push('}');
        }
        Value::String(text) => push_string(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// A JSON string with its quotes.
pub(super) fn push_string(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn white_space_goes_except_in_strings() {
        let text = "{ \"b\" : [ 1.50 ,\n true ],\t\"a \\\" b\" : \"x \\\\\" , \"c\": \" \" }";
        assert_eq!(compact_json(text), r#"{"b":[1.50,true],"a \" b":"x \\","c":" "}"#);
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = json!({"z": [{"b": 1, "a": null}], "a": "\u{e9}\n"});
        assert_eq!(sorted_json(&value), "{\"a\":\"é\\n\",\"z\":[{\"a\":null,\"b\":1}]}");
    }
}
