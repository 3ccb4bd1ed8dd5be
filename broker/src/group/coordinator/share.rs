//! What members of share groups ask for, and groups that become theirs.
use std::sync::Arc;

use super::Coordinator;
use super::room::Kind;
use crate::group::share::{ShareGroup, ShareHeartbeat, ShareHeartbeatReply, ShareMember, ShareMemberEpoch};
use crate::group::state::{GroupError, Phase};
use crate::topics::TopicImage;

/// One share group as tools see it.
#[derive(Debug, Clone)]
pub struct ShareDescription {
    pub state: &'static str,
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub members: Vec<ShareMember>,
    /// Topics at that moment.
    pub topics: Arc<TopicImage>,
}

impl Coordinator {
    /// A heartbeat of a member of a share group; what it answers is durable.
    pub async fn share_heartbeat(
        &self,
        group: &str,
        request: ShareHeartbeat,
    ) -> Result<ShareHeartbeatReply, GroupError> {
        let joins = request.epoch == ShareMemberEpoch::Join;
        let (cell, created) = match self.find(group)? {
            Some(cell) => (cell, false),
            None if joins => (self.find_or_create(group)?, true),
            None => return Err(GroupError::GroupIdNotFound),
        };
        let (topics, timing) = (self.inner.topics(), self.inner.configs.share(group).timing);
        let max_size = self.inner.settings().share_max_size;
        let step = self.inner.durably(&cell, |now, entry, _| {
            let classic = match &mut entry.kind {
                Kind::Share(group) => return group.heartbeat(now, &topics, timing, request),
                Kind::Classic(group) => group,
                Kind::Consumer(_) => return Err(GroupError::OtherGroupType { wanted: "share" }),
            };
            // A name that somebody else uses, or has committed offsets under, is not taken over.
            let is_free = classic.phase() == Phase::Empty && !classic.has_pending() && !entry.has_record;
            if !joins || !is_free || !entry.offsets.is_empty() {
                return Err(GroupError::OtherGroupType { wanted: "share" });
            }
            // The group changes only if the newcomer is taken in.
            let mut group = ShareGroup::new(max_size, now);
            let reply = group.heartbeat(now, &topics, timing, request)?;
            entry.kind = Kind::Share(group);
            Ok(reply)
        });
        let reply = step.await;
        if created && reply.is_err() {
            self.forget_unused(&cell);
        }
        reply
    }

    /// A share group with its epochs and members.
    pub fn describe_share(&self, group: &str) -> Result<ShareDescription, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let entry = cell.entry.lock();
        let Kind::Share(group) = &entry.kind else { return Err(GroupError::OtherGroupType { wanted: "share" }) };
        Ok(ShareDescription {
            state: group.state(),
            epoch: group.epoch(),
            assignment_epoch: group.assignment_epoch(),
            members: group.members().cloned().collect(),
            topics: self.inner.topics(),
        })
    }

    /// Whether there is a share group of this name, and whether it has members.
    pub fn share_group(&self, group: &str) -> Result<ShareGroupNow, GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(ShareGroupNow::Unknown) };
        let entry = cell.entry.lock();
        Ok(match &entry.kind {
            Kind::Share(group) if group.empty_since().is_some() => ShareGroupNow::Empty,
            Kind::Share(_) => ShareGroupNow::Active,
            Kind::Classic(_) | Kind::Consumer(_) => ShareGroupNow::OtherType,
        })
    }
}

/// What a name stands for when offsets of a share group are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareGroupNow {
    Unknown,
    OtherType,
    Empty,
    Active,
}
