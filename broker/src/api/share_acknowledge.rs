//! ShareAcknowledge (key 79): a member of a share group is done with records, or gives them back.
//!
//! Version 1 (renewals, version 2, are not decoded by the protocol crate). KIP-932. Errors, whole request:
//! SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, INVALID_REQUEST; one partition: TOPIC_AUTHORIZATION_FAILED,
//! UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST, INVALID_RECORD_STATE, COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE.
use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use kafka_protocol::messages::share_acknowledge_response::{
    PartitionData, ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};
use kafka_protocol::messages::{ApiKey, ShareAcknowledgeRequest};
use thiserror::Error;
use uuid::Uuid;
use weir_protocol::ids::TopicId;

use super::lookup::{self, LookupError, TopicRef};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::metrics::tables::shares as tables;
use crate::security::acl::Operation;
use crate::security::rules::Access;
use crate::share::partition::{AckBatch, AckType};
use crate::share::room::Durable;
use crate::share::session::{CLOSE, ShareSessionError, TopicPartition};
use crate::share::{SessionKey, ShareError, ShareKey};

pub const VERSIONS: Versions = Versions::new(ApiKey::ShareAcknowledge, 1, 1);

/// What is acknowledged, by partition, in the order of the request.
pub type Acknowledgements = IndexMap<TopicPartition, Vec<AckBatch>>;

/// Why acknowledgements of one partition are refused.
#[derive(Debug, Error)]
pub enum AcknowledgeError {
    #[error("topic authorization failed")]
    NotAuthorized,
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl KafkaError for AcknowledgeError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AcknowledgeError::NotAuthorized => ErrorCode::TopicAuthorizationFailed,
            AcknowledgeError::Lookup(error) => error.error_code(),
            AcknowledgeError::Share(error) => error.error_code(),
        }
    }
}

/// The error of a whole request whose member is not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the request names no group or no member")]
pub struct Nameless;

impl KafkaError for Nameless {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }
}

/// Answers when all of it is durable.
pub async fn handle(
    broker: &Broker,
    request: ShareAcknowledgeRequest,
    access: Option<&Access>,
) -> ShareAcknowledgeResponse {
    let epoch = request.share_session_epoch;
    let (group, member) = (request.group_id.as_deref(), request.member_id.as_deref());
    let Some(session) = session_key(group.map(|group| group.as_str()), member) else { return failed(&Nameless) };
    if let Err(error) = broker.share_sessions.acknowledge(&session, epoch) {
        return failed(&error);
    }
    let mut wanted = Acknowledgements::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let batches = partition.acknowledgement_batches.into_iter();
            let batches =
                batches.map(|b| AckBatch { first: b.first_offset, last: b.last_offset, types: b.acknowledge_types });
            wanted.entry((TopicId(topic.topic_id), partition.partition_index)).or_default().extend(batches);
        }
    }
    let results = acknowledge(broker, &session, wanted, access).await;
    if epoch == CLOSE {
        close(broker, &session);
    }
    let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
    for ((topic, partition), result) in results {
        let data = PartitionData::default().with_partition_index(partition).with_error_message(None);
        let data = match result {
            Ok(()) => data,
            Err(error) => data.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        };
        topics.entry(topic.0).or_default().push(data);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        ShareAcknowledgeTopicResponse::default().with_topic_id(topic).with_partitions(partitions)
    });
    ShareAcknowledgeResponse::default().with_error_message(None).with_responses(topics.collect())
}

fn failed(error: &dyn KafkaError) -> ShareAcknowledgeResponse {
    ShareAcknowledgeResponse::default()
        .with_error_code(error.wire_code())
        .with_error_message(Some(wire(error.to_string())))
}

/// Who reads. `None`: the request does not say.
pub(super) fn session_key(group: Option<&str>, member: Option<&str>) -> Option<SessionKey> {
    let named = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(Arc::from);
    Some(SessionKey { group: named(group)?, member: named(member)? })
}

/// Ends a session in good order: what its member still has was not delivered to anybody.
pub(super) fn close(broker: &Broker, session: &SessionKey) {
    if let Some(ended) = broker.share_sessions.close(session) {
        let returned = broker.shares.end_session(session, &ended.partitions, true);
        metrics::counter!(tables::RECORDS_RETURNED.name).increment(returned as u64);
    }
}

/// Applies acknowledgements, all partitions at a time; durable when it returns.
pub(super) async fn acknowledge(
    broker: &Broker,
    session: &SessionKey,
    wanted: Acknowledgements,
    access: Option<&Access>,
) -> Vec<(TopicPartition, Result<(), AcknowledgeError>)> {
    // All are applied before the first one is awaited: their records are written together.
    let applied = wanted.into_iter().map(|(at, batches)| (at, apply(broker, session, at, &batches, access)));
    let applied: Vec<_> = applied.collect();
    let mut results = Vec::with_capacity(applied.len());
    for (at, applied) in applied {
        let result = match applied {
            Ok(durable) => durable.wait().await.map_err(AcknowledgeError::from),
            Err(error) => Err(error),
        };
        results.push((at, result));
    }
    results
}

fn apply(
    broker: &Broker,
    session: &SessionKey,
    (topic, partition): TopicPartition,
    batches: &[AckBatch],
    access: Option<&Access>,
) -> Result<Durable, AcknowledgeError> {
    let name = TopicRef::Id(topic.0);
    let found = lookup::topic(broker, &name)?;
    if access.is_some_and(|access| !access.may_fetch(&name, Operation::Read)) {
        return Err(AcknowledgeError::NotAuthorized);
    }
    lookup::partition(broker, &found, partition)?;
    if batches.is_empty() {
        return Ok(Durable::already());
    }
    let key = ShareKey { group: session.group.clone(), topic, partition };
    let (counts, durable) = broker.shares.acknowledge(&key, &session.member, batches)?;
    for (kind, count) in AckType::ALL.iter().zip(counts) {
        metrics::counter!(tables::RECORDS_ACKNOWLEDGED.name, "type" => kind.name()).increment(count as u64);
    }
    Ok(durable)
}

impl KafkaError for ShareSessionError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ShareSessionError::NotFound => ErrorCode::ShareSessionNotFound,
            ShareSessionError::EpochMismatch { .. } | ShareSessionError::CannotOpen => {
                ErrorCode::InvalidShareSessionEpoch
            }
            ShareSessionError::AcknowledgesAtOpening => ErrorCode::InvalidRequest,
            ShareSessionError::LimitReached { .. } => ErrorCode::ShareSessionLimitReached,
        }
    }
}
