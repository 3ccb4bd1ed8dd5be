//! Consumer groups of the classic protocol, and committed offsets.
//!
//! [`state`] is one group as a pure state machine; [`records`] its records in `__consumer_offsets`, in Kafka's format;
//! [`coordinator`] joins them with the log, the clock and the waiting clients. Nothing here knows the wire.
//!
//! A crash loses what was not acknowledged: commits and assignments are durable before they are answered, memberships are
//! rebuilt by the clients' next join.
pub mod coordinator;
mod log;
pub mod offsets;
pub mod pending;
pub mod records;
pub mod state;

pub use coordinator::{Coordinator, GroupSettings, OffsetsLog};
pub use log::StorageLog;
pub use state::{GroupError, JoinRequest, Joined, Leaving, Phase, SyncRequest, Synced};
