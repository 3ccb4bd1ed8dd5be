//! Groups and their offsets.
//!
//! | request | needs | without it |
//! |---|---|---|
//! | JoinGroup, SyncGroup, Heartbeat, LeaveGroup | Read Group | the whole request |
//! | ConsumerGroupHeartbeat | Read Group, Describe of the topics subscribed to by name | the whole request |
//! | OffsetCommit | Read Group, Read Topic | everything, per topic |
//! | OffsetFetch | Describe Group, Describe Topic | per group, per topic (or left out of "all") |
//! | OffsetDelete | Delete Group, Read Topic | the whole request, per topic |
//! | FindCoordinator | Describe Group or TransactionalId | per key |
//! | DescribeGroups, ConsumerGroupDescribe | Describe Group | per group |
//! | DeleteGroups | Delete Group | per group |
//! | ListGroups | Describe Cluster, or Describe Group | left out |
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::{Access, GROUP_REFUSED, Guarded, TOPIC_REFUSED, TRANSACTIONAL_ID_REFUSED, Verdict, take_refused};
use crate::api::authorized;
use crate::error_code::ErrorCode;
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};

/// Requests of members: Read Group, or one error for the whole answer.
macro_rules! of_members {
    ($($request:ident => $response:ident),* $(,)?) => {$(
        impl Guarded for $request {
            type Response = $response;

            fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, $response> {
                if access.group(Operation::Read, &self.group_id) {
                    return Verdict::Allowed;
                }
                Verdict::refused($response::default().with_error_code(GROUP_REFUSED))
            }
        }
    )*};
}

of_members! {
    SyncGroupRequest => SyncGroupResponse,
    HeartbeatRequest => HeartbeatResponse,
    LeaveGroupRequest => LeaveGroupResponse,
}

impl Guarded for JoinGroupRequest {
    type Response = JoinGroupResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, JoinGroupResponse> {
        if access.group(Operation::Read, &self.group_id) {
            return Verdict::Allowed;
        }
        let answer = JoinGroupResponse::default()
            .with_error_code(GROUP_REFUSED)
            .with_generation_id(-1)
            .with_member_id(self.member_id.clone());
        // Only version 7 and later can say null.
        Verdict::refused(if access.version >= 7 {
            answer
        } else {
            answer.with_protocol_name(Some(StrBytes::default()))
        })
    }
}

impl Guarded for ConsumerGroupHeartbeatRequest {
    type Response = ConsumerGroupHeartbeatResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ConsumerGroupHeartbeatResponse> {
        let refused = |code: ErrorCode, operation| {
            let answer = ConsumerGroupHeartbeatResponse::default().with_error_code(code.code()).with_member_id(None);
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

impl Guarded for OffsetCommitRequest {
    type Response = OffsetCommitResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetCommitResponse> {
        let (refused, code) = if access.group(Operation::Read, &self.group_id) {
            (take_refused(&mut self.topics, |topic| access.follows(&topic.name)), TOPIC_REFUSED)
        } else {
            (std::mem::take(&mut self.topics), GROUP_REFUSED)
        };
        let topics = refused.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
        });
        let topics: Vec<_> = topics.collect();
        // Nothing is left to commit, and the group is nobody's business.
        if code == GROUP_REFUSED || (self.topics.is_empty() && !topics.is_empty()) {
            return Verdict::refused(OffsetCommitResponse::default().with_topics(topics));
        }
        Verdict::without(topics, |answer: &mut Self::Response, topics| answer.topics.extend(topics))
    }
}

/// First version of OffsetFetch with a list of groups, and with an error for the whole answer.
const MANY_GROUPS_SINCE: i16 = 8;
const TOP_LEVEL_ERROR_SINCE: i16 = 2;

impl Guarded for OffsetFetchRequest {
    type Response = OffsetFetchResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetFetchResponse> {
        if access.version >= MANY_GROUPS_SINCE { self.admit_groups(access) } else { self.admit_one(access) }
    }
}

/// What OffsetFetch has to put back.
trait OffsetFetchRule {
    fn admit_groups<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetFetchResponse>;
    fn admit_one<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetFetchResponse>;
}

impl OffsetFetchRule for OffsetFetchRequest {
    fn admit_groups<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetFetchResponse> {
        let groups = take_refused(&mut self.groups, |group| access.group(Operation::Describe, &group.group_id));
        let mut topics = Vec::new();
        for group in &mut self.groups {
            if let Some(list) = &mut group.topics {
                let refused = take_refused(list, |topic| access.topic(Operation::Describe, &topic.name));
                topics.push((group.group_id.clone(), refused));
            }
        }
        Verdict::completed(move |answer: &mut OffsetFetchResponse| {
            for group in &mut answer.groups {
                group.topics.retain(|topic| access.would_allow(Operation::Describe, ResourceType::Topic, &topic.name));
                let mine = topics.iter_mut().find(|(id, _)| *id == group.group_id);
                let refused = mine.map(|(_, topics)| std::mem::take(topics)).unwrap_or_default();
                if group.error_code != 0 {
                    continue;
                }
                group.topics.extend(refused.into_iter().map(|topic| {
                    let partitions = topic.partition_indexes.iter().map(|index| {
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(*index)
                            .with_committed_offset(-1)
                            .with_metadata(Some(StrBytes::default()))
                            .with_error_code(TOPIC_REFUSED)
                    });
                    let partitions = partitions.collect();
                    OffsetFetchResponseTopics::default().with_name(topic.name).with_partitions(partitions)
                }));
            }
            answer.groups.extend(groups.into_iter().map(|group| {
                OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_error_code(GROUP_REFUSED)
            }));
        })
    }

