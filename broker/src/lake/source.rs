//! A topic's log as the rows of a lake table: scans of what is committed, in the columns of the lake.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{ArrowError, Field, SchemaRef};
use arrow_select::filter::filter;
use async_trait::async_trait;
use parking_lot::Mutex;
use weir_lake_sink::{Bounds, GateStatus, ScanSource, Scanned, SourceError, SourceTable, columns};
use weir_predicate::Clock;
use weir_protocol::ids::{Offset, PartitionId, TopicId};
use weir_scan::{Scan, ScanError, ScanLimits, ScanPlan, ScanRequest};
use weir_storage::cpu::{Priority, breathe};
use weir_storage::log::{Partition, ReadError, ReadLimit, Storage};
use weir_table::codec::RowErrorKind;
use weir_table::{RowDecoder, Table};

use crate::tables::Typing;
use crate::topics::{Topic, Topics};

/// One scan; what it did not get to is left to the next.
const SCAN_TIME_MAX: Duration = Duration::from_secs(10);
/// Input of one scan. More is returned only by very compressible data.
const SCAN_INPUT_MAX: u64 = 16 << 20;
/// System columns in the order of [`columns::untyped`].
const UNTYPED: [&str; 6] = ["_key", "_value", "_headers", "_partition", "_offset", "_timestamp"];
/// Rows decoded between two looks at whether somebody more urgent waits.
const SLICE_ROWS: usize = 1024;

/// The log of one topic. It ends with the topic: one of the same name that is made later has another id.
pub struct LogSource {
    topics: Arc<Topics>,
    storage: Arc<Storage>,
    id: TopicId,
    name: String,
    /// Columns of the lake table's primary key; none: it has all rows.
    key: Vec<String>,
    planned: Mutex<Option<Planned>>,
}

/// How rows are read, for a topic that is this table, or none.
#[derive(Clone)]
struct Planned {
    table: Option<Arc<Table>>,
    /// Records are kept as they were produced, beside the columns.
    raw: bool,
    plan: Arc<ScanPlan>,
    schema: SchemaRef,
    /// Where the columns of the lake table's primary key are.
    key: Vec<usize>,
}

impl LogSource {
    /// For a table of which nothing is known: until [`ScanSource::tiered`] the log keeps all that a gate may keep.
    pub fn new(topics: Arc<Topics>, storage: Arc<Storage>, topic: &Topic) -> LogSource {
        let key = topic.settings.lake.as_ref().and_then(|lake| lake.key.as_ref());
        let key = key.map(|key| key.columns.clone()).unwrap_or_default();
        let source =
            LogSource { topics, storage, id: topic.id, name: topic.name.clone(), key, planned: Mutex::default() };
        source.partitions(topic).for_each(|log| log.hold());
        source
    }

    fn partitions(&self, topic: &Topic) -> impl Iterator<Item = Arc<Partition>> {
        (0..topic.partitions).filter_map(|partition| self.storage.partition(self.id, PartitionId(partition)))
    }

    fn topic(&self) -> Result<Arc<Topic>, SourceError> {
        self.topics.by_id(self.id).ok_or_else(|| SourceError::Gone { topic: self.name.clone() })
    }

    /// The plan for the topic as it is now.
    fn planned(&self) -> Result<Planned, SourceError> {
        let topic = self.topic()?;
        let (table, raw) = (table_of(&topic)?, topic.settings.lake_raw);
        let mut known = self.planned.lock();
        if let Some(known) = known.as_ref() {
            let same = match (&known.table, table) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            if same && known.raw == (raw && self.key.is_empty()) {
                return Ok(known.clone());
            }
        }
        let refused = |reason: String| SourceError::NotYet { topic: self.name.clone(), reason };
        let planned = plan(table, &self.key, raw).map_err(|error| refused(error.to_string()))?;
        Ok(known.insert(planned).clone())
    }
}

/// The topic's table; `None` if it is none.
fn table_of(topic: &Topic) -> Result<Option<&Arc<Table>>, SourceError> {
    match &topic.table.typing {
        Typing::Untyped => Ok(None),
        Typing::Typed(table) => Ok(Some(table)),
        Typing::Waiting { reason } => Err(SourceError::NotYet { topic: topic.name.clone(), reason: reason.clone() }),
    }
}

