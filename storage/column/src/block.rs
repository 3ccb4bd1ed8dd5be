//! The binary block between end-of-stream marker and footer: what Arrow's footer has no place for.
//!
//! All numbers little-endian; `str` is a u16 length and bytes, 0xffff for none.
//!
//! | field | type | what |
//! |---|---|---|
//! | codec, level | u8, i32 | 0 none, 1 LZ4_FRAME, 2 ZSTD |
//! | schema version | i32 | table schema the segment was written with |
//! | nodes, buffers | u32, u32 | of each row group: pre-order of all columns |
//! | schema message | message | |
//! | dictionaries | u32, then each | message, rows u32, 3 buffers |
//! | row groups | u32, then each | as below |
//! | original batches | u32, then each | as below |
//!
//! message: offset u64, header length u32 (with marker and padding), body length u64, CRC-32C of the header u32.
//! buffer: stored length u32, uncompressed length u32, CRC-32C of the stored bytes u32 (each starts at the next multiple of 8).
//!
//! | row group | type | what |
//! |---|---|---|
//! | message | message | its record batch |
//! | rows | u32 | |
//! | flags | u8 | 1 dense (offsets are consecutive), 2 has a time range |
//! | first, last offset | i64, i64 | |
//! | min, max timestamp | i64, i64 | of `_timestamp`, ms |
//! | nodes | each: rows u32, nulls u32, min str, max str | bounds inclusive, max rounded up when cut; none for NaN |
//! | buffers | each: buffer | |
//! | Bloom filters | u32, then each: node u32, offset u64, length u32, CRC u32 | |
//!
//! | original batch | type |
//! |---|---|
//! | base offset, last offset delta, records | i64, i32, i32 |
//! | producer id, epoch, base sequence | i64, i16, i32 |
//! | attributes, leader epoch, max timestamp | i16, i32, i64 |
//!
//! The tail, 32 bytes before the footer: `WEIRCOL` and a zero byte, version u16, zero u16, block length u32 (without tail and
//! padding), CRC-32C of the block u32, footer length u32, CRC-32C of the footer u32, CRC-32C of these 28 bytes u32.

use bytes::{BufMut, Bytes, BytesMut};

use crate::bytes_io::{Fields, padded};
use crate::codec::Codec;
use crate::error::{ColumnError, Result};
use crate::ipc::MessageAt;
use crate::layout::Layout;
use crate::stats::{BOUND_BYTES_MAX, Bounds};

/// Version of the block this code writes, and the newest it reads.
pub(crate) const VERSION: u16 = 1;
/// Bytes of the tail.
pub(crate) const TAIL_BYTES: usize = 32;
const TAIL_MAGIC: &[u8; 8] = b"WEIRCOL\0";
const NONE: u16 = u16::MAX;
const ABORT: u8 = 1;
const COMMIT: u8 = 2;
const DENSE: u8 = 1;
const TIMED: u8 = 2;

/// A row group: rows, offsets and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Rows, at least one.
    pub rows: u32,
    /// Smallest offset.
    pub first_offset: i64,
    /// Largest offset.
    pub last_offset: i64,
    /// Whether row i has offset `first_offset + i`.
    pub dense: bool,
    /// Smallest and largest `_timestamp` in ms; `None` without that column or when all are null.
    pub timestamps: Option<(i64, i64)>,
}

/// A batch as its producer sent it; rows of a segment came in these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalBatch {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record minus `base_offset`.
    pub last_offset_delta: i32,
    /// Records it had.
    pub records: i32,
    /// -1 when not idempotent.
    pub producer_id: i64,
    /// -1 when not idempotent.
    pub producer_epoch: i16,
    /// -1 when not idempotent.
    pub base_sequence: i32,
    /// Kafka's attributes: compression, timestamp type, transactional, control.
    pub attributes: i16,
    /// Leader epoch it was appended in.
    pub leader_epoch: i32,
    /// Largest timestamp in ms, -1 for none.
    pub max_timestamp: i64,
    /// What a control batch says; it has no rows.
    pub marker: Option<EndMarker>,
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMarker {
    /// Committed, or aborted.
    pub commit: bool,
    /// Epoch of the coordinator that decided.
    pub coordinator_epoch: i32,
}

