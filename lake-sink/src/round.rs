//! One round of one table: read the commit, scan what is new, encode it, write files, commit.
//!
//! Whatever goes wrong, the next round begins with what the lake says. Nothing here is remembered that it does not say.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;
use weir_storage::cpu::{CpuError, CpuPool, Priority};

use crate::commit::{CommitContext, CommitRecord, Verdict, verdict};
use crate::encode::{EncodeError, EncodedFile, Encoder};
use crate::plan::{RoundLimits, RoundPlan, Step};
use crate::settings::LakeSettings;
use crate::source::{ScanSource, SourceError, SourceTable};
use crate::store::LakeRoots;
use crate::target::{Pause, RoundFile, Target, TargetError, open_target};

/// Attempts at one commit, each after reading again.
const ATTEMPTS: usize = 3;
/// Files nobody reads are left for so long, for writers that are slow.
const GRACE_MS: i64 = 3_600_000;
/// How often such files are looked for.
const SWEEP_INTERVAL_MS: i64 = 3_600_000;

/// Why a round did not end well. Unless it is a [`Pause`] the next one may.
#[derive(Debug, Error)]
pub enum RoundError {
    #[error(transparent)]
    Pause(#[from] Pause),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("encoding did not end: {0}")]
    Cpu(#[from] CpuError),
    #[error("another writer commits to the table at {address}; this round's work is dropped")]
    Superseded { address: String },
}

impl From<TargetError> for RoundError {
    fn from(error: TargetError) -> RoundError {
        match error {
            TargetError::Pause(pause) => pause.into(),
            // Another store is a person's to choose.
            TargetError::Store(error @ crate::store::StoreError::Unconditional { .. }) => {
                Pause::Path(error.to_string()).into()
            }
            TargetError::Store(error) => error.into(),
        }
    }
}

/// What a round did.
#[derive(Debug, Clone)]
pub struct RoundDone {
    /// The newest commit.
    pub record: CommitRecord,
    pub rows: u64,
    pub bytes: u64,
    pub files: usize,
    /// There is more to read already.
    pub more: bool,
    /// Offsets that the log lost before they were tiered.
    pub lost: u64,
    /// Records that nobody can decode.
    pub unreadable: u64,
}

/// The rounds of one table.
pub struct TableRounds {
    source: Arc<dyn ScanSource>,
    settings: LakeSettings,
    roots: LakeRoots,
    limits: RoundLimits,
    cpu: CpuPool,
    /// Opened with the columns the topic had then.
    open: Option<(SourceTable, Box<dyn Target>)>,
    /// The newest commit as far as it is known; `None` = to be read.
    loaded: Option<Option<CommitRecord>>,
    turn: i32,
    swept_at_ms: i64,
    /// Tables that compact take turns: it takes memory.
    compacting: Arc<Semaphore>,
}

/// Rows and files of a round in progress.
struct Gathered {
    files: Vec<RoundFile>,
    rows: u64,
    bytes: u64,
    unreadable: u64,
}

impl TableRounds {
    #[must_use]
    pub fn new(source: Arc<dyn ScanSource>, settings: LakeSettings, limits: RoundLimits, cpu: CpuPool) -> TableRounds {
        let roots = LakeRoots::any();
        let compacting = Arc::new(Semaphore::new(1));
        TableRounds {
            source,
            settings,
            roots,
            limits,
            cpu,
            open: None,
            loaded: None,
            turn: 0,
            swept_at_ms: 0,
            compacting,
        }
    }

    /// Compacts only while it has one of these places.
    #[must_use]
    pub fn compacting(self, compacting: Arc<Semaphore>) -> TableRounds {
        TableRounds { compacting, ..self }
    }

    /// Only for tables below these folders.
    #[must_use]
    pub fn below(mut self, roots: LakeRoots) -> TableRounds {
        self.roots = roots;
        self
    }

    /// With a target that is open already; for tests that look at every step.
    #[must_use]
    pub fn with_target(mut self, table: SourceTable, target: Box<dyn Target>) -> TableRounds {
        self.open = Some((table, target));
        self
    }

    /// The newest commit, as far as it is known.
    #[must_use]
    pub fn record(&self) -> Option<&CommitRecord> {
        self.loaded.as_ref()?.as_ref()
    }

    /// Tiers what is new, up to the limits of a round. `None`: there is nothing new. `now_ms`: the wall clock.
    ///
    /// # Errors
    /// [`RoundError`]; what was not committed is tiered by a later round.
    pub async fn run(&mut self, now_ms: i64) -> Result<Option<RoundDone>, RoundError> {
        let result = self.round(now_ms).await;
        if result.is_err() {
            self.loaded = None;
        }
        result
    }

    /// The newest commit, read from the lake without changing anything there.
    ///
    /// # Errors
    /// [`RoundError`].
    pub async fn look(&mut self) -> Result<Option<CommitRecord>, RoundError> {
        self.loaded = None;
        let (table, mut target) = self.target()?;
        let found = target.inspect().await?;
        check_topic(&*target, &table, found.as_ref())?;
        Ok(found)
    }

    async fn round(&mut self, now_ms: i64) -> Result<Option<RoundDone>, RoundError> {
        let (table, mut target) = self.target()?;
        let mut result = self.round_of(&table, &mut *target, now_ms).await;
        if self.settings.compaction && result.is_ok() {
            let compacted = self.compact(&table, &mut *target, now_ms).await;
            // Whoever made the round is told of the newest commit.
            if let (Ok(Some(done)), Some(record)) = (&mut result, compacted) {
                done.record = record;
            }
        }
        self.open = Some((table, target));
        result
    }

    /// The open target, or a new one if the topic's columns changed.
    fn target(&mut self) -> Result<(SourceTable, Box<dyn Target>), RoundError> {
        let now = self.source.table()?;
        match self.open.take() {
            Some((table, target)) if table == now => Ok((table, target)),
            _ => {
                let target = open_target(&self.settings, &self.roots, &now.name, &now.schema)?;
                self.loaded = None;
                Ok((now, target))
            }
        }
    }

    async fn round_of(
        &mut self,
        table: &SourceTable,
        target: &mut dyn Target,
        now_ms: i64,
    ) -> Result<Option<RoundDone>, RoundError> {
        let context = self.context(table, now_ms);
        let before = match self.loaded.take() {
            Some(known) => known,
            None => self.load(target, now_ms).await?,
        };
        check_topic(target, table, before.as_ref())?;
        let before = before.unwrap_or_else(|| context.empty());
        if !before.planned.is_empty() {
            return self.finish_announced(table, target, &context, before).await.map(Some);
        }
        let bounds = self.source.bounds()?;
        let mut plan = RoundPlan::new(&before.partitions, &bounds, self.turn, self.limits).map_err(Pause::from)?;
        let (gathered, more) = self.gather(table, target, &mut plan).await?;
        self.turn = plan.turn();
        if plan.step() == Step::Nothing {
            self.loaded = Some(Some(before).filter(|record| record.epoch > 0));
            return Ok(None);
        }
        let mut base = before;
        if target.announces() && !gathered.files.is_empty() {
            let announced = context.announce(&base, &plan);
            base = publish(target, base, announced, &[]).await?;
        }
        target.write(&gathered.files).await?;
        let context = CommitContext { commit: Uuid::new_v4(), ..context };
        let next = context.advance(&base, &plan, gathered.rows);
        let record = publish(target, base, next, &gathered.files).await?;
        Ok(Some(self.done(record, &plan, gathered, more)))
    }

    /// Makes large files of small ones, a bounded number at a time. What goes wrong here does not undo the round.
    async fn compact(&mut self, table: &SourceTable, target: &mut dyn Target, now_ms: i64) -> Option<CommitRecord> {
        let Some(Some(before)) = &self.loaded else { return None };
        let Ok(_turn) = self.compacting.clone().try_acquire_owned() else { return None };
        let context = self.context(table, now_ms);
        let next = context.compact(before);
        match target.compact(&next, &self.cpu).await {
            Ok(None) => None,
            Ok(Some(done)) => {
                metrics::counter!("weir_lake_compactions_total").increment(1);
                metrics::counter!("weir_lake_compacted_files_total").increment(done.files_read as u64);
                metrics::counter!("weir_lake_compacted_bytes_total").increment(done.bytes_read);
                tracing::debug!(table = target.address(), ?done, "compacted");
                self.loaded = Some(Some(next.clone()));
                Some(next)
            }
            Err(error) => {
                metrics::counter!("weir_lake_compaction_failures_total").increment(1);
                tracing::warn!(table = target.address(), %error, "files are not compacted for now");
                // The table says what became of it.
                self.loaded = None;
                None
            }
        }
    }

    fn context(&self, table: &SourceTable, now_ms: i64) -> CommitContext {
        CommitContext {
            topic: table.name.clone(),
            topic_id: table.topic_id,
            partition_by: self.settings.partition_by.to_string(),
            commit: Uuid::new_v4(),
            now_ms,
        }
    }

    async fn load(&mut self, target: &mut dyn Target, now_ms: i64) -> Result<Option<CommitRecord>, RoundError> {
        let loaded = target.load().await?;
        if now_ms - self.swept_at_ms >= SWEEP_INTERVAL_MS {
            self.swept_at_ms = now_ms;
            match target.sweep(now_ms - GRACE_MS).await {
                Ok(0) => {}
                Ok(swept) => tracing::info!(table = target.address(), swept, "files that no commit names are removed"),
                Err(error) => tracing::warn!(table = target.address(), %error, "files that no commit names are kept"),
            }
        }
        Ok(loaded)
    }

    /// Writes the files of ranges that an earlier round, perhaps of another process, announced and did not commit.
    async fn finish_announced(
        &mut self,
        table: &SourceTable,
        target: &mut dyn Target,
        context: &CommitContext,
        before: CommitRecord,
    ) -> Result<RoundDone, RoundError> {
        let mut plan = RoundPlan::again(&before.planned, self.limits);
        let (gathered, _) = self.gather(table, target, &mut plan).await?;
        // Names of files have these ranges in them: all of it, or nothing.
        if let Some(short) = before.planned.iter().find(|range| !plan.ranges().contains(range)) {
            let reason = format!("the log ended before offset {}, which was announced to the lake", short.end);
            return Err(SourceError::Read { partition: short.partition, offset: short.start, reason }.into());
        }
        target.write(&gathered.files).await?;
        let next = context.advance(&before, &plan, gathered.rows);
        let record = publish(target, before, next, &gathered.files).await?;
        Ok(self.done(record, &plan, gathered, true))
    }

    fn done(&mut self, record: CommitRecord, plan: &RoundPlan, gathered: Gathered, more: bool) -> RoundDone {
        self.loaded = Some(Some(record.clone()));
        let lost: i64 = plan.gaps().iter().map(|gap| gap.end - gap.start).sum();
        let Gathered { files, rows, bytes, unreadable } = gathered;
        RoundDone { record, rows, bytes, files: files.len(), more, lost: lost.unsigned_abs(), unreadable }
    }

    /// Scans what the plan asks for and encodes it.
    async fn gather(
        &self,
        table: &SourceTable,
        target: &dyn Target,
        plan: &mut RoundPlan,
    ) -> Result<(Gathered, bool), RoundError> {
        // By partition of the topic where a file holds one, all in one otherwise.
        let mut encoders: BTreeMap<Option<i32>, Encoder> = BTreeMap::new();
        let mut unreadable = 0;
        let more = loop {
            let Step::Scan { partition, from, until, max_bytes } = plan.step() else {
                break plan.step() == Step::Commit { more: true };
            };
            let scanned = match self.source.scan(partition, from, max_bytes).await {
                Err(SourceError::Lost { log_start, .. }) if log_start > from => {
                    plan.lost(partition, log_start);
                    continue;
                }
                other => other?.cut(until),
            };
            let bytes = scanned.batches.iter().map(RecordBatch::get_array_memory_size).sum();
            unreadable += scanned.unreadable;
            let of = target.announces().then_some(partition);
            let spec = || self.settings.partition_by.clone();
            let encoder = encoders.entry(of).or_insert_with(|| {
                let encoder = Encoder::new(table.schema.clone(), target.file_schema().clone(), spec());
                encoder.folding(target.folding())
            });
            for batch in scanned.batches {
                if batch.schema().fields() != table.schema.fields() {
                    return Err(SourceError::Changed { topic: table.name.clone() }.into());
                }
                encoder.push(batch)?;
            }
            plan.scanned(partition, scanned.next, bytes);
        };
        let encoded = self.cpu.run(Priority::Background, move || encode_all(encoders)).await??;
        let ranges = plan.ranges();
        let range_of = |of: Option<i32>| ranges.iter().copied().find(|range| Some(range.partition) == of);
        let (mut files, mut rows, mut bytes) = (Vec::with_capacity(encoded.len()), 0, 0);
        for (of, file) in encoded {
            rows += file.rows;
            bytes += file.bytes.len() as u64;
            let range = range_of(of);
            files.push(RoundFile { range, path: target.path(range, &file), file });
        }
        Ok((Gathered { files, rows, bytes, unreadable }, more))
    }
}

/// A table that was made from another topic of this name is not this one's.
pub(crate) fn check_topic(
    target: &dyn Target,
    table: &SourceTable,
    record: Option<&CommitRecord>,
) -> Result<(), Pause> {
    match record.map(|record| record.topic_id).filter(|found| *found != table.topic_id) {
        Some(found) => Err(Pause::OtherTopic { address: target.address(), found, ours: table.topic_id }),
        None => Ok(()),
    }
}

fn encode_all(encoders: BTreeMap<Option<i32>, Encoder>) -> Result<Vec<(Option<i32>, EncodedFile)>, EncodeError> {
    let mut encoded = Vec::new();
    for (of, encoder) in encoders {
        encoded.extend(encoder.finish()?.into_iter().map(|file| (of, file)));
    }
    Ok(encoded)
}

/// Commits, and finds out what became of it when that is not clear.
async fn publish(
    target: &mut dyn Target,
    before: CommitRecord,
    next: CommitRecord,
    files: &[RoundFile],
) -> Result<CommitRecord, RoundError> {
    let mut attempts = 0;
    loop {
        let Err(error) = target.publish(&next, files).await else { return Ok(next) };
        attempts += 1;
        let found = target.load().await?;
        match verdict(&before, &next, found.as_ref()) {
            Verdict::Committed => return Ok(next),
            Verdict::NotCommitted if attempts < ATTEMPTS => {}
            Verdict::NotCommitted => return Err(error.into()),
            Verdict::Superseded => return Err(RoundError::Superseded { address: target.address() }),
        }
    }
}

#[cfg(test)]
mod tests;
