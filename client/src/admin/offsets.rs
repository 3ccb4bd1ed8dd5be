//! Offsets: where partitions begin and end, what a group has committed, deleting records before an offset.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    DeleteRecordsRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};

use super::{Admin, wire_text};
use crate::connection::retrying;
use crate::error::{ClientError, Result};

/// Which records a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything durable.
    #[default]
    ReadUncommitted,
    /// Nothing of open or aborted transactions.
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn wire(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first that still exists.
    Earliest,
    /// The next to be written.
    Latest,
    /// That of the record with the largest timestamp.
    MaxTimestamp,
    /// That of the first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

impl OffsetQuery {
    fn wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::MaxTimestamp => -3,
            // Negative numbers are taken by the questions above; no record is that old.
            Self::Timestamp(milliseconds) => milliseconds.max(0),
        }
    }
}

/// The answer for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; none if no record matches.
    pub offset: Option<i64>,
    /// Timestamp of that record, where one was looked for.
    pub timestamp_ms: Option<i64>,
}

/// An offset to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the leader the last read record came from, if known.
    pub leader_epoch: Option<i32>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch it was committed with, if any.
    pub leader_epoch: Option<i32>,
    /// Free text that the committer left.
    pub metadata: String,
}

type Partition = (String, i32);

impl Admin {
    /// Asks each partition's leader for an offset.
    pub async fn list_offsets(
        &self,
        queries: &BTreeMap<Partition, OffsetQuery>,
        isolation: Isolation,
    ) -> Result<BTreeMap<Partition, ListedOffset>> {
        retrying(self.client.config(), || self.list_offsets_once(queries, isolation)).await
    }

    async fn list_offsets_once(
        &self,
        queries: &BTreeMap<Partition, OffsetQuery>,
        isolation: Isolation,
    ) -> Result<BTreeMap<Partition, ListedOffset>> {
        let mut offsets = BTreeMap::new();
        for (leader, topics) in self.client.by_leader(queries.keys().cloned()).await? {
            let connection = self.client.broker(leader).await?;
            let asked = topics.iter().map(|(topic, partitions)| {
                let partitions = partitions.iter().map(|&partition| {
                    let query = queries.get(&(topic.clone(), partition)).copied().unwrap_or(OffsetQuery::Latest);
                    ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(query.wire())
                });
                ListOffsetsTopic::default().with_name(TopicName(wire_text(topic))).with_partitions(partitions.collect())
            });
            let asked: Vec<_> = asked.collect();
            let response = connection
                .call(|version| {
                    ListOffsetsRequest::default()
                        .with_replica_id((-1).into())
                        .with_isolation_level(if version >= 2 { isolation.wire() } else { 0 })
                        .with_timeout_ms(self.operation_timeout_ms())
                        .with_topics(asked)
                })
                .await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let subject = format!("{}-{}", &*topic.name, partition.partition_index);
                    let checked = connection.check::<ListOffsetsRequest>(&subject, partition.error_code, None);
                    if checked.as_ref().is_err_and(ClientError::is_stale_metadata) {
                        self.client.forget_topic(&topic.name);
                    }
                    checked?;
                    let listed = ListedOffset {
                        offset: (partition.offset >= 0).then_some(partition.offset),
                        timestamp_ms: (partition.timestamp >= 0).then_some(partition.timestamp),
                    };
                    offsets.insert((topic.name.to_string(), partition.partition_index), listed);
                }
            }
        }
        Ok(offsets)
    }

    /// The same question for all partitions of a topic, by partition number.
    pub async fn topic_offsets(&self, topic: &str, query: OffsetQuery) -> Result<BTreeMap<i32, ListedOffset>> {
        let info = self.client.topic_info(topic, crate::cluster::AutoCreate::Forbidden).await?;
        let queries = info.partitions.iter().map(|partition| ((topic.to_owned(), partition.id), query)).collect();
        let listed = self.list_offsets(&queries, Isolation::ReadUncommitted).await?;
        Ok(listed.into_iter().map(|((_, partition), offset)| (partition, offset)).collect())
    }

    /// Everything a group has committed.
    pub async fn group_offsets(&self, group: &str) -> Result<BTreeMap<Partition, CommittedOffset>> {
        let (response, connection) = self
            .client
            .call_coordinator(
                group,
                |version| match version {
                    ..8 => OffsetFetchRequest::default().with_group_id(GroupId(wire_text(group))).with_topics(None),
                    _ => OffsetFetchRequest::default()
                        .with_groups(vec![
                            OffsetFetchRequestGroup::default()
                                .with_group_id(GroupId(wire_text(group)))
                                .with_topics(None),
                        ])
                        .with_topics(Some(Vec::new())),
                },
                |response| response.groups.first().map_or(response.error_code, |group| group.error_code),
            )
            .await?;
        let code = response.groups.first().map_or(response.error_code, |group| group.error_code);
        connection.check::<OffsetFetchRequest>(&format!("group `{group}`"), code, None)?;
        let mut offsets = BTreeMap::new();
        for answer in committed(&response) {
            let subject = format!("{}-{} of group `{group}`", answer.topic, answer.partition);
            connection.check::<OffsetFetchRequest>(&subject, answer.code, None)?;
            if answer.offset >= 0 {
                let committed = CommittedOffset {
                    offset: answer.offset,
                    leader_epoch: (answer.leader_epoch >= 0).then_some(answer.leader_epoch),
                    metadata: answer.metadata.to_owned(),
                };
                offsets.insert((answer.topic.to_owned(), answer.partition), committed);
            }
        }
        Ok(offsets)
    }

    /// Commits offsets for a group that has no members.
    pub async fn set_group_offsets(&self, group: &str, offsets: &BTreeMap<Partition, PartitionOffset>) -> Result<()> {
        let (response, connection) = self
            .client
            .call_coordinator(
                group,
                |_| {
                    OffsetCommitRequest::default()
                        .with_group_id(GroupId(wire_text(group)))
                        .with_generation_id_or_member_epoch(-1)
                        .with_topics(commit_topics(offsets))
                },
                first_commit_error,
            )
            .await?;
        check_commit(&connection, group, &response)
    }

    /// Forgets committed offsets of a group for whole partitions that no member reads.
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[Partition]) -> Result<()> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition) in partitions {
            let entry = OffsetDeleteRequestPartition::default().with_partition_index(*partition);
            topics.entry(topic).or_default().push(entry);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetDeleteRequestTopic::default().with_name(TopicName(wire_text(topic))).with_partitions(partitions)
        });
        let request =
            OffsetDeleteRequest::default().with_group_id(GroupId(wire_text(group))).with_topics(topics.collect());
        let (response, connection) =
            self.client.call_coordinator(group, |_| request.clone(), |response| response.error_code).await?;
        connection.check::<OffsetDeleteRequest>(&format!("group `{group}`"), response.error_code, None)?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let subject = format!("{}-{} of group `{group}`", &*topic.name, partition.partition_index);
                connection.check::<OffsetDeleteRequest>(&subject, partition.error_code, None)?;
            }
        }
        Ok(())
    }

    /// Deletes all records before these offsets (none: all there are). Returns the new starts.
    pub async fn delete_records(&self, before: &BTreeMap<Partition, Option<i64>>) -> Result<BTreeMap<Partition, i64>> {
        let mut starts = BTreeMap::new();
        for (leader, topics) in self.client.by_leader(before.keys().cloned()).await? {
            let connection = self.client.broker(leader).await?;
            let topics = topics.iter().map(|(topic, partitions)| {
                let partitions = partitions.iter().map(|&partition| {
                    let offset = before.get(&(topic.clone(), partition)).copied().flatten().unwrap_or(-1);
                    DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset)
                });
                DeleteRecordsTopic::default()
                    .with_name(TopicName(wire_text(topic)))
                    .with_partitions(partitions.collect())
            });
            let request = DeleteRecordsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(self.operation_timeout_ms());
            let response = connection.call(|_| request).await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let subject = format!("{}-{}", &*topic.name, partition.partition_index);
                    connection.check::<DeleteRecordsRequest>(&subject, partition.error_code, None)?;
                    starts.insert((topic.name.to_string(), partition.partition_index), partition.low_watermark);
                }
            }
        }
        Ok(starts)
    }

    /// How long admin calls are waited for.
    pub fn request_timeout(&self) -> Duration {
        self.client.config().request_timeout
    }
}

