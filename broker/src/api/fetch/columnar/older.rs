//! Plain fetches below the beginning of the log, of topics whose lake table has their records (`weir.lake.history.reads`).
use std::sync::Arc;

use weir_scan::{RecordParts, ScanPlan, ScanRequest};
use weir_storage::log::{Partition, ReadLimit};

use super::{ColumnarFetchError, ScanTarget, hash};
use crate::broker::Broker;
use crate::topics::Topic;

impl ScanTarget {
    /// Records from the lake table up to where the log begins; `None` if the topic has none there. They come in batches of our own
    /// making, as those of views do: key, value, headers, timestamp and offset are those that were produced, and aborted
    /// records are not among them, whatever the isolation level.
    pub fn open_older(
        broker: &Broker,
        topic: &Topic,
        partition: Arc<Partition>,
        start: i64,
        visible: ReadLimit,
    ) -> Option<Result<ScanTarget, ColumnarFetchError>> {
        let offsets = partition.offsets();
        if !topic.settings.history || start < 0 || start >= offsets.log_start.0 {
            return None;
        }
        let plan = match topic.table() {
            None => ScanPlan::view_of_records(RecordParts::ALL, None),
            Some(table) => {
                let whole = ScanRequest { projection: None, predicate: None };
                // Values keep their bytes: nothing is encoded.
                ScanPlan::view_of_table(table, &whole, &|_| Err("records are whole".to_owned()))
            }
        };
        let plan = match plan {
            Ok(plan) => Arc::new(plan),
            Err(error) => return Some(Err(error.into())),
        };
        let target = ScanTarget::of_rows(broker, topic, partition, (plan, hash(&"older")), start, visible);
        target.older.is_some().then(|| Ok(ScanTarget { older_only: true, ..target }))
    }
}
