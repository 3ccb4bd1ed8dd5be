//! Whether JSON rows say what columns say: then columns that are produced are stored as they are, and no row is made to check them.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Time32MillisecondType, Time64MicrosecondType,
    TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, MapArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::DataType as Arrow;

use crate::codec::DecodeLimits;
use crate::codec::json::{civil, is_json};
use crate::schema::{DataType, Field, TableSchema, TimeUnit};

/// A byte of text may take so many in JSON (`\u001f`).
const TEXT_PART: usize = 6;
/// A number, and what is around a value; usual ones are shorter.
const VALUE_BYTES_USUAL: usize = 24;
/// See [`VALUE_BYTES_USUAL`].
const VALUE_BYTES: usize = 64;

/// Rows of these columns fit the schema, and what they would be read as is the same again. False where that is not known: of NaN,
/// of times beyond the years 0 to 9999, of JSON text in another form.
pub(super) fn rows_say(schema: &TableSchema, columns: &RecordBatch, limits: &DecodeLimits) -> bool {
    let (mut row_bytes, mut values) = (2_usize, 0_usize);
    let fits = columns.num_columns() == schema.fields.len()
        && schema.fields.iter().zip(columns.columns()).all(|(field, array)| {
            column(field, array) && {
                row_bytes = row_bytes.saturating_add(most_bytes(field, array));
                values = values.saturating_add(most_values(array));
                true
            }
        });
    fits && row_bytes <= limits.row_bytes && values <= limits.row_values
}

/// Bytes that rows of these columns take, about and rather too many: values of a few bits are as long in JSON as their names.
pub(super) fn bytes_of_rows(schema: &TableSchema, columns: &RecordBatch) -> usize {
    let fields = schema.fields.iter().zip(columns.columns());
    fields.map(|(field, array)| bytes_in_rows(field, array)).fold(0, usize::saturating_add)
}

fn bytes_in_rows(field: &Field, array: &ArrayRef) -> usize {
    let span = |offsets: &[i32]| offsets.last().zip(offsets.first()).map_or(0, |(last, first)| (last - first) as usize);
    let inside = match &field.data_type {
        DataType::String => escaped(array.as_string::<i32>()),
        DataType::Json => span(array.as_string::<i32>().value_offsets()),
        DataType::Uuid | DataType::Time(_) | DataType::Timestamp(_) | DataType::TimestampLtz(_) => {
            array.len() * VALUE_BYTES_USUAL
        }
        DataType::Bytes => 2 * span(array.as_binary::<i32>().value_offsets()),
        DataType::Array(item) => bytes_in_rows(item, array.as_list::<i32>().values()),
        DataType::Map(_, value) => {
            let map = array.as_map();
            span(map.keys().as_string::<i32>().value_offsets()) + bytes_in_rows(value, map.values())
        }
        DataType::Row(members) => {
            let children = members.iter().zip(array.as_struct().columns());
            children.map(|(member, child)| bytes_in_rows(member, child)).fold(0, usize::saturating_add)
        }
        _ => 0,
    };
    array.len().saturating_mul(field.name.len() + VALUE_BYTES_USUAL).saturating_add(inside)
}

/// Bytes of texts in JSON, about.
fn escaped(texts: &StringArray) -> usize {
    let bytes = |byte: &u8| match byte {
        b'"' | b'\\' => 2,
        ..b' ' => TEXT_PART,
        _ => 1,
    };
    let (first, last) = (texts.value_offsets()[0] as usize, texts.value_offsets()[texts.len()] as usize);
    texts.value_data()[first..last].iter().map(bytes).sum()
}

fn column(field: &Field, array: &ArrayRef) -> bool {
    let nulls_fit = field.nullable || array.null_count() == 0;
    nulls_fit && array.data_type() == &field.data_type.to_arrow() && says(&field.data_type, array)
}