/// Groups offsets by topic, as a commit carries them.
pub(crate) fn commit_topics(offsets: &BTreeMap<Partition, PartitionOffset>) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), committed) in offsets {
        let entry = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch.unwrap_or(-1))
            .with_committed_metadata(Some(wire_text("")));
        topics.entry(topic).or_default().push(entry);
    }
    let named = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default().with_name(TopicName(wire_text(topic))).with_partitions(partitions)
    });
    named.collect()
}

/// The first error code of a commit's answer, 0 if there is none.
pub(crate) fn first_commit_error(response: &kafka_protocol::messages::OffsetCommitResponse) -> i16 {
    let mut codes = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|found| found.error_code));
    codes.find(|code| *code != 0).unwrap_or(0)
}

/// Fails with the first partition that the coordinator refused.
pub(crate) fn check_commit(
    connection: &crate::connection::Connection,
    group: &str,
    response: &kafka_protocol::messages::OffsetCommitResponse,
) -> Result<()> {
    for topic in &response.topics {
        for partition in &topic.partitions {
            let subject = format!("{}-{} of group `{group}`", &*topic.name, partition.partition_index);
            connection.check::<OffsetCommitRequest>(&subject, partition.error_code, None)?;
        }
    }
    Ok(())
}

struct Committed<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: &'a str,
    code: i16,
}

/// The two shapes of the answer: one group (until version 7), or groups.
fn committed(response: &OffsetFetchResponse) -> Vec<Committed<'_>> {
    let mut all = Vec::new();
    for topic in &response.topics {
        all.extend(topic.partitions.iter().map(|found| Committed {
            topic: &topic.name,
            partition: found.partition_index,
            offset: found.committed_offset,
            leader_epoch: found.committed_leader_epoch,
            metadata: found.metadata.as_deref().unwrap_or_default(),
            code: found.error_code,
        }));
    }
    for topic in response.groups.iter().flat_map(|group| &group.topics) {
        all.extend(topic.partitions.iter().map(|found| Committed {
            topic: &topic.name,
            partition: found.partition_index,
            offset: found.committed_offset,
            leader_epoch: found.committed_leader_epoch,
            metadata: found.metadata.as_deref().unwrap_or_default(),
            code: found.error_code,
        }));
    }
    all
}
