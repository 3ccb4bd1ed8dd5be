//! `weir table replay-dlq`: dead letters go back to their topic, after its schema (or they) were mended.
//!
//! A copy is sent again as it was produced: key, value, headers and timestamp, to the partition it came from; the headers that the
//! broker added are taken off. What was acknowledged is deleted from the dead letters at once, so that it is not replayed twice, at
//! most up to where the log ended when the replay began: a row that still does not fit comes back as a new dead letter behind that
//! place. So the start of the dead letters' log is how far all replays came. Each copy is sent at least once; if a command is stopped,
//! the next one sends again what was on its way, at most [`WAITING_MAX`] records. (One of them could be left out only by comparing the
//! topic's records, which is more than a copy is worth; consumers see it as a second record with the same key and value.)

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use weir_client::Client;
use weir_client::admin::{Admin, OffsetQuery};
use weir_client::consumer::{Consumer, ConsumerConfig, ConsumerRecord, StartAt};
use weir_client::producer::{Delivery, Producer, ProducerConfig, ProducerRecord};

use crate::cli::{CliError, Context, note};

/// Behind the name of a topic: the name of the topic of its dead letters.
const SUFFIX: &str = ".dlq";
/// Headers that the broker added begin with this.
const ADDED: &[u8] = b"weir.dlq.";
/// Deliveries that are awaited before the next ones: as many as may be sent twice.
const WAITING_MAX: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Name of the topic (not of its dead letters)
    topic: String,
    /// Only count them, by reason
    #[arg(long)]
    dry_run: bool,
    /// Keep what was replayed among the dead letters
    #[arg(long)]
    keep: bool,
}

/// The dead letters as they are when the command begins.
struct Letters {
    topic: String,
    /// By partition: the first offset, and the one behind the last.
    ranges: BTreeMap<i32, (i64, i64)>,
}

pub(super) async fn run(context: &Context, args: ReplayArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let admin = Admin::new(client.clone());
    let letters = Letters::of(&admin, &args.topic).await?;
    let records: i64 = letters.ranges.values().map(|(start, end)| end - start).sum();
    if records == 0 {
        note(&format!("`{}` has no records", letters.topic));
        return Ok(());
    }
    if args.dry_run {
        return letters.count(client).await;
    }
    let partitions = admin.describe_topic(&args.topic).await?.partitions.len();
    let target = Target { topic: &args.topic, partitions: partitions as i32, keep: args.keep };
    let replayed = letters.replay(client, &admin, &target).await?;
    let left = if args.keep { "; they are kept as dead letters too" } else { "" };
    note(&format!("{replayed} dead letters were sent to `{}` again{left}", args.topic));
    let again: i64 = Letters::of(&admin, &args.topic)
        .await?
        .ranges
        .iter()
        .map(|(p, (_, end))| end - letters.ranges.get(p).map_or(0, |(_, end)| *end))
        .sum();
    if again > 0 {
        note(&format!("{again} dead letters came since: `--dry-run` tells why they do not fit"));
    }
    Ok(())
}

impl Letters {
    async fn of(admin: &Admin, topic: &str) -> Result<Letters, CliError> {
        let topic = format!("{topic}{SUFFIX}");
        if !admin.list_topics().await?.contains_key(&topic) {
            return Ok(Letters { topic, ranges: BTreeMap::new() });
        }
        let starts = admin.topic_offsets(&topic, OffsetQuery::Earliest).await?;
        let ends = admin.topic_offsets(&topic, OffsetQuery::Latest).await?;
        let range = |(partition, end): (&i32, &weir_client::admin::ListedOffset)| {
            let start = starts.get(partition).and_then(|start| start.offset).unwrap_or(0);
            (*partition, (start, end.offset.unwrap_or(start)))
        };
        Ok(Letters { topic, ranges: ends.iter().map(range).collect() })
    }

    fn reader(&self, client: Client) -> Consumer {
        let mut consumer = Consumer::new(client, ConsumerConfig::default());
        let open = self.ranges.iter().filter(|(_, (start, end))| start < end);
        consumer.assign(
            open.map(|(partition, (start, _))| ((self.topic.as_str().into(), *partition), StartAt::Offset(*start))),
        );
        consumer
    }

    /// Whether `consumer` has read all there was.
    fn is_read(&self, consumer: &Consumer) -> bool {
        consumer
            .positions()
            .iter()
            .all(|((_, partition), at)| self.ranges.get(partition).is_none_or(|(_, end)| at >= end))
    }

