//! CreateTopics (key 19).
//!
//! Versions 2-7. KIP-4, KIP-464 (defaults, -1), KIP-525 (configs in the response, 5), KIP-516 (topic ids, 7). Errors per topic:
//! INVALID_REQUEST (named twice, counts together with assignments), INVALID_TOPIC_EXCEPTION, TOPIC_ALREADY_EXISTS,
//! INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG, KAFKA_STORAGE_ERROR.
//!
//! Any replication factor is accepted, because charts and tools ask for 3, and one replica is reported.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest,
};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use thiserror::Error;
use weir_storage::meta::MetaError;

use super::describe_configs::source_of;
use super::{Versions, wire};
use crate::broker::Broker;
use crate::dynamic_config::DynamicConfigs;
use crate::error_code::KafkaError;
use crate::topic_config::{TopicConfigError, TopicConfigs};
use crate::topics::{NewTopic, Topic, TopicError};

pub const VERSIONS: Versions = Versions::new(ApiKey::CreateTopics, 2, 7);

/// Why a topic is not created.
#[derive(Debug, Error)]
pub enum CreateTopicError {
    #[error("topic `{name}` is in the request more than once")]
    NamedTwice { name: String },
    #[error("a replica assignment is given, so the number of partitions and the replication factor must be -1")]
    CountsWithAssignment,
    #[error("replication factor {got} is not possible; give a positive number, or -1 for the default")]
    ReplicationFactor { got: i16 },
    #[error("number of partitions {got} is not possible; give a positive number, or -1 for the default")]
    PartitionCount { got: i32 },
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Why a replica assignment cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AssignmentError {
    #[error("partition {partition} is assigned more than once")]
    Repeated { partition: i32 },
    #[error("assignments must name the partitions 0 to {}, partition {missing} is missing", count - 1)]
    NotConsecutive { count: usize, missing: i32 },
    #[error("partition {partition} is assigned to no broker")]
    NoBroker { partition: i32 },
    #[error("partition {partition} is assigned to broker {broker}, which does not exist; this broker is {this}")]
    UnknownBroker { partition: i32, broker: i32, this: i32 },
    #[error("partition {partition} is assigned to broker {broker} twice")]
    RepeatedBroker { partition: i32, broker: i32 },
    #[error("{wanted} partition(s) are to be added, but {given} assignment(s) are given")]
    WrongCount { wanted: i32, given: usize },
}

/// A topic that was only validated, one that is to be created (`None`), or why it is neither.
type Planned = Result<Option<Arc<Topic>>, CreateTopicError>;

/// Creates what can be created, all in one transaction; one that fails does not stop the others.
pub async fn handle(broker: &Broker, version: i16, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let repeated = repeated_names(&request.topics);
    let mut answered: BTreeSet<String> = BTreeSet::new();
    let mut wanted = Vec::new();
    let mut plans: Vec<(TopicName, Planned)> = Vec::new();
    for topic in request.topics {
        let name = topic.name.clone();
        if !answered.insert(name.to_string()) {
            continue;
        }
        let planned = plan(broker.node_id(), topic, repeated.contains(name.as_str())).and_then(|new| {
            if request.validate_only {
                return Ok(Some(Arc::new(broker.topics.plan_create(&new.name, new.partitions, new.configs)?)));
            }
            wanted.push(new);
            Ok(None)
        });
        plans.push((name, planned));
    }
    let mut created = broker.topics.create_all(wanted).await.into_iter();
    let mut results = Vec::with_capacity(plans.len());
    for (name, planned) in plans {
        let result = planned.and_then(|planned| match planned {
            Some(topic) => Ok(topic),
            // One for each that was wanted.
            None => Ok(created.next().unwrap_or(Err(TopicError::from(MetaError::Closed)))?),
        });
        if let Err(error) = &result {
            tracing::info!(topic = %*name, %error, "topic not created");
        }
        results.push(answer(&broker.dynamic, version, name, result, request.validate_only));
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn repeated_names(topics: &[CreatableTopic]) -> BTreeSet<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for topic in topics {
        *counts.entry(&topic.name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned()).collect()
}

fn plan(this: i32, topic: CreatableTopic, named_twice: bool) -> Result<NewTopic, CreateTopicError> {
    let name = topic.name.to_string();
    if named_twice {
        return Err(CreateTopicError::NamedTwice { name });
    }
    let partitions = if topic.assignments.is_empty() {
        match (topic.num_partitions, topic.replication_factor) {
            (_, got) if got != -1 && got <= 0 => return Err(CreateTopicError::ReplicationFactor { got }),
            (-1, _) => None,
            (count, _) if count > 0 => Some(count),
            (got, _) => return Err(CreateTopicError::PartitionCount { got }),
        }
    } else if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err(CreateTopicError::CountsWithAssignment);
    } else {
        Some(assigned_partitions(this, &topic.assignments)?)
    };
    let configs = TopicConfigs::parse(topic.configs.iter().map(|c| (c.name.as_str(), c.value.as_deref())))?;
    Ok(NewTopic { name, partitions, configs })
}

/// The number of partitions that assignments describe: 0, 1, 2 and so on, each on this broker.
fn assigned_partitions(this: i32, assignments: &[CreatableReplicaAssignment]) -> Result<i32, AssignmentError> {
    let mut seen = BTreeSet::new();
    for assignment in assignments {
        let partition = assignment.partition_index;
        if !seen.insert(partition) {
            return Err(AssignmentError::Repeated { partition });
        }
        check_replicas(this, partition, &assignment.broker_ids)?;
    }
    match (0..).zip(&seen).find(|(expected, partition)| expected != *partition) {
        None => Ok(seen.len() as i32),
        Some((missing, _)) => Err(AssignmentError::NotConsecutive { count: seen.len(), missing }),
    }
}

/// Replicas of one partition: this broker, once.
pub fn check_replicas(this: i32, partition: i32, brokers: &[BrokerId]) -> Result<(), AssignmentError> {
    let mut seen = BTreeSet::new();
    for broker in brokers {
        if !seen.insert(broker.0) {
            return Err(AssignmentError::RepeatedBroker { partition, broker: broker.0 });
        }
        if broker.0 != this {
            return Err(AssignmentError::UnknownBroker { partition, broker: broker.0, this });
        }
    }
    if seen.is_empty() { Err(AssignmentError::NoBroker { partition }) } else { Ok(()) }
}

fn answer(
    dynamic: &DynamicConfigs,
    version: i16,
    name: TopicName,
    result: Result<Arc<Topic>, CreateTopicError>,
    validate_only: bool,
) -> CreatableTopicResult {
    let response = CreatableTopicResult::default().with_name(name);
    let topic = match result {
        Ok(topic) => topic,
        Err(error) => {
            return response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string())));
        }
    };
    let response = response.with_error_message(None);
    if version < 5 {
        return response;
    }
    let configs = topic.configs.describe().into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(wire(config.definition.name))
            .with_config_source(source_of(dynamic, &config) as i8)
            .with_value(Some(wire(config.value)))
    });
    let response =
        response.with_num_partitions(topic.partitions).with_replication_factor(1).with_configs(Some(configs.collect()));
    if version >= 7 && !validate_only { response.with_topic_id(topic.id.0) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;

    fn topic(partitions: i32, replicas: i16) -> CreatableTopic {
        CreatableTopic::default()
            .with_name(TopicName(wire("t")))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
    }

    fn assigned(entries: &[(i32, &[i32])]) -> Vec<CreatableReplicaAssignment> {
        entries
            .iter()
            .map(|(partition, brokers)| {
                CreatableReplicaAssignment::default()
                    .with_partition_index(*partition)
                    .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
            })
            .collect()
    }

    #[test]
    fn any_positive_replication_factor_is_accepted() {
        for replicas in [-1, 1, 3, 100] {
            assert_eq!(plan(1, topic(6, replicas), false).unwrap().partitions, Some(6));
        }
        for replicas in [0, -2] {
            let error = plan(1, topic(6, replicas), false).unwrap_err();
            assert!(matches!(error, CreateTopicError::ReplicationFactor { .. }));
        }
    }

    #[test]
    fn minus_one_partitions_is_the_default_and_zero_is_refused() {
        assert_eq!(plan(1, topic(-1, -1), false).unwrap().partitions, None);
        for count in [0, -2] {
            let error = plan(1, topic(count, 1), false).unwrap_err();
            assert!(matches!(error, CreateTopicError::PartitionCount { .. }));
        }
    }

    #[test]
    fn assignments_must_be_consecutive_and_on_this_broker() {
        assert_eq!(assigned_partitions(1, &assigned(&[(1, &[1]), (0, &[1])])), Ok(2));
        for (entries, error) in [
            (&[(0, &[1][..]), (0, &[1])][..], AssignmentError::Repeated { partition: 0 }),
            (&[(0, &[1]), (2, &[1])], AssignmentError::NotConsecutive { count: 2, missing: 1 }),
            (&[(0, &[])], AssignmentError::NoBroker { partition: 0 }),
            (&[(0, &[1, 2])], AssignmentError::UnknownBroker { partition: 0, broker: 2, this: 1 }),
            (&[(0, &[1, 1])], AssignmentError::RepeatedBroker { partition: 0, broker: 1 }),
        ] {
            assert_eq!(assigned_partitions(1, &assigned(entries)), Err(error));
        }
    }

    #[test]
    fn assignment_excludes_counts() {
        let both = topic(2, -1).with_assignments(assigned(&[(0, &[1])]));
        assert!(matches!(plan(1, both, false), Err(CreateTopicError::CountsWithAssignment)));
        let only = topic(-1, -1).with_assignments(assigned(&[(0, &[1])]));
        assert_eq!(plan(1, only, false).unwrap().partitions, Some(1));
    }

    #[test]
    fn config_without_a_value_is_refused() {
        let config = CreatableTopicConfig::default().with_name(wire("retention.ms")).with_value(None);
        let error = plan(1, topic(1, 1).with_configs(vec![config]), false).unwrap_err();
        assert!(
            matches!(error, CreateTopicError::Config(TopicConfigError::NoValue { name }) if name == "retention.ms")
        );
    }
}
