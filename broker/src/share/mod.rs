//! Share groups (KIP-932): many members read the same partitions, and each record goes to one of them until somebody is done
//! with it.
//!
//! [`partition`] is one share partition as a pure state machine; [`session`] knows what each member reads; [`room`] joins the
//! partitions with the log of their states (`__share_group_state`), the clock and those who wait. Who is a member, and what of
//! the topics it is to read, is the group coordinator's ([`crate::group::share`]). Nothing here knows the wire.
//!
//! SHARE-1 an acknowledgement is durable before it is answered: what was accepted or rejected is never delivered again.
//! SHARE-2 what is acquired is in memory only; a record whose member or broker dies before it is acknowledged comes again.
use std::sync::Arc;

use weir_protocol::ids::TopicId;

pub mod partition;
pub mod records;
pub mod room;
pub mod session;

pub use room::{ShareError, ShareOffsets, Shares};
pub use session::{SessionKey, ShareSessionError, ShareSessions};

/// Names a share partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareKey {
    pub group: Arc<str>,
    pub topic: TopicId,
    pub partition: i32,
}

impl ShareKey {
    /// As Kafka writes it: it decides in which partition of `__share_group_state` the state is.
    fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group, crate::broker::kafka_id(self.topic.0), self.partition)
    }
}
