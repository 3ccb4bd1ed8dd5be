//! Footers of data files, and some rows and columns of a row group. Only what is needed is read from the store.
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use arrow_select::concat::concat_batches;
use bytes::{Buf, Bytes};
use futures::{FutureExt, StreamExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::{ChunkReader, Length};
use thiserror::Error;
use weir_storage::cpu::{CpuError, CpuPool, Priority};

use super::HistoryError;
use crate::columns::{OFFSET, PARTITION, field_id, is_ours};
use crate::encode::checksums_of;
use crate::store::LakeStore;

/// Read for a footer, at first.
const TAIL_BYTES: u64 = 64 << 10;
/// A longer footer is not believed.
const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Column chunks of one file that are asked for at the same time.
const CHUNKS_AT_ONCE: usize = 4;
/// What our files say of who made them begins with this.
const OUR_NAME: &str = "weir ";

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("it is no Parquet file that can be read: {0}")]
    Parquet(#[from] ParquetError),
    #[error("its rows cannot be read: {0}")]
    Arrow(#[from] ArrowError),
    #[error("it is damaged: its column {column} does not have the checksum that it was written with")]
    Checksum { column: usize },
    #[error("it is damaged: the checksums of its columns cannot be read")]
    Checksums,
    #[error("it has no column `{0}`")]
    NoColumn(String),
    #[error("`{0}` was not kept when it was written; set weir.lake.columns.raw for what comes later")]
    NotKept(String),
    #[error("its column `{column}` is {found}, and what is read is {wanted}")]
    Type { column: String, found: String, wanted: String },
    #[error("its rows are not those that its column `__offset` has")]
    Moved,
    #[error("its reader gave up: {0}")]
    Broken(#[from] CpuError),
}

/// Part of a file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    len: u64,
    parts: Arc<[(u64, Bytes)]>,
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.len
    }
}

impl Parts {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let found = self.parts.iter().find_map(|(at, bytes)| {
            let within = usize::try_from(start.checked_sub(*at)?).ok()?;
            (within < bytes.len()).then(|| bytes.slice(within..))
        });
        found.ok_or_else(|| ParquetError::EOF(format!("byte {start} was not read")))
    }
}

impl ChunkReader for Parts {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        match bytes.len() >= length {
            true => Ok(bytes.slice(..length)),
            false => Err(ParquetError::EOF(format!("{length} bytes from {start} on were not read"))),
        }
    }
}

/// A data file, as its footer has it.
#[derive(Debug)]
pub(crate) struct DataFile {
    path: String,
    len: u64,
    metadata: ArrowReaderMetadata,
    /// Of each row group: first and last offset of each partition in it.
    pub groups: Vec<BTreeMap<i32, (i64, i64)>>,
    pub rows: u64,
    /// Places of `__partition` and `__offset`.
    origin: (usize, usize),
    /// Columns have our ids.
    ours: bool,
    /// CRC-32C of each column chunk, by row group; empty in files of others.
    checksums: Vec<Vec<u32>>,
}

/// Where the rows of a group come from.
#[derive(Debug)]
pub(crate) struct Origins {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
}

impl Origins {
    /// Offset and place of the rows of a partition, `from..until`.
    pub fn rows_of(&self, partition: i32, from: i64, until: i64) -> impl Iterator<Item = (i64, usize)> + '_ {
        let all = self.partitions.iter().zip(&self.offsets).enumerate();
        all.filter(move |(_, (p, offset))| **p == partition && (from..until).contains(*offset))
            .map(|(row, (_, offset))| (*offset, row))
    }

    fn ranges(&self) -> BTreeMap<i32, (i64, i64)> {
        let mut ranges: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for (partition, offset) in self.partitions.iter().zip(&self.offsets) {
            let range = ranges.entry(*partition).or_insert((*offset, *offset));
            *range = (range.0.min(*offset), range.1.max(*offset));
        }
        ranges
    }
}

