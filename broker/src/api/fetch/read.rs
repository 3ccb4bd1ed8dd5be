//! Waits for data and reads it within the size limits of a fetch.
//!
//! A long poll never spins: it registers one waiter with every partition, looks again, and sleeps until an append or the
//! deadline wakes it. Only then are bytes read, once.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use thiserror::Error;
use tokio::time::Instant;
use weir_protocol::ids::{LeaderEpoch, Offset};
use weir_protocol::records::{BatchHeader, Compression, HEADER_LEN};
use weir_storage::log::{DataWaiter, LogOffsets, Partition, ReadError, ReadLimit, ReadOutcome, ReadRequest};
use weir_storage::memory::{Reservation, Share};

use super::FetchedPartition;
use super::columnar::{self, ScanTarget, Wishes};
use super::session::{PartitionRef, Wanted, WantedPartitions};
use crate::api::lookup::{self, TopicRef, check_epoch};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::rules::Part;

/// Topics of which a client may read a part only.
pub type Parts = HashMap<TopicRef, Arc<Part>>;

/// How long a fetch waits for memory before it answers without data, and its client asks again.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

/// First version whose clients know zstd.
const ZSTD_SINCE: i16 = 10;

/// Limits of one fetch, clamped to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub max_wait: Duration,
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub limit: ReadLimit,
}

impl Plan {
    pub fn new(request: &FetchRequest, broker_max_bytes: usize) -> Plan {
        let max_bytes = size(request.max_bytes).min(broker_max_bytes);
        Plan {
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
            min_bytes: size(request.min_bytes).min(max_bytes),
            max_bytes,
            limit: if request.isolation_level == 1 { ReadLimit::LastStable } else { ReadLimit::HighWatermark },
        }
    }
}

/// Negative sizes of the wire mean nothing.
fn size(wire: i32) -> usize {
    usize::try_from(wire).unwrap_or(0)
}

/// The client's codec support is older than the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the records are compressed with zstd, which Fetch version {version} does not know (needs {ZSTD_SINCE})")]
pub struct ZstdUnsupported {
    pub version: i16,
}

/// How many bytes of rows a byte of the log is counted as, before it is known: columns are about six times smaller as they are stored.
const EXPANSION: usize = 8;

/// One partition of the fetch, found or answered already.
enum Target<'a> {
    Open {
        key: &'a PartitionRef,
        wanted: &'a Wanted,
        partition: Arc<Partition>,
    },
    /// Asked for columns.
    Scan {
        key: &'a PartitionRef,
        wanted: &'a Wanted,
        scan: Box<ScanTarget>,
    },
    Answered(Box<FetchedPartition>),
}

/// Reads every wanted partition in order. What comes from disk takes memory first: the first bytes wait for it, later
/// partitions are left out when there is none, so that no two fetches wait for each other.
pub async fn read(
    broker: &Broker,
    version: i16,
    plan: &Plan,
    wishes: &Wishes,
    wanted: &WantedPartitions,
    parts: &Parts,
) -> (Vec<FetchedPartition>, Vec<Reservation>) {
    let mut targets = Vec::with_capacity(wanted.len());
    for (key, wanted) in wanted {
        let part = parts.get(&key.topic).map(|part| &**part);
        let opened = open(broker, key, wanted, plan, part.is_some());
        targets.push(match (opened, wishes.of_partition(key), part) {
            (Target::Open { partition, .. }, Some(wish), part) => {
                scan_of(broker, wishes, wish, (key, wanted), partition, plan, part).await
            }
            (Target::Scan { scan, .. }, Some(wish), part) => {
                let partition = scan.partition().clone();
                scan_of(broker, wishes, wish, (key, wanted), partition, plan, part).await
            }
            (Target::Open { partition, .. }, None, Some(part)) => {
                part_of(broker, key, wanted, partition, plan, part).await
            }
            (plain, ..) => plain,
        });
    }
    let mut memory = Vec::new();
    wait_for_data(broker, &mut targets, plan, &mut memory).await;
    let scanned: usize = targets.iter().map(Target::matched_bytes).sum();
    let mut left = plan.max_bytes.saturating_sub(scanned);
    let mut nothing_yet = scanned == 0;
    let mut answers = Vec::with_capacity(targets.len());
    for target in targets {
        let answer = match target {
            Target::Answered(answer) => *answer,
            Target::Scan { key, scan, .. } => {
                let answer = scan.finish(key).await;
                if version < ZSTD_SINCE && holds_zstd(&answer.records) {
                    answers.push(FetchedPartition::failed(key.clone(), &ZstdUnsupported { version }));
                } else {
                    answers.push(answer);
                }
                continue;
            }
            Target::Open { key, wanted, partition } => {
                let request = ReadRequest {
                    offset: Offset(wanted.offset),
                    max_bytes: left.min(size(wanted.max_bytes)),
                    at_least_one: nothing_yet,
                    limit: plan.limit,
                };
                let patience = if memory.is_empty() { MEMORY_PATIENCE } else { Duration::ZERO };
                read_one(version, key, &partition, request, patience, &mut memory).await
            }
        };
        let bytes = answer.records_bytes();
        nothing_yet &= bytes == 0;
        left = left.saturating_sub(bytes);
        answers.push(answer);
    }
    (answers, memory)
}

