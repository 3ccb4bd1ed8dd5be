//! Records of share groups in Kafka's format: ShareGroupMemberMetadata (key 10), ShareGroupMetadata (11),
//! ShareGroupTargetAssignmentMetadata (12), ShareGroupTargetAssignmentMember (13) and ShareGroupCurrentMemberAssignment (14), all
//! in version 0.
//!
//! Keys are plain, values flexible. ShareGroupStatePartitionMetadata (15) is not written: which partitions a group has a state
//! of is known from the states themselves, which one broker keeps beside.
use bytes::{BufMut, Bytes, BytesMut};

use super::consumer::{put_target, target};
use super::flexible::{FlexReader, FlexWriter};
use super::{Reader, RecordFormatError, put_string};
use crate::group::consumer::RecordKey;
use crate::group::share::{ShareRecordValue, StoredShareCurrent, StoredShareMember};

/// State of a member that has what it is to have; share members have no other.
const STABLE: i8 = 0;

/// Number of a key's kind, which its record begins with.
fn kind(key: &RecordKey) -> i16 {
    match key {
        RecordKey::Member(_) => 10,
        // There are no expressions in share groups, so this one is never written.
        RecordKey::Group | RecordKey::Regex(_) => 11,
        RecordKey::TargetEpoch => 12,
        RecordKey::Target(_) => 13,
        RecordKey::Current(_) => 14,
    }
}

/// Whether a key's kind is one of these records.
pub(super) fn is_share_kind(kind: i16) -> bool {
    (10..=14).contains(&kind)
}

pub fn encode_key(group: &str, key: &RecordKey) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(kind(key));
    put_string(&mut out, group);
    if let RecordKey::Member(name) | RecordKey::Target(name) | RecordKey::Current(name) = key {
        put_string(&mut out, name);
    }
    out.freeze()
}

/// The rest of a key whose kind was read.
pub(super) fn decode_key(kind: i16, reader: &mut Reader) -> Result<(String, RecordKey), RecordFormatError> {
    let group = reader.string()?;
    let key = match kind {
        10 => RecordKey::Member(reader.string()?),
        11 => RecordKey::Group,
        12 => RecordKey::TargetEpoch,
        13 => RecordKey::Target(reader.string()?),
        14 => RecordKey::Current(reader.string()?),
        other => return Err(RecordFormatError::UnknownVersion(other)),
    };
    Ok((group, key))
}

pub fn encode_value(value: &ShareRecordValue) -> Bytes {
    let mut out = FlexWriter::new(0);
    match value {
        ShareRecordValue::Group { epoch, metadata_hash } => {
            out.i32(*epoch);
            out.i64(*metadata_hash);
        }
        ShareRecordValue::TargetEpoch(epoch) => out.i32(*epoch),
        ShareRecordValue::Target(partitions) => put_target(&mut out, partitions),
        ShareRecordValue::Current(current) => {
            out.i32(current.epoch);
            out.i32(current.previous_epoch);
            out.i8(STABLE);
            put_target(&mut out, &current.assigned);
        }
        ShareRecordValue::Member(member) => {
            out.nullable_string(member.rack_id.as_deref());
            out.string(&member.client_id);
            out.string(&member.client_host);
            out.array(member.topics.len());
            member.topics.iter().for_each(|topic| out.string(topic));
        }
    }
    out.no_tags();
    out.finish()
}

pub fn decode_value(key: &RecordKey, bytes: Bytes) -> Result<ShareRecordValue, RecordFormatError> {
    let mut reader = FlexReader::versioned(bytes, 0)?;
    let value = match key {
        RecordKey::Group | RecordKey::Regex(_) => {
            ShareRecordValue::Group { epoch: reader.i32()?, metadata_hash: reader.i64()? }
        }
        RecordKey::TargetEpoch => ShareRecordValue::TargetEpoch(reader.i32()?),
        RecordKey::Target(_) => ShareRecordValue::Target(target(&mut reader)?),
        RecordKey::Current(_) => {
            let (epoch, previous_epoch, _state) = (reader.i32()?, reader.i32()?, reader.i8()?);
            let assigned = target(&mut reader)?;
            ShareRecordValue::Current(StoredShareCurrent { epoch, previous_epoch, assigned })
        }
        RecordKey::Member(_) => ShareRecordValue::Member(StoredShareMember {
            rack_id: reader.nullable_string()?,
            client_id: reader.string()?,
            client_host: reader.string()?,
            topics: reader.array(FlexReader::string)?,
        }),
    };
    reader.tags()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::TopicId;

    use super::*;
    use crate::group::records::Key;

    fn topic(n: u128) -> TopicId {
        TopicId(Uuid::from_u128(n))
    }

    #[test]
    fn every_record_comes_back_as_it_was_and_cut_off_ones_are_errors() {
        let member = StoredShareMember {
            rack_id: Some("r".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            topics: vec!["a".into(), "b".into()],
        };
        let assigned = [(topic(1), 0), (topic(1), 5), (topic(2), 1)].into();
        let current = StoredShareCurrent { epoch: 9, previous_epoch: 8, assigned };
        let samples = [
            (RecordKey::Group, ShareRecordValue::Group { epoch: 10, metadata_hash: -5 }),
            (RecordKey::TargetEpoch, ShareRecordValue::TargetEpoch(10)),
            (RecordKey::Target("m".into()), ShareRecordValue::Target(current.assigned.clone())),
            (RecordKey::Current("m".into()), ShareRecordValue::Current(current)),
            (RecordKey::Member("m".into()), ShareRecordValue::Member(member)),
        ];
        for (key, value) in samples {
            let bytes = encode_value(&value);
            assert_eq!(decode_value(&key, bytes.clone()).unwrap(), value);
            for cut in 0..bytes.len() {
                assert!(decode_value(&key, bytes.slice(..cut)).is_err(), "{key:?} cut at {cut}");
            }
            let named = Key::Share { group: "g".into(), key };
            assert_eq!(crate::group::records::decode_key(crate::group::records::encode_key(&named)).unwrap(), named);
        }
    }

    #[test]
    fn records_are_what_kafka_writes() {
        // ShareGroupMetadataKey of "g" and ShareGroupMetadataValue of epoch 10 with hash 1, as Kafka 4.3's schema has them.
        assert_eq!(encode_key("g", &RecordKey::Group)[..], [0, 11, 0, 1, b'g']);
        let value = encode_value(&ShareRecordValue::Group { epoch: 10, metadata_hash: 1 });
        assert_eq!(value[..], [0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let current = StoredShareCurrent { epoch: 2, previous_epoch: 1, assigned: [(topic(1), 3)].into() };
        let mut expected = vec![0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 2];
        expected.extend([0; 15]);
        expected.extend([1, 2, 0, 0, 0, 3, 0, 0]);
        assert_eq!(encode_value(&ShareRecordValue::Current(current))[..], expected);
    }
}
