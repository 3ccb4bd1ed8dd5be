//! Merge: moves the oldest unmerged batches out of the WAL into segments, so that WAL files can be released.
//!
//! A partition with enough unmerged data gets a segment of its own; when the WAL reaches its size or age limit, everything
//! in its oldest files is moved, partitions that trickle sharing a bundle. Batches whose columns are kept beside them go earlier when
//! the memory for that runs out (decision 15). The swap is one durable manifest record.
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::BatchHeader;
use weir_protocol::records::batches;

use super::columns;
use super::engine::{Storage, now};
use super::manifest::{Record, SegmentRef, Swap};
use super::partition::{ColdError, Partition};
use super::state::{State, TailBatch};
use super::types::{BatchForm, ReadError};
use crate::cpu::{Priority, SLICE_BYTES, breathe};
use crate::memory::{MemoryBudget, Share};
use crate::segment::{ColumnFile, FileKind, KeptColumns, RowFileWriter, SectionFooter, SectionRead};

/// From this size on a partition does not share a bundle.
const OWN_SEGMENT_BYTES: u64 = 1 << 20;
/// A bundle is not made larger than about this.
const BUNDLE_BYTES: u64 = 64 << 20;
/// A trailing segment smaller than this is taken into the next one, so that slow partitions do not collect crumbs.
const CRUMB_BYTES: u64 = 8 << 20;
/// Of what is enough for a merge, the part that is enough when kept columns wait for memory, and what is a segment of its own.
const EARLY_PART: u64 = 8;
/// After a size-triggered merge so much of the limit is left in use.
const KEEP_SHARE: f64 = 0.75;

/// One partition's part of a merge.
#[derive(Clone)]
pub(super) struct Section {
    pub partition: Arc<Partition>,
    /// Trailing segment that is rewritten together with the tail.
    pub crumb: Option<SegmentRef>,
    batches: Vec<TailBatch>,
    /// Of the batches.
    pub bytes: u64,
}

impl Section {
    /// Where it begins.
    pub fn base(&self) -> Offset {
        match &self.crumb {
            Some(crumb) => Offset(crumb.base),
            None => self.batches.first().map_or(Offset::ZERO, |batch| batch.base),
        }
    }

    /// The batches, and the crumb that is rewritten with them.
    fn bytes_in_all(&self) -> u64 {
        self.bytes + self.crumb.as_ref().map_or(0, |crumb| crumb.bytes)
    }

    /// Leaves batches from `next` on to a later merge.
    pub fn keep_below(&mut self, next: Offset) {
        self.batches.retain(|batch| batch.next <= next);
        self.bytes = self.batches.iter().map(|batch| u64::from(batch.len)).sum();
    }
}

/// Why a partition's oldest data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// There is enough of it, or it has to.
    Usual,
    /// What is kept beside it is to make room.
    Early,
}

/// Merges once what is due; true if more is due by then.
pub(super) async fn run(storage: &Arc<Storage>) -> bool {
    let cut_file = cut_file(storage);
    let early = storage.kept_wanted.load(Ordering::Acquire);
    let (mut has_made_room, failures) = (false, storage.io.room.failures());
    let mut small: Vec<Section> = Vec::new();
    let mut small_bytes = 0;
    for partition in dirty_partitions(storage) {
        if storage.is_closing() {
            return false;
        }
        let Some((section, due)) = plan(storage, &partition, cut_file, early) else { continue };
        has_made_room |= due == Due::Early || section.batches.iter().any(|batch| batch.kept.is_some());
        let own_segment = own_segment_bytes(storage);
        match section.partition.config().layout.columns() {
            // With the crumb: what is columns stays columns however little comes after it, and what trickles gets there.
            Some(layout) if section.bytes_in_all() >= own_segment => {
                columns::write(storage, section, layout.clone()).await;
                continue;
            }
            None if section.bytes >= own_segment => {
                write(storage, vec![section]).await;
                continue;
            }
            _ => {}
        }
        small_bytes += section.bytes;
        small.push(section);
        if small_bytes >= BUNDLE_BYTES {
            small_bytes = 0;
            write(storage, std::mem::take(&mut small)).await;
        }
    }
    if !small.is_empty() {
        write(storage, small).await;
    }
    // Where nothing could be merged early the wish stays, and nobody is woken for it again: the next rounds look.
    if has_made_room && failures == storage.io.room.failures() {
        storage.kept_wanted.store(false, Ordering::Release);
    }
    let cut_file = self::cut_file(storage);
    dirty_partitions(storage).iter().any(|partition| due(storage, &partition.lock(), cut_file, false).is_some())
}

