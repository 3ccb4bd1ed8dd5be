//! Manifests and manifest lists of format version 2: which files a snapshot has.
use std::collections::BTreeMap;

use apache_avro::types::Value as Avro;
use arrow_schema::SchemaRef;
use serde_json::{Value, json};

use super::schema::{PARTITION_ID_BASE, partition_type, spec_fields};
use crate::partitioning::{PartitionSpec, PartitionValue};
use crate::target::RoundFile;
use crate::target::avro::{AvroSchema, field, int_map, none, number, record, some};
use crate::target::figures::{Bounds, ColumnFigures};

/// `status` of a file that is not in the table any more.
pub const DELETED: i64 = 2;
/// Longest bound of a text that is kept.
const BOUND_LEN: usize = 16;

/// Writes manifests of a table with these columns and partitions.
pub struct ManifestWriter {
    entries: AvroSchema,
    list: AvroSchema,
    spec: PartitionSpec,
    types: Vec<Value>,
    metadata: Vec<(&'static str, String)>,
}

/// What a manifest list says of a manifest.
#[derive(Debug, Clone)]
pub struct ManifestFile {
    pub path: String,
    pub len: u64,
    pub files: usize,
    pub rows: u64,
    /// Files that are new with the snapshot, as opposed to taken over.
    pub added: bool,
    pub sequence: i64,
    pub min_sequence: i64,
    pub snapshot: i64,
    pub partitions: Vec<Summary>,
}

/// Range of one partition column in a manifest.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    contains_null: bool,
    bounds: Option<(PartitionValue, PartitionValue)>,
}

fn optional(avro_type: Value, id: i32, name: &str) -> Value {
    json!({ "name": name, "type": ["null", avro_type], "default": null, "field-id": id })
}

fn required(avro_type: Value, id: i32, name: &str) -> Value {
    json!({ "name": name, "type": avro_type, "field-id": id })
}

fn map(key: i32, value: i32, value_type: &str) -> Value {
    let fields = [required(json!("int"), key, "key"), required(json!(value_type), value, "value")];
    let items = json!({ "type": "record", "name": format!("k{key}_v{value}"), "fields": fields });
    json!({ "type": "array", "items": items, "logicalType": "map" })
}

fn entry_schema(spec: &PartitionSpec, types: &[Value]) -> Value {
    let levels = spec.0.iter().zip(types).zip(PARTITION_ID_BASE..);
    let partition: Vec<Value> = levels.map(|((level, t), id)| optional(t.clone(), id, &level.name())).collect();
    let partition = json!({ "type": "record", "name": "r102", "fields": partition });
    let file = [
        required(json!("int"), 134, "content"),
        required(json!("string"), 100, "file_path"),
        required(json!("string"), 101, "file_format"),
        required(partition, 102, "partition"),
        required(json!("long"), 103, "record_count"),
        required(json!("long"), 104, "file_size_in_bytes"),
        optional(map(117, 118, "long"), 108, "column_sizes"),
        optional(map(119, 120, "long"), 109, "value_counts"),
        optional(map(121, 122, "long"), 110, "null_value_counts"),
        optional(map(138, 139, "long"), 137, "nan_value_counts"),
        optional(map(126, 127, "bytes"), 125, "lower_bounds"),
        optional(map(129, 130, "bytes"), 128, "upper_bounds"),
        optional(json!("bytes"), 131, "key_metadata"),
        optional(json!({ "type": "array", "items": "long", "element-id": 133 }), 132, "split_offsets"),
        optional(json!({ "type": "array", "items": "int", "element-id": 136 }), 135, "equality_ids"),
        optional(json!("int"), 140, "sort_order_id"),
    ];
    let file = json!({ "type": "record", "name": "r2", "fields": file });
    let fields = [
        required(json!("int"), 0, "status"),
        optional(json!("long"), 1, "snapshot_id"),
        optional(json!("long"), 3, "sequence_number"),
        optional(json!("long"), 4, "file_sequence_number"),
        required(file, 2, "data_file"),
    ];
    json!({ "type": "record", "name": "manifest_entry", "fields": fields })
}

