//! Fetches that carry columns and predicates: tag 5700 of `protocol/COLUMNAR.md`.
//!
//! Owns what such a fetch needs beside a plain one: which topics are asked for columns, plans shared between requests, scans
//! that go on during a long poll, and the answer as an Arrow IPC stream with its `ColumnarResult`. Errors, one partition:
//! UNSUPPORTED_VERSION (the struct's version is unknown), INVALID_REQUEST (projection, predicate or limits), and those of a
//! plain fetch. The connection stays up.
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use thiserror::Error;
use uuid::Uuid;
use weir_predicate::Clock;
use weir_protocol::columnar::{
    AcceptedCodecs, ColumnarError, ColumnarFetch, ColumnarResult, ColumnarTopic, ResultFormat, ScanOrder, TAG,
};
use weir_protocol::ids::{Offset, Timestamp, TopicId};
use weir_protocol::records::Compression;
use weir_scan::{
    OlderRows, ResultRows, RowCache, Scan, ScanCounters, ScanError, ScanLimits, ScanPlan, ScanPlanError, ScanRequest,
    SliceCodecs, StreamCodec, UNTYPED,
};
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::log::{Partition, ReadLimit};
use weir_table::Table;

use super::session::PartitionRef;
use super::{FetchedPartition, TOPIC_IDS_SINCE};
use crate::api::lookup::TopicRef;
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::lake::PartitionHistory;
use crate::security::rules::Part;
use crate::topics::Topic;
use crate::views::ViewState;

mod answer;
mod older;
mod part;
mod plans;

pub use plans::{PlanCache, RestrictedRead, TypedRead};

/// Why a partition is not answered with columns.
#[derive(Debug, Clone, Error)]
pub enum ColumnarFetchError {
    #[error(transparent)]
    Tag(#[from] ColumnarError),
    #[error(transparent)]
    Plan(#[from] ScanPlanError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("the topic has no schema {id}; it is untyped, leave ReadSchemaId at -1")]
    NoSuchSchema { id: i32 },
    #[error("ResultFormat 1 (Kafka records) needs a typed topic; fetch this one without tag {TAG}")]
    RecordsOfUntyped,
    #[error("Order 1 (window order) needs a topic with weir.cluster.by, stored as columns; Order 0 is offset order")]
    NotClustered,
    #[error("Kafka records (ResultFormat 1) are in offset order: Order 1 goes with ResultFormat 0")]
    RecordsInWindows,
    #[error(
        "`{view}` is a view: its columns are chosen by weir.view.select and weir.view.where; fetch it without tag {TAG}, or fetch `{source_name}`"
    )]
    View { view: String, source_name: String },
    #[error("the view `{view}` cannot be read: {reason}")]
    BrokenView { view: String, reason: String },
    #[error("the schema of view `{view}` is being registered; try again")]
    ViewNotYet { view: String },
    #[error("READ of `{topic}` is restricted to some columns and rows, and so it cannot be answered: {reason}")]
    Restricted { topic: String, reason: String },
    #[error("the result cannot be encoded: {reason}")]
    Encode { reason: String },
}

impl KafkaError for ColumnarFetchError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ColumnarFetchError::Tag(ColumnarError::UnsupportedVersion { .. }) => ErrorCode::UnsupportedVersion,
            ColumnarFetchError::Tag(
                ColumnarError::Wire(_) | ColumnarError::Value { .. } | ColumnarError::TopicTwice { .. },
            )
            | ColumnarFetchError::Plan(_)
            | ColumnarFetchError::Scan(ScanError::Predicate(_))
            | ColumnarFetchError::NoSuchSchema { .. }
            | ColumnarFetchError::RecordsOfUntyped
            | ColumnarFetchError::View { .. }
            | ColumnarFetchError::BrokenView { .. }
            | ColumnarFetchError::NotClustered
            | ColumnarFetchError::RecordsInWindows => ErrorCode::InvalidRequest,
            ColumnarFetchError::ViewNotYet { .. } => ErrorCode::NotLeaderOrFollower,
            ColumnarFetchError::Restricted { .. } => ErrorCode::TopicAuthorizationFailed,
            ColumnarFetchError::Scan(ScanError::Read(error)) => error.error_code(),
            ColumnarFetchError::Scan(ScanError::Failed { .. }) | ColumnarFetchError::Encode { .. } => {
                ErrorCode::KafkaStorageError
            }
        }
    }
}

