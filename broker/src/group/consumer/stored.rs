//! What is kept of a group in `__consumer_offsets`, record by record, and how a group comes back from it.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::Timestamp;

use super::member::ClassicMember;
use super::membership::LEFT_FOR_NOW;
use super::{AssignorKind, ConsumerGroup, ConsumerLimits, Member, MemberState, ResolvedRegex, TopicPartition, after};

/// Names a record of a group, in the order in which records are written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    Member(String),
    Regex(String),
    Group,
    Target(String),
    TargetEpoch,
    Current(String),
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordValue {
    Member(StoredMember),
    Regex(ResolvedRegex),
    Group { epoch: i32, metadata_hash: i64 },
    Target(BTreeSet<TopicPartition>),
    TargetEpoch(i32),
    Current(StoredCurrent),
}

/// A member without its assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMember {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    pub classic: Option<ClassicMember>,
}

/// What a member owns. Partitions with the epoch since which it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredCurrent {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: i8,
    pub assigned: BTreeMap<TopicPartition, i32>,
    pub revoking: BTreeMap<TopicPartition, i32>,
}

/// All records of a group, as the log has them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredConsumerGroup {
    /// Epoch and metadata hash; without them there is no group.
    pub group: Option<(i32, i64)>,
    pub members: BTreeMap<String, StoredMember>,
    pub regexes: BTreeMap<String, ResolvedRegex>,
    pub targets: BTreeMap<String, BTreeSet<TopicPartition>>,
    pub target_epoch: i32,
    pub currents: BTreeMap<String, StoredCurrent>,
}

impl StoredConsumerGroup {
    /// Applies one record of the log; no value is a tombstone.
    pub fn apply(&mut self, key: RecordKey, value: Option<RecordValue>) {
        match (key, value) {
            (RecordKey::Member(id), Some(RecordValue::Member(member))) => drop(self.members.insert(id, member)),
            (RecordKey::Member(id), _) => drop(self.members.remove(&id)),
            (RecordKey::Regex(pattern), Some(RecordValue::Regex(regex))) => drop(self.regexes.insert(pattern, regex)),
            (RecordKey::Regex(pattern), _) => drop(self.regexes.remove(&pattern)),
            (RecordKey::Group, Some(RecordValue::Group { epoch, metadata_hash })) => {
                self.group = Some((epoch, metadata_hash));
            }
            (RecordKey::Group, _) => self.group = None,
            (RecordKey::Target(id), Some(RecordValue::Target(target))) => drop(self.targets.insert(id, target)),
            (RecordKey::Target(id), _) => drop(self.targets.remove(&id)),
            (RecordKey::TargetEpoch, Some(RecordValue::TargetEpoch(epoch))) => self.target_epoch = epoch,
            (RecordKey::TargetEpoch, _) => self.target_epoch = 0,
            (RecordKey::Current(id), Some(RecordValue::Current(current))) => drop(self.currents.insert(id, current)),
            (RecordKey::Current(id), _) => drop(self.currents.remove(&id)),
        }
    }
}

impl ConsumerGroup {
    /// A group as it was stored. Its members have one session timeout to show up. `None`: there is none.
    pub fn restore(
        limits: ConsumerLimits,
        stored: StoredConsumerGroup,
        session_timeout_ms: i32,
        now: Timestamp,
    ) -> Option<ConsumerGroup> {
        let (epoch, metadata_hash) = stored.group?;
        // Offsets of a group that was empty expire by the time of their commits, as in Kafka.
        let mut group = ConsumerGroup::new(limits, Timestamp(0));
        group.epoch = epoch;
        group.metadata_hash = metadata_hash;
        group.assignment_epoch = stored.target_epoch.min(epoch);
        let StoredConsumerGroup { members, mut currents, mut targets, regexes, .. } = stored;
        for (id, kept) in members {
            let current = currents.remove(&id).unwrap_or_default();
            let mut member = restored(id.clone(), kept, current, now);
            member.session_deadline = after(now, member.session_timeout_ms(session_timeout_ms));
            // A partition of two owners cannot have been written; should it be there, the first keeps it.
            member.assigned.retain(|p, _| !group.owners.contains_key(p));
            member.revoking.retain(|p, _| !group.owners.contains_key(p) && !member.assigned.contains_key(p));
            match (member.revoking.is_empty(), member.state) {
                (true, MemberState::UnrevokedPartitions) => member.state = MemberState::UnreleasedPartitions,
                (false, _) => member.state = MemberState::UnrevokedPartitions,
                (true, _) => {}
            }
            member.epoch = member.epoch.min(epoch);
            for partition in member.holds() {
                group.owners.insert(partition, id.clone());
            }
            if let Some(instance) = &member.instance_id {
                group.instances.insert(instance.clone(), id.clone());
            }
            group.target.insert(id.clone(), targets.remove(&id).unwrap_or_default());
            group.members.insert(id, member);
        }
        group.regexes = regexes;
        group.check();
        Some(group)
    }

