//! ListOffsets (key 2): the offset at the start, the end, or at a time.
//!
//! Versions 1-10. KIP-79 (timestamps), KIP-98 (isolation), KIP-207 (epochs), KIP-734 (-3, max timestamp), KIP-405 (-4, local
//! start), KIP-1005 (-5, tiered end). Errors: UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH,
//! UNSUPPORTED_VERSION (a special timestamp newer than the request's version), INVALID_REQUEST (a partition named twice),
//! KAFKA_STORAGE_ERROR.
use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ApiKey, TopicName};
use weir_protocol::ids::{Offset, Timestamp};
use weir_storage::log::{Partition, ReadError, TimestampOffset};

use super::lookup::{self, check_epoch};
use super::{Versions, given};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::lake::PartitionHistory;

pub const VERSIONS: Versions = Versions::new(ApiKey::ListOffsets, 1, 10);

/// What a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// -1: the end a reader of this isolation level can reach.
    Latest,
    /// -2: where a reader can begin, be it in the lake (`weir.lake.history.reads`).
    Earliest,
    /// -4: the start of what is in the log.
    EarliestLocal,
    /// -3: the record with the largest timestamp.
    MaxTimestamp,
    /// -5: the end of what is in tiered storage, which has no records here.
    LatestTiered,
    /// The first record at or after this time.
    At(Timestamp),
}

/// Reads the wire's timestamp; None = this version does not have it.
pub fn query(version: i16, timestamp: i64) -> Option<Query> {
    match timestamp {
        -1 => Some(Query::Latest),
        -2 => Some(Query::Earliest),
        -3 => (version >= 7).then_some(Query::MaxTimestamp),
        -4 => (version >= 8).then_some(Query::EarliestLocal),
        -5 => (version >= 9).then_some(Query::LatestTiered),
        0.. => Some(Query::At(Timestamp(timestamp))),
        _ => None,
    }
}

/// Answers partition by partition.
pub async fn handle(broker: &Broker, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let read_committed = request.isolation_level == 1;
    let repeated = repeated(&request);
    let mut refused = HashSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let key = (topic.name.clone(), wanted.partition_index);
            let found = if !repeated.contains(&key) {
                answer(broker, version, &topic.name, &wanted, read_committed).await
            } else if refused.insert(key) {
                Err(ErrorCode::InvalidRequest)
            } else {
                continue;
            };
            partitions.push(encode(version, wanted.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Partitions that are named more than once: which of the questions is meant is not known, so none is answered.
fn repeated(request: &ListOffsetsRequest) -> HashSet<(TopicName, i32)> {
    let mut seen = HashSet::new();
    let named = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.clone(), p.partition_index)));
    named.filter(|key| !seen.insert(key.clone())).collect()
}

