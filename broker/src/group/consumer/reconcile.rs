//! A member on its way to the target assignment: first it gives up what it must, then it gets the epoch and what is free.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::Timestamp;

use super::{ConsumerGroup, Member, MemberState, RecordKey, TopicPartition, after};
use crate::topics::TopicImage;

impl ConsumerGroup {
    /// Takes a member as far as it can go now. `owned`: what it says it owns; `None` = it did not say.
    pub(super) fn reconcile(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        id: &str,
        owned: Option<&BTreeSet<TopicPartition>>,
        subscription_changed: bool,
    ) {
        let Some(before) = self.members.get(id).cloned() else { return };
        let mut member = before.clone();
        match before.state {
            MemberState::Stable if before.epoch == self.assignment_epoch && !subscription_changed => {}
            MemberState::Stable | MemberState::UnreleasedPartitions => self.advance(&mut member, before.epoch, owned),
            MemberState::UnrevokedPartitions if still_owns(&before.revoking, owned) => {
                if subscription_changed {
                    self.drop_unsubscribed(&mut member, topics);
                }
            }
            // All of it is given up: that ends the epoch it was in.
            MemberState::UnrevokedPartitions => self.advance(&mut member, before.epoch.saturating_add(1), owned),
        }
        self.put_assignment(now, &before, member);
    }

    /// The next step from what the member has towards its target.
    fn advance(&self, member: &mut Member, epoch: i32, owned: Option<&BTreeSet<TopicPartition>>) {
        let none = BTreeSet::new();
        let target = self.target.get(&member.id).unwrap_or(&none);
        let (keep, drop): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut member.assigned).into_iter().partition(|(partition, _)| target.contains(partition));
        member.assigned = keep;
        if !drop.is_empty() && still_owns(&drop, owned) {
            set_epoch(member, epoch);
            member.state = MemberState::UnrevokedPartitions;
            member.revoking = drop;
            return;
        }
        let mut unreleased = false;
        for partition in target {
            if member.assigned.contains_key(partition) {
                continue;
            }
            match self.owners.get(partition) {
                Some(owner) if *owner != member.id => unreleased = true,
                _ => {
                    member.assigned.insert(*partition, self.assignment_epoch);
                }
            }
        }
        set_epoch(member, self.assignment_epoch);
        member.state = if unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        member.revoking = BTreeMap::new();
    }

    /// A member that is still giving up partitions gives up those of topics it no longer wants as well.
    fn drop_unsubscribed(&self, member: &mut Member, topics: &TopicImage) {
        let wanted = self.subscribed_ids(member, topics);
        let (keep, drop): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut member.assigned).into_iter().partition(|((topic, _), _)| wanted.contains(topic));
        member.assigned = keep;
        member.revoking.extend(drop);
    }

    fn put_assignment(&mut self, now: Timestamp, before: &Member, mut member: Member) {
        if member.same_assignment(before) {
            return;
        }
        // Members of the classic protocol have deadlines for joining and syncing instead.
        let has_to_revoke = member.state == MemberState::UnrevokedPartitions && member.classic.is_none();
        member.revoke_deadline = has_to_revoke.then(|| after(now, member.rebalance_timeout_ms));
        for partition in before.holds() {
            if self.owners.get(&partition).is_some_and(|owner| *owner == member.id) {
                self.owners.remove(&partition);
            }
        }
        for partition in member.holds() {
            self.owners.insert(partition, member.id.clone());
        }
        self.dirty.insert(RecordKey::Current(member.id.clone()));
        self.members.insert(member.id.clone(), member);
    }

    /// Whether partitions of the member's target are still with others.
    pub(super) fn waits_for_others(&self, id: &str) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        self.target_of(id).any(|partition| {
            !member.assigned.contains_key(&partition) && self.owners.get(&partition).is_some_and(|owner| owner != id)
        })
    }
}

fn set_epoch(member: &mut Member, epoch: i32) {
    if member.epoch != epoch {
        member.previous_epoch = member.epoch;
        member.epoch = epoch;
    }
}

/// A member that does not say what it owns still owns everything.
fn still_owns(revoking: &BTreeMap<TopicPartition, i32>, owned: Option<&BTreeSet<TopicPartition>>) -> bool {
    owned.is_none_or(|owned| owned.iter().any(|partition| revoking.contains_key(partition)))
}
