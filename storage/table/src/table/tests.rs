//! Tables as topics use them: rows of every writer into any version, and back.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};

use super::*;
use crate::codec::RowErrorKind;
use crate::ddl;
use crate::schema::Change;

fn schema(ddl: &str, keys: &[&str]) -> Arc<TableSchema> {
    Arc::new(TableSchema::create(ddl::parse(ddl).unwrap(), keys).unwrap())
}

fn table(versions: Vec<Arc<TableSchema>>, options: TableOptions) -> Arc<Table> {
    Arc::new(Table::new(versions, RowFormat::json(), None, options).unwrap())
}

fn evolved(from: &TableSchema, changes: &[Change]) -> Arc<TableSchema> {
    Arc::new(from.evolve(changes).unwrap())
}

fn read(table: &Arc<Table>, version: i32, rows: &[&str]) -> RecordBatch {
    let mut decoder = table.decoder(table.version(version).unwrap());
    for row in rows {
        decoder.push(None, Some(row.as_bytes())).unwrap();
    }
    decoder.finish().unwrap()
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<&str>> {
    batch.column(column).as_string::<i32>().iter().collect()
}

fn rename(from: &str, to: &str) -> Change {
    Change::Rename { path: vec![from.into()], to: to.into() }
}

/// Seen failing without aliases: old rows lose the renamed column.
#[test]
fn rows_of_every_version_are_read_under_every_version() {
    let first = schema("id INT NOT NULL, city STRING, old STRING", &[]);
    let wide = Change::Widen { path: vec!["id".into()], to: crate::DataType::BigInt };
    let drop = Change::Drop { path: vec!["old".into()] };
    let mut added = Field::new("at", crate::DataType::Int).not_null();
    added.default = Some("7".into());
    let add = Change::Add { path: vec![], field: added };
    let second = evolved(&first, &[rename("city", "town"), wide, drop, add]);
    let table = table(vec![first, second], TableOptions::default());
    let rows = [r#"{"id":1,"city":"Ulm","old":"x"}"#, r#"{"id":2,"town":"Bern","at":3}"#];
    let new = read(&table, 2, &rows);
    assert_eq!(new.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(texts(&new, 1), [Some("Ulm"), Some("Bern")]);
    assert_eq!(new.column(2).as_primitive::<Int32Type>().values(), &[7, 3], "the default of rows without the column");
    let old = read(&table, 1, &rows);
    assert_eq!(texts(&old, 1), [Some("Ulm"), Some("Bern")]);
    assert_eq!(texts(&old, 2), [Some("x"), None]);
}

#[test]
fn a_name_that_is_in_use_means_the_column_that_has_it() {
    let first = schema("a STRING, b STRING", &[]);
    let second = evolved(&first, &[rename("a", "c"), rename("b", "a")]);
    let batch = read(&table(vec![first, second], TableOptions::default()), 2, &[r#"{"a":"1","c":"2"}"#]);
    assert_eq!((texts(&batch, 0), texts(&batch, 1)), (vec![Some("2")], vec![Some("1")]));
}

#[test]
fn a_bad_row_leaves_nothing_and_readers_may_put_nulls_in_its_place() {
    let table = table(vec![schema("id BIGINT NOT NULL, tags ARRAY<STRING>", &[])], TableOptions::default());
    let mut decoder = table.decoder(table.current());
    decoder.push(None, Some(br#"{"id":1,"tags":["a"]}"#)).unwrap();
    let error = decoder.push(None, Some(br#"{"id":2,"tags":["a",5]}"#)).unwrap_err();
    assert_eq!(error.column, "tags[1]");
    decoder.push_null_row();
    decoder.push(None, Some(br#"{"tags":[]}"#)).unwrap();
    assert_eq!(decoder.rows(), 3);
    let batch = decoder.finish().unwrap();
    let ids: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(ids, [Some(1), None, None], "a missing NOT NULL column is null to readers");
    assert_eq!(batch.column(1).as_list::<i32>().values().len(), 1);
    assert!(batch.schema().field(0).is_nullable());
}

#[test]
fn new_rows_obey_every_rule() {
    let options = TableOptions { on_unknown: OnUnknown::Reject, ..TableOptions::default() };
    let table = table(vec![schema("id BIGINT NOT NULL, city STRING", &[])], options);
    let mut rows = table.validator();
    rows.push(None, Some(br#"{"id":1}"#)).unwrap();
    let kind = |rows: &mut RowDecoder, row: &str| rows.push(None, Some(row.as_bytes())).unwrap_err().kind;
    assert_eq!(kind(&mut rows, r#"{"city":"Ulm"}"#), RowErrorKind::Missing);
    assert_eq!(kind(&mut rows, r#"{"id":1,"x":1}"#), RowErrorKind::Unknown);
    assert!(matches!(kind(&mut rows, r#"{"id":"a"}"#), RowErrorKind::Value { .. }));
    assert_eq!(rows.push(None, None).unwrap_err().kind, RowErrorKind::Tombstone);
    assert_eq!(rows.rows(), 1);
    table.release(rows);
    assert_eq!(table.validator().rows(), 0, "a validator comes back empty");
}

#[test]
fn a_tombstone_is_a_row_of_nulls_where_that_is_allowed() {
    let strict = schema("id BIGINT NOT NULL DEFAULT 5, city STRING", &[]);
    let loose = schema("id BIGINT DEFAULT 5, city STRING", &[]);
    let refused = table(vec![strict.clone()], TableOptions::default());
    assert_eq!(refused.validator().push(None, None).unwrap_err().column, "id");
    let mut rows = table(vec![loose], TableOptions::default()).validator();
    rows.push(None, None).unwrap();
    assert!(rows.finish().unwrap().column(0).is_null(0), "nulls, not defaults");
    let compacted = table(vec![strict], TableOptions { tombstones: true, ..TableOptions::default() });
    compacted.validator().push(None, None).unwrap();
    let mut rows = compacted.decoder(compacted.current());
    rows.push(None, None).unwrap();
    assert!(rows.finish().unwrap().column(0).is_null(0));
}

#[test]
fn under_null_the_column_is_null_and_the_reason_is_told() {
    let options = TableOptions { on_invalid: OnInvalid::Null, ..TableOptions::default() };
    let table = table(vec![schema("id BIGINT NOT NULL, n INT, city STRING", &[])], options);
    let mut rows = table.validator();
    rows.push(None, Some(br#"{"id":1,"n":"x","city":"Ulm"}"#)).unwrap();
    assert_eq!(rows.nulled().iter().map(|error| error.column.as_str()).collect::<Vec<_>>(), ["n"]);
    assert!(rows.push(None, Some(br#"{"id":"x"}"#)).is_err(), "NOT NULL columns cannot be null");
    let mut read = table.decoder(table.current());
    read.push(None, Some(br#"{"id":1,"n":"x","city":"Ulm"}"#)).unwrap();
    let batch = read.finish().unwrap();
    assert!(batch.column(1).is_null(0));
    assert_eq!(texts(&batch, 2), [Some("Ulm")]);
}

#[test]
fn raw_keys_are_columns_as_kafkas_serializers_write_them() {
    let with_key = |kind: &str| {
        let schema = schema(&format!("k {kind} NOT NULL, v INT"), &["k"]);
        Arc::new(Table::new(vec![schema], RowFormat::json(), Some(KeyFormat::Raw), TableOptions::default()).unwrap())
    };
    let uuid = b"0f0e0d0c-0b0a-0908-0706-050403020100";
    let keys: [(&str, &[u8]); 7] = [
        ("INT", &[0, 0, 1, 0]),
        ("BIGINT", &[0, 0, 0, 0, 0, 0, 0, 9]),
        ("SMALLINT", &[255, 254]),
        ("DOUBLE", &1.5f64.to_be_bytes()),
        ("STRING", "Zürich".as_bytes()),
        ("BYTES", &[0, 255]),
        ("UUID", uuid),
    ];
    for (kind, key) in keys {
        let table = with_key(kind);
        let mut rows = table.validator();
        rows.push(Some(key), Some(br#"{"v":1}"#)).unwrap();
        assert_eq!(rows.push(None, Some(b"{}")).unwrap_err().kind, RowErrorKind::NoKey, "{kind}");
        let batch = rows.finish().unwrap();
        let encoder = table.encoder(table.current()).unwrap();
        let (mut written, mut value) = (Vec::new(), Vec::new());
        assert!(encoder.rows(&batch).unwrap().key(0, &mut written).unwrap());
        assert_eq!(written, key, "{kind}");
        encoder.rows(&batch).unwrap().value(0, &mut value).unwrap();
        assert_eq!(value, br#"{"v":1}"#);
    }
    let error = with_key("INT").validator().push(Some(b"abc"), Some(b"{}")).unwrap_err();
    assert!(matches!(error.kind, RowErrorKind::RawLength { len: 3, .. }), "{error}");
    let two = schema("a INT, b INT, c INT", &["a", "b"]);
    let error = Table::new(vec![two], RowFormat::json(), Some(KeyFormat::Raw), TableOptions::default()).unwrap_err();
    assert!(matches!(error, TableError::RawKey { .. }), "{error}");
}

#[test]
fn json_keys_are_rows_of_their_own() {
    let schema = schema("a INT, b STRING, v INT", &["a", "b"]);
    let key = Some(KeyFormat::Row(RowFormat::json()));
    let table = Arc::new(Table::new(vec![schema], RowFormat::json(), key, TableOptions::default()).unwrap());
    let mut rows = table.validator();
    rows.push(Some(br#"{"b":"x","a":1}"#), Some(br#"{"v":2}"#)).unwrap();
    let batch = rows.finish().unwrap();
    let encoder = table.encoder(table.current()).unwrap();
    let (rows, mut key) = (encoder.rows(&batch).unwrap(), Vec::new());
    assert!(rows.key(0, &mut key).unwrap());
    assert_eq!(key, br#"{"a":1,"b":"x"}"#);
}

struct Two;

const OLD: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"id","type":"int"},{"name":"city","type":"string"}]}"#;
const NEW: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"town","type":["null","string"]}]}"#;

fn writer(id: i32, text: &str) -> Arc<WriterSchema> {
    Arc::new(WriterSchema { id: Some(id), text: text.into(), references: Vec::new() })
}

impl WriterSchemas for Two {
    fn writer(&self, id: i32) -> Option<Arc<WriterSchema>> {
        match id {
            1 => Some(writer(1, OLD)),
            2 => Some(writer(2, NEW)),
            3 => Some(writer(3, r#"{"type":"record","name":"R","fields":[{"name":"id","type":"string"}]}"#)),
            _ => None,
        }
    }
}

#[test]
fn framed_avro_rows_of_all_writers_are_read_and_written_with_the_newest_schema() {
    let first = schema("id BIGINT NOT NULL, city STRING", &[]);
    let second = evolved(&first, &[rename("city", "town")]);
    let format = RowFormat {
        kind: FormatKind::Avro,
        framing: Framing::Registry,
        schema: Some(writer(2, NEW)),
        writers: Arc::new(Two),
        ..RowFormat::json()
    };
    let table = Arc::new(Table::new(vec![first, second], format, None, TableOptions::default()).unwrap());
    let mut rows = table.validator();
    rows.push(None, Some(b"\0\0\0\0\x01\x04\x06Ulm")).unwrap();
    rows.push(None, Some(b"\0\0\0\0\x02\x06\x02\x08Bern")).unwrap();
    let kind = |rows: &mut RowDecoder, row: &[u8]| rows.push(None, Some(row)).unwrap_err().kind;
    assert_eq!(kind(&mut rows, b"\x04\x06Ulm"), RowErrorKind::NotFramed);
    assert_eq!(kind(&mut rows, b"\0\0\0\0\x09\x04"), RowErrorKind::UnknownSchema { id: 9 });
    assert!(matches!(kind(&mut rows, b"\0\0\0\0\x03\x02a"), RowErrorKind::Writer { id: Some(3), .. }));
    assert!(matches!(kind(&mut rows, b"\0\0\0\0\x01\x04\x06Ul"), RowErrorKind::Malformed { .. }));
    let batch = rows.finish().unwrap();
    assert_eq!(texts(&batch, 1), [Some("Ulm"), Some("Bern")]);
    let encoder = table.encoder(table.current()).unwrap();
    let mut out = Vec::new();
    encoder.rows(&batch).unwrap().value(0, &mut out).unwrap();
    assert_eq!(out, b"\0\0\0\0\x02\x04\x02\x06Ulm");
}

#[test]
fn plain_avro_rows_are_read_with_the_schema_of_the_topic() {
    let plain = WriterSchema { id: None, text: OLD.into(), references: Vec::new() };
    let columns = crate::codec::avro::AvroSchema::parse(OLD).unwrap().columns().unwrap();
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    let table = Table::new(vec![schema], RowFormat::avro(plain), None, TableOptions::default()).unwrap();
    let mut rows = table.validator();
    rows.push(None, Some(b"\x04\x06Ulm")).unwrap();
    let batch = rows.finish().unwrap();
    assert_eq!(texts(&batch, 1), [Some("Ulm")]);
    let mut out = Vec::new();
    table.encoder(table.current()).unwrap().rows(&batch).unwrap().value(0, &mut out).unwrap();
    assert_eq!(out, b"\x04\x06Ulm");
}

#[test]
fn a_schema_that_no_row_could_fit_makes_no_table() {
    let plain = WriterSchema { id: None, text: OLD.into(), references: Vec::new() };
    let schema = schema("id INT, town STRING NOT NULL", &[]);
    let error = Table::new(vec![schema], RowFormat::avro(plain), None, TableOptions::default()).unwrap_err();
    assert!(matches!(error, TableError::Writer { .. }), "{error}");
}

#[test]
fn json_rows_may_be_framed() {
    let table = table(vec![schema("id INT", &[])], TableOptions::default());
    let mut rows = table.validator();
    rows.push(None, Some(b"\0\0\0\0\x05{\"id\":3}")).unwrap();
    assert_eq!(rows.finish().unwrap().column(0).as_primitive::<Int32Type>().values(), &[3]);
}

/// Seen failing when codecs of Avro writers were kept by version only: the second decoder got the columns of the first.
#[test]
fn scanners_read_single_columns_and_make_a_row_of_every_record() {
    let table_schema = schema("id BIGINT NOT NULL, n INT, city STRING", &[]);
    let table = table(vec![table_schema.clone()], TableOptions::default());
    let rows: [Option<&[u8]>; 5] =
        [Some(br#"{"id":1,"n":2,"city":"Ulm"}"#), Some(br#"{"id":"x","n":3}"#), None, Some(b"no row"), Some(b"{}")];
    let scan = |table: &Arc<Table>, columns: &[usize], rows: &[Option<&[u8]>]| {
        let mut scanner = table.scanner(table.current(), columns);
        rows.iter().for_each(|row| scanner.push(None, *row).unwrap());
        scanner.finish().unwrap()
    };
    let ints = |batch: &RecordBatch, column: usize| -> Vec<Option<i32>> {
        batch.column(column).as_primitive::<Int32Type>().iter().collect()
    };
    let n = scan(&table, &[1], &rows);
    assert_eq!((n.num_columns(), ints(&n, 0)), (1, vec![Some(2), Some(3), None, None, None]));
    let all = scan(&table, &[0, 1, 2], &rows);
    assert_eq!(ints(&all, 1), ints(&n, 0), "a column reads the same beside others");
    assert_eq!(all.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None, None, None, None]);

    let format = RowFormat {
        kind: FormatKind::Avro,
        framing: Framing::Registry,
        schema: Some(writer(1, OLD)),
        writers: Arc::new(Two),
        ..RowFormat::json()
    };
    let table = Table::new(vec![schema("id BIGINT, city STRING", &[])], format, None, TableOptions::default()).unwrap();
    let table = Arc::new(table);
    let rows: [Option<&[u8]>; 2] = [Some(b"\0\0\0\0\x01\x04\x06Ulm"), Some(b"\0\0\0\0\x01\x04\x06Ul")];
    let ids = scan(&table, &[0], &rows);
    assert_eq!(ids.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(2), None]);
    assert_eq!(texts(&scan(&table, &[1], &rows), 0), [Some("Ulm"), None]);
}

#[test]
fn a_writer_with_the_old_and_the_new_name_is_read_by_the_new_one() {
    let first = schema("id BIGINT NOT NULL, city STRING", &[]);
    let second = evolved(&first, &[rename("city", "town")]);
    let both = OLD.replace(
        r#"{"name":"city","type":"string"}"#,
        r#"{"name":"city","type":"string"},{"name":"town","type":"string"}"#,
    );
    let format = RowFormat::avro(WriterSchema { id: None, text: both, references: Vec::new() });
    let table = Arc::new(Table::new(vec![first, second], format, None, TableOptions::default()).unwrap());
    let mut rows = table.validator();
    rows.push(None, Some(b"\x04\x06old\x06new")).unwrap();
    assert_eq!(texts(&rows.finish().unwrap(), 1), [Some("new")]);
}

/// What a file of columns keeps beside them gives every framed row back.
#[test]
fn framed_rows_come_back_from_columns_and_their_writers() {
    let avro = RowFormat {
        kind: FormatKind::Avro,
        framing: Framing::Registry,
        schema: Some(writer(2, NEW)),
        writers: Arc::new(Two),
        ..RowFormat::json()
    };
    let first = schema("id BIGINT NOT NULL, city STRING", &[]);
    let renamed = evolved(&first, &[rename("city", "town")]);
    let avro = Arc::new(Table::new(vec![first.clone(), renamed], avro, None, TableOptions::default()).unwrap());
    let json = table(vec![first], TableOptions::default());
    let rows: [(&Arc<Table>, &[u8], bool); 7] = [
        (&avro, b"\0\0\0\0\x01\x04\x06Ulm", true),
        (&avro, b"\0\0\0\0\x02\x06\x02\x08Bern", true),
        // A number with a byte too many, and a row that is none.
        (&avro, b"\0\0\0\0\x01\x84\x00\x06Ulm", false),
        (&avro, b"\0\0\0\0\x01\x04", false),
        (&json, b"\0\0\0\0\x07{\"id\": 3, \"city\":\"x\"}", true),
        (&json, b"{\"id\": 3, \"city\":\"x\"}", true),
        (&json, b"\0\0\0\0\x07{\"id\": 3, \"more\":\"x\"}", false),
    ];
    for (table, row, in_columns) in rows {
        let mut keeper = table.keeper();
        keeper.push(None, Some(row)).unwrap();
        let (form, shapes) = (keeper.form(), keeper.shapes());
        assert_eq!(form != crate::codec::RowForm::Raw, in_columns, "{}", row.escape_ascii());
        if !in_columns {
            continue;
        }
        let writers = KeptWriters::from_json(&keeper.writers().to_json()).unwrap();
        let stored = keeper.schema().clone();
        let batch = keeper.finish().unwrap();
        let encoder = KeptEncoder::new(&stored, &shapes, &writers).unwrap();
        let mut out = Vec::new();
        encoder.rows(&batch).unwrap().write(0, form, &mut out).unwrap();
        assert_eq!(out, row, "{}", row.escape_ascii());
    }
}
