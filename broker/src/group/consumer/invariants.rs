//! What holds after every step; checked in debug builds.
use super::{ConsumerGroup, MemberState};

impl ConsumerGroup {
    pub(super) fn check(&self) {
        if cfg!(debug_assertions) {
            self.check_owners();
            self.check_members();
        }
    }

    fn check_owners(&self) {
        let mut held = 0;
        for member in self.members.values() {
            for partition in member.holds() {
                held += 1;
                assert_eq!(self.owners.get(&partition), Some(&member.id), "{partition:?} is owned by who holds it");
            }
        }
        assert_eq!(held, self.owners.len(), "no partition is owned twice, or by nobody's leave");
        for (id, targets) in &self.target {
            assert!(self.members.contains_key(id) || targets.is_empty(), "targets are members'");
        }
    }

    fn check_members(&self) {
        assert!(self.assignment_epoch <= self.epoch, "nothing is assigned for an epoch to come");
        for member in self.members.values() {
            assert!(member.epoch <= self.epoch, "no member is ahead of its group");
            assert_eq!(
                member.revoking.is_empty(),
                member.state != MemberState::UnrevokedPartitions,
                "partitions are given up in that state only"
            );
            assert!(
                member.assigned.values().all(|since| *since <= self.epoch),
                "nothing is owned since an epoch to come"
            );
        }
        assert!(
            self.instances.iter().all(|(instance, id)| {
                self.members.get(id).is_some_and(|m| m.instance_id.as_ref() == Some(instance))
            }),
            "instances are members"
        );
    }
}
