//! Log compaction (`cleanup.policy=compact`): of each key only the last record stays, at its offset.
//!
//! Works on whole segments. A segment written by compaction is *clean*: keys in the leading run of clean segments are
//! unique, so only the segments behind it, the *dirty* ones, are mapped (key -> last offset) and everything up to their end
//! is rewritten. Never past the last stable offset; producer state does not depend on what survives.
//! A tombstone goes with the first compaction that finds it in a clean segment older than `delete.retention.ms`.
//!
//! Transactions: records of aborted ones supersede nothing and go at once. A commit marker goes like a tombstone once
//! nothing of its transaction is left. An abort marker stays as long as the index lists its transaction, because readers
//! unhide its producer only there. The last batch before the last stable offset stays, so that readers reach it.
//!
//! The swap is one manifest record. If a merge or retention changed the segments meanwhile, the work is thrown away and done
//! again later; a crash before the record leaves files that the next start removes.
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use weir_protocol::ids::{Offset, Timestamp};
use weir_protocol::records::{
    BatchHeader, DecompressLimits, Record as KafkaRecord, Rewritten, WhenEmpty, batches, decode, rewrite_retained,
};

use super::engine::{Storage, now};
use super::manifest::{Record, SegmentRef, Swap};
use super::partition::{ColdError, Partition};
use super::producers::Aborted;
use super::state::State;
use super::timestamps;
use crate::cpu::{Priority, breathe};
use crate::memory::{MemoryBudget, Share};
use crate::segment::{FileKind, RowFileWriter, SectionRead};

const READ_BYTES: usize = 1 << 20;
/// A slot of the map of keys: two hashes, an offset, and the table's own byte.
const KEY_BYTES: usize = 25;

/// A round for each so many housekeeping intervals.
const INTERVALS_PER_ROUND: u32 = 5;

pub(super) async fn run(storage: Weak<Storage>) {
    loop {
        let (interval, wanted) = match storage.upgrade() {
            Some(storage) => (storage.config.housekeeping_interval_ms, storage.compaction_wanted.clone()),
            None => return,
        };
        let pause = Duration::from_millis(interval.max(1)) * INTERVALS_PER_ROUND;
        // Timing out is the normal case.
        let _ = tokio::time::timeout(pause, wanted.notified()).await;
        let Some(strong) = storage.upgrade() else { return };
        let partitions: Vec<Arc<Partition>> = strong.partitions.read().values().cloned().collect();
        for partition in partitions {
            if strong.is_closing() {
                return;
            }
            let plan = plan(&partition.lock(), now());
            if let Some(plan) = plan
                && let Err(error) = compact(&strong, partition.clone(), plan).await
            {
                metrics::counter!("weir_compaction_failures_total").increment(1);
                tracing::error!(%error, partition = %partition.key(), "compaction failed; it is tried again");
            }
        }
    }
}

/// What one compaction works on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    /// All segments to rewrite, from the first on.
    segments: Vec<SegmentRef>,
    /// How many of them are clean.
    clean: usize,
    segment_bytes: u64,
    tombstones_before_ms: i64,
    /// Aborted transactions with records in them, by first offset.
    aborted: Vec<Aborted>,
}

/// Pure: what is due, if anything.
fn plan(state: &State, now: Timestamp) -> Option<Plan> {
    if !state.config.cleanup.compact || state.deleted {
        return None;
    }
    let newest_allowed = now.0.saturating_sub(state.config.min_compaction_lag_ms as i64);
    let segments: Vec<SegmentRef> = state
        .segments
        .iter()
        .take_while(|s| s.next <= state.last_stable.0)
        .take_while(|s| state.config.min_compaction_lag_ms == 0 || s.max_timestamp <= newest_allowed)
        .cloned()
        .collect();
    let clean = segments.iter().take_while(|s| s.compacted).count();
    let bytes = |segments: &[SegmentRef]| segments.iter().map(|s| s.bytes).sum::<u64>();
    let (dirty, total) = (bytes(&segments[clean..]), bytes(&segments));
    if clean == segments.len() || dirty == 0 {
        return None;
    }
    let too_old = state
        .config
        .max_compaction_lag_ms
        .is_some_and(|lag| segments[clean..].iter().any(|s| s.max_timestamp < now.0.saturating_sub(lag as i64)));
    let ratio = dirty as f64 / total.max(1) as f64;
    let (from, to) = (segments.first().map_or(0, |s| s.base), segments.last().map_or(0, |s| s.next));
    (too_old || ratio >= state.config.min_cleanable_dirty_ratio).then(|| Plan {
        aborted: {
            let mut aborted: Vec<Aborted> = state.producers.aborted_in(Offset(from), Offset(to)).copied().collect();
            aborted.sort_unstable_by_key(|a| a.first_offset);
            aborted
        },
        segments,
        clean,
        segment_bytes: state.config.segment_bytes,
        tombstones_before_ms: now.0.saturating_sub(state.config.delete_retention_ms as i64),
    })
}

