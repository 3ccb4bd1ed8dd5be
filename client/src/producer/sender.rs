//! The producer's task: feeds the queues, sends what they release, books the answers.
//!
//! Requests are handed to a connection here, one after the other, because their order on the wire is the order of the
//! sequence numbers in them; only the waiting for answers happens elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse, TopicName};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::batch::{Identity, Order, Outcome, Pending, Placed};
use super::queue::{Consequence, Limits, Queue};
use super::{Acks, ProducerConfig};
use crate::admin::wire_text;
use crate::backoff::Backoff;
use crate::cluster::Client;
use crate::connection::{Connection, retrying};
use crate::error::{ClientError, Result};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

/// What the producer's handle asks of its task.
pub(crate) enum Command {
    Append { topic: Arc<str>, partition: i32, record: Pending, bytes: usize },
    Flush(oneshot::Sender<()>),
}

type Key = (Arc<str>, i32);

/// One batch inside a request.
struct Part {
    key: Key,
    topic_id: Option<Uuid>,
    order: Order,
    bytes: Bytes,
}

/// The answers to one request.
struct Answered {
    leader: i32,
    outcomes: Vec<(Key, Order, Outcome)>,
}

struct Sender {
    client: Client,
    config: ProducerConfig,
    queues: BTreeMap<Key, Queue>,
    identity: Option<Identity>,
    renew_identity: bool,
    in_flight: HashMap<i32, usize>,
    answers: JoinSet<Answered>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Set while the identity cannot be had, or metadata cannot be fetched.
    paused_until: Option<Instant>,
    backoff: Backoff,
}

