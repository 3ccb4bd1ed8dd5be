use crate::format::testing::{Rule, check, dependency};
use crate::format::{Format, parse};

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

const OPEN: &str = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
const CLOSED: &str = r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#;

/// Confluent's "JSON Schema compatibility rules": properties in open, closed and partially open content models.
#[test]
fn properties_evolve_by_the_content_model() {
    const ADDED: Option<&str> = Some("OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL");
    const REMOVED: Option<&str> = Some("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL");
    const UNOPEN: Option<&str> = Some("REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL");
    check(
        Format::Json,
        &[
            ok("the same", OPEN, OPEN),
            // "Backward compatible: remove a property from an open content model"; the reverse is what forward sees.
            rule(
                "open: an optional property is added",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}}}"#,
                ADDED,
                None,
            ),
            rule(
                "open: a property is removed",
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}}}"#,
                OPEN,
                None,
                ADDED,
            ),
            ok(
                "open: a property that may be anything is added",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{}}}"#,
            ),
            rule(
                "closed: an optional property is added",
                CLOSED,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"additionalProperties":false}"#,
                None,
                REMOVED,
            ),
            rule(
                "closed: a property is removed",
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"additionalProperties":false}"#,
                CLOSED,
                REMOVED,
                None,
            ),
            rule(
                "closed: a required property is added",
                CLOSED,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["b"],"additionalProperties":false}"#,
                UNOPEN,
                REMOVED,
            ),
            rule(
                "closed: a required property with a default is added",
                CLOSED,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string","default":""}},"required":["b"],"additionalProperties":false}"#,
                None,
                REMOVED,
            ),
            rule(
                "open: a required property is added",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["b"]}"#,
                Some("REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL"),
                None,
            ),
            rule(
                "partially open: a covered property is added",
                r#"{"type":"object","additionalProperties":{"type":"string"}}"#,
                r#"{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":{"type":"string"}}"#,
                None,
                None,
            ),
            rule(
                "partially open: a property is added that is not covered",
                r#"{"type":"object","additionalProperties":{"type":"string"}}"#,
                r#"{"type":"object","properties":{"b":{"type":"integer"}},"additionalProperties":{"type":"string"}}"#,
                Some("PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL"),
                Some("PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL"),
            ),
            rule(
                "partially open by a pattern: a covered property is added",
                r#"{"type":"object","patternProperties":{"^x_":{"type":"string"}},"additionalProperties":false}"#,
                r#"{"type":"object","properties":{"x_a":{"type":"string"}},"patternProperties":{"^x_":{"type":"string"}},"additionalProperties":false}"#,
                None,
                None,
            ),
            rule("a content model opens", CLOSED, OPEN, None, Some("ADDITIONAL_PROPERTIES_REMOVED")),
            rule("a content model closes", OPEN, CLOSED, Some("ADDITIONAL_PROPERTIES_REMOVED"), None),
            rule(
                "additional properties are narrowed",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":{"type":"string"}}"#,
                Some("ADDITIONAL_PROPERTIES_NARROWED"),
                None,
            ),
            rule(
                "unevaluated properties close as additional ones do",
                OPEN,
                r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"a":{"type":"string"}},"unevaluatedProperties":false}"#,
                Some("ADDITIONAL_PROPERTIES_REMOVED"),
                None,
            ),
            rule(
                "a property becomes required",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#,
                Some("REQUIRED_ATTRIBUTE_ADDED"),
                None,
            ),
            ok(
                "a property with a default becomes required",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string","default":"x"}},"required":["a"]}"#,
            ),
            rule(
                "a property changes its type",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#,
                Some("TYPE_CHANGED"),
                Some("TYPE_CHANGED"),
            ),
            rule(
                "dependencies are added",
                OPEN,
                r#"{"type":"object","properties":{"a":{"type":"string"}},"dependencies":{"a":["b"]}}"#,
                Some("DEPENDENCY_ARRAY_ADDED"),
                None,
            ),
            rule(
                "dependencies are extended",
                r#"{"type":"object","dependencies":{"a":["b"]}}"#,
                r#"{"type":"object","dependencies":{"a":["b","c"]}}"#,
                Some("DEPENDENCY_ARRAY_EXTENDED"),
                None,
            ),
            rule(
                "a dependency is a schema",
                r#"{"type":"object"}"#,
                r#"{"type":"object","dependencies":{"a":{"required":["b"]}}}"#,
                Some("DEPENDENCY_SCHEMA_ADDED"),
                None,
            ),
            rule(
                "fewer properties are admitted",
                r#"{"type":"object","maxProperties":5}"#,
                r#"{"type":"object","maxProperties":4}"#,
                Some("MAX_PROPERTIES_DECREASED"),
                None,
            ),
            rule(
                "a least number of properties",
                r#"{"type":"object"}"#,
                r#"{"type":"object","minProperties":1}"#,
                Some("MIN_PROPERTIES_ADDED"),
                None,
            ),
        ],
    );
}

