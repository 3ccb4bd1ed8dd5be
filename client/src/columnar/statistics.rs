//! What reading columns cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums since the reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadStatistics {
    /// Rows the predicate was applied to, wherever that happened.
    pub rows_scanned: u64,
    /// Rows that matched.
    pub rows_returned: u64,
    /// Rows whose predicate raised an error (overflow, division by zero, ...): they count as not matching.
    pub rows_errored: u64,
    /// Bytes of input that were looked at.
    pub bytes_scanned: u64,
    /// Bytes of columns or records that came over the network, as they came.
    pub bytes_received: u64,
    /// Answers that were columns.
    pub columnar_answers: u64,
    /// Answers that were records, decoded on this side.
    pub record_answers: u64,
}

/// The same, shared between the reader and whoever watches it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    rows_scanned: AtomicU64,
    rows_returned: AtomicU64,
    rows_errored: AtomicU64,
    bytes_scanned: AtomicU64,
    bytes_received: AtomicU64,
    columnar_answers: AtomicU64,
    record_answers: AtomicU64,
}

impl Counters {
    pub(crate) fn add(&self, more: &ReadStatistics) {
        let add = |counter: &AtomicU64, value| counter.fetch_add(value, Ordering::Relaxed);
        add(&self.rows_scanned, more.rows_scanned);
        add(&self.rows_returned, more.rows_returned);
        add(&self.rows_errored, more.rows_errored);
        add(&self.bytes_scanned, more.bytes_scanned);
        add(&self.bytes_received, more.bytes_received);
        add(&self.columnar_answers, more.columnar_answers);
        add(&self.record_answers, more.record_answers);
    }

    pub(crate) fn sums(&self) -> ReadStatistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReadStatistics {
            rows_scanned: get(&self.rows_scanned),
            rows_returned: get(&self.rows_returned),
            rows_errored: get(&self.rows_errored),
            bytes_scanned: get(&self.bytes_scanned),
            bytes_received: get(&self.bytes_received),
            columnar_answers: get(&self.columnar_answers),
            record_answers: get(&self.record_answers),
        }
    }
}
