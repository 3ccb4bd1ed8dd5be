//! Transactions as operators see them (KIP-664): who has one open, since when, on which partitions, and how to end it.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest, TopicName,
    TransactionalId, WriteTxnMarkersRequest,
};

use super::{Admin, wire_text};
use crate::connection::retrying;
use crate::error::Result;

/// Which transactional ids to list; the default lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Kafka's names of states: `Ongoing`, `PrepareCommit`, `CompleteAbort`, ...; empty for all.
    pub states: Vec<String>,
    /// Producer ids; empty for all.
    pub producer_ids: Vec<i64>,
    /// Only transactions that have been open for longer (ListTransactions v1, KIP-994).
    pub longer_than_ms: Option<i64>,
    /// Regular expression that the whole id must match (ListTransactions v2, KIP-1152).
    pub pattern: Option<String>,
}

/// A transactional id as its coordinator lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    /// The id.
    pub transactional_id: String,
    /// The producer id it has now.
    pub producer_id: i64,
    /// `Ongoing`, `Empty`, `CompleteCommit`, ...
    pub state: String,
    /// Broker id of the coordinator that listed it.
    pub coordinator: i32,
}

/// A transactional id with its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The id.
    pub transactional_id: String,
    /// Broker id of its coordinator.
    pub coordinator: i32,
    /// `Ongoing`, `Empty`, `CompleteCommit`, ...
    pub state: String,
    /// The producer id it has now.
    pub producer_id: i64,
    /// Epoch of its producer.
    pub producer_epoch: i16,
    /// After how long the coordinator aborts a transaction of this producer, in milliseconds.
    pub timeout_ms: i32,
    /// When the open transaction began, in milliseconds since 1970; none if none is open.
    pub started_at_ms: Option<i64>,
    /// What is part of the transaction: partitions by topic.
    pub partitions: BTreeMap<String, Vec<i32>>,
}

/// A producer that has written to a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// Epoch of the transaction coordinator that wrote its last marker; -1 if there is none.
    pub coordinator_epoch: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Time of its last record, in milliseconds since 1970.
    pub last_timestamp_ms: i64,
    /// Offset of the first record of its open transaction, if one is open on this partition.
    pub transaction_start: Option<i64>,
}

impl Admin {
    /// Transactional ids of all brokers, sorted by name.
    pub async fn list_transactions(&self, filter: &TransactionFilter) -> Result<Vec<TransactionListing>> {
        let mut found = BTreeMap::new();
        for broker in self.client.brokers().await? {
            let response = retrying(self.client.config(), || async {
                let connection = self.client.broker(broker.id).await?;
                let request = ListTransactionsRequest::default()
                    .with_state_filters(filter.states.iter().map(|state| wire_text(state)).collect())
                    .with_producer_id_filters(filter.producer_ids.iter().map(|id| (*id).into()).collect())
                    .with_duration_filter(filter.longer_than_ms.unwrap_or(-1))
                    .with_transactional_id_pattern(filter.pattern.as_deref().map(wire_text));
                let response = connection.call(|_| request).await?;
                connection.check::<ListTransactionsRequest>("", response.error_code, None)?;
                Ok(response)
            })
            .await?;
            found.extend(response.transaction_states.into_iter().map(|state| {
                let listing = TransactionListing {
                    transactional_id: state.transactional_id.to_string(),
                    producer_id: state.producer_id.0,
                    state: state.transaction_state.to_string(),
                    coordinator: broker.id,
                };
                (listing.transactional_id.clone(), listing)
            }));
        }
        Ok(found.into_values().collect())
    }

