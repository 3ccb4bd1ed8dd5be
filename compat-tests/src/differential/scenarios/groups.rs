//! Groups from outside: coordinators, offsets, lists, descriptions, deletions.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, JoinGroupRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;

use crate::differential::context::Ctx;

pub fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

pub async fn find_coordinator(ctx: &mut Ctx) -> anyhow::Result<()> {
    // The first question creates __consumer_offsets on a new Kafka broker; only a later one can be compared.
    coordinator_ready(ctx, &ctx.group("group")).await?;
    for version in 0..=6 {
        let request = |keys: Vec<StrBytes>, kind: i8| {
            let request = FindCoordinatorRequest::default();
            let request = if version >= 1 { request.with_key_type(kind) } else { request };
            if version >= 4 {
                request.with_coordinator_keys(keys)
            } else {
                request.with_key(keys.into_iter().next().unwrap_or_default())
            }
        };
        ctx.call("a group", version, &request(vec![ctx.name("group")], 0)).await?;
        ctx.call("an empty group id", version, &request(vec![text("")], 0)).await?;
        if version >= 1 {
            ctx.call_or_close("an unknown kind of key", version, &request(vec![ctx.name("group")], 9)).await?;
        }
        if version >= 4 {
            let several = vec![ctx.name("group"), ctx.name("other"), ctx.name("group")];
            ctx.call("three keys, one twice", version, &request(several, 0)).await?;
            ctx.call("no keys", version, &request(Vec::new(), 0)).await?;
        }
    }
    Ok(())
}

/// Waits until the group's coordinator answers.
pub async fn coordinator_ready(ctx: &mut Ctx, group: &GroupId) -> anyhow::Result<()> {
    for _ in 0..200 {
        let found = ctx.quiet(3, &FindCoordinatorRequest::default().with_key(group.0.clone())).await?;
        if found.error_code == 0 {
            let fetched = ctx.quiet(8, &fetch_all(vec![group.clone()])).await?;
            if fetched.groups.iter().all(|group| group.error_code == 0) {
                return Ok(());
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("no coordinator for {group:?} within 10 s")
}

fn fetch_all(groups: Vec<GroupId>) -> OffsetFetchRequest {
    let groups =
        groups.into_iter().map(|id| OffsetFetchRequestGroup::default().with_group_id(id).with_topics(None)).collect();
    OffsetFetchRequest::default().with_groups(groups)
}

/// A commit of one offset; `member` is member id and generation, none for a standalone consumer.
pub fn commit(
    version: i16,
    group: &GroupId,
    member: Option<(&StrBytes, i32)>,
    topic: &TopicName,
    partition: i32,
    offset: i64,
) -> OffsetCommitRequest {
    let (id, generation) = member.map_or((StrBytes::default(), -1), |(id, generation)| (id.clone(), generation));
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("näht")));
    let partition = if version >= 6 { partition.with_committed_leader_epoch(7) } else { partition };
    let topic = OffsetCommitRequestTopic::default().with_name(topic.clone()).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_member_id(id)
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic])
}

/// A question for offsets; `topics` none asks for all.
fn offsets(version: i16, group: &GroupId, topics: Option<Vec<(TopicName, Vec<i32>)>>) -> OffsetFetchRequest {
    if version >= 8 {
        let topics = topics.map(|topics| {
            topics
                .into_iter()
                .map(|(name, partitions)| {
                    OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(partitions)
                })
                .collect()
        });
        OffsetFetchRequest::default()
            .with_groups(vec![OffsetFetchRequestGroup::default().with_group_id(group.clone()).with_topics(topics)])
    } else {
        let topics = topics.map(|topics| {
            topics
                .into_iter()
                .map(|(name, partitions)| {
                    OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions)
                })
                .collect()
        });
        OffsetFetchRequest::default().with_group_id(group.clone()).with_topics(topics)
    }
}

