//! Reads for a member what it can acquire, and waits for that.
//!
//! A long poll never spins: it registers one waiter with every log and one with every share partition, looks again, and sleeps
//! until an append, records that come back, or the deadline wakes it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ShareFetchRequest;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;
use weir_protocol::ids::{Offset, ProducerId, Timestamp};
use weir_storage::log::{AbortedTransaction, DataWaiter, Partition, ReadError, ReadLimit, ReadRequest};
use weir_storage::memory::Reservation;

use super::FetchedShare;
use crate::api::fetch::read::each_header;
use crate::api::lookup::{self, LookupError, TopicRef};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::group::GroupError;
use crate::group::configs::{ShareConfig, ShareReset};
use crate::group::coordinator::ShareGroupNow;
use crate::security::acl::Operation;
use crate::security::rules::Access;
use crate::share::partition::{Acquired, FetchedBatch, Wish};
use crate::share::room::Cell;
use crate::share::session::TopicPartition;
use crate::share::{SessionKey, ShareError, ShareKey};

/// How long a fetch waits for memory before it answers without data, and its client asks again.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

/// Limits of one fetch, clamped to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_wait: Duration,
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub max_records: i64,
    pub batch_size: i64,
}

impl Limits {
    pub fn new(request: &ShareFetchRequest, broker_max_bytes: usize) -> Limits {
        let size = |wire: i32| usize::try_from(wire).unwrap_or(0);
        let max_bytes = size(request.max_bytes).min(broker_max_bytes);
        Limits {
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
            min_bytes: size(request.min_bytes).min(max_bytes).max(1),
            max_bytes,
            max_records: i64::from(request.max_records.max(0)),
            batch_size: i64::from(request.batch_size.max(1)),
        }
    }
}

/// Why a partition cannot be read by a share group.
#[derive(Debug, Error)]
enum ShareReadError {
    #[error("topic authorization failed")]
    NotAuthorized,
    #[error("topic `{0}` is a view (weir.view.source), which share groups cannot read; read its source")]
    View(String),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl KafkaError for ShareReadError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ShareReadError::NotAuthorized => ErrorCode::TopicAuthorizationFailed,
            ShareReadError::View(_) => ErrorCode::InvalidRequest,
            ShareReadError::Lookup(error) => error.error_code(),
            ShareReadError::Share(error) => error.error_code(),
            ShareReadError::Group(error) => error.error_code(),
            ShareReadError::Read(error) => error.error_code(),
        }
    }
}

/// One partition of the fetch.
struct Target {
    at: TopicPartition,
    partition: Arc<Partition>,
    cell: Arc<Cell>,
}

/// One fetch on its way.
struct Reading<'a> {
    broker: &'a Broker,
    member: &'a Arc<str>,
    limits: &'a Limits,
    config: ShareConfig,
    hold: &'a mut Vec<Reservation>,
}

/// Acquires what there is of the wanted partitions, in order, within the limits. `acknowledges`: its client waits for the outcome
/// of acknowledgements too.
pub async fn read(
    broker: &Broker,
    session: &SessionKey,
    limits: &Limits,
    wanted: &[TopicPartition],
    access: Option<&Access>,
    acknowledges: bool,
    hold: &mut Vec<Reservation>,
) -> Vec<(TopicPartition, FetchedShare)> {
    let config = broker.group_configs.share(&session.group);
    let (mut targets, mut answers) = (Vec::with_capacity(wanted.len()), Vec::new());
    let mut failed = false;
    for at in wanted {
        match open(broker, session, &config, *at, access).await {
            Ok(target) => targets.push(target),
            Err(error) => {
                failed = true;
                answers.push((*at, FetchedShare::failed(&error)));
            }
        }
    }
    if limits.max_records == 0 {
        // Nothing can be acquired: who does not acknowledge either came to wait.
        if !acknowledges && !failed {
            tokio::time::sleep(limits.max_wait).await;
        }
        return answers;
    }
    let mut reading = Reading { broker, member: &session.member, limits, config, hold };
    let deadline = Instant::now() + limits.max_wait;
    loop {
        let found = reading.sweep(&targets, Instant::now() >= deadline).await;
        let something = found.iter().any(|(_, partition)| partition.error.is_some() || !partition.acquired.is_empty());
        if something || failed || Instant::now() >= deadline {
            answers.extend(found);
            return answers;
        }
        reading.wait(&targets, deadline).await;
    }
}

