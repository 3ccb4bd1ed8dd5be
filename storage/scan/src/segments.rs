//! Column files: row groups that statistics rule out are not read, and of the others only the columns that are needed: those
//! of the predicate first, the others for rows that match. Without a predicate a group may not have to be opened at all.
//! Where rows are clustered the groups of a window are looked at together, since their rows lie among each other.
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow_select::concat::concat;
use arrow_select::filter::filter;
use arrow_select::take::take;
use weir_column::{ColumnSegmentReader, OriginalBatch, Projection as Stored, Window};
use weir_layout::ColumnSegment;
use weir_predicate::ContainerStatistics;
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::Attributes;
use weir_storage::log::{AbortedTransaction, ColumnPart};
use weir_table::schema::ReadMapping;

use crate::columns::Columns;
use crate::error::ScanError;
use crate::plan::{ScanPlan, batch_of};
use crate::restriction::Judged;
use crate::slices::{SliceCodecs, SlicedGroup, StoredRows};
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
    /// What of the file is returned unopened, where that is legal.
    sliced: Option<Stored>,
}

/// What a window of row groups gave; most windows are one row group.
pub enum Looked {
    /// Rows in offset order; in several parts, each in offset order, if that was asked for.
    Rows { parts: Vec<Found>, read: u64, pruned: u64 },
    /// Nothing to see up to here.
    Passed { end: Offset, pruned: u64 },
}

/// In which order the rows of a window are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WindowOrder {
    /// By offset.
    #[default]
    Offset,
    /// As they are stored, group by group.
    Stored,
}

/// Rows of a row group that match, and what was looked at for them.
pub struct Found {
    /// The returned columns of rows that match; none if none does.
    pub columns: Vec<ArrayRef>,
    /// Of rows that match.
    pub matching: Vec<i64>,
    /// Of all rows that were looked at.
    pub scanned: Vec<i64>,
    /// Of rows whose predicate raised an error.
    pub errored: Vec<i64>,
    pub stored_bytes: u64,
    /// Where the log goes on behind them.
    pub end: Offset,
}

/// Which rows of a row group are looked at: some in the middle, without those of aborted transactions.
struct Seen {
    from: usize,
    /// Ascending, of what is seen.
    offsets: Vec<i64>,
    /// Rows from `from` on; `None`: all of them are seen.
    mask: Option<BooleanArray>,
    len: usize,
}

impl Seen {
    fn cut(&self, array: &ArrayRef) -> Result<ArrayRef, ScanError> {
        let array = if self.len == array.len() { array.clone() } else { array.slice(self.from, self.len) };
        match &self.mask {
            None => Ok(array),
            Some(mask) => Ok(filter(&array, mask)?),
        }
    }
}

/// Rows of a row group that are left: values are made for no others.
struct WantedRows(Option<Vec<bool>>);

impl WantedRows {
    fn new(seen: &Seen, mask: Option<&BooleanArray>) -> WantedRows {
        let Some(mask) = mask else { return WantedRows(None) };
        let mut wanted = vec![false; seen.from + seen.len];
        let visible = (0..seen.len).filter(|row| seen.mask.as_ref().is_none_or(|mask| mask.value(*row)));
        for (nth, row) in visible.enumerate() {
            wanted[seen.from + row] = mask.value(nth);
        }
        WantedRows(Some(wanted))
    }

    /// Without a predicate every row is made, also those that turn out to be hidden.
    fn contains(&self, row: usize) -> bool {
        self.0.as_ref().is_none_or(|wanted| wanted.get(row).copied().unwrap_or(false))
    }
}

fn unreadable(error: impl std::fmt::Display) -> ScanError {
    ScanError::failed(format!("a column file: {error}"))
}

impl SegmentScan {
    /// `None`: the file does not have what the plan reads as columns; its records are read as rows.
    pub fn open(
        part: &ColumnPart,
        plan: &ScanPlan,
        partition: i32,
        codecs: Option<SliceCodecs>,
    ) -> Result<Option<SegmentScan>, ScanError> {
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
        let keep = keep(plan, &segment, columns, mapping.as_ref());
        let (base, next) = (part.base, part.next);
        let mut scan = SegmentScan { segment, mapping, keep, base, next, partition, sliced: None };
        // All groups of an answer are of one file, and a batch is small: of batches several are opened for an answer.
        let opens = part.is_batch || plan.predicate().is_some() || plan.guard().is_some();
        if let Some(codecs) = codecs.filter(|_| !opens) {
            scan.sliced = scan.sliceable(plan, codecs)?;
        }
        Ok(Some(scan))
    }

