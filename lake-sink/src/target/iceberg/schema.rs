//! Columns as Iceberg names their types, and as its Parquet files store them.
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};
use thiserror::Error;

use crate::columns::field_id;
use crate::partitioning::{PartitionSpec, Transform};

/// Ids of partition fields begin here.
pub const PARTITION_ID_BASE: i32 = 1000;

/// Why columns cannot be an Iceberg table, or not this one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    #[error("column `{column}` of type {data_type} has no Iceberg type")]
    Type { column: String, data_type: String },
    #[error("column `{column}` has no field id")]
    NoId { column: String },
    #[error("column `{column}` is {from} in the table and cannot become {to}")]
    Change { column: String, from: String, to: String },
}

/// The columns as data files of the table have them: Iceberg has no integers below 32 bits and no milliseconds.
pub fn file_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(stored).collect::<Fields>()))
}

fn stored(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Int8 | DataType::Int16 => DataType::Int32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::List(item) => DataType::List(stored(item)),
        DataType::Map(entries, sorted) => DataType::Map(stored(entries), *sorted),
        DataType::Struct(members) => DataType::Struct(members.iter().map(stored).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The schema as table metadata has it.
///
/// # Errors
/// [`SchemaError::Type`] or [`SchemaError::NoId`].
pub fn to_json(schema: &Schema, schema_id: i64) -> Result<Value, SchemaError> {
    Ok(json!({ "type": "struct", "schema-id": schema_id, "fields": members(schema.fields())? }))
}

fn members(fields: &Fields) -> Result<Value, SchemaError> {
    let member = |field: &FieldRef| {
        let (id, required) = (id(field)?, !field.is_nullable());
        Ok(json!({ "id": id, "name": field.name(), "required": required, "type": type_of(field)? }))
    };
    fields.iter().map(member).collect::<Result<Vec<Value>, SchemaError>>().map(Value::Array)
}

fn id(field: &Field) -> Result<i32, SchemaError> {
    field_id(field).ok_or_else(|| SchemaError::NoId { column: field.name().clone() })
}

fn type_of(field: &Field) -> Result<Value, SchemaError> {
    let name = match field.data_type() {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 => "string",
        DataType::Binary => "binary",
        DataType::Date32 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Decimal128(precision, scale) => return Ok(json!(format!("decimal({precision}, {scale})"))),
        DataType::FixedSizeBinary(len) => return Ok(json!(format!("fixed[{len}]"))),
        DataType::Struct(fields) => return Ok(json!({ "type": "struct", "fields": members(fields)? })),
        DataType::List(item) => {
            return Ok(json!({
                "type": "list", "element-id": id(item)?, "element-required": !item.is_nullable(),
                "element": type_of(item)?,
            }));
        }
        DataType::Map(entries, _) => {
            if let DataType::Struct(pair) = entries.data_type()
                && let [key, value] = &pair[..]
            {
                return Ok(json!({
                    "type": "map", "key-id": id(key)?, "key": type_of(key)?, "value-id": id(value)?,
                    "value-required": !value.is_nullable(), "value": type_of(value)?,
                }));
            }
            return Err(unknown(field));
        }
        _ => return Err(unknown(field)),
    };
    Ok(json!(name))
}

fn unknown(field: &Field) -> SchemaError {
    SchemaError::Type { column: field.name().clone(), data_type: field.data_type().to_string() }
}

/// The highest id in a schema as metadata has it.
pub fn last_id(schema: &Value) -> i64 {
    let ids = ["id", "element-id", "key-id", "value-id"];
    let own = ids.iter().filter_map(|name| schema.get(name)?.as_i64()).max().unwrap_or(0);
    let below = match schema {
        Value::Object(members) => members.values().map(last_id).max(),
        Value::Array(items) => items.iter().map(last_id).max(),
        _ => None,
    };
    own.max(below.unwrap_or(0))
}

/// Whether a table with columns `from` can go on with columns `to`: columns may come, go, be renamed, widened and become
/// nullable. New ones are nullable for files that do not have them.
///
/// # Errors
/// [`SchemaError::Change`], for what Iceberg cannot express.
pub fn check_change(from: &Value, to: &Value) -> Result<(), SchemaError> {
    let fields = |schema: &Value| schema["fields"].as_array().cloned().unwrap_or_default();
    let before = fields(from);
    for new in fields(to) {
        let change = |from: &Value, to: &Value| SchemaError::Change {
            column: new["name"].as_str().unwrap_or_default().to_owned(),
            from: from.to_string(),
            to: to.to_string(),
        };
        match before.iter().find(|old| old["id"] == new["id"]) {
            None if new["required"] == true => return Err(change(&json!("absent"), &json!("required"))),
            None => {}
            Some(old) if old["required"] == false && new["required"] == true => {
                return Err(change(&json!("optional"), &json!("required")));
            }
            Some(old) if !may_become(&old["type"], &new["type"]) => return Err(change(&old["type"], &new["type"])),
            Some(_) => {}
        }
    }
    Ok(())
}

fn may_become(from: &Value, to: &Value) -> bool {
    if let (Some(from), Some(to)) = (from.as_str(), to.as_str()) {
        return from == to
            || matches!((from, to), ("int", "long") | ("float", "double"))
            || matches!((decimal(from), decimal(to)), (Some((p, s)), Some((q, t))) if s == t && p <= q);
    }
    match (from["type"].as_str(), to["type"].as_str()) {
        (Some("struct"), Some("struct")) => check_change(from, to).is_ok(),
        (Some("list"), Some("list")) => may_become(&from["element"], &to["element"]),
        (Some("map"), Some("map")) => from["key"] == to["key"] && may_become(&from["value"], &to["value"]),
        _ => false,
    }
}

fn decimal(name: &str) -> Option<(u8, u8)> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

/// The fields of the partition spec as metadata has them.
pub fn spec_fields(spec: &PartitionSpec, schema: &Schema) -> Vec<Value> {
    let levels = spec.0.iter().zip(PARTITION_ID_BASE..);
    let fields = levels.filter_map(|(level, id)| {
        let source = field_id(schema.field_with_name(&level.column).ok()?)?;
        let (name, transform) = (level.name(), level.transform.name());
        Some(json!({ "source-id": source, "field-id": id, "name": name, "transform": transform }))
    });
    fields.collect()
}

/// The Avro type of a partition's values.
pub fn partition_type(transform: Transform, data_type: &DataType) -> Value {
    match (transform, data_type) {
        (Transform::Day, _) | (Transform::Identity, DataType::Date32) => {
            json!({ "type": "int", "logicalType": "date" })
        }
        (Transform::Identity, DataType::Boolean) => json!("boolean"),
        (Transform::Identity, DataType::Utf8) => json!("string"),
        (Transform::Identity, DataType::Int64) => json!("long"),
        _ => json!("int"),
    }
}
