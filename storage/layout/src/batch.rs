//! Batches that came as columns: a batch header as Kafka's, and in place of its records a column file of one batch, compressed with
//! the header's codec, whose rows begin at offset 0. Its place in the log is that of the header.
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, UInt16Builder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, ListArray, RecordBatch, StructArray, TimestampMillisecondArray, new_empty_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;
use bytes::Bytes;
use weir_column::{
    Codec, ColumnSegmentReader, ColumnSegmentWriter, OffsetColumn, Offsets, OriginalBatch, WriterOptions,
};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::batch::{BatchHeader, HEADER_LEN};
use weir_protocol::records::{BatchBuilder, Compression, DecompressLimits, decompress};
use weir_storage::log::{COLUMN_BATCH_BYTES_MAX, COLUMN_BATCH_ROW_BYTES_MAX};
use weir_storage::segment::{EncodeError, SegmentError};
use weir_table::{Table, TableSchema};

use crate::encode::{failed, refused};
use crate::file::{damaged, unreadable};
use crate::schema::{WRITERS_METADATA, form_number, header_item, stored_schema};

/// However well it was compressed.
const LIMITS: DecompressLimits = DecompressLimits { max_bytes: COLUMN_BATCH_BYTES_MAX, max_ratio: usize::MAX };

/// Rows on their way into a log.
#[derive(Debug)]
pub struct BatchColumns {
    /// The columns of the table's current version, all of them.
    pub columns: RecordBatch,
    /// `None`: made of the table's key columns; null if it has none.
    pub keys: Option<BinaryArray>,
    pub timestamps: TimestampMillisecondArray,
    /// `None`: no row has any.
    pub headers: Option<ListArray>,
}

/// A batch of these rows as the log stores it; `header` has its producer and codec. `None`: rows would not say the same, or it
/// cannot be told, so rows are to be made and looked at.
pub fn batch_of_columns(
    table: &Table,
    header: BatchBuilder,
    parts: &[BatchColumns],
) -> Result<Option<Bytes>, EncodeError> {
    let Some((form, writers)) = table.written() else { return Ok(None) };
    let (Some(number), true) = (form_number(form), parts.iter().all(|part| takes(table, part))) else {
        return Ok(None);
    };
    // Before anything is encoded.
    let bytes: usize = parts.iter().map(|part| part.columns.get_array_memory_size()).sum();
    let row_bytes: usize = parts.iter().map(|part| table.bytes_of_rows(&part.columns)).sum();
    if bytes > COLUMN_BATCH_BYTES_MAX || row_bytes > COLUMN_BATCH_ROW_BYTES_MAX {
        return Ok(None);
    }
    let schema = stored_schema(Some(&all_nullable(table.current())))?;
    let options = WriterOptions {
        // The batch is compressed as a whole: buffers are many and small.
        codec: Codec::None,
        // Hashing each text costs more than compressing it, and a merge would have to open them again.
        dictionaries: false,
        schema_version: table.current().version,
        // Offsets count from the header's.
        offset_column: OffsetColumn::WhenSparse,
        ..WriterOptions::default()
    };
    let mut writer = ColumnSegmentWriter::new(&schema, options).map_err(failed)?;
    let (mut rows, mut times) = (0, (i64::MAX, i64::MIN));
    for part in parts {
        let count = part.columns.num_rows();
        let Some(headers) = headers_of(part.headers.as_ref(), count) else { return Ok(None) };
        let mut columns = part.columns.columns().to_vec();
        let keys = match &part.keys {
            Some(keys) => Arc::new(keys.clone()) as ArrayRef,
            None => keys_of(table, &part.columns)?,
        };
        let mut forms = UInt16Builder::with_capacity(count);
        forms.append_value_n(number, count);
        let mut values = BinaryBuilder::with_capacity(count, 0);
        values.append_nulls(count);
        let timestamps: ArrayRef = Arc::new(part.timestamps.clone().with_timezone("UTC"));
        columns.extend([timestamps, keys, headers, Arc::new(forms.finish()), Arc::new(values.finish())]);
        let batch = RecordBatch::try_new(writer.batch_schema().clone(), columns).map_err(refused)?;
        writer.write(&batch, Offsets::From(rows as i64)).map_err(failed)?;
        rows += count;
        for time in part.timestamps.values() {
            times = (times.0.min(*time), times.1.max(*time));
        }
    }
    if !writers.is_empty() {
        writer.set_metadata(WRITERS_METADATA, writers.to_json());
    }
    let file = writer.finish().map_err(failed)?;
    if file.length > COLUMN_BATCH_BYTES_MAX as u64 {
        return Ok(None);
    }
    let times = (Timestamp(times.0), Timestamp(times.1));
    header.build_around(&file.chunks, rows, times).map(Some).map_err(refused)
}

/// Keys that are sent beside a table's key columns are taken apart into these, as those of rows are.
fn takes(table: &Table, part: &BatchColumns) -> bool {
    (table.key_format().is_none() || part.keys.is_none()) && table.takes_columns(&part.columns)
}

/// As a file of rows has them.
fn all_nullable(schema: &TableSchema) -> TableSchema {
    let mut nullable = TableSchema::clone(schema);
    nullable.fields.iter_mut().for_each(|field| field.nullable = true);
    nullable
}

fn keys_of(table: &Table, columns: &RecordBatch) -> Result<ArrayRef, EncodeError> {
    let mut keys = BinaryBuilder::new();
    if table.key_format().is_none() {
        keys.append_nulls(columns.num_rows());
        return Ok(Arc::new(keys.finish()));
    }
    let encoder = table.encoder(table.current()).map_err(refused)?;
    let rows = encoder.rows(columns).map_err(refused)?;
    let mut key = Vec::new();
    for row in 0..columns.num_rows() {
        key.clear();
        let some = rows.key(row, &mut key).map_err(refused)?;
        keys.append_option(some.then_some(&key));
    }
    Ok(Arc::new(keys.finish()))
}

/// The column of headers; `None`: it is not as files have it.
fn headers_of(sent: Option<&ListArray>, rows: usize) -> Option<ArrayRef> {
    let item = header_item();
    let Some(sent) = sent else {
        let offsets = OffsetBuffer::new_zeroed(rows);
        let items = new_empty_array(item.data_type());
        return Some(Arc::new(ListArray::new(item, offsets, items, None)));
    };
    let items = sent.values().as_any().downcast_ref::<StructArray>()?;
    let whole = items.null_count() == 0 && items.columns().first().is_some_and(|names| names.null_count() == 0);
    let same = sent.null_count() == 0 && *sent.data_type() == DataType::List(item);
    (whole && same).then(|| Arc::new(sent.clone()) as ArrayRef)
}

/// The columns of a batch, at its place in the log.
pub(crate) fn open(batch: &Bytes) -> Result<ColumnSegmentReader, SegmentError> {
    let header = BatchHeader::parse(batch).map_err(unreadable)?;
    let stored = batch.slice(HEADER_LEN.min(batch.len())..);
    let file = match header.attributes.compression() {
        Compression::None => stored,
        codec => Bytes::from(decompress(codec, &stored, &LIMITS).map_err(unreadable)?),
    };
    let file = ColumnSegmentReader::open(Arc::new(file)).map_err(damaged)?;
    let batch = OriginalBatch {
        base_offset: header.base_offset.0,
        last_offset_delta: header.last_offset_delta,
        records: header.record_count,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        attributes: header.attributes.bits(),
        leader_epoch: header.leader_epoch.0,
        max_timestamp: header.max_timestamp,
        marker: None,
    };
    file.placed(batch).map_err(damaged)
}
