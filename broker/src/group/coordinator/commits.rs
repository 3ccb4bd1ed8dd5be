//! Committed offsets: made, looked up, deleted.
use bytes::Bytes;
use weir_protocol::ids::Generation;

use super::Coordinator;
use super::room::{Cell, Inner};
use crate::group::offsets::{CommittedOffset, PartitionName};
use crate::group::records::{self, Key};
use crate::group::state::{GroupError, Phase};

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
        let Committer { member_id, instance_id, generation } = committer;
        self.inner.with(&cell, |now, entry, _| {
            entry.group.check_commit(now, member_id, instance_id.as_deref(), *generation)
        })?;
        let max = self.inner.settings.offset_metadata_max_bytes;
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
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let verdicts: Vec<Result<(), GroupError>> = {
            let entry = cell.entry.lock();
            match entry.group.phase() {
                Phase::Dead => return Err(GroupError::GroupIdNotFound),
                Phase::Empty => vec![Ok(()); partitions.len()],
                _ if entry.group.protocol_type() != Some("consumer") => return Err(GroupError::NonEmptyGroup),
                _ => {
                    let subscribed: Vec<String> =
                        entry.group.members().flat_map(|m| subscribed_topics(&entry.group.subscription(m))).collect();
                    let verdict = |topic: &String| {
                        if subscribed.contains(topic) { Err(GroupError::GroupSubscribedToTopic) } else { Ok(()) }
                    };
                    partitions.iter().map(|(topic, _)| verdict(topic)).collect()
                }
            }
        };
        let gone = partitions.iter().zip(&verdicts).filter(|(_, v)| v.is_ok()).map(|(name, _)| (name.clone(), None));
        self.inner.write_offsets(&cell, gone.collect()).await?;
        Ok(verdicts)
    }

    /// A deleted topic takes its committed offsets with it.
    pub async fn on_topic_deleted(&self, topic: &str) {
        let cells: Vec<_> = self.inner.groups.read().values().cloned().collect();
        for cell in cells {
            let gone: Vec<_> = {
                let entry = cell.entry.lock();
                entry.offsets.iter().filter(|((t, _), _)| t == topic).map(|(name, _)| (name.clone(), None)).collect()
            };
            if !gone.is_empty()
                && let Err(error) = self.inner.write_offsets(&cell, gone).await
            {
                tracing::warn!(group = cell.name, topic, %error, "offsets of a deleted topic are left; they expire later");
            }
        }
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

/// Topics in a consumer protocol subscription: version i16, then an array of strings. Anything else has none.
fn subscribed_topics(subscription: &Bytes) -> Vec<String> {
    let bytes = &subscription[..];
    let mut topics = Vec::new();
    let read = |at: usize, n: usize| bytes.get(at..at + n);
    let Some(count) = read(2, 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]])) else { return topics };
    let mut at = 6;
    for _ in 0..count.max(0) {
        let Some(length) = read(at, 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]]))) else { return topics };
        let Some(name) = read(at + 2, length) else { return topics };
        topics.push(String::from_utf8_lossy(name).into_owned());
        at += 2 + length;
    }
    topics
}
