//! The types of columns, and what each is in Arrow.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType as Arrow, Fields};
use serde::{Deserialize, Serialize};

use super::Field;

/// Resolution of times and timestamps: `(3)` or `(6)` in DDL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

impl TimeUnit {
    /// Digits of the fraction of a second: 3 or 6.
    pub fn digits(self) -> u8 {
        match self {
            TimeUnit::Millis => 3,
            TimeUnit::Micros => 6,
        }
    }

    /// Units in a second.
    pub fn per_second(self) -> i64 {
        match self {
            TimeUnit::Millis => 1_000,
            TimeUnit::Micros => 1_000_000,
        }
    }

    fn to_arrow(self) -> arrow_schema::TimeUnit {
        match self {
            TimeUnit::Millis => arrow_schema::TimeUnit::Millisecond,
            TimeUnit::Micros => arrow_schema::TimeUnit::Microsecond,
        }
    }
}

/// A type of a column. The doc comments name the Arrow type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// Boolean
    Boolean,
    /// Int8
    TinyInt,
    /// Int16
    SmallInt,
    /// Int32
    Int,
    /// Int64
    BigInt,
    /// Decimal128
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point, at most `precision`.
        scale: u8,
    },
    /// Float32
    Float,
    /// Float64
    Double,
    /// Utf8
    String,
    /// Binary
    Bytes,
    /// Date32
    Date,
    /// Time32(ms) or Time64(us)
    Time(TimeUnit),
    /// Timestamp without zone
    Timestamp(TimeUnit),
    /// Timestamp with zone "UTC"
    TimestampLtz(TimeUnit),
    /// List; the field is called `item`
    Array(Box<Field>),
    /// Map with entries `key` (always STRING NOT NULL) and `value`
    Map(Box<Field>, Box<Field>),
    /// Struct
    Row(Vec<Field>),
    /// FixedSizeBinary(16)
    Uuid,
    /// Utf8 with metadata `weir.type=json`: any JSON value, as it was written
    Json,
}

impl DataType {
    /// ARRAY of nullable items, without ids.
    pub fn array(item: DataType) -> DataType {
        DataType::Array(Box::new(Field::new("item", item)))
    }

    /// MAP of STRING to nullable values, without ids.
    pub fn map(value: DataType) -> DataType {
        let key = Field::new("key", DataType::String).not_null();
        DataType::Map(Box::new(key), Box::new(Field::new("value", value)))
    }

    /// The Arrow type, with field ids in the nested fields.
    pub fn to_arrow(&self) -> Arrow {
        match self {
            DataType::Boolean => Arrow::Boolean,
            DataType::TinyInt => Arrow::Int8,
            DataType::SmallInt => Arrow::Int16,
            DataType::Int => Arrow::Int32,
            DataType::BigInt => Arrow::Int64,
            DataType::Decimal { precision, scale } => Arrow::Decimal128(*precision, *scale as i8),
            DataType::Float => Arrow::Float32,
            DataType::Double => Arrow::Float64,
            DataType::String | DataType::Json => Arrow::Utf8,
            DataType::Bytes => Arrow::Binary,
            DataType::Date => Arrow::Date32,
            DataType::Time(TimeUnit::Millis) => Arrow::Time32(arrow_schema::TimeUnit::Millisecond),
            DataType::Time(TimeUnit::Micros) => Arrow::Time64(arrow_schema::TimeUnit::Microsecond),
            DataType::Timestamp(unit) => Arrow::Timestamp(unit.to_arrow(), None),
            DataType::TimestampLtz(unit) => Arrow::Timestamp(unit.to_arrow(), Some("UTC".into())),
            DataType::Array(item) => Arrow::List(Arc::new(item.to_arrow())),
            DataType::Map(key, value) => {
                let entries = Arrow::Struct(Fields::from(vec![key.to_arrow(), value.to_arrow()]));
                Arrow::Map(Arc::new(arrow_schema::Field::new("entries", entries, false)), false)
            }
            DataType::Row(members) => Arrow::Struct(members.iter().map(Field::to_arrow).collect()),
            DataType::Uuid => Arrow::FixedSizeBinary(16),
        }
    }

    /// Value of the `weir.type` metadata, for types that Arrow alone does not tell apart.
    pub fn tag(&self) -> Option<&'static str> {
        match self {
            DataType::Json => Some("json"),
            DataType::Uuid => Some("uuid"),
            _ => None,
        }
    }

    /// The fields below this type: none for simple ones.
    pub fn children(&self) -> Vec<&Field> {
        match self {
            DataType::Array(item) => vec![item],
            DataType::Map(key, value) => vec![key, value],
            DataType::Row(members) => members.iter().collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn children_mut(&mut self) -> Vec<&mut Field> {
        match self {
            DataType::Array(item) => vec![item],
            DataType::Map(key, value) => vec![key, value],
            DataType::Row(members) => members.iter_mut().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether every value of this (simple) type is one of `to` too, with the same meaning. Equal types widen.
    pub fn widens_to(&self, to: &DataType) -> bool {
        use DataType::{BigInt, Date, Decimal, Double, Float, Int, SmallInt, Timestamp, TinyInt};
        let digits = match self {
            TinyInt => 3,
            SmallInt => 5,
            Int => 10,
            BigInt => 19,
            _ => 0,
        };
        match (self, to) {
            (from, to) if from == to => true,
            (TinyInt, SmallInt | Int | BigInt) | (SmallInt, Int | BigInt) | (Int, BigInt) | (Float, Double) => true,
            (Date, Timestamp(_)) => true,
            (TinyInt | SmallInt | Int | BigInt, Decimal { precision, scale }) => precision - scale >= digits,
            (Decimal { precision: from, scale: a }, Decimal { precision: to, scale: b }) => a == b && to >= from,
            _ => false,
        }
    }
}

/// The type in DDL.
impl fmt::Display for DataType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::ddl::print_type(self, out)
    }
}
