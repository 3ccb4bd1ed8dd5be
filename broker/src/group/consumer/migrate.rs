//! Groups change their kind while their members go on: upwards when the first member of the consumer protocol comes, downwards
//! when the last one goes.
use std::collections::BTreeSet;

use bytes::Bytes;
use weir_protocol::ids::Timestamp;

use super::classic::embedded::{self, Subscription};
use super::{ClassicMember, ConsumerGroup, ConsumerLimits, Member, after};
use crate::group::GroupError;
use crate::group::state::{AdoptedMember, Group};
use crate::topics::TopicImage;

/// Which changes of a group with members are allowed (`group.consumer.migration.policy`). Empty groups always can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    Bidirectional,
    Upgrade,
    Downgrade,
    Disabled,
}

impl MigrationPolicy {
    fn up(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    fn down(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

impl ConsumerGroup {
    /// A classic group with members as a group of this kind: each keeps what the last assignment gave it. The classic group is
    /// not touched; its waiting members are to be told to join again.
    pub fn of_classic(
        limits: ConsumerLimits,
        classic: &Group,
        topics: &TopicImage,
        now: Timestamp,
    ) -> Result<ConsumerGroup, GroupError> {
        let refuse = |why: &'static str| GroupError::NotUpgradable { why };
        if !limits.migration.up() {
            return Err(refuse("online upgrade is disabled (`group.consumer.migration.policy`)"));
        }
        if classic.protocol_type() != Some("consumer") {
            return Err(refuse("its members do not use the consumer embedded protocol"));
        }
        if classic.members().count() > limits.max_size {
            return Err(refuse("it has more members than `group.consumer.max.size` allows"));
        }
        let mut group = ConsumerGroup::new(limits, now);
        group.epoch = classic.generation().0;
        group.assignment_epoch = group.epoch;
        for old in classic.members() {
            let metadata = old.protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default();
            let subscription = Subscription::read(&metadata).ok_or(refuse("a subscription is malformed"))?;
            let (assigned, has_data) =
                embedded::read_assignment(&old.assignment).ok_or(refuse("an assignment is malformed"))?;
            if has_data {
                return Err(refuse("its assignor keeps data of its own, which the broker's assignors do not"));
            }
            let owned: BTreeSet<_> = assigned
                .into_iter()
                .filter_map(|(name, partitions)| Some((topics.get(&name)?.0, partitions)))
                .flat_map(|(id, partitions)| partitions.into_iter().map(move |p| (id, p)))
                .filter(|partition| !group.owners.contains_key(partition))
                .collect();
            let mut member = Member::new(old.id.clone(), now);
            member.instance_id = old.instance_id.clone();
            member.rack_id = subscription.rack_id;
            member.client_id = old.client_id.clone();
            member.client_host = old.client_host.clone();
            member.rebalance_timeout_ms = old.rebalance_timeout_ms;
            member.topics = subscription.topics.into_iter().collect();
            member.epoch = group.epoch;
            member.previous_epoch = group.epoch;
            member.assigned = owned.iter().map(|partition| (*partition, group.epoch)).collect();
            member.session_deadline = after(now, old.session_timeout_ms);
            member.classic =
                Some(ClassicMember { session_timeout_ms: old.session_timeout_ms, protocols: old.protocols.clone() });
            group.adopt(member, owned);
        }
        group.dirty.extend(group.all_keys());
        group.check();
        Ok(group)
    }

    fn adopt(&mut self, member: Member, owned: BTreeSet<super::TopicPartition>) {
        for partition in &owned {
            self.owners.insert(*partition, member.id.clone());
        }
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        self.target.insert(member.id.clone(), owned);
        self.members.insert(member.id.clone(), member);
    }

    /// Whether only members of the classic protocol are left, and the group may become one of theirs.
    pub fn is_downgradable(&self, classic_max_size: usize) -> bool {
        self.limits.migration.down()
            && !self.members.is_empty()
            && self.members.len() <= classic_max_size
            && self.members.values().all(|m| m.classic.is_some())
    }

    /// The members as a classic group takes them, with its generation. Empty unless all of them speak the classic protocol.
    pub fn to_classic(&self, topics: &TopicImage) -> (i32, Vec<AdoptedMember>) {
        let members = self.members.values().filter_map(|member| {
            let classic = member.classic.as_ref()?;
            let metadata = classic.protocols.first().map(|(_, m)| m.clone()).unwrap_or_else(Bytes::new);
            Some(AdoptedMember {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout_ms: classic.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment: embedded::assignment(&metadata, member.assigned.keys(), topics),
            })
        });
        (self.epoch, members.collect())
    }
}
