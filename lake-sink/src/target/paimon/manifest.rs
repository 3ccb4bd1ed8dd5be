//! Manifests and manifest lists: which files a snapshot has. The schemas of these Avro files are those that Paimon's Java writers
//! give them, so that every reader takes them.
use apache_avro::types::Value as Avro;
use arrow_schema::{DataType, SchemaRef};

use super::binary_row::{self, Cell, CellType};
use super::records;
use super::schema::{partition_keys, partition_types};
use super::stats::{Stats, cells_of};
use crate::columns::field_id;
use crate::partitioning::{PartitionSpec, PartitionValue};
use crate::target::RoundFile;
use crate::target::avro::{AvroSchema, Damaged, field, none, number, read_as_written, record, some, text};
use crate::target::figures::ColumnFigures;

/// Of the records, since ever.
const VERSION: i32 = 2;
/// Partition of a folder for what has no name of its own.
const DEFAULT_PARTITION: &str = "__DEFAULT_PARTITION__";
/// Longest value of a partition that is part of a folder's name.
const NAME_BYTES_MAX: usize = 100;

/// What a list says of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestMeta {
    pub name: String,
    pub size: i64,
    pub added: i64,
    pub deleted: i64,
    pub schema_id: i64,
    /// The record of [`Stats`], as it was read or is written.
    pub partitions: Avro,
}

/// A file that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// It is taken out of the table, as opposed to added.
    pub deleted: bool,
    pub name: String,
    /// Where it is in the table's folder; `None` if it may be outside or its partition cannot be read.
    pub path: Option<String>,
    /// Its full address, where it is not found by its partition.
    pub external: Option<String>,
}

/// Writes manifests of a table with these columns and partitions.
pub struct ManifestWriter {
    entries: AvroSchema,
    list: AvroSchema,
    spec: PartitionSpec,
    /// Those of the topic.
    source: SchemaRef,
    /// Those of data files.
    files: SchemaRef,
    partitions: Vec<CellType>,
}

impl ManifestWriter {
    /// `source`: the topic's columns; `files`: those of data files.
    ///
    /// # Errors
    /// The Avro crate's, which cannot happen: the schemas are constant.
    pub fn new(
        spec: &PartitionSpec,
        source: &SchemaRef,
        files: &SchemaRef,
    ) -> Result<ManifestWriter, apache_avro::Error> {
        Ok(ManifestWriter {
            entries: AvroSchema::parse(&records::entry())?,
            list: AvroSchema::parse(&records::list())?,
            spec: spec.clone(),
            source: source.clone(),
            files: files.clone(),
            partitions: partition_types(spec, files),
        })
    }

    /// Where files of a partition are, `bucket-0` included; and whether every reader finds them there by the partition alone.
    pub fn folder(&self, values: &[PartitionValue]) -> (String, bool) {
        let keys = partition_keys(&self.spec);
        let (mut folder, mut plain) = (String::new(), true);
        for (at, (key, value)) in keys.iter().zip(values).enumerate() {
            let text = self.spec.text(at, value, &self.source).unwrap_or_default();
            let text = if text.trim().is_empty() { DEFAULT_PARTITION } else { text.as_str() };
            let name = escaped(text);
            plain &= name == text && escaped(key) == *key;
            folder.push_str(&format!("{}={name}/", escaped(key)));
        }
        (format!("{folder}bucket-0"), plain)
    }

    /// A partition's values in Paimon's binary form.
    pub fn partition(&self, values: &[PartitionValue]) -> Vec<Cell> {
        let cell = |(at, value): (usize, &PartitionValue)| {
            let text = || self.spec.text(at, value, &self.source).unwrap_or_default();
            match (value, self.partitions.get(at)) {
                (PartitionValue::Null, _) | (_, None) => Cell::Null,
                (PartitionValue::Int(value), Some(CellType::TinyInt)) => Cell::TinyInt(*value as i8),
                (PartitionValue::Int(value), Some(CellType::SmallInt)) => Cell::SmallInt(*value as i16),
                (PartitionValue::Int(value), Some(CellType::Long)) => Cell::Long(*value),
                // A year is the number that people write; a date is its days.
                (PartitionValue::Int(value), Some(CellType::Int)) => Cell::Int(text().parse().unwrap_or(*value as i32)),
                (_, Some(CellType::Bytes)) => Cell::Bytes(text().into_bytes()),
                // No other pair passes the check of the partitioning.
                (PartitionValue::Boolean(_) | PartitionValue::String(_), Some(_)) => Cell::Null,
            }
        };
        values.iter().enumerate().map(cell).collect()
    }

