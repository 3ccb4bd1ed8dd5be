//! What members of the classic protocol ask for, in groups of any kind.
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use weir_protocol::ids::Generation;

use super::Coordinator;
use super::room::Kind;
use crate::group::state::{Group, GroupError, JoinRequest, Joined, Leaving, SyncRequest, Synced};

/// An answer that is known, or the promise of one.
enum Answer<T> {
    Now(T),
    Later,
}

impl Coordinator {
    pub async fn join(&self, group: &str, request: JoinRequest) -> Result<Joined, GroupError> {
        let first = request.member_id.is_empty();
        let cell = match self.find(group)? {
            Some(cell) => cell,
            None if first => self.find_or_create(group)?,
            None => return Err(no_member(group)),
        };
        let token = self.inner.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let (settings, topics) = (self.inner.settings(), self.inner.topics());
        let limits = &settings.limits;
        let step = self.inner.durably(&cell, |now, entry, effects| {
            if let Kind::Consumer(group) = &mut entry.kind {
                if group.empty_since().is_none() {
                    limits.check_session_timeout(request.session_timeout_ms)?;
                    return group.classic_join(now, &topics, request).map(Answer::Now);
                }
                entry.become_classic(&cell.name, Group::new(limits.clone(), now));
            }
            if matches!(entry.kind, Kind::Share(_)) {
                return Err(GroupError::InconsistentGroupProtocol);
            }
            if let Kind::Classic(group) = &mut entry.kind {
                entry.joins.insert(token, reply);
                group.join(now, token, request, effects);
            }
            Ok(Answer::Later)
        });
        match step.await? {
            Answer::Now(joined) => Ok(joined),
            Answer::Later => answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable)),
        }
    }

    pub async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, GroupError> {
        let cell = self.find(group)?.ok_or_else(|| no_member(group))?;
        let token = self.inner.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let topics = self.inner.topics();
        let step = self.inner.durably(&cell, |now, entry, effects| match &mut entry.kind {
            Kind::Consumer(group) => group.classic_sync(now, &topics, &request).map(Answer::Now),
            Kind::Classic(group) => {
                entry.syncs.insert(token, reply);
                group.sync(now, token, request, effects);
                Ok(Answer::Later)
            }
            Kind::Share(_) => Err(GroupError::UnknownMemberId),
        });
        match step.await? {
            Answer::Now(synced) => Ok(synced),
            Answer::Later => answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable)),
        }
    }

    pub fn heartbeat(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        let cell = self.find(group)?.ok_or_else(|| no_member(group))?;
        self.inner.with(&cell, |now, entry, _| match &mut entry.kind {
            Kind::Classic(group) => group.heartbeat(now, member_id, instance_id, generation),
            Kind::Consumer(group) => group.classic_heartbeat(now, member_id, instance_id, generation),
            Kind::Share(_) => Err(GroupError::UnknownMemberId),
        })
    }

    /// One result per member, in order.
    pub async fn leave(&self, group: &str, members: &[Leaving]) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = self.find(group)?.ok_or_else(|| no_member(group))?;
        let step = self.inner.durably(&cell, |now, entry, effects| match &mut entry.kind {
            Kind::Classic(group) => Ok(group.leave(now, members, effects)),
            Kind::Consumer(group) => Ok(group.classic_leave(now, members)),
            Kind::Share(_) => Err(GroupError::UnknownMemberId),
        });
        step.await
    }
}

/// What a member of a group is told that does not exist.
fn no_member(group: &str) -> GroupError {
    if group.is_empty() { GroupError::InvalidGroupId } else { GroupError::UnknownMemberId }
}
