//! Bodies of requests.
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::RegistryError;
use crate::format::Format;
use crate::model::{Compatibility, Mode, Reference, SchemaDefinition, SubjectConfig};
use crate::registry::Registration;

/// What is registered, looked up or checked. Fields that clients send and nobody here needs are taken and not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SchemaBody {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<Reference>>,
    metadata: Option<Value>,
    rule_set: Option<Value>,
    id: Option<i64>,
    version: Option<i64>,
    #[serde(rename = "subject")]
    _subject: Option<Value>,
    #[serde(rename = "guid")]
    _guid: Option<Value>,
    #[serde(rename = "deleted")]
    _deleted: Option<Value>,
    #[serde(rename = "ts")]
    _ts: Option<Value>,
    #[serde(rename = "propagateSchemaTags")]
    _propagate_schema_tags: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigBody {
    compatibility: Option<String>,
    compatibility_level: Option<String>,
    normalize: Option<bool>,
    compatibility_group: Option<String>,
    default_metadata: Option<Value>,
    override_metadata: Option<Value>,
    default_rule_set: Option<Value>,
    override_rule_set: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeBody {
    mode: Option<String>,
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RegistryError> {
    if body.is_empty() {
        return Err(RegistryError::BadRequest { reason: "The request has no body; send a JSON object".to_owned() });
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            Some(field) => RegistryError::Unprocessable { reason: format!("Unrecognized field: {field}") },
            None if error.is_data() => {
                RegistryError::Unprocessable { reason: format!("The body is not as expected: {text}") }
            }
            None => RegistryError::BadRequest { reason: format!("The body is not JSON: {text}") },
        }
    })
}

/// The schema of a request.
pub(super) fn registration(body: &[u8]) -> Result<Registration, RegistryError> {
    let body: SchemaBody = read(body)?;
    let schema_type = match body.schema_type.as_deref() {
        None | Some("") => Format::Avro,
        Some(name) => name.parse().map_err(|()| RegistryError::invalid(format!("Invalid schema type {name}")))?,
    };
    let positive = |number: Option<i64>| number.filter(|n| *n > 0).and_then(|n| u32::try_from(n).ok());
    let definition = SchemaDefinition {
        schema_type,
        schema: body.schema.unwrap_or_default(),
        references: body.references.unwrap_or_default(),
        metadata: body.metadata.filter(|value| !value.is_null()),
        rule_set: body.rule_set.filter(|value| !value.is_null()),
    };
    Ok(Registration { definition, normalize: false, id: positive(body.id), version: positive(body.version) })
}

/// The settings of a request.
pub(super) fn config(body: &[u8]) -> Result<SubjectConfig, RegistryError> {
    let body: ConfigBody = read(body)?;
    let level = body.compatibility.or(body.compatibility_level);
    let parse =
        |level: String| level.parse::<Compatibility>().map_err(|()| RegistryError::InvalidCompatibility { level });
    let config = SubjectConfig {
        compatibility: level.map(parse).transpose()?,
        normalize: body.normalize,
        compatibility_group: body.compatibility_group,
        default_metadata: body.default_metadata,
        override_metadata: body.override_metadata,
        default_rule_set: body.default_rule_set,
        override_rule_set: body.override_rule_set,
    };
    if config == SubjectConfig::default() {
        return Err(RegistryError::InvalidCompatibility { level: String::new() });
    }
    Ok(config)
}

/// The mode of a request.
pub(super) fn mode(body: &[u8]) -> Result<Mode, RegistryError> {
    let mode = read::<ModeBody>(body)?.mode.unwrap_or_default();
    mode.parse().map_err(|()| RegistryError::InvalidMode { mode })
}
