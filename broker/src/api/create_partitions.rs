//! CreatePartitions (key 37): more partitions for existing topics; never fewer.
//!
//! Versions 0-3. KIP-195. Errors per topic: INVALID_REQUEST (named twice), UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS (not an
//! increase), INVALID_REPLICA_ASSIGNMENT, KAFKA_STORAGE_ERROR.
use std::collections::BTreeMap;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use kafka_protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use thiserror::Error;

use super::create_topics::{AssignmentError, check_replicas};
use super::lookup::{self, LookupError};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::topics::TopicError;

pub const VERSIONS: Versions = Versions::new(ApiKey::CreatePartitions, 0, 3);

/// Why no partitions are added.
#[derive(Debug, Error)]
pub enum CreatePartitionsError {
    #[error("topic `{topic}` is in the request more than once")]
    NamedTwice { topic: String },
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(
        "topic `{topic}` has {current} partition(s), {wanted} would not be an increase; partitions are never removed"
    )]
    NotAnIncrease { topic: String, current: i32, wanted: i32 },
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Grows topic by topic.
pub async fn handle(broker: &Broker, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut wanted: BTreeMap<String, Vec<CreatePartitionsTopic>> = BTreeMap::new();
    for topic in request.topics {
        wanted.entry(topic.name.to_string()).or_default().push(topic);
    }
    let mut results = Vec::with_capacity(wanted.len());
    for (name, topics) in wanted {
        let result = match topics.as_slice() {
            [only] => grow(broker, only, request.validate_only).await,
            _ => Err(CreatePartitionsError::NamedTwice { topic: name.clone() }),
        };
        let response = CreatePartitionsTopicResult::default().with_name(wire(name).into());
        results.push(match result {
            Ok(()) => response.with_error_message(None),
            Err(error) => response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(
    broker: &Broker,
    wanted: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), CreatePartitionsError> {
    let topic = lookup::topic_named(broker, &wanted.name)?;
    plan(broker.node_id(), topic.partitions, wanted)?;
    if validate_only {
        broker.topics.plan_partitions(&topic.name, wanted.count)?;
    } else {
        broker.topics.create_partitions(&topic.name, wanted.count).await?;
    }
    Ok(())
}

fn plan(this: i32, current: i32, wanted: &CreatePartitionsTopic) -> Result<(), CreatePartitionsError> {
    if wanted.count <= current {
        let topic = wanted.name.to_string();
        return Err(CreatePartitionsError::NotAnIncrease { topic, current, wanted: wanted.count });
    }
    let Some(assignments) = &wanted.assignments else { return Ok(()) };
    let added = wanted.count - current;
    if assignments.len() != added as usize {
        return Err(AssignmentError::WrongCount { wanted: added, given: assignments.len() }.into());
    }
    for (partition, assignment) in (current..).zip(assignments) {
        check_replicas(this, partition, &assignment.broker_ids)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment;

    fn wanted(count: i32, brokers: Option<&[i32]>) -> CreatePartitionsTopic {
        let assignments = brokers.map(|brokers| {
            brokers.iter().map(|b| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(*b)])).collect()
        });
        CreatePartitionsTopic::default().with_count(count).with_assignments(assignments)
    }

    #[test]
    fn count_must_grow() {
        assert!(plan(1, 3, &wanted(4, None)).is_ok());
        for count in [3, 2, 0, -1] {
            let error = plan(1, 3, &wanted(count, None)).unwrap_err();
            assert!(matches!(error, CreatePartitionsError::NotAnIncrease { current: 3, .. }));
        }
    }

    #[test]
    fn assignments_name_this_broker_once_for_each_new_partition() {
        assert!(plan(1, 1, &wanted(3, Some(&[1, 1]))).is_ok());
        assert!(matches!(
            plan(1, 1, &wanted(3, Some(&[1]))),
            Err(CreatePartitionsError::Assignment(AssignmentError::WrongCount { wanted: 2, given: 1 }))
        ));
        assert!(matches!(
            plan(1, 1, &wanted(2, Some(&[7]))),
            Err(CreatePartitionsError::Assignment(AssignmentError::UnknownBroker { partition: 1, broker: 7, this: 1 }))
        ));
    }
}
