//! DeleteTopics (key 20). Deleting a topic deletes the offsets that groups have committed for it.
//!
//! Versions 1-6. KIP-4, KIP-516 (by id, 6), KIP-599 (messages, 5). Errors per topic: INVALID_REQUEST (named twice, or by name and
//! id at once), UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_TOPIC_EXCEPTION (internal topics), TOPIC_DELETION_DISABLED.
use std::collections::HashMap;

use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::messages::{ApiKey, TopicName};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;
use uuid::Uuid;

use super::lookup::{self, LookupError, TopicRef};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::topics::TopicError;

pub const VERSIONS: Versions = Versions::new(ApiKey::DeleteTopics, 1, 6);

/// Why a topic is not deleted.
#[derive(Debug, Error)]
pub enum DeleteTopicError {
    #[error("the topic is in the request more than once")]
    NamedTwice,
    #[error("name the topic by name or by id, not by both")]
    NameAndId,
    #[error("topics cannot be deleted here (setting `delete.topic.enable` of the broker)")]
    Disabled,
    #[error("the request names a topic neither by name nor by id")]
    Unnamed,
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// A topic as the request has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: Option<StrBytes>,
    id: Uuid,
}

/// Deletes topic by topic.
pub async fn handle(broker: &Broker, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut responses = Vec::new();
    for (named, wanted) in plan(asked(version, request)) {
        let result = match wanted {
            Ok(_) if !broker.config.topics.delete_enable => Err(DeleteTopicError::Disabled),
            Ok(topic) => delete(broker, &topic).await,
            Err(error) => Err(error),
        };
        responses.push(answer(version, named, result));
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

fn asked(version: i16, request: DeleteTopicsRequest) -> Vec<Named> {
    if version >= 6 {
        let named = |topic: kafka_protocol::messages::delete_topics_request::DeleteTopicState| Named {
            name: topic.name.map(|name| name.0),
            id: topic.topic_id,
        };
        return request.topics.into_iter().map(named).collect();
    }
    request.topic_names.into_iter().map(|name| Named { name: Some(name.0), id: Uuid::nil() }).collect()
}

fn plan(asked: Vec<Named>) -> Vec<(Named, Result<TopicRef, DeleteTopicError>)> {
    let mut counts: HashMap<(Option<StrBytes>, Uuid), usize> = HashMap::new();
    for named in &asked {
        *counts.entry((named.name.clone(), named.id)).or_default() += 1;
    }
    let mut planned = Vec::with_capacity(asked.len());
    for named in asked {
        let wanted = match (&named.name, named.id.is_nil()) {
            (Some(_), false) => Err(DeleteTopicError::NameAndId),
            (None, true) => Err(DeleteTopicError::Unnamed),
            (Some(name), true) => Ok(TopicRef::name(name)),
            (None, false) => Ok(TopicRef::Id(named.id)),
        };
        match counts.remove(&(named.name.clone(), named.id)) {
            None => {} // answered where it came up first
            Some(1) => planned.push((named, wanted)),
            Some(_) => planned.push((named, wanted.and(Err(DeleteTopicError::NamedTwice)))),
        }
    }
    planned
}

async fn delete(broker: &Broker, wanted: &TopicRef) -> Result<(String, Uuid), DeleteTopicError> {
    let topic = lookup::topic(broker, wanted)?;
    broker.topics.delete(&topic).await?;
    Ok((topic.name.clone(), topic.id.0))
}

fn answer(version: i16, named: Named, result: Result<(String, Uuid), DeleteTopicError>) -> DeletableTopicResult {
    let response = DeletableTopicResult::default();
    match result {
        Ok((name, id)) => {
            let response = response.with_name(Some(TopicName(wire(name)))).with_error_message(None);
            if version >= 6 { response.with_topic_id(id) } else { response }
        }
        Err(error) => {
            let name = if version >= 6 { named.name } else { Some(named.name.unwrap_or_default()) };
            let response = response.with_name(name.map(TopicName)).with_error_code(error.wire_code());
            let response = if version >= 6 { response.with_topic_id(named.id) } else { response };
            if version >= 5 { response.with_error_message(Some(wire(error.to_string()))) } else { response }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;

    fn named(name: Option<&'static str>, id: u128) -> Named {
        Named { name: name.map(StrBytes::from_static_str), id: Uuid::from_u128(id) }
    }

    #[test]
    fn topics_are_named_by_name_or_by_id() {
        let planned =
            plan(vec![named(Some("a"), 0), named(None, 7), named(Some("b"), 8), named(None, 0), named(Some("a"), 0)]);
        let codes: Vec<_> =
            planned.iter().map(|(_, wanted)| wanted.as_ref().err().map(KafkaError::error_code)).collect();
        let invalid = Some(ErrorCode::InvalidRequest);
        assert_eq!(codes, [invalid, None, invalid, invalid], "`a` is named twice and answered once");
        assert_eq!(planned[1].1.as_ref().unwrap(), &TopicRef::Id(Uuid::from_u128(7)));
    }

    #[test]
    fn every_version_encodes_success_and_error() {
        use kafka_protocol::protocol::Encodable;
        for version in VERSIONS.min..=VERSIONS.max {
            for result in [Ok(("a".to_owned(), Uuid::from_u128(1))), Err(DeleteTopicError::NamedTwice)] {
                let response = answer(version, named(Some("a"), 0), result);
                let response = DeleteTopicsResponse::default().with_responses(vec![response]);
                response.encode(&mut bytes::BytesMut::new(), version).unwrap();
            }
        }
    }
}
