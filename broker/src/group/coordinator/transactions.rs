//! Offsets that are committed by a transaction (KIP-98, KIP-447).
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_protocol::ids::{ProducerEpoch, ProducerId};
use weir_storage::log::{AppendError, TransactionGuard};

use super::commits::{Committer, offset_key};
use super::room::{Inner, LOADING};
use super::{Coordinator, TransactionalWriter};
use crate::group::offsets::{CommittedOffset, PartitionName};
use crate::group::records;
use crate::group::state::GroupError;

/// How often the end of a transaction looks whether its groups are loaded.
const LOAD_CHECK: Duration = Duration::from_millis(20);

/// Who commits, in which transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionalCommit {
    pub committer: Committer,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// `None`: the transaction is open on the group's partition already.
    pub guard: Option<TransactionGuard>,
}

impl Coordinator {
    /// The partition of `__consumer_offsets` that keeps this group.
    pub fn partition_of(&self, group: &str) -> i32 {
        records::partition_of(group, self.inner.log.partitions())
    }

    /// Writes offsets that count once the transaction commits: one result per offset, in order.
    pub async fn commit_transactional(
        &self,
        group: &str,
        commit: TransactionalCommit,
        offsets: Vec<(PartitionName, CommittedOffset)>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = match self.find(group)? {
            Some(cell) => cell,
            None if commit.committer.generation.0 < 0 => self.find_or_create(group)?,
            None => return Err(GroupError::IllegalGeneration),
        };
        let names: Vec<PartitionName> = offsets.iter().map(|(name, _)| name.clone()).collect();
        let topics = self.inner.topics();
        self.inner
            .with(&cell, |now, entry, _| entry.check_transactional_commit(now, &topics, &commit.committer, &names))?;
        let max = self.inner.settings().offset_metadata_max_bytes;
        let too_large = |c: &CommittedOffset| c.metadata.len() > max;
        let verdict = |c| if too_large(c) { Err(GroupError::OffsetMetadataTooLarge) } else { Ok(()) };
        let verdicts: Vec<_> = offsets.iter().map(|(_, c)| verdict(c)).collect();
        let accepted: Vec<_> = offsets.into_iter().filter(|(_, c)| !too_large(c)).collect();
        if accepted.is_empty() {
            return Ok(verdicts);
        }
        let records = accepted
            .iter()
            .map(|((topic, partition), c)| (offset_key(group, topic, *partition), Some(records::encode_offset(c))))
            .collect();
        let TransactionalCommit { producer_id, epoch, guard, .. } = commit;
        self.inner.note_transaction(cell.partition, producer_id, group);
        let token = cell.entry.lock().offsets.stage(producer_id, accepted);
        // On its own, so that a client that goes away does not leave the staged offsets behind.
        let inner = self.inner.clone();
        let write = tokio::spawn(async move {
            let writer = TransactionalWriter { producer_id, epoch, guard };
            let written = inner.log.append_transactional(cell.partition, records, writer).await;
            cell.entry.lock().offsets.staged(token, written.as_ref().ok().copied());
            written
        });
        match write.await {
            Ok(Ok(_)) => Ok(verdicts),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(GroupError::CoordinatorNotAvailable),
        }
    }

    /// A marker for this producer is durable in a partition of `__consumer_offsets`. Waits until its groups are loaded.
    pub async fn end_transaction(&self, partition: i32, producer_id: ProducerId, commit: bool) {
        let Some(loaded) = usize::try_from(partition).ok().and_then(|at| self.inner.loaded.get(at)) else { return };
        while loaded.load(Ordering::Acquire) == LOADING {
            tokio::time::sleep(LOAD_CHECK).await;
        }
        let groups: BTreeSet<String> =
            self.inner.transactions.lock().remove(&(partition, producer_id)).unwrap_or_default();
        for group in groups {
            let cell = self.inner.groups.read().get(&group).cloned();
            if let Some(cell) = cell {
                cell.entry.lock().offsets.end(producer_id, commit);
            }
        }
    }

    /// Whether an open transaction may still change the committed offset of this partition.
    pub fn is_unstable(&self, group: &str, topic: &str, partition: i32) -> Result<bool, GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(false) };
        let entry = cell.entry.lock();
        Ok(entry.offsets.is_unstable(topic, partition))
    }
}

fn refused(error: &AppendError) -> GroupError {
    match error {
        AppendError::NoTransaction { .. } | AppendError::NotTransactional { .. } => GroupError::NoTransaction,
        AppendError::StaleProducerEpoch { .. } => GroupError::InvalidProducerEpoch,
        error => {
            tracing::error!(%error, "cannot write to __consumer_offsets");
            GroupError::CoordinatorNotAvailable
        }
    }
}

impl Inner {
    pub(super) fn note_transaction(&self, partition: i32, producer_id: ProducerId, group: &str) {
        self.transactions.lock().entry((partition, producer_id)).or_default().insert(group.to_owned());
    }
}
