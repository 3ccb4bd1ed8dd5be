//! Rows to partitions of the lake table (`weir.lake.partition.by`). Pure.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, FieldRef, SchemaRef, TimeUnit};
use arrow_select::take::take_record_batch;
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta};
use thiserror::Error;

const LEVELS_MAX: usize = 8;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// What becomes of a column's value. Results are numbered as Iceberg numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The value itself: BOOLEAN, integers, STRING, DATE.
    Identity,
    /// Years since 1970 of a DATE or timestamp, UTC.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
}

impl Transform {
    /// As in `weir.lake.partition.by`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transform::Identity => "identity",
            Transform::Year => "year",
            Transform::Month => "month",
            Transform::Day => "day",
            Transform::Hour => "hour",
        }
    }

    fn of(name: &str) -> Option<Transform> {
        let all = [Transform::Identity, Transform::Year, Transform::Month, Transform::Day, Transform::Hour];
        all.into_iter().find(|t| t.name() == name)
    }
}

/// One level of partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionLevel {
    pub transform: Transform,
    pub column: String,
}

impl PartitionLevel {
    /// Name of the partition column: the column's own for an identity, otherwise `<column>_<transform>`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.transform {
            Transform::Identity => self.column.clone(),
            other => format!("{}_{}", self.column, other.name()),
        }
    }
}

/// Levels of partitions, outermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PartitionSpec(pub Vec<PartitionLevel>);

/// Why this cannot be partitioned by.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartitionSpecError {
    #[error("`{term}` is not understood; write columns and transforms, such as `day(at), carrier`")]
    Syntax { term: String },
    #[error("there is no transform `{name}`; there are identity, year, month, day and hour")]
    Transform { name: String },
    #[error("`{name}` is there twice")]
    Twice { name: String },
    #[error("{levels} levels; at most {LEVELS_MAX} are possible")]
    TooDeep { levels: usize },
    #[error("the table has no column `{column}`")]
    NoColumn { column: String },
    #[error("{transform} of column `{column}` of type {data_type} is not possible")]
    Type { transform: &'static str, column: String, data_type: String },
}

impl fmt::Display for PartitionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, level) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match level.transform {
                Transform::Identity => f.write_str(&level.column)?,
                other => write!(f, "{}({})", other.name(), level.column)?,
            }
        }
        Ok(())
    }
}

impl FromStr for PartitionSpec {
    type Err = PartitionSpecError;

    fn from_str(text: &str) -> Result<PartitionSpec, PartitionSpecError> {
        let mut levels: Vec<PartitionLevel> = Vec::new();
        for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            let level = parse_level(term)?;
            if levels.iter().any(|other| other.name() == level.name()) {
                return Err(PartitionSpecError::Twice { name: level.name() });
            }
            levels.push(level);
        }
        match levels.len() {
            levels if levels > LEVELS_MAX => Err(PartitionSpecError::TooDeep { levels }),
            _ => Ok(PartitionSpec(levels)),
        }
    }
}

fn parse_level(term: &str) -> Result<PartitionLevel, PartitionSpecError> {
    let syntax = || PartitionSpecError::Syntax { term: term.to_owned() };
    let plain = |name: &str| !name.is_empty() && !name.contains(['(', ')', '\'', '"', '/', '=']);
    let (transform, column) = match term.split_once('(') {
        None => (Transform::Identity, term),
        Some((name, rest)) => {
            let column = rest.strip_suffix(')').ok_or_else(syntax)?.trim();
            let name = name.trim();
            (Transform::of(name).ok_or_else(|| PartitionSpecError::Transform { name: name.to_owned() })?, column)
        }
    };
    if !plain(column) {
        return Err(syntax());
    }
    Ok(PartitionLevel { transform, column: column.to_owned() })
}

/// Value of one partition column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionValue {
    Null,
    Boolean(bool),
    /// Integers, and the results of transforms.
    Int(i64),
    String(String),
}

