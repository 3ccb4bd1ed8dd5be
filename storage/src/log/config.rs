//! Resolved settings of the engine and of one topic. Parsing and defaults for users are the broker's; these are values.

use std::sync::Arc;

use crate::cpu::CpuPool;
use crate::memory::MemoryBudget;
use crate::segment::{ColumnFormat, ColumnLayout};

/// What "durable" means for an acknowledgement with acks=all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the device before it is acknowledged (survives a power cut).
    Fsync,
    /// Written to the operating system (survives a kill of the process); synced in the background.
    Os,
}

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    pub durability: Durability,
    /// Log shards; 0 = one for each core.
    pub shards: usize,
    /// Size at which a WAL file is sealed.
    pub wal_file_bytes: u64,
    /// Total size of WAL files above which the oldest are merged away.
    pub wal_max_bytes: u64,
    /// Total size of WAL files above which produce waits for merges.
    pub wal_throttle_bytes: u64,
    /// Age above which a WAL file with data is merged away.
    pub wal_max_age_ms: u64,
    /// Unmerged bytes at which a partition gets a segment of its own.
    pub merge_partition_bytes: u64,
    /// Every buffer draws on it: batches on their way to the disk, the hot tail, what is read and merged.
    pub memory: MemoryBudget,
    /// Threads of merge and compaction; requests use them too.
    pub cpu: CpuPool,
    /// The largest commit: larger backlogs are split.
    pub commit_max_bytes: u64,
    /// Under [`Durability::Os`]: time between background syncs.
    pub os_sync_interval_ms: u64,
    /// Time between attempts to write the log while the disk is full or failing.
    pub wal_retry_interval_ms: u64,
    /// How often retention, compaction and merge are looked at.
    pub housekeeping_interval_ms: u64,
    /// Producer state without a write for so long is dropped (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: u64,
    /// Opens column files; `None` where no topic has columns.
    pub columns: Option<Arc<dyn ColumnFormat>>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            durability: Durability::Fsync,
            shards: 0,
            wal_file_bytes: 64 << 20,
            wal_max_bytes: 512 << 20,
            wal_throttle_bytes: 1 << 30,
            wal_max_age_ms: 10 * 60 * 1000,
            merge_partition_bytes: 32 << 20,
            memory: MemoryBudget::new(1 << 30),
            cpu: CpuPool::default(),
            commit_max_bytes: 8 << 20,
            os_sync_interval_ms: 1000,
            wal_retry_interval_ms: 200,
            housekeeping_interval_ms: 1000,
            producer_id_expiration_ms: 24 * 3600 * 1000,
            columns: None,
        }
    }
}

/// `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// In which forms a merge writes the records of a topic (`weir.layout`). Little data at a time is written as rows whatever this says.
#[derive(Debug, Clone, Default)]
pub enum Layout {
    /// Batches as their producers framed them.
    #[default]
    Row,
    /// Columns, and rows beside them for so many milliseconds.
    Column { layout: Arc<dyn ColumnLayout>, row_retention_ms: u64 },
    /// Columns and rows.
    Both { layout: Arc<dyn ColumnLayout> },
}

impl Layout {
    /// How to make columns, if they are wanted.
    pub fn columns(&self) -> Option<&Arc<dyn ColumnLayout>> {
        match self {
            Layout::Row => None,
            Layout::Column { layout, .. } | Layout::Both { layout } => Some(layout),
        }
    }

    /// Whether a merge writes rows beside the columns.
    pub fn rows_too(&self) -> bool {
        !matches!(self, Layout::Column { row_retention_ms: 0, .. })
    }
}

impl PartialEq for Layout {
    /// Two layouts of a table are equal when they are one.
    fn eq(&self, other: &Layout) -> bool {
        match (self, other) {
            (Layout::Row, Layout::Row) => true,
            (Layout::Both { layout: a }, Layout::Both { layout: b }) => Arc::ptr_eq(a, b),
            (
                Layout::Column { layout: a, row_retention_ms: ms },
                Layout::Column { layout: b, row_retention_ms: other_ms },
            ) => Arc::ptr_eq(a, b) && ms == other_ms,
            _ => false,
        }
    }
}

/// Retention keeps what somebody else does not have yet (see the module `retention`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// Bytes of the whole topic that are kept beyond what retention allows; the oldest of them go beyond it. `None`: as much as
    /// all gates together may.
    pub max_bytes: Option<u64>,
}

/// Settings of one topic that its logs need. `None` = unlimited (Kafka's -1).
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    pub cleanup: CleanupPolicy,
    pub retention_ms: Option<u64>,
    pub retention_bytes: Option<u64>,
    /// `None`: nobody is waited for.
    pub gate: Option<Gate>,
    /// Target size of a merged segment; also the grain of retention.
    pub segment_bytes: u64,
    pub segment_ms: u64,
    pub delete_retention_ms: u64,
    pub min_compaction_lag_ms: u64,
    pub max_compaction_lag_ms: Option<u64>,
    pub min_cleanable_dirty_ratio: f64,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    pub layout: Layout,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            cleanup: CleanupPolicy { delete: true, compact: false },
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            gate: None,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            delete_retention_ms: 24 * 3600 * 1000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: None,
            min_cleanable_dirty_ratio: 0.5,
            log_append_time: false,
            layout: Layout::Row,
        }
    }
}