async fn scan_of<'a>(
    broker: &Broker,
    wishes: &Wishes,
    wish: Result<&weir_protocol::columnar::ColumnarTopic, columnar::ColumnarFetchError>,
    (key, wanted): (&'a PartitionRef, &'a Wanted),
    partition: Arc<Partition>,
    plan: &Plan,
    part: Option<&Part>,
) -> Target<'a> {
    let opened = match wish {
        Ok(topic) => ScanTarget::open(broker, wishes, topic, partition, wanted.offset, plan.limit, part).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(scan) => Target::Scan { key, wanted, scan: Box::new(scan) },
        Err(error) => Target::Answered(Box::new(columnar::refused(key, &error))),
    }
}

/// A plain fetch of part of a topic.
async fn part_of<'a>(
    broker: &Broker,
    key: &'a PartitionRef,
    wanted: &'a Wanted,
    partition: Arc<Partition>,
    plan: &Plan,
    part: &Part,
) -> Target<'a> {
    let opened = match lookup::topic(broker, &key.topic) {
        Ok(topic) => ScanTarget::open_part(broker, &topic, partition, wanted.offset, plan.limit, part).await,
        Err(error) => return Target::Answered(Box::new(FetchedPartition::failed(key.clone(), &error))),
    };
    match opened {
        Ok(scan) => Target::Scan { key, wanted, scan: Box::new(scan) },
        Err(error) => Target::Answered(Box::new(columnar::refused_view(key, &error))),
    }
}

/// `in_part`: the client may not read all of it, and what it gets is decided elsewhere.
fn open<'a>(broker: &Broker, key: &'a PartitionRef, wanted: &'a Wanted, plan: &Plan, in_part: bool) -> Target<'a> {
    let found = lookup::topic(broker, &key.topic)
        .and_then(|topic| lookup::partition(broker, &topic, key.partition).map(|partition| (topic, partition)));
    let (topic, partition) = match found {
        Ok(found) => found,
        Err(error) => {
            // As in Kafka: what is not found has an empty list of aborted transactions, every later error has none.
            let failed = FetchedPartition::failed(key.clone(), &error);
            return Target::Answered(Box::new(FetchedPartition { aborted: Some(Vec::new()), ..failed }));
        }
    };
    if let Err(error) = check_epoch(wanted.current_epoch, partition.current_epoch().0) {
        return Target::Answered(Box::new(FetchedPartition::failed(key.clone(), &error)));
    }
    if let Some(diverging) = diverging(&partition, wanted) {
        let ends = partition.offsets();
        let answer = FetchedPartition { diverging: Some(diverging), ..with_ends(key.clone(), &ends) };
        return Target::Answered(Box::new(answer));
    }
    let view = match in_part {
        true => None,
        false => ScanTarget::open_view(broker, &topic, partition.clone(), wanted.offset, plan.limit),
    };
    // What is older than the log may be read from the topic's lake table.
    let view = view.or_else(|| match in_part {
        true => None,
        false => ScanTarget::open_older(broker, &topic, partition.clone(), wanted.offset, plan.limit),
    });
    match view {
        None => Target::Open { key, wanted, partition },
        Some(Ok(scan)) => Target::Scan { key, wanted, scan: Box::new(scan) },
        Some(Err(error)) => Target::Answered(Box::new(columnar::refused_view(key, &error))),
    }
}

