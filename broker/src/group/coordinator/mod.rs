//! The coordinator: groups by name, each behind a lock of its own, joined with log, clock and waiting clients.
//!
//! One task ticks the groups whose deadline has come; an idle group costs no task. Locks are held for moments, never across
//! an await. A client that goes away while it waits only drops its end of a channel.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use weir_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use weir_storage::log::{AppendError, TransactionGuard};

use super::configs::GroupConfigs;
use super::consumer::ConsumerLimits;
use super::records;
use super::state::{Group, GroupError, GroupLimits};
use crate::topics::TopicImage;
use room::{Cell, Inner, Kind, LOADING, READY};

mod admin;
mod classic;
mod commits;
mod consumer;
mod expiry;
mod load;
mod room;
mod share;
#[cfg(test)]
mod tests;
mod transactions;

pub use admin::{ConsumerDescription, GroupDescription, GroupType, MemberDescription};
pub use commits::Committer;
pub use share::{ShareDescription, ShareGroupNow};
pub use transactions::TransactionalCommit;

/// Settings of all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    pub limits: GroupLimits,
    pub consumer: ConsumerLimits,
    /// Most members of a share group.
    pub share_max_size: usize,
    pub offsets_retention_ms: i64,
    pub offset_metadata_max_bytes: usize,
    /// How often expired offsets are looked for.
    pub expiry_interval: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            limits: GroupLimits::default(),
            consumer: ConsumerLimits::default(),
            share_max_size: 200,
            offsets_retention_ms: 7 * 24 * 3600 * 1000,
            offset_metadata_max_bytes: 4096,
            expiry_interval: Duration::from_secs(600),
        }
    }
}

/// Tells the topics as they are at the moment.
pub type TopicsNow = Arc<dyn Fn() -> Arc<TopicImage> + Send + Sync>;

/// A record for `__consumer_offsets`; no value is a tombstone.
pub type LogRecord = (Bytes, Option<Bytes>);

/// Where groups are kept.
#[async_trait]
pub trait OffsetsLog: Send + Sync + 'static {
    fn partitions(&self) -> i32;
    /// Appends; durable when it returns. The offset is that of the first record.
    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, String>;
    /// Appends records that count only once the transaction commits.
    async fn append_transactional(
        &self,
        partition: i32,
        records: Vec<LogRecord>,
        writer: TransactionalWriter,
    ) -> Result<Offset, AppendError>;
    /// Everything from the start, in order.
    async fn read_all(&self, partition: i32, visit: &mut (dyn FnMut(LogEntry) + Send)) -> Result<(), String>;
}

/// The producer on whose behalf a transactional batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionalWriter {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// `None`: its transaction is open on this partition already.
    pub guard: Option<TransactionGuard>,
}

/// What a log of state gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEntry {
    Record {
        offset: Offset,
        key: Bytes,
        /// No value is a tombstone.
        value: Option<Bytes>,
        /// Counts only if the transaction of this producer that is open here commits.
        transaction_of: Option<ProducerId>,
    },
    /// The producer's transaction ended here.
    Marker { producer_id: ProducerId, commit: bool },
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

impl Coordinator {
    /// From now on these settings hold. How often expired offsets are looked for changes after the next look.
    pub fn set_settings(&self, settings: GroupSettings) {
        self.inner.set_settings(settings);
    }

    /// Starts loading; requests for groups of partitions that are not loaded yet are told so.
    pub fn start(
        settings: GroupSettings,
        log: Arc<dyn OffsetsLog>,
        topics: TopicsNow,
        configs: Arc<GroupConfigs>,
    ) -> Coordinator {
        let inner = Inner::new(settings, log, topics, configs);
        tokio::spawn(load::load_all(inner.clone()));
        tokio::spawn(expiry::tick_loop(Arc::downgrade(&inner)));
        tokio::spawn(expiry::expiry_loop(Arc::downgrade(&inner)));
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
        let cell = groups.entry(group.to_owned()).or_insert_with(|| {
            let empty = Group::new(self.inner.settings().limits.clone(), now());
            Inner::cell(group, partition, Kind::Classic(empty))
        });
        Ok(cell.clone())
    }
}
