//! The rows of a round as files of a table with a primary key: of each key the last change, in the order of keys, a file for each
//! bucket. Pure.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type};
use arrow_array::{ArrayRef, Int8Array, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::{take, take_record_batch};
use weir_storage::cpu::breathe;

use super::binary_row::stored;
use super::key::{DELETE, KeyShape, UPSERT, cells};
use crate::encode::{EncodeError, EncodedFile, FileWriter, KeyedFile};
use crate::partitioning::PartitionValue;

/// Rows looked at between two looks at whether somebody more urgent waits.
const SLICE_ROWS: usize = 8 << 10;

/// The files of a partition's changes, which come in their order with [`crate::columns::DELETED`] last; the first of them gets
/// sequence number `first`. Returns the next number too.
///
/// # Errors
/// [`EncodeError`].
pub fn fold(
    shape: &Arc<KeyShape>,
    values: Vec<PartitionValue>,
    batches: &[RecordBatch],
    first: i64,
) -> Result<(Vec<EncodedFile>, i64), EncodeError> {
    let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok((Vec::new(), first)) };
    let changes = concat_batches(&schema, batches)?;
    let mut files = Vec::new();
    for (bucket, rows) in last_of_each_key(shape, &changes)? {
        let rows = UInt32Array::from(rows);
        let mut writer = KeyedWriter::new(shape.clone(), bucket)?;
        writer.write(&data(shape, &changes, &rows, first)?)?;
        files.push(writer.finish(values.clone())?);
    }
    Ok((files, first.saturating_add(changes.num_rows() as i64)))
}

/// Rows by bucket, in the order of their keys.
fn last_of_each_key(shape: &KeyShape, changes: &RecordBatch) -> Result<BTreeMap<i32, Vec<u32>>, ArrowError> {
    let columns = shape.of_rows(changes);
    let keys = shape.converter()?.convert_columns(&columns)?;
    let mut last = HashMap::with_capacity(changes.num_rows());
    for (row, key) in keys.iter().enumerate() {
        last.insert(key, row);
        if row % SLICE_ROWS == 0 {
            breathe();
        }
    }
    let mut buckets: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for (at, row) in last.into_values().enumerate() {
        buckets.entry(shape.bucket(&cells(&columns, row))).or_default().push(row as u32);
        if at % SLICE_ROWS == 0 {
            breathe();
        }
    }
    for rows in buckets.values_mut() {
        rows.sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    }
    Ok(buckets)
}

/// These changes as data files have them.
fn data(shape: &KeyShape, changes: &RecordBatch, rows: &UInt32Array, first: i64) -> Result<RecordBatch, ArrowError> {
    let last = changes.num_columns() - 1;
    let deleted = take(changes.column(last), rows, None)?;
    let deleted = deleted.as_boolean();
    let kinds: Int8Array = (0..rows.len()).map(|at| Some(if deleted.value(at) { DELETE } else { UPSERT })).collect();
    let numbers: Int64Array = rows.values().iter().map(|row| Some(first + i64::from(*row))).collect();
    let columns = take_record_batch(&changes.project(&(0..last).collect::<Vec<_>>())?, rows)?;
    let mut all: Vec<ArrayRef> = shape.of_rows(&columns);
    all.push(Arc::new(numbers));
    all.push(Arc::new(kinds));
    all.extend(columns.columns().iter().cloned());
    RecordBatch::try_new(shape.schema.clone(), all)
}

/// A file that is being written: rows that have the columns of data files, in the order of their keys, one of each.
pub struct KeyedWriter {
    shape: Arc<KeyShape>,
    file: FileWriter,
    bucket: i32,
    first: Option<Vec<u8>>,
    last: Vec<u8>,
    sequence: Option<(i64, i64)>,
    deletes: u64,
}

impl KeyedWriter {
    /// # Errors
    /// [`EncodeError`].
    pub fn new(shape: Arc<KeyShape>, bucket: i32) -> Result<KeyedWriter, EncodeError> {
        let file = FileWriter::new(&shape.schema)?;
        Ok(KeyedWriter { shape, file, bucket, first: None, last: Vec::new(), sequence: None, deletes: 0 })
    }

    /// Adds rows, whose keys are greater than all before.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError> {
        let Some(last) = rows.num_rows().checked_sub(1) else { return Ok(()) };
        let width = self.shape.width();
        let key = &rows.columns()[..width];
        self.first.get_or_insert_with(|| stored(&cells(key, 0)));
        self.last = stored(&cells(key, last));
        for number in rows.column(width).as_primitive::<Int64Type>().values() {
            let (least, greatest) = self.sequence.unwrap_or((*number, *number));
            self.sequence = Some((least.min(*number), greatest.max(*number)));
        }
        let kinds = rows.column(width + 1).as_primitive::<Int8Type>();
        self.deletes += kinds.values().iter().filter(|kind| **kind == DELETE).count() as u64;
        self.file.write(rows)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.file.rows()
    }

    /// The file, of this partition; it has at least one row.
    pub fn finish(self, values: Vec<PartitionValue>) -> Result<EncodedFile, EncodeError> {
        let keyed = KeyedFile {
            bucket: self.bucket,
            keys: (self.first.unwrap_or_default(), self.last),
            sequence: self.sequence.unwrap_or_default(),
            deletes: self.deletes,
        };
        Ok(EncodedFile { keyed: Some(keyed), ..self.file.finish(values)? })
    }
}