    /// Keys of records that changed since they were last taken, in the order in which they are to be written.
    pub fn take_dirty(&mut self) -> Vec<RecordKey> {
        std::mem::take(&mut self.dirty).into_iter().collect()
    }

    /// These could not be written.
    pub fn put_back(&mut self, keys: Vec<RecordKey>) {
        self.dirty.extend(keys);
    }

    /// Every record that the group has.
    pub fn all_keys(&self) -> Vec<RecordKey> {
        let ids = || self.members.keys().cloned();
        let mut keys = vec![RecordKey::Group, RecordKey::TargetEpoch];
        keys.extend(self.regexes.keys().cloned().map(RecordKey::Regex));
        keys.extend(ids().map(RecordKey::Member));
        keys.extend(ids().map(RecordKey::Target));
        keys.extend(ids().map(RecordKey::Current));
        keys.sort();
        keys
    }

    /// What a record has to say; `None` is a tombstone.
    pub fn record(&self, key: &RecordKey) -> Option<RecordValue> {
        Some(match key {
            RecordKey::Group => RecordValue::Group { epoch: self.epoch, metadata_hash: self.metadata_hash },
            RecordKey::TargetEpoch => RecordValue::TargetEpoch(self.assignment_epoch),
            RecordKey::Regex(pattern) => RecordValue::Regex(self.regexes.get(pattern)?.clone()),
            RecordKey::Member(id) => RecordValue::Member(self.members.get(id).map(stored_member)?),
            RecordKey::Target(id) => {
                self.members.get(id)?;
                RecordValue::Target(self.target.get(id).cloned().unwrap_or_default())
            }
            RecordKey::Current(id) => RecordValue::Current(self.members.get(id).map(stored_current)?),
        })
    }
}

fn stored_member(member: &Member) -> StoredMember {
    StoredMember {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: member.topics.iter().cloned().collect(),
        regex: member.regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: member.assignor.map(|kind| kind.name().to_owned()),
        classic: member.classic.clone(),
    }
}

fn stored_current(member: &Member) -> StoredCurrent {
    StoredCurrent {
        epoch: if member.away { LEFT_FOR_NOW } else { member.epoch },
        previous_epoch: member.previous_epoch,
        state: member.state as i8,
        assigned: member.assigned.clone(),
        revoking: member.revoking.clone(),
    }
}

fn restored(id: String, kept: StoredMember, current: StoredCurrent, now: Timestamp) -> Member {
    let away = current.epoch == LEFT_FOR_NOW;
    let mut member = Member::new(id, now);
    member.instance_id = kept.instance_id;
    member.rack_id = kept.rack_id;
    member.client_id = kept.client_id;
    member.client_host = kept.client_host;
    member.rebalance_timeout_ms = kept.rebalance_timeout_ms;
    member.assignor = kept.assignor.as_deref().and_then(AssignorKind::named);
    member.topics = kept.topics.into_iter().collect();
    member.regex = kept.regex;
    member.classic = kept.classic;
    member.away = away;
    member.epoch = if away { current.previous_epoch } else { current.epoch };
    member.previous_epoch = current.previous_epoch;
    member.state = MemberState::of(current.state).unwrap_or(MemberState::UnreleasedPartitions);
    member.assigned = current.assigned;
    member.revoking = current.revoking;
    if member.state == MemberState::UnrevokedPartitions && member.classic.is_none() {
        member.revoke_deadline = Some(after(now, member.rebalance_timeout_ms));
    }
    member
}
