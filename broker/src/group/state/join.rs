//! A member comes: for the first time, with the id it was given, or in the place of its former self.
use bytes::Bytes;
use weir_protocol::ids::Timestamp;

use super::{
    Effect, Group, GroupError, JoinBarrier, JoinRequest, Joined, Member, NEW_MEMBER_JOIN_MS, Phase, Token, after,
};

impl Group {
    pub fn join(&mut self, now: Timestamp, token: Token, request: JoinRequest, effects: &mut Vec<Effect>) {
        if let Err(error) = self.try_join(now, token, request, effects) {
            effects.push(Effect::ReplyJoin(token, Err(error)));
        }
        self.check();
    }

    fn try_join(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        self.limits.check_session_timeout(request.session_timeout_ms)?;
        if self.phase == Phase::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self.supports(&request) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let known = self.members.contains_key(&request.member_id);
        if !known && self.members.len() >= self.limits.max_size {
            return Err(GroupError::GroupMaxSizeReached);
        }
        if request.member_id.is_empty() {
            return self.join_new(now, token, request, effects);
        }
        if self.pending.contains_key(&request.member_id) {
            if request.instance_id.is_some() {
                return Err(GroupError::UnknownMemberId);
            }
            let id = request.member_id.clone();
            self.add_member(now, token, id, request, effects);
            return Ok(());
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.rejoin(now, token, request, effects)
    }

    fn join_new(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let id = request.new_member_id.clone();
        if let Some(instance) = &request.instance_id {
            match self.instances.get(instance).cloned() {
                Some(old) => self.replace_static(now, token, &old, id, request, effects),
                None => self.add_member(now, token, id, request, effects),
            }
            return Ok(());
        }
        if request.require_known_member_id {
            self.pending.insert(id.clone(), after(now, i64::from(request.session_timeout_ms)));
            return Err(GroupError::MemberIdRequired { member_id: id });
        }
        self.add_member(now, token, id, request, effects);
        Ok(())
    }

    fn rejoin(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let id = request.member_id.clone();
        let is_leader = self.leader.as_deref() == Some(&id);
        let unchanged = self.members.get(&id).is_some_and(|m| m.protocols == request.protocols);
        match self.phase {
            Phase::PreparingRebalance => self.update_member(now, token, &id, request, effects),
            Phase::CompletingRebalance if unchanged => {
                // The reply to its last join was lost.
                self.reply_current(token, &id, false, effects);
                self.touch(now, &id);
            }
            Phase::Stable if unchanged && !is_leader => {
                self.reply_current(token, &id, false, effects);
                self.touch(now, &id);
            }
            Phase::CompletingRebalance | Phase::Stable => self.update_member(now, token, &id, request, effects),
            Phase::Empty | Phase::Dead => return Err(GroupError::UnknownMemberId),
        }
        Ok(())
    }

    /// The protocol type fits and there is a protocol that every member knows.
    fn supports(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        let others: Vec<&Member> = self.members.values().filter(|m| m.id != request.member_id).collect();
        if others.is_empty() {
            return self.members.is_empty() || self.protocol_type.as_deref() == Some(&request.protocol_type);
        }
        self.protocol_type.as_deref() == Some(&request.protocol_type)
            && request
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|m| m.protocols.iter().any(|(n, _)| n == name)))
    }

    fn add_member(
        &mut self,
        now: Timestamp,
        token: Token,
        id: String,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) {
        self.pending.remove(&id);
        if let Some(instance) = &request.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.members.insert(
            id.clone(),
            Member {
                id,
                instance_id: request.instance_id,
                client_id: request.client_id,
                client_host: request.client_host,
                session_timeout_ms: request.session_timeout_ms,
                rebalance_timeout_ms: request.rebalance_timeout_ms,
                protocols: request.protocols,
                assignment: Bytes::new(),
                joining: Some(token),
                syncing: None,
                is_new: true,
                deadline: after(now, NEW_MEMBER_JOIN_MS),
            },
        );
        if let Some(JoinBarrier { initial: Some(initial), .. }) = &mut self.barrier {
            initial.member_added = true;
        }
        self.prepare_rebalance(now, effects);
    }

    fn update_member(
        &mut self,
        now: Timestamp,
        token: Token,
        id: &str,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(member) = self.members.get_mut(id) {
            // A client that sends its join again has given up on the first answer.
            if let Some(old) = member.joining.replace(token) {
                effects.push(Effect::ReplyJoin(old, Err(GroupError::UnknownMemberId)));
            }
            member.protocols = request.protocols;
            member.session_timeout_ms = request.session_timeout_ms;
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.client_id = request.client_id;
            member.client_host = request.client_host;
        }
        self.touch(now, id);
        self.prepare_rebalance(now, effects);
    }

    /// KIP-345: a restarted static member takes over the place of its former self.
    fn replace_static(
        &mut self,
        now: Timestamp,
        token: Token,
        old: &str,
        new: String,
        request: JoinRequest,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut member) = self.members.remove(old) else {
            return self.add_member(now, token, new, request, effects);
        };
        if let Some(token) = member.joining.take() {
            effects.push(Effect::ReplyJoin(token, Err(GroupError::FencedInstanceId)));
        }
        if let Some(token) = member.syncing.take() {
            effects.push(Effect::ReplySync(token, Err(GroupError::FencedInstanceId)));
        }
        if let Some(instance) = &request.instance_id {
            self.instances.insert(instance.clone(), new.clone());
        }
        let was_leader = self.leader.as_deref() == Some(old);
        if was_leader {
            self.leader = Some(new.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.clone());
        }
        let unchanged = member.protocols == request.protocols;
        let supports_skip = request.supports_skip_assignment;
        member.id = new.clone();
        member.protocols = request.protocols;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        self.members.insert(new.clone(), member);
        self.touch(now, &new);
        if self.phase == Phase::Stable && unchanged {
            // No rebalance: it gets its old assignment back with the next sync. The new id must be durable.
            effects.push(Effect::Persist { generation: self.generation() });
            if was_leader && !supports_skip {
                // An old client that is told it leads would compute an assignment that nobody takes.
                let joined = Joined { leader: old.to_owned(), members: Vec::new(), ..self.joined(&new, false) };
                effects.push(Effect::ReplyJoin(token, Ok(joined)));
            } else {
                self.reply_current(token, &new, was_leader, effects);
            }
            return;
        }
        if let Some(member) = self.members.get_mut(&new) {
            member.joining = Some(token);
        }
        self.prepare_rebalance(now, effects);
    }
}
