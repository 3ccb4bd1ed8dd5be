//! Why a JSON row does not fit its table: what `record_errors` of a produce response says.

use std::fmt;

/// A row that is not one of the table's: where, and which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RowError {
    /// Path of the column, `user.tags[2]`; empty when the row as a whole is meant.
    pub column: String,
    /// Byte in the row.
    pub position: usize,
    /// The broken rule.
    pub kind: RowErrorKind,
}

impl fmt::Display for RowError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column.is_empty() {
            true => write!(out, "{} (byte {})", self.kind, self.position),
            false => write!(out, "column {}: {} (byte {})", self.column, self.kind, self.position),
        }
    }
}

/// Kinds of JSON values, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// null
    Null,
    /// true, false
    Boolean,
    /// 12.5
    Number,
    /// "text"
    String,
    /// [...]
    Array,
    /// {...}
    Object,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ValueKind::Null => "null",
            ValueKind::Boolean => "a boolean",
            ValueKind::Number => "a number",
            ValueKind::String => "a string",
            ValueKind::Array => "an array",
            ValueKind::Object => "an object",
        })
    }
}

/// The rules. Texts out of the row are cut to 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowErrorKind {
    /// No JSON.
    #[error("not valid JSON: expected {expected}")]
    Syntax { expected: &'static str },
    /// No row of the writer's schema.
    #[error("malformed row: expected {expected}")]
    Malformed { expected: &'static str },
    /// Bytes that are no UTF-8.
    #[error("not valid UTF-8")]
    Utf8,
    /// Another kind of value than the type has.
    #[error("expected {expected}, found {found}")]
    Type { expected: String, found: ValueKind },
    /// The right kind of value, but not one of this type.
    #[error("{text:?} is not a value of {expected}: {rule}")]
    Value { expected: String, text: String, rule: &'static str },
    /// null in a NOT NULL column.
    #[error("null in a NOT NULL column")]
    NotNull,
    /// No value for a NOT NULL column without default.
    #[error("missing, but the column is NOT NULL and has no default")]
    Missing,
    /// A field the table does not have, under `weir.on.unknown=reject`.
    #[error("the table has no such column (weir.on.unknown=reject)")]
    Unknown,
    /// The same key twice.
    #[error("the key appears twice in one object")]
    DuplicateKey,
    /// Nested deeper than the limit.
    #[error("nested deeper than {max} levels")]
    TooDeep { max: usize },
    /// Longer than the limit.
    #[error("the row has {len} bytes, the limit is {max}")]
    TooLong { len: usize, max: usize },
    /// Short text that stands for too much memory.
    #[error("the row expands to more than {max} column values")]
    TooManyValues { max: usize },
    /// A key of another length than the column's type has.
    #[error("{len} bytes are not a {expected} as Kafka's serializers write it")]
    RawLength { expected: String, len: usize },
    /// A record without value in a table that cannot have a row of nulls.
    #[error("the record has no value, but the column is NOT NULL")]
    Tombstone,
    /// A record without key in a table with NOT NULL key columns.
    #[error("the record has no key, but the column comes from it and is NOT NULL")]
    NoKey,
    /// Rows of this topic begin with the id of their schema.
    #[error("no schema id in front: rows of this topic begin with 0x00 and the id that the registry gave")]
    NotFramed,
    /// Framed Protobuf rows say which message of the file they are.
    #[error(
        "no message indexes behind the schema id: rows of this topic are framed as a registry's Protobuf serializer does"
    )]
    NoMessageIndexes,
    /// An id that the registry has not given.
    #[error("schema id {id} is not known to the registry")]
    UnknownSchema { id: i32 },
    /// The writer's schema does not go into the table.
    #[error("rows of the writer's schema{} do not fit the table: {reason}", id.map(|id| format!(" (id {id})")).unwrap_or_default())]
    Writer { id: Option<i32>, reason: String },
    /// The builder must be finished first (not the row's fault).
    #[error("the column builder is full: {bytes} bytes of rows")]
    BuilderFull { bytes: usize },
}

/// At most 64 characters of a value, for a message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The error one level further out.
pub(crate) fn within(mut error: RowError, name: &str) -> RowError {
    let inner = std::mem::take(&mut error.column);
    error.column = match inner.as_bytes().first() {
        None => name.to_string(),
        Some(b'[') => format!("{name}{inner}"),
        Some(_) => format!("{name}.{inner}"),
    };
    error
}
