//! Fetches that carry columns and predicates: tag 5700 of `protocol/COLUMNAR.md`.
//!
//! Owns what such a fetch needs beside a plain one: which topics are asked for columns, plans shared between requests, scans
//! that go on during a long poll, and the answer as an Arrow IPC stream with its `ColumnarResult`. Errors, one partition:
//! UNSUPPORTED_VERSION (the struct's version is unknown), INVALID_REQUEST (projection, predicate or limits), and those of a
//! plain fetch. The connection stays up.
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use thiserror::Error;
use uuid::Uuid;
use weir_predicate::Clock;
use weir_protocol::columnar::{
    AcceptedCodecs, BatchRange, ColumnarError, ColumnarFetch, ColumnarResult, ColumnarTopic, ResultFormat, ScanOrder,
    TAG,
};
use weir_protocol::ids::{Offset, TopicId};
use weir_protocol::records::Compression;
use weir_scan::{
    ResultRows, RowCache, Scan, ScanError, ScanLimits, ScanPlan, ScanPlanError, ScanRequest, ScanResult, SliceCodecs,
    StoredRows, StreamCodec, UNTYPED, encode_records, encode_stream,
};
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::log::{Partition, ReadLimit};
use weir_table::Table;

use super::session::PartitionRef;
use super::{FetchedPartition, TOPIC_IDS_SINCE};
use crate::api::lookup::TopicRef;
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};

mod plans;

