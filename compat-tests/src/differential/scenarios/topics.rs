//! CreateTopics, Metadata, DeleteTopics, CreatePartitions.

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use uuid::Uuid;

use crate::differential::context::Ctx;

/// The configs told at creation are compared by `describe_configs`; here only that there are some.
fn keep_no_configs(answer: &mut Value) {
    for topic in answer["topics"].as_array_mut().into_iter().flatten() {
        let some = topic["configs"].as_array().is_some_and(|configs| !configs.is_empty());
        topic["configs"] = if some { "some".into() } else { "none".into() };
    }
}

fn wanted(name: StrBytes, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(TopicName(name)).with_num_partitions(partitions).with_replication_factor(factor)
}

fn config(name: &'static str, value: Option<&'static str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(value.map(StrBytes::from_static_str))
}

fn assignment(partition: i32, brokers: &[BrokerId]) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(brokers.to_vec())
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000)
}

async fn node(ctx: &mut Ctx) -> anyhow::Result<BrokerId> {
    let cluster = ctx.quiet(0, &DescribeClusterRequest::default()).await?;
    Ok(cluster.brokers.first().map_or(BrokerId(0), |broker| broker.broker_id))
}

pub async fn create_topics(ctx: &mut Ctx) -> anyhow::Result<()> {
    let node = node(ctx).await?;
    for version in 2..=7 {
        let topic = wanted(ctx.name(&format!("v{version}")), 3, 1);
        let created = request(vec![topic.clone()]);
        ctx.call_where("validate only", version, &created.clone().with_validate_only(true), keep_no_configs).await?;
        ctx.call_where("new topic", version, &created, keep_no_configs).await?;
        ctx.call_where("the topic exists", version, &created, keep_no_configs).await?;
        ctx.call_where("validate only, the topic exists", version, &created.with_validate_only(true), keep_no_configs)
            .await?;
    }
    let name = |ctx: &Ctx, suffix: &str| ctx.name(suffix);
    let long = StrBytes::from_string("x".repeat(250));
    let bad = [
        ("no partitions", wanted(name(ctx, "bad"), 0, 1)),
        ("-2 partitions", wanted(name(ctx, "bad"), -2, 1)),
        ("no replicas", wanted(name(ctx, "bad"), 1, 0)),
        ("-2 replicas", wanted(name(ctx, "bad"), 1, -2)),
        ("invalid character in the name", wanted(StrBytes::from_static_str("a b"), 1, 1)),
        ("empty name", wanted(StrBytes::from_static_str(""), 1, 1)),
        ("name of dots", wanted(StrBytes::from_static_str(".."), 1, 1)),
        ("name of 250 characters", wanted(long, 1, 1)),
        ("unknown config", wanted(name(ctx, "bad"), 1, 1).with_configs(vec![config("no.such.config", Some("1"))])),
        (
            "config that is no number",
            wanted(name(ctx, "bad"), 1, 1).with_configs(vec![config("retention.ms", Some("soon"))]),
        ),
        (
            "config below its minimum",
            wanted(name(ctx, "bad"), 1, 1).with_configs(vec![config("retention.ms", Some("-2"))]),
        ),
        (
            "unknown cleanup policy",
            wanted(name(ctx, "bad"), 1, 1).with_configs(vec![config("cleanup.policy", Some("shred"))]),
        ),
        ("null config value", wanted(name(ctx, "bad"), 1, 1).with_configs(vec![config("retention.ms", None)])),
        ("partitions and assignments", wanted(name(ctx, "bad"), 1, 1).with_assignments(vec![assignment(0, &[node])])),
        (
            "assignment to an unknown broker",
            wanted(name(ctx, "bad"), -1, -1).with_assignments(vec![assignment(0, &[BrokerId(9_999)])]),
        ),
        (
            "assignments with a gap",
            wanted(name(ctx, "bad"), -1, -1).with_assignments(vec![assignment(0, &[node]), assignment(2, &[node])]),
        ),
        (
            "assignment with a broker twice",
            wanted(name(ctx, "bad"), -1, -1).with_assignments(vec![assignment(0, &[node, node])]),
        ),
        ("assignment without a broker", wanted(name(ctx, "bad"), -1, -1).with_assignments(vec![assignment(0, &[])])),
    ];
    for (label, topic) in bad {
        for version in [2, 7] {
            ctx.call_where(label, version, &request(vec![topic.clone()]), keep_no_configs).await?;
        }
    }
    let by_default = wanted(name(ctx, "defaults"), -1, -1);
    ctx.call_where("defaults", 4, &request(vec![by_default]), keep_no_configs).await?;
    let assigned =
        wanted(name(ctx, "assigned"), -1, -1).with_assignments(vec![assignment(0, &[node]), assignment(1, &[node])]);
    ctx.call_where("assignments", 7, &request(vec![assigned]), keep_no_configs).await?;
    let three = wanted(name(ctx, "three"), 1, 3);
    ctx.call_where("replication factor 3", 7, &request(vec![three]), keep_no_configs).await?;
    let twice =
        vec![wanted(name(ctx, "twice"), 1, 1), wanted(name(ctx, "twice"), 1, 1), wanted(name(ctx, "once"), 1, 1)];
    ctx.call_where("the same name twice", 7, &request(twice), keep_no_configs).await?;
    let mixed = vec![wanted(name(ctx, "good"), 2, 1), wanted(name(ctx, "bad"), 0, 1)];
    ctx.call_where("one good, one bad", 7, &request(mixed), keep_no_configs).await?;
    ctx.call("no topics", 7, &request(Vec::new())).await?;
    Ok(())
}

