//! Batches into a column file.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, UInt16Builder};
use arrow_array::{ArrayRef, RecordBatch, TimestampMillisecondArray, UInt16Array};
use bytes::Bytes;
use weir_column::{Codec, ColumnError, ColumnSegmentWriter, EndMarker, Offsets, OriginalBatch, Window, WriterOptions};
use weir_protocol::ids::{LeaderEpoch, Offset};
use weir_protocol::records::batch::BatchHeader;
use weir_protocol::records::{ControlType, DecompressLimits, EndTxnMarker, Record, decode};
use weir_storage::cpu::breathe;
use weir_storage::segment::{ColumnEncoder, ColumnFile, ColumnLayout, EncodeError, KeptColumns};
use weir_table::codec::RowForm;
use weir_table::codec::json::ShapeId;
use weir_table::table::{RowDecoder, Table};

use crate::file::ColumnSegment;
use crate::headers::HeadersBuilder;
use crate::kept::{ClosedRun, Slot, renumbered};
use crate::schema::{SHAPES_METADATA, WRITERS_METADATA, form_number, form_of, stored_schema};

/// Rows and bytes that are gathered before they go to the file's writer.
const ROWS_PER_STEP: usize = 4096;
const BYTES_PER_STEP: usize = 1 << 20;

/// How one topic's rows become columns.
#[derive(Debug)]
pub struct TopicLayout {
    table: Option<Arc<Table>>,
    codec: Codec,
    cluster_by: Vec<String>,
    cluster_rows_min: Option<usize>,
    bloom_columns: BTreeSet<String>,
    raw_columns: BTreeSet<String>,
}

impl TopicLayout {
    /// Without a table a value is one column of bytes.
    pub fn new(table: Option<Arc<Table>>, codec: Codec) -> TopicLayout {
        let (bloom_columns, raw_columns) = (BTreeSet::new(), BTreeSet::new());
        TopicLayout { table, codec, cluster_by: Vec::new(), cluster_rows_min: None, bloom_columns, raw_columns }
    }

    /// Groups rows by the values of these columns of the table. Those that it does not have are left out.
    #[must_use]
    pub fn clustered_by(mut self, columns: &[String]) -> TopicLayout {
        self.cluster_by = self.known(columns).cloned().collect();
        self
    }

    /// Row groups get a Bloom filter of each of these columns, so that a reader of one value need not open those without it.
    /// Columns that the table does not have are left out.
    #[must_use]
    pub fn with_bloom_filters(mut self, columns: &[String]) -> TopicLayout {
        self.bloom_columns = self.known(columns).cloned().collect();
        self
    }

    /// These columns are stored as they are, whatever the codec. Columns that the table does not have are left out.
    #[must_use]
    pub fn with_uncompressed(mut self, columns: &[String]) -> TopicLayout {
        self.raw_columns = self.known(columns).cloned().collect();
        self
    }

    fn known<'a>(&self, columns: &'a [String]) -> impl Iterator<Item = &'a String> {
        let schema = self.table.as_ref().map(|table| table.current().clone());
        columns.iter().filter(move |column| schema.as_ref().is_some_and(|schema| schema.column(column).is_some()))
    }

    /// Rows of such a group at least, instead of what has shown to pay.
    #[must_use]
    pub fn with_cluster_rows_min(self, rows: usize) -> TopicLayout {
        TopicLayout { cluster_rows_min: Some(rows), ..self }
    }
}

impl ColumnLayout for TopicLayout {
    fn working_bytes(&self) -> usize {
        // Rows that are being made into columns, their row group and what compresses it; a window as it was gathered and as
        // it is put together.
        let window = if self.cluster_by.is_empty() { 0 } else { 2 * weir_column::WINDOW_BYTES_MAX };
        (24 << 20) + window
    }

