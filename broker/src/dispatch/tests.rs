use weir_storage::memory::Share;

use super::*;

#[test]
fn every_served_api_is_known_to_the_frame_check_and_the_guard() {
    for served in api::SERVED {
        let key = served.key as i16;
        assert!(guard::decodable_versions(key).is_some_and(|(min, max)| min <= served.min && served.max <= max));
        for version in served.min..=served.max {
            assert!(check_served(key, version).is_ok(), "{:?} {version}", served.key);
        }
        let beyond = check_served(key, served.max + 1);
        assert_eq!(beyond.is_ok(), served.key == ApiKey::ApiVersions, "{:?}", served.key);
    }
    assert!(matches!(check_served(-1, 0), Err(Refused::NotServed { key: -1 })));
    assert!(matches!(check_served(0, 2), Err(Refused::UnsupportedVersion { min: 3, .. })));
}

#[test]
fn error_codes_are_found_at_every_depth() {
    use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
    let partition = |code| MetadataResponsePartition::default().with_error_code(code);
    let topic = MetadataResponseTopic::default().with_error_code(3).with_partitions(vec![partition(0), partition(5)]);
    let response = MetadataResponse::default().with_topics(vec![topic]);
    let mut found = Vec::new();
    response.each_error(&mut |code| found.push(code));
    assert_eq!(found, [3, 0, 5]);
}

/// A frame with the request in which everything has its default.
fn default_request(api: ApiKey, version: i16) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i16(api as i16);
    frame.put_i16(version);
    frame.put_i32(42);
    frame.put_i16(-1);
    if weir_protocol::frame::request_header_version(api as i16, version) == Some(2) {
        frame.put_u8(0);
    }
    macro_rules! encode_default {
        ($($api:ident => $request:ident),* $(,)?) => {
            match api {
                $(ApiKey::$api => $request::default().encode(&mut frame, version).unwrap(),)*
                other => panic!("add {other:?} to this list"),
            }
        };
    }
    encode_default!(
        Produce => ProduceRequest, Fetch => FetchRequest, ListOffsets => ListOffsetsRequest, Metadata => MetadataRequest,
        OffsetCommit => OffsetCommitRequest, OffsetFetch => OffsetFetchRequest, JoinGroup => JoinGroupRequest,
        FindCoordinator => FindCoordinatorRequest, Heartbeat => HeartbeatRequest, LeaveGroup => LeaveGroupRequest,
        SyncGroup => SyncGroupRequest, DescribeGroups => DescribeGroupsRequest, ListGroups => ListGroupsRequest,
        ApiVersions => ApiVersionsRequest, CreateTopics => CreateTopicsRequest, DeleteTopics => DeleteTopicsRequest,
        DeleteRecords => DeleteRecordsRequest, InitProducerId => InitProducerIdRequest,
        OffsetForLeaderEpoch => OffsetForLeaderEpochRequest, DescribeAcls => DescribeAclsRequest,
        DescribeClientQuotas => DescribeClientQuotasRequest, AlterClientQuotas => AlterClientQuotasRequest,
        CreateAcls => CreateAclsRequest, DeleteAcls => DeleteAclsRequest,
        DescribeConfigs => DescribeConfigsRequest, AlterConfigs => AlterConfigsRequest,
        DescribeLogDirs => DescribeLogDirsRequest, CreatePartitions => CreatePartitionsRequest,
        DeleteGroups => DeleteGroupsRequest, IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
        OffsetDelete => OffsetDeleteRequest, DescribeCluster => DescribeClusterRequest,
        ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest, ConsumerGroupDescribe => ConsumerGroupDescribeRequest,
        ElectLeaders => ElectLeadersRequest, AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
        ListPartitionReassignments => ListPartitionReassignmentsRequest, DescribeQuorum => DescribeQuorumRequest,
        UpdateFeatures => UpdateFeaturesRequest, AlterReplicaLogDirs => AlterReplicaLogDirsRequest,
        ListConfigResources => ListConfigResourcesRequest, DescribeTopicPartitions => DescribeTopicPartitionsRequest,
        AddPartitionsToTxn => AddPartitionsToTxnRequest, AddOffsetsToTxn => AddOffsetsToTxnRequest,
        EndTxn => EndTxnRequest, WriteTxnMarkers => WriteTxnMarkersRequest, TxnOffsetCommit => TxnOffsetCommitRequest,
        DescribeProducers => DescribeProducersRequest, DescribeTransactions => DescribeTransactionsRequest,
        ListTransactions => ListTransactionsRequest, SaslHandshake => SaslHandshakeRequest,
        SaslAuthenticate => SaslAuthenticateRequest, DescribeUserScramCredentials => DescribeUserScramCredentialsRequest,
        AlterUserScramCredentials => AlterUserScramCredentialsRequest,
        ShareGroupHeartbeat => ShareGroupHeartbeatRequest, ShareGroupDescribe => ShareGroupDescribeRequest,
        ShareFetch => ShareFetchRequest, ShareAcknowledge => ShareAcknowledgeRequest,
        DescribeShareGroupOffsets => DescribeShareGroupOffsetsRequest,
        AlterShareGroupOffsets => AlterShareGroupOffsetsRequest,
        DeleteShareGroupOffsets => DeleteShareGroupOffsetsRequest,
    );
    frame
}

#[tokio::test]
async fn every_api_and_version_reaches_its_handler_and_answers_in_its_version() {
    use crate::broker::{Advertised, Listener};
    let broker = api::testing::broker().await;
    let advertised = Advertised { host: "localhost".to_owned(), port: 1 };
    let listener = Arc::new(Listener { name: "kafka".to_owned(), advertised });
    let connection = Arc::new(Connection::new(1, ([127, 0, 0, 1], 9).into(), listener));
    for served in api::SERVED {
        for version in served.min..=served.max {
            let request = default_request(served.key, version);
            let memory = broker.memory().reserve(Share::Requests, request.len()).await;
            let mut authenticator = Authenticator::new(connection.clone(), None);
            let accepted = accept(&broker.broker, &connection, &mut authenticator, request, memory).await;
            let accepted = accepted.unwrap_or_else(|refused| panic!("{:?} {version}: {refused}", served.key));
            match answer(&broker.broker, accepted).await {
                Ok(Answer::Send(parts, _)) => {
                    let bytes = parts.concat();
                    assert_eq!(bytes[..4], ((bytes.len() - 4) as i32).to_be_bytes(), "{:?} {version}", served.key);
                    assert_eq!(bytes[4..8], 42i32.to_be_bytes());
                }
                Ok(Answer::Silent) => assert_eq!(served.key, ApiKey::Produce),
                Ok(Answer::Close) => panic!("{:?} {version}", served.key),
                Err(refused) => panic!("{:?} {version}: {refused}", served.key),
            }
        }
    }
}
