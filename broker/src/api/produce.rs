//! Produce (key 0): one record batch for each partition.
//!
//! Versions 3-13; advertised from 0, because librdkafka turns compression off for brokers that do not list 0 (0-2 close the
//! connection). KIP-98 (idempotence), KIP-110 (zstd), KIP-467 (record errors, 8), KIP-516 (topic ids, 13), KIP-890, KIP-951.
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_TOPIC_EXCEPTION (internal topics), INVALID_REQUIRED_ACKS,
//! CORRUPT_MESSAGE, INVALID_RECORD, INVALID_TIMESTAMP, MESSAGE_TOO_LARGE, UNSUPPORTED_COMPRESSION_TYPE,
//! OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH,
//! INVALID_TXN_STATE, TRANSACTION_ABORTABLE (11), INVALID_PRODUCER_ID_MAPPING, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KAFKA_STORAGE_ERROR, NOT_ENOUGH_REPLICAS (overload), REQUEST_TIMED_OUT.
//!
//! Two phases, so that one connection's requests keep their order without waiting for the disk: [`submit`] validates and queues,
//! and is awaited before the next request of the connection starts; [`Submitted::finish`] waits for the outcome.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ApiKey, TopicName};
use thiserror::Error;
use weir_protocol::ids::Timestamp;
use weir_protocol::produce::{Acks, ProduceFrame, ProducePartition, ProduceTopic};
use weir_storage::log::{AckLevel, AppendError, AppendFuture, AppendOrigin, Appended, BatchForm, PendingAppend};

use weir_layout::{BatchKeeper, KeptTail};
use weir_protocol::records::{BatchHeader, Compression, DecompressLimits, HEADER_LEN, Record, claimed_size, measure};
use weir_storage::cpu::{Priority, breathe};
use weir_storage::memory::{Reservation, Share};
use weir_table::Table;

use super::lookup::{self, LookupError, TopicRef};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::group::offsets::PartitionName;
use crate::metrics::tables::requests::COLUMNAR_RECORDS_IN;
use crate::metrics::{BrokerMetrics, TopicTraffic};
use crate::tables::Typing;
use crate::topics::Topic;
use crate::txn::TxnError;
use crate::views::ViewError;

pub mod columns;
pub mod dead_letters;
pub mod rows;
mod transactions;
pub mod validate;

use columns::{ColumnarProduceError, Opened};
use dead_letters::{DeadLetters, DeadRow};
use rows::{Checked, RowCheck};
use transactions::Placed;
use validate::{Depth, Rules, ValidateError};

pub const VERSIONS: Versions = Versions { advertised_min: 0, ..Versions::new(ApiKey::Produce, 3, 13) };

/// First version that names topics by id.
pub const TOPIC_IDS_SINCE: i16 = 13;

/// First version with `record_errors` and messages.
const RECORD_ERRORS_SINCE: i16 = 8;

