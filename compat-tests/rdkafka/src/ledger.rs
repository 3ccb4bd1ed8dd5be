//! What the broker acknowledged, at which partition and offset: the yardstick for all that is consumed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::report::{Check, add};

const LIMIT: Duration = Duration::from_secs(60);

/// A record to produce, or one that was consumed. A missing key or value is not the same as an empty one.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: i64,
}

impl Record {
    fn of(message: &impl Message) -> Record {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
        }
    }
}

/// The first `limit` records of the file that compat-tests/data makes.
pub fn load_flights(path: &str, limit: usize) -> anyhow::Result<Vec<Record>> {
    let file = BufReader::new(File::open(path).with_context(|| format!("opening {path}"))?);
    let mut rows = Vec::with_capacity(limit);
    for line in file.lines().take(limit) {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        let bytes = |value: &serde_json::Value| value.as_str().map(|text| text.as_bytes().to_vec());
        let headers = line["headers"].as_array().context("headers")?.iter();
        rows.push(Record {
            key: bytes(&line["key"]),
            value: bytes(&line["value"]),
            headers: headers.map(|h| (h[0].as_str().unwrap_or_default().to_owned(), bytes(&h[1]))).collect(),
            timestamp: line["timestamp"].as_i64().context("timestamp")?,
        });
    }
    ensure!(rows.len() == limit, "{path} holds {} rows, {limit} were asked for", rows.len());
    Ok(rows)
}

/// Collects delivery reports by the index of their record.
#[derive(Default)]
struct Deliveries(Mutex<Vec<(usize, Result<(i32, i64), RDKafkaErrorCode>)>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        if let Ok(mut all) = self.0.lock() {
            all.push((*index, outcome));
        }
    }
}

/// The records of one topic.
pub struct Ledger {
    pub topic: String,
    pub acked: BTreeMap<i32, BTreeMap<i64, Record>>,
}

impl Ledger {
    pub fn new(topic: String) -> Ledger {
        Ledger { topic, acked: BTreeMap::new() }
    }

    /// The number of acknowledged records.
    pub fn len(&self) -> usize {
        self.acked.values().map(BTreeMap::len).sum()
    }

    /// The offset after a partition's last acknowledged record.
    pub fn end(&self, partition: i32) -> i64 {
        self.acked.get(&partition).and_then(|rows| rows.keys().next_back()).map_or(0, |last| last + 1)
    }

    /// Sends the rows and waits for all of them; the first refusal is the answer.
    pub fn send(&mut self, check: &Check, rows: &[Record], settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut config = check.suite.config(&[("linger.ms", "10"), ("message.timeout.ms", "30000")]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default())?;
        for (index, row) in rows.iter().enumerate() {
            let mut headers = OwnedHeaders::new_with_capacity(row.headers.len());
            for (key, value) in &row.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut record: BaseRecord<'_, Vec<u8>, Vec<u8>, Box<usize>> =
                BaseRecord::with_opaque_to(&self.topic, Box::new(index)).timestamp(row.timestamp).headers(headers);
            record.key = row.key.as_ref();
            record.payload = row.value.as_ref();
            while let Err((error, again)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error).context("not even queued");
                }
                producer.poll(Duration::from_millis(20));
                record = again;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(LIMIT)?;
        let deliveries = std::mem::take(&mut *producer.context().0.lock().map_err(|_| anyhow::anyhow!("poisoned"))?);
        ensure!(deliveries.len() == rows.len(), "{} delivery reports for {} records", deliveries.len(), rows.len());
        for (index, outcome) in deliveries {
            let (partition, offset) = outcome.map_err(|code| KafkaError::MessageProduction(code))?;
            let before = self.acked.entry(partition).or_default().insert(offset, rows[index].clone());
            ensure!(before.is_none(), "offset {offset} of partition {partition} was given twice");
            add(&check.produced, 1);
        }
        Ok(())
    }

    /// Holds one consumed record against the one acknowledged at its offset.
    pub fn compare(&self, check: &Check, message: &impl Message) -> anyhow::Result<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let expected = self.acked.get(&partition).and_then(|rows| rows.get(&offset));
        let expected =
            expected.with_context(|| format!("{}-{partition}@{offset} was never acknowledged", self.topic))?;
        let got = Record::of(message);
        if &got != expected {
            bail!("{}-{partition}@{offset} is {got:?}, expected {expected:?}", self.topic);
        }
        add(&check.consumed, 1);
        add(&check.compared, 1);
        Ok(())
    }

    /// Reads every partition from its start to its end: every record once, in order, byte for byte.
    pub fn consume_all(&self, check: &Check, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut config = check.suite.config(&[
            ("group.id", "unused"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
        ]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create()?;
        let mut assignment = TopicPartitionList::new();
        let mut next = BTreeMap::new();
        for (&partition, rows) in &self.acked {
            // acks=1 promises less than the end offset shows: weir answers once a record is written, the end follows once it is
            // durable.
            check.eventually("everything acknowledged is visible", 10, || {
                Ok(consumer.fetch_watermarks(&self.topic, partition, LIMIT)?.1 >= self.end(partition))
            })?;
            let (start, end) = consumer.fetch_watermarks(&self.topic, partition, LIMIT)?;
            check.that(end == self.end(partition), || format!("end of partition {partition}: {end}"))?;
            check.that(Some(&start) == rows.keys().next(), || format!("start of partition {partition}: {start}"))?;
            assignment.add_partition_offset(&self.topic, partition, Offset::Beginning)?;
            next.insert(partition, start);
        }
        consumer.assign(&assignment)?;
        let deadline = Instant::now() + LIMIT;
        let mut unfinished: BTreeSet<i32> = self.acked.keys().copied().collect();
        while !unfinished.is_empty() {
            ensure!(Instant::now() < deadline, "partitions {unfinished:?} unfinished, positions {next:?}");
            match consumer.poll(Duration::from_millis(500)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    check.that(next[&partition] == self.end(partition), || format!("end told too early: {next:?}"))?;
                    unfinished.remove(&partition);
                }
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => {
                    let expected = next.entry(message.partition()).or_default();
                    ensure!(*expected == message.offset(), "offset {} in place of {expected}", message.offset());
                    *expected += 1;
                    self.compare(check, &message)?;
                }
            }
        }
        Ok(())
    }
}