/// The end of the reader's last epoch, if it lies before the reader's position: the reader holds records that are gone.
fn diverging(partition: &Partition, wanted: &Wanted) -> Option<(i32, i64)> {
    let (epoch, end) = partition.epoch_end(LeaderEpoch(wanted.last_fetched_epoch?))?;
    (end.0 < wanted.offset).then_some((epoch.0, end.0))
}

pub(super) fn with_ends(key: PartitionRef, ends: &LogOffsets) -> FetchedPartition {
    FetchedPartition {
        high_watermark: ends.high_watermark.0,
        last_stable: ends.last_stable.0,
        log_start: ends.log_start.0,
        ..FetchedPartition::new(key)
    }
}

async fn read_one(
    version: i16,
    key: &PartitionRef,
    partition: &Arc<Partition>,
    request: ReadRequest,
    patience: Duration,
    memory: &mut Vec<Reservation>,
) -> FetchedPartition {
    let mut outcome = match partition.read_within(request, Some(patience)).await {
        Ok(outcome) => outcome,
        Err(ReadError::NoMemory { .. }) => return with_ends(key.clone(), &partition.offsets()),
        Err(error) => {
            if error.error_code() == ErrorCode::KafkaStorageError {
                tracing::error!(partition = %partition.key(), %error, "fetch cannot read stored data");
            }
            return FetchedPartition::failed(key.clone(), &error);
        }
    };
    if version < ZSTD_SINCE && holds_zstd(&outcome.chunks) {
        return FetchedPartition::failed(key.clone(), &ZstdUnsupported { version });
    }
    memory.append(&mut outcome.memory);
    answered(key, outcome, request.limit)
}

fn answered(key: &PartitionRef, outcome: ReadOutcome, limit: ReadLimit) -> FetchedPartition {
    let aborted = match limit {
        ReadLimit::HighWatermark => None,
        ReadLimit::LastStable => Some(outcome.aborted),
    };
    FetchedPartition { aborted, records: outcome.chunks, ..with_ends(key.clone(), &outcome.offsets) }
}

fn holds_zstd(chunks: &[Bytes]) -> bool {
    let mut zstd = false;
    each_header(chunks, |header| zstd |= header.attributes.compression() == Compression::Zstd);
    zstd
}

/// Looks at the header of each batch. A header may be a chunk of its own, with the body in the next ones.
pub(crate) fn each_header(chunks: &[Bytes], mut look: impl FnMut(&BatchHeader)) {
    let mut body_left = 0usize;
    for chunk in chunks {
        let mut at = body_left.min(chunk.len());
        body_left -= at;
        while chunk.len() - at >= HEADER_LEN {
            let Ok(header) = BatchHeader::parse(&chunk[at..]) else { return };
            look(&header);
            let here = header.total_len().min(chunk.len() - at);
            body_left = header.total_len() - here;
            at += here;
        }
    }
}

impl Target<'_> {
    /// Bytes that scans have found so far.
    fn matched_bytes(&self) -> usize {
        match self {
            Target::Scan { scan, .. } => scan.matched_bytes(),
            Target::Open { .. } | Target::Answered(_) => 0,
        }
    }

    fn partition(&self) -> Option<&Arc<Partition>> {
        match self {
            Target::Open { partition, .. } => Some(partition),
            Target::Scan { scan, .. } => Some(scan.partition()),
            Target::Answered(_) => None,
        }
    }
}

/// Returns when `min_bytes` can be read, when something must be answered at once, or at the deadline. Scans go on meanwhile:
/// they know what matches only when they have looked.
async fn wait_for_data(broker: &Broker, targets: &mut [Target<'_>], plan: &Plan, memory: &mut Vec<Reservation>) {
    let deadline = Instant::now() + plan.max_wait;
    // Whatever the setting says, something is looked at.
    let mut time = broker.settings.scan.max_time.max(Duration::from_millis(1));
    loop {
        let turn = run_scans(broker, targets, plan, memory, &mut time).await;
        // Who was put off is asked for again by the next fetch; to try at once would be to try in a circle.
        if turn == Turn::PutOff || is_ready(targets, plan) || time.is_zero() || Instant::now() >= deadline {
            return;
        }
        let waiter = DataWaiter::new();
        for target in targets.iter() {
            if let Some(partition) = target.partition() {
                partition.register(&waiter);
            }
        }
        // What was appended before the registration wakes nobody.
        if is_ready(targets, plan) {
            return;
        }
        let appended = targets.iter().any(|t| matches!(t, Target::Scan { scan, .. } if scan.can_go_on()));
        if !appended && tokio::time::timeout_at(deadline, waiter.notified()).await.is_err() {
            return;
        }
        // A change that was answered is in force for what is produced after it, also for those who waited meanwhile.
        if targets.iter().any(|t| matches!(t, Target::Scan { scan, .. } if scan.is_of_changed_view(broker))) {
            return;
        }
    }
}

/// Whether every scan had its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Taken,
    /// There is no memory, or no room in the answer, for one of them.
    PutOff,
}

