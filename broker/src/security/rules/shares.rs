//! Share groups and their offsets.
//!
//! | request | needs | without it |
//! |---|---|---|
//! | ShareGroupHeartbeat | Read Group, Describe of the topics subscribed to | the whole request |
//! | ShareFetch, ShareAcknowledge | Read Group; Read Topic, which their handlers ask, since sessions remember topics | the whole request, per partition |
//! | ShareGroupDescribe | Describe Group, Describe of its topics | per group |
//! | DescribeShareGroupOffsets | Describe Group, Describe Topic | per group, per topic (or left out of "all") |
//! | AlterShareGroupOffsets | Read Group, Read Topic | the whole request, per topic |
//! | DeleteShareGroupOffsets | Delete Group, Read Topic | the whole request, per topic |
use kafka_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use kafka_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use kafka_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use kafka_protocol::messages::share_group_describe_response::DescribedGroup;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::{Access, GROUP_REFUSED, Guarded, TOPIC_REFUSED, Verdict, take_refused};
use crate::api::authorized;
use crate::error_code::ErrorCode;
use crate::security::acl::{Operation, ResourceType};

impl Guarded for ShareGroupHeartbeatRequest {
    type Response = ShareGroupHeartbeatResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ShareGroupHeartbeatResponse> {
        let refused = |code: ErrorCode, operation| {
            let answer = ShareGroupHeartbeatResponse::default().with_error_code(code.code()).with_member_id(None);
            Verdict::refused(answer.with_error_message(access.message(code, operation)))
        };
        if !access.group(Operation::Read, &self.group_id) {
            return refused(ErrorCode::GroupAuthorizationFailed, Operation::Read);
        }
        let names = self.subscribed_topic_names.iter().flatten();
        if names.filter(|name| !access.topic(Operation::Describe, name)).count() > 0 {
            return refused(ErrorCode::TopicAuthorizationFailed, Operation::Describe);
        }
        Verdict::Allowed
    }
}

/// Requests of members that read: Read Group, or one error for the whole answer.
macro_rules! of_readers {
    ($($request:ident => $response:ident),* $(,)?) => {$(
        impl Guarded for $request {
            type Response = $response;

            fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, $response> {
                let group = self.group_id.as_deref().map_or("", |group| group.as_str());
                if access.group(Operation::Read, group) {
                    return Verdict::Allowed;
                }
                let message = access.message(ErrorCode::GroupAuthorizationFailed, Operation::Read);
                Verdict::refused($response::default().with_error_code(GROUP_REFUSED).with_error_message(message))
            }
        }
    )*};
}

of_readers! {
    ShareFetchRequest => ShareFetchResponse,
    ShareAcknowledgeRequest => ShareAcknowledgeResponse,
}

impl Guarded for ShareGroupDescribeRequest {
    type Response = ShareGroupDescribeResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ShareGroupDescribeResponse> {
        let refused = take_refused(&mut self.group_ids, |group| access.group(Operation::Describe, group));
        Verdict::completed(move |answer: &mut Self::Response| {
            for group in &mut answer.groups {
                hide_topics(access, group);
                let field = &mut group.authorized_operations;
                access.correct(field, ResourceType::Group, &group.group_id, authorized::GROUP);
            }
            let message = access.message(ErrorCode::GroupAuthorizationFailed, Operation::Describe);
            answer.groups.extend(refused.into_iter().map(|group| {
                DescribedGroup::default()
                    .with_error_code(GROUP_REFUSED)
                    .with_error_message(message.clone())
                    .with_group_id(group)
            }));
        })
    }
}

/// A group is shown whole or not at all, as Kafka does: with a topic the client may not describe, none of its members are.
fn hide_topics(access: &Access, group: &mut DescribedGroup) {
    let names = group.members.iter().flat_map(|member| {
        let assigned = member.assignment.topic_partitions.iter().map(|assigned| &assigned.topic_name);
        member.subscribed_topic_names.iter().chain(assigned)
    });
    let may = |name: &TopicName| access.would_allow(Operation::Describe, ResourceType::Topic, name);
    if names.into_iter().all(may) {
        return;
    }
    group.error_code = TOPIC_REFUSED;
    let message = "The group has described topic(s) that the client is not authorized to describe.";
    group.error_message = Some(StrBytes::from_static_str(message));
    group.members.clear();
}

