//! Manifests and manifest lists: which files a snapshot has. The schemas of these Avro files are those that Paimon's Java writers
//! give them, so that every reader takes them.
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use arrow_schema::{DataType, FieldRef, SchemaRef};

use super::binary_row::{self, Cell, CellType};
use super::key::KeyShape;
use super::records;
use super::schema::{partition_keys, partition_types};
use super::stats::{Stats, cells_of};
use crate::columns::field_id;
use crate::encode::EncodedFile;
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
    /// Those of the table.
    files: SchemaRef,
    partitions: Vec<CellType>,
    key: Option<Arc<KeyShape>>,
}

/// A file that was appended by a writer.
pub const APPENDED: i32 = 0;
/// A file that a compaction made of others.
pub const COMPACTED: i32 = 1;

/// A data file that a manifest is to name.
pub struct NewFile<'a> {
    pub name: &'a str,
    pub file: &'a EncodedFile,
    pub schema_id: i64,
    /// Least and greatest sequence number of its rows.
    pub sequence: (i64, i64),
    pub level: i32,
    /// [`APPENDED`] or [`COMPACTED`].
    pub source: i32,
    pub now_ms: i64,
    /// Its full address, where readers do not find it by its partition.
    pub external: Option<String>,
}

impl ManifestWriter {
    /// `source`: the topic's columns; `files`: those of the table.
    ///
    /// # Errors
    /// The Avro crate's, which cannot happen: the schemas are constant.
    pub fn new(
        spec: &PartitionSpec,
        source: &SchemaRef,
        files: &SchemaRef,
        key: Option<Arc<KeyShape>>,
    ) -> Result<ManifestWriter, apache_avro::Error> {
        Ok(ManifestWriter {
            entries: AvroSchema::parse(&records::entry())?,
            list: AvroSchema::parse(&records::list())?,
            spec: spec.clone(),
            source: source.clone(),
            files: files.clone(),
            partitions: partition_types(spec, files),
            key,
        })
    }

