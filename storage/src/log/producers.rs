//! Idempotence and transactions: what each producer appended last to one partition. Pure; time and batches arrive as data.
//!
//! Rules (KIP-98 and Kafka's ProducerStateManager): the last five batches of a producer are kept; a batch equal to one of
//! them is a duplicate and answered with the first offsets; a new epoch starts at sequence 0; no state at all accepts any
//! sequence; sequences wrap from i32::MAX to 0.
//!
//! Transactions: the first transactional batch opens one, the marker ends it. A batch that would open one needs a
//! [`TransactionGuard`], taken before the coordinator was asked: a marker written since makes it void, so that a late batch
//! never opens a transaction that nobody will end (KIP-890). The index of aborted transactions has an entry of four numbers
//! for each one that ended in the retained log; entries go with the log start.
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use weir_protocol::ids::Offset;
use weir_protocol::records::batch::BatchHeader;

const BATCHES_KEPT: usize = 5;
const NO_EPOCH: i16 = -1;
const NO_COORDINATOR: i32 = -1;

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
    /// Epoch of the coordinator that wrote the last marker; -1: none did.
    #[serde(default = "no_coordinator")]
    pub coordinator_epoch: i32,
    /// Markers since this process began: what guards compare.
    #[serde(skip)]
    markers: u64,
}

fn no_coordinator() -> i32 {
    NO_COORDINATOR
}

impl ProducerState {
    fn new(epoch: i16, now_ms: i64) -> ProducerState {
        ProducerState {
            epoch,
            batches: VecDeque::new(),
            last_ms: now_ms,
            transaction_start: None,
            coordinator_epoch: NO_COORDINATOR,
            markers: 0,
        }
    }

    /// Sequence of the last record; -1: none is known.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// Proof that a transaction was asked for at the coordinator after all markers so far were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionGuard {
    markers: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Append,
    Duplicate(AppendedBatch),
    OutOfOrder {
        expected: i32,
    },
    StaleEpoch {
        current: i16,
    },
    /// A transactional batch, but no transaction is open and none was verified.
    NoTransaction,
    /// A plain batch of a producer whose transaction is open.
    NotTransactional,
    /// A marker of a coordinator that was replaced.
    StaleCoordinator {
        current: i32,
    },
}

/// A finished aborted transaction: read_committed readers skip the records of `producer_id` in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(i64, i64, i64, i64)", from = "(i64, i64, i64, i64)")]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of the abort marker.
    pub last_offset: i64,
    /// No transaction that ended after this one began before.
    pub later_from: i64,
}

impl From<Aborted> for (i64, i64, i64, i64) {
    fn from(a: Aborted) -> Self {
        (a.producer_id, a.first_offset, a.last_offset, a.later_from)
    }
}

impl From<(i64, i64, i64, i64)> for Aborted {
    fn from((producer_id, first_offset, last_offset, later_from): (i64, i64, i64, i64)) -> Self {
        Aborted { producer_id, first_offset, last_offset, later_from }
    }
}

/// What a transaction marker says beyond its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers {
    by_id: BTreeMap<i64, ProducerState>,
    /// Ends of transactions whose marker is not yet durable, marker offset -> first offset: they still hold the LSO.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    completing: BTreeMap<i64, i64>,
    /// By marker offset, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aborted: Vec<Aborted>,
    /// Open transactions, first offset -> producer: follows from `by_id`.
    #[serde(skip)]
    open: BTreeMap<i64, i64>,
}

impl Producers {
    /// As it comes out of a checkpoint.
    pub fn restored(mut self) -> Producers {
        self.open = self.by_id.iter().filter_map(|(id, p)| Some((p.transaction_start?, *id))).collect();
        self
    }

    /// Whether a data batch of a client may be appended.
    pub fn check(&self, header: &BatchHeader, guard: Option<TransactionGuard>) -> Verdict {
        if header.producer_id < 0 {
            return Verdict::Append;
        }
        let state = self.by_id.get(&header.producer_id);
        // A coordinator writes on behalf of a producer without sequences.
        let sequenced = header.base_sequence >= 0;
        if let Some(state) = state.filter(|state| sequenced && state.epoch == header.producer_epoch)
            && let Some(duplicate) = state.duplicate_of(header)
        {
            return Verdict::Duplicate(duplicate);
        }
        let verdict = state.map_or(Verdict::Append, |state| state.check_sequence(header, sequenced));
        if verdict != Verdict::Append {
            return verdict;
        }
        let open = state.is_some_and(|s| s.transaction_start.is_some() && s.epoch == header.producer_epoch);
        match header.attributes.is_transactional() {
            false if open => Verdict::NotTransactional,
            true if !open && guard != Some(self.guard(header.producer_id)) => Verdict::NoTransaction,
            _ => Verdict::Append,
        }
    }

    fn guard(&self, producer_id: i64) -> TransactionGuard {
        TransactionGuard { markers: self.by_id.get(&producer_id).map_or(0, |state| state.markers) }
    }