/// Why a partition's batch was not appended, or its outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProduceError {
    #[error("acks={acks} is not one of -1 (all), 0, 1")]
    InvalidRequiredAcks { acks: i16 },
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("`{topic}` is an internal topic, clients may not write to it")]
    InternalTopic { topic: String },
    #[error("nothing can be produced to a view: {0}")]
    View(ViewError),
    #[error(transparent)]
    Invalid(#[from] ValidateError),
    #[error(transparent)]
    Columns(#[from] ColumnarProduceError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("not durable within the request's timeout of {timeout_ms} ms; it may still become so")]
    TimedOut { timeout_ms: i32 },
    #[error("a validation thread ended without an answer")]
    ValidationLost,
    #[error("rows that do not fit cannot go to the topic's dead letters: {reason}")]
    DeadLetters { reason: String },
    #[error("the batch belongs to a transaction, but the request has no transactional id")]
    NoTransactionalId,
    #[error("a newer producer with this transactional id has taken over, or the transaction timed out")]
    ProducerFenced,
    #[error("the partition was not added to the producer's transaction")]
    NotInTransaction,
    #[error("the partition cannot be checked against the producer's transaction: {0}")]
    TransactionBusy(TxnError),
    #[error(transparent)]
    Transaction(TxnError),
}

/// A partition of the request; `Ok` = its batch is queued, and the next outcome is its own.
type Slot = (i32, Result<Queued, ProduceError>);

/// What a queued batch counts for once it is stored.
struct Queued {
    records: u64,
    bytes: u64,
}

/// The slots of one topic of the request.
struct TopicSlots {
    topic: TopicRef,
    slots: Vec<Slot>,
    /// Only where bytes are counted by topic.
    traffic: Option<TopicTraffic>,
}

/// A request whose batches are queued.
pub struct Submitted {
    version: i16,
    acks: Acks,
    timeout_ms: i32,
    topics: Vec<TopicSlots>,
    outcome: AppendFuture,
    metrics: Arc<BrokerMetrics>,
}

/// What to do with the connection afterwards.
#[derive(Debug)]
pub enum Outcome {
    Respond(ProduceResponse),
    /// acks=0: nothing is sent. After an error the connection is closed, which is all the client can notice.
    Silent {
        failed: bool,
    },
}

/// A batch that may be appended.
struct Admitted {
    append: PendingAppend,
    name: PartitionName,
    /// Not part of the request's frame any more.
    rewritten: bool,
    /// Rows that are not part of the batch any more.
    dead: Option<DeadLetters>,
}

/// Validates every batch and queues the sound ones. Their order against later submits is fixed when this returns.
/// `memory` is that of the frame: it stays with the batches until nobody holds any part of the frame.
pub async fn submit(broker: &Broker, version: i16, request: ProduceFrame, memory: Option<Reservation>) -> Submitted {
    let level = required_acks(request.acks);
    let now = Timestamp(broker.wall_clock_ms());
    let mut placed = Vec::new();
    let (mut uses_frame, mut bytes) = (false, 0);
    let mut topics: Vec<TopicSlots> = Vec::with_capacity(request.topics.len());
    for ProduceTopic { topic, partitions } in last_of_each(request.topics) {
        let topic = TopicRef::from(topic);
        let found = writable(broker, &topic);
        let mut slots = Vec::with_capacity(partitions.len());
        for ProducePartition { index, records, columnar } in partitions {
            let admitted = match (&level, &found) {
                (Err(error), _) | (_, Err(error)) => Err(error.clone()),
                (Ok(_), Ok(topic)) => match columnar {
                    None => admit(broker, version, topic, index.0, records, now).await,
                    Some(tag) => admit_columns(broker, version, topic, index.0, &tag, records, now).await,
                },
            };
            let queued = admitted.map(|Admitted { append, name, rewritten, dead }| {
                uses_frame |= !rewritten;
                bytes += if rewritten { append.batch.len() } else { 0 };
                let header = &append.header;
                let counts = Queued { records: header.record_count.max(0) as u64, bytes: header.total_len() as u64 };
                placed.push(Placed { append, name, slot: (topics.len(), slots.len()), dead });
                counts
            });
            slots.push((index.0, queued));
        }
        let traffic = found.ok().and_then(|topic| broker.metrics.topic(&topic.name));
        topics.push(TopicSlots { topic, slots, traffic });
    }
    let id = request.transactional_id.as_deref();
    for ((topic, slot), error) in transactions::confirm(broker, version, id, &mut placed).await {
        topics[topic].slots[slot].1 = Err(error);
    }
    let mut letters = Vec::new();
    let queued = placed.into_iter().enumerate().map(|(position, placed)| {
        letters.extend(placed.dead.map(|dead| (position, dead)));
        placed.append
    });
    let queue: Vec<PendingAppend> = queued.collect();
    let level = level.unwrap_or(AckLevel::Written);
    let outcome: AppendFuture = if queue.is_empty() {
        Box::pin(std::future::ready(Vec::new()))
    } else {
        match memory {
            Some(memory) => {
                // One batch keeps the whole frame.
                let bytes = bytes + if uses_frame { memory.bytes() } else { 0 };
                broker.storage.submit_held(queue, level, memory, bytes).await
            }
            None => broker.storage.submit(queue, level).await,
        }
    };
    let outcome = dead_letters::follow(broker.storage.clone(), outcome, letters, level);
    let metrics = broker.metrics.clone();
    Submitted { version, acks: request.acks, timeout_ms: request.timeout_ms, topics, outcome, metrics }
}

/// As in Kafka, of two batches for one partition in one request the last one counts, and a topic without partitions is not
/// answered. Client libraries send neither.
fn last_of_each(topics: Vec<ProduceTopic>) -> Vec<ProduceTopic> {
    if !names_partition_twice(&topics) {
        return topics.into_iter().filter(|topic| !topic.partitions.is_empty()).collect();
    }
    let mut topics = topics;
    let mut seen = HashSet::new();
    for ProduceTopic { topic, partitions } in topics.iter_mut().rev() {
        let mut at = partitions.len();
        while at > 0 {
            at -= 1;
            if !seen.insert((topic.clone(), partitions[at].index)) {
                partitions.remove(at);
            }
        }
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    topics
}

fn names_partition_twice(topics: &[ProduceTopic]) -> bool {
    let count: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut seen = HashSet::with_capacity(if count > 1 { count } else { 0 });
    count > 1 && topics.iter().any(|t| t.partitions.iter().any(|partition| !seen.insert((&t.topic, partition.index))))
}

fn required_acks(acks: Acks) -> Result<AckLevel, ProduceError> {
    match acks {
        Acks::All => Ok(AckLevel::Durable),
        Acks::None | Acks::Leader => Ok(AckLevel::Written),
        Acks::Invalid(acks) => Err(ProduceError::InvalidRequiredAcks { acks }),
    }
}

fn writable(broker: &Broker, topic: &TopicRef) -> Result<Arc<Topic>, ProduceError> {
    let topic = lookup::topic(broker, topic)?;
    if topic.is_internal() {
        return Err(ProduceError::InternalTopic { topic: topic.name.clone() });
    }
    crate::topics::own(&topic, "records").map_err(ProduceError::View)?;
    Ok(topic)
}

async fn admit(
    broker: &Broker,
    version: i16,
    topic: &Arc<Topic>,
    index: i32,
    batch: Option<BytesMut>,
    now: Timestamp,
) -> Result<Admitted, ProduceError> {
    let partition = lookup::partition(broker, topic, index)?;
    let checks = Checks::of(broker, topic, index, now)?;
    let batch = batch.unwrap_or_default();
    let (header, depth) = validate::shallow(version, &batch, &checks.rules)?;
    let original = batch.as_ptr() as usize;
    let few = checks.table.is_none() || rows::are_few(&header);
    let (batch, Sound { header, dead, kept }) = match depth {
        Depth::Here if few => here(broker, batch, header, &checks).await?,
        Depth::Here | Depth::Costly => deep(broker, batch, header, &checks).await?,
    };
    let rewritten = batch.as_ptr() as usize != original;
    let kept = kept.and_then(|keeper| broker.kept_tail.keep(*keeper, &header));
    if broker.kept_tail.is_filling() {
        broker.storage.merge_kept_soon();
    }
    let append = PendingAppend { kept, ..PendingAppend::rows(partition, batch, header, AppendOrigin::Client) };
    let dead = letters(broker, topic, index, &checks, dead).await?;
    Ok(Admitted { append, name: (topic.name.clone(), index), rewritten, dead })
}

/// The same for an Arrow stream, which is stored as columns, or becomes a batch of rows first.
async fn admit_columns(
    broker: &Broker,
    version: i16,
    topic: &Arc<Topic>,
    index: i32,
    tag: &[u8],
    stream: Option<BytesMut>,
    now: Timestamp,
) -> Result<Admitted, ProduceError> {
    let partition = lookup::partition(broker, topic, index)?;
    let stream = stream.unwrap_or_default().freeze();
    let table = match &topic.table.typing {
        Typing::Typed(table) => table.clone(),
        Typing::Untyped => return Err(ColumnarProduceError::Untyped.into()),
        Typing::Waiting { reason } => return Err(ValidateError::NoTable { reason: reason.clone() }.into()),
    };
    let tag = columns::opened(tag, &stream)?;
    let rules = Rules::of(&topic.settings);
    let stays = topic.settings.layout.has_columns();
    // The columns, and what is made of them.
    let most = (broker.memory().limits_of(Share::Decode).max / 2).min(columns::BYTES_MAX);
    let usual = (stream.len() * USUAL_EXPANSION).max(1 << 20).min(most);
    let attempt = async |bytes_max: usize| {
        let _memory = broker.memory().reserve(Share::Decode, 2 * bytes_max).await;
        let (table, stream) = (table.clone(), stream.clone());
        let work = move || {
            let opened = Opened::new(&table, &tag, &stream, now, bytes_max)?;
            match stays.then(|| opened.as_columns(&table, &rules)).flatten() {
                Some((batch, header)) => Ok(Stored::Columns(batch, header)),
                None => opened.to_rows(&table).map(Stored::Rows),
            }
        };
        broker.storage.cpu().run(Priority::Request, work).await.map_err(|_| ProduceError::ValidationLost)
    };
    let stored = match attempt(usual).await? {
        Err(ColumnarProduceError::TooLarge { .. }) if usual < most => attempt(most).await?,
        made => made,
    };
    // None of it is the request's frame.
    let rewritten = true;
    match stored? {
        Stored::Columns(batch, header) => {
            metrics::counter!(COLUMNAR_RECORDS_IN.name, "form" => "columns")
                .increment(header.record_count.max(0) as u64);
            let append = PendingAppend::rows(partition, batch, header, AppendOrigin::Client);
            let append = PendingAppend { form: BatchForm::Columns, ..append };
            Ok(Admitted { append, name: (topic.name.clone(), index), rewritten, dead: None })
        }
        Stored::Rows(batch) => {
            let admitted = admit(broker, version, topic, index, Some(BytesMut::from(batch)), now).await?;
            let rows = admitted.append.header.record_count.max(0) as u64;
            metrics::counter!(COLUMNAR_RECORDS_IN.name, "form" => "rows").increment(rows);
            Ok(Admitted { rewritten, ..admitted })
        }
    }
}

/// A batch that was made of an Arrow stream.
enum Stored {
    Columns(BytesMut, BatchHeader),
    /// Still to be checked, as rows that came.
    Rows(Bytes),
}

/// Makes sure that there is a place for rows that do not fit, before their batch is appended.
async fn letters(
    broker: &Broker,
    topic: &Arc<Topic>,
    partition: i32,
    checks: &Checks,
    rows: Vec<DeadRow>,
) -> Result<Option<DeadLetters>, ProduceError> {
    let (Some(table), false) = (&checks.table, rows.is_empty()) else { return Ok(None) };
    let target = dead_letters::target(&broker.topics, &broker.storage, topic, partition).await;
    let target = target.map_err(|error| ProduceError::DeadLetters { reason: error.to_string() })?;
    let version = table.current().version;
    Ok(Some(DeadLetters { topic: topic.clone(), partition, version, target, rows }))
}

/// A batch that was checked, as it is to be appended.
struct Sound {
    header: BatchHeader,
    /// Rows that were taken out of it.
    dead: Vec<DeadRow>,
    /// Its columns, if a merge is to have them.
    kept: Option<Box<BatchKeeper>>,
}

/// What the records of a batch are checked against.
#[derive(Clone)]
struct Checks {
    rules: Rules,
    /// Of a typed topic, as it is when the batch comes.
    table: Option<Arc<Table>>,
    /// Rows of the topic become columns: who keeps those of this batch, and its partition.
    keep: Option<(KeptTail, i32)>,
    now: Timestamp,
}

impl Checks {
    fn of(broker: &Broker, topic: &Topic, partition: i32, now: Timestamp) -> Result<Checks, ValidateError> {
        let table = match &topic.table.typing {
            Typing::Untyped => None,
            Typing::Typed(table) => Some(table.clone()),
            Typing::Waiting { reason } => return Err(ValidateError::NoTable { reason: reason.clone() }),
        };
        let wanted = table.is_some() && topic.settings.layout.has_columns() && !topic.settings.log_append_time;
        let keep = wanted.then(|| (broker.kept_tail.clone(), partition));
        Ok(Checks { rules: Rules::of(&topic.settings), table, keep, now })
    }

    /// The checks that read the records, within `max_bytes` of them. After an error the batch can be checked again.
    fn run(&self, batch: &mut BytesMut, header: BatchHeader, max_bytes: usize) -> Result<Sound, ValidateError> {
        let decompress = DecompressLimits { max_bytes, ..self.rules.decompress };
        let rules = Rules { decompress, ..self.rules };
        let Some(table) = &self.table else {
            let header = validate::deep(batch, header, &rules, self.now, |_, _, _| {})?;
            return Ok(Sound { header, dead: Vec::new(), kept: None });
        };
        let mut check = RowCheck::new(table, self.keep.as_ref().map(|(tail, partition)| (tail, *partition)));
        let visit = |index, header: &BatchHeader, record: &Record<'_>| check.record(index, header, record);
        let header = validate::deep(batch, header, &rules, self.now, visit)?;
        let Checked { header, dead, kept } = check.finish(batch, header, &decompress)?;
        Ok(Sound { header, dead, kept })
    }
}

/// Opens records on the connection's thread; if a few bytes expand to many after all, on the others.
async fn here(
    broker: &Broker,
    mut batch: BytesMut,
    header: BatchHeader,
    checks: &Checks,
) -> Result<(BytesMut, Sound), ProduceError> {
    let max_bytes = match header.attributes.compression() {
        Compression::None => checks.rules.decompress.max_bytes,
        _ => validate::SMALL_EXPANDED_BYTES,
    };
    // So few are not worth keeping.
    let few = Checks { keep: None, ..checks.clone() };
    match few.run(&mut batch, header, max_bytes) {
        Err(error) if error.is_expansion() => deep(broker, batch, header, checks).await,
        Err(error) => Err(error.into()),
        Ok(sound) => Ok((batch, sound)),
    }
}

/// Compressed records are usually less than so many times smaller.
const USUAL_EXPANSION: usize = 16;

/// Opens records on the threads for computations, within memory of [`Share::Decode`]: first with room for what they claim, or what is
/// usual. If they are larger they are measured without keeping them, after all other requests, and opened if they are within the limits:
/// a bomb costs time that nobody else wants, and no memory.
async fn deep(
    broker: &Broker,
    batch: BytesMut,
    header: BatchHeader,
    checks: &Checks,
) -> Result<(BytesMut, Sound), ProduceError> {
    let codec = header.attributes.compression();
    let copies = checks.rules.copies(codec);
    let own = batch.len();
    let room = broker.memory().limits_of(Share::Decode).max.saturating_sub(own);
    let most = room / copies;
    let usual = match claimed_size(codec, batch.get(HEADER_LEN..).unwrap_or_default()) {
        // Plain records are read where they are.
        _ if codec == Compression::None => own,
        // A false claim is found out by the limits of its codec, or by opening it.
        Some(claimed) if (1 << 20..=most).contains(&claimed) => claimed,
        _ => (own * USUAL_EXPANSION).max(1 << 20),
    }
    .min(most);
    // What is kept of records is about as large as they are; it is not worth refusing any.
    let keep = checks.keep.is_some() && usual <= room / (copies + 1);
    // The batch goes to the other thread and comes back, whatever was found: it is never copied.
    let attempt = async |mut batch: BytesMut, max_bytes: usize, keep: bool| {
        let held = own + max_bytes * (copies + usize::from(keep));
        let _memory = broker.memory().reserve(Share::Decode, held).await;
        let mut checks = checks.clone();
        checks.keep.take_if(|_| !keep);
        let work = move || {
            let result = checks.run(&mut batch, header, max_bytes);
            (batch, result)
        };
        broker.storage.cpu().run(Priority::Request, work).await.map_err(|_| ProduceError::ValidationLost)
    };
    let (batch, result) = match attempt(batch, usual, keep).await? {
        (batch, Err(error)) if error.is_expansion() && usual < most => {
            let (batch, measured) = measured(broker, batch, codec, checks.rules.decompress, most).await?;
            attempt(batch, measured?, false).await?
        }
        found => found,
    };
    Ok((batch, result?))
}

/// How large the records of a batch are, by a thread for computations that has nothing else to do.
async fn measured(
    broker: &Broker,
    batch: BytesMut,
    codec: Compression,
    limits: DecompressLimits,
    max_bytes: usize,
) -> Result<(BytesMut, Result<usize, ValidateError>), ProduceError> {
    let limits = DecompressLimits { max_bytes, ..limits };
    let work = move || {
        let stored = batch.get(HEADER_LEN..).unwrap_or_default();
        let size = measure(codec, stored, &limits, &mut breathe);
        (batch, size.map_err(|error| ValidateError::Records(error.into())))
    };
    broker.storage.cpu().run(Priority::Background, work).await.map_err(|_| ProduceError::ValidationLost)
}

impl Submitted {
    /// Waits for the outcome, at most as long as the request allows.
    pub async fn finish(self) -> Outcome {
        let Submitted { version, acks, timeout_ms, topics, outcome, metrics } = self;
        let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        let mut results = match acks {
            // Nobody waits for these; a slow disk is not an error.
            Acks::None => Ok(outcome.await.into_iter()),
            _ => match tokio::time::timeout(limit, outcome).await {
                Ok(results) => Ok(results.into_iter()),
                Err(_) => Err(ProduceError::TimedOut { timeout_ms }),
            },
        };
        let mut failed = false;
        let mut responses = Vec::with_capacity(topics.len());
        for TopicSlots { topic, slots, traffic } in topics {
            let mut partitions = Vec::with_capacity(slots.len());
            for (index, admitted) in slots {
                let result = admitted.and_then(|queued| {
                    let appended = match &mut results {
                        Ok(results) => results.next().ok_or(AppendError::ShuttingDown)??,
                        Err(timed_out) => return Err(timed_out.clone()),
                    };
                    queued.count(&appended, &metrics, traffic.as_ref());
                    Ok(appended)
                });
                if let Err(error) = &result {
                    failed = true;
                    log_refusal(&topic, index, error);
                }
                partitions.push(answer(version, index, result));
            }
            responses.push(topic_response(topic, partitions));
        }
        if acks == Acks::None {
            return Outcome::Silent { failed };
        }
        Outcome::Respond(ProduceResponse::default().with_responses(responses))
    }
}

impl Queued {
    /// A batch that was there before is not counted again.
    fn count(&self, appended: &Appended, metrics: &BrokerMetrics, traffic: Option<&TopicTraffic>) {
        if !appended.duplicate {
            metrics.records_in.increment(self.records);
            if let Some(traffic) = traffic {
                traffic.bytes_in.increment(self.bytes);
            }
        }
    }
}

fn log_refusal(topic: &TopicRef, partition: i32, error: &ProduceError) {
    match error {
        ProduceError::Append(AppendError::DiskFull | AppendError::LogUnavailable { .. })
        | ProduceError::ValidationLost => {
            tracing::error!(?topic, partition, %error, "produce refused");
        }
        _ => tracing::debug!(?topic, partition, %error, "produce refused"),
    }
}

fn topic_response(topic: TopicRef, partitions: Vec<PartitionProduceResponse>) -> TopicProduceResponse {
    let response = TopicProduceResponse::default().with_partition_responses(partitions);
    match topic {
        TopicRef::Name(name) => response.with_name(TopicName(wire(&*name))),
        TopicRef::Id(id) => response.with_topic_id(id),
    }
}

fn answer(version: i16, index: i32, result: Result<Appended, ProduceError>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    let error = match result {
        Ok(appended) => {
            let stamped = appended.log_append_time.map_or(-1, |time| time.0);
            let response = response.with_base_offset(appended.base_offset.0).with_log_append_time_ms(stamped);
            return if version >= 5 { response.with_log_start_offset(appended.log_start.0) } else { response };
        }
        Err(error) => error,
    };
    let response = response.with_error_code(error.wire_code()).with_base_offset(-1);
    if version < RECORD_ERRORS_SINCE {
        return response;
    }
    let refused = match &error {
        ProduceError::Invalid(error) => error.refused(),
        _ => &[],
    };
    let record_errors = refused.iter().map(|record| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(record.index)
            .with_batch_index_error_message(Some(wire(record.reason.as_str())))
    });
    response.with_record_errors(record_errors.collect()).with_error_message(Some(wire(error.to_string())))
}
