//! Column files: row groups that statistics rule out are not read, and of the others only the columns that are needed,
//! those of the predicate first.
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, UInt64Array};
use weir_column::{ColumnSegmentReader, GroupInfo, OriginalBatch, Projection as Stored};
use weir_layout::ColumnSegment;
use weir_predicate::{ContainerStatistics, Predicate};
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::Attributes;
use weir_storage::log::{AbortedTransaction, ColumnPart};
use weir_table::schema::ReadMapping;

use crate::columns::Columns;
use crate::error::ScanError;
use crate::plan::{ScanPlan, batch_of};
use crate::rows::Rows;
use crate::system::{HEADERS, KEY, OFFSET, PARTITION, TIMESTAMP, VALUE};

/// A column file as one plan reads it.
pub struct SegmentScan {
    segment: Arc<ColumnSegment>,
    /// `None`: the plan reads no user column.
    mapping: Option<ReadMapping>,
    /// By row group: false where no row can match.
    keep: Vec<bool>,
    base: Offset,
    next: Offset,
    partition: i32,
}

/// What a row group gave.
pub enum Group {
    Rows(Rows),
    /// Nothing to see up to here.
    Passed {
        end: Offset,
        pruned: bool,
    },
}

fn unreadable(error: impl std::fmt::Display) -> ScanError {
    ScanError::failed(format!("a column file: {error}"))
}

impl SegmentScan {
    /// `None`: the file does not have what the plan reads as columns; its records are read as rows.
    pub fn open(part: &ColumnPart, plan: &ScanPlan, partition: i32) -> Result<Option<SegmentScan>, ScanError> {
        let Ok(segment) = part.file.clone().as_any().downcast::<ColumnSegment>() else { return Ok(None) };
        let columns = plan.columns();
        let mapping = match (columns.user_count() > 0, segment.table()) {
            (false, _) => None,
            // Written before the topic had a table.
            (true, None) => return Ok(None),
            // Related by no rule: each row is read anew.
            (true, Some(table)) => match columns.mapping(&table.schema) {
                Ok(mapping) => mapping,
                Err(_) => return Ok(None),
            },
        };
        let keep = match plan.predicate().filter(|predicate| predicate.can_prune()) {
            Some(predicate) => keep(predicate, &segment, columns, mapping.as_ref()),
            None => vec![true; segment.reader().group_count()],
        };
        Ok(Some(SegmentScan { segment, mapping, keep, base: part.base, next: part.next, partition }))
    }

    /// Whether the record at this offset would be in the file.
    pub fn covers(&self, offset: Offset) -> bool {
        self.base <= offset && offset < self.next
    }

    /// Where it ends.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The row group at `from`, its rows from there on and below `end`.
    pub fn group(
        &self,
        plan: &ScanPlan,
        from: Offset,
        end: Offset,
        aborted: &[AbortedTransaction],
    ) -> Result<Group, ScanError> {
        let reader = self.segment.reader();
        let end = end.min(self.next);
        let infos: Vec<&GroupInfo> = reader.groups().collect();
        let index = infos.partition_point(|info| info.last_offset < from.0);
        let Some(info) = infos.get(index).filter(|info| info.first_offset < end.0) else {
            return Ok(Group::Passed { end, pruned: false });
        };
        let behind = Offset(info.last_offset + 1).min(end);
        if !self.keep[index] {
            return Ok(Group::Passed { end: behind, pruned: true });
        }
        let mut rows = self.rows(plan, index, from)?;
        rows.end = behind;
        let to = rows.offsets.partition_point(|offset| *offset < end.0);
        if to < rows.offsets.len() {
            rows.offsets.truncate(to);
            rows.batch = rows.batch.slice(0, to);
        }
        if !aborted.is_empty() {
            hide(&mut rows, reader.original_batches(), aborted)?;
        }
        Ok(Group::Rows(rows))
    }