    /// Where files of a partition's bucket are; and whether every reader finds them there by the partition alone.
    pub fn folder(&self, values: &[PartitionValue], bucket: i32) -> (String, bool) {
        let keys = partition_keys(&self.spec);
        let (mut folder, mut plain) = (String::new(), true);
        for (at, (key, value)) in keys.iter().zip(values).enumerate() {
            let text = self.spec.text(at, value, &self.source).unwrap_or_default();
            let text = if text.trim().is_empty() { DEFAULT_PARTITION } else { text.as_str() };
            let name = escaped(text);
            plain &= name == text && escaped(key) == *key;
            folder.push_str(&format!("{}={name}/", escaped(key)));
        }
        (format!("{folder}bucket-{bucket}"), plain)
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
                (_, Some(_)) => Cell::Null,
            }
        };
        values.iter().enumerate().map(cell).collect()
    }

    /// Entries of files that a round adds; `address` gives a file's full path, `first_row` counts the table's rows before.
    pub fn added(
        &self,
        files: &[RoundFile],
        schema_id: i64,
        first_row: i64,
        now_ms: i64,
        address: impl Fn(&str) -> String,
    ) -> Vec<Avro> {
        let mut row = first_row;
        let mut entries = Vec::with_capacity(files.len());
        for file in files {
            let rows = file.file.rows as i64;
            let partition = binary_row::stored(&self.partition(&file.file.values));
            let keyed = file.file.keyed.as_ref();
            let bucket = keyed.map_or(0, |keyed| keyed.bucket);
            let (_, plain) = self.folder(&file.file.values, bucket);
            let new = NewFile {
                name: file.path.rsplit('/').next().unwrap_or(&file.path),
                file: &file.file,
                schema_id,
                sequence: keyed.map_or((row, row + rows - 1), |keyed| keyed.sequence),
                level: 0,
                source: APPENDED,
                now_ms,
                external: (!plain).then(|| address(&file.path)),
            };
            entries.push(self.entry(partition, bucket, self.data_file(new)));
            row += rows;
        }
        entries
    }

    /// The entry of a file that is added.
    pub fn entry(&self, partition: Vec<u8>, bucket: i32, file: Avro) -> Avro {
        record(vec![
            ("_VERSION", Avro::Int(VERSION)),
            ("_KIND", Avro::Int(0)),
            ("_PARTITION", Avro::Bytes(partition)),
            ("_BUCKET", Avro::Int(bucket)),
            ("_TOTAL_BUCKETS", Avro::Int(self.key.as_ref().map_or(-1, |key| key.buckets))),
            ("_FILE", file),
        ])
    }

    /// What an entry says of a file.
    pub fn data_file(&self, new: NewFile<'_>) -> Avro {
        let NewFile { file, .. } = &new;
        let no_key = || binary_row::stored(&[]);
        let (min_key, max_key) = file.keyed.as_ref().map_or_else(|| (no_key(), no_key()), |keyed| keyed.keys.clone());
        let deletes = file.keyed.as_ref().map_or(0, |keyed| keyed.deletes as i64);
        let key_fields = self.key.as_ref().map_or(&[][..], |key| key.fields());
        record(vec![
            ("_FILE_NAME", Avro::String(new.name.to_owned())),
            ("_FILE_SIZE", Avro::Long(file.bytes.len() as i64)),
            ("_ROW_COUNT", Avro::Long(file.rows as i64)),
            ("_MIN_KEY", Avro::Bytes(min_key)),
            ("_MAX_KEY", Avro::Bytes(max_key)),
            ("_KEY_STATS", stats_of(key_fields, file).record()),
            ("_VALUE_STATS", stats_of(self.files.fields(), file).record()),
            ("_MIN_SEQUENCE_NUMBER", Avro::Long(new.sequence.0)),
            ("_MAX_SEQUENCE_NUMBER", Avro::Long(new.sequence.1)),
            ("_SCHEMA_ID", Avro::Long(new.schema_id)),
            ("_LEVEL", Avro::Int(new.level)),
            ("_EXTRA_FILES", Avro::Array(Vec::new())),
            ("_CREATION_TIME", some(Avro::TimestampMillis(new.now_ms))),
            ("_DELETE_ROW_COUNT", some(Avro::Long(deletes))),
            ("_EMBEDDED_FILE_INDEX", none()),
            ("_FILE_SOURCE", some(Avro::Int(new.source))),
            // Those of the schema, all of them.
            ("_VALUE_STATS_COLS", none()),
            ("_EXTERNAL_PATH", new.external.map_or_else(none, |path| some(Avro::String(path)))),
            ("_FIRST_ROW_ID", none()),
            ("_WRITE_COLS", none()),
        ])
    }

    /// What a list says of the partitions of these entries.
    pub fn partition_stats(&self, entries: &[Avro]) -> Stats {
        let partition = |entry: &Avro| match field(entry, "_PARTITION") {
            Some(Avro::Bytes(bytes)) => binary_row::read(bytes, &self.partitions),
            _ => None,
        };
        let rows: Vec<Vec<Cell>> = entries.iter().filter_map(partition).collect();
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

    /// A manifest of these entries.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn manifest(&self, entries: Vec<Avro>) -> Result<Vec<u8>, apache_avro::Error> {
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
        read_as_written(bytes)?.iter().map(|entry| self.named(entry)).collect()
    }

    /// What an entry names.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn named(&self, entry: &Avro) -> Result<NamedFile, Damaged> {
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

/// What is known of the columns of a file; nothing where it is not worth it.
fn stats_of(fields: &[FieldRef], file: &EncodedFile) -> Stats {
    let figures = ColumnFigures::of(&file.metadata);
    let mut stats = Stats::default();
    for field in fields {
        let id = field_id(field).unwrap_or(-1);
        let bounds = figures.bounds.get(&id).and_then(|bounds| cells_of(bounds, field.data_type()));
        let (min, max) = bounds.unwrap_or((Cell::Null, Cell::Null));
        stats.min.push(min);
        stats.max.push(max);
        stats.nulls.push(figures.nulls.get(&id).copied());
    }
    stats
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
