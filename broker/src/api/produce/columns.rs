//! Arrow streams that are produced (tag 5700 of `protocol/COLUMNAR.md`): validated against the topic's table, and made a batch of the
//! log.
//!
//! The stream is decoded against the registered schema only, within bounds. Its columns are a subset of the table's, and
//! `_key`, `_timestamp` and `_headers`; what is missing is null, or the column's default. No IO, no clock.
//!
//! Where the topic's rows become columns anyway, and would say what these columns say, no row is made ([`as_columns`], decision 16).
//! All others, also what does not fit, become rows ([`to_rows`]), which take the way of every batch: sequences, transactions,
//! timestamps and NOT NULL are checked there, and what is wrong is told with the row's number.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, BinaryArray, ListArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use bytes::{Bytes, BytesMut};
use thiserror::Error;
use weir_column::{ColumnError, StreamLimits, decode_stream};
use weir_layout::{BatchColumns, batch_of_columns};
use weir_protocol::columnar::{ColumnarError, ColumnarProduce};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, BatchHeader, BuildError, Compression};
use weir_scan::system_schema;
use weir_table::codec::EncodeError;
use weir_table::schema::{MappingError, ReadMapping};
use weir_table::table::RowEncoder;
use weir_table::{Table, TableSchema};

use super::validate::{self, Rules};

const KEY: &str = "_key";
const TIMESTAMP: &str = "_timestamp";
const HEADERS: &str = "_headers";
/// Columns of a stream that are no columns of the table.
const SYSTEM: [&str; 3] = [KEY, TIMESTAMP, HEADERS];
/// Rows of one stream: one batch, whose offsets and sequences count rows.
const ROWS_MAX: u64 = 1 << 20;
/// Uncompressed bytes of one stream, whatever memory there is.
pub const BYTES_MAX: usize = 64 << 20;
/// Columns of fewer bytes are stored as rows until they are merged: schema and statistics would be most of what is stored.
const COLUMN_BYTES_MIN: usize = 64 << 10;

/// Why an Arrow stream is not appended; nothing of its partition is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ColumnarProduceError {
    #[error(transparent)]
    Tag(#[from] ColumnarError),
    #[error("the topic is untyped: set weir.table.schema, or produce records")]
    Untyped,
    #[error("the table has no schema version {id}; the current one is {current}")]
    NoSuchVersion { id: i32, current: i32 },
    #[error("the CRC of the stream is {found:#010x}, the request says {said:#010x}")]
    Crc { found: u32, said: u32 },
    #[error("{reason}")]
    Stream { reason: String },
    /// A bound of the stream was passed.
    #[error("{reason}; send fewer rows at once")]
    TooLarge { reason: String },
    #[error("the stream has no rows")]
    NoRows,
    #[error("column {column}: the key of a record comes from it; send it, or {KEY}, and not both")]
    KeyTwice { column: String },
    #[error("{reason}")]
    Rows { reason: String },
}

impl From<ColumnError> for ColumnarProduceError {
    fn from(error: ColumnError) -> ColumnarProduceError {
        match error {
            limit @ ColumnError::Limit { .. } => ColumnarProduceError::TooLarge { reason: limit.to_string() },
            ColumnError::NoColumn { path } => {
                ColumnarProduceError::Stream { reason: format!("column {path}: the table has no such column") }
            }
            ColumnError::Mismatch { column, found, expected } => ColumnarProduceError::Stream {
                reason: format!(
                    "column {column}: the stream has {found}, the table {expected}; cast the column before it is sent"
                ),
            },
            other => ColumnarProduceError::Stream { reason: other.to_string() },
        }
    }
}

impl From<MappingError> for ColumnarProduceError {
    fn from(error: MappingError) -> ColumnarProduceError {
        ColumnarProduceError::Rows { reason: error.to_string() }
    }
}

impl From<EncodeError> for ColumnarProduceError {
    fn from(error: EncodeError) -> ColumnarProduceError {
        ColumnarProduceError::Rows { reason: error.to_string() }
    }
}

