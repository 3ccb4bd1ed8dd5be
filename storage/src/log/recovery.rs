//! From checkpoint and WAL to the state of every partition. Runs before anything is served.
use std::collections::{BTreeSet, HashMap};

use weir_protocol::ids::{Offset, Timestamp, TopicId};
use weir_protocol::records::batch::BatchHeader;

use super::engine::{OpenError, TopicSpec, now};
use super::manifest::{self, Checkpoint, Record, SegmentRef, Swap};
use super::state::State;
use super::timestamps;
use super::types::{BatchForm, PartitionKey};
use crate::disk::Disk;
use crate::segment::SegmentStore;
use crate::wal::{EntryKind, ReplayedEntry, WalStart};

struct Recovering {
    state: State,
    /// Producers and epochs of batches below are in the checkpoint.
    state_end: Offset,
}

pub(super) struct Replay<'a> {
    checkpoint_generation: u64,
    start: WalStart,
    next_segment: u64,
    topics: &'a [TopicSpec],
    deleted: &'a (dyn Fn(TopicId) -> bool + Sync),
    partitions: HashMap<PartitionKey, Recovering>,
    quarantined: BTreeSet<TopicId>,
    now: Timestamp,
}

pub(super) struct Replayed {
    pub states: Vec<(PartitionKey, State)>,
    pub quarantined: Vec<TopicId>,
    pub generation: u64,
    pub next_segment: u64,
    pub references: HashMap<u64, usize>,
}

impl<'a> Replay<'a> {
    pub fn begin(
        disk: &dyn Disk,
        topics: &'a [TopicSpec],
        deleted: &'a (dyn Fn(TopicId) -> bool + Sync),
    ) -> Result<Self, OpenError> {
        let (checkpoint, keep_from) = manifest::load(disk)?;
        let Checkpoint { generation, first_file, first_sequence, next_segment, partitions, .. } = checkpoint;
        let mut replay = Replay {
            checkpoint_generation: generation,
            start: WalStart { file: first_file, sequence: first_sequence, keep_from },
            next_segment,
            topics,
            deleted,
            partitions: HashMap::new(),
            quarantined: BTreeSet::new(),
            now: now(),
        };
        for checkpoint in partitions {
            let state_end = Offset(checkpoint.state_end);
            if let Some(recovering) = replay.partition(checkpoint.key.into()) {
                recovering.state.restore(checkpoint);
                recovering.state_end = state_end;
            }
        }
        Ok(replay)
    }

    pub fn start(&self) -> WalStart {
        self.start
    }

    /// The partition, made when it is first met; `None` when its topic was deleted.
    fn partition(&mut self, key: PartitionKey) -> Option<&mut Recovering> {
        if !self.partitions.contains_key(&key) {
            let spec = self.topics.iter().find(|t| t.topic == key.topic);
            let config = match spec {
                Some(spec) => spec.config.clone(),
                None if (self.deleted)(key.topic) => return None,
                None => {
                    if self.quarantined.insert(key.topic) {
                        tracing::error!(
                            topic = %key.topic,
                            "the log holds data of a topic that the metadata does not know and whose deletion is not recorded; \
                             it is kept but not served. Restore the metadata folder to get the topic back"
                        );
                    }
                    std::sync::Arc::new(super::config::LogConfig { retention_ms: None, ..Default::default() })
                }
            };
            let recovering = Recovering { state: State::new(config), state_end: Offset::ZERO };
            self.partitions.insert(key, recovering);
        }
        self.partitions.get_mut(&key)
    }

    pub fn visit(&mut self, entry: ReplayedEntry<'_>) -> Result<(), String> {
        match entry.kind {
            EntryKind::Batch => self.visit_batch(entry, BatchForm::Rows),
            EntryKind::Columns => self.visit_batch(entry, BatchForm::Columns),
            EntryKind::Manifest => match Record::decode(entry.data)? {
                Record::SegmentsSwapped { swaps } => {
                    for swap in swaps {
                        self.next_segment =
                            swap.add.iter().flat_map(SegmentRef::files).fold(self.next_segment, |a, b| a.max(b + 1));
                        if let Some(recovering) = self.partition(swap.key.into()) {
                            replay_swap(&mut recovering.state, swap);
                        }
                    }
                    Ok(())
                }
                Record::LogStart { key, offset } => {
                    if let Some(recovering) = self.partition(key.into()) {
                        recovering.state.set_log_start(Offset(offset));
                    }
                    Ok(())
                }
            },
        }
    }

