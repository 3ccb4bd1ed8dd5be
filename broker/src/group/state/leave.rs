//! A member goes: by its own request, by an administrator's, or because it is given up.
use weir_protocol::ids::Timestamp;

use super::{Effect, Group, GroupError, Leaving, Phase};

impl Group {
    pub(super) fn remove_member(&mut self, id: &str, effects: &mut Vec<Effect>) {
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
    pub(super) fn drop_member(&mut self, now: Timestamp, id: &str, effects: &mut Vec<Effect>) {
        self.remove_member(id, effects);
        match self.phase {
            Phase::Stable | Phase::CompletingRebalance => self.prepare_rebalance(now, effects),
            Phase::PreparingRebalance => self.maybe_complete_join(now, effects),
            Phase::Empty | Phase::Dead => {}
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
}
