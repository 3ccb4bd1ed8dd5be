//! Arrays as the encoders read them, one value at a time.

use std::hint::black_box;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time64MicrosecondType, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType as Arrow, TimeUnit};

use super::literal::append_front;
use crate::builder::Value;

/// As many rows are approached at once.
const AHEAD: usize = 8;

/// To be called before rows are written one after the other: reads a little of what the next ones need, and does nothing with it. A row
/// has a value of every column, each far from the others: waiting for all of them at once is shorter than for one after the other.
#[inline]
pub(crate) fn approach(columns: &[Reader<'_>], row: usize) {
    if row.is_multiple_of(AHEAD) {
        black_box(columns.iter().fold(0, |sum, column| column.approach(row + AHEAD) ^ sum));
    }
}

/// One array, looked at once.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) nulls: Option<&'a NullBuffer>,
    pub(crate) values: Values<'a>,
    /// Of strings that were [looked through](Reader::look_through) and are all of that kind.
    pub(crate) plain: Option<PlainText<'a>>,
}

/// Strings that JSON has as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainText<'a> {
    offsets: &'a [i32],
    bytes: &'a [u8],
}

impl<'a> PlainText<'a> {
    #[inline]
    pub(crate) fn append(&self, row: usize, out: &mut Vec<u8>) {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        append_front(out, &self.bytes[start..], end - start);
    }
}

#[derive(Debug)]
pub(crate) enum Values<'a> {
    Bool(&'a BooleanArray),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    I128(&'a [i128]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    List { offsets: &'a [i32], item: Box<Reader<'a>> },
    Map { offsets: &'a [i32], keys: &'a StringArray, item: Box<Reader<'a>> },
    Row(Vec<Reader<'a>>),
}

impl<'a> Reader<'a> {
    /// `array` is of a type that columns have.
    pub(crate) fn new(array: &'a ArrayRef) -> Reader<'a> {
        let values = match array.data_type() {
            Arrow::Boolean => Values::Bool(array.as_boolean()),
            Arrow::Int8 => Values::I8(array.as_primitive::<Int8Type>().values()),
            Arrow::Int16 => Values::I16(array.as_primitive::<Int16Type>().values()),
            Arrow::Int32 => Values::I32(array.as_primitive::<Int32Type>().values()),
            Arrow::Date32 => Values::I32(array.as_primitive::<Date32Type>().values()),
            Arrow::Time32(_) => Values::I32(array.as_primitive::<Time32MillisecondType>().values()),
            Arrow::Time64(_) => Values::I64(array.as_primitive::<Time64MicrosecondType>().values()),
            Arrow::Timestamp(TimeUnit::Millisecond, _) => {
                Values::I64(array.as_primitive::<TimestampMillisecondType>().values())
            }
            Arrow::Timestamp(..) => Values::I64(array.as_primitive::<TimestampMicrosecondType>().values()),
            Arrow::Decimal128(..) => Values::I128(array.as_primitive::<Decimal128Type>().values()),
            Arrow::Float32 => Values::F32(array.as_primitive::<Float32Type>().values()),
            Arrow::Float64 => Values::F64(array.as_primitive::<Float64Type>().values()),
            Arrow::Utf8 => Values::Text(array.as_string()),
            Arrow::Binary => Values::Bytes(array.as_binary()),
            Arrow::FixedSizeBinary(_) => Values::Uuid(array.as_fixed_size_binary()),
            Arrow::List(_) => {
                let list = array.as_list::<i32>();
                Values::List { offsets: list.value_offsets(), item: Box::new(Reader::new(list.values())) }
            }
            Arrow::Map(..) => {
                let map = array.as_map();
                let item = Box::new(Reader::new(map.values()));
                Values::Map { offsets: map.value_offsets(), keys: map.keys().as_string(), item }
            }
            Arrow::Struct(_) => Values::Row(array.as_struct().columns().iter().map(Reader::new).collect()),
            _ => Values::I64(array.as_primitive::<Int64Type>().values()),
        };
        Reader { nulls: array.nulls(), values, plain: None }
    }

    /// Looks through all strings at once, for what JSON escapes: where there is nothing, none of them is looked at again.
    pub(crate) fn look_through(&mut self) {
        let Values::Text(strings) = self.values else { return };
        let offsets: &[i32] = strings.value_offsets();
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return };
        let bytes = strings.value_data();
        let used = &bytes[*first as usize..*last as usize];
        let special = |found: bool, byte: &u8| found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
        // No early end: eight and more bytes are compared at once.
        let is_plain = used.chunks(1 << 10).all(|chunk| !chunk.iter().fold(false, special));
        self.plain = is_plain.then_some(PlainText { offsets, bytes });
    }

    fn approach(&self, row: usize) -> u64 {
        match &self.values {
            Values::I64(values) => values.get(row).map_or(0, |value| *value as u64),
            Values::F64(values) => values.get(row).map_or(0, |value| value.to_bits()),
            Values::Text(values) => {
                let offsets = values.value_offsets();
                let (Some(start), Some(end)) = (offsets.get(row), offsets.get(row + AHEAD)) else { return 0 };
                let bytes = values.value_data().get(*start as usize..*end as usize).unwrap_or_default();
                // Long ones are a stream by themselves, which the processor sees.
                bytes.iter().step_by(64).take(8).fold(0, |sum, byte| sum + u64::from(*byte))
            }
            _ => 0,
        }
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    #[inline]
    pub(crate) fn value(&self, row: usize) -> Value<'_> {
        match &self.values {
            Values::Bool(values) => Value::Bool(values.value(row)),
            Values::I8(values) => Value::Int(values[row].into()),
            Values::I16(values) => Value::Int(values[row].into()),
            Values::I32(values) => Value::Int(values[row].into()),
            Values::I64(values) => Value::Int(values[row]),
            Values::I128(values) => Value::Decimal(values[row]),
            Values::F32(values) => Value::Float(values[row]),
            Values::F64(values) => Value::Double(values[row]),
            Values::Text(values) => Value::Text(values.value(row)),
            Values::Bytes(values) => Value::Bytes(values.value(row)),
            Values::Uuid(values) => Value::Bytes(values.value(row)),
            // Nested readers are never asked for a simple value.
            Values::List { .. } | Values::Map { .. } | Values::Row(_) => Value::Bool(false),
        }
    }
}