/// The same rules for types, limits, enumerations and arrays.
#[test]
fn types_limits_and_arrays_only_widen() {
    check(
        Format::Json,
        &[
            rule("integer to number", r#"{"type":"integer"}"#, r#"{"type":"number"}"#, None, Some("TYPE_NARROWED")),
            rule(
                "a type is added",
                r#"{"type":"string"}"#,
                r#"{"type":["string","null"]}"#,
                None,
                Some("TYPE_NARROWED"),
            ),
            rule("a type becomes any", r#"{"type":"string"}"#, r#"{}"#, None, Some("TYPE_NARROWED")),
            rule(
                "maxLength is added",
                r#"{"type":"string"}"#,
                r#"{"type":"string","maxLength":5}"#,
                Some("MAX_LENGTH_ADDED"),
                None,
            ),
            rule(
                "maxLength grows",
                r#"{"type":"string","maxLength":5}"#,
                r#"{"type":"string","maxLength":6}"#,
                None,
                Some("MAX_LENGTH_DECREASED"),
            ),
            rule(
                "minLength grows",
                r#"{"type":"string","minLength":5}"#,
                r#"{"type":"string","minLength":6}"#,
                Some("MIN_LENGTH_INCREASED"),
                None,
            ),
            rule(
                "a pattern is added",
                r#"{"type":"string"}"#,
                r#"{"type":"string","pattern":"^a"}"#,
                Some("PATTERN_ADDED"),
                None,
            ),
            rule(
                "a pattern changes",
                r#"{"type":"string","pattern":"^b"}"#,
                r#"{"type":"string","pattern":"^a"}"#,
                Some("PATTERN_CHANGED"),
                Some("PATTERN_CHANGED"),
            ),
            rule(
                "maximum is added",
                r#"{"type":"number"}"#,
                r#"{"type":"number","maximum":5}"#,
                Some("MAXIMUM_ADDED"),
                None,
            ),
            rule(
                "maximum falls",
                r#"{"type":"number","maximum":6}"#,
                r#"{"type":"number","maximum":5}"#,
                Some("MAXIMUM_DECREASED"),
                None,
            ),
            rule(
                "a bound becomes exclusive",
                r#"{"type":"number","maximum":6}"#,
                r#"{"type":"number","exclusiveMaximum":6}"#,
                Some("EXCLUSIVE_MAXIMUM_DECREASED"),
                None,
            ),
            rule(
                "draft 4: a bound becomes exclusive",
                r#"{"$schema":"http://json-schema.org/draft-04/schema#","type":"number","minimum":6}"#,
                r#"{"$schema":"http://json-schema.org/draft-04/schema#","type":"number","minimum":6,"exclusiveMinimum":true}"#,
                Some("EXCLUSIVE_MINIMUM_INCREASED"),
                None,
            ),
            rule(
                "multipleOf is a divisor",
                r#"{"type":"number","multipleOf":10}"#,
                r#"{"type":"number","multipleOf":5}"#,
                None,
                Some("MULTIPLE_OF_CHANGED"),
            ),
            rule(
                "an enum is extended",
                r#"{"enum":["a"]}"#,
                r#"{"enum":["a","b"]}"#,
                None,
                Some("ENUM_ARRAY_NARROWED"),
            ),
            rule(
                "an enum changes",
                r#"{"enum":["a"]}"#,
                r#"{"enum":["b"]}"#,
                Some("ENUM_ARRAY_CHANGED"),
                Some("ENUM_ARRAY_CHANGED"),
            ),
            rule(
                "an enum becomes a type",
                r#"{"type":"string","enum":["a"]}"#,
                r#"{"type":"string"}"#,
                None,
                Some("ENUM_ARRAY_ADDED"),
            ),
            ok("a const is an enum of one", r#"{"const":1}"#, r#"{"enum":[1.0]}"#),
            rule(
                "items widen",
                r#"{"type":"array","items":{"type":"integer"}}"#,
                r#"{"type":"array","items":{"type":"number"}}"#,
                None,
                Some("TYPE_NARROWED"),
            ),
            rule(
                "an item is added to a closed list",
                r#"{"type":"array","items":[{"type":"string"}],"additionalItems":false}"#,
                r#"{"type":"array","items":[{"type":"string"},{"type":"string"}],"additionalItems":false}"#,
                None,
                Some("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL"),
            ),
            rule(
                "an item is added to an open list",
                r#"{"type":"array","items":[{"type":"string"}]}"#,
                r#"{"type":"array","items":[{"type":"string"},{"type":"string"}]}"#,
                Some("ITEM_ADDED_TO_OPEN_CONTENT_MODEL"),
                None,
            ),
            rule(
                "prefixItems are such lists",
                r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"array","prefixItems":[{"type":"string"}],"items":false}"#,
                r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"array","prefixItems":[{"type":"string"},{"type":"string"}],"items":false}"#,
                None,
                Some("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL"),
            ),
            rule(
                "items become unique",
                r#"{"type":"array"}"#,
                r#"{"type":"array","uniqueItems":true}"#,
                Some("UNIQUE_ITEMS_ADDED"),
                None,
            ),
            rule(
                "maxItems falls",
                r#"{"type":"array","maxItems":3}"#,
                r#"{"type":"array","maxItems":2}"#,
                Some("MAX_ITEMS_DECREASED"),
                None,
            ),
            ok(
                "titles and defaults change",
                r#"{"type":"string","title":"a"}"#,
                r#"{"type":"string","title":"b","default":"x","description":"c"}"#,
            ),
        ],
    );
}

/// The same rules for `oneOf`, `anyOf`, `allOf`, `not` and `$ref`.
#[test]
fn combinations_follow_their_parts() {
    const SUM: Option<&str> = Some("COMBINED_TYPE_SUBSCHEMAS_CHANGED");
    check(
        Format::Json,
        &[
            rule(
                "a sum gets a branch",
                r#"{"oneOf":[{"type":"null"},{"type":"string"}]}"#,
                r#"{"oneOf":[{"type":"null"},{"type":"string"},{"type":"integer"}]}"#,
                None,
                SUM,
            ),
            rule(
                "a sum loses a branch",
                r#"{"oneOf":[{"type":"null"},{"type":"string"}]}"#,
                r#"{"oneOf":[{"type":"null"}]}"#,
                SUM,
                None,
            ),
            ok(
                "branches change places",
                r#"{"oneOf":[{"type":"null"},{"type":"string"}]}"#,
                r#"{"oneOf":[{"type":"string"},{"type":"null"}]}"#,
            ),
            rule(
                "a type becomes a branch",
                r#"{"type":"string"}"#,
                r#"{"anyOf":[{"type":"null"},{"type":"string"}]}"#,
                None,
                Some("SUM_TYPE_NARROWED"),
            ),
            // The same set, but a list of types is not taken apart: the check may refuse what fits, never the reverse.
            rule(
                "a sum of types becomes a list of types",
                r#"{"anyOf":[{"type":"null"},{"type":"string"}]}"#,
                r#"{"type":["null","string"]}"#,
                None,
                SUM,
            ),
            rule(
                "a product gets a condition",
                r#"{"allOf":[{"type":"string"}]}"#,
                r#"{"allOf":[{"type":"string"},{"maxLength":3}]}"#,
                Some("PRODUCT_TYPE_EXTENDED"),
                None,
            ),
            ok("a product of one is that one", r#"{"allOf":[{"type":"string"}]}"#, r#"{"type":"string"}"#),
            rule(
                "not is added",
                r#"{"type":"string"}"#,
                r#"{"type":"string","not":{"maxLength":3}}"#,
                Some("NOT_TYPE_EXTENDED"),
                None,
            ),
            rule(
                "not narrows",
                r#"{"type":"string","not":{"maxLength":3}}"#,
                r#"{"type":"string","not":{"maxLength":2}}"#,
                None,
                Some("NOT_TYPE_EXTENDED"),
            ),
            ok(
                "a definition is written in place",
                r##"{"$ref":"#/definitions/s","definitions":{"s":{"type":"string"}}}"##,
                r#"{"type":"string"}"#,
            ),
            rule(
                "a definition changes",
                r##"{"type":"object","properties":{"a":{"$ref":"#/definitions/s"}},"definitions":{"s":{"type":"integer"}}}"##,
                r##"{"type":"object","properties":{"a":{"$ref":"#/definitions/s"}},"definitions":{"s":{"type":"number"}}}"##,
                None,
                Some("TYPE_NARROWED"),
            ),
            ok(
                "a recursive definition stays",
                r##"{"type":"object","properties":{"next":{"$ref":"#"}},"additionalProperties":false}"##,
                r##"{"type":"object","properties":{"next":{"$ref":"#"}},"additionalProperties":false}"##,
            ),
            rule(
                "a recursive definition narrows inside",
                r##"{"type":"object","properties":{"next":{"$ref":"#"},"v":{"type":"number"}},"additionalProperties":false}"##,
                r##"{"type":"object","properties":{"next":{"$ref":"#"},"v":{"type":"integer"}},"additionalProperties":false}"##,
                Some("TYPE_NARROWED"),
                None,
            ),
            rule(
                "a condition is added",
                r#"{"type":"object"}"#,
                r#"{"type":"object","if":{"required":["a"]},"then":{"required":["b"]}}"#,
                Some("CONDITIONAL_TYPE_CHANGED"),
                None,
            ),
        ],
    );
}

#[test]
fn the_order_of_keys_counts_unless_normalised() {
    let a = parse(Format::Json, r#"{ "type": "object", "title": "x" }"#, &[]).unwrap();
    let b = parse(Format::Json, r#"{"title":"x","type":"object"}"#, &[]).unwrap();
    assert_eq!(a.texts(false).0, r#"{"type":"object","title":"x"}"#);
    assert_ne!(a.texts(false).1, b.texts(false).1);
    assert_eq!(a.texts(true), b.texts(true));
}

/// Seen failing with references that lead nowhere accepted.
#[test]
fn references_are_resolved_from_what_is_given_and_nothing_is_fetched() {
    let text = r#"{"type":"object","properties":{"c":{"$ref":"http://127.0.0.1:1/customer.json"}}}"#;
    let reason = parse(Format::Json, text, &[]).unwrap_err();
    assert!(reason.contains("nothing is fetched"), "{reason}");
    let customer = r##"{"type":"object","properties":{"id":{"$ref":"#/definitions/id"}},"definitions":{"id":{"type":"integer"}}}"##;
    parse(Format::Json, text, &[dependency("http://127.0.0.1:1/customer.json", customer)]).unwrap();
    let relative = r#"{"$id":"http://x/s/order.json","properties":{"c":{"$ref":"customer.json#/definitions/id"}}}"#;
    parse(Format::Json, relative, &[dependency("customer.json", customer)]).unwrap();
    parse(Format::Json, relative, &[dependency("http://x/s/customer.json", customer)]).unwrap();
    assert!(parse(Format::Json, relative, &[dependency("other.json", customer)]).is_err());
    let anchored = r##"{"properties":{"a":{"$ref":"#here"}},"$defs":{"x":{"$anchor":"here","type":"string"}}}"##;
    parse(Format::Json, anchored, &[]).unwrap();
    assert!(parse(Format::Json, r##"{"$ref":"#/definitions/none"}"##, &[]).is_err());
    assert!(parse(Format::Json, r#"{"$schema":"http://127.0.0.1:1/meta"}"#, &[]).is_err());
}

#[test]
fn what_is_no_schema_is_refused_with_a_reason() {
    for text in [
        "",
        "[]",
        "7",
        r#"{"type":"strange"}"#,
        r#"{"minLength":-1}"#,
        r#"{"required":"a"}"#,
        r#"{"type":"string","pattern":"("}"#,
        r#"{"patternProperties":{"[":{}}}"#,
    ] {
        let reason = parse(Format::Json, text, &[]).map(|_| String::new()).unwrap_err();
        assert!(!reason.is_empty() && reason.len() < 1000, "{text}: {reason}");
    }
}
