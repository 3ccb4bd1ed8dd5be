//! Files into fewer files: rows one after the other, or of each key the last change. Pure, in memory.
use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type};
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_row::{RowConverter, Rows};
use arrow_schema::{ArrowError, FieldRef, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use weir_storage::cpu::breathe;

use crate::columns::field_id;
use crate::encode::{EncodeError, EncodedFile, FileWriter};
use crate::target::paimon::fold::KeyedWriter;
use crate::target::paimon::key::{DELETE, KeyShape};

const BATCH_ROWS: usize = 8 << 10;

/// How large files become.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Rows of a file at the most.
    pub rows: u64,
}

/// Rows of these files, one file after the other.
///
/// # Errors
/// [`EncodeError`].
pub fn append(columns: &SchemaRef, files: Vec<Bytes>) -> Result<EncodedFile, EncodeError> {
    let mut writer = FileWriter::new(columns)?;
    for file in files {
        for batch in reader(file)? {
            writer.write(&with_columns(&batch?, columns)?)?;
            breathe();
        }
    }
    writer.finish(Vec::new())
}

fn reader(file: Bytes) -> Result<ParquetRecordBatchReader, EncodeError> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS).build()?)
}

/// A batch in other columns, found by their ids: what it lacks is null, other types are cast.
fn with_columns(batch: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let own = batch.schema();
    let column = |wanted: &FieldRef| -> Result<ArrayRef, ArrowError> {
        let place = own.fields().iter().position(|field| field_id(field) == field_id(wanted));
        match place.map(|place| batch.column(place)) {
            None => Ok(new_null_array(wanted.data_type(), batch.num_rows())),
            Some(column) if column.data_type() == wanted.data_type() => Ok(column.clone()),
            Some(column) => cast_with_options(column, wanted.data_type(), &options),
        }
    };
    RecordBatch::try_new(columns.clone(), columns.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?)
}

/// A sorted run that is being read.
struct Cursor {
    files: std::vec::IntoIter<Bytes>,
    reader: Option<ParquetRecordBatchReader>,
    batch: RecordBatch,
    keys: Rows,
    row: usize,
    /// Place of the batch among those that output rows are taken from, and for which flush.
    place: Option<(u64, usize)>,
}

impl Cursor {
    /// The next batch with rows; false: there is none.
    fn load(&mut self, shape: &KeyShape, converter: &RowConverter) -> Result<bool, EncodeError> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                let batch = with_columns(&batch?, &shape.schema)?;
                if batch.num_rows() > 0 {
                    self.keys = converter.convert_columns(&batch.columns()[..shape.width()])?;
                    (self.batch, self.row, self.place) = (batch, 0, None);
                    return Ok(true);
                }
                continue;
            }
            match self.files.next() {
                Some(file) => self.reader = Some(reader(file)?),
                None => return Ok(false),
            }
        }
    }

    fn sequence(&self, shape: &KeyShape) -> i64 {
        self.batch.column(shape.width()).as_primitive::<Int64Type>().value(self.row)
    }

    fn is_delete(&self, shape: &KeyShape) -> bool {
        self.batch.column(shape.width() + 1).as_primitive::<Int8Type>().value(self.row) == DELETE
    }
}

/// Of each key in these runs, whose files are in the order of their keys, the change with the greatest sequence number. `last`: a
/// change that deletes its key is left out.
///
/// # Errors
/// [`EncodeError`].
pub fn merge(
    shape: &Arc<KeyShape>,
    bucket: i32,
    runs: Vec<Vec<Bytes>>,
    last: bool,
    output: Output,
) -> Result<Vec<EncodedFile>, EncodeError> {
    let converter = shape.converter()?;
    let mut cursors = Vec::new();
    for files in runs {
        let (batch, keys) = (RecordBatch::new_empty(shape.schema.clone()), converter.empty_rows(0, 0));
        let mut cursor = Cursor { files: files.into_iter(), reader: None, batch, keys, row: 0, place: None };
        if cursor.load(shape, &converter)? {
            cursors.push(cursor);
        }
    }
    let mut merged = Merged {
        shape: shape.clone(),
        bucket,
        output,
        batches: Vec::new(),
        rows: Vec::new(),
        flushes: 0,
        writer: None,
        files: Vec::new(),
    };
    while !cursors.is_empty() {
        let first = least(&cursors, shape);
        let key = cursors[first].keys.row(cursors[first].row).owned();
        if !(last && cursors[first].is_delete(shape)) {
            merged.take(&mut cursors[first])?;
        }
        // Older changes of the key are passed over; so a run ends only here.
        let mut at = 0;
        while at < cursors.len() {
            let cursor = &mut cursors[at];
            if cursor.keys.row(cursor.row) == key.row() {
                cursor.row += 1;
                if cursor.row == cursor.batch.num_rows() && !cursor.load(shape, &converter)? {
                    cursors.swap_remove(at);
                    continue;
                }
            }
            at += 1;
        }
    }
    merged.finish()
}

/// The run with the least key; of several the one with the newest change of it.
fn least(cursors: &[Cursor], shape: &KeyShape) -> usize {
    let order = |a: &usize, b: &usize| -> Ordering {
        let (a, b) = (&cursors[*a], &cursors[*b]);
        let keys = a.keys.row(a.row).cmp(&b.keys.row(b.row));
        keys.then_with(|| b.sequence(shape).cmp(&a.sequence(shape)))
    };
    (0..cursors.len()).min_by(order).unwrap_or(0)
}

/// Rows that were chosen, on their way into files.
struct Merged {
    shape: Arc<KeyShape>,
    bucket: i32,
    output: Output,
    batches: Vec<RecordBatch>,
    /// Batch and row.
    rows: Vec<(usize, usize)>,
    flushes: u64,
    writer: Option<KeyedWriter>,
    files: Vec<EncodedFile>,
}

impl Merged {
    fn take(&mut self, cursor: &mut Cursor) -> Result<(), EncodeError> {
        let place = match cursor.place {
            Some((flush, place)) if flush == self.flushes => place,
            _ => {
                self.batches.push(cursor.batch.clone());
                self.batches.len() - 1
            }
        };
        cursor.place = Some((self.flushes, place));
        self.rows.push((place, cursor.row));
        if self.rows.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), EncodeError> {
        breathe();
        if self.rows.is_empty() {
            return Ok(());
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = interleave_record_batch(&batches, &self.rows)?;
        self.rows.clear();
        self.batches.clear();
        self.flushes += 1;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => KeyedWriter::new(self.shape.clone(), self.bucket)?,
        };
        writer.write(&rows)?;
        match writer.rows() >= self.output.rows {
            true => self.files.push(writer.finish(Vec::new())?),
            false => self.writer = Some(writer),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<EncodedFile>, EncodeError> {
        self.flush()?;
        if let Some(writer) = self.writer.take() {
            self.files.push(writer.finish(Vec::new())?);
        }
        Ok(self.files)
    }
}
