//! Transactions: producers with an id, their life in both protocols (KIP-98, KIP-890), errors, lists.
//!
//! A broker may answer EndTxn before the markers are written, so each end is followed by [`finished`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, DescribeProducersRequest, DescribeTransactionsRequest, EndTxnRequest,
    FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, ProducerId, TopicName,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::fetch::fetch;
use crate::differential::batch::Batch;
use crate::differential::context::{Ctx, produce};

/// A producer as the broker knows it.
#[derive(Debug, Clone)]
pub struct Producer {
    pub transactional_id: TransactionalId,
    pub id: i64,
    pub epoch: i16,
}

pub fn transactional(ctx: &Ctx, suffix: &str) -> TransactionalId {
    TransactionalId(ctx.name(suffix))
}

fn init(version: i16, id: &TransactionalId, timeout_ms: i32) -> InitProducerIdRequest {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(timeout_ms);
    if version >= 3 { request.with_producer_id(ProducerId(-1)).with_producer_epoch(-1) } else { request }
}

/// A producer with this id, unrecorded. A coordinator may be loading, or completing a transaction.
pub async fn producer(ctx: &mut Ctx, suffix: &str) -> anyhow::Result<Producer> {
    let transactional_id = transactional(ctx, suffix);
    for _ in 0..400 {
        let request = FindCoordinatorRequest::default().with_key(transactional_id.0.clone()).with_key_type(1);
        if ctx.quiet(3, &request).await?.error_code == 0 {
            let answer = ctx.quiet(4, &init(4, &transactional_id, 60_000)).await?;
            match answer.error_code {
                0 => {
                    let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
                    return Ok(Producer { transactional_id, id, epoch });
                }
                14 | 15 | 16 | 51 => {}
                code => anyhow::bail!("no producer for {transactional_id:?}: error {code}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("no producer for {transactional_id:?} within 20 s")
}

pub fn add_partitions(
    version: i16,
    producer: &Producer,
    topic: &TopicName,
    partitions: &[i32],
) -> AddPartitionsToTxnRequest {
    let topic = AddPartitionsToTxnTopic::default().with_name(topic.clone()).with_partitions(partitions.to_vec());
    if version >= 4 {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(producer.transactional_id.clone())
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_topics(vec![topic]);
        return AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
    }
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(producer.transactional_id.clone())
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(vec![topic])
}

pub fn end(producer: &Producer, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(producer.transactional_id.clone())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(commit)
}

fn describe(ids: Vec<TransactionalId>) -> DescribeTransactionsRequest {
    DescribeTransactionsRequest::default().with_transactional_ids(ids)
}

/// Waits until the coordinator is done with the transaction whose end it has answered.
pub async fn finished(ctx: &mut Ctx, producer: &Producer) -> anyhow::Result<()> {
    for _ in 0..200 {
        let answer = ctx.quiet(0, &describe(vec![producer.transactional_id.clone()])).await?;
        let state = answer.transaction_states.first().map(|state| state.transaction_state.to_string());
        if state.is_some_and(|state| state.starts_with("Complete") || state == "Empty") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{producer:?} is not done after 4 s")
}

/// Records of now: Kafka forgets producers by the timestamps of their records, and begins a new segment when these leap, where a
/// fetch then ends.
///
/// They are later than every record and marker before them and earlier than those behind, by a millisecond at least: which record
/// has the largest timestamp is then the same however fast a broker answers.
fn plain(count: usize) -> Batch {
    let count_ms = count as u64;
    std::thread::sleep(Duration::from_millis(5 + count_ms));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Batch::of(count).at((now.as_millis() as i64) - count_ms as i64)
}

fn batch(producer: &Producer, count: usize, sequence: i32) -> Batch {
    plain(count).by_producer(producer.id, producer.epoch, sequence).in_transaction()
}

async fn send(
    ctx: &mut Ctx,
    label: &str,
    version: i16,
    id: Uuid,
    producer: &Producer,
    batch: Batch,
) -> anyhow::Result<()> {
    let name = ctx.topic("topic");
    let request = produce(-1, &name, if version >= 13 { id } else { Uuid::nil() }, 0, Some(batch.encode()))
        .with_transactional_id(Some(producer.transactional_id.clone()));
    ctx.call(label, version, &request).await?;
    Ok(())
}

/// Everything that a reader and an operator can see of a partition and an id.
async fn look(ctx: &mut Ctx, id: Uuid, producer: &Producer) -> anyhow::Result<()> {
    let name = ctx.topic("topic");
    for (isolation, label) in [(0, "read uncommitted"), (1, "read committed")] {
        ctx.call(label, 4, &fetch(4, &name, id, 0, 0).with_isolation_level(isolation)).await?;
        ctx.call(label, 16, &fetch(16, &name, id, 0, 0).with_isolation_level(isolation)).await?;
        for timestamp in [-1, -2, -3] {
            let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
            let topic = ListOffsetsTopic::default().with_name(name.clone()).with_partitions(vec![partition]);
            // Replica ids are of followers, who see everything.
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation)
                .with_topics(vec![topic]);
            ctx.call(&format!("{label}, offset of {timestamp}"), 7, &request).await?;
        }
    }
    let topic = TopicRequest::default().with_name(name).with_partition_indexes(vec![0]);
    ctx.call("producers", 0, &DescribeProducersRequest::default().with_topics(vec![topic])).await?;
    ctx.call("state", 0, &describe(vec![producer.transactional_id.clone()])).await?;
    Ok(())
}

pub async fn txn_coordinators(ctx: &mut Ctx) -> anyhow::Result<()> {
    producer(ctx, "first").await?;
    for version in 1..=6 {
        let request = |key: StrBytes| {
            let request = FindCoordinatorRequest::default().with_key_type(1);
            if version >= 4 { request.with_coordinator_keys(vec![key]) } else { request.with_key(key) }
        };
        ctx.call("a transactional id", version, &request(ctx.name("id"))).await?;
        ctx.call("an empty transactional id", version, &request(StrBytes::default())).await?;
    }
    Ok(())
}

pub async fn txn_init_producer(ctx: &mut Ctx) -> anyhow::Result<()> {
    producer(ctx, "first").await?;
    for version in 0..=5 {
        let id = transactional(ctx, &format!("v{version}"));
        let first = ctx.call("a new id", version, &init(version, &id, 60_000)).await?;
        ctx.call("the same id again", version, &init(version, &id, 60_000)).await?;
        ctx.call("timeout 0", version, &init(version, &id, 0)).await?;
        ctx.call("negative timeout", version, &init(version, &id, -1)).await?;
        ctx.call("the longest timeout", version, &init(version, &id, 900_000)).await?;
        ctx.call("a timeout too long", version, &init(version, &id, 900_001)).await?;
        if version >= 3 {
            let known =
                |epoch: i16| init(version, &id, 60_000).with_producer_id(first.producer_id).with_producer_epoch(epoch);
            ctx.call("with producer id and the epoch it has", version, &known(2)).await?;
            ctx.call("with the epoch before", version, &known(2)).await?;
            ctx.call("with an old epoch", version, &known(0)).await?;
            ctx.call("with an epoch of the future", version, &known(9)).await?;
            ctx.call("with a producer id and no epoch", version, &known(-1)).await?;
            let stranger = init(version, &id, 60_000).with_producer_id(ProducerId(i64::MAX)).with_producer_epoch(0);
            ctx.call("with the producer id of nobody", version, &stranger).await?;
            let fresh = transactional(ctx, &format!("fresh{version}"));
            let unknown = init(version, &fresh, 60_000).with_producer_id(first.producer_id).with_producer_epoch(0);
            ctx.call("a new id with a producer id", version, &unknown).await?;
        }
    }
    Ok(())
}

/// One transaction after the other in the protocol of KIP-98: partitions are added first, the epoch stays.
pub async fn txn_life_v1(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, plain(1).encode()).await?;
    let name = ctx.topic("topic");
    let one = producer(ctx, "one").await?;
    ctx.call("state of a new id", 0, &describe(vec![one.transactional_id.clone()])).await?;
    ctx.call("add a partition", 3, &add_partitions(3, &one, &name, &[0])).await?;
    ctx.call("add it again", 3, &add_partitions(3, &one, &name, &[0])).await?;
    look(ctx, id, &one).await?;
    send(ctx, "the first batch", 9, id, &one, batch(&one, 3, 0)).await?;
    look(ctx, id, &one).await?;
    send(ctx, "the second batch", 11, id, &one, batch(&one, 2, 3)).await?;
    send(ctx, "the second batch again", 11, id, &one, batch(&one, 2, 3)).await?;
    send(ctx, "a batch outside of the transaction", 11, id, &one, {
        let mut plain = batch(&one, 1, 5);
        plain.attributes = 0;
        plain
    })
    .await?;
    ctx.call("commit", 4, &end(&one, true)).await?;
    finished(ctx, &one).await?;
    look(ctx, id, &one).await?;
    ctx.call("commit again", 4, &end(&one, true)).await?;
    ctx.call("abort what is committed", 4, &end(&one, false)).await?;

    ctx.call("add for the second", 0, &add_partitions(0, &one, &name, &[0])).await?;
    send(ctx, "what will be aborted", 9, id, &one, batch(&one, 2, 5)).await?;
    ctx.seed("topic", 0, plain(1).encode()).await?;
    look(ctx, id, &one).await?;
    ctx.call("abort", 1, &end(&one, false)).await?;
    finished(ctx, &one).await?;
    look(ctx, id, &one).await?;
    ctx.call("abort again", 1, &end(&one, false)).await?;
    ctx.call("commit what is aborted", 1, &end(&one, true)).await?;

    // Somebody takes the id over in the middle of a transaction.
    ctx.call("add for the third", 3, &add_partitions(3, &one, &name, &[0])).await?;
    send(ctx, "what will be fenced", 9, id, &one, batch(&one, 1, 7)).await?;
    let two = producer(ctx, "one").await?;
    finished(ctx, &two).await?;
    look(ctx, id, &two).await?;
    send(ctx, "from the fenced one", 9, id, &one, batch(&one, 1, 8)).await?;
    ctx.call("commit of the fenced one", 3, &end(&one, true)).await?;
    ctx.call("commit of the fenced one, older version", 0, &end(&one, true)).await?;
    ctx.call("add of the fenced one", 3, &add_partitions(3, &one, &name, &[0])).await?;
    ctx.call("add of the fenced one, older version", 0, &add_partitions(0, &one, &name, &[0])).await?;
    Ok(())
}

/// The protocol of KIP-890: a batch adds its partition, each end has a new epoch.
pub async fn txn_life_v2(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 1, &[]).await?;
    ctx.seed("topic", 0, plain(1).encode()).await?;
    let mut one = producer(ctx, "one").await?;
    for (commit, label) in [(true, "commit"), (false, "abort"), (true, "commit once more")] {
        send(ctx, "the first batch", 12, id, &one, batch(&one, 2, 0)).await?;
        look(ctx, id, &one).await?;
        send(ctx, "the second batch", 13, id, &one, batch(&one, 1, 2)).await?;
        let answer = ctx.call(label, 5, &end(&one, commit)).await?;
        finished(ctx, &one).await?;
        look(ctx, id, &one).await?;
        let again = ctx.call(&format!("{label}, again"), 5, &end(&one, commit)).await?;
        let other = ctx.call(&format!("{label}, then the opposite"), 5, &end(&one, !commit)).await?;
        send(ctx, "with the epoch before", 12, id, &one, batch(&one, 1, 3)).await?;
        anyhow::ensure!(
            answer.error_code == 0,
            "{label}: {} {} {}",
            answer.error_code,
            again.error_code,
            other.error_code
        );
        (one.id, one.epoch) = (answer.producer_id.0, answer.producer_epoch);
    }
    let empty = ctx.call("abort of an empty transaction", 5, &end(&one, false)).await?;
    finished(ctx, &one).await?;
    anyhow::ensure!(empty.error_code == 0, "abort of an empty transaction: {}", empty.error_code);
    (one.id, one.epoch) = (empty.producer_id.0, empty.producer_epoch);
    ctx.call("commit of an empty transaction", 5, &end(&one, true)).await?;
    ctx.call("state", 0, &describe(vec![one.transactional_id.clone()])).await?;
    Ok(())
}

pub async fn txn_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 2, &[]).await?;
    ctx.seed("topic", 0, plain(1).encode()).await?;
    ctx.seed("topic", 1, plain(1).encode()).await?;
    let (name, unknown) = (ctx.topic("topic"), ctx.topic("unknown"));
    let one = producer(ctx, "one").await?;
    let other = |id: i64, epoch: i16| Producer { id, epoch, ..one.clone() };
    let nobody = Producer { transactional_id: transactional(ctx, "nobody"), ..one.clone() };
    for version in 0..=3 {
        ctx.call("an unknown topic", version, &add_partitions(version, &one, &unknown, &[0])).await?;
        ctx.call("an unknown partition", version, &add_partitions(version, &one, &name, &[0, 9])).await?;
        ctx.call("another producer id", version, &add_partitions(version, &other(one.id + 7, 0), &name, &[0])).await?;
        ctx.call("an epoch of the future", version, &add_partitions(version, &other(one.id, 5), &name, &[0])).await?;
        ctx.call("an id that nobody has", version, &add_partitions(version, &nobody, &name, &[0])).await?;
        ctx.call("no topics", version, &{
            let mut request = add_partitions(version, &one, &name, &[]);
            request.v3_and_below_topics.clear();
            request
        })
        .await?;
    }
    for version in 0..=5 {
        ctx.call("end of nothing, commit", version, &end(&nobody, true)).await?;
        ctx.call("end with another producer id", version, &end(&other(one.id + 7, 0), true)).await?;
        ctx.call("end with an epoch of the future", version, &end(&other(one.id, 9), false)).await?;
        if version < 5 {
            ctx.call("end of a new id, commit", version, &end(&one, true)).await?;
            finished(ctx, &one).await?;
            ctx.call("end of a new id, abort", version, &end(&one, false)).await?;
        }
    }
    // A batch of a transaction that its partition is not part of.
    for version in [9, 11, 13] {
        send(ctx, "a partition that was not added", version.min(11), id, &one, batch(&one, 1, 0)).await?;
    }
    let wrong = produce(-1, &name, Uuid::nil(), 0, Some(batch(&one, 1, 0).encode()));
    ctx.call("a transactional batch without the id in the request", 9, &wrong).await?;
    Ok(())
}

