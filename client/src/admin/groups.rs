//! Listing, describing and deleting groups.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, DescribeShareGroupOffsetsRequest,
    GroupId, ListGroupsRequest, ShareGroupDescribeRequest,
};

use super::{Admin, wire_text};
use crate::connection::retrying;
use crate::error::Result;
use crate::group::protocol;

/// A group as a broker lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub id: String,
    /// `consumer` for consumer groups; empty for a group that only stores offsets.
    pub protocol_type: String,
    /// `Stable`, `Empty`, ...; none from brokers before ListGroups v4.
    pub state: Option<String>,
    /// `classic`, `consumer` or `share`; none from brokers before ListGroups v5.
    pub kind: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id the coordinator gave it.
    pub id: String,
    /// Its static name, if it has one.
    pub instance_id: Option<String>,
    /// Client id it connected with.
    pub client_id: String,
    /// Address it connected from.
    pub host: String,
    /// What it reads: partitions by topic. Empty if the group does not use the consumer protocol.
    pub assignment: BTreeMap<String, Vec<i32>>,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub id: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    /// `consumer` for consumer groups, [`SHARE`] for share groups.
    pub protocol_type: String,
    /// The assignor in use.
    pub protocol: String,
    /// Broker id of the coordinator.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// The protocol type of share groups (KIP-932): their members share partitions.
pub const SHARE: &str = "share";