impl Sent {
    fn columns_of_batch(&self, now: Timestamp) -> BatchColumns {
        let timestamps = match &self.timestamp {
            Some(sent) if sent.null_count() == 0 => sent.as_primitive::<TimestampMillisecondType>().clone(),
            Some(sent) => {
                let sent = sent.as_primitive::<TimestampMillisecondType>().iter();
                sent.map(|time| time.unwrap_or(now.0)).collect::<Vec<_>>().into()
            }
            None => vec![now.0; self.columns.num_rows()].into(),
        };
        let (columns, keys, headers) = (self.columns.clone(), self.key.clone(), self.headers.clone());
        BatchColumns { columns, keys, timestamps, headers }
    }
}

impl From<BuildError> for ColumnarProduceError {
    fn from(error: BuildError) -> ColumnarProduceError {
        ColumnarProduceError::Rows { reason: error.to_string() }
    }
}

/// The tag and the CRC of the stream.
pub fn opened(tag: &[u8], stream: &[u8]) -> Result<ColumnarProduce, ColumnarProduceError> {
    let tag = ColumnarProduce::decode(tag)?;
    let found = crc32c::crc32c(stream);
    if found != tag.crc32c {
        return Err(ColumnarProduceError::Crc { found, said: tag.crc32c });
    }
    Ok(tag)
}

/// A stream that was opened, as columns of the table's current version.
pub struct Opened {
    tag: ColumnarProduce,
    parts: Vec<Sent>,
    now: Timestamp,
    bytes_max: usize,
}

impl Opened {
    /// `bytes_max`: uncompressed bytes of its columns.
    pub fn new(
        table: &Table,
        tag: &ColumnarProduce,
        stream: &Bytes,
        now: Timestamp,
        bytes_max: usize,
    ) -> Result<Opened, ColumnarProduceError> {
        let current = table.current();
        let version = match tag.schema_id {
            -1 => current,
            id => table.version(id).ok_or(ColumnarProduceError::NoSuchVersion { id, current: current.version })?,
        };
        let limits = StreamLimits { bytes_max: bytes_max as u64, rows_max: ROWS_MAX };
        let batches = decode_stream(stream, &expected(version), limits)?;
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            return Err(ColumnarProduceError::NoRows);
        }
        let parts = batches.iter().map(|batch| sent(table, version, batch)).collect::<Result<_, _>>()?;
        Ok(Opened { tag: *tag, parts, now, bytes_max })
    }

    fn header(&self, codec: Compression) -> BatchBuilder {
        let mut builder = BatchBuilder::new().compression(codec, None);
        if let Some((id, epoch, sequence)) = self.tag.producer {
            builder = builder.producer(id, epoch, sequence);
        }
        if self.tag.transactional {
            builder = builder.transactional();
        }
        builder
    }

    /// A batch of columns. `None`: they are too few for that, or they have to be looked at as rows, see [`Opened::to_rows`].
    pub fn as_columns(&self, table: &Table, rules: &Rules) -> Option<(BytesMut, BatchHeader)> {
        if self.parts.iter().map(|part| part.columns.get_array_memory_size()).sum::<usize>() < COLUMN_BYTES_MIN {
            return None;
        }
        let parts: Vec<BatchColumns> = self.parts.iter().map(|part| part.columns_of_batch(self.now)).collect();
        let codec = rules.compression.map_or(Compression::Lz4, |(codec, _)| codec);
        // What cannot be written as columns is told as a row.
        let batch = batch_of_columns(table, self.header(codec), &parts).ok().flatten()?;
        let header = BatchHeader::parse(&batch).ok()?;
        let times = (Timestamp(header.base_timestamp), Timestamp(header.max_timestamp));
        validate::takes(&header, batch.len(), times, rules, self.now).then(|| (BytesMut::from(batch), header))
    }

    /// One Kafka batch at offset 0. The rows take about as much memory as the columns.
    pub fn to_rows(&self, table: &Table) -> Result<Bytes, ColumnarProduceError> {
        let mut builder = self.header(Compression::Lz4);
        let encoder = table.encoder(table.current())?;
        for part in &self.parts {
            append(&mut builder, &encoder, part, self.now, self.bytes_max)?;
        }
        Ok(builder.build()?)
    }
}

