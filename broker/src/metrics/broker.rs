//! Handles for the hot path: registered once, then each recording is an atomic add.
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use metrics::{Counter, Gauge, Histogram};
use parking_lot::RwLock;
use weir_scan::ScanCounters;
use weir_storage::memory::{MemoryBudget, Share};

use super::tables::{connections, requests, scans};

/// API keys are small numbers; Kafka's highest is 92.
const API_KEYS: usize = 128;

/// Topics that are counted one by one; the rest go uncounted, so that a client that creates topics cannot fill the memory.
const TOPICS_MAX: usize = 10_000;

/// What the broker records. Make it after [`super::Metrics::install`], and share it.
pub struct BrokerMetrics {
    apis: Vec<OnceLock<ApiHandles>>,
    /// Bytes of requests read from sockets.
    pub bytes_in: Counter,
    /// Bytes of responses written to sockets.
    pub bytes_out: Counter,
    /// Records produced and accepted.
    pub records_in: Counter,
    /// Records of the batches sent to fetchers.
    pub records_out: Counter,
    scans_done: Counter,
    scans: ScanSeries,
    connections: Gauge,
    connections_accepted: Counter,
    connections_refused: Counter,
    topics: Option<RwLock<HashMap<String, TopicTraffic>>>,
}

/// Series of scans: of all, or of one topic.
struct ScanSeries {
    bytes_scanned: Counter,
    bytes_returned: Counter,
    rows_scanned: Counter,
    rows_returned: Counter,
    rows_filtered: Counter,
    rows_errored: Counter,
    rows_cached: Counter,
    groups_pruned: Counter,
    groups_sliced: Counter,
    groups_decoded: Counter,
    predicate_us: Counter,
}

impl ScanSeries {
    fn new() -> ScanSeries {
        ScanSeries {
            bytes_scanned: metrics::counter!(scans::SCAN_BYTES_SCANNED.name),
            bytes_returned: metrics::counter!(scans::SCAN_BYTES_RETURNED.name),
            rows_scanned: metrics::counter!(scans::SCAN_ROWS_SCANNED.name),
            rows_returned: metrics::counter!(scans::SCAN_ROWS_RETURNED.name),
            rows_filtered: metrics::counter!(scans::SCAN_ROWS_FILTERED.name),
            rows_errored: metrics::counter!(scans::SCAN_ROWS_ERRORED.name),
            rows_cached: metrics::counter!(scans::SCAN_ROWS_CACHED.name),
            groups_pruned: metrics::counter!(scans::SCAN_GROUPS_PRUNED.name),
            groups_sliced: metrics::counter!(scans::SCAN_GROUPS_SLICED.name),
            groups_decoded: metrics::counter!(scans::SCAN_GROUPS_DECODED.name),
            predicate_us: metrics::counter!(scans::SCAN_PREDICATE_US.name),
        }
    }

    fn of_topic(name: &str) -> ScanSeries {
        let topic = || [("topic", name.to_owned())];
        ScanSeries {
            bytes_scanned: metrics::counter!(scans::TOPIC_SCAN_BYTES_SCANNED.name, &topic()),
            bytes_returned: metrics::counter!(scans::TOPIC_SCAN_BYTES_RETURNED.name, &topic()),
            rows_scanned: metrics::counter!(scans::TOPIC_SCAN_ROWS_SCANNED.name, &topic()),
            rows_returned: metrics::counter!(scans::TOPIC_SCAN_ROWS_RETURNED.name, &topic()),
            rows_filtered: metrics::counter!(scans::TOPIC_SCAN_ROWS_FILTERED.name, &topic()),
            rows_errored: metrics::counter!(scans::TOPIC_SCAN_ROWS_ERRORED.name, &topic()),
            rows_cached: metrics::counter!(scans::TOPIC_SCAN_ROWS_CACHED.name, &topic()),
            groups_pruned: metrics::counter!(scans::TOPIC_SCAN_GROUPS_PRUNED.name, &topic()),
            groups_sliced: metrics::counter!(scans::TOPIC_SCAN_GROUPS_SLICED.name, &topic()),
            groups_decoded: metrics::counter!(scans::TOPIC_SCAN_GROUPS_DECODED.name, &topic()),
            predicate_us: metrics::counter!(scans::TOPIC_SCAN_PREDICATE_US.name, &topic()),
        }
    }

