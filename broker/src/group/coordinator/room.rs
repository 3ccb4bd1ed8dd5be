//! Where groups live: each in a cell behind its own lock, found by name, scheduled by its next deadline, written in the order in
//! which it changed.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use weir_protocol::ids::{Generation, Offset, ProducerId, Timestamp};

use super::{GroupSettings, LogRecord, OffsetsLog, TopicsNow, now};
use crate::group::configs::GroupConfigs;
use crate::group::consumer::{ConsumerGroup, RecordKey};
use crate::group::offsets::Offsets;
use crate::group::records::{self, Key};
use crate::group::share::ShareGroup;
use crate::group::state::{Effect, Group, GroupError, GroupLimits, Joined, Synced, Token};
use crate::topics::TopicImage;

/// A group of any protocol.
pub(super) enum Kind {
    Classic(Group),
    Consumer(ConsumerGroup),
    Share(ShareGroup),
}

impl Kind {
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        match self {
            Kind::Classic(group) => group.next_deadline(),
            Kind::Consumer(group) => group.next_deadline(),
            Kind::Share(group) => group.next_deadline(),
        }
    }

    /// Since when it has no members; `None` while it has.
    pub(super) fn empty_since(&self) -> Option<Timestamp> {
        match self {
            Kind::Classic(group) => group.empty_since().filter(|_| !group.has_pending()),
            Kind::Consumer(group) => group.empty_since(),
            Kind::Share(group) => group.empty_since(),
        }
    }

    /// Whether it is forgotten once it is empty and has no offsets. A share group is not: what it has done with its partitions
    /// is kept elsewhere, until the group is deleted.
    pub(super) fn ends_by_itself(&self) -> bool {
        !matches!(self, Kind::Share(_))
    }

    /// Keys of records that changed.
    fn take_dirty(&mut self) -> Vec<RecordKey> {
        match self {
            Kind::Classic(_) => Vec::new(),
            Kind::Consumer(group) => group.take_dirty(),
            Kind::Share(group) => group.take_dirty(),
        }
    }

    /// These could not be written.
    fn put_back(&mut self, keys: Vec<RecordKey>) {
        match self {
            Kind::Classic(_) => {}
            Kind::Consumer(group) => group.put_back(keys),
            Kind::Share(group) => group.put_back(keys),
        }
    }

    /// What a record of the newer protocols has to say.
    fn record(&self, name: &str, key: &RecordKey) -> Option<LogRecord> {
        match self {
            Kind::Classic(_) => None,
            Kind::Consumer(group) => Some(consumer_record(name, group, key)),
            Kind::Share(group) => {
                let value = group.record(key).map(|value| records::share::encode_value(&value));
                Some((records::share::encode_key(name, key), value))
            }
        }
    }
}

pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) offsets: Offsets,
    pub(super) joins: HashMap<Token, oneshot::Sender<Result<Joined, GroupError>>>,
    pub(super) syncs: HashMap<Token, oneshot::Sender<Result<Synced, GroupError>>>,
    /// For which the ticker will wake.
    pub(super) scheduled: Option<Timestamp>,
    /// A metadata record was written, which has to be deleted with the group.
    pub(super) has_record: bool,
    /// Tombstones of the kind of group that it was before; written with what comes next.
    pub(super) farewell: Vec<LogRecord>,
    /// What is to be written, in order. One write of a group is under way at a time, and takes all that waits.
    pub(super) queue: VecDeque<Write>,
    pub(super) writing: bool,
}

/// What is written together, and who has to know.
pub(super) struct Write {
    farewell: Vec<LogRecord>,
    keys: Vec<RecordKey>,
    records: Vec<LogRecord>,
    done: Done,
}

enum Done {
    /// Nobody waits: a deadline has passed.
    Nobody,
    Waiter(oneshot::Sender<bool>),
    /// Metadata of a classic group of this generation.
    Classic(Generation),
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
    settings: ArcSwap<GroupSettings>,
    pub(super) log: Arc<dyn OffsetsLog>,
    pub(super) topics: TopicsNow,
    pub(super) configs: Arc<GroupConfigs>,
    pub(super) loaded: Vec<AtomicU8>,
    pub(super) groups: RwLock<HashMap<String, Arc<Cell>>>,
    pub(super) deadlines: Mutex<BTreeSet<(Timestamp, String)>>,
    pub(super) reschedule: Notify,
    pub(super) next_token: AtomicU64,
    /// Groups with offsets of an open transaction: partition of the log and producer -> groups.
    pub(super) transactions: Mutex<HashMap<(i32, ProducerId), BTreeSet<String>>>,
}

impl Entry {
    fn new(kind: Kind) -> Entry {
        Entry {
            kind,
            offsets: Offsets::default(),
            joins: HashMap::new(),
            syncs: HashMap::new(),
            scheduled: None,
            has_record: false,
            farewell: Vec::new(),
            queue: VecDeque::new(),
            writing: false,
        }
    }