/// Runs until the handle is gone and everything is delivered or given up.
pub(crate) async fn run(client: Client, config: ProducerConfig, mut inbox: mpsc::Receiver<Command>) {
    let backoff = Backoff::new(client.config().retry_backoff, client.config().retry_backoff_max);
    let mut sender = Sender {
        client,
        config,
        queues: BTreeMap::new(),
        identity: None,
        renew_identity: false,
        in_flight: HashMap::new(),
        answers: JoinSet::new(),
        flushes: Vec::new(),
        paused_until: None,
        backoff,
    };
    let mut open = true;
    while open || !sender.is_idle() {
        let wake = sender.next_wake();
        tokio::select! {
            command = inbox.recv(), if open => match command {
                Some(command) => {
                    sender.accept(command);
                    while let Ok(command) = inbox.try_recv() {
                        sender.accept(command);
                    }
                }
                None => {
                    open = false;
                    sender.seal_all();
                }
            },
            Some(answered) = sender.answers.join_next() => {
                if let Ok(answered) = answered {
                    sender.book(answered);
                }
            }
            () = sleep_until(wake) => {}
        }
        sender.advance().await;
    }
    let closed = ClientError::Closed { what: "producer" };
    sender.queues.values_mut().for_each(|queue| queue.abandon(&closed));
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

impl Sender {
    fn is_idle(&self) -> bool {
        self.queues.values().all(Queue::is_empty)
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Append { topic, partition, record, bytes } => {
                let (limits, backoff) = (self.limits(), self.backoff.clone());
                let queue = self.queues.entry((topic, partition)).or_insert_with(|| Queue::new(limits, backoff));
                queue.append(record, bytes, Instant::now());
            }
            Command::Flush(reply) => {
                self.flushes.push(reply);
                self.seal_all();
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_bytes_max: self.config.batch_bytes_max.min(self.config.request_bytes_max),
            // Without sequence numbers a repetition could overtake what was sent after it.
            in_flight_max: if self.config.idempotent { self.config.in_flight_max } else { 1 },
            linger: self.config.linger,
            delivery_timeout: self.config.delivery_timeout,
            codec: (self.config.compression, self.config.compression_level),
            idempotent: self.config.idempotent,
        }
    }

    fn seal_all(&mut self) {
        self.queues.values_mut().for_each(Queue::seal);
    }

    fn next_wake(&self) -> Option<Instant> {
        let queues = self.queues.values().filter_map(Queue::next_wake);
        // Expiry needs no precise alarm: retries and pauses wake often enough while something is stuck.
        queues.chain(self.paused_until).min()
    }

    async fn advance(&mut self) {
        let now = Instant::now();
        let mut consequences = Vec::new();
        for ((topic, partition), queue) in &mut self.queues {
            queue.seal_due(now);
            consequences.push(queue.expire(topic, *partition, now));
        }
        consequences.into_iter().for_each(|consequence| self.follow(consequence));
        if self.paused_until.is_none_or(|end| end <= now) {
            self.paused_until = None;
            if let Err(error) = self.send_ready().await {
                tracing::debug!(%error, "producing is paused");
                self.paused_until = Some(Instant::now() + self.backoff.next_pause());
            } else {
                self.backoff.reset();
            }
        }
        if self.is_idle() {
            for flush in self.flushes.drain(..) {
                // Whoever flushed may have stopped waiting.
                let _ = flush.send(());
            }
        }
    }

    async fn send_ready(&mut self) -> Result<()> {
        if self.config.idempotent
            && (self.identity.is_none() || self.renew_identity)
            && self.queues.values().any(|queue| !queue.is_empty())
        {
            match self.ask_identity().await {
                Ok(identity) => {
                    self.identity = Some(identity);
                    self.renew_identity = false;
                }
                // The broker will not change its mind: nothing can ever be delivered.
                Err(error) if !error.is_retriable() => {
                    self.queues.values_mut().for_each(|queue| queue.abandon(&error));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        loop {
            let requests = self.collect().await;
            if requests.is_empty() {
                return Ok(());
            }
            for (leader, parts) in requests {
                self.send_request(leader, parts).await;
            }
        }
    }

    async fn ask_identity(&self) -> Result<Identity> {
        retrying(self.client.config(), || async {
            let connection = self.client.any_connection().await?;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(i32::MAX)
                .with_producer_id((-1).into())
                .with_producer_epoch(-1);
            let response = connection.call(|_| request).await?;
            connection.check::<InitProducerIdRequest>("", response.error_code, None)?;
            Ok(Identity { id: response.producer_id.0, epoch: response.producer_epoch })
        })
        .await
    }

    /// At most one batch per partition for each broker that can take another request.
    async fn collect(&mut self) -> BTreeMap<i32, Vec<Part>> {
        let now = Instant::now();
        let sendable: Vec<Key> = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.can_send(self.identity, now))
            .map(|(key, _)| key.clone())
            .collect();
        let mut requests: BTreeMap<i32, Vec<Part>> = BTreeMap::new();
        let mut sizes: HashMap<i32, usize> = HashMap::new();
        for key in sendable {
            let (leader, topic_id) = match self.locate(&key).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(topic = %key.0, partition = key.1, %error, "no leader to produce to");
                    if let Some(queue) = self.queues.get_mut(&key) {
                        match error.is_retriable() {
                            true => queue.postpone(&error, Instant::now()),
                            false => queue.abandon(&error),
                        }
                    }
                    continue;
                }
            };
            let size = sizes.entry(leader).or_default();
            let busy = self.in_flight.get(&leader).copied().unwrap_or(0) >= self.config.in_flight_max;
            if busy || *size >= self.config.request_bytes_max {
                continue;
            }
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            if let Some((order, bytes)) = queue.take(self.identity, now) {
                *size += bytes.len();
                requests.entry(leader).or_default().push(Part { key, topic_id, order, bytes });
            }
        }
        requests
    }

    /// Leader and topic id of a partition.
    async fn locate(&self, key: &Key) -> Result<(i32, Option<Uuid>)> {
        let topic = self.client.topic_info(&key.0, self.config.auto_create).await?;
        let Some(partition) = topic.partition(key.1) else {
            let partitions = topic.partitions.len();
            return Err(ClientError::UnknownPartition { topic: key.0.to_string(), partition: key.1, partitions });
        };
        match partition.leader {
            Some(leader) => Ok((leader, topic.id)),
            None => {
                self.client.forget_topic(&key.0);
                let connection = self.client.any_connection().await?;
                let code = ResponseError::LeaderNotAvailable.code();
                Err(connection.refusal::<ProduceRequest>(format!("{}-{}", key.0, key.1), code, None))
            }
        }
    }

    async fn send_request(&mut self, leader: i32, parts: Vec<Part>) {
        let orders: Vec<_> = parts.iter().map(|part| (part.key.clone(), part.order)).collect();
        let limit = self.client.config().request_timeout;
        let submitted = submit(&self.client, &self.config, leader, &parts).await;
        match submitted {
            Ok(Submitted::Waiting(connection, pending)) => {
                *self.in_flight.entry(leader).or_default() += 1;
                self.answers.spawn(async move {
                    let outcomes = match pending.wait(limit).await {
                        Ok(response) => outcomes(&connection, &parts, &response),
                        Err(error) => orders.into_iter().map(|(key, order)| (key, order, Err(error.clone()))).collect(),
                    };
                    Answered { leader, outcomes }
                });
            }
            Ok(Submitted::Done) => {
                let placed = Placed { offset: None, append_time_ms: None };
                for (key, order) in orders {
                    self.book_part(&key, order, Ok(placed));
                }
            }
            Err(error) => {
                for (key, order) in orders {
                    self.book_part(&key, order, Err(error.clone()));
                }
            }
        }
    }

    fn book(&mut self, answered: Answered) {
        if let Some(count) = self.in_flight.get_mut(&answered.leader) {
            *count = count.saturating_sub(1);
        }
        for (key, order, outcome) in answered.outcomes {
            self.book_part(&key, order, outcome);
        }
    }

    fn book_part(&mut self, key: &Key, order: Order, outcome: Outcome) {
        if let Err(error) = &outcome
            && error.is_stale_metadata()
        {
            self.client.forget_topic(&key.0);
        }
        if let Some(queue) = self.queues.get_mut(key) {
            let consequence = queue.answered(order, outcome, Instant::now());
            self.follow(consequence);
        }
    }

    fn follow(&mut self, consequence: Consequence) {
        match (consequence, &mut self.identity) {
            (Consequence::None, _) | (Consequence::BumpEpoch, None) => {}
            (Consequence::BumpEpoch, Some(identity)) if identity.epoch < i16::MAX => identity.epoch += 1,
            (Consequence::BumpEpoch | Consequence::NewIdentity, _) => self.renew_identity = true,
        }
    }
}

enum Submitted {
    Waiting(Connection, crate::connection::PendingResponse<ProduceRequest>),
    Done,
}

async fn submit(client: &Client, config: &ProducerConfig, leader: i32, parts: &[Part]) -> Result<Submitted> {
    let connection = client.broker(leader).await?;
    let negotiated = connection.version::<ProduceRequest>()?;
    let by_name = parts.iter().any(|part| part.topic_id.is_none());
    let version = if by_name { negotiated.min(TOPIC_IDS_FROM - 1) } else { negotiated };
    let mut topics: BTreeMap<&str, TopicProduceData> = BTreeMap::new();
    for part in parts {
        let topic = topics.entry(&part.key.0).or_insert_with(|| {
            TopicProduceData::default()
                .with_name(TopicName(wire_text(&part.key.0)))
                .with_topic_id(part.topic_id.unwrap_or_default())
        });
        let data = PartitionProduceData::default().with_index(part.key.1).with_records(Some(part.bytes.clone()));
        topic.partition_data.push(data);
    }
    // The broker gives up before this client does, so that its reason arrives.
    let timeout = client.config().request_timeout.mul_f64(0.8).as_millis();
    let request = ProduceRequest::default()
        .with_acks(config.acks.wire())
        .with_timeout_ms(i32::try_from(timeout).unwrap_or(i32::MAX))
        .with_topic_data(topics.into_values().collect());
    if config.acks == Acks::None {
        connection.submit_unanswered(version, &request).await?;
        return Ok(Submitted::Done);
    }
    let pending = connection.submit(version, &request).await?;
    Ok(Submitted::Waiting(connection, pending))
}

/// The outcome of each part; a part that the broker left out may or may not be written, so it is repeated.
fn outcomes(connection: &Connection, parts: &[Part], response: &ProduceResponse) -> Vec<(Key, Order, Outcome)> {
    let answer = |part: &Part| {
        let is_topic =
            |id: Uuid, name: &str| if id.is_nil() { name == &*part.key.0 } else { part.topic_id == Some(id) };
        let topic = response.responses.iter().find(|topic| is_topic(topic.topic_id, &topic.name))?;
        topic.partition_responses.iter().find(|found| found.index == part.key.1)
    };
    let outcome = |part: &Part| {
        let outcome = match answer(part) {
            Some(found) => placed(connection, part, found),
            None => Err(ClientError::Disconnected {
                broker: connection.broker().to_owned(),
                reason: format!("its answer does not mention {}-{}", part.key.0, part.key.1),
            }),
        };
        (part.key.clone(), part.order, outcome)
    };
    parts.iter().map(outcome).collect()
}

fn placed(connection: &Connection, part: &Part, found: &PartitionProduceResponse) -> Outcome {
    let first = found.record_errors.first().and_then(|error| error.batch_index_error_message.as_deref());
    let detail = found.error_message.as_deref().or(first);
    let subject = format!("{}-{}", part.key.0, part.key.1);
    connection.check::<ProduceRequest>(&subject, found.error_code, detail)?;
    Ok(Placed {
        offset: (found.base_offset >= 0).then_some(found.base_offset),
        append_time_ms: (found.log_append_time_ms >= 0).then_some(found.log_append_time_ms),
    })
}
