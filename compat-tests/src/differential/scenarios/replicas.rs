//! What tools ask about replicas, the controllers' quorum and features: on one node most of it can only be told, not changed.

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId, DescribeLogDirsRequest,
    DescribeQuorumRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest, TopicName, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::differential::context::Ctx;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub async fn elect_leaders(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    let wanted = |topic: TopicName, partitions: Vec<i32>| {
        let topics = vec![TopicPartitions::default().with_topic(topic).with_partitions(partitions)];
        ElectLeadersRequest::default().with_topic_partitions(Some(topics)).with_timeout_ms(10_000)
    };
    for version in 0..=2 {
        let (topic, unknown) = (ctx.topic("topic"), ctx.topic("unknown"));
        ctx.call("the leader leads", version, &wanted(topic.clone(), vec![0, 1])).await?;
        ctx.call("unknown partition", version, &wanted(topic.clone(), vec![9])).await?;
        ctx.call("unknown topic", version, &wanted(unknown, vec![0])).await?;
        ctx.call("no partitions", version, &wanted(topic.clone(), Vec::new())).await?;
        ctx.call("the same partition twice", version, &wanted(topic.clone(), vec![0, 0])).await?;
        let none = ElectLeadersRequest::default().with_timeout_ms(10_000);
        ctx.call("no topics", version, &none.clone().with_topic_partitions(Some(Vec::new()))).await?;
        let own = topic.to_string();
        let keep = |answer: &mut Value| {
            if let Some(results) = answer["replica_election_results"].as_array_mut() {
                results.retain(|result| result["topic"] == own.as_str());
            }
        };
        ctx.call_where("every partition", version, &none.with_topic_partitions(None), keep).await?;
        if version >= 1 {
            ctx.call("unclean", version, &wanted(topic.clone(), vec![0]).with_election_type(1)).await?;
            ctx.call_or_close("unknown election type", version, &wanted(topic, vec![0]).with_election_type(7)).await?;
        }
    }
    Ok(())
}

pub async fn partition_reassignments(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let request = |topic: TopicName, partition: i32, replicas: Option<Vec<i32>>| {
        let replicas = replicas.map(|ids| ids.into_iter().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        let topic = ReassignableTopic::default().with_name(topic).with_partitions(vec![partition]);
        AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
    };
    for version in 0..=1 {
        let (topic, unknown) = (ctx.topic("topic"), ctx.topic("unknown"));
        let cases = [
            ("where it is", request(topic.clone(), 0, Some(vec![1]))),
            ("to nobody", request(topic.clone(), 0, Some(Vec::new()))),
            ("to an unknown broker", request(topic.clone(), 0, Some(vec![77]))),
            ("to a negative broker", request(topic.clone(), 0, Some(vec![-5]))),
            ("to the same broker twice", request(topic.clone(), 0, Some(vec![1, 1]))),
            ("to two brokers", request(topic.clone(), 0, Some(vec![1, 77]))),
            ("cancelled", request(topic.clone(), 0, None)),
            ("unknown partition", request(topic.clone(), 9, Some(vec![1]))),
            ("unknown topic", request(unknown.clone(), 0, Some(vec![1]))),
            ("cancelled for an unknown topic", request(unknown, 0, None)),
        ];
        for (label, request) in cases {
            ctx.call(label, version, &request).await?;
            if version >= 1 {
                let label = format!("{label}, as many replicas as before");
                ctx.call(&label, version, &request.with_allow_replication_factor_change(false)).await?;
            }
        }
        let none = AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000);
        ctx.call("no topics", version, &none).await?;
    }
    let listed = |topics: Option<Vec<(TopicName, Vec<i32>)>>| {
        let topics = topics.map(|topics| {
            let topic = |(name, partitions)| {
                ListPartitionReassignmentsTopics::default().with_name(name).with_partition_indexes(partitions)
            };
            topics.into_iter().map(topic).collect()
        });
        ListPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(10_000)
    };
    ctx.call("all", 0, &listed(None)).await?;
    ctx.call("no topics", 0, &listed(Some(Vec::new()))).await?;
    ctx.call("one topic", 0, &listed(Some(vec![(ctx.topic("topic"), vec![0])]))).await?;
    ctx.call("unknown topic", 0, &listed(Some(vec![(ctx.topic("unknown"), vec![0])]))).await?;
    ctx.call("unknown partition", 0, &listed(Some(vec![(ctx.topic("topic"), vec![9])]))).await?;
    Ok(())
}

/// Offsets and epochs of the quorum grow with everything that happens; what is compared is that they are told.
fn without_progress(answer: &mut Value) {
    for topic in answer["topics"].as_array_mut().into_iter().flatten() {
        for partition in topic["partitions"].as_array_mut().into_iter().flatten() {
            told(partition, "high_watermark");
            for list in ["current_voters", "observers"] {
                for replica in partition[list].as_array_mut().into_iter().flatten() {
                    ["log_end_offset", "last_fetch_timestamp", "last_caught_up_timestamp"]
                        .iter()
                        .for_each(|field| told(replica, field));
                    replica["replica_id"] = json!("<node>");
                    replica["replica_directory_id"] = json!("<directory>");
                }
            }
        }
    }
    for node in answer["nodes"].as_array_mut().into_iter().flatten() {
        node["listeners"] = json!(node["listeners"].as_array().is_some_and(|listeners| !listeners.is_empty()));
    }
}

