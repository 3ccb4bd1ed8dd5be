//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords, and what follows from a changed leader epoch.

use anyhow::Context as _;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::EPOCH_TOPIC;
use super::fetch::fetch;
use crate::differential::batch::Batch;
use crate::differential::context::Ctx;

const FIRST: i64 = 1_357_034_400_000;

fn list(name: &TopicName, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name.clone()).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

pub async fn list_offsets(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    // Timestamps that do not only grow: 0..2, then 100..102, then 50..52 (added to the first one).
    for base in [0, 100, 50] {
        ctx.seed("topic", 0, Batch::of(3).at(FIRST + base).encode()).await?;
    }
    let name = ctx.topic("topic");
    for version in 1..=10 {
        let special = [
            ("latest", -1, 1),
            ("earliest", -2, 1),
            ("largest timestamp", -3, 1),
            ("earliest local", -4, 1),
            ("latest tiered", -5, 1),
            ("-6", -6, 1),
            ("-99", -99, 1),
        ];
        for (label, timestamp, oldest) in special {
            if version >= oldest {
                ctx.call(label, version, &list(&name, 0, timestamp)).await?;
            }
        }
        for (label, after) in [
            ("before all", -1_000),
            ("the first", 0),
            ("inside the first batch", 1),
            ("between two batches", 3),
            ("the middle of the second batch", 101),
            ("the largest", 102),
            ("after all", 103),
            ("what the third batch would hold, too", 51),
        ] {
            ctx.call(label, version, &list(&name, 0, FIRST + after)).await?;
        }
        ctx.call("0", version, &list(&name, 0, 0)).await?;
        ctx.call("latest of an empty partition", version, &list(&name, 1, -1)).await?;
        ctx.call("earliest of an empty partition", version, &list(&name, 1, -2)).await?;
        ctx.call("a timestamp in an empty partition", version, &list(&name, 1, FIRST)).await?;
        ctx.call("largest timestamp of an empty partition", version, &list(&name, 1, -3)).await?;
        if version >= 2 {
            ctx.call("latest, read committed", version, &list(&name, 0, -1).with_isolation_level(1)).await?;
        }
    }
    Ok(())
}

pub async fn list_offsets_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, Batch::of(3).encode()).await?;
    let name = ctx.topic("topic");
    let epoch = ctx.metadata_of(&name).await?.and_then(|(_, epochs)| epochs.first().copied()).unwrap_or(0);
    for version in [1, 3, 4, 6, 10] {
        ctx.call("unknown topic", version, &list(&ctx.topic("unknown"), 0, -1)).await?;
        ctx.call("unknown partition", version, &list(&name, 9, -1)).await?;
        let mut mixed = list(&name, 0, -1);
        mixed.topics.extend(list(&ctx.topic("unknown"), 0, -1).topics);
        ctx.call("known and unknown topic", version, &mixed).await?;
        let mut twice = list(&name, 0, -1);
        let again = twice.topics[0].partitions[0].clone().with_timestamp(-2);
        twice.topics[0].partitions.push(again);
        ctx.call("the same partition twice", version, &twice).await?;
        ctx.call("no topics", version, &list(&name, 0, -1).with_topics(Vec::new())).await?;
        if version >= 4 {
            for (label, epoch) in [("the right leader epoch", epoch), ("a leader epoch of the future", epoch + 5)] {
                let mut request = list(&name, 0, -1);
                request.topics[0].partitions[0].current_leader_epoch = epoch;
                ctx.call(label, version, &request).await?;
            }
        }
    }
    Ok(())
}

fn epochs(name: &TopicName, partition: i32, current: i32, asked: i32) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current)
        .with_leader_epoch(asked);
    let topic = OffsetForLeaderTopic::default().with_topic(name.clone()).with_partitions(vec![partition]);
    OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
}

