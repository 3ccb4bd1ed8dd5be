//! Groups as tools see them, and their deletion.
use std::sync::Arc;

use bytes::Bytes;

use super::commits::offset_key;
use super::room::{Cell, Kind};
use super::{Coordinator, LogRecord};
use crate::group::consumer::{Member, TopicPartition};
use crate::group::share::ASSIGNOR;
use crate::group::state::{GroupError, Phase};
use crate::topics::TopicImage;

/// Which protocol a group's members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupType {
    Classic,
    Consumer,
    Share,
}

impl GroupType {
    /// Kafka's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
            GroupType::Share => "share",
        }
    }
}

/// One group of the consumer protocol as tools see it.
#[derive(Debug, Clone)]
pub struct ConsumerDescription {
    pub state: &'static str,
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: &'static str,
    /// With what each is to own.
    pub members: Vec<(Member, Vec<TopicPartition>)>,
    /// Topics at that moment.
    pub topics: Arc<TopicImage>,
}

/// One group as tools see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    pub group_type: GroupType,
    /// Kafka's name of its state.
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol_name: String,
    pub members: Vec<MemberDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

impl Coordinator {
    /// `None`: no such group.
    pub fn describe(&self, group: &str) -> Result<Option<GroupDescription>, GroupError> {
        Ok(self.find(group)?.map(|cell| describe(&cell)))
    }

    /// Whether there is such a group among those loaded so far.
    pub fn exists(&self, group: &str) -> bool {
        self.inner.groups.read().contains_key(group)
    }

    /// A group of the consumer protocol with its epochs.
    pub fn describe_consumer(&self, group: &str) -> Result<ConsumerDescription, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let entry = cell.entry.lock();
        let Kind::Consumer(group) = &entry.kind else { return Err(GroupError::OtherGroupType { wanted: "consumer" }) };
        Ok(ConsumerDescription {
            state: group.state().name(),
            epoch: group.epoch(),
            assignment_epoch: group.assignment_epoch(),
            assignor: group.assignor().name(),
            members: group.members().map(|m| (m.clone(), group.target_of(&m.id).collect())).collect(),
            topics: self.inner.topics(),
        })
    }

    /// Every group of the partitions loaded so far.
    pub fn list(&self) -> Vec<GroupDescription> {
        let cells: Vec<_> = self.inner.groups.read().values().cloned().collect();
        let mut groups: Vec<_> = cells.iter().map(|cell| describe(cell)).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups
    }

    /// Deletes an empty group with its offsets.
    pub async fn delete(&self, group: &str) -> Result<(), GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let tombstones = {
            let entry = cell.entry.lock();
            match &entry.kind {
                Kind::Classic(group) if group.phase() == Phase::Dead => return Err(GroupError::GroupIdNotFound),
                kind if kind.empty_since().is_none() => return Err(GroupError::NonEmptyGroup),
                _ => {}
            }
            let mut tombstones: Vec<LogRecord> = entry
                .offsets
                .iter()
                .map(|((topic, partition), _)| (offset_key(group, topic, *partition), None))
                .collect();
            tombstones.extend(entry.tombstones(group));
            tombstones
        };
        self.inner.append(cell.partition, tombstones).await?;
        self.inner.with(&cell, |now, entry, effects| entry.kill(&self.inner.settings().limits, now, effects));
        self.inner.groups.write().remove(group);
        Ok(())
    }
}

fn describe(cell: &Cell) -> GroupDescription {
    let entry = cell.entry.lock();
    let group = match &entry.kind {
        Kind::Classic(group) => group,
        Kind::Consumer(group) => {
            return GroupDescription {
                group: cell.name.clone(),
                group_type: GroupType::Consumer,
                state: group.state().name(),
                protocol_type: "consumer".to_owned(),
                protocol_name: group.assignor().name().to_owned(),
                members: Vec::new(),
            };
        }
        Kind::Share(group) => {
            return GroupDescription {
                group: cell.name.clone(),
                group_type: GroupType::Share,
                state: group.state(),
                protocol_type: "share".to_owned(),
                protocol_name: ASSIGNOR.to_owned(),
                members: Vec::new(),
            };
        }
    };
    let members = group.members().map(|m| MemberDescription {
        member_id: m.id.clone(),
        instance_id: m.instance_id.clone(),
        client_id: m.client_id.clone(),
        client_host: m.client_host.clone(),
        metadata: group.subscription(m),
        assignment: m.assignment.clone(),
    });
    GroupDescription {
        group: cell.name.clone(),
        group_type: GroupType::Classic,
        state: group.phase().name(),
        protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
        protocol_name: group.protocol_name().unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}
