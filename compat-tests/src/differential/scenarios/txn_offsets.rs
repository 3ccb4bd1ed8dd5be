//! Offsets that are committed with a transaction.

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, GroupId, OffsetFetchRequest, ProducerId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::groups::{coordinator_ready, text};
use super::transactions::{Producer, end, finished, producer, transactional};
use crate::differential::context::Ctx;

fn add_offsets(producer: &Producer, group: &GroupId) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(producer.transactional_id.clone())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_group_id(group.clone())
}

/// Partition 0 of the topic at this offset; `version` decides which fields there are.
fn commit(ctx: &Ctx, version: i16, producer: &Producer, group: &GroupId, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("with it")));
    let partition = if version >= 2 { partition.with_committed_leader_epoch(3) } else { partition };
    let topic = TxnOffsetCommitRequestTopic::default().with_name(ctx.topic("topic")).with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(producer.transactional_id.clone())
        .with_group_id(group.clone())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_topics(vec![topic]);
    if version >= 3 { request.with_generation_id(-1).with_member_id(StrBytes::default()) } else { request }
}

/// What the group has, with and without offsets that are not decided.
async fn look(ctx: &mut Ctx, group: &GroupId) -> anyhow::Result<()> {
    let topic = OffsetFetchRequestTopics::default().with_name(ctx.topic("topic")).with_partition_indexes(vec![0, 1]);
    for (topics, what) in [(Some(vec![topic]), "partitions"), (None, "all")] {
        let group = OffsetFetchRequestGroup::default().with_group_id(group.clone()).with_topics(topics);
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        ctx.call(&format!("{what}, stable"), 9, &request.clone().with_require_stable(true)).await?;
        ctx.call(&format!("{what}, as they are"), 8, &request).await?;
    }
    Ok(())
}

pub async fn txn_offsets_v1(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    for version in 0..=4 {
        let group = ctx.group(&format!("v{version}"));
        coordinator_ready(ctx, &group).await?;
        let one = producer(ctx, &format!("one{version}")).await?;
        let add = version.min(3);
        for (commits, offset) in [(true, 40), (false, 50), (true, 60)] {
            ctx.call("add the group", add, &add_offsets(&one, &group)).await?;
            ctx.call("add it again", add, &add_offsets(&one, &group)).await?;
            let request = commit(ctx, version, &one, &group, offset);
            ctx.call("an offset", version, &request).await?;
            let request = commit(ctx, version, &one, &group, offset + 1);
            ctx.call("a later offset", version, &request).await?;
            look(ctx, &group).await?;
            ctx.call(if commits { "commit" } else { "abort" }, 3, &end(&one, commits)).await?;
            finished(ctx, &one).await?;
            look(ctx, &group).await?;
        }
    }
    Ok(())
}

pub async fn txn_offsets_v2(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let mut one = producer(ctx, "one").await?;
    for (commits, offset) in [(true, 40), (false, 50), (true, 60)] {
        let request = commit(ctx, 5, &one, &group, offset);
        ctx.call("an offset without adding the group", 5, &request).await?;
        look(ctx, &group).await?;
        let ended = ctx.call(if commits { "commit" } else { "abort" }, 5, &end(&one, commits)).await?;
        anyhow::ensure!(ended.error_code == 0, "the end: error {}", ended.error_code);
        finished(ctx, &one).await?;
        look(ctx, &group).await?;
        let late = commit(ctx, 5, &one, &group, offset + 5);
        ctx.call("an offset with the epoch before", 5, &late).await?;
        (one.id, one.epoch) = (ended.producer_id.0, ended.producer_epoch);
    }
    Ok(())
}

pub async fn txn_offset_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let one = producer(ctx, "one").await?;
    let other = |id: i64, epoch: i16| Producer { id, epoch, ..one.clone() };
    let nobody = Producer { transactional_id: transactional(ctx, "nobody"), ..one.clone() };
    for version in 0..=4 {
        ctx.call("an empty group", version, &add_offsets(&one, &GroupId::default())).await?;
        ctx.call("another producer id", version, &add_offsets(&other(one.id + 7, 0), &group)).await?;
        ctx.call("an epoch of the future", version, &add_offsets(&other(one.id, 5), &group)).await?;
        ctx.call("an id that nobody has", version, &add_offsets(&nobody, &group)).await?;
    }
    ctx.call("the group", 3, &add_offsets(&one, &group)).await?;
    for version in [2, 3, 4] {
        let mut unknown = commit(ctx, version, &one, &group, 1);
        unknown.topics[0].name = ctx.topic("unknown");
        ctx.call("an unknown topic", version, &unknown).await?;
        let mut partition = commit(ctx, version, &one, &group, 1);
        partition.topics[0].partitions[0].partition_index = 9;
        ctx.call("an unknown partition", version, &partition).await?;
        let mut large = commit(ctx, version, &one, &group, 1);
        large.topics[0].partitions[0].committed_metadata = Some(StrBytes::from_string("m".repeat(4097)));
        ctx.call("metadata of 4097 bytes", version, &large).await?;
        if version >= 3 {
            let base = commit(ctx, version, &one, &group, 1);
            let stranger = base.clone().with_member_id(text("no-such-member")).with_generation_id(1);
            ctx.call("an unknown member", version, &stranger).await?;
            ctx.call("a generation without a member", version, &base.clone().with_generation_id(4)).await?;
            let instance = base.with_group_instance_id(Some(text("nobody"))).with_member_id(text("no-such-member"));
            ctx.call("an unknown instance", version, &instance).await?;
        }
        let empty = commit(ctx, version, &one, &GroupId::default(), 1);
        ctx.call("an empty group", version, &empty).await?;
    }
    ctx.call("abort", 3, &end(&one, false)).await?;
    finished(ctx, &one).await?;
    Ok(())
}
