//! What is kept of a group in `__consumer_offsets`, and how a group comes back from it.
use bytes::Bytes;
use weir_protocol::ids::Timestamp;

use super::{Effect, Group, GroupError, GroupLimits, Member, Phase, after};

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

/// A member that comes from a group of another kind, with all that a classic group has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
}

impl Group {
    /// A group of members that another kind of group had. It rebalances at once: its members learn so by their heartbeats.
    pub fn adopt(
        limits: GroupLimits,
        generation: i32,
        members: Vec<AdoptedMember>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Group {
        let mut group = Group::new(limits, now);
        group.generation = generation;
        group.protocol_type = Some("consumer".to_owned());
        for adopted in members {
            if let Some(instance) = &adopted.instance_id {
                group.instances.insert(instance.clone(), adopted.id.clone());
            }
            let member = Member {
                id: adopted.id.clone(),
                instance_id: adopted.instance_id,
                client_id: adopted.client_id,
                client_host: adopted.client_host,
                session_timeout_ms: adopted.session_timeout_ms,
                rebalance_timeout_ms: adopted.rebalance_timeout_ms,
                protocols: adopted.protocols,
                assignment: adopted.assignment,
                joining: None,
                syncing: None,
                is_new: false,
                deadline: after(now, i64::from(adopted.session_timeout_ms)),
            };
            group.members.insert(adopted.id, member);
        }
        if group.members.is_empty() {
            return group;
        }
        group.leader = group.members.keys().next().cloned();
        group.protocol_name = group.select_protocol();
        group.phase = Phase::Stable;
        effects.push(Effect::Persist { generation: group.generation() });
        group.prepare_rebalance(now, effects);
        group.check();
        group
    }

    /// Everybody who waits is told to join again: the group becomes one of another kind.
    pub fn turn_away(&mut self, effects: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.joining.take() {
                effects.push(Effect::ReplyJoin(token, Err(GroupError::RebalanceInProgress)));
            }
            if let Some(token) = member.syncing.take() {
                effects.push(Effect::ReplySync(token, Err(GroupError::RebalanceInProgress)));
            }
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
}