    fn is_of(&self, record: &ConsumerRecord) -> bool {
        self.ranges.get(&record.partition).is_some_and(|(_, end)| record.offset < *end)
    }

    async fn count(&self, client: Client) -> Result<(), CliError> {
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        let mut consumer = self.reader(client);
        while !self.is_read(&consumer) {
            let records = consumer.poll(Duration::from_millis(500)).await?;
            for record in records.iter().filter(|record| self.is_of(record)) {
                *reasons.entry(reason(record)).or_default() += 1;
            }
        }
        for (reason, records) in reasons {
            note(&format!("{records} x {reason}"));
        }
        Ok(())
    }

    async fn replay(&self, client: Client, admin: &Admin, target: &Target<'_>) -> Result<u64, CliError> {
        let mut consumer = self.reader(client.clone());
        let producer = Producer::start(client, ProducerConfig { idempotent: true, ..ProducerConfig::default() })?;
        let (mut waiting, mut sent) = (Waiting::default(), 0);
        while !self.is_read(&consumer) {
            let records = consumer.poll(Duration::from_millis(500)).await?;
            for record in records.into_iter().filter(|record| self.is_of(record)) {
                sent += 1;
                waiting.next.insert(record.partition, record.offset + 1);
                let delivery = producer.send(again(record, target)).await;
                let delivery = delivery.map_err(|source| CliError::NotWritten { number: sent, source })?;
                waiting.deliveries.push((sent, delivery));
                if waiting.deliveries.len() >= WAITING_MAX {
                    self.settle(&mut waiting, admin, target).await?;
                }
            }
        }
        self.settle(&mut waiting, admin, target).await?;
        producer.close().await?;
        if !target.keep {
            // Behind the last copy there may be offsets without a record.
            let ends = self.ranges.iter().filter(|(_, (start, end))| start < end);
            self.delete(admin, ends.map(|(partition, (_, end))| (*partition, *end)).collect()).await?;
        }
        Ok(sent)
    }

    /// Waits until all that was sent is acknowledged, and takes it out of the dead letters.
    async fn settle(&self, waiting: &mut Waiting, admin: &Admin, target: &Target<'_>) -> Result<(), CliError> {
        for (number, delivery) in waiting.deliveries.drain(..) {
            delivery.await.map_err(|source| CliError::NotWritten { number, source })?;
        }
        let next = std::mem::take(&mut waiting.next);
        if target.keep || next.is_empty() { Ok(()) } else { self.delete(admin, next).await }
    }

    /// Deletes what is in front of these offsets.
    async fn delete(&self, admin: &Admin, next: BTreeMap<i32, i64>) -> Result<(), CliError> {
        let before = next.into_iter().map(|(partition, next)| ((self.topic.clone(), partition), Some(next)));
        admin.delete_records(&before.collect()).await?;
        Ok(())
    }
}

/// Where copies go.
struct Target<'a> {
    topic: &'a str,
    partitions: i32,
    keep: bool,
}

/// Copies that were sent.
#[derive(Default)]
struct Waiting {
    deliveries: Vec<(u64, Delivery)>,
    /// By partition of the dead letters: the offset behind the last of them.
    next: BTreeMap<i32, i64>,
}

fn header<'a>(record: &'a ConsumerRecord, name: &str) -> Option<&'a str> {
    let found = record.headers.iter().rev().find(|header| header.key.as_ref() == name.as_bytes());
    found.and_then(|header| header.value.as_deref()).and_then(|value| std::str::from_utf8(value).ok())
}

fn reason(record: &ConsumerRecord) -> String {
    header(record, "weir.dlq.reason").unwrap_or("a record without a reason").to_owned()
}

/// The record as it was produced.
fn again(record: ConsumerRecord, target: &Target<'_>) -> ProducerRecord {
    let from = header(&record, "weir.dlq.partition").and_then(|partition| partition.parse().ok());
    let own = |header: weir_client::consumer::RecordHeader| {
        let key: Bytes = header.key;
        (!key.starts_with(ADDED)).then_some((key, header.value))
    };
    ProducerRecord {
        topic: target.topic.to_owned(),
        partition: from.filter(|partition| (0..target.partitions).contains(partition)),
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().filter_map(own).collect(),
        timestamp_ms: Some(record.timestamp_ms).filter(|timestamp| *timestamp >= 0),
    }
}
