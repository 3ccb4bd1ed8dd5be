//! What members of classic groups ask for.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use weir_protocol::ids::Generation;

use super::Coordinator;
use super::room::{Cell, Inner};
use crate::group::records::{self, Key};
use crate::group::state::{GroupError, JoinRequest, Joined, Leaving, StoredGroup, SyncRequest, Synced};

impl Coordinator {
    pub async fn join(&self, group: &str, request: JoinRequest) -> Result<Joined, GroupError> {
        let first = request.member_id.is_empty();
        let cell = match self.find(group)? {
            Some(cell) => cell,
            None if first => self.find_or_create(group)?,
            None if group.is_empty() => return Err(GroupError::InvalidGroupId),
            None => return Err(GroupError::UnknownMemberId),
        };
        let token = self.inner.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.inner.with(&cell, |now, entry, effects| {
            entry.joins.insert(token, reply);
            entry.group.join(now, token, request, effects);
        });
        answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    pub async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::UnknownMemberId)?;
        let token = self.inner.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.inner.with(&cell, |now, entry, effects| {
            entry.syncs.insert(token, reply);
            entry.group.sync(now, token, request, effects);
        });
        answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    pub fn heartbeat(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::UnknownMemberId)?;
        self.inner.with(&cell, |now, entry, _| entry.group.heartbeat(now, member_id, instance_id, generation))
    }

    /// One result per member, in order.
    pub fn leave(&self, group: &str, members: &[Leaving]) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::UnknownMemberId)?;
        Ok(self.inner.with(&cell, |now, entry, effects| entry.group.leave(now, members, effects)))
    }
}

pub(super) async fn persist_group(inner: Arc<Inner>, cell: Arc<Cell>, generation: Generation, stored: StoredGroup) {
    let key = records::encode_key(&Key::Group { group: cell.name.clone() });
    let written = inner.append(cell.partition, vec![(key, Some(records::encode_group(&stored)))]).await;
    inner.with(&cell, |now, entry, effects| entry.group.persisted(now, generation, written.is_ok(), effects));
}