    /// What has to be written for the group's own records to be gone.
    pub(super) fn tombstones(&self, name: &str) -> Vec<LogRecord> {
        if !self.has_record {
            return Vec::new();
        }
        let mut keys = vec![records::encode_key(&Key::Group { group: name.to_owned() })];
        match &self.kind {
            Kind::Classic(_) => {}
            Kind::Consumer(group) => {
                keys.extend(group.all_keys().iter().map(|key| records::consumer::encode_key(name, key)));
            }
            Kind::Share(group) => keys.extend(group.all_keys().iter().map(|key| records::share::encode_key(name, key))),
        }
        keys.into_iter().map(|key| (key, None)).collect()
    }

    /// The group is gone: every later call is told so.
    pub(super) fn kill(&mut self, limits: &GroupLimits, now: Timestamp, effects: &mut Vec<Effect>) {
        if !matches!(self.kind, Kind::Classic(_)) {
            self.kind = Kind::Classic(Group::new(limits.clone(), now));
        }
        if let Kind::Classic(group) = &mut self.kind {
            group.kill(effects);
        }
    }

    /// Makes the group an empty one of the classic protocol; its offsets stay.
    pub(super) fn become_classic(&mut self, name: &str, group: Group) {
        if let Kind::Consumer(former) = &mut self.kind {
            let mut keys = former.take_dirty();
            keys.extend(former.all_keys());
            keys.sort();
            keys.dedup();
            self.farewell.extend(keys.iter().map(|key| (records::consumer::encode_key(name, key), None)));
        }
        self.kind = Kind::Classic(group);
    }

    /// Makes the group one of the consumer protocol; its offsets stay.
    pub(super) fn become_consumer(&mut self, name: &str, group: ConsumerGroup) {
        if matches!(self.kind, Kind::Classic(_)) && self.has_record {
            self.farewell.push((records::encode_key(&Key::Group { group: name.to_owned() }), None));
        }
        self.kind = Kind::Consumer(group);
    }

    /// Answers who can be answered; what has to be written before is queued.
    fn perform(&mut self, name: &str, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ReplyJoin(token, reply) => {
                    if let Some(waiting) = self.joins.remove(&token) {
                        let _ = waiting.send(reply); // the client may have gone
                    }
                }
                Effect::ReplySync(token, reply) => {
                    if let Some(waiting) = self.syncs.remove(&token) {
                        let _ = waiting.send(reply);
                    }
                }
                Effect::Persist { generation } => {
                    let Kind::Classic(group) = &self.kind else { continue };
                    self.has_record = true;
                    let key = records::encode_key(&Key::Group { group: name.to_owned() });
                    let record = (key, Some(records::encode_group(&group.stored(now()))));
                    let farewell = std::mem::take(&mut self.farewell);
                    let done = Done::Classic(generation);
                    self.queue.push_back(Write { farewell, keys: Vec::new(), records: vec![record], done });
                }
            }
        }
    }

    /// Queues what changed; the receiver learns when all that this state depends on is durable (true) or failed. None: it is.
    fn flush(&mut self, name: &str, wanted: bool) -> Option<oneshot::Receiver<bool>> {
        let keys = self.kind.take_dirty();
        let changed = !keys.is_empty() || !self.farewell.is_empty();
        let is_newer = !matches!(self.kind, Kind::Classic(_));
        let depends = wanted && is_newer && (self.writing || !self.queue.is_empty());
        if !changed && !depends {
            return None;
        }
        let records: Vec<LogRecord> = keys.iter().filter_map(|key| self.kind.record(name, key)).collect();
        self.has_record |= !records.is_empty();
        let (sender, receiver) = oneshot::channel();
        let done = if wanted { Done::Waiter(sender) } else { Done::Nobody };
        self.queue.push_back(Write { farewell: std::mem::take(&mut self.farewell), keys, records, done });
        wanted.then_some(receiver)
    }
}

fn consumer_record(name: &str, group: &ConsumerGroup, key: &RecordKey) -> LogRecord {
    let value = group.record(key).map(|value| records::consumer::encode_value(&value));
    (records::consumer::encode_key(name, key), value)
}

impl Inner {
    pub(super) fn new(
        settings: GroupSettings,
        log: Arc<dyn OffsetsLog>,
        topics: TopicsNow,
        configs: Arc<GroupConfigs>,
    ) -> Arc<Inner> {
        Arc::new(Inner {
            settings: ArcSwap::from_pointee(settings),
            loaded: (0..log.partitions()).map(|_| AtomicU8::new(LOADING)).collect(),
            log,
            topics,
            configs,
            groups: RwLock::default(),
            deadlines: Mutex::default(),
            reschedule: Notify::new(),
            next_token: AtomicU64::new(1),
            transactions: Mutex::default(),
        })
    }