fn list_schema() -> Value {
    let summary = [
        required(json!("boolean"), 509, "contains_null"),
        optional(json!("boolean"), 518, "contains_nan"),
        optional(json!("bytes"), 510, "lower_bound"),
        optional(json!("bytes"), 511, "upper_bound"),
    ];
    let summary = json!({ "type": "record", "name": "r508", "fields": summary });
    let fields = [
        required(json!("string"), 500, "manifest_path"),
        required(json!("long"), 501, "manifest_length"),
        required(json!("int"), 502, "partition_spec_id"),
        required(json!("int"), 517, "content"),
        required(json!("long"), 515, "sequence_number"),
        required(json!("long"), 516, "min_sequence_number"),
        required(json!("long"), 503, "added_snapshot_id"),
        required(json!("int"), 504, "added_files_count"),
        required(json!("int"), 505, "existing_files_count"),
        required(json!("int"), 506, "deleted_files_count"),
        required(json!("long"), 512, "added_rows_count"),
        required(json!("long"), 513, "existing_rows_count"),
        required(json!("long"), 514, "deleted_rows_count"),
        optional(json!({ "type": "array", "items": summary, "element-id": 508 }), 507, "partitions"),
        optional(json!("bytes"), 519, "key_metadata"),
    ];
    json!({ "type": "record", "name": "manifest_file", "fields": fields })
}

impl ManifestWriter {
    /// `schema`: the table's columns as Iceberg stores them; `table_schema`: the same as metadata has it.
    ///
    /// # Errors
    /// The Avro crate's, which cannot happen with names that Avro admits.
    pub fn new(
        spec: &PartitionSpec,
        schema: &SchemaRef,
        table_schema: &Value,
    ) -> Result<ManifestWriter, apache_avro::Error> {
        let of = |column: &str| schema.field_with_name(column).map(|f| f.data_type().clone());
        let types = spec.0.iter().filter_map(|level| Some(partition_type(level.transform, &of(&level.column).ok()?)));
        let types: Vec<Value> = types.collect();
        let metadata = vec![
            ("schema", table_schema.to_string()),
            ("schema-id", table_schema["schema-id"].to_string()),
            ("partition-spec", Value::Array(spec_fields(spec, schema)).to_string()),
            ("partition-spec-id", "0".to_owned()),
            ("format-version", "2".to_owned()),
            ("content", "data".to_owned()),
        ];
        let entries = AvroSchema::parse(&entry_schema(spec, &types))?;
        Ok(ManifestWriter { entries, list: AvroSchema::parse(&list_schema())?, spec: spec.clone(), types, metadata })
    }

