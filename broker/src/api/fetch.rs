//! Fetch (key 1): record batches from an offset on, as they are stored.
//!
//! Versions 4-18. KIP-74 (size limits, at least one batch), KIP-98 (isolation), KIP-227 (sessions), KIP-320 (epochs),
//! KIP-392 (preferred replica: never named), KIP-516 (topic ids from 13 on), KIP-595 (diverging epoch), KIP-903, KIP-951.
//! Errors, whole request: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR; one
//! partition: TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, OFFSET_OUT_OF_RANGE, FENCED_LEADER_EPOCH,
//! UNKNOWN_LEADER_EPOCH, UNSUPPORTED_COMPRESSION_TYPE (zstd before version 10), KAFKA_STORAGE_ERROR.
//!
//! Three steps: `session` says which partitions are wanted, `read` waits for data and collects chunks within the size limits,
//! `encode` puts the chunks between encoded fields without copying them. Partitions that are asked for columns take another way
//! in the middle: `columnar`.
use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, FetchRequest};
use weir_protocol::columnar::ColumnarResult;
use weir_scan::ScanCounters;
use weir_storage::log::AbortedTransaction;

use super::lookup::{self, TopicRef};
use super::{Versions, given};
use crate::broker::{Advertised, Broker, RequestContext};
use crate::error_code::{ErrorCode, KafkaError};
use crate::quota::{QuotaKey, Throttle};
use crate::security::rules::{Access, Readable};
use weir_storage::memory::Reservation;

pub mod columnar;
pub mod encode;
pub mod read;
pub mod session;

use session::{FetchSessionError, PartitionRef, SessionRequest, Wanted};

pub const VERSIONS: Versions = Versions::new(ApiKey::Fetch, 4, 18);

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;

/// What one partition answers.
#[derive(Debug, Clone)]
pub struct FetchedPartition {
    pub key: PartitionRef,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable: i64,
    pub log_start: i64,
    /// None for read_uncommitted readers and for errors.
    pub aborted: Option<Vec<AbortedTransaction>>,
    pub records: Vec<Bytes>,
    /// (epoch, end offset) when the reader's last epoch ended before its position.
    pub diverging: Option<(i32, i64)>,
    /// Records are an Arrow IPC stream, and this goes with them.
    pub columnar: Option<ColumnarResult>,
    /// Tells a changed projection or predicate from the one before; 0 for a plain fetch.
    pub asked: u64,
    /// What a scan counted, for the metrics.
    pub scanned: Option<ScanCounters>,
}

impl FetchedPartition {
    /// An answer without data; ends unknown.
    pub fn new(key: PartitionRef) -> Self {
        FetchedPartition {
            key,
            error_code: 0,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            aborted: None,
            records: Vec::new(),
            diverging: None,
            columnar: None,
            asked: 0,
            scanned: None,
        }
    }

    pub fn failed(key: PartitionRef, error: &dyn KafkaError) -> Self {
        FetchedPartition { error_code: error.wire_code(), ..FetchedPartition::new(key) }
    }

    pub fn records_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }

    /// Neither an error nor a diverging epoch.
    pub fn is_plain(&self) -> bool {
        self.error_code == 0 && self.diverging.is_none()
    }
}

/// A whole response.
#[derive(Debug)]
pub struct FetchAnswer {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub session_id: i32,
    pub partitions: Vec<FetchedPartition>,
    /// Told (from version 16 on) beside a partition whose reader has an old leader epoch.
    pub leader: Leader,
}

/// The leader of every partition, and where it is reached (KIP-951).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub node_id: i32,
    pub epoch: i32,
    pub address: Advertised,
}

impl FetchAnswer {
    fn refused(error: FetchSessionError, leader: Leader) -> Self {
        FetchAnswer {
            throttle_time_ms: 0,
            error_code: error.wire_code(),
            session_id: 0,
            partitions: Vec::new(),
            leader,
        }
    }
}

/// Serves one fetch; waits up to `max_wait_ms` while there is less than `min_bytes`. Returns the parts of the body, and
/// the memory to hold until they are sent.
pub async fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    version: i16,
    request: FetchRequest,
    access: Option<&Access>,
) -> (Vec<Bytes>, Vec<Reservation>) {
    let leader =
        Leader { node_id: broker.node_id(), epoch: broker.leader_epoch().0, address: ctx.advertised().clone() };
    let plan = read::Plan::new(&request, broker.settings.fetch_max_bytes);
    let wishes = columnar::Wishes::of(version, &request);
    let judged = access
        .map(|access| Judge { access, replicates: is_replica(version, &request).then(|| access.may_replicate()) });
    let mut hold = Vec::new();
    let mut answer = match broker.fetch_sessions.begin(broker.now_ms(), session_request(version, request)) {
        Err(error) => {
            tracing::debug!(%error, "fetch session refused");
            FetchAnswer::refused(error, leader)
        }
        Ok(context) => {
            let Judged { wanted, refused, parts } = Judge::judge(judged.as_ref(), context.wanted());
            let (mut partitions, memory) = if wanted.is_empty() && !refused.is_empty() {
                // Nothing to wait for.
                (Vec::new(), Vec::new())
            } else {
                read::read(broker, version, &plan, &wishes, &wanted, &parts).await
            };
            partitions.extend(refused);
            hold = memory;
            let session_id = broker.fetch_sessions.finish(broker.now_ms(), context, &mut partitions);
            FetchAnswer { throttle_time_ms: 0, error_code: 0, session_id, partitions, leader }
        }
    };
    count(broker, &answer);
    let bytes = answer.partitions.iter().map(FetchedPartition::records_bytes).sum();
    let throttle = ctx.meter(broker, QuotaKey::ConsumerByteRate, bytes).max(meter_scans(broker, ctx, &answer));
    let throttle = throttle.max(ctx.meter_time(broker));
    answer.throttle_time_ms = throttle.wire();
    (encode::encode(version, answer), hold)
}

