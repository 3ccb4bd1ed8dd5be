//! Where groups live: each in a cell behind its own lock, found by name, scheduled by its next deadline.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use weir_protocol::ids::{Offset, ProducerId, Timestamp};

use super::classic::persist_group;
use super::{GroupSettings, LogRecord, OffsetsLog, now};
use crate::group::offsets::Offsets;
use crate::group::state::{Effect, Group, GroupError, Joined, Synced, Token};

pub(super) struct Entry {
    pub(super) group: Group,
    pub(super) offsets: Offsets,
    pub(super) joins: HashMap<Token, oneshot::Sender<Result<Joined, GroupError>>>,
    pub(super) syncs: HashMap<Token, oneshot::Sender<Result<Synced, GroupError>>>,
    /// For which the ticker will wake.
    pub(super) scheduled: Option<Timestamp>,
    /// A metadata record was written, which has to be deleted with the group.
    pub(super) has_record: bool,
}

pub(super) struct Cell {
    pub(super) name: String,
    pub(super) partition: i32,
    pub(super) entry: Mutex<Entry>,
}

pub(super) const LOADING: u8 = 0;
pub(super) const READY: u8 = 1;
pub(super) const FAILED: u8 = 2;

pub(super) struct Inner {
    pub(super) settings: GroupSettings,
    pub(super) log: Arc<dyn OffsetsLog>,
    pub(super) loaded: Vec<AtomicU8>,
    pub(super) groups: RwLock<HashMap<String, Arc<Cell>>>,
    pub(super) deadlines: Mutex<BTreeSet<(Timestamp, String)>>,
    pub(super) reschedule: Notify,
    pub(super) next_token: AtomicU64,
    /// Groups with offsets of an open transaction: partition of the log and producer -> groups.
    pub(super) transactions: Mutex<HashMap<(i32, ProducerId), BTreeSet<String>>>,
}

impl Inner {
    pub(super) fn new(settings: GroupSettings, log: Arc<dyn OffsetsLog>) -> Arc<Inner> {
        Arc::new(Inner {
            settings,
            loaded: (0..log.partitions()).map(|_| AtomicU8::new(LOADING)).collect(),
            log,
            groups: RwLock::default(),
            deadlines: Mutex::default(),
            reschedule: Notify::new(),
            next_token: AtomicU64::new(1),
            transactions: Mutex::default(),
        })
    }

    pub(super) fn cell(name: &str, partition: i32, group: Group) -> Arc<Cell> {
        let entry = Entry {
            group,
            offsets: Offsets::default(),
            joins: HashMap::new(),
            syncs: HashMap::new(),
            scheduled: None,
            has_record: false,
        };
        Arc::new(Cell { name: name.to_owned(), partition, entry: Mutex::new(entry) })
    }

    /// Runs a step on a group and does what it asks for.
    pub(super) fn with<R>(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        step: impl FnOnce(Timestamp, &mut Entry, &mut Vec<Effect>) -> R,
    ) -> R {
        let mut effects = Vec::new();
        let mut persist = None;
        let result = {
            let mut entry = cell.entry.lock();
            let result = step(now(), &mut entry, &mut effects);
            for effect in effects {
                match effect {
                    Effect::ReplyJoin(token, reply) => {
                        if let Some(waiting) = entry.joins.remove(&token) {
                            let _ = waiting.send(reply); // the client may have gone
                        }
                    }
                    Effect::ReplySync(token, reply) => {
                        if let Some(waiting) = entry.syncs.remove(&token) {
                            let _ = waiting.send(reply);
                        }
                    }
                    Effect::Persist { generation } => {
                        entry.has_record = true;
                        persist = Some((generation, entry.group.stored(now())));
                    }
                }
            }
            self.schedule(cell, &mut entry);
            result
        };
        if let Some((generation, stored)) = persist {
            tokio::spawn(persist_group(self.clone(), cell.clone(), generation, stored));
        }
        result
    }

    pub(super) fn schedule(&self, cell: &Cell, entry: &mut Entry) {
        let Some(deadline) = entry.group.next_deadline() else { return };
        // An earlier wake-up that finds nothing to do schedules the next one.
        if entry.scheduled.is_none_or(|at| deadline < at) {
            entry.scheduled = Some(deadline);
            let mut deadlines = self.deadlines.lock();
            let earliest = deadlines.first().is_none_or(|(at, _)| deadline < *at);
            deadlines.insert((deadline, cell.name.clone()));
            if earliest {
                self.reschedule.notify_one();
            }
        }
    }

    pub(super) async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, GroupError> {
        self.log.append(partition, records).await.map_err(|error| {
            tracing::error!(partition, error, "cannot write to __consumer_offsets");
            GroupError::CoordinatorNotAvailable
        })
    }
}
