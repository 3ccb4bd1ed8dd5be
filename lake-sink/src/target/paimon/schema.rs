//! Columns as Paimon names their types, and as its Parquet files store them; schema files. Pure.
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

use super::binary_row::CellType;
use super::key::KeyShape;
use crate::columns::{field_id, with_id};
use crate::partitioning::{PartitionSpec, Transform};

/// Table option that says which topic a table is of.
pub const TOPIC_OPTION: &str = "weir.topic.id";
/// Ids of columns that hold partitions begin here: behind the other ones of ours, and below those that Paimon reserves.
const PARTITION_ID_BASE: i32 = 1_000_000_100;
/// Names that Paimon has for columns of its own; so has `_KEY_` in front of any.
const RESERVED: [&str; 5] = ["_SEQUENCE_NUMBER", "_VALUE_KIND", "_LEVEL", "rowkind", "_ROW_ID"];

/// Why columns cannot be a Paimon table, or not this one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    #[error("column `{column}` of type {data_type} has no Paimon type")]
    Type { column: String, data_type: String },
    #[error("column `{column}` has no field id")]
    NoId { column: String },
    #[error("column `{column}` has a name that Paimon keeps for itself; rename it")]
    Reserved { column: String },
    #[error("partitions need a column `{column}`, and the topic has one of that name; rename it")]
    Taken { column: String },
    #[error(
        "partitions by `{column}` of type {data_type} are named differently by Paimon's readers; use another column"
    )]
    Partition { column: String, data_type: String },
    #[error("`weir.primary.key`: the topic has no column `{column}`")]
    NoKey { column: String },
    #[error(
        "`weir.primary.key`: column `{column}` of type {data_type} cannot be part of a key; integers, STRING, BYTES, UUID, DATE, \
         TIME, TIMESTAMP and DECIMAL of at most 18 digits can"
    )]
    KeyType { column: String, data_type: String },
    #[error("`weir.primary.key`: column `{column}` may be null; a key has to be NOT NULL")]
    KeyNull { column: String },
    #[error(
        "`weir.lake.partition.by` has column `{column}`, which is not in `weir.primary.key`: a change of a row could move it \
         to another partition and leave the old one behind; partition by columns of the key"
    )]
    PartitionKey { column: String },
    #[error(
        "`weir.lake.partition.by` has every column of `weir.primary.key`; leave one that tells rows of a partition apart"
    )]
    KeyIsPartition,
    #[error("column `{column}` is {from} in the table and cannot become {to}")]
    Change { column: String, from: String, to: String },
    #[error("the table's {what} is `{found}`, not `{wanted}`: somebody changed it")]
    Other { what: &'static str, found: String, wanted: String },
}

