//! AlterShareGroupOffsets (key 91): lets a share group without members read on from other offsets.
//!
//! Version 0. KIP-932. Errors, whole request: GROUP_ID_NOT_FOUND (a group of another type, or none), NON_EMPTY_GROUP,
//! COORDINATOR_LOAD_IN_PROGRESS; per partition: UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST (a negative offset),
//! COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponse, AlterShareGroupOffsetsResponsePartition as Partition,
    AlterShareGroupOffsetsResponseTopic as Topic,
};
use kafka_protocol::messages::{AlterShareGroupOffsetsRequest, ApiKey};
use thiserror::Error;

use super::lookup::{self, LookupError};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::group::GroupError;
use crate::group::coordinator::ShareGroupNow;
use crate::share::{ShareError, ShareKey};

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterShareGroupOffsets, 0, 0);

#[derive(Debug, Error)]
enum AlterError {
    #[error("a share group cannot begin at the offset {0}: it must not be negative")]
    Negative(i64),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl KafkaError for AlterError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AlterError::Negative(_) => ErrorCode::InvalidRequest,
            AlterError::Lookup(error) => error.error_code(),
            AlterError::Share(error) => error.error_code(),
        }
    }
}

/// Sets partition by partition.
pub async fn handle(broker: &Broker, request: AlterShareGroupOffsetsRequest) -> AlterShareGroupOffsetsResponse {
    // As in Kafka: topics that are none are answered so whatever the group is.
    let any = request.topics.iter().any(|topic| broker.topics.get(&topic.topic_name).is_some());
    if any && let Err(error) = check_empty(broker, &request.group_id) {
        return AlterShareGroupOffsetsResponse::default()
            .with_error_code(error.wire_code())
            .with_error_message(Some(wire(error.to_string())));
    }
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        responses.push(alter(broker, &request.group_id, topic).await);
    }
    AlterShareGroupOffsetsResponse::default().with_error_message(None).with_responses(responses)
}

/// A share group that nobody reads for.
pub(super) fn check_empty(broker: &Broker, group: &str) -> Result<(), GroupError> {
    match broker.groups.share_group(group)? {
        ShareGroupNow::Unknown => Err(GroupError::GroupIdNotFound),
        ShareGroupNow::OtherType => Err(GroupError::OtherGroupType { wanted: "share" }),
        ShareGroupNow::Active => Err(GroupError::NonEmptyGroup),
        ShareGroupNow::Empty => Ok(()),
    }
}

async fn alter(broker: &Broker, group: &str, topic: AlterShareGroupOffsetsRequestTopic) -> Topic {
    let id = broker.topics.get(&topic.topic_name).map(|found| found.id.0).unwrap_or_default();
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for wanted in topic.partitions {
        let altered = set(broker, group, &topic.topic_name, wanted.partition_index, wanted.start_offset).await;
        let answer = Partition::default().with_partition_index(wanted.partition_index).with_error_message(None);
        partitions.push(match altered {
            Ok(()) => answer,
            Err(error) => answer.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        });
    }
    Topic::default().with_topic_name(topic.topic_name).with_topic_id(id).with_partitions(partitions)
}

async fn set(broker: &Broker, group: &str, topic: &str, partition: i32, start: i64) -> Result<(), AlterError> {
    let found = lookup::topic_named(broker, topic)?;
    lookup::partition(broker, &found, partition)?;
    if start < 0 {
        return Err(AlterError::Negative(start));
    }
    let key = ShareKey { group: group.into(), topic: found.id, partition };
    broker.shares.set_start(&key, start).await?;
    tracing::info!(group, topic, partition, start, "start offset of a share group set");
    Ok(())
}