/// Tells the batches of aborted transactions, when it is shown batches in offset order.
struct AbortedBatches<'a> {
    coming: std::slice::Iter<'a, Aborted>,
    /// Producer -> offset of the abort marker of its latest aborted transaction so far.
    until: HashMap<i64, i64>,
}

impl<'a> AbortedBatches<'a> {
    fn new(aborted: &'a [Aborted]) -> Self {
        AbortedBatches { coming: aborted.iter(), until: HashMap::new() }
    }

    fn contain(&mut self, header: &BatchHeader) -> bool {
        while let Some(next) = self.coming.as_slice().first()
            && next.first_offset <= header.base_offset.0
        {
            self.until.insert(next.producer_id, next.last_offset);
            self.coming.next();
        }
        header.attributes.is_transactional()
            && self.until.get(&header.producer_id).is_some_and(|marker| header.base_offset.0 < *marker)
    }
}

/// Key -> last offset, by a 128-bit hash with keys of this process: a collision would need 2^64 records.
struct LastOffsets {
    hashers: (RandomState, RandomState),
    offsets: HashMap<(u64, u64), i64>,
}

impl LastOffsets {
    fn new() -> LastOffsets {
        LastOffsets { hashers: (RandomState::new(), RandomState::new()), offsets: HashMap::new() }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    fn note(&mut self, key: &[u8], offset: i64) {
        let hash = self.hash(key);
        self.offsets.insert(hash, offset);
    }

    /// Whether no later record has this key.
    fn is_last(&self, key: &[u8], offset: i64) -> bool {
        self.offsets.get(&self.hash(key)).is_none_or(|last| *last <= offset)
    }
}

/// What one compaction may hold in memory. A merge has a quarter of the share, this all of the rest.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    total: usize,
    /// Keys mapped at once; the rest of the log waits for the next round.
    keys: usize,
    /// Survivors held until they are written.
    output_bytes: u64,
    /// A batch that expands beyond this is kept as it is.
    decompress: DecompressLimits,
    read_bytes: usize,
}

impl Bounds {
    fn of(budget: &MemoryBudget) -> Bounds {
        let total = budget.limits_of(Share::Merge).max / 4 * 3;
        // The table doubles when seven eighths of it are used, and both are there meanwhile.
        let mut slots = 1 << 10;
        while 2 * slots * KEY_BYTES * 3 / 2 <= total / 2 {
            slots *= 2;
        }
        Bounds {
            total,
            keys: slots / 8 * 7,
            output_bytes: total as u64 / 4,
            decompress: DecompressLimits { max_bytes: total / 12, ..DecompressLimits::default() },
            read_bytes: READ_BYTES.min(total / 16),
        }
    }
}

async fn compact(storage: &Arc<Storage>, partition: Arc<Partition>, plan: Plan) -> io::Result<()> {
    let bounds = Bounds::of(storage.memory());
    let _memory = storage.memory().reserve(Share::Merge, bounds.total).await;
    let this = storage.clone();
    let worker = partition.clone();
    let work = move || rewrite(&this, &worker, plan, &bounds);
    let written = storage.cpu().run(Priority::Background, work).await.map_err(io::Error::other)?;
    match written {
        Ok(written) => swap_in(storage, &partition, written).await,
        Err(ColdOrIo::Cold(ColdError::Moved)) => Ok(()), // a merge or retention was faster, or the log closes
        Err(ColdOrIo::Cold(ColdError::Failed(error))) => Err(io::Error::other(error)),
        Err(ColdOrIo::Io(error)) => Err(error),
    }
}

enum ColdOrIo {
    Cold(ColdError),
    Io(io::Error),
}

impl From<ColdError> for ColdOrIo {
    fn from(error: ColdError) -> Self {
        ColdOrIo::Cold(error)
    }
}

impl From<io::Error> for ColdOrIo {
    fn from(error: io::Error) -> Self {
        ColdOrIo::Io(error)
    }
}

