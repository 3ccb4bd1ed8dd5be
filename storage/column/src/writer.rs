//! Record batches in, the bytes of a column segment out.
//!
//! Row groups are encoded and compressed as soon as they are full and kept in memory until [`ColumnSegmentWriter::finish`]:
//! whether a column has a dictionary is told by the schema message at the front but known at the end only. A column whose
//! dictionary overflows late is turned into plain strings again.

mod cluster;
mod group;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use bytes::Bytes;

use crate::block::{Block, DictionaryAt};
use crate::block::{BloomAt, GroupAt, GroupInfo, NodeAt, OriginalBatch, StoredBuffer, Tail};
use crate::bytes_io::{padded, padding};
use crate::codec::{Codec, Compressor};
use crate::dictionary::DictionaryBuilder;
use crate::error::{ColumnError, Result};
use crate::flatten::{plain_columns, plain_field, stored_bytes};
use crate::ipc::{self, BatchShape, END_OF_STREAM, MAGIC, MessageAt};
use crate::layout::{Layout, dictionary_type};
use crate::{GROUP_BYTES_MAX, GROUP_ROWS_MAX, OFFSET_COLUMN, WINDOW_ROWS_MAX};
use cluster::Clustering;
use group::EncodedGroup;
pub(crate) use group::encode_column;

/// Whether offsets are stored as column `_offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetColumn {
    /// Always, so that any Arrow reader sees them.
    Always,
    /// Only when a row group's offsets are not consecutive; readers of this crate know the others anyway.
    WhenSparse,
}

/// How a segment is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// One for the whole segment.
    pub codec: Codec,
    /// Table schema version, kept in the block; 0 for untyped topics.
    pub schema_version: i32,
    /// Columns by name that are stored raw whatever the codec.
    pub raw_columns: BTreeSet<String>,
    /// Leaves by path that get a Bloom filter per row group.
    pub bloom_columns: BTreeSet<String>,
    /// Whether string columns may get dictionaries.
    pub dictionaries: bool,
    /// Whether there is a column `_offset`.
    pub offset_column: OffsetColumn,
    /// Top-level columns by name. Rows are grouped by their values inside of *windows* of at most [`WINDOW_ROWS_MAX`] rows:
    /// the row groups of a window hold rows that lie among each other, each in offset order; windows do not overlap. Empty:
    /// rows stay in offset order.
    pub cluster_by: Vec<String>,
    /// Rows of such a group at least, where there are so many: headers and statistics of small groups cost more than they save.
    pub cluster_rows_min: usize,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions {
            codec: Codec::Zstd(3),
            schema_version: 0,
            raw_columns: BTreeSet::new(),
            bloom_columns: BTreeSet::new(),
            dictionaries: true,
            offset_column: OffsetColumn::Always,
            cluster_by: Vec::new(),
            cluster_rows_min: 256,
        }
    }
}

/// Offsets of the rows of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Offsets<'a> {
    /// Consecutive from this one.
    From(i64),
    /// One per row, ascending.
    Each(&'a [i64]),
}

/// A written segment.
#[derive(Debug)]
pub struct FinishedSegment {
    /// The file, in order.
    pub chunks: Vec<Bytes>,
    /// Bytes of all chunks.
    pub length: u64,
    /// Rows.
    pub rows: u64,
    /// Its row groups.
    pub groups: Vec<GroupInfo>,
    /// Names of the columns that got a dictionary.
    pub dictionaries: Vec<String>,
}

/// Rows that wait for their row group to become full.
#[derive(Default)]
struct Pending {
    columns: Vec<Vec<ArrayRef>>,
    offsets: Vec<i64>,
    bytes: usize,
}

/// Writes one segment.
pub struct ColumnSegmentWriter {
    options: WriterOptions,
    /// Plain types, `_offset` last.
    schema: SchemaRef,
    /// Without `_offset`: what batches have.
    input: SchemaRef,
    layout: Layout,
    compressor: Compressor,
    clustering: Option<Clustering>,
    pending: Pending,
    groups: Vec<EncodedGroup>,
    dictionaries: Vec<Option<DictionaryBuilder>>,
    batches: Vec<OriginalBatch>,
    last_offset: Option<i64>,
    stored: u64,
}