impl PartitionSpec {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a table with these columns can be partitioned so.
    ///
    /// # Errors
    /// [`PartitionSpecError::NoColumn`] or [`PartitionSpecError::Type`].
    pub fn check(&self, schema: &SchemaRef) -> Result<(), PartitionSpecError> {
        for level in &self.0 {
            let Some((_, field)) = schema.column_with_name(&level.column) else {
                return Err(PartitionSpecError::NoColumn { column: level.column.clone() });
            };
            let temporal = matches!(field.data_type(), DataType::Timestamp(..));
            let date = matches!(field.data_type(), DataType::Date32);
            let plain =
                matches!(field.data_type(), DataType::Boolean | DataType::Utf8) || is_integer(field.data_type());
            let possible = match level.transform {
                Transform::Identity => plain || date,
                Transform::Hour => temporal,
                Transform::Year | Transform::Month | Transform::Day => temporal || date,
            };
            if !possible {
                let (transform, column) = (level.transform.name(), level.column.clone());
                return Err(PartitionSpecError::Type { transform, column, data_type: field.data_type().to_string() });
            }
        }
        Ok(())
    }

    /// The rows of each partition, in their order; the columns must have passed [`PartitionSpec::check`].
    ///
    /// # Errors
    /// Arrow's, if a column is not what it was said to be.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(Vec<PartitionValue>, RecordBatch)>, ArrowError> {
        let mut columns = Vec::with_capacity(self.0.len());
        for level in &self.0 {
            columns.push(transformed(batch, level)?);
        }
        let mut groups: Vec<(Vec<PartitionValue>, Vec<u32>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for row in 0..batch.num_rows() {
            let key: Vec<PartitionValue> = columns.iter().map(|column| value_at(column, row)).collect();
            // Neighbours mostly belong together.
            let place = match groups.last() {
                Some((last, _)) if *last == key => groups.len() - 1,
                _ => *places.entry(key.clone()).or_insert_with(|| {
                    groups.push((key, Vec::new()));
                    groups.len() - 1
                }),
            };
            groups[place].1.push(row as u32);
        }
        if groups.len() == 1 {
            return Ok(groups.into_iter().map(|(key, _)| (key, batch.clone())).collect());
        }
        groups.into_iter().map(|(key, rows)| Ok((key, take_record_batch(batch, &UInt32Array::from(rows))?))).collect()
    }

    /// The value of a level as people write it: `2013-01-01`, `UA`; `None` for NULL.
    #[must_use]
    pub fn text(&self, level: usize, value: &PartitionValue, schema: &SchemaRef) -> Option<String> {
        let level = self.0.get(level)?;
        let date = schema.field_with_name(&level.column).is_ok_and(|f| *f.data_type() == DataType::Date32);
        (*value != PartitionValue::Null).then(|| human(level.transform, value, date))
    }

    /// Columns of a partition's own values, as `fields` (of levels, by their names; Utf8 or Int32) have them, so many rows each.
    ///
    /// # Errors
    /// Arrow's, if a field is not of a level or of another type.
    pub fn columns_of(
        &self,
        values: &[PartitionValue],
        fields: &[FieldRef],
        schema: &SchemaRef,
        rows: usize,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let column = |field: &FieldRef| -> Result<ArrayRef, ArrowError> {
            let level = self.0.iter().position(|level| level.name() == *field.name());
            let level = level.ok_or_else(|| ArrowError::SchemaError(format!("no partition `{}`", field.name())))?;
            let text = values.get(level).and_then(|value| self.text(level, value, schema));
            match field.data_type() {
                DataType::Utf8 => Ok(Arc::new(StringArray::from(vec![text; rows]))),
                DataType::Int32 => {
                    let number = text.map(|text| text.parse::<i32>()).transpose();
                    let number = number.map_err(|error| ArrowError::CastError(error.to_string()))?;
                    Ok(Arc::new(Int32Array::from(vec![number; rows])))
                }
                other => Err(ArrowError::SchemaError(format!("a partition of type {other}"))),
            }
        };
        fields.iter().map(column).collect()
    }

