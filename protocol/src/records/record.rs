//! Records inside a batch, read in place: nothing is copied and nothing is allocated for a count that a stranger wrote.
//!
//! Record: length varint, attributes i8, timestamp delta varlong, offset delta varint, key, value, header count
//! varint, headers. Key, value and header value are a varint length (-1 = null) and bytes. Unlike the protocol crate,
//! duplicate header keys and their order survive.

use std::borrow::Cow;

use super::batch::{BatchHeader, HEADER_LEN, MIN_RECORD_LEN, TimestampType};
use super::compress::{DecompressLimits, decompress};
use super::varint::Reader;
use super::{BatchError, Compression, DecodeError, RecordError};
use crate::ids::{Offset, Timestamp};

/// The smallest header: empty key, null value.
const MIN_HEADER_LEN: usize = 2;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Value of the length field: bytes that follow it.
    pub length: usize,
    /// Unused by Kafka so far.
    pub attributes: i8,
    /// Distance to the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Distance to the batch's base offset.
    pub offset_delta: i32,
    /// Key, null or bytes.
    pub key: Option<&'a [u8]>,
    /// Value, null (a tombstone) or bytes.
    pub value: Option<&'a [u8]>,
    /// Headers in the order in which they were written.
    pub headers: Headers<'a>,
    /// The record as stored, length field included.
    pub raw: &'a [u8],
}

impl<'a> Record<'a> {
    /// Where the record sits in the log.
    #[must_use]
    pub fn offset(&self, batch: &BatchHeader) -> Offset {
        batch.base_offset + i64::from(self.offset_delta)
    }

    /// The timestamp that consumers see.
    #[must_use]
    pub fn timestamp(&self, batch: &BatchHeader) -> Timestamp {
        Timestamp(match batch.attributes.timestamp_type() {
            TimestampType::LogAppendTime => batch.max_timestamp,
            TimestampType::CreateTime => batch.base_timestamp.wrapping_add(self.timestamp_delta),
        })
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Record<'a>, RecordError> {
        let start = reader.rest;
        let length = reader.varint("record length")?;
        let length =
            usize::try_from(length).map_err(|_| RecordError::NegativeLength { field: "record length", length })?;
        let mut body = Reader { rest: reader.bytes(length, "record")? };
        let raw = &start[..start.len() - reader.rest.len()];
        let attributes = body.byte("record attributes")? as i8;
        let timestamp_delta = body.varlong("timestamp delta")?;
        let offset_delta = body.varint("offset delta")?;
        let key = nullable(&mut body, "key")?;
        let value = nullable(&mut body, "value")?;
        let headers = Headers::parse(&mut body)?;
        if !body.rest.is_empty() {
            return Err(RecordError::TrailingBytes { bytes: body.rest.len() });
        }
        Ok(Record { length, attributes, timestamp_delta, offset_delta, key, value, headers, raw })
    }
}

fn nullable<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
    match reader.varint(field)? {
        -1 => Ok(None),
        length => {
            let len = usize::try_from(length).map_err(|_| RecordError::NegativeLength { field, length })?;
            reader.bytes(len, field).map(Some)
        }
    }
}

/// The headers of one record. They were checked when the record was read, so iterating cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key; UTF-8 by convention, not checked.
    pub key: &'a [u8],
    /// Its value; null and empty differ.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Headers<'a>, RecordError> {
        let count = reader.varint("header count")?;
        let count =
            usize::try_from(count).map_err(|_| RecordError::NegativeLength { field: "header count", length: count })?;
        if count > reader.rest.len() / MIN_HEADER_LEN {
            return Err(RecordError::TooManyHeaders { count, remaining_bytes: reader.rest.len() });
        }
        let bytes = reader.rest;
        for _ in 0..count {
            Header::parse(reader)?;
        }
        Ok(Headers { count, bytes: &bytes[..bytes.len() - reader.rest.len()] })
    }

    /// Number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in stored order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut reader = Reader { rest: self.bytes };
        // `parse` has walked the same bytes, so an error cannot come up again.
        (0..self.count).map_while(move |_| Header::parse(&mut reader).ok())
    }
}

impl<'a> Header<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Header<'a>, RecordError> {
        let length = reader.varint("header key")?;
        let len = usize::try_from(length).map_err(|_| RecordError::NegativeLength { field: "header key", length })?;
        let key = reader.bytes(len, "header key")?;
        let value = nullable(reader, "header value")?;
        Ok(Header { key, value })
    }
}

/// Iterates over an uncompressed records section. After an error it ends.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    remaining: usize,
    finished: bool,
}

