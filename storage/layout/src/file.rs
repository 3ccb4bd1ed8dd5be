//! A column file as batches of rows.
use std::any::Any;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, UInt16Type};
use arrow_array::{Array, ArrayRef, BinaryArray, PrimitiveArray};
use bytes::{Bytes, BytesMut};
use weir_column::{ColumnError, ColumnSegmentReader, OFFSET_COLUMN, OriginalBatch, Projection, ReadAt, Window};
use weir_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::batch::{Attributes, BatchHeader, TimestampType, patch_base_offset_and_epoch};
use weir_protocol::records::{BatchBuilder, ControlType, EndTxnMarker};
use weir_storage::disk::DiskFile;
use weir_storage::memory::MemoryBudget;
use weir_storage::segment::{BatchSlice, ColumnFile, ColumnFormat, SectionRead, SegmentError};
use weir_table::codec::json::ShapeSet;
use weir_table::table::{KeptEncoder, KeptRows, KeptWriters};

use crate::batch;
use crate::decoded::{Decoded, Group};
use crate::headers::Headers;
use crate::schema::{HEADERS, KEY, SHAPE_COLUMN, StoredTable, TIMESTAMP, VALUE, form_of, read_shapes, read_writers};

/// Opens column files.
#[derive(Debug)]
pub struct Format {
    decoded: Arc<Decoded>,
    /// Batches are opened anew each time.
    none: Arc<Decoded>,
}

impl Format {
    /// What was decoded last is kept, in the part of the budget that is for caches.
    pub fn new(memory: MemoryBudget) -> Format {
        Format { none: Decoded::none(memory.clone()), decoded: Decoded::new(memory) }
    }
}

impl ColumnFormat for Format {
    fn open(&self, file: Arc<dyn DiskFile>) -> Result<Arc<dyn ColumnFile>, SegmentError> {
        let len = file.len().map_err(|source| SegmentError::Io { source })?;
        let reader = ColumnSegmentReader::open(Arc::new(Source { file, len })).map_err(damaged)?;
        Ok(Arc::new(ColumnSegment::new(reader, self.decoded.clone())?))
    }

    fn open_batch(&self, batch: Bytes) -> Result<Arc<dyn ColumnFile>, SegmentError> {
        Ok(Arc::new(ColumnSegment::new(batch::open(&batch)?, self.none.clone())?))
    }
}

/// The rows of a window in offset order.
struct InOrder {
    groups: Vec<Arc<Group>>,
    /// Of each row its group and its place there; `None`: there is one group.
    places: Option<Vec<(u32, u32)>>,
    /// Of each row; empty if there is one group.
    offsets: Vec<i64>,
}

impl InOrder {
    fn new(groups: Vec<Arc<Group>>) -> InOrder {
        if groups.len() == 1 {
            return InOrder { groups, places: None, offsets: Vec::new() };
        }
        let rows = |(at, group): (usize, &Arc<Group>)| {
            let numbered = group.offsets.clone().into_iter().enumerate();
            numbered.map(move |(row, offset)| (offset, at as u32, row as u32))
        };
        let mut sorted: Vec<(i64, u32, u32)> = groups.iter().enumerate().flat_map(rows).collect();
        sorted.sort_unstable();
        let offsets = sorted.iter().map(|(offset, ..)| *offset).collect();
        let places = Some(sorted.into_iter().map(|(_, group, row)| (group, row)).collect());
        InOrder { groups, places, offsets }
    }

    fn offsets(&self) -> &[i64] {
        match &self.places {
            Some(_) => &self.offsets,
            None => &self.groups[0].offsets,
        }
    }

    fn place(&self, nth: usize) -> (usize, usize) {
        match &self.places {
            Some(places) => (places[nth].0 as usize, places[nth].1 as usize),
            None => (0, nth),
        }
    }
}

/// The window that a read looked at last: its first row group, and its rows.
type Current = Option<(usize, Arc<InOrder>)>;

struct Source {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl ReadAt for Source {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        self.file.read_vec(offset, length).map(Bytes::from)
    }
}

pub(crate) fn damaged(error: ColumnError) -> SegmentError {
    match error {
        ColumnError::Read { source, .. } => SegmentError::Io { source },
        ColumnError::Checksum { offset, .. } => SegmentError::Batch { position: offset, detail: error.to_string() },
        other => SegmentError::Columns { detail: other.to_string() },
    }
}

pub(crate) fn unreadable(error: impl std::fmt::Display) -> SegmentError {
    SegmentError::Columns { detail: error.to_string() }
}

