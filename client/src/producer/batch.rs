//! A batch on its way: its records, who waits for them, and the sequence numbers that let the broker recognise a repetition.

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use weir_protocol::records::{
    BatchBuilder, BuildError, Compression, DecompressLimits, HEADER_LEN, Header, Record, decode, increment_sequence,
};
use weir_protocol::{ProducerEpoch, ProducerId, Timestamp};

use crate::error::{ClientError, Result};

const CRC_AT: usize = 17;
const CRC_COVERS_FROM: usize = 21;
const PRODUCER_AT: usize = 43;

/// Who a producer is to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// What one record became, before its partition is known to the caller.
pub(crate) type Outcome = Result<Placed>;

/// Where a batch was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Offset of the record; none without acknowledgement, or for a duplicate the broker no longer remembers.
    pub(crate) offset: Option<i64>,
    /// The broker's time, if it sets timestamps.
    pub(crate) append_time_ms: Option<i64>,
}

/// Position of a batch in its partition's queue: a running number, and the first record's index if it was split.
pub(crate) type Order = (u64, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) identity: Identity,
    pub(crate) base: i32,
}

enum Body {
    Open(Box<BatchBuilder>),
    Sealed(Bytes),
}

/// One batch of one partition.
pub(crate) struct Batch {
    pub(crate) order: Order,
    pub(crate) created: Instant,
    pub(crate) sequence: Option<Sequence>,
    /// What the last attempt failed with, for the message of a delivery timeout.
    pub(crate) last_failure: Option<ClientError>,
    body: Body,
    codec: (Compression, Option<i32>),
    waiting: Vec<oneshot::Sender<Outcome>>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A record as it is appended.
pub(crate) struct Pending {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(Bytes, Option<Bytes>)>,
    pub(crate) timestamp_ms: i64,
    pub(crate) reply: oneshot::Sender<Outcome>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Batch {
    pub(crate) fn new(order: Order, now: Instant, codec: (Compression, Option<i32>)) -> Self {
        Self {
            order,
            created: now,
            sequence: None,
            last_failure: None,
            body: Body::Open(Box::new(BatchBuilder::new())),
            codec,
            waiting: Vec::new(),
            permit: None,
        }
    }

    pub(crate) fn record_count(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes so far: plain while open, as sent once sealed.
    pub(crate) fn len(&self) -> usize {
        match &self.body {
            Body::Open(builder) => builder.plain_len(),
            Body::Sealed(bytes) => bytes.len(),
        }
    }

    /// Adds a record; a record that cannot be encoded is told so and leaves the batch as it was.
    pub(crate) fn append(&mut self, record: Pending) {
        let Body::Open(builder) = &mut self.body else {
            let _ = record.reply.send(Err(ClientError::Closed { what: "batch" }));
            return;
        };
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        let timestamp = Timestamp(record.timestamp_ms);
        match builder.append(record.key.as_deref(), record.value.as_deref(), &headers, timestamp) {
            Ok(()) => {
                self.waiting.push(record.reply);
                match (&mut self.permit, record.permit) {
                    (Some(held), Some(more)) => held.merge(more),
                    (held @ None, more) => *held = more,
                    (Some(_), None) => {}
                }
            }
            Err(error) => {
                // A dropped receiver means that nobody wants to know.
                let _ = record.reply.send(Err(build_failed(&error)));
            }
        }
    }

    /// The bytes to send: sealed on first use, with the current sequence.
    pub(crate) fn bytes(&mut self) -> Result<Bytes> {
        let sealed = match &self.body {
            Body::Sealed(bytes) => bytes.clone(),
            Body::Open(builder) => {
                let (codec, level) = self.codec;
                let mut builder = (**builder).clone().compression(codec, level);
                if let Some(sequence) = self.sequence {
                    let Identity { id, epoch } = sequence.identity;
                    builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence.base);
                }
                builder.build().map_err(|error| build_failed(&error))?
            }
        };
        self.body = Body::Sealed(sealed.clone());
        Ok(sealed)
    }

    /// Gives the batch another place in the producer's sequence.
    pub(crate) fn set_sequence(&mut self, sequence: Sequence) {
        self.sequence = Some(sequence);
        if let Body::Sealed(bytes) = &mut self.body
            && bytes.len() >= HEADER_LEN
        {
            let mut patched = BytesMut::from(&bytes[..]);
            patched[PRODUCER_AT..PRODUCER_AT + 8].copy_from_slice(&sequence.identity.id.to_be_bytes());
            patched[PRODUCER_AT + 8..PRODUCER_AT + 10].copy_from_slice(&sequence.identity.epoch.to_be_bytes());
            patched[PRODUCER_AT + 10..PRODUCER_AT + 14].copy_from_slice(&sequence.base.to_be_bytes());
            let crc = crc32c::crc32c(&patched[CRC_COVERS_FROM..]);
            patched[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
            *bytes = patched.freeze();
        }
    }

    /// Halves a batch that the broker found too large. The halves keep their sequence numbers, so nothing is resequenced.
    pub(crate) fn split(mut self) -> Result<(Batch, Batch), Box<(Batch, ClientError)>> {
        match self.halves() {
            Ok((mut first, mut second)) => {
                let at = first.1;
                let rest = self.waiting.split_off(at);
                first.0.waiting = std::mem::take(&mut self.waiting);
                first.0.permit = self.permit.take();
                second.waiting = rest;
                Ok((first.0, second))
            }
            Err(error) => Err(Box::new((self, error))),
        }
    }

    fn halves(&mut self) -> Result<((Batch, usize), Batch)> {
        let bytes = self.bytes()?;
        let opened = decode(&bytes, &DecompressLimits { max_bytes: usize::MAX, max_ratio: usize::MAX });
        let decoded = opened.map_err(|error| unreadable(&error))?;
        let at = self.record_count() / 2;
        let fresh = |order| Batch::new(order, self.created, self.codec);
        let mut first = fresh(self.order);
        let mut second = fresh((self.order.0, self.order.1 + at));
        for (index, record) in decoded.records().enumerate() {
            let record = record.map_err(|error| unreadable(&error))?;
            let timestamp = record.timestamp(&decoded.header);
            let half = if index < at { &mut first } else { &mut second };
            half.append_raw(&record, timestamp)?;
        }
        if let Some(sequence) = self.sequence {
            let moved = i32::try_from(at).unwrap_or(0);
            first.sequence = Some(sequence);
            second.sequence = Some(Sequence { base: increment_sequence(sequence.base, moved), ..sequence });
        }
        Ok(((first, at), second))
    }

    fn append_raw(&mut self, record: &Record<'_>, timestamp: Timestamp) -> Result<()> {
        let Body::Open(builder) = &mut self.body else { return Err(ClientError::Closed { what: "batch" }) };
        let headers: Vec<_> = record.headers.iter().map(|Header { key, value }| (key, value)).collect();
        builder.append(record.key, record.value, &headers, timestamp).map_err(|error| build_failed(&error))
    }

    /// Tells everybody who waits, and frees the memory.
    pub(crate) fn finish(self, outcome: Outcome) {
        for (index, reply) in (0_i64..).zip(self.waiting) {
            let own = outcome.clone().map(|placed| Placed { offset: placed.offset.map(|base| base + index), ..placed });
            // A caller that does not care for the result has dropped the receiver.
            let _ = reply.send(own);
        }
    }
}

fn build_failed(error: &BuildError) -> ClientError {
    ClientError::Encode { api: kafka_protocol::messages::ApiKey::Produce, version: 2, reason: error.to_string() }
}

fn unreadable(error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Encode { api: kafka_protocol::messages::ApiKey::Produce, version: 2, reason: error.to_string() }
}
