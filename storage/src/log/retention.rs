//! Which offset the log may start at under `retention.ms` and `retention.bytes`, and what of it is kept all the same because
//! somebody else does not have it yet: the *gate*. Pure.
//!
//! Storage knows of that somebody one offset for each partition, below which nothing is needed any more
//! ([`Partition::release_below`](super::Partition::release_below)). Until it is told one it keeps everything. What a gate keeps is bounded:
//! by [`Gate::max_bytes`] for each topic, and for all of them together by what is free on the disk. Beyond that the oldest
//! data of the partition that keeps most goes first.
use std::collections::{BTreeMap, VecDeque};

use weir_protocol::ids::{Offset, Timestamp, TopicId};

use super::config::Gate;
use super::state::State;

/// The tail goes in parts of about this size.
const TAIL_PIECE_BYTES: u64 = 64 << 10;

/// A part of a log that goes as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Behind its last offset.
    pub next: Offset,
    pub bytes: u64,
}

/// What is due by retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// Where the log may start now; the log start, if nothing may go.
    pub to: Offset,
    /// What is due behind it and kept by the gate, oldest first.
    pub held: VecDeque<Piece>,
}

impl Due {
    pub fn held_bytes(&self) -> u64 {
        self.held.iter().map(|piece| piece.bytes).sum()
    }
}

/// What retention asks for, and what of it the gate keeps. Never beyond the high watermark.
pub(super) fn due(state: &State, now: Timestamp) -> Due {
    let nothing = Due { to: state.log_start, held: VecDeque::new() };
    if !state.config.cleanup.delete {
        return nothing;
    }
    let to = wanted(state, now);
    if state.config.gate.is_none() {
        return Due { to, ..nothing };
    }
    let released = state.released.unwrap_or(state.log_start);
    let mut due = nothing;
    for piece in pieces(state, to, released) {
        match due.held.is_empty() && piece.next <= released {
            true => due.to = piece.next,
            false => due.held.push_back(piece),
        }
    }
    due
}

fn wanted(state: &State, now: Timestamp) -> Offset {
    let by_time =
        state.config.retention_ms.map_or(state.log_start, |ms| by_time(state, now.0.saturating_sub(ms as i64)));
    let by_size = state.config.retention_bytes.map_or(state.log_start, |limit| by_size(state, limit));
    by_time.max(by_size).min(state.high_watermark).max(state.log_start)
}

/// The log below `to` in pieces: segments, then parts of the tail, one of which ends at `released`.
fn pieces(state: &State, to: Offset, released: Offset) -> Vec<Piece> {
    let segments = state.segments.iter().take_while(|segment| segment.next <= to.0);
    let mut pieces: Vec<Piece> =
        segments.map(|segment| Piece { next: Offset(segment.next), bytes: segment.stored_bytes() }).collect();
    let mut part: Option<Piece> = None;
    for batch in state.tail.iter().take_while(|batch| batch.next <= to) {
        let ends = |piece: &Piece| piece.bytes >= TAIL_PIECE_BYTES || (piece.next <= released && batch.next > released);
        pieces.extend(part.take_if(|part| ends(part)));
        let bytes = part.map_or(0, |part| part.bytes) + u64::from(batch.len);
        part = Some(Piece { next: batch.next, bytes });
    }
    pieces.extend(part);
    pieces
}

/// After the longest prefix of which every record is older than `cutoff_ms`.
fn by_time(state: &State, cutoff_ms: i64) -> Offset {
    let mut to = state.log_start;
    for segment in &state.segments {
        // Records without timestamps age from when the segment was written.
        let newest = if segment.max_timestamp >= 0 { segment.max_timestamp } else { segment.created_ms };
        if newest >= cutoff_ms {
            return to;
        }
        to = Offset(segment.next);
    }
    for batch in state.tail.iter().take_while(|b| b.location.is_some()) {
        if batch.max_timestamp.0 < 0 || batch.max_timestamp.0 >= cutoff_ms {
            return to;
        }
        to = batch.next;
    }
    to
}

/// As Kafka does: the oldest segment goes while what remains is still at least the limit.
fn by_size(state: &State, limit: u64) -> Offset {
    let mut remaining = state.segment_bytes + state.tail_bytes;
    let mut to = state.log_start;
    for segment in &state.segments {
        if remaining.saturating_sub(segment.stored_bytes()) < limit {
            break;
        }
        remaining -= segment.stored_bytes();
        to = Offset(segment.next);
    }
    to
}

