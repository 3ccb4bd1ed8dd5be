//! Fetch sessions (KIP-227): what a consumer wants is sent once, later requests and responses carry changes only.
//!
//! Owns the bounded cache of sessions and the rules of epochs. Never touches a log: the fetch hands results in and gets
//! back which of them the client must see. A crash leaves nothing behind: an unknown session answers
//! FETCH_SESSION_ID_NOT_FOUND and the client starts a new one.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use thiserror::Error;
use uuid::Uuid;

use super::FetchedPartition;
use crate::api::lookup::TopicRef;

/// One partition of a request or a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionRef {
    pub topic: TopicRef,
    pub partition: i32,
}

/// What the client wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The leader epoch the client believes in; None = it does not say.
    pub current_epoch: Option<i32>,
    pub offset: i64,
    /// Epoch of the last record the client has; only followers and truncation-aware readers send it.
    pub last_fetched_epoch: Option<i32>,
    pub max_bytes: i32,
}

/// Partitions in the order in which they are to be served.
pub type WantedPartitions = IndexMap<PartitionRef, Wanted>;

/// The session part of a fetch request, sentinels resolved by [`SessionRequest::classify`].
#[derive(Debug)]
pub struct SessionRequest {
    pub session_id: i32,
    pub session_epoch: i32,
    /// Version 13 and later.
    pub uses_topic_ids: bool,
    pub wanted: WantedPartitions,
    pub forgotten: Vec<PartitionRef>,
}

/// Why a session cannot be continued. The client answers each of these with a full fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FetchSessionError {
    #[error("fetch session {id} does not exist (closed, evicted, or of an earlier run of the broker)")]
    NotFound { id: i32 },
    #[error("fetch session {id} is at epoch {expected}, the request says {got}")]
    EpochMismatch { id: i32, expected: i32, got: i32 },
    #[error("fetch session {id} was made with topic {}, the request uses the other", if *made_with_ids { "ids" } else { "names" })]
    TopicNaming { id: i32, made_with_ids: bool },
}

/// Bounds of the cache.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    pub sessions: usize,
    /// All sessions together: this is what costs memory.
    pub partitions: usize,
    /// A session idle for less is not evicted for another one.
    pub idle_before_eviction_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits { sessions: 1000, partitions: 500_000, idle_before_eviction_ms: 120_000 }
    }
}

#[derive(Debug)]
struct Slot {
    wanted: Wanted,
    /// (high watermark, log start) the client knows; None = it must be told.
    seen: Option<(i64, i64)>,
    /// The columns and rows it was last answered for.
    asked: u64,
    served: bool,
}

#[derive(Debug)]
struct Session {
    uses_topic_ids: bool,
    /// The epoch the next request must carry.
    next_epoch: i32,
    slots: IndexMap<PartitionRef, Slot>,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    last_used_ms: u64,
    partitions: usize,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<i32, Entry>,
    partitions: usize,
}

/// All sessions of this broker.
#[derive(Debug, Default)]
pub struct SessionCache {
    limits: SessionLimits,
    table: Mutex<Table>,
}

/// The way one fetch is answered.
#[derive(Debug)]
pub enum FetchContext {
    /// No session: every partition is answered.
    Sessionless { wanted: WantedPartitions },
    /// First request of a session that is made when the answer is known.
    Full { wanted: WantedPartitions, uses_topic_ids: bool },
    /// A later request of session `id`.
    Incremental { id: i32, wanted: WantedPartitions, session: Arc<SessionHandle> },
}

/// A session in use by one request.
#[derive(Debug)]
pub struct SessionHandle(Arc<Mutex<Session>>);

impl FetchContext {
    /// What to read, in serving order.
    pub fn wanted(&self) -> &WantedPartitions {
        match self {
            FetchContext::Sessionless { wanted }
            | FetchContext::Full { wanted, .. }
            | FetchContext::Incremental { wanted, .. } => wanted,
        }
    }
}

enum Kind {
    /// Epoch -1: answer without a session, and close the named one.
    Sessionless,
    /// Epoch 0: make a session, and close the named one.
    Full,
    Incremental,
}

impl SessionRequest {
    fn classify(&self) -> Kind {
        match (self.session_epoch, self.session_id) {
            (-1, _) => Kind::Sessionless,
            (0, _) => Kind::Full,
            _ => Kind::Incremental,
        }
    }
}

