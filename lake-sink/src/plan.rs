//! What one round reads: which partitions, from where, how much. Pure: no clock, no IO.
//!
//! Partitions take turns, so a round that ends early has still served every one that lags, and the next round begins
//! where this one stopped.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::source::Bounds;

/// Offsets of one partition: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// Offsets that the log lost before they were tiered: `start..end` of a partition.
pub type Gap = Range;

/// How much one round takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundLimits {
    /// Rows in memory, of all scans together, from which on a round ends.
    pub round_bytes: usize,
    /// Rows in memory of one scan.
    pub scan_bytes: usize,
}

impl Default for RoundLimits {
    fn default() -> Self {
        RoundLimits { round_bytes: 64 << 20, scan_bytes: 4 << 20 }
    }
}

/// The log and the lake do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    #[error(
        "the lake has partition {partition} up to offset {committed}, but the log ends at {end}: the log lost records that \
         are in the lake, and their offsets will be given out again; move the table away to tier from the start"
    )]
    AheadOfLog { partition: i32, committed: i64, end: i64 },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read partition from there, and nothing from `until` on. Tell what was found with [`RoundPlan::scanned`].
    Scan { partition: i32, from: i64, until: i64, max_bytes: usize },
    /// Commit [`RoundPlan::ranges`]; there is more to read afterwards if `more`.
    Commit { more: bool },
    /// There is nothing new.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    start: i64,
    next: i64,
    until: i64,
}

/// One round in progress.
#[derive(Debug, Clone)]
pub struct RoundPlan {
    limits: RoundLimits,
    cursors: BTreeMap<i32, Cursor>,
    /// Where partitions that are not in the commit yet begin, in `start..start`, and those that did not move.
    begun: BTreeMap<i32, i64>,
    gaps: Vec<Gap>,
    turn: i32,
    bytes: usize,
}

impl RoundPlan {
    /// A round over what is visible and not in `committed` (next offsets by partition). Partitions from `turn` on go first.
    ///
    /// # Errors
    /// [`PlanError`], if the lake has more than the log ever had.
    pub fn new(
        committed: &BTreeMap<i32, i64>,
        bounds: &BTreeMap<i32, Bounds>,
        turn: i32,
        limits: RoundLimits,
    ) -> Result<RoundPlan, PlanError> {
        let (mut cursors, mut begun, mut gaps) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (&partition, bounds) in bounds {
            let start = match committed.get(&partition) {
                // What was deleted before anybody wanted it in the lake is not missed there.
                None => {
                    begun.insert(partition, bounds.start);
                    bounds.start
                }
                Some(&committed) if committed > bounds.end.max(bounds.start) => {
                    return Err(PlanError::AheadOfLog { partition, committed, end: bounds.end });
                }
                Some(&committed) => {
                    if committed < bounds.start {
                        gaps.push(Gap { partition, start: committed, end: bounds.start });
                    }
                    committed.max(bounds.start)
                }
            };
            if start < bounds.end {
                cursors.insert(partition, Cursor { start, next: start, until: bounds.end });
            }
        }
        Ok(RoundPlan { limits, cursors, begun, gaps, turn, bytes: 0 })
    }

    /// A round over exactly these ranges, whatever they cost.
    #[must_use]
    pub fn again(ranges: &[Range], limits: RoundLimits) -> RoundPlan {
        let cursor = |r: &Range| (r.partition, Cursor { start: r.start, next: r.start, until: r.end });
        let limits = RoundLimits { round_bytes: usize::MAX, ..limits };
        let cursors = ranges.iter().map(cursor).collect();
        RoundPlan { limits, cursors, begun: BTreeMap::new(), gaps: Vec::new(), turn: 0, bytes: 0 }
    }

    /// What to do next.
    #[must_use]
    pub fn step(&self) -> Step {
        let lagging = |(_, c): &(&i32, &Cursor)| c.next < c.until;
        let next = self.cursors.range(self.turn..).find(lagging).or_else(|| self.cursors.iter().find(lagging));
        let moved = self.cursors.values().any(|c| c.next > c.start);
        match next {
            Some((&partition, cursor)) if self.bytes < self.limits.round_bytes => {
                let left = self.limits.round_bytes - self.bytes;
                let max_bytes = self.limits.scan_bytes.min(left).max(1);
                Step::Scan { partition, from: cursor.next, until: cursor.until, max_bytes }
            }
            Some(_) => Step::Commit { more: true },
            // Where a partition begins is committed too: what the log loses from then on is missed.
            None if moved || !self.gaps.is_empty() || !self.begun.is_empty() => Step::Commit { more: false },
            None => Step::Nothing,
        }
    }

    /// A scan got to `next`, with rows of so many bytes.
    pub fn scanned(&mut self, partition: i32, next: i64, bytes: usize) {
        if let Some(cursor) = self.cursors.get_mut(&partition) {
            match next > cursor.next {
                true => cursor.next = next.min(cursor.until),
                // No progress: left to the next round, so that this one ends.
                false => cursor.until = cursor.next,
            }
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.turn = partition.saturating_add(1);
    }

    /// A scan began behind `from`, because the log lost what was between.
    pub fn lost(&mut self, partition: i32, log_start: i64) {
        if let Some(cursor) = self.cursors.get_mut(&partition) {
            let from = cursor.next;
            cursor.next = log_start.clamp(from, cursor.until);
            if cursor.next > from {
                self.gaps.push(Gap { partition, start: from, end: cursor.next });
            }
        }
    }

    /// What was read.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        let moved = self.cursors.iter().filter(|(_, c)| c.next > c.start);
        moved.map(|(&partition, c)| Range { partition, start: c.start, end: c.next }).collect()
    }

    /// What the log had lost before it was tiered.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Next offsets by partition, as they are once the round is committed.
    #[must_use]
    pub fn offsets(&self, committed: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
        let mut offsets = committed.clone();
        offsets.extend(self.begun.iter().map(|(partition, start)| (*partition, *start)));
        for gap in &self.gaps {
            let next = offsets.entry(gap.partition).or_insert(gap.end);
            *next = (*next).max(gap.end);
        }
        offsets.extend(self.ranges().iter().map(|range| (range.partition, range.end)));
        offsets
    }

    /// The partition whose turn it is.
    #[must_use]
    pub fn turn(&self) -> i32 {
        self.turn
    }
}

#[cfg(test)]
mod tests;
