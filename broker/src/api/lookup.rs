//! From what a request names to the partition log, and the leader-epoch check that reads share.
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;
use weir_protocol::ids::{PartitionId, TopicId};
use weir_protocol::produce;
use weir_storage::log::Partition;

use crate::broker::Broker;
use crate::topics::Topic;

/// A topic as a request names it: by name in older versions, by id in newer ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    Name(Arc<str>),
    Id(Uuid),
}

impl TopicRef {
    pub fn name(name: &str) -> TopicRef {
        TopicRef::Name(Arc::from(name))
    }
}

impl From<produce::TopicRef> for TopicRef {
    fn from(topic: produce::TopicRef) -> TopicRef {
        match topic {
            produce::TopicRef::Name(name) => TopicRef::Name(Arc::from(name)),
            produce::TopicRef::Id(id) => TopicRef::Id(id.0),
        }
    }
}

/// What a request names does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    #[error("topic `{name}` does not exist")]
    UnknownTopic { name: String },
    #[error("no topic has the id {id}")]
    UnknownTopicId { id: Uuid },
    #[error("topic `{topic}` has {partitions} partitions, number {partition} does not exist")]
    UnknownPartition { topic: String, partitions: i32, partition: i32 },
}

/// The client's idea of the leader epoch differs from ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EpochError {
    #[error("the request knows leader epoch {claimed}, the current one is {current}; refresh the metadata")]
    Fenced { claimed: i32, current: i32 },
    #[error("the request claims leader epoch {claimed}, this broker knows {current} at most")]
    Unknown { claimed: i32, current: i32 },
}

/// The topic named in a request.
pub fn topic(broker: &Broker, topic: &TopicRef) -> Result<Arc<Topic>, LookupError> {
    match topic {
        TopicRef::Name(name) => topic_named(broker, name),
        TopicRef::Id(id) => broker.topics.by_id(TopicId(*id)).ok_or(LookupError::UnknownTopicId { id: *id }),
    }
}

/// The topic with this name.
pub fn topic_named(broker: &Broker, name: &str) -> Result<Arc<Topic>, LookupError> {
    broker.topics.get(name).ok_or_else(|| LookupError::UnknownTopic { name: name.to_owned() })
}

/// The log of one partition of a topic; of a view it is the source's.
pub fn partition(broker: &Broker, topic: &Topic, partition: i32) -> Result<Arc<Partition>, LookupError> {
    broker.storage.partition(topic.log_id(), PartitionId(partition)).ok_or_else(|| LookupError::UnknownPartition {
        topic: topic.name.clone(),
        partitions: topic.partitions,
        partition,
    })
}

/// Compares the epoch a client believes in with the current one; None = the client does not say.
pub fn check_epoch(claimed: Option<i32>, current: i32) -> Result<(), EpochError> {
    match claimed {
        Some(claimed) if claimed < current => Err(EpochError::Fenced { claimed, current }),
        Some(claimed) if claimed > current => Err(EpochError::Unknown { claimed, current }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_epoch_is_fenced_newer_is_unknown_and_none_passes() {
        assert!(check_epoch(None, 5).is_ok());
        assert!(check_epoch(Some(5), 5).is_ok());
        assert_eq!(check_epoch(Some(4), 5), Err(EpochError::Fenced { claimed: 4, current: 5 }));
        assert_eq!(check_epoch(Some(6), 5), Err(EpochError::Unknown { claimed: 6, current: 5 }));
    }
}