    /// A manifest of files that are new; `address` gives a file's full path, `first_row` counts the table's rows before.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn added(
        &self,
        files: &[RoundFile],
        schema_id: i64,
        first_row: i64,
        now_ms: i64,
        address: impl Fn(&str) -> String,
    ) -> Result<Vec<u8>, apache_avro::Error> {
        let mut row = first_row;
        let mut entries = Vec::with_capacity(files.len());
        for file in files {
            let partition = binary_row::stored(&self.partition(&file.file.values));
            let (_, plain) = self.folder(&file.file.values);
            let external = (!plain).then(|| address(&file.path));
            entries.push(record(vec![
                ("_VERSION", Avro::Int(VERSION)),
                ("_KIND", Avro::Int(0)),
                ("_PARTITION", Avro::Bytes(partition)),
                ("_BUCKET", Avro::Int(0)),
                ("_TOTAL_BUCKETS", Avro::Int(-1)),
                ("_FILE", self.data_file(file, schema_id, row, now_ms, external)),
            ]));
            row += file.file.rows as i64;
        }
        self.entries.write(&[], entries)
    }

    fn data_file(&self, file: &RoundFile, schema_id: i64, row: i64, now_ms: i64, external: Option<String>) -> Avro {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path).to_owned();
        let rows = file.file.rows as i64;
        let no_key = || Avro::Bytes(binary_row::stored(&[]));
        record(vec![
            ("_FILE_NAME", Avro::String(name)),
            ("_FILE_SIZE", Avro::Long(file.file.bytes.len() as i64)),
            ("_ROW_COUNT", Avro::Long(rows)),
            ("_MIN_KEY", no_key()),
            ("_MAX_KEY", no_key()),
            ("_KEY_STATS", Stats::default().record()),
            ("_VALUE_STATS", self.value_stats(file).record()),
            ("_MIN_SEQUENCE_NUMBER", Avro::Long(row)),
            ("_MAX_SEQUENCE_NUMBER", Avro::Long(row + rows - 1)),
            ("_SCHEMA_ID", Avro::Long(schema_id)),
            ("_LEVEL", Avro::Int(0)),
            ("_EXTRA_FILES", Avro::Array(Vec::new())),
            ("_CREATION_TIME", some(Avro::TimestampMillis(now_ms))),
            ("_DELETE_ROW_COUNT", some(Avro::Long(0))),
            ("_EMBEDDED_FILE_INDEX", none()),
            // Appended, as opposed to compacted.
            ("_FILE_SOURCE", some(Avro::Int(0))),
            // Those of the schema, all of them.
            ("_VALUE_STATS_COLS", none()),
            ("_EXTERNAL_PATH", external.map_or_else(none, |path| some(Avro::String(path)))),
            ("_FIRST_ROW_ID", none()),
            ("_WRITE_COLS", none()),
        ])
    }

    /// What is known of a file's columns; nothing where it is not worth it.
    fn value_stats(&self, file: &RoundFile) -> Stats {
        let figures = ColumnFigures::of(&file.file.metadata);
        let mut stats = Stats::default();
        for field in self.files.fields() {
            let id = field_id(field).unwrap_or(-1);
            let bounds = figures.bounds.get(&id).and_then(|bounds| cells_of(bounds, field.data_type()));
            let (min, max) = bounds.unwrap_or((Cell::Null, Cell::Null));
            stats.min.push(min);
            stats.max.push(max);
            stats.nulls.push(figures.nulls.get(&id).copied());
        }
        stats
    }

    /// What a list says of the partitions of these files.
    pub fn partition_stats(&self, files: &[RoundFile]) -> Stats {
        let rows: Vec<Vec<Cell>> = files.iter().map(|file| self.partition(&file.file.values)).collect();
        let of = |level: usize| {
            let cells = || rows.iter().filter_map(|row| row.get(level)).filter(|cell| **cell != Cell::Null);
            (cells().min().cloned(), cells().max().cloned(), Some((rows.len() - cells().count()) as i64))
        };
        Stats::of((0..self.partitions.len()).map(of))
    }

    /// The same of several manifests; `None` if one of them says nothing that can be understood.
    pub fn merged_stats<'a>(&self, manifests: impl Iterator<Item = &'a ManifestMeta>) -> Option<Stats> {
        let mut all = Vec::new();
        for manifest in manifests {
            all.push(Stats::read(&manifest.partitions, &self.partitions)?);
        }
        let of = |level: usize| {
            let present = |cells: fn(&Stats) -> &Vec<Cell>| {
                let cells = all.iter().filter_map(move |stats| cells(stats).get(level));
                cells.filter(|cell| **cell != Cell::Null)
            };
            let nulls = all.iter().map(|stats| stats.nulls.get(level).copied().flatten());
            (present(|s| &s.min).min().cloned(), present(|s| &s.max).max().cloned(), nulls.sum::<Option<i64>>())
        };
        Some(Stats::of((0..self.partitions.len()).map(of)))
    }

    /// The entries of a manifest of ours, to be written again.
    ///
    /// # Errors
    /// The Avro crate's, for one that is damaged or not ours.
    pub fn own_entries(&self, bytes: &[u8]) -> Result<Vec<Avro>, apache_avro::Error> {
        self.entries.read(bytes)
    }

    /// A manifest of entries that manifests of ours had.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn again(&self, entries: Vec<Avro>) -> Result<Vec<u8>, apache_avro::Error> {
        self.entries.write(&[], entries)
    }

    /// A manifest list.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn list(&self, manifests: &[ManifestMeta]) -> Result<Vec<u8>, apache_avro::Error> {
        let listed = |meta: &ManifestMeta| {
            record(vec![
                ("_VERSION", Avro::Int(VERSION)),
                ("_FILE_NAME", Avro::String(meta.name.clone())),
                ("_FILE_SIZE", Avro::Long(meta.size)),
                ("_NUM_ADDED_FILES", Avro::Long(meta.added)),
                ("_NUM_DELETED_FILES", Avro::Long(meta.deleted)),
                ("_PARTITION_STATS", meta.partitions.clone()),
                ("_SCHEMA_ID", Avro::Long(meta.schema_id)),
            ])
        };
        self.list.write(&[], manifests.iter().map(listed).collect())
    }

    /// The files that a manifest names, whoever wrote it.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn named_files(&self, bytes: &[u8]) -> Result<Vec<NamedFile>, Damaged> {
        let named = |entry: &Avro| {
            let file = field(entry, "_FILE").ok_or(Damaged::Value { what: "an entry without a file" })?;
            let name = text(file, "_FILE_NAME").ok_or(Damaged::Value { what: "a file without a name" })?.to_owned();
            let deleted = match number(entry, "_KIND") {
                Some(0) => false,
                Some(1) => true,
                _ => return Err(Damaged::Value { what: "the kind of an entry" }),
            };
            let external = text(file, "_EXTERNAL_PATH").map(str::to_owned);
            let path = match (&external, number(entry, "_BUCKET")) {
                // A name is no path.
                (None, Some(bucket)) if !name.contains('/') => {
                    self.folder_of(entry).map(|folder| format!("{folder}bucket-{bucket}/{name}"))
                }
                _ => None,
            };
            Ok(NamedFile { deleted, name, path, external })
        };
        read_as_written(bytes)?.iter().map(named).collect()
    }

    /// The folder of an entry's partition, with a `/` behind it unless it is empty.
    fn folder_of(&self, entry: &Avro) -> Option<String> {
        let Some(Avro::Bytes(partition)) = field(entry, "_PARTITION") else { return None };
        let cells = binary_row::read(partition, &self.partitions)?;
        let mut folder = String::new();
        for ((key, cell), data_type) in partition_keys(&self.spec).iter().zip(cells).zip(self.key_types()) {
            let text = match cell {
                Cell::Null => String::new(),
                Cell::TinyInt(value) => value.to_string(),
                Cell::SmallInt(value) => value.to_string(),
                Cell::Int(days) if data_type == Some(DataType::Date32) => {
                    chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0)?.date_naive().to_string()
                }
                Cell::Int(value) => value.to_string(),
                Cell::Long(value) => value.to_string(),
                Cell::Bytes(bytes) => String::from_utf8(bytes).ok()?,
                Cell::Fine(..) => return None,
            };
            let text = if text.trim().is_empty() { DEFAULT_PARTITION } else { &text };
            folder.push_str(&format!("{}={}/", escaped(key), escaped(text)));
        }
        Some(folder)
    }

    fn key_types(&self) -> impl Iterator<Item = Option<DataType>> {
        let of = |key: String| self.files.field_with_name(&key).ok().map(|field| field.data_type().clone());
        partition_keys(&self.spec).into_iter().map(of)
    }
}

