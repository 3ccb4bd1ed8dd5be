//! The sync phase: the leader brings the assignment, the members wait until it is durable.
use bytes::Bytes;
use weir_protocol::ids::{Generation, Timestamp};

use super::{Effect, Group, GroupError, Phase, SyncRequest, Synced, Token};

impl Group {
    pub fn sync(&mut self, now: Timestamp, token: Token, request: SyncRequest, effects: &mut Vec<Effect>) {
        if let Err(error) = self.try_sync(now, token, request, effects) {
            effects.push(Effect::ReplySync(token, Err(error)));
        }
        self.check();
    }

    fn try_sync(
        &mut self,
        now: Timestamp,
        token: Token,
        request: SyncRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        if self.phase == Phase::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation() {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |given: &Option<String>, ours: &Option<String>| given.is_some() && given != ours;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let id = request.member_id;
        match self.phase {
            Phase::Empty | Phase::Dead => return Err(GroupError::UnknownMemberId),
            Phase::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            Phase::Stable => {
                self.touch(now, &id);
                effects.push(Effect::ReplySync(token, Ok(self.synced(&id))));
            }
            Phase::CompletingRebalance => {
                self.unsynced.remove(&id);
                if let Some(member) = self.members.get_mut(&id)
                    && let Some(old) = member.syncing.replace(token)
                {
                    effects.push(Effect::ReplySync(old, Err(GroupError::UnknownMemberId)));
                }
                self.touch(now, &id);
                if self.leader.as_deref() == Some(&id) && self.persisting.is_none() {
                    for member in self.members.values_mut() {
                        let given = request.assignments.iter().find(|(m, _)| *m == member.id);
                        member.assignment = given.map_or_else(Bytes::new, |(_, a)| a.clone());
                    }
                    self.persisting = Some(self.generation());
                    effects.push(Effect::Persist { generation: self.generation() });
                }
            }
        }
        Ok(())
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self.members.get(id).map_or_else(Bytes::new, |m| m.assignment.clone()),
        }
    }

    /// The outcome of an [`Effect::Persist`].
    pub fn persisted(&mut self, now: Timestamp, generation: Generation, ok: bool, effects: &mut Vec<Effect>) {
        if self.phase == Phase::CompletingRebalance && self.persisting == Some(generation) {
            self.persisting = None;
            if ok {
                self.phase = Phase::Stable;
                self.unsynced.clear();
                self.sync_deadline = None;
                let waiting: Vec<(String, Token)> =
                    self.members.values_mut().filter_map(|m| Some((m.id.clone(), m.syncing.take()?))).collect();
                for (id, token) in waiting {
                    self.touch(now, &id);
                    effects.push(Effect::ReplySync(token, Ok(self.synced(&id))));
                }
            } else {
                for member in self.members.values_mut() {
                    member.assignment = Bytes::new();
                    if let Some(token) = member.syncing.take() {
                        effects.push(Effect::ReplySync(token, Err(GroupError::CoordinatorNotAvailable)));
                    }
                }
                self.prepare_rebalance(now, effects);
            }
        }
        self.check();
    }
}