/// Counts what the fetch had scanned against its client's quotas.
fn meter_scans(broker: &Broker, ctx: &RequestContext, answer: &FetchAnswer) -> Throttle {
    let scanned = answer.partitions.iter().filter_map(|partition| partition.scanned.as_ref());
    let (bytes, us) =
        scanned.fold((0, 0), |(bytes, us), counters| (bytes + counters.bytes_scanned, us + counters.predicate_us));
    if (bytes, us) == (0, 0) {
        return Throttle::default();
    }
    let bytes = ctx.meter_amount(broker, QuotaKey::ScanByteRate, bytes as f64);
    bytes.max(ctx.meter_amount(broker, QuotaKey::PredicateMsRate, us as f64 / 1000.0))
}

/// Decides about each partition, in each fetch again: a session remembers what was asked, not what is allowed.
struct Judge<'a> {
    access: &'a Access,
    /// Whether a replica may fetch; `None` = a consumer asks.
    replicates: Option<bool>,
}

impl Judge<'_> {
    /// What may be read, the answers to what may not, and what may be read in part.
    fn judge<'w>(judge: Option<&Judge<'_>>, wanted: &'w session::WantedPartitions) -> Judged<'w> {
        let Some(judge) = judge else { return Judged::all(wanted) };
        let mut parts = read::Parts::new();
        let mut verdicts: HashMap<&TopicRef, bool> = HashMap::new();
        let mut may = |topic| {
            let decide = || match judge.replicates {
                Some(may) => may,
                None => match judge.access.readable(topic) {
                    Readable::Everything => true,
                    Readable::Part(part) => {
                        parts.insert(topic.clone(), part);
                        true
                    }
                    Readable::Nothing => false,
                },
            };
            *verdicts.entry(topic).or_insert_with(decide)
        };
        let refused: Vec<_> = wanted.keys().filter(|key| !may(&key.topic)).cloned().collect();
        if refused.is_empty() {
            return Judged { parts, ..Judged::all(wanted) };
        }
        let mut left = wanted.clone();
        for key in &refused {
            left.shift_remove(key);
        }
        let code = ErrorCode::TopicAuthorizationFailed.code();
        let answer = |key| FetchedPartition { error_code: code, ..FetchedPartition::new(key) };
        Judged { wanted: Cow::Owned(left), refused: refused.into_iter().map(answer).collect(), parts }
    }
}

/// What becomes of the partitions of a fetch.
struct Judged<'w> {
    wanted: Cow<'w, session::WantedPartitions>,
    refused: Vec<FetchedPartition>,
    parts: read::Parts,
}

impl<'w> Judged<'w> {
    /// Everything may be read.
    fn all(wanted: &'w session::WantedPartitions) -> Judged<'w> {
        Judged { wanted: Cow::Borrowed(wanted), refused: Vec::new(), parts: read::Parts::new() }
    }
}

/// A replica's fetch needs ClusterAction; from version 15 on its id is in a structure of its own.
fn is_replica(version: i16, request: &FetchRequest) -> bool {
    let id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    id.0 >= 0
}

/// Errors, records and bytes by topic, for the metrics.
fn count(broker: &Broker, answer: &FetchAnswer) {
    let metrics = &broker.metrics;
    metrics.request_error(ApiKey::Fetch, answer.error_code);
    for partition in &answer.partitions {
        metrics.request_error(ApiKey::Fetch, partition.error_code);
        let mut records = 0;
        match &partition.scanned {
            Some(counters) => {
                records = counters.rows_returned;
                let topic = lookup::topic(broker, &partition.key.topic).ok().filter(|_| metrics.counts_topics());
                let name = topic.as_ref().map(|topic| &*topic.name);
                metrics.scanned(name, counters, partition.records_bytes());
            }
            None if partition.columnar.is_some() => {}
            None => read::each_header(&partition.records, |header| {
                if !header.attributes.is_control() {
                    records += header.record_count.max(0) as u64;
                }
            }),
        }
        metrics.records_out.increment(records);
        if metrics.counts_topics()
            && let Ok(topic) = lookup::topic(broker, &partition.key.topic)
            && let Some(traffic) = metrics.topic(&topic.name)
        {
            traffic.bytes_out.increment(partition.records_bytes() as u64);
        }
    }
}

/// The request in terms of sessions. A partition named twice counts once, with what was said last.
fn session_request(version: i16, request: FetchRequest) -> SessionRequest {
    let uses_topic_ids = version >= TOPIC_IDS_SINCE;
    let mut wanted = session::WantedPartitions::new();
    for topic in request.topics {
        let name = if uses_topic_ids { TopicRef::Id(topic.topic_id) } else { TopicRef::name(&topic.topic) };
        for partition in topic.partitions {
            let key = PartitionRef { topic: name.clone(), partition: partition.partition };
            let want = Wanted {
                current_epoch: given(partition.current_leader_epoch),
                offset: partition.fetch_offset,
                last_fetched_epoch: given(partition.last_fetched_epoch),
                max_bytes: partition.partition_max_bytes,
            };
            wanted.insert(key, want);
        }
    }
    let forgotten = request.forgotten_topics_data.into_iter().flat_map(|topic| {
        let name = if uses_topic_ids { TopicRef::Id(topic.topic_id) } else { TopicRef::name(&topic.topic) };
        topic.partitions.into_iter().map(move |partition| PartitionRef { topic: name.clone(), partition })
    });
    SessionRequest {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        uses_topic_ids,
        forgotten: forgotten.collect(),
        wanted,
    }
}
