//! Members that still speak the classic protocol, in a group of the newer one: they join, sync and heartbeat as ever, and get
//! the broker's assignment in the form that their protocol embeds. Nobody waits for the others, and none of them leads.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{Generation, Timestamp};

use super::{ClassicMember, ConsumerGroup, Member, MemberState, TopicPartition, after};
use crate::group::GroupError;
use crate::group::state::{JoinRequest, Joined, Leaving, SyncRequest, Synced};
use crate::topics::TopicImage;

pub mod embedded;

/// The only protocol type that such a group can take.
const CONSUMER: &str = "consumer";

impl ConsumerGroup {
    /// A JoinGroup request; answered at once.
    pub fn classic_join(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        request: JoinRequest,
    ) -> Result<Joined, GroupError> {
        let joined = self.try_classic_join(now, topics, request);
        self.check();
        joined
    }

    fn try_classic_join(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        request: JoinRequest,
    ) -> Result<Joined, GroupError> {
        let is_new = request.member_id.is_empty();
        let id = if is_new { request.new_member_id.clone() } else { request.member_id.clone() };
        self.check_room(&id)?;
        if !self.supports(&request) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let first = request.protocols.first().ok_or(GroupError::InconsistentGroupProtocol)?;
        let subscription = embedded::Subscription::read(&first.1).ok_or(GroupError::InconsistentGroupProtocol)?;
        if is_new && request.require_known_member_id {
            return Err(GroupError::MemberIdRequired { member_id: id });
        }
        let before = self.admit_classic(now, &id, request.instance_id.as_deref(), is_new)?;
        let mut member = before.clone();
        let owned = subscription.owned_ids(topics);
        let protocol_name = Some(first.0.clone());
        update(&mut member, request, subscription);
        let changed = self.put_metadata(&before, member);
        self.refresh(now, topics, changed);
        self.reconcile(now, topics, &id, Some(&owned), changed);
        let member = self.members.get_mut(&id).ok_or(GroupError::UnknownMemberId)?;
        member.session_deadline = after(now, member.session_timeout_ms(0));
        member.join_deadline = None;
        member.sync_deadline = Some(after(now, member.rebalance_timeout_ms));
        Ok(Joined {
            generation: Generation(member.epoch),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name,
            leader: String::new(),
            member_id: id,
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    /// There is a protocol that all classic members know.
    fn supports(&self, request: &JoinRequest) -> bool {
        let others: Vec<&ClassicMember> =
            self.members.values().filter(|m| m.id != request.member_id).filter_map(|m| m.classic.as_ref()).collect();
        request.protocol_type == CONSUMER
            && request
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|m| m.protocols.iter().any(|(other, _)| other == name)))
    }

    fn admit_classic(
        &mut self,
        now: Timestamp,
        id: &str,
        instance: Option<&str>,
        is_new: bool,
    ) -> Result<Member, GroupError> {
        let former = instance.and_then(|i| self.instances.get(i)).cloned();
        match former {
            Some(former) if former == id => {}
            // KIP-345: the newcomer takes over, whatever protocol its former self spoke.
            Some(former) if is_new => return Ok(self.replace(&former, id.to_owned())),
            Some(_) => return Err(GroupError::FencedInstanceId),
            None if instance.is_some() && !is_new => return Err(GroupError::UnknownMemberId),
            None => {}
        }
        Ok(self.members.get(id).cloned().unwrap_or_else(|| Member::new(id.to_owned(), now)))
    }

    fn classic_member(&mut self, id: &str, instance: Option<&str>) -> Result<&mut Member, GroupError> {
        self.any_member(id, instance)
            .and_then(|m| if m.classic.is_some() { Ok(m) } else { Err(GroupError::UnknownMemberId) })
    }

    fn any_member(&mut self, id: &str, instance: Option<&str>) -> Result<&mut Member, GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get_mut(id).ok_or(GroupError::UnknownMemberId)
    }

    /// A SyncGroup request: the member fetches what it owns in this epoch.
    pub fn classic_sync(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        request: &SyncRequest,
    ) -> Result<Synced, GroupError> {
        let epoch = self.epoch;
        let member = self.classic_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != Generation(member.epoch) {
            return Err(GroupError::IllegalGeneration);
        }
        let first = member.classic.as_ref().and_then(|c| c.protocols.first()).cloned();
        let (name, metadata) = first.ok_or(GroupError::UnknownMemberId)?;
        let other_type = request.protocol_type.as_deref().is_some_and(|t| t != CONSUMER);
        if other_type || request.protocol_name.as_ref().is_some_and(|n| *n != name) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            ask_to_rejoin(member, now);
            return Err(GroupError::RebalanceInProgress);
        }
        member.sync_deadline = None;
        member.session_deadline = after(now, member.session_timeout_ms(0));
        let assignment = embedded::assignment(&metadata, member.assigned.keys(), topics);
        Ok(Synced {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
        })
    }

    /// A Heartbeat request: the member is told to join again whenever that would change what it owns.
    pub fn classic_heartbeat(
        &mut self,
        now: Timestamp,
        id: &str,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        let (epoch, waits) = (self.epoch, self.waits_for_others(id));
        let member = self.classic_member(id, instance)?;
        if generation != Generation(member.epoch) {
            return Err(GroupError::IllegalGeneration);
        }
        member.session_deadline = after(now, member.session_timeout_ms(0));
        let moves = match member.state {
            MemberState::Stable => false,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !waits,
        };
        if moves || member.epoch < epoch {
            ask_to_rejoin(member, now);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// One result per leaving member.
    pub fn classic_leave(&mut self, now: Timestamp, leaving: &[Leaving]) -> Vec<Result<(), GroupError>> {
        let results = leaving.iter().map(|one| self.classic_leave_one(now, one)).collect();
        self.check();
        results
    }

    fn classic_leave_one(&mut self, now: Timestamp, leaving: &Leaving) -> Result<(), GroupError> {
        let id = match (&leaving.instance_id, leaving.member_id.as_str()) {
            // Administrators remove static members by their instance id alone.
            (Some(instance), "") => self.instances.get(instance).cloned().ok_or(GroupError::UnknownMemberId)?,
            (_, id) => id.to_owned(),
        };
        // Administrators remove members of either protocol this way.
        self.any_member(&id, leaving.instance_id.as_deref())?;
        self.fence(now, &id);
        Ok(())
    }
}

fn ask_to_rejoin(member: &mut Member, now: Timestamp) {
    let deadline = after(now, member.rebalance_timeout_ms);
    member.join_deadline.get_or_insert(deadline);
}

fn update(member: &mut Member, request: JoinRequest, subscription: embedded::Subscription) {
    if request.instance_id.is_some() {
        member.instance_id = request.instance_id;
    }
    if subscription.rack_id.is_some() {
        member.rack_id = subscription.rack_id;
    }
    member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    member.assignor = None;
    member.topics = subscription.topics.into_iter().collect();
    member.regex = None;
    member.client_id = request.client_id;
    member.client_host = request.client_host;
    member.revoke_deadline = None;
    member.classic =
        Some(ClassicMember { session_timeout_ms: request.session_timeout_ms, protocols: request.protocols });
}

/// Partitions of one member by topic name; those of deleted topics are left out.
fn by_name<'a>(
    partitions: impl Iterator<Item = &'a TopicPartition>,
    topics: &TopicImage,
) -> BTreeMap<String, BTreeSet<i32>> {
    let mut named: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        if let Some(name) = topics.name_of(*topic) {
            named.entry(name.to_owned()).or_default().insert(*partition);
        }
    }
    named
}
