use super::*;
use crate::TableSchema;
use crate::codec::json::{JsonDecoder, JsonOptions, RowPart};
use crate::ddl;

fn columns(schema: &str) -> Result<String, String> {
    let columns = JsonSchema::parse(schema).and_then(|schema| schema.columns()).map_err(|error| error.to_string())?;
    let table = TableSchema::create(columns, &[]).map_err(|error| error.to_string())?;
    Ok(ddl::print(&table.fields))
}

fn property(schema: &str) -> Result<String, String> {
    columns(&format!(r#"{{"type":"object","properties":{{"a":{schema}}},"required":["a"]}}"#))
}

#[test]
fn every_type_is_a_column() {
    for (schema, column) in [
        (r#"{"type":"boolean"}"#, "a BOOLEAN NOT NULL"),
        (r#"{"type":"integer"}"#, "a BIGINT NOT NULL"),
        (r#"{"type":"integer","format":"int32"}"#, "a INT NOT NULL"),
        (r#"{"type":"integer","format":"int64"}"#, "a BIGINT NOT NULL"),
        (r#"{"type":"integer","connect.type":"int8"}"#, "a TINYINT NOT NULL"),
        (r#"{"type":"integer","connect.type":"int16"}"#, "a SMALLINT NOT NULL"),
        (r#"{"type":"integer","connect.type":"int32"}"#, "a INT NOT NULL"),
        (r#"{"type":"number"}"#, "a DOUBLE NOT NULL"),
        (r#"{"type":"number","format":"float"}"#, "a FLOAT NOT NULL"),
        (r#"{"type":"number","connect.type":"float32"}"#, "a FLOAT NOT NULL"),
        (r#"{"type":["integer","number"]}"#, "a DOUBLE NOT NULL"),
        (r#"{"type":"string"}"#, "a STRING NOT NULL"),
        (r#"{"type":"string","format":"email"}"#, "a STRING NOT NULL"),
        // A time of day has a zone there and none here.
        (r#"{"type":"string","format":"time"}"#, "a STRING NOT NULL"),
        (r#"{"type":"string","format":"date"}"#, "a DATE NOT NULL"),
        (r#"{"type":"string","format":"date-time"}"#, "a TIMESTAMP_LTZ(6) NOT NULL"),
        (r#"{"type":"string","format":"uuid"}"#, "a UUID NOT NULL"),
        (r#"{"type":"string","contentEncoding":"base64"}"#, "a BYTES NOT NULL"),
        (r#"{"type":"string","connect.type":"bytes"}"#, "a BYTES NOT NULL"),
        (r#"{"enum":["x","y"]}"#, "a STRING NOT NULL"),
        (r#"{"enum":["x",null]}"#, "a STRING"),
        (r#"{"enum":[1,2.5]}"#, "a DOUBLE NOT NULL"),
        (r#"{"const":7}"#, "a BIGINT NOT NULL"),
        (r#"{"type":"array","items":{"type":"string"}}"#, "a ARRAY<STRING NOT NULL> NOT NULL"),
        (r#"{"type":"array","items":{"type":["string","null"]}}"#, "a ARRAY<STRING> NOT NULL"),
        (r#"{"items":{"type":"integer"}}"#, "a ARRAY<BIGINT NOT NULL> NOT NULL"),
        (r#"{"type":"array"}"#, "a ARRAY<JSON> NOT NULL"),
        (r#"{"type":"object","additionalProperties":{"type":"number"}}"#, "a MAP<STRING, DOUBLE NOT NULL> NOT NULL"),
        (
            r#"{"type":"object","patternProperties":{"^x":{"type":"integer"}},"additionalProperties":false}"#,
            "a MAP<STRING, BIGINT NOT NULL> NOT NULL",
        ),
        (
            r#"{"properties":{"z":{"type":"string"},"b":{"type":"integer"}},"required":["b"]}"#,
            "a ROW<z STRING, b BIGINT NOT NULL> NOT NULL",
        ),
    ] {
        assert_eq!(property(schema).as_deref(), Ok(column), "{schema}");
    }
}

#[test]
fn what_has_no_type_of_its_own_is_json_as_it_was_written() {
    for (schema, column) in [
        ("true", "a JSON"),
        ("{}", "a JSON"),
        (r#"{"description":"anything"}"#, "a JSON"),
        (r#"{"type":["string","integer"]}"#, "a JSON NOT NULL"),
        (r#"{"type":["string","integer","null"]}"#, "a JSON"),
        (r#"{"oneOf":[{"type":"string"},{"type":"object","properties":{"b":{"type":"integer"}}}]}"#, "a JSON NOT NULL"),
        (r#"{"anyOf":[{"type":"string"},{"minimum":3}]}"#, "a JSON"),
        (r#"{"type":"object"}"#, "a JSON NOT NULL"),
        (r#"{"type":"object","additionalProperties":true}"#, "a JSON NOT NULL"),
        (r#"{"type":"array","items":[{"type":"string"},{"type":"integer"}]}"#, "a JSON NOT NULL"),
        (r#"{"type":"array","prefixItems":[{"type":"string"}],"items":false}"#, "a JSON NOT NULL"),
    ] {
        assert_eq!(property(schema).as_deref(), Ok(column), "{schema}");
    }
}

#[test]
fn one_type_and_null_are_a_nullable_column_however_it_is_written() {
    for schema in [
        r#"{"type":["null","string"]}"#,
        r#"{"oneOf":[{"type":"null","title":"Not included"},{"type":"string"}]}"#,
        r#"{"anyOf":[{"type":"string"},{"type":"null"}],"default":null,"title":"A"}"#,
        r#"{"anyOf":[{"type":"string","maxLength":3},{"type":"string","format":"email"},{"type":"null"}]}"#,
        r#"{"anyOf":[{"anyOf":[{"const":null},{"type":"string"}]},{"enum":["x"]}]}"#,
        r#"{"allOf":[{"type":["string","null"]},{"minLength":1}]}"#,
    ] {
        assert_eq!(property(schema).as_deref(), Ok("a STRING"), "{schema}");
    }
    assert_eq!(
        property(r#"{"allOf":[{"type":["string","null"]},{"type":"string"}]}"#).as_deref(),
        Ok("a STRING NOT NULL")
    );
    // Alternatives that only constrain what has a type.
    let constrained = r#"{"type":"string","oneOf":[{"const":"a","title":"A"},{"const":"b"}]}"#;
    assert_eq!(property(constrained).as_deref(), Ok("a STRING NOT NULL"));
}

#[test]
fn references_lead_into_the_schema_and_its_references_and_nowhere_else() {
    let schema = r##"{"$id":"http://weir.test/schemas/order.json","type":"object","properties":{
        "home":{"$ref":"#/definitions/Address"},"work":{"$ref":"#/definitions/Address"},
        "who":{"$ref":"person.json"},"pet":{"$ref":"animals#/$defs/a~1b%20c"},"at":{"$ref":"#stamp"}},
        "required":["home"],
        "definitions":{"Address":{"type":"object","properties":{"city":{"type":"string"}}},
                       "Stamp":{"$id":"#stamp","type":"string","format":"date-time"}}}"##;
    let references = [
        ("somebody".to_owned(), r#"{"$id":"http://weir.test/schemas/person.json","type":"string"}"#.to_owned()),
        (
            "animals".to_owned(),
            r##"{"$defs":{"a/b c":{"$ref":"#leg"},"l":{"$anchor":"leg","type":"integer"}}}"##.to_owned(),
        ),
    ];
    let found = JsonSchema::parse_with(&references, schema).unwrap().columns().unwrap();
    let table = TableSchema::create(found, &[]).unwrap();
    assert_eq!(
        ddl::print(&table.fields),
        "home ROW<city STRING> NOT NULL, work ROW<city STRING>, who STRING, pet BIGINT, at TIMESTAMP_LTZ(6)"
    );
    let error = columns(schema).unwrap_err();
    assert!(error.contains("column who: `$ref` \"person.json\" leads into no schema"), "{error}");
}

#[test]
fn all_of_adds_up() {
    let schema = r##"{"allOf":[{"$ref":"#/$defs/Base"},{"type":"object","properties":{"n":{"type":"integer"},"id":{"minLength":1}},
        "required":["n"]}],"properties":{"first":{"type":"boolean"}},
        "$defs":{"Base":{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}}}"##;
    assert_eq!(columns(schema).as_deref(), Ok("first BOOLEAN, id STRING NOT NULL, n BIGINT NOT NULL"));
    let error = property(r#"{"allOf":[{"type":"string"},{"type":"integer"}]}"#).unwrap_err();
    assert!(error.contains("column a: `allOf` gives it two types, STRING and BIGINT"), "{error}");
}

#[test]
fn defaults_of_simple_values_are_those_of_columns() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"integer","default":3},"b":{"type":"string","default":"it's"},
        "c":{"type":"array","default":[]},"d":{"type":"boolean","default":true},"e":{"type":"string","default":null}},
        "required":["a"]}"#;
    assert_eq!(
        columns(schema).as_deref(),
        Ok("a BIGINT NOT NULL DEFAULT 3, b STRING DEFAULT 'it''s', c ARRAY<JSON>, d BOOLEAN DEFAULT true, e STRING")
    );
    let error = property(r#"{"type":"integer","default":1.5}"#).unwrap_err();
    assert!(error.contains("column a: the default does not fit"), "{error}");
}

#[test]
fn what_cannot_be_a_table_is_refused_with_the_reason() {
    for (schema, reason) in [
        ("{", "not valid JSON"),
        ("7", "neither an object nor a boolean"),
        ("true", "one object with `properties` at the top, this schema describes values of several types"),
        (r#"{"type":"string"}"#, "this schema describes values of STRING"),
        (r#"{"type":"object"}"#, "objects of any members; give the columns with weir.table.schema"),
        (
            r#"{"oneOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{"type":"string"}}}]}"#,
            "values of several types",
        ),
        (r#"{"properties":{"a":{"type":"null"}}}"#, "column a: a column of nothing but null has no type"),
        (r#"{"properties":{"a":{"properties":{"b":false}}}}"#, "column a.b: its schema is `false`"),
        (r#"{"properties":{"a":{"type":"text"}}}"#, "column a: `text` is no type of JSON"),
        (
            r##"{"properties":{"a":{"items":{"$ref":"#"}}}}"##,
            "column a: \"#\" contains itself; recursive schemas cannot be tables",
        ),
        (
            r##"{"properties":{"a":{"$ref":"#/$defs/T"}},"$defs":{"T":{"properties":{"t":{"$ref":"#/$defs/T"}}}}}"##,
            "column a.t: \"#/$defs/T\" contains itself",
        ),
        (r##"{"properties":{"a":{"$ref":"#/$defs/T"}}}"##, "column a: `$ref` \"#/$defs/T\" leads into no schema"),
        (r#"{"properties":{"_offset":{"type":"string"}}}"#, "system column"),
        (r#"{"properties":{"a":{"type":"string"},"a":{"type":"integer"}}}"#, "column a appears twice"),
    ] {
        let error = columns(schema).unwrap_err();
        assert!(error.contains(reason), "{schema}: {error}");
    }
}

/// Each level refers to the next one ten times.
#[test]
fn references_that_multiply_are_bounded() {
    let level = |level: usize| {
        let members: Vec<_> = (0..10).map(|at| format!(r##""m{at}":{{"$ref":"#/$defs/l{}"}}"##, level + 1)).collect();
        format!(r#""l{level}":{{"properties":{{{}}}}}"#, members.join(","))
    };
    let levels: Vec<_> = (0..9).map(level).collect();
    let schema = format!(r##"{{"$ref":"#/$defs/l0","$defs":{{{},"l9":{{"type":"string"}}}}}}"##, levels.join(","));
    assert_eq!(JsonSchema::parse(&schema).unwrap().columns(), Err(JsonSchemaError::TooLarge));
    let deep = format!("{}{{\"type\":\"string\"}}{}", r#"{"allOf":["#.repeat(60), "]}".repeat(60));
    assert!(columns(&deep).unwrap_err().contains("values of STRING"));
    let chain: Vec<_> = (0..200).map(|at| format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}}"##, at + 1)).collect();
    let chain = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, chain.join(","));
    assert_eq!(JsonSchema::parse(&chain).unwrap().columns(), Err(JsonSchemaError::TooLarge));
}

#[test]
fn rows_that_such_a_schema_describes_are_read_into_its_columns() {
    let schema = r#"{"type":"object","required":["id","at"],"properties":{"id":{"type":"integer"},
        "at":{"type":"string","format":"date-time"},"any":{"type":["string","integer"]},"tags":{"type":"array","items":{"type":"string"}}}}"#;
    let columns = JsonSchema::parse(schema).unwrap().columns().unwrap();
    let schema = std::sync::Arc::new(TableSchema::create(columns, &[]).unwrap());
    let mut decoder = JsonDecoder::new(&schema, RowPart::Value, JsonOptions::default());
    let mut builder = crate::RowBuilder::new(schema);
    let mut read = |row: &str| {
        let read = decoder.decode(row.as_bytes(), &mut builder).map(|_| builder.finish_row());
        read.map_err(|error| error.to_string())
    };
    assert_eq!(read(r#"{"id":1,"at":"2024-02-29T12:00:00+01:00","any":"x","tags":["a"]}"#), Ok(()));
    assert!(read(r#"{"id":1}"#).unwrap_err().contains("column at: missing, but the column is NOT NULL"));
    assert!(read(r#"{"id":1,"at":"noon"}"#).unwrap_err().contains("column at"));
}
