//! Records of `__transaction_state`, in Kafka's format (its `TransactionLogKey` and `TransactionLogValue` schemas).
//!
//! Written: key 0, value 1 (flexible, since KIP-915/KIP-890). Read: values 0 and 1. What does not decode is an error that the
//! reader counts and passes over; nothing is allocated that the bytes do not back.
//!
//! | value | bytes | | value | bytes |
//! |---|---|---|---|---|
//! | version | i16 = 1 | | partitions | topics: name, ids; null while Empty |
//! | producer id | i64 | | last update | i64, ms |
//! | producer epoch | i16 | | start | i64, ms or -1 |
//! | timeout | i32, ms | | tag 0, 1 | previous, next producer id: i64 |
//! | state | i8 | | tag 2 | client's transaction version: i16 |
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};

use super::state::{Phase, Protocol, Snapshot};
use crate::group::offsets::PartitionName;

const KEY_VERSION: i16 = 0;
const FLEXIBLE: i16 = 1;
const PREVIOUS_PRODUCER_ID: u32 = 0;
const NEXT_PRODUCER_ID: u32 = 1;
const CLIENT_VERSION: u32 = 2;
/// Kafka's number of the KIP-890 protocol.
const VERSION_2: i16 = 2;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordFormatError {
    #[error("the record is cut off")]
    Truncated,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a length of {0} is not possible")]
    Length(i64),
    #[error("version {0} is not known")]
    UnknownVersion(i16),
    #[error("state {0} is not known")]
    UnknownState(i8),
}

pub fn encode_key(transactional_id: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(KEY_VERSION);
    // Longer ids are refused where requests come in.
    let length = transactional_id.len().min(i16::MAX as usize);
    out.put_i16(length as i16);
    out.put_slice(&transactional_id.as_bytes()[..length]);
    out.freeze()
}

pub fn decode_key(bytes: Bytes) -> Result<String, RecordFormatError> {
    let mut reader = Reader { bytes, flexible: false };
    match reader.i16()? {
        KEY_VERSION => reader.string(),
        version => Err(RecordFormatError::UnknownVersion(version)),
    }
}

pub fn encode_value(s: &Snapshot) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(FLEXIBLE);
    out.put_i64(s.producer_id.0);
    out.put_i16(s.epoch.0);
    out.put_i32(s.timeout_ms);
    out.put_i8(state_code(s.phase));
    put_partitions(&mut out, s);
    out.put_i64(s.updated_at.0);
    out.put_i64(s.started_at.map_or(-1, |at| at.0));
    let ids = [(PREVIOUS_PRODUCER_ID, s.previous_producer_id), (NEXT_PRODUCER_ID, s.next_producer_id)];
    let ids = ids.iter().filter_map(|(tag, id)| Some((*tag, (*id)?)));
    let version_2 = s.protocol == Protocol::V2;
    put_varint(&mut out, ids.clone().count() as u32 + u32::from(version_2));
    for (tag, id) in ids {
        put_varint(&mut out, tag);
        put_varint(&mut out, 8);
        out.put_i64(id.0);
    }
    if version_2 {
        put_varint(&mut out, CLIENT_VERSION);
        put_varint(&mut out, 2);
        out.put_i16(VERSION_2);
    }
    out.freeze()
}

fn state_code(phase: Phase) -> i8 {
    Phase::ALL.iter().position(|p| *p == phase).unwrap_or_default() as i8 // ALL has each phase, at its number
}

fn put_partitions(out: &mut BytesMut, s: &Snapshot) {
    if s.phase == Phase::Empty {
        put_varint(out, 0);
        return;
    }
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &s.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    put_varint(out, topics.len() as u32 + 1);
    for (topic, partitions) in topics {
        put_varint(out, topic.len() as u32 + 1);
        out.put_slice(topic.as_bytes());
        put_varint(out, partitions.len() as u32 + 1);
        partitions.iter().for_each(|partition| out.put_i32(*partition));
        put_varint(out, 0);
    }
}

fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub fn decode_value(bytes: Bytes) -> Result<Snapshot, RecordFormatError> {
    let mut reader = Reader { bytes, flexible: false };
    reader.flexible = match reader.i16()? {
        0 => false,
        FLEXIBLE => true,
        version => return Err(RecordFormatError::UnknownVersion(version)),
    };
    let producer_id = ProducerId(reader.i64()?);
    let epoch = ProducerEpoch(reader.i16()?);
    let timeout_ms = reader.i32()?;
    let state = reader.i8()?;
    let phase = usize::try_from(state).ok().and_then(|at| Phase::ALL.get(at).copied());
    let phase = phase.ok_or(RecordFormatError::UnknownState(state))?;
    let partitions = reader.partitions()?;
    let updated_at = Timestamp(reader.i64()?);
    let started = reader.i64()?;
    let mut snapshot = Snapshot {
        producer_id,
        epoch,
        last_epoch: None,
        previous_producer_id: None,
        next_producer_id: None,
        timeout_ms,
        phase,
        partitions,
        started_at: (started >= 0).then_some(Timestamp(started)),
        updated_at,
        protocol: Protocol::V1,
    };
    if reader.flexible {
        reader.tags(&mut |tag, value| {
            let id = |bytes: &Bytes| (bytes.len() == 8).then(|| ProducerId(bytes.clone().get_i64()));
            match tag {
                PREVIOUS_PRODUCER_ID => snapshot.previous_producer_id = id(&value).filter(|id| id.0 >= 0),
                NEXT_PRODUCER_ID => snapshot.next_producer_id = id(&value).filter(|id| id.0 >= 0),
                CLIENT_VERSION if value.len() == 2 && value.clone().get_i16() >= VERSION_2 => {
                    snapshot.protocol = Protocol::V2;
                }
                _ => {}
            }
        })?;
    }
    snapshot.last_epoch = last_epoch(&snapshot);
    Ok(snapshot)
}

/// The record does not have it. It matters where the client of a protocol 2 transaction may not have seen its EndTxn
/// answered.
fn last_epoch(s: &Snapshot) -> Option<ProducerEpoch> {
    let ended = !matches!(s.phase, Phase::Empty | Phase::Ongoing | Phase::Dead);
    match s.protocol {
        Protocol::V2 if ended && s.epoch.0 > 0 => Some(ProducerEpoch(s.epoch.0 - 1)),
        Protocol::V2 if ended && s.previous_producer_id.is_some() => Some(ProducerEpoch(i16::MAX - 1)),
        _ => None,
    }
}

struct Reader {
    bytes: Bytes,
    flexible: bool,
}

impl Reader {
    fn need(&self, n: usize) -> Result<(), RecordFormatError> {
        if self.bytes.remaining() < n { Err(RecordFormatError::Truncated) } else { Ok(()) }
    }

    fn i8(&mut self) -> Result<i8, RecordFormatError> {
        self.need(1)?;
        Ok(self.bytes.get_i8())
    }

    fn i16(&mut self) -> Result<i16, RecordFormatError> {
        self.need(2)?;
        Ok(self.bytes.get_i16())
    }

    fn i32(&mut self) -> Result<i32, RecordFormatError> {
        self.need(4)?;
        Ok(self.bytes.get_i32())
    }

    fn i64(&mut self) -> Result<i64, RecordFormatError> {
        self.need(8)?;
        Ok(self.bytes.get_i64())
    }

    fn varint(&mut self) -> Result<u32, RecordFormatError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            self.need(1)?;
            let byte = self.bytes.get_u8();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordFormatError::Length(value as i64));
            }
        }
        Err(RecordFormatError::Length(value as i64))
    }

    /// Of a list or a string; -1 is null.
    fn length(&mut self, is_string: bool) -> Result<i64, RecordFormatError> {
        if self.flexible {
            return Ok(i64::from(self.varint()?) - 1);
        }
        if is_string { self.i16().map(i64::from) } else { self.i32().map(i64::from) }
    }

    fn take(&mut self, n: i64) -> Result<Bytes, RecordFormatError> {
        let n = usize::try_from(n).map_err(|_| RecordFormatError::Length(n))?;
        self.need(n)?;
        Ok(self.bytes.split_to(n))
    }

    fn string(&mut self) -> Result<String, RecordFormatError> {
        let length = self.length(true)?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| RecordFormatError::NotUtf8)
    }

    fn partitions(&mut self) -> Result<BTreeSet<PartitionName>, RecordFormatError> {
        let mut partitions = BTreeSet::new();
        // Each round needs bytes, so a hostile count ends with them.
        for _ in 0..self.length(false)? {
            let topic = self.string()?;
            for _ in 0..self.length(false)? {
                partitions.insert((topic.clone(), self.i32()?));
            }
            if self.flexible {
                self.tags(&mut |_, _| {})?;
            }
        }
        Ok(partitions)
    }

    fn tags(&mut self, found: &mut dyn FnMut(u32, Bytes)) -> Result<(), RecordFormatError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = self.varint()?;
            let value = self.take(i64::from(length))?;
            found(tag, value);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
