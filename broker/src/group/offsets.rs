//! Committed offsets of one group. Pure.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::pending::{PendingOffsets, StageToken};

/// What a group committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    pub committed_at: Timestamp,
    /// Only in records of old clients that asked for a retention of their own (OffsetCommit 2-4).
    pub expires_at: Option<Timestamp>,
}

/// (topic, partition)
pub type PartitionName = (String, i32);

#[derive(Debug, Clone)]
struct Entry {
    committed: CommittedOffset,
    /// Where its record lies: of two commits under way at once the later record wins, also here.
    recorded_at: Offset,
}

#[derive(Debug, Clone, Default)]
pub struct Offsets {
    by_partition: BTreeMap<PartitionName, Entry>,
    pending: PendingOffsets,
}

impl Offsets {
    pub fn get(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.by_partition.get(&(topic.to_owned(), partition)).map(|e| &e.committed)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PartitionName, &CommittedOffset)> {
        self.by_partition.iter().map(|(k, e)| (k, &e.committed))
    }

    /// Nothing is committed and no transaction may still commit something.
    pub fn is_empty(&self) -> bool {
        self.by_partition.is_empty() && self.pending.is_empty()
    }

    /// Whether an open transaction has an offset for this partition.
    pub fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        self.pending.hold(topic, partition)
    }

    /// Producers with open transactions that have offsets here.
    pub fn writers(&self) -> BTreeSet<ProducerId> {
        self.pending.writers()
    }

    /// Offsets of a transaction are about to be written. Call [`Offsets::staged`] when they are, or are not.
    pub fn stage(&mut self, producer_id: ProducerId, offsets: Vec<(PartitionName, CommittedOffset)>) -> StageToken {
        self.pending.stage(producer_id, offsets)
    }

    /// The record of the first one lies here; `None`: nothing was written.
    pub fn staged(&mut self, token: StageToken, first: Option<Offset>) {
        let due = self.pending.staged(token, first);
        self.apply_all(due);
    }

    /// A record of a transaction as it comes back from the log.
    pub fn restage(&mut self, producer_id: ProducerId, name: PartitionName, committed: CommittedOffset, at: Offset) {
        let token = self.pending.stage(producer_id, vec![(name, committed)]);
        self.staged(token, Some(at));
    }

    /// The producer's transaction ended: its offsets are committed, or never were.
    pub fn end(&mut self, producer_id: ProducerId, commit: bool) {
        let due = self.pending.end(producer_id, commit);
        self.apply_all(due);
    }

    fn apply_all(&mut self, due: Vec<(PartitionName, CommittedOffset, Offset)>) {
        for (name, committed, at) in due {
            self.apply(name, Some(committed), at);
        }
    }

    /// Applies a durable record; `None` is a tombstone.
    pub fn apply(&mut self, name: PartitionName, committed: Option<CommittedOffset>, recorded_at: Offset) {
        if self.by_partition.get(&name).is_some_and(|e| e.recorded_at > recorded_at) {
            return;
        }
        match committed {
            Some(committed) => drop(self.by_partition.insert(name, Entry { committed, recorded_at })),
            None => drop(self.by_partition.remove(&name)),
        }
    }

    /// Partitions whose offsets expire: `retention_ms` after the commit or after the group became empty, whichever is
    /// later; never while it has members.
    pub fn expired(&self, now: Timestamp, empty_since: Option<Timestamp>, retention_ms: i64) -> Vec<PartitionName> {
        let Some(empty_since) = empty_since else { return Vec::new() };
        let is_due = |c: &CommittedOffset| match c.expires_at {
            Some(at) => at <= now,
            None => c.committed_at.max(empty_since).0.saturating_add(retention_ms) <= now.0,
        };
        let due = self.by_partition.iter().filter(|(_, e)| is_due(&e.committed)).map(|(name, _)| name);
        due.filter(|(topic, partition)| !self.is_unstable(topic, *partition)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(at: i64) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(1),
            leader_epoch: None,
            metadata: String::new(),
            committed_at: Timestamp(at),
            expires_at: None,
        }
    }

    #[test]
    fn offsets_expire_only_after_the_group_became_empty() {
        let mut offsets = Offsets::default();
        offsets.apply(("t".to_owned(), 0), Some(committed(100)), Offset(0));
        offsets.apply(("t".to_owned(), 1), Some(committed(900)), Offset(1));
        assert!(offsets.expired(Timestamp(5_000), None, 1_000).is_empty());
        assert!(offsets.expired(Timestamp(1_500), Some(Timestamp(600)), 1_000).is_empty());
        assert_eq!(offsets.expired(Timestamp(1_600), Some(Timestamp(600)), 1_000), [("t".to_owned(), 0)]);
        assert_eq!(offsets.expired(Timestamp(1_900), Some(Timestamp(600)), 1_000).len(), 2);
    }

    #[test]
    fn the_later_record_wins_whatever_the_order_of_completion() {
        let mut offsets = Offsets::default();
        offsets.apply(("t".to_owned(), 0), Some(committed(2)), Offset(7));
        offsets.apply(("t".to_owned(), 0), Some(committed(1)), Offset(6));
        assert_eq!(offsets.get("t", 0).unwrap().committed_at, Timestamp(2));
        offsets.apply(("t".to_owned(), 0), None, Offset(8));
        assert!(offsets.is_empty());
    }
}
