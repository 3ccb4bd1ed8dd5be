//! Fetch sessions (KIP-227).

use kafka_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, TopicName};
use uuid::Uuid;

use super::fetch::fetch;
use crate::differential::batch::Batch;
use crate::differential::context::Ctx;

/// Adds the partitions of `topics` to a request that is otherwise about none.
fn incremental(session: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(topics)
}

fn forgotten(version: i16, name: &TopicName, id: Uuid, partition: i32) -> ForgottenTopic {
    let topic = ForgottenTopic::default().with_partitions(vec![partition]);
    if version >= 13 { topic.with_topic_id(id) } else { topic.with_topic(name.clone()) }
}

pub async fn fetch_sessions(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in [7, 11, 12, 13, 18] {
        let topic = format!("v{version}");
        let id = ctx.create(&topic, 3, &[]).await?;
        for partition in 0..3 {
            ctx.seed(&topic, partition, Batch::of(2).encode()).await?;
        }
        let name = ctx.topic(&topic);
        let at = |partition: i32, offset: i64| fetch(version, &name, id, partition, offset).topics.remove(0);
        let mut first = at(0, 0);
        first.partitions.extend(at(1, 2).partitions);
        let opened = ctx.call("a new session", version, &incremental(0, 0, vec![first])).await?;
        let session = opened.session_id;
        if session == 0 {
            // A broker may decline to keep a session; then there is nothing more to compare.
            continue;
        }
        ctx.call("partition 0 moves to its end", version, &incremental(session, 1, vec![at(0, 2)])).await?;
        ctx.call("nothing new", version, &incremental(session, 2, Vec::new())).await?;
        ctx.seed(&topic, 1, Batch::of(1).encode()).await?;
        ctx.call("a record for partition 1", version, &incremental(session, 3, Vec::new())).await?;
        ctx.call("it is told again until the consumer moves", version, &incremental(session, 4, Vec::new())).await?;
        ctx.call(
            "partition 1 moves, partition 2 comes in",
            version,
            &incremental(session, 5, vec![at(1, 3), at(2, 0)]),
        )
        .await?;
        let forget =
            incremental(session, 6, vec![at(2, 2)]).with_forgotten_topics_data(vec![forgotten(version, &name, id, 1)]);
        ctx.call("partition 1 is forgotten", version, &forget).await?;
        ctx.seed(&topic, 1, Batch::of(1).encode()).await?;
        ctx.seed(&topic, 2, Batch::of(1).encode()).await?;
        ctx.call("records for partitions 1 and 2", version, &incremental(session, 7, Vec::new())).await?;
        ctx.call("out of range", version, &incremental(session, 8, vec![at(0, 99)])).await?;
        ctx.call("still out of range", version, &incremental(session, 9, Vec::new())).await?;
        ctx.call("an unknown partition comes in", version, &incremental(session, 10, vec![at(0, 2), at(9, 0)])).await?;
        ctx.call("wrong epoch", version, &incremental(session, 10, Vec::new())).await?;
        ctx.call("the session goes on all the same", version, &incremental(session, 11, Vec::new())).await?;
        let full = incremental(session, 0, vec![at(0, 0)]);
        let renewed = ctx.call("a full fetch in its place", version, &full).await?.session_id;
        ctx.call("the old one is gone", version, &incremental(session, 1, Vec::new())).await?;
        ctx.call("closed", version, &incremental(renewed, -1, vec![at(0, 0)])).await?;
        ctx.call("after it was closed", version, &incremental(renewed, 1, Vec::new())).await?;
    }
    Ok(())
}

pub async fn fetch_session_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, Batch::of(1).encode()).await?;
    let name = ctx.topic("topic");
    for version in [7, 12, 18] {
        ctx.call("unknown session", version, &incremental(1_234_567, 3, Vec::new())).await?;
        let topics = fetch(version, &name, id, 0, 0).topics;
        ctx.call("unknown session with partitions", version, &incremental(1_234_567, 3, topics.clone())).await?;
        ctx.call("epoch without a session", version, &incremental(0, 5, topics.clone())).await?;
        ctx.call("unknown session to be closed", version, &incremental(1_234_567, -1, topics)).await?;
        let unknown = fetch(version, &ctx.topic("unknown"), Uuid::from_u128(3), 0, 0).topics;
        ctx.call("a new session for an unknown topic", version, &incremental(0, 0, unknown)).await?;
        ctx.call("a new session without topics", version, &incremental(0, 0, Vec::new())).await?;
    }
    Ok(())
}
