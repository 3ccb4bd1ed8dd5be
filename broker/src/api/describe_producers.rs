//! DescribeProducers (key 61): which producers wrote to a partition, and whose transaction is open there.
//!
//! Version 0. KIP-664. Errors per partition: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::describe_producers_request::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use weir_storage::log::ActiveProducer;

use super::{Versions, lookup, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeProducers, 0, 0);

/// Answers partition by partition.
pub fn handle(broker: &Broker, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let found = lookup::topic_named(broker, &topic.name);
        let partitions = topic.partition_indexes.into_iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(index).with_error_message(None);
            let partition = found.clone().and_then(|topic| lookup::partition(broker, &topic, index));
            match partition {
                Ok(partition) => {
                    let producers = partition.active_producers();
                    response.with_active_producers(producers.iter().map(shown).collect())
                }
                Err(error) => {
                    response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string())))
                }
            }
        });
        TopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn shown(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(producer.producer_id.0.into())
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(producer.last_sequence.unwrap_or(-1))
        .with_last_timestamp(producer.last_write.0)
        .with_coordinator_epoch(producer.coordinator_epoch.unwrap_or(-1))
        .with_current_txn_start_offset(producer.transaction_start.map_or(-1, |offset| offset.0))
}