    fn add(&self, counters: &ScanCounters, bytes_returned: usize) {
        let ScanCounters { rows_scanned, rows_returned, rows_errored, bytes_scanned, rows_cached, .. } = *counters;
        self.bytes_scanned.increment(bytes_scanned);
        self.bytes_returned.increment(bytes_returned as u64);
        self.rows_scanned.increment(rows_scanned);
        self.rows_returned.increment(rows_returned);
        self.rows_filtered.increment(rows_scanned.saturating_sub(rows_returned + rows_errored));
        self.rows_errored.increment(rows_errored);
        self.rows_cached.increment(rows_cached);
        self.groups_pruned.increment(counters.groups_pruned);
        self.groups_sliced.increment(counters.groups_sliced);
        self.groups_decoded.increment(counters.groups_read);
        self.predicate_us.increment(counters.predicate_us);
    }
}

struct ApiHandles {
    requests: Counter,
    seconds: Histogram,
}

/// Bytes of one topic; clones count into the same series.
#[derive(Clone)]
pub struct TopicTraffic {
    /// Bytes of batches produced.
    pub bytes_in: Counter,
    /// Bytes of batches fetched.
    pub bytes_out: Counter,
    scans: Arc<OnceLock<ScanSeries>>,
}

/// Counts as an open connection until it is dropped.
pub struct OpenConnection {
    gauge: Gauge,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

impl BrokerMetrics {
    /// `per_topic`: count bytes by topic as well (`metrics.topics`).
    #[must_use]
    pub fn new(per_topic: bool) -> Arc<BrokerMetrics> {
        let connections = metrics::gauge!(connections::CONNECTIONS.name);
        connections.set(0.0);
        Arc::new(BrokerMetrics {
            apis: (0..API_KEYS).map(|_| OnceLock::new()).collect(),
            bytes_in: metrics::counter!(requests::BYTES_IN.name),
            bytes_out: metrics::counter!(requests::BYTES_OUT.name),
            records_in: metrics::counter!(requests::RECORDS_IN.name),
            records_out: metrics::counter!(requests::RECORDS_OUT.name),
            scans_done: metrics::counter!(scans::SCANS.name),
            scans: ScanSeries::new(),
            connections,
            connections_accepted: metrics::counter!(connections::CONNECTIONS_ACCEPTED.name),
            connections_refused: metrics::counter!(connections::CONNECTIONS_REFUSED.name),
            topics: per_topic.then(RwLock::default),
        })
    }

    /// A request was answered, or needs no answer, so long after its last byte arrived.
    pub fn request_done(&self, api: ApiKey, elapsed: Duration) {
        let Some(slot) = self.apis.get(api as usize) else { return };
        // Series appear with the first request, so that APIs nobody calls do not fill every scrape.
        let handles = slot.get_or_init(|| {
            let name = format!("{api:?}");
            ApiHandles {
                requests: metrics::counter!(requests::REQUESTS.name, "api" => name.clone()),
                seconds: metrics::histogram!(requests::REQUEST_SECONDS.name, "api" => name),
            }
        });
        handles.requests.increment(1);
        handles.seconds.record(elapsed.as_secs_f64());
    }

