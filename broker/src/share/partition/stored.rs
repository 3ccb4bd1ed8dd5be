//! What of a share partition survives the process.
use super::{RecordState, SharePartition};

/// Kafka's numbers of stored states. Acquired records are stored as available: nobody has them after a restart.
pub const AVAILABLE: i8 = 0;
pub const ACKNOWLEDGED: i8 = 2;
pub const ARCHIVED: i8 = 4;

/// Offsets of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatch {
    pub first: i64,
    pub last: i64,
    pub state: i8,
    pub deliveries: i16,
}

/// A share partition as it is stored; what no batch names is available and was never delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPartition {
    pub state_epoch: i32,
    /// `None`: the group has this partition and has not begun to read it.
    pub start: Option<i64>,
    pub delivery_complete: i64,
    /// In order, not overlapping.
    pub batches: Vec<StateBatch>,
}

impl SharePartition {
    /// What has to be stored. A delivery that has not ended does not count yet.
    pub fn stored(&self) -> StoredPartition {
        let mut batches: Vec<StateBatch> = Vec::new();
        for (first, run) in &self.runs {
            let (state, deliveries) = match run.state {
                RecordState::Available => (AVAILABLE, run.deliveries),
                RecordState::Acquired { .. } => (AVAILABLE, run.deliveries.saturating_sub(1)),
                RecordState::Acknowledged => (ACKNOWLEDGED, run.deliveries),
                RecordState::Archived => (ARCHIVED, run.deliveries),
            };
            if state == AVAILABLE && deliveries == 0 {
                continue;
            }
            match batches.last_mut() {
                Some(b) if b.last + 1 == *first && (b.state, b.deliveries) == (state, deliveries) => b.last = run.last,
                _ => batches.push(StateBatch { first: *first, last: run.last, state, deliveries }),
            }
        }
        StoredPartition {
            state_epoch: self.state_epoch,
            start: Some(self.start),
            delivery_complete: self.delivery_complete(),
            batches,
        }
    }

    /// The partition as it was stored. Batches that contradict each other are passed over: they can only have been written by
    /// something else, and what they say of is delivered again. `None`: the group has not begun to read.
    pub fn restore(stored: &StoredPartition) -> Option<SharePartition> {
        let mut partition = SharePartition::new(stored.start?, stored.state_epoch);
        for batch in &stored.batches {
            let state = match batch.state {
                AVAILABLE => RecordState::Available,
                ACKNOWLEDGED => RecordState::Acknowledged,
                ARCHIVED => RecordState::Archived,
                _ => continue,
            };
            let first = batch.first.max(partition.next);
            if batch.last < first || batch.last == i64::MAX {
                continue;
            }
            if first > partition.next {
                partition.append(first - 1, RecordState::Available, 0);
            }
            partition.append(batch.last, state, batch.deliveries.max(0));
        }
        partition.changed();
        partition.revision = 0;
        Some(partition)
    }
}
