//! What is kept of a group in `__consumer_offsets`, and how a group comes back from it.
use bytes::Bytes;
use weir_protocol::ids::Timestamp;

use super::{Group, GroupLimits, Member, Phase, after};

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

impl Group {
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
}
