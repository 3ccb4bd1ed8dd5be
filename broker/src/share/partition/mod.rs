//! One share partition (KIP-932) as a pure state machine: what one share group has done with the records of one partition.
//!
//! Records before the **start offset** (Kafka's SPSO) are done with, records from the **next offset** on (SPEO + 1) were never
//! given out. What is between them is *in flight*: each offset is available, acquired by a member until a deadline,
//! acknowledged, or archived (given up). Neighbours of the same fate are one run, so a partition that is read in order is a
//! handful of runs however many records are in flight.
//!
//! No clock, no IO, no randomness. What must survive the process changes with [`SharePartition::revision`] and is told by
//! [`SharePartition::stored`]; no acknowledgement may be answered before it is durable.
use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use weir_protocol::ids::Timestamp;

mod acknowledge;
mod acquire;
mod stored;
#[cfg(test)]
mod tests;

pub use acknowledge::{AckBatch, AckType};
pub use acquire::{Acquired, FetchedBatch, Wish};
pub use stored::{StateBatch, StoredPartition};

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    /// Anybody may have it.
    Available,
    /// A member has it until the deadline.
    Acquired { member: Arc<str>, deadline: Timestamp },
    /// A member is done with it.
    Acknowledged,
    /// Nobody gets it any more: rejected, delivered too often, or not a record at all.
    Archived,
}

impl RecordState {
    fn is_done(&self) -> bool {
        matches!(self, RecordState::Acknowledged | RecordState::Archived)
    }
}

/// Neighbouring offsets of the same fate; its first offset is its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub last: i64,
    pub state: RecordState,
    /// How often it was given out, this time included.
    pub deliveries: i16,
}

/// What holds for a share partition at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// For how long a member has what it acquires.
    pub lock_ms: i64,
    /// A record that was given out so often is archived instead of becoming available again.
    pub max_deliveries: i16,
    /// Most records in flight.
    pub max_in_flight: i64,
}

/// Why an acknowledgement is refused. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AckError {
    #[error("the batch from {first} to {last} is not one: {why}")]
    Malformed { first: i64, last: i64, why: &'static str },
    #[error("offset {last} was never given out; the next one to be is {next}")]
    NeverAcquired { last: i64, next: i64 },
    #[error("offset {offset} is not acquired by this member: its lock has ended, or it is done with")]
    NotOwner { offset: i64 },
}

/// One share partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharePartition {
    start: i64,
    next: i64,
    /// Covers exactly `start..next`, without holes; neighbours differ.
    runs: BTreeMap<i64, Run>,
    state_epoch: i32,
    revision: u64,
}

impl SharePartition {
    /// A group that begins to read here.
    pub fn new(start: i64, state_epoch: i32) -> SharePartition {
        SharePartition { start, next: start, runs: BTreeMap::new(), state_epoch, revision: 0 }
    }

    /// Everything before is done with.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The first offset that was never given out.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Grows when a group's offsets are set from outside.
    pub fn state_epoch(&self) -> i32 {
        self.state_epoch
    }

    /// Changes whenever [`SharePartition::stored`] does.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is in flight, in order.
    pub fn runs(&self) -> impl Iterator<Item = (i64, &Run)> {
        self.runs.iter().map(|(first, run)| (*first, run))
    }

    /// Where to read for the next member; `None` while as much is in flight as may be.
    pub fn next_fetch(&self, terms: &Terms) -> Option<i64> {
        let returned = self.runs.iter().find(|(_, run)| run.state == RecordState::Available);
        match returned {
            Some((first, _)) => Some(*first),
            None => (self.in_flight() < terms.max_in_flight).then_some(self.next),
        }
    }

    /// Offsets from the start on that were given out or passed over.
    pub fn in_flight(&self) -> i64 {
        self.next - self.start
    }

    /// Offsets from the start on that are done with, between others that are not.
    pub fn delivery_complete(&self) -> i64 {
        self.runs.iter().filter(|(_, run)| run.state.is_done()).map(|(first, run)| run.last - first + 1).sum()
    }