impl Guarded for DescribeShareGroupOffsetsRequest {
    type Response = DescribeShareGroupOffsetsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeShareGroupOffsetsResponse> {
        let groups = take_refused(&mut self.groups, |group| access.group(Operation::Describe, &group.group_id));
        let mut topics = Vec::new();
        for group in &mut self.groups {
            if let Some(list) = &mut group.topics {
                let refused = take_refused(list, |topic| access.topic(Operation::Describe, &topic.topic_name));
                topics.push((group.group_id.clone(), refused));
            }
        }
        Verdict::completed(move |answer: &mut Self::Response| {
            let may = |name: &TopicName| access.would_allow(Operation::Describe, ResourceType::Topic, name);
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Describe);
            for group in &mut answer.groups {
                group.topics.retain(|topic| may(&topic.topic_name));
                let mine = topics.iter_mut().find(|(id, _)| *id == group.group_id);
                let refused = mine.map(|(_, topics)| std::mem::take(topics)).unwrap_or_default();
                if group.error_code != 0 {
                    continue;
                }
                group.topics.extend(refused.into_iter().map(|topic| {
                    let partitions = topic.partitions.iter().map(|index| {
                        DescribeShareGroupOffsetsResponsePartition::default()
                            .with_partition_index(*index)
                            .with_start_offset(-1)
                            .with_error_code(TOPIC_REFUSED)
                            .with_error_message(message.clone())
                    });
                    let partitions = partitions.collect();
                    DescribeShareGroupOffsetsResponseTopic::default()
                        .with_topic_name(topic.topic_name)
                        .with_partitions(partitions)
                }));
            }
            let message = access.message(ErrorCode::GroupAuthorizationFailed, Operation::Describe);
            answer.groups.extend(groups.into_iter().map(|group| {
                DescribeShareGroupOffsetsResponseGroup::default()
                    .with_group_id(group.group_id)
                    .with_error_code(GROUP_REFUSED)
                    .with_error_message(message.clone())
            }));
        })
    }
}

impl Guarded for AlterShareGroupOffsetsRequest {
    type Response = AlterShareGroupOffsetsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(vec![self.group_id.to_string()])
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, AlterShareGroupOffsetsResponse> {
        if !access.group(Operation::Read, &self.group_id) {
            let message = access.message(ErrorCode::GroupAuthorizationFailed, Operation::Read);
            let answer = AlterShareGroupOffsetsResponse::default().with_error_code(GROUP_REFUSED);
            return Verdict::refused(answer.with_error_message(message));
        }
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Read, &topic.topic_name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            if answer.error_code != 0 {
                return;
            }
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Read);
            answer.responses.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    AlterShareGroupOffsetsResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(TOPIC_REFUSED)
                        .with_error_message(message.clone())
                });
                let partitions = partitions.collect();
                AlterShareGroupOffsetsResponseTopic::default()
                    .with_topic_name(topic.topic_name)
                    .with_partitions(partitions)
            }));
        })
    }
}

impl Guarded for DeleteShareGroupOffsetsRequest {
    type Response = DeleteShareGroupOffsetsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(vec![self.group_id.to_string()])
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DeleteShareGroupOffsetsResponse> {
        if !access.group(Operation::Delete, &self.group_id) {
            let message = access.message(ErrorCode::GroupAuthorizationFailed, Operation::Delete);
            let answer = DeleteShareGroupOffsetsResponse::default().with_error_code(GROUP_REFUSED);
            return Verdict::refused(answer.with_error_message(message));
        }
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Read, &topic.topic_name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            if answer.error_code != 0 {
                return;
            }
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Read);
            answer.responses.extend(refused.into_iter().map(|topic| {
                DeleteShareGroupOffsetsResponseTopic::default()
                    .with_topic_name(topic.topic_name)
                    .with_error_code(TOPIC_REFUSED)
                    .with_error_message(message.clone())
            }));
        })
    }
}
