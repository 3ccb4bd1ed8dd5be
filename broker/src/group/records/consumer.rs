//! Records of consumer groups in Kafka's format: ConsumerGroupMetadata (key 3), ConsumerGroupMemberMetadata (5),
//! ConsumerGroupTargetAssignmentMetadata (6), ConsumerGroupTargetAssignmentMember (7), ConsumerGroupCurrentMemberAssignment (8)
//! and ConsumerGroupRegularExpression (16), all in version 0.
//!
//! Keys are plain, values flexible. ConsumerGroupPartitionMetadata (4) is neither written nor needed: since Kafka 4.1 the
//! metadata hash of record 3 takes its place (KIP-1101), and a hash that is not ours only means that the group assigns anew.
use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;
use weir_protocol::ids::{Timestamp, TopicId};

use super::flexible::{FlexReader, FlexWriter, Tags};
use super::{Reader, RecordFormatError, put_string};
use crate::group::consumer::{
    ClassicMember, RecordKey, RecordValue, ResolvedRegex, StoredCurrent, StoredMember, TopicPartition,
};

/// Number of a key's kind, which its record begins with.
fn kind(key: &RecordKey) -> i16 {
    match key {
        RecordKey::Group => 3,
        RecordKey::Member(_) => 5,
        RecordKey::TargetEpoch => 6,
        RecordKey::Target(_) => 7,
        RecordKey::Current(_) => 8,
        RecordKey::Regex(_) => 16,
    }
}

/// Whether a key's kind is one of these records.
pub(super) fn is_consumer_kind(kind: i16) -> bool {
    matches!(kind, 3 | 5..=8 | 16)
}

pub fn encode_key(group: &str, key: &RecordKey) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(kind(key));
    put_string(&mut out, group);
    match key {
        RecordKey::Group | RecordKey::TargetEpoch => {}
        RecordKey::Member(name) | RecordKey::Target(name) | RecordKey::Current(name) | RecordKey::Regex(name) => {
            put_string(&mut out, name);
        }
    }
    out.freeze()
}

/// The rest of a key whose kind was read.
pub(super) fn decode_key(kind: i16, reader: &mut Reader) -> Result<(String, RecordKey), RecordFormatError> {
    let group = reader.string()?;
    let key = match kind {
        3 => RecordKey::Group,
        6 => RecordKey::TargetEpoch,
        5 => RecordKey::Member(reader.string()?),
        7 => RecordKey::Target(reader.string()?),
        8 => RecordKey::Current(reader.string()?),
        16 => RecordKey::Regex(reader.string()?),
        other => return Err(RecordFormatError::UnknownVersion(other)),
    };
    Ok((group, key))
}

pub fn encode_value(value: &RecordValue) -> Bytes {
    let mut out = FlexWriter::new(0);
    match value {
        RecordValue::Group { epoch, metadata_hash } => {
            out.i32(*epoch);
            let mut tags = Tags::default();
            if *metadata_hash != 0 {
                tags.add(0, Bytes::copy_from_slice(&metadata_hash.to_be_bytes()));
            }
            out.tags(tags);
        }
        RecordValue::TargetEpoch(epoch) => {
            out.i32(*epoch);
            out.no_tags();
        }
        RecordValue::Target(partitions) => {
            put_target(&mut out, partitions);
            out.no_tags();
        }
        RecordValue::Current(current) => put_current(&mut out, current),
        RecordValue::Member(member) => put_member(&mut out, member),
        RecordValue::Regex(regex) => {
            out.array(regex.topics.len());
            regex.topics.iter().for_each(|topic| out.string(topic));
            out.i64(regex.version as i64);
            out.i64(regex.resolved_at.0);
            out.no_tags();
        }
    }
    out.finish()
}

pub(super) fn put_target(out: &mut FlexWriter, partitions: &BTreeSet<TopicPartition>) {
    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    partitions.iter().for_each(|(topic, partition)| topics.entry(*topic).or_default().push(*partition));
    out.array(topics.len());
    for (topic, partitions) in topics {
        out.uuid(topic.0.into_bytes());
        out.array(partitions.len());
        partitions.iter().for_each(|partition| out.i32(*partition));
        out.no_tags();
    }
}