pub async fn offset_commit_and_fetch(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    let topic = ctx.topic("topic");
    for version in 2..=9 {
        let group = ctx.group(&format!("v{version}"));
        coordinator_ready(ctx, &group).await?;
        ctx.call("a standalone commit", version, &commit(version, &group, None, &topic, 0, 42)).await?;
        ctx.call("an offset of -1", version, &commit(version, &group, None, &topic, 1, -1)).await?;
        let mut without = commit(version, &group, None, &topic, 0, 43);
        without.topics[0].partitions[0].committed_metadata = None;
        ctx.call("no metadata", version, &without).await?;
        ctx.call("no topics", version, &commit(version, &group, None, &topic, 0, 0).with_topics(Vec::new())).await?;
        let read = version.min(9);
        ctx.call(
            "both partitions and one that was never committed",
            read,
            &offsets(read, &group, Some(vec![(topic.clone(), vec![0, 1, 7])])),
        )
        .await?;
    }
    let group = ctx.group("v9");
    for version in 1..=9 {
        ctx.call("one partition", version, &offsets(version, &group, Some(vec![(topic.clone(), vec![0])]))).await?;
        ctx.call("unknown topic", version, &offsets(version, &group, Some(vec![(ctx.topic("unknown"), vec![0])])))
            .await?;
        ctx.call("no topics", version, &offsets(version, &group, Some(Vec::new()))).await?;
        ctx.call(
            "unknown group",
            version,
            &offsets(version, &ctx.group("unknown"), Some(vec![(topic.clone(), vec![0])])),
        )
        .await?;
        if version >= 2 {
            ctx.call("all", version, &offsets(version, &group, None)).await?;
            ctx.call("all of an unknown group", version, &offsets(version, &ctx.group("unknown"), None)).await?;
        }
        if version >= 7 {
            ctx.call("stable ones", version, &offsets(version, &group, None).with_require_stable(true)).await?;
        }
        if version >= 8 {
            ctx.call("two groups", version, &fetch_all(vec![ctx.group("v2"), ctx.group("unknown")])).await?;
            ctx.call("no groups", version, &OffsetFetchRequest::default()).await?;
        }
        ctx.call(
            "empty group id",
            version,
            &offsets(version, &GroupId::default(), Some(vec![(topic.clone(), vec![0])])),
        )
        .await?;
    }
    Ok(())
}

pub async fn offset_commit_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let stranger = text("no-such-member");
    for version in 2..=9 {
        ctx.call("unknown topic", version, &commit(version, &group, None, &ctx.topic("unknown"), 0, 1)).await?;
        ctx.call("unknown partition", version, &commit(version, &group, None, &topic, 9, 1)).await?;
        let mut mixed = commit(version, &group, None, &topic, 0, 1);
        mixed.topics.extend(commit(version, &group, None, &ctx.topic("unknown"), 0, 1).topics);
        ctx.call("known and unknown topic", version, &mixed).await?;
        let mut large = commit(version, &group, None, &topic, 0, 1);
        large.topics[0].partitions[0].committed_metadata = Some(StrBytes::from_string("m".repeat(4097)));
        ctx.call("metadata of 4097 bytes", version, &large).await?;
        ctx.call(
            "a generation without a member",
            version,
            &commit(version, &group, Some((&text(""), 3)), &topic, 0, 1),
        )
        .await?;
        ctx.call("unknown member", version, &commit(version, &group, Some((&stranger, 1)), &topic, 0, 1)).await?;
        ctx.call(
            "unknown member, no generation",
            version,
            &commit(version, &group, Some((&stranger, -1)), &topic, 0, 1),
        )
        .await?;
        let nobody = ctx.group("never-seen");
        ctx.call(
            "unknown member of an unknown group",
            version,
            &commit(version, &nobody, Some((&stranger, 1)), &topic, 0, 1),
        )
        .await?;
        ctx.call("empty group id", version, &commit(version, &GroupId::default(), None, &topic, 0, 1)).await?;
    }
    Ok(())
}

/// Keeps the groups of this scenario.
fn own_groups(prefix: &str) -> impl Fn(&mut Value) + use<> {
    let prefix = prefix.to_owned();
    move |answer| {
        if let Some(groups) = answer["groups"].as_array_mut() {
            groups.retain(|group| group["group_id"].as_str().is_some_and(|id| id.starts_with(&prefix)));
        }
    }
}

/// One member joins and gets its assignment; returns its member id. The generation is 1.
pub async fn join_alone(ctx: &mut Ctx, group: &GroupId) -> anyhow::Result<StrBytes> {
    coordinator_ready(ctx, group).await?;
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(&[0, 1, 2]));
    let request = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let joined = ctx.quiet(3, &request).await?;
    anyhow::ensure!(joined.error_code == 0, "joining {group:?}: error {}", joined.error_code);
    let member = joined.member_id;
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member.clone())
        .with_assignment(Bytes::from_static(&[7, 8]));
    let request = SyncGroupRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(joined.generation_id)
        .with_member_id(member.clone())
        .with_assignments(vec![assignment]);
    let synced = ctx.quiet(1, &request).await?;
    anyhow::ensure!(synced.error_code == 0, "syncing {group:?}: error {}", synced.error_code);
    Ok(member)
}