/// Bounds of one scan, whatever the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct ScanSettings {
    /// Input bytes of one partition in one fetch.
    pub max_bytes: u64,
    /// Time spent scanning in one fetch.
    pub max_time: Duration,
}

/// The columnar part of one fetch.
#[derive(Debug, Default)]
pub struct Wishes {
    topics: HashMap<Uuid, ColumnarTopic>,
    codecs: AcceptedCodecs,
    format: Option<ResultFormat>,
    order: Option<ScanOrder>,
    max_scan_bytes: Option<u64>,
    /// The tag cannot be used: every partition of the fetch says so.
    broken: Option<ColumnarError>,
}

impl Wishes {
    /// Reads the tag; a fetch without one wishes for nothing.
    pub fn of(version: i16, request: &FetchRequest) -> Wishes {
        let tag = request.unknown_tagged_fields.get(&TAG).filter(|_| version >= TOPIC_IDS_SINCE);
        match tag.map(|bytes| ColumnarFetch::decode(bytes)) {
            None => Wishes::default(),
            Some(Err(error)) => Wishes { broken: Some(error), ..Wishes::default() },
            Some(Ok(fetch)) => Wishes {
                topics: fetch.topics.into_iter().map(|topic| (topic.topic_id, topic)).collect(),
                codecs: fetch.codecs,
                format: Some(fetch.format),
                order: Some(fetch.order),
                max_scan_bytes: fetch.max_scan_bytes,
                broken: None,
            },
        }
    }

    /// What is asked of this partition's topic; `None` is a plain fetch.
    pub fn of_partition(&self, key: &PartitionRef) -> Option<Result<&ColumnarTopic, ColumnarFetchError>> {
        if let Some(error) = &self.broken {
            return Some(Err(ColumnarFetchError::Tag(error.clone())));
        }
        match &key.topic {
            TopicRef::Id(id) => self.topics.get(id).map(Ok),
            TopicRef::Name(_) => None,
        }
    }

    /// What of the table is read; `None` of an untyped topic.
    fn check(
        &self,
        wish: &ColumnarTopic,
        table: Option<&Arc<Table>>,
        clustered: bool,
    ) -> Result<Option<TypedRead>, ColumnarFetchError> {
        let rows = match self.format {
            Some(ResultFormat::KafkaRecords) => ResultRows::Kafka,
            _ => ResultRows::Arrow,
        };
        if table.is_none() && rows == ResultRows::Kafka {
            return Err(ColumnarFetchError::RecordsOfUntyped);
        }
        match wish.read_schema {
            Some(id) if table.is_none() && id != UNTYPED => return Err(ColumnarFetchError::NoSuchSchema { id }),
            _ => {}
        }
        match (self.order, rows) {
            (Some(ScanOrder::Window), _) if !clustered => return Err(ColumnarFetchError::NotClustered),
            (Some(ScanOrder::Window), ResultRows::Kafka) => return Err(ColumnarFetchError::RecordsInWindows),
            _ => {}
        }
        let topic = TopicId(wish.topic_id);
        Ok(table.map(|table| TypedRead { topic, table: table.clone(), version: wish.read_schema, rows }))
    }

    /// Of Kafka batches, in the same spirit: whoever takes neither codec gets plain ones.
    fn compression(&self) -> Compression {
        match self.codec() {
            StreamCodec::Lz4Frame => Compression::Lz4,
            StreamCodec::Zstd => Compression::Zstd,
            StreamCodec::None => Compression::None,
        }
    }

    /// LZ4 costs a reader the least; a client that takes neither gets plain bodies.
    fn codec(&self) -> StreamCodec {
        match self.codecs {
            AcceptedCodecs { lz4: true, .. } => StreamCodec::Lz4Frame,
            AcceptedCodecs { zstd: true, .. } => StreamCodec::Zstd,
            AcceptedCodecs { .. } => StreamCodec::None,
        }
    }
}

/// How a scan is answered.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A stream in this codec, or of stored row groups in one of those.
    Arrow(StreamCodec, SliceCodecs),
    /// Kafka batches beside a `ColumnarResult`.
    Records(Compression),
    /// Kafka batches and nothing else, at this time.
    View(Compression, Timestamp),
}

