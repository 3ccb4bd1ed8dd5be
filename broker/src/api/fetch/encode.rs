//! Encodes a FetchResponse around record bytes that are never copied.
//!
//! The answer is a list of parts: encoded fields, then the record chunks as storage handed them out, then fields again.
//! A test compares the joined parts with the protocol crate's encoder for every version.
use bytes::{BufMut, Bytes, BytesMut};
use weir_protocol::columnar::{self, ColumnarResult};

use super::{FetchAnswer, FetchedPartition, Leader};
use crate::api::lookup::TopicRef;
use crate::error_code::ErrorCode;

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;

/// First version that tells the leader and its address (KIP-951).
const LEADER_SINCE: i16 = 16;

/// The response body as parts to be written one after the other.
pub fn encode(version: i16, answer: FetchAnswer) -> Vec<Bytes> {
    let mut out = Parts::new(version, estimate(&answer));
    out.buf.put_i32(answer.throttle_time_ms);
    if version >= 7 {
        out.buf.put_i16(answer.error_code);
        out.buf.put_i32(answer.session_id);
    }
    // As Kafka has it: for FENCED_LEADER_EPOCH and NOT_LEADER_OR_FOLLOWER, and we lead every partition.
    let fenced = |p: &FetchedPartition| version >= LEADER_SINCE && p.error_code == ErrorCode::FencedLeaderEpoch.code();
    let tells_leader = answer.partitions.iter().any(fenced);
    let topics = group_by_topic(answer.partitions);
    out.array_len(topics.len());
    for (topic, partitions) in topics {
        out.topic(&topic);
        out.array_len(partitions.len());
        for partition in partitions {
            let leader = fenced(&partition).then_some(&answer.leader);
            out.partition(partition, leader);
        }
        out.no_tags();
    }
    if tells_leader {
        out.node_endpoint(&answer.leader);
    } else {
        out.no_tags();
    }
    out.finish()
}

/// Consecutive partitions of one topic share an entry; a topic met again gets another one, as in Kafka's own responses.
fn group_by_topic(partitions: Vec<FetchedPartition>) -> Vec<(TopicRef, Vec<FetchedPartition>)> {
    let mut topics: Vec<(TopicRef, Vec<FetchedPartition>)> = Vec::new();
    for partition in partitions {
        match topics.last_mut() {
            Some((topic, list)) if *topic == partition.key.topic => list.push(partition),
            _ => topics.push((partition.key.topic.clone(), vec![partition])),
        }
    }
    topics
}

/// Bytes of everything but records, roughly: one allocation in the usual case.
fn estimate(answer: &FetchAnswer) -> usize {
    let partitions: usize = answer.partitions.iter().map(|p| 64 + p.aborted.as_ref().map_or(0, |a| a.len() * 17)).sum();
    let names: usize = answer
        .partitions
        .iter()
        .map(|p| match &p.key.topic {
            TopicRef::Name(name) => name.len() + 8,
            TopicRef::Id(_) => 20,
        })
        .sum();
    16 + partitions + names
}

/// Writes a body in Kafka's encoding, around bytes that are not copied.
pub(crate) struct Parts {
    version: i16,
    pub(crate) buf: BytesMut,
    parts: Vec<Bytes>,
}

impl Parts {
    /// In the compact encoding.
    pub(crate) fn flexible_body(capacity: usize) -> Self {
        Parts::new(FLEXIBLE, capacity)
    }

