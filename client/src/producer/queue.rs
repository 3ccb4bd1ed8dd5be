//! The queue of one partition: which batch may be sent now, and what an answer means for those behind it.
//!
//! Pure: time, identity and answers come in as arguments. The rules, which keep the order of records and write none twice:
//! - up to five batches are in flight, numbered without gaps per identity (the broker remembers the last five);
//! - after a failure that may pass, nothing new is sent until everything in flight came back; then the failed batches are
//!   repeated one by one, oldest first, under their old numbers;
//! - a batch that is given up leaves a gap in the numbers, so the producer takes a new epoch, and what is left is numbered anew
//!   from 0 once nothing is in flight.

use std::collections::VecDeque;

use kafka_protocol::error::ResponseError;
use tokio::time::Instant;
use weir_protocol::records::{Compression, increment_sequence};

use super::batch::{Batch, Identity, Order, Outcome, Pending, Placed, Sequence};
use crate::backoff::Backoff;
use crate::error::ClientError;

/// Limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) batch_bytes_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) linger: std::time::Duration,
    pub(crate) delivery_timeout: std::time::Duration,
    pub(crate) codec: (Compression, Option<i32>),
    pub(crate) idempotent: bool,
}

/// What the producer as a whole must do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Nothing.
    None,
    /// Take the next epoch: numbers were lost.
    BumpEpoch,
    /// Ask for a new producer id: the broker does not accept this one any more.
    NewIdentity,
}

pub(crate) struct Queue {
    limits: Limits,
    next_order: u64,
    open: Option<Batch>,
    ready: VecDeque<Batch>,
    in_flight: Vec<Batch>,
    /// Failed, to be repeated; in order.
    retry: VecDeque<Batch>,
    identity: Option<Identity>,
    next_sequence: i32,
    blocked_until: Option<Instant>,
    backoff: Backoff,
    /// A batch under the current identity was given up, so later numbers cannot be accepted.
    gap: bool,
}

impl Queue {
    pub(crate) fn new(limits: Limits, backoff: Backoff) -> Self {
        Self {
            limits,
            next_order: 0,
            open: None,
            ready: VecDeque::new(),
            in_flight: Vec::new(),
            retry: VecDeque::new(),
            identity: None,
            next_sequence: 0,
            blocked_until: None,
            backoff,
            gap: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && self.ready.is_empty() && self.in_flight.is_empty() && self.retry.is_empty()
    }

    /// Adds a record to the open batch; a full batch is closed first.
    pub(crate) fn append(&mut self, record: Pending, bytes: usize, now: Instant) {
        let full = |batch: &Batch| batch.record_count() > 0 && batch.len() + bytes > self.limits.batch_bytes_max;
        if self.open.as_ref().is_some_and(full) {
            self.seal();
        }
        let open = self.open.get_or_insert_with(|| {
            self.next_order += 1;
            Batch::new((self.next_order, 0), now, self.limits.codec)
        });
        open.append(record);
        if open.len() >= self.limits.batch_bytes_max {
            self.seal();
        }
    }

    /// Closes the open batch, so that it is sent next.
    pub(crate) fn seal(&mut self) {
        // A batch whose only record was refused has nobody waiting and nothing to send.
        self.ready.extend(self.open.take().filter(|batch| batch.record_count() > 0));
    }

    /// Closes the open batch if it lingered long enough, and ends a pause that is over.
    pub(crate) fn seal_due(&mut self, now: Instant) {
        self.blocked_until = self.blocked_until.filter(|end| *end > now);
        if self.open.as_ref().is_some_and(|open| now >= open.created + self.limits.linger) {
            self.seal();
        }
    }

    /// When to look at this queue again without any event.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let linger = self.open.as_ref().map(|open| open.created + self.limits.linger);
        let waiting = (!self.retry.is_empty() || !self.ready.is_empty()).then_some(self.blocked_until).flatten();
        linger.into_iter().chain(waiting).min()
    }

    /// Whether [`take`](Self::take) would return a batch, apart from leadership.
    pub(crate) fn can_send(&self, identity: Option<Identity>, now: Instant) -> bool {
        if self.blocked_until.is_some_and(|end| end > now) {
            return false;
        }
        let idle = self.in_flight.is_empty();
        if self.limits.idempotent && (identity.is_none() || (self.gap && self.identity == identity)) {
            return false;
        }
        if self.gap || !self.retry.is_empty() {
            return idle && !(self.retry.is_empty() && self.ready.is_empty());
        }
        if self.limits.idempotent && self.identity != identity {
            return idle && !self.ready.is_empty();
        }
        !self.ready.is_empty() && self.in_flight.len() < self.limits.in_flight_max
    }

    /// The next batch to send, numbered; it counts as in flight from now on. Its bytes are returned too.
    pub(crate) fn take(&mut self, identity: Option<Identity>, now: Instant) -> Option<(Order, bytes::Bytes)> {
        while self.can_send(identity, now) {
            // What is only repeated keeps its old identity: it may have been written, and only under its own number does the
            // broker recognise it. Behind a gap nothing can have been written.
            if self.limits.idempotent && self.identity != identity && (self.gap || self.retry.is_empty()) {
                self.renumber(identity?);
            }
            let mut batch = self.retry.pop_front().or_else(|| self.ready.pop_front())?;
            if let (true, None, Some(identity)) = (self.limits.idempotent, batch.sequence, identity) {
                batch.set_sequence(Sequence { identity, base: self.next_sequence });
                self.count(batch.record_count());
            }
            match batch.bytes() {
                Ok(bytes) => {
                    let order = batch.order;
                    self.in_flight.push(batch);
                    return Some((order, bytes));
                }
                Err(error) => batch.finish(Err(error)),
            }
        }
        None
    }

