//! Rows that the log has no more, from the topic's lake table (`weir.lake.history.reads`).
//!
//! Owns the tables that are read, and a few rows that were read last: readers take less at a time than is read at once. What
//! the table holds is known by the table alone. A table that cannot be read is an error of the fetch, never fewer rows.
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use parking_lot::Mutex;
use weir_lake_sink::{History, HistoryError, HistoryRead, LakeRoots, LakeSettings, columns};
use weir_protocol::ids::{Offset, TopicId};
use weir_scan::{OlderBatch, OlderRows, ScanError};
use weir_storage::cpu::CpuPool;
use weir_storage::log::{Partition, PartitionKey, ReadError};
use weir_storage::memory::{MemoryBudget, Reclaim, Reservation, Share};

use super::source::source_table;
use crate::topics::{Topic, Topics};

/// A table that does not answer within this time is asked again by the next fetch.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Windows of rows that are kept.
const WINDOWS_MAX: usize = 4;
/// Windows that nobody reads on in go after this time.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The tables that are read.
pub struct Histories {
    roots: LakeRoots,
    cpu: CpuPool,
    memory: MemoryBudget,
    tables: Mutex<HashMap<TopicId, (LakeSettings, Arc<History>)>>,
    windows: Arc<Windows>,
}

/// Rows that were read last. A cache: it draws on [`Share::Tail`], which nobody waits for, and gives way to everybody.
#[derive(Default)]
struct Windows {
    kept: Mutex<VecDeque<Window>>,
}

/// Rows that were read last.
struct Window {
    partition: PartitionKey,
    columns: SchemaRef,
    batch: RecordBatch,
    offsets: Vec<i64>,
    start: i64,
    end: i64,
    used: Instant,
    memory: Reservation,
}

impl Windows {
    fn keep(&self, window: Window) {
        let mut kept = self.kept.lock();
        kept.push_back(window);
        let oldest = if kept.len() > WINDOWS_MAX { kept.pop_front() } else { None };
        drop(kept);
        // Its memory goes back without the lock.
        drop(oldest);
    }
}

impl Reclaim for Windows {
    fn reclaim(&self, bytes: usize) -> usize {
        let mut freed = 0;
        while freed < bytes {
            let oldest = self.kept.lock().pop_front();
            let Some(window) = oldest else { break };
            freed += window.memory.bytes();
        }
        freed
    }
}

/// The rows of one partition that are older than its log.
pub struct PartitionHistory {
    topics: Arc<Topics>,
    history: Arc<History>,
    partition: PartitionKey,
    /// A typed topic has its records' values under another name.
    typed: bool,
    memory: MemoryBudget,
    windows: Arc<Windows>,
}

impl Histories {
    /// No table is opened yet.
    #[must_use]
    pub fn new(roots: LakeRoots, cpu: CpuPool, memory: MemoryBudget) -> Histories {
        let windows = Arc::<Windows>::default();
        let weak: Weak<Windows> = Arc::downgrade(&windows);
        memory.add_cache(weak);
        Histories { roots, cpu, memory, tables: Mutex::default(), windows }
    }

    /// The older rows of a partition, if its topic has any.
    #[must_use]
    pub fn of(&self, topics: &Arc<Topics>, topic: &Topic, partition: &Partition) -> Option<Arc<PartitionHistory>> {
        let settings = topic.settings.lake.as_ref().filter(|_| topic.settings.history)?;
        let mut tables = self.tables.lock();
        let known = tables.get(&topic.id).filter(|(known, _)| known == settings).map(|(_, history)| history.clone());
        let history = known.unwrap_or_else(|| {
            let history = History::new(settings.clone(), self.roots.clone(), self.cpu.clone(), self.memory.clone());
            let history = Arc::new(history);
            tables.insert(topic.id, (settings.clone(), history.clone()));
            history
        });
        Some(Arc::new(PartitionHistory {
            topics: topics.clone(),
            history,
            partition: partition.key(),
            typed: topic.table().is_some(),
            memory: self.memory.clone(),
            windows: self.windows.clone(),
        }))
    }

