//! OffsetForLeaderEpoch (key 23): where the records of a leader epoch end, so that a consumer notices lost records.
//!
//! Versions 2-4. KIP-101, KIP-320. Errors: UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use weir_protocol::ids::{LeaderEpoch, Offset};
use weir_storage::log::Partition;

use super::lookup::{self, check_epoch};
use super::{Versions, given};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};

pub const VERSIONS: Versions = Versions::new(ApiKey::OffsetForLeaderEpoch, 2, 4);

/// Answers partition by partition.
pub fn handle(broker: &Broker, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let response = EpochEndOffset::default().with_partition(wanted.partition);
            match answer(broker, &topic.topic, wanted) {
                Ok(Some((epoch, end))) => response.with_leader_epoch(epoch.0).with_end_offset(end.0),
                Ok(None) => response.with_leader_epoch(-1).with_end_offset(-1),
                Err(code) => response.with_error_code(code.code()).with_leader_epoch(-1).with_end_offset(-1),
            }
        });
        OffsetForLeaderTopicResult::default().with_partitions(partitions.collect()).with_topic(topic.topic.clone())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn answer(
    broker: &Broker,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let topic = lookup::topic_named(broker, topic).map_err(|error| error.error_code())?;
    let partition = lookup::partition(broker, &topic, wanted.partition).map_err(|error| error.error_code())?;
    check_epoch(given(wanted.current_leader_epoch), partition.current_epoch().0).map_err(|error| error.error_code())?;
    Ok(given(wanted.leader_epoch).and_then(|epoch| end_of(&partition, LeaderEpoch(epoch))))
}

/// The end of the newest epoch that is not newer than `epoch`. An epoch that has no records left (or never had any) ends
/// where the log starts; an epoch that this broker has not reached has no end.
fn end_of(partition: &Partition, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
    if epoch > partition.current_epoch() {
        return None;
    }
    Some(partition.epoch_end(epoch).unwrap_or_else(|| (epoch, partition.offsets().log_start)))
}