    fn rows(&self, plan: &ScanPlan, index: usize, from: Offset) -> Result<Rows, ScanError> {
        let columns = plan.columns();
        let reader = self.segment.reader();
        let user = columns.user_count();
        let names = columns.schema().fields().iter().skip(user).map(|field| field.name().as_str());
        let offsets = reader.offsets(index).map_err(unreadable)?;
        // What of the file is needed.
        let mut wanted: Vec<usize> = Vec::new();
        let mut place = |at: usize| {
            wanted.iter().position(|known| *known == at).unwrap_or_else(|| {
                wanted.push(at);
                wanted.len() - 1
            })
        };
        let sources: Vec<Option<usize>> = match &self.mapping {
            None => Vec::new(),
            Some(mapping) => (0..user).map(|to| mapping.source(to).map(&mut place)).collect(),
        };
        let stored = |name: &str| reader.schema().fields().iter().rposition(|field| field.name() == name);
        let mut system: Vec<(String, Option<usize>)> = Vec::new();
        for name in names {
            let at = match name {
                TIMESTAMP | KEY | HEADERS => Some(place(stored(name).ok_or_else(|| unreadable(name))?)),
                _ => None,
            };
            system.push((name.to_owned(), at));
        }
        let projection = Stored::columns(&wanted);
        let stored_bytes = reader.stored_bytes(index, &projection).map_err(unreadable)?;
        let read = reader.read(index, &projection).map_err(unreadable)?;
        let rows = offsets.len();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(user + system.len());
        if let Some(mapping) = &self.mapping {
            for (to, source) in sources.iter().enumerate() {
                let array = source.map(|at| read.column(at));
                arrays.push(mapping.column(to, array, rows).map_err(unreadable)?);
            }
        }
        for (name, at) in &system {
            arrays.push(match (at, name.as_str()) {
                (Some(at), _) => read.column(*at).clone(),
                (None, OFFSET) => Arc::new(Int64Array::from(offsets.clone())),
                (None, PARTITION) => Arc::new(Int32Array::from(vec![self.partition; rows])),
                (None, VALUE) => Arc::new(self.segment.values(index).map_err(unreadable)?),
                (None, other) => return Err(unreadable(format!("there is no system column {other}"))),
            });
        }
        let batch: RecordBatch = batch_of(columns.schema(), arrays, rows)?;
        Ok(Rows { batch, offsets, errored: 0, stored_bytes, start: from, end: from })
    }
}

/// Takes out the rows of aborted transactions.
fn hide(rows: &mut Rows, batches: &[OriginalBatch], aborted: &[AbortedTransaction]) -> Result<(), ScanError> {
    let hidden = |batch: &OriginalBatch| {
        let transactional = Attributes::from_bits(batch.attributes).is_ok_and(Attributes::is_transactional);
        transactional && {
            let first = aborted
                .iter()
                .filter(|a| a.producer_id.0 == batch.producer_id && a.first_offset.0 <= batch.base_offset);
            first.map(|a| a.first_offset.0).max().is_some_and(|first| {
                // The transaction ends at its producer's next marker.
                let ends = |b: &&OriginalBatch| {
                    b.producer_id == batch.producer_id && b.marker.is_some() && b.base_offset >= first
                };
                batches.iter().find(ends).is_none_or(|end| batch.base_offset < end.base_offset)
            })
        }
    };
    let (first, last) = (rows.start.0, rows.end.0);
    let ranges: Vec<(i64, i64)> = batches
        .iter()
        .filter(|batch| batch.base_offset < last && batch.base_offset + i64::from(batch.last_offset_delta) >= first)
        .filter(|batch| hidden(batch))
        .map(|batch| (batch.base_offset, batch.base_offset + i64::from(batch.last_offset_delta)))
        .collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let seen = |offset: &i64| {
        let at = ranges.partition_point(|(_, last)| last < offset);
        ranges.get(at).is_none_or(|(first, _)| offset < first)
    };
    let mask: arrow_array::BooleanArray = rows.offsets.iter().map(|offset| Some(seen(offset))).collect();
    rows.batch = arrow_select::filter::filter_record_batch(&rows.batch, &mask)?;
    rows.offsets.retain(seen);
    Ok(())
}

/// Which row groups may have a row that matches.
fn keep(predicate: &Predicate, segment: &ColumnSegment, columns: &Columns, mapping: Option<&ReadMapping>) -> Vec<bool> {
    let reader = segment.reader();
    predicate.prune(&Statistics { reader, columns, mapping })
}

/// Statistics of a file's row groups, under the names of the plan. A column that is stored in another type says nothing.
struct Statistics<'a> {
    reader: &'a ColumnSegmentReader,
    columns: &'a Columns,
    mapping: Option<&'a ReadMapping>,
}

impl Statistics<'_> {
    /// The stored name of a column that is stored as it is read.
    fn stored(&self, column: &str) -> Option<&str> {
        let at = self.columns.schema().index_of(column).ok()?;
        let stored = if at < self.columns.user_count() {
            self.reader.schema().fields().get(self.mapping?.source(at)?)?
        } else {
            self.reader.schema().fields().iter().rfind(|field| field.name() == column)?
        };
        let wanted = self.columns.schema().field(at);
        // A path is told by dots.
        let plain = !stored.name().contains('.');
        (plain && stored.data_type() == wanted.data_type()).then_some(stored.name())
    }
}

impl ContainerStatistics for Statistics<'_> {
    fn containers(&self) -> usize {
        self.reader.group_count()
    }

    fn min(&self, column: &str) -> Option<ArrayRef> {
        self.reader.min_values(self.stored(column)?).ok()?
    }

    fn max(&self, column: &str) -> Option<ArrayRef> {
        self.reader.max_values(self.stored(column)?).ok()?
    }

    fn null_counts(&self, column: &str) -> Option<ArrayRef> {
        let counts: UInt64Array = self.reader.null_counts(self.stored(column)?)?;
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.reader.row_counts()))
    }

    fn may_hold(&self, column: &str, values: &ArrayRef) -> Option<Vec<bool>> {
        let stored = self.stored(column)?;
        self.reader.may_hold(stored, values).ok()?
    }
}