impl ColumnSegmentWriter {
    /// A segment for batches of this schema (without `_offset`, which this writer adds). Large, view and dictionary types
    /// are stored as the plain ones.
    pub fn new(schema: &Schema, options: WriterOptions) -> Result<ColumnSegmentWriter> {
        let metadata = schema.metadata().clone();
        let mut fields: Vec<Field> = schema.fields().iter().map(|field| plain_field(field)).collect();
        if schema.index_of(OFFSET_COLUMN).is_ok() {
            let data_type = "a column of that name; offsets go beside the batch".to_owned();
            return Err(ColumnError::Type { column: OFFSET_COLUMN.into(), data_type });
        }
        let input = Arc::new(Schema::new_with_metadata(fields.clone(), metadata.clone()));
        fields.push(Field::new(OFFSET_COLUMN, DataType::Int64, false));
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let layout = Layout::of(schema.fields())?;
        let may = |field: &Field| options.dictionaries && *field.data_type() == DataType::Utf8;
        let dictionaries = schema.fields().iter().map(|field| may(field).then(DictionaryBuilder::default)).collect();
        let compressor = Compressor::new(options.codec)?;
        let clustering = Clustering::new(&input, &options.cluster_by, options.cluster_rows_min)?;
        let pending = Pending { columns: vec![Vec::new(); input.fields().len()], ..Pending::default() };
        let (groups, batches) = (Vec::new(), Vec::new());
        Ok(ColumnSegmentWriter {
            options,
            schema,
            input,
            layout,
            compressor,
            clustering,
            pending,
            groups,
            dictionaries,
            batches,
            last_offset: None,
            stored: 0,
        })
    }

    /// The schema batches must have, types made plain.
    pub fn batch_schema(&self) -> &SchemaRef {
        &self.input
    }

    /// Compressed bytes of the full row groups so far, which are held in memory: the measure for ending a segment.
    pub fn stored_bytes(&self) -> u64 {
        self.stored
    }

