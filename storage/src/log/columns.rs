//! Segments of topics whose rows are stored as columns: written by a merge, and rid of their rows after a while.
//!
//! A column file and the rows beside it are named by one manifest record. A crash before it leaves files that the next start
//! removes. What cannot become columns is stored as rows: a merge never waits for a table.
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_protocol::ids::Offset;

use super::engine::{Storage, now};
use super::manifest::{ColumnSibling, Record, SegmentRef, Swap};
use super::merge::{self, CopyError, Offsets, Section, Visited, Written};
use super::partition::{ColdError, Partition};
use super::types::{AbortedTransaction, LogOffsets};
use crate::cpu::Priority;
use crate::memory::{MemoryBudget, Share};
use crate::segment::{ColumnLayout, EncodeError, FileKind};

/// Writes a section as columns, with rows beside them where the topic wants that, and swaps them in.
pub(super) async fn write(storage: &Arc<Storage>, mut section: Section, layout: Arc<dyn ColumnLayout>) {
    let held = encoder_bytes(storage.memory(), &section, layout.working_bytes());
    // Where memory is small a small file stays as it is: it would be written again for little that comes with it.
    let enough = enough(held, &*layout);
    section.crumb.take_if(|crumb| 2 * crumb.bytes as usize > enough);
    let _memory = storage.memory().reserve(Share::Merge, held).await;
    let (this, spare) = (storage.clone(), section.clone());
    let work = move || write_files(&this, section, &*layout, held);
    let result = match storage.cpu().run(Priority::Background, work).await {
        Ok(Ok(Some(written))) => merge::swap_in(storage, written).await,
        Ok(Ok(None)) => Ok(()),
        Ok(Err(Failure::Io(error))) => Err(error),
        Ok(Err(Failure::Encode(error))) => return as_rows(storage, spare, &error.reason).await,
        Err(panic) => return as_rows(storage, spare, &panic.to_string()).await,
    };
    if let Err(error) = result {
        merge::failed(storage, &error);
    }
}

/// Nothing is lost and nothing waits because a table has trouble.
async fn as_rows(storage: &Arc<Storage>, section: Section, reason: &str) {
    metrics::counter!("weir_merge_column_failures_total").increment(1);
    tracing::error!(partition = %section.partition.key(), reason, "records cannot be stored as columns; they are stored as rows");
    merge::write(storage, vec![section]).await;
}

/// What a merge into columns holds: what is encoded until the file is written, and the encoder's own. As for rows never more
/// than a quarter of the share; a section for which that is too little is written in parts.
fn encoder_bytes(budget: &MemoryBudget, section: &Section, working: usize) -> usize {
    let crumb = section.crumb.as_ref().map_or(0, |crumb| crumb.bytes);
    ((section.bytes + crumb) as usize).saturating_add(working).min(budget.limits_of(Share::Merge).max / 4)
}

/// Of what is held, the part that a file may take.
fn enough(held: usize, layout: &dyn ColumnLayout) -> usize {
    held.saturating_sub(layout.working_bytes()).max(held / 2)
}

enum Failure {
    Io(io::Error),
    Encode(EncodeError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        Failure::Encode(error)
    }
}