    /// Whether the record at this offset would be in the file.
    pub fn covers(&self, offset: Offset) -> bool {
        self.base <= offset && offset < self.next
    }

    /// Where it ends.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The column file.
    pub fn segment(&self) -> &Arc<ColumnSegment> {
        &self.segment
    }

    /// Row groups with rows in `[from, end)`.
    pub fn groups_between(&self, from: Offset, end: Offset) -> impl Iterator<Item = usize> + '_ {
        let groups = self.segment.reader().groups().enumerate();
        groups.filter(move |(_, info)| info.last_offset >= from.0 && info.first_offset < end.0).map(|(index, _)| index)
    }

    /// Whether statistics leave the row group something to match.
    pub fn keeps(&self, group: usize) -> bool {
        self.keep.get(group).copied().unwrap_or(true)
    }

    /// Stored bytes of a row group.
    pub fn group_bytes(&self, group: usize) -> Result<u64, ScanError> {
        let reader = self.segment.reader();
        let all: Vec<usize> = (0..reader.schema().fields().len()).collect();
        reader.stored_bytes(group, &Stored::columns(&all)).map_err(unreadable)
    }

    /// Stored bytes of some of the plan's input columns in a row group. Values are made of every column.
    pub fn bytes_of(&self, plan: &ScanPlan, group: usize, columns: &[usize]) -> Result<u64, ScanError> {
        let (input, reader) = (plan.columns(), self.segment.reader());
        let mut stored: Vec<usize> = Vec::new();
        for at in columns {
            let name = input.schema().field(*at).name().as_str();
            let source = match &self.mapping {
                Some(mapping) if *at < input.user_count() => mapping.source(*at),
                _ if name == VALUE => return self.group_bytes(group),
                _ => reader.schema().fields().iter().rposition(|field| field.name() == name),
            };
            stored.extend(source.filter(|source| !stored.contains(source)));
        }
        reader.stored_bytes(group, &Stored::columns(&stored)).map_err(unreadable)
    }

    /// The window that holds `from` or follows it and begins before `end`.
    fn at(&self, from: Offset, end: Offset) -> Option<&Window> {
        self.segment.reader().window_from(from.0).filter(|window| window.first_offset < end.0)
    }

    /// Memory that one look takes.
    pub fn look_bytes(&self) -> usize {
        2 * self.segment.read_bytes()
    }

    /// The window at `from`: its rows from there on and below `end` that match, as `judge` tells.
    pub fn look(
        &self,
        plan: &ScanPlan,
        (from, end): (Offset, Offset),
        order: WindowOrder,
        aborted: &[AbortedTransaction],
        judge: &dyn Fn(&RecordBatch) -> Result<Option<Judged>, ScanError>,
    ) -> Result<Looked, ScanError> {
        let end = end.min(self.next);
        let Some(window) = self.at(from, end) else { return Ok(Looked::Passed { end, pruned: 0 }) };
        let behind = Offset(window.last_offset + 1).min(end);
        let groups: Vec<_> = self.segment.reader().groups().collect();
        let within = |at: &usize| groups[*at].last_offset >= from.0 && groups[*at].first_offset < end.0;
        let (kept, out): (Vec<usize>, Vec<usize>) = window.groups.clone().filter(within).partition(|at| self.keep[*at]);
        let pruned = out.len() as u64;
        if kept.is_empty() {
            return Ok(Looked::Passed { end: behind, pruned });
        }
        let read = kept.len() as u64;
        let found = |index: usize| self.group(plan, index, (from, behind), window.is_single(), aborted, judge);
        let mut parts = kept.into_iter().map(found).collect::<Result<Vec<_>, _>>()?;
        if parts.len() > 1 && order == WindowOrder::Offset {
            parts = vec![in_order(parts, behind)?];
        }
        Ok(Looked::Rows { parts, read, pruned })
    }

    /// Rows of a row group.
    fn group(
        &self,
        plan: &ScanPlan,
        index: usize,
        (from, behind): (Offset, Offset),
        once: bool,
        aborted: &[AbortedTransaction],
        judge: &dyn Fn(&RecordBatch) -> Result<Option<Judged>, ScanError>,
    ) -> Result<Found, ScanError> {
        let seen = self.seen(index, from, behind, aborted)?;
        let schema = plan.columns().schema();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; schema.fields().len()];
        let mut stored_bytes = 0;
        // The predicate's columns first: often nothing matches, and the others are not opened at all. Who else asks about these rows
        // often asks about the same columns, so they are kept.
        let first = plan.deciding();
        stored_bytes += self.read(plan, (index, false), &first, &seen, None, &mut columns)?;
        let tested = Arc::new(schema.project(&first)?);
        let arrays: Vec<ArrayRef> = first.iter().filter_map(|at| columns[*at].clone()).collect();
        let judged = judge(&batch_of(&tested, arrays, seen.offsets.len())?)?;
        let matches = judged.as_ref().map(|judged| &judged.matches);
        let errored = matches.iter().flat_map(|m| &m.errored).map(|row| seen.offsets[*row]).collect();
        let (mask, matching) = match matches {
            Some(matches) if matches.matched < seen.offsets.len() => {
                (Some(matches.mask()), matches.rows.set_indices().map(|row| seen.offsets[row]).collect())
            }
            _ => (None, seen.offsets.clone()),
        };
        let projected = if matching.is_empty() {
            Vec::new()
        } else {
            if let Some(mask) = &mask {
                for column in columns.iter_mut().flatten() {
                    *column = filter(column, mask)?;
                }
            }
            let rest: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].is_none()).collect();
            stored_bytes += self.read(plan, (index, once), &rest, &seen, mask.as_ref(), &mut columns)?;
            plan.project(&batch_of(schema, columns.into_iter().flatten().collect(), matching.len())?)
        };
        let scanned = match &judged {
            Some(judged) => judged.visible_of(seen.offsets),
            None => seen.offsets,
        };
        Ok(Found { columns: projected, matching, scanned, errored, stored_bytes, end: behind })
    }

    /// Which rows of a row group are looked at.
    fn seen(&self, index: usize, from: Offset, end: Offset, aborted: &[AbortedTransaction]) -> Result<Seen, ScanError> {
        let reader = self.segment.reader();
        let mut offsets = reader.offsets(index).map_err(unreadable)?;
        offsets.truncate(offsets.partition_point(|offset| *offset < end.0));
        let skipped = offsets.partition_point(|offset| *offset < from.0);
        offsets.drain(..skipped);
        let len = offsets.len();
        let hidden = hidden(reader.original_batches(), aborted, from.0, end.0);
        if hidden.is_empty() {
            return Ok(Seen { from: skipped, offsets, mask: None, len });
        }
        let seen = |offset: &i64| {
            let at = hidden.partition_point(|(_, last)| last < offset);
            hidden.get(at).is_none_or(|(first, _)| offset < first)
        };
        let mask: BooleanArray = offsets.iter().map(|offset| Some(seen(offset))).collect();
        offsets.retain(seen);
        Ok(Seen { from: skipped, offsets, mask: Some(mask), len })
    }

    /// Fills `columns`, at these positions, with the rows that are seen and, of those, that `mask` tells. Returns the stored
    /// bytes that they take. `once`: the reader is not expected to come back to the row group.
    fn read(
        &self,
        plan: &ScanPlan,
        (index, once): (usize, bool),
        positions: &[usize],
        seen: &Seen,
        mask: Option<&BooleanArray>,
        columns: &mut [Option<ArrayRef>],
    ) -> Result<u64, ScanError> {
        let reader = self.segment.reader();
        let schema = plan.columns().schema();
        // What of the file is needed.
        let sources: Vec<Option<usize>> =
            positions.iter().map(|at| self.source(plan, *at)).collect::<Result<_, ScanError>>()?;
        let mut wanted: Vec<usize> = sources.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let projection = Stored::columns(&wanted);
        let stored_bytes = reader.stored_bytes(index, &projection).map_err(unreadable)?;
        let read: Vec<ArrayRef> = match once {
            true => reader.read_stored(index, &projection).map_err(unreadable)?.columns().to_vec(),
            false => self.segment.stored_columns(index, &wanted).map_err(unreadable)?,
        };
        let cut = |array: &ArrayRef| -> Result<ArrayRef, ScanError> {
            let array = seen.cut(array)?;
            match mask {
                Some(mask) => Ok(filter(&array, mask)?),
                None => Ok(array),
            }
        };
        let rows = mask.map_or(seen.offsets.len(), BooleanArray::true_count);
        let wanted_rows = WantedRows::new(seen, mask);
        for (at, source) in positions.iter().zip(sources) {
            // Dictionaries are opened behind the filter, for the rows that are left.
            let stored = match source.and_then(|source| wanted.binary_search(&source).ok()) {
                Some(place) => {
                    let plain = reader.schema().field(wanted[place]).data_type();
                    let array = cut(&read[place])?;
                    Some(if array.data_type() == plain { array } else { arrow_cast::cast(&array, plain)? })
                }
                None => None,
            };
            let user = self.mapping.as_ref().filter(|_| *at < plan.columns().user_count());
            columns[*at] = Some(match (user, stored, schema.field(*at).name().as_str()) {
                (Some(mapping), stored, _) => mapping.column(*at, stored.as_ref(), rows).map_err(unreadable)?,
                (None, Some(stored), _) => stored,
                (None, None, OFFSET) => {
                    let offsets: ArrayRef = Arc::new(Int64Array::from(seen.offsets.clone()));
                    mask.map_or(Ok(offsets.clone()), |mask| filter(&offsets, mask))?
                }
                (None, None, PARTITION) => Arc::new(Int32Array::from(vec![self.partition; rows])),
                (None, None, VALUE) => {
                    let values: ArrayRef =
                        Arc::new(self.segment.values(index, &|row| wanted_rows.contains(row)).map_err(unreadable)?);
                    cut(&values)?
                }
                (None, None, other) => return Err(unreadable(format!("there is no system column {other}"))),
            });
        }
        Ok(stored_bytes)
    }

    /// The stored column that a column of the plan is made of; `None`: of none.
    fn source(&self, plan: &ScanPlan, at: usize) -> Result<Option<usize>, ScanError> {
        if at < plan.columns().user_count() {
            return Ok(self.mapping.as_ref().and_then(|mapping| mapping.source(at)));
        }
        let name = plan.columns().schema().field(at).name();
        match name.as_str() {
            TIMESTAMP | KEY | HEADERS => {
                let fields = self.segment.reader().schema().fields();
                fields.iter().rposition(|field| field.name() == name).map(Some).ok_or_else(|| unreadable(name))
            }
            _ => Ok(None),
        }
    }

    /// The row group at `from` as it is stored, if it can be returned unopened; with it the bytes that takes.
    pub fn slice(
        &self,
        from: Offset,
        end: Offset,
        aborted: &[AbortedTransaction],
    ) -> Result<Option<(SlicedGroup, u64)>, ScanError> {
        let Some(projection) = &self.sliced else { return Ok(None) };
        let reader = self.segment.reader();
        // Rows of other groups would lie between.
        let Some(window) = self.at(from, end.min(self.next)).filter(|window| window.is_single()) else {
            return Ok(None);
        };
        let index = window.groups.start;
        let Some(info) = reader.groups().nth(index) else { return Ok(None) };
        let (first, last) = (info.first_offset, info.last_offset);
        let skip_head = (from.0 - first).clamp(0, i64::from(info.rows)) as u32;
        // What the reader has seen of the group is sent again: not if it is most of it.
        let whole = info.dense && last < end.0.min(self.next.0) && skip_head <= info.rows / 2;
        if !whole || !hidden(reader.original_batches(), aborted, first, last + 1).is_empty() {
            return Ok(None);
        }
        let bytes = reader.stored_bytes(index, projection).map_err(unreadable)?;
        let group = SlicedGroup { index, first_offset: first, last_offset: last, rows: info.rows, skip_head };
        Ok(Some((group, bytes)))
    }

    /// Row groups of this file, unopened, to be filled.
    pub fn stored_rows(&self, plan: &ScanPlan) -> Option<StoredRows> {
        let projection = self.sliced.clone()?;
        Some(StoredRows::new(self.segment.clone(), projection, plan.output().clone()))
    }

    /// The stored columns of the plan's output, if each is stored as it is returned and the client takes the file's codec.
    fn sliceable(&self, plan: &ScanPlan, codecs: SliceCodecs) -> Result<Option<Stored>, ScanError> {
        let reader = self.segment.reader();
        let Some(places) = plan.output_places().filter(|_| codecs.take(reader.codec())) else { return Ok(None) };
        let mut stored = Vec::with_capacity(places.len());
        for (at, field) in places.into_iter().zip(plan.output().fields()) {
            let user = at < plan.columns().user_count();
            if user && !self.mapping.as_ref().is_some_and(|mapping| mapping.is_same(at)) {
                return Ok(None);
            }
            match self.source(plan, at)? {
                Some(source) if reader.schema().field(source).data_type() == field.data_type() => stored.push(source),
                _ => return Ok(None),
            }
        }
        Ok((!stored.is_empty()).then(|| Stored::columns(&stored)))
    }
}

