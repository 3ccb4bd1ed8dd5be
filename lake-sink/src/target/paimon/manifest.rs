//! Manifests and manifest lists: which files a snapshot has. The schemas of these Avro files are those that Paimon's Java writers
//! give them, so that every reader takes them.
use apache_avro::types::Value as Avro;
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use super::binary_row::{self, Cell, CellType};
use super::schema::{partition_keys, partition_types};
use crate::columns::field_id;
use crate::partitioning::{PartitionSpec, PartitionValue};
use crate::target::RoundFile;
use crate::target::avro::{AvroSchema, Damaged, field, none, number, read_as_written, record, some, text};
use crate::target::figures::{Bounds, ColumnFigures};

/// Of the records, since ever.
const VERSION: i32 = 2;
/// Longest texts that are kept as least and greatest.
const BOUND_LEN: usize = 64;
/// Partition of a folder for what has no name of its own.
const DEFAULT_PARTITION: &str = "__DEFAULT_PARTITION__";
/// Longest value of a partition that is part of a folder's name.
const NAME_BYTES_MAX: usize = 100;

/// Least and greatest values and counts of nulls, by column: `_MIN_VALUES`, `_MAX_VALUES`, `_NULL_COUNTS`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    pub min: Vec<Cell>,
    pub max: Vec<Cell>,
    pub nulls: Vec<Option<i64>>,
}

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

fn field_of(name: &str, avro_type: Value) -> Value {
    json!({ "name": name, "type": avro_type })
}

fn optional(name: &str, avro_type: Value) -> Value {
    json!({ "name": name, "type": ["null", avro_type], "default": null })
}

fn stats_schema(name: &str) -> Value {
    let counts = json!({ "type": "array", "items": ["null", "long"] });
    let fields = [
        field_of("_MIN_VALUES", json!("bytes")),
        field_of("_MAX_VALUES", json!("bytes")),
        optional("_NULL_COUNTS", counts),
    ];
    json!({ "type": "record", "name": name, "fields": fields })
}

fn file_schema() -> Value {
    let strings = || json!({ "type": "array", "items": "string" });
    let fields = [
        field_of("_FILE_NAME", json!("string")),
        field_of("_FILE_SIZE", json!("long")),
        field_of("_ROW_COUNT", json!("long")),
        field_of("_MIN_KEY", json!("bytes")),
        field_of("_MAX_KEY", json!("bytes")),
        field_of("_KEY_STATS", stats_schema("record__FILE__KEY_STATS")),
        field_of("_VALUE_STATS", stats_schema("record__FILE__VALUE_STATS")),
        field_of("_MIN_SEQUENCE_NUMBER", json!("long")),
        field_of("_MAX_SEQUENCE_NUMBER", json!("long")),
        field_of("_SCHEMA_ID", json!("long")),
        field_of("_LEVEL", json!("int")),
        field_of("_EXTRA_FILES", strings()),
        optional("_CREATION_TIME", json!({ "type": "long", "logicalType": "timestamp-millis" })),
        optional("_DELETE_ROW_COUNT", json!("long")),
        optional("_EMBEDDED_FILE_INDEX", json!("bytes")),
        optional("_FILE_SOURCE", json!("int")),
        optional("_VALUE_STATS_COLS", strings()),
        optional("_EXTERNAL_PATH", json!("string")),
        optional("_FIRST_ROW_ID", json!("long")),
        optional("_WRITE_COLS", strings()),
    ];
    json!({ "type": "record", "name": "record__FILE", "fields": fields })
}

fn entry_schema() -> Value {
    let fields = [
        field_of("_VERSION", json!("int")),
        field_of("_KIND", json!("int")),
        field_of("_PARTITION", json!("bytes")),
        field_of("_BUCKET", json!("int")),
        field_of("_TOTAL_BUCKETS", json!("int")),
        field_of("_FILE", file_schema()),
    ];
    json!({ "type": "record", "name": "record", "namespace": "org.apache.paimon.avro.generated", "fields": fields })
}

