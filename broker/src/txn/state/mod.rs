//! One transactional id as a pure state machine: no clock, no IO, no randomness.
//!
//! A step that changes something does not change it yet: it sets a *pending* snapshot, the caller makes that durable and
//! calls [`Transaction::written`]. While something is pending, every other change is answered CONCURRENT_TRANSACTIONS.
//!
//! ```text
//! Empty ──► Ongoing ──► PrepareCommit ──► CompleteCommit ──► Ongoing ...
//!              └──────► PrepareAbort  ──► CompleteAbort  ──► Ongoing ...
//! ```
//!
//! After Kafka's TransactionMetadata and TransactionCoordinator. One difference under protocol 2: an abort that the broker
//! decides (timeout, InitProducerId) raises the epoch once, not twice, and is not remembered as an answer to the old epoch,
//! so that a zombie's EndTxn is told PRODUCER_FENCED either way.
//!
//! Another one: a commit of protocol 2 before anything was written is told to retry, once, then INVALID_TXN_STATE. The Java
//! producer (seen with 4.3.1, one transaction in 15,000) looks whether batches are left before it takes the EndTxn from
//! its queue, so that a commit between the two overtakes its own records; the retry waits for them, INVALID_TXN_STATE would
//! be the end of that producer.
use std::collections::BTreeSet;

use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};

use crate::group::offsets::PartitionName;

mod end;
mod error;
mod init;
#[cfg(test)]
mod model_tests;
mod partitions;
#[cfg(test)]
mod tests;

pub use error::TxnError;

const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);

/// Where a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
}

impl Phase {
    /// All of them, in the order of their numbers in records.
    pub const ALL: [Phase; 7] = [
        Phase::Empty,
        Phase::Ongoing,
        Phase::PrepareCommit,
        Phase::PrepareAbort,
        Phase::CompleteCommit,
        Phase::CompleteAbort,
        Phase::Dead,
    ];

    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Ongoing => "Ongoing",
            Phase::PrepareCommit => "PrepareCommit",
            Phase::PrepareAbort => "PrepareAbort",
            Phase::CompleteCommit => "CompleteCommit",
            Phase::CompleteAbort => "CompleteAbort",
            Phase::Dead => "Dead",
        }
    }

    /// Decided, and the markers are not all written.
    pub fn is_prepared(self) -> bool {
        matches!(self, Phase::PrepareCommit | Phase::PrepareAbort)
    }

    fn is_complete(self) -> bool {
        matches!(self, Phase::CompleteCommit | Phase::CompleteAbort)
    }
}

/// Which rules the client of a transaction follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Partitions are added by AddPartitionsToTxn, the epoch stays.
    V1,
    /// KIP-890: partitions are added by writing to them, each transaction has an epoch of its own.
    V2,
}

/// A producer as requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// Everything that is kept of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// The epoch that the client had before it was given this one: a request with it is a retry.
    pub last_epoch: Option<ProducerEpoch>,
    /// The id before this one, whose epochs were used up.
    pub previous_producer_id: Option<ProducerId>,
    /// The id after this one; set while its last transaction completes.
    pub next_producer_id: Option<ProducerId>,
    pub timeout_ms: i32,
    pub phase: Phase,
    pub partitions: BTreeSet<PartitionName>,
    pub started_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub protocol: Protocol,
}

impl Snapshot {
    pub fn who(&self) -> Who {
        Who { producer_id: self.producer_id, epoch: self.epoch }
    }

    /// One more epoch would leave none for fencing.
    fn is_exhausted(&self) -> bool {
        is_exhausted(self.epoch)
    }

    fn next_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.0.saturating_add(1))
    }
}

fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.0 >= i16::MAX - 1
}

/// What a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to write; this is the producer's identity from now on.
    Settled(Who),
    /// Make the pending snapshot durable; then the step has happened.
    Write,
    /// As before, but what is written aborts the open transaction first: do the step again when that is complete.
    WriteThenAgain,
    /// The epochs of the producer id are used up: do the step again with a new id.
    NeedProducerId,
}

/// A transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    current: Snapshot,
    pending: Option<Snapshot>,
    /// Who was told to send its commit again, because nothing was written yet.
    early_commit: Option<Who>,
}

impl Transaction {
    /// An id that nobody used before.
    pub fn new(producer_id: ProducerId, now: Timestamp) -> Transaction {
        let current = Snapshot {
            producer_id,
            epoch: NO_EPOCH,
            last_epoch: None,
            previous_producer_id: None,
            next_producer_id: None,
            timeout_ms: 0,
            phase: Phase::Empty,
            partitions: BTreeSet::new(),
            started_at: None,
            updated_at: now,
            protocol: Protocol::V1,
        };
        Transaction { current, pending: None, early_commit: None }
    }

    /// As it was stored.
    pub fn restore(current: Snapshot) -> Transaction {
        Transaction { current, pending: None, early_commit: None }
    }

    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    /// What is to be made durable.
    pub fn pending(&self) -> Option<&Snapshot> {
        self.pending.as_ref()
    }

    /// The pending snapshot is durable, or could not be written.
    pub fn written(&mut self, durable: bool) {
        if let Some(pending) = self.pending.take()
            && durable
        {
            self.current = pending;
            self.check();
        }
    }

    /// When the open transaction times out.
    pub fn deadline(&self) -> Option<Timestamp> {
        let started = self.current.started_at.filter(|_| self.current.phase == Phase::Ongoing)?;
        Some(Timestamp(started.0.saturating_add(i64::from(self.current.timeout_ms))))
    }

    /// Begins to forget an id that was not used for so long; what is pending then stands for its tombstone.
    pub fn retire(&mut self, now: Timestamp, unused_ms: i64) -> bool {
        let idle = self.current.phase == Phase::Empty || self.current.phase.is_complete();
        let due = self.current.updated_at.0.saturating_add(unused_ms) <= now.0;
        if !idle || !due || self.pending.is_some() {
            return false;
        }
        self.pending = Some(Snapshot { phase: Phase::Dead, ..self.current.clone() });
        true
    }

    fn propose(&mut self, now: Timestamp, next: Snapshot) -> Step {
        debug_assert!(self.pending.is_none(), "one change at a time");
        self.pending = Some(Snapshot { updated_at: now, ..next });
        Step::Write
    }

    /// Aborts the open transaction under an epoch that its producer does not have.
    fn fence(&mut self, now: Timestamp) {
        let next = Snapshot {
            epoch: self.current.next_epoch(),
            last_epoch: None,
            phase: Phase::PrepareAbort,
            // Not the client's decision: after a restart nothing may look like an answer to it.
            protocol: Protocol::V1,
            ..self.current.clone()
        };
        self.propose(now, next);
    }

    fn check(&self) {
        let s = &self.current;
        debug_assert!(
            s.epoch.0 >= 0 || s.phase == Phase::Empty || s.phase == Phase::Dead,
            "an epoch before the first write"
        );
        debug_assert!(s.phase != Phase::Ongoing || s.started_at.is_some(), "an open transaction has begun");
        debug_assert!(
            s.partitions.is_empty() || s.phase == Phase::Ongoing || s.phase.is_prepared(),
            "partitions belong to a transaction that is not complete"
        );
        debug_assert!(s.next_producer_id.is_none() || s.phase.is_prepared(), "the next id is taken at the end");
    }
}
