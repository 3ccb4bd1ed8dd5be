//! AlterPartitionReassignments (key 45): every partition is on this broker, and can only stay there.
//!
//! Versions 0-1. KIP-455, KIP-860 (replication factor, 1). Errors per partition: UNKNOWN_TOPIC_OR_PARTITION,
//! INVALID_REPLICA_ASSIGNMENT (nobody, another broker, a broker twice), NO_REASSIGNMENT_IN_PROGRESS (a cancellation).
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponse, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, ApiKey, BrokerId, TopicName};
use thiserror::Error;

use super::create_topics::{AssignmentError, check_replicas};
use super::lookup::{self, LookupError};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterPartitionReassignments, 0, 1);

/// Why a partition is not moved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReassignmentError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error("the partition is not being moved, so there is nothing to cancel")]
    NothingToCancel,
}

/// Answers partition by partition. A partition that is assigned to where it is already is done at once.
pub fn handle(
    broker: &Broker,
    version: i16,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let response = ReassignablePartitionResponse::default().with_partition_index(partition.partition_index);
            match assign(broker, &topic.name, partition) {
                Ok(()) => response.with_error_code(NONE).with_error_message(None),
                Err(error) => {
                    response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string())))
                }
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    let response =
        AlterPartitionReassignmentsResponse::default().with_error_message(None).with_responses(responses.collect());
    if version >= 1 {
        response.with_allow_replication_factor_change(request.allow_replication_factor_change)
    } else {
        response
    }
}

fn assign(broker: &Broker, topic: &TopicName, wanted: &ReassignablePartition) -> Result<(), ReassignmentError> {
    let topic = lookup::topic_named(broker, topic)?;
    lookup::partition(broker, &topic, wanted.partition_index)?;
    let replicas: &[BrokerId] = wanted.replicas.as_deref().ok_or(ReassignmentError::NothingToCancel)?;
    Ok(check_replicas(broker.node_id(), wanted.partition_index, replicas)?)
}
