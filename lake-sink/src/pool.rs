//! Many tables: a task for each, of which a few work at a time.
//!
//! Tables whose last round was good share the places of [`LakeLimits::tables_at_once`] in turn. One that failed works in a
//! place apart until a round is good again, after a pause that grows; one that turns out to be slow goes there too. So
//! however many tables are slow or broken, they hold up only each other.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use weir_storage::cpu::CpuPool;

use crate::commit::CommitRecord;
use crate::plan::RoundLimits;
use crate::round::{RoundDone, RoundError, TableRounds};
use crate::settings::LakeSettings;
use crate::source::{Bounds, GateStatus, ScanSource};
use crate::store::LakeRoots;
use crate::verify::{self, VerifyError, VerifyProgress, VerifyReport};

/// How much tiering does at once.
#[derive(Debug, Clone, Copy)]
pub struct LakeLimits {
    /// Tables in a round at the same time.
    pub tables_at_once: usize,
    pub round: RoundLimits,
    /// A round that takes longer works in the place apart, or is given up if that is taken.
    pub slow_after: Duration,
    /// A round that is not done by then is given up and begun again.
    pub round_time_max: Duration,
}

impl Default for LakeLimits {
    fn default() -> Self {
        LakeLimits {
            tables_at_once: 2,
            round: RoundLimits::default(),
            slow_after: Duration::from_secs(30),
            round_time_max: Duration::from_secs(300),
        }
    }
}

/// First pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A table that needs a person is looked at again after so long.
const PAUSE: Duration = Duration::from_secs(15);

/// How a table is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableState {
    /// Nothing is known yet.
    Starting,
    /// The last round was good.
    Running,
    /// The last round failed; it is tried again.
    Retrying,
    /// It needs a person, or a person paused it; see the error.
    Paused,
}

impl TableState {
    /// As in JSON and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TableState::Starting => "starting",
            TableState::Running => "running",
            TableState::Retrying => "retrying",
            TableState::Paused => "paused",
        }
    }
}

/// A table as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableStatus {
    pub topic: String,
    pub format: &'static str,
    pub path: String,
    pub state: TableState,
    /// Number of the newest commit.
    pub epoch: u64,
    /// When it was committed: milliseconds since 1970.
    pub committed_at_ms: Option<i64>,
    /// Rows in the table.
    pub rows: u64,
    /// Records that are visible in the log and not in the lake yet.
    pub lag_records: u64,
    /// For how long the table has been behind the log; 0 if it is not.
    pub lag_seconds: f64,
    /// Offsets that the log lost before they were tiered.
    pub lost: u64,
    /// Next offset to be tiered, by partition.
    pub offsets: BTreeMap<i32, i64>,
    /// What the log keeps for the lake beyond retention; `None` if it keeps nothing for it (`weir.lake.gate.retention`).
    pub gate: Option<GateStatus>,
    /// Why the last round failed, or why there is none.
    pub error: Option<String>,
}

struct Shown {
    state: TableState,
    record: Option<CommitRecord>,
    error: Option<String>,
    /// When the lake had all that was visible.
    caught_up: Instant,
}

struct Table {
    topic_id: Uuid,
    settings: LakeSettings,
    source: Arc<dyn ScanSource>,
    shown: Mutex<Shown>,
    stop: CancellationToken,
    /// Somebody wants a round now.
    wake: Notify,
}

/// All tables that are tiered. Clones share them.
#[derive(Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

