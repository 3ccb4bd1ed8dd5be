//! Transactional batches: each must belong to an open transaction of its producer.
//!
//! A batch whose producer has an open transaction on the partition joins it. Any other is held against the coordinator:
//! clients up to version 11 must have added the partition, for later ones (KIP-890) writing is adding.
use std::collections::BTreeMap;

use weir_protocol::ids::{ProducerEpoch, ProducerId};
use weir_storage::log::{AppendOrigin, PendingAppend};

use super::ProduceError;
use super::dead_letters::DeadLetters;
use crate::broker::Broker;
use crate::group::offsets::PartitionName;
use crate::txn::{Protocol, TxnError, Who};

/// First version whose clients follow the protocol of KIP-890.
const VERSION_2_SINCE: i16 = 12;
/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_SINCE: i16 = 11;

/// A sound batch, and which slot of the answer it has: (topic, partition).
pub(super) struct Placed {
    pub append: PendingAppend,
    pub name: PartitionName,
    pub slot: (usize, usize),
    pub dead: Option<DeadLetters>,
}

/// Takes out what may not be written and says why.
pub(super) async fn confirm(
    broker: &Broker,
    version: i16,
    transactional_id: Option<&str>,
    placed: &mut Vec<Placed>,
) -> Vec<((usize, usize), ProduceError)> {
    // All batches of a request come from one producer, unless somebody means harm.
    let mut unverified: BTreeMap<(i64, i16), Vec<usize>> = BTreeMap::new();
    for (at, Placed { append, .. }) in placed.iter_mut().enumerate() {
        let header = &append.header;
        if !header.attributes.is_transactional() {
            continue;
        }
        let who = (header.producer_id, header.producer_epoch);
        // Before the coordinator is asked, so that a marker written since is noticed.
        if let Some(guard) = append.partition.transaction_guard(ProducerId(who.0), ProducerEpoch(who.1)) {
            append.origin = AppendOrigin::Verified(guard);
            unverified.entry(who).or_default().push(at);
        } else if transactional_id.is_none() {
            unverified.entry(who).or_default().push(at);
        }
    }
    let mut refused: BTreeMap<usize, ProduceError> = BTreeMap::new();
    for ((producer_id, epoch), batches) in unverified {
        let Some(id) = transactional_id else {
            refused.extend(batches.into_iter().map(|at| (at, ProduceError::NoTransactionalId)));
            continue;
        };
        let who = Who { producer_id: ProducerId(producer_id), epoch: ProducerEpoch(epoch) };
        let names: Vec<_> = batches.iter().map(|at| placed[*at].name.clone()).collect();
        let mut verdicts = ask(broker, version, id, who, &names).await;
        // While the coordinator waited for the transaction before, its marker came and voided the guard: now that this one
        // is open, the answer comes at once.
        if renew_guards(placed, &batches) {
            verdicts = ask(broker, version, id, who, &names).await;
        }
        for (at, verdict) in batches.into_iter().zip(verdicts) {
            if let Err(error) = verdict {
                refused.insert(at, told(version, error));
            }
        }
    }
    if refused.is_empty() {
        return Vec::new();
    }
    let slots: Vec<_> = placed.iter().map(|placed| placed.slot).collect();
    let mut at = 0;
    placed.retain(|_| {
        at += 1;
        !refused.contains_key(&(at - 1))
    });
    refused.into_iter().map(|(at, error)| (slots[at], error)).collect()
}

/// Takes the guards again; whether one of them had become void.
fn renew_guards(placed: &mut [Placed], batches: &[usize]) -> bool {
    let mut renewed = false;
    for at in batches {
        let append = &mut placed[*at].append;
        let (id, epoch) = (append.header.producer_id, append.header.producer_epoch);
        if let Some(guard) = append.partition.transaction_guard(ProducerId(id), ProducerEpoch(epoch)) {
            let origin = AppendOrigin::Verified(guard);
            renewed |= append.origin != origin;
            append.origin = origin;
        }
    }
    renewed
}

/// As producers of this version understand it.
fn told(version: i16, error: TxnError) -> ProduceError {
    match error {
        TxnError::ProducerFenced => ProduceError::ProducerFenced,
        TxnError::TransactionAbortable if version < ABORTABLE_SINCE => ProduceError::NotInTransaction,
        TxnError::ConcurrentTransactions | TxnError::CoordinatorLoadInProgress | TxnError::CoordinatorNotAvailable => {
            ProduceError::TransactionBusy(error)
        }
        TxnError::InvalidProducerIdMapping
        | TxnError::NothingToCommit { .. }
        | TxnError::InvalidTxnState { .. }
        | TxnError::TransactionAbortable
        | TxnError::InvalidTransactionTimeout { .. }
        | TxnError::EmptyTransactionalId
        | TxnError::TransactionalIdNotFound { .. } => ProduceError::Transaction(error),
    }
}

async fn ask(broker: &Broker, version: i16, id: &str, who: Who, names: &[PartitionName]) -> Vec<Result<(), TxnError>> {
    let outcome = if version >= VERSION_2_SINCE {
        let added = broker.transactions.add_partitions(id, who, Protocol::V2, names).await;
        added.map(|()| vec![Ok(()); names.len()])
    } else {
        let verdict = |ok: bool| if ok { Ok(()) } else { Err(TxnError::TransactionAbortable) };
        let verified = broker.transactions.verify(id, who, names);
        verified.map(|found| found.into_iter().map(verdict).collect())
    };
    outcome.unwrap_or_else(|error| vec![Err(error); names.len()])
}
