//! ConsumerGroupHeartbeat (key 68): a member of the consumer protocol joins, stays, follows its assignment, leaves.
//!
//! Versions 0-1. KIP-848; 1: the client makes up its member id, and may subscribe by a regular expression. Errors:
//! INVALID_REQUEST, UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, UNRELEASED_INSTANCE_ID, FENCED_INSTANCE_ID, UNSUPPORTED_ASSIGNOR,
//! INVALID_REGULAR_EXPRESSION, GROUP_MAX_SIZE_REACHED, GROUP_ID_NOT_FOUND, COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE.
use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use kafka_protocol::messages::{ApiKey, ConsumerGroupHeartbeatRequest};
use uuid::Uuid;
use weir_protocol::ids::TopicId;

use super::{Versions, given, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::KafkaError;
use crate::group::GroupError;
use crate::group::consumer::{HeartbeatReply, HeartbeatRequest, MemberEpoch, TopicPartition};

pub const VERSIONS: Versions = Versions::new(ApiKey::ConsumerGroupHeartbeat, 0, 1);

/// First version in which the client makes up its member id.
const OWN_ID_SINCE: i16 = 1;

/// Answers when what it tells of the group is durable.
pub async fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.to_string();
    let reply = match plan(ctx, version, request) {
        Ok(heartbeat) => broker.groups.consumer_heartbeat(&group, heartbeat).await,
        Err(error) => Err(error),
    };
    answer(reply)
}

fn plan(
    ctx: &RequestContext,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<HeartbeatRequest, GroupError> {
    let epoch = validate(version, &request)?;
    // In version 0 a new member comes without an id.
    let member_id = if request.member_id.is_empty() { kafka_uuid() } else { request.member_id.to_string() };
    let owned = request.topic_partitions.map(|topics| {
        let flat = topics
            .into_iter()
            .flat_map(|topic| topic.partitions.into_iter().map(move |partition| (TopicId(topic.topic_id), partition)));
        flat.collect::<BTreeSet<TopicPartition>>()
    });
    Ok(HeartbeatRequest {
        member_id,
        epoch,
        instance_id: request.instance_id.map(|id| id.to_string()),
        rack_id: request.rack_id.map(|id| id.to_string()),
        rebalance_timeout_ms: given(request.rebalance_timeout_ms),
        topics: request.subscribed_topic_names.map(|names| names.iter().map(|name| name.to_string()).collect()),
        regex: request.subscribed_topic_regex.map(|regex| regex.to_string()),
        assignor: request.server_assignor.map(|name| name.to_string()),
        owned,
        client_id: ctx.client_id.clone().unwrap_or_default(),
        client_host: ctx.client_host(),
    })
}

fn kafka_uuid() -> String {
    crate::broker::kafka_id(Uuid::new_v4())
}

/// What cannot be right whatever the group is.
fn validate(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<MemberEpoch, GroupError> {
    let invalid = |detail| Err(GroupError::InvalidRequest { detail });
    let epoch = match request.member_epoch {
        0 => MemberEpoch::Join,
        -1 => MemberEpoch::Leave,
        -2 => MemberEpoch::LeaveForNow,
        epoch => MemberEpoch::Current(epoch),
    };
    let is_empty = |text: &Option<_>| {
        text.as_ref().is_some_and(|text: &kafka_protocol::protocol::StrBytes| text.trim().is_empty())
    };
    let names_itself = version >= OWN_ID_SINCE || epoch != MemberEpoch::Join;
    if names_itself && request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        MemberEpoch::Join if request.rebalance_timeout_ms == -1 => {
            invalid("RebalanceTimeoutMs must be provided in first request.")
        }
        MemberEpoch::Join if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            invalid("TopicPartitions must be empty when (re-)joining.")
        }
        MemberEpoch::Join if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
        }
        MemberEpoch::LeaveForNow if request.instance_id.is_none() => invalid("InstanceId can't be null."),
        MemberEpoch::Current(epoch) if epoch < 0 => invalid("MemberEpoch is invalid."),
        epoch => Ok(epoch),
    }
}

fn answer(reply: Result<HeartbeatReply, GroupError>) -> ConsumerGroupHeartbeatResponse {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            return ConsumerGroupHeartbeatResponse::default()
                .with_error_code(error.wire_code())
                .with_error_message(Some(wire(error.to_string())))
                .with_member_id(None);
        }
    };
    ConsumerGroupHeartbeatResponse::default()
        .with_error_message(None)
        .with_member_id(Some(wire(reply.member_id)))
        .with_member_epoch(reply.epoch)
        .with_heartbeat_interval_ms(reply.heartbeat_interval_ms)
        .with_assignment(reply.assignment.map(assignment))
}

fn assignment(partitions: BTreeSet<TopicPartition>) -> Assignment {
    let topics = by_topic(partitions)
        .into_iter()
        .map(|(topic, partitions)| TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions));
    Assignment::default().with_topic_partitions(topics.collect())
}

/// Partitions by topic, both in order.
pub fn by_topic(partitions: impl IntoIterator<Item = TopicPartition>) -> BTreeMap<TopicId, Vec<i32>> {
    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition);
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
    use kafka_protocol::protocol::Encodable;

    fn joining() -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(wire("g")))
            .with_member_id(wire("m"))
            .with_rebalance_timeout_ms(1_000)
            .with_subscribed_topic_names(Some(Vec::new()))
            .with_topic_partitions(Some(Vec::new()))
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let bad = |request: ConsumerGroupHeartbeatRequest| validate(1, &request).is_err();
        assert_eq!(validate(1, &joining()), Ok(MemberEpoch::Join));
        assert!(bad(joining().with_group_id(GroupId(wire("")))));
        assert!(bad(joining().with_member_id(wire(""))));
        assert_eq!(validate(0, &joining().with_member_id(wire(""))), Ok(MemberEpoch::Join));
        assert!(bad(joining().with_instance_id(Some(wire("")))));
        assert!(bad(joining().with_rack_id(Some(wire("")))));
        assert!(bad(joining().with_rebalance_timeout_ms(-1)));
        assert!(bad(joining().with_topic_partitions(None)));
        assert!(bad(joining().with_topic_partitions(Some(vec![Owned::default()]))));
        assert!(bad(joining().with_subscribed_topic_names(None)));
        assert!(bad(joining().with_member_epoch(-2)));
        assert!(bad(joining().with_member_epoch(-3)));
        assert_eq!(validate(1, &joining().with_member_epoch(7)), Ok(MemberEpoch::Current(7)));
    }

    #[test]
    fn every_version_encodes_success_and_error() {
        let reply = HeartbeatReply {
            member_id: "m".into(),
            epoch: 3,
            heartbeat_interval_ms: 5_000,
            assignment: Some([(TopicId(Uuid::from_u128(1)), 0)].into()),
        };
        for version in VERSIONS.min..=VERSIONS.max {
            for reply in [Ok(reply.clone()), Err(GroupError::UnknownMemberId)] {
                answer(reply).encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