fn epoch_after(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl SessionCache {
    pub fn new(limits: SessionLimits) -> Self {
        SessionCache { limits, table: Mutex::default() }
    }

    /// Sessions held now.
    pub fn len(&self) -> usize {
        self.table.lock().entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens the context of one request: applies its changes to its session and checks its epoch.
    pub fn begin(&self, now_ms: u64, request: SessionRequest) -> Result<FetchContext, FetchSessionError> {
        let kind = request.classify();
        if matches!(kind, Kind::Sessionless | Kind::Full) {
            if request.session_id != 0 {
                self.table.lock().remove(request.session_id);
            }
            let SessionRequest { wanted, uses_topic_ids, .. } = request;
            return Ok(match kind {
                Kind::Full if !wanted.is_empty() => FetchContext::Full { wanted, uses_topic_ids },
                _ => FetchContext::Sessionless { wanted },
            });
        }
        let id = request.session_id;
        let session = {
            let mut table = self.table.lock();
            let entry = table.entries.get_mut(&id).ok_or(FetchSessionError::NotFound { id })?;
            entry.last_used_ms = now_ms;
            Arc::clone(&entry.session)
        };
        let (wanted, size) = {
            let mut state = session.lock();
            if state.next_epoch != request.session_epoch {
                return Err(FetchSessionError::EpochMismatch {
                    id,
                    expected: state.next_epoch,
                    got: request.session_epoch,
                });
            }
            if state.uses_topic_ids != request.uses_topic_ids {
                return Err(FetchSessionError::TopicNaming { id, made_with_ids: state.uses_topic_ids });
            }
            state.next_epoch = epoch_after(state.next_epoch);
            state.apply(request.wanted, request.forgotten);
            (state.wanted(), state.slots.len())
        };
        let mut table = self.table.lock();
        if size == 0 {
            table.remove(id);
            return Ok(FetchContext::Sessionless { wanted });
        }
        table.resize(id, size);
        drop(table);
        Ok(FetchContext::Incremental { id, wanted, session: Arc::new(SessionHandle(session)) })
    }

    /// Closes the context: keeps in `results` what the client must see and returns the session id to answer (0 = none).
    pub fn finish(&self, now_ms: u64, context: FetchContext, results: &mut Vec<FetchedPartition>) -> i32 {
        match context {
            FetchContext::Sessionless { .. } => 0,
            FetchContext::Full { wanted, uses_topic_ids } => {
                let mut slots: IndexMap<PartitionRef, Slot> = wanted
                    .into_iter()
                    .map(|(key, wanted)| (key, Slot { wanted, seen: None, asked: 0, served: false }))
                    .collect();
                for result in results.iter() {
                    if let Some(slot) = slots.get_mut(&result.key) {
                        slot.note(result);
                    }
                }
                let mut session = Session { uses_topic_ids, next_epoch: 1, slots };
                session.rotate();
                self.insert(now_ms, session)
            }
            FetchContext::Incremental { id, session, .. } => {
                let mut session = session.0.lock();
                results.retain(|result| session.slots.get_mut(&result.key).is_some_and(|slot| slot.note(result)));
                session.rotate();
                id
            }
        }
    }

    /// 0 when the cache is full of sessions in use.
    fn insert(&self, now_ms: u64, session: Session) -> i32 {
        let size = session.slots.len();
        let mut table = self.table.lock();
        while table.entries.len() >= self.limits.sessions || table.partitions + size > self.limits.partitions {
            let idlest = table.entries.iter().min_by_key(|(_, entry)| entry.last_used_ms);
            match idlest.map(|(id, entry)| (*id, entry.last_used_ms)) {
                Some((id, used)) if now_ms.saturating_sub(used) >= self.limits.idle_before_eviction_ms => {
                    table.remove(id)
                }
                _ => return 0,
            }
        }
        let id = loop {
            // Random, so that a client of an earlier run of the broker does not continue somebody else's session.
            let id = (Uuid::new_v4().as_u128() as i32) & i32::MAX;
            if id != 0 && !table.entries.contains_key(&id) {
                break id;
            }
        };
        table.partitions += size;
        let session = Arc::new(Mutex::new(session));
        table.entries.insert(id, Entry { session, last_used_ms: now_ms, partitions: size });
        id
    }
}

impl Table {
    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.partitions -= entry.partitions;
        }
    }

    fn resize(&mut self, id: i32, size: usize) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.partitions = self.partitions - entry.partitions + size;
            entry.partitions = size;
        }
    }
}

impl Session {
    fn apply(&mut self, wanted: WantedPartitions, forgotten: Vec<PartitionRef>) {
        if !forgotten.is_empty() {
            let forgotten: HashSet<PartitionRef> = forgotten.into_iter().collect();
            self.slots.retain(|key, _| !forgotten.contains(key));
        }
        for (key, wanted) in wanted {
            match self.slots.get_mut(&key) {
                Some(slot) => slot.wanted = wanted,
                None => {
                    self.slots.insert(key, Slot { wanted, seen: None, asked: 0, served: false });
                }
            }
        }
    }

    fn wanted(&self) -> WantedPartitions {
        self.slots.iter().map(|(key, slot)| (key.clone(), slot.wanted.clone())).collect()
    }

    /// Partitions that returned data go to the back, so that the size limits starve nobody.
    fn rotate(&mut self) {
        if self.slots.len() > 1 && self.slots.values().any(|slot| slot.served) {
            self.slots.sort_by(|_, a, _, b| a.served.cmp(&b.served));
        }
        for slot in self.slots.values_mut() {
            slot.served = false;
        }
    }
}

impl Slot {
    /// Notes what the client is told; true if it has to be told.
    fn note(&mut self, result: &FetchedPartition) -> bool {
        // Rows that were filtered out move the position, and the client cannot know that unless it is told.
        let moved = result.columnar.as_ref().is_some_and(|columns| columns.next_fetch_offset != self.wanted.offset);
        let ends = (result.high_watermark, result.log_start);
        let changed = self.seen != Some(ends) || self.asked != result.asked;
        self.asked = result.asked;
        self.served = result.records_bytes() > 0;
        // After an error everything is sent again once it is gone.
        self.seen = if result.is_plain() { Some(ends) } else { None };
        changed || self.served || moved || !result.is_plain()
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
