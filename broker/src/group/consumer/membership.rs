//! Who is a member: admission with the checks of epochs and instance ids, replacement of static members, leaving.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::Timestamp;

use super::{
    ConsumerGroup, HeartbeatReply, HeartbeatRequest, Member, MemberEpoch, MemberState, RecordKey, Timing,
    TopicPartition,
};
use crate::group::GroupError;

impl ConsumerGroup {
    /// The member that this heartbeat comes from as it was before, or as a new one would begin.
    pub(super) fn admit(&mut self, now: Timestamp, request: &HeartbeatRequest) -> Result<Member, GroupError> {
        let joins = request.epoch == MemberEpoch::Join;
        if let Some(instance) = &request.instance_id {
            return self.admit_static(now, request, instance);
        }
        self.check_room(&request.member_id)?;
        match self.members.get(&request.member_id) {
            Some(member) => check_epoch(member, request).map(|()| member.clone()),
            None if joins => Ok(Member::new(request.member_id.clone(), now)),
            None => Err(GroupError::UnknownMemberId),
        }
    }

    fn admit_static(
        &mut self,
        now: Timestamp,
        request: &HeartbeatRequest,
        instance: &str,
    ) -> Result<Member, GroupError> {
        let former = self.instances.get(instance).cloned();
        match former {
            Some(former) if former == request.member_id => {
                let member = self.members.get(&former).ok_or(GroupError::UnknownMemberId)?;
                if member.away && request.epoch != MemberEpoch::Join {
                    let got = if let MemberEpoch::Current(epoch) = request.epoch { epoch } else { 0 };
                    return Err(GroupError::FencedMemberEpoch { got, known: LEFT_FOR_NOW });
                }
                check_epoch(member, request)?;
                let mut member = member.clone();
                if member.away {
                    member.away = false;
                    member.epoch = 0;
                    member.previous_epoch = 0;
                }
                Ok(member)
            }
            Some(former) if request.epoch == MemberEpoch::Join => {
                let old = self.members.get(&former).ok_or(GroupError::UnknownMemberId)?;
                // Of two members of the consumer protocol the newcomer has to wait until the other has said that it goes.
                if old.classic.is_none() && !old.away {
                    return Err(GroupError::UnreleasedInstanceId);
                }
                Ok(self.replace(&former, request.member_id.clone()))
            }
            Some(_) => Err(GroupError::FencedInstanceId),
            None if request.epoch == MemberEpoch::Join => {
                self.check_room(&request.member_id)?;
                match self.members.get(&request.member_id) {
                    Some(member) => Ok(member.clone()),
                    None => Ok(Member::new(request.member_id.clone(), now)),
                }
            }
            None => Err(GroupError::UnknownMemberId),
        }
    }

    pub(super) fn check_room(&self, id: &str) -> Result<(), GroupError> {
        let full = self.members.len() >= self.limits.max_size && !self.members.contains_key(id);
        if full { Err(GroupError::GroupMaxSizeReached) } else { Ok(()) }
    }

    /// Puts `new` in the place of a static member's former self: same subscription, same partitions, epoch 0.
    pub(super) fn replace(&mut self, old: &str, new: String) -> Member {
        let Some(mut member) = self.take_out(old) else { return Member::new(new, Timestamp(0)) };
        let target = self.target.remove(old).unwrap_or_default();
        member.id.clone_from(&new);
        member.epoch = 0;
        member.previous_epoch = 0;
        member.away = false;
        member.state = MemberState::Stable;
        member.revoking = BTreeMap::new();
        member.revoke_deadline = None;
        member.join_deadline = None;
        member.sync_deadline = None;
        for partition in member.assigned.keys() {
            self.owners.insert(*partition, new.clone());
        }
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), new.clone());
        }
        for key in [RecordKey::Member(new.clone()), RecordKey::Target(new.clone()), RecordKey::Current(new.clone())] {
            self.dirty.insert(key);
        }
        self.target.insert(new.clone(), target);
        self.members.insert(new, member.clone());
        member
    }

    /// Removes a member with its partitions; its records become tombstones.
    pub(super) fn take_out(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        for partition in member.holds() {
            if self.owners.get(&partition).is_some_and(|owner| owner == id) {
                self.owners.remove(&partition);
            }
        }
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance).is_some_and(|m| m == id)
        {
            self.instances.remove(instance);
        }
        for key in
            [RecordKey::Member(id.to_owned()), RecordKey::Target(id.to_owned()), RecordKey::Current(id.to_owned())]
        {
            self.dirty.insert(key);
        }
        Some(member)
    }

    /// Removes a member; the next heartbeat of another one assigns its partitions.
    pub(super) fn fence(&mut self, now: Timestamp, id: &str) {
        if self.take_out(id).is_none() {
            return;
        }
        self.target.remove(id);
        self.forget_unused_regexes();
        if self.members.is_empty() {
            self.empty_since = now;
        }
        self.bump_epoch();
    }

    pub(super) fn leave(
        &mut self,
        now: Timestamp,
        timing: Timing,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatReply, GroupError> {
        let id = match &request.instance_id {
            None => request.member_id.clone(),
            Some(instance) => {
                let current = self.instances.get(instance).ok_or(GroupError::UnknownMemberId)?;
                if *current != request.member_id {
                    return Err(GroupError::FencedInstanceId);
                }
                current.clone()
            }
        };
        let member = self.members.get_mut(&id).ok_or(GroupError::UnknownMemberId)?;
        let for_now = request.epoch == MemberEpoch::LeaveForNow && request.instance_id.is_some();
        if for_now {
            member.away = true;
            member.state = MemberState::Stable;
            member.revoke_deadline = None;
            member.session_deadline = super::after(now, member.session_timeout_ms(timing.session_timeout_ms));
            // It has stopped reading: what it was to give up is free.
            for partition in std::mem::take(&mut member.revoking).into_keys() {
                self.owners.remove(&partition);
            }
            self.dirty.insert(RecordKey::Current(id.clone()));
        } else {
            self.fence(now, &id);
        }
        let epoch = if for_now { LEFT_FOR_NOW } else { LEFT };
        Ok(HeartbeatReply { member_id: id, epoch, heartbeat_interval_ms: 0, assignment: None })
    }
}

/// How Kafka writes that a member has left.
pub(super) const LEFT: i32 = -1;
/// How Kafka writes that a static member has left and is awaited.
pub(super) const LEFT_FOR_NOW: i32 = -2;

/// A member in an older epoch is out, unless it cannot know the newer one yet.
fn check_epoch(member: &Member, request: &HeartbeatRequest) -> Result<(), GroupError> {
    let MemberEpoch::Current(epoch) = request.epoch else { return Ok(()) };
    let is_subset = |owned: &Option<BTreeSet<TopicPartition>>| {
        owned.as_ref().is_some_and(|owned| owned.iter().all(|p| member.assigned.contains_key(p)))
    };
    if epoch == member.epoch || (epoch == member.previous_epoch && epoch < member.epoch && is_subset(&request.owned)) {
        Ok(())
    } else {
        Err(GroupError::FencedMemberEpoch { got: epoch, known: member.epoch })
    }
}
