//! What holds after every step; checked in debug builds.
use super::{Group, Phase};

impl Group {
    /// Invariants, in debug builds.
    pub(super) fn check(&self) {
        debug_assert_eq!(
            self.barrier.is_some(),
            self.phase == Phase::PreparingRebalance,
            "a barrier only while preparing"
        );
        debug_assert!(self.phase != Phase::Empty || self.members.is_empty(), "an empty group has no members");
        debug_assert!(
            !matches!(self.phase, Phase::Stable | Phase::CompletingRebalance) || !self.members.is_empty(),
            "a group with an assignment has members"
        );
        debug_assert!(
            self.members.is_empty() || self.leader.as_ref().is_some_and(|l| self.members.contains_key(l)),
            "a group with members has one of them as its leader"
        );
        debug_assert!(self.instances.values().all(|id| self.members.contains_key(id)), "instances are members");
        debug_assert!(
            self.phase == Phase::CompletingRebalance || self.members.values().all(|m| m.syncing.is_none()),
            "nobody waits for an assignment outside of the sync phase"
        );
    }
}
