//! Metadata (key 3): brokers, topics, partition leaders; creates topics that clients only mention.
//!
//! Versions 0-13. KIP-4, KIP-204 (auto-creation is the client's choice from 4 on), KIP-320 (leader epochs), KIP-430 (authorized
//! operations), KIP-516 (topic ids), KIP-1102. Errors per topic: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID,
//! INVALID_TOPIC_EXCEPTION, INVALID_REQUEST (ids before version 12), and what creating a topic can answer.
//!
//! The address answered is the advertised one of the listener through which the client came.
use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::lookup::{self, TopicRef};
use super::{Versions, authorized, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::{ErrorCode, KafkaError};
use crate::topics::Topic;

pub const VERSIONS: Versions = Versions::new(ApiKey::Metadata, 0, 13);

/// First version that may ask by id.
const BY_ID_SINCE: i16 = 12;

/// Which topics a request is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    These(Vec<Result<TopicRef, BadTopic>>),
}

/// A topic that cannot be looked up.
#[derive(Debug, PartialEq, Eq)]
pub struct BadTopic {
    pub name: Option<StrBytes>,
    pub code: ErrorCode,
}

/// In version 0 an empty list means every topic, later it means none and null means every topic.
pub fn asked(version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> Asked {
    match topics {
        None => Asked::All,
        Some(topics) if topics.is_empty() && version == 0 => Asked::All,
        Some(topics) => {
            let mut seen = HashSet::new();
            let named = topics.into_iter().map(|topic| named(version, topic));
            Asked::These(
                named.filter(|topic| topic.as_ref().map_or(true, |topic| seen.insert(topic.clone()))).collect(),
            )
        }
    }
}

fn named(version: i16, topic: MetadataRequestTopic) -> Result<TopicRef, BadTopic> {
    let name = topic.name.map(|name| name.0);
    match (topic.topic_id.is_nil(), name) {
        (true, Some(name)) => Ok(TopicRef::name(&name)),
        (false, _) if version >= BY_ID_SINCE => Ok(TopicRef::Id(topic.topic_id)),
        (_, name) => Err(BadTopic { name, code: ErrorCode::InvalidRequest }),
    }
}

/// Describes this broker and the topics asked for.
pub async fn handle(broker: &Broker, ctx: &RequestContext, version: i16, request: MetadataRequest) -> MetadataResponse {
    let operations = authorized::if_asked(request.include_topic_authorized_operations, authorized::TOPIC);
    let mut topics = Vec::new();
    match asked(version, request.topics) {
        Asked::All => {
            topics.extend(broker.topics.all().iter().map(|topic| describe(broker, version, topic, operations)))
        }
        Asked::These(wanted) => {
            for topic in wanted {
                topics.push(match topic {
                    Err(bad) => failed(version, bad.name, None, bad.code),
                    Ok(topic) => one(broker, version, &topic, request.allow_auto_topic_creation, operations).await,
                });
            }
        }
    }
    let include_cluster = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
    MetadataResponse::default()
        .with_brokers(vec![this_broker(broker, ctx)])
        .with_cluster_id(Some(wire(broker.cluster_id())))
        .with_controller_id(broker.node_id().into())
        .with_topics(topics)
        .with_cluster_authorized_operations(authorized::if_asked(include_cluster, authorized::CLUSTER))
}

async fn one(
    broker: &Broker,
    version: i16,
    wanted: &TopicRef,
    may_create: bool,
    operations: i32,
) -> MetadataResponseTopic {
    let found = lookup::topic(broker, wanted);
    match (found, wanted) {
        (Ok(topic), _) => describe(broker, version, &topic, operations),
        (Err(unknown), TopicRef::Name(name)) if may_create && broker.settings.auto_create_topics_enable => {
            // The topic exists when this is answered, and still it is unknown: Kafka says so to whoever causes the creation,
            // and clients that only describe topics rely on it. Everybody else asks again at once and finds it.
            let code = match broker.topics.auto_create(name).await {
                Ok(_) => unknown.error_code(),
                Err(error) => {
                    tracing::info!(topic = %name, %error, "topic not created on first use");
                    error.error_code()
                }
            };
            failed(version, Some(wire(&**name)), None, code)
        }
        (Err(_), TopicRef::Name(name)) if !crate::topics::is_valid_name(name) => {
            failed(version, Some(wire(&**name)), None, ErrorCode::InvalidTopicException)
        }
        (Err(error), TopicRef::Name(name)) => failed(version, Some(wire(&**name)), None, error.error_code()),
        (Err(error), TopicRef::Id(id)) => failed(version, None, Some(*id), error.error_code()),
    }
}

fn describe(broker: &Broker, version: i16, topic: &Arc<Topic>, operations: i32) -> MetadataResponseTopic {
    let epoch = broker.leader_epoch().0;
    let node = BrokerId(broker.node_id());
    let partitions = (0..topic.partitions).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(if version >= 7 { epoch } else { -1 })
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    });
    let response = MetadataResponseTopic::default()
        .with_name(Some(TopicName(wire(topic.name.as_str()))))
        .with_is_internal(version >= 1 && topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations);
    if version >= 10 { response.with_topic_id(topic.id.0) } else { response }
}

/// A topic that cannot be described. Its name is null only when the client asked by id.
fn failed(version: i16, name: Option<StrBytes>, id: Option<uuid::Uuid>, code: ErrorCode) -> MetadataResponseTopic {
    let name = if version >= BY_ID_SINCE { name } else { Some(name.unwrap_or_default()) };
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(name.map(TopicName))
        .with_topic_id(id.unwrap_or_default())
}

fn this_broker(broker: &Broker, ctx: &RequestContext) -> MetadataResponseBroker {
    let advertised = ctx.advertised();
    MetadataResponseBroker::default()
        .with_node_id(broker.node_id().into())
        .with_host(wire(advertised.host.as_str()))
        .with_port(i32::from(advertised.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn by_name(name: &'static str) -> MetadataRequestTopic {
        MetadataRequestTopic::default().with_name(Some(TopicName(name.into())))
    }

    #[test]
    fn null_is_every_topic_and_an_empty_list_is_none() {
        assert_eq!(asked(0, Some(vec![])), Asked::All, "version 0 has no null");
        assert_eq!(asked(1, Some(vec![])), Asked::These(vec![]));
        assert_eq!(asked(1, None), Asked::All);
        assert_eq!(asked(13, None), Asked::All);
    }

    #[test]
    fn topics_are_found_by_id_from_version_12_on() {
        let id = Uuid::from_u128(7);
        let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        assert_eq!(asked(12, Some(vec![by_id.clone()])), Asked::These(vec![Ok(TopicRef::Id(id))]));
        let bad = BadTopic { name: None, code: ErrorCode::InvalidRequest };
        assert_eq!(asked(11, Some(vec![by_id])), Asked::These(vec![Err(bad)]));
    }

    #[test]
    fn topic_named_twice_is_answered_once() {
        let Asked::These(topics) = asked(9, Some(vec![by_name("a"), by_name("b"), by_name("a")])) else { panic!() };
        assert_eq!(topics.len(), 2);
    }

    #[test]
    fn failed_topic_encodes_in_every_version() {
        use kafka_protocol::protocol::Encodable;
        for version in VERSIONS.min..=VERSIONS.max {
            let topic = failed(version, None, None, ErrorCode::InvalidRequest);
            let response = MetadataResponse::default().with_topics(vec![topic]);
            response.encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
    }
}
