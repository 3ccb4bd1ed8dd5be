//! Rows with the offsets they have in their partition.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};

/// The offsets of the rows of a batch, ascending.
#[derive(Debug, Clone, PartialEq)]
pub enum RowOffsets {
    /// Row `i` has offset `first + i`.
    Dense {
        /// Offset of the first row.
        first: i64,
        /// Number of rows.
        rows: usize,
    },
    /// One by one: rows between were filtered out, compacted away or belong to aborted transactions.
    Sparse(Int64Array),
}

impl RowOffsets {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense { rows, .. } => *rows,
            Self::Sparse(offsets) => offsets.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset of a row.
    pub fn get(&self, row: usize) -> Option<i64> {
        match self {
            Self::Dense { first, rows } => (row < *rows).then(|| first + row as i64),
            Self::Sparse(offsets) => offsets.values().get(row).copied(),
        }
    }

    /// The offset of the last row.
    pub fn last(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// How many rows lie before this offset.
    pub(crate) fn rows_before(&self, end: i64) -> usize {
        match self {
            Self::Dense { first, rows } => usize::try_from(end.saturating_sub(*first)).unwrap_or(0).min(*rows),
            Self::Sparse(offsets) => offsets.values().partition_point(|offset| *offset < end),
        }
    }

    fn slice(&self, from: usize, rows: usize) -> Self {
        match self {
            Self::Dense { first, .. } => Self::Dense { first: first + from as i64, rows },
            Self::Sparse(offsets) => Self::Sparse(offsets.slice(from, rows)),
        }
    }
}

/// Rows of one partition: the wanted columns of rows that match, in offset order. So are batches behind each other, unless
/// they were asked for [in windows](super::TopicQuery::in_windows).
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnBatch {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Schema version of the columns; none where rows were decoded on this side, 0 for an untyped topic.
    pub schema_id: Option<i32>,
    /// The wanted columns and no others.
    pub rows: RecordBatch,
    /// The offsets of the rows.
    pub offsets: RowOffsets,
}

impl ColumnBatch {
    /// Some of the rows, without copying them. Both numbers are cut to what there is.
    #[must_use]
    pub fn slice(&self, from: usize, rows: usize) -> Self {
        let from = from.min(self.rows.num_rows());
        let rows = rows.min(self.rows.num_rows() - from);
        Self {
            topic: self.topic.clone(),
            partition: self.partition,
            schema_id: self.schema_id,
            rows: self.rows.slice(from, rows),
            offsets: self.offsets.slice(from, rows),
        }
    }

    /// The rows before this offset.
    pub(crate) fn until(self, end: i64) -> Self {
        let rows = self.offsets.rows_before(end);
        if rows == self.rows.num_rows() { self } else { self.slice(0, rows) }
    }
}
