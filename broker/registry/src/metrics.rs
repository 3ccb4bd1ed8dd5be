//! Names of the metrics that this crate records; the broker declares and describes them.

/// Requests answered, by `endpoint` and `status`.
pub const REQUESTS: &str = "weir_registry_requests_total";
/// Time from a request's headers to its answer, by `endpoint`.
pub const REQUEST_SECONDS: &str = "weir_registry_request_seconds";
/// Ids in use.
pub const SCHEMAS: &str = "weir_registry_schemas";
/// Subjects with a version that is not deleted.
pub const SUBJECTS: &str = "weir_registry_subjects";
/// Registrations refused because a schema is not compatible.
pub const INCOMPATIBLE: &str = "weir_registry_incompatible_total";