fn says(data_type: &DataType, array: &ArrayRef) -> bool {
    match data_type {
        DataType::Boolean
        | DataType::TinyInt
        | DataType::SmallInt
        | DataType::Int
        | DataType::BigInt
        | DataType::String
        | DataType::Bytes
        | DataType::Uuid => true,
        DataType::Decimal { precision, .. } => {
            array.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision).is_ok()
        }
        DataType::Float => all::<Float32Type>(array, f32::is_finite),
        DataType::Double => all::<Float64Type>(array, f64::is_finite),
        DataType::Date => all::<Date32Type>(array, |days| civil(i64::from(days)).is_some()),
        DataType::Time(unit) => {
            let day = 0..86_400 * unit.per_second();
            match unit {
                TimeUnit::Millis => all::<Time32MillisecondType>(array, |time| day.contains(&i64::from(time))),
                TimeUnit::Micros => all::<Time64MicrosecondType>(array, |time| day.contains(&time)),
            }
        }
        DataType::Timestamp(unit) | DataType::TimestampLtz(unit) => {
            let fits = |time: i64| civil(time.div_euclid(86_400 * unit.per_second())).is_some();
            match unit {
                TimeUnit::Millis => all::<TimestampMillisecondType>(array, fits),
                TimeUnit::Micros => all::<TimestampMicrosecondType>(array, fits),
            }
        }
        DataType::Json => array.as_string::<i32>().iter().flatten().all(is_whole_json),
        DataType::Array(item) => column(item, array.as_list::<i32>().values()),
        DataType::Map(_, value) => {
            let map = array.as_map();
            column(value, map.values()) && keys_differ(map)
        }
        DataType::Row(members) => {
            let row = array.as_struct();
            // Of a row that is null its members are read as nulls.
            let masked = |child: &ArrayRef| {
                row.nulls().is_none_or(|nulls| {
                    nulls.null_count() == 0 || (0..nulls.len()).all(|at| nulls.is_valid(at) || child.is_null(at))
                })
            };
            members.iter().zip(row.columns()).all(|(member, child)| masked(child) && column(member, child))
        }
    }
}

fn all<T: ArrowPrimitiveType>(array: &ArrayRef, fits: impl Fn(T::Native) -> bool) -> bool {
    let array: &PrimitiveArray<T> = array.as_primitive();
    match array.null_count() {
        0 => array.values().iter().all(|value| fits(*value)),
        // What is below a null is nothing: often NaN.
        _ => array.iter().flatten().all(fits),
    }
}

/// One JSON value with nothing around it; `null` would be read as no value.
fn is_whole_json(text: &str) -> bool {
    let is_bare = |byte: Option<&u8>| byte.is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    is_bare(text.as_bytes().first()) && is_bare(text.as_bytes().last()) && text != "null" && is_json(text)
}

/// A key that comes twice would be read once.
fn keys_differ(map: &MapArray) -> bool {
    let keys = map.keys().as_string::<i32>();
    let mut seen = HashSet::new();
    map.value_offsets().windows(2).all(|row| {
        seen.clear();
        (row[0] as usize..row[1] as usize).all(|at| seen.insert(keys.value(at)))
    })
}

/// Bytes that a column takes in a row at most.
fn most_bytes(field: &Field, array: &ArrayRef) -> usize {
    let value = match &field.data_type {
        DataType::String => TEXT_PART * longest(array.as_string::<i32>().value_offsets()),
        DataType::Json => longest(array.as_string::<i32>().value_offsets()),
        DataType::Bytes => 2 * longest(array.as_binary::<i32>().value_offsets()),
        DataType::Array(item) => {
            let list = array.as_list::<i32>();
            longest(list.value_offsets()).saturating_mul(most_bytes(item, list.values()))
        }
        DataType::Map(_, value) => {
            let map = array.as_map();
            let key = TEXT_PART * longest(map.keys().as_string::<i32>().value_offsets());
            longest(map.value_offsets()).saturating_mul(key + most_bytes(value, map.values()))
        }
        DataType::Row(members) => {
            let children = array.as_struct().columns();
            members.iter().zip(children).map(|(member, child)| most_bytes(member, child)).sum()
        }
        _ => 0,
    };
    value.saturating_add(VALUE_BYTES + TEXT_PART * field.name.len())
}

/// Values that a column has in a row at most.
fn most_values(array: &ArrayRef) -> usize {
    let inside = match array.data_type() {
        Arrow::List(_) => {
            let list = array.as_list::<i32>();
            longest(list.value_offsets()).saturating_mul(most_values(list.values()))
        }
        Arrow::Map(_, _) => {
            let map = array.as_map();
            longest(map.value_offsets()).saturating_mul(1 + most_values(map.values()))
        }
        Arrow::Struct(_) => array.as_struct().columns().iter().map(most_values).sum(),
        _ => 0,
    };
    inside.saturating_add(1)
}

