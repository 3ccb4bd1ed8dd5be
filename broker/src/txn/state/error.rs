//! Why a transactional id refuses.
use thiserror::Error;

/// Why a transactional id refuses. Names are Kafka's error names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TxnError {
    #[error("the producer id is not the one that belongs to the transactional id; call InitProducerId")]
    InvalidProducerIdMapping,
    #[error("a newer producer with this transactional id has taken over, or its transaction timed out")]
    ProducerFenced,
    #[error("the transaction before is still being completed; retry")]
    ConcurrentTransactions,
    /// Before anything was written: the client may still be about to.
    #[error("there is nothing to commit yet in state {phase}; retry")]
    NothingToCommit { phase: &'static str },
    #[error("this cannot be done in state {phase}")]
    InvalidTxnState { phase: &'static str },
    #[error("the partition is not part of the producer's open transaction; abort it and begin another one")]
    TransactionAbortable,
    #[error("transaction.timeout.ms is {got_ms}, it must be from 1 to {max_ms} (`transaction.max.timeout.ms`)")]
    InvalidTransactionTimeout { got_ms: i32, max_ms: i32 },
    #[error("the transactional id is empty")]
    EmptyTransactionalId,
    #[error("no transactional id `{id}`")]
    TransactionalIdNotFound { id: String },
    #[error("the transactions of this id are being loaded; retry")]
    CoordinatorLoadInProgress,
    #[error("the coordinator is not available; retry")]
    CoordinatorNotAvailable,
}
