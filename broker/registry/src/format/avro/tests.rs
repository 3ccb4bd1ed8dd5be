use crate::format::testing::{Rule, check, dependency};
use crate::format::{Format, ParsedSchema, parse};

fn ok(name: &'static str, old: &'static str, new: &'static str) -> Rule {
    Rule { name, old, new, backward: None, forward: None }
}

fn rule(
    name: &'static str,
    old: &'static str,
    new: &'static str,
    backward: Option<&'static str>,
    forward: Option<&'static str>,
) -> Rule {
    Rule { name, old, new, backward, forward }
}

/// The rules of "Schema Resolution" in the specification of Avro 1.12, with Confluent's summary of what each level allows
/// ("Schema Evolution and Compatibility": BACKWARD = delete fields, add optional fields; FORWARD = add fields, delete optional
/// fields; FULL = add and delete optional fields).
#[test]
fn avro_schemas_resolve_by_the_specification() {
    const MISSING: Option<&str> = Some("READER_FIELD_MISSING_DEFAULT_VALUE");
    const TYPE: Option<&str> = Some("TYPE_MISMATCH");
    const BRANCH: Option<&str> = Some("MISSING_UNION_BRANCH");
    const SYMBOLS: Option<&str> = Some("MISSING_ENUM_SYMBOLS");
    const NAME: Option<&str> = Some("NAME_MISMATCH");
    const A: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    check(
        Format::Avro,
        &[
            ok("the same", A, A),
            rule(
                "a field with a default is added",
                A,
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":1}]}"#,
                None,
                None,
            ),
            rule(
                "a field without a default is added",
                A,
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#,
                MISSING,
                None,
            ),
            rule(
                "a field without a default is removed",
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#,
                A,
                None,
                MISSING,
            ),
            ok(
                "a field with a null default is removed",
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","int"],"default":null}]}"#,
                A,
            ),
            rule(
                "a field is renamed",
                A,
                r#"{"type":"record","name":"R","fields":[{"name":"b","type":"int"}]}"#,
                MISSING,
                MISSING,
            ),
            rule(
                "a field is renamed with an alias",
                A,
                r#"{"type":"record","name":"R","fields":[{"name":"b","type":"int","aliases":["a"]}]}"#,
                None,
                MISSING,
            ),
            rule(
                "a record is renamed",
                A,
                r#"{"type":"record","name":"S","fields":[{"name":"a","type":"int"}]}"#,
                NAME,
                NAME,
            ),
            rule(
                "a record is renamed with an alias",
                A,
                r#"{"type":"record","name":"S","aliases":["R"],"fields":[{"name":"a","type":"int"}]}"#,
                None,
                NAME,
            ),
            ok(
                "only the namespace changes",
                A,
                r#"{"type":"record","name":"other.R","fields":[{"name":"a","type":"int"}]}"#,
            ),
            ok(
                "documentation changes",
                A,
                r#"{"type":"record","name":"R","doc":"x","fields":[{"name":"a","type":"int","doc":"y"}]}"#,
            ),
            rule("int to long", r#""int""#, r#""long""#, None, TYPE),
            rule("int to float", r#""int""#, r#""float""#, None, TYPE),
            rule("int to double", r#""int""#, r#""double""#, None, TYPE),
            rule("long to float", r#""long""#, r#""float""#, None, TYPE),
            rule("long to double", r#""long""#, r#""double""#, None, TYPE),
            rule("float to double", r#""float""#, r#""double""#, None, TYPE),
            ok("string to bytes and back", r#""string""#, r#""bytes""#),
            rule("int to string", r#""int""#, r#""string""#, TYPE, TYPE),
            rule("boolean to int", r#""boolean""#, r#""int""#, TYPE, TYPE),
            rule("a type becomes nullable", r#""int""#, r#"["null","int"]"#, None, TYPE),
            rule("a union gets a branch", r#"["null","int"]"#, r#"["null","int","string"]"#, None, BRANCH),
            rule("a union loses a branch", r#"["null","int","string"]"#, r#"["null","int"]"#, BRANCH, None),
            ok("branches change places", r#"["null","int"]"#, r#"["int","null"]"#),
            rule("a branch is promoted", r#"["null","int"]"#, r#"["null","long"]"#, None, BRANCH),
            rule(
                "an enum gets a symbol",
                r#"{"type":"enum","name":"E","symbols":["A"]}"#,
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                None,
                SYMBOLS,
            ),
            rule(
                "an enum loses a symbol",
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"E","symbols":["A"]}"#,
                SYMBOLS,
                None,
            ),
            ok(
                "an enum with a default loses a symbol",
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#,
            ),
            ok(
                "enums with defaults get symbols",
                r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#,
                r#"{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}"#,
            ),
            rule(
                "a fixed changes its size",
                r#"{"type":"fixed","name":"F","size":4}"#,
                r#"{"type":"fixed","name":"F","size":8}"#,
                Some("FIXED_SIZE_MISMATCH"),
                Some("FIXED_SIZE_MISMATCH"),
            ),
            rule(
                "a fixed changes its name",
                r#"{"type":"fixed","name":"F","size":4}"#,
                r#"{"type":"fixed","name":"G","size":4}"#,
                NAME,
                NAME,
            ),
            rule(
                "items are promoted",
                r#"{"type":"array","items":"int"}"#,
                r#"{"type":"array","items":"long"}"#,
                None,
                TYPE,
            ),
            rule(
                "values change",
                r#"{"type":"map","values":"int"}"#,
                r#"{"type":"map","values":"string"}"#,
                TYPE,
                TYPE,
            ),
            rule(
                "an array becomes a map",
                r#"{"type":"array","items":"int"}"#,
                r#"{"type":"map","values":"int"}"#,
                TYPE,
                TYPE,
            ),
            ok("a logical type is added", r#""long""#, r#"{"type":"long","logicalType":"timestamp-millis"}"#),
            ok(
                "a decimal stays",
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
            ),
            rule(
                "a decimal gets more precision",
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
                r#"{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}"#,
                None,
                TYPE,
            ),
            rule(
                "a decimal changes its scale",
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}"#,
                TYPE,
                TYPE,
            ),
            ok(
                "a recursive record gets an optional field",
                r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#,
                r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]},{"name":"v","type":"int","default":0}]}"#,
            ),
            rule(
                "a recursive record gets a field",
                r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#,
                r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]},{"name":"v","type":"int"}]}"#,
                MISSING,
                None,
            ),
            rule(
                "a nested field changes",
                r#"{"type":"record","name":"R","fields":[{"name":"p","type":{"type":"record","name":"P","fields":[{"name":"x","type":"int"}]}}]}"#,
                r#"{"type":"record","name":"R","fields":[{"name":"p","type":{"type":"record","name":"P","fields":[{"name":"x","type":"string"}]}}]}"#,
                TYPE,
                TYPE,
            ),
        ],
    );
}

fn parsed(text: &str) -> ParsedSchema {
    parse(Format::Avro, text, &[]).unwrap()
}

#[test]
fn writing_alone_does_not_make_another_schema() {
    let plain = parsed(
        r#"{"type":"record","name":"a.R","fields":[{"name":"x","type":"string"},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}]}"#,
    );
    let other = parsed(
        r#" { "namespace":"a", "fields":[ {"type":{"type":"string"},"order":"ascending","name":"x"},
            {"name":"e","type":{"symbols":["A"],"name":"a.E","type":"enum"}} ], "name":"R", "type":"record" } "#,
    );
    assert_eq!(plain.texts(false).1, other.texts(false).1);
    assert_ne!(plain.texts(false).0, other.texts(false).0, "the text stays as it was written");
    for different in [
        r#"{"type":"record","name":"a.R","doc":"d","fields":[{"name":"x","type":"string"},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}]}"#,
        r#"{"type":"record","name":"a.R","fields":[{"name":"x","type":"string","default":""},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}]}"#,
        r#"{"type":"record","name":"a.R","fields":[{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}},{"name":"x","type":"string"}]}"#,
    ] {
        assert_ne!(plain.texts(false).1, parsed(different).texts(false).1, "{different}");
    }
    // The canonical text is a schema again, and the same one.
    let again = parsed(plain.texts(true).0);
    assert_eq!(again.texts(true).0, plain.texts(true).0);
}

#[test]
fn references_are_resolved_from_what_is_given_only() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"p","type":"n.P"}]}"#;
    let reason = parse(Format::Avro, text, &[]).unwrap_err();
    assert!(reason.contains("n.P") && reason.contains("reference"), "{reason}");
    let p = dependency("n.P", r#"{"type":"record","name":"P","namespace":"n","fields":[{"name":"x","type":"int"}]}"#);
    parse(Format::Avro, text, std::slice::from_ref(&p)).unwrap();
    let resolved = super::resolved(text, &[p]).unwrap();
    assert!(parse(Format::Avro, &resolved, &[]).is_ok(), "{resolved}");
}

#[test]
fn what_is_no_schema_is_refused_with_a_reason() {
    for text in [
        "",
        "{",
        "nothing",
        r#""strange""#,
        r#"{"type":"record"}"#,
        r#"{"type":"record","name":"R"}"#,
        r#"{"type":"record","name":"1R","fields":[]}"#,
        r#"{"type":"enum","name":"E","symbols":["a b"]}"#,
        r#"{"type":"enum","name":"E","symbols":["A","A"]}"#,
        r#"{"type":"fixed","name":"F"}"#,
        r#"["int","int"]"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#,
        r#"[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":1}]"#,
    ] {
        let reason = parse(Format::Avro, text, &[]).map(|_| String::new()).unwrap_err();
        assert!(!reason.is_empty() && reason.len() < 1000, "{text}: {reason}");
    }
}
