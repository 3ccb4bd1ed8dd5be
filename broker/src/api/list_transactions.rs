//! ListTransactions (key 66): all transactional ids, by state, producer, duration or name.
//!
//! Versions 0-2. KIP-664, KIP-994 (duration, 1), KIP-1152 (pattern, 2). Errors: COORDINATOR_LOAD_IN_PROGRESS,
//! INVALID_REGULAR_EXPRESSION.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::list_transactions_request::ListTransactionsRequest;
use kafka_protocol::messages::list_transactions_response::{ListTransactionsResponse, TransactionState};
use kafka_protocol::protocol::StrBytes;
use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::txn::Phase;
use crate::txn::coordinator::TransactionDescription;

pub const VERSIONS: Versions = Versions::new(ApiKey::ListTransactions, 0, 2);

/// Memory that a client's pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Why nothing is listed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ListTransactionsError {
    #[error("the pattern of transactional ids is not a regular expression: {detail}")]
    Pattern { detail: String },
    #[error("transactions are being loaded; retry")]
    Loading,
}

/// What a request asks for; empty filters let everything through.
struct Filters {
    states: Vec<Phase>,
    /// Names that are no states. If there are only such, nothing matches.
    unknown_states: Vec<StrBytes>,
    producer_ids: Vec<i64>,
    longer_than_ms: Option<i64>,
    pattern: Option<Regex>,
}

/// Lists what passes the filters.
pub fn handle(broker: &Broker, request: &ListTransactionsRequest) -> ListTransactionsResponse {
    let response = ListTransactionsResponse::default();
    let filters = match filters(request) {
        Ok(_) if !broker.transactions.is_ready() => Err(ListTransactionsError::Loading),
        filters => filters,
    };
    let filters = match filters {
        Ok(filters) => filters,
        Err(error) => {
            tracing::debug!(%error, "ListTransactions refused");
            return response.with_error_code(error.wire_code());
        }
    };
    let now = broker.wall_clock_ms();
    let found = broker.transactions.list().into_iter().filter(|txn| filters.pass(txn, now)).map(|txn| {
        TransactionState::default()
            .with_transactional_id(wire(txn.transactional_id).into())
            .with_producer_id(txn.state.producer_id.0.into())
            .with_transaction_state(wire(txn.state.phase.name()))
    });
    response.with_transaction_states(found.collect()).with_unknown_state_filters(filters.unknown_states)
}

fn filters(request: &ListTransactionsRequest) -> Result<Filters, ListTransactionsError> {
    let phase = |name: &StrBytes| Phase::ALL.into_iter().find(|phase| phase.name() == name.as_str());
    let pattern = request.transactional_id_pattern.as_ref().filter(|pattern| !pattern.is_empty());
    let pattern = pattern.map(|pattern| {
        // As in Kafka the whole id has to match.
        let built = RegexBuilder::new(&format!("^(?:{})$", pattern.as_str())).size_limit(PATTERN_BYTES_MAX).build();
        built.map_err(|error| ListTransactionsError::Pattern { detail: error.to_string() })
    });
    Ok(Filters {
        states: request.state_filters.iter().filter_map(phase).collect(),
        unknown_states: request.state_filters.iter().filter(|name| phase(name).is_none()).cloned().collect(),
        producer_ids: request.producer_id_filters.iter().map(|id| id.0).collect(),
        longer_than_ms: (request.duration_filter >= 0).then_some(request.duration_filter),
        pattern: pattern.transpose()?,
    })
}

impl Filters {
    fn pass(&self, txn: &TransactionDescription, now_ms: i64) -> bool {
        let state = &txn.state;
        let any_state = self.states.is_empty() && self.unknown_states.is_empty();
        (any_state || self.states.contains(&state.phase))
            && (self.producer_ids.is_empty() || self.producer_ids.contains(&state.producer_id.0))
            && self.longer_than_ms.is_none_or(|limit| state.started_at.is_some_and(|at| now_ms - at.0 > limit))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&txn.transactional_id))
    }
}
