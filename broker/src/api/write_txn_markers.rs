//! WriteTxnMarkers (key 27): writes the end of a transaction into its partitions, past the coordinator.
//!
//! Version 1. KIP-98; KIP-664 lets tools end a hanging transaction with it. Our own coordinator writes markers without this API.
//! Errors per partition: UNKNOWN_TOPIC_OR_PARTITION, INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED, KAFKA_STORAGE_ERROR.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WriteTxnMarkersRequest};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult, WriteTxnMarkersResponse,
};
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::{ControlType, EndTxnMarker};

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};
use crate::group::offsets::PartitionName;

pub const VERSIONS: Versions = Versions::new(ApiKey::WriteTxnMarkers, 1, 1);

/// Writes marker by marker; durable when it is answered.
pub async fn handle(broker: &Broker, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut results = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        results.push(write(broker, marker).await);
    }
    WriteTxnMarkersResponse::default().with_markers(results)
}

async fn write(broker: &Broker, wanted: WritableTxnMarker) -> WritableTxnMarkerResult {
    let marker = EndTxnMarker {
        control_type: if wanted.transaction_result { ControlType::Commit } else { ControlType::Abort },
        producer_id: ProducerId(wanted.producer_id.0),
        producer_epoch: ProducerEpoch(wanted.producer_epoch),
        coordinator_epoch: wanted.coordinator_epoch,
        timestamp: Timestamp(broker.wall_clock_ms()),
    };
    let names: Vec<PartitionName> = wanted
        .topics
        .iter()
        .flat_map(|topic| topic.partition_indexes.iter().map(|partition| (topic.name.to_string(), *partition)))
        .collect();
    let mut codes = broker.markers.append(marker, &names).await.into_iter().map(|result| match result {
        None => ErrorCode::UnknownTopicOrPartition.code(),
        Some(Ok(())) => NONE,
        Some(Err(error)) => error.wire_code(),
    });
    let topics = wanted.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().zip(codes.by_ref()).map(|(partition, code)| {
            WritableTxnMarkerPartitionResult::default().with_partition_index(*partition).with_error_code(code)
        });
        WritableTxnMarkerTopicResult::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    WritableTxnMarkerResult::default().with_topics(topics.collect()).with_producer_id(wanted.producer_id)
}
