//! One member of a consumer group.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_protocol::ids::Timestamp;

use super::{AssignorKind, TopicPartition};

/// How far a member is from what it is to own; the numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    Stable = 0,
    /// It has to give up partitions before it gets the next epoch.
    UnrevokedPartitions = 1,
    /// It has the epoch, and waits for partitions that others have yet to give up.
    UnreleasedPartitions = 2,
}

impl MemberState {
    /// `None`: a state of another Kafka version.
    pub fn of(number: i8) -> Option<MemberState> {
        [MemberState::Stable, MemberState::UnrevokedPartitions, MemberState::UnreleasedPartitions]
            .into_iter()
            .find(|state| *state as i8 == number)
    }
}

/// What a member that speaks the classic protocol brought along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMember {
    pub session_timeout_ms: i32,
    /// By preference, with the embedded subscription.
    pub protocols: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<AssignorKind>,
    pub topics: BTreeSet<String>,
    pub regex: Option<String>,
    /// `None`: it speaks the consumer protocol.
    pub classic: Option<ClassicMember>,
    pub epoch: i32,
    /// An answer with the epoch may have been lost: the member then comes with the one before.
    pub previous_epoch: i32,
    /// A static member that has left for a moment: its place is kept until its session ends.
    pub away: bool,
    pub state: MemberState,
    /// What it owns, with the epoch since which it does.
    pub assigned: BTreeMap<TopicPartition, i32>,
    /// What it has to give up.
    pub revoking: BTreeMap<TopicPartition, i32>,
    pub(super) session_deadline: Timestamp,
    /// Until when it has to have given up what it must.
    pub(super) revoke_deadline: Option<Timestamp>,
    /// Classic protocol: until when it has to join again.
    pub(super) join_deadline: Option<Timestamp>,
    /// Classic protocol: until when it has to fetch its assignment.
    pub(super) sync_deadline: Option<Timestamp>,
}

impl Member {
    pub(super) fn new(id: String, now: Timestamp) -> Member {
        Member {
            id,
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: -1,
            assignor: None,
            topics: BTreeSet::new(),
            regex: None,
            classic: None,
            epoch: 0,
            previous_epoch: 0,
            away: false,
            state: MemberState::Stable,
            assigned: BTreeMap::new(),
            revoking: BTreeMap::new(),
            session_deadline: now,
            revoke_deadline: None,
            join_deadline: None,
            sync_deadline: None,
        }
    }

    pub(super) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch && !self.away
    }

    /// What of it is stored in its metadata record; the rest is in the record of its assignment.
    pub(super) fn same_metadata(&self, other: &Member) -> bool {
        self.instance_id == other.instance_id
            && self.rack_id == other.rack_id
            && self.client_id == other.client_id
            && self.client_host == other.client_host
            && self.rebalance_timeout_ms == other.rebalance_timeout_ms
            && self.assignor == other.assignor
            && self.topics == other.topics
            && self.regex == other.regex
            && self.classic == other.classic
    }

    pub(super) fn same_assignment(&self, other: &Member) -> bool {
        self.epoch == other.epoch
            && self.previous_epoch == other.previous_epoch
            && self.away == other.away
            && self.state == other.state
            && self.assigned == other.assigned
            && self.revoking == other.revoking
    }

    /// Every partition that nobody else may have yet.
    pub(super) fn holds(&self) -> impl Iterator<Item = TopicPartition> {
        self.assigned.keys().chain(self.revoking.keys()).copied()
    }

    pub(super) fn session_timeout_ms(&self, of_group: i32) -> i32 {
        self.classic.as_ref().map_or(of_group, |classic| classic.session_timeout_ms)
    }
}
