//! Values of every form in rows whose shape is known: they are read as the parser reads them that knows no shapes, with the same
//! errors, and what is written again is what was read.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::builder::BuilderError;

/// Reads `row` behind `usual`, which give the decoder their shape, and once more behind it.
fn check(schema: &Arc<TableSchema>, usual: &[String], row: &[u8]) {
    for fidelity in [Fidelity::Exact, Fidelity::Semantic] {
        let options = JsonOptions { fidelity, ..JsonOptions::default() };
        let mut decoder = JsonDecoder::new(schema, RowPart::Value, options);
        let mut builder = RowBuilder::new(schema.clone());
        let mut good = Vec::new();
        let mut forms = Vec::new();
        let rows = usual.iter().map(String::as_bytes).chain([row]).chain(usual.first().map(String::as_bytes));
        for row in rows {
            let expected = alone(schema, row);
            let found = decoder.decode(row, &mut builder);
            let shown = String::from_utf8_lossy(row);
            assert_eq!(found.as_ref().err(), expected.as_ref().err(), "{fidelity:?} {shown}");
            if let Ok(form) = found {
                builder.finish_row();
                good.push(String::from_utf8(row.to_vec()).unwrap());
                forms.push(form);
            }
        }
        let batch = builder.finish().unwrap();
        assert_eq!(bits(&batch), bits(&parsed(schema, &good)), "{fidelity:?} {}", String::from_utf8_lossy(row));
        let encoder = JsonEncoder::new(schema, RowPart::Value, decoder.shapes()).unwrap();
        let written = encoder.rows(&batch).unwrap();
        for (index, form) in forms.into_iter().enumerate().filter(|(_, form)| *form != RowForm::Raw) {
            let mut out = Vec::new();
            written.write(index, form, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            if form == RowForm::Canonical {
                assert_eq!(bits(&parsed(schema, std::slice::from_ref(&out))), bits(&batch.slice(index, 1)), "{out}");
            } else {
                assert_eq!(out, good[index], "{fidelity:?}");
            }
        }
    }
}

/// By the parser; bytes that are no UTF-8 are refused first.
fn alone(schema: &Arc<TableSchema>, row: &[u8]) -> Result<RecordBatch, RowError> {
    let text = std::str::from_utf8(row).map_err(|error| RowError {
        column: String::new(),
        position: error.valid_up_to(),
        kind: RowErrorKind::Utf8,
    })?;
    let members = Members::new(&schema.fields, &schema.value_columns(), &Aliases::default());
    let (mut builder, mut scratch) = (RowBuilder::new(schema.clone()), Scratch::default());
    Parser::new(text, OnUnknown::Keep, 1 << 20, &mut scratch).row(&members, &mut builder.columns)?;
    builder.finish_row();
    builder.finish().map_err(|error: BuilderError| panic!("{error}"))
}

/// As text in which 0.0 and -0.0 differ.
fn bits(batch: &RecordBatch) -> String {
    format!("{:?}", batch.columns())
}

#[test]
fn numbers_of_every_form_are_read_as_the_parser_reads_them() {
    let digits = "123456789012345678901234567890";
    let mut forms: Vec<String> = (1..=25).map(|len| digits[..len].to_string()).collect();
    for (whole, fraction) in (1..=10).flat_map(|whole| (0..=10).map(move |fraction| (whole, fraction))) {
        forms.push(format!("{}.{}", &digits[..whole], &digits[..fraction]));
        forms.push(format!("0.{}{}", "0".repeat(whole), &digits[..fraction]));
        forms.push(format!("{}.{}0", &digits[..whole], &digits[..fraction]));
        forms.push(format!("{}e{fraction}", &digits[..whole]));
    }
    let odd = [
        "0",
        "00",
        "01",
        "0.",
        ".5",
        "1.",
        "1.e5",
        "1e",
        "1e+",
        "1E5",
        "1e-3",
        "1.5e3",
        "1.50",
        "0.1",
        "0.001",
        "0.0009",
        "9999999",
        "9999999.5",
        "10000000",
        "99999999",
        "100000000",
        "0.30000000000000004",
        "2.2250738585072014e-308",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "5e-324",
        "1e400",
        "0.1234567890123456",
        "123456.7890123456",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "922337203685477580",
        "999999999999999999",
        "999999999999999.999",
        "123456789012345678.901",
        "1.0",
        "1e3",
        "0e0",
        "0.0",
        "0.00",
        "1..2",
        "1.2.3",
        "1-2",
        "12a",
        "1 ",
        "1\t",
        "+1",
        "-",
        "NaN",
        "nul",
        "null",
        "true",
        "false",
        "truee",
        "fals",
        "tru",
        "\"1\"",
        "\"\"",
        "\"NaN\"",
        "[]",
        "{}",
        "",
        "1:",
        "1/",
        "1\u{e9}",
    ];
    forms.extend(odd.map(str::to_string));
    let negative: Vec<_> = forms.iter().map(|form| format!("-{form}")).collect();
    for data_type in ["BIGINT", "INT", "TINYINT", "DOUBLE", "FLOAT", "DECIMAL(18,3)", "DECIMAL(38,0)", "BOOLEAN"] {
        let schema = table(&format!("a STRING, v {data_type}, b BOOLEAN"));
        let row = |form: &str| format!(r#"{{"a":"x","v":{form},"b":true}}"#);
        let usual: &[&str] = match data_type {
            "BOOLEAN" => &["true", "false"],
            "DOUBLE" | "FLOAT" | "DECIMAL(18,3)" => &["1.5", "2"],
            _ => &["12", "-7"],
        };
        let usual: Vec<_> = usual.iter().map(|form| row(form)).collect();
        let last = table(&format!("v {data_type}"));
        for form in forms.iter().chain(&negative) {
            check(&schema, &usual, row(form).as_bytes());
            // At the end of a row there are no eight bytes left.
            check(&last, &[r#"{"v":1}"#.to_string()], format!(r#"{{"v":{form}}}"#).as_bytes());
        }
    }
}

/// Seen failing without the check that what is above ASCII is UTF-8.
#[test]
fn strings_of_every_length_end_where_the_parser_says() {
    let schema = table("a STRING, b STRING, c BIGINT");
    let row = |text: &[u8]| [br#"{"a":"x","b":""#, text, br#"","c":1}"#].concat();
    let usual = [String::from_utf8(row(b"usual")).unwrap()];
    let specials: [&[u8]; 12] = [
        b"",
        b"\"",
        b"\\\"",
        b"\\",
        b"\\n",
        b"\\u00e9",
        b"\x1f",
        b"\x7f",
        "é".as_bytes(),
        "日本".as_bytes(),
        b"\xff",
        b"\xe6\x97",
    ];
    for len in 0..75 {
        let plain: Vec<u8> = (0..len).map(|at| b' ' + (at % 2) as u8).collect();
        check(&schema, &usual, &row(&plain));
        for at in (0..=len).filter(|at| len < 20 || at % 3 == 0 || len - at < 4) {
            for special in specials {
                check(&schema, &usual, &row(&[&plain[..at], special, &plain[at..]].concat()));
            }
        }
    }
}

#[test]
fn keys_and_spacing_that_differ_are_seen() {
    let schema = table(
        "a STRING, b BIGINT, c DOUBLE, a_name_of_more_than_thirty_two_bytes BOOLEAN, d STRING NOT NULL DEFAULT 'q'",
    );
    let usual = r#"{"a":"x","b":12,"c":1.25,"a_name_of_more_than_thirty_two_bytes":true,"d":"y"}"#;
    let rows = [usual.to_string()];
    for at in 0..usual.len() {
        for with in ["", " ", "\"", "x", "0", ",", "\u{e9}", "}", "null"] {
            check(&schema, &rows, format!("{}{with}{}", &usual[..at], &usual[at + 1..]).as_bytes());
            check(&schema, &rows, format!("{}{with}{}", &usual[..at], &usual[at..]).as_bytes());
        }
        check(&schema, &rows, &usual.as_bytes()[..at]);
    }
    for row in [
        r#"{"b":12,"a":"x","c":1.25}"#,
        r#"{"b":12,"c":1.25}"#,
        r#"{"a":null,"b":null,"c":null,"d":"y"}"#,
        r#"{"a":"x","b":12,"c":1.25,"d":null}"#,
        r#"{"a":"x","b":12,"b":13,"c":1.25}"#,
        r#"{"c":1.25}"#,
        "{}",
        "",
        "null",
    ] {
        check(&schema, &rows, row.as_bytes());
        check(
            &schema,
            &[row.to_string()].into_iter().filter(|row| row.len() > 4).collect::<Vec<_>>(),
            usual.as_bytes(),
        );
    }
}

proptest! {
    #[test]
    fn any_values_are_read_as_the_parser_reads_them(
        rows in prop::collection::vec((any::<i64>(), 0..64_u32, any::<f64>(), -1_000_000..1_000_000_i64, ".{0,40}", any::<bool>()), 1..6),
        flip in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let schema = table("a STRING, i BIGINT, x DOUBLE, p DOUBLE, b BOOLEAN, s STRING");
        let text = |(int, shift, double, price, string, flag): &(i64, u32, f64, i64, String, bool)| {
            let double = if double.is_finite() { format!("{double:?}") } else { "null".to_string() };
            let string = serde_json::to_string(string).unwrap();
            let price = *price as f64 / 100.0;
            format!(r#"{{"a":{string},"i":{},"x":{double},"p":{price:?},"b":{flag},"s":{string}}}"#, int >> shift)
        };
        let texts: Vec<_> = rows.iter().map(text).collect();
        let mut last = texts.last().unwrap().clone().into_bytes();
        check(&schema, &texts, &last);
        let at = flip.index(last.len());
        last[at] ^= by;
        check(&schema, &texts[..1], &last);
    }
}
