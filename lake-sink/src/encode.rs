//! Rows to Parquet files in memory: a file for each partition of the lake table.
//!
//! Rows are gathered as they come and encoded at the end, one file after the other, so that memory is that of the rows
//! (bounded by the round) and of what they became, however many partitions there are.
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use thiserror::Error;
use weir_storage::cpu::breathe;

use crate::columns::{DELETED, conform};
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
    /// Of a table with a primary key.
    pub keyed: Option<KeyedFile>,
}

/// What is known of the rows of a file of a table with a primary key, which are in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedFile {
    pub bucket: i32,
    /// Least and greatest key, as the format stores rows.
    pub keys: (Vec<u8>, Vec<u8>),
    /// Least and greatest sequence number.
    pub sequence: (i64, i64),
    /// Rows that delete their key.
    pub deletes: u64,
}

/// What a table with a primary key makes of the rows of one of its partitions, which come in the order of their changes and have
/// [`crate::columns::DELETED`] last.
pub type Folding =
    Box<dyn FnMut(Vec<PartitionValue>, Vec<RecordBatch>) -> Result<Vec<EncodedFile>, EncodeError> + Send>;

/// Gathers rows by partition of the lake table.
pub struct Encoder {
    schema: SchemaRef,
    file_schema: SchemaRef,
    spec: PartitionSpec,
    groups: Vec<(Vec<PartitionValue>, Vec<RecordBatch>)>,
    places: HashMap<Vec<PartitionValue>, usize>,
    folding: Option<Folding>,
}

impl Encoder {
    /// `file_schema`: the columns of `schema`, as files have them, and perhaps columns of partitions behind them.
    pub fn new(schema: SchemaRef, file_schema: SchemaRef, spec: PartitionSpec) -> Encoder {
        Encoder { schema, file_schema, spec, groups: Vec::new(), places: HashMap::new(), folding: None }
    }

    /// For a table with a primary key: the last column of `schema` is not one of files.
    pub fn folding(self, folding: Option<Folding>) -> Encoder {
        Encoder { folding, ..self }
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
            let mut columns = rows.columns().to_vec();
            let deleted = if self.folding.is_some() { columns.pop() } else { None };
            let of_rows = columns.len();
            if let Some(own) = self.file_schema.fields().get(of_rows..).filter(|own| !own.is_empty()) {
                let values = &self.groups[place].0;
                columns.extend(self.spec.columns_of(values, own, &self.schema, rows.num_rows())?);
            }
            let rows = conform(&self.file_schema, &columns)?;
            self.groups[place].1.push(match deleted {
                Some(deleted) => with_deleted(&rows, deleted)?,
                None => rows,
            });
        }
        Ok(())
    }

    /// The files, in the order in which their partitions were seen first.
    pub fn finish(self) -> Result<Vec<EncodedFile>, EncodeError> {
        let Encoder { file_schema, groups, folding, .. } = self;
        if let Some(mut folding) = folding {
            let folded = groups.into_iter().map(|(values, batches)| folding(values, batches));
            return Ok(folded.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect());
        }
        groups.into_iter().map(|(values, batches)| encode(&file_schema, values, batches)).collect()
    }
}

fn with_deleted(rows: &RecordBatch, deleted: ArrayRef) -> Result<RecordBatch, ArrowError> {
    let field = Arc::new(Field::new(DELETED, deleted.data_type().clone(), false));
    let fields: Vec<_> = rows.schema_ref().fields().iter().cloned().chain([field]).collect();
    let columns = rows.columns().iter().cloned().chain([deleted]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// CRC-32C of each column chunk, as JSON: a list for each row group. Without it a flipped bit is another value to readers.
const CHECKSUMS: &str = "weir.crc32c";

fn checksums(groups: &[RowGroupMetaData], file: &[u8]) -> String {
    let of = |chunk: &ColumnChunkMetaData| {
        let (start, len) = chunk.byte_range();
        // They were written a moment ago.
        let bytes = file.get(start as usize..(start + len) as usize).unwrap_or_default();
        crc32c::crc32c(bytes)
    };
    let groups: Vec<Vec<u32>> = groups.iter().map(|group| group.columns().iter().map(of).collect()).collect();
    serde_json::Value::from(groups).to_string()
}

/// CRC-32C of each column chunk, by row group; none of files that do not tell.
///
/// # Errors
/// They cannot be read.
pub(crate) fn checksums_of(metadata: &ParquetMetaData) -> Result<Vec<Vec<u32>>, serde_json::Error> {
    let pairs = metadata.file_metadata().key_value_metadata().map_or(&[][..], Vec::as_slice);
    let text = pairs.iter().find(|pair| pair.key == CHECKSUMS).and_then(|pair| pair.value.as_deref());
    text.map_or(Ok(Vec::new()), serde_json::from_str)
}

fn properties() -> Result<WriterProperties, ParquetError> {
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .build())
}

/// One file that is being written.
pub struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

impl FileWriter {
    /// # Errors
    /// [`EncodeError::Parquet`], for columns that no file can have.
    pub fn new(schema: &SchemaRef) -> Result<FileWriter, EncodeError> {
        Ok(FileWriter { writer: ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties()?))?, rows: 0 })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        self.rows += batch.num_rows() as u64;
        for from in (0..batch.num_rows()).step_by(SLICE_ROWS) {
            self.writer.write(&batch.slice(from, SLICE_ROWS.min(batch.num_rows() - from)))?;
            breathe();
        }
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The file, of this partition.
    pub fn finish(mut self, values: Vec<PartitionValue>) -> Result<EncodedFile, EncodeError> {
        // What is written so far is all but the footer, which takes their checksums.
        self.writer.flush()?;
        self.writer.sync().map_err(ParquetError::from)?;
        let checksums = checksums(self.writer.flushed_row_groups(), self.writer.inner());
        self.writer.append_key_value_metadata(KeyValue::new(CHECKSUMS.to_owned(), checksums));
        let metadata = Arc::new(self.writer.finish()?);
        let bytes = Bytes::from(std::mem::take(self.writer.inner_mut()));
        Ok(EncodedFile { values, rows: self.rows, bytes, metadata, keyed: None })
    }
}

fn encode(
    schema: &SchemaRef,
    values: Vec<PartitionValue>,
    batches: Vec<RecordBatch>,
) -> Result<EncodedFile, EncodeError> {
    let mut writer = FileWriter::new(schema)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish(values)
}