    /// `None`: the producer's transaction is open here, its batches need no guard. Otherwise one to verify against.
    pub fn transaction_guard(&self, producer_id: i64, epoch: i16) -> Option<TransactionGuard> {
        let open = |s: &ProducerState| s.transaction_start.is_some() && s.epoch == epoch;
        (!self.by_id.get(&producer_id).is_some_and(open)).then(|| self.guard(producer_id))
    }

    /// Whether a marker may be appended.
    pub fn check_marker(&self, header: &BatchHeader, marker: Marker) -> Verdict {
        match self.by_id.get(&header.producer_id) {
            Some(state) if header.producer_epoch < state.epoch => Verdict::StaleEpoch { current: state.epoch },
            Some(state) if marker.coordinator_epoch < state.coordinator_epoch => {
                Verdict::StaleCoordinator { current: state.coordinator_epoch }
            }
            _ => Verdict::Append,
        }
    }

    /// Every producer with state, by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerState)> {
        self.by_id.iter().map(|(id, state)| (*id, state))
    }

    /// Records an accepted data batch. `now_ms`: when it was appended, for expiry.
    pub fn record(&mut self, header: &BatchHeader, log_append_time: Option<i64>, now_ms: i64) {
        if header.producer_id < 0 {
            return;
        }
        let state =
            self.by_id.entry(header.producer_id).or_insert_with(|| ProducerState::new(header.producer_epoch, now_ms));
        if state.epoch != header.producer_epoch {
            state.epoch = header.producer_epoch;
            state.batches.clear();
        }
        state.last_ms = now_ms;
        if header.base_sequence >= 0 {
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
        }
        if header.attributes.is_transactional() && state.transaction_start.is_none() {
            state.transaction_start = Some(header.base_offset.0);
            self.open.insert(header.base_offset.0, header.producer_id);
        }
    }

    /// Records a transaction marker.
    pub fn record_marker(&mut self, header: &BatchHeader, marker: Marker, now_ms: i64) {
        if header.producer_id < 0 {
            return;
        }
        let state =
            self.by_id.entry(header.producer_id).or_insert_with(|| ProducerState::new(header.producer_epoch, now_ms));
        if state.epoch != header.producer_epoch {
            state.epoch = header.producer_epoch;
            state.batches.clear();
        }
        state.last_ms = now_ms;
        state.coordinator_epoch = marker.coordinator_epoch;
        state.markers += 1;
        if let Some(first_offset) = state.transaction_start.take() {
            let last_offset = header.base_offset.0;
            self.open.remove(&first_offset);
            self.completing.insert(last_offset, first_offset);
            if !marker.commit {
                let later_from = self.open.first_key_value().map_or(last_offset + 1, |(first, _)| *first);
                self.aborted.push(Aborted { producer_id: header.producer_id, first_offset, last_offset, later_from });
            }
        }
    }

    /// The last stable offset under a high watermark, forgetting what the watermark has passed.
    pub fn last_stable(&mut self, high_watermark: Offset) -> Offset {
        if self.completing.is_empty() && self.open.is_empty() {
            return high_watermark;
        }
        self.completing = self.completing.split_off(&high_watermark.0);
        let open = self.open.first_key_value().map(|(first, _)| *first);
        let completing = self.completing.values().copied().min();
        let first = open.into_iter().chain(completing).min();
        first.map_or(high_watermark, |first| Offset(first).min(high_watermark))
    }

    /// Aborted transactions that overlap `[from, to)`.
    pub fn aborted_in(&self, from: Offset, to: Offset) -> impl Iterator<Item = &Aborted> {
        let ended_before = self.aborted.partition_point(|a| a.last_offset < from.0);
        let mut done = false;
        self.aborted[ended_before..]
            .iter()
            .take_while(move |a| !std::mem::replace(&mut done, a.later_from >= to.0))
            .filter(move |a| a.first_offset < to.0)
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

impl ProducerState {
    fn duplicate_of(&self, header: &BatchHeader) -> Option<AppendedBatch> {
        let same =
            |b: &&AppendedBatch| b.first_sequence == header.base_sequence && b.last_sequence == header.last_sequence();
        self.batches.iter().find(same).copied()
    }

    fn check_sequence(&self, header: &BatchHeader, sequenced: bool) -> Verdict {
        if header.producer_epoch < self.epoch {
            return Verdict::StaleEpoch { current: self.epoch };
        }
        if !sequenced {
            return Verdict::Append;
        }
        let expected = match self.batches.back() {
            _ if self.epoch == NO_EPOCH => return Verdict::Append,
            // A new epoch begins at 0, also one that a marker brought (KIP-890).
            _ if header.producer_epoch > self.epoch => 0,
            None => 0,
            Some(last) => next_sequence(last.last_sequence),
        };
        if header.base_sequence == expected { Verdict::Append } else { Verdict::OutOfOrder { expected } }
    }
}

fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
#[path = "producers_tests.rs"]
mod tests;
