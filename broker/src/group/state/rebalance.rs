//! The join phase: from the first reason to rebalance to the next generation.
use std::collections::BTreeMap;

use weir_protocol::ids::Timestamp;

use super::{Effect, Group, GroupError, InitialDelay, JoinBarrier, Joined, Phase, Token, after};

impl Group {
    pub(super) fn joined(&self, id: &str, skip_assignment: bool) -> Joined {
        let leads = self.leader.as_deref() == Some(id);
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let members = self.members.values().map(|m| (m.id.clone(), m.instance_id.clone(), m.metadata(&protocol)));
        Joined {
            generation: self.generation(),
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            skip_assignment,
            members: if leads { members.collect() } else { Vec::new() },
        }
    }

    pub(super) fn reply_current(&self, token: Token, id: &str, skip_assignment: bool, effects: &mut Vec<Effect>) {
        effects.push(Effect::ReplyJoin(token, Ok(self.joined(id, skip_assignment))));
    }

    /// The join barrier: as long as the slowest member may take.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub(super) fn prepare_rebalance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::PreparingRebalance | Phase::Dead => {}
            Phase::Empty => {
                let timeout = self.rebalance_timeout_ms();
                let delay = i64::from(self.limits.initial_rebalance_delay_ms).min(timeout);
                let initial = InitialDelay { remaining_ms: (timeout - delay).max(0), member_added: false };
                self.barrier = Some(JoinBarrier { deadline: after(now, delay), initial: Some(initial) });
                self.phase = Phase::PreparingRebalance;
            }
            Phase::CompletingRebalance | Phase::Stable => {
                for member in self.members.values_mut() {
                    if let Some(token) = member.syncing.take() {
                        effects.push(Effect::ReplySync(token, Err(GroupError::RebalanceInProgress)));
                    }
                }
                self.unsynced.clear();
                self.sync_deadline = None;
                self.persisting = None;
                self.barrier = Some(JoinBarrier { deadline: after(now, self.rebalance_timeout_ms()), initial: None });
                self.phase = Phase::PreparingRebalance;
            }
        }
        self.maybe_complete_join(now, effects);
    }

    pub(super) fn maybe_complete_join(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(barrier) = &self.barrier else { return };
        let delay_over = barrier.initial.as_ref().is_none_or(|_| now >= barrier.deadline);
        let all_joined = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        if delay_over && all_joined {
            self.complete_join(now, effects);
        }
    }

    pub(super) fn complete_join(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Who did not come back is out, except static members: their session decides.
        let gone: Vec<String> = self
            .members
            .values()
            .filter(|m| m.joining.is_none() && m.instance_id.is_none())
            .map(|m| m.id.clone())
            .collect();
        for id in gone {
            self.remove_member(&id, effects);
        }
        if !self.members.is_empty() && self.members.values().all(|m| m.joining.is_none()) {
            // Only silent static members are left: give them another round.
            self.barrier =
                Some(JoinBarrier { deadline: after(now, self.rebalance_timeout_ms().max(1)), initial: None });
            return;
        }
        self.barrier = None;
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol_name = None;
            self.leader = None;
            self.empty_since = now;
            effects.push(Effect::Persist { generation: self.generation() });
            return;
        }
        let leader_joined = self.leader.as_ref().and_then(|l| self.members.get(l)).is_some_and(|m| m.joining.is_some());
        if !leader_joined {
            self.leader = self.members.values().find(|m| m.joining.is_some()).map(|m| m.id.clone());
        }
        self.protocol_name = self.select_protocol();
        self.phase = Phase::CompletingRebalance;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_deadline = Some(after(now, self.rebalance_timeout_ms()));
        let joined: Vec<(String, Token)> =
            self.members.values_mut().filter_map(|m| Some((m.id.clone(), m.joining.take()?))).collect();
        for (id, token) in joined {
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.touch(now, &id);
            self.reply_current(token, &id, false, effects);
        }
    }

    /// Each member votes for the first of its protocols that all know.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let known_by_all = |name: &str| self.members.values().all(|m| m.protocols.iter().any(|(n, _)| n == name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| known_by_all(name)) {
                *votes.entry(name).or_insert(0) += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }
}
