//! Topics, configs and the description of the cluster.
use kafka_protocol::messages::alter_configs_request as alter;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeAclsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use weir_protocol::records::Compression;

use crate::harness::*;

fn creatable(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(partitions).with_replication_factor(3)
}

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic_name(name)))
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_api_versions_are_answered_with_the_range() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let mut body = vec![0, 18, 0, 99, 0, 0, 0, 77];
    body.extend([0, 1, b'x', 0, 2, b'a', 2, b'1', 0]);
    client.send_raw(&body).await;
    let answer = client.receive_raw().await.unwrap();
    assert_eq!(answer[..], [0, 0, 0, 77, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    let request = ApiVersionsRequest::default().with_client_software_name(s("t")).with_client_software_version(s("1"));
    for version in 0..=4 {
        let versions = client.call(version, &request).await;
        assert_eq!(versions.error_code, 0);
        assert!(versions.api_keys.len() > 25);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_described_grown_and_deleted() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    for version in 2..=7 {
        let name = format!("t{version}");
        let config = CreatableTopicConfig::default().with_name(s("retention.ms")).with_value(Some(s("1234")));
        let topic = creatable(&name, 2).with_configs(vec![config]);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000);
        let dry = client.call(version, &request.clone().with_validate_only(true)).await;
        assert_eq!(dry.topics[0].error_code, 0, "validate_only v{version}: {:?}", dry.topics[0].error_message);
        let created = client.call(version, &request).await;
        let result = &created.topics[0];
        assert_eq!(result.error_code, 0, "v{version}: {:?}", result.error_message);
        if version >= 5 {
            assert_eq!((result.num_partitions, result.replication_factor), (2, 1));
            let configs = result.configs.as_ref().unwrap();
            let set = configs.iter().find(|c| c.name.as_str() == "retention.ms").unwrap();
            assert_eq!((set.value.as_deref(), set.config_source), (Some("1234"), 1));
        }
        assert_eq!(client.call(version, &request).await.topics[0].error_code, 36);
    }
    for (topic, code) in [
        (creatable("bad name!", 1), 17),
        (creatable("none", 0), 37),
        (creatable("zero", 1).with_replication_factor(0), 38),
        (
            creatable("cfg", 1).with_configs(vec![
                CreatableTopicConfig::default().with_name(s("retention.mss")).with_value(Some(s("1"))),
            ]),
            40,
        ),
    ] {
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000);
        let result = client.call(7, &request).await.topics[0].clone();
        assert_eq!(result.error_code, code, "{:?}", result.error_message);
    }
    for version in 0..=3 {
        let count = 3 + i32::from(version);
        let grow =
            CreatePartitionsTopic::default().with_name(topic_name("t7")).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![grow]).with_timeout_ms(5000);
        assert_eq!(client.call(version, &request).await.results[0].error_code, 0, "v{version}");
        assert_eq!(client.call(version, &request).await.results[0].error_code, 37);
    }
    let metadata = client.call(12, &MetadataRequest::default().with_topics(Some(vec![by_name("t7")]))).await;
    assert_eq!(metadata.topics[0].partitions.len(), 6);
    let t7 = Topic { name: "t7".into(), id: metadata.topics[0].topic_id };
    assert_eq!(client.produce(9, &t7, 5, -1, batch(Compression::None, &["x"])).await.error_code, 0);
    for version in 1..=5 {
        let name = format!("t{}", version + 1);
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&name)]).with_timeout_ms(5000);
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0, "v{version}");
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 3);
    }
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(t7.id);
    let request = DeleteTopicsRequest::default().with_topics(vec![by_id]).with_timeout_ms(5000);
    let deleted = client.call(6, &request).await.responses[0].clone();
    assert_eq!((deleted.error_code, deleted.name), (0, Some(topic_name("t7"))));
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 100);
    assert_eq!(client.fetch(13, &t7, 5, 0).await.error_code, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_names_this_broker_and_creates_topics_on_demand() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let id = client.create_topic("t", 3, &[]).await;
    for version in 0..=13 {
        let topics = if version == 0 { Some(vec![]) } else { None };
        let all = client.call(version, &MetadataRequest::default().with_topics(topics)).await;
        assert_eq!(format!("{}:{}", all.brokers[0].host, all.brokers[0].port), broker.address().to_string());
        let names: Vec<String> = all.topics.iter().map(|t| t.name.as_ref().unwrap().to_string()).collect();
        assert!(names.contains(&"t".to_owned()), "v{version}");
        if version >= 1 {
            let none = client.call(version, &MetadataRequest::default().with_topics(Some(vec![]))).await;
            assert_eq!(none.topics.len(), 0, "v{version}");
        }
        let one = client.call(version, &MetadataRequest::default().with_topics(Some(vec![by_name("t")]))).await;
        let partition = &one.topics[0].partitions[2];
        assert_eq!((partition.partition_index, partition.leader_id), (2, one.brokers[0].node_id));
        assert_eq!((partition.replica_nodes.len(), partition.isr_nodes.len()), (1, 1));
        if version >= 10 {
            assert_eq!(one.topics[0].topic_id, id);
        }
    }
    let ask = |name: &str, create: bool| {
        MetadataRequest::default().with_topics(Some(vec![by_name(name)])).with_allow_auto_topic_creation(create)
    };
    assert_eq!(client.call(12, &ask("auto", false)).await.topics[0].error_code, 3);
    assert_eq!(client.call(12, &ask("auto", true)).await.topics[0].error_code, 3, "whoever creates it asks again");
    assert_eq!(client.call(12, &ask("auto", false)).await.topics[0].error_code, 0);
    assert_eq!(client.call(12, &ask("no good", true)).await.topics[0].error_code, 17);
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let found = client.call(12, &MetadataRequest::default().with_topics(Some(vec![by_id.clone()]))).await;
    assert_eq!(found.topics[0].name, Some(topic_name("t")));
    let unknown = by_id.with_topic_id(uuid::Uuid::from_u128(5));
    let missing = client.call(12, &MetadataRequest::default().with_topics(Some(vec![unknown]))).await;
    assert_eq!((missing.topics[0].error_code, &missing.topics[0].name), (100, &None));
    let operations = client.call(8, &ask("t", false).with_include_topic_authorized_operations(true)).await;
    assert_eq!(operations.topics[0].topic_authorized_operations, 3576);
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_are_described_and_altered() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[("retention.ms", "5000")]).await;
    let describe = async |client: &mut Client, version: i16, key: &str| {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(s("t"))
            .with_configuration_keys(Some(vec![s(key)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
        let response = client.call(version, &request).await;
        assert_eq!(response.results[0].error_code, 0, "v{version}");
        let config = response.results[0].configs[0].clone();
        (config.value.map(|v| v.to_string()), config.config_source)
    };
    for version in 1..=4 {
        assert_eq!(describe(&mut client, version, "retention.ms").await, (Some("5000".into()), 1), "v{version}");
        assert_eq!(describe(&mut client, version, "cleanup.policy").await, (Some("delete".into()), 5), "v{version}");
    }
    let change = async |client: &mut Client, version: i16, name: &str, operation: i8, value: Option<&str>| {
        let config = incremental::AlterableConfig::default()
            .with_name(s(name))
            .with_config_operation(operation)
            .with_value(value.map(s));
        let resource = incremental::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(s("t"))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        client.call(version, &request).await.responses[0].error_code
    };
    assert_eq!(change(&mut client, 0, "retention.ms", 0, Some("77")).await, 0);
    assert_eq!(describe(&mut client, 4, "retention.ms").await.0.as_deref(), Some("77"));
    assert_eq!(change(&mut client, 1, "cleanup.policy", 2, Some("compact")).await, 0);
    assert_eq!(describe(&mut client, 4, "cleanup.policy").await.0.as_deref(), Some("delete,compact"));
    assert_eq!(change(&mut client, 1, "cleanup.policy", 3, Some("delete")).await, 0);
    assert_eq!(describe(&mut client, 4, "cleanup.policy").await.0.as_deref(), Some("compact"));
    assert_eq!(change(&mut client, 1, "retention.ms", 1, None).await, 0);
    assert_eq!(describe(&mut client, 4, "retention.ms").await.1, 5);
    assert_eq!(change(&mut client, 1, "retention.ms", 0, Some("soon")).await, 40);
    assert_eq!(change(&mut client, 1, "no.such", 0, Some("1")).await, 40);
    for version in 0..=2 {
        let config = alter::AlterableConfig::default().with_name(s("segment.bytes")).with_value(Some(s("2000000")));
        let resource = alter::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(s("t"))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource]);
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0, "v{version}");
    }
    assert_eq!(describe(&mut client, 4, "cleanup.policy").await.1, 5, "AlterConfigs replaces everything");
    let broker_resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(s("1"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![broker_resource]);
    let described = client.call(4, &request).await;
    assert_eq!(described.results[0].error_code, 0);
    assert!(!described.results[0].configs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn consoles_find_cluster_coordinators_disks_and_pages_of_partitions() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = Topic { name: "t".into(), id: client.create_topic("t", 4, &[]).await };
    client.produce(9, &t, 2, -1, batch(Compression::None, &["some bytes"])).await;
    for version in 0..=2 {
        let cluster = client.call(version, &DescribeClusterRequest::default()).await;
        assert_eq!((cluster.error_code, cluster.brokers.len()), (0, 1));
        assert!(!cluster.cluster_id.is_empty());
    }
    for version in 0..=6 {
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec![s("g")];
        } else {
            request.key = s("g");
        }
        let found = client.call(version, &request).await;
        let port = found.coordinators.first().map_or(found.port, |c| c.port);
        assert_eq!(port, i32::from(broker.address().port()), "v{version}");
    }
    for version in 1..=4 {
        let dirs = client.call(version, &DescribeLogDirsRequest::default().with_topics(None)).await;
        let topic = dirs.results[0].topics.iter().find(|found| *found.name == *"t").unwrap();
        let partition = topic.partitions.iter().find(|p| p.partition_index == 2).unwrap();
        assert!(partition.partition_size > 60, "v{version}");
        if version >= 4 {
            assert!(dirs.results[0].total_bytes > dirs.results[0].usable_bytes && dirs.results[0].usable_bytes > 0);
        }
    }
    let acls = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    assert_eq!(client.call(3, &acls).await.error_code, 54);
    let page = client.call(0, &DescribeTopicPartitionsRequest::default().with_response_partition_limit(3)).await;
    assert!(page.next_cursor.is_some());
}

/// librdkafka 2.16 writes the null topics of Metadata 13 as four bytes, so that three bytes follow the request; Kafka does
/// not mind, and `list_topics()` of confluent-kafka depends on it.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_a_request_are_ignored() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let mut recorded = vec![0, 3, 0, 13, 0, 0, 0, 3, 0, 7];
    recorded.extend(b"rdkafka");
    recorded.extend([0, 0, 0, 0, 0, 1, 0, 0]);
    client.send_raw(&recorded).await;
    let answer = client.receive_raw().await.expect("the connection stays open");
    assert_eq!(answer[..4], [0, 0, 0, 3]);
}