/// The manifests of a list, whoever wrote it.
///
/// # Errors
/// [`Damaged`].
pub fn read_list(bytes: &[u8]) -> Result<Vec<ManifestMeta>, Damaged> {
    let meta = |record: &Avro| {
        let missing = Damaged::Value { what: "a manifest in a list" };
        if number(record, "_VERSION") != Some(i64::from(VERSION)) {
            return Err(Damaged::Value { what: "the version of a list" });
        }
        let figure = |name: &str| number(record, name).ok_or(missing.clone());
        let name = text(record, "_FILE_NAME").ok_or(missing.clone())?;
        if name.contains('/') {
            return Err(Damaged::Value { what: "the name of a manifest" });
        }
        Ok(ManifestMeta {
            name: name.to_owned(),
            size: figure("_FILE_SIZE")?,
            added: figure("_NUM_ADDED_FILES")?,
            deleted: figure("_NUM_DELETED_FILES")?,
            schema_id: figure("_SCHEMA_ID")?,
            partitions: Stats::checked(field(record, "_PARTITION_STATS")).ok_or(missing.clone())?,
        })
    };
    read_as_written(bytes)?.iter().map(meta).collect()
}

/// A part of a folder's name, escaped as Paimon does it. A text that is too long for one keeps its beginning and gets a hash; its
/// files are found by their full path.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(NAME_BYTES_MAX + 8));
    for c in text.chars() {
        if escaped.len() > NAME_BYTES_MAX {
            return format!("{escaped}~{:016x}", crate::partitioning::fnv1a(text.as_bytes()));
        }
        if c.is_ascii_control() || "\"#%'*/:=?\\{}[]^".contains(c) {
            escaped.push_str(&format!("%{:02X}", c as u32));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
