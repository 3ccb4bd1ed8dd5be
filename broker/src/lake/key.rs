//! Which topics may have a primary key (`weir.primary.key`).
//!
//! The key's columns are those of the record's key: so a record without a value names the row that it deletes, and all records
//! of a key are in one partition, in their order, as long as the producer routes by key.
use thiserror::Error;
use weir_table::schema::TimeUnit;
use weir_table::{DataType, Field};

use crate::tables::{TopicTable, Typing};
use crate::topic_config::{TopicConfigs, TopicSettings};
use crate::topics::Topic;

/// Digits of a DECIMAL that lake tables take in keys.
const DECIMAL_DIGITS_MAX: u8 = 18;

/// Why a topic cannot have this primary key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrimaryKeyError {
    #[error(
        "weir.primary.key is `{key}`, but the topic has no columns: set weir.table.schema (or a schema of the registry) and weir.key.columns"
    )]
    Untyped { key: String },
    #[error(
        "weir.primary.key is `{key}` and weir.key.columns is `{columns}`; they must name the same columns, because a record with a null value deletes the row that its key names, and records of a key are in order only within one partition: set weir.key.columns to `{key}` (when the topic is made; see weir.key.format), or change weir.primary.key"
    )]
    NotTheKey { key: String, columns: String },
    #[error("weir.primary.key: the topic has no column `{column}`")]
    NoColumn { column: String },
    #[error("weir.primary.key: column `{column}` may be null; declare it NOT NULL in weir.table.schema")]
    Nullable { column: String },
    #[error(
        "weir.primary.key: column `{column}` of type {data_type} cannot be part of a key; integers, STRING, BYTES, UUID, DATE, TIME(3), TIMESTAMP(3 or 6) and DECIMAL of at most {DECIMAL_DIGITS_MAX} digits can"
    )]
    Type { column: String, data_type: String },
    #[error(
        "weir.primary.key is `{from}` and the lake table is made for it; it cannot become `{to}`: make another topic, or set weir.lake.format=none first and weir.lake.path to another place after"
    )]
    Changed { from: String, to: String },
    #[error(
        "weir.lake.paimon.bucket is {from} and the rows of the lake table are placed by it; it cannot become {to}: make another topic, or set weir.lake.format=none first and weir.lake.path to another place after"
    )]
    Buckets { from: String, to: String },
    #[error(
        "the lake table of this topic has all its rows, so weir.primary.key cannot be set: make another topic, or set weir.lake.format=none first and weir.lake.path to another place after"
    )]
    HasAllRows,
}

const BUCKETS: &str = "weir.lake.paimon.bucket";

/// Whether a topic that is to have these settings and columns may have their primary key. `before`: the topic as it is.
///
/// # Errors
/// [`PrimaryKeyError`].
pub fn check(
    before: Option<&Topic>,
    configs: &TopicConfigs,
    settings: &TopicSettings,
    table: &TopicTable,
) -> Result<(), PrimaryKeyError> {
    let key = &settings.table.primary_key;
    if let Some(before) = before {
        check_change(before, configs, key)?;
    }
    if key.is_empty() {
        return Ok(());
    }
    let joined = || key.join(",");
    let same = key.len() == settings.table.key_columns.len()
        && key.iter().all(|column| settings.table.key_columns.contains(column));
    match &table.typing {
        Typing::Untyped => return Err(PrimaryKeyError::Untyped { key: joined() }),
        _ if !same => {
            let columns = settings.table.key_columns.join(",");
            return Err(PrimaryKeyError::NotTheKey { key: joined(), columns });
        }
        // Its columns come with its schema; the lake table says what is wrong with them then.
        Typing::Waiting { .. } => {}
        Typing::Typed(typed) => {
            for column in key {
                let field = typed.current().fields.iter().find(|field| field.name == *column);
                let field = field.ok_or_else(|| PrimaryKeyError::NoColumn { column: column.clone() })?;
                check_column(field)?;
            }
        }
    }
    Ok(())
}

/// What is in the lake stays as it was made.
fn check_change(before: &Topic, configs: &TopicConfigs, key: &[String]) -> Result<(), PrimaryKeyError> {
    let from = &before.settings.table.primary_key;
    if before.settings.lake.is_none() {
        return Ok(());
    }
    if from.is_empty() && !key.is_empty() {
        return Err(PrimaryKeyError::HasAllRows);
    }
    if from != key {
        return Err(PrimaryKeyError::Changed { from: from.join(","), to: key.join(",") });
    }
    let (was, is) = (before.configs.get(BUCKETS), configs.get(BUCKETS));
    match was != is && !key.is_empty() {
        true => Err(PrimaryKeyError::Buckets { from: was.to_owned(), to: is.to_owned() }),
        false => Ok(()),
    }
}

fn check_column(field: &Field) -> Result<(), PrimaryKeyError> {
    let column = field.name.clone();
    let fits = match &field.data_type {
        DataType::TinyInt | DataType::SmallInt | DataType::Int | DataType::BigInt => true,
        DataType::String | DataType::Bytes | DataType::Uuid | DataType::Date => true,
        DataType::Time(unit) => *unit == TimeUnit::Millis,
        DataType::Timestamp(_) | DataType::TimestampLtz(_) => true,
        DataType::Decimal { precision, .. } => *precision <= DECIMAL_DIGITS_MAX,
        _ => false,
    };
    match (fits, field.nullable) {
        (false, _) => Err(PrimaryKeyError::Type { column, data_type: field.data_type.to_string() }),
        (true, true) => Err(PrimaryKeyError::Nullable { column }),
        (true, false) => Ok(()),
    }
}