pub async fn group_administration(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    let (stable, offsets_only, unknown) = (ctx.group("stable"), ctx.group("offsets-only"), ctx.group("unknown"));
    let member = join_alone(ctx, &stable).await?;
    ctx.quiet(5, &commit(5, &stable, Some((&member, 1)), &topic, 0, 5)).await?;
    ctx.quiet(5, &commit(5, &offsets_only, None, &topic, 0, 5)).await?;
    let own = own_groups(&format!("{}.", ctx.prefix()));
    for version in 0..=6 {
        let request = |groups: &[&GroupId]| {
            DescribeGroupsRequest::default().with_groups(groups.iter().map(|&group| group.clone()).collect())
        };
        ctx.call("a stable group", version, &request(&[&stable])).await?;
        ctx.call("a group of offsets only", version, &request(&[&offsets_only])).await?;
        ctx.call("an unknown group", version, &request(&[&unknown])).await?;
        ctx.call("several", version, &request(&[&unknown, &stable])).await?;
        ctx.call("none", version, &request(&[])).await?;
        ctx.call("an empty group id", version, &request(&[&GroupId::default()])).await?;
        if version >= 3 {
            let asked = request(&[&offsets_only]).with_include_authorized_operations(true);
            ctx.call("authorized operations", version, &asked).await?;
        }
    }
    for version in 0..=5 {
        let request = ListGroupsRequest::default();
        ctx.call_where("all", version, &request, &own).await?;
        if version >= 4 {
            for state in ["Stable", "Empty", "stable", "Dead", "NoSuchState"] {
                let filtered = request.clone().with_states_filter(vec![text(state)]);
                ctx.call_where(&format!("in state {state}"), version, &filtered, &own).await?;
            }
        }
        if version >= 5 {
            for kind in ["classic", "Classic", "consumer", "nosuchtype"] {
                let filtered = request.clone().with_types_filter(vec![text(kind)]);
                ctx.call_where(&format!("of type {kind}"), version, &filtered, &own).await?;
            }
        }
    }
    for version in 0..=2 {
        let doomed = ctx.group(&format!("doomed-v{version}"));
        coordinator_ready(ctx, &doomed).await?;
        ctx.quiet(5, &commit(5, &doomed, None, &topic, 0, 5)).await?;
        let delete = |groups: Vec<GroupId>| DeleteGroupsRequest::default().with_groups_names(groups);
        ctx.call("a group with a member", version, &delete(vec![stable.clone()])).await?;
        ctx.call("an unknown group", version, &delete(vec![unknown.clone()])).await?;
        ctx.call("an empty group id", version, &delete(vec![GroupId::default()])).await?;
        ctx.call("an empty group", version, &delete(vec![doomed.clone()])).await?;
        ctx.call("the same again", version, &delete(vec![doomed.clone()])).await?;
        ctx.call("none", version, &delete(Vec::new())).await?;
        ctx.call("its offsets are gone", 7, &offsets(7, &doomed, Some(vec![(topic.clone(), vec![0])]))).await?;
    }
    Ok(())
}

pub async fn offset_delete(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    let topic = ctx.topic("topic");
    let request = |group: &GroupId, topic: &TopicName, partitions: &[i32]| {
        let partitions =
            partitions.iter().map(|&p| OffsetDeleteRequestPartition::default().with_partition_index(p)).collect();
        OffsetDeleteRequest::default()
            .with_group_id(group.clone())
            .with_topics(vec![OffsetDeleteRequestTopic::default().with_name(topic.clone()).with_partitions(partitions)])
    };
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    for partition in 0..2 {
        ctx.quiet(5, &commit(5, &group, None, &topic, partition, 5)).await?;
    }
    ctx.call("unknown group", 0, &request(&ctx.group("unknown"), &topic, &[0])).await?;
    ctx.call("empty group id", 0, &request(&GroupId::default(), &topic, &[0])).await?;
    ctx.call("unknown topic", 0, &request(&group, &ctx.topic("unknown"), &[0])).await?;
    ctx.call("unknown partition", 0, &request(&group, &topic, &[9])).await?;
    ctx.call("one of two", 0, &request(&group, &topic, &[0])).await?;
    ctx.call("what is left", 7, &offsets(7, &group, None)).await?;
    ctx.call("the same again", 0, &request(&group, &topic, &[0])).await?;
    ctx.call("no topics", 0, &request(&group, &topic, &[]).with_topics(Vec::new())).await?;
    Ok(())
}
