//! Records of `__consumer_offsets`, in Kafka's format (its `OffsetCommitKey/Value` and `GroupMetadataKey/Value` schemas; those of
//! the newer groups are in [`consumer`] and [`share`]).
//!
//! Written: OffsetCommitKey 1, OffsetCommitValue 3, GroupMetadataKey 2, GroupMetadataValue 3. Read: all versions up to these.
//! What does not decode is an error that the reader counts and passes over; nothing is allocated that the bytes do not back.
use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use weir_protocol::ids::{LeaderEpoch, Offset, Timestamp};

use super::consumer::RecordKey;
use super::offsets::CommittedOffset;
use super::state::{StoredGroup, StoredMember};

pub mod consumer;
pub(crate) mod flexible;
pub mod share;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Offset {
        group: String,
        topic: String,
        partition: i32,
    },
    Group {
        group: String,
    },
    /// A record of a group of the consumer protocol.
    Consumer {
        group: String,
        key: RecordKey,
    },
    /// A record of a share group.
    Share {
        group: String,
        key: RecordKey,
    },
    /// A kind of record that other Kafka versions write and that means nothing here.
    Other {
        version: i16,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordFormatError {
    #[error("the record is cut off")]
    Truncated,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a length of {0} is not possible")]
    Length(i32),
    #[error("value version {0} is not known")]
    UnknownVersion(i16),
}

pub(crate) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    fn need(&self, n: usize) -> Result<(), RecordFormatError> {
        if self.bytes.remaining() < n { Err(RecordFormatError::Truncated) } else { Ok(()) }
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordFormatError> {
        self.need(2)?;
        Ok(self.bytes.get_i16())
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordFormatError> {
        self.need(4)?;
        Ok(self.bytes.get_i32())
    }

    fn i64(&mut self) -> Result<i64, RecordFormatError> {
        self.need(8)?;
        Ok(self.bytes.get_i64())
    }

    pub(crate) fn take(&mut self, n: i32) -> Result<Bytes, RecordFormatError> {
        let n = usize::try_from(n).map_err(|_| RecordFormatError::Length(n))?;
        self.need(n)?;
        Ok(self.bytes.split_to(n))
    }

    fn nullable_string(&mut self) -> Result<Option<String>, RecordFormatError> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.take(i32::from(length))?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| RecordFormatError::NotUtf8)
    }

    pub(crate) fn string(&mut self) -> Result<String, RecordFormatError> {
        self.nullable_string()?.ok_or(RecordFormatError::Length(-1))
    }

    fn bytes(&mut self) -> Result<Bytes, RecordFormatError> {
        let length = self.i32()?;
        self.take(length)
    }
}

pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    // Names longer than this are refused where requests come in.
    let length = text.len().min(i16::MAX as usize);
    out.put_i16(length as i16);
    out.put_slice(&text.as_bytes()[..length]);
}

fn put_nullable(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.put_i16(-1),
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

pub fn encode_key(key: &Key) -> Bytes {
    let mut out = BytesMut::new();
    match key {
        Key::Offset { group, topic, partition } => {
            out.put_i16(1);
            put_string(&mut out, group);
            put_string(&mut out, topic);
            out.put_i32(*partition);
        }
        Key::Group { group } => {
            out.put_i16(2);
            put_string(&mut out, group);
        }
        Key::Consumer { group, key } => return consumer::encode_key(group, key),
        Key::Share { group, key } => return share::encode_key(group, key),
        Key::Other { version } => out.put_i16(*version),
    }
    out.freeze()
}

pub fn decode_key(bytes: Bytes) -> Result<Key, RecordFormatError> {
    let mut reader = Reader { bytes };
    Ok(match reader.i16()? {
        0 | 1 => {
            let (group, topic) = (reader.string()?, reader.string()?);
            Key::Offset { group, topic, partition: reader.i32()? }
        }
        2 => Key::Group { group: reader.string()? },
        kind if consumer::is_consumer_kind(kind) => {
            let (group, key) = consumer::decode_key(kind, &mut reader)?;
            Key::Consumer { group, key }
        }
        kind if share::is_share_kind(kind) => {
            let (group, key) = share::decode_key(kind, &mut reader)?;
            Key::Share { group, key }
        }
        version => Key::Other { version },
    })
}

pub fn encode_offset(committed: &CommittedOffset) -> Bytes {
    let mut out = BytesMut::new();
    // Version 3 has the leader epoch but no expiry; 1 the other way round.
    let version: i16 = if committed.expires_at.is_some() { 1 } else { 3 };
    out.put_i16(version);
    out.put_i64(committed.offset.0);
    if version == 3 {
        out.put_i32(committed.leader_epoch.map_or(-1, |e| e.0));
    }
    put_string(&mut out, &committed.metadata);
    out.put_i64(committed.committed_at.0);
    if let Some(expires_at) = committed.expires_at {
        out.put_i64(expires_at.0);
    }
    out.freeze()
}

pub fn decode_offset(bytes: Bytes) -> Result<CommittedOffset, RecordFormatError> {
    let mut reader = Reader { bytes };
    let version = reader.i16()?;
    if !(0..=3).contains(&version) {
        return Err(RecordFormatError::UnknownVersion(version));
    }
    let offset = Offset(reader.i64()?);
    let epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = reader.string()?;
    let committed_at = Timestamp(reader.i64()?);
    let expires = if version == 1 { reader.i64()? } else { -1 };
    Ok(CommittedOffset {
        offset,
        leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        metadata,
        committed_at,
        expires_at: (expires >= 0).then_some(Timestamp(expires)),
    })
}

pub fn encode_group(group: &StoredGroup) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(3);
    put_string(&mut out, &group.protocol_type);
    out.put_i32(group.generation);
    put_nullable(&mut out, group.protocol_name.as_deref());
    put_nullable(&mut out, group.leader.as_deref());
    out.put_i64(group.changed_at.0);
    out.put_i32(group.members.len() as i32);
    for member in &group.members {
        put_string(&mut out, &member.id);
        put_nullable(&mut out, member.instance_id.as_deref());
        put_string(&mut out, &member.client_id);
        put_string(&mut out, &member.client_host);
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        put_bytes(&mut out, &member.subscription);
        put_bytes(&mut out, &member.assignment);
    }
    out.freeze()
}

