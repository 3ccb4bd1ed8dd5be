//! Transactional producers.
//!
//! | request | needs | without it |
//! |---|---|---|
//! | InitProducerId | Write TransactionalId; without an id IdempotentWrite Cluster or Write on some Topic | the whole request |
//! | AddPartitionsToTxn | Write TransactionalId (from 4 on ClusterAction), Write Topic | all, per partition |
//! | AddOffsetsToTxn | Write TransactionalId, Read Group | the whole request |
//! | EndTxn | Write TransactionalId | the whole request |
//! | TxnOffsetCommit | Write TransactionalId, Read Group, Read Topic | all, per partition |
//! | WriteTxnMarkers | Alter or ClusterAction Cluster | per partition |
//! | DescribeTransactions, ListTransactions | Describe TransactionalId, Describe Topic | per id; left out |
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::*;

use super::{
    Access, CLUSTER_REFUSED, GROUP_REFUSED, Guarded, TOPIC_REFUSED, TRANSACTIONAL_ID_REFUSED, Verdict, take_refused,
};
use crate::error_code::ErrorCode;
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};

fn may_write(access: &Access, id: &str) -> bool {
    access.allows(Operation::Write, ResourceType::TransactionalId, id)
}

impl Guarded for InitProducerIdRequest {
    type Response = InitProducerIdResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, InitProducerIdResponse> {
        let code = match &self.transactional_id {
            Some(id) if may_write(access, id) => return Verdict::Allowed,
            Some(_) => TRANSACTIONAL_ID_REFUSED,
            None => {
                // KIP-679: whoever may write to a topic may do so exactly once.
                let anywhere = access.would_allow_some(Operation::Write, ResourceType::Topic);
                if anywhere || access.cluster(Operation::IdempotentWrite) {
                    return Verdict::Allowed;
                }
                CLUSTER_REFUSED
            }
        };
        let answer = InitProducerIdResponse::default().with_error_code(code);
        Verdict::refused(answer.with_producer_id((-1).into()).with_producer_epoch(-1))
    }
}

impl Guarded for AddPartitionsToTxnRequest {
    type Response = AddPartitionsToTxnResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, AddPartitionsToTxnResponse> {
        // Later versions are for brokers that verify for others.
        if access.version >= 4 {
            if access.cluster(Operation::ClusterAction) {
                return Verdict::Allowed;
            }
            return Verdict::refused(AddPartitionsToTxnResponse::default().with_error_code(CLUSTER_REFUSED));
        }
        let topics = &self.v3_and_below_topics;
        if !may_write(access, &self.v3_and_below_transactional_id) {
            return Verdict::refused(all_or_none(topics, |_| TRANSACTIONAL_ID_REFUSED));
        }
        let may: Vec<bool> = topics.iter().map(|topic| access.topic(Operation::Write, &topic.name)).collect();
        if !may.contains(&false) {
            return Verdict::Allowed;
        }
        let not_attempted = ErrorCode::OperationNotAttempted.code();
        let mut may = may.into_iter();
        Verdict::refused(all_or_none(topics, |_| match may.next() {
            Some(false) => TOPIC_REFUSED,
            _ => not_attempted,
        }))
    }
}

/// One code for each topic's partitions.
fn all_or_none(
    topics: &[AddPartitionsToTxnTopic],
    mut code: impl FnMut(&AddPartitionsToTxnTopic) -> i16,
) -> AddPartitionsToTxnResponse {
    let results = topics.iter().map(|topic| {
        let code = code(topic);
        let partitions = topic.partitions.iter().map(|index| {
            AddPartitionsToTxnPartitionResult::default().with_partition_index(*index).with_partition_error_code(code)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

impl Guarded for AddOffsetsToTxnRequest {
    type Response = AddOffsetsToTxnResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, AddOffsetsToTxnResponse> {
        let code = if !may_write(access, &self.transactional_id) {
            TRANSACTIONAL_ID_REFUSED
        } else if !access.group(Operation::Read, &self.group_id) {
            GROUP_REFUSED
        } else {
            return Verdict::Allowed;
        };
        Verdict::refused(AddOffsetsToTxnResponse::default().with_error_code(code))
    }
}

impl Guarded for EndTxnRequest {
    type Response = EndTxnResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, EndTxnResponse> {
        if may_write(access, &self.transactional_id) {
            return Verdict::Allowed;
        }
        Verdict::refused(EndTxnResponse::default().with_error_code(TRANSACTIONAL_ID_REFUSED))
    }
}

impl Guarded for TxnOffsetCommitRequest {
    type Response = TxnOffsetCommitResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, TxnOffsetCommitResponse> {
        let whole = if !may_write(access, &self.transactional_id) {
            Some(TRANSACTIONAL_ID_REFUSED)
        } else if !access.group(Operation::Read, &self.group_id) {
            Some(GROUP_REFUSED)
        } else {
            None
        };
        let keep = |name: &TopicName| whole.is_none() && access.follows(name);
        let refused = take_refused(&mut self.topics, |topic| keep(&topic.name));
        let code = whole.unwrap_or(TOPIC_REFUSED);
        let topics = refused.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
            });
            let partitions = partitions.collect();
            TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
        });
        let topics: Vec<_> = topics.collect();
        if whole.is_some() || (self.topics.is_empty() && !topics.is_empty()) {
            return Verdict::refused(TxnOffsetCommitResponse::default().with_topics(topics));
        }
        Verdict::without(topics, |answer: &mut Self::Response, topics| answer.topics.extend(topics))
    }
}

impl Guarded for WriteTxnMarkersRequest {
    type Response = WriteTxnMarkersResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, WriteTxnMarkersResponse> {
        let alters = access.would_allow(Operation::Alter, ResourceType::Cluster, CLUSTER_NAME);
        if alters || access.cluster(Operation::ClusterAction) {
            return Verdict::Allowed;
        }
        let markers = self.markers.iter().map(|marker| {
            let topics = marker.topics.iter().map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    WritableTxnMarkerPartitionResult::default()
                        .with_partition_index(*index)
                        .with_error_code(CLUSTER_REFUSED)
                });
                WritableTxnMarkerTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics.collect())
        });
        Verdict::refused(WriteTxnMarkersResponse::default().with_markers(markers.collect()))
    }
}

impl Guarded for DescribeTransactionsRequest {
    type Response = DescribeTransactionsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeTransactionsResponse> {
        let may = |id: &TransactionalId| access.allows(Operation::Describe, ResourceType::TransactionalId, id);
        let refused = take_refused(&mut self.transactional_ids, may);
        Verdict::completed(move |answer: &mut Self::Response| {
            for state in &mut answer.transaction_states {
                state.topics.retain(|topic| access.would_allow(Operation::Describe, ResourceType::Topic, &topic.topic));
            }
            answer.transaction_states.extend(refused.into_iter().map(|id| {
                TransactionState::default().with_transactional_id(id).with_error_code(TRANSACTIONAL_ID_REFUSED)
            }));
        })
    }
}

impl Guarded for ListTransactionsRequest {
    type Response = ListTransactionsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ListTransactionsResponse> {
        Verdict::completed(|answer: &mut ListTransactionsResponse| {
            let may = |id: &str| access.would_allow(Operation::Describe, ResourceType::TransactionalId, id);
            answer.transaction_states.retain(|state| may(&state.transactional_id));
        })
    }
}
