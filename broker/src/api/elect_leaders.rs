//! ElectLeaders (key 43): each partition has one replica, and it leads, so no election is ever needed.
//!
//! Versions 0-2. KIP-183, KIP-460 (unclean elections, 1). Errors: INVALID_REQUEST (an election type that does not exist, for the
//! request and each partition); ELECTION_NOT_NEEDED, UNKNOWN_TOPIC_OR_PARTITION per partition.
use kafka_protocol::messages::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ApiKey, ElectLeadersRequest, TopicName};

use super::{Versions, lookup, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};

pub const VERSIONS: Versions = Versions::new(ApiKey::ElectLeaders, 0, 2);

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Answers partition by partition. Asked for every partition, it names those that had an election: none of any topic.
pub fn handle(broker: &Broker, version: i16, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let kind = if version == 0 { PREFERRED } else { request.election_type };
    let unknown_kind = !(PREFERRED..=UNCLEAN).contains(&kind);
    let results = match request.topic_partitions {
        None => {
            let every = broker.topics.all().into_iter();
            every
                .map(|topic| ReplicaElectionResult::default().with_topic(TopicName(wire(topic.name.as_str()))))
                .collect()
        }
        Some(topics) => topics
            .into_iter()
            .map(|topic| {
                let results = topic.partitions.iter().map(|&index| {
                    let (code, message) = if unknown_kind {
                        (
                            ErrorCode::InvalidRequest,
                            format!("election type {kind}; there are 0 (preferred) and 1 (unclean)"),
                        )
                    } else {
                        verdict(broker, &topic.topic, index)
                    };
                    let result = PartitionResult::default().with_partition_id(index).with_error_code(code.code());
                    result.with_error_message(Some(wire(message)))
                });
                let results = results.collect();
                ReplicaElectionResult::default().with_topic(topic.topic).with_partition_result(results)
            })
            .collect(),
    };
    let code = if unknown_kind { ErrorCode::InvalidRequest.code() } else { NONE };
    ElectLeadersResponse::default().with_error_code(code).with_replica_election_results(results)
}

fn verdict(broker: &Broker, topic: &TopicName, index: i32) -> (ErrorCode, String) {
    match lookup::topic_named(broker, topic).and_then(|topic| lookup::partition(broker, &topic, index)) {
        Ok(_) => (ErrorCode::ElectionNotNeeded, "the partition has one replica, and it leads".to_owned()),
        Err(error) => (error.error_code(), error.to_string()),
    }
}
