//! OffsetDelete (key 47): single committed offsets of a group.
//!
//! Version 0. KIP-496. Errors: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, COORDINATOR_LOAD_IN_PROGRESS for the request;
//! UNKNOWN_TOPIC_OR_PARTITION, GROUP_SUBSCRIBED_TO_TOPIC per partition.
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest};

use super::{Versions, lookup};
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::group::offsets::PartitionName;

pub const VERSIONS: Versions = Versions::new(ApiKey::OffsetDelete, 0, 0);

/// Deletes the offsets of topics that exist; those of deleted topics went with them.
pub async fn handle(broker: &Broker, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    // Looked up once, so that the verdicts stay aligned while topics come and go.
    let missing: Vec<Option<i16>> = request
        .topics
        .iter()
        .map(|topic| lookup::topic_named(broker, &topic.name).err().map(|error| error.wire_code()))
        .collect();
    let mut known: Vec<PartitionName> = Vec::new();
    for (topic, _) in request.topics.iter().zip(&missing).filter(|(_, missing)| missing.is_none()) {
        known.extend(topic.partitions.iter().map(|p| (topic.name.to_string(), p.partition_index)));
    }
    let verdicts = match broker.groups.delete_offsets(&request.group_id, &known).await {
        Ok(verdicts) => verdicts,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.wire_code()),
    };
    let mut verdicts = verdicts.into_iter();
    let topics = request.topics.into_iter().zip(missing).map(|(topic, missing)| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let code = missing.unwrap_or_else(|| match verdicts.next() {
                Some(Err(error)) => error.wire_code(),
                Some(Ok(())) | None => NONE,
            });
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetDeleteResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