fn told(object: &mut Value, field: &str) {
    if object[field].as_i64().is_some_and(|number| number >= 0) {
        object[field] = json!("<told>");
    }
}

pub async fn describe_quorum(ctx: &mut Ctx) -> anyhow::Result<()> {
    let request = |topic: TopicName, partitions: &[i32]| {
        let partitions = partitions.iter().map(|index| PartitionData::default().with_partition_index(*index));
        let topic = TopicData::default().with_topic_name(topic).with_partitions(partitions.collect());
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    let metadata = TopicName(text("__cluster_metadata"));
    for version in 0..=2 {
        ctx.call_where("the quorum", version, &request(metadata.clone(), &[0]), without_progress).await?;
        ctx.call_where("another partition", version, &request(metadata.clone(), &[1]), without_progress).await?;
        ctx.call_where("another topic", version, &request(ctx.topic("topic"), &[0]), without_progress).await?;
        ctx.call_where("no topics", version, &DescribeQuorumRequest::default(), without_progress).await?;
    }
    Ok(())
}

pub async fn update_features(ctx: &mut Ctx) -> anyhow::Result<()> {
    let request = |updates: Vec<(&'static str, i16)>| {
        let updates = updates.into_iter().map(|(name, level)| {
            FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(level).with_upgrade_type(1)
        });
        UpdateFeaturesRequest::default().with_feature_updates(updates.collect()).with_timeout_ms(10_000)
    };
    for version in 0..=2 {
        ctx.call("an unknown feature", version, &request(vec![("no.such.feature", 1)])).await?;
        ctx.call("a known and an unknown feature", version, &request(vec![("no.such.feature", 1), ("other", 2)]))
            .await?;
        ctx.call("no features", version, &request(Vec::new())).await?;
        ctx.call("a negative level", version, &request(vec![("no.such.feature", -1)])).await?;
        if version >= 1 {
            ctx.call("only validated", version, &request(vec![("no.such.feature", 1)]).with_validate_only(true))
                .await?;
            let mut unknown = request(vec![("no.such.feature", 1)]);
            unknown.feature_updates[0].upgrade_type = 9;
            ctx.call("unknown upgrade type", version, &unknown).await?;
        }
    }
    Ok(())
}

pub async fn alter_replica_log_dirs(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let all = ctx.quiet(2, &DescribeLogDirsRequest::default().with_topics(None)).await?;
    let here = all.results.first().map(|result| result.log_dir.clone()).unwrap_or_default();
    let request = |path: StrBytes, topic: TopicName, partition: i32| {
        let topic = AlterReplicaLogDirTopic::default().with_name(topic).with_partitions(vec![partition]);
        let dir = AlterReplicaLogDir::default().with_path(path).with_topics(vec![topic]);
        AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])
    };
    for version in 1..=2 {
        let topic = ctx.topic("topic");
        ctx.call("where it is", version, &request(here.clone(), topic.clone(), 0)).await?;
        ctx.call("to an unknown directory", version, &request(text("/no/such/folder"), topic.clone(), 0)).await?;
        ctx.call("to a relative directory", version, &request(text("folder"), topic.clone(), 0)).await?;
        ctx.call("unknown partition", version, &request(here.clone(), topic.clone(), 9)).await?;
        ctx.call("unknown topic", version, &request(here.clone(), ctx.topic("unknown"), 0)).await?;
        let unknown = request(text("/no/such/folder"), ctx.topic("unknown"), 0);
        ctx.call("unknown topic to an unknown directory", version, &unknown).await?;
        ctx.call("no directories", version, &AlterReplicaLogDirsRequest::default()).await?;
    }
    Ok(())
}

pub async fn list_config_resources(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let own = ctx.topic("topic").to_string();
    // The topics of other scenarios come and go.
    let keep = |answer: &mut Value| {
        if let Some(resources) = answer["config_resources"].as_array_mut() {
            resources.retain(|resource| resource["resource_type"] != 2 || resource["resource_name"] == own.as_str());
            resources.sort_by_key(|resource| resource["resource_type"].as_i64());
        }
    };
    ctx.call_where("client metrics", 0, &ListConfigResourcesRequest::default(), keep).await?;
    for types in [vec![2], vec![4], vec![8], vec![16], vec![32], vec![2, 4], vec![3], vec![0]] {
        let label = format!("of type {types:?}");
        ctx.call_where(&label, 1, &ListConfigResourcesRequest::default().with_resource_types(types), keep).await?;
    }
    ctx.call_where("of every type", 1, &ListConfigResourcesRequest::default(), keep).await?;
    Ok(())
}