    /// A manifest of files that are new with `snapshot`; `address` gives a file's full path.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn added(
        &self,
        snapshot: i64,
        files: &[RoundFile],
        address: impl Fn(&str) -> String,
    ) -> Result<Vec<u8>, apache_avro::Error> {
        let entry = |file: &RoundFile| {
            record(vec![
                ("status", Avro::Int(1)),
                ("snapshot_id", some(Avro::Long(snapshot))),
                // Those of the snapshot, whatever they turn out to be.
                ("sequence_number", none()),
                ("file_sequence_number", none()),
                ("data_file", self.data_file(file, address(&file.path))),
            ])
        };
        self.entries.write(&self.metadata, files.iter().map(entry).collect())
    }

    fn data_file(&self, file: &RoundFile, path: String) -> Avro {
        let values = self.spec.0.iter().zip(&self.types).zip(&file.file.values);
        let partition = values.map(|((level, t), value)| (level.name(), avro_value(t, value))).collect();
        let columns = ColumnFigures::of(&file.file.metadata);
        let (mut lower, mut upper) = (BTreeMap::new(), BTreeMap::new());
        for (id, (low, high)) in columns.bounds.into_iter().map(|(id, bounds)| (id, encoded(bounds))) {
            lower.insert(id, low);
            upper.extend(high.map(|high| (id, high)));
        }
        let longs = |map: BTreeMap<i32, i64>| some(int_map(map.into_iter().map(|(k, v)| (k, Avro::Long(v))).collect()));
        let bounds =
            |map: BTreeMap<i32, Vec<u8>>| some(int_map(map.into_iter().map(|(k, v)| (k, Avro::Bytes(v))).collect()));
        record(vec![
            ("content", Avro::Int(0)),
            ("file_path", Avro::String(path)),
            ("file_format", Avro::String("PARQUET".to_owned())),
            ("partition", Avro::Record(partition)),
            ("record_count", Avro::Long(file.file.rows as i64)),
            ("file_size_in_bytes", Avro::Long(file.file.bytes.len() as i64)),
            ("column_sizes", longs(columns.sizes)),
            ("value_counts", longs(columns.values)),
            ("null_value_counts", longs(columns.nulls)),
            ("nan_value_counts", none()),
            ("lower_bounds", bounds(lower)),
            ("upper_bounds", bounds(upper)),
            ("key_metadata", none()),
            ("split_offsets", none()),
            ("equality_ids", none()),
            ("sort_order_id", some(Avro::Int(0))),
        ])
    }

    /// What a manifest of these files has in its partition columns.
    pub fn summaries(&self, files: &[RoundFile]) -> Vec<Summary> {
        let of = |level: usize| {
            let values = || files.iter().filter_map(|file| file.file.values.get(level));
            let present = || values().filter(|value| **value != PartitionValue::Null);
            let bounds = present().min().cloned().zip(present().max().cloned());
            Summary { contains_null: values().any(|value| *value == PartitionValue::Null), bounds }
        };
        (0..self.spec.0.len()).map(of).collect()
    }

    /// The manifests of a list that somebody wrote, as records of [`ManifestWriter::list`].
    ///
    /// # Errors
    /// The Avro crate's, for a damaged list.
    pub fn read_list(&self, bytes: &[u8]) -> Result<Vec<Avro>, apache_avro::Error> {
        self.list.read(bytes)
    }

    /// The records of a manifest whose partitions are this table's.
    ///
    /// # Errors
    /// The Avro crate's, for a damaged manifest or one of another partitioning.
    pub fn read_entries(&self, bytes: &[u8]) -> Result<Vec<Avro>, apache_avro::Error> {
        self.entries.read(bytes)
    }

    /// A manifest of files that other manifests had; each entry says by itself since when it is there.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn existing(&self, entries: Vec<Avro>) -> Result<Vec<u8>, apache_avro::Error> {
        self.entries.write(&self.metadata, entries)
    }

    /// A manifest list.
    ///
    /// # Errors
    /// The Avro crate's.
    pub fn list(
        &self,
        snapshot: i64,
        parent: Option<i64>,
        sequence: i64,
        manifests: Vec<Avro>,
    ) -> Result<Vec<u8>, apache_avro::Error> {
        let metadata = [
            ("snapshot-id", snapshot.to_string()),
            ("parent-snapshot-id", parent.map_or_else(|| "null".to_owned(), |id| id.to_string())),
            ("sequence-number", sequence.to_string()),
            ("format-version", "2".to_owned()),
        ];
        self.list.write(&metadata, manifests)
    }

    /// The record of a manifest in a list.
    pub fn listed(&self, file: &ManifestFile) -> Avro {
        let summary = |(level, summary): (usize, &Summary)| {
            let bound = |value: &PartitionValue| some(Avro::Bytes(single_value(&self.types[level], value)));
            let (lower, upper) = match &summary.bounds {
                Some((lower, upper)) => (bound(lower), bound(upper)),
                None => (none(), none()),
            };
            record(vec![
                ("contains_null", Avro::Boolean(summary.contains_null)),
                ("contains_nan", some(Avro::Boolean(false))),
                ("lower_bound", lower),
                ("upper_bound", upper),
            ])
        };
        let partitions = Avro::Array(file.partitions.iter().enumerate().map(summary).collect());
        let (files, rows) = (file.files as i32, file.rows as i64);
        let ((added, added_rows), (existing, existing_rows)) =
            if file.added { ((files, rows), (0, 0)) } else { ((0, 0), (files, rows)) };
        record(vec![
            ("manifest_path", Avro::String(file.path.clone())),
            ("manifest_length", Avro::Long(file.len as i64)),
            ("partition_spec_id", Avro::Int(0)),
            ("content", Avro::Int(0)),
            ("sequence_number", Avro::Long(file.sequence)),
            ("min_sequence_number", Avro::Long(file.min_sequence)),
            ("added_snapshot_id", Avro::Long(file.snapshot)),
            ("added_files_count", Avro::Int(added)),
            ("existing_files_count", Avro::Int(existing)),
            ("deleted_files_count", Avro::Int(0)),
            ("added_rows_count", Avro::Long(added_rows)),
            ("existing_rows_count", Avro::Long(existing_rows)),
            ("deleted_rows_count", Avro::Long(0)),
            // None says that nothing is known; it is right for whatever was merged.
            ("partitions", if file.added { some(partitions) } else { none() }),
            ("key_metadata", none()),
        ])
    }
}