/// What is needed to read rows: columns of a row group.
#[derive(Debug)]
pub(crate) struct Input {
    metadata: ArrowReaderMetadata,
    parts: Parts,
    group: usize,
    mask: ProjectionMask,
    /// For each wanted column where it is in the file; `None`: it is younger than the file.
    places: Vec<Option<usize>>,
    offset: usize,
    /// Bytes of it in memory once it is read, about.
    pub memory: u64,
}

impl DataFile {
    /// Reads what the file says of itself.
    pub async fn open(store: &Arc<dyn LakeStore>, cpu: &CpuPool, path: &str) -> Result<DataFile, HistoryError> {
        let gone = || HistoryError::Gone { file: path.to_owned() };
        let failed = |error: FileError| HistoryError::File { file: path.to_owned(), error };
        let mut wanted = TAIL_BYTES;
        let (len, metadata) = loop {
            let (len, tail) = store.read_end(path, wanted).await?.ok_or_else(gone)?;
            let parse = move || {
                let mut reader = ParquetMetaDataReader::new();
                reader.try_parse_sized(&tail, len)?;
                ArrowReaderMetadata::try_new(Arc::new(reader.finish()?), ArrowReaderOptions::new())
            };
            // What a damaged footer does to its reader is contained there.
            match cpu.run(Priority::Request, parse).await.map_err(|error| failed(error.into()))? {
                Ok(metadata) => break (len, metadata),
                Err(ParquetError::NeedMoreData(more)) if more as u64 > wanted && more as u64 <= FOOTER_BYTES_MAX => {
                    wanted = more as u64;
                }
                Err(error) => return Err(failed(error.into())),
            }
        };
        let about = metadata.metadata().file_metadata();
        let checksums = checksums_of(metadata.metadata()).map_err(|_| failed(FileError::Checksums))?;
        let ours = about.created_by().is_some_and(|name| name.starts_with(OUR_NAME));
        let rows = u64::try_from(about.num_rows()).unwrap_or(0);
        let place = |name: &str| {
            let found = metadata.schema().fields().iter().position(|field| field.name() == name);
            found.ok_or_else(|| failed(FileError::NoColumn(name.to_owned())))
        };
        let origin = (place(PARTITION)?, place(OFFSET)?);
        let groups = vec![BTreeMap::new(); metadata.metadata().num_row_groups()];
        let mut file = DataFile { path: path.to_owned(), len, metadata, groups, rows, origin, ours, checksums };
        for group in 0..file.groups.len() {
            file.groups[group] = file.offsets(store, cpu, group).await?.0.ranges();
        }
        Ok(file)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the rows of a group come from, and how many bytes were read for it.
    pub async fn offsets(
        &self,
        store: &Arc<dyn LakeStore>,
        cpu: &CpuPool,
        group: usize,
    ) -> Result<(Origins, u64), HistoryError> {
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), [self.origin.0, self.origin.1]);
        let (parts, bytes) = self.parts(store, group, &mask).await?;
        let (metadata, path) = (self.metadata.clone(), self.path.clone());
        let work = move || origins(metadata, parts, group, mask);
        let found = cpu.run(Priority::Request, work).await.unwrap_or_else(|error| Err(error.into()));
        Ok((found.map_err(|error| HistoryError::File { file: path, error })?, bytes))
    }

    /// What is needed to read these columns of a group, and how many bytes were read for it.
    pub async fn input(
        &self,
        store: &Arc<dyn LakeStore>,
        group: usize,
        columns: &SchemaRef,
    ) -> Result<(Input, u64), HistoryError> {
        let failed = |error| HistoryError::File { file: self.path.clone(), error };
        let places: Vec<Option<usize>> =
            columns.fields().iter().map(|field| self.place(field)).collect::<Result<_, _>>().map_err(failed)?;
        let roots = places.iter().flatten().copied().chain([self.origin.1]);
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let (parts, bytes) = self.parts(store, group, &mask).await?;
        let chunks = self.metadata.metadata().row_group(group).columns();
        let included = chunks.iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        let memory = included.map(|(_, chunk)| u64::try_from(chunk.uncompressed_size()).unwrap_or(0)).sum();
        let (metadata, offset) = (self.metadata.clone(), self.origin.1);
        Ok((Input { metadata, parts, group, mask, places, offset, memory }, bytes))
    }

    /// Whether it has the columns of these ids.
    pub fn has(&self, ids: &[i32]) -> bool {
        let fields = self.metadata.schema().fields();
        ids.iter().all(|id| fields.iter().any(|field| self.ours && field_id(field) == Some(*id)))
    }

    /// Where a column is; `None`: it is younger than the file.
    fn place(&self, wanted: &Field) -> Result<Option<usize>, FileError> {
        let fields = self.metadata.schema().fields();
        if !self.ours {
            // Others may have given columns ids of their own.
            let found = fields.iter().position(|field| field.name() == wanted.name());
            return found.map(Some).ok_or_else(|| FileError::NoColumn(wanted.name().clone()));
        }
        let id = field_id(wanted);
        let found = fields.iter().position(|field| id.is_some() && field_id(field) == id);
        match found {
            None if id.is_none_or(is_ours) => Err(FileError::NotKept(wanted.name().clone())),
            found => Ok(found),
        }
    }

    /// The column chunks of a group.
    async fn parts(
        &self,
        store: &Arc<dyn LakeStore>,
        group: usize,
        mask: &ProjectionMask,
    ) -> Result<(Parts, u64), HistoryError> {
        let failed = |error| HistoryError::File { file: self.path.clone(), error };
        let chunks = self.metadata.metadata().row_group(group).columns();
        let mut wanted = Vec::new();
        for (leaf, chunk) in chunks.iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf)) {
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let range = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
            let range = range.and_then(|(start, len)| Some(start..start.checked_add(len)?));
            let range = range.filter(|range| range.end <= self.len);
            wanted.push((
                leaf,
                range.ok_or_else(|| failed(ParquetError::EOF("a column ends behind the file".into()).into()))?,
            ));
        }
        let read: Vec<_> =
            wanted.into_iter().map(|(leaf, range)| self.chunk(store, group, leaf, range).boxed()).collect();
        let parts: Vec<(u64, Bytes)> = futures::stream::iter(read).buffered(CHUNKS_AT_ONCE).try_collect().await?;
        let bytes = parts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        Ok((Parts { len: self.len, parts: parts.into() }, bytes))
    }

    /// A column chunk, and where it begins.
    async fn chunk(
        &self,
        store: &Arc<dyn LakeStore>,
        group: usize,
        leaf: usize,
        range: Range<u64>,
    ) -> Result<(u64, Bytes), HistoryError> {
        let start = range.start;
        let bytes = store.read_range(&self.path, range).await?;
        let bytes = bytes.ok_or_else(|| HistoryError::Gone { file: self.path.clone() })?;
        let known = self.checksums.get(group).and_then(|group| group.get(leaf));
        if known.is_some_and(|known| *known != crc32c::crc32c(&bytes)) {
            return Err(HistoryError::File { file: self.path.clone(), error: FileError::Checksum { column: leaf } });
        }
        Ok((start, bytes))
    }
}