struct Inner {
    limits: LakeLimits,
    roots: LakeRoots,
    cpu: CpuPool,
    places: Semaphore,
    suspects: Semaphore,
    compacting: Arc<Semaphore>,
    tables: Mutex<BTreeMap<String, Arc<Table>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lake {
    /// Tables are written below `roots`; `cpu` encodes. Nothing is tiered once `stop` is cancelled.
    #[must_use]
    pub fn new(limits: LakeLimits, roots: LakeRoots, cpu: CpuPool, stop: CancellationToken) -> Lake {
        let inner = Inner {
            places: Semaphore::new(limits.tables_at_once.max(1)),
            suspects: Semaphore::new(1),
            compacting: Arc::new(Semaphore::new(1)),
            limits,
            roots,
            cpu,
            tables: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        };
        Lake { inner: Arc::new(inner) }
    }

    /// Tiers this topic from now on; it replaces what was there under its name, unless that is the same.
    pub fn put(
        &self,
        topic: &str,
        topic_id: Uuid,
        settings: &LakeSettings,
        source: impl FnOnce() -> Arc<dyn ScanSource>,
    ) {
        let mut tables = self.inner.tables.lock();
        if let Some(known) = tables.get(topic) {
            if known.topic_id == topic_id && known.settings == *settings {
                return;
            }
            known.end();
        }
        let (settings, source) = (settings.clone(), source());
        let shown = Shown { state: TableState::Starting, record: None, error: None, caught_up: Instant::now() };
        let table = Arc::new(Table {
            topic_id,
            settings,
            source,
            shown: Mutex::new(shown),
            stop: self.inner.stop.child_token(),
            wake: Notify::new(),
        });
        tables.insert(topic.to_owned(), table.clone());
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = table.stop.cancelled() => {}
                () = rest(&inner, &table), if table.settings.paused => {}
                // Dropped in the middle of a round it leaves what a crash leaves.
                () = work(&inner, &table), if !table.settings.paused => {}
            }
        });
    }

    /// Ends the tiering of topics that are not among these; what is in the lake stays.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.inner.tables.lock().retain(|topic, table| {
            let kept = keep(topic);
            if !kept {
                table.end();
            }
            kept
        });
    }

    /// Begins a round of this topic's table now; false if it is not tiered.
    pub fn wake(&self, topic: &str) -> bool {
        let table = self.inner.tables.lock().get(topic).cloned();
        table.inspect(|table| table.wake.notify_one()).is_some()
    }

    /// Whether log and lake have the same rows. Anybody may go on writing meanwhile.
    ///
    /// # Errors
    /// [`VerifyError`], if it cannot be told.
    pub async fn verify(&self, topic: &str, progress: &VerifyProgress) -> Result<VerifyReport, VerifyError> {
        let table = self.inner.tables.lock().get(topic).cloned();
        let table = table.ok_or_else(|| VerifyError::NotTiered { topic: topic.to_owned() })?;
        let (source, roots) = (&*table.source, &self.inner.roots);
        verify::verify(source, &table.settings, roots, &self.inner.cpu, progress).await
    }

    /// Every table, by topic.
    #[must_use]
    pub fn status(&self) -> Vec<TableStatus> {
        let tables = self.inner.tables.lock();
        tables.iter().map(|(topic, table)| table.status(topic)).collect()
    }

    /// Waits until no table works any more; cancel `stop` before.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Table {
    /// Ends its task. Once this returns, it says nothing more of what is tiered.
    fn end(&self) {
        let _shown = self.shown.lock();
        self.stop.cancel();
    }

    fn status(&self, topic: &str) -> TableStatus {
        let bounds = self.source.bounds().unwrap_or_default();
        let shown = self.shown.lock();
        let record = shown.record.as_ref();
        let offsets = record.map(|r| r.partitions.clone()).unwrap_or_default();
        let lag_records = lag(&offsets, &bounds);
        let lag_seconds = if lag_records == 0 { 0.0 } else { shown.caught_up.elapsed().as_secs_f64() };
        TableStatus {
            topic: topic.to_owned(),
            format: self.settings.format.name(),
            path: self.settings.path.clone(),
            state: shown.state,
            epoch: record.map_or(0, |r| r.epoch),
            committed_at_ms: record.map(|r| r.committed_at_ms),
            rows: record.map_or(0, |r| r.rows),
            lag_records,
            lag_seconds,
            lost: record.map_or(0, |r| r.lost),
            offsets,
            gate: self.source.gate(),
            error: shown.error.clone(),
        }
    }
}

/// Offsets that are visible and not tiered.
fn lag(offsets: &BTreeMap<i32, i64>, bounds: &BTreeMap<i32, Bounds>) -> u64 {
    let of = |(partition, bounds): (&i32, &Bounds)| {
        let next = offsets.get(partition).copied().unwrap_or(bounds.start).max(bounds.start);
        u64::try_from(bounds.end - next).unwrap_or(0)
    };
    bounds.iter().map(of).sum()
}

fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A round in this place, or in the one apart once it is slow. The error: it was given up after so long.
async fn one_round(
    inner: &Inner,
    rounds: &mut TableRounds,
    place: SemaphorePermit<'_>,
    apart: bool,
) -> Result<Result<Option<RoundDone>, RoundError>, Duration> {
    let LakeLimits { slow_after, round_time_max, .. } = inner.limits;
    let mut round = std::pin::pin!(rounds.run(wall_clock_ms()));
    let patience = if apart { round_time_max } else { slow_after };
    if let Ok(result) = tokio::time::timeout(patience, &mut round).await {
        return Ok(result);
    }
    drop(place);
    if apart {
        return Err(patience);
    }
    let Ok(_place) = inner.suspects.try_acquire() else { return Err(patience) };
    tokio::time::timeout(round_time_max, round).await.map_err(|_| patience + round_time_max)
}

