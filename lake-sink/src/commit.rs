//! What a commit says, and what follows when its outcome is not known. Pure.
//!
//! The newest commit of a table in the lake is the authority on what is tiered. It names the topic by its id, the next
//! offset of every partition, and counts an epoch that only one writer can take: a commit is created if it is absent. So
//! two writers that know nothing of each other cannot both commit on top of the same state, and whoever lost reads again.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::plan::{Gap, Range, RoundPlan};

/// Gaps that are listed; their sum is complete all the same.
const GAPS_LISTED: usize = 100;

/// The state of a table as of one commit, kept in the lake as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Of this record: 1.
    pub version: u32,
    pub topic: String,
    pub topic_id: Uuid,
    /// Counts commits from 1.
    pub epoch: u64,
    /// Drawn for this commit: tells the writer whose commit it is that it finds.
    pub commit: Uuid,
    /// Next offset to be tiered, by partition.
    pub partitions: BTreeMap<i32, i64>,
    /// Ranges whose files may be there already and will be with the next commit. Only formats without snapshots have any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Range>,
    /// `weir.lake.partition.by` of the files.
    pub partition_by: String,
    /// Rows in the table.
    pub rows: u64,
    /// Offsets that the log lost before they were tiered.
    pub lost: u64,
    /// The newest of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Wall clock, milliseconds since 1970.
    pub committed_at_ms: i64,
}

/// What is needed besides a round to make a commit of it.
#[derive(Debug, Clone)]
pub struct CommitContext {
    pub topic: String,
    pub topic_id: Uuid,
    pub partition_by: String,
    pub commit: Uuid,
    pub now_ms: i64,
}

impl CommitContext {
    /// The state before the first commit.
    #[must_use]
    pub fn empty(&self) -> CommitRecord {
        CommitRecord {
            version: 1,
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            epoch: 0,
            commit: self.commit,
            partitions: BTreeMap::new(),
            planned: Vec::new(),
            partition_by: self.partition_by.clone(),
            rows: 0,
            lost: 0,
            gaps: Vec::new(),
            committed_at_ms: self.now_ms,
        }
    }

    fn following(&self, before: &CommitRecord) -> CommitRecord {
        CommitRecord {
            epoch: before.epoch + 1,
            commit: self.commit,
            committed_at_ms: self.now_ms,
            topic: self.topic.clone(),
            planned: Vec::new(),
            ..before.clone()
        }
    }

    /// The commit that announces the files of a round, for formats in which a file is visible once it is there.
    #[must_use]
    pub fn announce(&self, before: &CommitRecord, round: &RoundPlan) -> CommitRecord {
        CommitRecord { planned: round.ranges(), ..self.following(before) }
    }

    /// A commit that changes files and no rows.
    #[must_use]
    pub fn compact(&self, before: &CommitRecord) -> CommitRecord {
        self.following(before)
    }

    /// The commit of a round with so many rows.
    #[must_use]
    pub fn advance(&self, before: &CommitRecord, round: &RoundPlan, rows: u64) -> CommitRecord {
        let lost: i64 = round.gaps().iter().map(|gap| gap.end - gap.start).sum();
        let mut gaps = before.gaps.clone();
        gaps.extend_from_slice(round.gaps());
        let gaps = gaps.split_off(gaps.len().saturating_sub(GAPS_LISTED));
        CommitRecord {
            partitions: round.offsets(&before.partitions),
            rows: before.rows + rows,
            lost: before.lost + lost.unsigned_abs(),
            gaps,
            ..self.following(before)
        }
    }
}

/// What an attempt to commit came to, by what is in the lake now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Committed,
    /// It is not, and nobody else committed: the same files can be committed again.
    NotCommitted,
    /// Somebody else committed: what was prepared is worth nothing.
    Superseded,
}

/// Whether `attempt`, made on top of `before`, is in the lake, whose newest commit is `found`.
#[must_use]
pub fn verdict(before: &CommitRecord, attempt: &CommitRecord, found: Option<&CommitRecord>) -> Verdict {
    match found {
        Some(found) if found.commit == attempt.commit && found.epoch == attempt.epoch => Verdict::Committed,
        Some(found) if found.epoch == before.epoch && found.commit == before.commit => Verdict::NotCommitted,
        None if before.epoch == 0 => Verdict::NotCommitted,
        _ => Verdict::Superseded,
    }
}