fn origins(
    metadata: ArrowReaderMetadata,
    parts: Parts,
    group: usize,
    mask: ProjectionMask,
) -> Result<Origins, FileError> {
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(parts, metadata);
    let reader = reader.with_row_groups(vec![group]).with_projection(mask).build()?;
    let mut origins = Origins { partitions: Vec::new(), offsets: Vec::new() };
    for batch in reader {
        let batch = batch?;
        let column = |name: &str| {
            let found = batch.column_by_name(name).filter(|column| column.null_count() == 0);
            found.ok_or_else(|| FileError::NoColumn(name.to_owned()))
        };
        let no = |name: &str| FileError::NoColumn(name.to_owned());
        let partitions = column(PARTITION)?.as_primitive_opt::<Int32Type>().ok_or_else(|| no(PARTITION))?;
        let offsets = column(OFFSET)?.as_primitive_opt::<Int64Type>().ok_or_else(|| no(OFFSET))?;
        origins.partitions.extend(partitions.values());
        origins.offsets.extend(offsets.values());
    }
    Ok(origins)
}

/// These rows of a group (ascending), with these columns.
pub(crate) fn read_rows(input: Input, rows: &[usize], columns: &SchemaRef) -> Result<RecordBatch, FileError> {
    let Input { metadata, parts, group, mask, places, offset, .. } = input;
    let total = usize::try_from(metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
    let selection = RowSelection::from_consecutive_ranges(ranges_of(rows).into_iter(), total);
    let names: Vec<Option<String>> =
        places.iter().map(|place| place.map(|place| metadata.schema().field(place).name().clone())).collect();
    let offset = metadata.schema().field(offset).name().clone();
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(parts, metadata);
    let reader = reader.with_row_groups(vec![group]).with_projection(mask).with_row_selection(selection);
    let batches = reader.with_batch_size(rows.len().max(1)).build()?.collect::<Result<Vec<_>, _>>()?;
    let Some(first) = batches.first() else { return Err(FileError::Moved) };
    let read = concat_batches(&first.schema(), &batches)?;
    if read.num_rows() != rows.len() || read.column_by_name(&offset).is_none() {
        return Err(FileError::Moved);
    }
    let column = |(name, field): (&Option<String>, &Arc<Field>)| match name {
        None => Ok(new_null_array(field.data_type(), read.num_rows())),
        Some(name) => {
            let found = read.column_by_name(name).ok_or_else(|| FileError::NoColumn(name.clone()))?;
            as_wanted(found, field)
        }
    };
    let found = names.iter().zip(columns.fields()).map(column).collect::<Result<Vec<ArrayRef>, FileError>>()?;
    Ok(RecordBatch::try_new(columns.clone(), found)?)
}

/// Ascending numbers as ranges.
fn ranges_of(rows: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == *row => last.end += 1,
            _ => ranges.push(*row..*row + 1),
        }
    }
    ranges
}

