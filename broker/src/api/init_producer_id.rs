//! InitProducerId (key 22): an id for an idempotent producer.
//!
//! Versions 0-5. KIP-98, KIP-360 (ids and epochs in the request). Errors: INVALID_REQUEST (an empty transactional id, an id
//! without an epoch), UNSUPPORTED_VERSION (a transactional id: transactions are not served yet), COORDINATOR_NOT_AVAILABLE (the
//! id could not be recorded; retriable).
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse};
use thiserror::Error;

use super::Versions;
use crate::broker::Broker;
use crate::error_code::KafkaError;

pub const VERSIONS: Versions = Versions::new(ApiKey::InitProducerId, 0, 5);

/// Why no id is given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InitProducerIdError {
    #[error("the transactional id is empty; leave it out or give it a value")]
    EmptyTransactionalId,
    #[error("producer id {producer_id} and epoch {producer_epoch} go together, one of them is missing")]
    HalfAnIdentity { producer_id: i64, producer_epoch: i16 },
    #[error("transactional id `{transactional_id}`: this broker has no transactions yet; unset `transactional.id`")]
    Transactional { transactional_id: String },
    #[error("the new producer id could not be recorded: {reason}")]
    NotRecorded { reason: String },
}

/// Allocates an id. An idempotent producer always gets a new one, with epoch 0.
pub async fn handle(broker: &Broker, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let allocated = match validate(&request) {
        Ok(()) => broker
            .producer_ids
            .next()
            .await
            .map_err(|error| InitProducerIdError::NotRecorded { reason: error.to_string() }),
        Err(error) => Err(error),
    };
    match allocated {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(id.0.into()).with_producer_epoch(0),
        Err(error) => {
            tracing::warn!(%error, "InitProducerId refused");
            InitProducerIdResponse::default()
                .with_error_code(error.wire_code())
                .with_producer_id((-1).into())
                .with_producer_epoch(-1)
        }
    }
}

fn validate(request: &InitProducerIdRequest) -> Result<(), InitProducerIdError> {
    let (producer_id, producer_epoch) = (request.producer_id.0, request.producer_epoch);
    if (producer_id == -1) != (producer_epoch == -1) {
        return Err(InitProducerIdError::HalfAnIdentity { producer_id, producer_epoch });
    }
    match &request.transactional_id {
        None => Ok(()),
        Some(id) if id.is_empty() => Err(InitProducerIdError::EmptyTransactionalId),
        Some(id) => Err(InitProducerIdError::Transactional { transactional_id: id.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;
    use kafka_protocol::messages::TransactionalId;

    fn idempotent() -> InitProducerIdRequest {
        InitProducerIdRequest::default().with_transactional_id(None)
    }

    fn with_id(id: &'static str) -> InitProducerIdRequest {
        InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(id.into())))
    }

    #[test]
    fn only_idempotent_producers_get_an_id() {
        assert_eq!(validate(&idempotent()), Ok(()));
        assert_eq!(validate(&with_id("")).unwrap_err().error_code(), ErrorCode::InvalidRequest);
        assert_eq!(validate(&with_id("tx")).unwrap_err().error_code(), ErrorCode::UnsupportedVersion);
    }

    #[test]
    fn id_and_epoch_go_together() {
        let request = idempotent().with_producer_id(5.into());
        assert_eq!(
            validate(&request).unwrap_err(),
            InitProducerIdError::HalfAnIdentity { producer_id: 5, producer_epoch: -1 }
        );
        assert_eq!(validate(&request.with_producer_epoch(3)), Ok(()));
    }
}
