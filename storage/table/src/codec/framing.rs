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

/// Most message indexes in front of a Protobuf row: messages are not nested deeper.
const INDEXES_MAX: usize = 64;

/// Splits the message indexes that are in front of a framed Protobuf row: how many, then each, as zigzag varints; a single
/// zero stands for the first message of the file. `None`: there are none.
pub fn split_indexes(payload: &[u8]) -> Option<(Vec<i32>, &[u8])> {
    let mut rest = payload;
    let count = usize::try_from(zigzag(&mut rest)?).ok().filter(|count| *count <= INDEXES_MAX)?;
    if count == 0 {
        return Some((vec![0], rest));
    }
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        indexes.push(zigzag(&mut rest).filter(|index| *index >= 0)?);
    }
    Some((indexes, rest))
}

/// Appends the indexes of a message.
pub fn write_indexes(indexes: &[i32], out: &mut Vec<u8>) {
    if indexes == [0] {
        return out.push(0);
    }
    let mut put = |value: i32| {
        let mut zigzag = (value << 1 ^ value >> 31) as u32;
        while zigzag >= 0x80 {
            out.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag as u8);
    };
    put(indexes.len() as i32); // at most INDEXES_MAX, or the message would not have been found
    indexes.iter().for_each(|index| put(*index));
}

fn zigzag(bytes: &mut &[u8]) -> Option<i32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if *byte < 0x80 {
            return Some((value >> 1) as i32 ^ -((value & 1) as i32));
        }
    }
    None
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

    #[test]
    fn message_indexes_are_split_and_written() {
        for (indexes, bytes) in
            [(vec![0], &[0][..]), (vec![1], &[2, 2]), (vec![0, 0], &[4, 0, 0]), (vec![64], &[2, 128, 1])]
        {
            let mut written = Vec::new();
            write_indexes(&indexes, &mut written);
            assert_eq!(written, bytes);
            written.push(9);
            assert_eq!(split_indexes(&written), Some((indexes, &[9][..])));
        }
        assert_eq!(split_indexes(&[2, 0]), Some((vec![0], &[][..])), "the long form of the first message");
        assert_eq!(split_indexes(&[]), None);
        assert_eq!(split_indexes(&[2]), None, "an index is missing");
        assert_eq!(split_indexes(&[3]), None, "a negative count");
        assert_eq!(split_indexes(&[0xff; 9]), None);
    }
}