async fn open(
    broker: &Broker,
    session: &SessionKey,
    config: &ShareConfig,
    at: TopicPartition,
    access: Option<&Access>,
) -> Result<Target, ShareReadError> {
    let name = TopicRef::Id(at.0.0);
    let topic = lookup::topic(broker, &name)?;
    if access.is_some_and(|access| !access.may_fetch(&name, Operation::Read)) {
        return Err(ShareReadError::NotAuthorized);
    }
    if topic.view.is_some() {
        return Err(ShareReadError::View(topic.name.clone()));
    }
    let partition = lookup::partition(broker, &topic, at.1)?;
    match broker.groups.share_group(&session.group)? {
        ShareGroupNow::Empty | ShareGroupNow::Active => {}
        ShareGroupNow::Unknown => return Err(GroupError::GroupIdNotFound.into()),
        ShareGroupNow::OtherType => return Err(GroupError::OtherGroupType { wanted: "share" }.into()),
    }
    let key = ShareKey { group: session.group.clone(), topic: at.0, partition: at.1 };
    let cell = broker.shares.open(&key, || first_offset(broker, config, &partition)).await?;
    Ok(Target { at, partition, cell })
}

/// Where a group begins to read. `None`: it cannot be told at the moment.
async fn first_offset(broker: &Broker, config: &ShareConfig, partition: &Arc<Partition>) -> Option<i64> {
    let ends = partition.offsets();
    match config.reset {
        ShareReset::Earliest => Some(ends.log_start.0),
        ShareReset::Latest => Some(ends.high_watermark.0),
        ShareReset::Ago(ms) => {
            let since = Timestamp(broker.wall_clock_ms().saturating_sub(ms));
            match partition.offset_for_timestamp(since).await {
                Ok(found) => Some(found.map_or(ends.high_watermark.0, |found| found.offset.0)),
                Err(error) => {
                    tracing::error!(partition = %partition.key(), %error, "cannot find where a share group is to begin");
                    None
                }
            }
        }
    }
}

