//! Groups of the consumer protocol (KIP-848): joining, epochs, assignments, static members, commits, descriptions.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    HeartbeatRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use uuid::Uuid;

use super::groups::{commit, coordinator_ready, text};
use crate::differential::context::Ctx;

fn joining(group: &GroupId, member: &str, topics: &[TopicName]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_rebalance_timeout_ms(20_000)
        .with_subscribed_topic_names(Some(topics.to_vec()))
        .with_topic_partitions(Some(Vec::new()))
}

fn beating(group: &GroupId, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_member_epoch(epoch)
}

fn owning(id: Uuid, partitions: &[i32]) -> Option<Vec<TopicPartitions>> {
    Some(vec![TopicPartitions::default().with_topic_id(id).with_partitions(partitions.to_vec())])
}

/// Apache Kafka's groups begin with epoch 2, weir's with 1: epochs are recorded as if they began with 1.
fn from_one(first: i32) -> impl Fn(&mut Value) {
    move |value| shift(value, i64::from(first) - 1)
}

fn shift(value: &mut Value, by: i64) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.ends_with("_epoch"), value.as_i64()) {
                    (true, Some(epoch)) if epoch > 0 => *value = Value::from(epoch - by),
                    _ => shift(value, by),
                }
            }
        }
        _ => {}
    }
}

/// Joins, unrecorded, and heartbeats until the group has assigned; returns the epoch.
async fn joined(ctx: &mut Ctx, request: &ConsumerGroupHeartbeatRequest) -> anyhow::Result<i32> {
    let mut reply = ctx.quiet(1, request).await?;
    anyhow::ensure!(reply.error_code == 0, "joining: error {}", reply.error_code);
    for _ in 0..5 {
        tokio::time::sleep(ctx.pause()).await;
        let beat = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(request.group_id.clone())
            .with_member_id(request.member_id.clone())
            .with_instance_id(request.instance_id.clone())
            .with_member_epoch(reply.member_epoch);
        reply = ctx.quiet(1, &beat).await?;
        anyhow::ensure!(reply.error_code == 0, "heartbeat: error {}", reply.error_code);
    }
    Ok(reply.member_epoch)
}

pub async fn consumer_heartbeat_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let topic = ctx.topic("topic");
    let good = joining(&group, "no-1", std::slice::from_ref(&topic));
    for version in 0..=1 {
        ctx.call("empty group id", version, &good.clone().with_group_id(GroupId::default())).await?;
        ctx.call("no rebalance timeout", version, &good.clone().with_rebalance_timeout_ms(-1)).await?;
        ctx.call("no owned partitions", version, &good.clone().with_topic_partitions(None)).await?;
        ctx.call("joins with partitions", version, &good.clone().with_topic_partitions(owning(Uuid::nil(), &[0])))
            .await?;
        ctx.call("no subscription", version, &good.clone().with_subscribed_topic_names(None)).await?;
        ctx.call("empty instance id", version, &good.clone().with_instance_id(Some(text("")))).await?;
        ctx.call("empty rack", version, &good.clone().with_rack_id(Some(text("")))).await?;
        ctx.call("unknown assignor", version, &good.clone().with_server_assignor(Some(text("no-such")))).await?;
        ctx.call("group that is not", version, &beating(&ctx.group("none"), "no-1", 3)).await?;
        ctx.call("leaves a group that is not", version, &beating(&ctx.group("none"), "no-1", -1)).await?;
        ctx.call("epoch -2 without instance", version, &beating(&group, "no-1", -2)).await?;
        ctx.call("epoch -3", version, &beating(&group, "no-1", -3)).await?;
        ctx.call("empty member id", version, &beating(&group, "", 1)).await?;
    }
    ctx.call("joins without an id", 1, &good.clone().with_member_id(StrBytes::default())).await?;
    ctx.call("bad expression", 1, &good.with_subscribed_topic_regex(Some(text("(")))).await?;
    Ok(())
}