/// A column in the type that is wanted, value for value.
fn as_wanted(column: &ArrayRef, wanted: &Field) -> Result<ArrayRef, FileError> {
    if column.data_type() == wanted.data_type() {
        return Ok(column.clone());
    }
    let refused = || FileError::Type {
        column: wanted.name().clone(),
        found: column.data_type().to_string(),
        wanted: wanted.data_type().to_string(),
    };
    if !same_members(column.data_type(), wanted.data_type()) {
        return Err(refused());
    }
    // What does not fit is an error, not a null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(column, wanted.data_type(), &options)?)
}

/// Members of structs are cast one for one, so they must be the same ones.
fn same_members(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Struct(found), DataType::Struct(wanted)) => {
            let same =
                |(a, b): (&Arc<Field>, &Arc<Field>)| a.name() == b.name() && same_members(a.data_type(), b.data_type());
            found.len() == wanted.len() && found.iter().zip(wanted).all(same)
        }
        (DataType::List(found), DataType::List(wanted)) => same_members(found.data_type(), wanted.data_type()),
        (DataType::Map(found, _), DataType::Map(wanted, _)) => match (found.data_type(), wanted.data_type()) {
            // Entries are called differently by engines; they are a key and a value all the same.
            (DataType::Struct(found), DataType::Struct(wanted)) => {
                let same = |(a, b): (&Arc<Field>, &Arc<Field>)| same_members(a.data_type(), b.data_type());
                found.len() == wanted.len() && found.iter().zip(wanted).all(same)
            }
            _ => false,
        },
        (DataType::Struct(_) | DataType::List(_) | DataType::Map(..), _) => false,
        (_, DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) => false,
        _ => true,
    }
}
