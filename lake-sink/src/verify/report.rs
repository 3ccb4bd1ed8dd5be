//! What a verification found. Pure.
use std::collections::BTreeSet;

use arrow_schema::Schema;
use serde::Serialize;

use super::sums::{Sum, Sums, Windows};

/// Differences of a partition that are listed; their number is complete all the same.
const LISTED_MAX: usize = 100;

/// Whether log and lake have the same rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    pub topic: String,
    /// Where the table is.
    pub address: String,
    /// Number of the commit that was compared.
    pub epoch: u64,
    /// No difference, and every file could be read.
    pub equal: bool,
    /// Columns whose values were compared.
    pub columns: Vec<String>,
    pub partitions: Vec<PartitionReport>,
    /// Rows that all commits counted, also those that the log does not have any more.
    pub rows_committed: u64,
    /// Rows in all data files. Fewer in a plain directory are a difference: nobody but us may say what is in it. Other formats
    /// have commits in which other engines may delete rows.
    pub rows_found: u64,
    /// Data files that were read.
    pub files: usize,
    /// Those that could not be.
    pub damaged: Vec<DamagedFile>,
    /// Columns that older files do not have and that the log has values for (a default, say): not compared there.
    pub older: Vec<String>,
    /// It has a primary key: rows are the last ones of their keys, and `rows_committed` counts changes.
    pub keyed: bool,
    /// Of a table with a primary key: rows in it whose key the log changed or deleted since.
    pub stale: u64,
}

/// The offsets that both have of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    pub partition: i32,
    /// Compared: `start..end`.
    pub start: i64,
    pub end: i64,
    pub log_rows: u64,
    pub lake_rows: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    pub differences_total: usize,
}

/// Offsets `start..end` with other rows in the lake than in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub start: i64,
    pub end: i64,
    pub log_rows: u64,
    pub lake_rows: u64,
    /// Whose values differ, if the numbers of rows do not.
    pub columns: Vec<String>,
}

/// A file that cannot be compared, whose rows count as missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedFile {
    pub file: String,
    pub reason: String,
}

/// Compares both sides; returns the partitions and the columns that older files lack.
pub fn compare(windows: &Windows, schema: &Schema, log: &Sums, lake: &Sums) -> (Vec<PartitionReport>, Vec<String>) {
    let (mut partitions, mut older) = (Vec::new(), BTreeSet::new());
    for (&partition, &(start, end)) in &windows.ranges {
        let of = |sums: &Sums| -> u64 {
            sums.windows.range((partition, i64::MIN)..=(partition, i64::MAX)).map(|(_, sum)| sum.rows).sum()
        };
        let mut report = PartitionReport {
            partition,
            start,
            end,
            log_rows: of(log),
            lake_rows: of(lake),
            differences: Vec::new(),
            differences_total: 0,
        };
        let both = [log, lake].map(|sums| sums.windows.range((partition, i64::MIN)..=(partition, i64::MAX)));
        let keys: BTreeSet<(i32, i64)> = both.into_iter().flatten().map(|(window, _)| *window).collect();
        for window in keys {
            let none = Sum::default();
            let (ours, theirs) = (log.windows.get(&window), lake.windows.get(&window));
            let (ours, theirs) = (ours.unwrap_or(&none), theirs.unwrap_or(&none));
            let columns = differing(ours, theirs);
            let name = |at: usize| schema.fields().get(at).map(|field| field.name().clone()).unwrap_or_default();
            let (lacking, real): (Vec<usize>, Vec<usize>) =
                columns.into_iter().partition(|column| theirs.lacking.contains(column));
            if ours.rows == theirs.rows {
                older.extend(lacking.into_iter().map(name));
            }
            if ours.rows != theirs.rows || !real.is_empty() {
                let (start, end) = windows.offsets(window);
                let columns = if ours.rows == theirs.rows { real.into_iter().map(name).collect() } else { Vec::new() };
                report.note(Difference { start, end, log_rows: ours.rows, lake_rows: theirs.rows, columns });
            }
        }
        partitions.push(report);
    }
    (partitions, older.into_iter().collect())
}

fn differing(ours: &Sum, theirs: &Sum) -> Vec<usize> {
    let of = |sum: &Sum, at: usize| sum.columns.get(at).copied().unwrap_or(0);
    let columns = ours.columns.len().max(theirs.columns.len());
    (0..columns).filter(|at| of(ours, *at) != of(theirs, *at)).collect()
}

impl PartitionReport {
    /// One more difference; it continues the one before if that is of the same kind.
    fn note(&mut self, new: Difference) {
        if let Some(last) = self.differences.last_mut()
            && last.end == new.start
            && last.columns == new.columns
            && (last.log_rows == last.lake_rows) == (new.log_rows == new.lake_rows)
        {
            last.end = new.end;
            last.log_rows += new.log_rows;
            last.lake_rows += new.lake_rows;
            return;
        }
        self.differences_total += 1;
        if self.differences.len() < LISTED_MAX {
            self.differences.push(new);
        }
    }
}