async fn answer(
    broker: &Broker,
    version: i16,
    topic: &TopicName,
    wanted: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<Option<TimestampOffset>, ErrorCode> {
    let topic = lookup::topic_named(broker, topic).map_err(|error| error.error_code())?;
    let partition = lookup::partition(broker, &topic, wanted.partition_index).map_err(|error| error.error_code())?;
    check_epoch(given(wanted.current_leader_epoch), partition.current_epoch().0).map_err(|error| error.error_code())?;
    let query = query(version, wanted.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
    if query == Query::Earliest
        && let Some(first) = first_in_lake(broker, &partition).await?
    {
        return Ok(Some(at_start(first, &partition)));
    }
    find(&partition, query, read_committed).await.map_err(|error| {
        tracing::warn!(partition = %partition.key(), %error, "ListOffsets failed");
        error.error_code()
    })
}

/// The first offset of the partition's lake table, if its records are read from there and it is older than the log.
async fn first_in_lake(broker: &Broker, partition: &Arc<Partition>) -> Result<Option<Offset>, ErrorCode> {
    let topic = broker.topics.by_id(partition.key().topic).filter(|topic| PartitionHistory::has_records(topic));
    let history = topic.and_then(|topic| broker.histories.of(&broker.topics, &topic, partition));
    let log_start = partition.offsets().log_start;
    // There is nothing older, so nobody needs to be asked.
    let Some(history) = history.filter(|_| log_start > Offset::ZERO) else { return Ok(None) };
    match history.first_record().await {
        Ok(first) => Ok(first.filter(|first| *first < log_start)),
        Err(reason) => {
            tracing::warn!(partition = %partition.key(), reason, "where the lake table begins cannot be told");
            Err(ErrorCode::KafkaStorageError)
        }
    }
}

/// The answer for one partition; None = nothing matches. A found record always lies below what the reader may see.
pub async fn find(
    partition: &Arc<Partition>,
    query: Query,
    read_committed: bool,
) -> Result<Option<TimestampOffset>, ReadError> {
    let ends = partition.offsets();
    let limit = if read_committed { ends.last_stable } else { ends.high_watermark };
    let visible = |found: Option<TimestampOffset>| found.filter(|found| found.offset < limit);
    Ok(match query {
        Query::Latest => Some(at_end(limit, partition)),
        Query::Earliest | Query::EarliestLocal => Some(at_start(ends.log_start, partition)),
        Query::MaxTimestamp => visible(partition.offset_of_max_timestamp().await?),
        Query::LatestTiered => None,
        Query::At(time) => visible(partition.offset_for_timestamp(time).await?),
    })
}

const NO_TIMESTAMP: Timestamp = Timestamp(-1);

fn at_end(offset: Offset, partition: &Partition) -> TimestampOffset {
    TimestampOffset { timestamp: NO_TIMESTAMP, offset, leader_epoch: partition.current_epoch() }
}

fn at_start(offset: Offset, partition: &Partition) -> TimestampOffset {
    let leader_epoch = partition.epoch_at(offset).unwrap_or_else(|| partition.current_epoch());
    TimestampOffset { timestamp: NO_TIMESTAMP, offset, leader_epoch }
}

fn encode(
    version: i16,
    partition: i32,
    found: Result<Option<TimestampOffset>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(partition);
    match found {
        Err(code) => response.with_error_code(code.code()),
        Ok(None) => response, // -1 / -1 / -1
        Ok(Some(found)) => response
            .with_timestamp(found.timestamp.0)
            .with_offset(found.offset.0)
            .with_leader_epoch(if version >= 4 { found.leader_epoch.0 } else { -1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_exist_from_their_version_on() {
        for (timestamp, since, meaning) in [
            (-1, 1, Query::Latest),
            (-2, 1, Query::Earliest),
            (-3, 7, Query::MaxTimestamp),
            (-4, 8, Query::EarliestLocal),
        ] {
            assert_eq!(query(since, timestamp), Some(meaning));
            if since > 1 {
                assert_eq!(query(since - 1, timestamp), None, "{timestamp}");
            }
        }
        assert_eq!(query(9, -5), Some(Query::LatestTiered));
        assert_eq!(query(8, -5), None);
        assert_eq!(query(10, -6), None);
        assert_eq!(query(1, 0), Some(Query::At(Timestamp(0))));
    }

    #[test]
    fn no_match_is_minus_one_everywhere() {
        let none = encode(10, 3, Ok(None));
        assert_eq!((none.error_code, none.timestamp, none.offset, none.leader_epoch), (0, -1, -1, -1));
    }

    #[tokio::test]
    async fn ends_and_times_are_found() {
        let broker = crate::api::testing::broker().await;
        let topic = broker.topic("t", 1, &[]).await;
        let partition = lookup::partition(&broker, &topic, 0).unwrap();
        assert_eq!(find(&partition, Query::MaxTimestamp, false).await, Ok(None));
        assert_eq!(find(&partition, Query::Latest, false).await.unwrap().unwrap().offset, Offset(0));
        broker.produce("t", 0, &["at 1000", "at 1001"]).await;
        broker.produce("t", 0, &["at 1000 again"]).await;
        let at = async |query| find(&partition, query, true).await.unwrap().map(|f| (f.timestamp.0, f.offset.0));
        assert_eq!(at(Query::Latest).await, Some((-1, 3)));
        assert_eq!(at(Query::Earliest).await, Some((-1, 0)));
        assert_eq!(at(Query::MaxTimestamp).await, Some((1001, 1)));
        assert_eq!(at(Query::At(Timestamp(1001))).await, Some((1001, 1)));
        assert_eq!(at(Query::At(Timestamp(5))).await, Some((1000, 0)));
        assert_eq!(at(Query::At(Timestamp(1002))).await, None);
        assert_eq!(at(Query::LatestTiered).await, None);
    }
}