    fn admit_one<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetFetchResponse> {
        let may = access.group(Operation::Describe, &self.group_id);
        if !may && access.version >= TOP_LEVEL_ERROR_SINCE {
            return Verdict::refused(OffsetFetchResponse::default().with_error_code(GROUP_REFUSED));
        }
        let (mut refused, code) = (Vec::new(), if may { TOPIC_REFUSED } else { GROUP_REFUSED });
        if let Some(topics) = &mut self.topics {
            refused = take_refused(topics, |topic| may && access.topic(Operation::Describe, &topic.name));
        }
        let complete = move |answer: &mut OffsetFetchResponse| {
            answer.topics.retain(|topic| access.would_allow(Operation::Describe, ResourceType::Topic, &topic.name));
            if answer.error_code != 0 {
                return;
            }
            answer.topics.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(*index)
                        .with_committed_offset(-1)
                        .with_metadata(Some(StrBytes::default()))
                        .with_error_code(code)
                });
                let partitions = partitions.collect();
                OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions)
            }));
        };
        if may {
            return Verdict::completed(complete);
        }
        let mut answer = OffsetFetchResponse::default();
        complete(&mut answer);
        Verdict::refused(answer)
    }
}

impl Guarded for OffsetDeleteRequest {
    type Response = OffsetDeleteResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(vec![self.group_id.to_string()])
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetDeleteResponse> {
        if !access.group(Operation::Delete, &self.group_id) {
            return Verdict::refused(OffsetDeleteResponse::default().with_error_code(GROUP_REFUSED));
        }
        let refused = take_refused(&mut self.topics, |topic| access.follows(&topic.name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            if answer.error_code != 0 {
                return;
            }
            answer.topics.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(TOPIC_REFUSED)
                });
                let partitions = partitions.collect();
                OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
            }));
        })
    }
}

/// Coordinator types of the wire.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const MANY_KEYS_SINCE: i16 = 4;