    /// A partition was answered out of a scan. `topic`: where topics are counted one by one.
    pub fn scanned(&self, topic: Option<&str>, counters: &ScanCounters, bytes_returned: usize) {
        self.scans_done.increment(1);
        self.scans.add(counters, bytes_returned);
        if let Some(traffic) = topic.and_then(|topic| self.topic(topic)) {
            // Series appear with a topic's first scan.
            let scans = traffic.scans.get_or_init(|| ScanSeries::of_topic(topic.unwrap_or_default()));
            scans.add(counters, bytes_returned);
        }
    }

    /// A client was told this error, in whatever part of a response; 0 is no error.
    pub fn request_error(&self, api: ApiKey, code: i16) {
        if code != 0 {
            let labels = [("api", format!("{api:?}")), ("error", error_name(code))];
            metrics::counter!(requests::REQUEST_ERRORS.name, &labels).increment(1);
        }
    }

    /// Records how the memory budget is used now.
    pub fn sample_memory(&self, budget: &MemoryBudget) {
        metrics::gauge!(connections::MEMORY_LIMIT.name).set(budget.limit() as f64);
        for share in Share::ALL {
            let (name, limits) = (share.name(), budget.limits_of(share));
            metrics::gauge!(connections::MEMORY_USED.name, "share" => name).set(budget.used_by(share) as f64);
            metrics::gauge!(connections::MEMORY_RESERVED.name, "share" => name).set(limits.reserved as f64);
            metrics::gauge!(connections::MEMORY_MAX.name, "share" => name).set(limits.max as f64);
            metrics::gauge!(connections::MEMORY_WAITING.name, "share" => name).set(budget.waiting(share) as f64);
        }
        let in_flight = [Share::Requests, Share::Scans, Share::Responses];
        let used: usize = in_flight.iter().map(|share| budget.used_by(*share)).sum();
        let most: usize = in_flight.iter().map(|share| budget.limits_of(*share).max).sum();
        metrics::gauge!(connections::INFLIGHT_BYTES.name).set(used as f64);
        metrics::gauge!(connections::INFLIGHT_BYTES_LIMIT.name).set(most as f64);
    }

    /// A connection was accepted; it is open until the result is dropped.
    #[must_use]
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections_accepted.increment(1);
        self.connections.increment(1.0);
        OpenConnection { gauge: self.connections.clone() }
    }

    /// A connection was closed at once because of a limit.
    pub fn connection_refused(&self) {
        self.connections_refused.increment(1);
    }

    /// Whether [`BrokerMetrics::topic`] gives anything.
    #[must_use]
    pub fn counts_topics(&self) -> bool {
        self.topics.is_some()
    }

    /// The counters of a topic; `None` unless topics are counted one by one.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicTraffic> {
        let topics = self.topics.as_ref()?;
        if let Some(known) = topics.read().get(name) {
            return Some(known.clone());
        }
        let mut topics = topics.write();
        if topics.len() >= TOPICS_MAX && !topics.contains_key(name) {
            return None;
        }
        let traffic = topics.entry(name.to_owned()).or_insert_with(|| TopicTraffic {
            bytes_in: metrics::counter!(requests::TOPIC_BYTES_IN.name, "topic" => name.to_owned()),
            bytes_out: metrics::counter!(requests::TOPIC_BYTES_OUT.name, "topic" => name.to_owned()),
            scans: Arc::default(),
        });
        Some(traffic.clone())
    }
}

/// Kafka's name of an error code: `UNKNOWN_TOPIC_OR_PARTITION` for 3.
#[must_use]
pub fn error_name(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        Some(ResponseError::Unknown(code)) => format!("UNKNOWN_{code}"),
        Some(error) => kafka_spelling(&format!("{error:?}")),
        None => "NONE".to_owned(),
    }
}

/// `UnknownTopicId` -> `UNKNOWN_TOPIC_ID`.
fn kafka_spelling(camel: &str) -> String {
    let mut spelled = String::with_capacity(camel.len() + 8);
    for (index, c) in camel.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            spelled.push('_');
        }
        spelled.push(c.to_ascii_uppercase());
    }
    spelled
}
