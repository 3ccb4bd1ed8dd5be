//! The bytes of one columnar answer as batches: CRC, bounds, row ranges and offsets are checked against what the broker said of
//! them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take;
use bytes::Bytes;
use weir_protocol::columnar::{BatchRange, ColumnarResult};

use super::bounds::decoded_bytes;
use super::{ColumnBatch, OFFSET_COLUMN, RowOffsets};
use crate::consumer::{ColumnQuery, FetchedData};

/// Opens an answer. Errors say what does not fit.
pub(crate) fn open(
    data: &FetchedData,
    result: &ColumnarResult,
    query: &ColumnQuery,
    check_crc: bool,
    bytes_max: u64,
) -> Result<Vec<ColumnBatch>, String> {
    if data.bytes.is_empty() {
        return match result.batches.is_empty() {
            true => Ok(Vec::new()),
            false => Err("the answer lists batches and has none".to_owned()),
        };
    }
    let crc = if check_crc { crc32c::crc32c(&data.bytes) } else { result.crc32c };
    if crc != result.crc32c {
        return Err(format!("its CRC-32C is {crc:08x}, the broker says {:08x}", result.crc32c));
    }
    decoded_bytes(&data.bytes, bytes_max)?;
    let batches = record_batches(&data.bytes)?;
    if batches.len() != result.batches.len() {
        return Err(format!("it has {} batches, the broker says {}", batches.len(), result.batches.len()));
    }
    let mut opened = Vec::with_capacity(batches.len());
    let mut rows = 0;
    for (batch, range) in batches.into_iter().zip(&result.batches) {
        let (batch, offsets) = visible(batch, range)?;
        rows += batch.num_rows() as i64;
        let batch = without_added_offset(batch, range.dense, query.columns.as_deref())?;
        opened.push(ColumnBatch {
            topic: data.topic.clone(),
            partition: data.partition,
            schema_id: Some(result.schema_id),
            rows: batch,
            offsets,
        });
    }
    if rows != result.rows_returned {
        return Err(format!("it has {rows} rows, the broker says {}", result.rows_returned));
    }
    opened.retain(|batch| batch.rows.num_rows() > 0);
    Ok(opened)
}

/// Buffers of the batches are slices of `stream` where it can be used as it is.
fn record_batches(stream: &Bytes) -> Result<Vec<RecordBatch>, String> {
    let decode = || {
        let mut buffer = Buffer::from(stream.clone());
        let mut decoder = StreamDecoder::new();
        let mut batches = Vec::new();
        while let Some(batch) = decoder.decode(&mut buffer)? {
            batches.push(without_dictionaries(batch)?);
        }
        decoder.finish()?;
        Ok(batches)
    };
    // The reader checks what it reads, but was not written against strangers; a panic of it must not end the program.
    let decoded: Result<Result<_, ArrowError>, _> = catch_unwind(AssertUnwindSafe(decode));
    match decoded {
        Ok(decoded) => decoded.map_err(|error| error.to_string()),
        Err(_) => Err("the Arrow reader gave up on it".to_owned()),
    }
}

/// Whether a column has a dictionary depends on the file it comes from; a reading has one schema throughout.
fn without_dictionaries(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let is_keyed = |field: &Arc<Field>| matches!(field.data_type(), DataType::Dictionary(..));
    if !batch.schema_ref().fields().iter().any(is_keyed) {
        return Ok(batch);
    }
    let plain = |(column, field): (&ArrayRef, &Arc<Field>)| match column.as_any_dictionary_opt() {
        None => Ok((column.clone(), field.clone())),
        Some(keyed) => {
            let values = take(keyed.values(), keyed.keys(), None)?;
            let field = field.as_ref().clone().with_data_type(values.data_type().clone());
            Ok((values, Arc::new(field)))
        }
    };
    let columns = batch.columns().iter().zip(batch.schema_ref().fields()).map(plain);
    let (columns, fields): (Vec<ArrayRef>, Vec<Arc<Field>>) =
        columns.collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns)
}

/// The rows that are for the reader, with their offsets.
fn visible(batch: RecordBatch, range: &BatchRange) -> Result<(RecordBatch, RowOffsets), String> {
    let count = |value: i32| usize::try_from(value).ok();
    let counts = count(range.rows).zip(count(range.skip_head)).zip(count(range.skip_tail));
    let fits = counts.and_then(|((rows, head), tail)| Some((rows, head, rows.checked_sub(head)?.checked_sub(tail)?)));
    let Some((rows, head, visible)) = fits else {
        return Err(format!("{} rows cannot be skipped of {}", range.skip_head + range.skip_tail.max(0), range.rows));
    };
    if rows != batch.num_rows() {
        return Err(format!("a batch has {} rows, the broker says {rows}", batch.num_rows()));
    }
    let offsets = if range.dense {
        if range.last_offset - range.first_offset + 1 != rows as i64 {
            return Err(format!(
                "{rows} dense rows cannot be the offsets {} to {}",
                range.first_offset, range.last_offset
            ));
        }
        RowOffsets::Dense { first: range.first_offset + head as i64, rows: visible }
    } else {
        RowOffsets::Sparse(offset_column(&batch)?.slice(head, visible))
    };
    Ok((batch.slice(head, visible), offsets))
}

pub(crate) fn offset_column(batch: &RecordBatch) -> Result<Int64Array, String> {
    let named = batch.schema_ref().fields().last().is_some_and(|field| field.name() == OFFSET_COLUMN);
    let offsets = batch.columns().last().and_then(|column| column.as_primitive_opt::<Int64Type>());
    let offsets = offsets.filter(|offsets| named && offsets.null_count() == 0);
    let offsets = offsets.ok_or("a batch with gaps has no last column `_offset`")?;
    if !offsets.values().is_sorted_by(|earlier, later| earlier < later) {
        return Err("the offsets of its rows do not ascend".to_owned());
    }
    Ok(offsets.clone())
}

/// Takes the `_offset` away that the broker added, so that all batches of a stream have one schema.
pub(crate) fn without_added_offset(
    batch: RecordBatch,
    dense: bool,
    columns: Option<&[String]>,
) -> Result<RecordBatch, String> {
    // As the last of the wanted columns it is not added a second time.
    let wanted = columns.is_some_and(|columns| columns.last().is_some_and(|last| last == OFFSET_COLUMN));
    if dense || wanted {
        return Ok(batch);
    }
    let kept: Vec<usize> = (0..batch.num_columns().saturating_sub(1)).collect();
    batch.project(&kept).map_err(|error| error.to_string())
}