fn write_files(
    storage: &Storage,
    mut section: Section,
    layout: &dyn ColumnLayout,
    held: usize,
) -> Result<Option<Written>, Failure> {
    let mut encoder = layout.encoder()?;
    let mut next = section.base();
    let mut max_timestamp = -1;
    let mut trouble = None;
    let enough = enough(held, layout);
    let crumb_next = section.crumb.as_ref().map(|crumb| Offset(crumb.next));
    let copied = merge::for_each_batch(&section, &mut |visited| {
        let (taken, behind, timestamp) = match visited {
            Visited::Kept(batch, kept) => {
                let taken = encoder.append_kept(kept, batch.base, batch.leader_epoch);
                if matches!(taken, Ok(true)) {
                    let rows = (batch.next.0 - batch.base.0) as u64;
                    metrics::counter!("weir_merge_kept_rows_total").increment(rows);
                }
                (taken, batch.next, batch.max_timestamp.0)
            }
            Visited::Columns { rows: Offsets { base, next }, max_timestamp, file } => {
                let taken = encoder.append_columns(file);
                if matches!(taken, Ok(true)) {
                    metrics::counter!("weir_merge_column_rows_total").increment((next.0 - base.0) as u64);
                }
                (taken, next, max_timestamp)
            }
            Visited::Batch(header, batch) => {
                (encoder.append(header, &batch).map(|()| true), header.next_offset(), header.max_timestamp)
            }
        };
        match taken {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                trouble = Some(error);
                return Err(CopyError::Stop);
            }
        }
        next = behind;
        max_timestamp = max_timestamp.max(timestamp);
        // The crumb alone would be written again, and nothing of the log with it.
        let only_crumb = crumb_next.is_some_and(|crumb_next| next <= crumb_next);
        if encoder.held_bytes() >= enough && !only_crumb { Err(CopyError::Stop) } else { Ok(true) }
    });
    if let Some(trouble) = trouble {
        return Err(trouble.into());
    }
    match copied {
        Ok(()) | Err(CopyError::Stop) => {}
        Err(CopyError::Write(error)) => return Err(error.into()),
        Err(CopyError::Read(ColdError::Moved)) => return Ok(None),
        Err(CopyError::Read(ColdError::Failed(error))) => {
            merge::unreadable(storage, &error);
            return Ok(None);
        }
    }
    section.keep_below(next);
    if section.crumb.as_ref().is_some_and(|crumb| next.0 < crumb.next) {
        let reason = "a small segment does not fit the memory of a merge; raise memory.limit".to_owned();
        return Err(EncodeError { reason }.into());
    }
    let chunks = encoder.finish()?;
    let file = storage.next_segment.fetch_add(1, Ordering::AcqRel);
    let mut bytes = 0;
    storage.io.segments.publish(file, FileKind::Columns, &mut |out| {
        bytes = 0;
        for chunk in &chunks {
            out.write_at(bytes, &[chunk])?;
            bytes += chunk.len() as u64;
        }
        Ok(())
    })?;
    drop(chunks);
    merge::count_written(bytes);
    let rows_too = section.partition.config().layout.rows_too();
    if !rows_too {
        let segment = SegmentRef {
            file,
            base: section.base().0,
            next: next.0,
            bytes,
            max_timestamp,
            created_ms: now().0,
            compacted: false,
            columnar: true,
            columns: None,
        };
        return Ok(Some(Written { sections: vec![(section, segment)], files: vec![file], bytes }));
    }
    let rows = storage.next_segment.fetch_add(1, Ordering::AcqRel);
    match merge::write_file(storage, rows, vec![section]) {
        Ok(Some(mut written)) => {
            for (_, segment) in &mut written.sections {
                segment.columns = Some(ColumnSibling { file, bytes });
            }
            written.files.push(file);
            Ok(Some(written))
        }
        other => {
            storage.io.segments.remove(file)?;
            Ok(other?)
        }
    }
}

/// Lets go of rows that have been beside their columns for longer than the topic wants.
pub(super) async fn expire_rows(storage: &Arc<Storage>, partition: &Arc<Partition>) -> io::Result<()> {
    let due = |segment: &SegmentRef, config: &super::config::LogConfig| match config.layout {
        super::config::Layout::Column { row_retention_ms, .. } => {
            !segment.columnar
                && segment.columns.is_some()
                && segment.created_ms.saturating_add(row_retention_ms as i64) <= now().0
        }
        _ => false,
    };
    let any = {
        let state = partition.lock();
        state.segments.iter().any(|segment| due(segment, &state.config))
    };
    if !any {
        return Ok(());
    }
    let _manifest = storage.manifest.lock().await;
    let expired: Vec<SegmentRef> = {
        let state = partition.lock();
        state.segments.iter().filter(|segment| due(segment, &state.config)).cloned().collect()
    };
    let columns_of = |segment: &SegmentRef| {
        let columns = segment.columns?;
        Some(SegmentRef { file: columns.file, bytes: columns.bytes, columnar: true, columns: None, ..segment.clone() })
    };
    let add: Vec<SegmentRef> = expired.iter().filter_map(columns_of).collect();
    let remove: Vec<u64> = expired.iter().map(|segment| segment.file).collect();
    if remove.is_empty() {
        return Ok(());
    }
    let swap = Swap { key: partition.key().into(), add: add.clone(), remove: remove.clone() };
    storage.write_record(&Record::SegmentsSwapped { swaps: vec![swap] }).await?;
    {
        let mut state = partition.lock();
        // Deleted or truncated meanwhile: all files of it went, or will go, with that.
        let there = |file: &u64| state.segments.iter().any(|segment| segment.file == *file);
        if state.deleted || !remove.iter().all(there) {
            return Ok(());
        }
        let cached = state.swap_segments(&add, &remove);
        storage.io.cache.freed(cached);
    }
    storage.dereference(remove);
    Ok(())
}

/// A column file, and which offsets of the log it holds: `[base, next)`.
#[derive(Clone)]
pub struct ColumnPart {
    pub file: Arc<dyn crate::segment::ColumnFile>,
    pub base: Offset,
    pub next: Offset,
    /// It is a batch that came as columns, and not a file.
    pub is_batch: bool,
}

impl std::fmt::Debug for ColumnPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnPart({}..{})", self.base, self.next)
    }
}

/// A segment of a log: offsets `[base, next)`, and in which forms they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub base: Offset,
    pub next: Offset,
    /// Of all its files.
    pub bytes: u64,
    pub rows: bool,
    pub columns: bool,
}

/// What a reader sees of a range of offsets.
#[derive(Debug, Clone)]
pub struct View {
    pub offsets: LogOffsets,
    /// What lies at or beyond it is not visible, or not of the range.
    pub end: Offset,
    pub aborted: Vec<AbortedTransaction>,
}