/// The columns of a topic's lake table. `raw`: with the records as they were produced, which a table with a `key` has no room for.
fn lake_columns(table: Option<&Table>, key: &[String], raw: bool) -> SchemaRef {
    // Rows may be older than a column, whatever the schema says of it now. Those without their key are left out.
    let nullable = |field: &weir_table::Field| -> Field { field.to_arrow().with_nullable(!key.contains(&field.name)) };
    match table {
        None => columns::untyped(),
        Some(table) => {
            let own = table.current().fields.iter().map(nullable).collect();
            match (key.is_empty(), raw) {
                (false, _) => columns::keyed(&own),
                (true, true) => columns::typed_and_raw(&own),
                (true, false) => columns::typed(&own),
            }
        }
    }
}

/// The lake table of a topic without a key, as it is now.
///
/// # Errors
/// [`SourceError::NotYet`], if it has no columns.
pub fn source_table(topic: &Topic) -> Result<SourceTable, SourceError> {
    let schema = lake_columns(table_of(topic)?.map(|table| &**table), &[], topic.settings.lake_raw);
    Ok(SourceTable { topic_id: topic.id.0, name: topic.name.clone(), schema })
}

fn plan(table: Option<&Arc<Table>>, key: &[String], raw: bool) -> Result<Planned, weir_scan::ScanPlanError> {
    let request = ScanRequest { projection: Some(UNTYPED.map(str::to_owned).to_vec()), predicate: None };
    let plan = Arc::new(ScanPlan::untyped(&request, Clock::At(0))?);
    let schema = lake_columns(table.map(|table| &**table), key, raw);
    let key = if table.is_some() { key } else { &[] };
    let raw = raw && key.is_empty();
    let key = key.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    Ok(Planned { table: table.cloned(), raw, plan, schema, key })
}

impl Planned {
    /// The columns of the lake table, of rows with the columns of [`columns::untyped`]; and how many could not be decoded.
    fn columns(&self, rows: Vec<RecordBatch>) -> Result<(Vec<RecordBatch>, u64), String> {
        let Some(table) = &self.table else { return Ok((rows, 0)) };
        let mut decoder = table.decoder(table.current());
        let (mut typed, mut unreadable) = (Vec::with_capacity(rows.len()), 0);
        // Of a table with a primary key: what was decoded and is no change.
        let mut passed = Vec::new();
        for rows in rows {
            let (keys, values) = (rows.column(0).as_binary::<i32>(), rows.column(1).as_binary::<i32>());
            let mut begun = 0;
            for row in 0..rows.num_rows() {
                if row % SLICE_ROWS == 0 {
                    breathe();
                }
                let key = keys.is_valid(row).then(|| keys.value(row));
                let value = values.is_valid(row).then(|| values.value(row));
                let mut pushed = decoder.push(key, value);
                if let Err(error) = &pushed
                    && matches!(error.kind, RowErrorKind::BuilderFull { .. })
                    && decoder.rows() > 0
                {
                    typed.push(self.batch(
                        &mut decoder,
                        &rows.slice(begun, row - begun),
                        &mut passed,
                        &mut unreadable,
                    )?);
                    begun = row;
                    pushed = decoder.push(key, value);
                }
                // Stored before the topic was this table: a row of what can be read.
                if pushed.is_err() {
                    unreadable += 1;
                    passed.push(row - begun);
                    let nulls = decoder.push(key, None).or_else(|_| decoder.push(None, None));
                    nulls.map_err(|error| error.to_string())?;
                }
            }
            let last = rows.slice(begun, rows.num_rows() - begun);
            typed.push(self.batch(&mut decoder, &last, &mut passed, &mut unreadable)?);
        }
        Ok((typed, unreadable))
    }

    /// What was decoded, with where the same rows come from; `passed` are rows of it that are no change of their key.
    fn batch(
        &self,
        decoder: &mut RowDecoder,
        rows: &RecordBatch,
        passed: &mut Vec<usize>,
        unreadable: &mut u64,
    ) -> Result<RecordBatch, String> {
        let decoded = decoder.finish().map_err(|error| error.to_string())?;
        let (kept, origin) = rows.columns().split_at(UNTYPED.len() - 3);
        // Key, value and headers, in the order of `columns::raw`.
        let raw = [0, 2, 1].map(|place| kept[place].clone()).into_iter().filter(|_| self.raw);
        let mut all: Vec<_> = decoded.columns().iter().chain(origin).cloned().chain(raw).collect();
        if !self.key.is_empty() {
            let values = rows.column(1);
            all.push(Arc::new((0..values.len()).map(|row| Some(values.is_null(row))).collect::<BooleanArray>()));
            all = self.changes(all, std::mem::take(passed), unreadable).map_err(|error| error.to_string())?;
        }
        passed.clear();
        columns::conform(&self.schema, &all).map_err(|error| error.to_string())
    }