    /// Adopts an identity: what is to be repeated gets numbers from 0, in order.
    fn renumber(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.next_sequence = 0;
        self.gap = false;
        for batch in &mut self.retry {
            batch.set_sequence(Sequence { identity, base: self.next_sequence });
            let records = i32::try_from(batch.record_count()).unwrap_or(i32::MAX);
            self.next_sequence = increment_sequence(self.next_sequence, records);
        }
    }

    fn count(&mut self, records: usize) {
        self.next_sequence = increment_sequence(self.next_sequence, i32::try_from(records).unwrap_or(i32::MAX));
    }

    /// Books the answer to a batch.
    pub(crate) fn answered(&mut self, order: Order, outcome: Outcome, now: Instant) -> Consequence {
        let Some(at) = self.in_flight.iter().position(|batch| batch.order == order) else { return Consequence::None };
        let batch = self.in_flight.remove(at);
        let error = match outcome {
            Ok(placed) => return self.delivered(batch, placed),
            Err(error) => error,
        };
        match (error.code(), self.limits.idempotent) {
            // Written before: the broker lost the offset but not the record.
            (Some(ResponseError::DuplicateSequenceNumber), true) => {
                self.delivered(batch, Placed { offset: None, append_time_ms: None })
            }
            (Some(ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge), _)
                if batch.record_count() > 1 =>
            {
                self.split(batch)
            }
            (Some(ResponseError::OutOfOrderSequenceNumber), true) if self.is_behind_a_failure(&batch) => {
                self.repeat(batch, error, now)
            }
            (Some(ResponseError::UnknownProducerId | ResponseError::InvalidProducerEpoch), true) => {
                self.gap = true;
                self.repeat(batch, error, now);
                Consequence::NewIdentity
            }
            _ if error.is_retriable() => self.repeat(batch, error, now),
            _ => self.give_up(batch, error),
        }
    }

    fn delivered(&mut self, batch: Batch, placed: Placed) -> Consequence {
        self.backoff.reset();
        self.blocked_until = None;
        batch.finish(Ok(placed));
        Consequence::None
    }

    /// A number out of order says nothing about a batch if one before it failed.
    fn is_behind_a_failure(&self, batch: &Batch) -> bool {
        self.gap
            || self.retry.iter().any(|earlier| earlier.order < batch.order)
            || self.in_flight.iter().any(|earlier| earlier.order < batch.order)
            || self.identity != batch.sequence.map(|sequence| sequence.identity)
    }

    fn split(&mut self, batch: Batch) -> Consequence {
        match batch.split() {
            Ok((first, second)) => {
                self.insert_retry(second);
                self.insert_retry(first);
                Consequence::None
            }
            Err(failed) => {
                let (batch, error) = *failed;
                self.give_up(batch, error)
            }
        }
    }

    fn insert_retry(&mut self, batch: Batch) {
        let at = self.retry.partition_point(|other| other.order < batch.order);
        self.retry.insert(at, batch);
    }

    fn repeat(&mut self, mut batch: Batch, error: ClientError, now: Instant) -> Consequence {
        batch.last_failure = Some(error);
        self.insert_retry(batch);
        self.blocked_until = Some(now + self.backoff.next_pause());
        Consequence::None
    }

    /// Keeps the queue back for a while, because its partition has no leader to send to.
    pub(crate) fn postpone(&mut self, error: &ClientError, now: Instant) {
        if let Some(next) = self.retry.front_mut().or(self.ready.front_mut()) {
            next.last_failure = Some(error.clone());
        }
        self.blocked_until = Some(now + self.backoff.next_pause());
    }

    fn give_up(&mut self, batch: Batch, error: ClientError) -> Consequence {
        batch.finish(Err(error));
        self.gap = self.limits.idempotent;
        if self.limits.idempotent { Consequence::BumpEpoch } else { Consequence::None }
    }

    /// Fails what waited longer than the delivery timeout. Batches that were sent once and may have been written are never
    /// renumbered, so those behind an expired one expire with it.
    pub(crate) fn expire(&mut self, topic: &str, partition: i32, now: Instant) -> Consequence {
        let limit = self.limits.delivery_timeout;
        let late = |batch: &Batch| now.duration_since(batch.created) >= limit;
        let timed_out = |batch: &Batch, fallback: &ClientError| ClientError::DeliveryTimeout {
            topic: topic.to_owned(),
            partition,
            waited: limit,
            last: Box::new(batch.last_failure.clone().unwrap_or_else(|| fallback.clone())),
        };
        let mut consequence = Consequence::None;
        let never_sent = ClientError::Closed { what: "connection to the partition's leader" };
        if self.in_flight.is_empty() && self.retry.front().is_some_and(late) {
            for batch in std::mem::take(&mut self.retry) {
                let error = timed_out(&batch, &never_sent);
                consequence = self.give_up(batch, error);
            }
        }
        while self.ready.front().is_some_and(late) {
            if let Some(batch) = self.ready.pop_front() {
                let error = timed_out(&batch, &never_sent);
                batch.finish(Err(error));
            }
        }
        consequence
    }

    /// Fails everything, when the producer ends.
    pub(crate) fn abandon(&mut self, error: &ClientError) {
        let open = self.open.take();
        let all = self.in_flight.drain(..).chain(self.retry.drain(..)).chain(self.ready.drain(..)).chain(open);
        all.for_each(|batch| batch.finish(Err(error.clone())));
    }
}

#[cfg(test)]
mod tests;