    /// Forgets tables of topics that are not read like this any more, and rows that nobody reads on in.
    pub fn tidy(&self, topics: &Topics) {
        let reads = |id: &TopicId| topics.by_id(*id).is_some_and(|topic| topic.settings.history);
        self.tables.lock().retain(|id, _| reads(id));
        self.windows.kept.lock().retain(|window| window.used.elapsed() < IDLE_MAX);
    }
}

impl PartitionHistory {
    /// Whether clients that fetch records can read a topic's older rows.
    #[must_use]
    pub fn has_records(topic: &Topic) -> bool {
        topic.table().is_none() || topic.settings.lake_raw
    }

    /// The first offset that a client can fetch records from, if that is older than the log.
    ///
    /// # Errors
    /// For people.
    pub async fn first_record(&self) -> Result<Option<Offset>, String> {
        let table = self.table()?;
        let kept: Vec<i32> = match self.typed {
            true => columns::raw().iter().filter_map(|field| columns::field_id(field)).collect(),
            false => Vec::new(),
        };
        let bounds = self.history.bounds(&table, self.partition.partition.0, &kept);
        match tokio::time::timeout(TIME_MAX, bounds).await {
            Ok(bounds) => Ok(bounds.map_err(|error| error.to_string())?.map(|(first, _)| Offset(first))),
            Err(_) => Err(format!("the table did not answer within {} s", TIME_MAX.as_secs())),
        }
    }

    fn table(&self) -> Result<weir_lake_sink::SourceTable, String> {
        let topic = self.topics.by_id(self.partition.topic).ok_or_else(|| "the topic is gone".to_owned())?;
        source_table(&topic).map_err(|error| error.to_string())
    }

    /// The column of the lake table that is this one of the topic.
    fn column(&self, field: &Field) -> Field {
        let (name, id) = match field.name().as_str() {
            "_partition" => (columns::PARTITION, 0),
            "_offset" => (columns::OFFSET, 1),
            "_timestamp" => (columns::TIMESTAMP, 2),
            "_headers" => (columns::HEADERS, 3),
            "_key" => (columns::KEY, 4),
            "_value" if self.typed => (columns::RAW, 10),
            "_value" => (columns::VALUE, 5),
            _ => return field.clone().with_nullable(true),
        };
        columns::with_id(Field::new(name, field.data_type().clone(), true), columns::id_of(id))
    }

    /// Rows that were read before.
    fn known(&self, wanted: &SchemaRef, from: i64) -> Option<OlderBatch> {
        let mut windows = self.windows.kept.lock();
        let has = |window: &&mut Window| {
            window.partition == self.partition
                && (window.start..window.end).contains(&from)
                && window.columns == *wanted
        };
        let window = windows.iter_mut().find(has)?;
        window.used = Instant::now();
        let at = window.offsets.partition_point(|offset| *offset < from);
        Some(OlderBatch {
            batch: window.batch.slice(at, window.offsets.len() - at),
            offsets: window.offsets[at..].to_vec(),
            start: Offset(from),
            end: Offset(window.end),
            stored_bytes: 0,
            memory: Vec::new(),
        })
    }