/// The table's columns: those of the topic, then a column for each partition that is not one of them (of a table with a primary
/// key, whose partitions are made of the key: never null).
///
/// # Errors
/// [`SchemaError`], if a name is taken.
pub fn file_schema(schema: &Schema, spec: &PartitionSpec, keyed: bool) -> Result<SchemaRef, SchemaError> {
    let mut fields: Vec<FieldRef> = schema.fields().iter().map(stored).collect();
    for field in &fields {
        let name = field.name();
        if RESERVED.contains(&name.as_str()) || name.starts_with("_KEY_") {
            return Err(SchemaError::Reserved { column: name.clone() });
        }
    }
    for (level, id) in spec.0.iter().zip(PARTITION_ID_BASE..) {
        let (name, data_type) = (level.name(), partition_type(level.transform));
        match data_type {
            None => {
                let column = schema.field_with_name(&level.column).ok().map(Field::data_type);
                if column == Some(&DataType::Boolean) {
                    let (column, data_type) = (level.column.clone(), "BOOLEAN".to_owned());
                    return Err(SchemaError::Partition { column, data_type });
                }
            }
            Some(_) if schema.field_with_name(&name).is_ok() => return Err(SchemaError::Taken { column: name }),
            Some(data_type) => fields.push(Arc::new(with_id(Field::new(name, data_type, !keyed), id))),
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The type of a column of its own for a level of partitions; `None`: the column itself. Days are texts, as everywhere in Paimon:
/// its readers do not agree on how folders of dates are called.
fn partition_type(transform: Transform) -> Option<DataType> {
    match transform {
        Transform::Identity => None,
        Transform::Year => Some(DataType::Int32),
        Transform::Month | Transform::Day | Transform::Hour => Some(DataType::Utf8),
    }
}

/// Names of the columns that partitions are by.
pub fn partition_keys(spec: &PartitionSpec) -> Vec<String> {
    spec.0.iter().map(|level| level.name()).collect()
}

/// What the partition columns are in rows of Paimon's binary form.
pub fn partition_types(spec: &PartitionSpec, files: &Schema) -> Vec<CellType> {
    let cell_type = |name: String| match files.field_with_name(&name).map(Field::data_type) {
        Ok(DataType::Int8) => CellType::TinyInt,
        Ok(DataType::Int16) => CellType::SmallInt,
        Ok(DataType::Int64) => CellType::Long,
        Ok(DataType::Int32 | DataType::Date32) => CellType::Int,
        _ => CellType::Bytes,
    };
    partition_keys(spec).into_iter().map(cell_type).collect()
}

fn stored(field: &FieldRef) -> FieldRef {
    let named = |field: &FieldRef, name: &str| Arc::new(field.as_ref().clone().with_name(name));
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Time32(_) => DataType::Time32(TimeUnit::Millisecond),
        DataType::FixedSizeBinary(_) => DataType::Binary,
        // Names as readers of Parquet expect them.
        DataType::List(item) => DataType::List(named(&stored(item), "element")),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let pair = [named(&stored(&pair[0]), "key"), named(&stored(&pair[1]), "value")];
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(Fields::from(pair.to_vec())));
                DataType::Map(Arc::new(entries.with_name("key_value")), *sorted)
            }
            _ => field.data_type().clone(),
        },
        DataType::Struct(members) => DataType::Struct(members.iter().map(stored).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The fields of a schema file.
///
/// # Errors
/// [`SchemaError::Type`] or [`SchemaError::NoId`].
pub fn fields(schema: &Schema) -> Result<Value, SchemaError> {
    members(schema.fields())
}

fn members(fields: &Fields) -> Result<Value, SchemaError> {
    let member = |field: &FieldRef| {
        let id = field_id(field).ok_or_else(|| SchemaError::NoId { column: field.name().clone() })?;
        Ok(json!({ "id": id, "name": field.name(), "type": type_of(field)? }))
    };
    fields.iter().map(member).collect::<Result<Vec<Value>, SchemaError>>().map(Value::Array)
}

fn type_of(field: &Field) -> Result<Value, SchemaError> {
    let unknown = || SchemaError::Type { column: field.name().clone(), data_type: field.data_type().to_string() };
    let null = if field.is_nullable() { "" } else { " NOT NULL" };
    let name = match field.data_type() {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Binary => "BYTES".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        // Files of Paimon have milliseconds only; nothing is cut off silently.
        DataType::Time32(TimeUnit::Millisecond) => "TIME(3)".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Second | TimeUnit::Nanosecond => return Err(unknown()),
            };
            let zone = if zone.is_some() { " WITH LOCAL TIME ZONE" } else { "" };
            format!("TIMESTAMP({digits}){zone}")
        }
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Struct(members) => {
            return Ok(json!({ "type": format!("ROW{null}"), "fields": self::members(members)? }));
        }
        DataType::List(item) => return Ok(json!({ "type": format!("ARRAY{null}"), "element": type_of(item)? })),
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { return Err(unknown()) };
            let [key, value] = &pair[..] else { return Err(unknown()) };
            let nullable = field.is_nullable();
            let (key, value) = (type_of(key)?, type_of(value)?);
            return Ok(json!({ "type": format!("MAP{null}"), "key": key, "value": value, "nullable": nullable }));
        }
        _ => return Err(unknown()),
    };
    Ok(json!(format!("{name}{null}")))
}

