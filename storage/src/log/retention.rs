//! Which offset the log may start at under `retention.ms` and `retention.bytes`. Pure.
use weir_protocol::ids::{Offset, Timestamp};

use super::state::State;

/// The new log start, or `None` if nothing expires. Never beyond the high watermark.
pub(super) fn target(state: &State, now: Timestamp) -> Option<Offset> {
    let by_time =
        state.config.retention_ms.map_or(state.log_start, |ms| by_time(state, now.0.saturating_sub(ms as i64)));
    let by_size = state.config.retention_bytes.map_or(state.log_start, |limit| by_size(state, limit));
    let to = by_time.max(by_size).min(state.high_watermark);
    (to > state.log_start).then_some(to)
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
