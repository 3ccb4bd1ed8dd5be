//! From method and path to what is asked for.
use axum::http::Method;
use percent_encoding::percent_decode_str;

use crate::error::RegistryError;
use crate::model::VersionSelector;

/// What a request asks for. `None` for a subject in settings stands for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Root,
    MetadataId,
    MetadataVersion,
    Contexts,
    Subjects,
    Versions { subject: String },
    Version { subject: String, version: VersionSelector },
    VersionText { subject: String, version: VersionSelector },
    ReferencedBy { subject: String, version: VersionSelector },
    LatestWithMetadata { subject: String },
    Register { subject: String },
    Lookup { subject: String },
    DeleteSubject { subject: String },
    DeleteVersion { subject: String, version: VersionSelector },
    Schemas,
    SchemaTypes,
    Schema { id: String },
    SchemaText { id: String },
    SchemaSubjects { id: String },
    SchemaVersions { id: String },
    SchemaByGuid { guid: String },
    IdsByGuid { guid: String },
    Check { subject: String, version: Option<VersionSelector> },
    Config { subject: Option<String> },
    SetConfig { subject: Option<String> },
    DeleteConfig { subject: Option<String> },
    Mode { subject: Option<String> },
    SetMode { subject: Option<String> },
    DeleteMode { subject: String },
}

impl Endpoint {
    /// Reads a path; its parts may be percent-encoded, also with slashes inside.
    pub fn of(method: &Method, path: &str) -> Result<Endpoint, RegistryError> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let verb = method.as_str();
        let verb = if verb == "HEAD" { "GET" } else { verb };
        if let Some(endpoint) = known(verb, &parts)? {
            return Ok(endpoint);
        }
        let others = ["GET", "POST", "PUT", "DELETE"];
        let exists = others.iter().any(|other| matches!(known(other, &parts), Ok(Some(_)) | Err(_)));
        Err(if exists { RegistryError::MethodNotAllowed } else { RegistryError::NoSuchPath })
    }

    /// Label of metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Endpoint::Root => "root",
            Endpoint::MetadataId | Endpoint::MetadataVersion => "metadata",
            Endpoint::Contexts => "contexts",
            Endpoint::Subjects => "subjects",
            Endpoint::Versions { .. } => "versions",
            Endpoint::Version { .. } | Endpoint::VersionText { .. } | Endpoint::LatestWithMetadata { .. } => "version",
            Endpoint::ReferencedBy { .. } => "referenced-by",
            Endpoint::Register { .. } => "register",
            Endpoint::Lookup { .. } => "lookup",
            Endpoint::DeleteSubject { .. } => "delete-subject",
            Endpoint::DeleteVersion { .. } => "delete-version",
            Endpoint::Schemas => "schemas",
            Endpoint::SchemaTypes => "schema-types",
            Endpoint::Schema { .. } | Endpoint::SchemaText { .. } | Endpoint::SchemaByGuid { .. } => "schema",
            Endpoint::SchemaSubjects { .. } | Endpoint::SchemaVersions { .. } | Endpoint::IdsByGuid { .. } => {
                "schema-usages"
            }
            Endpoint::Check { .. } => "check",
            Endpoint::Config { .. } => "config",
            Endpoint::SetConfig { .. } => "set-config",
            Endpoint::DeleteConfig { .. } => "delete-config",
            Endpoint::Mode { .. } => "mode",
            Endpoint::SetMode { .. } => "set-mode",
            Endpoint::DeleteMode { .. } => "delete-mode",
        }
    }

    /// Whether a body is read.
    pub fn takes_body(&self) -> bool {
        matches!(
            self,
            Endpoint::Register { .. }
                | Endpoint::Lookup { .. }
                | Endpoint::Check { .. }
                | Endpoint::SetConfig { .. }
                | Endpoint::SetMode { .. }
        )
    }
}