impl<'a> Records<'a> {
    /// Reads `count` records from `section`, which they must fill.
    #[must_use]
    pub fn new(section: &'a [u8], count: usize) -> Records<'a> {
        Records { reader: Reader { rest: section }, remaining: count, finished: false }
    }

    fn step(&mut self) -> Result<Option<Record<'a>>, RecordError> {
        let left = self.reader.rest.len();
        if self.remaining == 0 {
            return if left == 0 { Ok(None) } else { Err(RecordError::TrailingBytes { bytes: left }) };
        }
        if self.remaining > left / MIN_RECORD_LEN {
            return Err(RecordError::TooManyRecords { count: self.remaining, remaining_bytes: left });
        }
        self.remaining -= 1;
        Record::parse(&mut self.reader).map(Some)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let step = self.step().transpose();
        self.finished = !matches!(step, Some(Ok(_)));
        step
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than the records: the item may be the error about trailing bytes.
        (0, Some(self.remaining.min(self.reader.rest.len() / MIN_RECORD_LEN) + 1))
    }
}

/// A batch whose records section is plain: borrowed if it was stored plain, owned if it had to be decompressed.
#[derive(Clone, Debug)]
pub struct DecodedBatch<'a> {
    /// The header as stored; its attributes still name the codec.
    pub header: BatchHeader,
    /// The plain records section.
    pub section: Cow<'a, [u8]>,
}

impl DecodedBatch<'_> {
    /// The records in order.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(&self.section, self.header.record_count as usize)
    }
}

/// Opens one batch that fills `batch`. The CRC is not checked here; records are checked as they are read.
pub fn decode<'a>(batch: &'a [u8], limits: &DecompressLimits) -> Result<DecodedBatch<'a>, DecodeError> {
    let header = BatchHeader::parse(batch)?;
    let total = header.total_len();
    if batch.len() < total {
        return Err(BatchError::TooShort { have: batch.len(), need: total }.into());
    }
    if batch.len() > total {
        return Err(BatchError::TrailingBytes { bytes: batch.len() - total }.into());
    }
    let stored = &batch[HEADER_LEN..];
    let section = match header.attributes.compression() {
        // An emptied batch keeps no section, whatever its attributes say.
        _ if stored.is_empty() && header.record_count == 0 => Cow::Borrowed(stored),
        Compression::None => Cow::Borrowed(stored),
        codec => Cow::Owned(decompress(codec, stored, limits)?),
    };
    Ok(DecodedBatch { header, section })
}

/// What a walk over the records of a batch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSummary {
    /// Number of records.
    pub records: usize,
    /// Bytes of the records section once decompressed.
    pub section_bytes: usize,
    /// Smallest timestamp.
    pub min_timestamp: Timestamp,
    /// Largest timestamp.
    pub max_timestamp: Timestamp,
    /// Offset delta of the first record that has the largest timestamp.
    pub max_timestamp_offset_delta: i32,
    /// Index of the first record with a null key; a compacted topic refuses it.
    pub first_null_key: Option<usize>,
}

/// Reads every record of a batch that has at least one: lengths, counts, and offset deltas that ascend within the
/// batch. For a produced batch, whose count equals its offset range, that makes them 0, 1, 2 and so on.
pub fn walk_records(batch: &[u8], limits: &DecompressLimits) -> Result<RecordSummary, DecodeError> {
    visit_records(batch, limits, |_, _, _| {})
}

/// The same; shows each record to `visit`, with its index, as it is found sound.
pub fn visit_records(
    batch: &[u8],
    limits: &DecompressLimits,
    mut visit: impl FnMut(usize, &BatchHeader, &Record<'_>),
) -> Result<RecordSummary, DecodeError> {
    let decoded = decode(batch, limits)?;
    let header = &decoded.header;
    let mut summary = RecordSummary {
        records: 0,
        section_bytes: decoded.section.len(),
        min_timestamp: Timestamp(i64::MAX),
        max_timestamp: Timestamp(i64::MIN),
        max_timestamp_offset_delta: 0,
        first_null_key: None,
    };
    let mut previous = -1;
    for record in decoded.records() {
        let record = record?;
        if record.offset_delta <= previous || record.offset_delta > header.last_offset_delta {
            return Err(RecordError::OffsetDelta {
                index: summary.records,
                offset_delta: record.offset_delta,
                last_offset_delta: header.last_offset_delta,
            }
            .into());
        }
        previous = record.offset_delta;
        let timestamp = record.timestamp(header);
        summary.min_timestamp = summary.min_timestamp.min(timestamp);
        if timestamp > summary.max_timestamp {
            summary.max_timestamp = timestamp;
            summary.max_timestamp_offset_delta = record.offset_delta;
        }
        if record.key.is_none() && summary.first_null_key.is_none() {
            summary.first_null_key = Some(summary.records);
        }
        visit(summary.records, header, &record);
        summary.records += 1;
    }
    if summary.records == 0 {
        return Err(header.count_mismatch().into());
    }
    Ok(summary)
}

#[cfg(test)]
mod tests;
