//! Which rows of which partition are in which row group of which file.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};
use uuid::Uuid;
use weir_storage::cpu::CpuPool;

use super::HistoryError;
use super::file::DataFile;
use crate::commit::CommitRecord;
use crate::store::LakeStore;
use crate::target::TableFile;

/// Files whose footers are read at the same time.
const FILES_AT_ONCE: usize = 8;

/// Footers of data files by path: a file never changes.
pub(crate) type Footers = HashMap<String, Arc<DataFile>>;

/// Part of the rows of a partition.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub file: Arc<DataFile>,
    /// Number of the row group in the file.
    pub group: usize,
    pub start: i64,
    /// Behind its last offset.
    pub end: i64,
}

/// The rows of a table as of one commit.
#[derive(Debug)]
pub(crate) struct Index {
    topic_id: Uuid,
    committed: BTreeMap<i32, i64>,
    /// By partition, by start.
    groups: BTreeMap<i32, Vec<Group>>,
    rows: u64,
}

impl Index {
    /// Reads the footers of files that are not among `known`, and puts them there, also if it is given up in between.
    pub async fn read(
        store: &Arc<dyn LakeStore>,
        cpu: &CpuPool,
        record: &CommitRecord,
        files: Vec<TableFile>,
        known: &mut Footers,
    ) -> Result<Index, HistoryError> {
        let named: HashSet<&String> = files.iter().map(|file| &file.path).collect();
        known.retain(|path, _| named.contains(path));
        let new: Vec<String> = named.into_iter().filter(|path| !known.contains_key(*path)).cloned().collect();
        let open: Vec<_> = new.iter().map(|path| DataFile::open(store, cpu, path).boxed()).collect();
        let mut opened = futures::stream::iter(open).buffer_unordered(FILES_AT_ONCE);
        while let Some(file) = opened.try_next().await? {
            known.insert(file.path().to_owned(), Arc::new(file));
        }
        drop(opened);
        let files: Vec<&Arc<DataFile>> = known.values().collect();
        let mut groups: BTreeMap<i32, Vec<Group>> = BTreeMap::new();
        for file in files.iter().copied() {
            for (number, ranges) in file.groups.iter().enumerate() {
                for (&partition, &(first, last)) in ranges {
                    let group = Group { file: file.clone(), group: number, start: first, end: last.saturating_add(1) };
                    groups.entry(partition).or_default().push(group);
                }
            }
        }
        groups.values_mut().for_each(|groups| groups.sort_by_key(|group| (group.start, group.end)));
        Ok(Index {
            topic_id: record.topic_id,
            committed: record.partitions.clone(),
            rows: files.iter().map(|file| file.rows).sum(),
            groups,
        })
    }

    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Of all files.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// From the first row of a partition, from which on all files have the columns of these ids, to behind its last tiered offset;
    /// `None` if it has none.
    pub fn bounds(&self, partition: i32, kept: &[i32]) -> Option<(i64, i64)> {
        let committed = *self.committed.get(&partition)?;
        let groups = self.groups.get(&partition)?;
        let lacking = groups.iter().filter(|group| !group.file.has(kept)).map(|group| group.end).max();
        let first = groups.iter().map(|group| group.start).find(|start| lacking.is_none_or(|end| *start >= end))?;
        (first < committed).then_some((first, committed))
    }

    /// The row groups that have rows from `from` on, up to an offset behind which others may have some; that is told too, and
    /// is `until` at the most.
    pub fn groups(&self, partition: i32, from: i64, until: i64) -> (Vec<Group>, i64) {
        let Some(groups) = self.groups.get(&partition) else { return (Vec::new(), until) };
        let left = || groups.iter().filter(|group| group.end > from && group.start < until);
        let Some(end) = left().next().map(|first| first.end.min(until)) else { return (Vec::new(), until) };
        (left().filter(|group| group.start < end).cloned().collect(), end)
    }
}
