//! What members ask of a group and are told, without the wire.
use std::collections::BTreeSet;

use super::TopicPartition;

/// What a heartbeat is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEpoch {
    /// Joins, or joins again with nothing.
    Join,
    /// The epoch the member is in; greater than 0.
    Current(i32),
    /// Leaves for good.
    Leave,
    /// A static member leaves and will be back.
    LeaveForNow,
}

/// `None` means "as before".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub member_id: String,
    pub epoch: MemberEpoch,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout_ms: Option<i32>,
    pub topics: Option<Vec<String>>,
    /// Empty: no longer any.
    pub regex: Option<String>,
    pub assignor: Option<String>,
    /// What the member owns at this moment.
    pub owned: Option<BTreeSet<TopicPartition>>,
    pub client_id: String,
    pub client_host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatReply {
    pub member_id: String,
    /// -1 and -2 for members that left, as they said it.
    pub epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as the member knows it.
    pub assignment: Option<BTreeSet<TopicPartition>>,
}

/// Timeouts of one group at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    /// Members that share partitions are told to come more often than `heartbeat_interval_ms`, see [`Timing::interval`].
    pub prompt: bool,
}

/// Between heartbeats of a member whose partitions others may leave, however small the group.
const TAKEOVER_MS: i32 = 1_000;
/// The same while partitions are on their way to a member.
const HANDOVER_MS: i32 = 500;

impl Timing {
    /// When a member is to come again. Changes reach it only with the answers to its heartbeats, so the interval is how long
    /// a partition stays without an owner after its owner has left. A group as a whole causes at most 20 heartbeats a second
    /// (100 while partitions are handed over).
    pub fn interval(&self, members: usize, handing_over: bool) -> i32 {
        if !self.prompt || members < 2 {
            return self.heartbeat_interval_ms;
        }
        let members = i32::try_from(members).unwrap_or(i32::MAX);
        let prompt = if handing_over {
            members.saturating_mul(10).max(HANDOVER_MS)
        } else {
            members.saturating_mul(50).max(TAKEOVER_MS)
        };
        prompt.min(self.heartbeat_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_share_partitions_come_often_enough_and_large_groups_not_too_often() {
        let timing = Timing { session_timeout_ms: 45_000, heartbeat_interval_ms: 5_000, prompt: true };
        assert_eq!(timing.interval(1, false), 5_000);
        assert_eq!((timing.interval(2, false), timing.interval(20, false)), (1_000, 1_000));
        assert_eq!((timing.interval(60, false), timing.interval(1_000, false)), (3_000, 5_000));
        assert_eq!((timing.interval(20, true), timing.interval(200, true)), (500, 2_000));
        assert_eq!(Timing { prompt: false, ..timing }.interval(20, true), 5_000);
        assert_eq!(Timing { heartbeat_interval_ms: 300, ..timing }.interval(20, true), 300);
    }
}
