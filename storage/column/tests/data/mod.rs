//! Random schemas of everything a table may have, and rows for them.
#![allow(dead_code)] // each test binary uses its part

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::builder::*;
use arrow_array::*;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use weir_column::ReadAt;

/// Bytes that count what is read of them.
pub struct Source {
    bytes: Bytes,
    read: AtomicU64,
}

impl Source {
    pub fn new(bytes: Bytes) -> Source {
        Source { bytes, read: AtomicU64::new(0) }
    }

    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl ReadAt for Source {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        self.bytes.read_at(offset, length)
    }
}

fn random_type(rng: &mut StdRng, depth: usize) -> DataType {
    let nested = if depth < 3 { 22 } else { 19 };
    match rng.random_range(0..nested) {
        0 => DataType::Boolean,
        1 => DataType::Int8,
        2 => DataType::Int16,
        3 => DataType::Int32,
        4 => DataType::Int64,
        5 => DataType::Float32,
        6 => DataType::Float64,
        7 => DataType::Decimal128(12, 2),
        8 | 9 => DataType::Utf8,
        10 => DataType::Binary,
        11 => DataType::Date32,
        12 => DataType::Time32(TimeUnit::Millisecond),
        13 => DataType::Time64(TimeUnit::Microsecond),
        14 => DataType::Timestamp(TimeUnit::Millisecond, None),
        15 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        16 => DataType::FixedSizeBinary(16),
        17 => DataType::Utf8,
        18 => DataType::Int64,
        19 => DataType::List(Arc::new(Field::new("item", random_type(rng, depth + 1), true))),
        20 => {
            let key = Field::new("key", DataType::Utf8, false);
            let value = Field::new("value", random_type(rng, depth + 1), true);
            let entries = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
        _ => DataType::Struct(
            (0..rng.random_range(1..4)).map(|i| random_field(rng, format!("f{i}"), depth + 1)).collect(),
        ),
    }
}

fn random_field(rng: &mut StdRng, name: String, depth: usize) -> Field {
    let nullable = rng.random_bool(0.8);
    let id = rng.random_range(1..1000).to_string();
    Field::new(name, random_type(rng, depth), nullable).with_metadata([("PARQUET:field_id".to_owned(), id)].into())
}

pub fn random_schema(rng: &mut StdRng) -> Arc<Schema> {
    let fields: Vec<Field> = (0..rng.random_range(1..8)).map(|i| random_field(rng, format!("c{i}"), 0)).collect();
    Arc::new(Schema::new(fields))
}

pub fn nested_schema() -> Arc<Schema> {
    let address = vec![Field::new("street", DataType::Utf8, true), Field::new("city", DataType::Utf8, true)];
    let user = vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("address", DataType::Struct(address.into()), true),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Int32, true))), true),
    ];
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("user", DataType::Struct(user.into()), true),
        Field::new("text", DataType::Utf8, true),
    ]))
}

pub fn random_batch(rng: &mut StdRng, schema: &Arc<Schema>) -> RecordBatch {
    let rows = [0, 1, 7, 64, 300, 1_000][rng.random_range(0..6)];
    batch_of(rng, schema, rows)
}

/// Some batches are slices of larger ones, so that array offsets are not zero.
pub fn batch_of(rng: &mut StdRng, schema: &Arc<Schema>, rows: usize) -> RecordBatch {
    let before = rng.random_range(0..20);
    let columns = schema.fields().iter().map(|field| random_array(rng, field, before + rows + 3)).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap().slice(before, rows)
}

fn nulls(rng: &mut StdRng, field: &Field, rows: usize) -> Option<NullBuffer> {
    let share = [0.0, 0.3, 1.0][rng.random_range(0..3)];
    field.is_nullable().then(|| (0..rows).map(|_| !rng.random_bool(share)).collect::<BooleanBuffer>().into())
}

fn text(rng: &mut StdRng, distinct: usize) -> String {
    match rng.random_range(0..12) {
        0 => String::new(),
        1 => "ä€😀\u{10ffff}".repeat(rng.random_range(0..30)),
        2 => "long ".repeat(rng.random_range(0..200)),
        _ => format!("value {}", rng.random_range(0..distinct)),
    }
}

fn random_array(rng: &mut StdRng, field: &Field, rows: usize) -> ArrayRef {
    let nulls = nulls(rng, field, rows);
    let data_type = field.data_type();
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new((0..rows).map(|_| rng.random_bool(0.5)).collect(), nulls)),
        DataType::Float32 | DataType::Float64 => floats(rng, data_type, rows, nulls),
        DataType::Utf8 => {
            let distinct = [3, 100_000][rng.random_range(0..2)];
            let values: Vec<String> = (0..rows).map(|_| text(rng, distinct)).collect();
            let plain = StringArray::from_iter_values(values);
            Arc::new(StringArray::new(plain.offsets().clone(), plain.values().clone(), nulls))
        }
        DataType::Binary => {
            let mut builder = BinaryBuilder::new();
            for _ in 0..rows {
                let length = rng.random_range(0..100);
                builder.append_value((0..length).map(|_| rng.random::<u8>()).collect::<Vec<u8>>());
            }
            let plain = builder.finish();
            Arc::new(BinaryArray::new(plain.offsets().clone(), plain.values().clone(), nulls))
        }
        DataType::List(item) => {
            let offsets = lengths(rng, rows);
            let values = random_array(rng, item, *offsets.last().unwrap() as usize);
            Arc::new(ListArray::new(item.clone(), offsets, values, nulls))
        }
        DataType::Map(entries, sorted) => {
            let offsets = lengths(rng, rows);
            let inner = random_array(rng, entries, *offsets.last().unwrap() as usize);
            let inner = cast::as_struct_array(&inner).clone();
            Arc::new(MapArray::new(entries.clone(), offsets, inner, nulls, *sorted))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| random_array(rng, field, rows)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        fixed => {
            let width = match fixed {
                DataType::Decimal128(_, _) | DataType::FixedSizeBinary(_) => 16,
                other => other.primitive_width().unwrap(),
            };
            let mut bytes = vec![0u8; rows * width];
            let used = if matches!(fixed, DataType::Decimal128(_, _)) { 4 } else { width };
            bytes.chunks_mut(width).for_each(|value| value[..used].iter_mut().for_each(|byte| *byte = rng.random()));
            let data = ArrayData::builder(fixed.clone()).len(rows).nulls(nulls).add_buffer(Buffer::from_vec(bytes));
            make_array(data.align_buffers(true).build().unwrap())
        }
    }
}

fn floats(rng: &mut StdRng, data_type: &DataType, rows: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let odd = [f64::NAN, -0.0, 0.0, f64::INFINITY, f64::MIN_POSITIVE];
    let mut value = || if rng.random_bool(0.2) { odd[rng.random_range(0..5)] } else { rng.random_range(-1e3..1e3) };
    let values: Vec<f64> = (0..rows).map(|_| value()).collect();
    match data_type {
        DataType::Float32 => {
            Arc::new(Float32Array::new(values.into_iter().map(|v| v as f32).collect::<Vec<_>>().into(), nulls))
        }
        _ => Arc::new(Float64Array::new(values.into(), nulls)),
    }
}

fn lengths(rng: &mut StdRng, rows: usize) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths((0..rows).map(|_| [0, 1, 3][rng.random_range(0..3)]).collect::<Vec<usize>>())
}
