//! What members of a consumer group tell each other through the coordinator, which never looks inside: subscriptions and
//! assignments, each a version followed by a struct.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use kafka_protocol::messages::consumer_protocol_subscription::{
    ConsumerProtocolSubscription, TopicPartition as OwnedPartition,
};
use kafka_protocol::messages::{ApiKey, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::error::{ClientError, Result};

/// Protocol type of consumer groups.
pub const PROTOCOL_TYPE: &str = "consumer";

/// Version that we write: owned partitions, but no generation and no rack. Every client reads it.
const VERSION: i16 = 1;
/// Newest that the structs decode; a later one only appends fields.
const VERSION_NEWEST: i16 = 3;

/// Partitions by topic.
pub type Assignment = BTreeMap<String, Vec<i32>>;

/// What a member wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Topics it wants to read.
    pub topics: Vec<String>,
    /// What it read in the generation before.
    pub owned: Assignment,
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn encode<T: Encodable>(api: ApiKey, message: &T) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    message.encode(&mut bytes, VERSION).map_err(|error| ClientError::Encode {
        api,
        version: VERSION,
        reason: error.to_string(),
    })?;
    Ok(bytes.freeze())
}

fn decode<T: Decodable>(api: ApiKey, mut bytes: Bytes) -> Result<T> {
    let malformed = |version, reason: String| ClientError::Malformed {
        broker: "a member of the group".to_owned(),
        api,
        version,
        reason,
    };
    if bytes.len() < 2 {
        return Err(malformed(0, format!("{} bytes are no version", bytes.len())));
    }
    let version = bytes.get_i16();
    if version < 0 {
        return Err(malformed(version, "the version is negative".into()));
    }
    check_array_lengths(&bytes).map_err(|reason| malformed(version, reason))?;
    T::decode(&mut bytes, version.min(VERSION_NEWEST)).map_err(|error| malformed(version, error.to_string()))
}

/// Both structs begin with an array. Its count is checked here, because it comes from another member of the group and the
/// decoder would allocate whatever it says.
fn check_array_lengths(bytes: &Bytes) -> Result<(), String> {
    let Some(count) = bytes.get(..4) else { return Err("the first array has no length".into()) };
    let count = (&count[..]).get_i32();
    // The smallest element, an empty string, takes two bytes.
    match usize::try_from(count) {
        Ok(count) if count <= bytes.len() / 2 => Ok(()),
        _ => Err(format!("an array of {count} elements in {} bytes", bytes.len())),
    }
}

/// Encodes what this member wants.
pub fn encode_subscription(subscription: &Subscription) -> Result<Bytes> {
    let owned = subscription.owned.iter().map(|(topic, partitions)| {
        OwnedPartition::default().with_topic(topic_name(topic)).with_partitions(partitions.clone())
    });
    let message = ConsumerProtocolSubscription::default()
        .with_topics(subscription.topics.iter().map(|topic| StrBytes::from_string(topic.clone())).collect())
        .with_owned_partitions(owned.collect());
    encode(ApiKey::JoinGroup, &message)
}

/// Decodes what another member wants.
pub fn decode_subscription(bytes: Bytes) -> Result<Subscription> {
    let message: ConsumerProtocolSubscription = decode(ApiKey::JoinGroup, bytes)?;
    let owned = message.owned_partitions.iter();
    Ok(Subscription {
        topics: message.topics.iter().map(ToString::to_string).collect(),
        owned: owned.map(|owned| (owned.topic.to_string(), owned.partitions.clone())).collect(),
    })
}

/// Encodes what a member gets.
pub fn encode_assignment(assignment: &Assignment) -> Result<Bytes> {
    let partitions = assignment.iter().map(|(topic, partitions)| {
        TopicPartition::default().with_topic(topic_name(topic)).with_partitions(partitions.clone())
    });
    encode(ApiKey::SyncGroup, &ConsumerProtocolAssignment::default().with_assigned_partitions(partitions.collect()))
}

/// Decodes what a member got. No bytes at all mean no partitions.
pub fn decode_assignment(bytes: Bytes) -> Result<ConsumerProtocolAssignment> {
    if bytes.is_empty() {
        return Ok(ConsumerProtocolAssignment::default());
    }
    decode(ApiKey::SyncGroup, bytes)
}

/// The partitions of an assignment, sorted.
pub fn partitions_by_topic(assignment: &ConsumerProtocolAssignment) -> Assignment {
    let mut topics = Assignment::new();
    for entry in &assignment.assigned_partitions {
        topics.entry(entry.topic.to_string()).or_default().extend(&entry.partitions);
    }
    for partitions in topics.values_mut() {
        partitions.sort_unstable();
        partitions.dedup();
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscription_and_assignment_survive_a_round_trip() {
        let owned = Assignment::from([("a".to_owned(), vec![0, 2])]);
        let subscription = Subscription { topics: vec!["a".into(), "b".into()], owned: owned.clone() };
        let bytes = encode_subscription(&subscription).unwrap();
        assert_eq!(decode_subscription(bytes).unwrap(), subscription);
        let bytes = encode_assignment(&owned).unwrap();
        assert_eq!(partitions_by_topic(&decode_assignment(bytes).unwrap()), owned);
        assert!(partitions_by_topic(&decode_assignment(Bytes::new()).unwrap()).is_empty());
    }

    /// The bytes that Kafka's Java client writes for version 0 of `{topics: [t], user_data: null}`.
    #[test]
    fn a_version_0_subscription_of_the_java_client_is_read() {
        let bytes = Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff");
        let subscription = decode_subscription(bytes).unwrap();
        assert_eq!(subscription, Subscription { topics: vec!["t".into()], owned: Assignment::new() });
    }

    #[test]
    fn lying_lengths_and_short_bytes_are_errors() {
        for bytes in [&b"\x00"[..], b"\xff\xff", b"\x00\x00\x7f\xff\xff\xff", b"\x00\x01\x00\x00\x00\x02\x00"] {
            assert!(decode_subscription(Bytes::from_static(bytes)).is_err(), "{bytes:?}");
            assert!(decode_assignment(Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
    }
}
