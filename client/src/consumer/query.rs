//! What is asked of a topic's rows beside their offsets: which columns, and which rows.

use weir_protocol::columnar::{AcceptedCodecs, ScanOrder};

/// Columns and rows to ask a broker for. Brokers without the feature answer with whole rows all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnQuery {
    /// Column paths; none is every user column, empty is no column at all.
    pub(crate) columns: Option<Vec<String>>,
    /// SQL text of the predicate.
    pub(crate) predicate: Option<String>,
    /// Compressed bodies that this side can read.
    pub(crate) codecs: AcceptedCodecs,
    /// Bytes of input after which the broker answers with what it has; none leaves it to the broker.
    pub(crate) max_scan_bytes: Option<u64>,
    /// How rows of clustered topics follow each other.
    pub(crate) order: ScanOrder,
}
