//! Rows that match, rows that raise, texts that are refused.
mod bombs;
mod pruning;
mod rows;

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, Time32MillisecondArray, Time64MicrosecondArray, TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::{Clock, Matches, PlanError, Predicate};

/// 2013-01-01 00:00 UTC in milliseconds.
const NEW_YEAR: i64 = 1_356_998_400_000;
const HOUR: i64 = 3_600_000;

/// Six flights; the last row is null wherever it may be.
fn flights() -> RecordBatch {
    let address = StructArray::from(vec![
        (
            Arc::new(Field::new("city", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("Houston"), Some("Miami"), Some("Miami"), None, Some("Boston"), None]))
                as ArrayRef,
        ),
        (
            Arc::new(Field::new("gate", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), Some(4), None, None])) as ArrayRef,
        ),
    ]);
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), Some(2)]),
        Some(vec![]),
        Some(vec![Some(3)]),
        None,
        Some(vec![Some(1)]),
        None,
    ]);
    let mut extra = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for row in 0..6 {
        if row % 2 == 0 {
            extra.keys().append_value("seats");
            extra.values().append_value(100 + row);
        }
        extra.append(row != 5).unwrap();
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_offset", Arc::new(Int64Array::from(vec![10, 11, 12, 13, 14, 15]))),
        (
            "carrier",
            Arc::new(StringArray::from(vec![Some("UA"), Some("AA"), Some("B6"), Some("DL"), Some("ua"), None])),
        ),
        ("dep_delay", Arc::new(Int32Array::from(vec![Some(2), Some(61), Some(-5), Some(0), Some(i32::MAX), None]))),
        (
            "ratio",
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), Some(-0.0), Some(0.0), Some(1e9), None])),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![Some(10_050), Some(9_999), Some(0), Some(-1), Some(10_050), None])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(NEW_YEAR),
                Some(NEW_YEAR + HOUR),
                Some(NEW_YEAR + 25 * HOUR),
                Some(NEW_YEAR + 800 * HOUR),
                Some(0),
                None,
            ])),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(15706), Some(15706), Some(15707), Some(15739), Some(0), None]))),
        (
            "late",
            Arc::new(BooleanArray::from(vec![Some(false), Some(true), Some(false), Some(false), Some(true), None])),
        ),
        ("address", Arc::new(address)),
        ("tags", Arc::new(tags)),
        ("extra", Arc::new(extra.finish())),
        ("Odd name.x", Arc::new(Int64Array::from(vec![Some(1), Some(0), Some(2), Some(0), Some(i64::MAX), None]))),
        (
            "departs",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(36_000_000_000),
                Some(36_000_000_001),
                Some(0),
                Some(86_399_999_999),
                Some(39_600_000_000),
                None,
            ])),
        ),
        (
            "boards",
            Arc::new(Time32MillisecondArray::from(vec![
                Some(34_200_000),
                None,
                Some(0),
                Some(1),
                Some(34_200_001),
                None,
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

fn with_zone() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(
        "_timestamp",
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        false,
    )]))
}

fn plan(text: &str, schema: &SchemaRef) -> Result<Predicate, PlanError> {
    Predicate::plan(text.as_bytes(), schema, Clock::At(NEW_YEAR))
}

fn evaluate(predicate: &Predicate, batch: &RecordBatch) -> Matches {
    predicate.evaluate(batch, &mut || Ok(())).unwrap()
}

/// Row numbers that match, and how many raised an error.
fn select(text: &str) -> (Vec<usize>, usize) {
    let batch = flights();
    let predicate = plan(text, &batch.schema()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let matches = evaluate(&predicate, &batch);
    (matches.rows.set_indices().collect(), matches.errored.len())
}
