//! Avro: apache-avro says what is valid; names, identity and resolution rules are read off the JSON, because the
//! library's tree forgets what those need (physical types of logical ones, aliases in references).
mod canonical;
mod compatibility;
mod model;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Dependency;
use super::bounds::parse_json;
use super::text::compact_json;

pub use compatibility::incompatibilities;
pub use model::Model;

/// An Avro schema in its three shapes.
#[derive(Debug)]
pub struct Parsed {
    /// As written, without white space.
    pub compact: String,
    /// With full names, attributes in a fixed order and no redundant objects.
    pub canonical: String,
    /// For compatibility checks.
    pub model: Model,
}

/// Parses a schema; `dependencies` are the named types it refers to.
pub fn parse(text: &str, dependencies: &[Dependency]) -> Result<Parsed, String> {
    let value = parse_json(text)?;
    let references = dependencies.iter().map(|d| parse_json(&d.text)).collect::<Result<Vec<_>, _>>()?;
    let model = Model::build(&references, &value)?;
    validate(text, dependencies)?;
    Ok(Parsed { compact: compact_json(text), canonical: canonical::render(&value), model })
}

fn validate(text: &str, dependencies: &[Dependency]) -> Result<(), String> {
    let parsed = if dependencies.is_empty() {
        apache_avro::Schema::parse_str(text).map(drop)
    } else {
        let texts = dependencies.iter().map(|d| d.text.as_str());
        apache_avro::Schema::parse_str_with_list(text, texts).map(drop)
    };
    parsed.map_err(|error| error.to_string())
}

/// The schema with the definitions of all it refers to where they are used first.
pub fn resolved(text: &str, dependencies: &[Dependency]) -> Result<String, String> {
    let value = parse_json(text)?;
    let references = dependencies.iter().map(|d| parse_json(&d.text)).collect::<Result<Vec<_>, _>>()?;
    Ok(canonical::render_inlined(&value, &references))
}

/// The eight types without a name or parts.
pub(super) fn is_primitive(name: &str) -> bool {
    matches!(name, "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string")
}

/// Full name of a definition: a dotted `name` is one, otherwise the namespace, its own or the enclosing one, is put before it.
pub(super) fn full_name(definition: &serde_json::Map<String, Value>, enclosing: &str) -> String {
    let name = definition.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.contains('.') {
        return name.to_owned();
    }
    qualify(name, definition.get("namespace").and_then(Value::as_str).unwrap_or(enclosing))
}

/// A name as it is used inside a namespace.
pub(super) fn qualify(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// Everything before the last dot.
pub(super) fn namespace_of(full_name: &str) -> &str {
    full_name.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}
