//! OffsetCommit (key 8): how far a group has read.
//!
//! Versions 2-9. KIP-211 (retention is the broker's from 5 on), KIP-320 (leader epochs, 6), KIP-345 (static members, 7),
//! KIP-848 (9), KIP-1251 (older epochs of partitions that the member still owns). Errors per partition:
//! UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE, UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, UNSUPPORTED_VERSION,
//! ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID, INVALID_GROUP_ID, COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use weir_protocol::ids::{Generation, LeaderEpoch, Offset, Timestamp};

use super::lookup;
use super::{Versions, given};
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::group::GroupError;
use crate::group::coordinator::Committer;
use crate::group::offsets::{CommittedOffset, PartitionName};

pub const VERSIONS: Versions = Versions::new(ApiKey::OffsetCommit, 2, 9);

/// Commits; the answer comes when the offsets are durable.
pub async fn handle(broker: &Broker, version: i16, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let now = Timestamp(broker.wall_clock_ms());
    let expires_at = expiry(now, request.retention_time_ms);
    let committer = Committer {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
        generation: Generation(request.generation_id_or_member_epoch),
    };
    let mut known: Vec<(PartitionName, CommittedOffset)> = Vec::new();
    // Code of each partition in request order; None = the coordinator decides.
    let mut codes: Vec<Option<i16>> = Vec::new();
    for topic in &request.topics {
        let partitions = lookup::topic_named(broker, &topic.name).map(|topic| topic.partitions);
        for partition in &topic.partitions {
            match &partitions {
                Ok(count) if (0..*count).contains(&partition.partition_index) => {
                    let name = (topic.name.to_string(), partition.partition_index);
                    known.push((name, committed(partition, now, expires_at)));
                    codes.push(None);
                }
                Ok(_) => codes.push(Some(crate::error_code::ErrorCode::UnknownTopicOrPartition.code())),
                Err(error) => codes.push(Some(error.wire_code())),
            }
        }
    }
    let count = known.len();
    // Membership is checked even if no partition is left: a fenced member has to learn it.
    let allowed = match version {
        ..9 => broker.groups.refuse_old_commit(&request.group_id, &request.member_id),
        _ => Ok(()),
    };
    let result = match allowed {
        Ok(()) => broker.groups.commit(&request.group_id, &committer, known).await,
        Err(error) => Err(error),
    };
    let mut verdicts = match result {
        Ok(verdicts) => verdicts.into_iter().map(|v| v.map_or_else(|e| e.wire_code(), |()| NONE)).collect(),
        // KIP-848: from version 9 on, a member of no group is told just that.
        Err(GroupError::IllegalGeneration) if version >= 9 && !broker.groups.exists(&request.group_id) => {
            vec![GroupError::GroupIdNotFound.wire_code(); count]
        }
        Err(error) => vec![error.wire_code(); count],
    }
    .into_iter();
    let mut codes = codes.into_iter().map(|code| code.or_else(|| verdicts.next()).unwrap_or(NONE));
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().zip(codes.by_ref()).map(|(partition, code)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Versions 2 to 4 may ask for a retention of their own; -1 is the broker's.
fn expiry(now: Timestamp, retention_ms: i64) -> Option<Timestamp> {
    (retention_ms >= 0).then(|| Timestamp(now.0.saturating_add(retention_ms)))
}

fn committed(
    partition: &OffsetCommitRequestPartition,
    now: Timestamp,
    expires_at: Option<Timestamp>,
) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(partition.committed_offset),
        leader_epoch: given(partition.committed_leader_epoch).map(LeaderEpoch),
        metadata: partition.committed_metadata.as_ref().map(|text| text.to_string()).unwrap_or_default(),
        committed_at: now,
        expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_of_old_clients_is_kept_and_minus_one_is_the_brokers() {
        assert_eq!(expiry(Timestamp(100), -1), None);
        assert_eq!(expiry(Timestamp(100), 50), Some(Timestamp(150)));
        assert_eq!(expiry(Timestamp(100), i64::MAX), Some(Timestamp(i64::MAX)));
    }

    #[test]
    fn null_metadata_and_no_epoch_are_kept_as_such() {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(7)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(None);
        let committed = committed(&partition, Timestamp(1), None);
        assert_eq!((committed.offset, committed.leader_epoch, committed.metadata.as_str()), (Offset(7), None, ""));
    }
}