/// Smallest encodings, which bound counts by bytes.
const BATCH_BYTES: usize = 49;
const GROUP_BYTES: usize = 24 + 4 + 1 + 32 + 4;
const BLOOM_BYTES: usize = 20;
const DICTIONARY_BYTES: usize = 24 + 4 + 36;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBuffer {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) raw: u32,
    pub(crate) crc: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeAt {
    pub(crate) rows: u32,
    pub(crate) nulls: u32,
    pub(crate) bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BloomAt {
    pub(crate) node: u32,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DictionaryAt {
    pub(crate) message: MessageAt,
    pub(crate) rows: u32,
    pub(crate) buffers: Vec<StoredBuffer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupAt {
    pub(crate) message: MessageAt,
    pub(crate) info: GroupInfo,
    pub(crate) nodes: Vec<NodeAt>,
    pub(crate) buffers: Vec<StoredBuffer>,
    pub(crate) blooms: Vec<BloomAt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) codec: Codec,
    pub(crate) schema_version: i32,
    pub(crate) schema_message: MessageAt,
    pub(crate) dictionaries: Vec<DictionaryAt>,
    pub(crate) groups: Vec<GroupAt>,
    pub(crate) batches: Vec<OriginalBatch>,
}

impl Block {
    pub(crate) fn encode(&self, layout: &Layout) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(self.codec.id());
        out.put_i32_le(self.codec.level());
        out.put_i32_le(self.schema_version);
        out.put_u32_le(layout.nodes.len() as u32);
        out.put_u32_le(layout.buffers as u32);
        put_message(&mut out, &self.schema_message);
        out.put_u32_le(self.dictionaries.len() as u32);
        for dictionary in &self.dictionaries {
            put_message(&mut out, &dictionary.message);
            out.put_u32_le(dictionary.rows);
            put_buffers(&mut out, &dictionary.buffers);
        }
        out.put_u32_le(self.groups.len() as u32);
        self.groups.iter().for_each(|group| put_group(&mut out, group));
        out.put_u32_le(self.batches.len() as u32);
        self.batches.iter().for_each(|batch| put_batch(&mut out, batch));
        out.freeze()
    }

    /// `end`: where the messages end; nothing may lie beyond.
    pub(crate) fn decode(bytes: &[u8], layout: &Layout, end: u64) -> Result<Block> {
        let mut from = Fields::new(bytes, "the block");
        let (codec, level) = (from.u8()?, from.i32()?);
        let codec = Codec::from_id(codec, level).ok_or_else(|| ColumnError::corrupt(format!("codec {codec}")))?;
        let schema_version = from.i32()?;
        if (from.u32()? as usize, from.u32()? as usize) != (layout.nodes.len(), layout.buffers) {
            return Err(ColumnError::corrupt("the block is not of the footer's schema"));
        }
        let schema_message = message(&mut from, end)?;
        let dictionaries = (0..from.count(DICTIONARY_BYTES)?).map(|_| {
            let message = message(&mut from, end)?;
            let rows = from.u32()?;
            Ok(DictionaryAt { message, rows, buffers: buffers(&mut from, 3, &message)? })
        });
        let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
        if dictionaries.len() != layout.dictionary_columns().len() {
            return Err(ColumnError::corrupt("the block's dictionaries are not those of the schema"));
        }
        let least = GROUP_BYTES + 12 * (layout.nodes.len() + layout.buffers);
        let groups = (0..from.count(least)?).map(|_| group(&mut from, layout, end)).collect::<Result<Vec<_>>>()?;
        let batches = (0..from.count(BATCH_BYTES)?).map(|_| batch(&mut from)).collect::<Result<Vec<_>>>()?;
        match from.left() {
            0 => Ok(Block { codec, schema_version, schema_message, dictionaries, groups, batches }),
            left => Err(ColumnError::corrupt(format!("{left} bytes after the block's end"))),
        }
    }
}

fn put_message(out: &mut BytesMut, at: &MessageAt) {
    out.put_u64_le(at.offset);
    out.put_u32_le(at.header);
    out.put_u64_le(at.body);
    out.put_u32_le(at.crc);
}

fn message(from: &mut Fields<'_>, end: u64) -> Result<MessageAt> {
    let at = MessageAt { offset: from.u64()?, header: from.u32()?, body: from.u64()?, crc: from.u32()? };
    let past = at.offset.checked_add(u64::from(at.header)).and_then(|header| header.checked_add(at.body));
    match past {
        Some(past) if past <= end && at.offset.is_multiple_of(8) && at.header.is_multiple_of(8) => Ok(at),
        _ => Err(ColumnError::corrupt(format!("a message at {}, beyond the file's messages", at.offset))),
    }
}

fn put_buffers(out: &mut BytesMut, buffers: &[StoredBuffer]) {
    for buffer in buffers {
        out.put_u32_le(buffer.length);
        out.put_u32_le(buffer.raw);
        out.put_u32_le(buffer.crc);
    }
}

fn buffers(from: &mut Fields<'_>, count: usize, message: &MessageAt) -> Result<Vec<StoredBuffer>> {
    let body = message.offset + u64::from(message.header);
    let mut at = body;
    let mut next = || {
        let buffer = StoredBuffer { offset: at, length: from.u32()?, raw: from.u32()?, crc: from.u32()? };
        at += padded(u64::from(buffer.length));
        Ok(buffer)
    };
    let buffers = (0..count).map(|_| next()).collect::<Result<Vec<_>>>()?;
    if at - body != message.body {
        return Err(ColumnError::corrupt(format!("buffers of {} bytes in a body of {}", at - body, message.body)));
    }
    Ok(buffers)
}

fn put_bound(out: &mut BytesMut, bound: Option<&Vec<u8>>) {
    match bound {
        None => out.put_u16_le(NONE),
        Some(bytes) => {
            out.put_u16_le(bytes.len() as u16);
            out.put_slice(bytes);
        }
    }
}

fn bound(from: &mut Fields<'_>) -> Result<Option<Vec<u8>>> {
    match from.u16()? {
        NONE => Ok(None),
        // A raised last character may have become longer by up to three bytes.
        length if length as usize <= BOUND_BYTES_MAX + 4 => Ok(Some(from.bytes(length as usize)?.to_vec())),
        length => Err(ColumnError::corrupt(format!("a bound of {length} bytes"))),
    }
}

fn put_group(out: &mut BytesMut, group: &GroupAt) {
    put_message(out, &group.message);
    let info = &group.info;
    let (min, max) = info.timestamps.unwrap_or((0, 0));
    out.put_u32_le(info.rows);
    out.put_u8(if info.dense { DENSE } else { 0 } | if info.timestamps.is_some() { TIMED } else { 0 });
    [info.first_offset, info.last_offset, min, max].iter().for_each(|value| out.put_i64_le(*value));
    for node in &group.nodes {
        out.put_u32_le(node.rows);
        out.put_u32_le(node.nulls);
        put_bound(out, node.bounds.min.as_ref());
        put_bound(out, node.bounds.max.as_ref());
    }
    put_buffers(out, &group.buffers);
    out.put_u32_le(group.blooms.len() as u32);
    for bloom in &group.blooms {
        out.put_u32_le(bloom.node);
        out.put_u64_le(bloom.offset);
        out.put_u32_le(bloom.length);
        out.put_u32_le(bloom.crc);
    }
}

fn group(from: &mut Fields<'_>, layout: &Layout, end: u64) -> Result<GroupAt> {
    let message = message(from, end)?;
    let (rows, flags) = (from.u32()?, from.u8()?);
    let (first_offset, last_offset, min, max) = (from.i64()?, from.i64()?, from.i64()?, from.i64()?);
    let dense = flags & DENSE != 0;
    let info =
        GroupInfo { rows, first_offset, last_offset, dense, timestamps: (flags & TIMED != 0).then_some((min, max)) };
    let span = i128::from(last_offset) - i128::from(first_offset) + 1;
    if rows == 0
        || rows as usize > crate::GROUP_ROWS_MAX
        || span < i128::from(rows)
        || dense && span != i128::from(rows)
    {
        return Err(ColumnError::corrupt(format!("{rows} rows at offsets {first_offset} to {last_offset}")));
    }
    let nodes = layout.nodes.iter().map(|_| node(from)).collect::<Result<Vec<_>>>()?;
    if layout.roots.iter().any(|root| nodes[*root].rows != rows) {
        return Err(ColumnError::corrupt("columns of one row group differ in rows"));
    }
    let buffers = buffers(from, layout.buffers, &message)?;
    let raw: u64 = buffers.iter().map(|buffer| u64::from(buffer.raw)).sum();
    // A row group of one row may be as large as a record is; more rows are cut at the bound (validity bitmaps apart).
    if rows > 1 && raw > 2 * crate::GROUP_BYTES_MAX as u64 {
        let max = 2 * crate::GROUP_BYTES_MAX as u64;
        return Err(ColumnError::Limit { what: "the uncompressed size of a row group".into(), value: raw, max });
    }
    let blooms = (0..from.count(BLOOM_BYTES)?).map(|_| {
        let bloom = BloomAt { node: from.u32()?, offset: from.u64()?, length: from.u32()?, crc: from.u32()? };
        match bloom.offset.checked_add(u64::from(bloom.length)) {
            Some(past) if past <= end && (bloom.node as usize) < layout.nodes.len() => Ok(bloom),
            _ => Err(ColumnError::corrupt("a Bloom filter beyond the file's messages")),
        }
    });
    let blooms = blooms.collect::<Result<Vec<_>>>()?;
    Ok(GroupAt { message, info, nodes, buffers, blooms })
}

fn node(from: &mut Fields<'_>) -> Result<NodeAt> {
    let (rows, nulls) = (from.u32()?, from.u32()?);
    if nulls > rows {
        return Err(ColumnError::corrupt(format!("{nulls} nulls in {rows} rows")));
    }
    Ok(NodeAt { rows, nulls, bounds: Bounds { min: bound(from)?, max: bound(from)? } })
}

fn put_batch(out: &mut BytesMut, batch: &OriginalBatch) {
    out.put_i64_le(batch.base_offset);
    out.put_i32_le(batch.last_offset_delta);
    out.put_i32_le(batch.records);
    out.put_i64_le(batch.producer_id);
    out.put_i16_le(batch.producer_epoch);
    out.put_i32_le(batch.base_sequence);
    out.put_i16_le(batch.attributes);
    out.put_i32_le(batch.leader_epoch);
    out.put_i64_le(batch.max_timestamp);
    out.put_u8(batch.marker.map_or(0, |marker| if marker.commit { COMMIT } else { ABORT }));
    out.put_i32_le(batch.marker.map_or(0, |marker| marker.coordinator_epoch));
}

fn batch(from: &mut Fields<'_>) -> Result<OriginalBatch> {
    Ok(OriginalBatch {
        base_offset: from.i64()?,
        last_offset_delta: from.i32()?,
        records: from.i32()?,
        producer_id: from.i64()?,
        producer_epoch: from.i16()?,
        base_sequence: from.i32()?,
        attributes: from.i16()?,
        leader_epoch: from.i32()?,
        max_timestamp: from.i64()?,
        marker: marker(from)?,
    })
}

fn marker(from: &mut Fields<'_>) -> Result<Option<EndMarker>> {
    let (kind, coordinator_epoch) = (from.u8()?, from.i32()?);
    match kind {
        0 => Ok(None),
        ABORT | COMMIT => Ok(Some(EndMarker { commit: kind == COMMIT, coordinator_epoch })),
        other => Err(ColumnError::corrupt(format!("a transaction marker of kind {other}"))),
    }
}

/// What the last 32 bytes before the footer say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) block: u32,
    pub(crate) block_crc: u32,
    pub(crate) footer: u32,
    pub(crate) footer_crc: u32,
}

impl Tail {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(TAIL_BYTES);
        out.put_slice(TAIL_MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        [self.block, self.block_crc, self.footer, self.footer_crc].iter().for_each(|value| out.put_u32_le(*value));
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Tail> {
        let mut from = Fields::new(bytes, "the tail of the block");
        if from.bytes(8)? != TAIL_MAGIC {
            return Err(ColumnError::NotSegment {
                reason: "no block before the footer: an Arrow file of somebody else",
            });
        }
        let (version, _) = (from.u16()?, from.u16()?);
        // Before the CRC: a newer version may compute it otherwise.
        if version > VERSION {
            return Err(ColumnError::Newer { found: version, known: VERSION });
        }
        let tail = Tail { block: from.u32()?, block_crc: from.u32()?, footer: from.u32()?, footer_crc: from.u32()? };
        let (stored, read) = (from.u32()?, crc32c::crc32c(&bytes[..TAIL_BYTES - 4]));
        if stored != read {
            return Err(ColumnError::Checksum { what: "the block's tail".into(), offset: 0, stored, read });
        }
        Ok(tail)
    }
}
