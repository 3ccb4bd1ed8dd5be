//! Committed offsets: made, looked up, deleted.
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir_protocol::ids::{Generation, Timestamp, TopicId};

use super::Coordinator;
use super::room::{Cell, Entry, Inner, Kind, LOADING};
use crate::group::consumer::{TopicPartition, embedded};
use crate::group::offsets::{CommittedOffset, PartitionName};
use crate::group::records::{self, Key};
use crate::group::state::{GroupError, Phase};
use crate::topics::{CommittedOffsets, TopicImage};

/// How long the deletion of offsets waits for groups that are being loaded, and how often it looks.
const LOAD_PATIENCE: Duration = Duration::from_secs(30);
const LOAD_CHECK: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committer {
    pub member_id: String,
    pub instance_id: Option<String>,
    /// < 0: a consumer that assigns its partitions itself.
    pub generation: Generation,
}

impl Coordinator {
    /// Commits offsets: one result per offset, in order. Durable when it returns.
    pub async fn commit(
        &self,
        group: &str,
        committer: &Committer,
        offsets: Vec<(PartitionName, CommittedOffset)>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = match self.find(group)? {
            Some(cell) => cell,
            None if committer.generation.0 < 0 => self.find_or_create(group)?,
            None => return Err(GroupError::IllegalGeneration),
        };
        let names: Vec<PartitionName> = offsets.iter().map(|(name, _)| name.clone()).collect();
        let topics = self.inner.topics();
        self.inner.with(&cell, |now, entry, _| entry.check_commit(now, &topics, committer, &names))?;
        let max = self.inner.settings().offset_metadata_max_bytes;
        let verdicts: Vec<Result<(), GroupError>> = offsets
            .iter()
            .map(|(_, c)| if c.metadata.len() > max { Err(GroupError::OffsetMetadataTooLarge) } else { Ok(()) })
            .collect();
        let accepted: Vec<_> = offsets
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_ok())
            .map(|((name, committed), _)| (name, Some(committed)))
            .collect();
        self.inner.write_offsets(&cell, accepted).await?;
        Ok(verdicts)
    }

    /// The committed offset of one partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Result<Option<CommittedOffset>, GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(None) };
        let entry = cell.entry.lock();
        Ok(entry.offsets.get(topic, partition).cloned())
    }

    /// Everything the group committed.
    pub fn all_committed(&self, group: &str) -> Result<Vec<(PartitionName, CommittedOffset)>, GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(Vec::new()) };
        let entry = cell.entry.lock();
        Ok(entry.offsets.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Deletes committed offsets; one result per partition. Refused for topics that a member is subscribed to.
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[PartitionName],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let verdicts: Vec<Result<(), GroupError>> = {
            let entry = cell.entry.lock();
            let refused = |topic: &str| match &entry.kind {
                Kind::Consumer(group) => group.is_subscribed_to(topic),
                Kind::Share(_) => false,
                Kind::Classic(group) => {
                    group.members().any(|m| subscribed_topics(&group.subscription(m)).iter().any(|t| t == topic))
                }
            };
            if matches!(entry.kind, Kind::Share(_)) {
                return Err(GroupError::GroupIdNotFound);
            }
            if let Kind::Classic(group) = &entry.kind {
                match group.phase() {
                    Phase::Dead => return Err(GroupError::GroupIdNotFound),
                    Phase::Empty => {}
                    _ if group.protocol_type() != Some("consumer") => return Err(GroupError::NonEmptyGroup),
                    _ => {}
                }
            }
            let verdict = |topic: &str| if refused(topic) { Err(GroupError::GroupSubscribedToTopic) } else { Ok(()) };
            partitions.iter().map(|(topic, _)| verdict(topic)).collect()
        };
        let gone = partitions.iter().zip(&verdicts).filter(|(_, v)| v.is_ok()).map(|(name, _)| (name.clone(), None));
        self.inner.write_offsets(&cell, gone.collect()).await?;
        Ok(verdicts)
    }

    /// A deleted topic takes its committed offsets with it. Waits for groups that are being loaded; those that cannot be
    /// loaded are left out, nobody can be told their offsets.
    async fn forget_topic(&self, topic: &str) -> Result<(), String> {
        let loading = || self.inner.loaded.iter().any(|p| p.load(Ordering::Acquire) == LOADING);
        let deadline = tokio::time::Instant::now() + LOAD_PATIENCE;
        while loading() {
            if tokio::time::Instant::now() > deadline {
                return Err("the groups are being loaded".to_owned());
            }
            tokio::time::sleep(LOAD_CHECK).await;
        }
        let cells: Vec<_> = self.inner.groups.read().values().cloned().collect();
        for cell in cells {
            let gone: Vec<_> = {
                let entry = cell.entry.lock();
                entry.offsets.iter().filter(|((t, _), _)| t == topic).map(|(name, _)| (name.clone(), None)).collect()
            };
            self.inner.write_offsets(&cell, gone).await.map_err(|error| format!("group {}: {error}", cell.name))?;
        }
        Ok(())
    }
}