/// A partition that is being scanned.
pub struct ScanTarget {
    partition: Arc<Partition>,
    plan: Arc<ScanPlan>,
    cpu: CpuPool,
    rows: Arc<RowCache>,
    form: Form,
    /// Rows of windows come group by group.
    in_windows: bool,
    asked: u64,
    start: i64,
    visible: ReadLimit,
    max_scan_bytes: u64,
    /// Where rows are that are older than the log.
    older: Option<Arc<dyn OlderRows>>,
    /// Nothing else is read.
    older_only: bool,
    /// The view that is read, if it is one.
    view: Option<TopicId>,
    /// `None` before its turn came, or while it runs.
    scan: Option<Scan>,
    failed: Option<ScanError>,
    /// Time that it has taken.
    spent: Duration,
}

impl ScanTarget {
    /// Checks and plans; nothing is read yet. `part`: what of the topic the client may read, if not all of it.
    pub async fn open(
        broker: &Broker,
        wishes: &Wishes,
        topic: &ColumnarTopic,
        partition: Arc<Partition>,
        start: i64,
        visible: ReadLimit,
        part: Option<&Part>,
    ) -> Result<ScanTarget, ColumnarFetchError> {
        let mut name = String::new();
        let typed = {
            let topic_now = broker.topics.by_id(TopicId(topic.topic_id));
            if let Some((view, name)) = topic_now.as_ref().and_then(|topic| Some((topic.view.as_ref()?, &topic.name))) {
                let (view, source_name) = (name.clone(), view.source_name.clone());
                return Err(ColumnarFetchError::View { view, source_name });
            }
            if let Some(now) = &topic_now {
                name.clone_from(&now.name);
            }
            let clustered = topic_now.as_ref().is_some_and(|topic| topic.settings.layout.is_clustered());
            wishes.check(topic, topic_now.as_ref().and_then(|topic| topic.table()), clustered)?
        };
        let kafka = typed.as_ref().is_some_and(|typed| typed.rows == ResultRows::Kafka);
        let request = ScanRequest {
            projection: topic.projection.clone(),
            predicate: topic.predicate.as_ref().map(|text| text.to_vec()),
        };
        let restriction = part.map(|part| part.restriction.clone());
        let asked = hash(&(&request, topic.read_schema, kafka, &restriction));
        let rows = if kafka { ResultRows::Kafka } else { ResultRows::Arrow };
        let restricted = restriction.map(|restriction| RestrictedRead { topic: name, restriction, rows });
        let clock = Clock::At(broker.wall_clock_ms());
        let plan = broker.scan_plans.plan_for(typed, restricted, request, clock).await?;
        let settings = broker.settings.scan;
        // Where a small budget ends would tell how large hidden rows are; 0 is the question what would be read.
        let wish = wishes.max_scan_bytes.filter(|wish| *wish == 0 || part.is_none());
        Ok(ScanTarget {
            older: older_rows(broker, &partition, kafka),
            older_only: false,
            partition,
            plan,
            cpu: broker.storage.cpu().clone(),
            rows: broker.scan_rows.clone(),
            form: match kafka {
                true => Form::Records(wishes.compression()),
                false => {
                    let slices = SliceCodecs { lz4: wishes.codecs.lz4, zstd: wishes.codecs.zstd };
                    Form::Arrow(wishes.codec(), slices)
                }
            },
            in_windows: wishes.order == Some(ScanOrder::Window),
            asked,
            start,
            visible,
            max_scan_bytes: wish.map_or(settings.max_bytes, |wish| wish.min(settings.max_bytes)),
            view: None,
            scan: None,
            failed: None,
            spent: Duration::ZERO,
        })
    }

    /// A plain fetch of a view. Nothing is planned and nothing is read yet.
    pub fn open_view(
        broker: &Broker,
        topic: &Topic,
        partition: Arc<Partition>,
        start: i64,
        visible: ReadLimit,
    ) -> Option<Result<ScanTarget, ColumnarFetchError>> {
        let view = topic.view.as_ref()?;
        let plan = match &view.state {
            ViewState::Ready(plan) => plan.clone(),
            ViewState::Unregistered { .. } => {
                return Some(Err(ColumnarFetchError::ViewNotYet { view: topic.name.clone() }));
            }
            ViewState::Broken { reason } => {
                let (view, reason) = (topic.name.clone(), reason.clone());
                return Some(Err(ColumnarFetchError::BrokenView { view, reason }));
            }
        };
        let asked = hash(&(&topic.settings.view, plan.schema_id()));
        let target = ScanTarget::of_rows(broker, topic, partition, (plan, asked), start, visible);
        Some(Ok(ScanTarget { view: Some(topic.id), ..target }))
    }

