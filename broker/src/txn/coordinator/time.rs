//! Time passes: transactions time out, ids that nobody uses are forgotten.
use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_protocol::ids::Timestamp;

use super::now;
use super::room::{Cell, Inner};
use crate::txn::state::Phase;

/// The longest sleep while nothing is due.
const IDLE_MS: i64 = 60_000;

pub(super) async fn timeout_loop(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let first = strong.deadlines.lock().first().map(|(at, _)| *at);
        let wait = first.map_or(IDLE_MS, |at| (at.0 - now().0).clamp(0, IDLE_MS)) as u64;
        if wait > 0 {
            // Either way the deadlines are looked at again.
            let _ = tokio::time::timeout(Duration::from_millis(wait), strong.reschedule.notified()).await;
            continue;
        }
        let due: Vec<String> = {
            let mut deadlines = strong.deadlines.lock();
            let later = deadlines.split_off(&(Timestamp(now().0 + 1), String::new()));
            std::mem::replace(&mut *deadlines, later).into_iter().map(|(_, id)| id).collect()
        };
        for id in due {
            let cell = strong.cells.read().get(&id).cloned();
            if let Some(cell) = cell {
                strong.time_out(&cell);
            }
        }
    }
}

impl Inner {
    fn time_out(self: &Arc<Self>, cell: &Arc<Cell>) {
        let (expired, again) = {
            let mut txn = cell.state.lock();
            let expired = txn.expire(now());
            // Something is being written: look again soon.
            let busy = !expired && txn.pending().is_some() && txn.deadline().is_some();
            (expired, busy.then(|| Timestamp(now().0 + 20)))
        };
        self.schedule(cell, again);
        if expired {
            tracing::info!(transactional_id = cell.id, "transaction timed out and is aborted");
            let (inner, cell) = (self.clone(), cell.clone());
            tokio::spawn(async move {
                if inner.write(&cell).await.is_err() {
                    let deadline = Timestamp(now().0 + 1_000);
                    inner.schedule(&cell, Some(deadline));
                }
            });
        }
    }

    async fn forget_unused(self: &Arc<Self>) {
        let cells: Vec<_> = self.cells.read().values().cloned().collect();
        for cell in cells {
            let retired = cell.state.lock().retire(now(), self.settings.id_expiration_ms);
            if retired && self.write(&cell).await.is_ok() {
                tracing::info!(transactional_id = cell.id, "transactional id was not used for long and is forgotten");
                let mut cells = self.cells.write();
                if cell.state.lock().current().phase == Phase::Dead {
                    cells.remove(&cell.id);
                }
            }
        }
    }
}

pub(super) async fn expiry_loop(inner: Weak<Inner>) {
    loop {
        let Some(interval) = inner.upgrade().map(|i| i.settings.expiry_interval) else { return };
        tokio::time::sleep(interval).await;
        let Some(strong) = inner.upgrade() else { return };
        strong.forget_unused().await;
    }
}
