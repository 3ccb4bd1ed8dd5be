//! Control batches: the markers that end a transaction, and the filler for a range in which nothing matched.
//!
//! Key of a control record: version i16 = 0, type i16. Value of an end marker: version i16 = 0, coordinator epoch i32.

use bytes::Bytes;

use super::builder::{BatchBuilder, BuildError};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// Its records never happened.
    Abort,
    /// Its records are visible.
    Commit,
}

impl ControlType {
    fn code(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
        }
    }

    /// Reads the key of a control record; `None` for types that do not end a transaction.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<ControlType> {
        // Newer versions may append fields; type stays where it is.
        match *key {
            [v0, v1, t0, t1, ..] if i16::from_be_bytes([v0, v1]) >= 0 => match i16::from_be_bytes([t0, t1]) {
                0 => Some(ControlType::Abort),
                1 => Some(ControlType::Commit),
                _ => None,
            },
            _ => None,
        }
    }

    fn key(self) -> [u8; 4] {
        let code = self.code().to_be_bytes();
        [0, 0, code[0], code[1]]
    }
}

/// A transaction marker as WriteTxnMarkers appends it to each partition of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// How the transaction ended.
    pub control_type: ControlType,
    /// Whose transaction.
    pub producer_id: ProducerId,
    /// Epoch of that producer.
    pub producer_epoch: ProducerEpoch,
    /// Epoch of the coordinator that decided.
    pub coordinator_epoch: i32,
    /// When it was written.
    pub timestamp: Timestamp,
}

impl EndTxnMarker {
    /// The control batch of this marker; offset and leader epoch are patched when it is appended.
    pub fn to_batch(&self) -> Result<Bytes, BuildError> {
        let builder = BatchBuilder::new().producer(self.producer_id, self.producer_epoch, -1).transactional();
        control_batch(builder, self.control_type, self.coordinator_epoch, self.timestamp)
    }

    /// Reads the coordinator epoch from the value of an end marker.
    #[must_use]
    pub fn coordinator_epoch_of(value: &[u8]) -> Option<i32> {
        match *value {
            [v0, v1, a, b, c, d, ..] if i16::from_be_bytes([v0, v1]) >= 0 => Some(i32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }
}

/// Moves consumers past a range in which nothing matched: a COMMIT marker of nobody at the last covered offset. Every
/// tested client skips it and goes on behind it; an empty batch makes librdkafka and kafkajs ask for the same offset
/// for ever.
pub fn filler_batch(last_offset: Offset, leader_epoch: LeaderEpoch, timestamp: Timestamp) -> Result<Bytes, BuildError> {
    let builder = BatchBuilder::new().base_offset(last_offset).leader_epoch(leader_epoch);
    control_batch(builder, ControlType::Commit, 0, timestamp)
}

fn control_batch(
    builder: BatchBuilder,
    control_type: ControlType,
    coordinator_epoch: i32,
    timestamp: Timestamp,
) -> Result<Bytes, BuildError> {
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = builder.control();
    builder.append(Some(&control_type.key()), Some(&value), &[], timestamp)?;
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchHeader, DecompressLimits, decode, verify_crc};

    #[test]
    fn a_marker_carries_its_producer_and_epoch() {
        for control_type in [ControlType::Abort, ControlType::Commit] {
            let marker = EndTxnMarker {
                control_type,
                producer_id: ProducerId(4711),
                producer_epoch: ProducerEpoch(3),
                coordinator_epoch: 8,
                timestamp: Timestamp(99),
            };
            let bytes = marker.to_batch().unwrap();
            verify_crc(&bytes).unwrap();
            let batch = decode(&bytes, &DecompressLimits::default()).unwrap();
            assert!(batch.header.attributes.is_control() && batch.header.attributes.is_transactional());
            assert_eq!((batch.header.producer_id, batch.header.producer_epoch), (4711, 3));
            assert_eq!(batch.header.base_sequence, -1);
            let record = batch.records().next().unwrap().unwrap();
            assert_eq!(ControlType::from_key(record.key.unwrap()), Some(control_type));
            assert_eq!(EndTxnMarker::coordinator_epoch_of(record.value.unwrap()), Some(8));
        }
    }

    #[test]
    fn the_filler_is_one_commit_of_nobody_at_the_last_offset() {
        let bytes = filler_batch(Offset(41), LeaderEpoch(2), Timestamp(7)).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((header.base_offset, header.next_offset()), (Offset(41), Offset(42)));
        assert!(header.attributes.is_control() && !header.has_producer_id());
        assert_eq!(header.record_count, 1);
    }

    #[test]
    fn other_control_types_and_short_keys_are_no_markers() {
        assert_eq!(ControlType::from_key(&[0, 0, 0, 2]), None);
        assert_eq!(ControlType::from_key(&[0, 0, 0]), None);
        assert_eq!(ControlType::from_key(&[0xff, 0xff, 0, 1]), None);
        assert_eq!(EndTxnMarker::coordinator_epoch_of(&[0, 0, 1]), None);
    }
}