/// The entry as a later manifest has it: not new, with the sequence numbers that it inherited before.
pub fn inherited(entry: &Avro, manifest: &Avro) -> Option<Avro> {
    let sequence = number(manifest, "sequence_number")?;
    let snapshot = number(entry, "snapshot_id").or_else(|| number(manifest, "added_snapshot_id"))?;
    let data_sequence = number(entry, "sequence_number").unwrap_or(sequence);
    let file_sequence = number(entry, "file_sequence_number").unwrap_or(sequence);
    Some(record(vec![
        ("status", Avro::Int(0)),
        ("snapshot_id", some(Avro::Long(snapshot))),
        ("sequence_number", some(Avro::Long(data_sequence))),
        ("file_sequence_number", some(Avro::Long(file_sequence))),
        ("data_file", field(entry, "data_file")?.clone()),
    ]))
}

fn avro_value(avro_type: &Value, value: &PartitionValue) -> Avro {
    match value {
        PartitionValue::Null => none(),
        PartitionValue::Boolean(value) => some(Avro::Boolean(*value)),
        PartitionValue::String(text) => some(Avro::String(text.clone())),
        PartitionValue::Int(value) if avro_type == "long" => some(Avro::Long(*value)),
        PartitionValue::Int(value) if avro_type == "int" => some(Avro::Int(*value as i32)),
        PartitionValue::Int(days) => some(Avro::Date(*days as i32)),
    }
}

/// Iceberg's binary form of one value.
fn single_value(avro_type: &Value, value: &PartitionValue) -> Vec<u8> {
    match value {
        PartitionValue::Null => Vec::new(),
        PartitionValue::Boolean(value) => vec![u8::from(*value)],
        PartitionValue::String(text) => text.as_bytes().to_vec(),
        PartitionValue::Int(value) if avro_type == "long" => value.to_le_bytes().to_vec(),
        PartitionValue::Int(value) => (*value as i32).to_le_bytes().to_vec(),
    }
}

/// Iceberg's binary form of a column's least value, and of its greatest if there is one that is short.
fn encoded(bounds: Bounds) -> (Vec<u8>, Option<Vec<u8>>) {
    match bounds {
        Bounds::Int(lower, upper) => (lower.to_le_bytes().to_vec(), Some(upper.to_le_bytes().to_vec())),
        Bounds::Long(lower, upper) => (lower.to_le_bytes().to_vec(), Some(upper.to_le_bytes().to_vec())),
        Bounds::Bytes(lower, upper) => {
            let end = (0..=BOUND_LEN.min(lower.len())).rev().find(|at| is_char_boundary(&lower, *at));
            let lower = lower[..end.unwrap_or(0)].to_vec();
            // A cut upper bound would be too low; there is none then.
            (lower, Some(upper).filter(|upper| upper.len() <= BOUND_LEN))
        }
    }
}

/// Whether text in UTF-8 may be cut there; in other bytes it does no harm.
fn is_char_boundary(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|byte| byte & 0xC0 != 0x80)
}
