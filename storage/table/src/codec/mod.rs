//! Row codecs: the bytes of a Kafka value straight into column builders, and arrays straight back into bytes.

pub mod avro;
mod binary;
mod digits;
pub mod framing;
pub mod json;
mod literal;
mod plan;
pub mod protobuf;
pub(crate) mod reader;

pub use json::{DecodeLimits, EncodeError, Fidelity, OnUnknown, RowError, RowErrorKind, RowForm, RowPart, ValueKind};
pub use plan::Aliases;
