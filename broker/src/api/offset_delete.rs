//! OffsetDelete (key 47): single committed offsets of a group.
//!
//! Version 0. KIP-496. Errors: INVALID_GROUP_ID, GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, COORDINATOR_LOAD_IN_PROGRESS for the request;
//! UNKNOWN_TOPIC_OR_PARTITION, GROUP_SUBSCRIBED_TO_TOPIC per partition.
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest};

use super::{Versions, lookup};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};
use crate::group::offsets::PartitionName;

pub const VERSIONS: Versions = Versions::new(ApiKey::OffsetDelete, 0, 0);

/// Deletes the offsets of topics that exist; those of deleted topics went with them.
pub async fn handle(broker: &Broker, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    // Looked up once, so that the verdicts stay aligned while topics come and go.
    let counts: Vec<i32> = request
        .topics
        .iter()
        .map(|topic| lookup::topic_named(broker, &topic.name).map_or(0, |topic| topic.partitions))
        .collect();
    let mut known: Vec<PartitionName> = Vec::new();
    for (topic, count) in request.topics.iter().zip(&counts) {
        let indexes = topic.partitions.iter().map(|p| p.partition_index).filter(|index| (0..*count).contains(index));
        known.extend(indexes.map(|index| (topic.name.to_string(), index)));
    }
    let verdicts = match broker.groups.delete_offsets(&request.group_id, &known).await {
        Ok(verdicts) => verdicts,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.wire_code()),
    };
    let mut verdicts = verdicts.into_iter();
    let topics = request.topics.into_iter().zip(counts).map(|(topic, count)| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let code = match (0..count).contains(&partition.partition_index) {
                false => ErrorCode::UnknownTopicOrPartition.code(),
                true => verdicts.next().and_then(Result::err).map_or(NONE, |error| error.wire_code()),
            };
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetDeleteResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
