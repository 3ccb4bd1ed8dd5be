//! Records of `__share_group_state` in Kafka's format: ShareSnapshotKey (0) and ShareSnapshotValue, version 0.
//!
//! Each record is the whole state of one share partition, so the newest one of a key is all there is to know and the topic can
//! be compacted. Kafka's ShareUpdate records (1), which tell changes, are not written; they are passed over when read.
use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;
use weir_protocol::ids::{Timestamp, TopicId};

use super::ShareKey;
use super::partition::{StateBatch, StoredPartition};
use crate::group::records::flexible::{FlexReader, FlexWriter, Tags};
use crate::group::records::{Reader, RecordFormatError, put_string};

const SNAPSHOT: i16 = 0;

/// The start offset of a partition that the group has not begun to read.
const NOT_BEGUN: i64 = -1;

/// What goes with the state itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Counts the snapshots of a share partition.
    pub snapshot_epoch: i32,
    pub leader_epoch: i32,
    pub created_at: Timestamp,
    pub written_at: Timestamp,
}

pub fn encode_key(key: &ShareKey) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(SNAPSHOT);
    put_string(&mut out, &key.group);
    out.put_slice(key.topic.0.as_bytes());
    out.put_i32(key.partition);
    out.freeze()
}

/// `None`: a record of another kind.
pub fn decode_key(bytes: Bytes) -> Result<Option<ShareKey>, RecordFormatError> {
    let mut reader = Reader::new(bytes);
    if reader.i16()? != SNAPSHOT {
        return Ok(None);
    }
    let group = reader.string()?.into();
    let mut topic = [0; 16];
    topic.copy_from_slice(&reader.take(16)?);
    let topic = TopicId(Uuid::from_bytes(topic));
    Ok(Some(ShareKey { group, topic, partition: reader.i32()? }))
}

pub fn encode_value(facts: &SnapshotFacts, stored: &StoredPartition) -> Bytes {
    let mut out = FlexWriter::new(0);
    out.i32(facts.snapshot_epoch);
    out.i32(stored.state_epoch);
    out.i32(facts.leader_epoch);
    out.i64(stored.start.unwrap_or(NOT_BEGUN));
    out.i64(facts.created_at.0);
    out.i64(facts.written_at.0);
    out.array(stored.batches.len());
    for batch in &stored.batches {
        out.i64(batch.first);
        out.i64(batch.last);
        out.i8(batch.state);
        out.i16(batch.deliveries);
        out.no_tags();
    }
    let mut tags = Tags::default();
    let complete = i32::try_from(stored.delivery_complete).unwrap_or(i32::MAX);
    tags.add(0, Bytes::copy_from_slice(&complete.to_be_bytes()));
    out.tags(tags);
    out.finish()
}

pub fn decode_value(bytes: Bytes) -> Result<(SnapshotFacts, StoredPartition), RecordFormatError> {
    let mut reader = FlexReader::versioned(bytes, 0)?;
    let (snapshot_epoch, state_epoch, leader_epoch) = (reader.i32()?, reader.i32()?, reader.i32()?);
    let start = reader.i64()?;
    let (created_at, written_at) = (Timestamp(reader.i64()?), Timestamp(reader.i64()?));
    let batches = reader.array(|r| {
        let batch = StateBatch { first: r.i64()?, last: r.i64()?, state: r.i8()?, deliveries: r.i16()? };
        r.tags()?;
        Ok(batch)
    })?;
    let complete = reader.tags()?.remove(&0).map(|bytes| FlexReader::bare(bytes).i32()).transpose()?;
    let stored = StoredPartition {
        state_epoch,
        start: (start >= 0).then_some(start),
        delivery_complete: i64::from(complete.unwrap_or(0)),
        batches,
    };
    Ok((SnapshotFacts { snapshot_epoch, leader_epoch, created_at, written_at }, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ShareKey {
        ShareKey { group: "g".into(), topic: TopicId(Uuid::from_u128(1)), partition: 3 }
    }

    fn sample() -> (SnapshotFacts, StoredPartition) {
        let facts = SnapshotFacts {
            snapshot_epoch: 7,
            leader_epoch: 2,
            created_at: Timestamp(1_000),
            written_at: Timestamp(2_000),
        };
        let batches = vec![
            StateBatch { first: 10, last: 12, state: 0, deliveries: 1 },
            StateBatch { first: 13, last: 19, state: 2, deliveries: 1 },
        ];
        (facts, StoredPartition { state_epoch: 4, start: Some(10), delivery_complete: 7, batches })
    }

    #[test]
    fn snapshots_are_what_kafka_writes() {
        // ShareSnapshotKey of "g" and ShareSnapshotValue with one batch, as Kafka 4.3's schema has them.
        let mut expected = vec![0, 0, 0, 1, b'g'];
        expected.extend([0; 15]);
        expected.extend([1, 0, 0, 0, 3]);
        assert_eq!(encode_key(&key())[..], expected);
        let (facts, mut stored) = sample();
        stored.batches.truncate(1);
        let value = encode_value(&facts, &stored);
        let mut expected = vec![0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 2];
        for number in [10i64, 1_000, 2_000] {
            expected.extend(number.to_be_bytes());
        }
        expected.push(2);
        expected.extend(10i64.to_be_bytes());
        expected.extend(12i64.to_be_bytes());
        expected.extend([0, 0, 1, 0]);
        expected.extend([1, 0, 4, 0, 0, 0, 7]);
        assert_eq!(value[..], expected);
    }

    #[test]
    fn records_come_back_as_they_were_and_cut_off_ones_are_errors() {
        let (facts, stored) = sample();
        assert_eq!(decode_key(encode_key(&key())).unwrap(), Some(key()));
        let bytes = encode_value(&facts, &stored);
        assert_eq!(decode_value(bytes.clone()).unwrap(), (facts, stored));
        for cut in 0..bytes.len() {
            assert!(decode_value(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let not_begun = StoredPartition::default();
        assert_eq!(decode_value(encode_value(&facts, &not_begun)).unwrap().1, not_begun);
        assert_eq!(decode_key(Bytes::from_static(&[0, 1, 0, 0])).unwrap(), None, "an update of Kafka's");
    }
}
