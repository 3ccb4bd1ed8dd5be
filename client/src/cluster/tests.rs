use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataResponse, RequestKind, ResponseKind};

use super::*;
use crate::testing::ScriptedBroker;

const VERSIONS: &[(ApiKey, i16, i16)] = &[(ApiKey::Metadata, 0, 12), (ApiKey::FindCoordinator, 0, 4)];

fn name(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn metadata(leader: Option<i32>) -> ResponseKind {
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(7)).with_host(name("seven")).with_port(97);
    let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(leader.unwrap_or(-1)));
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(name("orders"))))
        .with_error_code(if leader.is_none() { 5 } else { 0 })
        .with_partitions(vec![partition]);
    let response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
    ResponseKind::Metadata(response.with_controller_id(BrokerId(7)))
}

fn client(broker: &ScriptedBroker) -> Client {
    let config = ClientConfig { bootstrap: vec!["boot:1".parse().unwrap()], ..ClientConfig::default() };
    Client::with_connector(config, broker.clone()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_leader_is_asked_for_until_there_is_one_and_then_reached_at_its_advertised_address() {
    let mut asked = 0;
    let broker = ScriptedBroker::new(VERSIONS, move |_, _, _| {
        asked += 1;
        Some(metadata((asked > 2).then_some(7)))
    });
    let client = client(&broker);
    assert_eq!(client.leader("orders", 0).await.unwrap(), 7);
    let error = client.leader("orders", 1).await.unwrap_err();
    assert_eq!(error.to_string(), "topic `orders` has partitions 0 to 0, not 1");
    client.broker(7).await.unwrap();
    client.broker(7).await.unwrap();
    let connections: Vec<_> = broker.connections.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(connections, ["boot:1", "seven:97"]);
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_is_retried_while_it_loads_remembered_and_forgotten_on_demand() {
    let mut asked = 0;
    let broker = ScriptedBroker::new(VERSIONS, move |_, _, request| {
        let RequestKind::FindCoordinator(request) = request else { panic!("unexpected {request:?}") };
        assert_eq!(request.coordinator_keys, [name("g")]);
        asked += 1;
        let found = Coordinator::default()
            .with_error_code(if asked == 1 { 15 } else { 0 })
            .with_node_id(BrokerId(asked))
            .with_host(name("seven"))
            .with_port(97);
        Some(ResponseKind::FindCoordinator(FindCoordinatorResponse::default().with_coordinators(vec![found])))
    });
    let client = client(&broker);
    assert_eq!(client.coordinator_of("g").await.unwrap().id, 2);
    assert_eq!(client.coordinator_of("g").await.unwrap().id, 2);
    client.forget_coordinator("g");
    assert_eq!(client.coordinator_of("g").await.unwrap().id, 3);
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_fails_at_once_unless_it_may_be_created() {
    let mut asked = 0;
    let broker = ScriptedBroker::new(VERSIONS, move |_, _, request| {
        let RequestKind::Metadata(request) = request else { panic!("unexpected {request:?}") };
        asked += 1;
        if request.allow_auto_topic_creation && asked > 3 {
            return Some(metadata(Some(7)));
        }
        let topic = MetadataResponseTopic::default().with_name(Some(TopicName(name("orders")))).with_error_code(3);
        Some(ResponseKind::Metadata(MetadataResponse::default().with_topics(vec![topic])))
    });
    let client = client(&broker);
    let error = client.topic_info("orders", AutoCreate::Forbidden).await.unwrap_err();
    assert_eq!(error.code(), Some(ResponseError::UnknownTopicOrPartition));
    assert!(error.to_string().contains("topic `orders`"), "{error}");
    assert_eq!(client.topic_info("orders", AutoCreate::Allowed).await.unwrap().partitions.len(), 1);
}
