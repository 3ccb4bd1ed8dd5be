//! DeleteRecords (key 21): moves the start of a log up, so that what lies before is gone.
//!
//! Versions 0-2. KIP-107. Errors: UNKNOWN_TOPIC_OR_PARTITION, OFFSET_OUT_OF_RANGE (beyond the high watermark), POLICY_VIOLATION (a
//! topic whose cleanup.policy does not delete), INVALID_TOPIC_EXCEPTION (internal topics), REQUEST_TIMED_OUT, KAFKA_STORAGE_ERROR.
use std::time::Duration;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest};
use thiserror::Error;
use weir_protocol::ids::Offset;
use weir_storage::log::ReadError;

use super::Versions;
use super::lookup::{self, LookupError};
use crate::broker::Broker;
use crate::error_code::KafkaError;

pub const VERSIONS: Versions = Versions::new(ApiKey::DeleteRecords, 0, 2);

/// Why the start of a log was not moved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeleteRecordsError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("`{topic}` is an internal topic, its records are not deleted by hand")]
    InternalTopic { topic: String },
    #[error(
        "cleanup.policy of `{topic}` is `compact`; records are deleted by tombstones, or set it to `compact,delete`"
    )]
    CompactedOnly { topic: String },
    #[error(transparent)]
    View(#[from] crate::views::ViewError),
    #[error("offset {offset} is negative; -1 stands for the high watermark")]
    NegativeOffset { offset: i64 },
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("not done within {timeout_ms} ms; it may still happen")]
    TimedOut { timeout_ms: i32 },
}

/// Deletes partition by partition. -1 means everything up to the high watermark.
pub async fn handle(broker: &Broker, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let timeout_ms = request.timeout_ms;
    let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    let deadline = tokio::time::Instant::now() + limit;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let work = delete(broker, &topic.name, wanted.partition_index, wanted.offset);
            let result = tokio::time::timeout_at(deadline, work)
                .await
                .unwrap_or(Err(DeleteRecordsError::TimedOut { timeout_ms }));
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(wanted.partition_index);
            partitions.push(match result {
                Ok(start) => answer.with_low_watermark(start.0),
                Err(error) => {
                    tracing::info!(topic = %*topic.name, partition = wanted.partition_index, %error, "DeleteRecords refused");
                    answer.with_low_watermark(-1).with_error_code(error.wire_code())
                }
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn delete(broker: &Broker, topic: &str, partition: i32, offset: i64) -> Result<Offset, DeleteRecordsError> {
    let topic = lookup::topic_named(broker, topic)?;
    let name = || topic.name.clone();
    if topic.is_internal() {
        return Err(DeleteRecordsError::InternalTopic { topic: name() });
    }
    crate::topics::own(&topic, "records")?;
    let partition = lookup::partition(broker, &topic, partition)?;
    if !partition.config().cleanup.delete {
        return Err(DeleteRecordsError::CompactedOnly { topic: name() });
    }
    let before = up_to(offset)?;
    Ok(broker.storage.delete_records(&partition, before).await?)
}

/// None = the high watermark.
fn up_to(offset: i64) -> Result<Option<Offset>, DeleteRecordsError> {
    match offset {
        -1 => Ok(None),
        0.. => Ok(Some(Offset(offset))),
        _ => Err(DeleteRecordsError::NegativeOffset { offset }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_is_the_high_watermark_and_less_is_refused() {
        assert_eq!(up_to(-1), Ok(None));
        assert_eq!(up_to(0), Ok(Some(Offset(0))));
        assert_eq!(up_to(-2), Err(DeleteRecordsError::NegativeOffset { offset: -2 }));
    }
}
