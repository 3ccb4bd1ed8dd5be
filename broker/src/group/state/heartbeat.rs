//! Signs of life of members, by heartbeat or commit, and whether they are who they say.
use weir_protocol::ids::{Generation, Timestamp};

use super::{Group, GroupError, NEW_MEMBER_JOIN_MS, Phase, after};

impl Group {
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// A sign of life.
    pub(super) fn touch(&mut self, now: Timestamp, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            let ms = if member.is_new && member.joining.is_some() {
                NEW_MEMBER_JOIN_MS
            } else {
                i64::from(member.session_timeout_ms)
            };
            member.deadline = after(now, ms);
        }
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

    /// Whether a transaction may commit offsets for the group. Producers of old clients (before KIP-447) name no member.
    pub fn check_transactional_commit(
        &mut self,
        now: Timestamp,
        id: &str,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        match self.phase {
            Phase::Dead => return Err(GroupError::CoordinatorNotAvailable),
            // As for other commits: without members, whoever claims no generation may commit.
            Phase::Empty if generation.0 < 0 => return Ok(()),
            _ if generation.0 < 0 && id.is_empty() && instance.is_none() => return Ok(()),
            _ => {}
        }
        self.check_member(id, instance)?;
        if generation != self.generation() {
            return Err(GroupError::IllegalGeneration);
        }
        self.touch(now, id);
        Ok(())
    }
}
