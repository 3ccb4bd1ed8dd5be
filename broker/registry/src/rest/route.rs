//! From method and path to what is asked for.
use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::access::{Need, Right};
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
    /// Reads a path; its parts may be percent-encoded, also with slashes inside. With it, the pattern of its route.
    pub fn of(method: &Method, path: &str) -> (&'static str, Result<Endpoint, RegistryError>) {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let verb = method.as_str();
        let verb = if verb == "HEAD" { "GET" } else { verb };
        let mut exists = false;
        for Route(method, pattern, make) in ROUTES {
            let Some(values) = values(pattern, &parts) else { continue };
            exists = true;
            if *method == verb {
                return (pattern, make(&values));
            }
        }
        ("", Err(if exists { RegistryError::MethodNotAllowed } else { RegistryError::NoSuchPath }))
    }

    /// What its caller needs, as decision 8 says.
    pub fn need(&self) -> Need<'_> {
        match self {
            Endpoint::Root
            | Endpoint::MetadataId
            | Endpoint::MetadataVersion
            | Endpoint::Contexts
            | Endpoint::SchemaTypes => Need::Nothing,
            Endpoint::Subjects | Endpoint::Schemas => Need::Filtered,
            Endpoint::Schema { .. }
            | Endpoint::SchemaText { .. }
            | Endpoint::SchemaSubjects { .. }
            | Endpoint::SchemaVersions { .. }
            | Endpoint::SchemaByGuid { .. }
            | Endpoint::IdsByGuid { .. } => Need::Usage,
            Endpoint::Versions { subject }
            | Endpoint::Version { subject, .. }
            | Endpoint::VersionText { subject, .. }
            | Endpoint::ReferencedBy { subject, .. }
            | Endpoint::LatestWithMetadata { subject }
            | Endpoint::Lookup { subject }
            | Endpoint::Check { subject, .. } => Need::Subject(Right::Describe, subject),
            Endpoint::Register { subject } => Need::Subject(Right::Write, subject),
            Endpoint::DeleteSubject { subject } | Endpoint::DeleteVersion { subject, .. } => {
                Need::Subject(Right::Delete, subject)
            }
            Endpoint::Config { subject } | Endpoint::Mode { subject } => {
                settings(Right::DescribeConfigs, subject.as_deref())
            }
            Endpoint::SetConfig { subject } | Endpoint::DeleteConfig { subject } | Endpoint::SetMode { subject } => {
                settings(Right::AlterConfigs, subject.as_deref())
            }
            Endpoint::DeleteMode { subject } => settings(Right::AlterConfigs, Some(subject)),
        }
    }

    /// Of a request that changes something: the subject, if it is about one.
    pub fn change(&self) -> Option<Option<String>> {
        match self.need() {
            Need::Subject(Right::Write | Right::Delete | Right::AlterConfigs, subject) => {
                Some(Some(subject.to_owned()))
            }
            Need::Cluster(Right::AlterConfigs) => Some(None),
            _ => None,
        }
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

fn settings(right: Right, subject: Option<&str>) -> Need<'_> {
    subject.map_or(Need::Cluster(right), |subject| Need::Subject(right, subject))
}

/// Makes an endpoint of the values of a path.
type Make = fn(&[&str]) -> Result<Endpoint, RegistryError>;

/// A method, a path with names in braces, and what it asks for.
struct Route(&'static str, &'static str, Make);