    /// Settings of all groups as they are now.
    pub(super) fn settings(&self) -> Arc<GroupSettings> {
        self.settings.load_full()
    }

    /// From now on these hold, for groups that exist too.
    pub(super) fn set_settings(&self, settings: GroupSettings) {
        self.settings.store(Arc::new(settings));
        let cells: Vec<Arc<Cell>> = self.groups.read().values().cloned().collect();
        for cell in cells {
            let settings = self.settings();
            match &mut cell.entry.lock().kind {
                Kind::Classic(group) => group.set_limits(settings.limits.clone()),
                Kind::Consumer(group) => group.set_limits(settings.consumer.clone()),
                Kind::Share(group) => group.set_max_size(settings.share_max_size),
            }
        }
    }

    pub(super) fn cell(name: &str, partition: i32, kind: Kind) -> Arc<Cell> {
        Arc::new(Cell { name: name.to_owned(), partition, entry: Mutex::new(Entry::new(kind)) })
    }

    /// Topics as they are now.
    pub(super) fn topics(&self) -> Arc<TopicImage> {
        (self.topics)()
    }

    /// Runs a step on a group and does what it asks for. What the step returns may leave at once.
    pub(super) fn with<R>(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        step: impl FnOnce(Timestamp, &mut Entry, &mut Vec<Effect>) -> R,
    ) -> R {
        self.run(cell, false, step).0
    }

    /// Like [`Inner::with`]; what the step returns leaves when all it can tell of the group is durable.
    pub(super) async fn durably<R>(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        step: impl FnOnce(Timestamp, &mut Entry, &mut Vec<Effect>) -> Result<R, GroupError>,
    ) -> Result<R, GroupError> {
        let (result, durable) = self.run(cell, true, step);
        match durable {
            Some(durable) => match durable.await {
                Ok(true) => result,
                Ok(false) | Err(_) => Err(GroupError::CoordinatorNotAvailable),
            },
            None => result,
        }
    }

    fn run<R>(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        wanted: bool,
        step: impl FnOnce(Timestamp, &mut Entry, &mut Vec<Effect>) -> R,
    ) -> (R, Option<oneshot::Receiver<bool>>) {
        let mut effects = Vec::new();
        let mut entry = cell.entry.lock();
        let result = step(now(), &mut entry, &mut effects);
        self.step_down(&cell.name, &mut entry, &mut effects);
        entry.perform(&cell.name, effects);
        let durable = entry.flush(&cell.name, wanted);
        if !entry.writing && !entry.queue.is_empty() {
            entry.writing = true;
            tokio::spawn(write_loop(self.clone(), cell.clone()));
        }
        self.schedule(cell, &mut entry);
        (result, durable)
    }

    /// A group of the consumer protocol whose last such member has gone becomes a classic one with the others.
    fn step_down(&self, name: &str, entry: &mut Entry, effects: &mut Vec<Effect>) {
        let Kind::Consumer(group) = &entry.kind else { return };
        if !group.is_downgradable(self.settings().limits.max_size) {
            return;
        }
        let (generation, members) = group.to_classic(&self.topics());
        tracing::info!(group = name, members = members.len(), "the group is a classic one again");
        let classic = Group::adopt(self.settings().limits.clone(), generation, members, now(), effects);
        entry.become_classic(name, classic);
    }

    pub(super) fn schedule(&self, cell: &Cell, entry: &mut Entry) {
        let Some(deadline) = entry.kind.next_deadline() else { return };
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

/// Writes what is queued until nothing is.
async fn write_loop(inner: Arc<Inner>, cell: Arc<Cell>) {
    loop {
        let writes: Vec<Write> = {
            let mut entry = cell.entry.lock();
            if entry.queue.is_empty() {
                entry.writing = false;
                return;
            }
            entry.queue.drain(..).collect()
        };
        let all = || writes.iter().flat_map(|w| w.farewell.iter().chain(&w.records));
        let records: Vec<(Bytes, Option<Bytes>)> = all().cloned().collect();
        let written = records.is_empty() || inner.append(cell.partition, records).await.is_ok();
        let mut waiters = Vec::new();
        inner.with(&cell, |now, entry, effects| {
            for write in writes {
                if !written {
                    entry.farewell.splice(..0, write.farewell);
                    entry.kind.put_back(write.keys);
                }
                match write.done {
                    Done::Nobody => {}
                    Done::Waiter(waiter) => waiters.push(waiter),
                    Done::Classic(generation) => {
                        if let Kind::Classic(group) = &mut entry.kind {
                            group.persisted(now, generation, written, effects);
                        }
                    }
                }
            }
        });
        for waiter in waiters {
            let _ = waiter.send(written); // the client may have gone
        }
        if !written {
            // What could not be written waits for the next step of the group, or comes back here after a moment.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
