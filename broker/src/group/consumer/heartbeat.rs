//! A heartbeat: the member comes or changes, the group assigns if something has changed, the member is reconciled.
use weir_protocol::ids::Timestamp;

use super::{
    AssignorKind, ConsumerGroup, HeartbeatReply, HeartbeatRequest, Member, MemberEpoch, MemberState, RecordKey, Timing,
    after, subscription,
};
use crate::group::GroupError;
use crate::topics::TopicImage;

impl ConsumerGroup {
    /// Answers a heartbeat of a member of the consumer protocol.
    pub fn heartbeat(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        timing: Timing,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatReply, GroupError> {
        let reply = match request.epoch {
            MemberEpoch::Leave | MemberEpoch::LeaveForNow => self.leave(now, timing, &request),
            MemberEpoch::Join | MemberEpoch::Current(_) => self.beat(now, topics, timing, request),
        };
        self.check();
        reply
    }

    fn beat(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        timing: Timing,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatReply, GroupError> {
        let assignor = self.known_assignor(request.assignor.as_deref())?;
        if let Some(pattern) = request.regex.as_ref().filter(|p| !p.is_empty() && !self.regexes.contains_key(*p)) {
            subscription::compile(pattern)?;
        }
        // Nothing is changed before the last check has passed.
        let before = self.admit(now, &request)?;
        let mut member = before.clone();
        update(&mut member, &request, assignor);
        let full = request.epoch == MemberEpoch::Join
            || (request.rebalance_timeout_ms.is_some() && request.topics.is_some() && request.owned.is_some());
        let changed = self.put_metadata(&before, member);
        self.refresh(now, topics, changed);
        let id = before.id.clone();
        self.reconcile(now, topics, &id, request.owned.as_ref(), changed);
        let members = self.members.len();
        let handing_over = self.epoch > self.assignment_epoch || self.hands_over(&id);
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMemberId) };
        member.session_deadline = after(now, timing.session_timeout_ms);
        let changed = member.assigned.keys().ne(before.assigned.keys());
        Ok(HeartbeatReply {
            member_id: id,
            epoch: member.epoch,
            heartbeat_interval_ms: timing.interval(members, handing_over),
            assignment: (full || changed).then(|| member.assigned.keys().copied().collect()),
        })
    }

    fn known_assignor(&self, name: Option<&str>) -> Result<Option<AssignorKind>, GroupError> {
        let Some(name) = name else { return Ok(None) };
        let known = self.limits.assignors.iter().copied().find(|kind| kind.name() == name);
        match known {
            Some(kind) => Ok(Some(kind)),
            None => {
                let supported: Vec<&str> = self.limits.assignors.iter().map(|kind| kind.name()).collect();
                Err(GroupError::UnsupportedAssignor { name: name.to_owned(), supported: supported.join(", ") })
            }
        }
    }

    /// Whether the member waits for partitions or others wait for its.
    fn hands_over(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|m| m.state != MemberState::Stable)
    }

    /// Stores the member as it is now; true if its subscription is another one than before.
    pub(super) fn put_metadata(&mut self, before: &Member, member: Member) -> bool {
        let id = member.id.clone();
        let is_new = !self.members.contains_key(&id);
        let changed = is_new || member.topics != before.topics || member.regex != before.regex;
        if is_new || !member.same_metadata(before) {
            self.dirty.insert(RecordKey::Member(id.clone()));
        }
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
        changed
    }

    /// Holds the group against its topics if they or a subscription changed, and assigns if that changes anything.
    pub(super) fn refresh(&mut self, now: Timestamp, topics: &TopicImage, subscription_changed: bool) {
        let mut bump = subscription_changed;
        if bump || self.topics_seen != Some(topics.version) {
            self.resolve_regexes(now, topics);
            let hash = self.hash_of_topics(topics);
            if hash != self.metadata_hash {
                self.metadata_hash = hash;
                bump = true;
            }
            self.topics_seen = Some(topics.version);
        }
        if bump {
            self.bump_epoch();
        }
        if self.epoch > self.assignment_epoch {
            self.assign(topics);
        }
    }

    pub(super) fn bump_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.dirty.insert(RecordKey::Group);
    }
}

fn update(member: &mut Member, request: &HeartbeatRequest, assignor: Option<AssignorKind>) {
    if request.instance_id.is_some() {
        member.instance_id.clone_from(&request.instance_id);
    }
    if request.rack_id.is_some() {
        member.rack_id.clone_from(&request.rack_id);
    }
    if let Some(ms) = request.rebalance_timeout_ms {
        member.rebalance_timeout_ms = ms;
    }
    if assignor.is_some() {
        member.assignor = assignor;
    }
    if let Some(topics) = &request.topics {
        member.topics = topics.iter().cloned().collect();
    }
    if let Some(regex) = &request.regex {
        member.regex = Some(regex.clone()).filter(|r| !r.is_empty());
    }
    member.client_id.clone_from(&request.client_id);
    member.client_host.clone_from(&request.client_host);
    member.classic = None;
    member.join_deadline = None;
    member.sync_deadline = None;
}