pub fn decode_group(bytes: Bytes) -> Result<StoredGroup, RecordFormatError> {
    let mut reader = Reader { bytes };
    let version = reader.i16()?;
    if !(0..=3).contains(&version) {
        return Err(RecordFormatError::UnknownVersion(version));
    }
    let protocol_type = reader.string()?;
    let generation = reader.i32()?;
    let protocol_name = reader.nullable_string()?;
    let leader = reader.nullable_string()?;
    let changed_at = Timestamp(if version >= 2 { reader.i64()? } else { -1 });
    let count = reader.i32()?;
    if count < 0 {
        return Err(RecordFormatError::Length(count));
    }
    let mut members = Vec::new();
    for _ in 0..count {
        let id = reader.string()?;
        let instance_id = if version >= 3 { reader.nullable_string()? } else { None };
        let (client_id, client_host) = (reader.string()?, reader.string()?);
        let rebalance = if version >= 1 { Some(reader.i32()?) } else { None };
        let session_timeout_ms = reader.i32()?;
        members.push(StoredMember {
            id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: reader.bytes()?,
            assignment: reader.bytes()?,
        });
    }
    Ok(StoredGroup { protocol_type, generation, protocol_name, leader, changed_at, members })
}

/// The partition of `__consumer_offsets` that holds a group: Java's `Utils.abs(groupId.hashCode()) % partitions`.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_what_kafka_writes() {
        // Bytes of Kafka 4.x for group "g", topic "t", partition 5, offset 42, epoch 7, metadata "m", time 1000.
        let key = Key::Offset { group: "g".into(), topic: "t".into(), partition: 5 };
        assert_eq!(encode_key(&key)[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 5]);
        let committed = CommittedOffset {
            offset: Offset(42),
            leader_epoch: Some(LeaderEpoch(7)),
            metadata: "m".into(),
            committed_at: Timestamp(1000),
            expires_at: None,
        };
        let expected = [0, 3, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 7, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 3, 232];
        assert_eq!(encode_offset(&committed)[..], expected);
        assert_eq!(decode_offset(encode_offset(&committed)).unwrap(), committed);
        assert_eq!(decode_key(encode_key(&key)).unwrap(), key);
    }

    #[test]
    fn groups_come_back_as_they_were_and_cut_off_ones_are_errors() {
        let group = StoredGroup {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol_name: Some("range".into()),
            leader: Some("a".into()),
            changed_at: Timestamp(77),
            members: vec![StoredMember {
                id: "a".into(),
                instance_id: Some("i".into()),
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                rebalance_timeout_ms: 300_000,
                session_timeout_ms: 45_000,
                subscription: Bytes::from_static(b"sub"),
                assignment: Bytes::from_static(b"ass"),
            }],
        };
        let bytes = encode_group(&group);
        assert_eq!(decode_group(bytes.clone()).unwrap(), group);
        for cut in 0..bytes.len() {
            assert!(decode_group(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut hostile = BytesMut::from(&encode_group(&StoredGroup { members: vec![], ..group })[..]);
        let at = hostile.len() - 4;
        hostile[at..].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(decode_group(hostile.freeze()), Err(RecordFormatError::Truncated));
    }

    #[test]
    fn groups_are_spread_as_java_hashes_them() {
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("flights", 50), java_abs("flights") % 50);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }

    fn java_abs(text: &str) -> i32 {
        let mut hash = 0i64;
        for unit in text.encode_utf16() {
            hash = (hash * 31 + i64::from(unit)) & 0xFFFF_FFFF;
        }
        (hash as u32 as i32).wrapping_abs()
    }
}
