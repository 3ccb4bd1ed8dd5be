//! What members of the consumer protocol ask for, and groups that become theirs.
use std::sync::Arc;

use weir_protocol::ids::Timestamp;

use super::Coordinator;
use super::room::{Cell, Entry, Inner, Kind};
use crate::group::consumer::{ConsumerGroup, HeartbeatReply, HeartbeatRequest, MemberEpoch, Timing};
use crate::group::state::{Effect, GroupError, Phase};
use crate::topics::TopicImage;

/// What a step of a group is told of the world.
struct Now {
    at: Timestamp,
    topics: Arc<TopicImage>,
    timing: Timing,
}

impl Coordinator {
    /// A heartbeat of the consumer protocol; what it answers is durable.
    pub async fn consumer_heartbeat(
        &self,
        group: &str,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatReply, GroupError> {
        let joins = request.epoch == MemberEpoch::Join;
        let (cell, created) = match self.find(group)? {
            Some(cell) => (cell, false),
            None if joins => (self.find_or_create(group)?, true),
            None => return Err(GroupError::GroupIdNotFound),
        };
        let (topics, timing) = (self.inner.topics(), self.inner.configs.timing(group));
        let reply = self
            .inner
            .durably(&cell, |at, entry, effects| {
                self.inner.beat(&cell, entry, effects, &Now { at, topics, timing }, request)
            })
            .await;
        if created && reply.is_err() {
            self.forget_unused(&cell);
        }
        reply
    }

    /// A group that was made for a request that failed has never been.
    pub(super) fn forget_unused(&self, cell: &Arc<Cell>) {
        let mut groups = self.inner.groups.write();
        let entry = cell.entry.lock();
        let unused =
            matches!(&entry.kind, Kind::Classic(group) if group.phase() == Phase::Empty && !group.has_pending());
        if unused && !entry.has_record && !entry.writing && entry.offsets.is_empty() {
            groups.remove(&cell.name);
        }
    }
}

impl Inner {
    fn beat(
        &self,
        cell: &Cell,
        entry: &mut Entry,
        effects: &mut Vec<Effect>,
        world: &Now,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatReply, GroupError> {
        let Now { at, topics, timing } = world;
        let classic = match &mut entry.kind {
            Kind::Consumer(group) => return group.heartbeat(*at, topics, *timing, request),
            Kind::Share(_) => return Err(GroupError::OtherGroupType { wanted: "consumer" }),
            Kind::Classic(_) if request.epoch != MemberEpoch::Join => {
                return Err(GroupError::OtherGroupType { wanted: "consumer" });
            }
            Kind::Classic(group) => group,
        };
        // The group changes only if the newcomer is taken in.
        let limits = self.settings().consumer.clone();
        let mut group = match classic.phase() {
            Phase::Dead => return Err(GroupError::CoordinatorNotAvailable),
            Phase::Empty if !classic.has_pending() => ConsumerGroup::new(limits, *at),
            _ => ConsumerGroup::of_classic(limits, classic, topics, *at)?,
        };
        let reply = group.heartbeat(*at, topics, *timing, request)?;
        if classic.phase() != Phase::Empty {
            tracing::info!(
                group = cell.name,
                members = group.members().count() - 1,
                "classic group becomes a consumer group"
            );
        }
        classic.turn_away(effects);
        entry.become_consumer(&cell.name, group);
        Ok(reply)
    }
}