fn put_current(out: &mut FlexWriter, current: &StoredCurrent) {
    out.i32(current.epoch);
    out.i32(current.previous_epoch);
    out.i8(current.state);
    for partitions in [&current.assigned, &current.revoking] {
        let mut topics: BTreeMap<TopicId, Vec<(i32, i32)>> = BTreeMap::new();
        partitions.iter().for_each(|((topic, p), since)| topics.entry(*topic).or_default().push((*p, *since)));
        out.array(topics.len());
        for (topic, partitions) in topics {
            out.uuid(topic.0.into_bytes());
            out.array(partitions.len());
            partitions.iter().for_each(|(partition, _)| out.i32(*partition));
            let mut epochs = FlexWriter::bare();
            epochs.array(partitions.len());
            partitions.iter().for_each(|(_, since)| epochs.i32(*since));
            let mut tags = Tags::default();
            tags.add(0, epochs.finish());
            out.tags(tags);
        }
    }
    out.no_tags();
}

fn put_member(out: &mut FlexWriter, member: &StoredMember) {
    out.nullable_string(member.instance_id.as_deref());
    out.nullable_string(member.rack_id.as_deref());
    out.string(&member.client_id);
    out.string(&member.client_host);
    out.array(member.topics.len());
    member.topics.iter().for_each(|topic| out.string(topic));
    out.nullable_string(member.regex.as_deref());
    out.i32(member.rebalance_timeout_ms);
    out.nullable_string(member.assignor.as_deref());
    let mut tags = Tags::default();
    if let Some(classic) = &member.classic {
        let mut inner = FlexWriter::bare();
        // A nullable struct begins with a byte that says that it is there.
        inner.i8(1);
        inner.i32(classic.session_timeout_ms);
        inner.array(classic.protocols.len());
        for (name, metadata) in &classic.protocols {
            inner.string(name);
            inner.bytes(metadata);
            inner.no_tags();
        }
        inner.no_tags();
        tags.add(0, inner.finish());
    }
    out.tags(tags);
}

pub fn decode_value(key: &RecordKey, bytes: Bytes) -> Result<RecordValue, RecordFormatError> {
    let mut reader = FlexReader::versioned(bytes, 0)?;
    let value = match key {
        RecordKey::Group => {
            let epoch = reader.i32()?;
            let hash = reader.tags()?.remove(&0).map(|bytes| FlexReader::bare(bytes).i64()).transpose()?;
            return Ok(RecordValue::Group { epoch, metadata_hash: hash.unwrap_or(0) });
        }
        RecordKey::Member(_) => return Ok(RecordValue::Member(member(&mut reader)?)),
        RecordKey::TargetEpoch => RecordValue::TargetEpoch(reader.i32()?),
        RecordKey::Target(_) => RecordValue::Target(target(&mut reader)?),
        RecordKey::Current(_) => {
            let (epoch, previous_epoch, state) = (reader.i32()?, reader.i32()?, reader.i8()?);
            let (assigned, revoking) = (owned(&mut reader, epoch)?, owned(&mut reader, epoch)?);
            RecordValue::Current(StoredCurrent { epoch, previous_epoch, state, assigned, revoking })
        }
        RecordKey::Regex(_) => {
            let topics = reader.array(FlexReader::string)?.into_iter().collect();
            let (version, at) = (reader.i64()? as u64, Timestamp(reader.i64()?));
            RecordValue::Regex(ResolvedRegex { topics, version, resolved_at: at })
        }
    };
    reader.tags()?;
    Ok(value)
}

/// Partitions by topic, as [`put_target`] writes them.
pub(super) fn target(reader: &mut FlexReader) -> Result<BTreeSet<TopicPartition>, RecordFormatError> {
    let topics = reader.array(|r| {
        let topic = TopicId(Uuid::from_bytes(r.uuid()?));
        let partitions = r.array(FlexReader::i32)?;
        r.tags()?;
        Ok((topic, partitions))
    })?;
    Ok(topics.into_iter().flat_map(|(topic, list)| list.into_iter().map(move |p| (topic, p))).collect())
}

/// Partitions with the epochs since which they are owned; records before Kafka 4.3 do not tell, then it is the member's.
fn owned(reader: &mut FlexReader, epoch: i32) -> Result<BTreeMap<TopicPartition, i32>, RecordFormatError> {
    let topics = reader.array(|r| {
        let topic = TopicId(Uuid::from_bytes(r.uuid()?));
        let partitions = r.array(FlexReader::i32)?;
        let tagged = r.tags()?.remove(&0);
        let since = match tagged {
            Some(bytes) => FlexReader::bare(bytes).array(FlexReader::i32)?,
            None => Vec::new(),
        };
        Ok((topic, partitions, since))
    })?;
    let mut owned = BTreeMap::new();
    for (topic, partitions, since) in topics {
        for (i, partition) in partitions.into_iter().enumerate() {
            owned.insert((topic, partition), since.get(i).copied().unwrap_or(epoch.max(0)));
        }
    }
    Ok(owned)
}