/// Keeps the topics of this scenario; a broker has others.
fn own_topics(prefix: &str) -> impl Fn(&mut Value) + use<> {
    let prefix = prefix.to_owned();
    move |answer| {
        if let Some(topics) = answer["topics"].as_array_mut() {
            topics.retain(|topic| topic["name"].as_str().is_none_or(|name| name.starts_with(&prefix)));
        }
    }
}

fn by_name(names: Vec<StrBytes>) -> MetadataRequest {
    let topics =
        names.into_iter().map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(name)))).collect();
    MetadataRequest::default().with_topics(Some(topics))
}

pub async fn metadata(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("known", 3, &[]).await?;
    let own = own_topics(&format!("{}.", ctx.prefix()));
    for version in 0..=13 {
        let forbids = |request: MetadataRequest| {
            if version >= 4 { request.with_allow_auto_topic_creation(false) } else { request }
        };
        let known = forbids(by_name(vec![ctx.name("known")]));
        ctx.call("known topic", version, &known).await?;
        if version >= 4 {
            let unknown = forbids(by_name(vec![ctx.name("unknown"), ctx.name("known")]));
            ctx.call("unknown and known topic", version, &unknown).await?;
            ctx.call("invalid name", version, &forbids(by_name(vec![StrBytes::from_static_str("a b")]))).await?;
        }
        let all = forbids(MetadataRequest::default().with_topics(if version == 0 { Some(Vec::new()) } else { None }));
        ctx.call_where("all topics", version, &all, &own).await?;
        if version >= 1 {
            ctx.call("no topics", version, &forbids(MetadataRequest::default().with_topics(Some(Vec::new())))).await?;
        }
        if version >= 12 {
            let by_id = |id| {
                MetadataRequest::default().with_topics(Some(vec![MetadataRequestTopic::default().with_topic_id(id)]))
            };
            ctx.call("known id", version, &by_id(id)).await?;
            ctx.call("unknown id", version, &by_id(Uuid::from_u128(7))).await?;
            let both = MetadataRequestTopic::default().with_topic_id(id).with_name(Some(TopicName(ctx.name("known"))));
            ctx.call("id and name", version, &MetadataRequest::default().with_topics(Some(vec![both]))).await?;
            let neither = MetadataRequest::default().with_topics(Some(vec![MetadataRequestTopic::default()]));
            ctx.call("neither id nor name", version, &neither).await?;
        }
    }
    for version in [8, 10] {
        let asked = by_name(vec![ctx.name("known")])
            .with_include_topic_authorized_operations(true)
            .with_include_cluster_authorized_operations(true);
        ctx.call("authorized operations", version, &asked).await?;
    }
    let twice = by_name(vec![ctx.name("known"), ctx.name("known")]);
    ctx.call("the same topic twice", 9, &twice).await?;
    Ok(())
}