    /// Says something in the schema's metadata, which is written last.
    pub fn set_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let schema = Arc::make_mut(&mut self.schema);
        schema.metadata.insert(key.into(), value.into());
    }

    /// Notes a batch whose rows are in the segment.
    pub fn add_original_batch(&mut self, batch: OriginalBatch) {
        self.batches.push(batch);
    }

    /// Appends rows. Offsets go up, from batch to batch too.
    pub fn write(&mut self, batch: &RecordBatch, offsets: Offsets<'_>) -> Result<()> {
        let rows = batch.num_rows();
        let columns = plain_columns(batch, &self.input)?;
        let offsets = self.checked(offsets, rows)?;
        let Some(last) = offsets.last() else { return Ok(()) };
        self.last_offset = Some(*last);
        let bytes: usize = columns.iter().map(stored_bytes).sum();
        let (rows_max, bytes_max) = self.pending_max();
        let mut from = 0;
        while from < rows {
            let room = rows_max - self.pending.offsets.len();
            let each = (bytes / rows).max(1);
            let fit = bytes_max.saturating_sub(self.pending.bytes) / each;
            let taken = room.min(fit.max(1)).min(rows - from);
            self.take(&columns, &offsets[from..from + taken], from, each);
            from += taken;
            if self.pending.offsets.len() >= rows_max || self.pending.bytes >= bytes_max {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Rows and bytes that are gathered: a row group, or a window of them.
    fn pending_max(&self) -> (usize, usize) {
        match &self.clustering {
            None => (GROUP_ROWS_MAX, GROUP_BYTES_MAX),
            Some(_) => (WINDOW_ROWS_MAX, cluster::window_bytes(self.options.codec)),
        }
    }

    fn checked(&self, offsets: Offsets<'_>, rows: usize) -> Result<Vec<i64>> {
        let wrong = |reason: String| ColumnError::Offsets { reason };
        let offsets = match offsets {
            Offsets::Each(offsets) => offsets.to_vec(),
            Offsets::From(first) => {
                let end = first.checked_add(rows as i64).ok_or_else(|| wrong(format!("{rows} rows from {first}")))?;
                (first..end).collect()
            }
        };
        if offsets.len() != rows {
            return Err(wrong(format!("{} for {rows} rows", offsets.len())));
        }
        let before = self.last_offset.unwrap_or(i64::MIN);
        let first = offsets.first().copied().unwrap_or(i64::MAX);
        if (self.last_offset.is_some() && first <= before) || offsets.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(wrong(format!("they do not go up (before: {before}, first: {first})")));
        }
        Ok(offsets)
    }

    fn take(&mut self, columns: &[ArrayRef], offsets: &[i64], from: usize, each: usize) {
        for (pending, column) in self.pending.columns.iter_mut().zip(columns) {
            pending.push(column.slice(from, offsets.len()));
        }
        self.pending.offsets.extend_from_slice(offsets);
        self.pending.bytes += each * offsets.len();
    }

    /// Makes row groups of what is pending.
    fn flush(&mut self) -> Result<()> {
        let count = self.input.fields().len();
        let empty = Pending { columns: vec![Vec::new(); count], ..Pending::default() };
        let pending = std::mem::replace(&mut self.pending, empty);
        if pending.offsets.is_empty() {
            return Ok(());
        }
        let parts = |arrays: &Vec<ArrayRef>| concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let columns = pending.columns.iter().map(parts).collect::<std::result::Result<Vec<_>, _>>()?;
        match self.clustering.as_ref().map(|clustering| clustering.groups(&columns)).transpose()?.flatten() {
            Some(groups) => self.window_of(&columns, &pending.offsets, &groups),
            None => self.in_order(&columns, &pending.offsets),
        }
    }

    /// Row groups of at most [`GROUP_ROWS_MAX`] rows, as the rows came.
    fn in_order(&mut self, columns: &[ArrayRef], offsets: &[i64]) -> Result<()> {
        for (nth, offsets) in offsets.chunks(GROUP_ROWS_MAX).enumerate() {
            let from = nth * GROUP_ROWS_MAX;
            self.groups_of(columns.iter().map(|column| column.slice(from, offsets.len())).collect(), offsets)?;
        }
        Ok(())
    }

    /// A window: row groups of the rows that belong together.
    fn window_of(&mut self, columns: &[ArrayRef], offsets: &[i64], groups: &[UInt32Array]) -> Result<()> {
        for rows in groups {
            let columns = columns.iter().map(|column| take(column, rows, None));
            let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
            let offsets: Vec<i64> = rows.values().iter().map(|row| offsets[*row as usize]).collect();
            self.in_order(&columns, &offsets)?;
        }
        Ok(())
    }

    /// Rows are of uneven size, so the estimate may be off: what is too large is halved until it fits or is one row.
    fn groups_of(&mut self, columns: Vec<ArrayRef>, offsets: &[i64]) -> Result<()> {
        let bytes: usize = columns.iter().map(stored_bytes).sum();
        if bytes > GROUP_BYTES_MAX && offsets.len() > 1 {
            let (head, tail) = offsets.split_at(offsets.len() / 2);
            let part = |from: usize, rows: usize| columns.iter().map(|column| column.slice(from, rows)).collect();
            self.groups_of(part(0, head.len()), head)?;
            return self.groups_of(part(head.len(), tail.len()), tail);
        }
        self.encode_group(columns, offsets)
    }

    fn encode_group(&mut self, mut columns: Vec<ArrayRef>, offsets: &[i64]) -> Result<()> {
        columns.push(Arc::new(Int64Array::from(offsets.to_vec())));
        let mut group = EncodedGroup::new(&self.schema, &columns, offsets);
        for (index, column) in columns.iter().enumerate() {
            let blooms = &self.options.bloom_columns;
            group.measure(&self.layout, self.layout.roots[index], column, blooms)?;
            let mut keyed = None;
            if let Some(builder) = &mut self.dictionaries[index] {
                keyed = builder.add(arrow_array::cast::AsArray::as_string::<i32>(column));
                // After the first row group it is clear whether values repeat; later ones may still overflow.
                if keyed.is_none() || self.groups.is_empty() && !builder.pays() {
                    keyed = None;
                    self.give_up(index)?;
                }
            }
            let raw = self.options.raw_columns.contains(self.schema.field(index).name());
            let encoded = match keyed {
                Some(keys) => group::Column::Keys(Arc::new(keys)),
                None => group::Column::Stored(encode_column(column, &mut self.compressor, raw)?),
            };
            self.stored += encoded.bytes();
            group.columns.push(encoded);
        }
        self.groups.push(group);
        Ok(())
    }

    /// Back to plain strings, also in the row groups that are already made.
    fn give_up(&mut self, column: usize) -> Result<()> {
        let Some(builder) = self.dictionaries[column].take() else { return Ok(()) };
        let raw = self.options.raw_columns.contains(self.schema.field(column).name());
        for group in &mut self.groups {
            if let group::Column::Keys(keys) = &group.columns[column] {
                let plain = builder.expand(keys);
                let stored = group::Column::Stored(encode_column(&plain, &mut self.compressor, raw)?);
                self.stored += stored.bytes().saturating_sub(group.columns[column].bytes());
                group.columns[column] = stored;
            }
        }
        Ok(())
    }

    /// The file. A segment without rows is a valid file too.
    pub fn finish(mut self) -> Result<FinishedSegment> {
        self.flush()?;
        for column in 0..self.dictionaries.len() {
            if self.dictionaries[column].as_ref().is_some_and(|builder| !builder.pays()) {
                self.give_up(column)?;
            }
        }
        let sparse = self.groups.iter().any(|group| !group.info.dense);
        let mut fields: Vec<Field> = self.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        for (field, dictionary) in fields.iter_mut().zip(&self.dictionaries) {
            if dictionary.is_some() {
                field.set_data_type(dictionary_type());
            }
        }
        if self.options.offset_column == OffsetColumn::WhenSparse && !sparse {
            fields.pop();
            self.groups.iter_mut().for_each(EncodedGroup::drop_offsets);
        }
        let schema = Schema::new_with_metadata(fields, self.schema.metadata().clone());
        Assembly::new(schema, self.options.codec, self.options.schema_version)?.finish(self)
    }
}

/// The file as it grows.
struct Assembly {
    schema: Schema,
    layout: Layout,
    codec: Codec,
    chunks: Vec<Bytes>,
    at: u64,
    block: Block,
    /// Bloom filters in the order of the block's; they are written behind the messages.
    filters: Vec<Bytes>,
}

impl Assembly {
    fn new(schema: Schema, codec: Codec, schema_version: i32) -> Result<Assembly> {
        let layout = Layout::of(schema.fields())?;
        let nowhere = MessageAt { offset: 0, header: 0, body: 0, crc: 0 };
        let (dictionaries, groups, batches) = (Vec::new(), Vec::new(), Vec::new());
        let block = Block { codec, schema_version, schema_message: nowhere, dictionaries, groups, batches };
        let mut file = Assembly { schema, layout, codec, chunks: Vec::new(), at: 0, block, filters: Vec::new() };
        file.put(Bytes::from_static(MAGIC));
        file.pad();
        Ok(file)
    }

    fn put(&mut self, bytes: Bytes) {
        self.at += bytes.len() as u64;
        self.chunks.push(bytes);
    }

    fn pad(&mut self) {
        self.put(Bytes::from_static(padding(self.at)));
    }

    fn message(&mut self, header: Bytes, buffers: &[group::Buffer]) -> (MessageAt, Vec<StoredBuffer>) {
        let (offset, length, crc) = (self.at, header.len() as u32, crc32c::crc32c(&header));
        self.put(header);
        let body = self.at;
        let mut stored = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let (length, raw) = (buffer.stored.len() as u32, buffer.raw);
            stored.push(StoredBuffer { offset: self.at, length, raw, crc: crc32c::crc32c(&buffer.stored) });
            self.put(buffer.stored.clone());
            self.pad();
        }
        (MessageAt { offset, header: length, body: self.at - body, crc }, stored)
    }

    fn finish(mut self, mut writer: ColumnSegmentWriter) -> Result<FinishedSegment> {
        self.block.schema_message = self.message(ipc::schema_message(&self.schema), &[]).0;
        let builders: Vec<&DictionaryBuilder> = writer.dictionaries.iter().flatten().collect();
        let names = self.layout.dictionary_columns();
        let names: Vec<String> = names.iter().map(|column| self.schema.field(*column).name().clone()).collect();
        for (id, builder) in builders.into_iter().enumerate() {
            let raw = writer.options.raw_columns.contains(&names[id]);
            let values = builder.values();
            let column = encode_column(&values, &mut writer.compressor, raw)?;
            let header =
                ipc::dictionary_message(id as i64, &shape(values.len(), &column.nodes, &column.buffers), self.codec);
            let (message, buffers) = self.message(header, &column.buffers);
            self.block.dictionaries.push(DictionaryAt { message, rows: values.len() as u32, buffers });
        }
        for group in std::mem::take(&mut writer.groups) {
            self.group(group, &mut writer)?;
        }
        self.block.batches = std::mem::take(&mut writer.batches);
        self.end(names)
    }

    fn group(&mut self, group: EncodedGroup, writer: &mut ColumnSegmentWriter) -> Result<()> {
        let (mut nodes, mut buffers) = (Vec::new(), Vec::new());
        for (index, column) in group.columns.into_iter().enumerate() {
            let raw = writer.options.raw_columns.contains(self.schema.field(index).name());
            let stored = match column {
                group::Column::Stored(stored) => stored,
                group::Column::Keys(keys) => encode_column(&keys, &mut writer.compressor, raw)?,
            };
            nodes.extend(stored.nodes);
            buffers.extend(stored.buffers);
        }
        let header = ipc::batch_message(&shape(group.info.rows as usize, &nodes, &buffers), self.codec);
        let (message, stored) = self.message(header, &buffers);
        let measured = group.bounds.into_iter().zip(&nodes);
        let nodes = measured.map(|(bounds, (rows, nulls))| NodeAt { rows: *rows as u32, nulls: *nulls as u32, bounds });
        let nodes = nodes.collect();
        let blooms = group.blooms.iter().map(|(node, filter)| BloomAt {
            node: *node,
            offset: 0,
            length: filter.len() as u32,
            crc: crc32c::crc32c(filter),
        });
        let blooms = blooms.collect();
        self.filters.extend(group.blooms.into_iter().map(|(_, filter)| filter));
        self.block.groups.push(GroupAt { message, info: group.info, nodes, buffers: stored, blooms });
        Ok(())
    }

    fn end(mut self, dictionaries: Vec<String>) -> Result<FinishedSegment> {
        self.put(Bytes::from_static(&END_OF_STREAM));
        let mut at = self.at;
        for bloom in self.block.groups.iter_mut().flat_map(|group| &mut group.blooms) {
            bloom.offset = at;
            at += padded(u64::from(bloom.length));
        }
        for filter in std::mem::take(&mut self.filters) {
            self.put(filter);
            self.pad();
        }
        let block = self.block.encode(&self.layout);
        let batches: Vec<MessageAt> = self.block.groups.iter().map(|group| group.message).collect();
        let values: Vec<MessageAt> = self.block.dictionaries.iter().map(|dictionary| dictionary.message).collect();
        let footer = ipc::footer(&self.schema, &values, &batches);
        let tail = Tail {
            block: block.len() as u32,
            block_crc: crc32c::crc32c(&block),
            footer: footer.len() as u32,
            footer_crc: crc32c::crc32c(&footer),
        };
        self.put(block);
        self.pad();
        self.put(tail.encode());
        self.put(footer.clone());
        self.put(Bytes::copy_from_slice(&(footer.len() as i32).to_le_bytes()));
        self.put(Bytes::from_static(MAGIC));
        let groups: Vec<GroupInfo> = self.block.groups.into_iter().map(|group| group.info).collect();
        let rows = groups.iter().map(|group| u64::from(group.rows)).sum();
        Ok(FinishedSegment { chunks: self.chunks, length: self.at, rows, groups, dictionaries })
    }
}

fn shape(rows: usize, nodes: &[(u64, u64)], buffers: &[group::Buffer]) -> BatchShape {
    let buffers = buffers.iter().map(|buffer| buffer.stored.len() as u64).collect();
    BatchShape { rows: rows as u64, nodes: nodes.to_vec(), buffers }
}
