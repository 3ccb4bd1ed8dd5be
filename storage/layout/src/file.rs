//! A column file as batches of rows.
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, UInt16Type};
use arrow_array::{Array, BinaryArray, PrimitiveArray, RecordBatch};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use weir_column::{ColumnError, ColumnSegmentReader, OriginalBatch, Projection, ReadAt};
use weir_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::batch::{Attributes, BatchHeader, TimestampType, patch_base_offset_and_epoch};
use weir_protocol::records::{BatchBuilder, ControlType, EndTxnMarker};
use weir_storage::disk::DiskFile;
use weir_storage::memory::{MemoryBudget, Reservation, Share};
use weir_storage::segment::{BatchSlice, ColumnFile, ColumnFormat, SectionRead, SegmentError};
use weir_table::table::{KeptEncoder, KeptRows};

use crate::headers::Headers;
use crate::schema::{HEADERS, KEY, SHAPE_COLUMN, StoredTable, TIMESTAMP, VALUE, form_of, read_shapes, read_writers};

/// Row groups that are kept as arrays: a plain consumer takes several fetches to read one.
const GROUPS_KEPT: usize = 8;

/// Opens column files.
#[derive(Debug)]
pub struct Format {
    groups: Arc<Groups>,
}

impl Format {
    /// Decoded row groups that are kept draw on [`Share::Decode`]; where that has nothing left they are not kept.
    pub fn new(memory: MemoryBudget) -> Format {
        Format { groups: Arc::new(Groups { memory, kept: Mutex::new(VecDeque::new()) }) }
    }
}

impl ColumnFormat for Format {
    fn open(&self, file: Arc<dyn DiskFile>) -> Result<Arc<dyn ColumnFile>, SegmentError> {
        let len = file.len().map_err(|source| SegmentError::Io { source })?;
        let reader = ColumnSegmentReader::open(Arc::new(Source { file, len })).map_err(damaged)?;
        Ok(Arc::new(ColumnSegment::new(reader, self.groups.clone())?))
    }
}

/// A row group as arrays.
struct Group {
    batch: RecordBatch,
    offsets: Vec<i64>,
    /// `None`: nothing is kept of it.
    _memory: Option<Reservation>,
}

/// The row group that a read looked at last, and its number.
type Current = Option<(usize, Arc<Group>)>;

/// A row group, of which file, and its number.
type Kept = (Weak<ColumnSegmentReader>, usize, Arc<Group>);

#[derive(Debug)]
struct Groups {
    memory: MemoryBudget,
    kept: Mutex<VecDeque<Kept>>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({} rows)", self.offsets.len())
    }
}

impl Groups {
    fn get(&self, reader: &Arc<ColumnSegmentReader>, index: usize) -> Option<Arc<Group>> {
        let kept = self.kept.lock();
        let found = kept.iter().find(|(of, at, _)| *at == index && std::ptr::eq(of.as_ptr(), Arc::as_ptr(reader)));
        found.map(|(.., group)| group.clone())
    }

    fn keep(&self, reader: &Arc<ColumnSegmentReader>, index: usize, mut group: Group) -> Arc<Group> {
        let Some(memory) = self.memory.try_reserve(Share::Decode, group.batch.get_array_memory_size()) else {
            return Arc::new(group);
        };
        group._memory = Some(memory);
        let group = Arc::new(group);
        let mut kept = self.kept.lock();
        kept.retain(|(of, ..)| of.strong_count() > 0);
        if kept.len() >= GROUPS_KEPT {
            kept.pop_front();
        }
        kept.push_back((Arc::downgrade(reader), index, group.clone()));
        group
    }
}

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

fn damaged(error: ColumnError) -> SegmentError {
    match error {
        ColumnError::Read { source, .. } => SegmentError::Io { source },
        ColumnError::Checksum { offset, .. } => SegmentError::Batch { position: offset, detail: error.to_string() },
        other => SegmentError::Columns { detail: other.to_string() },
    }
}

fn unreadable(error: impl std::fmt::Display) -> SegmentError {
    SegmentError::Columns { detail: error.to_string() }
}

/// An open column file of a partition.
pub struct ColumnSegment {
    reader: Arc<ColumnSegmentReader>,
    table: Option<StoredTable>,
    encoder: Option<KeptEncoder>,
    groups: Arc<Groups>,
}

impl ColumnSegment {
    fn new(reader: ColumnSegmentReader, groups: Arc<Groups>) -> Result<ColumnSegment, SegmentError> {
        let metadata = reader.schema().metadata().clone();
        let table = StoredTable::read(&metadata)?;
        let encoder = match &table {
            None => None,
            Some(table) => {
                let shapes = read_shapes(&metadata)?;
                let writers = read_writers(&metadata)?;
                Some(KeptEncoder::new(&table.schema, &shapes, &writers).map_err(unreadable)?)
            }
        };
        let batches = reader.original_batches();
        let sound = |batch: &OriginalBatch| batch.base_offset >= 0 && batch.last_offset_delta >= -1;
        let next = |batch: &OriginalBatch| batch.base_offset + i64::from(batch.last_offset_delta) + 1;
        if !batches.iter().all(sound) || batches.windows(2).any(|pair| pair[1].base_offset < next(&pair[0])) {
            return Err(unreadable("its batches are not in order"));
        }
        Ok(ColumnSegment { reader: Arc::new(reader), table, encoder, groups })
    }

    /// The file's columns.
    pub fn reader(&self) -> &Arc<ColumnSegmentReader> {
        &self.reader
    }

    /// The table whose columns it has; none for a topic that had no table.
    pub fn table(&self) -> Option<&StoredTable> {
        self.table.as_ref()
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

    fn group(&self, index: usize) -> Result<Arc<Group>, SegmentError> {
        if let Some(group) = self.groups.get(&self.reader, index) {
            return Ok(group);
        }
        let batch = self.reader.read(index, &Projection::all(self.reader.schema())).map_err(damaged)?;
        let offsets = self.reader.offsets(index).map_err(damaged)?;
        Ok(self.groups.keep(&self.reader, index, Group { batch, offsets, _memory: None }))
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
        let groups = self.reader.groups().enumerate();
        for (index, _) in groups.skip_while(|(_, g)| g.last_offset < base).take_while(|(_, g)| g.first_offset < end) {
            let group = match current {
                Some((at, group)) if *at == index => group.clone(),
                _ => current.insert((index, self.group(index)?)).1.clone(),
            };
            let mut headers = Vec::new();
            let rows = GroupRows::new(self, &group)?;
            let from = group.offsets.partition_point(|offset| *offset < base);
            let to = group.offsets.partition_point(|offset| *offset < end);
            for row in from..to {
                let delta = (group.offsets[row] - base) as i32; // within last_offset_delta
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
            // What is decoded for a batch is a row group or two at a time.
            let wanted = (held + 2 * weir_column::GROUP_BYTES_MAX).max(max_bytes.min(1 << 20));
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
