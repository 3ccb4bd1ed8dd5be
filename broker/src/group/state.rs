//! One classic group as a pure state machine: no clock, no IO, no randomness. Every call gets the time and appends what is
//! to be done to a list of [`Effect`]s; [`Group::tick`] must be called at [`Group::next_deadline`].
//!
//! After Kafka's GroupCoordinator: KIP-134 (initial delay), KIP-345 (static members), KIP-394 (member ids), KIP-559,
//! KIP-800 (reasons), KIP-814 (skip assignment), and the expiry of members that do not sync.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use thiserror::Error;
use weir_protocol::ids::{Generation, Timestamp};

#[cfg(test)]
mod tests;

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

/// Why a group refuses. Names are Kafka's error names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupError {
    #[error("the member id is not known to the group; join again")]
    UnknownMemberId,
    #[error("join again with the member id `{member_id}`")]
    MemberIdRequired { member_id: String },
    #[error("another member has taken over this group.instance.id")]
    FencedInstanceId,
    #[error("the generation is not the current one; join again")]
    IllegalGeneration,
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    #[error("the protocol type or the protocols do not fit those of the group's members")]
    InconsistentGroupProtocol,
    #[error("the group has as many members as `groups.max_size` allows")]
    GroupMaxSizeReached,
    #[error(
        "session.timeout.ms is {got_ms}, it must be from {min_ms} to {max_ms} (`groups.session_timeout_min`, `groups.session_timeout_max`)"
    )]
    InvalidSessionTimeout { got_ms: i32, min_ms: i32, max_ms: i32 },
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the group does not exist")]
    GroupIdNotFound,
    #[error("the group still has members")]
    NonEmptyGroup,
    #[error("a member of the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    #[error("the offsets of this group are being loaded; retry")]
    CoordinatorLoadInProgress,
    #[error("the coordinator is not available; retry")]
    CoordinatorNotAvailable,
    #[error("the metadata of an offset is larger than `groups.offset_metadata_max_bytes`")]
    OffsetMetadataTooLarge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Empty for a first join.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// By preference.
    pub protocols: Vec<(String, Bytes)>,
    /// Version 4 and later: dynamic members join twice, the second time with the id they were given.
    pub require_known_member_id: bool,
    /// Version 9 and later: the leader can be told to keep the assignment.
    pub supports_skip_assignment: bool,
    /// The id to give if this member is new.
    pub new_member_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub leader: String,
    pub member_id: String,
    pub skip_assignment: bool,
    /// (member id, instance id, metadata), for the leader only.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

/// One member of a LeaveGroup request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub member_id: String,
    pub instance_id: Option<String>,
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

/// What is stored of a group; see [`super::records`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol_name: Option<String>,
    pub leader: Option<String>,
    pub changed_at: Timestamp,
    pub members: Vec<StoredMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

fn after(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp(now.0.saturating_add(ms))
}

impl Group {
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

    /// A group as it was stored. Its members have one session timeout to show up.
    pub fn restore(limits: GroupLimits, stored: StoredGroup, now: Timestamp) -> Group {
        let mut group = Group::new(limits, now);
        group.generation = stored.generation;
        group.protocol_type = Some(stored.protocol_type).filter(|t| !t.is_empty());
        group.empty_since = stored.changed_at;
        if stored.members.is_empty() {
            return group;
        }
        group.phase = Phase::Stable;
        group.protocol_name = stored.protocol_name.clone();
        group.leader = stored.leader;
        for member in stored.members {
            if let Some(instance) = &member.instance_id {
                group.instances.insert(instance.clone(), member.id.clone());
            }
            let protocol = stored.protocol_name.clone().unwrap_or_default();
            group.members.insert(
                member.id.clone(),
                Member {
                    id: member.id,
                    instance_id: member.instance_id,
                    client_id: member.client_id,
                    client_host: member.client_host,
                    session_timeout_ms: member.session_timeout_ms,
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    protocols: vec![(protocol, member.subscription)],
                    assignment: member.assignment,
                    joining: None,
                    syncing: None,
                    is_new: false,
                    deadline: after(now, i64::from(member.session_timeout_ms)),
                },
            );
        }
        group
    }

