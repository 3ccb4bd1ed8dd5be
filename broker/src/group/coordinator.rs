//! The coordinator: groups by name, each behind a lock of its own, joined with log, clock and waiting clients.
//!
//! One task ticks the groups whose deadline has come; an idle group costs no task. Locks are held for moments, never across
//! an await. A client that goes away while it waits only drops its end of a channel.
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use weir_protocol::ids::{Generation, Offset, Timestamp};

use super::offsets::{CommittedOffset, Offsets, PartitionName};
use super::records::{self, Key};
use super::state::{
    Effect, Group, GroupError, GroupLimits, JoinRequest, Joined, Leaving, Phase, StoredGroup, SyncRequest, Synced,
    Token,
};

#[cfg(test)]
mod tests;

/// Settings of all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    pub limits: GroupLimits,
    pub offsets_retention_ms: i64,
    pub offset_metadata_max_bytes: usize,
    /// How often expired offsets are looked for.
    pub expiry_interval: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            limits: GroupLimits::default(),
            offsets_retention_ms: 7 * 24 * 3600 * 1000,
            offset_metadata_max_bytes: 4096,
            expiry_interval: Duration::from_secs(600),
        }
    }
}

/// A record for `__consumer_offsets`; no value is a tombstone.
pub type LogRecord = (Bytes, Option<Bytes>);

/// Where groups are kept.
#[async_trait]
pub trait OffsetsLog: Send + Sync + 'static {
    fn partitions(&self) -> i32;
    /// Appends; durable when it returns. The offset is that of the first record.
    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, String>;
    /// Every record from the start, in order, with its offset.
    async fn read_all(
        &self,
        partition: i32,
        visit: &mut (dyn FnMut(Offset, Bytes, Option<Bytes>) + Send),
    ) -> Result<(), String>;
}

struct Entry {
    group: Group,
    offsets: Offsets,
    joins: HashMap<Token, oneshot::Sender<Result<Joined, GroupError>>>,
    syncs: HashMap<Token, oneshot::Sender<Result<Synced, GroupError>>>,
    /// For which the ticker will wake.
    scheduled: Option<Timestamp>,
    /// A metadata record was written, which has to be deleted with the group.
    has_record: bool,
}

struct Cell {
    name: String,
    partition: i32,
    entry: Mutex<Entry>,
}

const LOADING: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

struct Inner {
    settings: GroupSettings,
    log: Arc<dyn OffsetsLog>,
    loaded: Vec<AtomicU8>,
    groups: RwLock<HashMap<String, Arc<Cell>>>,
    deadlines: Mutex<BTreeSet<(Timestamp, String)>>,
    reschedule: Notify,
    next_token: AtomicU64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

/// One group as tools see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    pub phase: Phase,
    pub protocol_type: String,
    pub protocol_name: String,
    pub members: Vec<MemberDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// Who commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committer {
    pub member_id: String,
    pub instance_id: Option<String>,
    /// < 0: a consumer that assigns its partitions itself.
    pub generation: Generation,
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

impl Coordinator {
    /// Starts loading; requests for groups of partitions that are not loaded yet are told so.
    pub fn start(settings: GroupSettings, log: Arc<dyn OffsetsLog>) -> Coordinator {
        let partitions = log.partitions();
        let inner = Arc::new(Inner {
            settings,
            log,
            loaded: (0..partitions).map(|_| AtomicU8::new(LOADING)).collect(),
            groups: RwLock::default(),
            deadlines: Mutex::default(),
            reschedule: Notify::new(),
            next_token: AtomicU64::new(1),
        });
        tokio::spawn(load_all(inner.clone()));
        tokio::spawn(tick_loop(Arc::downgrade(&inner)));
        tokio::spawn(expiry_loop(Arc::downgrade(&inner)));
        Coordinator { inner }
    }

    /// Whether every partition is loaded.
    pub fn is_ready(&self) -> bool {
        self.inner.loaded.iter().all(|p| p.load(Ordering::Acquire) == READY)
    }

