//! Rows that the log has no more, read from the table's data files.
//!
//! | file | what |
//! |---|---|
//! | `index.rs` | which rows of which partition are in which row group |
//! | `file.rs` | footers, and some rows and columns of a row group |
//! | `window.rs` | the next rows of a partition, in the order of their offsets (pure) |
//!
//! Of append tables only: a row of the log is a row of the table. What a commit names must be there: a file that is missing or
//! damaged is an error, never fewer rows. A plain directory names no files in its commits, so its rows are counted against them.
//! Objects are read asynchronously, each within the store's time limit; what computes runs on the pool for that.
mod file;
mod index;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parking_lot::Mutex;
use thiserror::Error;
use weir_storage::cpu::{CpuError, CpuPool, Priority};
use weir_storage::memory::{MemoryBudget, Reservation, Share};

pub use self::file::FileError;
use self::file::read_rows;
use self::index::{Footers, Index};
use self::window::{Place, next_window};
use crate::round::check_topic;
use crate::settings::LakeSettings;
use crate::source::SourceTable;
use crate::store::{LakeRoots, LakeStore, StoreError, open};
use crate::target::{FilesError, Pause, TargetError, folder_of, open_target};

/// Rows that are read at once.
const WINDOW_ROWS: usize = 32 << 10;

/// Why rows of the lake cannot be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    #[error(transparent)]
    Pause(#[from] Pause),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no table at {address}")]
    NoTable { address: String },
    #[error(
        "the files of the table at {address} have {found} rows, and {committed} were committed: files are missing, or others were \
         put there (`weir lake verify`)"
    )]
    Rows { address: String, found: u64, committed: u64 },
    #[error("{file} of the table cannot be read: {error}")]
    File { file: String, error: FileError },
    #[error("{file} of the table is gone, and its newest commit names it")]
    Gone { file: String },
    #[error("offset {offset} of partition {partition} is in the table twice (`weir lake verify`)")]
    Twice { partition: i32, offset: i64 },
    #[error("reading the table did not end: {0}")]
    Cpu(#[from] CpuError),
}