impl Admin {
    /// All groups of all brokers, sorted by name.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>> {
        let mut groups = BTreeMap::new();
        for broker in self.client.brokers().await? {
            let response = retrying(self.client.config(), || async {
                let connection = self.client.broker(broker.id).await?;
                let response = connection.call(|_| ListGroupsRequest::default()).await?;
                connection.check::<ListGroupsRequest>("", response.error_code, None)?;
                Ok(response)
            })
            .await?;
            for group in response.groups {
                let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let listing = GroupListing {
                    id: group.group_id.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    state: told(&group.group_state),
                    kind: told(&group.group_type),
                };
                groups.insert(listing.id.clone(), listing);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// A group with its members. A group that does not exist is in state `Dead`, as brokers before DescribeGroups v6 say,
    /// or an error.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        let (response, connection) = self
            .client
            .call_coordinator(
                group,
                |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(wire_text(group))]),
                |response| response.groups.first().map_or(0, |group| group.error_code),
            )
            .await?;
        let coordinator = self.client.coordinator_of(group).await?.id;
        let subject = format!("group `{group}`");
        let Some(found) = response.groups.into_iter().next() else {
            let missing = kafka_protocol::error::ResponseError::GroupIdNotFound.code();
            return Err(connection.refusal::<DescribeGroupsRequest>(subject, missing, None));
        };
        // Groups of the newer protocol are described by an API of their own; for this one they do not exist.
        let missing = found.error_code == kafka_protocol::error::ResponseError::GroupIdNotFound.code();
        if missing && let Ok(Some(newer)) = self.describe_consumer_group(group, coordinator).await {
            return Ok(newer);
        }
        if missing && let Ok(Some(share)) = self.describe_share_group(group, coordinator).await {
            return Ok(share);
        }
        connection.check::<DescribeGroupsRequest>(&subject, found.error_code, found.error_message.as_deref())?;
        let is_consumer = &*found.protocol_type == protocol::PROTOCOL_TYPE;
        Ok(GroupDescription {
            id: found.group_id.to_string(),
            state: found.group_state.to_string(),
            protocol_type: found.protocol_type.to_string(),
            protocol: found.protocol_data.to_string(),
            coordinator,
            members: found.members.into_iter().map(|found| member(found, is_consumer)).collect(),
        })
    }

    /// A group of the consumer protocol (KIP-848); `None` if there is no such group of that kind.
    async fn describe_consumer_group(&self, group: &str, coordinator: i32) -> Result<Option<GroupDescription>> {
        let (response, _) = self
            .client
            .call_coordinator(
                group,
                |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(wire_text(group))]),
                |response| response.groups.first().map_or(0, |group| group.error_code),
            )
            .await?;
        let Some(found) = response.groups.into_iter().find(|group| group.error_code == 0) else { return Ok(None) };
        let members = found.members.into_iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance_id: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: member
                .assignment
                .topic_partitions
                .into_iter()
                .map(|topic| (topic.topic_name.to_string(), topic.partitions))
                .collect(),
        });
        Ok(Some(GroupDescription {
            id: found.group_id.to_string(),
            state: found.group_state.to_string(),
            protocol_type: protocol::PROTOCOL_TYPE.to_owned(),
            protocol: found.assignor_name.to_string(),
            coordinator,
            members: members.collect(),
        }))
    }

    /// A share group (KIP-932); `None` if there is no such group of that kind.
    async fn describe_share_group(&self, group: &str, coordinator: i32) -> Result<Option<GroupDescription>> {
        let (response, _) = self
            .client
            .call_coordinator(
                group,
                |_| ShareGroupDescribeRequest::default().with_group_ids(vec![GroupId(wire_text(group))]),
                |response| response.groups.first().map_or(0, |group| group.error_code),
            )
            .await?;
        let Some(found) = response.groups.into_iter().find(|group| group.error_code == 0) else { return Ok(None) };
        let members = found.members.into_iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance_id: None,
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: member
                .assignment
                .topic_partitions
                .into_iter()
                .map(|topic| (topic.topic_name.to_string(), topic.partitions))
                .collect(),
        });
        Ok(Some(GroupDescription {
            id: found.group_id.to_string(),
            state: found.group_state.to_string(),
            protocol_type: SHARE.to_owned(),
            protocol: found.assignor_name.to_string(),
            coordinator,
            members: members.collect(),
        }))
    }

    /// From where on a share group has work to do, by topic and partition. Partitions that it has not begun to read are left
    /// out.
    pub async fn share_group_offsets(&self, group: &str) -> Result<BTreeMap<(String, i32), i64>> {
        let (response, connection) = self
            .client
            .call_coordinator(
                group,
                |_| {
                    let all = DescribeShareGroupOffsetsRequestGroup::default().with_topics(None);
                    let all = all.with_group_id(GroupId(wire_text(group)));
                    DescribeShareGroupOffsetsRequest::default().with_groups(vec![all])
                },
                |response| response.groups.first().map_or(0, |group| group.error_code),
            )
            .await?;
        let mut offsets = BTreeMap::new();
        for found in response.groups {
            let subject = format!("share group `{group}`");
            let message = found.error_message.as_deref();
            connection.check::<DescribeShareGroupOffsetsRequest>(&subject, found.error_code, message)?;
            for topic in found.topics {
                let begun = topic.partitions.iter().filter(|partition| partition.start_offset >= 0);
                offsets.extend(begun.map(|p| ((topic.topic_name.to_string(), p.partition_index), p.start_offset)));
            }
        }
        Ok(offsets)
    }

    /// Deletes a group and its offsets. It must have no members.
    pub async fn delete_group(&self, group: &str) -> Result<()> {
        let (response, connection) = self
            .client
            .call_coordinator(
                group,
                |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(wire_text(group))]),
                |response| response.results.first().map_or(0, |result| result.error_code),
            )
            .await?;
        let code = response.results.first().map_or(0, |result| result.error_code);
        connection.check::<DeleteGroupsRequest>(&format!("group `{group}`"), code, None)
    }
}

fn member(member: DescribedGroupMember, is_consumer: bool) -> GroupMember {
    let assignment = if is_consumer { assigned(member.member_assignment) } else { BTreeMap::new() };
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment,
    }
}

/// A member's own bytes; what does not decode is shown as no assignment rather than hiding the group.
fn assigned(bytes: Bytes) -> BTreeMap<String, Vec<i32>> {
    let decoded: Option<ConsumerProtocolAssignment> = protocol::decode_assignment(bytes).ok();
    decoded.map(|assignment| protocol::partitions_by_topic(&assignment)).unwrap_or_default()
}