fn own_segment_bytes(storage: &Storage) -> u64 {
    OWN_SEGMENT_BYTES.min(storage.config.merge_partition_bytes)
}

/// Partitions that still have a tail; the list forgets the others.
fn dirty_partitions(storage: &Storage) -> Vec<Arc<Partition>> {
    let mut dirty = storage.io.dirty.lock();
    dirty.retain(|p| {
        let mut state = p.lock();
        state.listed_dirty = !state.tail.is_empty() && !state.deleted;
        state.listed_dirty
    });
    dirty.clone()
}

/// The newest WAL file that has to go: over the size limit, or too old.
fn cut_file(storage: &Storage) -> Option<u64> {
    let files = storage.io.wal.files();
    let total: u64 = files.iter().map(|f| f.bytes).sum();
    let oldest_allowed = now().0 - storage.config.wal_max_age_ms as i64;
    let keep = (storage.config.wal_max_bytes as f64 * KEEP_SHARE) as u64;
    let mut remaining = total;
    let mut cut = None;
    for file in files.iter().filter(|f| f.sealed) {
        let too_much = total > storage.config.wal_max_bytes && remaining > keep;
        if !too_much && file.created_ms as i64 > oldest_allowed {
            break;
        }
        remaining -= file.bytes;
        cut = Some(file.id);
    }
    cut
}

/// Whether a partition's oldest data has to go: there is enough of it, or it is in the WAL files that go, or (`early`) enough of it
/// holds memory that is wanted.
fn due(storage: &Storage, state: &State, cut_file: Option<u64>, early: bool) -> Option<Due> {
    let oldest = state.tail.front().filter(|_| !state.deleted)?;
    let enough = storage.config.merge_partition_bytes.min(state.config.segment_bytes);
    // Compaction works on segments: a compacted topic's tail becomes one when Kafka would roll.
    let rolls =
        state.config.cleanup.compact && oldest.max_timestamp.0 < now().0.saturating_sub(state.config.segment_ms as i64);
    let in_cut = match (oldest.location, cut_file) {
        (Some(location), Some(cut)) => location.file <= cut,
        _ => false,
    };
    let enough_early = (enough / EARLY_PART).max(own_segment_bytes(storage));
    let early = early && state.tail.iter().any(|batch| batch.kept.is_some());
    if !(state.tail_bytes >= enough || rolls || in_cut || early && state.tail_bytes >= enough_early) {
        return None;
    }
    // The limit counts what may go now: a little less would be too little for a segment of its own.
    let (count, bytes) = mergeable(state, enough);
    match count > 0 {
        true if bytes >= enough || rolls || in_cut => Some(Due::Usual),
        true if early && bytes >= enough_early => Some(Due::Early),
        _ => None,
    }
}

/// How many of the oldest batches may be merged, and their bytes, up to a limit: durable ones, and only visible ones, since an
/// offset in a segment is never taken back.
fn mergeable(state: &State, limit: u64) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    for batch in &state.tail {
        if batch.location.is_none() || batch.next > state.high_watermark || (bytes >= limit && count > 0) {
            break;
        }
        bytes += u64::from(batch.len);
        count += 1;
    }
    (count, bytes)
}

fn plan(storage: &Storage, partition: &Arc<Partition>, cut_file: Option<u64>, early: bool) -> Option<(Section, Due)> {
    let state = partition.lock();
    let due = due(storage, &state, cut_file, early)?;
    let limit = state.config.segment_bytes.min(storage.config.merge_partition_bytes.max(1)).max(1);
    let (count, bytes) = mergeable(&state, limit);
    let batches: Vec<TailBatch> = state.tail.iter().take(count).cloned().collect();
    if batches.is_empty() {
        return None;
    }
    // Early merges are small by themselves: what they made is not made again by the next one.
    let crumb_bytes = if due == Due::Early { OWN_SEGMENT_BYTES } else { CRUMB_BYTES };
    let crumb = state
        .segments
        .last()
        .filter(|s| s.bytes < crumb_bytes && s.bytes <= bytes && !s.compacted && s.next > state.log_start.0)
        .cloned();
    Some((Section { partition: partition.clone(), crumb, batches, bytes }, due))
}

