//! TxnOffsetCommit (key 28): how far a group has read, committed together with what a transaction writes.
//!
//! Versions 0-5. KIP-98, KIP-447 (members and generations, 3), KIP-890 (TRANSACTION_ABORTABLE, 4; the transaction opens on the group's
//! partition by itself, 5). Errors per partition: UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE, UNKNOWN_MEMBER_ID,
//! ILLEGAL_GENERATION, FENCED_INSTANCE_ID, INVALID_GROUP_ID, INVALID_TXN_STATE, TRANSACTION_ABORTABLE, INVALID_PRODUCER_EPOCH,
//! INVALID_PRODUCER_ID_MAPPING, CONCURRENT_TRANSACTIONS, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use weir_protocol::ids::{Generation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp};
use weir_storage::log::TransactionGuard;

use super::{Versions, given, lookup};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError, NONE};
use crate::group::coordinator::{Committer, TransactionalCommit};
use crate::group::offsets::{CommittedOffset, PartitionName};
use crate::topics::OFFSETS_TOPIC;
use crate::txn::{Protocol, TxnError, Who};

pub const VERSIONS: Versions = Versions::new(ApiKey::TxnOffsetCommit, 0, 5);

const ABORTABLE_SINCE: i16 = 4;
/// First version whose clients follow the protocol of KIP-890.
const VERSION_2_SINCE: i16 = 5;

/// Writes the offsets; they count when the transaction commits.
pub async fn handle(broker: &Broker, version: i16, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let now = Timestamp(broker.wall_clock_ms());
    let mut known: Vec<(PartitionName, CommittedOffset)> = Vec::new();
    // Code of each partition in request order; None = the coordinators decide.
    let mut codes: Vec<Option<i16>> = Vec::new();
    for topic in &request.topics {
        let count = lookup::topic_named(broker, &topic.name).map_or(0, |topic| topic.partitions);
        for partition in &topic.partitions {
            if (0..count).contains(&partition.partition_index) {
                known.push(((topic.name.to_string(), partition.partition_index), committed(partition, now)));
                codes.push(None);
            } else {
                codes.push(Some(ErrorCode::UnknownTopicOrPartition.code()));
            }
        }
    }
    let mut verdicts = commit(broker, version, &request, known).await.into_iter();
    let mut codes = codes.into_iter().map(|code| code.or_else(|| verdicts.next()).unwrap_or(NONE));
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().zip(codes.by_ref()).map(|(partition, code)| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        TxnOffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

/// One code per offset.
async fn commit(
    broker: &Broker,
    version: i16,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<(PartitionName, CommittedOffset)>,
) -> Vec<i16> {
    let count = offsets.len();
    let who = Who { producer_id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
    let guard = match confirm(broker, version, request, who).await {
        Ok(guard) => guard,
        Err(error) => {
            tracing::debug!(%error, transactional_id = %request.transactional_id.0, "TxnOffsetCommit refused");
            return vec![code(version, &error); count];
        }
    };
    let committer = Committer {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
        generation: Generation(request.generation_id),
    };
    let commit = TransactionalCommit { committer, producer_id: who.producer_id, epoch: who.epoch, guard };
    match broker.groups.commit_transactional(&request.group_id, commit, offsets).await {
        Ok(verdicts) => verdicts.into_iter().map(|v| v.map_or_else(|e| e.wire_code(), |()| NONE)).collect(),
        Err(error) => vec![error.wire_code(); count],
    }
}

/// Makes sure that the group's partition belongs to the open transaction.
async fn confirm(
    broker: &Broker,
    version: i16,
    request: &TxnOffsetCommitRequest,
    who: Who,
) -> Result<Option<TransactionGuard>, TxnError> {
    let partition = broker.groups.partition_of(&request.group_id);
    let log = broker.topics.get(OFFSETS_TOPIC).and_then(|t| broker.storage.partition(t.id, PartitionId(partition)));
    let log = log.ok_or(TxnError::CoordinatorNotAvailable)?;
    let Some(mut guard) = log.transaction_guard(who.producer_id, who.epoch) else { return Ok(None) };
    let names = [(OFFSETS_TOPIC.to_owned(), partition)];
    if version >= VERSION_2_SINCE {
        let add = || broker.transactions.add_partitions(&request.transactional_id, who, Protocol::V2, &names);
        add().await?;
        // The marker of the transaction before may have come while the coordinator waited for it.
        if let Some(now) = log.transaction_guard(who.producer_id, who.epoch)
            && now != guard
        {
            guard = now;
            add().await?;
        }
    } else if broker.transactions.verify(&request.transactional_id, who, &names)? != [true] {
        return Err(TxnError::TransactionAbortable);
    }
    Ok(Some(guard))
}

fn code(version: i16, error: &TxnError) -> i16 {
    let code = match error.error_code() {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_SINCE => ErrorCode::InvalidTxnState,
        code => code,
    };
    code.code()
}

fn committed(partition: &TxnOffsetCommitRequestPartition, now: Timestamp) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(partition.committed_offset),
        leader_epoch: given(partition.committed_leader_epoch).map(LeaderEpoch),
        metadata: partition.committed_metadata.as_ref().map(|text| text.to_string()).unwrap_or_default(),
        committed_at: now,
        expires_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_clients_are_told_what_they_know() {
        assert_eq!([3, 4].map(|version| code(version, &TxnError::TransactionAbortable)), [48, 120]);
        assert_eq!(code(5, &TxnError::ProducerFenced), 47);
    }
}
