//! Row groups and columns out of a segment.
//!
//! Opening reads footer and block from the end and verifies both; a read fetches only the buffers of the columns it wants,
//! neighbours together, and verifies each buffer's CRC the first time this reader sees it (SEG-2).

mod open;
mod statistics;
mod windows;

pub use windows::Window;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::Buffer;
use arrow_cast::cast;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;

use crate::block::{Block, GroupAt, GroupInfo, OriginalBatch, StoredBuffer};
use crate::bytes_io::{ReadAt, read};
use crate::codec::{self, Codec};
use crate::decode::{Parts, columns};
use crate::error::{ColumnError, Result};
use crate::flatten::plain_field;
use crate::layout::Layout;
use crate::{OFFSET_COLUMN, Projection};

/// Bytes between two wanted ranges that are read along: less than what a second read costs.
const GAP_MAX: u64 = 64;

/// An open segment. Cheap to share; reads take `&self`.
pub struct ColumnSegmentReader {
    source: Arc<dyn ReadAt>,
    stored_schema: SchemaRef,
    schema: SchemaRef,
    layout: Layout,
    block: Block,
    windows: Vec<Window>,
    /// Columns with a dictionary.
    keyed: Vec<usize>,
    dictionaries: Vec<OnceLock<ArrayRef>>,
    /// One bit per buffer of each row group: its CRC was found right.
    verified: Vec<AtomicU64>,
}

impl ColumnSegmentReader {
    /// The same rows at other offsets: as many higher, as the rows of `batch`. Of a file whose rows are those of one batch, which
    /// begins at offset 0 and has no gaps: it was made before that had its place in a log.
    pub fn placed(mut self, batch: OriginalBatch) -> Result<ColumnSegmentReader> {
        let (base, mut next) = (batch.base_offset, 0);
        for group in &mut self.block.groups {
            let info = &mut group.info;
            let moved = (base.checked_add(info.first_offset), base.checked_add(info.last_offset));
            let (Some(first), Some(last), true) = (moved.0, moved.1, info.dense && info.first_offset == next) else {
                return Err(ColumnError::corrupt("the rows of a batch have gaps"));
            };
            next = info.last_offset.saturating_add(1);
            (info.first_offset, info.last_offset) = (first, last);
        }
        if next != i64::from(batch.records) || next != i64::from(batch.last_offset_delta) + 1 {
            return Err(ColumnError::corrupt(format!("{next} rows, and a batch of {} records", batch.records)));
        }
        self.windows = windows::windows(&self.block.groups)?;
        self.block.batches = vec![batch];
        Ok(self)
    }

    /// The schema of what [`ColumnSegmentReader::read`] gives: plain types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The schema as the file and its slices have it, dictionary types included.
    pub fn stored_schema(&self) -> &SchemaRef {
        &self.stored_schema
    }

    /// Table schema version it was written with.
    pub fn schema_version(&self) -> i32 {
        self.block.schema_version
    }

    /// Codec of its buffers.
    pub fn codec(&self) -> Codec {
        self.block.codec
    }

    /// Number of row groups.
    pub fn group_count(&self) -> usize {
        self.block.groups.len()
    }