fn known(verb: &str, parts: &[&str]) -> Result<Option<Endpoint>, RegistryError> {
    let own = |subject: &&str| (*subject).to_owned();
    Ok(Some(match (verb, parts) {
        ("GET", [""]) => Endpoint::Root,
        ("GET", ["v1", "metadata", "id"]) => Endpoint::MetadataId,
        ("GET", ["v1", "metadata", "version"]) => Endpoint::MetadataVersion,
        ("GET", ["contexts"]) => Endpoint::Contexts,
        ("GET", ["subjects"]) => Endpoint::Subjects,
        ("POST", ["subjects", s]) => Endpoint::Lookup { subject: own(s) },
        ("DELETE", ["subjects", s]) => Endpoint::DeleteSubject { subject: own(s) },
        ("GET", ["subjects", s, "metadata"]) => Endpoint::LatestWithMetadata { subject: own(s) },
        ("GET", ["subjects", s, "versions"]) => Endpoint::Versions { subject: own(s) },
        ("POST", ["subjects", s, "versions"]) => Endpoint::Register { subject: own(s) },
        ("GET", ["subjects", s, "versions", v]) => Endpoint::Version { subject: own(s), version: version(v)? },
        ("DELETE", ["subjects", s, "versions", v]) => Endpoint::DeleteVersion { subject: own(s), version: version(v)? },
        ("GET", ["subjects", s, "versions", v, "schema"]) => {
            Endpoint::VersionText { subject: own(s), version: version(v)? }
        }
        ("GET", ["subjects", s, "versions", v, "referencedby"]) => {
            Endpoint::ReferencedBy { subject: own(s), version: version(v)? }
        }
        ("GET", ["schemas"]) => Endpoint::Schemas,
        ("GET", ["schemas", "types"]) => Endpoint::SchemaTypes,
        ("GET", ["schemas", "ids", id]) => Endpoint::Schema { id: own(id) },
        ("GET", ["schemas", "ids", id, "schema"]) => Endpoint::SchemaText { id: own(id) },
        ("GET", ["schemas", "ids", id, "subjects"]) => Endpoint::SchemaSubjects { id: own(id) },
        ("GET", ["schemas", "ids", id, "versions"]) => Endpoint::SchemaVersions { id: own(id) },
        ("GET", ["schemas", "guids", guid]) => Endpoint::SchemaByGuid { guid: own(guid) },
        ("GET", ["schemas", "guids", guid, "ids"]) => Endpoint::IdsByGuid { guid: own(guid) },
        ("POST", ["compatibility", "subjects", s, "versions"]) => Endpoint::Check { subject: own(s), version: None },
        ("POST", ["compatibility", "subjects", s, "versions", v]) => {
            Endpoint::Check { subject: own(s), version: Some(version(v)?) }
        }
        ("GET", ["config"]) => Endpoint::Config { subject: None },
        ("PUT", ["config"]) => Endpoint::SetConfig { subject: None },
        ("DELETE", ["config"]) => Endpoint::DeleteConfig { subject: None },
        ("GET", ["config", s]) => Endpoint::Config { subject: Some(own(s)) },
        ("PUT", ["config", s]) => Endpoint::SetConfig { subject: Some(own(s)) },
        ("DELETE", ["config", s]) => Endpoint::DeleteConfig { subject: Some(own(s)) },
        ("GET", ["mode"]) => Endpoint::Mode { subject: None },
        ("PUT", ["mode"]) => Endpoint::SetMode { subject: None },
        ("GET", ["mode", s]) => Endpoint::Mode { subject: Some(own(s)) },
        ("PUT", ["mode", s]) => Endpoint::SetMode { subject: Some(own(s)) },
        ("DELETE", ["mode", s]) => Endpoint::DeleteMode { subject: own(s) },
        _ => return Ok(None),
    }))
}

fn version(text: &str) -> Result<VersionSelector, RegistryError> {
    text.parse().map_err(|()| RegistryError::InvalidVersion { version: text.to_owned() })
}

/// A part of a path; a `+` stays one.
fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}