fn list_schema() -> Value {
    let fields = [
        field_of("_VERSION", json!("int")),
        field_of("_FILE_NAME", json!("string")),
        field_of("_FILE_SIZE", json!("long")),
        field_of("_NUM_ADDED_FILES", json!("long")),
        field_of("_NUM_DELETED_FILES", json!("long")),
        field_of("_PARTITION_STATS", stats_schema("record__PARTITION_STATS")),
        field_of("_SCHEMA_ID", json!("long")),
    ];
    json!({ "type": "record", "name": "record", "namespace": "org.apache.paimon.avro.generated", "fields": fields })
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
            entries: AvroSchema::parse(&entry_schema())?,
            list: AvroSchema::parse(&list_schema())?,
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
            let path = match (text(file, "_EXTERNAL_PATH"), number(entry, "_BUCKET")) {
                // A name is no path.
                (None, Some(bucket)) if !name.contains('/') => {
                    self.folder_of(entry).map(|folder| format!("{folder}bucket-{bucket}/{name}"))
                }
                _ => None,
            };
            Ok(NamedFile { deleted, name, path })
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

impl Stats {
    fn of(columns: impl Iterator<Item = (Option<Cell>, Option<Cell>, Option<i64>)>) -> Stats {
        let mut stats = Stats::default();
        for (min, max, nulls) in columns {
            stats.min.push(min.unwrap_or(Cell::Null));
            stats.max.push(max.unwrap_or(Cell::Null));
            stats.nulls.push(nulls);
        }
        stats
    }

    /// As manifests and lists have it.
    pub fn record(&self) -> Avro {
        let count = |nulls: &Option<i64>| nulls.map_or_else(none, |nulls| some(Avro::Long(nulls)));
        record(vec![
            ("_MIN_VALUES", Avro::Bytes(binary_row::stored(&self.min))),
            ("_MAX_VALUES", Avro::Bytes(binary_row::stored(&self.max))),
            ("_NULL_COUNTS", some(Avro::Array(self.nulls.iter().map(count).collect()))),
        ])
    }

    fn read(stats: &Avro, types: &[CellType]) -> Option<Stats> {
        let cells = |name: &str| match field(stats, name) {
            Some(Avro::Bytes(bytes)) => binary_row::read(bytes, types),
            _ => None,
        };
        let nulls = match field(stats, "_NULL_COUNTS") {
            Some(Avro::Array(counts)) => counts.iter().map(long).collect(),
            _ => vec![None; types.len()],
        };
        Some(Stats { min: cells("_MIN_VALUES")?, max: cells("_MAX_VALUES")?, nulls })
    }

    /// A record that somebody wrote, as we write it.
    fn checked(stats: Option<&Avro>) -> Option<Avro> {
        let stats = stats?;
        let bytes = |name: &str| field(stats, name).filter(|value| matches!(value, Avro::Bytes(_))).cloned();
        let counts = match field(stats, "_NULL_COUNTS") {
            Some(Avro::Array(counts)) => {
                let count = |value| long(value).map_or_else(none, |count| some(Avro::Long(count)));
                some(Avro::Array(counts.iter().map(count).collect()))
            }
            _ => none(),
        };
        Some(record(vec![
            ("_MIN_VALUES", bytes("_MIN_VALUES")?),
            ("_MAX_VALUES", bytes("_MAX_VALUES")?),
            ("_NULL_COUNTS", counts),
        ]))
    }
}

fn long(value: &Avro) -> Option<i64> {
    match value {
        Avro::Union(_, inner) => long(inner),
        Avro::Long(value) => Some(*value),
        _ => None,
    }
}

/// Bounds of a file's column as cells, where readers can use them.
fn cells_of(bounds: &Bounds, data_type: &DataType) -> Option<(Cell, Cell)> {
    let fine = |micros: i64| Cell::Fine(micros.div_euclid(1_000), micros.rem_euclid(1_000) as i32 * 1_000);
    Some(match (bounds, data_type) {
        (Bounds::Int(min, max), DataType::Int8) => (Cell::TinyInt(*min as i8), Cell::TinyInt(*max as i8)),
        (Bounds::Int(min, max), DataType::Int16) => (Cell::SmallInt(*min as i16), Cell::SmallInt(*max as i16)),
        (Bounds::Int(min, max), DataType::Int32 | DataType::Date32 | DataType::Time32(_)) => {
            (Cell::Int(*min), Cell::Int(*max))
        }
        (Bounds::Long(min, max), DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond, _)) => {
            (Cell::Long(*min), Cell::Long(*max))
        }
        (Bounds::Long(min, max), DataType::Timestamp(TimeUnit::Microsecond, _)) => (fine(*min), fine(*max)),
        // Long ones are cut by the writer of the file; what is cut may be no text any more.
        (Bounds::Bytes(min, max), DataType::Utf8) if min.len() < BOUND_LEN && max.len() < BOUND_LEN => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok().then(|| Cell::Bytes(bytes.to_vec()));
            (text(min)?, text(max)?)
        }
        _ => return None,
    })
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
mod tests {
    use super::*;
    use crate::columns::untyped;

