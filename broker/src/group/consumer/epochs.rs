//! Whether a member may commit or look up offsets in the epoch it names.
use super::{ConsumerGroup, Member, TopicPartition};
use crate::group::GroupError;

impl ConsumerGroup {
    /// A commit of a member, or of a tool or standalone consumer (`epoch` < 0) while the group is empty.
    ///
    /// A member may be behind its newest epoch, which it learns with its next heartbeat: what counts then is that it owned the
    /// partition at the time of the epoch it names (KIP-1251).
    pub fn check_commit(
        &self,
        member_id: &str,
        epoch: i32,
        mut partitions: impl Iterator<Item = TopicPartition>,
    ) -> Result<(), GroupError> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        let known = shown_epoch(member);
        if epoch == known {
            return Ok(());
        }
        let stale = stale(member);
        if epoch > known || member.away {
            return Err(stale);
        }
        let owned_since = |p: &TopicPartition| member.assigned.get(p).or_else(|| member.revoking.get(p));
        if partitions.all(|p| owned_since(&p).is_some_and(|since| *since <= epoch)) { Ok(()) } else { Err(stale) }
    }

    /// A look-up of a member; tools name none.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), GroupError> {
        let Some(member_id) = member_id else {
            return if epoch < 0 { Ok(()) } else { Err(GroupError::UnknownMemberId) };
        };
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        if epoch == shown_epoch(member) { Ok(()) } else { Err(stale(member)) }
    }
}

fn shown_epoch(member: &Member) -> i32 {
    if member.away { super::membership::LEFT_FOR_NOW } else { member.epoch }
}

fn stale(member: &Member) -> GroupError {
    if member.classic.is_some() { GroupError::IllegalGeneration } else { GroupError::StaleMemberEpoch }
}