    /// When [`SharePartition::tick`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let deadline = |run: &Run| match run.state {
            RecordState::Acquired { deadline, .. } => Some(deadline),
            _ => None,
        };
        self.runs.values().filter_map(deadline).min()
    }

    /// Locks whose time is over end; returns how many records are back or given up.
    pub fn tick(&mut self, now: Timestamp, terms: &Terms) -> i64 {
        let over = |run: &Run| matches!(run.state, RecordState::Acquired { deadline, .. } if deadline <= now);
        self.give_back(over, |run| run.give_back(terms.max_deliveries))
    }

    /// A member closes its session in good order: what it has and did not acknowledge was not delivered to anybody.
    pub fn release(&mut self, member: &str) -> i64 {
        self.give_back(
            |run| run.is_of(member),
            |run| {
                run.state = RecordState::Available;
                run.deliveries -= 1;
            },
        )
    }

    /// A member is gone: what it has may have been delivered, so it counts, and a record that ends each member that gets it
    /// is given up at the limit.
    pub fn abandon(&mut self, member: &str, terms: &Terms) -> i64 {
        self.give_back(|run| run.is_of(member), |run| run.give_back(terms.max_deliveries))
    }

    fn give_back(&mut self, which: impl Fn(&Run) -> bool, mut change: impl FnMut(&mut Run)) -> i64 {
        let mut count = 0;
        for (first, run) in self.runs.iter_mut().filter(|(_, run)| which(run)) {
            count += run.last - first + 1;
            change(run);
        }
        if count > 0 {
            self.merge(self.start, self.next - 1);
            self.changed();
        }
        count
    }

    /// The log begins here now: what was before it is gone.
    pub fn log_starts_at(&mut self, log_start: i64) {
        if log_start <= self.start {
            return;
        }
        self.split(log_start);
        self.runs = self.runs.split_off(&log_start);
        self.start = log_start;
        self.next = self.next.max(log_start);
        self.changed();
    }

    /// The group is to read from here, whatever was.
    pub fn reset(&mut self, start: i64) {
        *self = SharePartition {
            revision: self.revision,
            state_epoch: self.state_epoch.saturating_add(1),
            ..SharePartition::new(start, 0)
        };
        self.changed();
    }

    /// Ends a step that changed what is stored.
    fn changed(&mut self) {
        while let Some(first) = self.runs.first_entry().filter(|first| first.get().state.is_done()) {
            self.start = first.remove().last + 1;
        }
        self.revision += 1;
        self.check();
    }

    /// Lets a run begin at `offset` if one spans it.
    fn split(&mut self, offset: i64) {
        let Some((first, run)) = self.runs.range_mut(..offset).next_back() else { return };
        if run.last < offset || *first == offset {
            return;
        }
        let rest = run.clone();
        run.last = offset - 1;
        self.runs.insert(offset, rest);
    }

    /// Changes the runs of `first..=last`, which is in flight.
    fn update(&mut self, first: i64, last: i64, mut change: impl FnMut(&mut Run)) {
        self.split(first);
        self.split(last + 1);
        self.runs.range_mut(first..=last).for_each(|(_, run)| change(run));
        self.merge(first, last);
    }

    /// Makes one run of equal neighbours in and around `first..=last`.
    fn merge(&mut self, first: i64, last: i64) {
        let Some(mut at) = self.runs.range(..=first).next_back().map(|(at, _)| *at) else { return };
        if let Some((before, _)) = self.runs.range(..at).next_back() {
            at = *before;
        }
        while let Some((next, run)) = self.runs.range(at + 1..).next().map(|(next, run)| (*next, run.clone())) {
            let Some(current) = self.runs.get_mut(&at) else { return };
            if current.state == run.state && current.deliveries == run.deliveries {
                current.last = run.last;
                self.runs.remove(&next);
            } else if next > last + 1 {
                return;
            } else {
                at = next;
            }
        }
    }

    /// Adds a run at the end.
    fn append(&mut self, last: i64, state: RecordState, deliveries: i16) {
        let first = self.next;
        self.runs.insert(first, Run { last, state, deliveries });
        self.next = last + 1;
        self.merge(first, last);
    }

    /// What holds after every step; checked in debug builds.
    fn check(&self) {
        if cfg!(debug_assertions) {
            let mut at = self.start;
            for (first, run) in &self.runs {
                assert_eq!(*first, at, "the runs cover what is in flight");
                assert!(run.last >= *first && run.deliveries >= 0);
                at = run.last + 1;
            }
            assert_eq!(at, self.next, "the runs end where nothing was given out");
            let first = self.runs.values().next();
            assert!(first.is_none_or(|run| !run.state.is_done()), "what is done with is not in flight");
        }
    }
}

impl Run {
    fn is_of(&self, of: &str) -> bool {
        matches!(&self.state, RecordState::Acquired { member, .. } if **member == *of)
    }

    /// Available again, or given up.
    fn give_back(&mut self, max_deliveries: i16) {
        self.state = if self.deliveries >= max_deliveries { RecordState::Archived } else { RecordState::Available };
    }
}