    async fn find(&self, wanted: &SchemaRef, from: Offset, until: Offset) -> Result<OlderBatch, ScanError> {
        let partition = self.partition.partition.0;
        let failed = |reason: String| {
            tracing::warn!(partition = %self.partition, offset = from.0, reason, "history cannot be read from the lake table");
            ScanError::Failed {
                reason: format!("what is older than the log cannot be read from the lake table: {reason}"),
            }
        };
        let told = |error: HistoryError| failed(error.to_string());
        let table = self.table().map_err(failed)?;
        let begins = self.history.bounds(&table, partition, &[]).await.map_err(told)?;
        if begins.is_none_or(|(first, _)| from.0 < first) {
            let (partition, limit) = (self.partition, until);
            let log_start = begins.map_or(until, |(first, _)| Offset(first));
            return Err(ReadError::OffsetOutOfRange { partition, offset: from, log_start, limit }.into());
        }
        let fields: Vec<Field> = wanted.fields().iter().map(|field| self.column(field)).collect();
        let want = HistoryRead { partition, from: from.0, until: until.0, columns: Arc::new(Schema::new(fields)) };
        let rows = self.history.read(&table, &want).await.map_err(told)?;
        // Behind what the table has, up to the log, there is nothing: it was lost before it was tiered.
        let end = if rows.end > from.0 { rows.end } else { until.0 };
        let columns: Vec<ArrayRef> = rows.batch.columns().to_vec();
        let batch = match columns.is_empty() {
            true => rows.batch,
            false => RecordBatch::try_new(wanted.clone(), columns).map_err(|error| failed(error.to_string()))?,
        };
        let bytes = batch.get_array_memory_size() + 8 * rows.offsets.len();
        if let Some(memory) = self.memory.try_reserve(Share::Tail, bytes) {
            self.windows.keep(Window {
                partition: self.partition,
                columns: wanted.clone(),
                batch: batch.clone(),
                offsets: rows.offsets.clone(),
                start: from.0,
                end,
                used: Instant::now(),
                memory,
            });
        }
        let (offsets, stored_bytes) = (rows.offsets, rows.stored_bytes);
        Ok(OlderBatch { batch, offsets, start: from, end: Offset(end), stored_bytes, memory: rows.memory })
    }
}

impl OlderRows for PartitionHistory {
    fn read<'a>(
        &'a self,
        wanted: &'a SchemaRef,
        from: Offset,
        until: Offset,
    ) -> Pin<Box<dyn Future<Output = Result<Option<OlderBatch>, ScanError>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(known) = self.known(wanted, from.0) {
                return Ok(Some(known));
            }
            match tokio::time::timeout(TIME_MAX, self.find(wanted, from, until)).await {
                Ok(found) => found.map(Some),
                Err(_) => {
                    tracing::warn!(partition = %self.partition, "the lake table does not answer; it is asked again");
                    Ok(None)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Int64Array};
    use weir_protocol::ids::PartitionId;

    use super::*;

    /// Rows of four windows took memory that answers wait for, until nobody had read on in them for half a minute.
    #[test]
    fn windows_that_are_kept_give_way_and_only_a_few_are() {
        let (memory, windows) = (MemoryBudget::new(64 << 20), Arc::<Windows>::default());
        let weak: Weak<Windows> = Arc::downgrade(&windows);
        memory.add_cache(weak);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1; 1 << 10]));
        let columns = Arc::new(Schema::new(vec![Field::new("n", column.data_type().clone(), false)]));
        for start in 0..6 {
            windows.keep(Window {
                partition: PartitionKey { topic: TopicId(uuid::Uuid::nil()), partition: PartitionId(0) },
                columns: columns.clone(),
                batch: RecordBatch::try_new(columns.clone(), vec![column.clone()]).unwrap(),
                offsets: vec![start; 1 << 10],
                start,
                end: start + 1,
                used: Instant::now(),
                memory: memory.try_reserve(Share::Tail, 1 << 20).unwrap(),
            });
        }
        let starts = || windows.kept.lock().iter().map(|window| window.start).collect::<Vec<_>>();
        assert_eq!((starts(), memory.used_by(Share::Tail)), (vec![2, 3, 4, 5], 4 << 20));
        assert_eq!((windows.reclaim(1), starts()), (1 << 20, vec![3, 4, 5]));
        assert_eq!((windows.reclaim(usize::MAX), memory.used_by(Share::Tail)), (3 << 20, 0));
    }
}
