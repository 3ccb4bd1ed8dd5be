//! For brokers without columns: fetched records as columns, filtered and projected here by the code that the broker uses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_predicate::Clock;
use weir_protocol::records::decode;
use weir_scan::{LocalScan, ScanPlan, ScanRequest};

use super::ipc::without_added_offset;
use super::statistics::ReadStatistics;
use super::{ColumnBatch, RowOffsets};
use crate::consumer::{ColumnQuery, DecodeOptions, FetchedData, corrupt, visible_batches};
use crate::error::{ClientError, Result};

/// The plans of one query, by topic.
pub(crate) struct LocalPlans {
    query: Arc<ColumnQuery>,
    plans: HashMap<Arc<str>, Arc<ScanPlan>>,
}

impl LocalPlans {
    pub(crate) fn new(query: Arc<ColumnQuery>) -> Self {
        Self { query, plans: HashMap::new() }
    }

    /// Opens fetched records. What is wrong with the query shows here, at the first record.
    pub(crate) fn open(
        &mut self,
        data: &FetchedData,
        options: &DecodeOptions,
    ) -> Result<(Vec<ColumnBatch>, ReadStatistics)> {
        let mut scan = LocalScan::new(self.plan(&data.topic)?, data.partition);
        visible_batches(data, options, |batch| {
            let decoded = decode(batch.bytes, &options.limits)?;
            for record in decoded.records() {
                let record = record?;
                if record.offset(&decoded.header).0 >= data.from {
                    scan.append(&decoded.header, &record)?;
                }
            }
            Ok(())
        })?;
        let (_, batches, counters) = scan.finish().map_err(|error| corrupt(data, data.from, &error))?;
        let opened = batches.into_iter().map(|scanned| {
            let offsets = match scanned.dense {
                true => RowOffsets::Dense { first: scanned.first_offset, rows: scanned.batch.num_rows() },
                false => super::ipc::offset_column(&scanned.batch).map(RowOffsets::Sparse)?,
            };
            let rows = without_added_offset(scanned.batch, scanned.dense, self.query.columns.as_deref())?;
            Ok(ColumnBatch { topic: data.topic.clone(), partition: data.partition, schema_id: None, rows, offsets })
        });
        let opened: Result<Vec<_>, String> = opened.collect();
        let statistics = ReadStatistics {
            rows_scanned: counters.rows_scanned,
            rows_returned: counters.rows_returned,
            rows_errored: counters.rows_errored,
            bytes_scanned: counters.bytes_scanned,
            record_answers: 1,
            ..ReadStatistics::default()
        };
        Ok((opened.map_err(|reason| corrupt(data, data.from, &reason))?, statistics))
    }

    fn plan(&mut self, topic: &Arc<str>) -> Result<Arc<ScanPlan>> {
        if let Some(plan) = self.plans.get(topic) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(untyped_plan(topic, &self.query)?);
        self.plans.insert(topic.clone(), plan.clone());
        Ok(plan)
    }
}

fn untyped_plan(topic: &str, query: &ColumnQuery) -> Result<ScanPlan> {
    let request = ScanRequest {
        projection: query.columns.clone(),
        predicate: query.predicate.as_ref().map(|text| text.as_bytes().to_vec()),
    };
    // `now()` is the time at which the reading began: one reading, one answer.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = Clock::At(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    ScanPlan::untyped(&request, clock)
        .map_err(|error| ClientError::InvalidQuery { topic: topic.to_owned(), reason: error.to_string() })
}
