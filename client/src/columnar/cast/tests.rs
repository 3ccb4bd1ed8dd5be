//! What Python's libraries hand over, against the types of a table.

use arrow_array::types::Int32Type;
use arrow_array::{
    Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray, NullArray,
    StringArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array,
};

use super::*;

fn column(wanted: DataType, array: impl Array + 'static) -> Result<ArrayRef, CastError> {
    let table = Schema::new(vec![Field::new("c", wanted, true)]);
    let batch = RecordBatch::try_from_iter_with_nullable([("c", Arc::new(array) as ArrayRef, true)]).unwrap();
    to_table(&batch, &table, 0).map(|batch| batch.column(0).clone())
}

fn refused(wanted: DataType, array: impl Array + 'static) -> String {
    column(wanted, array).unwrap_err().to_string()
}

#[test]
fn integers_of_python_fit_an_int_column_or_are_refused_with_their_row() {
    let made = column(DataType::Int32, Int64Array::from(vec![Some(7), None, Some(-1)])).unwrap();
    assert_eq!(made.as_ref(), &Int32Array::from(vec![Some(7), None, Some(-1)]) as &dyn Array);
    let message = refused(DataType::Int32, Int64Array::from(vec![1, 2, 3_000_000_000]));
    assert_eq!(message, "column c, row 2: 3000000000 does not fit Int32");
    assert_eq!(refused(DataType::Int8, UInt8Array::from(vec![200])), "column c, row 0: 200 does not fit Int8");
}

/// Seen failing without the cast back: 1.5 became 1.
#[test]
fn floats_of_pandas_become_integers_only_if_they_are_some() {
    let made = column(DataType::Int64, Float64Array::from(vec![Some(7.0), None])).unwrap();
    assert_eq!(made.as_ref(), &Int64Array::from(vec![Some(7), None]) as &dyn Array);
    assert_eq!(
        refused(DataType::Int64, Float64Array::from(vec![1.0, 1.5])),
        "column c, row 1: 1.5 would be rounded as Int64"
    );
    assert!(refused(DataType::Int64, Float64Array::from(vec![f64::NAN])).contains("row 0: NaN does not fit"));
    assert!(refused(DataType::Float64, Int64Array::from(vec![(1 << 53) + 1])).contains("would be rounded"));
    assert!(refused(DataType::Float32, Float64Array::from(vec![0.1, 1e300])).contains("row 1"));
    assert!(column(DataType::Float32, Float64Array::from(vec![0.1])).is_ok());
}

#[test]
fn decimals_keep_every_digit() {
    let decimals =
        |values: Vec<i128>, scale| Decimal128Array::from(values).with_precision_and_scale(20, scale).unwrap();
    let made = column(DataType::Decimal128(9, 2), decimals(vec![1_000, 25_500], 3)).unwrap();
    assert_eq!(array_value_to_string(&made, 1).unwrap(), "25.50");
    assert!(
        refused(DataType::Decimal128(9, 2), decimals(vec![1_000, 1_001], 3)).contains("row 1: 1.001 would be rounded")
    );
    assert!(refused(DataType::Decimal128(3, 2), decimals(vec![999, 1_000], 2)).contains("row 1: 10.00 does not fit"));
    assert!(column(DataType::Decimal128(9, 2), Int64Array::from(vec![12])).is_ok());
    assert!(refused(DataType::Decimal128(9, 2), Float64Array::from(vec![0.5])).contains("make decimals of it"));
}

#[test]
fn times_are_cut_to_the_unit_of_the_column_only_where_nothing_is_cut_off() {
    let wanted = || DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, None);
    let made = column(wanted(), TimestampNanosecondArray::from(vec![Some(5_000_000), None])).unwrap();
    assert_eq!(made.as_ref(), &TimestampMillisecondArray::from(vec![Some(5), None]) as &dyn Array);
    assert!(refused(wanted(), TimestampNanosecondArray::from(vec![5_000_001])).contains("would be rounded"));
    let zoned = TimestampNanosecondArray::from(vec![5_000_000]).with_timezone("+02:00");
    assert!(refused(wanted(), zoned.clone()).contains("the column has no zone"));
    let utc = DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, Some("UTC".into()));
    assert_eq!(column(utc.clone(), zoned).unwrap().data_type(), &utc);
    assert!(refused(utc, TimestampNanosecondArray::from(vec![5_000_000])).contains("say which zone"));
    assert!(refused(DataType::Date32, StringArray::from(vec!["2013-01-01"])).contains("cast the column"));
    assert!(column(DataType::Date32, Date32Array::from(vec![1])).is_ok());
}

#[test]
fn text_and_gaps_come_in_many_forms() {
    let keyed: DictionaryArray<Int32Type> = ["UA", "AA", "UA"].into_iter().collect();
    let made = column(DataType::Utf8, keyed).unwrap();
    assert_eq!(made.as_ref(), &StringArray::from(vec!["UA", "AA", "UA"]) as &dyn Array);
    assert!(column(DataType::Utf8, LargeStringArray::from(vec!["x"])).is_ok());
    assert_eq!(column(DataType::Boolean, NullArray::new(3)).unwrap().null_count(), 3);
}

#[test]
fn what_is_inside_of_lists_and_structs_is_cast_and_named_by_its_path_and_row() {
    let item = |kind| Arc::new(Field::new("item", kind, true));
    let lists = |values: Vec<Vec<i64>>| {
        ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(
            values.into_iter().map(|list| Some(list.into_iter().map(Some).collect::<Vec<_>>())),
        )
    };
    let wanted = DataType::List(item(DataType::Int16));
    assert_eq!(column(wanted.clone(), lists(vec![vec![1], vec![], vec![2, 3]])).unwrap().data_type(), &wanted);
    let message = refused(wanted, lists(vec![vec![1], vec![], vec![2, 70_000]]));
    assert_eq!(message, "column c[], row 2: 70000 does not fit Int16");
    let parts = StructArray::from(vec![(
        Arc::new(Field::new("n", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![1, 1 << 40])) as ArrayRef,
    )]);
    let members =
        |names: &[&str]| DataType::Struct(names.iter().map(|name| Field::new(*name, DataType::Int32, true)).collect());
    assert_eq!(refused(members(&["n"]), parts.clone()), "column c.n, row 1: 1099511627776 does not fit Int32");
    let made = column(members(&["m", "n"]), parts.slice(0, 1)).unwrap();
    assert_eq!((made.as_struct().column(0).null_count(), made.as_struct().column(1).null_count()), (1, 0));
    assert!(refused(members(&["m"]), parts).contains("no member n"));
}

#[test]
fn columns_that_the_table_does_not_have_are_left_to_the_broker() {
    let batch = RecordBatch::try_from_iter([("nope", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    assert_eq!(to_table(&batch, &Schema::empty(), 0).unwrap().columns(), batch.columns());
    let large = RecordBatch::try_from_iter([("t", Arc::new(LargeStringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    assert_eq!(to_usual(&large).unwrap().column(0).data_type(), &DataType::Utf8);
}