    fn check_loaded(&self, group: &str) -> Result<i32, GroupError> {
        let partition = records::partition_of(group, self.inner.log.partitions());
        match self.inner.loaded.get(partition as usize).map(|p| p.load(Ordering::Acquire)) {
            Some(READY) => Ok(partition),
            Some(LOADING) => Err(GroupError::CoordinatorLoadInProgress),
            _ => Err(GroupError::CoordinatorNotAvailable),
        }
    }

    fn find(&self, group: &str) -> Result<Option<Arc<Cell>>, GroupError> {
        self.check_loaded(group)?;
        Ok(self.inner.groups.read().get(group).cloned())
    }

    fn find_or_create(&self, group: &str) -> Result<Arc<Cell>, GroupError> {
        if group.is_empty() || group.len() > i16::MAX as usize {
            return Err(GroupError::InvalidGroupId);
        }
        let partition = self.check_loaded(group)?;
        if let Some(cell) = self.inner.groups.read().get(group) {
            return Ok(cell.clone());
        }
        let mut groups = self.inner.groups.write();
        let cell = groups
            .entry(group.to_owned())
            .or_insert_with(|| Inner::cell(group, partition, Group::new(self.inner.settings.limits.clone(), now())));
        Ok(cell.clone())
    }

    pub async fn join(&self, group: &str, request: JoinRequest) -> Result<Joined, GroupError> {
        let first = request.member_id.is_empty();
        let cell = match self.find(group)? {
            Some(cell) => cell,
            None if first => self.find_or_create(group)?,
            None if group.is_empty() => return Err(GroupError::InvalidGroupId),
            None => return Err(GroupError::UnknownMemberId),
        };
        let token = self.inner.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.inner.with(&cell, |now, entry, effects| {
            entry.joins.insert(token, reply);
            entry.group.join(now, token, request, effects);
        });
        answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    pub async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::UnknownMemberId)?;
        let token = self.inner.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.inner.with(&cell, |now, entry, effects| {
            entry.syncs.insert(token, reply);
            entry.group.sync(now, token, request, effects);
        });
        answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    pub fn heartbeat(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::UnknownMemberId)?;
        self.inner.with(&cell, |now, entry, _| entry.group.heartbeat(now, member_id, instance_id, generation))
    }

