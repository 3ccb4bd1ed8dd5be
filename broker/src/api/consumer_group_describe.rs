//! ConsumerGroupDescribe (key 69): groups of the consumer protocol with their epochs, members and assignments.
//!
//! Versions 0-1. KIP-848, KIP-430 (authorized operations), KIP-1099 (member types, 1). Errors per group: GROUP_ID_NOT_FOUND
//! (also for classic groups), COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup, Member as DescribedMember, TopicPartitions,
};
use kafka_protocol::messages::{ApiKey, ConsumerGroupDescribeRequest, GroupId, TopicName};

use super::consumer_group_heartbeat::by_topic;
use super::{Versions, authorized, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::group::GroupError;
use crate::group::consumer::{Member, TopicPartition};
use crate::group::coordinator::ConsumerDescription;
use crate::topics::TopicImage;

pub const VERSIONS: Versions = Versions::new(ApiKey::ConsumerGroupDescribe, 0, 1);

/// First version that tells members of the classic protocol from others.
const MEMBER_TYPE_SINCE: i16 = 1;

/// Describes group by group.
pub fn handle(broker: &Broker, version: i16, request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let operations = authorized::if_asked(request.include_authorized_operations, authorized::GROUP);
    let groups = request.group_ids.into_iter().map(|group| {
        let description = broker.groups.describe_consumer(&group);
        answer(version, group, description).with_authorized_operations(operations)
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

fn answer(version: i16, group: GroupId, description: Result<ConsumerDescription, GroupError>) -> DescribedGroup {
    let response = DescribedGroup::default().with_group_id(group).with_error_message(None);
    let description = match description {
        Ok(description) => description,
        Err(error) => {
            return response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string())));
        }
    };
    let topics = &description.topics;
    let members = description.members.into_iter().map(|(found, target)| member(version, found, target, topics));
    response
        .with_group_state(wire(description.state))
        .with_group_epoch(description.epoch)
        .with_assignment_epoch(description.assignment_epoch)
        .with_assignor_name(wire(description.assignor))
        .with_members(members.collect())
}

fn member(version: i16, found: Member, target: Vec<TopicPartition>, topics: &TopicImage) -> DescribedMember {
    let names = found.topics.iter().map(|name| TopicName(wire(name.as_str())));
    let response = DescribedMember::default()
        .with_member_id(wire(found.id.as_str()))
        .with_instance_id(found.instance_id.clone().map(wire))
        .with_rack_id(found.rack_id.clone().map(wire))
        .with_member_epoch(if found.away { -2 } else { found.epoch })
        .with_client_id(wire(found.client_id.as_str()))
        .with_client_host(wire(found.client_host.as_str()))
        .with_subscribed_topic_names(names.collect())
        .with_subscribed_topic_regex(Some(wire(found.regex.clone().unwrap_or_default())))
        .with_assignment(assignment(found.assigned.keys().copied(), topics))
        .with_target_assignment(assignment(target, topics));
    // 0 speaks the classic protocol, 1 the consumer protocol.
    let kind = i8::from(found.classic.is_none());
    if version >= MEMBER_TYPE_SINCE { response.with_member_type(kind) } else { response }
}

/// Partitions of topics that still exist.
fn assignment(partitions: impl IntoIterator<Item = TopicPartition>, topics: &TopicImage) -> Assignment {
    let named = by_topic(partitions).into_iter().filter_map(|(topic, partitions)| {
        let name = topics.name_of(topic)?;
        Some(
            TopicPartitions::default()
                .with_topic_id(topic.0)
                .with_topic_name(TopicName(wire(name)))
                .with_partitions(partitions),
        )
    });
    Assignment::default().with_topic_partitions(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::broker;
    use crate::group::consumer::{HeartbeatRequest, MemberEpoch};
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    fn joining(topic: &str) -> HeartbeatRequest {
        HeartbeatRequest {
            member_id: "m".into(),
            epoch: MemberEpoch::Join,
            instance_id: Some("i".into()),
            rack_id: None,
            rebalance_timeout_ms: Some(1_000),
            topics: Some(vec![topic.to_owned()]),
            regex: None,
            assignor: Some("range".into()),
            owned: Some([].into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
        }
    }

    #[tokio::test]
    async fn members_are_shown_with_what_they_own_and_are_to_own() {
        let broker = broker().await;
        let topic = broker.topic("t", 2, &[]).await;
        while !broker.groups.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        broker.groups.consumer_heartbeat("g", joining("t")).await.unwrap();
        let ask = |names: &[&'static str]| {
            ConsumerGroupDescribeRequest::default().with_group_ids(names.iter().map(|n| GroupId(wire(*n))).collect())
        };
        for version in VERSIONS.min..=VERSIONS.max {
            let response = handle(&broker, version, ask(&["g", "none"]));
            let group = &response.groups[0];
            assert_eq!(
                (group.group_state.as_str(), group.group_epoch, group.assignor_name.as_str()),
                ("Stable", 1, "range")
            );
            let member = &group.members[0];
            assert_eq!(member.assignment.topic_partitions[0].topic_id, topic.id.0);
            assert_eq!(member.assignment.topic_partitions[0].partitions, [0, 1]);
            assert_eq!(member.assignment, member.target_assignment);
            assert_eq!(response.groups[1].error_code, 69);
            response.encode(&mut BytesMut::new(), version).unwrap();
        }
    }
}