fn longest(offsets: &[i32]) -> usize {
    offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{MapBuilder, StringBuilder};
    use arrow_array::{
        BinaryArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray, StringArray,
        StructArray, Time32MillisecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    };
    use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

    use super::*;
    use crate::ddl;
    use crate::table::{RowFormat, Table, TableOptions};

    /// Whether columns are taken. If they are, their rows are taken too, and read as the same columns: the promise.
    fn taken(column_type: &str, array: ArrayRef) -> bool {
        let schema = TableSchema::create(ddl::parse(&format!("c {column_type}")).unwrap(), &[]).unwrap();
        let table = Table::new(vec![Arc::new(schema)], RowFormat::json(), None, TableOptions::default()).unwrap();
        let arrow = table.current().to_arrow();
        let Ok(columns) = RecordBatch::try_new(arrow, vec![array]) else { return false };
        if !table.takes_columns(&columns) {
            return false;
        }
        let encoder = table.encoder(table.current()).unwrap();
        let (rows, mut decoder) = (encoder.rows(&columns).unwrap(), table.validator());
        for row in 0..columns.num_rows() {
            let mut value = Vec::new();
            rows.value(row, &mut value).unwrap();
            decoder.push(None, Some(&value)).unwrap_or_else(|error| panic!("{column_type}: {error}"));
        }
        let read = decoder.finish().unwrap();
        // Also bit for bit: 0.0 and -0.0 are equal.
        assert_eq!(format!("{:?}", read.columns()), format!("{:?}", columns.columns()), "{column_type}");
        true
    }

    fn doubles(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn columns_are_taken_only_if_rows_say_the_same() {
        let day = 86_400_000;
        assert!(taken("DOUBLE", doubles(&[0.0, -0.0, 1e300, f64::MIN_POSITIVE, 0.1 + 0.2, f64::MAX])));
        assert!(!taken("DOUBLE", doubles(&[1.0, f64::NAN])) && !taken("DOUBLE", doubles(&[f64::INFINITY])));
        // As pandas gives missing values: there is NaN where there is no value.
        let below_nulls = Float64Array::new(vec![1.5, f64::NAN].into(), Some(NullBuffer::from(vec![true, false])));
        assert!(taken("DOUBLE", Arc::new(below_nulls.clone())));
        assert!(!taken("DOUBLE NOT NULL", Arc::new(below_nulls)));
        assert!(taken("FLOAT", Arc::new(Float32Array::from(vec![0.1, f32::MAX, -0.0, 1e-45]))));
        assert!(!taken("FLOAT", Arc::new(Float32Array::from(vec![f32::NEG_INFINITY]))));
        assert!(taken("BIGINT NOT NULL", Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX]))));
        assert!(!taken("BIGINT NOT NULL", Arc::new(Int64Array::from(vec![Some(1), None]))));
        assert!(!taken("INT", Arc::new(Int64Array::from(vec![1]))), "of another type");
        assert!(taken("DATE", Arc::new(Date32Array::from(vec![-719_528, 0, 2_932_896]))));
        assert!(!taken("DATE", Arc::new(Date32Array::from(vec![2_932_897]))));
        let decimals =
            |values: Vec<i128>| Arc::new(Decimal128Array::from(values).with_precision_and_scale(5, 2).unwrap());
        assert!(
            taken("DECIMAL(5,2)", decimals(vec![99_999, -99_999, 0, 10]))
                && !taken("DECIMAL(5,2)", decimals(vec![100_000]))
        );
        let times = |values: Vec<i32>| Arc::new(Time32MillisecondArray::from(values));
        assert!(taken("TIME(3)", times(vec![0, 1, day - 1])) && !taken("TIME(3)", times(vec![day])));
        assert!(!taken("TIME(3)", times(vec![-1])));
        let stamps = |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values));
        assert!(taken("TIMESTAMP(6)", stamps(vec![0, -1, 1, 253_402_300_799_999_999])));
        assert!(!taken("TIMESTAMP(6)", stamps(vec![253_402_300_800_000_000])));
        let zoned = TimestampMillisecondArray::from(vec![1, -1, 1_700_000_000_123]).with_timezone("UTC");
        assert!(taken("TIMESTAMP_LTZ(3)", Arc::new(zoned)));
        assert!(taken("STRING", texts(&["", "a\"\\\u{1}\u{2028}", "\u{1f600}"])));
        assert!(taken("BYTES", Arc::new(BinaryArray::from(vec![b"".as_slice(), b"\xff\x00", b"abc"]))));
        assert!(taken("JSON", texts(&["{\"a\": [1, null]}", "1.50", "\"x\""])));
        for other in ["null", " 1", "1 ", "", "{", "{\"a\":1}x"] {
            assert!(!taken("JSON", texts(&["1", other])), "{other:?}");
        }
    }

    #[test]
    fn what_is_nested_is_looked_into() {
        let fields = |ddl: &str| {
            let schema = TableSchema::create(ddl::parse(ddl).unwrap(), &[]).unwrap();
            schema.to_arrow().field(0).data_type().clone()
        };
        let list = |values: Vec<f64>| -> ArrayRef {
            let Arrow::List(item) = fields("c ARRAY<DOUBLE>") else { unreachable!() };
            let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 0, values.len() as i32]));
            Arc::new(ListArray::new(item, offsets, doubles(&values), None))
        };
        assert!(taken("ARRAY<DOUBLE>", list(vec![1.0, 2.0])) && !taken("ARRAY<DOUBLE>", list(vec![f64::NAN])));
        let row = |ddl: &str, values: Float64Array, nulls: Option<NullBuffer>| -> ArrayRef {
            let Arrow::Struct(members) = fields(&format!("c {ddl}")) else { unreachable!() };
            Arc::new(StructArray::new(members, vec![Arc::new(values)], nulls))
        };
        let values = || Float64Array::from(vec![1.0, 2.0]);
        assert!(taken("ROW<x DOUBLE>", row("ROW<x DOUBLE>", values(), Some(vec![true, true].into()))));
        assert!(!taken("ROW<x DOUBLE>", row("ROW<x DOUBLE>", Float64Array::from(vec![1.0, f64::NAN]), None)));
        assert!(taken("ROW<x DOUBLE NOT NULL>", row("ROW<x DOUBLE NOT NULL>", values(), None)));
        // A null row, whose members are null or have values that nobody may see.
        let one_null = || Some(NullBuffer::from(vec![true, false]));
        assert!(!taken("ROW<x DOUBLE>", row("ROW<x DOUBLE>", values(), one_null())));
        assert!(taken("ROW<x DOUBLE>", row("ROW<x DOUBLE>", Float64Array::from(vec![Some(1.0), None]), one_null())));
        let Arrow::Map(entries, _) = fields("c MAP<STRING, STRING>") else { unreachable!() };
        let map = |keys: [&str; 2]| -> ArrayRef {
            let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
            for key in keys {
                builder.keys().append_value(key);
                builder.values().append_value("v");
            }
            builder.append(true).unwrap();
            let built = builder.finish();
            let Arrow::Struct(members) = entries.data_type() else { unreachable!() };
            let pairs = StructArray::new(members.clone(), vec![built.keys().clone(), built.values().clone()], None);
            Arc::new(MapArray::new(entries.clone(), built.offsets().clone(), pairs, None, false))
        };
        assert!(taken("MAP<STRING, STRING>", map(["a", "b"])) && !taken("MAP<STRING, STRING>", map(["a", "a"])));
    }

    /// Values that take a bit as a column have a name in each row.
    #[test]
    fn rows_are_told_to_be_as_large_as_they_are() {
        for ddl in ["c STRING", "a_long_name ARRAY<ROW<another_long_name BOOLEAN, b BIGINT>>, m MAP<STRING, DOUBLE>"] {
            let schema = TableSchema::create(ddl::parse(ddl).unwrap(), &[]).unwrap();
            let table = Table::new(vec![Arc::new(schema)], RowFormat::json(), None, TableOptions::default()).unwrap();
            let mut decoder = table.validator();
            for _ in 0..100 {
                let row = match ddl.starts_with('c') {
                    true => format!(r#"{{"c":"{}"}}"#, r#"\u0001\"x"#.repeat(50)),
                    false => {
                        let item = r#"{"another_long_name":true,"b":123456789012345678}"#;
                        format!(r#"{{"a_long_name":[{}],"m":{{"k":1.2345678901234567e-300}}}}"#, [item; 50].join(","))
                    }
                };
                decoder.push(None, Some(row.as_bytes())).unwrap();
            }
            let columns = decoder.finish().unwrap();
            let (encoder, mut bytes) = (table.encoder(table.current()).unwrap(), Vec::new());
            let rows = encoder.rows(&columns).unwrap();
            (0..100).for_each(|row| rows.value(row, &mut bytes).unwrap());
            let told = table.bytes_of_rows(&columns);
            assert!(told >= bytes.len() && told < 3 * bytes.len(), "{ddl}: {told} for {}", bytes.len());
        }
    }

    #[test]
    fn a_row_that_may_be_larger_than_rows_may_be_is_looked_at_as_one() {
        let schema = TableSchema::create(ddl::parse("c STRING").unwrap(), &[]).unwrap();
        let columns = RecordBatch::try_new(schema.to_arrow(), vec![texts(&[&"x".repeat(1_000)])]).unwrap();
        let limits = |row_bytes| DecodeLimits { row_bytes, ..DecodeLimits::default() };
        assert!(rows_say(&schema, &columns, &limits(10_000)) && !rows_say(&schema, &columns, &limits(5_000)));
    }
}