pub async fn metadata_auto_create(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in [1, 4, 13] {
        let name = ctx.name(&format!("auto-v{version}"));
        let request = by_name(vec![name.clone()]);
        ctx.call("topic to be created", version, &request).await?;
        let mut partitions = 0;
        for _ in 0..200 {
            if let Some((_, epochs)) = ctx.metadata_of(&TopicName(name.clone())).await? {
                partitions = epochs.len();
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        ctx.record(format!("partitions created v{version}"), partitions.into());
    }
    let invalid = by_name(vec![StrBytes::from_static_str("not/valid")]);
    ctx.call("invalid name", 13, &invalid).await?;
    Ok(())
}

pub async fn delete_topics(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in 1..=6 {
        let name = format!("v{version}");
        ctx.create(&name, 1, &[]).await?;
        let delete = |names: Vec<StrBytes>| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
            if version >= 6 {
                request.with_topics(
                    names.into_iter().map(|n| DeleteTopicState::default().with_name(Some(TopicName(n)))).collect(),
                )
            } else {
                request.with_topic_names(names.into_iter().map(TopicName).collect())
            }
        };
        let both = delete(vec![ctx.name(&name), ctx.name("unknown")]);
        ctx.call("known and unknown", version, &both).await?;
        let gone = delete(vec![ctx.name(&name)]);
        ctx.call("deleted before", version, &gone).await?;
        ctx.call("invalid name", version, &delete(vec![StrBytes::from_static_str("a b")])).await?;
        ctx.call("none", version, &delete(Vec::new())).await?;
    }
    ctx.create("twice", 1, &[]).await?;
    let states = |states| DeleteTopicsRequest::default().with_timeout_ms(10_000).with_topics(states);
    let twice = DeleteTopicState::default().with_name(Some(ctx.topic("twice")));
    ctx.call("the same name twice", 6, &states(vec![twice.clone(), twice])).await?;
    let id = ctx.create("by-id", 1, &[]).await?;
    ctx.call("unknown id", 6, &states(vec![DeleteTopicState::default().with_topic_id(Uuid::from_u128(9))])).await?;
    let both = DeleteTopicState::default().with_topic_id(id).with_name(Some(ctx.topic("by-id")));
    ctx.call("id and name", 6, &states(vec![both])).await?;
    ctx.call("neither id nor name", 6, &states(vec![DeleteTopicState::default()])).await?;
    let by_id = DeleteTopicState::default().with_topic_id(id);
    ctx.call("known id", 6, &states(vec![by_id.clone()])).await?;
    ctx.call("id deleted before", 6, &states(vec![by_id])).await?;
    Ok(())
}

pub async fn create_partitions(ctx: &mut Ctx) -> anyhow::Result<()> {
    let node = node(ctx).await?;
    let topic = |name: TopicName, count: i32| {
        CreatePartitionsTopic::default().with_name(name).with_count(count).with_assignments(None)
    };
    let request = |topics| CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    for version in 0..=3 {
        let suffix = format!("v{version}");
        ctx.create(&suffix, 2, &[]).await?;
        let name = ctx.topic(&suffix);
        ctx.call("validate only", version, &request(vec![topic(name.clone(), 4)]).with_validate_only(true)).await?;
        ctx.call("more", version, &request(vec![topic(name.clone(), 4)])).await?;
        ctx.call("as many", version, &request(vec![topic(name.clone(), 4)])).await?;
        ctx.call("fewer", version, &request(vec![topic(name.clone(), 1)])).await?;
        ctx.call("zero", version, &request(vec![topic(name.clone(), 0)])).await?;
        let unknown = request(vec![topic(ctx.topic("unknown"), 4), topic(name, 5)]);
        ctx.call("unknown and known topic", version, &unknown).await?;
    }
    ctx.create("assigned", 1, &[]).await?;
    let assign = |count: i32, brokers: Vec<Vec<BrokerId>>| {
        let assignments =
            brokers.into_iter().map(|ids| CreatePartitionsAssignment::default().with_broker_ids(ids)).collect();
        CreatePartitionsTopic::default().with_count(count).with_assignments(Some(assignments))
    };
    for (label, wanted) in [
        ("an assignment too few", assign(3, vec![vec![node]])),
        ("assignment to an unknown broker", assign(2, vec![vec![BrokerId(9_999)]])),
        ("empty assignments", assign(2, Vec::new())),
        ("right assignments", assign(3, vec![vec![node], vec![node]])),
    ] {
        let name = ctx.topic("assigned");
        ctx.call(label, 3, &request(vec![wanted.with_name(name)])).await?;
    }
    let name = ctx.topic("assigned");
    ctx.call("the same topic twice", 3, &request(vec![topic(name.clone(), 7), topic(name, 8)])).await?;
    ctx.call("none", 3, &request(Vec::new())).await?;
    Ok(())
}
