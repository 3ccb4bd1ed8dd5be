use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsResponse, FindCoordinatorResponse, MetadataResponse, OffsetFetchResponse,
    RequestKind, ResponseKind, TopicName,
};

use super::*;
use crate::config::ClientConfig;
use crate::testing::ScriptedBroker;

fn admin(
    versions: &[(ApiKey, i16, i16)],
    mut script: impl FnMut(i16, RequestKind) -> ResponseKind + Send + 'static,
) -> Admin {
    let mut versions = versions.to_vec();
    versions.extend([(ApiKey::Metadata, 0, 12), (ApiKey::FindCoordinator, 0, 4)]);
    let broker = ScriptedBroker::new(&versions, move |_, version, request| {
        let host = wire_text("b");
        Some(match request {
            RequestKind::Metadata(_) => {
                let broker = MetadataResponseBroker::default().with_host(host).with_port(1);
                let response = MetadataResponse::default().with_brokers(vec![broker]);
                ResponseKind::Metadata(response.with_controller_id(BrokerId(0)))
            }
            RequestKind::FindCoordinator(_) => {
                let found = Coordinator::default().with_host(host).with_port(1);
                let response = FindCoordinatorResponse::default().with_coordinators(vec![found]);
                ResponseKind::FindCoordinator(response)
            }
            request => script(version, request),
        })
    });
    let config = ClientConfig { bootstrap: vec!["b:1".parse().unwrap()], ..ClientConfig::default() };
    Admin::new(Client::with_connector(config, broker).unwrap())
}

#[tokio::test]
async fn each_topic_of_a_request_has_its_own_result() {
    let admin = admin(&[(ApiKey::CreateTopics, 2, 7)], |_, request| {
        let RequestKind::CreateTopics(request) = request else { panic!("unexpected {request:?}") };
        assert_eq!((request.topics[0].num_partitions, request.topics[0].replication_factor), (-1, -1));
        let topics = request.topics.iter().map(|topic| {
            let code = if &*topic.name.0 == "new" { 0 } else { 36 };
            CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(code).with_num_partitions(4)
        });
        ResponseKind::CreateTopics(CreateTopicsResponse::default().with_topics(topics.collect()))
    });
    let topics = ["new", "old"].map(|name| NewTopic { name: name.into(), ..NewTopic::default() });
    let results: BTreeMap<_, _> = admin.create_topics(&topics, false).await.unwrap().into_iter().collect();
    assert_eq!(results["new"].as_ref().unwrap().partitions, Some(4));
    let refused = results["old"].as_ref().unwrap_err();
    assert_eq!(refused.code(), Some(ResponseError::TopicAlreadyExists));
    assert!(refused.to_string().contains("topic `old`"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_controller_is_asked_again_after_metadata() {
    let mut asked = 0;
    let admin = admin(&[(ApiKey::CreateTopics, 2, 7)], move |_, request| {
        let RequestKind::CreateTopics(request) = request else { panic!("unexpected {request:?}") };
        asked += 1;
        let topic = CreatableTopicResult::default()
            .with_name(request.topics[0].name.clone())
            .with_error_code(if asked < 3 { 41 } else { 0 });
        ResponseKind::CreateTopics(CreateTopicsResponse::default().with_topics(vec![topic]))
    });
    let topics = [NewTopic { name: "a".into(), ..NewTopic::default() }];
    assert!(admin.create_topics(&topics, false).await.unwrap()[0].1.is_ok());
}

/// Version 8 moved the answer into a list of groups; both shapes mean the same, and -1 means that nothing is committed.
#[tokio::test]
async fn committed_offsets_are_read_from_old_and_new_answers() {
    for version in [7, 9] {
        let admin = admin(&[(ApiKey::OffsetFetch, 1, version)], move |used, _| {
            assert_eq!(used, version);
            let name = TopicName(wire_text("t"));
            let response = OffsetFetchResponse::default();
            ResponseKind::OffsetFetch(if version < 8 {
                let partitions = [(0, 5), (1, -1)].map(|(index, offset)| {
                    let partition = OffsetFetchResponsePartition::default().with_partition_index(index);
                    partition.with_committed_offset(offset).with_metadata(Some(wire_text("m")))
                });
                let topic = OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.to_vec());
                response.with_topics(vec![topic])
            } else {
                let partitions = [(0, 5), (1, -1)].map(|(index, offset)| {
                    let partition = OffsetFetchResponsePartitions::default().with_partition_index(index);
                    partition.with_committed_offset(offset).with_metadata(Some(wire_text("m")))
                });
                let topic = OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.to_vec());
                response.with_groups(vec![OffsetFetchResponseGroup::default().with_topics(vec![topic])])
            })
        });
        let committed = CommittedOffset { offset: 5, leader_epoch: None, metadata: "m".into() };
        assert_eq!(admin.group_offsets("g").await.unwrap(), BTreeMap::from([(("t".to_owned(), 0), committed)]));
    }
}
