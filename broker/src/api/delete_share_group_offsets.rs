//! DeleteShareGroupOffsets (key 92): a share group without members forgets what it has done with topics.
//!
//! Version 0. KIP-932. Errors, whole request: GROUP_ID_NOT_FOUND (a group of another type, or none), NON_EMPTY_GROUP,
//! COORDINATOR_LOAD_IN_PROGRESS; per topic: UNKNOWN_TOPIC_OR_PARTITION (also one that the group never read),
//! COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::delete_share_group_offsets_response::{
    DeleteShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponseTopic as Topic,
};
use kafka_protocol::messages::{ApiKey, DeleteShareGroupOffsetsRequest, TopicName};

use super::alter_share_group_offsets::check_empty;
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};

pub const VERSIONS: Versions = Versions::new(ApiKey::DeleteShareGroupOffsets, 0, 0);

/// Forgets topic by topic.
pub async fn handle(broker: &Broker, request: DeleteShareGroupOffsetsRequest) -> DeleteShareGroupOffsetsResponse {
    if let Err(error) = check_empty(broker, &request.group_id) {
        return DeleteShareGroupOffsetsResponse::default()
            .with_error_code(error.wire_code())
            .with_error_message(Some(wire(error.to_string())));
    }
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        responses.push(delete(broker, &request.group_id, topic.topic_name).await);
    }
    DeleteShareGroupOffsetsResponse::default().with_error_message(None).with_responses(responses)
}

async fn delete(broker: &Broker, group: &str, name: TopicName) -> Topic {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let failed = |topic: Topic, code: ErrorCode, message: String| {
        topic.with_error_code(code.code()).with_error_message(Some(wire(message)))
    };
    let answer = Topic::default().with_topic_name(name.clone()).with_error_message(None);
    let Some(found) = broker.topics.get(&name) else {
        return failed(answer, unknown, format!("topic `{}` does not exist", name.as_str()));
    };
    let answer = answer.with_topic_id(found.id.0);
    match broker.shares.delete(group, Some(found.id)).await {
        Ok(true) => {
            tracing::info!(group, topic = found.name, "offsets of a share group deleted");
            answer
        }
        Ok(false) => failed(answer, unknown, format!("the group has never read topic `{}`", name.as_str())),
        Err(error) => failed(answer, error.error_code(), error.to_string()),
    }
}
