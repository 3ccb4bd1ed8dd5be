//! Rows to Parquet files in memory: a file for each partition of the lake table.
//!
//! Rows are gathered as they come and encoded at the end, one file after the other, so that memory is that of the rows
//! (bounded by the round) and of what they became, however many partitions there are.
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use thiserror::Error;
use weir_storage::cpu::breathe;

use crate::columns::conform;
use crate::partitioning::{PartitionSpec, PartitionValue};

const ROW_GROUP_ROWS: usize = 1 << 20;
/// Rows encoded between two looks at whether somebody more urgent waits.
const SLICE_ROWS: usize = 8 << 10;
/// Pages whose dictionary grew beyond this are stored plain.
const DICTIONARY_BYTES: usize = 1 << 20;

/// Why rows did not become files.
#[derive(Debug, Error)]
pub enum EncodeError {
    #[error("rows do not fit the table's columns: {0}")]
    Arrow(#[from] ArrowError),
    #[error("a Parquet file cannot be encoded: {0}")]
    Parquet(#[from] ParquetError),
}

/// One file.
#[derive(Debug, Clone)]
pub struct EncodedFile {
    /// Which partition of the lake table.
    pub values: Vec<PartitionValue>,
    pub rows: u64,
    pub bytes: Bytes,
    pub metadata: Arc<ParquetMetaData>,
}

/// Gathers rows by partition of the lake table.
#[derive(Debug)]
pub struct Encoder {
    schema: SchemaRef,
    file_schema: SchemaRef,
    spec: PartitionSpec,
    groups: Vec<(Vec<PartitionValue>, Vec<RecordBatch>)>,
    places: HashMap<Vec<PartitionValue>, usize>,
}

impl Encoder {
    /// `file_schema`: the columns of `schema`, as files have them, and perhaps columns of partitions behind them.
    pub fn new(schema: SchemaRef, file_schema: SchemaRef, spec: PartitionSpec) -> Encoder {
        Encoder { schema, file_schema, spec, groups: Vec::new(), places: HashMap::new() }
    }

    /// Adds rows that have the columns of the table.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), EncodeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // The metadata with the field ids is the table's, whoever made the batch.
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?;
        let parts = if self.spec.is_empty() { vec![(Vec::new(), batch)] } else { self.spec.split(&batch)? };
        for (values, rows) in parts {
            let place = *self.places.entry(values).or_insert_with_key(|values| {
                self.groups.push((values.clone(), Vec::new()));
                self.groups.len() - 1
            });
            let of_rows = rows.num_columns();
            let mut columns = rows.columns().to_vec();
            if let Some(own) = self.file_schema.fields().get(of_rows..).filter(|own| !own.is_empty()) {
                let values = &self.groups[place].0;
                columns.extend(self.spec.columns_of(values, own, &self.schema, rows.num_rows())?);
            }
            self.groups[place].1.push(conform(&self.file_schema, &columns)?);
        }
        Ok(())
    }

    /// The files, in the order in which their partitions were seen first.
    pub fn finish(self) -> Result<Vec<EncodedFile>, EncodeError> {
        let Encoder { file_schema, groups, .. } = self;
        groups.into_iter().map(|(values, batches)| encode(&file_schema, values, batches)).collect()
    }
}

fn properties() -> Result<WriterProperties, ParquetError> {
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .build())
}

fn encode(
    schema: &SchemaRef,
    values: Vec<PartitionValue>,
    batches: Vec<RecordBatch>,
) -> Result<EncodedFile, EncodeError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties()?))?;
    let mut rows = 0;
    for batch in batches {
        rows += batch.num_rows() as u64;
        for from in (0..batch.num_rows()).step_by(SLICE_ROWS) {
            writer.write(&batch.slice(from, SLICE_ROWS.min(batch.num_rows() - from)))?;
            breathe();
        }
    }
    let metadata = Arc::new(writer.finish()?);
    let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
    Ok(EncodedFile { values, rows, bytes, metadata })
}
