//! How a transaction ends: by its client (EndTxn), by time, and the last step when all markers are written.
use std::collections::BTreeSet;

use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};

use super::{Phase, Protocol, Snapshot, Step, Transaction, TxnError, Who};

fn prepared(commit: bool) -> Phase {
    if commit { Phase::PrepareCommit } else { Phase::PrepareAbort }
}

fn completed(commit: bool) -> Phase {
    if commit { Phase::CompleteCommit } else { Phase::CompleteAbort }
}

impl Transaction {
    /// EndTxn. `fresh`: an unused producer id, after [`Step::NeedProducerId`].
    pub fn end(
        &mut self,
        now: Timestamp,
        who: Who,
        commit: bool,
        protocol: Protocol,
        fresh: Option<ProducerId>,
    ) -> Result<Step, TxnError> {
        let retry = protocol == Protocol::V2 && self.is_retry(who);
        self.check_ender(who, protocol, retry)?;
        if self.pending.is_some() {
            return Err(TxnError::ConcurrentTransactions);
        }
        let phase = self.current.phase;
        let invalid = Err(TxnError::InvalidTxnState { phase: phase.name() });
        match phase {
            Phase::Ongoing => self.decide(now, commit, protocol, fresh),
            Phase::PrepareCommit | Phase::PrepareAbort if phase == prepared(commit) => {
                Err(TxnError::ConcurrentTransactions)
            }
            Phase::CompleteCommit | Phase::CompleteAbort
                if phase == completed(commit) && (retry || protocol == Protocol::V1) =>
            {
                Ok(Step::Settled(self.current.who()))
            }
            // KIP-890: an abort is allowed where nothing was written; the epoch goes up all the same.
            Phase::Empty | Phase::CompleteCommit | Phase::CompleteAbort
                if protocol == Protocol::V2 && !commit && !retry =>
            {
                self.decide(now, commit, protocol, fresh)
            }
            Phase::Empty | Phase::CompleteCommit | Phase::CompleteAbort
                if protocol == Protocol::V2 && commit && !retry && self.early_commit.replace(who) != Some(who) =>
            {
                Err(TxnError::NothingToCommit { phase: phase.name() })
            }
            _ => invalid,
        }
    }

    /// The client did not see the answer to the EndTxn that gave it the current epoch.
    fn is_retry(&self, who: Who) -> bool {
        let s = &self.current;
        let same_id = s.producer_id == who.producer_id && s.epoch.0 == who.epoch.0.saturating_add(1);
        let id_replaced = s.previous_producer_id == Some(who.producer_id) && s.epoch.0 == 0;
        s.last_epoch == Some(who.epoch) && (same_id || id_replaced)
    }

    fn check_ender(&self, who: Who, protocol: Protocol, retry: bool) -> Result<(), TxnError> {
        let s = &self.current;
        if self.is_next(who) && !retry && protocol == Protocol::V2 {
            return Err(TxnError::ConcurrentTransactions);
        }
        if (s.producer_id != who.producer_id && !retry) || s.phase == Phase::Dead {
            return Err(TxnError::InvalidProducerIdMapping);
        }
        let current = s.epoch == who.epoch;
        let valid = match protocol {
            Protocol::V1 => current,
            Protocol::V2 if s.phase.is_prepared() => retry,
            Protocol::V2 if s.phase.is_complete() => retry || current,
            Protocol::V2 => current,
        };
        if valid { Ok(()) } else { Err(TxnError::ProducerFenced) }
    }

    fn decide(
        &mut self,
        now: Timestamp,
        commit: bool,
        protocol: Protocol,
        fresh: Option<ProducerId>,
    ) -> Result<Step, TxnError> {
        let s = &self.current;
        let mut next = Snapshot { phase: prepared(commit), protocol, ..s.clone() };
        if protocol == Protocol::V2 {
            next.last_epoch = Some(s.epoch);
            next.epoch = s.next_epoch();
            next.next_producer_id = if s.is_exhausted() { fresh } else { None };
            if s.is_exhausted() && fresh.is_none() {
                return Ok(Step::NeedProducerId);
            }
        }
        if s.phase != Phase::Ongoing {
            next.started_at = Some(now);
        }
        Ok(self.propose(now, next))
    }

    /// The identity that the client has after its EndTxn, while that is pending or decided.
    pub fn identity_after_end(&self) -> Who {
        let s = self.pending.as_ref().unwrap_or(&self.current);
        match s.next_producer_id {
            Some(next) => Who { producer_id: next, epoch: ProducerEpoch(0) },
            None => s.who(),
        }
    }

    /// Whether this is who the producer will be when its decided transaction is complete: it has been told already.
    pub(super) fn is_next(&self, who: Who) -> bool {
        self.current.phase.is_prepared() && who == self.identity_after_end()
    }

    /// Aborts an open transaction whose time is up. Returns whether there is something to write.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let due = self.pending.is_none() && self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.fence(now);
        }
        due
    }

    /// All markers are durable. Returns whether there is something to write.
    pub fn complete(&mut self, now: Timestamp) -> bool {
        let s = &self.current;
        if !s.phase.is_prepared() || self.pending.is_some() {
            return false;
        }
        let mut next = Snapshot {
            phase: completed(s.phase == Phase::PrepareCommit),
            partitions: BTreeSet::new(),
            next_producer_id: None,
            ..s.clone()
        };
        if let Some(id) = s.next_producer_id {
            next.producer_id = id;
            next.previous_producer_id = Some(s.producer_id);
            next.epoch = ProducerEpoch(0);
        }
        self.propose(now, next);
        true
    }
}
