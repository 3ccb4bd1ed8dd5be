//! `ColumnarResult`: tag 5700 on each PartitionData of FetchResponse 13+.
use bytes::{BufMut, BytesMut};

use super::{ColumnarError, VERSION_MAX, count, put_bytes, put_len, put_no_tags, utf8, version};
use crate::WireError;
use crate::wire::Wire;

/// What a scan of one partition gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnarResult {
    /// Schema version of the result; 0 for an untyped topic.
    pub schema_id: i32,
    /// Where the next fetch goes on; covers rows that were filtered out.
    pub next_fetch_offset: i64,
    /// Rows looked at.
    pub rows_scanned: i64,
    /// Rows returned, without those the reader skips.
    pub rows_returned: i64,
    /// Rows whose predicate raised an error.
    pub rows_errored: i64,
    /// Bytes of input read or looked at in memory.
    pub bytes_scanned: i64,
    /// One per Arrow record batch of the stream, in its order.
    pub batches: Vec<BatchRange>,
    /// CRC-32C of the Records bytes; 0 when there are none.
    pub crc32c: u32,
    /// Names the column, the place in the predicate, or the limit hit.
    pub error_message: Option<String>,
}

/// The offsets of one record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRange {
    /// Offset of the first row that the batch holds.
    pub first_offset: i64,
    /// Offset of its last row.
    pub last_offset: i64,
    /// Rows in the batch, those to skip included.
    pub rows: i32,
    /// Rows at the front that the reader drops.
    pub skip_head: i32,
    /// Rows at the end that the reader drops.
    pub skip_tail: i32,
    /// Row `i` has offset `first_offset + i`; otherwise the last column is `_offset`.
    pub dense: bool,
}

/// Two offsets, three counts, a flag, no tags.
const BATCH_LEN: usize = 8 + 8 + 4 + 4 + 4 + 1 + 1;

impl ColumnarResult {
    /// From the bytes of the tag.
    pub fn decode(bytes: &[u8]) -> Result<ColumnarResult, ColumnarError> {
        let mut wire = Wire::new(bytes);
        version(&mut wire)?;
        let result = ColumnarResult {
            schema_id: wire.i32("SchemaId")?,
            next_fetch_offset: wire.i64("NextFetchOffset")?,
            rows_scanned: wire.i64("RowsScanned")?,
            rows_returned: wire.i64("RowsReturned")?,
            rows_errored: wire.i64("RowsErrored")?,
            bytes_scanned: wire.i64("BytesScanned")?,
            batches: batches(&mut wire)?,
            crc32c: wire.i32("Crc32c")? as u32,
            error_message: match wire.nullable_str(true, "ErrorMessage")? {
                None => None,
                Some(text) => Some(utf8(text, "ErrorMessage")?.to_owned()),
            },
        };
        wire.skip_tagged_fields()?;
        wire.finish()?;
        Ok(result)
    }

    /// Appends the bytes of the tag.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i8(VERSION_MAX);
        out.put_i32(self.schema_id);
        out.put_i64(self.next_fetch_offset);
        out.put_i64(self.rows_scanned);
        out.put_i64(self.rows_returned);
        out.put_i64(self.rows_errored);
        out.put_i64(self.bytes_scanned);
        put_len(out, self.batches.len());
        for batch in &self.batches {
            batch.encode(out);
        }
        out.put_u32(self.crc32c);
        match &self.error_message {
            None => out.put_u8(0),
            Some(text) => put_bytes(out, text.as_bytes()),
        }
        put_no_tags(out);
    }
}

fn batches(wire: &mut Wire<'_>) -> Result<Vec<BatchRange>, ColumnarError> {
    let field = "Batches";
    let count = count(wire, BATCH_LEN, field)?.ok_or(WireError::Null { field })?;
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        batches.push(BatchRange::decode(wire)?);
    }
    Ok(batches)
}

impl BatchRange {
    fn decode(wire: &mut Wire<'_>) -> Result<BatchRange, ColumnarError> {
        let batch = BatchRange {
            first_offset: wire.i64("FirstOffset")?,
            last_offset: wire.i64("LastOffset")?,
            rows: wire.i32("Rows")?,
            skip_head: wire.i32("SkipHead")?,
            skip_tail: wire.i32("SkipTail")?,
            dense: wire.i8("Dense")? != 0,
        };
        wire.skip_tagged_fields()?;
        Ok(batch)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(self.first_offset);
        out.put_i64(self.last_offset);
        out.put_i32(self.rows);
        out.put_i32(self.skip_head);
        out.put_i32(self.skip_tail);
        out.put_u8(u8::from(self.dense));
        put_no_tags(out);
    }
}
