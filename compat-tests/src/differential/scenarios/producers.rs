//! Idempotent producers and InitProducerId.

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId, TransactionalId};
use uuid::Uuid;

use crate::differential::batch::Batch;
use crate::differential::context::{Ctx, produce};

/// An id that belongs to nobody but this scenario. A broker that has just started may not have any yet.
async fn new_producer(ctx: &mut Ctx) -> anyhow::Result<i64> {
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    for _ in 0..100 {
        let answer = ctx.quiet(4, &request).await?;
        if answer.error_code == 0 {
            return Ok(answer.producer_id.0);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("no producer id within 5 s")
}

/// Kafka forgets a producer whose last batch is older than a day by its own timestamps, so these are of today.
fn records(count: usize) -> Batch {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Batch::of(count).at(now.as_millis() as i64)
}

async fn send(ctx: &mut Ctx, label: &str, version: i16, id: Uuid, topic: &str, batch: Batch) -> anyhow::Result<()> {
    let name = ctx.topic(topic);
    let request = produce(-1, &name, if version >= 13 { id } else { Uuid::nil() }, 0, Some(batch.encode()));
    ctx.call(label, version, &request).await?;
    Ok(())
}

pub async fn idempotent_producers(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in [3, 9, 13] {
        let topic = format!("v{version}");
        let id = ctx.create(&topic, 1, &[]).await?;
        ctx.seed(&topic, 0, Batch::of(1).encode()).await?;
        let producer = new_producer(ctx).await?;
        let batch = |count: usize, epoch: i16, sequence: i32| records(count).by_producer(producer, epoch, sequence);
        let steps = [
            ("first", batch(3, 0, 0)),
            ("second", batch(2, 0, 3)),
            ("second again", batch(2, 0, 3)),
            ("first again", batch(3, 0, 0)),
            ("a gap", batch(1, 0, 9)),
            ("half of a batch again", batch(1, 0, 3)),
            ("other bounds than before", batch(5, 0, 0)),
            ("third", batch(1, 0, 5)),
            ("fourth", batch(1, 0, 6)),
            ("fifth", batch(1, 0, 7)),
            ("sixth", batch(1, 0, 8)),
            ("second again, the last that is remembered", batch(2, 0, 3)),
            ("first again, no longer remembered", batch(3, 0, 0)),
            ("a new epoch that does not begin at 0", batch(1, 1, 9)),
            ("a new epoch", batch(2, 1, 0)),
            ("the new epoch goes on", batch(1, 1, 2)),
            ("the old epoch", batch(1, 0, 9)),
            ("a negative sequence", batch(1, 1, -1)),
            ("a later epoch by two", batch(1, 3, 0)),
            ("a negative epoch", batch(1, -1, 0)),
        ];
        for (label, batch) in steps {
            send(ctx, label, version, id, &topic, batch).await?;
        }
        let stranger = new_producer(ctx).await?;
        let unknown = records(1).by_producer(stranger, 0, 41);
        send(ctx, "a producer without state in the middle", version, id, &topic, unknown).await?;
        let after = records(1).by_producer(stranger, 0, 42);
        send(ctx, "and on from there", version, id, &topic, after).await?;
    }
    Ok(())
}

pub async fn sequence_wrap(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("wrap", 1, &[]).await?;
    ctx.seed("wrap", 0, Batch::of(1).encode()).await?;
    let producer = new_producer(ctx).await?;
    let batch = |count: usize, sequence: i32| records(count).by_producer(producer, 0, sequence);
    for (label, batch) in [
        ("two below the largest sequence", batch(2, i32::MAX - 2)),
        ("the largest, and on from 0", batch(3, i32::MAX)),
        ("on from 2", batch(1, 2)),
        ("the batch around the wrap again", batch(3, i32::MAX)),
        ("a gap after the wrap", batch(1, 9)),
    ] {
        send(ctx, label, 9, id, "wrap", batch).await?;
    }
    Ok(())
}

pub async fn init_producer_id(ctx: &mut Ctx) -> anyhow::Result<()> {
    new_producer(ctx).await?;
    for version in 0..=5 {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        ctx.call("no transactional id", version, &request).await?;
        ctx.call("and another", version, &request).await?;
        let empty = request.clone().with_transactional_id(Some(TransactionalId::default()));
        ctx.call("empty transactional id", version, &empty).await?;
        let zero = request.clone().with_transaction_timeout_ms(0);
        ctx.call("timeout 0, no transactional id", version, &zero).await?;
        if version >= 3 {
            let producer = new_producer(ctx).await?;
            let known = request.clone().with_producer_id(ProducerId(producer)).with_producer_epoch(0);
            ctx.call("with a producer id, no transactional id", version, &known).await?;
            let half = request.clone().with_producer_id(ProducerId(producer)).with_producer_epoch(-1);
            ctx.call("with a producer id and no epoch", version, &half).await?;
        }
    }
    Ok(())
}
