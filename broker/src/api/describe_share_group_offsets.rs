//! DescribeShareGroupOffsets (key 90): from where on share groups have work to do.
//!
//! Version 0. KIP-932. Errors per group: COORDINATOR_LOAD_IN_PROGRESS; per partition: UNKNOWN_TOPIC_OR_PARTITION. A partition that
//! the group has not begun to read has the start offset -1, and a group that is none has not begun to read anything, as in Kafka.
use std::collections::BTreeMap;

use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup as Group,
    DescribeShareGroupOffsetsResponsePartition as Partition, DescribeShareGroupOffsetsResponseTopic as Topic,
};
use kafka_protocol::messages::{ApiKey, DescribeShareGroupOffsetsRequest, GroupId, TopicName};
use weir_protocol::ids::TopicId;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::group::GroupError;
use crate::share::{ShareError, ShareKey, ShareOffsets};

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeShareGroupOffsets, 0, 0);

/// Answers group by group.
pub fn handle(broker: &Broker, request: DescribeShareGroupOffsetsRequest) -> DescribeShareGroupOffsetsResponse {
    let groups = request.groups.into_iter().map(|group| {
        let name = group.group_id.clone();
        describe(broker, group).unwrap_or_else(|error| {
            Group::default()
                .with_group_id(name)
                .with_error_code(error.wire_code())
                .with_error_message(Some(wire(error.to_string())))
        })
    });
    DescribeShareGroupOffsetsResponse::default().with_groups(groups.collect())
}

fn describe(broker: &Broker, group: DescribeShareGroupOffsetsRequestGroup) -> Result<Group, GroupError> {
    let loading = |_: ShareError| GroupError::CoordinatorLoadInProgress;
    let topics = match group.topics {
        None => all_of(broker, &group.group_id).map_err(loading)?,
        Some(topics) => {
            let mut found = Vec::with_capacity(topics.len());
            for topic in topics {
                let topic = named(broker, &group.group_id, topic.topic_name, &topic.partitions).map_err(loading)?;
                found.push(topic);
            }
            found
        }
    };
    Ok(answered(group.group_id, topics))
}

fn answered(group: GroupId, topics: Vec<Topic>) -> Group {
    Group::default().with_group_id(group).with_topics(topics).with_error_message(None)
}

/// Everything that the group has a state of and that still exists.
fn all_of(broker: &Broker, group: &str) -> Result<Vec<Topic>, ShareError> {
    let mut topics: BTreeMap<TopicId, Vec<Partition>> = BTreeMap::new();
    for (topic, index, offsets) in broker.shares.of_group(group)? {
        topics.entry(topic).or_default().push(partition(broker, index, Some(offsets)));
    }
    let named = topics.into_iter().filter_map(|(id, partitions)| {
        let name = TopicName(wire(broker.topics.by_id(id)?.name.as_str()));
        Some(Topic::default().with_topic_id(id.0).with_topic_name(name).with_partitions(partitions))
    });
    Ok(named.collect())
}

fn named(broker: &Broker, group: &str, name: TopicName, partitions: &[i32]) -> Result<Topic, ShareError> {
    let Some(topic) = broker.topics.get(&name) else {
        let code = ErrorCode::UnknownTopicOrPartition;
        let unknown = |index: &i32| {
            let message = Some(wire(format!("topic `{}` does not exist", name.as_str())));
            partition(broker, *index, None).with_error_code(code.code()).with_error_message(message)
        };
        return Ok(Topic::default().with_partitions(partitions.iter().map(unknown).collect()).with_topic_name(name));
    };
    let mut found = Vec::with_capacity(partitions.len());
    for index in partitions {
        let key = ShareKey { group: group.into(), topic: topic.id, partition: *index };
        found.push(partition(broker, *index, broker.shares.offsets(&key)?));
    }
    Ok(Topic::default().with_topic_id(topic.id.0).with_topic_name(name).with_partitions(found))
}

fn partition(broker: &Broker, index: i32, offsets: Option<ShareOffsets>) -> Partition {
    let begun = offsets.and_then(|offsets| offsets.start);
    Partition::default()
        .with_partition_index(index)
        .with_start_offset(begun.unwrap_or(-1))
        .with_leader_epoch(begun.map_or(0, |_| broker.leader_epoch().0))
        .with_error_message(None)
}
