//! What a scan would read and what it would skip, told before anything is read: footers and statistics of column files are looked
//! at, no rows.
use weir_protocol::ids::Offset;
use weir_storage::log::{Partition, ReadLimit};

use crate::error::ScanError;
use crate::plan::ScanPlan;
use crate::segments::SegmentScan;

/// What a scan from an offset to the visible end comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Columns that are decoded, and those of them that the predicate needs: these first.
    pub columns: Vec<String>,
    pub predicate_columns: Vec<String>,
    /// The predicate as it is evaluated.
    pub predicate: Option<String>,
    /// Whether statistics can rule out row groups for it.
    pub can_prune: bool,
    /// Column segments, and those of which no row group is read.
    pub segments: u64,
    pub segments_skipped: u64,
    /// Row groups of column segments, and those that statistics rule out.
    pub row_groups: u64,
    pub row_groups_skipped: u64,
    /// Stored bytes of column segments.
    pub column_bytes: u64,
    /// Of these: in row groups that are ruled out; of columns that are not needed; of the predicate's columns; of the others, which are
    /// read only where rows match.
    pub bytes_of_skipped_groups: u64,
    pub bytes_of_other_columns: u64,
    pub bytes_of_predicate: u64,
    pub bytes_for_matches: u64,
    /// Parts of the log that are stored as rows (or as columns that are read as rows): their bytes are read whole.
    pub row_parts: u64,
    pub row_bytes: u64,
}

/// Looks at what is stored from `from` on. Blocking IO.
pub fn explain(
    plan: &ScanPlan,
    partition: &Partition,
    from: Offset,
    limit: ReadLimit,
) -> Result<Explanation, ScanError> {
    if plan.is_restricted() {
        return Ok(Explanation::of_restricted(plan));
    }
    let schema = plan.input();
    let name = |at: usize| schema.field(at).name().clone();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let filtered: Vec<usize> = match plan.predicate() {
        None => Vec::new(),
        Some(predicate) => {
            predicate.columns().fields().iter().filter_map(|field| schema.index_of(field.name()).ok()).collect()
        }
    };
    let mut out = Explanation {
        columns: all.iter().copied().map(name).collect(),
        predicate_columns: filtered.iter().copied().map(name).collect(),
        predicate: plan.predicate().map(weir_predicate::Predicate::explain),
        can_prune: plan.predicate().is_some_and(weir_predicate::Predicate::can_prune),
        ..Explanation::default()
    };
    let end = partition.view(from, Offset(i64::MAX), limit)?.end;
    for (base, next, bytes) in partition.stored_parts(from) {
        if base >= end {
            break;
        }
        let at = base.max(from);
        let segment = match partition.column_part(at)? {
            Some(part) => SegmentScan::open(&part, plan, partition.key().partition.0, None)?,
            None => None,
        };
        match segment {
            Some(segment) => out.add(&segment, plan, (at, next.min(end)), &all, &filtered)?,
            None => {
                out.row_parts += 1;
                out.row_bytes += bytes;
            }
        }
    }
    Ok(out)
}

impl Explanation {
    /// For a reader that may not see everything: what it asked for. Files would tell of what is hidden in them.
    fn of_restricted(plan: &ScanPlan) -> Explanation {
        let names = |schema: &arrow_schema::SchemaRef| -> Vec<String> {
            schema.fields().iter().map(|field| field.name().clone()).collect()
        };
        let predicate_columns = plan.predicate().map(|predicate| names(predicate.columns())).unwrap_or_default();
        // Rows may be made of more than what is returned of them.
        let returned = if plan.records().is_none() { names(plan.output()) } else { Vec::new() };
        let more = predicate_columns.iter().filter(|name| !returned.contains(name)).cloned().collect::<Vec<_>>();
        Explanation {
            columns: returned.into_iter().chain(more).collect(),
            predicate_columns,
            predicate: plan.predicate().map(weir_predicate::Predicate::explain),
            ..Explanation::default()
        }
    }

    fn add(
        &mut self,
        segment: &SegmentScan,
        plan: &ScanPlan,
        (from, end): (Offset, Offset),
        all: &[usize],
        filtered: &[usize],
    ) -> Result<(), ScanError> {
        let mut read = 0;
        for index in segment.groups_between(from, end) {
            let total = segment.group_bytes(index)?;
            self.row_groups += 1;
            self.column_bytes += total;
            if !segment.keeps(index) {
                self.row_groups_skipped += 1;
                self.bytes_of_skipped_groups += total;
                continue;
            }
            read += 1;
            let needed = segment.bytes_of(plan, index, all)?;
            let first = segment.bytes_of(plan, index, filtered)?;
            self.bytes_of_predicate += first;
            self.bytes_for_matches += needed.saturating_sub(first);
            self.bytes_of_other_columns += total.saturating_sub(needed);
        }
        self.segments += 1;
        self.segments_skipped += u64::from(read == 0);
        Ok(())
    }
}
