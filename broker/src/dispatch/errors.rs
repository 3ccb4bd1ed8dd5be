//! Where the error codes are in each response, for the metric of errors by API and code.
use kafka_protocol::messages::*;

use crate::quota::Throttle;

/// A response whose error codes can be counted.
pub trait ErrorCodes {
    /// Calls `found` for each error code field, 0 ("no error") included.
    fn each_error(&self, found: &mut dyn FnMut(i16));

    /// Tells the client for how long it is throttled, if the response can and says nothing longer.
    fn throttled(&mut self, throttle: Throttle);
}

/// `errors! { Response { field; list.field; list.list.field } }`; `Response (untold)` has no field for throttling.
macro_rules! errors {
    ($($response:ident $(($untold:tt))? { $($path:tt)* })*) => {$(
        impl ErrorCodes for $response {
            fn each_error(&self, found: &mut dyn FnMut(i16)) {
                let _ = &found;
                errors!(@paths self found $($path)*);
            }

            fn throttled(&mut self, throttle: Throttle) {
                errors!(@throttle self throttle $($untold)?);
            }
        }
    )*};
    (@throttle $self:ident $throttle:ident) => {
        $self.throttle_time_ms = $self.throttle_time_ms.max($throttle.wire());
    };
    (@throttle $self:ident $throttle:ident untold) => {
        let _ = $throttle;
    };
    (@paths $self:ident $found:ident) => {};
    (@paths $self:ident $found:ident $field:ident; $($rest:tt)*) => {
        $found($self.$field);
        errors!(@paths $self $found $($rest)*);
    };
    (@paths $self:ident $found:ident $list:ident . $field:ident; $($rest:tt)*) => {
        $self.$list.iter().for_each(|item| $found(item.$field));
        errors!(@paths $self $found $($rest)*);
    };
    (@paths $self:ident $found:ident $list:ident . $inner:ident . $field:ident; $($rest:tt)*) => {
        $self.$list.iter().flat_map(|outer| outer.$inner.iter()).for_each(|item| $found(item.$field));
        errors!(@paths $self $found $($rest)*);
    };
}

errors! {
    ProduceResponse { responses.partition_responses.error_code; }
    ListOffsetsResponse { topics.partitions.error_code; }
    MetadataResponse { topics.error_code; topics.partitions.error_code; }
    OffsetCommitResponse { topics.partitions.error_code; }
    OffsetFetchResponse { error_code; topics.partitions.error_code; groups.error_code; }
    FindCoordinatorResponse { error_code; coordinators.error_code; }
    JoinGroupResponse { error_code; }
    HeartbeatResponse { error_code; }
    LeaveGroupResponse { error_code; members.error_code; }
    SyncGroupResponse { error_code; }
    DescribeGroupsResponse { groups.error_code; }
    ListGroupsResponse { error_code; }
    ApiVersionsResponse { error_code; }
    SaslHandshakeResponse (untold) { error_code; }
    SaslAuthenticateResponse (untold) { error_code; }
    DescribeUserScramCredentialsResponse { error_code; results.error_code; }
    AlterUserScramCredentialsResponse { results.error_code; }
    CreateTopicsResponse { topics.error_code; }
    DeleteTopicsResponse { responses.error_code; }
    DeleteRecordsResponse { topics.partitions.error_code; }
    InitProducerIdResponse { error_code; }
    OffsetForLeaderEpochResponse { topics.partitions.error_code; }
    AddPartitionsToTxnResponse {
        error_code;
        results_by_topic_v3_and_below.results_by_partition.partition_error_code;
    }
    AddOffsetsToTxnResponse { error_code; }
    EndTxnResponse { error_code; }
    WriteTxnMarkersResponse (untold) {}
    TxnOffsetCommitResponse { topics.partitions.error_code; }
    DescribeProducersResponse { topics.partitions.error_code; }
    DescribeTransactionsResponse { transaction_states.error_code; }
    ListTransactionsResponse { error_code; }
    DescribeAclsResponse { error_code; }
    DescribeClientQuotasResponse { error_code; }
    AlterClientQuotasResponse { entries.error_code; }
    CreateAclsResponse { results.error_code; }
    DeleteAclsResponse { filter_results.error_code; }
    DescribeConfigsResponse { results.error_code; }
    AlterConfigsResponse { responses.error_code; }
    AlterReplicaLogDirsResponse { results.partitions.error_code; }
    ElectLeadersResponse { error_code; replica_election_results.partition_result.error_code; }
    AlterPartitionReassignmentsResponse { error_code; responses.partitions.error_code; }
    ListPartitionReassignmentsResponse { error_code; }
    DescribeQuorumResponse (untold) { error_code; topics.partitions.error_code; }
    UpdateFeaturesResponse { error_code; results.error_code; }
    DescribeLogDirsResponse { error_code; results.error_code; }
    CreatePartitionsResponse { results.error_code; }
    DeleteGroupsResponse { results.error_code; }
    IncrementalAlterConfigsResponse { responses.error_code; }
    OffsetDeleteResponse { error_code; topics.partitions.error_code; }
    DescribeClusterResponse { error_code; }
    ListConfigResourcesResponse { error_code; }
    ConsumerGroupHeartbeatResponse { error_code; }
    ConsumerGroupDescribeResponse { groups.error_code; }
    ShareGroupHeartbeatResponse { error_code; }
    ShareGroupDescribeResponse { groups.error_code; }
    ShareFetchResponse {
        error_code;
        responses.partitions.error_code;
        responses.partitions.acknowledge_error_code;
    }
    ShareAcknowledgeResponse { error_code; responses.partitions.error_code; }
    DescribeShareGroupOffsetsResponse { groups.error_code; }
    AlterShareGroupOffsetsResponse { error_code; responses.partitions.error_code; }
    DeleteShareGroupOffsetsResponse { error_code; responses.error_code; }
    DescribeTopicPartitionsResponse { topics.error_code; topics.partitions.error_code; }
}
