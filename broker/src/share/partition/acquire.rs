//! Giving records out: what was read of the log meets what is in flight.
use std::sync::Arc;

use weir_protocol::ids::Timestamp;

use super::{RecordState, Run, SharePartition, Terms};

/// One batch that was read, by its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedBatch {
    pub first: i64,
    pub last: i64,
    /// Whether it holds records for consumers: not a marker, nor aborted where that matters.
    pub readable: bool,
}

/// What a member asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Roughly: what is left of a batch is given out too.
    pub max_records: i64,
    /// How many records one entry of the answer is to be about, so that acknowledgements have a good size.
    pub batch_size: i64,
}

/// Records that a member has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquired {
    pub first: i64,
    pub last: i64,
    pub deliveries: i16,
}

impl Acquired {
    /// How many.
    pub fn count(&self) -> i64 {
        self.last - self.first + 1
    }
}

impl SharePartition {
    /// Gives a member what is available of the batches that were read from `from` on, which [`SharePartition::next_fetch`]
    /// said. Offsets between the batches do not exist, so they are passed over, and so is what is not readable.
    pub fn acquire(
        &mut self,
        now: Timestamp,
        member: &Arc<str>,
        terms: &Terms,
        wish: Wish,
        from: i64,
        fetched: &[FetchedBatch],
    ) -> Vec<Acquired> {
        let deadline = Timestamp(now.0.saturating_add(terms.lock_ms));
        let state = RecordState::Acquired { member: member.clone(), deadline };
        let mut taken = Taken { batch_size: wish.batch_size.max(1), acquired: Vec::new(), count: 0 };
        // Others were given more meanwhile, or the log has lost what was read.
        let mut cursor = from.max(self.start);
        let revision = self.revision;
        for batch in fetched {
            if taken.count >= wish.max_records || cursor > self.next {
                break;
            }
            if batch.last < cursor {
                continue;
            }
            if batch.first > cursor {
                self.pass_over(cursor, batch.first - 1);
            }
            let first = batch.first.max(cursor);
            if batch.readable {
                self.take_returned(first, batch.last, &state, &mut taken);
                self.take_new(batch.last, &state, terms, &mut taken);
            } else {
                self.pass_over(first, batch.last);
            }
            cursor = batch.last + 1;
        }
        if self.revision != revision {
            self.changed();
        }
        self.check();
        taken.acquired
    }

    /// Acquires what is available again.
    fn take_returned(&mut self, first: i64, last: i64, state: &RecordState, taken: &mut Taken) {
        for (first, last) in self.available(first, last) {
            let mut deliveries = 0;
            self.update(first, last, |run| {
                run.state = state.clone();
                run.deliveries = run.deliveries.saturating_add(1);
                deliveries = run.deliveries;
            });
            taken.add(first, last, deliveries);
        }
    }

    /// Acquires what nobody had before, as far as there is room.
    fn take_new(&mut self, last: i64, state: &RecordState, terms: &Terms, taken: &mut Taken) {
        let room = terms.max_in_flight - self.in_flight();
        let last = last.min(self.next.saturating_add(room) - 1);
        if last >= self.next {
            let first = self.next;
            self.append(last, state.clone(), 1);
            taken.add(first, last, 1);
        }
    }

    /// Nobody is to have these offsets.
    fn pass_over(&mut self, first: i64, last: i64) {
        let available = self.available(first, last);
        let is_new = last >= self.next;
        if available.is_empty() && !is_new {
            return;
        }
        for (first, last) in available {
            self.update(first, last, |run| run.state = RecordState::Archived);
        }
        if is_new {
            self.append(last, RecordState::Archived, 0);
        }
        self.revision += 1;
    }

    /// Available runs within these offsets, each with one count of deliveries.
    fn available(&self, first: i64, last: i64) -> Vec<(i64, i64)> {
        if last < first {
            return Vec::new();
        }
        let begins = self.runs.range(..=first).next_back().map_or(first, |(at, _)| *at);
        let within = |(at, run): (&i64, &Run)| {
            let part = ((*at).max(first), run.last.min(last));
            (run.state == RecordState::Available && part.0 <= part.1).then_some(part)
        };
        self.runs.range(begins..=last).filter_map(within).collect()
    }
}

struct Taken {
    batch_size: i64,
    acquired: Vec<Acquired>,
    count: i64,
}

impl Taken {
    /// Neighbours of the same count make one entry until it is large enough.
    fn add(&mut self, first: i64, last: i64, deliveries: i16) {
        self.count += last - first + 1;
        match self.acquired.last_mut() {
            Some(before)
                if before.last + 1 == first && before.deliveries == deliveries && before.count() < self.batch_size =>
            {
                before.last = last;
            }
            _ => self.acquired.push(Acquired { first, last, deliveries }),
        }
    }
}
