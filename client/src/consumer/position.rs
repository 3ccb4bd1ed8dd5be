//! Where a partition is read: how a start becomes an offset, and the state of one partition.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::TopicPartition;
use crate::admin::{Admin, Isolation, OffsetQuery};
use crate::backoff::Backoff;
use crate::error::Result;

/// Where to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The first record that still exists.
    Earliest,
    /// What is written from now on.
    Latest,
    /// This offset.
    Offset(i64),
    /// So many offsets before the end, but not before the first record.
    BeforeEnd(i64),
    /// The first record at or after this time (milliseconds since 1970); the end if there is none.
    Timestamp(i64),
}

/// What to do when the offset to read is no longer (or not yet) there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetPolicy {
    /// Go on with the first record that exists.
    #[default]
    Earliest,
    /// Go on with what comes next.
    Latest,
    /// Report OFFSET_OUT_OF_RANGE.
    Fail,
}

impl ResetPolicy {
    /// The start that this policy stands for; none if it is an error.
    pub fn start(self) -> Option<StartAt> {
        match self {
            Self::Earliest => Some(StartAt::Earliest),
            Self::Latest => Some(StartAt::Latest),
            Self::Fail => None,
        }
    }
}

/// One assigned partition.
#[derive(Debug)]
pub(crate) struct PartitionState {
    /// Set while the first offset is not known yet.
    pub(crate) start: Option<StartAt>,
    /// The next offset to fetch.
    pub(crate) fetch_from: Option<i64>,
    /// The offset after the last record handed out.
    pub(crate) position: Option<i64>,
    pub(crate) high_watermark: Option<i64>,
    /// Nothing is fetched from here on.
    pub(crate) stop_at: Option<i64>,
    pub(crate) paused_until: Option<Instant>,
    backoff: Backoff,
}

impl PartitionState {
    pub(crate) fn new(start: StartAt, backoff: Backoff) -> Self {
        let known = match start {
            StartAt::Offset(offset) => Some(offset),
            _ => None,
        };
        Self {
            start: known.is_none().then_some(start),
            fetch_from: known,
            position: known,
            high_watermark: None,
            stop_at: None,
            paused_until: None,
            backoff,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        let is_left = |from: i64| self.stop_at.is_none_or(|stop| from < stop);
        self.fetch_from.is_some_and(is_left) && self.paused_until.is_none()
    }

    /// Ends a pause that is over.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|end| *end > now);
    }

    pub(crate) fn begin_at(&mut self, offset: i64) {
        self.start = None;
        self.fetch_from = Some(offset);
        self.position = Some(offset);
        self.recovered();
    }

    pub(crate) fn restart(&mut self, start: StartAt) {
        self.start = Some(start);
        self.fetch_from = None;
    }

    pub(crate) fn pause(&mut self) {
        self.paused_until = Some(Instant::now() + self.backoff.next_pause());
    }

    pub(crate) fn recovered(&mut self) {
        self.paused_until = None;
        self.backoff.reset();
    }
}

/// Asks the brokers for the offsets that these starts stand for.
pub(crate) async fn resolve(
    admin: &Admin,
    starts: &BTreeMap<TopicPartition, StartAt>,
    isolation: Isolation,
) -> Result<BTreeMap<TopicPartition, i64>> {
    let ask = |pick: &dyn Fn(StartAt) -> Option<OffsetQuery>| {
        let queries = starts.iter().filter_map(|((topic, partition), start)| {
            pick(*start).map(|query| ((topic.to_string(), *partition), query))
        });
        queries.collect::<BTreeMap<_, _>>()
    };
    let first = ask(&|start| match start {
        StartAt::Earliest => Some(OffsetQuery::Earliest),
        StartAt::Latest | StartAt::BeforeEnd(_) => Some(OffsetQuery::Latest),
        StartAt::Timestamp(milliseconds) => Some(OffsetQuery::Timestamp(milliseconds)),
        StartAt::Offset(_) => None,
    });
    let first = admin.list_offsets(&first, isolation).await?;
    let found = |key: &TopicPartition| first.get(&(key.0.to_string(), key.1)).and_then(|listed| listed.offset);
    // A second question for those whose first answer is not enough.
    let second: BTreeMap<_, _> = starts
        .iter()
        .filter_map(|(key, start)| match start {
            StartAt::BeforeEnd(_) => Some(((key.0.to_string(), key.1), OffsetQuery::Earliest)),
            StartAt::Timestamp(_) if found(key).is_none() => Some(((key.0.to_string(), key.1), OffsetQuery::Latest)),
            _ => None,
        })
        .collect();
    let second = if second.is_empty() { BTreeMap::new() } else { admin.list_offsets(&second, isolation).await? };
    let also = |key: &TopicPartition| second.get(&(key.0.to_string(), key.1)).and_then(|listed| listed.offset);
    let resolved = starts.iter().map(|(key, start)| {
        let offset = match *start {
            StartAt::Offset(offset) => offset,
            StartAt::Earliest | StartAt::Latest => found(key).unwrap_or(0),
            StartAt::BeforeEnd(count) => before_end(found(key).unwrap_or(0), also(key).unwrap_or(0), count),
            StartAt::Timestamp(_) => found(key).or(also(key)).unwrap_or(0),
        };
        (key.clone(), offset)
    });
    Ok(resolved.collect())
}

fn before_end(end: i64, first: i64, count: i64) -> i64 {
    end.saturating_sub(count).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_before_the_end_stops_at_the_first_record() {
        assert_eq!(before_end(100, 0, 10), 90);
        assert_eq!(before_end(100, 95, 10), 95);
        assert_eq!(before_end(5, 0, i64::MAX), 0);
    }

    #[test]
    fn a_numeric_start_needs_no_question_and_a_restart_asks_again() {
        let backoff = Backoff::new(std::time::Duration::ZERO, std::time::Duration::ZERO);
        let mut state = PartitionState::new(StartAt::Offset(7), backoff);
        assert_eq!((state.start, state.fetch_from, state.position), (None, Some(7), Some(7)));
        state.restart(StartAt::Earliest);
        assert_eq!((state.start, state.fetch_from), (Some(StartAt::Earliest), None));
        state.begin_at(3);
        assert_eq!((state.start, state.fetch_from, state.position), (None, Some(3), Some(3)));
    }
}
