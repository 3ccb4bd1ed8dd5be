//! Deadlines: sessions, member ids that were given out, join and sync phases.
use weir_protocol::ids::Timestamp;

use super::{Effect, Group, InitialDelay, JoinBarrier, Phase, after};

impl Group {
    /// When [`Group::tick`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let sessions = self.members.values().filter(|m| !m.waits() || m.is_new).map(|m| m.deadline);
        let pending = self.pending.values().copied();
        let barrier = self.barrier.iter().map(|b| b.deadline);
        sessions.chain(pending).chain(barrier).chain(self.sync_deadline).min()
    }

    pub fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.expire_members(now, effects);
        if self.sync_deadline.is_some_and(|d| d <= now) && self.phase == Phase::CompletingRebalance {
            self.sync_deadline = None;
            let late: Vec<String> = std::mem::take(&mut self.unsynced).into_iter().collect();
            if self.persisting.is_none() {
                for id in &late {
                    self.remove_member(id, effects);
                }
                if !late.is_empty() {
                    self.prepare_rebalance(now, effects);
                }
            }
        }
        if let Some(barrier) = self.barrier.clone()
            && barrier.deadline <= now
        {
            match barrier.initial {
                Some(initial) if initial.member_added && initial.remaining_ms > 0 => {
                    let delay = i64::from(self.limits.initial_rebalance_delay_ms).min(initial.remaining_ms);
                    self.barrier = Some(JoinBarrier {
                        deadline: after(now, delay),
                        initial: Some(InitialDelay { remaining_ms: initial.remaining_ms - delay, member_added: false }),
                    });
                }
                _ => self.complete_join(now, effects),
            }
        }
        self.check();
    }

    fn expire_members(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let silent: Vec<String> = self
            .members
            .values()
            .filter(|m| m.deadline <= now && (!m.waits() || (m.is_new && m.joining.is_some())))
            .map(|m| m.id.clone())
            .collect();
        for id in silent {
            self.drop_member(now, &id, effects);
        }
        let before = self.pending.len();
        self.pending.retain(|_, deadline| *deadline > now);
        if self.pending.len() != before {
            self.maybe_complete_join(now, effects);
        }
    }
}