/// An open column file of a partition.
pub struct ColumnSegment {
    reader: Arc<ColumnSegmentReader>,
    table: Option<StoredTable>,
    encoder: Option<KeptEncoder>,
    shapes: ShapeSet,
    writers: KeptWriters,
    decoded: Arc<Decoded>,
    read_bytes: usize,
}

impl ColumnSegment {
    fn new(reader: ColumnSegmentReader, decoded: Arc<Decoded>) -> Result<ColumnSegment, SegmentError> {
        let metadata = reader.schema().metadata().clone();
        let table = StoredTable::read(&metadata)?;
        let shapes = read_shapes(&metadata)?;
        let writers = read_writers(&metadata)?;
        let encoder = match &table {
            None => None,
            Some(table) => Some(KeptEncoder::new(&table.schema, &shapes, &writers).map_err(unreadable)?),
        };
        let batches = reader.original_batches();
        let sound = |batch: &OriginalBatch| batch.base_offset >= 0 && batch.last_offset_delta >= -1;
        let next = |batch: &OriginalBatch| batch.base_offset + i64::from(batch.last_offset_delta) + 1;
        if !batches.iter().all(sound) || batches.windows(2).any(|pair| pair[1].base_offset < next(&pair[0])) {
            return Err(unreadable("its batches are not in order"));
        }
        let windows = reader.windows().iter().filter(|window| !window.is_single());
        let largest = windows.map(|window| window.bytes as usize).max().unwrap_or(0);
        let read_bytes = largest.max(weir_column::GROUP_BYTES_MAX);
        Ok(ColumnSegment { reader: Arc::new(reader), table, encoder, shapes, writers, decoded, read_bytes })
    }

    /// The file's columns.
    pub fn reader(&self) -> &Arc<ColumnSegmentReader> {
        &self.reader
    }

    /// The table whose columns it has; none for a topic that had no table.
    pub fn table(&self) -> Option<&StoredTable> {
        self.table.as_ref()
    }

    /// The shapes that rows name.
    pub(crate) fn shapes(&self) -> &ShapeSet {
        &self.shapes
    }

    /// The writers that rows name.
    pub(crate) fn writers(&self) -> &KeptWriters {
        &self.writers
    }

    /// All columns of a row group with plain types, as the file has them, and the offsets of its rows.
    pub(crate) fn columns(&self, group: usize) -> Result<(Vec<ArrayRef>, Vec<i64>), SegmentError> {
        let schema = self.reader.schema();
        let all: Vec<usize> =
            (0..schema.fields().len()).filter(|at| schema.field(*at).name() != OFFSET_COLUMN).collect();
        let batch = self.reader.read(group, &Projection::columns(&all)).map_err(damaged)?;
        Ok((batch.columns().to_vec(), self.reader.offsets(group).map_err(damaged)?))
    }

    /// Uncompressed bytes that reading a row decodes at most: those of a row group or of a window.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// The bytes of values of a row group, also of those that are made of columns. Rows that are not `wanted` cost nothing and are
    /// null.
    pub fn values(&self, group: usize, wanted: &dyn Fn(usize) -> bool) -> Result<BinaryArray, SegmentError> {
        let group = self.group(group)?;
        let rows = GroupRows::new(self, &group)?;
        let mut values = arrow_array::builder::BinaryBuilder::new();
        let mut text = Vec::new();
        for row in 0..group.offsets.len() {
            match wanted(row) {
                true => values.append_option(rows.value(row, &mut text)?),
                false => values.append_null(),
            }
        }
        Ok(values.finish())
    }

