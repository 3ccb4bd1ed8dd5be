//! Consumer groups of both protocols, and committed offsets.
//!
//! [`state`] is one group of the classic protocol as a pure state machine, [`consumer`] one of the newer protocol (KIP-848),
//! [`share`] one whose members share partitions (KIP-932);
//! [`records`] are their records in `__consumer_offsets`, in Kafka's format; [`configs`] the settings of single groups;
//! [`coordinator`] joins them with the log, the clock and the waiting clients. Nothing here knows the wire.
//!
//! A crash loses what was not acknowledged: commits and assignments are durable before they are answered, memberships are
//! rebuilt by the clients' next join.
pub mod configs;
pub mod consumer;
pub mod coordinator;
mod log;
pub mod offsets;
pub mod pending;
pub mod records;
pub mod share;
pub mod state;

pub use configs::{GroupConfigError, GroupConfigs};
pub use coordinator::{Coordinator, GroupSettings, OffsetsLog};
pub use log::StorageLog;
pub use state::{GroupError, JoinRequest, Joined, Leaving, Phase, SyncRequest, Synced};
