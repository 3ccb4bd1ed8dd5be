//! InitProducerId: a producer takes the transactional id over, or recovers (KIP-360).
use std::collections::BTreeSet;

use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};

use super::{NO_EPOCH, Phase, Protocol, Snapshot, Step, Transaction, TxnError, Who, is_exhausted};

impl Transaction {
    /// `expected`: the identity that a recovering producer had. `fresh`: an unused producer id, after
    /// [`Step::NeedProducerId`].
    pub fn init(
        &mut self,
        now: Timestamp,
        timeout_ms: i32,
        expected: Option<Who>,
        fresh: Option<ProducerId>,
    ) -> Result<Step, TxnError> {
        if self.pending.is_some() || self.current.phase.is_prepared() {
            return Err(TxnError::ConcurrentTransactions);
        }
        if !expected.is_none_or(|expected| self.may_recover(expected)) {
            return Err(TxnError::ProducerFenced);
        }
        match self.current.phase {
            Phase::PrepareCommit | Phase::PrepareAbort | Phase::Dead => Err(TxnError::ConcurrentTransactions),
            Phase::Ongoing => {
                self.fence(now);
                Ok(Step::WriteThenAgain)
            }
            Phase::Empty | Phase::CompleteCommit | Phase::CompleteAbort => {
                self.next_identity(now, timeout_ms, expected.map(|e| e.epoch), fresh)
            }
        }
    }

    fn may_recover(&self, expected: Who) -> bool {
        let s = &self.current;
        s.epoch == NO_EPOCH
            || expected.producer_id == s.producer_id
            // A retry of the call that replaced the id.
            || (Some(expected.producer_id) == s.previous_producer_id && is_exhausted(expected.epoch))
    }

    fn next_identity(
        &mut self,
        now: Timestamp,
        timeout_ms: i32,
        expected: Option<ProducerEpoch>,
        fresh: Option<ProducerId>,
    ) -> Result<Step, TxnError> {
        let s = &self.current;
        let idle = Snapshot {
            timeout_ms,
            phase: Phase::Empty,
            partitions: BTreeSet::new(),
            started_at: None,
            next_producer_id: None,
            protocol: Protocol::V1,
            ..s.clone()
        };
        let matches = expected.is_none_or(|epoch| epoch == s.epoch);
        let next = if s.is_exhausted() && matches {
            let Some(fresh) = fresh else { return Ok(Step::NeedProducerId) };
            Snapshot {
                producer_id: fresh,
                previous_producer_id: Some(s.producer_id),
                epoch: ProducerEpoch(0),
                last_epoch: expected.map(|_| s.epoch),
                ..idle
            }
        } else if s.epoch == NO_EPOCH || matches {
            Snapshot { epoch: s.next_epoch(), last_epoch: expected, ..idle }
        } else if expected == s.last_epoch {
            // The answer of a successful call was lost. A new producer would have cleared the last epoch.
            return Ok(Step::Settled(s.who()));
        } else {
            return Err(TxnError::ProducerFenced);
        };
        Ok(self.propose(now, next))
    }
}