    /// Answered in batches of rows, as clients without columns read them.
    fn of_rows(
        broker: &Broker,
        topic: &Topic,
        partition: Arc<Partition>,
        (plan, asked): (Arc<ScanPlan>, u64),
        start: i64,
        visible: ReadLimit,
    ) -> ScanTarget {
        // Whoever has read the topic may not know any codec.
        let codec = topic.settings.compression.map_or(Compression::None, |(codec, _)| codec);
        ScanTarget {
            older: older_rows(broker, &partition, true),
            older_only: false,
            partition,
            asked,
            plan,
            cpu: broker.storage.cpu().clone(),
            rows: broker.scan_rows.clone(),
            form: Form::View(codec, Timestamp(broker.wall_clock_ms())),
            in_windows: false,
            start,
            visible,
            max_scan_bytes: broker.settings.scan.max_bytes,
            view: None,
            scan: None,
            failed: None,
            spent: Duration::ZERO,
        }
    }

    /// The view is another one by now, or gone: what is appended from here on is not for this scan to judge.
    pub fn is_of_changed_view(&self, broker: &Broker) -> bool {
        let Some(id) = self.view else { return false };
        let now = broker.topics.by_id(id).and_then(|topic| topic.view.clone());
        !now.is_some_and(|view| matches!(&view.state, ViewState::Ready(plan) if Arc::ptr_eq(plan, &self.plan)))
    }

    /// Scans on for at most `time`. `max_bytes`: of what it finds in this call.
    pub async fn run(&mut self, max_bytes: usize, at_least_one: bool, time: Duration) {
        if self.failed.is_some() {
            return;
        }
        let begun = self.scan.take().map(|scan| {
            let max_bytes = scan.matched_bytes().saturating_add(max_bytes);
            scan.with_max_bytes(max_bytes)
        });
        let scan = begun.unwrap_or_else(|| {
            let limits =
                ScanLimits { visible: self.visible, max_bytes, at_least_one, max_scan_bytes: self.max_scan_bytes };
            let (plan, partition) = (self.plan.clone(), self.partition.clone());
            let scan = Scan::new(plan, partition, self.cpu.clone(), Offset(self.start), limits).with_cache(&self.rows);
            let scan = if self.in_windows { scan.in_window_order() } else { scan };
            let scan = match self.older.clone() {
                Some(older) => scan.with_older(older, self.older_only),
                None => scan,
            };
            match self.form {
                Form::Arrow(_, slices) => scan.with_slices(slices),
                Form::Records(_) | Form::View(..) => scan,
            }
        });
        let started = Instant::now();
        match scan.run(time).await {
            Ok(scan) => self.scan = Some(scan),
            Err(error) => self.failed = Some(error),
        }
        self.spent += started.elapsed();
    }

    /// It is about to read what is older than the log, however much that is.
    pub fn is_behind_log(&self) -> bool {
        self.older.is_some() && self.position() < self.partition.offsets().log_start
    }

    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Where the scan has got to.
    pub fn position(&self) -> Offset {
        self.scan.as_ref().map_or(Offset(self.start), Scan::next)
    }

    pub fn matched_bytes(&self) -> usize {
        self.scan.as_ref().map_or(0, Scan::matched_bytes)
    }

    /// Its turn has come before.
    pub fn has_run(&self) -> bool {
        self.scan.is_some()
    }

    /// It must be answered at once: it failed, or one of its budgets is used up.
    pub fn is_final(&self) -> bool {
        self.failed.is_some() || self.scan.as_ref().is_some_and(Scan::is_exhausted)
    }

    /// There is something it has not looked at.
    pub fn can_go_on(&self) -> bool {
        let offsets = self.partition.offsets();
        let end = match self.visible {
            ReadLimit::HighWatermark => offsets.high_watermark,
            ReadLimit::LastStable => offsets.last_stable,
        };
        !self.is_final() && self.position() < end
    }

    /// The answer.
    pub async fn finish(self, key: &PartitionRef) -> FetchedPartition {
        let asked = self.asked;
        FetchedPartition { asked, ..self.answer(key).await }
    }