    fn encoder(&self) -> Result<Box<dyn ColumnEncoder>, EncodeError> {
        let values = self.table.as_ref().map(Values::new);
        let schema = stored_schema(values.as_ref().map(|values| &**values.decoder.schema()))?;
        let schema_version = self.table.as_ref().map_or(0, |table| table.current().version);
        let cluster_by = self.cluster_by.clone();
        let (bloom_columns, raw_columns) = (self.bloom_columns.clone(), self.raw_columns.clone());
        let codec = self.codec;
        let mut options =
            WriterOptions { codec, schema_version, cluster_by, bloom_columns, raw_columns, ..WriterOptions::default() };
        if let Some(rows) = self.cluster_rows_min {
            options.cluster_rows_min = rows;
        }
        let writer = ColumnSegmentWriter::new(&schema, options).map_err(failed)?;
        Ok(Box::new(Encoder { writer, table: self.table.clone(), values, rows: Rows::default(), kept: None }))
    }
}

pub(crate) fn failed(error: ColumnError) -> EncodeError {
    EncodeError { reason: error.to_string() }
}

pub(crate) fn refused(reason: impl std::fmt::Display) -> EncodeError {
    EncodeError { reason: reason.to_string() }
}

struct Encoder {
    writer: ColumnSegmentWriter,
    table: Option<Arc<Table>>,
    /// `None` for topics without a table.
    values: Option<Values>,
    rows: Rows,
    /// Kept rows that go to the writer together. Either these or `rows` are empty.
    kept: Option<KeptRows>,
}

/// Rows of one run behind each other.
struct KeptRows {
    run: Arc<ClosedRun>,
    /// The run's, as shapes are numbered in this file.
    forms: ArrayRef,
    from: usize,
    offsets: Vec<i64>,
}

/// Values on their way to columns.
struct Values {
    decoder: RowDecoder,
    forms: UInt16Builder,
}

impl Values {
    fn new(table: &Arc<Table>) -> Values {
        Values { decoder: table.keeper(), forms: UInt16Builder::new() }
    }

    /// Whether the columns say all of the value; otherwise its bytes are to be kept. A record that does not fit the table is a
    /// row of nulls: it was refused or let in when it was produced, and a log forgets nothing.
    fn append(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        let form = match self.decoder.push(key, value) {
            Ok(()) => form_number(self.decoder.form()),
            Err(_) => {
                self.decoder.push_null_row();
                None
            }
        };
        self.forms.append_option(form);
        form.is_some()
    }
}

/// What Kafka knows of the gathered records.
#[derive(Default)]
pub(crate) struct Rows {
    pub offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: BinaryBuilder,
    headers: HeadersBuilder,
    values: BinaryBuilder,
    /// About.
    pub bytes: usize,
}

impl Rows {
    /// `value`: the bytes that columns do not say.
    pub fn push(&mut self, header: &BatchHeader, record: &Record<'_>, value: Option<&[u8]>) -> Result<(), EncodeError> {
        self.headers.append(record)?;
        self.offsets.push(record.offset(header).0);
        self.timestamps.push(record.timestamp(header).0);
        self.keys.append_option(record.key);
        self.values.append_option(value);
        self.bytes += record.raw.len();
        Ok(())
    }

    /// Puts the columns of the log behind those of the table, and begins anew, offsets apart. Returns the place of the column of
    /// forms.
    pub fn columns_onto(&mut self, columns: &mut Vec<ArrayRef>, forms: Option<UInt16Array>) -> usize {
        let timestamps = std::mem::take(&mut self.timestamps);
        columns.push(Arc::new(TimestampMillisecondArray::from(timestamps).with_timezone("UTC")));
        columns.push(Arc::new(self.keys.finish()));
        columns.push(self.headers.finish());
        let place = columns.len();
        columns.extend(forms.map(|forms| Arc::new(forms) as ArrayRef));
        columns.push(Arc::new(self.values.finish()));
        self.bytes = 0;
        place
    }
}