    /// One result per member, in order.
    pub fn leave(&self, group: &str, members: &[Leaving]) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::UnknownMemberId)?;
        Ok(self.inner.with(&cell, |now, entry, effects| entry.group.leave(now, members, effects)))
    }

    /// Commits offsets: one result per offset, in order. Durable when it returns.
    pub async fn commit(
        &self,
        group: &str,
        committer: &Committer,
        offsets: Vec<(PartitionName, CommittedOffset)>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = match self.find(group)? {
            Some(cell) => cell,
            None if committer.generation.0 < 0 => self.find_or_create(group)?,
            None => return Err(GroupError::IllegalGeneration),
        };
        let Committer { member_id, instance_id, generation } = committer;
        self.inner.with(&cell, |now, entry, _| {
            entry.group.check_commit(now, member_id, instance_id.as_deref(), *generation)
        })?;
        let max = self.inner.settings.offset_metadata_max_bytes;
        let verdicts: Vec<Result<(), GroupError>> = offsets
            .iter()
            .map(|(_, c)| if c.metadata.len() > max { Err(GroupError::OffsetMetadataTooLarge) } else { Ok(()) })
            .collect();
        let accepted: Vec<_> = offsets
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_ok())
            .map(|((name, committed), _)| (name, Some(committed)))
            .collect();
        self.inner.write_offsets(&cell, accepted).await?;
        Ok(verdicts)
    }

    /// The committed offset of one partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Result<Option<CommittedOffset>, GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(None) };
        let entry = cell.entry.lock();
        Ok(entry.offsets.get(topic, partition).cloned())
    }

    /// Everything the group committed.
    pub fn all_committed(&self, group: &str) -> Result<Vec<(PartitionName, CommittedOffset)>, GroupError> {
        let Some(cell) = self.find(group)? else { return Ok(Vec::new()) };
        let entry = cell.entry.lock();
        Ok(entry.offsets.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// `None`: no such group.
    pub fn describe(&self, group: &str) -> Result<Option<GroupDescription>, GroupError> {
        Ok(self.find(group)?.map(|cell| describe(&cell)))
    }

    /// Every group of the partitions loaded so far.
    pub fn list(&self) -> Vec<GroupDescription> {
        let cells: Vec<_> = self.inner.groups.read().values().cloned().collect();
        let mut groups: Vec<_> = cells.iter().map(|cell| describe(cell)).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups
    }

    /// Deletes an empty group with its offsets.
    pub async fn delete(&self, group: &str) -> Result<(), GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let tombstones = {
            let entry = cell.entry.lock();
            match entry.group.phase() {
                Phase::Empty => {}
                Phase::Dead => return Err(GroupError::GroupIdNotFound),
                _ => return Err(GroupError::NonEmptyGroup),
            }
            let mut tombstones: Vec<LogRecord> = entry
                .offsets
                .iter()
                .map(|((topic, partition), _)| (offset_key(group, topic, *partition), None))
                .collect();
            tombstones.push((records::encode_key(&Key::Group { group: group.to_owned() }), None));
            tombstones
        };
        self.inner.append(cell.partition, tombstones).await?;
        self.inner.with(&cell, |_, entry, effects| entry.group.kill(effects));
        self.inner.groups.write().remove(group);
        Ok(())
    }

    /// Deletes committed offsets; one result per partition. Refused for topics that a member is subscribed to.
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[PartitionName],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = self.find(group)?.ok_or(GroupError::GroupIdNotFound)?;
        let verdicts: Vec<Result<(), GroupError>> = {
            let entry = cell.entry.lock();
            match entry.group.phase() {
                Phase::Dead => return Err(GroupError::GroupIdNotFound),
                Phase::Empty => vec![Ok(()); partitions.len()],
                _ if entry.group.protocol_type() != Some("consumer") => return Err(GroupError::NonEmptyGroup),
                _ => {
                    let subscribed: Vec<String> =
                        entry.group.members().flat_map(|m| subscribed_topics(&entry.group.subscription(m))).collect();
                    let verdict = |topic: &String| {
                        if subscribed.contains(topic) { Err(GroupError::GroupSubscribedToTopic) } else { Ok(()) }
                    };
                    partitions.iter().map(|(topic, _)| verdict(topic)).collect()
                }
            }
        };
        let gone = partitions.iter().zip(&verdicts).filter(|(_, v)| v.is_ok()).map(|(name, _)| (name.clone(), None));
        self.inner.write_offsets(&cell, gone.collect()).await?;
        Ok(verdicts)
    }

    /// A deleted topic takes its committed offsets with it.
    pub async fn on_topic_deleted(&self, topic: &str) {
        let cells: Vec<_> = self.inner.groups.read().values().cloned().collect();
        for cell in cells {
            let gone: Vec<_> = {
                let entry = cell.entry.lock();
                entry.offsets.iter().filter(|((t, _), _)| t == topic).map(|(name, _)| (name.clone(), None)).collect()
            };
            if !gone.is_empty()
                && let Err(error) = self.inner.write_offsets(&cell, gone).await
            {
                tracing::warn!(group = cell.name, topic, %error, "offsets of a deleted topic are left; they expire later");
            }
        }
    }
}

