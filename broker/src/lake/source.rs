//! A topic's log as the rows of a lake table: scans of what is committed, in the columns of the lake.
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use weir_lake_sink::{Bounds, ScanSource, Scanned, SourceError, SourceTable, columns};
use weir_predicate::Clock;
use weir_protocol::ids::{Offset, PartitionId, TopicId};
use weir_scan::{Scan, ScanError, ScanLimits, ScanPlan, ScanRequest};
use weir_storage::log::{ReadError, ReadLimit, Storage};

use crate::topics::{Topic, Topics};

/// One scan; what it did not get to is left to the next.
const SCAN_TIME_MAX: Duration = Duration::from_secs(10);
/// Input of one scan. More is returned only by very compressible data.
const SCAN_INPUT_MAX: u64 = 16 << 20;
/// System columns in the order of [`columns::untyped`].
const UNTYPED: [&str; 6] = ["_key", "_value", "_headers", "_partition", "_offset", "_timestamp"];

/// The log of one topic. It ends with the topic: one of the same name that is made later has another id.
pub struct LogSource {
    topics: Arc<Topics>,
    storage: Arc<Storage>,
    id: TopicId,
    name: String,
    plan: OnceLock<Arc<ScanPlan>>,
}

impl LogSource {
    pub fn new(topics: Arc<Topics>, storage: Arc<Storage>, topic: &Topic) -> LogSource {
        LogSource { topics, storage, id: topic.id, name: topic.name.clone(), plan: OnceLock::new() }
    }

    fn topic(&self) -> Result<Arc<Topic>, SourceError> {
        self.topics.by_id(self.id).ok_or_else(|| SourceError::Gone { topic: self.name.clone() })
    }

    fn plan(&self, failed: impl Fn(String) -> SourceError) -> Result<Arc<ScanPlan>, SourceError> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan.clone());
        }
        let projection = Some(UNTYPED.map(str::to_owned).to_vec());
        let request = ScanRequest { projection, predicate: None };
        let plan = ScanPlan::untyped(&request, Clock::At(0)).map_err(|error| failed(error.to_string()))?;
        Ok(self.plan.get_or_init(|| Arc::new(plan)).clone())
    }
}

#[async_trait]
impl ScanSource for LogSource {
    fn table(&self) -> Result<SourceTable, SourceError> {
        let topic = self.topic()?;
        Ok(SourceTable { topic_id: topic.id.0, name: topic.name.clone(), schema: columns::untyped() })
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
        let plan = self.plan(failed)?;
        let scan = Scan::new(plan, log.clone(), self.storage.cpu().clone(), Offset(from), limits);
        let scan = scan.run(SCAN_TIME_MAX).await.map_err(|error| match error {
            ScanError::Read(ReadError::OffsetOutOfRange { .. }) if from < log.offsets().log_start.0 => {
                SourceError::Lost { partition, offset: from, log_start: log.offsets().log_start.0 }
            }
            other => failed(other.to_string()),
        })?;
        let found = scan.finish().map_err(|error| failed(error.to_string()))?;
        let schema = columns::untyped();
        let width = schema.fields().len();
        let conformed = found.batches.into_iter().map(|found| {
            // Sparse rows have their offsets a second time, at the end.
            columns::conform(&schema, &found.batch.columns()[..width])
        });
        let batches = conformed.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        Ok(Scanned { batches, next: found.next.0, unreadable: found.counters.rows_errored })
    }
}