impl Encoder {
    fn record(&mut self, header: &BatchHeader, record: &Record<'_>) -> Result<(), EncodeError> {
        let in_columns = self.values.as_mut().is_some_and(|values| values.append(record.key, record.value));
        self.rows.push(header, record, if in_columns { None } else { record.value })?;
        if self.rows.offsets.len() >= ROWS_PER_STEP || self.rows.bytes >= BYTES_PER_STEP {
            self.step()?;
        }
        Ok(())
    }

    /// What was gathered goes to the writer.
    fn step(&mut self) -> Result<(), EncodeError> {
        if self.rows.offsets.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut forms = None;
        if let Some(values) = &mut self.values {
            columns.extend(values.decoder.finish().map_err(refused)?.columns().iter().cloned());
            forms = Some(values.forms.finish());
        }
        self.rows.columns_onto(&mut columns, forms);
        let offsets = std::mem::take(&mut self.rows.offsets);
        self.write(columns, &offsets)
    }

    /// Kept rows that wait go to the writer.
    fn step_kept(&mut self) -> Result<(), EncodeError> {
        let Some(KeptRows { run, forms, from, offsets }) = self.kept.take() else { return Ok(()) };
        let mut columns: Vec<ArrayRef> = run.columns.iter().map(|column| column.slice(from, offsets.len())).collect();
        columns[run.forms] = forms.slice(from, offsets.len());
        self.write(columns, &offsets)
    }

    /// Where rows of `run` wait that end in front of its row `from`, or could begin there. `None`: its shapes have no place in
    /// this file.
    fn kept_rows(&mut self, run: Arc<ClosedRun>, from: usize) -> Result<Option<&mut KeptRows>, EncodeError> {
        let same = self.kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.run, &run));
        let forms = same.map(|kept| kept.forms.clone());
        if same.is_none_or(|kept| kept.from + kept.offsets.len() != from) {
            self.step_kept()?;
            let forms = forms.or_else(|| {
                let ids = self.values.as_mut()?.decoder.absorb_shapes(&run.shapes)?;
                renumbered(&run.columns[run.forms], &ids)
            });
            let Some(forms) = forms else { return Ok(None) };
            // What came before comes first.
            self.step()?;
            self.kept = Some(KeptRows { run, forms, from, offsets: Vec::new() });
        }
        Ok(self.kept.as_mut())
    }

    fn write(&mut self, columns: Vec<ArrayRef>, offsets: &[i64]) -> Result<(), EncodeError> {
        let batch = RecordBatch::try_new(self.writer.batch_schema().clone(), columns).map_err(refused)?;
        self.writer.write(&batch, Offsets::Each(offsets)).map_err(failed)
    }

    fn original(&mut self, header: &BatchHeader, marker: Option<EndMarker>) {
        self.writer.add_original_batch(OriginalBatch {
            base_offset: header.base_offset.0,
            last_offset_delta: header.last_offset_delta,
            records: header.record_count,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            attributes: header.attributes.bits(),
            leader_epoch: header.leader_epoch.0,
            max_timestamp: header.max_timestamp,
            marker,
        });
    }
}

