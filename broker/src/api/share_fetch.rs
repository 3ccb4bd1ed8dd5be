//! ShareFetch (key 78): records that a member of a share group acquires, and what it says of those that it had.
//!
//! Version 1 (0 was Kafka 4.0's preview; 2, with renewals and an acquire mode, is not decoded by the protocol crate). KIP-932.
//! Errors, whole request: SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, SHARE_SESSION_LIMIT_REACHED, INVALID_REQUEST;
//! one partition: TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, GROUP_ID_NOT_FOUND,
//! COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, INVALID_REQUEST (a view), KAFKA_STORAGE_ERROR; of its acknowledgements
//! those of ShareAcknowledge.
//!
//! Record bytes go out as they are stored, as in Fetch, whatever the topic's layout: rows of typed and columnar topics are batches
//! too. Whole batches are sent; which records of them the member has is told beside.
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ShareFetchRequest};
use weir_protocol::ids::TopicId;
use weir_storage::memory::Reservation;

use super::Versions;
use super::share_acknowledge::{self, AcknowledgeError, Acknowledgements, Nameless, session_key};
use crate::broker::{Broker, RequestContext};
use crate::error_code::KafkaError;
use crate::metrics::tables::shares as tables;
use crate::quota::QuotaKey;
use crate::security::rules::Access;
use crate::share::SessionKey;
use crate::share::partition::{AckBatch, Acquired};
use crate::share::session::{CLOSE, Change, OPEN, TopicPartition};

pub mod encode;
pub mod read;

pub const VERSIONS: Versions = Versions::new(ApiKey::ShareFetch, 1, 1);

/// What one partition answers.
#[derive(Debug, Clone, Default)]
pub struct FetchedShare {
    pub error: Option<(i16, String)>,
    pub acknowledge_error: Option<(i16, String)>,
    pub records: Vec<Bytes>,
    pub acquired: Vec<Acquired>,
}

impl FetchedShare {
    fn failed(error: &dyn KafkaError) -> FetchedShare {
        FetchedShare { error: Some((error.wire_code(), error.to_string())), ..FetchedShare::default() }
    }

    fn records_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// A whole response.
#[derive(Debug, Default)]
pub struct ShareFetchAnswer {
    pub throttle_time_ms: i32,
    pub error: Option<(i16, String)>,
    pub lock_timeout_ms: i32,
    pub partitions: Vec<(TopicPartition, FetchedShare)>,
}

impl ShareFetchAnswer {
    fn refused(error: &dyn KafkaError) -> ShareFetchAnswer {
        ShareFetchAnswer { error: Some((error.wire_code(), error.to_string())), ..ShareFetchAnswer::default() }
    }
}

/// The request without the wire.
struct Plan {
    session: SessionKey,
    epoch: i32,
    limits: read::Limits,
    change: Change,
    acknowledgements: Acknowledgements,
}

/// Serves one fetch; waits up to `max_wait_ms` while there is nothing to acquire. Returns the parts of the body, and the memory
/// to hold until they are sent.
pub async fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    request: ShareFetchRequest,
    access: Option<&Access>,
) -> (Vec<Bytes>, Vec<Reservation>) {
    let mut hold = Vec::new();
    let mut answer = match plan(broker, request) {
        Some(plan) => serve(broker, ctx, plan, access, &mut hold).await,
        None => ShareFetchAnswer::refused(&Nameless),
    };
    count(broker, &answer);
    let bytes = answer.partitions.iter().map(|(_, partition)| partition.records_bytes()).sum();
    answer.throttle_time_ms = ctx.meter(broker, QuotaKey::ConsumerByteRate, bytes).max(ctx.meter_time(broker)).wire();
    (encode::encode(answer), hold)
}

