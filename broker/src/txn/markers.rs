//! Transaction markers: the control batches that end a transaction in each of its partitions.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use weir_protocol::ids::{PartitionId, ProducerId};
use weir_protocol::records::{BatchHeader, ControlType, EndTxnMarker};
use weir_storage::log::{AckLevel, AppendError, AppendOrigin, Partition, PendingAppend, Storage};

use crate::group::Coordinator;
use crate::group::offsets::PartitionName;
use crate::topics::{OFFSETS_TOPIC, Topics};

/// Where markers are not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkersLeft {
    /// These failed; write them again later.
    Retry(Vec<PartitionName>),
    /// The broker stops; the next start writes them.
    Stopping,
}

/// Where the coordinator sends its markers.
#[async_trait]
pub trait MarkerSink: Send + Sync + 'static {
    /// Writes a marker to each partition; durable when it returns. Partitions that are gone need none.
    async fn write(&self, marker: EndTxnMarker, partitions: &[PartitionName]) -> Result<(), MarkersLeft>;
}

/// Markers go to our own log, and to the groups whose offsets they commit.
pub struct LogMarkers {
    storage: Arc<Storage>,
    topics: Arc<Topics>,
    groups: Coordinator,
}

impl LogMarkers {
    pub fn new(storage: Arc<Storage>, topics: Arc<Topics>, groups: Coordinator) -> LogMarkers {
        LogMarkers { storage, topics, groups }
    }

    fn partition(&self, (topic, partition): &PartitionName) -> Option<Arc<Partition>> {
        let topic = self.topics.get(topic)?;
        self.storage.partition(topic.id, PartitionId(*partition))
    }

    /// One result per partition, in order; `None`: there is no such partition.
    pub async fn append(
        &self,
        marker: EndTxnMarker,
        partitions: &[PartitionName],
    ) -> Vec<Option<Result<(), AppendError>>> {
        let Ok((bytes, header)) = batch(marker) else { return vec![None; partitions.len()] };
        let found: Vec<_> = partitions.iter().map(|name| self.partition(name)).collect();
        let pending = found
            .iter()
            .flatten()
            .map(|partition| PendingAppend::rows(partition.clone(), bytes.clone(), header, AppendOrigin::Coordinator));
        let mut results = self.storage.submit(pending.collect(), AckLevel::Durable).await.await.into_iter();
        let mut outcome = Vec::with_capacity(partitions.len());
        for (name, found) in partitions.iter().zip(found) {
            let result = found.map(|_| results.next().unwrap_or(Err(AppendError::ShuttingDown)).map(drop));
            if name.0 == OFFSETS_TOPIC && matches!(result, Some(Ok(()))) {
                let commit = marker.control_type == ControlType::Commit;
                self.groups.end_transaction(name.1, marker.producer_id, commit).await;
            }
            outcome.push(result);
        }
        outcome
    }
}

fn batch(marker: EndTxnMarker) -> Result<(BytesMut, BatchHeader), ()> {
    // One record of ten bytes: it always builds and parses.
    let bytes = marker.to_batch().map_err(drop)?;
    let header = BatchHeader::parse(&bytes).map_err(drop)?;
    Ok((BytesMut::from(&bytes[..]), header))
}

#[async_trait]
impl MarkerSink for LogMarkers {
    async fn write(&self, marker: EndTxnMarker, partitions: &[PartitionName]) -> Result<(), MarkersLeft> {
        let results = self.append(marker, partitions).await;
        let mut left = Vec::new();
        for (name, result) in partitions.iter().zip(results) {
            match result {
                Some(Err(AppendError::ShuttingDown)) => return Err(MarkersLeft::Stopping),
                Some(Err(error)) if is_final(&error) => log_refused(name, marker.producer_id, &error),
                Some(Err(error)) => {
                    tracing::warn!(topic = name.0, partition = name.1, %error, "a transaction marker is written again");
                    left.push(name.clone());
                }
                None | Some(Ok(())) => {}
            }
        }
        if left.is_empty() { Ok(()) } else { Err(MarkersLeft::Retry(left)) }
    }
}

/// Trying again would end the same way, and nothing of the transaction is open there.
fn is_final(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::StaleProducerEpoch { .. }
            | AppendError::StaleCoordinator { .. }
            | AppendError::PartitionDeleted(_)
    )
}

fn log_refused(name: &PartitionName, producer_id: ProducerId, error: &AppendError) {
    tracing::info!(topic = name.0, partition = name.1, %producer_id, %error, "a transaction marker is not needed");
}