async fn work(inner: &Inner, table: &Table) {
    let (source, settings) = (table.source.clone(), table.settings.clone());
    let rounds = TableRounds::new(source, settings, inner.limits.round, inner.cpu.clone());
    let mut rounds = rounds.below(inner.roots.clone()).compacting(inner.compacting.clone());
    let mut failures = 0_u32;
    loop {
        let places = if failures == 0 { &inner.places } else { &inner.suspects };
        // They are never closed.
        let Ok(place) = places.acquire().await else { return };
        let begun = Instant::now();
        let result = one_round(inner, &mut rounds, place, failures > 0).await.unwrap_or_else(|after| {
            let reason = format!("a round was not done after {:.1} s", after.as_secs_f64());
            Err(crate::store::StoreError::failed("tiering", &table.settings.path, reason).into())
        });
        let wait = match &result {
            Ok(Some(done)) if done.more => Duration::ZERO,
            Ok(_) => table.settings.freshness.saturating_sub(begun.elapsed()),
            Err(RoundError::Pause(_)) => PAUSE,
            Err(_) => BACKOFF_MIN.saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX),
        };
        failures = if result.is_ok() { 0 } else { failures.saturating_add(1) };
        table.show(&rounds, result, begun);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = table.wake.notified() => {}
        }
    }
}

/// What is said of a table that a person paused.
const PAUSED: &str = "paused by `weir lake pause` (`weir.lake.paused`); `weir lake resume` lets it go on";

/// Looks how far the table is, and does nothing more until it is asked again.
async fn rest(inner: &Inner, table: &Table) {
    let (source, settings) = (table.source.clone(), table.settings.clone());
    let mut rounds =
        TableRounds::new(source, settings, inner.limits.round, inner.cpu.clone()).below(inner.roots.clone());
    loop {
        // Like tables that failed: it is in no hurry.
        let Ok(place) = inner.suspects.acquire().await else { return };
        let found = tokio::time::timeout(inner.limits.slow_after, rounds.look()).await;
        drop(place);
        let found = match found {
            Ok(Ok(record)) => Ok(record),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", inner.limits.slow_after.as_secs_f64())),
        };
        let pause = if found.is_ok() { Duration::MAX } else { PAUSE };
        table.show_resting(found);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = table.wake.notified() => {}
        }
    }
}

impl Table {
    /// It is paused, and this is how far it is, or why that cannot be told.
    fn show_resting(&self, found: Result<Option<CommitRecord>, String>) {
        let mut shown = self.shown.lock();
        shown.state = TableState::Paused;
        match found {
            Ok(record) => {
                shown.error = Some(PAUSED.to_owned());
                shown.record = record;
                self.tell(&shown);
            }
            Err(reason) => shown.error = Some(format!("{PAUSED}; how far it is cannot be told: {reason}")),
        }
    }

    /// Tells the log what it need not keep for the lake, by the commit that is shown.
    fn tell(&self, shown: &Shown) {
        // Under the lock of `shown`, so that one whose table was replaced does not speak for the next one.
        if let Some(record) = shown.record.as_ref().filter(|_| !self.stop.is_cancelled()) {
            self.source.tiered(&record.partitions);
        }
    }

    fn show(&self, rounds: &TableRounds, result: Result<Option<RoundDone>, RoundError>, begun: Instant) {
        let topic = self.source.table().map(|table| table.name).unwrap_or_default();
        let mut shown = self.shown.lock();
        match result {
            Ok(done) => {
                metrics::histogram!("weir_lake_round_seconds").record(begun.elapsed().as_secs_f64());
                if done.as_ref().is_none_or(|done| !done.more) {
                    shown.caught_up = begun;
                }
                if let Some(done) = &done {
                    metrics::counter!("weir_lake_commits_total").increment(1);
                    metrics::counter!("weir_lake_rows_total").increment(done.rows);
                    metrics::counter!("weir_lake_bytes_total").increment(done.bytes);
                    metrics::counter!("weir_lake_files_total").increment(done.files as u64);
                    metrics::counter!("weir_lake_lost_records_total").increment(done.lost);
                    metrics::counter!("weir_lake_unreadable_records_total").increment(done.unreadable);
                }
                if let Some(done) = done.filter(|done| done.lost > 0) {
                    let lost = done.lost;
                    tracing::warn!(topic, lost, "records were deleted from the log before they were tiered");
                }
                shown.record = rounds.record().cloned().or_else(|| shown.record.take());
                (shown.state, shown.error) = (TableState::Running, None);
                self.tell(&shown);
            }
            Err(error) => {
                metrics::counter!("weir_lake_failures_total").increment(1);
                let text = error.to_string();
                if shown.error.as_deref() != Some(&text) {
                    tracing::warn!(topic, %error, "tiering failed");
                }
                let paused = matches!(error, RoundError::Pause(_));
                shown.state = if paused { TableState::Paused } else { TableState::Retrying };
                shown.error = Some(text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