    /// A transactional id as its coordinator knows it; an error of TRANSACTIONAL_ID_NOT_FOUND if it does not.
    pub async fn describe_transaction(&self, id: &str) -> Result<TransactionDescription> {
        retrying(self.client.config(), || async {
            let (connection, coordinator) = self.client.transaction_coordinator(id).await?;
            let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional(id)]);
            let mut states = connection.call(|_| request).await?.transaction_states;
            let state = states.pop().unwrap_or_default();
            let subject = format!("transactional id `{id}`");
            connection.check::<DescribeTransactionsRequest>(&subject, state.error_code, None)?;
            let partitions = state.topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions));
            Ok(TransactionDescription {
                transactional_id: id.to_owned(),
                coordinator,
                state: state.transaction_state.to_string(),
                producer_id: state.producer_id.0,
                producer_epoch: state.producer_epoch,
                timeout_ms: state.transaction_timeout_ms,
                started_at_ms: (state.transaction_start_time_ms >= 0).then_some(state.transaction_start_time_ms),
                partitions: partitions.collect(),
            })
        })
        .await
    }

    /// Takes a transactional id over as a new producer would: an open transaction aborts, and the producer that has the id is
    /// fenced. Returns the id's producer id and epoch. An id that the coordinator does not know is created.
    pub async fn fence_producer(&self, id: &str) -> Result<(i64, i16)> {
        retrying(self.client.config(), || async {
            let (connection, _) = self.client.transaction_coordinator(id).await?;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(transactional(id)))
                .with_transaction_timeout_ms(self.operation_timeout_ms())
                .with_producer_id((-1).into())
                .with_producer_epoch(-1);
            let response = connection.call(|_| request).await?;
            let subject = format!("transactional id `{id}`");
            connection.check::<InitProducerIdRequest>(&subject, response.error_code, None)?;
            Ok((response.producer_id.0, response.producer_epoch))
        })
        .await
    }

    /// The producers that have written to a partition, as its leader remembers them.
    pub async fn describe_producers(&self, topic: &str, partition: i32) -> Result<Vec<PartitionProducer>> {
        retrying(self.client.config(), || async {
            let connection = self.client.broker(self.client.leader(topic, partition).await?).await?;
            let wanted = TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition]);
            let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
            let answer = connection.call(|_| request).await?.topics.pop().and_then(|mut topic| topic.partitions.pop());
            let answer = answer.unwrap_or_default();
            let subject = format!("{topic}-{partition}");
            let detail = answer.error_message.as_deref();
            connection.check::<DescribeProducersRequest>(&subject, answer.error_code, detail)?;
            let producers = answer.active_producers.into_iter().map(|producer| PartitionProducer {
                producer_id: producer.producer_id.0,
                producer_epoch: producer.producer_epoch,
                coordinator_epoch: producer.coordinator_epoch,
                last_sequence: producer.last_sequence,
                last_timestamp_ms: producer.last_timestamp,
                transaction_start: (producer.current_txn_start_offset >= 0)
                    .then_some(producer.current_txn_start_offset),
            });
            Ok(producers.collect())
        })
        .await
    }

    /// Ends a producer's transaction on one partition by writing an abort marker past the coordinator. For transactions that no
    /// coordinator will end; where one would, use [`fence_producer`](Self::fence_producer).
    pub async fn abort_on_partition(&self, topic: &str, partition: i32, producer: &PartitionProducer) -> Result<()> {
        retrying(self.client.config(), || async {
            let connection = self.client.broker(self.client.leader(topic, partition).await?).await?;
            let wanted =
                WritableTxnMarkerTopic::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition]);
            let marker = WritableTxnMarker::default()
                .with_producer_id(producer.producer_id.into())
                // Kafka's epochs have 16 bits; DescribeProducers has room for 32.
                .with_producer_epoch(i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX))
                .with_coordinator_epoch(producer.coordinator_epoch)
                .with_topics(vec![wanted]);
            let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
            let response = connection.call(|_| request).await?;
            let answers = response.markers.iter().flat_map(|marker| &marker.topics).flat_map(|topic| &topic.partitions);
            for answer in answers {
                let subject = format!("{topic}-{partition}");
                connection.check::<WriteTxnMarkersRequest>(&subject, answer.error_code, None)?;
            }
            Ok(())
        })
        .await
    }
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(wire_text(id))
}

fn topic_name(name: &str) -> TopicName {
    TopicName(wire_text(name))
}