pub async fn offset_for_leader_epoch(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, Batch::of(3).encode()).await?;
    let name = ctx.topic("topic");
    let epoch = ctx.metadata_of(&name).await?.and_then(|(_, epochs)| epochs.first().copied()).unwrap_or(0);
    for version in 2..=4 {
        let request = |partition, current, asked| {
            let request = epochs(&name, partition, current, asked);
            if version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request }
        };
        ctx.call("the current epoch", version, &request(0, -1, epoch)).await?;
        ctx.call("the current epoch, told to be current", version, &request(0, epoch, epoch)).await?;
        ctx.call("an epoch of the future", version, &request(0, -1, epoch + 5)).await?;
        ctx.call("the current epoch is of the future", version, &request(0, epoch + 5, epoch)).await?;
        ctx.call("no epoch", version, &request(0, -1, -1)).await?;
        ctx.call("unknown partition", version, &request(9, -1, epoch)).await?;
        let unknown = epochs(&ctx.topic("unknown"), 0, -1, epoch);
        let unknown = if version >= 3 { unknown.with_replica_id(BrokerId(-1)) } else { unknown };
        ctx.call("unknown topic", version, &unknown).await?;
    }
    Ok(())
}

fn delete(name: &TopicName, partition: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(name.clone()).with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

pub async fn delete_records(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in 0..=2 {
        let topic = format!("v{version}");
        let id = ctx.create(&topic, 2, &[]).await?;
        for _ in 0..3 {
            ctx.seed(&topic, 0, Batch::of(4).encode()).await?;
        }
        let name = ctx.topic(&topic);
        ctx.call("inside a batch", version, &delete(&name, 0, 6)).await?;
        ctx.call("the log start follows", 8, &list(&name, 0, -2)).await?;
        ctx.call("fetch below it", 12, &fetch(12, &name, id, 0, 5)).await?;
        ctx.call("fetch from it", 12, &fetch(12, &name, id, 0, 6)).await?;
        ctx.call("below the log start", version, &delete(&name, 0, 2)).await?;
        ctx.call("the same again", version, &delete(&name, 0, 6)).await?;
        ctx.call("beyond the end", version, &delete(&name, 0, 13)).await?;
        ctx.call("-2", version, &delete(&name, 0, -2)).await?;
        ctx.call("all", version, &delete(&name, 0, -1)).await?;
        ctx.call("the log start is the end", 8, &list(&name, 0, -2)).await?;
        ctx.call("fetch from the end", 12, &fetch(12, &name, id, 0, 12)).await?;
        ctx.call("a timestamp of deleted records", 8, &list(&name, 0, FIRST)).await?;
        ctx.call("largest timestamp of deleted records", 8, &list(&name, 0, -3)).await?;
        ctx.call("an empty partition", version, &delete(&name, 1, 0)).await?;
        ctx.call("unknown partition", version, &delete(&name, 9, 0)).await?;
        ctx.call("unknown topic", version, &delete(&ctx.topic("unknown"), 0, 0)).await?;
        ctx.call("no topics", version, &delete(&name, 0, 0).with_topics(Vec::new())).await?;
        let next = ctx.seed(&topic, 0, Batch::of(1).encode()).await?;
        ctx.record(format!("offsets go on v{version}"), next.into());
    }
    Ok(())
}

/// A topic that lived through a restart of the broker: its leader epoch is no longer the first one.
pub async fn leader_epochs(ctx: &mut Ctx) -> anyhow::Result<()> {
    let name = TopicName(StrBytes::from_static_str(EPOCH_TOPIC));
    let known = ctx.metadata_of(&name).await?;
    let (id, all) = match known {
        Some(found) => found,
        None => {
            ctx.create_named(&name, 1, &[]).await?;
            ctx.metadata_of(&name).await?.context("the topic was created a moment ago")?
        }
    };
    let epoch = all.first().copied().context("a partition")?;
    anyhow::ensure!(epoch >= 1, "the leader epoch of {EPOCH_TOPIC} is {epoch}: `prepare`, then restart the broker");
    for version in [9, 12, 13, 18] {
        let mut request = fetch(version, &name, id, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch - 1;
        ctx.call("fetch with an old leader epoch", version, &request).await?;
    }
    for version in [4, 10] {
        let mut request = list(&name, 0, -1);
        request.topics[0].partitions[0].current_leader_epoch = epoch - 1;
        ctx.call("list with an old leader epoch", version, &request).await?;
    }
    for version in 2..=4 {
        let request = epochs(&name, 0, epoch - 1, epoch);
        let request = if version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request };
        ctx.call("ask with an old leader epoch", version, &request).await?;
    }
    Ok(())
}
