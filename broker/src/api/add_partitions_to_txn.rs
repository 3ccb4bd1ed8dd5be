//! AddPartitionsToTxn (key 24): partitions become part of a transaction before its producer writes to them.
//!
//! Versions 0-5. KIP-98, KIP-588 (PRODUCER_FENCED, 2), KIP-890 (several transactions and verification, 4; TRANSACTION_ABORTABLE,
//! 5). Clients use up to version 3; from 4 on it is for brokers that ask a coordinator elsewhere. Errors per partition:
//! UNKNOWN_TOPIC_OR_PARTITION (the others: OPERATION_NOT_ATTEMPTED), INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED,
//! CONCURRENT_TRANSACTIONS, INVALID_TXN_STATE, TRANSACTION_ABORTABLE, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{ApiKey, TransactionalId};
use weir_protocol::ids::{ProducerEpoch, ProducerId};

use super::{Versions, lookup};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};
use crate::group::offsets::PartitionName;
use crate::txn::{Protocol, TxnError, Who};

pub const VERSIONS: Versions = Versions::new(ApiKey::AddPartitionsToTxn, 0, 5);

/// First version with many transactions.
const MANY_SINCE: i16 = 4;
const ABORTABLE_SINCE: i16 = 5;
const FENCED_SINCE: i16 = 2;

/// One transaction of a request, of any version.
struct Wanted {
    id: TransactionalId,
    who: Who,
    verify_only: bool,
    topics: Vec<AddPartitionsToTxnTopic>,
}

/// Adds, or verifies, transaction by transaction.
pub async fn handle(broker: &Broker, version: i16, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    if version < MANY_SINCE {
        let who = Who {
            producer_id: ProducerId(request.v3_and_below_producer_id.0),
            epoch: ProducerEpoch(request.v3_and_below_producer_epoch),
        };
        let (id, topics) = (request.v3_and_below_transactional_id, request.v3_and_below_topics);
        let results = serve(broker, version, Wanted { id, who, verify_only: false, topics }).await;
        return AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results);
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for txn in request.transactions {
        let who = Who { producer_id: ProducerId(txn.producer_id.0), epoch: ProducerEpoch(txn.producer_epoch) };
        let id = txn.transactional_id.clone();
        let wanted = Wanted { id: txn.transactional_id, who, verify_only: txn.verify_only, topics: txn.topics };
        let topics = serve(broker, version, wanted).await;
        results.push(AddPartitionsToTxnResult::default().with_transactional_id(id).with_topic_results(topics));
    }
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results)
}

async fn serve(broker: &Broker, version: i16, wanted: Wanted) -> Vec<AddPartitionsToTxnTopicResult> {
    let names: Vec<PartitionName> = wanted
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.to_string(), *partition)))
        .collect();
    let mut codes = codes(broker, version, &wanted, &names).await.into_iter();
    let result = |topic: AddPartitionsToTxnTopic| {
        let partitions = topic.partitions.iter().zip(codes.by_ref()).map(|(partition, code)| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code)
        });
        AddPartitionsToTxnTopicResult::default().with_results_by_partition(partitions.collect()).with_name(topic.name)
    };
    wanted.topics.into_iter().map(result).collect()
}

/// One code per partition: all of them are added, or none.
async fn codes(broker: &Broker, version: i16, wanted: &Wanted, names: &[PartitionName]) -> Vec<i16> {
    let is_view = |name: &PartitionName| broker.topics.get(&name.0).is_some_and(|topic| topic.view.is_some());
    if names.iter().any(is_view) {
        let code =
            |name| if is_view(name) { ErrorCode::InvalidTopicException } else { ErrorCode::OperationNotAttempted };
        return names.iter().map(|name| code(name).code()).collect();
    }
    let missing: Vec<bool> = names.iter().map(|name| !exists(broker, name)).collect();
    if missing.contains(&true) {
        let code = |missing: bool| match missing {
            true => ErrorCode::UnknownTopicOrPartition.code(),
            false => ErrorCode::OperationNotAttempted.code(),
        };
        return missing.into_iter().map(code).collect();
    }
    let outcome = if wanted.verify_only {
        let verified = broker.transactions.verify(&wanted.id, wanted.who, names);
        verified
            .map(|found| found.into_iter().map(|ok| if ok { Ok(()) } else { Err(TxnError::TransactionAbortable) }))
            .map(Iterator::collect::<Vec<_>>)
    } else {
        let added = broker.transactions.add_partitions(&wanted.id, wanted.who, Protocol::V1, names).await;
        added.map(|()| vec![Ok(()); names.len()])
    };
    let verdicts = outcome.unwrap_or_else(|error| {
        tracing::debug!(%error, transactional_id = %wanted.id.0, "AddPartitionsToTxn refused");
        vec![Err(error); names.len()]
    });
    verdicts.into_iter().map(|verdict| verdict.map_or_else(|error| code(version, &error), |()| NONE)).collect()
}

fn exists(broker: &Broker, (topic, partition): &PartitionName) -> bool {
    let found = lookup::topic_named(broker, topic);
    found.is_ok_and(|topic| (0..topic.partitions).contains(partition))
}

fn code(version: i16, error: &TxnError) -> i16 {
    let code = match error.error_code() {
        ErrorCode::ProducerFenced if version < FENCED_SINCE => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_SINCE => ErrorCode::InvalidTxnState,
        code => code,
    };
    code.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_clients_are_told_what_they_know() {
        assert_eq!([1, 2].map(|version| code(version, &TxnError::ProducerFenced)), [47, 90]);
        assert_eq!([4, 5].map(|version| code(version, &TxnError::TransactionAbortable)), [48, 120]);
    }
}