impl From<TargetError> for HistoryError {
    fn from(error: TargetError) -> HistoryError {
        HistoryError::Files(error.into())
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct HistoryRead {
    pub partition: i32,
    pub from: i64,
    /// Nothing from here on.
    pub until: i64,
    /// By the field ids that [`crate::columns`] and the topic's schema give them. A column that is younger than a file is null in it.
    pub columns: SchemaRef,
}

/// Rows in the order of their offsets.
#[derive(Debug)]
pub struct HistoryRows {
    pub batch: RecordBatch,
    /// One for each row.
    pub offsets: Vec<i64>,
    /// There is nothing else between where it was begun and here.
    pub end: i64,
    /// Bytes of the store that were read.
    pub stored_bytes: u64,
    /// To be held as long as the rows.
    pub memory: Vec<Reservation>,
}

/// The table of a topic, as it is read.
pub struct History {
    settings: LakeSettings,
    roots: LakeRoots,
    cpu: CpuPool,
    memory: MemoryBudget,
    /// What was found last.
    index: Mutex<Option<Arc<Index>>>,
    /// One looks at a time, with the footers that are known.
    looking: tokio::sync::Mutex<Footers>,
}

impl History {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(settings: LakeSettings, roots: LakeRoots, cpu: CpuPool, memory: MemoryBudget) -> History {
        History { settings, roots, cpu, memory, index: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    /// What may be reserved at once.
    fn limited(&self, bytes: u64) -> usize {
        usize::try_from(bytes).unwrap_or(usize::MAX).min(self.memory.limits_of(Share::Responses).max)
    }

    fn store(&self, table: &SourceTable) -> Result<Arc<dyn LakeStore>, Pause> {
        open(&self.roots, &self.settings.path, &folder_of(&self.settings, &table.name)).map_err(Pause::Path)
    }

    /// The offsets of a partition that can be read from the table with the columns of these ids, which not all files need have: from
    /// the first row to what the newest commit says. `None`: none.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn bounds(
        &self,
        table: &SourceTable,
        partition: i32,
        kept: &[i32],
    ) -> Result<Option<(i64, i64)>, HistoryError> {
        let index = self.index_with(table, partition, 0).await?;
        Ok(index.bounds(partition, kept))
    }

    /// The next rows, or none up to `end` if there are none. `end` is `from` if the table ends there.
    ///
    /// # Errors
    /// [`HistoryError`]. What an error tells stands for the whole read: no row of it is returned.
    pub async fn read(&self, table: &SourceTable, want: &HistoryRead) -> Result<HistoryRows, HistoryError> {
        let index = self.index_with(table, want.partition, want.from).await?;
        match self.read_with(table, want, &index).await {
            // Another engine may have rewritten it: then it is not part of the table any more.
            Err(HistoryError::Gone { .. }) => {
                let (index, _) = self.look(table, Some(&index)).await?;
                self.read_with(table, want, &index).await
            }
            other => other,
        }
    }

    async fn read_with(
        &self,
        table: &SourceTable,
        want: &HistoryRead,
        index: &Arc<Index>,
    ) -> Result<HistoryRows, HistoryError> {
        let store = self.store(table)?;
        let nothing = |end| HistoryRows {
            batch: RecordBatch::new_empty(want.columns.clone()),
            offsets: Vec::new(),
            end,
            stored_bytes: 0,
            memory: Vec::new(),
        };
        let Some((_, committed)) = index.bounds(want.partition, &[]) else { return Ok(nothing(want.from)) };
        let until = want.until.min(committed);
        if want.from >= until {
            return Ok(nothing(want.from));
        }
        let (groups, looked) = index.groups(want.partition, want.from, until);
        let (mut places, mut bytes): (Vec<Place>, u64) = (Vec::new(), 0);
        for (number, group) in groups.iter().enumerate() {
            let (offsets, read) = group.file.offsets(&store, &self.cpu, group.group).await?;
            bytes += read;
            let rows = offsets.rows_of(want.partition, want.from, looked);
            places.extend(rows.map(|(offset, row)| Place { offset, group: number, row }));
        }
        let found = next_window(places, WINDOW_ROWS);
        let window = found.map_err(|offset| HistoryError::Twice { partition: want.partition, offset })?;
        let end = if window.more { window.places.last().map_or(looked, |place| place.offset + 1) } else { looked };
        if window.places.is_empty() {
            return Ok(HistoryRows { stored_bytes: bytes, ..nothing(end) });
        }
        let (mut parts, mut expanded) = (Vec::with_capacity(groups.len()), 0u64);
        for (number, group) in groups.iter().enumerate() {
            let rows = window.rows_of(number);
            if rows.is_empty() {
                parts.push(None);
                continue;
            }
            let (input, read) = group.file.input(&store, group.group, &want.columns).await?;
            bytes += read;
            expanded += input.memory.saturating_mul(rows.len() as u64) / group.file.rows.max(1);
            parts.push(Some((input, rows)));
        }
        // At once: who holds a part and waits for another could wait for somebody who does the same.
        let memory = self.memory.reserve(Share::Responses, self.limited(expanded)).await;
        let (columns, names) =
            (want.columns.clone(), groups.iter().map(|g| g.file.path().to_owned()).collect::<Vec<_>>());
        let work = move || {
            let mut batches = Vec::with_capacity(parts.len());
            for (part, file) in parts.into_iter().zip(names) {
                batches.push(match part {
                    None => RecordBatch::new_empty(columns.clone()),
                    Some((input, rows)) => {
                        read_rows(input, &rows, &columns).map_err(|error| HistoryError::File { file, error })?
                    }
                });
            }
            window
                .put_together(&batches, &columns)
                .map_err(|error| HistoryError::File { file: "the rows".to_owned(), error: FileError::Arrow(error) })
        };
        let (batch, offsets) = self.cpu.run(Priority::Request, work).await??;
        Ok(HistoryRows { batch, offsets, end, stored_bytes: bytes, memory: vec![memory] })
    }

    /// An index that has offset `from` of the partition, or what the table has from now on.
    async fn index_with(&self, table: &SourceTable, partition: i32, from: i64) -> Result<Arc<Index>, HistoryError> {
        let has = |index: &Index| {
            let committed = index.bounds(partition, &[]).is_some_and(|(_, committed)| from < committed);
            index.topic_id() == table.topic_id && committed
        };
        let mut known = self.index.lock().clone();
        loop {
            if let Some(index) = known.as_ref().filter(|index| has(index)) {
                return Ok(index.clone());
            }
            // What somebody else found meanwhile may be older than the question.
            let (index, is_new) = self.look(table, known.as_ref()).await?;
            if is_new || has(&index) {
                return Ok(index);
            }
            known = Some(index);
        }
    }

    /// Reads what the table has now, which is more than `known`; or takes what somebody else has just read, and says so.
    async fn look(&self, table: &SourceTable, known: Option<&Arc<Index>>) -> Result<(Arc<Index>, bool), HistoryError> {
        let mut files_known = self.looking.lock().await;
        let now = self.index.lock().clone();
        if let Some(index) = now.filter(|index| known.is_none_or(|known| !Arc::ptr_eq(index, known))) {
            return Ok((index, false));
        }
        let mut target = open_target(&self.settings, &self.roots, &table.name, &table.schema)?;
        let record = target.inspect().await?;
        check_topic(&*target, table, record.as_ref())?;
        let record = record.ok_or_else(|| HistoryError::NoTable { address: target.address() })?;
        let mut files = target.files().await?;
        let tiered = |partition: i32| record.partitions.get(&partition).copied();
        // A round in progress writes others.
        files.retain(|file| {
            file.range.is_none_or(|range| tiered(range.partition).is_some_and(|next| range.start < next))
        });
        let store = self.store(table)?;
        let index = Index::read(&store, &self.cpu, &record, files, &mut files_known).await?;
        if target.announces() && index.rows() != record.rows {
            let (found, committed) = (index.rows(), record.rows);
            return Err(HistoryError::Rows { address: target.address(), found, committed });
        }
        let index = Arc::new(index);
        *self.index.lock() = Some(index.clone());
        Ok((index, true))
    }
}