    async fn answer(mut self, key: &PartitionRef) -> FetchedPartition {
        if let Some(error) = self.failed.take() {
            // A predicate that is too expensive is paid for.
            let predicate_us = match &error {
                ScanError::Predicate(_) => u64::try_from(self.spent.as_micros()).unwrap_or(u64::MAX),
                ScanError::Read(_) | ScanError::Failed { .. } => 0,
            };
            let scanned = Some(ScanCounters { predicate_us, ..ScanCounters::default() });
            return FetchedPartition { scanned, ..self.refuse(key, &ColumnarFetchError::Scan(error)) };
        }
        let ends = self.partition.offsets();
        let is_view = matches!(self.form, Form::View(..));
        // Aborted rows are gone already.
        let aborted = || (self.visible == ReadLimit::LastStable).then(Vec::new);
        let result = match self.scan.take() {
            Some(scan) => match scan.finish() {
                Ok(result) => result,
                Err(error) => return self.refuse(key, &ColumnarFetchError::Scan(error)),
            },
            // Its turn did not come: other partitions filled the response.
            None => {
                let result = ColumnarResult { next_fetch_offset: self.start, ..ColumnarResult::default() };
                let columnar = Some(result).filter(|_| !is_view);
                let aborted = if is_view { aborted() } else { None };
                return FetchedPartition { columnar, aborted, ..super::read::with_ends(key.clone(), &ends) };
            }
        };
        let (offsets, counters) = (result.offsets, result.counters);
        let (plan, partition, form, start) = (self.plan.clone(), self.partition.clone(), self.form, Offset(self.start));
        let (explains, visible) = (self.max_scan_bytes == 0, self.visible);
        let is_restricted = plan.is_restricted();
        let work = move || match form {
            // Nothing may be looked at: what would be is told.
            Form::Arrow(..) if explains => answer::explained(&plan, &partition, start, visible, &result),
            Form::Arrow(codec, _) => answer::stream(&result, plan.schema_id(), codec),
            Form::Records(compression) => answer::records(&result, &plan, &partition, compression),
            Form::View(compression, now) => answer::of_view(&result, &plan, &partition, compression, start, now),
        };
        let encoded = self.cpu.run(Priority::Request, work).await;
        match encoded.unwrap_or_else(|error| Err(ColumnarFetchError::Encode { reason: error.to_string() })) {
            Ok((records, counted)) => FetchedPartition {
                aborted: aborted(),
                records,
                scanned: Some(ScanCounters {
                    // Rows that the format cannot say are known only now.
                    rows_returned: counted.rows_returned.max(0) as u64,
                    rows_errored: counted.rows_errored.max(0) as u64,
                    ..counters
                }),
                columnar: match (is_view, is_restricted) {
                    (true, _) => None,
                    // Bytes are of hidden columns and rows too.
                    (false, true) => Some(ColumnarResult { bytes_scanned: 0, ..counted }),
                    (false, false) => Some(counted),
                },
                ..super::read::with_ends(key.clone(), &offsets)
            },
            Err(error) => self.refuse(key, &error),
        }
    }

    /// A consumer of a view is told a code and no more, so the reason is for whoever runs the broker.
    fn refuse(&self, key: &PartitionRef, error: &ColumnarFetchError) -> FetchedPartition {
        match self.form {
            Form::View(..) => refused_view(key, error),
            Form::Arrow(..) | Form::Records(_) => refused(key, error),
        }
    }
}

/// What a partition has that is older than its log. `records`: to be had as records, not as columns only.
fn older_rows(broker: &Broker, partition: &Partition, records: bool) -> Option<Arc<dyn OlderRows>> {
    let topic = broker.topics.by_id(partition.key().topic)?;
    if records && !PartitionHistory::has_records(&topic) {
        return None;
    }
    Some(broker.histories.of(&broker.topics, &topic, partition)?)
}

/// Never 0, which stands for a plain fetch.
fn hash(request: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    hasher.finish() | 1
}

/// An error with its message; the position stays where it is.
pub fn refused(key: &PartitionRef, error: &ColumnarFetchError) -> FetchedPartition {
    let columnar =
        ColumnarResult { next_fetch_offset: -1, error_message: Some(error.to_string()), ..Default::default() };
    FetchedPartition { columnar: Some(columnar), ..FetchedPartition::failed(key.clone(), error) }
}

/// The same for a view, without anything that its client did not ask for.
pub fn refused_view(key: &PartitionRef, error: &ColumnarFetchError) -> FetchedPartition {
    if !matches!(error.error_code(), ErrorCode::OffsetOutOfRange) {
        tracing::warn!(topic = ?key.topic, partition = key.partition, %error, "fetch of a view failed");
    }
    FetchedPartition::failed(key.clone(), error)
}
