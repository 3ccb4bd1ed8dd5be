//! DescribeLogDirs (key 35): the size of every partition and of the disk.
//!
//! Versions 1-4. KIP-113, KIP-784 (error code, 3), KIP-827 (disk sizes, 4). Errors: none; topics that do not exist are left out.
use std::collections::HashMap;
use std::path::PathBuf;

use kafka_protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{ApiKey, TopicName};
use weir_protocol::ids::PartitionId;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::topics::Topic;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeLogDirs, 1, 4);

/// There is one folder, and every partition is in it.
pub fn handle(broker: &Broker, version: i16, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let wanted: Option<HashMap<String, Vec<i32>>> = request
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect());
    let mut topics = Vec::new();
    for topic in broker.topics.all() {
        let partitions = match &wanted {
            None => (0..topic.partitions).collect(),
            Some(wanted) => match wanted.get(&topic.name) {
                // kafka-python and Kafka's own tools leave the list empty when they mean the whole topic.
                Some(list) if list.is_empty() => (0..topic.partitions).collect(),
                Some(list) => list.clone(),
                None => continue,
            },
        };
        topics.push(describe(broker, &topic, partitions));
        // A topic of which nothing that was asked for exists is left out, as in Kafka.
        topics.pop_if(|topic| topic.partitions.is_empty());
    }
    let path = data_dir(broker);
    let result = DescribeLogDirsResult::default().with_log_dir(wire(path.display().to_string())).with_topics(topics);
    let result = match rustix::fs::statvfs(&path) {
        Ok(disk) if version >= 4 => {
            let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
            result.with_total_bytes(bytes(disk.f_blocks)).with_usable_bytes(bytes(disk.f_bavail))
        }
        _ => result, // -1: unknown
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

/// The folder as clients are told it.
pub(super) fn data_dir(broker: &Broker) -> PathBuf {
    std::path::absolute(&broker.settings.data_dir).unwrap_or_else(|_| broker.settings.data_dir.clone())
}

fn describe(broker: &Broker, topic: &Topic, partitions: Vec<i32>) -> DescribeLogDirsTopic {
    let described = partitions.into_iter().filter_map(|index| {
        let partition = broker.storage.partition(topic.id, PartitionId(index))?;
        let size = i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX);
        Some(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(size))
    });
    DescribeLogDirsTopic::default().with_name(TopicName(wire(topic.name.as_str()))).with_partitions(described.collect())
}
