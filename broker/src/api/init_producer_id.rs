//! InitProducerId (key 22): an identity for an idempotent or transactional producer.
//!
//! Versions 0-5. KIP-98, KIP-360 (ids and epochs in the request), KIP-588 (PRODUCER_FENCED, 4), KIP-890. A producer that takes a
//! transactional id over fences the one before and aborts its transaction. Errors: INVALID_REQUEST (an empty transactional id,
//! an id without an epoch), INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED (INVALID_PRODUCER_EPOCH before version 4),
//! CONCURRENT_TRANSACTIONS, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE (the id could not be recorded; retriable).
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse};
use thiserror::Error;
use weir_protocol::ids::{ProducerEpoch, ProducerId};

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::txn::{TxnError, Who};

pub const VERSIONS: Versions = Versions::new(ApiKey::InitProducerId, 0, 5);

/// First version whose clients know PRODUCER_FENCED.
const FENCED_SINCE: i16 = 4;

/// Why no id is given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InitProducerIdError {
    #[error("producer id {producer_id} and epoch {producer_epoch} go together, one of them is missing")]
    HalfAnIdentity { producer_id: i64, producer_epoch: i16 },
    #[error(transparent)]
    Transaction(#[from] TxnError),
    #[error("the new producer id could not be recorded: {reason}")]
    NotRecorded { reason: String },
}

/// An idempotent producer always gets a new id with epoch 0, a transactional one that of its transactional id.
pub async fn handle(broker: &Broker, version: i16, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default();
    match identity(broker, &request).await {
        Ok(who) => response.with_producer_id(who.producer_id.0.into()).with_producer_epoch(who.epoch.0),
        Err(error) => {
            tracing::debug!(%error, transactional_id = ?request.transactional_id, "InitProducerId refused");
            let code = match error.error_code() {
                ErrorCode::ProducerFenced if version < FENCED_SINCE => ErrorCode::InvalidProducerEpoch,
                code => code,
            };
            response.with_error_code(code.code()).with_producer_id((-1).into()).with_producer_epoch(-1)
        }
    }
}

async fn identity(broker: &Broker, request: &InitProducerIdRequest) -> Result<Who, InitProducerIdError> {
    let expected = expected(request)?;
    if let Some(id) = &request.transactional_id {
        let timeout_ms = request.transaction_timeout_ms;
        return Ok(broker.transactions.init_producer_id(id, timeout_ms, expected).await?);
    }
    let fresh = broker.producer_ids.next().await;
    let producer_id = fresh.map_err(|error| InitProducerIdError::NotRecorded { reason: error.to_string() })?;
    Ok(Who { producer_id, epoch: ProducerEpoch(0) })
}

/// Who the producer was before (KIP-360).
fn expected(request: &InitProducerIdRequest) -> Result<Option<Who>, InitProducerIdError> {
    let (producer_id, producer_epoch) = (request.producer_id.0, request.producer_epoch);
    match (producer_id, producer_epoch) {
        (-1, -1) => Ok(None),
        (-1, _) | (_, -1) => Err(InitProducerIdError::HalfAnIdentity { producer_id, producer_epoch }),
        _ => Ok(Some(Who { producer_id: ProducerId(producer_id), epoch: ProducerEpoch(producer_epoch) })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_epoch_go_together() {
        let request = InitProducerIdRequest::default();
        assert_eq!(expected(&request), Ok(None));
        let request = request.with_producer_id(5.into());
        assert_eq!(
            expected(&request).unwrap_err(),
            InitProducerIdError::HalfAnIdentity { producer_id: 5, producer_epoch: -1 }
        );
        let who = Who { producer_id: ProducerId(5), epoch: ProducerEpoch(3) };
        assert_eq!(expected(&request.with_producer_epoch(3)), Ok(Some(who)));
    }
}
