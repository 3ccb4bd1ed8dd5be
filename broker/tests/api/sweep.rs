//! Every API in every version that ApiVersions lists: an empty request gets an answer that decodes, whatever it says.
//!
//! Guards against a handler that fills a field which its version does not have (the encoder refuses, the connection dies).
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use weir::api::SERVED;

use crate::harness::*;

async fn sweep<R: Request>(broker: &TestBroker, request: R, swept: &mut Vec<i16>) {
    let versions = SERVED.iter().find(|versions| versions.key as i16 == R::KEY).unwrap();
    let mut client = Client::connect(broker).await;
    for version in versions.min..=versions.max {
        client.call(version, &request).await;
    }
    swept.push(R::KEY);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_every_api_answers_an_empty_request() {
    let broker = TestBroker::start().await;
    let mut swept = Vec::new();
    let done = &mut swept;
    sweep(&broker, ProduceRequest::default().with_acks(1), done).await;
    sweep(&broker, FetchRequest::default(), done).await;
    sweep(&broker, ListOffsetsRequest::default(), done).await;
    sweep(&broker, MetadataRequest::default(), done).await;
    sweep(&broker, OffsetCommitRequest::default(), done).await;
    sweep(&broker, OffsetFetchRequest::default(), done).await;
    sweep(&broker, FindCoordinatorRequest::default(), done).await;
    sweep(&broker, JoinGroupRequest::default(), done).await;
    sweep(&broker, HeartbeatRequest::default(), done).await;
    sweep(&broker, LeaveGroupRequest::default(), done).await;
    sweep(&broker, SyncGroupRequest::default(), done).await;
    sweep(&broker, DescribeGroupsRequest::default(), done).await;
    sweep(&broker, ListGroupsRequest::default(), done).await;
    sweep(&broker, ApiVersionsRequest::default(), done).await;
    sweep(&broker, CreateTopicsRequest::default(), done).await;
    sweep(&broker, DeleteTopicsRequest::default(), done).await;
    sweep(&broker, DeleteRecordsRequest::default(), done).await;
    sweep(&broker, InitProducerIdRequest::default(), done).await;
    sweep(&broker, OffsetForLeaderEpochRequest::default(), done).await;
    sweep(&broker, AddOffsetsToTxnRequest::default(), done).await;
    sweep(&broker, EndTxnRequest::default(), done).await;
    sweep(&broker, WriteTxnMarkersRequest::default(), done).await;
    sweep(&broker, TxnOffsetCommitRequest::default(), done).await;
    sweep(&broker, AddPartitionsToTxnRequest::default(), done).await;
    sweep(&broker, DescribeProducersRequest::default(), done).await;
    sweep(&broker, DescribeTransactionsRequest::default(), done).await;
    sweep(&broker, ListTransactionsRequest::default().with_transactional_id_pattern(None), done).await;
    sweep(&broker, DescribeAclsRequest::default(), done).await;
    sweep(&broker, DescribeClientQuotasRequest::default(), done).await;
    sweep(&broker, AlterClientQuotasRequest::default(), done).await;
    sweep(&broker, CreateAclsRequest::default(), done).await;
    sweep(&broker, DeleteAclsRequest::default(), done).await;
    sweep(&broker, SaslHandshakeRequest::default(), done).await;
    sweep(&broker, SaslAuthenticateRequest::default(), done).await;
    sweep(&broker, DescribeUserScramCredentialsRequest::default(), done).await;
    sweep(&broker, AlterUserScramCredentialsRequest::default(), done).await;
    sweep(&broker, DescribeConfigsRequest::default(), done).await;
    sweep(&broker, AlterConfigsRequest::default(), done).await;
    sweep(&broker, DescribeLogDirsRequest::default(), done).await;
    sweep(&broker, CreatePartitionsRequest::default(), done).await;
    sweep(&broker, DeleteGroupsRequest::default(), done).await;
    sweep(&broker, IncrementalAlterConfigsRequest::default(), done).await;
    sweep(&broker, OffsetDeleteRequest::default(), done).await;
    sweep(&broker, DescribeClusterRequest::default(), done).await;
    sweep(&broker, ListConfigResourcesRequest::default(), done).await;
    sweep(&broker, ConsumerGroupHeartbeatRequest::default(), done).await;
    sweep(&broker, ConsumerGroupDescribeRequest::default(), done).await;
    sweep(&broker, ShareGroupHeartbeatRequest::default(), done).await;
    sweep(&broker, ShareGroupDescribeRequest::default(), done).await;
    sweep(&broker, ShareFetchRequest::default(), done).await;
    sweep(&broker, ShareAcknowledgeRequest::default(), done).await;
    sweep(&broker, DescribeShareGroupOffsetsRequest::default(), done).await;
    sweep(&broker, AlterShareGroupOffsetsRequest::default(), done).await;
    sweep(&broker, DeleteShareGroupOffsetsRequest::default(), done).await;
    sweep(&broker, DescribeTopicPartitionsRequest::default(), done).await;
    sweep(&broker, AlterReplicaLogDirsRequest::default(), done).await;
    sweep(&broker, ElectLeadersRequest::default(), done).await;
    sweep(&broker, AlterPartitionReassignmentsRequest::default(), done).await;
    sweep(&broker, ListPartitionReassignmentsRequest::default(), done).await;
    sweep(&broker, DescribeQuorumRequest::default(), done).await;
    sweep(&broker, UpdateFeaturesRequest::default(), done).await;
    swept.sort_unstable();
    let served: Vec<i16> = SERVED.iter().map(|versions| versions.key as i16).collect();
    assert_eq!(swept, served, "an API was added to SERVED and not to this test");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_versions_lists_exactly_what_is_served() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let request = ApiVersionsRequest::default().with_client_software_name(s("t")).with_client_software_version(s("1"));
    let listed = client.call(4, &request).await.api_keys;
    let listed: Vec<_> = listed.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let served: Vec<_> = SERVED.iter().map(|v| (v.key as i16, v.advertised_min, v.max)).collect();
    assert_eq!(listed, served);
}
