//! DescribeTopicPartitions (key 75): topics and their partitions in pages; the Java admin client describes topics with it.
//!
//! Version 0. KIP-966. Errors: UNKNOWN_TOPIC_OR_PARTITION per topic. A page size outside of 1 to 2,000 is
//! clamped. Eligible leader replicas stay null: there is one replica, and it leads.
use kafka_protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};

use super::{Versions, authorized, wire};
use crate::broker::Broker;
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeTopicPartitions, 0, 0);

/// `max.request.partition.size.limit` of Kafka.
const PARTITIONS_MAX: i32 = 2000;

/// Where a page starts: this partition of this topic.
type Position = (String, i32);

/// Part of a topic on a page.
#[derive(Debug, PartialEq, Eq)]
struct Slice {
    topic: String,
    /// None = there is no such topic.
    partitions: Option<std::ops::Range<i32>>,
}

/// Describes topics in the order of their names, from the cursor on, as many partitions as the limit allows.
pub fn handle(broker: &Broker, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let mut names: Vec<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    if names.is_empty() {
        names = broker.topics.all().iter().map(|topic| topic.name.clone()).collect();
    }
    let cursor = request.cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    let count_of = |name: &str| broker.topics.get(name).map(|topic| topic.partitions);
    let limit = request.response_partition_limit.clamp(1, PARTITIONS_MAX);
    let (page, next) = plan(names, cursor, limit, count_of);
    let next = next.map(|(topic, partition)| {
        Cursor::default().with_topic_name(TopicName(wire(topic))).with_partition_index(partition)
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(page.into_iter().map(|slice| describe(broker, slice)).collect())
        .with_next_cursor(next)
}

fn plan(
    mut names: Vec<String>,
    cursor: Option<Position>,
    limit: i32,
    count_of: impl Fn(&str) -> Option<i32>,
) -> (Vec<Slice>, Option<Position>) {
    names.sort_unstable();
    names.dedup();
    let mut left = limit;
    let mut page = Vec::new();
    for topic in names {
        let from = match &cursor {
            Some((start, _)) if topic < *start => continue,
            Some((start, partition)) if topic == *start => (*partition).max(0),
            _ => 0,
        };
        let Some(count) = count_of(&topic) else {
            page.push(Slice { topic, partitions: None });
            continue;
        };
        if left == 0 {
            return (page, Some((topic, from)));
        }
        let until = count.min(from.saturating_add(left));
        left -= (until - from).max(0);
        let name = topic.clone();
        page.push(Slice { topic, partitions: Some(from..until) });
        if until < count {
            return (page, Some((name, until)));
        }
    }
    (page, None)
}

fn describe(broker: &Broker, slice: Slice) -> DescribeTopicPartitionsResponseTopic {
    let response =
        DescribeTopicPartitionsResponseTopic::default().with_name(Some(TopicName(wire(slice.topic.as_str()))));
    let (Some(topic), Some(range)) = (broker.topics.get(&slice.topic), slice.partitions) else {
        return response.with_error_code(ErrorCode::UnknownTopicOrPartition.code());
    };
    let node = BrokerId(broker.node_id());
    let partitions = range.map(|index| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(broker.leader_epoch().0)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            // Nullable in the schema, but the Java client fails on null.
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    });
    response
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(authorized::TOPIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_of(name: &str) -> Option<i32> {
        match name {
            "a" => Some(3),
            "b" => Some(2),
            "c" => Some(1),
            _ => None,
        }
    }

    /// Topic and range of partitions; None = unknown.
    type Entry = (String, Option<(i32, i32)>);

    fn page(limit: i32, cursor: Option<(&str, i32)>) -> (Vec<Entry>, Option<Position>) {
        let names = ["c", "b", "a", "gone"].map(str::to_owned).to_vec();
        let cursor = cursor.map(|(topic, partition)| (topic.to_owned(), partition));
        let (page, next) = plan(names, cursor, limit, count_of);
        (page.into_iter().map(|s| (s.topic, s.partitions.map(|r| (r.start, r.end)))).collect(), next)
    }

    #[test]
    fn pages_follow_the_names_and_continue_inside_a_topic() {
        let (first, next) = page(4, None);
        assert_eq!(first, [("a".into(), Some((0, 3))), ("b".into(), Some((0, 1)))]);
        assert_eq!(next, Some(("b".into(), 1)));
        let (second, next) = page(4, Some(("b", 1)));
        assert_eq!(second, [("b".into(), Some((1, 2))), ("c".into(), Some((0, 1))), ("gone".into(), None)]);
        assert_eq!(next, None);
    }

    #[test]
    fn page_that_ends_with_a_topic_names_the_next_one() {
        let (first, next) = page(3, None);
        assert_eq!(first, [("a".into(), Some((0, 3)))]);
        assert_eq!(next, Some(("b".into(), 0)));
    }
}