/// A first schema file.
pub fn new_schema(fields: Value, spec: &PartitionSpec, key: Option<&KeyShape>, topic: Uuid, now_ms: i64) -> Value {
    let mut options = json!({
        "bucket": buckets(key),
        "file.format": "parquet",
        "snapshot.num-retained.min": "20",
        "snapshot.num-retained.max": "200",
        "snapshot.time-retained": "10 min",
        TOPIC_OPTION: topic.to_string(),
    });
    if key.is_some() {
        // Other writers leave compaction to us.
        options["write-only"] = json!("true");
    }
    if !spec.is_empty() {
        // Dates as dates in names of folders, and not as numbers of days.
        options["partition.legacy-name"] = json!("false");
    }
    json!({
        "version": 3,
        "id": 0,
        "highestFieldId": highest_id(&fields),
        "fields": fields,
        "partitionKeys": partition_keys(spec),
        "primaryKeys": primary(key),
        "options": options,
        "timeMillis": now_ms,
    })
}

/// Option `bucket`.
fn buckets(key: Option<&KeyShape>) -> String {
    key.map_or(-1, |key| key.buckets).to_string()
}

fn primary(key: Option<&KeyShape>) -> &[String] {
    key.map_or(&[], |key| &key.primary)
}

/// The highest id of columns, those within rows included.
fn highest_id(value: &Value) -> i64 {
    let below = match value {
        Value::Object(members) => members.values().map(highest_id).max(),
        Value::Array(items) => items.iter().map(highest_id).max(),
        _ => None,
    };
    value.get("id").and_then(Value::as_i64).unwrap_or(-1).max(below.unwrap_or(-1))
}

/// Which topic the table says that it is of.
pub fn topic_of(schema: &Value) -> Option<Uuid> {
    schema["options"][TOPIC_OPTION].as_str()?.parse().ok()
}

/// The next schema file, if the table does not have these columns yet.
///
/// # Errors
/// [`SchemaError`], if the table cannot become so, or is not what we made.
pub fn evolved(
    current: &Value,
    fields: &Value,
    spec: &PartitionSpec,
    key: Option<&KeyShape>,
    now_ms: i64,
) -> Result<Option<Value>, SchemaError> {
    let other = |what, found: &Value, wanted: &Value| SchemaError::Other {
        what,
        found: found.as_str().map_or_else(|| found.to_string(), str::to_owned),
        wanted: wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned),
    };
    let keys = json!(partition_keys(spec));
    let checks = [
        ("partition keys", &current["partitionKeys"], &keys),
        ("primary key", &current["primaryKeys"], &json!(primary(key))),
        ("option `bucket`", &current["options"]["bucket"], &json!(buckets(key))),
        ("option `file.format`", &current["options"]["file.format"], &json!("parquet")),
    ];
    if let Some((what, found, wanted)) = checks.into_iter().find(|(_, found, wanted)| found != wanted) {
        return Err(other(what, found, wanted));
    }
    let essence = |field: &Value| (field["id"].clone(), field["name"].clone(), field["type"].clone());
    let list = |fields: &Value| fields.as_array().cloned().unwrap_or_default();
    let (before, mut after) = (list(&current["fields"]), list(fields));
    if before.iter().map(essence).eq(after.iter().map(essence)) {
        return Ok(None);
    }
    for new in &mut after {
        let Some(old) = before.iter().find(|old| old["id"] == new["id"]) else { continue };
        let partition = partition_keys(spec).iter().any(|key| new["name"] == **key);
        if !may_become(&old["type"], &new["type"]) || (partition && old["type"] != new["type"]) {
            return Err(SchemaError::Change {
                column: new["name"].as_str().unwrap_or_default().to_owned(),
                from: type_name(&old["type"]),
                to: type_name(&new["type"]),
            });
        }
        // What others wrote about a column stays.
        for member in ["description", "defaultValue"] {
            if let Some(text) = old.get(member) {
                new[member] = text.clone();
            }
        }
    }
    let mut next = current.clone();
    next["id"] = json!(current["id"].as_i64().unwrap_or(0) + 1);
    let highest = current["highestFieldId"].as_i64().unwrap_or(-1);
    let fields = Value::Array(after);
    next["highestFieldId"] = json!(highest_id(&fields).max(highest));
    next["fields"] = fields;
    next["timeMillis"] = json!(now_ms);
    Ok(Some(next))
}