/// What a stream may have: the columns of the version, then the parts of a record.
fn expected(version: &TableSchema) -> Schema {
    let user = version.to_arrow();
    let system = system_schema();
    let parts = SYSTEM.iter().filter_map(|name| system.field_with_name(name).ok().cloned());
    let parts = parts.map(|field| field.with_nullable(true));
    let columns = user.fields().iter().map(|field| Field::clone(field).with_nullable(true));
    Schema::new(columns.chain(parts).collect::<Vec<_>>())
}

/// The columns of one batch of the stream.
struct Sent {
    /// Those of the table.
    columns: RecordBatch,
    key: Option<BinaryArray>,
    timestamp: Option<ArrayRef>,
    headers: Option<ListArray>,
}

/// The columns that were sent as columns of the table's current version.
fn sent(table: &Table, version: &TableSchema, batch: &RecordBatch) -> Result<Sent, ColumnarProduceError> {
    let mut stored = TableSchema { fields: Vec::new(), key_columns: Vec::new(), ..version.clone() };
    let mut arrays = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if let Some(column) = version.fields.iter().find(|column| column.name == *field.name()) {
            stored.fields.push(weir_table::Field { nullable: true, ..column.clone() });
            arrays.push(array.clone());
        }
    }
    let part = |name: &str| batch.column_by_name(name).cloned();
    let keys = version.key_columns();
    let key_column =
        keys.iter().map(|at| &version.fields[*at]).find(|key| stored.fields.iter().any(|f| f.id == key.id));
    if let (Some(column), Some(_)) = (key_column, part(KEY)) {
        return Err(ColumnarProduceError::KeyTwice { column: column.name.clone() });
    }
    // A null in a NOT NULL column is found when the rows are read as such, with the row's number.
    let wanted = TableSchema { fields: nullable(table.current()), ..TableSchema::clone(table.current()) };
    let mapping = ReadMapping::new(&stored, &wanted)?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let stored = RecordBatch::try_new_with_options(stored.to_arrow(), arrays, &options);
    let stored = stored.map_err(|error| ColumnarProduceError::Stream { reason: error.to_string() })?;
    let columns = mapping.batch(&stored)?;
    Ok(Sent {
        columns,
        key: part(KEY).map(|array| array.as_binary::<i32>().clone()),
        timestamp: part(TIMESTAMP),
        headers: part(HEADERS).map(|array| array.as_list::<i32>().clone()),
    })
}

fn nullable(version: &TableSchema) -> Vec<weir_table::Field> {
    version.fields.iter().map(|field| weir_table::Field { nullable: true, ..field.clone() }).collect()
}