pub async fn txn_lists(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    ctx.seed("topic", 0, plain(1).encode()).await?;
    let name = ctx.topic("topic");
    let (open, empty) = (producer(ctx, "open").await?, producer(ctx, "empty").await?);
    ctx.quiet(3, &add_partitions(3, &open, &name, &[0])).await?;
    let ids = [&open, &empty].map(|producer| producer.transactional_id.clone());
    ctx.call("both", 0, &describe(ids.to_vec())).await?;
    ctx.call("unknown, empty, and one twice", 0, &{
        describe(vec![transactional(ctx, "unknown"), TransactionalId::default(), ids[0].clone(), ids[0].clone()])
    })
    .await?;
    ctx.call("none", 0, &describe(Vec::new())).await?;
    let mine = vec![ProducerId(open.id), ProducerId(empty.id)];
    let states = |names: &[&'static str]| names.iter().map(|name| StrBytes::from_static_str(name)).collect();
    for version in 0..=2 {
        let all = ListTransactionsRequest::default().with_producer_id_filters(mine.clone());
        ctx.call("by producer id", version, &all).await?;
        ctx.call("ongoing", version, &all.clone().with_state_filters(states(&["Ongoing"]))).await?;
        ctx.call("empty", version, &all.clone().with_state_filters(states(&["Empty", "Dead"]))).await?;
        ctx.call("an unknown state", version, &all.clone().with_state_filters(states(&["Mad"]))).await?;
        ctx.call("an unknown state and a known one", version, &{
            all.clone().with_state_filters(states(&["Mad", "Ongoing"]))
        })
        .await?;
        if version >= 1 {
            ctx.call("open for an hour", version, &all.clone().with_duration_filter(3_600_000)).await?;
            ctx.call("open for any time", version, &all.clone().with_duration_filter(-1)).await?;
        }
        if version >= 2 {
            let pattern = |text: String| Some(StrBytes::from_string(text));
            let whole = format!("{}\\.o.*", ctx.prefix());
            ctx.call("a pattern", version, &all.clone().with_transactional_id_pattern(pattern(whole))).await?;
            ctx.call("a part of the name", version, &all.clone().with_transactional_id_pattern(pattern("open".into())))
                .await?;
            ctx.call("no pattern at all", version, &all.clone().with_transactional_id_pattern(pattern(String::new())))
                .await?;
            ctx.call("a broken pattern", version, &all.clone().with_transactional_id_pattern(pattern("(".into())))
                .await?;
        }
    }
    let producers = |topic: &TopicName, partitions: Vec<i32>| {
        let topic = TopicRequest::default().with_name(topic.clone()).with_partition_indexes(partitions);
        DescribeProducersRequest::default().with_topics(vec![topic])
    };
    ctx.call("no producers", 0, &producers(&name, vec![0])).await?;
    ctx.call("an unknown partition", 0, &producers(&name, vec![0, 9])).await?;
    ctx.call("an unknown topic", 0, &producers(&ctx.topic("unknown"), vec![0])).await?;
    Ok(())
}
