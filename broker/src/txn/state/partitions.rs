//! Partitions become part of a transaction: told in advance (AddPartitionsToTxn, AddOffsetsToTxn) or by writing to them.
use weir_protocol::ids::Timestamp;

use super::{Phase, Protocol, Snapshot, Step, Transaction, TxnError, Who};
use crate::group::offsets::PartitionName;

impl Transaction {
    /// Adds partitions; the first ones open the transaction.
    pub fn add_partitions(
        &mut self,
        now: Timestamp,
        who: Who,
        protocol: Protocol,
        partitions: &[PartitionName],
    ) -> Result<Step, TxnError> {
        if self.pending.is_some() {
            return Err(TxnError::ConcurrentTransactions);
        }
        self.check_identity(who)?;
        let s = &self.current;
        let open = s.phase == Phase::Ongoing;
        if open && partitions.iter().all(|partition| s.partitions.contains(partition)) {
            return Ok(Step::Settled(who));
        }
        let mut all = s.partitions.clone();
        all.extend(partitions.iter().cloned());
        let started_at = if open { s.started_at } else { Some(now) };
        // The producer uses its identity, so nobody needs to be told it again.
        let next =
            Snapshot { phase: Phase::Ongoing, partitions: all, started_at, protocol, last_epoch: None, ..s.clone() };
        Ok(self.propose(now, next))
    }

    /// Whether each partition is part of the producer's open transaction.
    pub fn verify(&self, who: Who, partitions: &[PartitionName]) -> Result<Vec<bool>, TxnError> {
        self.check_identity(who)?;
        let open = self.current.phase == Phase::Ongoing;
        Ok(partitions.iter().map(|partition| open && self.current.partitions.contains(partition)).collect())
    }

    fn check_identity(&self, who: Who) -> Result<(), TxnError> {
        let s = &self.current;
        if self.is_next(who) {
            Err(TxnError::ConcurrentTransactions)
        } else if s.producer_id != who.producer_id || s.phase == Phase::Dead {
            Err(TxnError::InvalidProducerIdMapping)
        } else if s.epoch != who.epoch {
            Err(TxnError::ProducerFenced)
        } else if s.phase.is_prepared() {
            Err(TxnError::ConcurrentTransactions)
        } else {
            Ok(())
        }
    }
}
