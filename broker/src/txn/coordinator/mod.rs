//! The coordinator: transactional ids by name, each behind a lock of its own, joined with log, clock and markers.
//!
//! Every change is written by a task of its own, so that a client that goes away leaves nothing half done. Locks are held
//! for moments, never across an await. A request that meets a transaction which is just being completed waits a moment
//! instead of sending its client around (CONCURRENT_TRANSACTIONS is still the answer when that takes longer).
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use weir_protocol::ids::{ProducerId, Timestamp};

use super::markers::MarkerSink;
use super::state::{Phase, Protocol, Snapshot, Step, TxnError, Who};
use crate::group::OffsetsLog;
use crate::group::offsets::PartitionName;
use crate::group::records::partition_of;
use crate::producer_ids::ProducerIds;
use room::{Cell, Inner, LOADING, READY};

mod finish;
mod load;
mod room;
#[cfg(test)]
mod tests;
mod time;

/// Settings of all transactional ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSettings {
    /// Longest timeout a producer may ask for.
    pub timeout_max_ms: i32,
    /// An id that was not used for so long is forgotten.
    pub id_expiration_ms: i64,
    /// How often unused ids are looked for.
    pub expiry_interval: Duration,
    /// How long a request waits for the transaction before it to be completed.
    pub patience: Duration,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        TransactionSettings {
            timeout_max_ms: 15 * 60 * 1000,
            id_expiration_ms: 7 * 24 * 3600 * 1000,
            expiry_interval: Duration::from_secs(3600),
            patience: Duration::from_millis(500),
        }
    }
}

/// Where unused producer ids come from.
#[async_trait]
pub trait ProducerIdSource: Send + Sync + 'static {
    /// An id that nobody had before.
    async fn fresh(&self) -> Result<ProducerId, String>;
}

#[async_trait]
impl ProducerIdSource for ProducerIds {
    async fn fresh(&self) -> Result<ProducerId, String> {
        self.next().await.map_err(|error| error.to_string())
    }
}

/// The coordinator of all transactional ids. Cheap to clone.
#[derive(Clone)]
pub struct Transactions {
    inner: Arc<Inner>,
}

/// One transactional id as tools see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub state: Snapshot,
}

/// How many transactions are open, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionSample {
    pub open: usize,
    /// Age of the oldest one, in ms.
    pub oldest_ms: i64,
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

impl Transactions {
    /// Starts loading; requests for ids of partitions that are not loaded yet are told so. `epoch`: of this coordinator,
    /// it grows with each start.
    pub fn start(
        settings: TransactionSettings,
        log: Arc<dyn OffsetsLog>,
        ids: Arc<dyn ProducerIdSource>,
        markers: Arc<dyn MarkerSink>,
        epoch: i32,
    ) -> Transactions {
        let inner = Inner::new(settings, log, ids, markers, epoch);
        tokio::spawn(load::load_all(inner.clone()));
        tokio::spawn(time::timeout_loop(Arc::downgrade(&inner)));
        tokio::spawn(time::expiry_loop(Arc::downgrade(&inner)));
        Transactions { inner }
    }

    /// Whether every partition is loaded.
    pub fn is_ready(&self) -> bool {
        self.inner.loaded.iter().all(|p| p.load(Ordering::Acquire) == READY)
    }

    fn check_loaded(&self, id: &str) -> Result<i32, TxnError> {
        if id.is_empty() {
            return Err(TxnError::EmptyTransactionalId);
        }
        let partition = partition_of(id, self.inner.log.partitions());
        match self.inner.loaded.get(partition as usize).map(|p| p.load(Ordering::Acquire)) {
            Some(READY) => Ok(partition),
            Some(LOADING) => Err(TxnError::CoordinatorLoadInProgress),
            _ => Err(TxnError::CoordinatorNotAvailable),
        }
    }

    fn find(&self, id: &str) -> Result<Option<Arc<Cell>>, TxnError> {
        self.check_loaded(id)?;
        Ok(self.inner.cells.read().get(id).cloned())
    }

    fn known(&self, id: &str) -> Result<Arc<Cell>, TxnError> {
        self.find(id)?.ok_or(TxnError::InvalidProducerIdMapping)
    }

    /// A producer takes the id over, or recovers as `expected`. An open transaction is aborted first.
    pub async fn init_producer_id(&self, id: &str, timeout_ms: i32, expected: Option<Who>) -> Result<Who, TxnError> {
        let max_ms = self.inner.settings.timeout_max_ms;
        if !(1..=max_ms).contains(&timeout_ms) {
            return Err(TxnError::InvalidTransactionTimeout { got_ms: timeout_ms, max_ms });
        }
        let partition = self.check_loaded(id)?;
        let cell = match self.find(id)? {
            Some(cell) => cell,
            None => self.inner.create(id, partition, self.inner.fresh_id().await?),
        };
        self.inner.carry_out(&cell, |txn, now, fresh| txn.init(now, timeout_ms, expected, fresh)).await
    }

    /// Makes partitions part of the producer's transaction, which opens with the first ones. Durable when it returns.
    pub async fn add_partitions(
        &self,
        id: &str,
        who: Who,
        protocol: Protocol,
        partitions: &[PartitionName],
    ) -> Result<(), TxnError> {
        let cell = self.known(id)?;
        let step = self.inner.carry_out(&cell, |txn, now, _| txn.add_partitions(now, who, protocol, partitions)).await;
        step.map(drop)
    }

    /// Whether each partition is part of the producer's open transaction.
    pub fn verify(&self, id: &str, who: Who, partitions: &[PartitionName]) -> Result<Vec<bool>, TxnError> {
        self.known(id)?.state.lock().verify(who, partitions)
    }

    /// Ends the producer's transaction. When it returns, the decision is durable and the markers are on their way. The
    /// result is who the producer is from now on.
    pub async fn end(&self, id: &str, who: Who, commit: bool, protocol: Protocol) -> Result<Who, TxnError> {
        let cell = self.known(id)?;
        let step = |txn: &mut super::state::Transaction, now, fresh| txn.end(now, who, commit, protocol, fresh);
        self.inner.carry_out(&cell, step).await
    }

    /// One id.
    pub fn describe(&self, id: &str) -> Result<TransactionDescription, TxnError> {
        let cell = self.find(id)?.ok_or_else(|| TxnError::TransactionalIdNotFound { id: id.to_owned() })?;
        let state = cell.state.lock().current().clone();
        Ok(TransactionDescription { transactional_id: id.to_owned(), state })
    }

    /// Every id of the partitions loaded so far, by name.
    pub fn list(&self) -> Vec<TransactionDescription> {
        let cells: Vec<_> = self.inner.cells.read().values().cloned().collect();
        let mut all: Vec<_> = cells
            .iter()
            .map(|cell| TransactionDescription {
                transactional_id: cell.id.clone(),
                state: cell.state.lock().current().clone(),
            })
            .filter(|found| found.state.phase != Phase::Dead)
            .collect();
        all.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        all
    }

    /// What is open right now.
    pub fn sample(&self) -> TransactionSample {
        let now = now();
        let cells: Vec<_> = self.inner.cells.read().values().cloned().collect();
        let mut sample = TransactionSample::default();
        for cell in cells {
            let txn = cell.state.lock();
            let open = txn.current().phase == Phase::Ongoing || txn.current().phase.is_prepared();
            if let Some(started) = txn.current().started_at.filter(|_| open) {
                sample.open += 1;
                sample.oldest_ms = sample.oldest_ms.max(now.0 - started.0);
            }
        }
        sample
    }
}