    /// Row groups in order.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &GroupInfo> {
        self.block.groups.iter().map(|group| &group.info)
    }

    /// Row groups that belong together because their rows lie among each other, in offset order. Of a segment that is not
    /// clustered each row group is one.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The window that holds the offset or follows it.
    pub fn window_from(&self, offset: i64) -> Option<&Window> {
        self.windows.get(self.windows.partition_point(|window| window.last_offset < offset))
    }

    /// The batches its rows came in.
    pub fn original_batches(&self) -> &[OriginalBatch] {
        &self.block.batches
    }

    /// Bytes in the file of one row group's buffers under a projection: what a read of it fetches.
    pub fn stored_bytes(&self, group: usize, projection: &Projection) -> Result<u64> {
        let at = self.group(group)?;
        projection.schema(&self.schema)?;
        Ok(self.buffer_indexes(projection).iter().map(|index| u64::from(at.buffers[*index].length)).sum())
    }

    /// One row group with plain types.
    pub fn read(&self, group: usize, projection: &Projection) -> Result<RecordBatch> {
        let stored = self.read_stored(group, projection)?;
        let schema = Arc::new(projection.schema(&self.schema)?);
        let arrays = stored.columns().iter().zip(schema.fields());
        let plain = |(array, field): (&ArrayRef, &arrow_schema::FieldRef)| match array.data_type() == field.data_type()
        {
            true => Ok(array.clone()),
            false => cast(array, field.data_type()),
        };
        let arrays = arrays.map(plain).collect::<std::result::Result<Vec<_>, _>>()?;
        batch(schema, arrays, stored.num_rows())
    }

    /// One row group with the types of the file: dictionary columns stay dictionary arrays.
    pub fn read_stored(&self, group: usize, projection: &Projection) -> Result<RecordBatch> {
        let at = self.group(group)?;
        let schema = Arc::new(projection.schema(&self.stored_schema)?);
        let nodes = projection.nodes(&self.layout);
        let wanted = self.buffer_indexes(projection);
        let buffers = self.fetch(group, at, &wanted)?;
        let dictionaries =
            projection.positions().filter_map(|column| self.keyed.iter().position(|keyed| *keyed == column));
        let dictionaries = dictionaries.map(|id| self.dictionary(id)).collect::<Result<Vec<_>>>()?;
        let opened =
            buffers.into_iter().zip(&wanted).map(|(bytes, index)| self.open_buffer(&at.buffers[*index], bytes));
        let mut opened = opened.collect::<Vec<_>>().into_iter();
        let mut nodes = nodes.into_iter().map(|node| (u64::from(at.nodes[node].rows), u64::from(at.nodes[node].nulls)));
        let mut parts = Parts { nodes: &mut nodes, buffers: &mut opened, dictionaries: &mut dictionaries.into_iter() };
        let arrays = columns(schema.fields(), u64::from(at.info.rows), &mut parts)?;
        batch(schema, arrays, at.info.rows as usize)
    }

    /// Offsets of the rows of a group, read only when they are not consecutive.
    pub fn offsets(&self, group: usize) -> Result<Vec<i64>> {
        let info = &self.group(group)?.info;
        if info.dense {
            return Ok((info.first_offset..=info.last_offset).collect());
        }
        let projection = Projection::paths(&self.schema, &[[OFFSET_COLUMN]])?;
        let batch = self.read(group, &projection)?;
        let offsets = batch.column(0).as_primitive_opt::<Int64Type>();
        Ok(offsets.ok_or_else(|| ColumnError::corrupt("_offset is not an int64 column"))?.values().to_vec())
    }

    /// The values of the n-th dictionary column.
    pub(crate) fn dictionary(&self, id: usize) -> Result<ArrayRef> {
        if let Some(values) = self.dictionaries[id].get() {
            return Ok(values.clone());
        }
        let at = &self.block.dictionaries[id];
        let field = plain_field(self.stored_schema.field(self.keyed[id]));
        let mut opened = Vec::with_capacity(at.buffers.len());
        for buffer in &at.buffers {
            let bytes = read(&*self.source, buffer.offset, u64::from(buffer.length))?;
            check("a dictionary", buffer, &bytes)?;
            opened.push(self.open_buffer(buffer, bytes));
        }
        let field = field.with_nullable(true);
        let mut nodes = std::iter::once((u64::from(at.rows), 0));
        let mut parts =
            Parts { nodes: &mut nodes, buffers: &mut opened.into_iter(), dictionaries: &mut std::iter::empty() };
        let values = columns(&vec![field].into(), u64::from(at.rows), &mut parts)?.remove(0);
        // Two readers may decode it at once; one value stays.
        Ok(self.dictionaries[id].get_or_init(|| values).clone())
    }

    pub(crate) fn group(&self, index: usize) -> Result<&GroupAt> {
        self.block.groups.get(index).ok_or(ColumnError::NoGroup { index, groups: self.block.groups.len() })
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Columns with a dictionary; the position is the id.
    pub(crate) fn keyed(&self) -> &[usize] {
        &self.keyed
    }

    pub(crate) fn source(&self) -> &Arc<dyn ReadAt> {
        &self.source
    }

    /// Buffers of a projection in the order of its nodes.
    pub(crate) fn buffer_indexes(&self, projection: &Projection) -> Vec<usize> {
        let nodes = projection.nodes(&self.layout).into_iter().map(|node| &self.layout.nodes[node]);
        nodes.flat_map(|node| node.first_buffer..node.first_buffer + node.kind.buffers()).collect()
    }

    fn open_buffer(&self, buffer: &StoredBuffer, bytes: Bytes) -> Result<Buffer> {
        let opened = codec::open(self.block.codec, bytes, u64::from(buffer.raw))?;
        match opened.len() == buffer.raw as usize {
            true => Ok(opened),
            false => Err(ColumnError::corrupt(format!("a buffer of {} bytes, not {}", opened.len(), buffer.raw))),
        }
    }

    /// The stored bytes of buffers, verified.
    pub(crate) fn fetch(&self, group: usize, at: &GroupAt, wanted: &[usize]) -> Result<Vec<Bytes>> {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|slot| at.buffers[wanted[*slot]].offset);
        let mut out = vec![Bytes::new(); wanted.len()];
        let mut from = 0;
        while from < order.len() {
            let range = |slot: usize| {
                let buffer = &at.buffers[wanted[slot]];
                buffer.offset..buffer.offset + u64::from(buffer.length)
            };
            let mut run: Range<u64> = range(order[from]);
            let mut to = from + 1;
            while to < order.len() && range(order[to]).start <= run.end + GAP_MAX {
                run.end = run.end.max(range(order[to]).end);
                to += 1;
            }
            let bytes = read(&*self.source, run.start, run.end - run.start)?;
            for slot in &order[from..to] {
                let range = range(*slot);
                let part = bytes.slice((range.start - run.start) as usize..(range.end - run.start) as usize);
                self.verify(group, wanted[*slot], &at.buffers[wanted[*slot]], &part)?;
                out[*slot] = part;
            }
            from = to;
        }
        Ok(out)
    }

    fn bit(&self, group: usize, buffer: usize) -> (usize, u64) {
        let index = group * self.layout.buffers + buffer;
        (index / 64, 1 << (index % 64))
    }

    /// Whether this reader has seen the buffer whole.
    pub(crate) fn is_verified(&self, group: usize, buffer: usize) -> bool {
        let (word, bit) = self.bit(group, buffer);
        self.verified[word].load(Ordering::Relaxed) & bit != 0
    }

    fn verify(&self, group: usize, index: usize, buffer: &StoredBuffer, bytes: &Bytes) -> Result<()> {
        if self.is_verified(group, index) {
            return Ok(());
        }
        let node = self.layout.nodes.iter().rev().find(|node| node.first_buffer <= index);
        check(node.map_or("a buffer", |node| &node.path), buffer, bytes)?;
        let (word, bit) = self.bit(group, index);
        self.verified[word].fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// Reads and verifies everything: message headers, dictionaries, buffers, Bloom filters.
    pub fn scrub(&self) -> Result<()> {
        let messages = std::iter::once(&self.block.schema_message);
        let messages = messages.chain(self.block.dictionaries.iter().map(|dictionary| &dictionary.message));
        for message in messages.chain(self.block.groups.iter().map(|group| &group.message)) {
            let header = read(&*self.source, message.offset, u64::from(message.header))?;
            compare("a message header", message.offset, message.crc, crc32c::crc32c(&header))?;
        }
        (0..self.dictionaries.len()).try_for_each(|id| self.dictionary(id).map(drop))?;
        let all = Projection::all(&self.stored_schema);
        for (index, group) in self.block.groups.iter().enumerate() {
            self.fetch(index, group, &self.buffer_indexes(&all))?;
            for bloom in &group.blooms {
                self.filter(bloom)?;
            }
        }
        Ok(())
    }
}

fn check(what: &str, buffer: &StoredBuffer, bytes: &Bytes) -> Result<()> {
    compare(what, buffer.offset, buffer.crc, crc32c::crc32c(bytes))
}

pub(crate) fn compare(what: &str, offset: u64, stored: u32, read: u32) -> Result<()> {
    match stored == read {
        true => Ok(()),
        false => Err(ColumnError::Checksum { what: what.to_owned(), offset, stored, read }),
    }
}

pub(crate) fn batch(schema: SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

/// The stored schema with plain types.
pub(crate) fn plain_schema(stored: &Schema) -> Schema {
    let fields: Vec<_> = stored.fields().iter().map(|field| plain_field(field)).collect();
    Schema::new_with_metadata(fields, stored.metadata().clone())
}
