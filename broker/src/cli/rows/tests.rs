//! What rows look like in each format.
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn batch() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a,b"), None]);
    tags.append_null();
    let dictionary: DictionaryArray<Int32Type> = vec![Some("UA"), None].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("carrier", Arc::new(dictionary)),
        ("delay", Arc::new(Int64Array::from(vec![Some(-3), None]))),
        ("ratio", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ("price", Arc::new(Decimal128Array::from(vec![1250, -5]).with_precision_and_scale(10, 2).unwrap())),
        ("note", Arc::new(StringArray::from(vec!["say \"hi\"\n", ""]))),
        ("day", Arc::new(Date32Array::from(vec![15_706, 0]))),
        ("_timestamp", Arc::new(TimestampMillisecondArray::from(vec![1_357_034_400_123, 0]).with_timezone("UTC"))),
        ("_value", Arc::new(BinaryArray::from(vec![&b"text"[..], &[0xff, 0x00]]))),
        ("blob", Arc::new(BinaryArray::from(vec![&b"text"[..], b""]))),
        ("tags", Arc::new(tags.finish())),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn written(format: RowFormat) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = RowWriter::new(format, &mut out);
    writer.write(&batch()).unwrap();
    writer.write(&batch().slice(1, 1)).unwrap();
    writer.finish(None).unwrap();
    drop(writer);
    out
}

fn text(format: RowFormat) -> Vec<String> {
    String::from_utf8(written(format)).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn json_has_the_forms_of_json_rows() {
    let lines = text(RowFormat::Json);
    assert_eq!(
        lines[0],
        r#"{"carrier":"UA","delay":-3,"ratio":0.5,"price":12.50,"note":"say \"hi\"\n","day":"2013-01-01","_timestamp":"2013-01-01T10:00:00.123Z","_value":"text","blob":"dGV4dA==","tags":["a,b",null]}"#
    );
    assert_eq!(
        lines[1],
        r#"{"carrier":null,"delay":null,"ratio":"NaN","price":-0.05,"note":"","day":"1970-01-01","_timestamp":"1970-01-01T00:00:00Z","_value":{"base64":"/wA="},"blob":"","tags":null}"#
    );
    assert_eq!(lines[2], lines[1]);
    lines.iter().for_each(|line| assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}"));
}

#[test]
fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
    let text = String::from_utf8(written(RowFormat::Csv)).unwrap();
    let expected = "carrier,delay,ratio,price,note,day,_timestamp,_value,blob,tags\n\
        UA,-3,0.5,12.50,\"say \"\"hi\"\"\n\",2013-01-01,2013-01-01T10:00:00.123Z,text,dGV4dA==,\"[\"\"a,b\"\",null]\"\n";
    assert!(text.starts_with(expected), "{text}");
    let second = &text[expected.len()..];
    assert!(second.starts_with(",,NaN,-0.05,\"\",1970-01-01,"), "{second}");
}

#[test]
fn a_table_aligns_numbers_to_the_right() {
    let lines = text(RowFormat::Table);
    assert!(lines[0].starts_with("carrier  delay  ratio  price  note"), "{}", lines[0]);
    assert!(lines[1].starts_with("UA          -3    0.5  12.50  say \"hi\""), "{}", lines[1]);
    assert!(lines[2].starts_with("-            -    NaN  -0.05"), "{}", lines[2]);
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_parquet_file_holds_the_rows_also_when_there_are_none() {
    let read = |bytes: Vec<u8>| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        (names, builder.build().unwrap().map(Result::unwrap).collect::<Vec<_>>())
    };
    let (names, batches) = read(written(RowFormat::Parquet));
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(batches[0].column_by_name("price").unwrap().slice(0, 2).as_ref(), batch().column(3).as_ref());
    let mut out = Vec::new();
    RowWriter::new(RowFormat::Parquet, &mut out).finish(Some(&batch().schema())).unwrap();
    assert_eq!(read(out), (names, Vec::new()));
}

#[test]
fn an_arrow_stream_holds_the_batches_also_when_there_are_none() {
    let bytes = written(RowFormat::Arrow);
    let read: Vec<RecordBatch> = StreamReader::try_new(&bytes[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(read[0], batch());
    let mut out = Vec::new();
    RowWriter::new(RowFormat::Arrow, &mut out).finish(Some(&batch().schema())).unwrap();
    let reader = StreamReader::try_new(&out[..], None).unwrap();
    assert_eq!((reader.schema(), reader.count()), (batch().schema(), 0));
}