/// One part of all, in offset order.
fn in_order(parts: Vec<Found>, end: Offset) -> Result<Found, ScanError> {
    let sorted = |offsets: &dyn Fn(&Found) -> &Vec<i64>| {
        let mut all: Vec<i64> = parts.iter().flat_map(|part| offsets(part).iter().copied()).collect();
        all.sort_unstable();
        all
    };
    let (scanned, errored) = (sorted(&|part| &part.scanned), sorted(&|part| &part.errored));
    let stored_bytes = parts.iter().map(|part| part.stored_bytes).sum();
    let matching: Vec<i64> = parts.iter().flat_map(|part| part.matching.iter().copied()).collect();
    let mut order: Vec<u32> = (0..matching.len() as u32).collect();
    order.sort_unstable_by_key(|row| matching[*row as usize]);
    let matching = order.iter().map(|row| matching[*row as usize]).collect();
    let rows = UInt32Array::from(order);
    let full: Vec<&Found> = parts.iter().filter(|part| !part.matching.is_empty()).collect();
    let count = full.first().map_or(0, |part| part.columns.len());
    let column = |at: usize| -> Result<ArrayRef, ScanError> {
        let pieces: Vec<&dyn Array> = full.iter().map(|part| part.columns[at].as_ref()).collect();
        Ok(take(&concat(&pieces)?, &rows, None)?)
    };
    let columns = (0..count).map(column).collect::<Result<_, _>>()?;
    Ok(Found { columns, matching, scanned, errored, stored_bytes, end })
}

