//! What is pending becomes durable; what is decided is brought to its end.
use std::sync::Arc;
use std::time::Duration;

use weir_protocol::records::{ControlType, EndTxnMarker};

use super::room::{Cell, Inner};
use super::{TxnError, Who, now};
use crate::metrics::tables::transactions::TRANSACTIONS;
use crate::txn::markers::MarkersLeft;
use crate::txn::records;
use crate::txn::state::Phase;

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Writes the pending snapshot. A decision is followed by its markers, on another task.
pub(super) async fn persist(inner: Arc<Inner>, cell: Arc<Cell>) -> Result<Who, TxnError> {
    let (who, phase) = write_pending(&inner, &cell).await?;
    if phase.is_prepared() {
        tokio::spawn(finish(inner, cell));
    }
    Ok(who)
}

async fn write_pending(inner: &Inner, cell: &Cell) -> Result<(Who, Phase), TxnError> {
    let Some(record) = cell.state.lock().pending().map(|pending| {
        let value = (pending.phase != Phase::Dead).then(|| records::encode_value(pending));
        (records::encode_key(&cell.id), value)
    }) else {
        return Err(TxnError::CoordinatorNotAvailable); // cannot happen: whoever calls has made it pending
    };
    let written = inner.log.append(cell.partition, vec![record]).await;
    let (who, phase, deadline) = {
        let mut txn = cell.state.lock();
        txn.written(written.is_ok());
        (txn.identity_after_end(), txn.current().phase, txn.deadline())
    };
    inner.schedule(cell, deadline);
    cell.changed.notify_waiters();
    match written {
        Ok(_) => Ok((who, phase)),
        Err(error) => {
            tracing::error!(transactional_id = cell.id, error, "cannot write to __transaction_state");
            Err(TxnError::CoordinatorNotAvailable)
        }
    }
}

/// Writes the markers of a decided transaction, then that it is complete. Tries until it succeeds or the broker stops.
pub(super) async fn finish(inner: Arc<Inner>, cell: Arc<Cell>) {
    let (snapshot, commit) = {
        let txn = cell.state.lock();
        (txn.current().clone(), txn.current().phase == Phase::PrepareCommit)
    };
    let marker = EndTxnMarker {
        control_type: if commit { ControlType::Commit } else { ControlType::Abort },
        producer_id: snapshot.producer_id,
        producer_epoch: snapshot.epoch,
        coordinator_epoch: inner.epoch,
        timestamp: now(),
    };
    let mut left: Vec<_> = snapshot.partitions.into_iter().collect();
    let mut pause = RETRY_FIRST;
    while !left.is_empty() {
        match inner.markers.write(marker, &left).await {
            Ok(()) => break,
            Err(MarkersLeft::Stopping) => return,
            Err(MarkersLeft::Retry(again)) => left = again,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
    metrics::counter!(TRANSACTIONS.name, "result" => if commit { "committed" } else { "aborted" }).increment(1);
    pause = RETRY_FIRST;
    while cell.state.lock().complete(now()) {
        if write_pending(&inner, &cell).await.is_ok() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}