    fn new(version: i16, capacity: usize) -> Self {
        Parts { version, buf: BytesMut::with_capacity(capacity), parts: Vec::new() }
    }

    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buf.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }

    pub(crate) fn array_len(&mut self, len: usize) {
        if self.flexible() {
            self.varint(len as u32 + 1);
        } else {
            self.buf.put_i32(len as i32);
        }
    }

    pub(crate) fn no_tags(&mut self) {
        if self.flexible() {
            self.buf.put_u8(0);
        }
    }

    fn topic(&mut self, topic: &TopicRef) {
        match topic {
            TopicRef::Id(id) => self.buf.put_slice(id.as_bytes()),
            TopicRef::Name(name) if self.flexible() => {
                self.varint(name.len() as u32 + 1);
                self.buf.put_slice(name.as_bytes());
            }
            TopicRef::Name(name) => {
                self.buf.put_i16(name.len() as i16);
                self.buf.put_slice(name.as_bytes());
            }
        }
    }

    fn partition(&mut self, p: FetchedPartition, leader: Option<&Leader>) {
        self.buf.put_i32(p.key.partition);
        self.buf.put_i16(p.error_code);
        self.buf.put_i64(p.high_watermark);
        self.buf.put_i64(p.last_stable);
        if self.version >= 5 {
            self.buf.put_i64(p.log_start);
        }
        self.aborted(&p);
        if self.version >= 11 {
            self.buf.put_i32(-1); // preferred read replica: every partition is read from its leader
        }
        self.records(p.records);
        self.partition_tags(p.diverging, leader, p.columnar.as_ref());
    }

    fn aborted(&mut self, p: &FetchedPartition) {
        match &p.aborted {
            None if self.flexible() => self.buf.put_u8(0),
            None => self.buf.put_i32(-1),
            Some(list) => {
                self.array_len(list.len());
                for transaction in list {
                    self.buf.put_i64(transaction.producer_id.0);
                    self.buf.put_i64(transaction.first_offset.0);
                    self.no_tags();
                }
            }
        }
    }

    pub(crate) fn records(&mut self, chunks: Vec<Bytes>) {
        let len: usize = chunks.iter().map(Bytes::len).sum();
        if self.flexible() {
            self.varint(len as u32 + 1);
        } else {
            self.buf.put_i32(len as i32);
        }
        if len > 0 {
            self.parts.push(self.buf.split().freeze());
            self.parts.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
        }
    }

    /// Tag 0: the diverging epoch. Tag 1: the current leader. Tag 5700: the columnar result. Tags ascend.
    fn partition_tags(
        &mut self,
        diverging: Option<(i32, i64)>,
        leader: Option<&Leader>,
        columnar: Option<&ColumnarResult>,
    ) {
        if !self.flexible() {
            return;
        }
        self.buf.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()) + u8::from(columnar.is_some()));
        if let Some((epoch, end_offset)) = diverging {
            self.buf.put_slice(&[0, 13]); // tag 0 of 4 + 8 + 1 bytes
            self.buf.put_i32(epoch);
            self.buf.put_i64(end_offset);
            self.buf.put_u8(0);
        }
        if let Some(leader) = leader {
            self.buf.put_slice(&[1, 9]); // tag 1 of 4 + 4 + 1 bytes
            self.buf.put_i32(leader.node_id);
            self.buf.put_i32(leader.epoch);
            self.buf.put_u8(0);
        }
        if let Some(result) = columnar {
            let mut tag = BytesMut::with_capacity(64 + 32 * result.batches.len());
            result.encode(&mut tag);
            self.varint(columnar::TAG as u32);
            self.varint(tag.len() as u32);
            self.buf.put_slice(&tag);
        }
    }

    /// The tagged fields of the response: where the leader is reached.
    fn node_endpoint(&mut self, leader: &Leader) {
        let host = leader.address.host.as_bytes();
        let mut endpoint = Parts::new(self.version, host.len() + 16);
        endpoint.varint(1 + 1); // one endpoint
        endpoint.buf.put_i32(leader.node_id);
        endpoint.varint(host.len() as u32 + 1);
        endpoint.buf.put_slice(host);
        endpoint.buf.put_i32(i32::from(leader.address.port));
        endpoint.varint(0); // no rack
        endpoint.no_tags();
        self.buf.put_slice(&[1, 0]); // one tag, number 0
        self.varint(endpoint.buf.len() as u32);
        self.buf.put_slice(&endpoint.buf);
    }

    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        if !self.buf.is_empty() {
            self.parts.push(self.buf.freeze());
        }
        self.parts
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