fn describe(cell: &Cell) -> GroupDescription {
    let entry = cell.entry.lock();
    let group = &entry.group;
    let members = group.members().map(|m| MemberDescription {
        member_id: m.id.clone(),
        instance_id: m.instance_id.clone(),
        client_id: m.client_id.clone(),
        client_host: m.client_host.clone(),
        metadata: group.subscription(m),
        assignment: m.assignment.clone(),
    });
    GroupDescription {
        group: cell.name.clone(),
        phase: group.phase(),
        protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
        protocol_name: group.protocol_name().unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    records::encode_key(&Key::Offset { group: group.to_owned(), topic: topic.to_owned(), partition })
}

/// Topics in a consumer protocol subscription: version i16, then an array of strings. Anything else has none.
fn subscribed_topics(subscription: &Bytes) -> Vec<String> {
    let bytes = &subscription[..];
    let mut topics = Vec::new();
    let read = |at: usize, n: usize| bytes.get(at..at + n);
    let Some(count) = read(2, 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]])) else { return topics };
    let mut at = 6;
    for _ in 0..count.max(0) {
        let Some(length) = read(at, 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]]))) else { return topics };
        let Some(name) = read(at + 2, length) else { return topics };
        topics.push(String::from_utf8_lossy(name).into_owned());
        at += 2 + length;
    }
    topics
}

