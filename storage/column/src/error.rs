//! Why a segment or stream cannot be written or read.

/// Errors of this crate. Reading never panics: what is wrong in a file or a stream is one of these.
#[derive(Debug, thiserror::Error)]
pub enum ColumnError {
    /// A type that column segments do not store.
    #[error("column {column}: type {data_type} cannot be stored; TYPES lists what can")]
    Type { column: String, data_type: String },
    /// A batch that is not of the writer's schema.
    #[error("column {column}: the batch has {found}, the segment {expected}")]
    Mismatch { column: String, found: String, expected: String },
    /// A bound was passed.
    #[error("{what} is {value}, more than the {max} allowed")]
    Limit { what: String, value: u64, max: u64 },
    /// Offsets do not fit the rows.
    #[error("offsets of a batch: {reason}")]
    Offsets { reason: String },
    /// A projection names a column that is not there, or one that has no such part.
    #[error("no column {path} in this segment")]
    NoColumn { path: String },
    /// A row group that is not there.
    #[error("no row group {index}, the segment has {groups}")]
    NoGroup { index: usize, groups: usize },
    /// Not a column segment.
    #[error("not a column segment: {reason}")]
    NotSegment { reason: &'static str },
    /// Written by a newer version.
    #[error("column segment of format version {found}, this version reads up to {known}: upgrade before reading it")]
    Newer { found: u16, known: u16 },
    /// Bytes that make no sense.
    #[error("corrupt column data: {what}")]
    Corrupt { what: String },
    /// Bytes that changed.
    #[error("checksum of {what} at byte {offset}: stored {stored:08x}, read {read:08x}")]
    Checksum { what: String, offset: u64, stored: u32, read: u32 },
    /// A compressor or decompressor failed.
    #[error("{codec}: {reason}")]
    Codec { codec: &'static str, reason: String },
    /// The source could not be read.
    #[error("reading {length} bytes at {offset}: {source}")]
    Read { offset: u64, length: u64, source: std::io::Error },
    /// Arrow refuses the arrays.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
}

impl ColumnError {
    pub(crate) fn corrupt(what: impl Into<String>) -> ColumnError {
        ColumnError::Corrupt { what: what.into() }
    }
}

pub(crate) type Result<T> = std::result::Result<T, ColumnError>;
