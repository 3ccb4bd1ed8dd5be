//! One share group (KIP-932) as a pure state machine: who is a member, and which partitions it is to read. No clock, no IO, no
//! randomness.
//!
//! Members heartbeat what they subscribe to and are told what to read. A partition may be read by several of them, so nobody
//! waits for anybody: a change of members, subscriptions or topics bumps the group epoch, a target assignment is computed for
//! it, and each member has its part with its next heartbeat. What becomes of records is not known here ([`crate::share`]).
//!
//! Records and the way they are written are those of consumer groups: [`ShareGroup::take_dirty`] tells what changed, and nothing
//! that a step answers may leave before it is durable.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{Timestamp, TopicId};

use super::GroupError;
use super::consumer::{RecordKey, Timing, TopicPartition};
use crate::topics::TopicImage;

pub mod assignor;
mod stored;
#[cfg(test)]
mod tests;

pub use stored::{ShareRecordValue, StoredShareCurrent, StoredShareGroup, StoredShareMember};

/// The only assignor there is.
pub const ASSIGNOR: &str = "simple";

/// How Kafka writes that a member has left.
const LEFT: i32 = -1;

/// What a heartbeat is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareMemberEpoch {
    /// Joins, or joins again with nothing.
    Join,
    /// The epoch the member is in; greater than 0.
    Current(i32),
    Leave,
}

/// `None` means "as before".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHeartbeat {
    pub member_id: String,
    pub epoch: ShareMemberEpoch,
    pub rack_id: Option<String>,
    pub topics: Option<Vec<String>>,
    pub client_id: String,
    pub client_host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHeartbeatReply {
    pub member_id: String,
    /// -1 for a member that left.
    pub epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as the member knows it.
    pub assignment: Option<BTreeSet<TopicPartition>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareMember {
    pub id: String,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<String>,
    pub epoch: i32,
    /// An answer with the epoch may have been lost: the member then comes with the one before.
    pub previous_epoch: i32,
    pub assigned: BTreeSet<TopicPartition>,
    session_deadline: Timestamp,
}

/// One group.
#[derive(Debug, Clone)]
pub struct ShareGroup {
    max_size: usize,
    epoch: i32,
    /// Of the subscribed topics: their names, ids and partition counts. A change is a reason to assign anew.
    metadata_hash: i64,
    /// The group epoch that the target assignment is for.
    assignment_epoch: i32,
    members: BTreeMap<String, ShareMember>,
    target: BTreeMap<String, BTreeSet<TopicPartition>>,
    /// Version of the topics that the group was last held against.
    topics_seen: Option<u64>,
    /// Records that differ from what was taken last.
    dirty: BTreeSet<RecordKey>,
    empty_since: Timestamp,
}

fn after(now: Timestamp, ms: i32) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::from(ms.max(0))))
}

impl ShareGroup {
    pub fn new(max_size: usize, now: Timestamp) -> ShareGroup {
        ShareGroup {
            max_size,
            epoch: 0,
            metadata_hash: 0,
            assignment_epoch: 0,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            topics_seen: None,
            dirty: BTreeSet::new(),
            empty_since: now,
        }
    }