fn type_name(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether rows of files with the type `from` can be read as `to`.
fn may_become(from: &Value, to: &Value) -> bool {
    match (from.as_str(), to.as_str()) {
        (Some(from), Some(to)) => plain_may_become(from, to),
        _ => nested_may_become(from, to),
    }
}

fn is_required(name: &str) -> bool {
    name.ends_with(" NOT NULL")
}

fn plain_may_become(from: &str, to: &str) -> bool {
    if is_required(to) && !is_required(from) {
        return false;
    }
    let plain = |name: &str| name.strip_suffix(" NOT NULL").unwrap_or(name).to_owned();
    let (from, to) = (plain(from), plain(to));
    let integers = ["TINYINT", "SMALLINT", "INT", "BIGINT"];
    let width = |name: &str| integers.iter().position(|integer| *integer == name);
    let digits = [3, 5, 10, 19];
    match (width(&from), width(&to), decimal(&from), decimal(&to)) {
        _ if from == to => true,
        (Some(from), Some(to), ..) => from <= to,
        (Some(from), _, _, Some((precision, scale))) => precision - scale >= digits[from],
        (_, _, Some((p, s)), Some((q, t))) => s == t && p <= q,
        _ => {
            matches!((from.as_str(), to.as_str()), ("FLOAT", "DOUBLE"))
                || (from == "DATE" && to.starts_with("TIMESTAMP") && !to.contains("ZONE"))
        }
    }
}

/// Of rows, lists and maps: members of rows may come and go, as columns do; what stays keeps its type.
fn nested_may_become(from: &Value, to: &Value) -> bool {
    let (Some(name), Some(wanted)) = (from["type"].as_str(), to["type"].as_str()) else { return false };
    let kind = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    if kind(name) != kind(wanted) || (is_required(wanted) && !is_required(name)) {
        return false;
    }
    let same = |from: &Value, to: &Value| from == to || (!from.is_string() && nested_may_become(from, to));
    match kind(name).as_str() {
        "ARRAY" => same(&from["element"], &to["element"]),
        "MAP" => from["key"] == to["key"] && same(&from["value"], &to["value"]),
        "ROW" => {
            let list = |value: &Value| value["fields"].as_array().cloned().unwrap_or_default();
            let before = list(from);
            list(to).iter().all(|new| match before.iter().find(|old| old["id"] == new["id"]) {
                Some(old) => old["name"] == new["name"] && same(&old["type"], &new["type"]),
                // Files that do not have it read as nulls.
                None => !new["type"].as_str().or_else(|| new["type"]["type"].as_str()).is_some_and(is_required),
            })
        }
        _ => false,
    }
}

fn decimal(name: &str) -> Option<(i32, i32)> {
    let (precision, scale) = name.strip_prefix("DECIMAL(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

/// A number of bytes among a table's options, as Paimon writes them: `128 mb`, `1 gb`, `4096`.
pub fn bytes_option(schema: &Value, name: &str) -> Option<u64> {
    let text = schema["options"][name].as_str()?.trim().to_ascii_lowercase();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.trim() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 10,
        "m" | "mb" | "mebibytes" => 20,
        "g" | "gb" | "gibibytes" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A count among a table's options.
pub fn count_option(schema: &Value, name: &str) -> Option<usize> {
    schema["options"][name].as_str()?.trim().parse().ok().filter(|count| *count > 0)
}

/// How long snapshots stay, by the table's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many stay, however old they are.
    pub min: i64,
    /// So many stay at most.
    pub max: i64,
    /// Younger ones stay, up to `max`.
    pub age_ms: i64,
}

/// The defaults of tables that we make.
const RETENTION: Retention = Retention { min: 20, max: 200, age_ms: 600_000 };

impl Retention {
    /// Of a schema's options; ours where they say nothing that is understood.
    pub fn of(schema: &Value) -> Retention {
        let option = |name: &str| schema["options"][name].as_str();
        let count = |name: &str| option(name)?.parse::<i64>().ok().filter(|count| *count > 0);
        let min = count("snapshot.num-retained.min").unwrap_or(RETENTION.min);
        Retention {
            min,
            max: count("snapshot.num-retained.max").unwrap_or(RETENTION.max).max(min),
            age_ms: option("snapshot.time-retained").and_then(duration_ms).unwrap_or(RETENTION.age_ms),
        }
    }
}

/// As Paimon writes durations: `10 min`, `1h`, `500`.
fn duration_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "d" | "day" | "days" => 86_400_000,
        "h" | "hour" | "hours" => 3_600_000,
        "min" | "minute" | "minutes" | "m" => 60_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" | "" => 1,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests;
