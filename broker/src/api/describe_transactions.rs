//! DescribeTransactions (key 65): where transactional ids stand.
//!
//! Version 0. KIP-664. Errors per id: INVALID_REQUEST, TRANSACTIONAL_ID_NOT_FOUND, COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE.
use std::collections::BTreeMap;

use kafka_protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use kafka_protocol::messages::describe_transactions_response::{
    DescribeTransactionsResponse, TopicData, TransactionState,
};
use kafka_protocol::messages::{ApiKey, TopicName};

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::txn::state::Snapshot;
use crate::txn::{Phase, TxnError};

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeTransactions, 0, 0);

/// Answers id by id.
pub fn handle(broker: &Broker, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.into_iter().map(|id| {
        let state = match broker.transactions.describe(&id) {
            Ok(found) if found.state.phase == Phase::Dead => {
                refused(&TxnError::TransactionalIdNotFound { id: id.to_string() })
            }
            Ok(found) => shown(&found.state),
            Err(error) => refused(&error),
        };
        state.with_transactional_id(id)
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

fn refused(error: &TxnError) -> TransactionState {
    TransactionState::default().with_error_code(error.wire_code())
}

fn shown(state: &Snapshot) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &state.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| TopicData::default().with_topic(TopicName(wire(topic))).with_partitions(partitions));
    TransactionState::default()
        .with_transaction_state(wire(state.phase.name()))
        .with_transaction_timeout_ms(state.timeout_ms)
        .with_transaction_start_time_ms(state.started_at.map_or(-1, |at| at.0))
        .with_producer_id(state.producer_id.0.into())
        .with_producer_epoch(state.epoch.0)
        .with_topics(topics.collect())
}