impl ColumnEncoder for Encoder {
    fn append(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<(), EncodeError> {
        self.step_kept()?;
        // The batch was opened when it was produced, within the same bounds.
        let decoded = decode(batch, &DecompressLimits::default()).map_err(refused)?;
        let mut marker = None;
        if header.attributes.is_control() {
            marker = Some(marker_of(decoded.records().next())?);
        } else {
            for record in decoded.records() {
                self.record(header, &record.map_err(refused)?)?;
            }
        }
        self.original(header, marker);
        Ok(())
    }

    fn append_kept(&mut self, kept: &KeptColumns, base: Offset, epoch: LeaderEpoch) -> Result<bool, EncodeError> {
        let Some(slot) = kept.0.downcast_ref::<Slot>() else { return Ok(false) };
        // The topic's table may be another one by now.
        if !self.table.as_ref().is_some_and(|table| Arc::ptr_eq(table, &slot.run.table)) {
            return Ok(false);
        }
        let Some(run) = slot.run.columns() else { return Ok(false) };
        let Some(kept) = self.kept_rows(run, slot.from)? else { return Ok(false) };
        match &slot.deltas {
            None => kept.offsets.extend(base.0..base.0 + slot.rows as i64),
            Some(deltas) => kept.offsets.extend(deltas.iter().map(|delta| base.0 + i64::from(*delta))),
        }
        self.original(&BatchHeader { base_offset: base, leader_epoch: epoch, ..slot.header }, None);
        Ok(true)
    }

    fn append_columns(&mut self, file: &Arc<dyn ColumnFile>) -> Result<bool, EncodeError> {
        let Ok(file) = file.clone().as_any().downcast::<ColumnSegment>() else { return Ok(false) };
        let (Some(values), Some(table)) = (&mut self.values, file.table()) else { return Ok(false) };
        // The topic's table may be another one by now.
        if **values.decoder.schema() != *table.schema {
            return Ok(false);
        }
        // Rows of a window lie in another order than they came.
        if !file.reader().windows().iter().all(Window::is_single) {
            return Ok(false);
        }
        let Some(shapes) = values.decoder.absorb_shapes(file.shapes()) else { return Ok(false) };
        let Some(writers) = values.decoder.absorb_writers(file.writers(), &shapes) else { return Ok(false) };
        self.step_kept()?;
        self.step()?;
        for group in 0..file.reader().group_count() {
            breathe();
            let (mut columns, offsets) = file.columns(group).map_err(refused)?;
            // Behind those of the table: timestamp, key, headers.
            let place = table.schema.fields.len() + 3;
            let Some(renumbered) = columns.get(place).and_then(|column| as_here(column, &shapes, &writers)) else {
                return Err(refused("columns without forms"));
            };
            columns[place] = renumbered;
            self.write(columns, &offsets)?;
        }
        for original in file.reader().original_batches() {
            self.writer.add_original_batch(original.clone());
        }
        Ok(true)
    }

    fn held_bytes(&self) -> usize {
        self.writer.stored_bytes() as usize + self.rows.bytes
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Bytes>, EncodeError> {
        self.step_kept()?;
        self.step()?;
        if let Some(values) = &mut self.values {
            let shapes = String::from_utf8(values.decoder.shapes().to_bytes()).map_err(refused)?;
            self.writer.set_metadata(SHAPES_METADATA, shapes);
            if !values.decoder.writers().is_empty() {
                self.writer.set_metadata(WRITERS_METADATA, values.decoder.writers().to_json());
            }
        }
        Ok(self.writer.finish().map_err(failed)?.chunks)
    }
}

/// Forms of rows of another file, as this one numbers shapes and writers.
fn as_here(forms: &ArrayRef, shapes: &[ShapeId], writers: &[RowForm]) -> Option<ArrayRef> {
    let forms = forms.as_any().downcast_ref::<UInt16Array>()?;
    let number = |form: u16| match form_of(form) {
        RowForm::Canonical => Some(form),
        RowForm::Shape(id) => form_number(RowForm::Shape(*shapes.get(usize::from(id.0))?)),
        RowForm::Writer(number) => form_number(*writers.get(usize::from(number))?),
        RowForm::Raw => None,
    };
    let mut here = UInt16Builder::with_capacity(forms.len());
    for form in forms {
        here.append_option(match form {
            None => None,
            Some(form) => Some(number(form)?),
        });
    }
    Some(Arc::new(here.finish()))
}

fn marker_of<E>(record: Option<Result<Record<'_>, E>>) -> Result<EndMarker, EncodeError> {
    let unknown = || refused("a control batch that does not end a transaction");
    let Some(Ok(record)) = record else { return Err(unknown()) };
    let control = record.key.and_then(ControlType::from_key).ok_or_else(unknown)?;
    let coordinator_epoch = record.value.and_then(EndTxnMarker::coordinator_epoch_of).ok_or_else(unknown)?;
    Ok(EndMarker { commit: control == ControlType::Commit, coordinator_epoch })
}
