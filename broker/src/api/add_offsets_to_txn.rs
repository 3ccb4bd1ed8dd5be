//! AddOffsetsToTxn (key 25): a transaction is going to commit offsets of a group.
//!
//! Versions 0-4. KIP-98, KIP-588 (PRODUCER_FENCED, 2), KIP-890. Adds the group's partition of `__consumer_offsets` to the transaction.
//! Errors: INVALID_REQUEST, INVALID_GROUP_ID, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS,
//! COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey};
use weir_protocol::ids::{ProducerEpoch, ProducerId};

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};
use crate::topics::OFFSETS_TOPIC;
use crate::txn::{Protocol, Who};

pub const VERSIONS: Versions = Versions::new(ApiKey::AddOffsetsToTxn, 0, 4);

const FENCED_SINCE: i16 = 2;

/// Adds the group's partition.
pub async fn handle(broker: &Broker, version: i16, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let who = Who { producer_id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
    let partition = (OFFSETS_TOPIC.to_owned(), broker.groups.partition_of(&request.group_id));
    let added = broker.transactions.add_partitions(&request.transactional_id, who, Protocol::V1, &[partition]).await;
    let code = match added.map_err(|error| error.error_code()) {
        Ok(()) => NONE,
        Err(ErrorCode::ProducerFenced) if version < FENCED_SINCE => ErrorCode::InvalidProducerEpoch.code(),
        Err(code) => code.code(),
    };
    AddOffsetsToTxnResponse::default().with_error_code(code)
}