    /// Columns of a row group as they are stored, each in its place, out of those that were decoded before where that can be.
    pub fn stored_columns(&self, group: usize, columns: &[usize]) -> Result<Vec<ArrayRef>, ColumnError> {
        let mut found: Vec<Option<ArrayRef>> =
            columns.iter().map(|column| self.decoded.column(&self.reader, group, *column)).collect();
        let mut missing: Vec<usize> =
            columns.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(c, _)| *c).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let read = self.reader.read_stored(group, &Projection::columns(&missing))?;
            for (column, array) in missing.iter().zip(read.columns()) {
                self.decoded.keep_column(&self.reader, group, *column, array);
                let places = columns.iter().zip(&mut found).filter(|(wanted, _)| *wanted == column);
                places.for_each(|(_, place)| *place = Some(array.clone()));
            }
        }
        // Each was kept before or was missing.
        Ok(found.into_iter().flatten().collect())
    }

    fn group(&self, index: usize) -> Result<Arc<Group>, SegmentError> {
        if let Some(group) = self.decoded.group(&self.reader, index) {
            return Ok(group);
        }
        let batch = self.reader.read(index, &Projection::all(self.reader.schema())).map_err(damaged)?;
        let offsets = self.reader.offsets(index).map_err(damaged)?;
        if offsets.len() != batch.num_rows() || !offsets.is_sorted() {
            return Err(unreadable("the offsets of a row group are not in order"));
        }
        Ok(self.decoded.keep_group(&self.reader, index, Group { batch, offsets }))
    }

    fn in_order(&self, window: &Window) -> Result<InOrder, SegmentError> {
        let groups = window.groups.clone().map(|index| self.group(index)).collect::<Result<_, _>>()?;
        Ok(InOrder::new(groups))
    }

    /// One batch as its producer sent it; `None` if it has no record. `current` is the row group that was looked at last.
    fn batch(&self, original: &OriginalBatch, current: &mut Current) -> Result<Option<Bytes>, SegmentError> {
        let attributes = Attributes::from_bits(original.attributes).map_err(unreadable)?;
        if let Some(marker) = original.marker {
            let marker = EndTxnMarker {
                control_type: if marker.commit { ControlType::Commit } else { ControlType::Abort },
                producer_id: ProducerId(original.producer_id),
                producer_epoch: ProducerEpoch(original.producer_epoch),
                coordinator_epoch: marker.coordinator_epoch,
                timestamp: Timestamp(original.max_timestamp),
            };
            let mut batch = BytesMut::from(marker.to_batch().map_err(unreadable)?);
            let (offset, epoch) = (Offset(original.base_offset), LeaderEpoch(original.leader_epoch));
            patch_base_offset_and_epoch(&mut batch, offset, epoch);
            return Ok(Some(batch.freeze()));
        }
        let mut builder = BatchBuilder::new()
            .base_offset(Offset(original.base_offset))
            .leader_epoch(LeaderEpoch(original.leader_epoch))
            .producer(ProducerId(original.producer_id), ProducerEpoch(original.producer_epoch), original.base_sequence)
            .compression(attributes.compression(), None);
        if attributes.is_transactional() {
            builder = builder.transactional();
        }
        if attributes.timestamp_type() == TimestampType::LogAppendTime {
            builder = builder.log_append_time(Timestamp(original.max_timestamp));
        }
        self.append_rows(original, &mut builder, current)?;
        if builder.is_empty() {
            return Ok(None);
        }
        builder.last_offset_delta(original.last_offset_delta).build().map(Some).map_err(unreadable)
    }

    fn append_rows(
        &self,
        original: &OriginalBatch,
        builder: &mut BatchBuilder,
        current: &mut Current,
    ) -> Result<(), SegmentError> {
        let (base, end) = (original.base_offset, original.base_offset + i64::from(original.last_offset_delta) + 1);
        let mut text = Vec::new();
        let windows = self.reader.windows();
        let windows = &windows[windows.partition_point(|window| window.last_offset < base)..];
        for window in windows.iter().take_while(|window| window.first_offset < end) {
            let first = window.groups.start;
            let rows = match current {
                Some((at, rows)) if *at == first => rows.clone(),
                _ => current.insert((first, Arc::new(self.in_order(window)?))).1.clone(),
            };
            // Opened where a row of theirs is wanted.
            let mut headers = Vec::new();
            let mut opened: Vec<Option<GroupRows<'_>>> = rows.groups.iter().map(|_| None).collect();
            let from = rows.offsets().partition_point(|offset| *offset < base);
            let to = rows.offsets().partition_point(|offset| *offset < end);
            for nth in from..to {
                let delta = (rows.offsets()[nth] - base) as i32; // within last_offset_delta
                let (group, row) = rows.place(nth);
                let rows = match &mut opened[group] {
                    Some(rows) => rows,
                    closed => closed.insert(GroupRows::new(self, &rows.groups[group])?),
                };
                rows.headers.row(row, &mut headers);
                let key = rows.keys.is_valid(row).then(|| rows.keys.value(row));
                let value = rows.value(row, &mut text)?;
                let timestamp = Timestamp(rows.timestamps.value(row));
                builder.append_at(delta, key, value, &headers, timestamp).map_err(unreadable)?;
            }
        }
        Ok(())
    }
}

/// The columns of a row group that make records.
struct GroupRows<'a> {
    keys: &'a BinaryArray,
    values: &'a BinaryArray,
    timestamps: &'a PrimitiveArray<TimestampMillisecondType>,
    headers: Headers<'a>,
    shaped: Option<(&'a PrimitiveArray<UInt16Type>, KeptRows<'a>)>,
}