/// Offsets of the aborted transactions' batches among `first..end`, as ranges that include their ends.
fn hidden(batches: &[OriginalBatch], aborted: &[AbortedTransaction], first: i64, end: i64) -> Vec<(i64, i64)> {
    if aborted.is_empty() {
        return Vec::new();
    }
    let is_hidden = |batch: &OriginalBatch| {
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
    let range = |batch: &OriginalBatch| (batch.base_offset, batch.base_offset + i64::from(batch.last_offset_delta));
    let within = batches.iter().filter(|batch| range(batch).0 < end && range(batch).1 >= first);
    within.filter(|batch| is_hidden(batch)).map(range).collect()
}

/// Which row groups may have a row that matches. Where rows are hidden, only what hides them rules groups out: statistics are of
/// hidden rows too, and what the reader's predicate made of them would show in its counters.
fn keep(plan: &ScanPlan, segment: &ColumnSegment, columns: &Columns, mapping: Option<&ReadMapping>) -> Vec<bool> {
    let reader = segment.reader();
    let statistics = Statistics { reader, columns, mapping };
    match (plan.guard(), plan.predicate().filter(|predicate| predicate.can_prune())) {
        (Some(guard), _) => guard.prune(&statistics),
        (None, Some(predicate)) => predicate.prune(&statistics),
        (None, None) => vec![true; reader.group_count()],
    }
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
