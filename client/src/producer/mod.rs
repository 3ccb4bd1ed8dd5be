//! Writing records: batched per partition, compressed, pipelined, and repeated on failure without duplicates or reordering.
//!
//! [`Producer::send`] picks the partition, waits for room in the buffer and hands the record to one task, which owns all
//! queues ([`queue`]) and the requests in flight ([`sender`]). Each record's outcome comes back through its [`Delivery`].

mod batch;
mod partitioner;
mod queue;
mod sender;

pub use partitioner::{murmur2, partition_for_key};

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use weir_protocol::records::Compression;

use crate::cluster::{AutoCreate, Client};
use crate::error::{ClientError, Result};
use crate::metadata::TopicInfo;
use batch::{Outcome, Pending};
use partitioner::Sticky;
use sender::Command;

/// Commands that may wait for the task; more makes callers wait.
const COMMANDS_MAX: usize = 1024;
/// What a record costs beside its bytes: lengths, deltas, bookkeeping.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// When the broker confirms a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Never.
    None,
    /// Once the leader wrote it.
    Leader,
    /// Once it is as durable as the topic promises.
    #[default]
    All,
}

impl Acks {
    fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Settings of a [`Producer`].
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// When a record counts as delivered.
    pub acks: Acks,
    /// Whether the broker tells repetitions from new records. Needs [`Acks::All`].
    pub idempotent: bool,
    /// Codec of the batches.
    pub compression: Compression,
    /// Level for that codec; its default if none.
    pub compression_level: Option<i32>,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// Size at which a batch is sent without waiting, before compression.
    pub batch_bytes_max: usize,
    /// Largest request, and thereby the largest record.
    pub request_bytes_max: usize,
    /// Bytes of records that may wait; more makes [`Producer::send`] wait.
    pub buffer_bytes_max: usize,
    /// Requests in flight per broker, at most 5.
    pub in_flight_max: usize,
    /// How long to try before a record is given up.
    pub delivery_timeout: Duration,
    /// Whether writing to a missing topic may create it.
    pub auto_create: AutoCreate,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            compression_level: None,
            linger: Duration::from_millis(5),
            batch_bytes_max: 128 << 10,
            request_bytes_max: 1 << 20,
            buffer_bytes_max: 32 << 20,
            in_flight_max: 5,
            delivery_timeout: Duration::from_secs(120),
            auto_create: AutoCreate::Allowed,
        }
    }
}

impl ProducerConfig {
    fn check(&self) -> Result<()> {
        let refuse = |setting, value: String, reason| Err(ClientError::InvalidSetting { setting, value, reason });
        if self.idempotent && self.acks != Acks::All {
            return refuse("acks", format!("{:?}", self.acks), "an idempotent producer needs all");
        }
        if !(1..=5).contains(&self.in_flight_max) {
            return refuse(
                "in_flight_max",
                self.in_flight_max.to_string(),
                "brokers remember five batches per producer",
            );
        }
        if self.request_bytes_max > i32::MAX as usize / 2 {
            return refuse("request_bytes_max", self.request_bytes_max.to_string(), "frames are limited to 2 GiB");
        }
        if self.buffer_bytes_max > Semaphore::MAX_PERMITS.min(u32::MAX as usize) {
            return refuse("buffer_bytes_max", self.buffer_bytes_max.to_string(), "it is larger than 4 GiB");
        }
        Ok(())
    }
}

/// A record to write.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// Name of the topic.
    pub topic: String,
    /// Its partition; chosen by key, or freely without a key, if none.
    pub partition: Option<i32>,
    /// Its key; null and empty differ.
    pub key: Option<Bytes>,
    /// Its value; null is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order; keys may repeat.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// Milliseconds since 1970; now if none.
    pub timestamp_ms: Option<i64>,
}

impl ProducerRecord {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 10);
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers.sum::<usize>()
            + RECORD_OVERHEAD_BYTES
    }
}

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset; none without acknowledgement.
    pub offset: Option<i64>,
    /// The broker's timestamp, if it sets them.
    pub timestamp_ms: Option<i64>,
}

/// The outcome of one record, once it is known.
pub struct Delivery {
    topic: Arc<str>,
    partition: i32,
    outcome: oneshot::Receiver<Outcome>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match Pin::new(&mut self.outcome).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(outcome) => outcome.unwrap_or(Err(ClientError::Closed { what: "producer" })),
        };
        Poll::Ready(outcome.map(|placed| RecordMetadata {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: placed.offset,
            timestamp_ms: placed.append_time_ms,
        }))
    }
}

