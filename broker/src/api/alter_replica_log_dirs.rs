//! AlterReplicaLogDirs (key 34): there is one folder for everything, and partitions stay in it.
//!
//! Versions 1-2. KIP-113. Errors per partition: LOG_DIR_NOT_FOUND (any folder but `data.dir`), UNKNOWN_TOPIC_OR_PARTITION.
use std::collections::BTreeMap;
use std::path::Path;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsResponse,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, ApiKey};

use super::{Versions, describe_log_dirs, lookup};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterReplicaLogDirs, 1, 2);

/// Answers partition by partition. What is to be moved to where it is needs nothing done.
pub fn handle(broker: &Broker, request: AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let here = describe_log_dirs::data_dir(broker);
    let mut results = BTreeMap::new();
    for dir in request.dirs {
        let known = Path::new(dir.path.as_str()) == here;
        for topic in dir.topics {
            let found = lookup::topic_named(broker, &topic.name);
            let partitions: &mut Vec<AlterReplicaLogDirPartitionResult> = results.entry(topic.name).or_default();
            for index in topic.partitions {
                let code = if known {
                    let partition = found.clone().and_then(|topic| lookup::partition(broker, &topic, index));
                    partition.map_or_else(|error| error.wire_code(), |_| NONE)
                } else {
                    ErrorCode::LogDirNotFound.code()
                };
                let result = AlterReplicaLogDirPartitionResult::default().with_partition_index(index);
                partitions.push(result.with_error_code(code));
            }
        }
    }
    let results = results.into_iter().map(|(name, partitions)| {
        AlterReplicaLogDirTopicResult::default().with_topic_name(name).with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}
