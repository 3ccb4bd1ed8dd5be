//! Where rows come from. The broker implements [`ScanSource`] over its scans; a process of its own could over Kafka.
use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::columns::OFFSET;

/// A topic as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTable {
    /// Told apart from a deleted topic of the same name by this.
    pub topic_id: Uuid,
    pub name: String,
    /// Columns of every scanned batch, each with a field id, `__partition` and `__offset` among them.
    pub schema: SchemaRef,
}

/// Offsets of a partition that can be read now: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that is still there.
    pub start: i64,
    /// Behind the last offset that every reader of committed data may see, and that no crash takes back.
    pub end: i64,
}

/// What a scan found.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Rows in the order of their offsets, in the schema of the table.
    pub batches: Vec<RecordBatch>,
    /// Everything below was looked at; greater than the offset the scan began at, unless there was nothing.
    pub next: i64,
    /// Records that were stored and that nobody can decode; they are passed over.
    pub unreadable: u64,
}

impl Scanned {
    /// Without the rows from offset `until` on.
    #[must_use]
    pub fn cut(mut self, until: i64) -> Scanned {
        if self.next <= until {
            return self;
        }
        self.next = until;
        for batch in &mut self.batches {
            let kept = rows_below(batch, until);
            *batch = batch.slice(0, kept);
        }
        self.batches.retain(|batch| batch.num_rows() > 0);
        self
    }
}

/// How many of the rows, which are in the order of their offsets, come before `until`.
fn rows_below(batch: &RecordBatch, until: i64) -> usize {
    let offsets = batch.column_by_name(OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
    offsets.map_or(batch.num_rows(), |offsets| {
        debug_assert_eq!(offsets.null_count(), 0, "a row without an offset");
        offsets.values().partition_point(|offset| *offset < until)
    })
}

/// Why a scan has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    #[error("topic `{topic}` is gone")]
    Gone { topic: String },
    #[error("the columns of topic `{topic}` changed during a round; it is begun again")]
    Changed { topic: String },
    /// The topic has no columns yet.
    #[error("topic `{topic}` is no table yet: {reason}")]
    NotYet { topic: String, reason: String },
    /// The log begins behind the offset that was asked for.
    #[error("partition {partition} begins at offset {log_start} by now; {offset} is gone")]
    Lost { partition: i32, offset: i64, log_start: i64 },
    #[error("partition {partition} cannot be read from offset {offset}: {reason}")]
    Read { partition: i32, offset: i64, reason: String },
}

/// What the log keeps although retention would have removed it, because the lake does not have it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GateStatus {
    pub held_bytes: u64,
    /// Offsets that were removed all the same, because more was kept than allowed; since the process started.
    pub dropped: u64,
}

/// A topic to be read as a table.
#[async_trait]
pub trait ScanSource: Send + Sync + 'static {
    /// What it is now; a changed schema is seen here first.
    fn table(&self) -> Result<SourceTable, SourceError>;

    /// All partitions.
    fn bounds(&self) -> Result<BTreeMap<i32, Bounds>, SourceError>;

    /// Rows of committed transactions from offset `from` on, in all at most about `max_bytes` in memory, but at least one
    /// if there is any. It may go beyond what [`ScanSource::bounds`] said earlier.
    async fn scan(&self, partition: i32, from: i64, max_bytes: usize) -> Result<Scanned, SourceError>;

    /// The lake has, durably, everything below these offsets (by partition): the log need not keep it for the lake.
    fn tiered(&self, _offsets: &BTreeMap<i32, i64>) {}

    /// What the log keeps for the lake; `None` if retention does not wait for it.
    fn gate(&self) -> Option<GateStatus> {
        None
    }
}