fn append(
    builder: &mut BatchBuilder,
    encoder: &RowEncoder,
    sent: &Sent,
    now: Timestamp,
    bytes_max: usize,
) -> Result<(), ColumnarProduceError> {
    let rows = encoder.rows(&sent.columns)?;
    let (mut value, mut own_key) = (Vec::new(), Vec::new());
    for row in 0..sent.columns.num_rows() {
        value.clear();
        own_key.clear();
        rows.value(row, &mut value)?;
        let key = match &sent.key {
            Some(keys) => keys.is_valid(row).then(|| keys.value(row)),
            None => rows.key(row, &mut own_key)?.then_some(own_key.as_slice()),
        };
        let timestamp = sent.timestamp.as_ref().map(|array| array.as_primitive::<TimestampMillisecondType>());
        let timestamp = timestamp.filter(|array| array.is_valid(row)).map_or(now, |array| Timestamp(array.value(row)));
        let items = sent.headers.as_ref().filter(|list| list.is_valid(row)).map(|list| list.value(row));
        let headers: Vec<(&[u8], Option<&[u8]>)> = match &items {
            None => Vec::new(),
            Some(items) => {
                let items = items.as_struct();
                let (names, contents) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
                let content = |at: usize| contents.is_valid(at).then(|| contents.value(at));
                (0..items.len()).map(|at| (names.value(at).as_bytes(), content(at))).collect()
            }
        };
        builder.append(key, Some(&value), &headers, timestamp)?;
        // Rows of long names take far more than their columns.
        if builder.plain_len() > bytes_max {
            let reason = format!("the rows of the stream are more than {bytes_max} bytes");
            return Err(ColumnarProduceError::TooLarge { reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, Int64Array, StringArray};
    use weir_protocol::ids::{ProducerEpoch, ProducerId};
    use weir_protocol::records::{BatchHeader, DecompressLimits, decode};
    use weir_scan::{StreamCodec, encode_stream};
    use weir_table::ddl;
    use weir_table::table::{RowFormat, TableOptions};

    use super::*;

    fn table(columns: &str) -> Arc<Table> {
        let schema = TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap();
        Arc::new(Table::new(vec![Arc::new(schema)], RowFormat::json(), None, TableOptions::default()).unwrap())
    }

    fn stream(columns: Vec<(&str, ArrayRef)>) -> Bytes {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        encode_stream(&batch.schema(), [&batch], StreamCodec::Lz4Frame).unwrap()
    }

    fn tag(stream: &Bytes) -> ColumnarProduce {
        let producer = Some((ProducerId(7), ProducerEpoch(1), 40));
        ColumnarProduce { schema_id: -1, producer, transactional: false, crc32c: crc32c::crc32c(stream) }
    }

    fn to_rows(table: &Table, stream: &Bytes, now: i64, bytes_max: usize) -> Result<Bytes, ColumnarProduceError> {
        Opened::new(table, &tag(stream), stream, Timestamp(now), bytes_max)?.to_rows(table)
    }

    fn rows(batch: &Bytes) -> Vec<(Option<Vec<u8>>, String, i64)> {
        let decoded = decode(batch, &DecompressLimits::default()).unwrap();
        let rows = decoded.records().map(|record| {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            (record.key.map(<[u8]>::to_vec), value, record.timestamp(&decoded.header).0)
        });
        rows.collect()
    }

    #[test]
    fn a_subset_of_the_columns_becomes_rows_under_the_producers_sequence() {
        let table = table("id BIGINT NOT NULL, city STRING, n INT DEFAULT 3");
        let key = BinaryArray::from_opt_vec(vec![Some(b"a".as_slice()), None]);
        let stream = stream(vec![
            ("city", Arc::new(StringArray::from(vec![Some("Ulm"), None]))),
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            ("_key", Arc::new(key)),
        ]);
        let batch = to_rows(&table, &stream, 99, BYTES_MAX).unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 1, 40));
        let expected = [
            (Some(b"a".to_vec()), r#"{"id":1,"city":"Ulm","n":3}"#.to_owned(), 99),
            (None, r#"{"id":2,"n":3}"#.to_owned(), 99),
        ];
        assert_eq!(rows(&batch), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_column() {
        let table = table("id BIGINT NOT NULL, city STRING");
        let message = |columns| {
            let stream = stream(columns);
            to_rows(&table, &stream, 0, BYTES_MAX).unwrap_err().to_string()
        };
        let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["x"])) };
        assert!(message(vec![("id", text())]).contains("column id: the stream has Utf8, the table Int64"));
        assert!(message(vec![("nope", text())]).contains("column nope"));
        assert!(message(vec![("id", Arc::new(Int32Array::from(vec![1])))]).contains("column id"));
        assert!(message(vec![("_offset", Arc::new(Int64Array::from(vec![1])))]).contains("column _offset"));
        let empty: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        assert!(message(vec![("id", empty)]).contains("no rows"));
    }

    #[test]
    fn a_stream_that_expands_too_far_and_a_wrong_crc_are_refused() {
        let table = table("id BIGINT NOT NULL, city STRING");
        let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 200_000]));
        let stream = stream(vec![("id", zeros)]);
        let error = to_rows(&table, &stream, 0, 1 << 20).unwrap_err();
        assert!(matches!(error, ColumnarProduceError::TooLarge { .. }), "{error}");
        let mut bytes = bytes::BytesMut::new();
        ColumnarProduce { crc32c: 1, ..tag(&stream) }.encode(&mut bytes);
        assert!(matches!(opened(&bytes, &stream), Err(ColumnarProduceError::Crc { .. })));
    }
}
