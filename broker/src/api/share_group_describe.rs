//! ShareGroupDescribe (key 77): share groups with their epochs, members and what each reads.
//!
//! Version 1. KIP-932, KIP-430 (authorized operations). Errors per group: GROUP_ID_NOT_FOUND (also for groups of another type),
//! COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, ShareGroupDescribeResponse, TopicPartitions,
};
use kafka_protocol::messages::{ApiKey, GroupId, ShareGroupDescribeRequest, TopicName};

use super::consumer_group_heartbeat::by_topic;
use super::{Versions, authorized, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::group::GroupError;
use crate::group::coordinator::ShareDescription;
use crate::group::share::{ASSIGNOR, ShareMember};
use crate::topics::TopicImage;

pub const VERSIONS: Versions = Versions::new(ApiKey::ShareGroupDescribe, 1, 1);

/// Describes group by group.
pub fn handle(broker: &Broker, request: ShareGroupDescribeRequest) -> ShareGroupDescribeResponse {
    let operations = authorized::if_asked(request.include_authorized_operations, authorized::GROUP);
    let groups = request.group_ids.into_iter().map(|group| {
        let description = broker.groups.describe_share(&group);
        answer(group, description).with_authorized_operations(operations)
    });
    ShareGroupDescribeResponse::default().with_groups(groups.collect())
}

fn answer(group: GroupId, description: Result<ShareDescription, GroupError>) -> DescribedGroup {
    let response = DescribedGroup::default().with_group_id(group).with_error_message(None);
    let description = match description {
        Ok(description) => description,
        Err(error) => {
            return response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string())));
        }
    };
    let members = description.members.iter().map(|found| member(found, &description.topics));
    response
        .with_group_state(wire(description.state))
        .with_group_epoch(description.epoch)
        .with_assignment_epoch(description.assignment_epoch)
        .with_assignor_name(wire(ASSIGNOR))
        .with_members(members.collect())
}

fn member(found: &ShareMember, topics: &TopicImage) -> Member {
    let names = found.topics.iter().map(|name| TopicName(wire(name.as_str())));
    Member::default()
        .with_member_id(wire(found.id.as_str()))
        .with_rack_id(found.rack_id.clone().map(wire))
        .with_member_epoch(found.epoch)
        .with_client_id(wire(found.client_id.as_str()))
        .with_client_host(wire(found.client_host.as_str()))
        .with_subscribed_topic_names(names.collect())
        .with_assignment(assignment(found, topics))
}

/// Partitions of topics that still exist.
fn assignment(member: &ShareMember, topics: &TopicImage) -> Assignment {
    let named = by_topic(member.assigned.iter().copied()).into_iter().filter_map(|(topic, partitions)| {
        let name = TopicName(wire(topics.name_of(topic)?));
        Some(TopicPartitions::default().with_topic_id(topic.0).with_topic_name(name).with_partitions(partitions))
    });
    Assignment::default().with_topic_partitions(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::broker;
    use crate::group::share::{ShareHeartbeat, ShareMemberEpoch};
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    #[tokio::test]
    async fn members_are_shown_with_what_they_read() {
        let broker = broker().await;
        let topic = broker.topic("t", 2, &[]).await;
        while !broker.groups.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let joining = ShareHeartbeat {
            member_id: "m".into(),
            epoch: ShareMemberEpoch::Join,
            rack_id: None,
            topics: Some(vec!["t".to_owned()]),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
        };
        broker.groups.share_heartbeat("g", joining).await.unwrap();
        let names = ["g", "none"].map(|name| GroupId(wire(name)));
        let response = handle(&broker, ShareGroupDescribeRequest::default().with_group_ids(names.into()));
        let group = &response.groups[0];
        assert_eq!(
            (group.group_state.as_str(), group.group_epoch, group.assignor_name.as_str()),
            ("Stable", 1, "simple")
        );
        let member = &group.members[0];
        assert_eq!(member.assignment.topic_partitions[0].topic_id, topic.id.0);
        assert_eq!(member.assignment.topic_partitions[0].partitions, [0, 1]);
        assert_eq!(response.groups[1].error_code, 69);
        response.encode(&mut BytesMut::new(), VERSIONS.max).unwrap();
    }
}