impl Guarded for FindCoordinatorRequest {
    type Response = FindCoordinatorResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, FindCoordinatorResponse> {
        let (resource, code, error) = match self.key_type {
            GROUP => (ResourceType::Group, GROUP_REFUSED, ErrorCode::GroupAuthorizationFailed),
            TRANSACTION => {
                let error = ErrorCode::TransactionalIdAuthorizationFailed;
                (ResourceType::TransactionalId, TRANSACTIONAL_ID_REFUSED, error)
            }
            // There are no others here, which the handler says.
            _ => return Verdict::Allowed,
        };
        let message = access.message(error, Operation::Describe);
        let may = |key: &StrBytes| access.allows(Operation::Describe, resource, key);
        if access.version < MANY_KEYS_SINCE {
            if may(&self.key) {
                return Verdict::Allowed;
            }
            let answer =
                FindCoordinatorResponse::default().with_error_code(code).with_node_id((-1).into()).with_port(-1);
            return Verdict::refused(if access.version >= 1 { answer.with_error_message(message) } else { answer });
        }
        let refused = take_refused(&mut self.coordinator_keys, may);
        Verdict::without(refused, move |answer: &mut Self::Response, refused| {
            answer.coordinators.extend(refused.into_iter().map(|key| {
                Coordinator::default()
                    .with_key(key)
                    .with_node_id((-1).into())
                    .with_port(-1)
                    .with_error_code(code)
                    .with_error_message(message.clone())
            }));
        })
    }
}

impl Guarded for DescribeGroupsRequest {
    type Response = DescribeGroupsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeGroupsResponse> {
        let refused = take_refused(&mut self.groups, |group| access.group(Operation::Describe, group));
        Verdict::completed(move |answer: &mut Self::Response| {
            for group in &mut answer.groups {
                let field = &mut group.authorized_operations;
                access.correct(field, ResourceType::Group, &group.group_id, authorized::GROUP);
            }
            let refused = refused.into_iter().map(|group| {
                let answer = DescribedGroup::default().with_error_code(GROUP_REFUSED).with_group_id(group);
                answer.with_authorized_operations(authorized::NOT_ASKED)
            });
            answer.groups.extend(refused);
        })
    }
}

impl Guarded for ConsumerGroupDescribeRequest {
    type Response = ConsumerGroupDescribeResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ConsumerGroupDescribeResponse> {
        let refused = take_refused(&mut self.group_ids, |group| access.group(Operation::Describe, group));
        Verdict::completed(move |answer: &mut Self::Response| {
            for group in &mut answer.groups {
                hide_topics(access, group);
                let field = &mut group.authorized_operations;
                access.correct(field, ResourceType::Group, &group.group_id, authorized::GROUP);
            }
            let message = access.message(ErrorCode::GroupAuthorizationFailed, Operation::Describe);
            answer.groups.extend(refused.into_iter().map(|group| {
                DescribedConsumerGroup::default()
                    .with_error_code(GROUP_REFUSED)
                    .with_error_message(message.clone())
                    .with_group_id(group)
            }));
        })
    }
}

/// A group is shown whole or not at all, as Kafka does: with a topic the client may not describe, none of its members are.
fn hide_topics(access: &Access, group: &mut DescribedConsumerGroup) {
    let names = group.members.iter().flat_map(|member| {
        let assigned = member.assignment.topic_partitions.iter().chain(&member.target_assignment.topic_partitions);
        member.subscribed_topic_names.iter().chain(assigned.map(|assigned| &assigned.topic_name))
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

impl Guarded for DeleteGroupsRequest {
    type Response = DeleteGroupsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(self.groups_names.iter().map(|group| group.to_string()).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DeleteGroupsResponse> {
        let refused = take_refused(&mut self.groups_names, |group| access.group(Operation::Delete, group));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            answer.results.extend(
                refused
                    .into_iter()
                    .map(|group| DeletableGroupResult::default().with_group_id(group).with_error_code(GROUP_REFUSED)),
            );
        })
    }
}

impl Guarded for ListGroupsRequest {
    type Response = ListGroupsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ListGroupsResponse> {
        if access.would_allow(Operation::Describe, ResourceType::Cluster, CLUSTER_NAME) {
            return Verdict::Allowed;
        }
        Verdict::completed(|answer: &mut ListGroupsResponse| {
            let may = |name: &str| access.would_allow(Operation::Describe, ResourceType::Group, name);
            answer.groups.retain(|group| may(&group.group_id));
        })
    }
}
