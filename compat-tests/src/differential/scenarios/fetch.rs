//! Fetch without sessions: versions, errors, limits, long polls.

use std::time::Instant;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, TopicName};
use serde_json::json;
use uuid::Uuid;

use crate::differential::batch::Batch;
use crate::differential::context::{Ctx, produce};
use crate::differential::wire::Outcome;

/// A sessionless fetch of one partition, as consumers send it.
pub fn fetch(version: i16, name: &TopicName, id: Uuid, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_partitions(vec![partition]);
    let topic = if version >= 13 { topic.with_topic_id(id) } else { topic.with_topic(name.clone()) };
    let request = FetchRequest::default()
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic]);
    if version >= 7 { request.with_session_epoch(-1) } else { request }
}

pub async fn fetch_versions(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 2, &[]).await?;
    ctx.seed("topic", 0, Batch::of(3).encode()).await?;
    ctx.seed("topic", 0, Batch::of(2).encode()).await?;
    ctx.seed("topic", 1, Batch::of(1).encode()).await?;
    let zstd = ctx.create("zstd", 1, &[]).await?;
    ctx.seed("zstd", 0, Batch::of(2).zstd().encode()).await?;
    let (name, zstd_name, unknown) = (ctx.topic("topic"), ctx.topic("zstd"), ctx.topic("unknown"));
    for version in 4..=18 {
        ctx.call("from the start", version, &fetch(version, &name, id, 0, 0)).await?;
        ctx.call("from inside a batch", version, &fetch(version, &name, id, 0, 1)).await?;
        ctx.call("from the second batch", version, &fetch(version, &name, id, 0, 3)).await?;
        ctx.call("at the end", version, &fetch(version, &name, id, 0, 5)).await?;
        ctx.call("beyond the end", version, &fetch(version, &name, id, 0, 6)).await?;
        ctx.call("negative offset", version, &fetch(version, &name, id, 0, -1)).await?;
        ctx.call("unknown partition", version, &fetch(version, &name, id, 9, 0)).await?;
        ctx.call("unknown topic", version, &fetch(version, &unknown, Uuid::from_u128(5), 0, 0)).await?;
        ctx.call("zstd", version, &fetch(version, &zstd_name, zstd, 0, 0)).await?;
        ctx.call("read committed", version, &fetch(version, &name, id, 0, 0).with_isolation_level(1)).await?;
        ctx.call("no topics", version, &fetch(version, &name, id, 0, 0).with_topics(Vec::new())).await?;
        let mut both = fetch(version, &name, id, 0, 3);
        let other = fetch(version, &name, id, 1, 0).topics.remove(0).partitions.remove(0);
        both.topics[0].partitions.push(other);
        ctx.call("two partitions", version, &both).await?;
    }
    Ok(())
}

pub async fn fetch_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, Batch::of(3).encode()).await?;
    let name = ctx.topic("topic");
    let epoch = ctx.metadata_of(&name).await?.and_then(|(_, epochs)| epochs.first().copied()).unwrap_or(0);
    for version in [9, 12, 13, 18] {
        let with_epoch = |epoch: i32| {
            let mut request = fetch(version, &name, id, 0, 0);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            request
        };
        ctx.call("the right leader epoch", version, &with_epoch(epoch)).await?;
        ctx.call("a leader epoch of the future", version, &with_epoch(epoch + 5)).await?;
        if version >= 12 {
            let mut diverging = with_epoch(epoch);
            diverging.topics[0].partitions[0].last_fetched_epoch = epoch;
            ctx.call("the right last fetched epoch", version, &diverging).await?;
        }
    }
    let mut twice = fetch(12, &name, id, 0, 0);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    ctx.call("the same partition twice", 12, &twice).await?;
    ctx.call("unknown isolation level", 12, &fetch(12, &name, id, 0, 0).with_isolation_level(7)).await?;
    Ok(())
}

pub async fn fetch_limits(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 3, &[]).await?;
    for partition in 0..3 {
        for _ in 0..3 {
            ctx.seed("topic", partition, Batch::large(2_000).encode()).await?;
        }
    }
    let name = ctx.topic("topic");
    for version in [4, 11, 18] {
        let sized = |partition_max: i32, max: i32| {
            let mut request = fetch(version, &name, id, 0, 0).with_max_bytes(max);
            for partition in 1..3 {
                let other = fetch(version, &name, id, partition, 0).topics.remove(0).partitions.remove(0);
                request.topics[0].partitions.push(other);
            }
            for partition in &mut request.topics[0].partitions {
                partition.partition_max_bytes = partition_max;
            }
            request
        };
        ctx.call("no limit is reached", version, &sized(1 << 20, 50 << 20)).await?;
        ctx.call("a byte a partition", version, &sized(1, 50 << 20)).await?;
        ctx.call("a byte in all", version, &sized(1 << 20, 1)).await?;
        ctx.call("zero bytes", version, &sized(0, 0)).await?;
        ctx.call("less than two batches a partition", version, &sized(3_000, 50 << 20)).await?;
        ctx.call("exactly two batches a partition", version, &sized(2 * 2_072, 50 << 20)).await?;
        ctx.call("less than four batches in all", version, &sized(1 << 20, 7_000)).await?;
    }
    Ok(())
}

/// A long poll ends when enough has arrived or the time is over, and not before.
pub async fn fetch_waits(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, Batch::of(3).encode()).await?;
    let name = ctx.topic("topic");
    for version in [4, 12, 18] {
        let end = ctx.seed("topic", 0, Batch::of(1).encode()).await? + 1;
        let begun = Instant::now();
        ctx.call("nothing within 600 ms", version, &fetch(version, &name, id, 0, end).with_max_wait_ms(600)).await?;
        let waited = begun.elapsed().as_millis();
        ctx.record(
            format!("it waited v{version}"),
            json!({"long enough": waited >= 590, "not too long": waited < 3_000}),
        );

        let begun = Instant::now();
        ctx.call("no waiting", version, &fetch(version, &name, id, 0, end).with_max_wait_ms(0)).await?;
        ctx.record(format!("it did not wait v{version}"), json!(begun.elapsed().as_millis() < 500));

        // Out of range is told at once, also with much time to wait.
        let begun = Instant::now();
        ctx.call("out of range", version, &fetch(version, &name, id, 0, end + 1).with_max_wait_ms(5_000)).await?;
        ctx.record(format!("an error does not wait v{version}"), json!(begun.elapsed().as_millis() < 2_500));

        let mut waiting = ctx.connect().await?;
        let patient = fetch(version, &name, id, 0, end).with_max_wait_ms(10_000);
        let correlation = waiting.send(version, &patient).await?;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let begun = Instant::now();
        ctx.quiet(9, &produce(-1, &name, Uuid::nil(), 0, Some(Batch::of(2).encode()))).await?;
        if let Outcome::Answer(answer) = waiting.receive::<FetchRequest>(version, correlation).await? {
            ctx.record_answer::<FetchRequest>("woken by a produce", version, &answer)?;
        }
        ctx.record(format!("woken at once v{version}"), json!(begun.elapsed().as_millis() < 3_000));

        // Less than min_bytes: the answer waits for more, and brings what there is when the time is over.
        let begun = Instant::now();
        let greedy = fetch(version, &name, id, 0, end).with_min_bytes(100_000).with_max_wait_ms(500);
        ctx.call("less than min_bytes", version, &greedy).await?;
        ctx.record(format!("it waited for min_bytes v{version}"), json!(begun.elapsed().as_millis() >= 490));
    }
    Ok(())
}
