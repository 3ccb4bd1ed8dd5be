//! One consumer group of the newer protocol (KIP-848) as a pure state machine: no clock, no IO, no randomness.
//!
//! The broker assigns: members heartbeat what they subscribe to and what they own, and are told what to own. A change of
//! members, subscriptions or topics bumps the **group epoch**; a **target assignment** is computed for it; each member is
//! reconciled towards the target on its own, first giving up what others are to get, then taking what others have given up.
//! No member waits for members that have nothing to do with its change.
//!
//! Every step may change records of the group; [`ConsumerGroup::take_dirty`] tells which. Nothing that a step answers may
//! leave before they are durable. [`ConsumerGroup::tick`] must be called at [`ConsumerGroup::next_deadline`].
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{Timestamp, TopicId};

pub mod assignor;
mod classic;
mod epochs;
mod expiry;
mod heartbeat;
mod invariants;
mod member;
mod membership;
mod migrate;
mod reconcile;
mod requests;
mod stored;
mod subscription;
#[cfg(test)]
mod tests;

pub use assignor::AssignorKind;
pub use classic::embedded;
pub use member::{ClassicMember, Member, MemberState};
pub use migrate::MigrationPolicy;
pub use requests::{HeartbeatReply, HeartbeatRequest, MemberEpoch, Timing};
pub use stored::{RecordKey, RecordValue, StoredConsumerGroup, StoredCurrent, StoredMember};

/// One partition of one topic.
pub type TopicPartition = (TopicId, i32);

/// Kafka's states of a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    Empty,
    /// The target assignment is older than the group epoch: the next heartbeat computes it.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    Stable,
}

impl GroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Stable => "Stable",
        }
    }
}

/// Bounds and choices that apply to all groups of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerLimits {
    pub max_size: usize,
    /// The first is the default.
    pub assignors: Vec<AssignorKind>,
    pub migration: MigrationPolicy,
}

impl Default for ConsumerLimits {
    fn default() -> Self {
        ConsumerLimits {
            max_size: i32::MAX as usize,
            assignors: vec![AssignorKind::Uniform, AssignorKind::Range],
            migration: MigrationPolicy::Bidirectional,
        }
    }
}

/// What a regular expression means, of the topics that there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<String>,
    /// Version of the topics it was resolved against.
    pub version: u64,
    pub resolved_at: Timestamp,
}

/// One group.
#[derive(Debug, Clone)]
pub struct ConsumerGroup {
    limits: ConsumerLimits,
    epoch: i32,
    /// Of the subscribed topics: their names, ids and partition counts. A change is a reason to assign anew.
    metadata_hash: i64,
    /// The group epoch that the target assignment is for.
    assignment_epoch: i32,
    members: BTreeMap<String, Member>,
    /// group.instance.id -> member id
    instances: BTreeMap<String, String>,
    target: BTreeMap<String, BTreeSet<TopicPartition>>,
    /// Who owns a partition, or has yet to give it up.
    owners: BTreeMap<TopicPartition, String>,
    regexes: BTreeMap<String, ResolvedRegex>,
    /// Version of the topics that the group was last held against.
    topics_seen: Option<u64>,
    /// Records that differ from what was taken last.
    dirty: BTreeSet<RecordKey>,
    empty_since: Timestamp,
}

impl ConsumerGroup {
    /// From now on these limits hold; members that would not be let in by them stay.
    pub fn set_limits(&mut self, limits: ConsumerLimits) {
        self.limits = limits;
    }

    pub fn new(limits: ConsumerLimits, now: Timestamp) -> ConsumerGroup {
        ConsumerGroup {
            limits,
            epoch: 0,
            metadata_hash: 0,
            assignment_epoch: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            target: BTreeMap::new(),
            owners: BTreeMap::new(),
            regexes: BTreeMap::new(),
            topics_seen: None,
            dirty: BTreeSet::new(),
            empty_since: now,
        }
    }

    pub fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            GroupState::Assigning
        } else if self.members.values().all(|m| m.is_reconciled_to(self.assignment_epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// What a member is to own.
    pub fn target_of(&self, member_id: &str) -> impl Iterator<Item = TopicPartition> {
        self.target.get(member_id).into_iter().flatten().copied()
    }

    /// The assignor that most members ask for.
    pub fn assignor(&self) -> AssignorKind {
        let mut votes: BTreeMap<AssignorKind, usize> = BTreeMap::new();
        for kind in self.members.values().filter_map(|m| m.assignor) {
            *votes.entry(kind).or_insert(0) += 1;
        }
        let default = self.limits.assignors.first().copied().unwrap_or(AssignorKind::Uniform);
        votes.into_iter().max_by_key(|(_, count)| *count).map_or(default, |(kind, _)| kind)
    }

    /// Since when the group has no members; `None` while it has.
    pub fn empty_since(&self) -> Option<Timestamp> {
        self.members.is_empty().then_some(self.empty_since)
    }

    /// Whether a member is subscribed to this topic, by name or by regular expression.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|m| {
            let by_regex = m.regex.as_ref().and_then(|r| self.regexes.get(r)).is_some_and(|r| r.topics.contains(topic));
            by_regex || m.topics.contains(topic)
        })
    }
}

fn after(now: Timestamp, ms: i32) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::from(ms.max(0))))
}