fn member(reader: &mut FlexReader) -> Result<StoredMember, RecordFormatError> {
    let mut member = StoredMember {
        instance_id: reader.nullable_string()?,
        rack_id: reader.nullable_string()?,
        client_id: reader.string()?,
        client_host: reader.string()?,
        topics: reader.array(FlexReader::string)?,
        regex: reader.nullable_string()?.filter(|regex| !regex.is_empty()),
        rebalance_timeout_ms: reader.i32()?,
        assignor: reader.nullable_string()?,
        classic: None,
    };
    if let Some(bytes) = reader.tags()?.remove(&0) {
        let mut inner = FlexReader::bare(bytes);
        if inner.i8()? >= 0 {
            let session_timeout_ms = inner.i32()?;
            let protocols = inner.array(|r| {
                let protocol = (r.string()?, r.bytes()?);
                r.tags()?;
                Ok(protocol)
            })?;
            member.classic = Some(ClassicMember { session_timeout_ms, protocols });
        }
    }
    Ok(member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::records::{Key, decode_key};

    fn topic(n: u128) -> TopicId {
        TopicId(Uuid::from_u128(n))
    }

    fn samples() -> Vec<(RecordKey, RecordValue)> {
        let member = StoredMember {
            instance_id: Some("i".into()),
            rack_id: None,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            topics: vec!["a".into(), "b".into()],
            regex: Some("x.*".into()),
            rebalance_timeout_ms: 300_000,
            assignor: Some("range".into()),
            classic: None,
        };
        let protocols = vec![("range".to_owned(), Bytes::from_static(b"sub"))];
        let old =
            StoredMember { classic: Some(ClassicMember { session_timeout_ms: 45_000, protocols }), ..member.clone() };
        let current = StoredCurrent {
            epoch: 9,
            previous_epoch: 8,
            state: 1,
            assigned: [((topic(1), 0), 3), ((topic(1), 5), 9), ((topic(2), 1), 9)].into(),
            revoking: [((topic(2), 2), 4)].into(),
        };
        let regex = ResolvedRegex { topics: ["a".to_owned()].into(), version: 7, resolved_at: Timestamp(1_000) };
        vec![
            (RecordKey::Group, RecordValue::Group { epoch: 10, metadata_hash: -5 }),
            (RecordKey::Group, RecordValue::Group { epoch: 1, metadata_hash: 0 }),
            (RecordKey::TargetEpoch, RecordValue::TargetEpoch(10)),
            (RecordKey::Target("m".into()), RecordValue::Target([(topic(1), 0), (topic(1), 5), (topic(2), 1)].into())),
            (RecordKey::Current("m".into()), RecordValue::Current(current)),
            (RecordKey::Member("m".into()), RecordValue::Member(member)),
            (RecordKey::Member("m".into()), RecordValue::Member(old)),
            (RecordKey::Regex("x.*".into()), RecordValue::Regex(regex)),
        ]
    }

    #[test]
    fn every_record_comes_back_as_it_was_and_cut_off_ones_are_errors() {
        for (key, value) in samples() {
            let bytes = encode_value(&value);
            assert_eq!(decode_value(&key, bytes.clone()).unwrap(), value);
            for cut in 0..bytes.len() {
                assert!(decode_value(&key, bytes.slice(..cut)).is_err(), "{key:?} cut at {cut}");
            }
            let named = Key::Consumer { group: "g".into(), key };
            assert_eq!(decode_key(crate::group::records::encode_key(&named)).unwrap(), named);
        }
    }

    #[test]
    fn records_are_what_kafka_writes() {
        // ConsumerGroupMetadataKey of "g" and ConsumerGroupMetadataValue of epoch 10 with hash 1, as Kafka 4.x serialises them.
        assert_eq!(encode_key("g", &RecordKey::Group)[..], [0, 3, 0, 1, b'g']);
        let value = encode_value(&RecordValue::Group { epoch: 10, metadata_hash: 1 });
        assert_eq!(value[..], [0, 0, 0, 0, 0, 10, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        let target = encode_value(&RecordValue::Target([(topic(1), 3)].into()));
        let mut expected = vec![0, 0, 2];
        expected.extend([0; 15]);
        expected.extend([1, 2, 0, 0, 0, 3, 0, 0]);
        assert_eq!(target[..], expected);
    }

    #[test]
    fn lengths_that_the_bytes_do_not_back_are_errors() {
        let hostile = Bytes::from_static(b"\0\0\xff\xff\xff\xff\x0f");
        assert!(decode_value(&RecordKey::Target("m".into()), hostile).is_err());
    }
}
