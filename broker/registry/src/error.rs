//! What can go wrong, with Confluent's HTTP statuses and codes (`core/.../rest/exceptions/Errors.java` names them).
use thiserror::Error;

use crate::format::Incompatibility;
use crate::model::{Compatibility, SchemaId, VersionNumber};
use crate::store::StoreError;

/// Why the registry refused something.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum RegistryError {
    #[error("Subject '{subject}' not found.")]
    SubjectNotFound { subject: String },
    #[error("Version {version} not found.")]
    VersionNotFound { version: String },
    #[error("Schema not found")]
    SchemaNotFound,
    #[error("Schema {id} not found")]
    IdNotFound { id: String },
    #[error("Subject '{subject}' was soft deleted. Set permanent=true to delete permanently")]
    SubjectSoftDeleted { subject: String },
    #[error("Subject '{subject}' was not deleted first before being permanently deleted")]
    SubjectNotSoftDeleted { subject: String },
    #[error("Subject '{subject}' Version {version} was soft deleted. Set permanent=true to delete permanently")]
    VersionSoftDeleted { subject: String, version: VersionNumber },
    #[error("Subject '{subject}' Version {version} was not deleted first before being permanently deleted")]
    VersionNotSoftDeleted { subject: String, version: VersionNumber },
    #[error("Subject '{subject}' does not have subject-level compatibility configured")]
    CompatibilityNotConfigured { subject: String },
    #[error("Subject '{subject}' does not have subject-level mode configured")]
    ModeNotConfigured { subject: String },
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
        incompatible_details(differences, *version, old_schema, *level)
    )]
    Incompatible {
        subject: String,
        version: VersionNumber,
        old_schema: String,
        level: Compatibility,
        differences: Vec<Incompatibility>,
    },
    #[error("Schema being registered is refused for subject \"{subject}\": {reason}")]
    Refused { subject: String, reason: String },
    #[error("Invalid schema: {reason}")]
    InvalidSchema { reason: String },
    #[error(
        "The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \
         \"latest\""
    )]
    InvalidVersion { version: String },
    #[error(
        "Invalid compatibility level `{level}`. Valid values are none, backward, forward, full, backward_transitive, \
         forward_transitive, and full_transitive"
    )]
    InvalidCompatibility { level: String },
    #[error("Invalid mode `{mode}`. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT")]
    InvalidMode { mode: String },
    #[error("{reason}")]
    NotPermitted { reason: String },
    #[error(
        "One or more references exist to the schema {{subject={subject},version={version}}}, from the ids {referrers:?}."
    )]
    ReferenceExists { subject: String, version: VersionNumber, referrers: Vec<SchemaId> },
    #[error("Schema already registered with id {found} instead of input id {given}")]
    IdDoesNotMatch { found: SchemaId, given: SchemaId },
    #[error("Overwrite new schema with id {id} is not permitted.")]
    IdTaken { id: SchemaId },
    #[error("The specified subject '{subject}' is not a valid subject. {reason}")]
    InvalidSubject { subject: String, reason: &'static str },
    #[error("{reason}")]
    TooLarge { reason: String },
    #[error("{reason}")]
    BadRequest { reason: String },
    #[error("{reason}")]
    Unprocessable { reason: String },
    #[error("HTTP 404 Not Found")]
    NoSuchPath,
    #[error("HTTP 405 Method Not Allowed")]
    MethodNotAllowed,
    #[error("HTTP 415 Unsupported Media Type; send application/vnd.schemaregistry.v1+json or application/json")]
    UnsupportedMediaType,
    #[error("the body is larger than {max} bytes")]
    BodyTooLarge { max: usize },
    #[error("{message}")]
    Unauthenticated { challenges: Vec<axum::http::HeaderValue>, message: String },
    #[error("{who} is denied {operation} of {what}")]
    Forbidden { who: String, operation: &'static str, what: String },
    #[error("refused: {reason}")]
    TooMany { reason: String },
    #[error("the registry is not ready: {reason}")]
    NotReady { reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the registry holds an entry that it cannot read: {key}: {detail}")]
    DamagedEntry { key: String, detail: String },
    #[error("the check of the schema did not finish: {detail}")]
    CheckFailed { detail: String },
}

fn incompatible_details(
    differences: &[Incompatibility],
    version: VersionNumber,
    old_schema: &str,
    level: Compatibility,
) -> String {
    crate::format::messages(differences, version, old_schema, level).join(", ")
}

impl RegistryError {
    /// HTTP status and `error_code` of the answer.
    #[must_use]
    pub fn codes(&self) -> (u16, u32) {
        match self {
            RegistryError::SubjectNotFound { .. } => (404, 40401),
            RegistryError::VersionNotFound { .. } => (404, 40402),
            RegistryError::SchemaNotFound | RegistryError::IdNotFound { .. } => (404, 40403),
            RegistryError::SubjectSoftDeleted { .. } => (404, 40404),
            RegistryError::SubjectNotSoftDeleted { .. } => (404, 40405),
            RegistryError::VersionSoftDeleted { .. } => (404, 40406),
            RegistryError::VersionNotSoftDeleted { .. } => (404, 40407),
            RegistryError::CompatibilityNotConfigured { .. } => (404, 40408),
            RegistryError::ModeNotConfigured { .. } => (404, 40409),
            RegistryError::Incompatible { .. } | RegistryError::Refused { .. } => (409, 409),
            RegistryError::InvalidSchema { .. } => (422, 42201),
            RegistryError::InvalidVersion { .. } => (422, 42202),
            RegistryError::InvalidCompatibility { .. } => (422, 42203),
            RegistryError::InvalidMode { .. } => (422, 42204),
            RegistryError::NotPermitted { .. } | RegistryError::IdTaken { .. } => (422, 42205),
            RegistryError::ReferenceExists { .. } => (422, 42206),
            RegistryError::IdDoesNotMatch { .. } => (422, 42207),
            RegistryError::InvalidSubject { .. } => (422, 42208),
            RegistryError::TooLarge { .. } => (422, 42209),
            RegistryError::BadRequest { .. } => (400, 400),
            RegistryError::Unprocessable { .. } => (422, 422),
            RegistryError::NoSuchPath => (404, 404),
            RegistryError::MethodNotAllowed => (405, 405),
            RegistryError::UnsupportedMediaType => (415, 415),
            RegistryError::BodyTooLarge { .. } => (413, 413),
            RegistryError::Unauthenticated { .. } => (401, 40101),
            RegistryError::Forbidden { .. } => (403, 40301),
            RegistryError::TooMany { .. } => (429, 42901),
            RegistryError::NotReady { .. } => (503, 50301),
            RegistryError::Store(_) | RegistryError::DamagedEntry { .. } => (500, 50001),
            RegistryError::CheckFailed { .. } => (500, 50002),
        }
    }

    /// A schema that cannot be what it claims to be.
    pub(crate) fn invalid(reason: impl Into<String>) -> RegistryError {
        RegistryError::InvalidSchema { reason: reason.into() }
    }
}
