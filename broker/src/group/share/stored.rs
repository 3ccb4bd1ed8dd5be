//! What is kept of a share group in `__consumer_offsets`, record by record, and how a group comes back from it.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::Timestamp;

use super::{ShareGroup, ShareMember, after};
use crate::group::consumer::{RecordKey, TopicPartition};

/// What a record says; its key is one of a consumer group's, in numbers of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareRecordValue {
    Member(StoredShareMember),
    Group { epoch: i32, metadata_hash: i64 },
    Target(BTreeSet<TopicPartition>),
    TargetEpoch(i32),
    Current(StoredShareCurrent),
}

/// A member without its assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredShareMember {
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
}

/// What a member reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredShareCurrent {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub assigned: BTreeSet<TopicPartition>,
}

/// All records of a group, as the log has them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredShareGroup {
    /// Epoch and metadata hash; without them there is no group.
    group: Option<(i32, i64)>,
    target_epoch: i32,
    members: BTreeMap<String, StoredShareMember>,
    targets: BTreeMap<String, BTreeSet<TopicPartition>>,
    currents: BTreeMap<String, StoredShareCurrent>,
}

impl StoredShareGroup {
    /// Applies one record of the log; no value is a tombstone.
    pub fn apply(&mut self, key: RecordKey, value: Option<ShareRecordValue>) {
        match (key, value) {
            (RecordKey::Member(id), Some(ShareRecordValue::Member(member))) => drop(self.members.insert(id, member)),
            (RecordKey::Member(id), _) => drop(self.members.remove(&id)),
            (RecordKey::Group, Some(ShareRecordValue::Group { epoch, metadata_hash })) => {
                self.group = Some((epoch, metadata_hash));
            }
            (RecordKey::Group, _) => self.group = None,
            (RecordKey::Target(id), Some(ShareRecordValue::Target(target))) => drop(self.targets.insert(id, target)),
            (RecordKey::Target(id), _) => drop(self.targets.remove(&id)),
            (RecordKey::TargetEpoch, Some(ShareRecordValue::TargetEpoch(epoch))) => self.target_epoch = epoch,
            (RecordKey::TargetEpoch, _) => self.target_epoch = 0,
            (RecordKey::Current(id), Some(ShareRecordValue::Current(current))) => {
                drop(self.currents.insert(id, current));
            }
            (RecordKey::Current(id), _) => drop(self.currents.remove(&id)),
            // Share groups subscribe by name.
            (RecordKey::Regex(_), _) => {}
        }
    }
}

impl ShareGroup {
    /// A group as it was stored. Its members have one session timeout to show up. `None`: there is none.
    pub fn restore(
        max_size: usize,
        stored: StoredShareGroup,
        session_timeout_ms: i32,
        now: Timestamp,
    ) -> Option<ShareGroup> {
        let (epoch, metadata_hash) = stored.group?;
        let mut group = ShareGroup::new(max_size, now);
        group.epoch = epoch;
        group.metadata_hash = metadata_hash;
        group.assignment_epoch = stored.target_epoch.min(epoch);
        let StoredShareGroup { members, mut currents, mut targets, .. } = stored;
        for (id, kept) in members {
            let current = currents.remove(&id).unwrap_or_default();
            let member = ShareMember {
                id: id.clone(),
                rack_id: kept.rack_id,
                client_id: kept.client_id,
                client_host: kept.client_host,
                topics: kept.topics.into_iter().collect(),
                epoch: current.epoch.min(epoch),
                previous_epoch: current.previous_epoch,
                assigned: current.assigned,
                session_deadline: after(now, session_timeout_ms),
            };
            group.target.insert(id.clone(), targets.remove(&id).unwrap_or_default());
            group.members.insert(id, member);
        }
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
        keys.extend(ids().map(RecordKey::Member));
        keys.extend(ids().map(RecordKey::Target));
        keys.extend(ids().map(RecordKey::Current));
        keys.sort();
        keys
    }

    /// What a record has to say; `None` is a tombstone.
    pub fn record(&self, key: &RecordKey) -> Option<ShareRecordValue> {
        Some(match key {
            RecordKey::Group => ShareRecordValue::Group { epoch: self.epoch, metadata_hash: self.metadata_hash },
            RecordKey::TargetEpoch => ShareRecordValue::TargetEpoch(self.assignment_epoch),
            RecordKey::Regex(_) => return None,
            RecordKey::Member(id) => {
                let member = self.members.get(id)?;
                ShareRecordValue::Member(StoredShareMember {
                    rack_id: member.rack_id.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    topics: member.topics.iter().cloned().collect(),
                })
            }
            RecordKey::Target(id) => {
                self.members.get(id)?;
                ShareRecordValue::Target(self.target.get(id).cloned().unwrap_or_default())
            }
            RecordKey::Current(id) => {
                let member = self.members.get(id)?;
                ShareRecordValue::Current(StoredShareCurrent {
                    epoch: member.epoch,
                    previous_epoch: member.previous_epoch,
                    assigned: member.assigned.clone(),
                })
            }
        })
    }
}