impl Reading<'_> {
    /// Looks at each partition once. `late`: what there is has to do.
    async fn sweep(&mut self, targets: &[Target], late: bool) -> Vec<(TopicPartition, FetchedShare)> {
        if !late && self.available(targets) < self.limits.min_bytes {
            return Vec::new();
        }
        let (mut bytes, mut records) = (0, 0);
        let mut answers = Vec::with_capacity(targets.len());
        for target in targets {
            if records >= self.limits.max_records {
                answers.push((target.at, FetchedShare::default()));
                continue;
            }
            let found = match self.read_one(target, bytes, records).await {
                Ok(found) => found,
                Err(error) => {
                    if error.error_code() == ErrorCode::KafkaStorageError {
                        tracing::error!(partition = %target.partition.key(), %error, "share fetch cannot read stored data");
                    }
                    FetchedShare::failed(&error)
                }
            };
            bytes += found.records_bytes();
            records += found.acquired.iter().map(Acquired::count).sum::<i64>();
            answers.push((target.at, found));
        }
        answers
    }

    /// Bytes that could be read now, up to what is asked for.
    fn available(&self, targets: &[Target]) -> usize {
        let mut sum = 0;
        for target in targets {
            let Some(Some(from)) = target.cell.look(|p| p.next_fetch(&self.config.terms)) else { continue };
            let from = Offset(from.max(target.partition.offsets().log_start.0));
            sum += target.partition.available_bytes(from, self.limit(), self.limits.min_bytes - sum);
            if sum >= self.limits.min_bytes {
                break;
            }
        }
        sum
    }

    fn limit(&self) -> ReadLimit {
        self.config.isolation.limit()
    }

    /// Reads one partition and acquires what was read; other members wait meanwhile, so that they do not read the same.
    async fn read_one(&mut self, target: &Target, bytes: usize, records: i64) -> Result<FetchedShare, ShareReadError> {
        let Target { partition, cell, .. } = target;
        let _alone = cell.reading.lock().await;
        // Batches that hold nothing to give out are passed over, a few at a time: there may be many of them.
        for _ in 0..PASSES {
            self.broker.shares.log_starts_at(cell, partition.offsets().log_start.0);
            let next = cell.look(|p| p.next_fetch(&self.config.terms)).ok_or(ShareError::Unknown)?;
            let Some(from) = next.filter(|from| partition.available_bytes(Offset(*from), self.limit(), 1) > 0) else {
                return Ok(FetchedShare::default());
            };
            let request = ReadRequest {
                offset: Offset(from),
                max_bytes: self.limits.max_bytes.saturating_sub(bytes),
                at_least_one: bytes == 0,
                limit: self.limit(),
            };
            let patience = if self.hold.is_empty() { MEMORY_PATIENCE } else { Duration::ZERO };
            let mut outcome = match partition.read_within(request, Some(patience)).await {
                Ok(outcome) => outcome,
                Err(ReadError::NoMemory { .. }) => return Ok(FetchedShare::default()),
                Err(error) => return Err(error.into()),
            };
            if outcome.bytes == 0 {
                return Ok(FetchedShare::default());
            }
            let batches = batches_of(&outcome.chunks, &outcome.aborted);
            let fetched: Vec<FetchedBatch> = batches.iter().map(|batch| batch.fetched).collect();
            let wish = Wish { max_records: self.limits.max_records - records, batch_size: self.limits.batch_size };
            let acquired = self.broker.shares.acquire(cell, self.member, wish, from, &fetched);
            if !acquired.is_empty() {
                self.hold.append(&mut outcome.memory);
                let records = only_acquired(&outcome.chunks, &batches, &acquired);
                return Ok(FetchedShare { records, acquired, ..FetchedShare::default() });
            }
        }
        Ok(FetchedShare::default())
    }

    /// Returns when there may be something to acquire, or at the deadline.
    async fn wait(&self, targets: &[Target], deadline: Instant) {
        let (data, freed) = (DataWaiter::new(), Arc::new(Notify::new()));
        for target in targets {
            target.partition.register(&data);
            target.cell.watch(&freed);
        }
        // What came before the registration wakes nobody.
        if self.available(targets) >= self.limits.min_bytes {
            return;
        }
        tokio::select! {
            () = data.notified() => {}
            () = freed.notified() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// How many reads that give nothing to acquire one fetch makes of a partition before it waits its turn.
const PASSES: usize = 8;

/// A batch among the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchAt {
    fetched: FetchedBatch,
    start: usize,
    end: usize,
}

/// The batches of what was read. `aborted`: transactions whose records are nobody's.
fn batches_of(chunks: &[Bytes], aborted: &[AbortedTransaction]) -> Vec<BatchAt> {
    let mut pending: Vec<AbortedTransaction> = aborted.to_vec();
    pending.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut open: Vec<ProducerId> = Vec::new();
    let mut batches: Vec<BatchAt> = Vec::new();
    let mut start = 0;
    each_header(chunks, |header| {
        let producer = ProducerId(header.producer_id);
        while let Some(transaction) = pending.pop_if(|t| t.first_offset <= header.last_offset()) {
            open.push(transaction.producer_id);
        }
        let control = header.attributes.is_control();
        let is_aborted = header.attributes.is_transactional() && open.contains(&producer);
        if control {
            // The marker of this transaction: what its producer writes next belongs to another one.
            open.retain(|open| *open != producer);
        }
        let end = start + header.total_len();
        let fetched = FetchedBatch {
            first: header.base_offset.0,
            last: header.last_offset().0,
            readable: !control && !is_aborted && header.record_count > 0,
        };
        batches.push(BatchAt { fetched, start, end });
        start = end;
    });
    batches
}

/// The bytes of those batches that hold something of what was acquired; chunks are sliced, not copied.
fn only_acquired(chunks: &[Bytes], batches: &[BatchAt], acquired: &[Acquired]) -> Vec<Bytes> {
    let holds = |batch: &FetchedBatch| acquired.iter().any(|a| a.first <= batch.last && batch.first <= a.last);
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for batch in batches.iter().filter(|batch| holds(&batch.fetched)) {
        match ranges.last_mut() {
            Some((_, end)) if *end == batch.start => *end = batch.end,
            _ => ranges.push((batch.start, batch.end)),
        }
    }
    let mut kept = Vec::new();
    let mut at = 0;
    for chunk in chunks {
        for (start, end) in &ranges {
            let (from, to) = ((*start).max(at), (*end).min(at + chunk.len()));
            if from < to {
                kept.push(chunk.slice(from - at..to - at));
            }
        }
        at += chunk.len();
    }
    kept
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