    fn writer(by: &str) -> ManifestWriter {
        let spec: PartitionSpec = by.parse().unwrap();
        let files = super::super::schema::file_schema(&untyped(), &spec).unwrap();
        ManifestWriter::new(&spec, &untyped(), &files).unwrap()
    }

    fn meta(name: &str, stats: &Stats) -> ManifestMeta {
        ManifestMeta { name: name.to_owned(), size: 1, added: 2, deleted: 3, schema_id: 4, partitions: stats.record() }
    }

    #[test]
    fn folders_are_named_as_paimon_names_them() {
        let writer = writer("day(__timestamp), __partition");
        let folder = |values: &[PartitionValue]| writer.folder(values);
        let (day, one) = (PartitionValue::Int(15_706), PartitionValue::Int(1));
        assert_eq!(folder(&[day, one]), ("__timestamp_day=2013-01-01/__partition=1/bucket-0".to_owned(), true));
        assert_eq!(
            folder(&[PartitionValue::Null, PartitionValue::Int(2)]).0,
            format!("__timestamp_day={DEFAULT_PARTITION}/__partition=2/bucket-0")
        );
        assert_eq!((escaped("a b.c"), escaped("50%/day")), ("a b.c".to_owned(), "50%25%2Fday".to_owned()));
        let long = escaped(&"ü".repeat(400));
        assert!(long.len() < 140 && long.contains('~'), "{long}");
        assert_eq!(escaped("ü"), "ü");
    }

    #[test]
    fn partitions_are_rows_with_years_as_numbers_and_days_as_texts() {
        let cells = writer("year(__timestamp), month(__timestamp), __partition").partition(&[
            PartitionValue::Int(43),
            PartitionValue::Int(43 * 12),
            PartitionValue::Int(7),
        ]);
        assert_eq!(cells, [Cell::Int(2013), Cell::Bytes(b"2013-01".to_vec()), Cell::Int(7)]);
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let writer = writer("__partition");
        let stats = Stats { min: vec![Cell::Int(1)], max: vec![Cell::Int(5)], nulls: vec![Some(0)] };
        let metas = [meta("manifest-a", &stats), meta("manifest-b", &Stats { nulls: vec![None], ..stats.clone() })];
        let bytes = writer.list(&metas).unwrap();
        assert_eq!(read_list(&bytes).unwrap(), metas);
        let bytes = writer.list(&[meta("../manifest", &stats)]).unwrap();
        assert!(read_list(&bytes).is_err(), "a name is no path");
        let merged = writer.merged_stats(metas.iter()).unwrap();
        assert_eq!((merged.min, merged.max, merged.nulls), (vec![Cell::Int(1)], vec![Cell::Int(5)], vec![None]));
    }

    #[test]
    fn bounds_are_cells_of_the_columns_type() {
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(cells_of(&Bounds::Long(-1, 5), &millis), Some((Cell::Long(-1), Cell::Long(5))));
        assert_eq!(cells_of(&Bounds::Long(-1, 1_001), &micros), Some((Cell::Fine(-1, 999_000), Cell::Fine(1, 1_000))));
        assert_eq!(cells_of(&Bounds::Int(-1, 5), &DataType::Int8), Some((Cell::TinyInt(-1), Cell::TinyInt(5))));
        assert_eq!(cells_of(&Bounds::Bytes(vec![b'a'], vec![b'z'; 64]), &DataType::Utf8), None, "perhaps cut");
        assert_eq!(cells_of(&Bounds::Bytes(vec![1], vec![2]), &DataType::Binary), None);
    }
}
