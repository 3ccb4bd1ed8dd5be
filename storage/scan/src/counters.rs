//! What scans count.

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanCounters {
    pub rows_scanned: u64,
    pub rows_returned: u64,
    pub rows_errored: u64,
    pub bytes_scanned: u64,
    /// Rows that another scan had decoded.
    pub rows_cached: u64,
    /// Row groups that were read, and those that statistics ruled out.
    pub groups_read: u64,
    pub groups_pruned: u64,
    /// Row groups that were returned unopened.
    pub groups_sliced: u64,
    /// Time spent on predicates, in microseconds.
    pub predicate_us: u64,
}
