//! What scans count.

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanCounters {
    pub rows_scanned: u64,
    pub rows_returned: u64,
    pub rows_errored: u64,
    pub bytes_scanned: u64,
}
