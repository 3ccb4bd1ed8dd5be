//! Share groups (KIP-932): joining, sessions, acknowledgements that lie, offsets seen and set from outside.

use kafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch,
};
use kafka_protocol::messages::share_fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteGroupsRequest, DeleteShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsRequest, GroupId, ShareAcknowledgeRequest, ShareFetchRequest, ShareGroupDescribeRequest,
    ShareGroupHeartbeatRequest, TopicName,
};
use serde_json::Value;
use uuid::Uuid;

use super::groups::{coordinator_ready, text};
use crate::differential::batch::Batch;
use crate::differential::context::{Ctx, produce};

/// Apache Kafka's brokers take member ids that are UUIDs only, in its base64.
const MEMBER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const STRANGER: &str = "AAAAAAAAAAAAAAAAAAAAAg";

fn beating(group: &GroupId, member: &'static str, epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

fn joining(group: &GroupId, topic: &TopicName) -> ShareGroupHeartbeatRequest {
    beating(group, MEMBER, 0).with_subscribed_topic_names(Some(vec![topic.clone()]))
}

pub async fn share_heartbeat_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let good = joining(&group, &ctx.topic("topic"));
    ctx.call("empty group id", 1, &good.clone().with_group_id(GroupId::default())).await?;
    ctx.call("empty member id", 1, &good.clone().with_member_id(text(""))).await?;
    ctx.call("empty rack", 1, &good.clone().with_rack_id(Some(text("")))).await?;
    ctx.call("no subscription", 1, &good.clone().with_subscribed_topic_names(None)).await?;
    ctx.call("empty subscription", 1, &good.with_subscribed_topic_names(Some(Vec::new()))).await?;
    ctx.call("group that is not", 1, &beating(&ctx.group("none"), MEMBER, 3)).await?;
    ctx.call("leaves a group that is not", 1, &beating(&ctx.group("none"), MEMBER, -1)).await?;
    ctx.call("epoch -2", 1, &beating(&group, MEMBER, -2)).await?;
    let describe = ShareGroupDescribeRequest::default().with_group_ids(vec![ctx.group("none")]);
    ctx.call("described and not there", 1, &describe).await?;
    ctx.call("offsets of a group that is not", 0, &offsets(&ctx.group("none"))).await?;
    ctx.call("sets offsets of a group that is not", 0, &alter(&ctx.group("none"), &ctx.topic("topic"), 0)).await?;
    ctx.call("deletes offsets of a group that is not", 0, &delete(&ctx.group("none"), &ctx.topic("topic"))).await?;
    Ok(())
}

fn offsets(group: &GroupId) -> DescribeShareGroupOffsetsRequest {
    let all = DescribeShareGroupOffsetsRequestGroup::default().with_group_id(group.clone()).with_topics(None);
    DescribeShareGroupOffsetsRequest::default().with_groups(vec![all])
}

fn alter(group: &GroupId, topic: &TopicName, start: i64) -> AlterShareGroupOffsetsRequest {
    let partition = AlterShareGroupOffsetsRequestPartition::default().with_start_offset(start);
    let topic = AlterShareGroupOffsetsRequestTopic::default().with_topic_name(topic.clone());
    AlterShareGroupOffsetsRequest::default()
        .with_group_id(group.clone())
        .with_topics(vec![topic.with_partitions(vec![partition])])
}

fn delete(group: &GroupId, topic: &TopicName) -> DeleteShareGroupOffsetsRequest {
    let topic = DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(topic.clone());
    DeleteShareGroupOffsetsRequest::default().with_group_id(group.clone()).with_topics(vec![topic])
}

fn fetching(group: &GroupId, member: &'static str, topic: Uuid, epoch: i32) -> ShareFetchRequest {
    let topic = FetchTopic::default().with_topic_id(topic).with_partitions(vec![FetchPartition::default()]);
    ShareFetchRequest::default()
        .with_group_id(Some(group.clone()))
        .with_member_id(Some(text(member)))
        .with_share_session_epoch(epoch)
        .with_max_wait_ms(200)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_max_records(100)
        .with_batch_size(100)
        .with_topics(vec![topic])
}

fn acknowledging(
    group: &GroupId,
    member: &'static str,
    topic: Uuid,
    epoch: i32,
    batches: &[(i64, i64, &[i8])],
) -> ShareAcknowledgeRequest {
    let batch = |(first, last, types): &(i64, i64, &[i8])| {
        let batch = AcknowledgementBatch::default().with_first_offset(*first).with_last_offset(*last);
        batch.with_acknowledge_types(types.to_vec())
    };
    let partition = AcknowledgePartition::default().with_acknowledgement_batches(batches.iter().map(batch).collect());
    let topic = AcknowledgeTopic::default().with_topic_id(topic).with_partitions(vec![partition]);
    ShareAcknowledgeRequest::default()
        .with_group_id(Some(group.clone()))
        .with_member_id(Some(text(member)))
        .with_share_session_epoch(epoch)
        .with_topics(vec![topic])
}

/// Leader epochs begin elsewhere, and tell nothing of share groups.
fn without_epochs(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_epochs),
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_epoch"));
            fields.values_mut().for_each(without_epochs);
        }
        _ => {}
    }
}