struct Written {
    replaced: Vec<SegmentRef>,
    added: Vec<SegmentRef>,
}

fn rewrite(storage: &Storage, partition: &Partition, plan: Plan, bounds: &Bounds) -> Result<Written, ColdOrIo> {
    let mut last = LastOffsets::new();
    let mut end = plan.clean;
    let mut aborted = AbortedBatches::new(&plan.aborted);
    // From here on the log stays as it is: the map of keys was full.
    let mut stop = None;
    for segment in &plan.segments[plan.clean..] {
        if stop.is_some() || last.offsets.len() >= bounds.keys {
            break;
        }
        for_each_batch(partition, segment, bounds, &mut |header, batch| {
            if stop.is_none() && last.offsets.len() >= bounds.keys {
                stop = Some(header.base_offset);
            }
            if stop.is_some() {
                return Ok(());
            }
            if !header.attributes.is_control() && !aborted.contain(header) {
                for_each_record(batch, &bounds.decompress, |record| {
                    if let Some(key) = record.key {
                        last.note(key, record.offset(header).0);
                    }
                });
            }
            Ok(())
        })?;
        end += 1;
    }
    let replaced = plan.segments[..end].to_vec();
    let mut output = Output {
        storage,
        partition,
        segment_bytes: plan.segment_bytes.min(bounds.output_bytes),
        pending: Vec::new(),
        bytes: 0,
        base: replaced.first().map_or(0, |s| s.base),
        compacted: true,
        added: Vec::new(),
    };
    let replaced_to = replaced.last().map_or(0, |s| s.next);
    let mut aborted = AbortedBatches::new(&plan.aborted);
    // Producers with transactional records that stay, since their last marker.
    let mut surviving: HashSet<i64> = HashSet::new();
    for (index, segment) in replaced.iter().enumerate() {
        let drop_tombstones = index < plan.clean && segment.created_ms < plan.tombstones_before_ms;
        for_each_batch(partition, segment, bounds, &mut |header, batch| {
            if let Some(stop) = stop
                && header.base_offset >= stop
            {
                // The rest of a segment becomes one of its own, which is dirty.
                output.cut_at(stop.0)?;
                output.compacted = false;
                return output.add(*header, batch.clone());
            }
            let is_last = header.next_offset().0 == replaced_to;
            if header.attributes.is_control() {
                let is_empty = !surviving.remove(&header.producer_id);
                if drop_tombstones && is_empty && !is_last && timestamps::marker_of(batch).commit {
                    return Ok(());
                }
                return output.add(*header, batch.clone());
            }
            if aborted.contain(header) && !is_last {
                return Ok(());
            }
            let keep = |header: &BatchHeader, record: &KafkaRecord<'_>| {
                let Some(key) = record.key else { return false };
                last.is_last(key, record.offset(header).0) && !(drop_tombstones && record.value.is_none())
            };
            let kept = match rewrite_retained(batch, &bounds.decompress, WhenEmpty::Drop, keep) {
                Ok(Rewritten::Unchanged) => Some(batch.clone()),
                Ok(Rewritten::Batch(bytes)) => Some(bytes),
                Ok(Rewritten::Dropped) => None,
                // What cannot be read is kept as it is: compaction loses nothing.
                Err(error) => {
                    tracing::warn!(%error, partition = %partition.key(), offset = %header.base_offset, "a batch is not compacted");
                    Some(batch.clone())
                }
            };
            if let Some(bytes) = kept
                && let Ok(header) = BatchHeader::parse(&bytes)
            {
                if header.attributes.is_transactional() {
                    surviving.insert(header.producer_id);
                }
                output.add(header, bytes)?;
            }
            Ok(())
        })?;
    }
    output.cut_at(replaced_to)?;
    let added = output.added;
    Ok(Written { replaced, added })
}

/// Gathers what survives and writes it a segment at a time.
struct Output<'a> {
    storage: &'a Storage,
    partition: &'a Partition,
    segment_bytes: u64,
    pending: Vec<(BatchHeader, Bytes)>,
    bytes: u64,
    /// Where the next segment begins.
    base: i64,
    /// Whether the next segment is clean.
    compacted: bool,
    added: Vec<SegmentRef>,
}

