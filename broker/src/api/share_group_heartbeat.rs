//! ShareGroupHeartbeat (key 76): a member of a share group joins, stays, learns what it is to read, leaves.
//!
//! Version 1 (0 was Kafka 4.0's preview). KIP-932. Errors: INVALID_REQUEST (a view, too), UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH,
//! GROUP_MAX_SIZE_REACHED, GROUP_ID_NOT_FOUND (also for groups of another type), COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE.
use std::collections::BTreeSet;

use kafka_protocol::messages::share_group_heartbeat_response::{
    Assignment, ShareGroupHeartbeatResponse, TopicPartitions,
};
use kafka_protocol::messages::{ApiKey, ShareGroupHeartbeatRequest};

use super::consumer_group_heartbeat::by_topic;
use super::{Versions, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::KafkaError;
use crate::group::GroupError;
use crate::group::consumer::TopicPartition;
use crate::group::share::{ShareHeartbeat, ShareHeartbeatReply, ShareMemberEpoch};

pub const VERSIONS: Versions = Versions::new(ApiKey::ShareGroupHeartbeat, 1, 1);

/// Answers when what it tells of the group is durable.
pub async fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    request: ShareGroupHeartbeatRequest,
) -> ShareGroupHeartbeatResponse {
    let group = request.group_id.to_string();
    let plan = plan(ctx, request).and_then(|heartbeat| {
        refuse_views(broker, &heartbeat)?;
        Ok(heartbeat)
    });
    let reply = match plan {
        Ok(heartbeat) => broker.groups.share_heartbeat(&group, heartbeat).await,
        Err(error) => Err(error),
    };
    answer(reply)
}

/// A view stores nothing: who reads it is given what a scan makes of its source, which a share group cannot acquire.
fn refuse_views(broker: &Broker, heartbeat: &ShareHeartbeat) -> Result<(), GroupError> {
    let is_view = |name: &String| broker.topics.get(name).is_some_and(|topic| topic.view.is_some());
    if heartbeat.topics.iter().flatten().any(is_view) {
        let detail = "A share group cannot subscribe to a view (weir.view.source); subscribe to its source.";
        return Err(GroupError::InvalidRequest { detail });
    }
    Ok(())
}

fn plan(ctx: &RequestContext, request: ShareGroupHeartbeatRequest) -> Result<ShareHeartbeat, GroupError> {
    let epoch = validate(&request)?;
    Ok(ShareHeartbeat {
        member_id: request.member_id.to_string(),
        epoch,
        rack_id: request.rack_id.map(|id| id.to_string()),
        topics: request.subscribed_topic_names.map(|names| names.iter().map(|name| name.to_string()).collect()),
        client_id: ctx.client_id.clone().unwrap_or_default(),
        client_host: ctx.client_host(),
    })
}

/// What cannot be right whatever the group is.
fn validate(request: &ShareGroupHeartbeatRequest) -> Result<ShareMemberEpoch, GroupError> {
    let invalid = |detail| Err(GroupError::InvalidRequest { detail });
    if request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if request.rack_id.as_ref().is_some_and(|rack| rack.trim().is_empty()) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        -1 => Ok(ShareMemberEpoch::Leave),
        0 if request.subscribed_topic_names.as_ref().is_none_or(Vec::is_empty) => {
            invalid("SubscribedTopicNames must be set in first request.")
        }
        0 => Ok(ShareMemberEpoch::Join),
        epoch if epoch < 0 => invalid("MemberEpoch is invalid."),
        epoch => Ok(ShareMemberEpoch::Current(epoch)),
    }
}

fn answer(reply: Result<ShareHeartbeatReply, GroupError>) -> ShareGroupHeartbeatResponse {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            return ShareGroupHeartbeatResponse::default()
                .with_error_code(error.wire_code())
                .with_error_message(Some(wire(error.to_string())))
                .with_member_id(None);
        }
    };
    ShareGroupHeartbeatResponse::default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::{GroupId, TopicName};
    use kafka_protocol::protocol::Encodable;
    use uuid::Uuid;
    use weir_protocol::ids::TopicId;

    fn joining() -> ShareGroupHeartbeatRequest {
        ShareGroupHeartbeatRequest::default()
            .with_group_id(GroupId(wire("g")))
            .with_member_id(wire("m"))
            .with_subscribed_topic_names(Some(vec![TopicName(wire("t"))]))
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let bad = |request: ShareGroupHeartbeatRequest| validate(&request).is_err();
        assert_eq!(validate(&joining()), Ok(ShareMemberEpoch::Join));
        assert_eq!(validate(&joining().with_member_epoch(7)), Ok(ShareMemberEpoch::Current(7)));
        assert_eq!(validate(&joining().with_member_epoch(-1)), Ok(ShareMemberEpoch::Leave));
        assert!(bad(joining().with_group_id(GroupId(wire("")))));
        assert!(bad(joining().with_member_id(wire(" "))));
        assert!(bad(joining().with_rack_id(Some(wire("")))));
        assert!(bad(joining().with_subscribed_topic_names(None)));
        assert!(bad(joining().with_subscribed_topic_names(Some(Vec::new()))));
        assert!(bad(joining().with_member_epoch(-2)));
    }

    #[test]
    fn every_version_encodes_success_and_error() {
        let reply = ShareHeartbeatReply {
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