impl Inner {
    fn cell(name: &str, partition: i32, group: Group) -> Arc<Cell> {
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
    fn with<R>(
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

    fn schedule(&self, cell: &Cell, entry: &mut Entry) {
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

    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, GroupError> {
        self.log.append(partition, records).await.map_err(|error| {
            tracing::error!(partition, error, "cannot write to __consumer_offsets");
            GroupError::CoordinatorNotAvailable
        })
    }

    async fn write_offsets(
        &self,
        cell: &Cell,
        offsets: Vec<(PartitionName, Option<CommittedOffset>)>,
    ) -> Result<(), GroupError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let records = offsets
            .iter()
            .map(|((topic, partition), committed)| {
                (offset_key(&cell.name, topic, *partition), committed.as_ref().map(records::encode_offset))
            })
            .collect();
        let first = self.append(cell.partition, records).await?;
        let mut entry = cell.entry.lock();
        for (i, (name, committed)) in offsets.into_iter().enumerate() {
            entry.offsets.apply(name, committed, first + i as i64);
        }
        Ok(())
    }

    async fn load(self: &Arc<Self>, partition: i32) -> Result<(), String> {
        let mut damaged = 0;
        let mut groups: HashMap<String, Option<StoredGroup>> = HashMap::new();
        let mut offsets: HashMap<String, Offsets> = HashMap::new();
        let mut visit = |at: Offset, key: Bytes, value: Option<Bytes>| {
            let applied = match records::decode_key(key) {
                Ok(Key::Offset { group, topic, partition }) => {
                    value.map(records::decode_offset).transpose().map(|committed| {
                        offsets.entry(group).or_default().apply((topic, partition), committed, at);
                    })
                }
                Ok(Key::Group { group }) => value.map(records::decode_group).transpose().map(|stored| {
                    groups.insert(group, stored);
                }),
                Ok(Key::Other { .. }) => Ok(()),
                Err(error) => Err(error),
            };
            if applied.is_err() {
                damaged += 1;
            }
        };
        self.log.read_all(partition, &mut visit).await?;
        if damaged > 0 {
            tracing::error!(partition, damaged, "records of __consumer_offsets that do not decode were passed over");
        }
        let now = now();
        let limits = &self.settings.limits;
        let mut cells = Vec::new();
        for (name, stored) in groups {
            let offsets = offsets.remove(&name).unwrap_or_default();
            let Some(stored) = stored else {
                if !offsets.is_empty() {
                    cells.push((name, Group::new(limits.clone(), now), offsets, false));
                }
                continue;
            };
            cells.push((name, Group::restore(limits.clone(), stored, now), offsets, true));
        }
        for (name, offsets) in offsets {
            if !offsets.is_empty() {
                cells.push((name, Group::new(limits.clone(), now), offsets, false));
            }
        }
        for (name, group, offsets, has_record) in cells {
            let cell = Inner::cell(&name, partition, group);
            {
                let mut entry = cell.entry.lock();
                entry.offsets = offsets;
                entry.has_record = has_record;
                self.schedule(&cell, &mut entry);
            }
            self.groups.write().insert(name, cell);
        }
        Ok(())
    }

    /// Drops expired offsets, and groups of which nothing is left.
    async fn expire(self: &Arc<Self>, now: Timestamp) {
        let cells: Vec<_> = self.groups.read().values().cloned().collect();
        for cell in cells {
            let (expired, dead) = {
                let entry = cell.entry.lock();
                let empty_since = entry.group.empty_since();
                let expired = entry.offsets.expired(now, empty_since, self.settings.offsets_retention_ms);
                let left = entry.offsets.iter().count() - expired.len();
                let idle = empty_since.is_some_and(|at| now.0 - at.0 > 60_000) && !entry.group.has_pending();
                (expired, idle && left == 0)
            };
            if !expired.is_empty() {
                tracing::info!(group = cell.name, count = expired.len(), "committed offsets expired");
                let gone = expired.into_iter().map(|name| (name, None)).collect();
                if self.write_offsets(&cell, gone).await.is_err() {
                    return;
                }
            }
            if dead {
                self.bury(&cell).await;
            }
        }
    }

    async fn bury(self: &Arc<Self>, cell: &Arc<Cell>) {
        if cell.entry.lock().has_record {
            let tombstone = (records::encode_key(&Key::Group { group: cell.name.clone() }), None);
            if self.append(cell.partition, vec![tombstone]).await.is_err() {
                return;
            }
        }
        let still_idle = self.with(cell, |_, entry, effects| {
            let idle = entry.group.phase() == Phase::Empty && entry.offsets.is_empty() && !entry.group.has_pending();
            if idle {
                entry.group.kill(effects);
            }
            idle
        });
        if still_idle {
            self.groups.write().remove(&cell.name);
        }
    }
}

async fn persist_group(inner: Arc<Inner>, cell: Arc<Cell>, generation: Generation, stored: StoredGroup) {
    let key = records::encode_key(&Key::Group { group: cell.name.clone() });
    let written = inner.append(cell.partition, vec![(key, Some(records::encode_group(&stored)))]).await;
    inner.with(&cell, |now, entry, effects| entry.group.persisted(now, generation, written.is_ok(), effects));
}

async fn load_all(inner: Arc<Inner>) {
    for partition in 0..inner.log.partitions() {
        let mut attempt = 0;
        let outcome = loop {
            match inner.load(partition).await {
                Ok(()) => break READY,
                Err(error) if attempt < 5 => {
                    attempt += 1;
                    tracing::warn!(partition, error, "loading __consumer_offsets failed; trying again");
                    tokio::time::sleep(Duration::from_millis(200 * attempt)).await;
                }
                Err(error) => {
                    tracing::error!(
                        partition,
                        error,
                        "groups of this partition cannot be served; repair the data folder and restart"
                    );
                    break FAILED;
                }
            }
        };
        inner.loaded[partition as usize].store(outcome, Ordering::Release);
    }
}

async fn tick_loop(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let first = strong.deadlines.lock().first().cloned();
        let wait = first.map_or(60_000, |(at, _)| (at.0 - now().0).max(0)) as u64;
        if wait > 0 {
            // Either way the deadlines are looked at again.
            let _ = tokio::time::timeout(Duration::from_millis(wait), strong.reschedule.notified()).await;
            continue;
        }
        let due: Vec<String> = {
            let mut deadlines = strong.deadlines.lock();
            let later = deadlines.split_off(&(Timestamp(now().0 + 1), String::new()));
            std::mem::replace(&mut *deadlines, later).into_iter().map(|(_, name)| name).collect()
        };
        for name in due {
            let Some(cell) = strong.groups.read().get(&name).cloned() else { continue };
            strong.with(&cell, |now, entry, effects| {
                entry.scheduled = None;
                entry.group.tick(now, effects);
            });
        }
    }
}

async fn expiry_loop(inner: Weak<Inner>) {
    loop {
        let Some(interval) = inner.upgrade().map(|i| i.settings.expiry_interval) else { return };
        tokio::time::sleep(interval).await;
        let Some(strong) = inner.upgrade() else { return };
        strong.expire(now()).await;
    }
}
