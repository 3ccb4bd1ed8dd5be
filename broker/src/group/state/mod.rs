//! One classic group as a pure state machine: no clock, no IO, no randomness. Every call gets the time and appends what is
//! to be done to a list of [`Effect`]s; [`Group::tick`] must be called at [`Group::next_deadline`].
//!
//! After Kafka's GroupCoordinator: KIP-134 (initial delay), KIP-345 (static members), KIP-394 (member ids), KIP-559,
//! KIP-800 (reasons), KIP-814 (skip assignment), and the expiry of members that do not sync.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_protocol::ids::{Generation, Timestamp};

mod error;
mod expiry;
mod heartbeat;
mod invariants;
mod join;
mod leave;
mod rebalance;
mod requests;
mod stored;
mod sync;
#[cfg(test)]
mod tests;

pub use error::GroupError;
pub use requests::{JoinRequest, Joined, Leaving, SyncRequest, Synced};
pub use stored::{AdoptedMember, StoredGroup, StoredMember};

/// A new member has so long to come back after it joined for the first time, whatever its session timeout.
const NEW_MEMBER_JOIN_MS: i64 = 5 * 60 * 1000;

/// Who waits for a reply. Opaque here; each is answered exactly once.
pub type Token = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

impl Phase {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::PreparingRebalance => "PreparingRebalance",
            Phase::CompletingRebalance => "CompletingRebalance",
            Phase::Stable => "Stable",
            Phase::Dead => "Dead",
        }
    }
}
/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    ReplyJoin(Token, Result<Joined, GroupError>),
    ReplySync(Token, Result<Synced, GroupError>),
    /// Make the group's metadata durable, then call [`Group::persisted`] with the same generation.
    Persist {
        generation: Generation,
    },
}

/// Bounds that apply to all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimits {
    pub session_timeout_min_ms: i32,
    pub session_timeout_max_ms: i32,
    pub initial_rebalance_delay_ms: i32,
    pub max_size: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        GroupLimits {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 30 * 60 * 1000,
            initial_rebalance_delay_ms: 3_000,
            max_size: 10_000,
        }
    }
}

impl GroupLimits {
    pub fn check_session_timeout(&self, got_ms: i32) -> Result<(), GroupError> {
        let (min_ms, max_ms) = (self.session_timeout_min_ms, self.session_timeout_max_ms);
        if (min_ms..=max_ms).contains(&got_ms) {
            return Ok(());
        }
        Err(GroupError::InvalidSessionTimeout { got_ms, min_ms, max_ms })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    joining: Option<Token>,
    syncing: Option<Token>,
    /// Did not complete a rebalance yet.
    is_new: bool,
    deadline: Timestamp,
}

impl Member {
    fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| name == protocol).map_or_else(Bytes::new, |(_, m)| m.clone())
    }

    fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }
}

/// When the join phase ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JoinBarrier {
    deadline: Timestamp,
    /// The initial delay of an empty group: does not end early, and is extended while members come.
    initial: Option<InitialDelay>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InitialDelay {
    remaining_ms: i64,
    member_added: bool,
}

/// One group. `Group::default()`-like state is made by [`Group::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    limits: GroupLimits,
    phase: Phase,
    generation: i32,
    protocol_type: Option<String>,
    protocol_name: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// group.instance.id -> member id
    instances: BTreeMap<String, String>,
    /// Ids given out with MEMBER_ID_REQUIRED, until they join: id -> deadline.
    pending: BTreeMap<String, Timestamp>,
    barrier: Option<JoinBarrier>,
    /// Members that did not sync since the last join phase, and when they are given up.
    unsynced: BTreeSet<String>,
    sync_deadline: Option<Timestamp>,
    /// The leader's assignment is being written.
    persisting: Option<Generation>,
    /// Since when there are no members.
    empty_since: Timestamp,
}

fn after(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp(now.0.saturating_add(ms))
}

impl Group {
    /// From now on these limits hold; members that would not be let in by them stay.
    pub fn set_limits(&mut self, limits: GroupLimits) {
        self.limits = limits;
    }

    pub fn new(limits: GroupLimits, now: Timestamp) -> Group {
        Group {
            limits,
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            barrier: None,
            unsynced: BTreeSet::new(),
            sync_deadline: None,
            persisting: None,
            empty_since: now,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Metadata of a member under the chosen protocol, as DescribeGroups shows it.
    pub fn subscription(&self, member: &Member) -> Bytes {
        member.metadata(self.protocol_name.as_deref().unwrap_or_default())
    }

    /// Since when the group has no members; `None` while it has.
    pub fn empty_since(&self) -> Option<Timestamp> {
        (self.phase == Phase::Empty).then_some(self.empty_since)
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The group is gone: every later call is told so.
    pub fn kill(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Dead;
        for member in self.members.values_mut() {
            if let Some(token) = member.joining.take() {
                effects.push(Effect::ReplyJoin(token, Err(GroupError::CoordinatorNotAvailable)));
            }
            if let Some(token) = member.syncing.take() {
                effects.push(Effect::ReplySync(token, Err(GroupError::CoordinatorNotAvailable)));
            }
        }
        self.members.clear();
        self.instances.clear();
        self.pending.clear();
    }
}
