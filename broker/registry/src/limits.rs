//! Bounds of what a schema and a request may ask for. Each is far above what people write and far below what hurts.

/// Text of one schema.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// Body of a request: a schema with its JSON escapes, references and metadata.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Text of a schema with everything it refers to.
pub const RESOLVED_BYTES_MAX: usize = 8 << 20;
/// Schemas that one refers to, also through others.
pub const REFERENCES_MAX: usize = 256;
/// Nesting of a schema's text.
pub const DEPTH_MAX: usize = 96;
/// Values, types, fields and the like in one schema.
pub const NODES_MAX: usize = 100_000;
/// Pairs of types that a compatibility check looks at before it gives up.
pub const COMPARISONS_MAX: usize = 200_000;
/// How deep a compatibility check follows types that refer to others.
pub const COMPARISON_DEPTH_MAX: usize = 256;
/// Length of a subject's name.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// Versions of all subjects, deleted ones included.
pub const VERSIONS_TOTAL_MAX: usize = 200_000;
/// Text of all schemas, which the broker keeps in memory.
pub const SCHEMAS_TOTAL_BYTES_MAX: usize = 256 << 20;
/// Subjects with a compatibility level or mode of their own.
pub const SETTINGS_TOTAL_MAX: usize = 200_000;
/// Differences named in one answer.
pub const DIFFERENCES_MAX: usize = 100;
