//! Rows that go in come out: byte for byte, whatever their spacing, order, numbers and escapes.

#[path = "tests/quick.rs"]
mod quick_rows;
#[path = "tests/rows.rs"]
mod rows;

use std::sync::Arc;

use arrow_array::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::parse::{Parser, Scratch};
use super::*;
use crate::builder::RowBuilder;
use crate::codec::plan::Members;
use crate::ddl;
use crate::schema::TableSchema;

fn table(columns: &str) -> Arc<TableSchema> {
    Arc::new(TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap())
}

fn exact(schema: &TableSchema) -> JsonDecoder {
    JsonDecoder::new(schema, RowPart::Value, JsonOptions::default())
}

/// Decodes all rows and encodes them again; `Raw` rows are put back by the caller's copy, as a segment does.
fn there_and_back(schema: &Arc<TableSchema>, rows: &[String]) -> (RecordBatch, Vec<RowForm>) {
    let mut decoder = exact(schema);
    let mut builder = RowBuilder::new(schema.clone());
    let mut forms = Vec::new();
    for row in rows {
        forms.push(decoder.decode(row.as_bytes(), &mut builder).unwrap_or_else(|error| panic!("{error}: {row}")));
        builder.finish_row();
    }
    let batch = builder.finish().unwrap();
    let stored = ShapeSet::from_bytes(&decoder.shapes().to_bytes()).unwrap();
    assert_eq!(stored, *decoder.shapes());
    let encoder = JsonEncoder::new(schema, RowPart::Value, &stored).unwrap();
    let written = encoder.rows(&batch).unwrap();
    let mut out = Vec::new();
    for (index, (row, form)) in rows.iter().zip(&forms).enumerate() {
        if *form == RowForm::Raw {
            continue;
        }
        out.clear();
        written.write(index, *form, &mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out).unwrap(), row, "row {index} in {form:?}");
    }
    (batch, forms)
}

/// The same rows by the parser that knows no shapes.
fn parsed(schema: &Arc<TableSchema>, rows: &[String]) -> RecordBatch {
    let members = Members::new(&schema.fields, &schema.value_columns(), &Aliases::default());
    let mut builder = RowBuilder::new(schema.clone());
    let mut scratch = Scratch::default();
    for row in rows {
        let mut parser = Parser::new(row, OnUnknown::Keep, 1 << 20, &mut scratch);
        parser.row(&members, &mut builder.columns).unwrap();
        builder.finish_row();
    }
    builder.finish().unwrap()
}

fn forms(columns: &str, rows: &[&str]) -> Vec<RowForm> {
    let rows: Vec<_> = rows.iter().map(|row| row.to_string()).collect();
    let schema = table(columns);
    let (batch, forms) = there_and_back(&schema, &rows);
    assert_eq!(batch, parsed(&schema, &rows));
    forms
}

fn shape(id: u16) -> RowForm {
    RowForm::Shape(ShapeId(id))
}

