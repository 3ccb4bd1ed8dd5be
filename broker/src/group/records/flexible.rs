//! Kafka's flexible encoding (KIP-482) for records: lengths as unsigned varints of length plus one, tagged fields at the end.
use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::RecordFormatError;

/// Most tagged fields of one structure; Kafka's records have at most two.
const TAGS_MAX: u32 = 64;

/// Tagged fields: number and bytes.
#[derive(Debug, Default)]
pub(crate) struct Tags(BTreeMap<u32, Bytes>);

impl Tags {
    pub(crate) fn add(&mut self, tag: u32, bytes: Bytes) {
        self.0.insert(tag, bytes);
    }
}

pub(crate) struct FlexWriter(BytesMut);

impl FlexWriter {
    /// A value, which begins with its version.
    pub(crate) fn new(version: i16) -> FlexWriter {
        let mut writer = FlexWriter::bare();
        writer.0.put_i16(version);
        writer
    }

    /// A part of a value.
    pub(crate) fn bare() -> FlexWriter {
        FlexWriter(BytesMut::new())
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.0.put_i8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.0.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, bytes: [u8; 16]) {
        self.0.put_slice(&bytes);
    }

    /// The length of an array, before its elements.
    pub(crate) fn array(&mut self, length: usize) {
        self.varint(length as u32 + 1);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u32 + 1);
        self.0.put_slice(bytes);
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.varint(0),
        }
    }

    pub(crate) fn no_tags(&mut self) {
        self.varint(0);
    }

    pub(crate) fn tags(&mut self, tags: Tags) {
        self.varint(tags.0.len() as u32);
        for (tag, bytes) in tags.0 {
            self.varint(tag);
            self.varint(bytes.len() as u32);
            self.0.put_slice(&bytes);
        }
    }
}

pub(crate) struct FlexReader(Bytes);

impl FlexReader {
    /// A value whose version must be at most this one.
    pub(crate) fn versioned(bytes: Bytes, newest: i16) -> Result<FlexReader, RecordFormatError> {
        let mut reader = FlexReader(bytes);
        reader.need(2)?;
        let version = reader.0.get_i16();
        if (0..=newest).contains(&version) { Ok(reader) } else { Err(RecordFormatError::UnknownVersion(version)) }
    }

    pub(crate) fn bare(bytes: Bytes) -> FlexReader {
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

    pub(crate) fn i8(&mut self) -> Result<i8, RecordFormatError> {
        self.need(1)?;
        Ok(self.0.get_i8())
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordFormatError> {
        self.need(2)?;
        Ok(self.0.get_i16())
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordFormatError> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordFormatError> {
        self.need(8)?;
        Ok(self.0.get_i64())
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], RecordFormatError> {
        self.need(16)?;
        let mut bytes = [0; 16];
        self.0.copy_to_slice(&mut bytes);
        Ok(bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, RecordFormatError> {
        let length = self.length()?.ok_or(RecordFormatError::Length(-1))?;
        self.take(length)
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<String>, RecordFormatError> {
        let Some(length) = self.length()? else { return Ok(None) };
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| RecordFormatError::NotUtf8)
    }

    pub(crate) fn string(&mut self) -> Result<String, RecordFormatError> {
        self.nullable_string()?.ok_or(RecordFormatError::Length(-1))
    }

    /// Nothing is reserved for what the length claims: each element has to be there.
    pub(crate) fn array<T>(
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

    pub(crate) fn tags(&mut self) -> Result<BTreeMap<u32, Bytes>, RecordFormatError> {
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