fn plan(broker: &Broker, request: ShareFetchRequest) -> Option<Plan> {
    let limits = read::Limits::new(&request, broker.settings.fetch_max_bytes);
    let (group, member) = (request.group_id.as_deref(), request.member_id.as_deref());
    let session = session_key(group.map(|group| group.as_str()), member)?;
    let mut change = Change::default();
    let mut acknowledgements = Acknowledgements::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let at = (TopicId(topic.topic_id), partition.partition_index);
            change.added.push(at);
            if partition.acknowledgement_batches.is_empty() {
                continue;
            }
            let batches = partition.acknowledgement_batches.into_iter();
            let batches =
                batches.map(|b| AckBatch { first: b.first_offset, last: b.last_offset, types: b.acknowledge_types });
            acknowledgements.entry(at).or_default().extend(batches);
        }
    }
    for topic in request.forgotten_topics_data {
        change.forgotten.extend(topic.partitions.into_iter().map(|partition| (TopicId(topic.topic_id), partition)));
    }
    Some(Plan { session, epoch: request.share_session_epoch, limits, change, acknowledgements })
}

async fn serve(
    broker: &Broker,
    ctx: &RequestContext,
    plan: Plan,
    access: Option<&Access>,
    hold: &mut Vec<Reservation>,
) -> ShareFetchAnswer {
    let Plan { session, epoch, limits, change, acknowledgements } = plan;
    let acknowledges = !acknowledgements.is_empty();
    let sessions_max = broker.group_configs.bounds().share.sessions;
    let opened = broker.share_sessions.fetch(&session, ctx.connection_id, epoch, acknowledges, change, sessions_max);
    let wanted = match opened {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::debug!(%error, "share session refused");
            // A client that is refused for want of room asks again at once; let it wait as long as for records.
            if error.error_code() == crate::error_code::ErrorCode::ShareSessionLimitReached {
                tokio::time::sleep(limits.max_wait).await;
            }
            return ShareFetchAnswer::refused(&error);
        }
    };
    let results = share_acknowledge::acknowledge(broker, &session, acknowledgements, access).await;
    let mut partitions = match epoch {
        CLOSE => Vec::new(),
        _ => read::read(broker, &session, &limits, &wanted, access, acknowledges, hold).await,
    };
    if epoch == CLOSE {
        share_acknowledge::close(broker, &session);
    }
    // Later answers tell changes only.
    if epoch != OPEN {
        partitions.retain(|(_, partition)| partition.error.is_some() || !partition.acquired.is_empty());
    }
    for (at, result) in results {
        merge(&mut partitions, at, result);
    }
    let lock_timeout_ms = i32::try_from(broker.shares.terms(&session.group).lock_ms).unwrap_or(i32::MAX);
    ShareFetchAnswer { throttle_time_ms: 0, error: None, lock_timeout_ms, partitions }
}

/// The client waits for an answer to each of its acknowledgements.
fn merge(
    partitions: &mut Vec<(TopicPartition, FetchedShare)>,
    at: TopicPartition,
    result: Result<(), AcknowledgeError>,
) {
    let acknowledge_error = result.err().map(|error| (error.wire_code(), error.to_string()));
    match partitions.iter_mut().find(|(partition, _)| *partition == at) {
        Some((_, partition)) => partition.acknowledge_error = acknowledge_error,
        None => partitions.push((at, FetchedShare { acknowledge_error, ..FetchedShare::default() })),
    }
}

/// Errors, records and bytes by topic, for the metrics.
fn count(broker: &Broker, answer: &ShareFetchAnswer) {
    let metrics = &broker.metrics;
    let code = |error: &Option<(i16, String)>| error.as_ref().map_or(0, |(code, _)| *code);
    metrics.request_error(ApiKey::ShareFetch, code(&answer.error));
    let mut records = 0;
    for ((topic, _), partition) in &answer.partitions {
        metrics.request_error(ApiKey::ShareFetch, code(&partition.error));
        metrics.request_error(ApiKey::ShareFetch, code(&partition.acknowledge_error));
        records += partition.acquired.iter().map(Acquired::count).sum::<i64>().max(0) as u64;
        if metrics.counts_topics()
            && let Some(topic) = broker.topics.by_id(*topic)
            && let Some(traffic) = metrics.topic(&topic.name)
        {
            traffic.bytes_out.increment(partition.records_bytes() as u64);
        }
    }
    metrics.records_out.increment(records);
    metrics::counter!(tables::RECORDS_ACQUIRED.name).increment(records);
}
