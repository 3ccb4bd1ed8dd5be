//! The rows of one data file, as the table has them now: columns found by their field ids, in the types of today.
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use thiserror::Error;
use weir_storage::cpu::breathe;

use super::sums::{Sums, UnknownType, Windows};
use crate::columns::{OFFSET, PARTITION, field_id};

const BATCH_ROWS: usize = 8 << 10;

/// Why a file cannot be compared.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("it is no Parquet file that can be read: {0}")]
    Parquet(#[from] ParquetError),
    #[error("its rows cannot be read: {0}")]
    Arrow(#[from] ArrowError),
    #[error("it has no column `{0}` of offsets of this topic, and readers of the table find its rows")]
    NoColumn(&'static str),
    #[error(transparent)]
    Type(#[from] UnknownType),
}

/// Counts the rows of a file that are in the windows; returns the number of all its rows too.
///
/// # Errors
/// [`FileError`]: nobody should rely on any row of it.
pub fn sum_file(bytes: Bytes, columns: &SchemaRef, windows: &Windows) -> Result<(Sums, u64), FileError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let places = places_in(builder.schema(), columns);
    let groups = builder.metadata().row_groups().iter().enumerate();
    let groups: Vec<usize> = groups.filter(|(_, group)| may_have(group, windows)).map(|(at, _)| at).collect();
    let reader = builder.with_row_groups(groups).with_batch_size(BATCH_ROWS).build()?;
    let mut sums = Sums::default();
    for batch in reader {
        add(&mut sums, windows, columns, &places, &batch?)?;
        breathe();
    }
    Ok((sums, rows))
}

/// Counts rows that have all columns, in their order and types.
///
/// # Errors
/// [`FileError`].
pub fn sum_rows(batch: &RecordBatch, windows: &Windows) -> Result<Sums, FileError> {
    let mut sums = Sums::default();
    let places: Vec<_> = (0..batch.num_columns()).map(Some).collect();
    add(&mut sums, windows, batch.schema_ref(), &places, batch)?;
    Ok(sums)
}

/// Rows of a file in the columns of the table: those that it lacks are null, and their places are told.
///
/// # Errors
/// [`FileError`], if a column that is never null is not there.
pub fn as_table(batch: &RecordBatch, columns: &SchemaRef) -> Result<(RecordBatch, Vec<usize>), FileError> {
    let places = places_in(batch.schema_ref(), columns);
    let mut lacking = Vec::new();
    let found = columns.fields().iter().zip(places).enumerate().map(|(at, (field, place))| {
        place.and_then(|place| as_now(batch.column(place), field)).unwrap_or_else(|| {
            lacking.push(at);
            new_null_array(field.data_type(), batch.num_rows())
        })
    });
    let found: Vec<ArrayRef> = found.collect();
    Ok((RecordBatch::try_new(columns.clone(), found)?, lacking))
}

/// Where a file has each column, by its id; by its name in a file that has no ids.
fn places_in(file: &Schema, columns: &Schema) -> Vec<Option<usize>> {
    let by_id = file.fields().iter().any(|field| field_id(field).is_some());
    let is = |wanted: &FieldRef, found: &FieldRef| match by_id {
        true => field_id(wanted).is_some() && field_id(wanted) == field_id(found),
        false => wanted.name() == found.name(),
    };
    let place = |wanted: &FieldRef| file.fields().iter().position(|found| is(wanted, found));
    columns.fields().iter().map(place).collect()
}

fn add(
    sums: &mut Sums,
    windows: &Windows,
    columns: &SchemaRef,
    places: &[Option<usize>],
    batch: &RecordBatch,
) -> Result<(), FileError> {
    let found: Vec<Option<ArrayRef>> = columns
        .fields()
        .iter()
        .zip(places)
        .map(|(field, place)| place.and_then(|place| as_now(batch.column(place), field)))
        .collect();
    let named = |name: &'static str| {
        let place = columns.index_of(name).ok().and_then(|place| found.get(place)?.clone());
        place.filter(|column| column.null_count() == 0).ok_or(FileError::NoColumn(name))
    };
    let (partitions, offsets) = (named(PARTITION)?, named(OFFSET)?);
    let partitions = partitions.as_primitive_opt::<Int32Type>().ok_or(FileError::NoColumn(PARTITION))?;
    let offsets = offsets.as_primitive_opt::<Int64Type>().ok_or(FileError::NoColumn(OFFSET))?;
    Ok(sums.add(windows, partitions, offsets, &found)?)
}

/// A column in the type that it has today; `None` for one that was written in a type from which there is no way.
fn as_now(column: &ArrayRef, field: &FieldRef) -> Option<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Some(Arc::clone(column));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &options).ok()
}

/// Whether a row group can have rows of the windows, by its statistics.
fn may_have(group: &RowGroupMetaData, windows: &Windows) -> bool {
    let statistics = |name: &str| {
        let column = group.columns().iter().find(|column| column.column_path().parts() == [name]);
        column.and_then(|column| column.statistics())
    };
    let partitions = match statistics(PARTITION) {
        Some(Statistics::Int32(s)) => s.min_opt().copied().zip(s.max_opt().copied()),
        _ => None,
    };
    let offsets = match statistics(OFFSET) {
        Some(Statistics::Int64(s)) => s.min_opt().copied().zip(s.max_opt().copied()),
        _ => None,
    };
    let (first, last) = partitions.unwrap_or((i32::MIN, i32::MAX));
    let (from, to) = offsets.unwrap_or((i64::MIN, i64::MAX));
    let mut candidates = windows.ranges.iter().filter(|(partition, _)| (first..=last).contains(*partition));
    candidates.any(|(_, (start, end))| from < *end && to >= *start)
}