    /// Only rows that say what becomes of a key: it can be read, and so can its value if there is one.
    fn changes(
        &self,
        columns: Vec<ArrayRef>,
        passed: Vec<usize>,
        unreadable: &mut u64,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut kept = vec![true; columns.first().map_or(0, |column| column.len())];
        passed.into_iter().for_each(|row| kept[row] = false);
        for key in self.key.iter().map(|at| &columns[*at]).filter(|key| key.null_count() > 0) {
            for (_, kept) in kept.iter_mut().enumerate().filter(|(row, kept)| **kept && key.is_null(*row)) {
                *kept = false;
                *unreadable += 1;
            }
        }
        if kept.iter().all(|kept| *kept) {
            return Ok(columns);
        }
        let kept = BooleanArray::from(kept);
        columns.iter().map(|column| filter(column, &kept)).collect()
    }
}

#[async_trait]
impl ScanSource for LogSource {
    fn table(&self) -> Result<SourceTable, SourceError> {
        let Planned { schema, .. } = self.planned()?;
        Ok(SourceTable { topic_id: self.id.0, name: self.name.clone(), schema })
    }

    fn bounds(&self) -> Result<BTreeMap<i32, Bounds>, SourceError> {
        let partitions = 0..self.topic()?.partitions;
        let bounds = partitions.filter_map(|partition| {
            let offsets = self.storage.partition(self.id, PartitionId(partition))?.offsets();
            Some((partition, Bounds { start: offsets.log_start.0, end: offsets.last_stable.0 }))
        });
        Ok(bounds.collect())
    }

    async fn scan(&self, partition: i32, from: i64, max_bytes: usize) -> Result<Scanned, SourceError> {
        let failed = |reason: String| SourceError::Read { partition, offset: from, reason };
        let log = self.storage.partition(self.id, PartitionId(partition));
        let log = log.ok_or_else(|| SourceError::Gone { topic: self.name.clone() })?;
        let limits = ScanLimits {
            visible: ReadLimit::LastStable,
            max_bytes,
            at_least_one: true,
            max_scan_bytes: SCAN_INPUT_MAX,
        };
        let planned = self.planned()?;
        let scan = Scan::new(planned.plan.clone(), log.clone(), self.storage.cpu().clone(), Offset(from), limits);
        let scan = scan.run(SCAN_TIME_MAX).await.map_err(|error| match error {
            ScanError::Read(ReadError::OffsetOutOfRange { .. }) if from < log.offsets().log_start.0 => {
                SourceError::Lost { partition, offset: from, log_start: log.offsets().log_start.0 }
            }
            other => failed(other.to_string()),
        })?;
        let found = scan.finish().map_err(|error| failed(error.to_string()))?;
        let next = found.next;
        let (untyped, unreadable) = (columns::untyped(), found.counters.rows_errored);
        let width = UNTYPED.len();
        let work = move || {
            let conformed = found.batches.into_iter().map(|found| {
                // Sparse rows have their offsets a second time, at the end.
                columns::conform(&untyped, &found.batch.columns()[..width])
            });
            let rows = conformed.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            planned.columns(rows)
        };
        let decoded = self.storage.cpu().run(Priority::Background, work).await;
        let decoded = decoded.map_err(|error| failed(error.to_string()))?;
        let (batches, undecodable) = decoded.map_err(failed)?;
        Ok(Scanned { batches, next: next.0, unreadable: unreadable + undecodable })
    }

    fn tiered(&self, offsets: &BTreeMap<i32, i64>) {
        for (&partition, &next) in offsets {
            if let Some(log) = self.storage.partition(self.id, PartitionId(partition)) {
                log.release_below(Offset(next));
            }
        }
    }

    fn gate(&self) -> Option<GateStatus> {
        let topic = self.topic().ok()?;
        topic.settings.log.gate?;
        let add = |sum: GateStatus, log: Arc<Partition>| {
            let figures = log.gate();
            GateStatus { held_bytes: sum.held_bytes + figures.held_bytes, dropped: sum.dropped + figures.dropped }
        };
        Some(self.partitions(&topic).fold(GateStatus::default(), add))
    }
}