    /// `carrier=UA/at_day=2013-01-01`, empty without levels; values are escaped as Hive escapes them.
    #[must_use]
    pub fn hive_path(&self, values: &[PartitionValue], schema: &SchemaRef) -> String {
        let parts = self.0.iter().zip(values).map(|(level, value)| {
            let date = schema.field_with_name(&level.column).is_ok_and(|f| *f.data_type() == DataType::Date32);
            format!("{}={}", escape(&level.name()), escape(&human(level.transform, value, date)))
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// Boolean, Int64, Utf8 or Int32 (transforms and dates).
fn transformed(batch: &RecordBatch, level: &PartitionLevel) -> Result<ArrayRef, ArrowError> {
    let column = batch
        .column_by_name(&level.column)
        .ok_or_else(|| ArrowError::SchemaError(format!("no column `{}`", level.column)))?;
    if level.transform == Transform::Identity {
        return match column.data_type() {
            DataType::Date32 => cast(column, &DataType::Int32),
            other if is_integer(other) => cast(column, &DataType::Int64),
            _ => Ok(column.clone()),
        };
    }
    if *column.data_type() == DataType::Date32 {
        let days = column.as_primitive::<Date32Type>();
        return Ok(Arc::new(days.iter().map(|d| d.map(|d| of_day(level.transform, d))).collect::<Int32Array>()));
    }
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    let hours =
        micros.as_primitive::<TimestampMicrosecondType>().iter().map(|t| t.map(|t| t.div_euclid(MICROS_PER_HOUR)));
    let result = hours.map(|hour| {
        hour.map(|hour| match level.transform {
            Transform::Hour => hour as i32,
            other => of_day(other, hour.div_euclid(24) as i32),
        })
    });
    Ok(Arc::new(result.collect::<Int32Array>()))
}

fn day(days: i32) -> NaiveDate {
    // Dates beyond chrono's 262,000 years all share one partition.
    DateTime::UNIX_EPOCH.date_naive().checked_add_signed(TimeDelta::days(days.into())).unwrap_or(NaiveDate::MAX)
}

fn of_day(transform: Transform, days: i32) -> i32 {
    match transform {
        Transform::Year => day(days).year() - 1970,
        Transform::Month => (day(days).year() - 1970) * 12 + day(days).month0() as i32,
        Transform::Identity | Transform::Day | Transform::Hour => days,
    }
}

fn value_at(column: &ArrayRef, row: usize) -> PartitionValue {
    if column.is_null(row) {
        return PartitionValue::Null;
    }
    if let Some(column) = column.as_any().downcast_ref::<BooleanArray>() {
        return PartitionValue::Boolean(column.value(row));
    }
    if let Some(column) = column.as_any().downcast_ref::<StringArray>() {
        return PartitionValue::String(column.value(row).to_owned());
    }
    if let Some(column) = column.as_primitive_opt::<Int64Type>() {
        return PartitionValue::Int(column.value(row));
    }
    column.as_primitive_opt::<Int32Type>().map_or(PartitionValue::Null, |c| PartitionValue::Int(c.value(row).into()))
}

fn human(transform: Transform, value: &PartitionValue, date: bool) -> String {
    match (transform, value) {
        // Hive's, and with it everybody's, name of NULL.
        (_, PartitionValue::Null) => "__HIVE_DEFAULT_PARTITION__".to_owned(),
        (_, PartitionValue::String(text)) => text.clone(),
        (_, PartitionValue::Boolean(value)) => value.to_string(),
        (Transform::Identity, PartitionValue::Int(days)) if date => day(*days as i32).to_string(),
        (Transform::Identity, PartitionValue::Int(value)) => value.to_string(),
        (Transform::Year, PartitionValue::Int(years)) => (1970 + years).to_string(),
        (Transform::Month, PartitionValue::Int(months)) => {
            format!("{:04}-{:02}", 1970 + months.div_euclid(12), 1 + months.rem_euclid(12))
        }
        (Transform::Day, PartitionValue::Int(days)) => day(*days as i32).to_string(),
        (Transform::Hour, PartitionValue::Int(hours)) => {
            format!("{}-{:02}", day(hours.div_euclid(24) as i32), hours.rem_euclid(24))
        }
    }
}

/// Percent-escapes what cannot be in a name of a folder, and Hive's own characters. A text that is too long for one keeps
/// its beginning and gets a hash: the column itself is in the files all the same.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(NAME_BYTES_MAX + 8));
    for (at, c) in text.char_indices() {
        if escaped.len() > NAME_BYTES_MAX {
            return format!("{escaped}~{:016x}", fnv1a(text.as_bytes()));
        }
        let special = c.is_control() || "\"#%'*/:=?\\{}[]^~".contains(c) || (c == '.' && at == 0);
        if special {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Names of folders have at most 255 bytes, `<column>=` and a hash included.
const NAME_BYTES_MAX: usize = 100;

/// FNV-1a, 64 bits: the same for ever, as names of files must be.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests;
