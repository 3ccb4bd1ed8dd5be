//! Idempotence: what each producer appended last to one partition. Pure; time and batches arrive as data.
//!
//! Rules (KIP-98 and Kafka's ProducerStateManager): the last five batches of a producer are kept; a batch equal to one of
//! them is a duplicate and answered with the first offsets; a new epoch starts at sequence 0; no state at all accepts any
//! sequence; sequences wrap from i32::MAX to 0.
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::BatchHeader;

const BATCHES_KEPT: usize = 5;
const NO_EPOCH: i16 = -1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendedBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub last_offset: i64,
    /// Log append time as answered, -1 under CreateTime.
    pub timestamp: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    pub epoch: i16,
    /// Oldest first.
    pub batches: VecDeque<AppendedBatch>,
    /// When the producer last wrote, ms: for expiry.
    pub last_ms: i64,
    /// First offset of the open transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_start: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Append,
    Duplicate(AppendedBatch),
    OutOfOrder { expected: i32 },
    StaleEpoch { current: i16 },
}

/// A finished aborted transaction: read_committed readers skip the records of `producer_id` in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of the abort marker.
    pub last_offset: i64,
}

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers {
    by_id: BTreeMap<i64, ProducerState>,
    /// Ends of transactions whose marker is not yet durable, marker offset -> first offset: they still hold the LSO.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    completing: BTreeMap<i64, i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aborted: Vec<Aborted>,
}

impl Producers {
    pub fn check(&self, header: &BatchHeader) -> Verdict {
        if header.producer_id < 0 {
            return Verdict::Append;
        }
        let Some(state) = self.by_id.get(&header.producer_id) else { return Verdict::Append };
        if header.producer_epoch < state.epoch {
            return Verdict::StaleEpoch { current: state.epoch };
        }
        let first = header.base_sequence;
        if header.producer_epoch > state.epoch {
            let starts = first == 0 || state.epoch == NO_EPOCH;
            return if starts { Verdict::Append } else { Verdict::OutOfOrder { expected: 0 } };
        }
        let same = |b: &&AppendedBatch| b.first_sequence == first && b.last_sequence == header.last_sequence();
        if let Some(batch) = state.batches.iter().find(same) {
            return Verdict::Duplicate(*batch);
        }
        match state.batches.back() {
            None => Verdict::Append,
            Some(last) => {
                let expected = next_sequence(last.last_sequence);
                if first == expected { Verdict::Append } else { Verdict::OutOfOrder { expected } }
            }
        }
    }

    /// Records an accepted data batch. `now_ms`: when it was appended, for expiry.
    pub fn record(&mut self, header: &BatchHeader, log_append_time: Option<i64>, now_ms: i64) {
        if header.producer_id < 0 {
            return;
        }
        let state = self.by_id.entry(header.producer_id).or_insert_with(|| ProducerState {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            last_ms: now_ms,
            transaction_start: None,
        });
        if state.epoch != header.producer_epoch {
            state.epoch = header.producer_epoch;
            state.batches.clear();
        }
        state.last_ms = now_ms;
        if state.batches.len() == BATCHES_KEPT {
            state.batches.pop_front();
        }
        state.batches.push_back(AppendedBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            timestamp: log_append_time.unwrap_or(-1),
        });
        if header.attributes.is_transactional() && state.transaction_start.is_none() {
            state.transaction_start = Some(header.base_offset.0);
        }
    }

    /// Records a transaction marker.
    pub fn record_marker(&mut self, header: &BatchHeader, commit: bool, now_ms: i64) {
        let state = self.by_id.entry(header.producer_id).or_insert_with(|| ProducerState {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            last_ms: now_ms,
            transaction_start: None,
        });
        if state.epoch != header.producer_epoch {
            state.epoch = header.producer_epoch;
            state.batches.clear();
        }
        state.last_ms = now_ms;
        if let Some(first_offset) = state.transaction_start.take() {
            let last_offset = header.base_offset.0;
            self.completing.insert(last_offset, first_offset);
            if !commit {
                self.aborted.push(Aborted { producer_id: header.producer_id, first_offset, last_offset });
            }
        }
    }

    /// The last stable offset under a high watermark, forgetting what the watermark has passed.
    pub fn last_stable(&mut self, high_watermark: Offset) -> Offset {
        if self.completing.is_empty() && self.by_id.is_empty() {
            return high_watermark;
        }
        self.completing = self.completing.split_off(&high_watermark.0);
        let open = self.by_id.values().filter_map(|p| p.transaction_start).min();
        let completing = self.completing.values().copied().min();
        let first = open.into_iter().chain(completing).min();
        first.map_or(high_watermark, |first| Offset(first).min(high_watermark))
    }

    /// Aborted transactions that overlap `[from, to)`.
    pub fn aborted_in(&self, from: Offset, to: Offset) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |a| a.first_offset < to.0 && a.last_offset >= from.0)
    }

    /// Forgets aborted transactions wholly below the log start.
    pub fn truncate_front(&mut self, log_start: Offset) {
        self.aborted.retain(|a| a.last_offset >= log_start.0);
    }

    /// Forgets producers idle since before `before_ms`, except those with an open transaction.
    pub fn expire(&mut self, before_ms: i64) {
        self.by_id.retain(|_, p| p.last_ms >= before_ms || p.transaction_start.is_some());
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}