/// Writes one file and swaps it in. What fails is left in the WAL and tried again.
pub(super) async fn write(storage: &Arc<Storage>, sections: Vec<Section>) {
    let largest = sections.iter().flat_map(|s| &s.batches).map(TailBatch::bytes_as_rows).max().unwrap_or(0);
    let _memory = storage.memory().reserve(Share::Merge, merge_bytes(storage.memory(), largest)).await;
    let file = storage.next_segment.fetch_add(1, Ordering::AcqRel);
    let this = storage.clone();
    let written = storage.cpu().run(Priority::Background, move || write_file(&this, file, sections)).await;
    let result = match written {
        Ok(Ok(Some(outcome))) => swap_in(storage, outcome).await,
        Ok(Ok(None)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(io::Error::other(panic)),
    };
    if let Err(error) = result {
        failed(storage, &error);
    }
}

pub(super) fn failed(storage: &Storage, error: &io::Error) {
    storage.io.room.merge_failed();
    metrics::counter!("weir_merge_failures_total").increment(1);
    tracing::error!(%error, "merge failed; the data stays in the write-ahead log and the merge is tried again");
}

pub(super) fn unreadable(storage: &Storage, error: &ReadError) {
    storage.io.room.merge_failed();
    metrics::counter!("weir_merge_failures_total").increment(1);
    tracing::error!(%error, "a partition cannot be merged; its WAL files are kept");
}

pub(super) fn count_written(bytes: u64) {
    metrics::counter!("weir_merge_bytes_total").increment(bytes);
    metrics::counter!("weir_storage_bytes_written_total").increment(bytes);
}

/// Files that are published and not yet referred to.
pub(super) struct Written {
    pub sections: Vec<(Section, SegmentRef)>,
    pub files: Vec<u64>,
    pub bytes: u64,
}

/// Buffers of a merge: a piece of a segment and what is gathered to be written, each about 1 MiB and a batch. Never more than
/// a quarter of the share, so that compaction, which has the rest, never keeps a merge waiting.
fn merge_bytes(budget: &MemoryBudget, largest_batch: usize) -> usize {
    (2 * ((1 << 20) + largest_batch)).min(budget.limits_of(Share::Merge).max / 4)
}

pub(super) fn write_file(storage: &Storage, file: u64, sections: Vec<Section>) -> io::Result<Option<Written>> {
    let mut footers = Vec::new();
    let mut bytes = 0;
    let mut taken = Vec::with_capacity(sections.len());
    storage.io.segments.publish(file, FileKind::Rows, &mut |out| {
        let mut writer = RowFileWriter::new(out)?;
        for section in &sections {
            writer.begin_section(section.partition.key(), section.base());
            let copied = copy(section, &mut writer);
            taken.push(copied.is_ok());
            match copied {
                Ok(()) => continue,
                Err(CopyError::Write(error)) => return Err(error),
                // Retention or deletion was faster.
                Err(CopyError::Stop | CopyError::Read(ColdError::Moved)) => {}
                Err(CopyError::Read(ColdError::Failed(error))) => unreadable(storage, &error),
            }
            writer.abandon_section();
        }
        (footers, bytes) = writer.finish()?;
        Ok(())
    })?;
    count_written(bytes);
    if footers.is_empty() {
        storage.io.segments.remove(file)?;
        return Ok(None);
    }
    let created_ms = now().0;
    let segment = |footer: SectionFooter| SegmentRef {
        file,
        base: footer.base_offset.0,
        next: footer.next_offset.0,
        bytes: footer.length,
        max_timestamp: footer.max_timestamp.0,
        created_ms,
        compacted: false,
        columnar: false,
        columns: None,
    };
    let sections = sections.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(section, _)| section);
    let sections = sections.zip(footers.into_iter().map(segment)).collect();
    Ok(Some(Written { sections, files: vec![file], bytes }))
}

pub(super) enum CopyError {
    Read(ColdError),
    Write(io::Error),
    /// The visitor has enough.
    Stop,
}

impl From<ColdError> for CopyError {
    fn from(error: ColdError) -> Self {
        CopyError::Read(error)
    }
}

/// Writes all batches of a section.
fn copy(section: &Section, writer: &mut RowFileWriter<'_>) -> Result<(), CopyError> {
    let append = &mut |visited: Visited<'_>| match visited {
        Visited::Kept(..) | Visited::Columns { .. } => Ok(false),
        Visited::Batch(header, bytes) => writer.append(header, bytes).map(|()| true).map_err(CopyError::Write),
    };
    for_each_batch(section, append)
}

/// `[base, next)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offsets {
    pub base: Offset,
    pub next: Offset,
}

/// A batch of a section, or several.
pub(super) enum Visited<'a> {
    /// What was kept of it. Whoever does not take it (false) is shown the batch.
    Kept(&'a TailBatch, &'a KeptColumns),
    /// Batches that are columns already: one that came so, or the crumb. The same.
    Columns {
        rows: Offsets,
        max_timestamp: i64,
        file: &'a Arc<dyn ColumnFile>,
    },
    Batch(&'a BatchHeader, Bytes),
}