    pub fn stored(&self, now: Timestamp) -> StoredGroup {
        let protocol = self.protocol_name.clone().unwrap_or_default();
        StoredGroup {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            changed_at: if self.members.is_empty() { self.empty_since } else { now },
            members: self
                .members
                .values()
                .map(|m| StoredMember {
                    id: m.id.clone(),
                    instance_id: m.instance_id.clone(),
                    client_id: m.client_id.clone(),
                    client_host: m.client_host.clone(),
                    rebalance_timeout_ms: m.rebalance_timeout_ms,
                    session_timeout_ms: m.session_timeout_ms,
                    subscription: m.metadata(&protocol),
                    assignment: m.assignment.clone(),
                })
                .collect(),
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

    pub fn join(&mut self, now: Timestamp, token: Token, request: JoinRequest, effects: &mut Vec<Effect>) {
        if let Err(error) = self.try_join(now, token, request, effects) {
            effects.push(Effect::ReplyJoin(token, Err(error)));
        }
        self.check();
    }

    fn try_join(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let (min_ms, max_ms) = (self.limits.session_timeout_min_ms, self.limits.session_timeout_max_ms);
        if !(min_ms..=max_ms).contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout { got_ms: request.session_timeout_ms, min_ms, max_ms });
        }
        if self.phase == Phase::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self.supports(&request) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let known = self.members.contains_key(&request.member_id);
        if !known && self.members.len() >= self.limits.max_size {
            return Err(GroupError::GroupMaxSizeReached);
        }
        if request.member_id.is_empty() {
            return self.join_new(now, token, request, effects);
        }
        if self.pending.contains_key(&request.member_id) {
            if request.instance_id.is_some() {
                return Err(GroupError::UnknownMemberId);
            }
            let id = request.member_id.clone();
            self.add_member(now, token, id, request, effects);
            return Ok(());
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.rejoin(now, token, request, effects)
    }

    fn join_new(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let id = request.new_member_id.clone();
        if let Some(instance) = &request.instance_id {
            match self.instances.get(instance).cloned() {
                Some(old) => self.replace_static(now, token, &old, id, request, effects),
                None => self.add_member(now, token, id, request, effects),
            }
            return Ok(());
        }
        if request.require_known_member_id {
            self.pending.insert(id.clone(), after(now, i64::from(request.session_timeout_ms)));
            return Err(GroupError::MemberIdRequired { member_id: id });
        }
        self.add_member(now, token, id, request, effects);
        Ok(())
    }

    fn rejoin(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let id = request.member_id.clone();
        let is_leader = self.leader.as_deref() == Some(&id);
        let unchanged = self.members.get(&id).is_some_and(|m| m.protocols == request.protocols);
        match self.phase {
            Phase::PreparingRebalance => self.update_member(now, token, &id, request, effects),
            Phase::CompletingRebalance if unchanged => {
                // The reply to its last join was lost.
                self.reply_current(token, &id, false, effects);
                self.touch(now, &id);
            }
            Phase::Stable if unchanged && !is_leader => {
                self.reply_current(token, &id, false, effects);
                self.touch(now, &id);
            }
            Phase::CompletingRebalance | Phase::Stable => self.update_member(now, token, &id, request, effects),
            Phase::Empty | Phase::Dead => return Err(GroupError::UnknownMemberId),
        }
        Ok(())
    }

    /// The protocol type fits and there is a protocol that every member knows.
    fn supports(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        let others: Vec<&Member> = self.members.values().filter(|m| m.id != request.member_id).collect();
        if others.is_empty() {
            return self.members.is_empty() || self.protocol_type.as_deref() == Some(&request.protocol_type);
        }
        self.protocol_type.as_deref() == Some(&request.protocol_type)
            && request
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|m| m.protocols.iter().any(|(n, _)| n == name)))
    }

    fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    fn add_member(
        &mut self,
        now: Timestamp,
        token: Token,
        id: String,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) {
        self.pending.remove(&id);
        if let Some(instance) = &request.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.members.insert(
            id.clone(),
            Member {
                id,
                instance_id: request.instance_id,
                client_id: request.client_id,
                client_host: request.client_host,
                session_timeout_ms: request.session_timeout_ms,
                rebalance_timeout_ms: request.rebalance_timeout_ms,
                protocols: request.protocols,
                assignment: Bytes::new(),
                joining: Some(token),
                syncing: None,
                is_new: true,
                deadline: after(now, NEW_MEMBER_JOIN_MS),
            },
        );
        if let Some(JoinBarrier { initial: Some(initial), .. }) = &mut self.barrier {
            initial.member_added = true;
        }
        self.prepare_rebalance(now, effects);
    }

    fn update_member(
        &mut self,
        now: Timestamp,
        token: Token,
        id: &str,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(member) = self.members.get_mut(id) {
            // A client that sends its join again has given up on the first answer.
            if let Some(old) = member.joining.replace(token) {
                effects.push(Effect::ReplyJoin(old, Err(GroupError::UnknownMemberId)));
            }
            member.protocols = request.protocols;
            member.session_timeout_ms = request.session_timeout_ms;
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.client_id = request.client_id;
            member.client_host = request.client_host;
        }
        self.touch(now, id);
        self.prepare_rebalance(now, effects);
    }

    /// KIP-345: a restarted static member takes over the place of its former self.
    fn replace_static(
        &mut self,
        now: Timestamp,
        token: Token,
        old: &str,
        new: String,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut member) = self.members.remove(old) else {
            return self.add_member(now, token, new, request, effects);
        };
        if let Some(token) = member.joining.take() {
            effects.push(Effect::ReplyJoin(token, Err(GroupError::FencedInstanceId)));
        }
        if let Some(token) = member.syncing.take() {
            effects.push(Effect::ReplySync(token, Err(GroupError::FencedInstanceId)));
        }
        if let Some(instance) = &request.instance_id {
            self.instances.insert(instance.clone(), new.clone());
        }
        let was_leader = self.leader.as_deref() == Some(old);
        if was_leader {
            self.leader = Some(new.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.clone());
        }
        let unchanged = member.protocols == request.protocols;
        let supports_skip = request.supports_skip_assignment;
        member.id = new.clone();
        member.protocols = request.protocols;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        self.members.insert(new.clone(), member);
        self.touch(now, &new);
        if self.phase == Phase::Stable && unchanged {
            // No rebalance: it gets its old assignment back with the next sync. The new id must be durable.
            effects.push(Effect::Persist { generation: self.generation() });
            if was_leader && !supports_skip {
                // An old client that is told it leads would compute an assignment that nobody takes.
                let joined = Joined { leader: old.to_owned(), members: Vec::new(), ..self.joined(&new, false) };
                effects.push(Effect::ReplyJoin(token, Ok(joined)));
            } else {
                self.reply_current(token, &new, was_leader, effects);
            }
            return;
        }
        if let Some(member) = self.members.get_mut(&new) {
            member.joining = Some(token);
        }
        self.prepare_rebalance(now, effects);
    }

    fn joined(&self, id: &str, skip_assignment: bool) -> Joined {
        let leads = self.leader.as_deref() == Some(id);
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let members = self.members.values().map(|m| (m.id.clone(), m.instance_id.clone(), m.metadata(&protocol)));
        Joined {
            generation: self.generation(),
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            skip_assignment,
            members: if leads { members.collect() } else { Vec::new() },
        }
    }

    fn reply_current(&self, token: Token, id: &str, skip_assignment: bool, effects: &mut Vec<Effect>) {
        effects.push(Effect::ReplyJoin(token, Ok(self.joined(id, skip_assignment))));
    }

    /// A sign of life.
    fn touch(&mut self, now: Timestamp, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            let ms = if member.is_new && member.joining.is_some() {
                NEW_MEMBER_JOIN_MS
            } else {
                i64::from(member.session_timeout_ms)
            };
            member.deadline = after(now, ms);
        }
    }

    /// The join barrier: as long as the slowest member may take.
    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    fn prepare_rebalance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::PreparingRebalance | Phase::Dead => {}
            Phase::Empty => {
                let timeout = self.rebalance_timeout_ms();
                let delay = i64::from(self.limits.initial_rebalance_delay_ms).min(timeout);
                let initial = InitialDelay { remaining_ms: (timeout - delay).max(0), member_added: false };
                self.barrier = Some(JoinBarrier { deadline: after(now, delay), initial: Some(initial) });
                self.phase = Phase::PreparingRebalance;
            }
            Phase::CompletingRebalance | Phase::Stable => {
                for member in self.members.values_mut() {
                    if let Some(token) = member.syncing.take() {
                        effects.push(Effect::ReplySync(token, Err(GroupError::RebalanceInProgress)));
                    }
                }
                self.unsynced.clear();
                self.sync_deadline = None;
                self.persisting = None;
                self.barrier = Some(JoinBarrier { deadline: after(now, self.rebalance_timeout_ms()), initial: None });
                self.phase = Phase::PreparingRebalance;
            }
        }
        self.maybe_complete_join(now, effects);
    }

    fn maybe_complete_join(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(barrier) = &self.barrier else { return };
        let delay_over = barrier.initial.as_ref().is_none_or(|_| now >= barrier.deadline);
        let all_joined = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        if delay_over && all_joined {
            self.complete_join(now, effects);
        }
    }

    fn complete_join(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Who did not come back is out, except static members: their session decides.
        let gone: Vec<String> = self
            .members
            .values()
            .filter(|m| m.joining.is_none() && m.instance_id.is_none())
            .map(|m| m.id.clone())
            .collect();
        for id in gone {
            self.remove_member(&id, effects);
        }
        if !self.members.is_empty() && self.members.values().all(|m| m.joining.is_none()) {
            // Only silent static members are left: give them another round.
            self.barrier =
                Some(JoinBarrier { deadline: after(now, self.rebalance_timeout_ms().max(1)), initial: None });
            return;
        }
        self.barrier = None;
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol_name = None;
            self.leader = None;
            self.empty_since = now;
            effects.push(Effect::Persist { generation: self.generation() });
            return;
        }
        let leader_joined = self.leader.as_ref().and_then(|l| self.members.get(l)).is_some_and(|m| m.joining.is_some());
        if !leader_joined {
            self.leader = self.members.values().find(|m| m.joining.is_some()).map(|m| m.id.clone());
        }
        self.protocol_name = self.select_protocol();
        self.phase = Phase::CompletingRebalance;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_deadline = Some(after(now, self.rebalance_timeout_ms()));
        let joined: Vec<(String, Token)> =
            self.members.values_mut().filter_map(|m| Some((m.id.clone(), m.joining.take()?))).collect();
        for (id, token) in joined {
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.touch(now, &id);
            self.reply_current(token, &id, false, effects);
        }
    }

    /// Each member votes for the first of its protocols that all know.
    fn select_protocol(&self) -> Option<String> {
        let known_by_all = |name: &str| self.members.values().all(|m| m.protocols.iter().any(|(n, _)| n == name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| known_by_all(name)) {
                *votes.entry(name).or_insert(0) += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    fn remove_member(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(mut member) = self.members.remove(id) else { return };
        if let Some(token) = member.joining.take() {
            effects.push(Effect::ReplyJoin(token, Err(GroupError::UnknownMemberId)));
        }
        if let Some(token) = member.syncing.take() {
            effects.push(Effect::ReplySync(token, Err(GroupError::UnknownMemberId)));
        }
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance).is_some_and(|m| m == id)
        {
            self.instances.remove(instance);
        }
        self.unsynced.remove(id);
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Removes a member and lets the others know.
    fn drop_member(&mut self, now: Timestamp, id: &str, effects: &mut Vec<Effect>) {
        self.remove_member(id, effects);
        match self.phase {
            Phase::Stable | Phase::CompletingRebalance => self.prepare_rebalance(now, effects),
            Phase::PreparingRebalance => self.maybe_complete_join(now, effects),
            Phase::Empty | Phase::Dead => {}
        }
    }

    pub fn sync(&mut self, now: Timestamp, token: Token, request: SyncRequest, effects: &mut Vec<Effect>) {
        if let Err(error) = self.try_sync(now, token, request, effects) {
            effects.push(Effect::ReplySync(token, Err(error)));
        }
        self.check();
    }

    fn try_sync(
        &mut self,
        now: Timestamp,
        token: Token,
        request: SyncRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        if self.phase == Phase::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation() {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |given: &Option<String>, ours: &Option<String>| given.is_some() && given != ours;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let id = request.member_id;
        match self.phase {
            Phase::Empty | Phase::Dead => return Err(GroupError::UnknownMemberId),
            Phase::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            Phase::Stable => {
                self.touch(now, &id);
                effects.push(Effect::ReplySync(token, Ok(self.synced(&id))));
            }
            Phase::CompletingRebalance => {
                self.unsynced.remove(&id);
                if let Some(member) = self.members.get_mut(&id)
                    && let Some(old) = member.syncing.replace(token)
                {
                    effects.push(Effect::ReplySync(old, Err(GroupError::UnknownMemberId)));
                }
                self.touch(now, &id);
                if self.leader.as_deref() == Some(&id) && self.persisting.is_none() {
                    for member in self.members.values_mut() {
                        let given = request.assignments.iter().find(|(m, _)| *m == member.id);
                        member.assignment = given.map_or_else(Bytes::new, |(_, a)| a.clone());
                    }
                    self.persisting = Some(self.generation());
                    effects.push(Effect::Persist { generation: self.generation() });
                }
            }
        }
        Ok(())
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self.members.get(id).map_or_else(Bytes::new, |m| m.assignment.clone()),
        }
    }

    /// The outcome of an [`Effect::Persist`].
    pub fn persisted(&mut self, now: Timestamp, generation: Generation, ok: bool, effects: &mut Vec<Effect>) {
        if self.phase == Phase::CompletingRebalance && self.persisting == Some(generation) {
            self.persisting = None;
            if ok {
                self.phase = Phase::Stable;
                self.unsynced.clear();
                self.sync_deadline = None;
                let waiting: Vec<(String, Token)> =
                    self.members.values_mut().filter_map(|m| Some((m.id.clone(), m.syncing.take()?))).collect();
                for (id, token) in waiting {
                    self.touch(now, &id);
                    effects.push(Effect::ReplySync(token, Ok(self.synced(&id))));
                }
            } else {
                for member in self.members.values_mut() {
                    member.assignment = Bytes::new();
                    if let Some(token) = member.syncing.take() {
                        effects.push(Effect::ReplySync(token, Err(GroupError::CoordinatorNotAvailable)));
                    }
                }
                self.prepare_rebalance(now, effects);
            }
        }
        self.check();
    }

    pub fn heartbeat(
        &mut self,
        now: Timestamp,
        id: &str,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        if self.phase == Phase::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(id, instance)?;
        if generation != self.generation() {
            return Err(GroupError::IllegalGeneration);
        }
        self.touch(now, id);
        match self.phase {
            Phase::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            Phase::CompletingRebalance | Phase::Stable => Ok(()),
            Phase::Empty | Phase::Dead => Err(GroupError::UnknownMemberId),
        }
    }

    /// One result per leaving member.
    pub fn leave(
        &mut self,
        now: Timestamp,
        leaving: &[Leaving],
        effects: &mut Vec<Effect>,
    ) -> Vec<Result<(), GroupError>> {
        let results = leaving.iter().map(|member| self.leave_one(now, member, effects)).collect();
        self.check();
        results
    }

    fn leave_one(&mut self, now: Timestamp, leaving: &Leaving, effects: &mut Vec<Effect>) -> Result<(), GroupError> {
        if self.phase == Phase::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let id = match (&leaving.instance_id, leaving.member_id.as_str()) {
            // Administrators remove static members by their instance id alone.
            (Some(instance), "") => self.instances.get(instance).cloned().ok_or(GroupError::UnknownMemberId)?,
            (_, id) => id.to_owned(),
        };
        if self.pending.remove(&id).is_some() {
            self.maybe_complete_join(now, effects);
            return Ok(());
        }
        self.check_member(&id, leaving.instance_id.as_deref())?;
        self.drop_member(now, &id, effects);
        Ok(())
    }

    /// Whether this member may commit offsets now. `generation` < 0: a consumer without a group.
    pub fn check_commit(
        &mut self,
        now: Timestamp,
        id: &str,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        match self.phase {
            Phase::Dead => return Err(GroupError::CoordinatorNotAvailable),
            Phase::Empty if generation.0 < 0 => return Ok(()),
            _ => {}
        }
        self.check_member(id, instance)?;
        if generation != self.generation() {
            return Err(GroupError::IllegalGeneration);
        }
        match self.phase {
            Phase::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            _ => {
                self.touch(now, id);
                Ok(())
            }
        }
    }

    /// When [`Group::tick`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let sessions = self.members.values().filter(|m| !m.waits() || m.is_new).map(|m| m.deadline);
        let pending = self.pending.values().copied();
        let barrier = self.barrier.iter().map(|b| b.deadline);
        sessions.chain(pending).chain(barrier).chain(self.sync_deadline).min()
    }

    pub fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.expire_members(now, effects);
        if self.sync_deadline.is_some_and(|d| d <= now) && self.phase == Phase::CompletingRebalance {
            self.sync_deadline = None;
            let late: Vec<String> = std::mem::take(&mut self.unsynced).into_iter().collect();
            if self.persisting.is_none() {
                for id in &late {
                    self.remove_member(id, effects);
                }
                if !late.is_empty() {
                    self.prepare_rebalance(now, effects);
                }
            }
        }
        if let Some(barrier) = self.barrier.clone()
            && barrier.deadline <= now
        {
            match barrier.initial {
                Some(initial) if initial.member_added && initial.remaining_ms > 0 => {
                    let delay = i64::from(self.limits.initial_rebalance_delay_ms).min(initial.remaining_ms);
                    self.barrier = Some(JoinBarrier {
                        deadline: after(now, delay),
                        initial: Some(InitialDelay { remaining_ms: initial.remaining_ms - delay, member_added: false }),
                    });
                }
                _ => self.complete_join(now, effects),
            }
        }
        self.check();
    }

    fn expire_members(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let silent: Vec<String> = self
            .members
            .values()
            .filter(|m| m.deadline <= now && (!m.waits() || (m.is_new && m.joining.is_some())))
            .map(|m| m.id.clone())
            .collect();
        for id in silent {
            self.drop_member(now, &id, effects);
        }
        let before = self.pending.len();
        self.pending.retain(|_, deadline| *deadline > now);
        if self.pending.len() != before {
            self.maybe_complete_join(now, effects);
        }
    }

    /// Invariants, in debug builds.
    fn check(&self) {
        debug_assert_eq!(
            self.barrier.is_some(),
            self.phase == Phase::PreparingRebalance,
            "a barrier only while preparing"
        );
        debug_assert!(self.phase != Phase::Empty || self.members.is_empty(), "an empty group has no members");
        debug_assert!(
            !matches!(self.phase, Phase::Stable | Phase::CompletingRebalance) || !self.members.is_empty(),
            "a group with an assignment has members"
        );
        debug_assert!(
            self.members.is_empty() || self.leader.as_ref().is_some_and(|l| self.members.contains_key(l)),
            "a group with members has one of them as its leader"
        );
        debug_assert!(self.instances.values().all(|id| self.members.contains_key(id)), "instances are members");
        debug_assert!(
            self.phase == Phase::CompletingRebalance || self.members.values().all(|m| m.syncing.is_none()),
            "nobody waits for an assignment outside of the sync phase"
        );
    }
}