    fn visit_batch(&mut self, entry: ReplayedEntry<'_>, form: BatchForm) -> Result<(), String> {
        let now = self.now;
        let header = BatchHeader::parse(entry.data).map_err(|e| e.to_string())?;
        if header.total_len() != entry.data.len() || header.base_offset != entry.base_offset {
            return Err(format!("the batch at offset {} does not fit its entry", entry.base_offset));
        }
        let Some(Recovering { state, state_end }) = self.partition(entry.key) else { return Ok(()) };
        if header.base_offset >= *state_end {
            if header.attributes.is_control() {
                state.producers.record_marker(&header, timestamps::marker_of(entry.data), now.0);
            } else {
                let stamped = state.config.log_append_time.then_some(header.max_timestamp);
                state.producers.record(&header, stamped, now.0);
            }
        }
        if header.next_offset() <= state.segments_end() {
            return Ok(()); // in a segment, or below the log start
        }
        let covers_log_start = state.tail.is_empty() && header.base_offset < state.segments_end();
        if header.base_offset != state.log_end && !covers_log_start {
            return Err(format!(
                "partition {} continues at offset {}, expected {}",
                entry.key, header.base_offset, state.log_end
            ));
        }
        if state.config.log_append_time {
            state.last_append_time = state.last_append_time.max(Timestamp(header.max_timestamp));
        }
        state.push(&header, form, Some(entry.location), None, None);
        Ok(())
    }

    /// Checks that what the manifest names is there, and removes what it does not name.
    pub fn finish(self, segments: &dyn SegmentStore) -> Result<Replayed, OpenError> {
        let io_error = |source| OpenError::Io { path: "segments".to_owned(), source };
        let present: BTreeSet<u64> = segments.list().map_err(io_error)?.into_iter().collect();
        let mut references: HashMap<u64, usize> = HashMap::new();
        let mut states = Vec::with_capacity(self.partitions.len());
        for (key, Recovering { mut state, .. }) in self.partitions {
            for segment in &state.segments {
                for file in segment.files() {
                    if !present.contains(&file) {
                        return Err(OpenError::MissingSegment { file: segments.name(file), partition: key });
                    }
                    *references.entry(file).or_insert(0) += 1;
                }
            }
            let log_end = state.log_end;
            state.set_high_watermark(log_end);
            state.listed_dirty = !state.tail.is_empty();
            states.push((key, state));
        }
        let mut next_segment = self.next_segment;
        for file in present {
            next_segment = next_segment.max(file + 1);
            if !references.contains_key(&file) {
                tracing::info!(file = segments.name(file), "removing a segment that no partition refers to");
                segments.remove(file).map_err(io_error)?;
            }
        }
        Ok(Replayed {
            states,
            quarantined: self.quarantined.into_iter().collect(),
            generation: self.checkpoint_generation,
            next_segment,
            references,
        })
    }
}

/// Applies a swap that the checkpoint may already include, or include in a later form.
fn replay_swap(state: &mut State, swap: Swap) {
    let remaining: Vec<SegmentRef> =
        state.segments.iter().filter(|s| !swap.remove.contains(&s.file)).cloned().collect();
    let overlaps = |s: &SegmentRef| remaining.iter().any(|r| r.base < s.next && s.base < r.next);
    let log_start = state.log_start.0;
    let add: Vec<SegmentRef> =
        swap.add.into_iter().filter(|s| !overlaps(s) && s.next > log_start && s.base < s.next).collect();
    if add.is_empty() && swap.remove.iter().all(|file| state.segments.iter().all(|s| s.file != *file)) {
        return;
    }
    state.swap_segments(&add, &swap.remove);
}