/// Shows all batches of a section in offset order, verified where they come from disk, one at a time.
pub(super) fn for_each_batch(
    section: &Section,
    visit: &mut dyn FnMut(Visited<'_>) -> Result<bool, CopyError>,
) -> Result<(), CopyError> {
    let mut since_breath = 0;
    let mut visit = |len: usize, visited: Visited<'_>| {
        let taken = visit(visited)?;
        since_breath += if taken { len } else { 0 };
        if since_breath >= SLICE_BYTES {
            since_breath = 0;
            breathe();
        }
        Ok::<bool, CopyError>(taken)
    };
    if let Some(crumb) = &section.crumb {
        visit_crumb(&section.partition, crumb, &mut visit)?;
    }
    for batch in &section.batches {
        if let Some(kept) = &batch.kept
            && visit(batch.len as usize, Visited::Kept(batch, kept))?
        {
            continue;
        }
        if batch.form == BatchForm::Columns {
            let (rows, file) = (Offsets { base: batch.base, next: batch.next }, section.partition.tail_columns(batch)?);
            let columns = Visited::Columns { rows, max_timestamp: batch.max_timestamp.0, file: &file };
            if visit(batch.len as usize, columns)? {
                continue;
            }
        }
        let bytes = section.partition.tail_rows(batch)?;
        // The header was verified when the batch was produced or read back.
        let header = BatchHeader::parse(&bytes).map_err(|_| ColdError::Moved)?;
        visit(bytes.len(), Visited::Batch(&header, bytes))?;
    }
    Ok(())
}

/// Shows the batches of a segment: its columns as a whole, or else its rows.
fn visit_crumb(
    partition: &Partition,
    crumb: &SegmentRef,
    visit: &mut dyn FnMut(usize, Visited<'_>) -> Result<bool, CopyError>,
) -> Result<(), CopyError> {
    if let Some(number) = crumb.column_file() {
        let file = partition.open_columns(number)?;
        let rows = Offsets { base: Offset(crumb.base), next: Offset(crumb.next) };
        let columns = Visited::Columns { rows, max_timestamp: crumb.max_timestamp, file: &file };
        if visit(crumb.bytes as usize, columns)? {
            return Ok(());
        }
    }
    let reader = partition.open_segment(crumb)?;
    let mut offset = Offset(crumb.base);
    while offset.0 < crumb.next {
        let found = reader
            .read(offset, Offset(crumb.next), 1 << 20, true)
            .map_err(|e| partition.segment_error(e, crumb.file, offset))?;
        let SectionRead::Slice(slice) = found else { break };
        for batch in batches(&slice.bytes) {
            let batch = batch.map_err(|_| ColdError::Moved)?;
            let bytes = slice.bytes.slice_ref(batch.bytes);
            visit(bytes.len(), Visited::Batch(&batch.header, bytes))?;
        }
        offset = slice.last.next_offset();
    }
    Ok(())
}

pub(super) async fn swap_in(storage: &Arc<Storage>, written: Written) -> io::Result<()> {
    let Written { sections, files, bytes } = written;
    let _manifest = storage.manifest.lock().await;
    let mut swaps = Vec::new();
    let mut applied = Vec::new();
    for (section, segment) in sections {
        // Deleted or truncated meanwhile: the section stays unreferenced.
        {
            let state = section.partition.lock();
            let crumb_there = section.crumb.as_ref().is_none_or(|c| state.segments.last().is_some_and(|s| s == c));
            if state.deleted || !crumb_there || segment.next <= state.log_start.0 {
                continue;
            }
        }
        let remove: Vec<u64> = section.crumb.iter().map(|c| c.file).collect();
        swaps.push(Swap { key: section.partition.key().into(), add: vec![segment], remove });
        applied.push(section);
    }
    if swaps.is_empty() {
        return files.iter().try_for_each(|file| storage.io.segments.remove(*file));
    }
    storage.write_record(&Record::SegmentsSwapped { swaps: swaps.clone() }).await?;
    // References of our own until all is applied: topics may be deleted meanwhile, also all of these.
    files.iter().for_each(|file| storage.reference(*file));
    let mut freed = files;
    for (section, swap) in applied.iter().zip(&swaps) {
        let mut state = section.partition.lock();
        if state.deleted {
            continue;
        }
        swap.add.iter().flat_map(SegmentRef::files).for_each(|file| storage.reference(file));
        let cached = state.swap_segments(&swap.add, &swap.remove);
        storage.io.cache.freed(cached);
        freed.extend(section.crumb.iter().flat_map(SegmentRef::files));
    }
    tracing::debug!(files = ?freed, bytes, partitions = swaps.len(), "merged");
    storage.dereference(freed);
    Ok(())
}