pub use plans::{PlanCache, TypedRead};

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
    #[error("Order 1 (window order) needs a topic with weir.cluster.by")]
    NotClustered,
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
            | ColumnarFetchError::NotClustered => ErrorCode::InvalidRequest,
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
    fn check(&self, wish: &ColumnarTopic, table: Option<&Arc<Table>>) -> Result<Option<TypedRead>, ColumnarFetchError> {
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
        if self.order == Some(ScanOrder::Window) {
            return Err(ColumnarFetchError::NotClustered);
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

/// A partition that is being scanned.
pub struct ScanTarget {
    partition: Arc<Partition>,
    plan: Arc<ScanPlan>,
    cpu: CpuPool,
    rows: Arc<RowCache>,
    codec: StreamCodec,
    slices: SliceCodecs,
    /// Answered with Kafka batches, compressed like this.
    records: Option<Compression>,
    asked: u64,
    start: i64,
    visible: ReadLimit,
    max_scan_bytes: u64,
    /// `None` before its turn came, or while it runs.
    scan: Option<Scan>,
    failed: Option<ScanError>,
}

impl ScanTarget {
    /// Checks and plans; nothing is read yet.
    pub async fn open(
        broker: &Broker,
        wishes: &Wishes,
        topic: &ColumnarTopic,
        partition: Arc<Partition>,
        start: i64,
        visible: ReadLimit,
    ) -> Result<ScanTarget, ColumnarFetchError> {
        let typed = {
            let topic_now = broker.topics.by_id(TopicId(topic.topic_id));
            wishes.check(topic, topic_now.as_ref().and_then(|topic| topic.table()))?
        };
        let kafka = typed.as_ref().is_some_and(|typed| typed.rows == ResultRows::Kafka);
        let request = ScanRequest {
            projection: topic.projection.clone(),
            predicate: topic.predicate.as_ref().map(|text| text.to_vec()),
        };
        let asked = hash(&(&request, topic.read_schema, kafka));
        let plan = broker.scan_plans.plan(typed, request, Clock::At(broker.wall_clock_ms())).await?;
        let settings = broker.settings.scan;
        Ok(ScanTarget {
            partition,
            plan,
            cpu: broker.storage.cpu().clone(),
            rows: broker.scan_rows.clone(),
            codec: wishes.codec(),
            slices: SliceCodecs { lz4: wishes.codecs.lz4, zstd: wishes.codecs.zstd },
            records: kafka.then(|| wishes.compression()),
            asked,
            start,
            visible,
            max_scan_bytes: wishes.max_scan_bytes.map_or(settings.max_bytes, |wish| wish.min(settings.max_bytes)),
            scan: None,
            failed: None,
        })
    }

    /// Scans on for at most `time`. `max_bytes` counts at the first call.
    pub async fn run(&mut self, max_bytes: usize, at_least_one: bool, time: Duration) {
        if self.failed.is_some() {
            return;
        }
        let scan = self.scan.take().unwrap_or_else(|| {
            let limits =
                ScanLimits { visible: self.visible, max_bytes, at_least_one, max_scan_bytes: self.max_scan_bytes };
            let (plan, partition) = (self.plan.clone(), self.partition.clone());
            let scan = Scan::new(plan, partition, self.cpu.clone(), Offset(self.start), limits).with_cache(&self.rows);
            if self.records.is_some() { scan } else { scan.with_slices(self.slices) }
        });
        match scan.run(time).await {
            Ok(scan) => self.scan = Some(scan),
            Err(error) => self.failed = Some(error),
        }
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
            return refused(key, &ColumnarFetchError::Scan(error));
        }
        let ends = self.partition.offsets();
        let (result, codec) = match self.scan.take() {
            Some(scan) => match scan.finish() {
                Ok(result) => (result, self.codec),
                Err(error) => return refused(key, &ColumnarFetchError::Scan(error)),
            },
            // Its turn did not come: other partitions filled the response.
            None => {
                let result = ColumnarResult { next_fetch_offset: self.start, ..ColumnarResult::default() };
                return FetchedPartition { columnar: Some(result), ..super::read::with_ends(key.clone(), &ends) };
            }
        };
        let (offsets, rows_cached) = (result.offsets, result.counters.rows_cached);
        let (plan, partition, records) = (self.plan.clone(), self.partition.clone(), self.records);
        let work = move || match records {
            None => encode(&result, plan.schema_id(), codec),
            Some(compression) => encode_batches(&result, &plan, &partition, compression),
        };
        let encoded = self.cpu.run(Priority::Request, work).await;
        match encoded.unwrap_or_else(|error| Err(ColumnarFetchError::Encode { reason: error.to_string() })) {
            Ok((records, columnar)) => FetchedPartition {
                // Aborted rows are gone already.
                aborted: (self.visible == ReadLimit::LastStable).then(Vec::new),
                records,
                columnar: Some(columnar),
                rows_cached,
                ..super::read::with_ends(key.clone(), &offsets)
            },
            Err(error) => refused(key, &error),
        }
    }
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

/// What goes into an answer: the chunks of `Records`, and what is said about them.
type Encoded = (Vec<Bytes>, ColumnarResult);

fn encode(result: &ScanResult, schema_id: i32, codec: StreamCodec) -> Result<Encoded, ColumnarFetchError> {
    if let Some(stored) = &result.stored {
        return encode_stored(result, stored, schema_id);
    }
    let records = if result.batches.is_empty() {
        Vec::new()
    } else {
        let batches = result.batches.iter().map(|scanned| &scanned.batch);
        let stream = encode_stream(&result.schema, batches, codec);
        vec![stream.map_err(|error| ColumnarFetchError::Encode { reason: error.to_string() })?]
    };
    let ranges = result.batches.iter().map(|scanned| BatchRange {
        first_offset: scanned.first_offset,
        last_offset: scanned.last_offset,
        rows: scanned.batch.num_rows() as i32,
        skip_head: 0,
        skip_tail: 0,
        dense: scanned.dense,
    });
    let columnar = ColumnarResult { batches: ranges.collect(), ..summary(result, schema_id, &records) };
    Ok((records, columnar))
}

fn encode_stored(result: &ScanResult, stored: &StoredRows, schema_id: i32) -> Result<Encoded, ColumnarFetchError> {
    let (stream, crc32c) = stored.encode()?;
    let ranges = stored.groups().iter().map(|group| BatchRange {
        first_offset: group.first_offset,
        last_offset: group.last_offset,
        rows: group.rows as i32,
        skip_head: group.skip_head as i32,
        skip_tail: 0,
        dense: true,
    });
    let columnar = ColumnarResult { batches: ranges.collect(), crc32c, ..summary(result, schema_id, &[]) };
    Ok((vec![stream], columnar))
}

fn encode_batches(
    result: &ScanResult,
    plan: &ScanPlan,
    partition: &Partition,
    compression: Compression,
) -> Result<Encoded, ColumnarFetchError> {
    let epoch_at = |offset| partition.epoch_at(offset);
    let records = encode_records(plan, &result.batches, compression, &epoch_at)?;
    let columnar = summary(result, plan.schema_id(), &records);
    Ok((records, columnar))
}

/// Everything but the batches of a stream.
fn summary(result: &ScanResult, schema_id: i32, records: &[Bytes]) -> ColumnarResult {
    let counters = result.counters;
    ColumnarResult {
        schema_id,
        next_fetch_offset: result.next.0,
        rows_scanned: counters.rows_scanned as i64,
        rows_returned: counters.rows_returned as i64,
        rows_errored: counters.rows_errored as i64,
        bytes_scanned: counters.bytes_scanned as i64,
        batches: Vec::new(),
        crc32c: records.iter().fold(0, |crc, chunk| crc32c::crc32c_append(crc, chunk)),
        error_message: None,
    }
}
