//! Transactions (KIP-98, KIP-360, KIP-890): who may write under a transactional id, and how each transaction ends.
//!
//! [`state`] is one transactional id as a pure state machine; [`records`] its record in `__transaction_state`, in Kafka's
//! format; [`coordinator`] joins them with the log, the clock and waiting clients; [`markers`] writes the control batches that
//! end a transaction in each partition. Nothing here knows the wire.
//!
//! A decision (PrepareCommit, PrepareAbort) is durable before it is answered and before the first marker is written. A crash
//! in between leaves it to the next start, which writes all markers again: a marker where no transaction is open changes
//! nothing.
pub mod coordinator;
pub mod markers;
pub mod records;
pub mod state;

pub use coordinator::{TransactionSettings, Transactions};
pub use markers::LogMarkers;
pub use state::{Phase, Protocol, TxnError, Who};
