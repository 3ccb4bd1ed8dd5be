//! The columnar extension: tagged field 5700 of Fetch, Produce and the APIs of access control lists, version 1. Byte by byte in `protocol/COLUMNAR.md`.
//!
//! Broker and client use the same structs. Wire sentinels exist in the codecs only. Decoding reads a stranger's bytes: what
//! it allocates is bounded by the length of the tag.
mod acl;
mod fetch;
mod produce;
mod result;
#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};
use thiserror::Error;

pub use acl::{ACL_API_VERSION_MIN, ACL_FEATURE, AclRestriction};
pub use fetch::{AcceptedCodecs, ChangeTypes, ColumnarFetch, ColumnarTopic, ResultFormat, ScanOrder};
pub use produce::ColumnarProduce;
pub use result::{BatchRange, ColumnarResult};

use crate::WireError;
use crate::wire::Wire;

/// The number of every tagged field of the extension.
pub const TAG: i32 = 5700;
/// The supported feature that ApiVersions 3+ lists.
pub const FEATURE: &str = "weir.columnar";
/// Range of the feature and of `Version` in each struct.
pub const VERSION_MIN: i8 = 1;
/// See [`VERSION_MIN`].
pub const VERSION_MAX: i8 = 1;
/// First version of Fetch and Produce that may carry the tag: topics are named by id.
pub const API_VERSION_MIN: i16 = 13;

/// Why a tagged field cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ColumnarError {
    /// The bytes are not the struct.
    #[error("tag {TAG}: {0}")]
    Wire(#[from] WireError),
    /// The struct has a version this program does not know. Kafka: UNSUPPORTED_VERSION (35).
    #[error(
        "tag {TAG} has version {got}, served is {VERSION_MIN} to {VERSION_MAX}; ask ApiVersions for feature {FEATURE}"
    )]
    UnsupportedVersion {
        /// The version of the struct.
        got: i8,
    },
    /// A field has a value without a meaning. Kafka: INVALID_REQUEST (42).
    #[error("tag {TAG}: {field} is {got}, {allowed}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it holds.
        got: i64,
        /// What it may hold.
        allowed: &'static str,
    },
    /// A topic is listed twice. Kafka: INVALID_REQUEST (42).
    #[error("tag {TAG} lists topic {topic} twice")]
    TopicTwice {
        /// Its id.
        topic: uuid::Uuid,
    },
}

fn version(wire: &mut Wire<'_>) -> Result<(), ColumnarError> {
    let got = wire.i8("Version")?;
    if (VERSION_MIN..=VERSION_MAX).contains(&got) { Ok(()) } else { Err(ColumnarError::UnsupportedVersion { got }) }
}

fn string(wire: &mut Wire<'_>, field: &'static str) -> Result<String, ColumnarError> {
    let bytes = wire.nullable_str(true, field)?.ok_or(WireError::Null { field })?;
    Ok(utf8(bytes, field)?.to_owned())
}

fn utf8<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError::NotUtf8 { field })
}

/// The number of elements of an array; each takes at least `min_len` bytes.
fn count(wire: &mut Wire<'_>, min_len: usize, field: &'static str) -> Result<Option<usize>, WireError> {
    let Some(count) = wire.nullable_count(true, field)? else { return Ok(None) };
    let remaining = wire.remaining();
    if count > remaining / min_len {
        return Err(WireError::CountTooLarge { field, count, remaining });
    }
    Ok(Some(count))
}

fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Length or count plus one; 0 is null.
fn put_len(out: &mut BytesMut, len: usize) {
    put_varint(out, u32::try_from(len + 1).unwrap_or(u32::MAX));
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

fn put_no_tags(out: &mut BytesMut) {
    out.put_u8(0);
}