/// Writes records. Dropping it sends what is buffered in the background; [`close`](Self::close) waits for that.
pub struct Producer {
    client: Client,
    config: ProducerConfig,
    commands: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    sticky: Mutex<HashMap<Arc<str>, Sticky>>,
    /// Topics as they were last described.
    known: Mutex<HashMap<Arc<str>, Arc<TopicInfo>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Producer {
    /// Starts a producer. Connects on first use.
    pub fn start(client: Client, config: ProducerConfig) -> Result<Self> {
        config.check()?;
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let task = tokio::spawn(sender::run(client.clone(), config.clone(), inbox));
        let room = Arc::new(Semaphore::new(config.buffer_bytes_max));
        Ok(Self { client, config, commands, room, sticky: Mutex::default(), known: Mutex::default(), task })
    }

    /// Hands a record over and returns the future of its outcome. Waits only for metadata and for room in the buffer.
    /// Records for one partition are written in the order of these calls.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery> {
        let bytes = record.bytes();
        if bytes > self.config.request_bytes_max {
            return Err(ClientError::RecordTooLarge { bytes, bytes_max: self.config.request_bytes_max });
        }
        let name: Arc<str> = Arc::from(record.topic.as_str());
        let topic = self.describe(&name).await?;
        let partition = self.choose(&name, &topic, &record, bytes)?;
        let permits = u32::try_from(bytes.min(self.config.buffer_bytes_max)).unwrap_or(u32::MAX);
        let closed = || ClientError::Closed { what: "producer" };
        let permit = self.room.clone().acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (reply, outcome) = oneshot::channel();
        let pending = Pending {
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms.unwrap_or_else(now_ms),
            reply,
            permit: Some(permit),
        };
        let command = Command::Append { topic: name.clone(), partition, record: pending, bytes };
        self.commands.send(command).await.map_err(|_| closed())?;
        Ok(Delivery { topic: name, partition, outcome })
    }

    /// The topic as it is now, or as it was last seen while no broker can be reached: a broker that restarts must not fail
    /// records that the delivery timeout still covers.
    async fn describe(&self, name: &Arc<str>) -> Result<Arc<TopicInfo>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match self.client.topic_info(name, self.config.auto_create).await {
            Ok(topic) => {
                if !known().get(name).is_some_and(|last| Arc::ptr_eq(last, &topic)) {
                    known().insert(name.clone(), topic.clone());
                }
                Ok(topic)
            }
            Err(error) if error.is_connection_failure() => known().get(name).cloned().ok_or(error),
            Err(error) => Err(error),
        }
    }

    fn choose(&self, name: &Arc<str>, topic: &TopicInfo, record: &ProducerRecord, bytes: usize) -> Result<i32> {
        let count = topic.partitions.len();
        if let Some(partition) = record.partition {
            return match topic.partition(partition) {
                Some(_) => Ok(partition),
                None => {
                    let topic = record.topic.clone();
                    Err(ClientError::UnknownPartition { topic, partition, partitions: count })
                }
            };
        }
        if let Some(key) = &record.key {
            return Ok(partition_for_key(key, u32::try_from(count).unwrap_or(u32::MAX)));
        }
        let led: Vec<i32> =
            topic.partitions.iter().filter(|found| found.leader.is_some()).map(|found| found.id).collect();
        let all: Vec<i32> = if led.is_empty() { topic.partitions.iter().map(|found| found.id).collect() } else { led };
        let mut sticky = self.sticky.lock().unwrap_or_else(PoisonError::into_inner);
        let sticky = sticky.entry(name.clone()).or_default();
        Ok(sticky.next(&all, bytes, self.config.batch_bytes_max, &mut rand::rng()))
    }

    /// Waits until nothing is buffered or in flight. The outcomes are in the deliveries.
    pub async fn flush(&self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        let closed = |()| ClientError::Closed { what: "producer" };
        self.commands.send(Command::Flush(reply)).await.map_err(|_| closed(()))?;
        done.await.map_err(|_| closed(()))
    }

    /// Sends what is buffered, waits for the answers and ends.
    pub async fn close(self) -> Result<()> {
        let flushed = self.flush().await;
        drop(self.commands);
        // A panic in the task has been reported where it happened, and every delivery has failed.
        let _ = self.task.await;
        flushed
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
