//! EndTxn (key 26): a producer commits or aborts its transaction.
//!
//! Versions 0-5. KIP-98, KIP-588 (PRODUCER_FENCED, 2), KIP-890 (5: the answer has the producer's next epoch, which is its identity
//! from now on). Answered when the decision is durable. Errors: INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED,
//! INVALID_TXN_STATE, CONCURRENT_TRANSACTIONS, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::{ApiKey, EndTxnRequest, EndTxnResponse};
use weir_protocol::ids::{ProducerEpoch, ProducerId};

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::txn::{Protocol, Who};

pub const VERSIONS: Versions = Versions::new(ApiKey::EndTxn, 0, 5);

const FENCED_SINCE: i16 = 2;
/// First version whose clients follow the protocol of KIP-890.
const VERSION_2_SINCE: i16 = 5;

/// Commits or aborts.
pub async fn handle(broker: &Broker, version: i16, request: EndTxnRequest) -> EndTxnResponse {
    let who = Who { producer_id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
    let protocol = if version >= VERSION_2_SINCE { Protocol::V2 } else { Protocol::V1 };
    let response = EndTxnResponse::default();
    match broker.transactions.end(&request.transactional_id, who, request.committed, protocol).await {
        Ok(next) if protocol == Protocol::V2 => {
            response.with_producer_id(next.producer_id.0.into()).with_producer_epoch(next.epoch.0)
        }
        Ok(_) => response,
        Err(error) => {
            tracing::debug!(%error, transactional_id = %request.transactional_id.0, "EndTxn refused");
            let code = match error.error_code() {
                ErrorCode::ProducerFenced if version < FENCED_SINCE => ErrorCode::InvalidProducerEpoch,
                code => code,
            };
            response.with_error_code(code.code())
        }
    }
}
