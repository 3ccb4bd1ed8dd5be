//! A topic in memory.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, TimestampMillisecondArray, new_empty_array};
use arrow_array::{ListArray, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;
use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::columns::{HEADERS, untyped};
use crate::source::{Bounds, ScanSource, Scanned, SourceError, SourceTable};

/// What scans do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// They never end.
    Hung,
}

#[derive(Default)]
struct Partition {
    start: i64,
    /// Whether the offset has a record that readers see.
    offsets: Vec<bool>,
}

/// Clones share it.
#[derive(Clone)]
pub struct TestLog {
    id: Uuid,
    mood: Mood,
    partitions: Arc<Mutex<BTreeMap<i32, Partition>>>,
    tiered: Arc<Mutex<BTreeMap<i32, i64>>>,
}

impl TestLog {
    pub fn new(partitions: i32) -> TestLog {
        let partitions = (0..partitions).map(|p| (p, Partition::default())).collect();
        let partitions = Arc::new(Mutex::new(partitions));
        TestLog { id: Uuid::new_v4(), mood: Mood::Well, partitions, tiered: Arc::default() }
    }

    pub fn with_mood(self, mood: Mood) -> TestLog {
        TestLog { mood, ..self }
    }

    pub fn table(&self) -> Result<SourceTable, SourceError> {
        Ok(SourceTable { topic_id: self.id, name: "flights".to_owned(), schema: untyped() })
    }

    pub fn append(&self, partition: i32, rows: usize) {
        self.extend(partition, rows, true);
    }

    /// As of an aborted transaction.
    pub fn append_invisible(&self, partition: i32, rows: usize) {
        self.extend(partition, rows, false);
    }

    fn extend(&self, partition: i32, rows: usize, visible: bool) {
        self.partitions.lock().get_mut(&partition).unwrap().offsets.extend(std::iter::repeat_n(visible, rows));
    }

    /// What the log was told last of what the lake has, by partition.
    pub fn told(&self) -> BTreeMap<i32, i64> {
        self.tiered.lock().clone()
    }

    /// The log lost its end, as a restored one has.
    pub fn truncate(&self, partition: i32, end: usize) {
        self.partitions.lock().get_mut(&partition).unwrap().offsets.truncate(end);
    }

    pub fn delete_below(&self, partition: i32, start: i64) {
        self.partitions.lock().get_mut(&partition).unwrap().start = start;
    }

    pub fn value(&self, partition: i32, offset: i64) -> Vec<u8> {
        format!("{}/{partition}/{offset}", self.id).into_bytes()
    }

    /// Every record that a reader sees.
    pub fn visible(&self) -> Vec<(i32, i64)> {
        let partitions = self.partitions.lock();
        let of = |(p, log): (&i32, &Partition)| {
            let seen = log.offsets.iter().enumerate().filter(|(_, visible)| **visible);
            seen.map(|(offset, _)| (*p, offset as i64)).collect::<Vec<_>>()
        };
        partitions.iter().flat_map(of).collect()
    }

    fn batch(&self, partition: i32, offsets: &[i64]) -> RecordBatch {
        let (schema, rows) = (untyped(), offsets.len());
        let values: Vec<Vec<u8>> = offsets.iter().map(|offset| self.value(partition, *offset)).collect();
        let DataType::List(item) = schema.field_with_name(HEADERS).unwrap().data_type() else { panic!() };
        let none = OffsetBuffer::from_lengths(std::iter::repeat_n(0, rows));
        let headers = ListArray::new(item.clone(), none, new_empty_array(item.data_type()), None);
        let timestamps = offsets.iter().map(|offset| 1_700_000_000_000 + offset).collect::<Vec<_>>();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BinaryArray::from_opt_vec(vec![None; rows])),
            Arc::new(BinaryArray::from_iter_values(&values)),
            Arc::new(headers),
            Arc::new(Int32Array::from(vec![partition; rows])),
            Arc::new(Int64Array::from(offsets.to_vec())),
            Arc::new(TimestampMillisecondArray::from(timestamps).with_timezone("UTC")),
        ];
        RecordBatch::try_new(schema, columns).unwrap()
    }
}

#[async_trait]
impl ScanSource for TestLog {
    fn table(&self) -> Result<SourceTable, SourceError> {
        TestLog::table(self)
    }

    fn bounds(&self) -> Result<BTreeMap<i32, Bounds>, SourceError> {
        let partitions = self.partitions.lock();
        Ok(partitions.iter().map(|(p, log)| (*p, Bounds { start: log.start, end: log.offsets.len() as i64 })).collect())
    }

    async fn scan(&self, partition: i32, from: i64, max_bytes: usize) -> Result<Scanned, SourceError> {
        if self.mood == Mood::Hung {
            std::future::pending::<()>().await;
        }
        let partitions = self.partitions.lock();
        let log = &partitions[&partition];
        if from < log.start {
            return Err(SourceError::Lost { partition, offset: from, log_start: log.start });
        }
        // A row counts for 100 bytes.
        let next = (from + 1 + max_bytes as i64 / 100).min(log.offsets.len() as i64);
        let offsets: Vec<i64> = (from..next).filter(|offset| log.offsets[*offset as usize]).collect();
        let batches = if offsets.is_empty() { Vec::new() } else { vec![self.batch(partition, &offsets)] };
        Ok(Scanned { batches, next, unreadable: 0 })
    }

    fn tiered(&self, offsets: &BTreeMap<i32, i64>) {
        *self.tiered.lock() = offsets.clone();
    }
}