pub async fn consumer_group_life(ctx: &mut Ctx) -> anyhow::Result<()> {
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let id = ctx.create("topic", 2, &[]).await?;
    let topic = ctx.topic("topic");
    ctx.settle().await;
    let join = joining(&group, "no-a", std::slice::from_ref(&topic));
    let e = joined(ctx, &join).await?;
    let told = from_one(e);
    ctx.call_where("a quiet heartbeat", 1, &beating(&group, "no-a", e), &told).await?;
    let full = join.clone().with_member_epoch(e).with_topic_partitions(owning(id, &[0, 1]));
    ctx.call_where("says everything", 1, &full, &told).await?;
    ctx.call_where("joins again", 1, &join, &told).await?;
    ctx.call("an epoch to come", 1, &beating(&group, "no-a", e + 8)).await?;
    ctx.call("a stranger", 1, &beating(&group, "no-b", e)).await?;
    ctx.call("a stranger leaves", 1, &beating(&group, "no-b", -1)).await?;
    for version in 0..=1 {
        let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group.clone(), ctx.group("none")]);
        ctx.call_where("described", version, &describe, &told).await?;
    }
    let classic = DescribeGroupsRequest::default().with_groups(vec![group.clone()]);
    ctx.call("described as a classic group", 5, &classic).await?;
    ctx.call("described as a classic group", 6, &classic).await?;
    ctx.call("deleted with a member", 2, &DeleteGroupsRequest::default().with_groups_names(vec![group.clone()]))
        .await?;
    consumer_commits(ctx, &group, &topic, e).await?;
    ctx.call("a classic heartbeat", 4, &classic_heartbeat(&group, "no-a", e)).await?;
    let leaving = MemberIdentity::default().with_member_id(text("no-a"));
    ctx.call(
        "a classic leave",
        5,
        &LeaveGroupRequest::default().with_group_id(group.clone()).with_members(vec![leaving]),
    )
    .await?;
    ctx.call("leaves", 1, &beating(&group, "no-a", -1)).await?;
    let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group.clone()]);
    ctx.call_where("described when empty", 1, &describe, &told).await?;
    ctx.call("deleted", 2, &DeleteGroupsRequest::default().with_groups_names(vec![group.clone()])).await?;
    ctx.call("described when gone", 1, &ConsumerGroupDescribeRequest::default().with_group_ids(vec![group])).await?;
    Ok(())
}

fn classic_heartbeat(group: &GroupId, member: &'static str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(group.clone()).with_member_id(text(member)).with_generation_id(generation)
}

/// Commits and look-ups of a member in epoch `e`, the group's first, that owns both partitions.
async fn consumer_commits(ctx: &mut Ctx, group: &GroupId, topic: &TopicName, e: i32) -> anyhow::Result<()> {
    let by = |version: i16, member: &'static str, epoch: i32| -> OffsetCommitRequest {
        commit(version, group, Some((&text(member), epoch)), topic, 0, 5)
    };
    ctx.call("commits", 9, &by(9, "no-a", e)).await?;
    ctx.call("commits in an epoch to come", 9, &by(9, "no-a", e + 1)).await?;
    ctx.call("commits in an epoch before it owned anything", 9, &by(9, "no-a", e - 1)).await?;
    ctx.call("commits with an old version", 8, &by(8, "no-a", e)).await?;
    ctx.call("a stranger commits", 9, &by(9, "no-b", e)).await?;
    ctx.call("a standalone commit into a group with members", 9, &commit(9, group, None, topic, 0, 5)).await?;
    let fetch = |member: Option<&'static str>, epoch: i32| {
        let wanted = OffsetFetchRequestGroup::default()
            .with_group_id(group.clone())
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![wanted])
    };
    ctx.call("looks up", 9, &fetch(Some("no-a"), e)).await?;
    ctx.call("looks up in another epoch", 9, &fetch(Some("no-a"), e + 1)).await?;
    ctx.call("a stranger looks up", 9, &fetch(Some("no-b"), e)).await?;
    ctx.call("a tool looks up", 9, &fetch(None, -1)).await?;
    Ok(())
}

pub async fn consumer_static_members(ctx: &mut Ctx) -> anyhow::Result<()> {
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    ctx.create("topic", 2, &[]).await?;
    ctx.settle().await;
    let topics = [ctx.topic("topic")];
    let with = |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(text("one")));
    let e = joined(ctx, &with(joining(&group, "no-a", &topics))).await?;
    let told = from_one(e);
    ctx.call("another comes too early", 1, &with(joining(&group, "no-b", &topics))).await?;
    ctx.call("another with its epoch", 1, &with(beating(&group, "no-b", e))).await?;
    let unknown = beating(&group, "no-a", e).with_instance_id(Some(text("two")));
    ctx.call("an unknown instance", 1, &unknown).await?;
    ctx.call("an unknown instance leaves", 1, &unknown.with_member_epoch(-1)).await?;
    ctx.call("leaves for now", 1, &with(beating(&group, "no-a", -2))).await?;
    let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group.clone()]);
    ctx.call_where("described while it is away", 1, &describe, &told).await?;
    ctx.call_where("comes back with another id", 1, &with(joining(&group, "no-b", &topics)), &told).await?;
    ctx.call("its former self", 1, &with(beating(&group, "no-a", e))).await?;
    ctx.call("leaves for good", 1, &with(beating(&group, "no-b", -1))).await?;
    Ok(())
}
