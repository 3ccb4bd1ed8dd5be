//! Kafka's flexible encoding (KIP-482) for records: lengths as unsigned varints of length plus one, tagged fields at the end.
use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::RecordFormatError;

/// Most tagged fields of one structure; Kafka's records have at most two.
const TAGS_MAX: u32 = 64;

/// Tagged fields: number and bytes.
#[derive(Debug, Default)]
pub(super) struct Tags(BTreeMap<u32, Bytes>);

impl Tags {
    pub(super) fn add(&mut self, tag: u32, bytes: Bytes) {
        self.0.insert(tag, bytes);
    }
}

pub(super) struct FlexWriter(BytesMut);

impl FlexWriter {
    /// A value, which begins with its version.
    pub(super) fn new(version: i16) -> FlexWriter {
        let mut writer = FlexWriter::bare();
        writer.0.put_i16(version);
        writer
    }

    /// A part of a value.
    pub(super) fn bare() -> FlexWriter {
        FlexWriter(BytesMut::new())
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.0.put_i8(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    pub(super) fn uuid(&mut self, bytes: [u8; 16]) {
        self.0.put_slice(&bytes);
    }

    /// The length of an array, before its elements.
    pub(super) fn array(&mut self, length: usize) {
        self.varint(length as u32 + 1);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u32 + 1);
        self.0.put_slice(bytes);
    }

    pub(super) fn string(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.varint(0),
        }
    }

    pub(super) fn no_tags(&mut self) {
        self.varint(0);
    }

    pub(super) fn tags(&mut self, tags: Tags) {
        self.varint(tags.0.len() as u32);
        for (tag, bytes) in tags.0 {
            self.varint(tag);
            self.varint(bytes.len() as u32);
            self.0.put_slice(&bytes);
        }
    }
}

pub(super) struct FlexReader(Bytes);

impl FlexReader {
    /// A value whose version must be at most this one.
    pub(super) fn versioned(bytes: Bytes, newest: i16) -> Result<FlexReader, RecordFormatError> {
        let mut reader = FlexReader(bytes);
        reader.need(2)?;
        let version = reader.0.get_i16();
        if (0..=newest).contains(&version) { Ok(reader) } else { Err(RecordFormatError::UnknownVersion(version)) }
    }

    pub(super) fn bare(bytes: Bytes) -> FlexReader {
        FlexReader(bytes)
    }

    fn need(&self, n: usize) -> Result<(), RecordFormatError> {
        if self.0.remaining() < n { Err(RecordFormatError::Truncated) } else { Ok(()) }
    }

    fn varint(&mut self) -> Result<u32, RecordFormatError> {
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            self.need(1)?;
            let byte = self.0.get_u8();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| RecordFormatError::Length(-1));
            }
        }
        Err(RecordFormatError::Length(-1))
    }

    /// Length plus one; `None` is null.
    fn length(&mut self) -> Result<Option<usize>, RecordFormatError> {
        Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn take(&mut self, n: usize) -> Result<Bytes, RecordFormatError> {
        self.need(n)?;
        Ok(self.0.split_to(n))
    }

    pub(super) fn i8(&mut self) -> Result<i8, RecordFormatError> {
        self.need(1)?;
        Ok(self.0.get_i8())
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordFormatError> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordFormatError> {
        self.need(8)?;
        Ok(self.0.get_i64())
    }

    pub(super) fn uuid(&mut self) -> Result<[u8; 16], RecordFormatError> {
        self.need(16)?;
        let mut bytes = [0; 16];
        self.0.copy_to_slice(&mut bytes);
        Ok(bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, RecordFormatError> {
        let length = self.length()?.ok_or(RecordFormatError::Length(-1))?;
        self.take(length)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, RecordFormatError> {
        let Some(length) = self.length()? else { return Ok(None) };
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| RecordFormatError::NotUtf8)
    }

    pub(super) fn string(&mut self) -> Result<String, RecordFormatError> {
        self.nullable_string()?.ok_or(RecordFormatError::Length(-1))
    }

    /// Nothing is reserved for what the length claims: each element has to be there.
    pub(super) fn array<T>(
        &mut self,
        mut element: impl FnMut(&mut FlexReader) -> Result<T, RecordFormatError>,
    ) -> Result<Vec<T>, RecordFormatError> {
        let length = self.length()?.ok_or(RecordFormatError::Length(-1))?;
        let mut found = Vec::new();
        for _ in 0..length {
            found.push(element(self)?);
        }
        Ok(found)
    }

    pub(super) fn tags(&mut self) -> Result<BTreeMap<u32, Bytes>, RecordFormatError> {
        let count = self.varint()?;
        if count > TAGS_MAX {
            return Err(RecordFormatError::Length(count as i32));
        }
        let mut tags = BTreeMap::new();
        for _ in 0..count {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            tags.insert(tag, self.take(length)?);
        }
        Ok(tags)
    }
}