#[async_trait]
impl CommittedOffsets for Coordinator {
    async fn forget(&self, topic: &str) -> Result<(), String> {
        self.forget_topic(topic).await
    }
}

impl Inner {
    pub(super) async fn write_offsets(
        &self,
        cell: &Cell,
        offsets: Vec<(PartitionName, Option<CommittedOffset>)>,
    ) -> Result<(), GroupError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let records = offsets
            .iter()
            .map(|((topic, partition), committed)| {
                (offset_key(&cell.name, topic, *partition), committed.as_ref().map(records::encode_offset))
            })
            .collect();
        let first = self.append(cell.partition, records).await?;
        let mut entry = cell.entry.lock();
        for (i, (name, committed)) in offsets.into_iter().enumerate() {
            entry.offsets.apply(name, committed, first + i as i64);
        }
        Ok(())
    }
}

pub(super) fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    records::encode_key(&Key::Offset { group: group.to_owned(), topic: topic.to_owned(), partition })
}

/// Topics in a consumer protocol subscription. Anything else has none.
fn subscribed_topics(subscription: &Bytes) -> Vec<String> {
    embedded::Subscription::read(subscription).map(|s| s.topics).unwrap_or_default()
}

/// Partitions by topic id. A topic that is gone is owned by nobody: its partitions get a number that no member has.
fn known<'a>(topics: &'a TopicImage, partitions: &'a [PartitionName]) -> impl Iterator<Item = TopicPartition> + 'a {
    partitions.iter().map(|(topic, partition)| match topics.get(topic) {
        Some((id, _)) => (id, *partition),
        None => (TopicId(uuid::Uuid::nil()), -1),
    })
}

impl Entry {
    /// Whether these offsets may be committed by whom they come from.
    pub(super) fn check_commit(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        committer: &Committer,
        partitions: &[PartitionName],
    ) -> Result<(), GroupError> {
        let Committer { member_id, instance_id, generation } = committer;
        match &mut self.kind {
            Kind::Classic(group) => group.check_commit(now, member_id, instance_id.as_deref(), *generation),
            Kind::Consumer(group) => group.check_commit(member_id, generation.0, known(topics, partitions)),
            Kind::Share(_) => Err(GroupError::GroupIdNotFound),
        }
    }

    /// The same for offsets that a transaction commits; a producer need not tell which member it works for.
    pub(super) fn check_transactional_commit(
        &mut self,
        now: Timestamp,
        topics: &TopicImage,
        committer: &Committer,
        partitions: &[PartitionName],
    ) -> Result<(), GroupError> {
        let Committer { member_id, instance_id, generation } = committer;
        match &mut self.kind {
            Kind::Classic(group) => {
                group.check_transactional_commit(now, member_id, instance_id.as_deref(), *generation)
            }
            Kind::Share(_) => Err(GroupError::GroupIdNotFound),
            Kind::Consumer(_) if generation.0 == -1 && member_id.is_empty() && instance_id.is_none() => Ok(()),
            Kind::Consumer(group) => {
                let verdict = group.check_commit(member_id, generation.0, known(topics, partitions));
                // Producers know this error and not the other.
                verdict.map_err(|e| if e == GroupError::StaleMemberEpoch { GroupError::IllegalGeneration } else { e })
            }
        }
    }
}

impl Coordinator {
    /// Members of the consumer protocol name their epoch, which only OffsetCommit 9 and later can carry.
    pub fn refuse_old_commit(&self, group: &str, member_id: &str) -> Result<(), GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(()) };
        let entry = cell.entry.lock();
        let newer = match &entry.kind {
            Kind::Classic(_) | Kind::Share(_) => false,
            Kind::Consumer(group) => group.members().any(|m| m.id == member_id && m.classic.is_none()),
        };
        if newer { Err(GroupError::UnsupportedVersion { since: 9 }) } else { Ok(()) }
    }

    /// Whether a member may look up offsets in the epoch it names. Members of classic groups may always.
    pub fn check_fetch(&self, group: &str, member_id: Option<&str>, epoch: i32) -> Result<(), GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(()) };
        let entry = cell.entry.lock();
        match &entry.kind {
            Kind::Classic(_) => Ok(()),
            Kind::Share(_) => Err(GroupError::GroupIdNotFound),
            Kind::Consumer(group) => group.check_fetch(member_id, epoch),
        }
    }
}
