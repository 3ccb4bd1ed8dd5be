//! Windows: which row groups hold rows that lie among each other.

use std::ops::Range;

use crate::WINDOW_ROWS_MAX;
use crate::block::GroupAt;
use crate::error::{ColumnError, Result};

/// Row groups of a window at most, however uneven its rows are; a writer makes far fewer.
const GROUPS_MAX: usize = 1024;

/// Neighbouring row groups. The offsets of all rows of a window are below those of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// By number.
    pub groups: Range<usize>,
    /// The lowest of its rows.
    pub first_offset: i64,
    /// The highest of its rows.
    pub last_offset: i64,
    /// Uncompressed bytes of all its columns.
    pub bytes: u64,
}

impl Window {
    /// It is one row group: its rows are in offset order as they are stored.
    pub fn is_single(&self) -> bool {
        self.groups.len() == 1
    }
}

/// The windows of a file: the finest that there are, so most files have one for each row group.
pub(super) fn windows(groups: &[GroupAt]) -> Result<Vec<Window>> {
    let mut lowest_behind = vec![i64::MAX; groups.len() + 1];
    for (at, group) in groups.iter().enumerate().rev() {
        lowest_behind[at] = group.info.first_offset.min(lowest_behind[at + 1]);
    }
    let mut windows = Vec::new();
    let (mut from, mut highest, mut rows, mut bytes) = (0, i64::MIN, 0, 0);
    for (at, group) in groups.iter().enumerate() {
        highest = highest.max(group.info.last_offset);
        rows += group.info.rows as usize;
        bytes += group.buffers.iter().map(|buffer| u64::from(buffer.raw)).sum::<u64>();
        let count = at + 1 - from;
        if count > 1 && (rows > WINDOW_ROWS_MAX || count > GROUPS_MAX) {
            let what = format!("{count} row groups with {rows} rows that overlap");
            return Err(ColumnError::corrupt(what));
        }
        if at + 1 == groups.len() || highest < lowest_behind[at + 1] {
            // What comes behind the window is higher.
            let first_offset = lowest_behind[from];
            windows.push(Window { groups: from..at + 1, first_offset, last_offset: highest, bytes });
            (from, highest, rows, bytes) = (at + 1, i64::MIN, 0, 0);
        }
    }
    Ok(windows)
}