#[test]
fn rows_of_one_producer_share_a_shape() {
    let rows = [r#"{"a": 1, "b": "x"}"#, r#"{"a": -20, "b": ""}"#, r#"{"a": 9223372036854775807, "b": "\n\u0001é"}"#];
    assert_eq!(forms("a BIGINT, b STRING", &rows), [shape(0); 3]);
}

#[test]
fn missing_fields_converge_to_one_shape() {
    let rows =
        [r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#, r#"{"b":1,"c":3}"#, r#"{"c":3}"#, r#"{"a":1,"b":2,"c":3}"#];
    let forms = forms("a INT, b INT, c INT", &rows);
    assert_eq!(forms[1], shape(1));
    assert_eq!(forms[3], shape(2));
    assert!(forms.iter().all(|form| *form != RowForm::Raw));
}

#[test]
fn number_formats_are_told_apart() {
    let python =
        [r#"{"x": 1.5}"#, r#"{"x": 2.0}"#, r#"{"x": 1e+16}"#, r#"{"x": 1e-05}"#, r#"{"x": 0.0}"#, r#"{"x": -0.0}"#];
    let found = forms("x DOUBLE", &python);
    assert_eq!(found[1..], [shape(1); 5]);
    let fixed = [r#"{"x":1.50}"#, r#"{"x":12345.25}"#, r#"{"x":0.00}"#, r#"{"x":-7.10}"#];
    assert_eq!(forms("x DOUBLE", &fixed), [shape(0); 4]);
    assert_eq!(forms("x DECIMAL(10,2)", &fixed), [shape(0); 4]);
    let java = [r#"{"x":1.0E10}"#, r#"{"x":1.25E-5}"#, r#"{"x":0.001}"#, r#"{"x":9999999.0}"#, r#"{"x":"NaN"}"#];
    assert_eq!(forms("x DOUBLE", &java), [shape(0); 5]);
    assert_eq!(forms("x BIGINT", &[r#"{"x":1e3}"#, r#"{"x":1.0}"#, r#"{"x":-0}"#]), [RowForm::Raw; 3]);
    assert_eq!(forms("x BIGINT", &[r#"{"x":"12"}"#, r#"{"x":"-5"}"#]), [shape(0); 2]);
}

#[test]
fn times_keep_their_form() {
    let rows = [r#"{"t":"2013-01-01T05:00:00Z"}"#, r#"{"t":"1969-12-31T23:59:59.001Z"}"#];
    assert_eq!(forms("t TIMESTAMP_LTZ(3)", &rows), [shape(0); 2]);
    assert_eq!(forms("t TIMESTAMP_LTZ(6)", &[r#"{"t":"2013-01-01 05:00:00.120000+02:30"}"#]), [shape(0)]);
    assert_eq!(forms("t TIMESTAMP(3)", &[r#"{"t":1700000000000}"#, r#"{"t":-1}"#]), [shape(0); 2]);
    assert_eq!(forms("t TIME(6)", &[r#"{"t":"23:59:59.5"}"#, r#"{"t":"00:00:00"}"#])[0], shape(0));
    let date = [r#"{"d":"0000-01-01"}"#, r#"{"d":"9999-12-31"}"#, r#"{"d":"2024-02-29"}"#];
    assert_eq!(forms("d DATE", &date), [shape(0); 3]);
}

#[test]
fn escapes_keep_their_style() {
    let python = [r#"{"s": "\u00e9\ud83d\ude00"}"#, r#"{"s": "plain/"}"#, r#"{"s": "\"\\\b\u007f"}"#];
    assert_eq!(forms("s STRING", &python), [shape(0); 3]);
    let php = [r#"{"s":"a\/b"}"#, r#"{"s":"\/"}"#, r#"{"s":"é"}"#];
    assert_eq!(forms("s STRING", &php), [shape(0); 3]);
    let go = [r#"{"s":"\u003cb\u003e \u0026"}"#, r#"{"s":"é\u2028"}"#];
    assert_eq!(forms("s STRING", &go), [shape(0); 2]);
    assert_eq!(forms("s STRING", &[r#"{"s":"\u0041"}"#]), [RowForm::Raw]);
}

#[test]
fn nested_rows_lists_and_maps_have_shapes() {
    let columns = "r ROW<a INT, b ARRAY<ROW<x DOUBLE, y STRING>>>, m MAP<STRING, ARRAY<INT>>, j JSON";
    let rows = [
        r#"{"r": {"a": 1, "b": [{"x": 1.0, "y": "q"}, {"x": 2.5, "y": null}]}, "m": {"k": [1, 2], "l": []}, "j": [1,  2]}"#,
        r#"{"r": {"a": 2, "b": []}, "m": {}, "j": {"z" : 1e5}}"#,
        r#"{"r": {"a": 2, "b": [null, {"x": 7.0, "y": "w"}]}, "m": null, "j": null}"#,
    ];
    let found = forms(columns, &rows);
    assert!(found.iter().all(|form| *form != RowForm::Raw), "{found:?}");
}

#[test]
fn fields_nobody_knows_are_kept_dropped_or_refused() {
    let schema = table("a INT");
    let row = br#"{"a":1,"z":[{}]}"#;
    let run = |unknown, fidelity| {
        let options = JsonOptions { unknown, fidelity, ..JsonOptions::default() };
        let mut decoder = JsonDecoder::new(&schema, RowPart::Value, options);
        let mut builder = RowBuilder::new(schema.clone());
        let form = decoder.decode(row, &mut builder);
        (form, decoder, builder)
    };
    assert_eq!(run(OnUnknown::Keep, Fidelity::Exact).0, Ok(RowForm::Raw));
    assert_eq!(run(OnUnknown::Keep, Fidelity::Semantic).0, Ok(RowForm::Raw));
    let error = run(OnUnknown::Reject, Fidelity::Exact).0.unwrap_err();
    assert_eq!(error.to_string(), "column z: the table has no such column (weir.on.unknown=reject) (byte 7)");
    let (form, decoder, mut builder) = run(OnUnknown::Drop, Fidelity::Exact);
    builder.finish_row();
    let batch = builder.finish().unwrap();
    let encoder = JsonEncoder::new(&schema, RowPart::Value, decoder.shapes()).unwrap();
    let mut out = Vec::new();
    encoder.rows(&batch).unwrap().write(0, form.unwrap(), &mut out).unwrap();
    assert_eq!(out, br#"{"a":1}"#);
}

#[test]
fn errors_name_column_kind_rule_and_place() {
    let columns =
        "id BIGINT NOT NULL, small TINYINT, d DECIMAL(4,2), r ROW<tags ARRAY<STRING NOT NULL>>, u UUID, t TIMESTAMP(3)";
    let schema = table(columns);
    let check = |row: &str, expected: &str| {
        let mut builder = RowBuilder::new(schema.clone());
        let error = exact(&schema).decode(row.as_bytes(), &mut builder).unwrap_err();
        assert_eq!(error.to_string(), expected, "{row}");
        assert_eq!(builder.len_bytes(), RowBuilder::new(schema.clone()).len_bytes(), "nothing stays behind: {row}");
    };
    check(r#"{"small":1}"#, "column id: missing, but the column is NOT NULL and has no default (byte 11)");
    check(r#"{"id":null}"#, "column id: null in a NOT NULL column (byte 10)");
    check(r#"{"id":true}"#, "column id: expected BIGINT, found a boolean (byte 6)");
    check(r#"{"id":1.5}"#, r#"column id: "1.5" is not a value of BIGINT: not an integer in range (byte 6)"#);
    check(r#"{"id":1,"small":128}"#, r#"column small: "128" is not a value of TINYINT: out of range (byte 16)"#);
    check(
        r#"{"id":1,"d":1.234}"#,
        r#"column d: "1.234" is not a value of DECIMAL(4,2): more digits than the type has; nothing is rounded (byte 12)"#,
    );
    check(
        r#"{"id":1,"d":123}"#,
        r#"column d: "123" is not a value of DECIMAL(4,2): more digits than the precision allows (byte 12)"#,
    );
    check(r#"{"id":1,"r":{"tags":["a",null]}}"#, "column r.tags[1]: null in a NOT NULL column (byte 29)");
    check(r#"{"id":1,"r":[]}"#, "column r: expected ROW<tags ARRAY<STRING NOT NULL>>, found an array (byte 12)");
    check(r#"{"id":1,"id":2}"#, "column id: the key appears twice in one object (byte 8)");
    check(
        r#"{"id":1,"u":"x"}"#,
        r#"column u: "x" is not a value of UUID: a UUID is written as 8-4-4-4-12 hex digits (byte 12)"#,
    );
    check(
        r#"{"id":1,"t":"2020-01-01T00:00:00Z"}"#,
        r#"column t: "2020-01-01T00:00:00Z" is not a value of TIMESTAMP(3): a timestamp is written as YYYY-MM-DDTHH:MM:SS with or without a fraction, and without a zone (byte 12)"#,
    );
    check(r#"[1]"#, "expected an object with the table's columns, found an array (byte 0)");
    check(r#"{"id":1"#, "not valid JSON: expected a comma or } after a member (byte 7)");
    check(r#"{"id":1} x"#, "not valid JSON: expected the end of the row (byte 9)");
    check(r#"{"id":01}"#, "column id: not valid JSON: expected a number without leading zeros (byte 6)");
}

#[test]
fn a_bad_row_leaves_the_good_ones_alone() {
    let schema = table("a INT NOT NULL, b ARRAY<STRING>, c MAP<STRING,INT>");
    let mut decoder = exact(&schema);
    let mut builder = RowBuilder::new(schema.clone());
    for row in [r#"{"a":1,"b":["x"],"c":{"k":1}}"#, r#"{"b":["y","z"],"c":{"k":"no"}}"#, r#"{"a":2,"b":[],"c":{}}"#] {
        if decoder.decode(row.as_bytes(), &mut builder).is_ok() {
            builder.finish_row();
        }
    }
    let good = [r#"{"a":1,"b":["x"],"c":{"k":1}}"#, r#"{"a":2,"b":[],"c":{}}"#].map(str::to_string);
    assert_eq!(builder.finish().unwrap(), parsed(&schema, &good));
}

#[test]
fn offending_nullable_columns_become_null_when_asked() {
    let schema = table("a INT NOT NULL, b INT, c ARRAY<INT>");
    let mut decoder = exact(&schema);
    let mut builder = RowBuilder::new(schema.clone());
    let row = br#"{"a":1,"b":"no","c":[1,{}]}"#;
    let (form, errors) = decoder.decode_nulling(row, &mut builder).unwrap();
    builder.finish_row();
    assert_eq!((form, errors.len()), (RowForm::Raw, 2));
    assert_eq!(builder.finish().unwrap(), parsed(&schema, &[r#"{"a":1}"#.to_string()]));
    assert!(decoder.decode_nulling(br#"{"a":"no"}"#, &mut builder).is_err());
}

#[test]
fn defaults_fill_missing_fields_only() {
    let schema = table("a INT, b INT NOT NULL DEFAULT 7, s STRING DEFAULT 'it''s'");
    let rows = [r#"{"a":1}"#, r#"{"a":2,"b":8,"s":null}"#].map(str::to_string);
    let (batch, _) = there_and_back(&schema, &rows);
    let full = [r#"{"a":1,"b":7,"s":"it's"}"#, r#"{"a":2,"b":8,"s":null}"#].map(str::to_string);
    assert_eq!(batch, parsed(&schema, &full));
}

/// The promise of `exact`, on random tables and random rows of several writers that take turns. Seen failing:
/// without the check `keeps` in `Fast::text`, strings of a row with another escape style came back escaped differently.
#[test]
fn random_rows_come_back_byte_for_byte() {
    let (mut total, mut raw) = (0, 0);
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let schema = rows::schema(&mut random);
        let mut writers: Vec<_> = (0..random.random_range(1..4)).map(|_| rows::Writer::new(&mut random)).collect();
        let texts: Vec<_> = (0..60)
            .map(|_| {
                let writer = random.random_range(0..writers.len());
                writers[writer].row(&schema.fields, &mut random)
            })
            .collect();
        let (batch, forms) = there_and_back(&schema, &texts);
        assert_eq!(batch, parsed(&schema, &texts), "seed {seed}");
        total += forms.len();
        raw += forms.iter().filter(|form| **form == RowForm::Raw).count();
    }
    println!("{total} rows, {raw} kept as bytes");
    assert!(raw > 0 && raw < total / 2, "{raw} of {total} rows are kept as bytes");
}

#[test]
fn canonical_rows_mean_the_same() {
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let schema = rows::schema(&mut random);
        let mut writer = rows::Writer::new(&mut random);
        let texts: Vec<_> = (0..20).map(|_| writer.row(&schema.fields, &mut random)).collect();
        let options = JsonOptions { fidelity: Fidelity::Semantic, ..JsonOptions::default() };
        let mut decoder = JsonDecoder::new(&schema, RowPart::Value, options);
        let mut builder = RowBuilder::new(schema.clone());
        for row in &texts {
            assert_eq!(decoder.decode(row.as_bytes(), &mut builder), Ok(RowForm::Canonical), "{row}");
            builder.finish_row();
        }
        let batch = builder.finish().unwrap();
        let encoder = JsonEncoder::new(&schema, RowPart::Value, &ShapeSet::default()).unwrap();
        let written = encoder.rows(&batch).unwrap();
        let again: Vec<_> = (0..texts.len())
            .map(|row| {
                let mut out = Vec::new();
                written.write(row, RowForm::Canonical, &mut out).unwrap();
                String::from_utf8(out).unwrap()
            })
            .collect();
        assert_eq!(parsed(&schema, &again), batch, "seed {seed}");
        assert_eq!(parsed(&schema, &texts), batch, "seed {seed}");
    }
}