    /// From now on so many members may be in it; those that are in it stay.
    pub fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
    }

    /// Kafka's name of the group's state.
    pub fn state(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    pub fn members(&self) -> impl Iterator<Item = &ShareMember> {
        self.members.values()
    }

    /// Since when the group has no members; `None` while it has.
    pub fn empty_since(&self) -> Option<Timestamp> {
        self.members.is_empty().then_some(self.empty_since)
    }

    /// Answers a heartbeat.
    pub fn heartbeat(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        timing: Timing,
        request: ShareHeartbeat,
    ) -> Result<ShareHeartbeatReply, GroupError> {
        if request.epoch == ShareMemberEpoch::Leave {
            if !self.members.contains_key(&request.member_id) {
                return Err(GroupError::UnknownMemberId);
            }
            self.remove(now, &request.member_id);
            return Ok(ShareHeartbeatReply {
                member_id: request.member_id,
                epoch: LEFT,
                heartbeat_interval_ms: 0,
                assignment: None,
            });
        }
        // Nothing is changed before the last check has passed.
        let before = self.admit(now, &request)?;
        let full = request.epoch == ShareMemberEpoch::Join || request.topics.is_some();
        let id = before.id.clone();
        let changed = self.put(&before, request);
        self.refresh(topics, changed);
        let epoch = self.assignment_epoch;
        let target = self.target.get(&id).cloned().unwrap_or_default();
        let members = self.members.len();
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMemberId) };
        member.session_deadline = after(now, timing.session_timeout_ms);
        if member.epoch != epoch {
            member.previous_epoch = member.epoch;
            member.epoch = epoch;
            member.assigned = target;
            self.dirty.insert(RecordKey::Current(id.clone()));
        }
        Ok(ShareHeartbeatReply {
            member_id: id,
            epoch: member.epoch,
            heartbeat_interval_ms: timing.interval(members, false),
            assignment: (full || member.assigned != before.assigned).then(|| member.assigned.clone()),
        })
    }

    /// The member that this heartbeat comes from as it was before, or as a new one would begin.
    fn admit(&self, now: Timestamp, request: &ShareHeartbeat) -> Result<ShareMember, GroupError> {
        let known = self.members.get(&request.member_id);
        if known.is_none() && self.members.len() >= self.max_size {
            return Err(GroupError::GroupMaxSizeReached);
        }
        match (known, request.epoch) {
            (Some(member), ShareMemberEpoch::Current(epoch))
                if epoch != member.epoch && !(epoch == member.previous_epoch && epoch < member.epoch) =>
            {
                Err(GroupError::FencedMemberEpoch { got: epoch, known: member.epoch })
            }
            (Some(member), _) => Ok(member.clone()),
            (None, ShareMemberEpoch::Join) => Ok(ShareMember {
                id: request.member_id.clone(),
                rack_id: None,
                client_id: String::new(),
                client_host: String::new(),
                topics: BTreeSet::new(),
                epoch: 0,
                previous_epoch: 0,
                assigned: BTreeSet::new(),
                session_deadline: now,
            }),
            (None, _) => Err(GroupError::UnknownMemberId),
        }
    }

    /// Stores the member as it is now; true if its subscription is another one than before.
    fn put(&mut self, before: &ShareMember, request: ShareHeartbeat) -> bool {
        let mut member = before.clone();
        if request.rack_id.is_some() {
            member.rack_id = request.rack_id;
        }
        if let Some(topics) = request.topics {
            member.topics = topics.into_iter().collect();
        }
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        let id = member.id.clone();
        let is_new = !self.members.contains_key(&id);
        let changed = is_new || member.topics != before.topics;
        if is_new {
            self.dirty.insert(RecordKey::Current(id.clone()));
        }
        if is_new || member != *before {
            self.dirty.insert(RecordKey::Member(id.clone()));
        }
        self.members.insert(id, member);
        changed
    }

    /// Holds the group against its topics if they or a subscription changed, and assigns if that changes anything.
    fn refresh(&mut self, topics: &TopicImage, subscription_changed: bool) {
        let mut bump = subscription_changed;
        if bump || self.topics_seen != Some(topics.version) {
            let hash = self.hash_of_topics(topics);
            if hash != self.metadata_hash {
                self.metadata_hash = hash;
                bump = true;
            }
            self.topics_seen = Some(topics.version);
        }
        if bump {
            self.bump_epoch();
        }
        if self.epoch > self.assignment_epoch {
            self.assign(topics);
        }
    }

    fn bump_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.dirty.insert(RecordKey::Group);
    }

    fn hash_of_topics(&self, topics: &TopicImage) -> i64 {
        let names: BTreeSet<&str> = self.members.values().flat_map(|m| &m.topics).map(String::as_str).collect();
        topics.hash_of(names)
    }

    /// Computes the target assignment of the group's epoch.
    fn assign(&mut self, topics: &TopicImage) {
        let mut partitions: BTreeMap<TopicId, i32> = BTreeMap::new();
        let mut subscribers = Vec::new();
        for member in self.members.values() {
            let found: BTreeMap<TopicId, i32> = member.topics.iter().filter_map(|name| topics.get(name)).collect();
            partitions.extend(&found);
            let wants = found.into_keys().collect();
            subscribers.push(assignor::Subscriber { id: &member.id, wants, has: self.target.get(&member.id) });
        }
        let target = assignor::assign(&subscribers, &partitions);
        for (id, partitions) in &target {
            if self.target.get(id) != Some(partitions) {
                self.dirty.insert(RecordKey::Target(id.clone()));
            }
        }
        self.target = target;
        self.assignment_epoch = self.epoch;
        self.dirty.insert(RecordKey::TargetEpoch);
    }

    /// Removes a member; its partitions are assigned with the next heartbeat of another one.
    fn remove(&mut self, now: Timestamp, id: &str) {
        if self.members.remove(id).is_none() {
            return;
        }
        self.target.remove(id);
        for key in
            [RecordKey::Member(id.to_owned()), RecordKey::Target(id.to_owned()), RecordKey::Current(id.to_owned())]
        {
            self.dirty.insert(key);
        }
        if self.members.is_empty() {
            self.empty_since = now;
        }
        self.bump_epoch();
    }

    /// When [`ShareGroup::tick`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.members.values().map(|m| m.session_deadline).min()
    }

    /// Members that were silent for too long are out. Returns their ids.
    pub fn tick(&mut self, now: Timestamp) -> Vec<String> {
        let late = self.members.values().filter(|m| m.session_deadline <= now);
        let gone: Vec<String> = late.map(|m| m.id.clone()).collect();
        for id in &gone {
            self.remove(now, id);
        }
        gone
    }
}
