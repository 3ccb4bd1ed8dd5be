//! Where transactional ids live, and how a step on one of them is carried out.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use weir_protocol::ids::{ProducerId, Timestamp};

use super::finish::persist;
use super::{MarkerSink, OffsetsLog, ProducerIdSource, Step, TransactionSettings, TxnError, Who, now};
use crate::txn::state::Transaction;

pub(super) struct Cell {
    pub(super) id: String,
    pub(super) partition: i32,
    pub(super) state: Mutex<Transaction>,
    /// Something pending was written, or was not.
    pub(super) changed: Notify,
}

pub(super) const LOADING: u8 = 0;
pub(super) const READY: u8 = 1;
pub(super) const FAILED: u8 = 2;

pub(super) struct Inner {
    pub(super) settings: TransactionSettings,
    pub(super) log: Arc<dyn OffsetsLog>,
    pub(super) ids: Arc<dyn ProducerIdSource>,
    pub(super) markers: Arc<dyn MarkerSink>,
    /// Of this coordinator; markers carry it.
    pub(super) epoch: i32,
    pub(super) loaded: Vec<AtomicU8>,
    pub(super) cells: RwLock<HashMap<String, Arc<Cell>>>,
    /// When open transactions time out.
    pub(super) deadlines: Mutex<BTreeSet<(Timestamp, String)>>,
    pub(super) reschedule: Notify,
}

impl Inner {
    pub(super) fn new(
        settings: TransactionSettings,
        log: Arc<dyn OffsetsLog>,
        ids: Arc<dyn ProducerIdSource>,
        markers: Arc<dyn MarkerSink>,
        epoch: i32,
    ) -> Arc<Inner> {
        Arc::new(Inner {
            settings,
            loaded: (0..log.partitions()).map(|_| AtomicU8::new(LOADING)).collect(),
            log,
            ids,
            markers,
            epoch,
            cells: RwLock::default(),
            deadlines: Mutex::default(),
            reschedule: Notify::new(),
        })
    }

    pub(super) fn cell(id: &str, partition: i32, state: Transaction) -> Arc<Cell> {
        Arc::new(Cell { id: id.to_owned(), partition, state: Mutex::new(state), changed: Notify::new() })
    }

    pub(super) fn create(&self, id: &str, partition: i32, producer_id: ProducerId) -> Arc<Cell> {
        let new = || Inner::cell(id, partition, Transaction::new(producer_id, now()));
        self.cells.write().entry(id.to_owned()).or_insert_with(new).clone()
    }

    pub(super) async fn fresh_id(&self) -> Result<ProducerId, TxnError> {
        self.ids.fresh().await.map_err(|error| {
            tracing::error!(error, "no new producer id");
            TxnError::CoordinatorNotAvailable
        })
    }

    /// Takes a step until it is durable. Waits a while for a transaction that is being completed.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        mut step: impl FnMut(&mut Transaction, Timestamp, Option<ProducerId>) -> Result<Step, TxnError>,
    ) -> Result<Who, TxnError> {
        let patience_ends = Instant::now() + self.settings.patience;
        let mut fresh = None;
        loop {
            // Registered before the state is looked at, so that no change is missed.
            let changed = cell.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let taken = step(&mut cell.state.lock(), now(), fresh);
            let again = match taken {
                Ok(Step::Settled(who)) => return Ok(who),
                Ok(Step::NeedProducerId) => {
                    fresh = Some(self.fresh_id().await?);
                    continue;
                }
                Ok(Step::Write) => return self.write(cell).await,
                Ok(Step::WriteThenAgain) => {
                    self.write(cell).await?;
                    TxnError::ConcurrentTransactions
                }
                Err(TxnError::ConcurrentTransactions) => TxnError::ConcurrentTransactions,
                Err(error) => return Err(error),
            };
            if timeout_at(patience_ends, changed).await.is_err() {
                return Err(again);
            }
        }
    }

    /// Makes what is pending durable, on a task of its own.
    pub(super) async fn write(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<Who, TxnError> {
        let task = tokio::spawn(persist(self.clone(), cell.clone()));
        task.await.unwrap_or(Err(TxnError::CoordinatorNotAvailable))
    }

    /// The open transaction of this id times out at some time.
    pub(super) fn schedule(&self, cell: &Cell, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else { return };
        let mut deadlines = self.deadlines.lock();
        let earliest = deadlines.first().is_none_or(|(at, _)| deadline < *at);
        deadlines.insert((deadline, cell.id.clone()));
        if earliest {
            self.reschedule.notify_one();
        }
    }
}