/// Everything that is served; nothing else is.
const ROUTES: &[Route] = &[
    Route("GET", "/", |_| Ok(Endpoint::Root)),
    Route("GET", "/v1/metadata/id", |_| Ok(Endpoint::MetadataId)),
    Route("GET", "/v1/metadata/version", |_| Ok(Endpoint::MetadataVersion)),
    Route("GET", "/contexts", |_| Ok(Endpoint::Contexts)),
    Route("GET", "/subjects", |_| Ok(Endpoint::Subjects)),
    Route("POST", "/subjects/{subject}", |v| Ok(Endpoint::Lookup { subject: own(v, 0) })),
    Route("DELETE", "/subjects/{subject}", |v| Ok(Endpoint::DeleteSubject { subject: own(v, 0) })),
    Route("GET", "/subjects/{subject}/metadata", |v| Ok(Endpoint::LatestWithMetadata { subject: own(v, 0) })),
    Route("GET", "/subjects/{subject}/versions", |v| Ok(Endpoint::Versions { subject: own(v, 0) })),
    Route("POST", "/subjects/{subject}/versions", |v| Ok(Endpoint::Register { subject: own(v, 0) })),
    Route("GET", "/subjects/{subject}/versions/{version}", |v| {
        Ok(Endpoint::Version { subject: own(v, 0), version: version(v, 1)? })
    }),
    Route("DELETE", "/subjects/{subject}/versions/{version}", |v| {
        Ok(Endpoint::DeleteVersion { subject: own(v, 0), version: version(v, 1)? })
    }),
    Route("GET", "/subjects/{subject}/versions/{version}/schema", |v| {
        Ok(Endpoint::VersionText { subject: own(v, 0), version: version(v, 1)? })
    }),
    Route("GET", "/subjects/{subject}/versions/{version}/referencedby", |v| {
        Ok(Endpoint::ReferencedBy { subject: own(v, 0), version: version(v, 1)? })
    }),
    Route("GET", "/schemas", |_| Ok(Endpoint::Schemas)),
    Route("GET", "/schemas/types", |_| Ok(Endpoint::SchemaTypes)),
    Route("GET", "/schemas/ids/{id}", |v| Ok(Endpoint::Schema { id: own(v, 0) })),
    Route("GET", "/schemas/ids/{id}/schema", |v| Ok(Endpoint::SchemaText { id: own(v, 0) })),
    Route("GET", "/schemas/ids/{id}/subjects", |v| Ok(Endpoint::SchemaSubjects { id: own(v, 0) })),
    Route("GET", "/schemas/ids/{id}/versions", |v| Ok(Endpoint::SchemaVersions { id: own(v, 0) })),
    Route("GET", "/schemas/guids/{guid}", |v| Ok(Endpoint::SchemaByGuid { guid: own(v, 0) })),
    Route("GET", "/schemas/guids/{guid}/ids", |v| Ok(Endpoint::IdsByGuid { guid: own(v, 0) })),
    Route("POST", "/compatibility/subjects/{subject}/versions", |v| {
        Ok(Endpoint::Check { subject: own(v, 0), version: None })
    }),
    Route("POST", "/compatibility/subjects/{subject}/versions/{version}", |v| {
        Ok(Endpoint::Check { subject: own(v, 0), version: Some(version(v, 1)?) })
    }),
    Route("GET", "/config", |_| Ok(Endpoint::Config { subject: None })),
    Route("PUT", "/config", |_| Ok(Endpoint::SetConfig { subject: None })),
    Route("DELETE", "/config", |_| Ok(Endpoint::DeleteConfig { subject: None })),
    Route("GET", "/config/{subject}", |v| Ok(Endpoint::Config { subject: Some(own(v, 0)) })),
    Route("PUT", "/config/{subject}", |v| Ok(Endpoint::SetConfig { subject: Some(own(v, 0)) })),
    Route("DELETE", "/config/{subject}", |v| Ok(Endpoint::DeleteConfig { subject: Some(own(v, 0)) })),
    Route("GET", "/mode", |_| Ok(Endpoint::Mode { subject: None })),
    Route("PUT", "/mode", |_| Ok(Endpoint::SetMode { subject: None })),
    Route("GET", "/mode/{subject}", |v| Ok(Endpoint::Mode { subject: Some(own(v, 0)) })),
    Route("PUT", "/mode/{subject}", |v| Ok(Endpoint::SetMode { subject: Some(own(v, 0)) })),
    Route("DELETE", "/mode/{subject}", |v| Ok(Endpoint::DeleteMode { subject: own(v, 0) })),
];

/// Methods and paths of everything that is served, such as `GET` and `/subjects/{subject}/versions`.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|Route(verb, path, _)| (*verb, *path))
}

/// The values at the names of a path's pattern; `None`: another path.
fn values<'a>(pattern: &str, parts: &[&'a str]) -> Option<Vec<&'a str>> {
    let pattern: Vec<&str> = pattern.trim_matches('/').split('/').collect();
    let is_name = |part: &str| part.starts_with('{');
    let fits =
        pattern.len() == parts.len() && pattern.iter().zip(parts).all(|(wanted, got)| is_name(wanted) || wanted == got);
    fits.then(|| pattern.iter().zip(parts).filter(|(wanted, _)| is_name(wanted)).map(|(_, got)| *got).collect())
}

/// The value at a place, which the pattern of its route has.
fn own(values: &[&str], at: usize) -> String {
    values.get(at).copied().unwrap_or_default().to_owned()
}

fn version(values: &[&str], at: usize) -> Result<VersionSelector, RegistryError> {
    let text = own(values, at);
    text.parse().map_err(|()| RegistryError::InvalidVersion { version: text })
}

/// A part of a path; a `+` stays one.
fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}
