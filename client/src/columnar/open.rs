//! What was fetched, as batches: columns as they are, records decoded, filtered and projected here.

use std::sync::Arc;

use weir_protocol::columnar::ColumnarResult;

use super::statistics::{Counters, ReadStatistics};
use super::{ColumnBatch, ipc};
use crate::consumer::{ColumnQuery, DecodeOptions, FetchedData, corrupt};
use crate::error::Result;

/// Opens the answers of one reading.
pub(crate) struct Opener {
    query: Arc<ColumnQuery>,
    options: DecodeOptions,
    decoded_bytes_max: u64,
    counters: Arc<Counters>,
    #[cfg(feature = "stock-kafka")]
    local: super::local::LocalPlans,
}

impl Opener {
    pub(crate) fn new(query: Arc<ColumnQuery>, options: DecodeOptions, decoded_bytes_max: u64) -> Self {
        Self {
            #[cfg(feature = "stock-kafka")]
            local: super::local::LocalPlans::new(query.clone()),
            query,
            options,
            decoded_bytes_max,
            counters: Arc::default(),
        }
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn open(&mut self, data: &FetchedData) -> Result<Vec<ColumnBatch>> {
        let (batches, mut sums) = match &data.columnar {
            Some(result) => (self.columns(data, result)?, sums_of(result)),
            None => self.records(data)?,
        };
        sums.bytes_received = data.bytes.len() as u64;
        self.counters.add(&sums);
        Ok(batches)
    }

    fn columns(&self, data: &FetchedData, result: &ColumnarResult) -> Result<Vec<ColumnBatch>> {
        let check_crc = self.options.check_crcs;
        ipc::open(data, result, &self.query, check_crc, self.decoded_bytes_max)
            .map_err(|reason| corrupt(data, data.from, &reason))
    }

    #[cfg(feature = "stock-kafka")]
    fn records(&mut self, data: &FetchedData) -> Result<(Vec<ColumnBatch>, ReadStatistics)> {
        self.local.open(data, &self.options)
    }

    #[cfg(not(feature = "stock-kafka"))]
    fn records(&mut self, data: &FetchedData) -> Result<(Vec<ColumnBatch>, ReadStatistics)> {
        Err(crate::error::ClientError::InvalidQuery {
            topic: data.topic.to_string(),
            reason: "the broker does not serve columns (feature weir.columnar), and this client was built without \
                     `stock-kafka`"
                .to_owned(),
        })
    }
}

fn sums_of(result: &ColumnarResult) -> ReadStatistics {
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    ReadStatistics {
        rows_scanned: count(result.rows_scanned),
        rows_returned: count(result.rows_returned),
        rows_errored: count(result.rows_errored),
        bytes_scanned: count(result.bytes_scanned),
        columnar_answers: 1,
        ..ReadStatistics::default()
    }
}
