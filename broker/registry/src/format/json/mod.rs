//! JSON Schema, drafts 4, 6, 7, 2019-09 and 2020-12: the meta-schemas of the `jsonschema` crate say what is valid. What a
//! `$ref` points to must be in the schema itself or among its registered references; **nothing is ever fetched**.
mod compatibility;
mod documents;
mod keywords;
mod patterns;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Dependency;
use super::bounds::parse_json;
use super::text::{compact_json, sorted_json};

pub use compatibility::incompatibilities;
pub use documents::Documents;

/// Regular expressions in one schema.
const PATTERNS_MAX: usize = 2_000;

/// A JSON schema in its three shapes.
#[derive(Debug)]
pub struct Parsed {
    /// As written, without white space.
    pub compact: String,
    /// With sorted keys.
    pub sorted: String,
    /// The schema and all it refers to.
    pub documents: Documents,
}

/// Version of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draft {
    /// draft-04
    Four,
    /// draft-06
    Six,
    /// draft-07, also of schemas that do not say
    Seven,
    /// 2019-09
    Y2019,
    /// 2020-12
    Y2020,
}

impl Draft {
    fn of(schema: &Value) -> Result<Draft, String> {
        let Some(uri) = schema.get("$schema") else { return Ok(Draft::Seven) };
        let uri = uri.as_str().ok_or("`$schema` is not a string")?;
        let bare = uri.trim_end_matches('#');
        let path = bare.strip_prefix("http://").or_else(|| bare.strip_prefix("https://")).unwrap_or(bare);
        match path {
            "json-schema.org/draft-04/schema" => Ok(Draft::Four),
            "json-schema.org/draft-06/schema" => Ok(Draft::Six),
            "json-schema.org/draft-07/schema" | "json-schema.org/schema" => Ok(Draft::Seven),
            "json-schema.org/draft/2019-09/schema" => Ok(Draft::Y2019),
            "json-schema.org/draft/2020-12/schema" => Ok(Draft::Y2020),
            _ => Err(format!(
                "`$schema` is {uri}; the drafts 04, 06, 07, 2019-09 and 2020-12 are known, and nothing is fetched"
            )),
        }
    }

    fn validate(self, schema: &Value) -> Result<(), String> {
        let result = match self {
            Draft::Four => jsonschema::draft4::meta::validate(schema),
            Draft::Six => jsonschema::draft6::meta::validate(schema),
            Draft::Seven => jsonschema::draft7::meta::validate(schema),
            Draft::Y2019 => jsonschema::draft201909::meta::validate(schema),
            Draft::Y2020 => jsonschema::draft202012::meta::validate(schema),
        };
        result.map_err(|error| {
            let mut detail = error.to_string();
            if detail.len() > 300 {
                detail = detail.chars().take(300).collect();
                detail.push('…');
            }
            format!("not a JSON schema at `{}`: {detail}", error.instance_path())
        })
    }
}

/// Parses a schema; `dependencies` are what its `$ref`s name.
pub fn parse(text: &str, dependencies: &[Dependency]) -> Result<Parsed, String> {
    let value = parse_json(text)?;
    if !value.is_object() && !value.is_boolean() {
        return Err("a JSON schema is an object or a boolean".to_owned());
    }
    let draft = Draft::of(&value)?;
    draft.validate(&value)?;
    check_patterns(&value)?;
    let sorted = sorted_json(&value);
    let documents = Documents::new(value, draft, dependencies)?;
    documents.check_references()?;
    Ok(Parsed { compact: compact_json(text), sorted, documents })
}

/// Regular expressions must compile in little memory.
fn check_patterns(schema: &Value) -> Result<(), String> {
    let mut count = 0;
    keywords::each_schema(schema, &mut |schema| {
        let own = schema.get("pattern").and_then(Value::as_str).into_iter();
        let named = schema.get("patternProperties").and_then(Value::as_object);
        let named = named.into_iter().flat_map(|members| members.keys().map(String::as_str));
        for pattern in own.chain(named) {
            count += 1;
            if count > PATTERNS_MAX {
                return Err(format!("more than {PATTERNS_MAX} regular expressions"));
            }
            patterns::check(pattern)?;
        }
        Ok(())
    })
}
