//! Transactional ids come back from `__transaction_state`, partition by partition; what was decided is finished.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::finish::finish;
use super::room::{FAILED, Inner, READY};
use crate::group::coordinator::LogEntry;
use crate::txn::records;
use crate::txn::state::{Snapshot, Transaction};

const ATTEMPTS: u64 = 5;

impl Inner {
    async fn load(self: &Arc<Self>, partition: i32) -> Result<(), String> {
        let mut damaged = 0;
        let mut stored: HashMap<String, Option<Snapshot>> = HashMap::new();
        let mut visit = |entry: LogEntry| {
            let LogEntry::Record { key, value, .. } = entry else { return };
            let value = value.map(records::decode_value).transpose();
            match (records::decode_key(key), value) {
                (Ok(id), Ok(snapshot)) => drop(stored.insert(id, snapshot)),
                _ => damaged += 1,
            }
        };
        self.log.read_all(partition, &mut visit).await?;
        if damaged > 0 {
            tracing::error!(partition, damaged, "records of __transaction_state that do not decode were passed over");
        }
        for (id, snapshot) in stored {
            let Some(snapshot) = snapshot else { continue };
            let decided = snapshot.phase.is_prepared();
            let cell = Inner::cell(&id, partition, Transaction::restore(snapshot));
            self.schedule(&cell, cell.state.lock().deadline());
            self.cells.write().insert(id, cell.clone());
            if decided {
                tracing::info!(
                    transactional_id = cell.id,
                    "a transaction that was decided before the restart is completed"
                );
                tokio::spawn(finish(self.clone(), cell));
            }
        }
        Ok(())
    }
}

pub(super) async fn load_all(inner: Arc<Inner>) {
    for partition in 0..inner.log.partitions() {
        let mut attempt = 0;
        let outcome = loop {
            match inner.load(partition).await {
                Ok(()) => break READY,
                Err(error) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tracing::warn!(partition, error, "loading __transaction_state failed; trying again");
                    tokio::time::sleep(Duration::from_millis(200 * attempt)).await;
                }
                Err(error) => {
                    tracing::error!(
                        partition,
                        error,
                        "transactional ids of this partition cannot be served; repair the data folder and restart"
                    );
                    break FAILED;
                }
            }
        };
        inner.loaded[partition as usize].store(outcome, Ordering::Release);
    }
}
