//! Offsets of open transactions (KIP-98): written, but committed only by the transaction's marker. Pure.
//!
//! An offset is staged before its record is written, and the marker may come back before that write does: the log decides
//! which of the two was first, so each waits here for the other.
use std::collections::BTreeSet;

use weir_protocol::ids::{Offset, ProducerId};

use super::offsets::{CommittedOffset, PartitionName};

/// Names a write that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageToken(u64);

#[derive(Debug, Clone)]
struct Staged {
    token: StageToken,
    producer_id: ProducerId,
    offsets: Vec<(PartitionName, CommittedOffset)>,
    /// Offset of the first record, once it is written.
    first: Option<Offset>,
    /// How the transaction ended, if it did while the write was under way.
    ended: Option<bool>,
}

impl Staged {
    fn due(self, first: Offset) -> impl Iterator<Item = (PartitionName, CommittedOffset, Offset)> {
        (0..).zip(self.offsets).map(move |(i, (name, committed))| (name, committed, first + i))
    }
}

/// What the transactions of one group may still commit.
#[derive(Debug, Clone, Default)]
pub struct PendingOffsets {
    staged: Vec<Staged>,
    next_token: u64,
}

impl PendingOffsets {
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    pub fn hold(&self, topic: &str, partition: i32) -> bool {
        self.staged.iter().flat_map(|s| &s.offsets).any(|((t, p), _)| t == topic && *p == partition)
    }

    pub fn writers(&self) -> BTreeSet<ProducerId> {
        self.staged.iter().map(|s| s.producer_id).collect()
    }

    pub fn stage(&mut self, producer_id: ProducerId, offsets: Vec<(PartitionName, CommittedOffset)>) -> StageToken {
        let token = StageToken(self.next_token);
        self.next_token += 1;
        self.staged.push(Staged { token, producer_id, offsets, first: None, ended: None });
        token
    }

    /// The write of `token` ended; returns what is committed by that.
    pub fn staged(
        &mut self,
        token: StageToken,
        first: Option<Offset>,
    ) -> Vec<(PartitionName, CommittedOffset, Offset)> {
        let Some(at) = self.staged.iter().position(|s| s.token == token) else { return Vec::new() };
        match (first, self.staged[at].ended) {
            (Some(first), None) => {
                self.staged[at].first = Some(first);
                Vec::new()
            }
            (Some(first), Some(true)) => self.staged.remove(at).due(first).collect(),
            (None, _) | (_, Some(false)) => {
                self.staged.remove(at);
                Vec::new()
            }
        }
    }

    /// The producer's transaction ended; returns what is committed by that.
    pub fn end(&mut self, producer_id: ProducerId, commit: bool) -> Vec<(PartitionName, CommittedOffset, Offset)> {
        let mut due = Vec::new();
        let mut left = Vec::with_capacity(self.staged.len());
        for mut staged in self.staged.drain(..) {
            if staged.producer_id != producer_id || staged.ended.is_some() {
                left.push(staged);
                continue;
            }
            match staged.first {
                Some(first) if commit => due.extend(staged.due(first)),
                Some(_) => {}
                None => {
                    staged.ended = Some(commit);
                    left.push(staged);
                }
            }
        }
        self.staged = left;
        due
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::Timestamp;

    use super::*;

    const PRODUCER: ProducerId = ProducerId(7);

    fn offset(partition: i32, offset: i64) -> (PartitionName, CommittedOffset) {
        let committed = CommittedOffset {
            offset: Offset(offset),
            leader_epoch: None,
            metadata: String::new(),
            committed_at: Timestamp(0),
            expires_at: None,
        };
        (("t".to_owned(), partition), committed)
    }

    fn shown(due: Vec<(PartitionName, CommittedOffset, Offset)>) -> Vec<(i32, i64, i64)> {
        due.into_iter().map(|(name, committed, at)| (name.1, committed.offset.0, at.0)).collect()
    }

    #[test]
    fn offsets_are_committed_by_the_marker_and_forgotten_by_an_abort() {
        let mut pending = PendingOffsets::default();
        let token = pending.stage(PRODUCER, vec![offset(0, 10), offset(1, 20)]);
        assert!(pending.staged(token, Some(Offset(5))).is_empty());
        assert!(pending.hold("t", 1) && !pending.hold("t", 2));
        assert!(pending.end(ProducerId(8), true).is_empty());
        assert_eq!(shown(pending.end(PRODUCER, true)), [(0, 10, 5), (1, 20, 6)]);
        let token = pending.stage(PRODUCER, vec![offset(0, 11)]);
        pending.staged(token, Some(Offset(9)));
        assert!(pending.end(PRODUCER, false).is_empty());
        assert!(pending.is_empty());
    }

    #[test]
    fn a_marker_that_comes_back_before_the_write_does_still_counts_for_it() {
        for (commit, expected) in [(true, vec![(0, 10, 5)]), (false, vec![])] {
            let mut pending = PendingOffsets::default();
            let token = pending.stage(PRODUCER, vec![offset(0, 10)]);
            assert!(pending.end(PRODUCER, commit).is_empty());
            assert!(pending.hold("t", 0));
            assert_eq!(shown(pending.staged(token, Some(Offset(5)))), expected);
            assert!(pending.is_empty());
        }
    }

    #[test]
    fn a_write_that_failed_leaves_nothing_behind() {
        let mut pending = PendingOffsets::default();
        let token = pending.stage(PRODUCER, vec![offset(0, 10)]);
        pending.end(PRODUCER, true);
        assert!(pending.staged(token, None).is_empty());
        assert!(pending.is_empty());
    }
}
