//! Where schemas are inside schemas. Everything else (`default`, `enum`, `const`, `examples`, unknown keywords) is data.
use serde_json::Value;

/// Keywords whose value is a schema.
const SINGLE: &[&str] = &[
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
];
/// Keywords whose value is a list of schemas.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "items", "prefixItems"];
/// Keywords whose value is an object of schemas.
const MAP: &[&str] = &["properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"];

/// Calls `visit` with a schema and all schemas in it. Depth was bounded when the text was read.
pub(super) fn each_schema<'a>(
    schema: &'a Value,
    visit: &mut impl FnMut(&'a Value) -> Result<(), String>,
) -> Result<(), String> {
    let Some(members) = schema.as_object() else { return Ok(()) };
    visit(schema)?;
    for key in SINGLE {
        if let Some(inner) = members.get(*key).filter(|inner| inner.is_object()) {
            each_schema(inner, visit)?;
        }
    }
    for key in LIST {
        for inner in members.get(*key).and_then(Value::as_array).into_iter().flatten() {
            each_schema(inner, visit)?;
        }
    }
    for key in MAP {
        for inner in members.get(*key).and_then(Value::as_object).into_iter().flat_map(|inner| inner.values()) {
            each_schema(inner, visit)?;
        }
    }
    Ok(())
}