pub async fn share_group_life(ctx: &mut Ctx) -> anyhow::Result<()> {
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let id = ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    ctx.settle().await;
    let mut session = acquired(ctx, &group, &topic, id).await?;
    for (label, batches) in [
        ("ends before it begins", &[(1i64, 0i64, &[1i8][..])][..]),
        ("has no types", &[(0, 1, &[])]),
        ("has too few types", &[(0, 2, &[1, 1])]),
        ("has a type that is none", &[(0, 1, &[9])]),
        ("goes backwards", &[(2, 3, &[1]), (0, 1, &[1])]),
        ("overlaps", &[(0, 2, &[1]), (2, 3, &[1])]),
        ("was never acquired", &[(100, 200, &[1])]),
        ("goes beyond what was acquired", &[(0, 200, &[1])]),
        ("accepts", &[(0, 1, &[1])]),
        ("accepts again", &[(0, 1, &[1])]),
        ("accepts, releases, rejects", &[(2, 4, &[1, 2, 3])]),
        ("says more of what is done with", &[(3, 4, &[1])]),
    ] {
        ctx.call(label, 1, &acknowledging(&group, MEMBER, id, session, batches)).await?;
        session += 1;
    }
    let unknown = acknowledging(&group, MEMBER, Uuid::from_u128(77), session, &[(0, 0, &[1])]);
    ctx.call("of a topic that is not", 1, &unknown).await?;
    session += 1;
    ctx.call("in a wrong epoch", 1, &acknowledging(&group, MEMBER, id, session + 5, &[(5, 5, &[1])])).await?;
    ctx.call("opens a session", 1, &acknowledging(&group, MEMBER, id, 0, &[(5, 5, &[1])])).await?;
    ctx.call("of a stranger", 1, &acknowledging(&group, STRANGER, id, 1, &[(5, 5, &[1])])).await?;
    ctx.call("fetches in a wrong epoch", 1, &fetching(&group, MEMBER, id, session + 5)).await?;
    ctx.call("a stranger fetches", 1, &fetching(&group, STRANGER, id, 1)).await?;
    ctx.call("a stranger closes", 1, &fetching(&group, STRANGER, id, -1)).await?;
    ctx.call("sets offsets of a group with members", 0, &alter(&group, &topic, 0)).await?;
    ctx.call("deletes offsets of a group with members", 0, &delete(&group, &topic)).await?;
    ctx.call("deletes a group with members", 2, &DeleteGroupsRequest::default().with_groups_names(vec![group.clone()]))
        .await?;
    ctx.call("closes its session", 1, &acknowledging(&group, MEMBER, id, -1, &[(5, 5, &[1])])).await?;
    ctx.call("leaves", 1, &beating(&group, MEMBER, -1)).await?;
    ctx.call("leaves again", 1, &beating(&group, MEMBER, -1)).await?;
    ctx.settle().await;
    ctx.call_where("offsets", 0, &offsets(&group), without_epochs).await?;
    ctx.call("sets an offset", 0, &alter(&group, &topic, 2)).await?;
    ctx.settle().await;
    ctx.call_where("offsets that were set", 0, &offsets(&group), without_epochs).await?;
    ctx.call("sets offsets of a topic that is not", 0, &alter(&group, &ctx.topic("none"), 2)).await?;
    ctx.call("deletes offsets of a topic that is not", 0, &delete(&group, &ctx.topic("none"))).await?;
    ctx.call("deletes offsets", 0, &delete(&group, &topic)).await?;
    ctx.settle().await;
    ctx.call("deletes the group", 2, &DeleteGroupsRequest::default().with_groups_names(vec![group.clone()])).await?;
    ctx.call("offsets of the deleted group", 0, &offsets(&group)).await?;
    Ok(())
}

/// Joins and fetches, unrecorded, until all records are acquired; returns the epoch of the next request. The group begins to read
/// at the end of the log, so the records are produced once it has.
async fn acquired(ctx: &mut Ctx, group: &GroupId, topic: &TopicName, id: Uuid) -> anyhow::Result<i32> {
    let mut reply = ctx.quiet(1, &joining(group, topic)).await?;
    anyhow::ensure!(reply.error_code == 0, "joining: error {}", reply.error_code);
    let (mut session, mut count) = (0, 0);
    for round in 0..60 {
        if round == 5 {
            ctx.quiet(9, &produce(-1, topic, Uuid::nil(), 0, Some(Batch::of(6).encode()))).await?;
        }
        let fetched = ctx.quiet(1, &fetching(group, MEMBER, id, session)).await?;
        anyhow::ensure!(fetched.error_code == 0, "fetching: error {}", fetched.error_code);
        session += 1;
        let partitions = fetched.responses.iter().flat_map(|topic| &topic.partitions);
        let ranges = partitions.flat_map(|partition| &partition.acquired_records);
        count += ranges.map(|range| range.last_offset - range.first_offset + 1).sum::<i64>();
        if count == 6 {
            return Ok(session);
        }
        tokio::time::sleep(ctx.pause()).await;
        reply = ctx.quiet(1, &beating(group, MEMBER, reply.member_epoch)).await?;
        anyhow::ensure!(reply.error_code == 0, "heartbeat: error {}", reply.error_code);
    }
    anyhow::bail!("{count} records were acquired, wanted 6")
}