impl<'a> GroupRows<'a> {
    fn new(segment: &'a ColumnSegment, group: &'a Group) -> Result<GroupRows<'a>, SegmentError> {
        let batch = &group.batch;
        // The last of a name: a user's column cannot be called like one of these, but comes first.
        let column = |name: &str| {
            let found = batch.schema_ref().fields().iter().rposition(|field| field.name() == name);
            found.map(|at| batch.column(at)).ok_or_else(|| unreadable(format!("there is no column {name}")))
        };
        let wrong = |name: &str| unreadable(format!("column {name} is of another type"));
        let shaped = match &segment.encoder {
            None => None,
            Some(encoder) => {
                let shapes = column(SHAPE_COLUMN)?.as_primitive_opt().ok_or_else(|| wrong(SHAPE_COLUMN))?;
                Some((shapes, encoder.rows(batch).map_err(unreadable)?))
            }
        };
        Ok(GroupRows {
            keys: column(KEY)?.as_binary_opt().ok_or_else(|| wrong(KEY))?,
            values: column(VALUE)?.as_binary_opt().ok_or_else(|| wrong(VALUE))?,
            timestamps: column(TIMESTAMP)?.as_primitive_opt().ok_or_else(|| wrong(TIMESTAMP))?,
            headers: Headers::of(column(HEADERS)?)?,
            shaped,
        })
    }

    /// The bytes of a value; `text` is where they are written if they are made of columns.
    fn value<'t>(&'t self, row: usize, text: &'t mut Vec<u8>) -> Result<Option<&'t [u8]>, SegmentError> {
        if let Some((shapes, rows)) = &self.shaped
            && shapes.is_valid(row)
        {
            text.clear();
            rows.write(row, form_of(shapes.value(row)), text).map_err(unreadable)?;
            return Ok(Some(text));
        }
        Ok(self.values.is_valid(row).then(|| self.values.value(row)))
    }
}

impl ColumnFile for ColumnSegment {
    fn read_admitted(
        &self,
        offset: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<SectionRead, SegmentError> {
        let batches = self.reader.original_batches();
        let first = batches.partition_point(|b| b.base_offset + i64::from(b.last_offset_delta) < offset.0);
        let mut found: Option<(BytesMut, BatchHeader, BatchHeader)> = None;
        let mut admitted = 0;
        let mut current = None;
        for original in &batches[first..] {
            if original.base_offset >= end.0 {
                break;
            }
            let held = found.as_ref().map_or(0, |(bytes, ..)| bytes.len());
            // What is decoded for a batch is a row group, or window, or two at a time.
            let wanted = (held + 2 * self.read_bytes()).max(max_bytes.min(1 << 20));
            if wanted > admitted {
                if !admit(wanted) {
                    break;
                }
                admitted = wanted;
            }
            let Some(batch) = self.batch(original, &mut current)? else { continue };
            let fits = held + batch.len() <= max_bytes || (found.is_none() && at_least_one);
            if !fits {
                break;
            }
            let header = BatchHeader::parse(&batch).map_err(unreadable)?;
            match &mut found {
                None => found = Some((BytesMut::from(batch), header, header)),
                Some((bytes, _, last)) => {
                    bytes.extend_from_slice(&batch);
                    *last = header;
                }
            }
            if found.as_ref().is_some_and(|(bytes, ..)| bytes.len() >= max_bytes) {
                break;
            }
        }
        Ok(match found {
            Some((bytes, first, last)) => SectionRead::Slice(BatchSlice { bytes: bytes.freeze(), first, last }),
            None if batches.get(first).is_none_or(|b| self.rest_is_empty(b, end)) => SectionRead::NothingLeft,
            None => SectionRead::Stop,
        })
    }

    fn seek_timestamp(&self, timestamp: Timestamp) -> Option<Offset> {
        let batches = self.reader.original_batches();
        batches.iter().find(|batch| batch.max_timestamp >= timestamp.0).map(|batch| Offset(batch.base_offset))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl ColumnSegment {
    /// From this batch on there is no record (what is compacted leaves such batches).
    fn rest_is_empty(&self, from: &OriginalBatch, end: Offset) -> bool {
        let batches = self.reader.original_batches();
        let rest = batches.iter().skip_while(|batch| batch.base_offset < from.base_offset);
        from.base_offset < end.0 && rest.into_iter().all(|batch| batch.records == 0 && batch.marker.is_none())
    }
}