/// What the gate of one partition keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub topic: TopicId,
    pub gate: Gate,
    pub pieces: VecDeque<Piece>,
}

impl Held {
    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes).sum()
    }
}

/// Takes out what goes although it is needed: beyond the limit of its topic, and of all topics beyond what is free on the
/// disk (bytes). Returns for each of `held` where its log starts then, or `None` if all of it stays.
pub(super) fn overflow(held: &mut [Held], free: u64) -> Vec<Option<Offset>> {
    let mut forced = vec![None; held.len()];
    let mut topics: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (at, partition) in held.iter().enumerate() {
        topics.entry(partition.topic).or_default().push(at);
    }
    for places in topics.values() {
        // Partitions of one topic have its config.
        let Some(max) = places.first().and_then(|at| held[*at].gate.max_bytes) else { continue };
        drop_until(held, places, &mut forced, |kept, _| kept <= max);
    }
    let all: Vec<usize> = (0..held.len()).collect();
    drop_until(held, &all, &mut forced, |kept, dropped| kept <= free.saturating_add(dropped));
    forced
}

/// Drops the oldest piece of whichever of these places keeps most, until `enough(bytes kept, bytes dropped)`.
fn drop_until(held: &mut [Held], places: &[usize], forced: &mut [Option<Offset>], enough: impl Fn(u64, u64) -> bool) {
    let mut kept: Vec<(u64, usize)> = places.iter().map(|at| (held[*at].bytes(), *at)).collect();
    let (mut total, mut dropped) = (kept.iter().map(|(bytes, _)| bytes).sum::<u64>(), 0);
    while !enough(total, dropped) {
        let Some((bytes, at)) = kept.iter_mut().max_by_key(|(bytes, _)| *bytes) else { return };
        let Some(piece) = held[*at].pieces.pop_front() else { return };
        *bytes -= piece.bytes;
        total -= piece.bytes;
        dropped += piece.bytes;
        forced[*at] = Some(piece.next);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn held(topic: u128, max_bytes: Option<u64>, pieces: &[(i64, u64)]) -> Held {
        let pieces = pieces.iter().map(|(next, bytes)| Piece { next: Offset(*next), bytes: *bytes }).collect();
        Held { topic: TopicId(Uuid::from_u128(topic)), gate: Gate { max_bytes }, pieces }
    }

    fn forced(mut partitions: Vec<Held>, free: u64) -> Vec<Option<i64>> {
        overflow(&mut partitions, free).into_iter().map(|offset| offset.map(|offset| offset.0)).collect()
    }

    #[test]
    fn a_topic_within_its_limit_keeps_everything() {
        let partitions = || vec![held(1, Some(30), &[(10, 10), (20, 10)]), held(1, Some(30), &[(5, 10)])];
        assert_eq!(forced(partitions(), u64::MAX), [None, None]);
        assert_eq!(forced(vec![held(1, None, &[(10, u64::MAX / 2)])], u64::MAX), [None], "no limit of its own");
    }

    #[test]
    fn beyond_the_limit_of_a_topic_the_partition_that_keeps_most_gives_its_oldest() {
        let partitions = vec![
            held(1, Some(25), &[(10, 10), (20, 10)]),
            held(1, Some(25), &[(5, 8)]),
            held(2, Some(8), &[(7, 9)]),
            held(3, Some(9), &[(7, 9)]),
        ];
        assert_eq!(forced(partitions, u64::MAX), [Some(10), None, Some(7), None]);
    }

    #[test]
    fn a_limit_of_nothing_keeps_nothing() {
        assert_eq!(forced(vec![held(1, Some(0), &[(3, 1), (9, 2)])], u64::MAX), [Some(9)]);
    }

    #[test]
    fn all_topics_together_keep_no_more_than_is_free() {
        // 60 kept, 20 free: 20 go, then 40 are kept and 40 are free.
        let partitions = vec![held(1, None, &[(10, 20), (20, 20)]), held(2, Some(1000), &[(5, 10), (6, 10)])];
        assert_eq!(forced(partitions, 20), [Some(10), None]);
        assert_eq!(forced(vec![held(1, None, &[(10, 20)])], 0), [Some(10)]);
    }
}
