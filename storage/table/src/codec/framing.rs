//! What the serializers of a schema registry put in front of a row: `0x00`, the schema id, for Protobuf also which message
//! of the file it is.

/// A row with the id of its writer's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed<'a> {
    /// Id of the schema in the registry.
    pub schema_id: i32,
    /// The row (of Protobuf rows: message indexes and row).
    pub payload: &'a [u8],
}

/// Splits `0x00`, id (4 bytes, big-endian), row. `None`: the bytes are not framed.
pub fn split(bytes: &[u8]) -> Option<Framed<'_>> {
    let (&[magic, a, b, c, d], payload) = bytes.split_first_chunk()?;
    let schema_id = i32::from_be_bytes([a, b, c, d]);
    (magic == 0 && schema_id >= 0).then_some(Framed { schema_id, payload })
}

/// Appends the frame of a schema id.
pub fn write(schema_id: i32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_and_written() {
        let mut framed = Vec::new();
        write(258, &mut framed);
        framed.extend_from_slice(b"row");
        assert_eq!(framed, b"\0\0\0\x01\x02row");
        assert_eq!(split(&framed), Some(Framed { schema_id: 258, payload: b"row" }));
        assert_eq!(split(b"\x01\0\0\0\0"), None);
        assert_eq!(split(b"\0\0\0"), None);
    }
}