/// Runs each scan as far as it gets, until the fetch has scanned for `time`: those behind it have their turn in a later fetch.
/// Memory for what it may return is taken first, and what it does not need is given back: the
/// first scan waits for it (not for ever), later ones are put off when there is none.
async fn run_scans(
    broker: &Broker,
    targets: &mut [Target<'_>],
    plan: &Plan,
    memory: &mut Vec<Reservation>,
    time: &mut Duration,
) -> Turn {
    let mut turn = Turn::Taken;
    let most = plan.max_bytes.min(broker.memory().limits_of(Share::Scans).reserved);
    let mut left = most.saturating_sub(targets.iter().map(Target::matched_bytes).sum());
    for target in targets {
        let Target::Scan { wanted, scan, .. } = target else { continue };
        if time.is_zero() {
            return turn;
        }
        // A scan looks at a chunk at least: one that has nothing new to look at costs no time.
        if scan.is_final() || !scan.can_go_on() && scan.has_run() {
            continue;
        }
        if left == 0 {
            return Turn::PutOff;
        }
        let before = scan.matched_bytes();
        let max_bytes = left.min(size(wanted.max_bytes));
        let wish = match scan.is_behind_log() {
            true => max_bytes,
            // What is stored is compressed.
            false => {
                let stored = scan.partition().available_bytes(scan.position(), plan.limit, max_bytes);
                stored.saturating_mul(EXPANSION).min(max_bytes)
            }
        };
        // The scan itself waits for shares of a higher rank, chunk by chunk. Where there is nothing, nothing is waited for.
        let reserved = match (wish, memory.is_empty()) {
            (0, _) => None,
            (_, true) => {
                let reserve = broker.memory().reserve(Share::Scans, wish);
                let Ok(reserved) = tokio::time::timeout(MEMORY_PATIENCE, reserve).await else { return Turn::PutOff };
                Some(reserved)
            }
            (_, false) => {
                let Some(reserved) = broker.memory().try_reserve(Share::Scans, wish) else {
                    turn = Turn::PutOff;
                    continue;
                };
                Some(reserved)
            }
        };
        let started = Instant::now();
        scan.run(max_bytes, left == most, *time).await;
        *time = time.saturating_sub(started.elapsed());
        let found = scan.matched_bytes().saturating_sub(before);
        left = left.saturating_sub(found);
        let Some(mut reserved) = reserved else { continue };
        match found.checked_sub(reserved.bytes()) {
            // Rows that were smaller in the log than that. Waiting for the rest while holding a part could be waiting for another
            // scan that does the same.
            Some(more) => _ = reserved.try_grow(more),
            None => reserved.shrink_to(found),
        }
        if reserved.bytes() > 0 {
            memory.push(reserved);
        }
    }
    turn
}

fn is_ready(targets: &[Target<'_>], plan: &Plan) -> bool {
    let mut found = 0;
    if plan.min_bytes == 0 || targets.is_empty() {
        return true;
    }
    for target in targets {
        match target {
            Target::Answered(_) => return true,
            Target::Scan { scan, .. } if scan.is_final() => return true,
            Target::Scan { scan, .. } => found += scan.matched_bytes(),
            Target::Open { wanted, partition, .. } => {
                if is_out_of_range(&partition.offsets(), wanted.offset) {
                    return true;
                }
                let enough = (plan.min_bytes - found).min(size(wanted.max_bytes).max(1));
                found += partition.available_bytes(Offset(wanted.offset), plan.limit, enough).min(enough);
            }
        }
        if found >= plan.min_bytes {
            return true;
        }
    }
    false
}

/// Offsets between the high watermark and the log end exist, they are only not readable yet.
fn is_out_of_range(ends: &LogOffsets, offset: i64) -> bool {
    offset < ends.log_start.0 || offset > ends.log_end.0
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