impl Output<'_> {
    fn add(&mut self, header: BatchHeader, batch: Bytes) -> Result<(), ColdOrIo> {
        // A copy: a slice would keep all that was read with it.
        let batch = Bytes::copy_from_slice(&batch);
        self.bytes += batch.len() as u64;
        self.pending.push((header, batch));
        if self.bytes >= self.segment_bytes {
            self.cut_at(header.next_offset().0)?;
        }
        Ok(())
    }

    /// Ends a segment before offset `next`, also when nothing before it is left: the range stays covered.
    fn cut_at(&mut self, next: i64) -> io::Result<()> {
        if next <= self.base {
            return Ok(());
        }
        let base = std::mem::replace(&mut self.base, next);
        let file = self.storage.next_segment.fetch_add(1, Ordering::AcqRel);
        let mut footer = None;
        let mut length = 0;
        self.storage.io.segments.publish(file, FileKind::Rows, &mut |out| {
            let mut writer = RowFileWriter::new(out)?;
            writer.begin_section(self.partition.key(), Offset(base));
            for (header, batch) in &self.pending {
                writer.append(header, batch.clone())?;
            }
            writer.set_next_offset(Offset(next));
            let (mut sections, bytes) = writer.finish()?;
            footer = sections.pop();
            length = bytes;
            Ok(())
        })?;
        metrics::counter!("weir_compaction_bytes_total").increment(length);
        metrics::counter!("weir_storage_bytes_written_total").increment(length);
        self.added.push(SegmentRef {
            file,
            base,
            next,
            bytes: footer.as_ref().map_or(0, |f| f.length),
            max_timestamp: footer.as_ref().map_or(-1, |f| f.max_timestamp.0),
            created_ms: now().0,
            compacted: self.compacted,
            columnar: false,
            columns: None,
        });
        self.pending.clear();
        self.bytes = 0;
        Ok(())
    }
}

fn for_each_batch(
    partition: &Partition,
    segment: &SegmentRef,
    bounds: &Bounds,
    visit: &mut dyn FnMut(&BatchHeader, &Bytes) -> Result<(), ColdOrIo>,
) -> Result<(), ColdOrIo> {
    let reader = partition.open_segment(segment)?;
    let mut offset = Offset(segment.base);
    loop {
        let found = reader
            .read(offset, Offset(segment.next), bounds.read_bytes, true)
            .map_err(|e| partition.segment_error(e, segment.file, offset))?;
        let SectionRead::Slice(slice) = found else { return Ok(()) };
        for batch in batches(&slice.bytes) {
            let batch = batch.map_err(io::Error::other)?;
            visit(&batch.header, &slice.bytes.slice_ref(batch.bytes))?;
        }
        offset = slice.last.next_offset();
        breathe();
        if partition.is_closing() {
            return Err(ColdError::Moved.into()); // done again after the next start
        }
    }
}

fn for_each_record(batch: &[u8], limits: &DecompressLimits, mut visit: impl FnMut(&KafkaRecord<'_>)) {
    let Ok(decoded) = decode(batch, limits) else { return };
    for record in decoded.records().flatten() {
        visit(&record);
    }
}

async fn swap_in(storage: &Arc<Storage>, partition: &Arc<Partition>, written: Written) -> io::Result<()> {
    let _manifest = storage.manifest.lock().await;
    let unchanged = {
        let state = partition.lock();
        !state.deleted && state.segments.starts_with(&written.replaced)
    };
    if !unchanged {
        for segment in &written.added {
            storage.io.segments.remove(segment.file)?;
        }
        return Ok(());
    }
    let remove: Vec<u64> = written.replaced.iter().map(|s| s.file).collect();
    let swap = Swap { key: partition.key().into(), add: written.added.clone(), remove: remove.clone() };
    storage.write_record(&Record::SegmentsSwapped { swaps: vec![swap] }).await?;
    let mut freed: Vec<u64> = written.added.iter().map(|s| s.file).collect();
    freed.iter().for_each(|file| storage.reference(*file));
    {
        let mut state = partition.lock();
        // Deleted meanwhile: what was written goes again.
        if !state.deleted {
            let cached = state.swap_segments(&written.added, &remove);
            storage.io.cache.freed(cached);
            freed = written.replaced.iter().flat_map(SegmentRef::files).collect();
        }
    }
    storage.dereference(freed);
    let bytes = |segments: &[SegmentRef]| segments.iter().map(|s| s.bytes).sum::<u64>();
    tracing::debug!(partition = %partition.key(), before = bytes(&written.replaced), after = bytes(&written.added), "compacted");
    Ok(())
}
