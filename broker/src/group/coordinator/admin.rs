//! Groups as tools see them, and their deletion.
use bytes::Bytes;

use super::commits::offset_key;
use super::room::Cell;
use super::{Coordinator, LogRecord};
use crate::group::records::{self, Key};
use crate::group::state::{GroupError, Phase};

/// One group as tools see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    pub phase: Phase,
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
            match entry.group.phase() {
                Phase::Empty => {}
                Phase::Dead => return Err(GroupError::GroupIdNotFound),
                _ => return Err(GroupError::NonEmptyGroup),
            }
            let mut tombstones: Vec<LogRecord> = entry
                .offsets
                .iter()
                .map(|((topic, partition), _)| (offset_key(group, topic, *partition), None))
                .collect();
            tombstones.push((records::encode_key(&Key::Group { group: group.to_owned() }), None));
            tombstones
        };
        self.inner.append(cell.partition, tombstones).await?;
        self.inner.with(&cell, |_, entry, effects| entry.group.kill(effects));
        self.inner.groups.write().remove(group);
        Ok(())
    }
}

fn describe(cell: &Cell) -> GroupDescription {
    let entry = cell.entry.lock();
    let group = &entry.group;
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
        phase: group.phase(),
        protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
        protocol_name: group.protocol_name().unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}
