//! DDL in and out.

use proptest::prelude::*;

use super::*;
use crate::schema::TimeUnit;

fn types(text: &str) -> Vec<String> {
    parse(text).unwrap().into_iter().map(|column| column.data_type.to_string()).collect()
}

#[test]
fn every_spelling_is_read() {
    let columns = "a integer, b Varchar(20), c TIMESTAMP(6) WITH LOCAL TIME ZONE, d TIMESTAMP, e DOUBLE PRECISION, \
        f NUMERIC(5), g TIMESTAMP(3) WITHOUT TIME ZONE, h MAP<STRING, ARRAY<INT NOT NULL>>, i TIMESTAMP WITH TIME ZONE";
    assert_eq!(
        types(columns),
        [
            "INT",
            "STRING",
            "TIMESTAMP_LTZ(6)",
            "TIMESTAMP(3)",
            "DOUBLE",
            "DECIMAL(5,0)",
            "TIMESTAMP(3)",
            "MAP<STRING, ARRAY<INT NOT NULL>>",
            "TIMESTAMP_LTZ(3)"
        ]
    );
}

#[test]
fn comments_quotes_and_defaults_are_read() {
    let text =
        "-- the key\nid BIGINT NOT NULL, /* odd */ \"my \"\"col\" STRING DEFAULT 'it''s', `x` INT DEFAULT 0--end";
    let columns = parse(text).unwrap();
    assert_eq!(columns[1].name, "my \"col");
    assert_eq!(columns[1].default.as_deref(), Some("\"it's\""));
    assert_eq!(columns[2].default.as_deref(), Some("0"));
    assert_eq!(parse(&print(&columns)).unwrap(), columns);
}

#[test]
fn errors_say_where_and_what_to_write() {
    let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    check("a INT b INT", "at byte 6 of the schema: expected a comma or the end of the schema, found b");
    check(
        "a TIMESTAMP(9)",
        "at byte 12 of the schema: precision 9 is not supported here; write (3) for milliseconds or (6) for microseconds",
    );
    check(
        "a MAP<INT,INT>",
        "at byte 6 of the schema: the key of a MAP is STRING, found INT; use ARRAY<ROW<k INT, v ...>> instead",
    );
    check("a ARRAY<INT", "at byte 11 of the schema: expected > after the type of the items, found the end");
    check("a \"STRING", "at byte 2 of the schema: the quote \" is never closed");
    check("", "at byte 0 of the schema: expected a column name, found the end");
    // Found by the fuzzer: this became a default that is no JSON.
    check(
        "a INT DEFAULT 0x",
        "at byte 14 of the schema: expected a number, 'text', TRUE, FALSE or NULL after DEFAULT, found 0x",
    );
    assert!(parse("a DATETIME").unwrap_err().to_string().ends_with("; write TIMESTAMP(3)"));
    let deep = format!("a {}INT{}", "ARRAY<".repeat(5_000), ">".repeat(5_000));
    assert_eq!(parse(&deep).unwrap_err().kind, DdlErrorKind::TooDeep);
    let wide = "a ARRAY<INT>,".repeat(2_001);
    assert_eq!(parse(&wide).unwrap_err().kind, DdlErrorKind::TooManyColumns);
}

fn any_type() -> impl Strategy<Value = DataType> {
    let unit = prop_oneof![Just(TimeUnit::Millis), Just(TimeUnit::Micros)];
    let simple = prop_oneof![
        Just(DataType::Boolean),
        Just(DataType::TinyInt),
        Just(DataType::SmallInt),
        Just(DataType::Int),
        Just(DataType::BigInt),
        Just(DataType::Float),
        Just(DataType::Double),
        Just(DataType::String),
        Just(DataType::Bytes),
        Just(DataType::Date),
        Just(DataType::Uuid),
        Just(DataType::Json),
        (1..=38u8).prop_flat_map(|p| (0..=p).prop_map(move |s| DataType::Decimal { precision: p, scale: s })),
        unit.clone().prop_map(DataType::Time),
        unit.clone().prop_map(DataType::Timestamp),
        unit.prop_map(DataType::TimestampLtz),
    ];
    simple.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(item, nullable)| {
                DataType::Array(Box::new(Field { nullable, ..Field::new("item", item) }))
            }),
            (inner.clone(), any::<bool>()).prop_map(|(value, nullable)| {
                let key = Field::new("key", DataType::String).not_null();
                DataType::Map(Box::new(key), Box::new(Field { nullable, ..Field::new("value", value) }))
            }),
            prop::collection::vec(("[^\u{0}-\u{1f}]{1,8}", inner, any::<bool>()), 1..4).prop_map(|members| {
                let member = |(name, data_type, nullable): (String, DataType, bool)| Field {
                    nullable,
                    ..Field::new(name, data_type)
                };
                DataType::Row(members.into_iter().map(member).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(columns in prop::collection::vec(("\\PC{1,10}", any_type(), any::<bool>()), 1..6)) {
        let column = |(name, data_type, nullable): (String, DataType, bool)| Field { nullable, ..Field::new(name, data_type) };
        let columns: Vec<_> = columns.into_iter().map(column).collect();
        prop_assert_eq!(parse(&print(&columns)).unwrap(), columns);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}", words in prop::collection::vec("(a|INT|ARRAY|<|>|ROW|MAP|,|\\(|\\)|3|DEFAULT|'x'|NOT|NULL| ){1}", 0..20)) {
        let _ = parse(&text);
        let _ = parse(&words.concat());
    }
}
