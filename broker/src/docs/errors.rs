//! errors.md, from the one file that maps errors to Kafka's codes.
//!
//! The mapping is a set of exhaustive matches, which code cannot enumerate; so the page is read from the source of that file,
//! which is what a person would do. Only its arms of the form `Error::Variant … => ErrorCode::Name` count.
use std::collections::BTreeMap;

use super::markdown::{code, start, table};
use crate::error_code::ErrorCode;
use crate::metrics::error_name;

const SOURCE: &str = include_str!("../error_code.rs");

const ABOUT: &str = "\
What clients are told, by Kafka's name and code, and which of the broker's errors are told that way. Clients retry by themselves
where the third column says yes. The message beside the code, where a response has room for one, names the cause.
";

pub(super) fn page() -> String {
    let mut text = start("Errors", "broker/src/error_code.rs", ABOUT);
    let mut told: BTreeMap<i16, (ErrorCode, Vec<String>)> = BTreeMap::new();
    for (name, causes) in mappings(SOURCE) {
        // The source compiles, so each name is a code's; were one unknown, the test below would name it.
        if let Some(error) = by_name(&name) {
            told.entry(error.code()).or_insert_with(|| (error, Vec::new())).1.extend(causes);
        }
    }
    let rows = told.into_values().map(|(error, causes)| {
        let retried = if error.is_retriable() { "yes" } else { "no" };
        let causes: Vec<String> = causes.iter().map(|cause| code(cause)).collect();
        vec![error_name(error.code()), error.code().to_string(), retried.to_owned(), causes.join(", ")]
    });
    table(&mut text, &["Error", "Code", "Retried", "Told for"], rows);
    text
}

/// Kafka numbers its errors from -1 on without large gaps.
fn by_name(name: &str) -> Option<ErrorCode> {
    (-1..1000).filter_map(ErrorCode::try_from_code).find(|error| format!("{error:?}") == name)
}

/// (name of the code, variants that are told it), in the order of the source.
fn mappings(source: &str) -> Vec<(String, Vec<String>)> {
    let source: String =
        source.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for block in source.split("impl KafkaError for ").skip(1) {
        let error = identifier(block).to_owned();
        let mut parts = block.split("=>");
        let mut pattern = parts.next().unwrap_or_default();
        let before = found.len();
        for part in parts {
            // What follows an arrow is the arm's value, then the next arm's pattern.
            let end = if part.trim_start().starts_with('{') { part.find('}') } else { part.find(',') };
            let (value, next) = part.split_at(end.map_or(part.len(), |at| at + 1));
            if let Some((_, name)) = value.split_once("ErrorCode::") {
                found.push((identifier(name).to_owned(), variants(pattern)));
            }
            pattern = next;
        }
        if found.len() == before
            && let Some((_, name)) = block.split_once("ErrorCode::")
        {
            found.push((identifier(name).to_owned(), vec![error]));
        }
    }
    found
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// `A::B(C::D { .. } | C::E(_))` tells about `C::D` and `C::E`: a variant around another one is not a cause itself.
fn variants(pattern: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(colons) = pattern[at..].find("::").map(|offset| at + offset) {
        let kind = pattern[..colons].rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let variant = identifier(&pattern[colons + 2..]);
        at = colons + 2 + variant.len();
        let inner = pattern[at..].strip_prefix('(').map_or("", str::trim_start);
        if !inner.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.push(format!("{kind}::{variant}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_are_read_with_their_innermost_variants() {
        let source = "
            impl KafkaError for A {
                fn error_code(&self) -> ErrorCode {
                    match self {
                        A::Plain { .. } | A::Unit => ErrorCode::UnknownTopicId, // A::Comment => ErrorCode::X
                        A::Nested(error) => error.error_code(),
                        A::Deep(B::One { a, .. } | B::Two(_)) => {
                            ErrorCode::CorruptMessage
                        }
                        A::Last(\"x\") => ErrorCode::InvalidConfig,
                    }
                }
            }
            impl KafkaError for Whole { fn error_code(&self) -> ErrorCode { ErrorCode::InvalidRequest } }";
        let expected = [
            ("UnknownTopicId", vec!["A::Plain", "A::Unit"]),
            ("CorruptMessage", vec!["B::One", "B::Two"]),
            ("InvalidConfig", vec!["A::Last"]),
            ("InvalidRequest", vec!["Whole"]),
        ];
        let found = mappings(source);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((name, causes), (expected_name, expected_causes)) in found.iter().zip(expected) {
            assert_eq!((name.as_str(), causes.iter().map(String::as_str).collect()), (expected_name, expected_causes));
        }
    }

    #[test]
    fn every_arm_of_the_source_is_in_the_page() {
        let found = mappings(SOURCE);
        for (name, causes) in &found {
            assert!(by_name(name).is_some(), "{name} is not an error of Kafka's");
            assert!(!causes.is_empty(), "{name} is told for nothing");
        }
        let code = SOURCE.split("#[cfg(test)]").next().unwrap();
        let named = code.matches("ErrorCode::").count();
        assert_eq!(found.len(), named, "the source names a code somewhere that the page does not show");
    }
}
