//! The hot path: a Produce request taken apart without copying its records.
//!
//! Each records field becomes a `BytesMut` of its own, split off the frame, so that base offset and leader epoch are
//! patched in place and the same bytes go to the log. All parts share the frame's allocation, which is freed with the
//! last of them.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::columnar::TAG;
use crate::guard::GuardLimits;
use crate::ids::{PartitionId, TopicId};
use crate::wire::{Wire, WireError};

/// First and last version that can be split.
pub const PRODUCE_VERSIONS: (i16, i16) = (3, 13);
const FIRST_FLEXIBLE: i16 = 9;
const FIRST_WITH_TOPIC_ID: i16 = 13;

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// 0: never.
    None,
    /// 1: when the leader wrote it.
    Leader,
    /// -1: when it is durable.
    All,
    /// Anything else; answered with INVALID_REQUIRED_ACKS.
    Invalid(i16),
}

impl From<i16> for Acks {
    fn from(wire: i16) -> Acks {
        match wire {
            0 => Acks::None,
            1 => Acks::Leader,
            -1 => Acks::All,
            other => Acks::Invalid(other),
        }
    }
}

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name, up to version 12.
    Name(String),
    /// By id, from version 13 on.
    Id(TopicId),
}

/// A Produce request.
#[derive(Debug)]
pub struct ProduceFrame {
    /// Set by transactional producers.
    pub transactional_id: Option<String>,
    /// When to answer.
    pub acks: Acks,
    /// How long the producer waits.
    pub timeout_ms: i32,
    /// The topics in request order.
    pub topics: Vec<ProduceTopic>,
}

/// One topic of a Produce request.
#[derive(Debug)]
pub struct ProduceTopic {
    /// Which topic.
    pub topic: TopicRef,
    /// Its partitions in request order.
    pub partitions: Vec<ProducePartition>,
}

/// One partition of a Produce request.
#[derive(Debug)]
pub struct ProducePartition {
    /// Which partition.
    pub index: PartitionId,
    /// Its records; null is possible on the wire.
    pub records: Option<BytesMut>,
    /// Tag 5700 of the columnar extension: the records are an Arrow stream, and this says what a batch header would.
    pub columnar: Option<Bytes>,
}

/// Takes a Produce request apart. `body_offset` is where the request header ended; the version must be in
/// [`PRODUCE_VERSIONS`].
pub fn split_produce(
    mut frame: BytesMut,
    body_offset: usize,
    version: i16,
    limits: &GuardLimits,
) -> Result<ProduceFrame, WireError> {
    debug_assert!(PRODUCE_VERSIONS.0 <= version && version <= PRODUCE_VERSIONS.1);
    let parsed = parse(&frame, body_offset, version, limits)?;
    // Ranges ascend, so one pass from front to back cuts them all out.
    let mut cut_to = 0;
    let mut cut = |range: Range<usize>| {
        let _between = frame.split_to(range.start - cut_to);
        cut_to = range.end;
        frame.split_to(range.len())
    };
    let topics = parsed.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions
            .into_iter()
            .map(|(index, records, columnar)| ProducePartition { index, records: records.map(&mut cut), columnar })
            .collect();
        ProduceTopic { topic, partitions }
    });
    Ok(ProduceFrame {
        transactional_id: parsed.transactional_id,
        acks: parsed.acks,
        timeout_ms: parsed.timeout_ms,
        topics: topics.collect(),
    })
}

type PartitionRange = (PartitionId, Option<Range<usize>>, Option<Bytes>);

struct Parsed {
    transactional_id: Option<String>,
    acks: Acks,
    timeout_ms: i32,
    topics: Vec<(TopicRef, Vec<PartitionRange>)>,
}

fn parse(frame: &[u8], body_offset: usize, version: i16, limits: &GuardLimits) -> Result<Parsed, WireError> {
    let compact = version >= FIRST_FLEXIBLE;
    let mut wire = Wire::at(frame, body_offset);
    let mut budget = limits.max_elements;
    let transactional_id = wire.nullable_str(compact, "transactional_id")?;
    let transactional_id = transactional_id.map(|id| utf8(id, "transactional_id")).transpose()?;
    let acks = Acks::from(wire.i16("acks")?);
    let timeout_ms = wire.i32("timeout_ms")?;
    let topic_count = count(&mut wire, compact, "topic_data", &mut budget, limits)?;
    let mut topics = Vec::with_capacity(topic_count);
    for _ in 0..topic_count {
        let topic = topic_ref(&mut wire, compact, version)?;
        let partition_count = count(&mut wire, compact, "partition_data", &mut budget, limits)?;
        let mut partitions = Vec::with_capacity(partition_count);
        for _ in 0..partition_count {
            partitions.push(partition(&mut wire, compact, version)?);
        }
        skip_tags(&mut wire, compact)?;
        topics.push((topic, partitions));
    }
    skip_tags(&mut wire, compact)?;
    wire.finish()?;
    Ok(Parsed { transactional_id, acks, timeout_ms, topics })
}

/// A topic or partition takes at least 4 bytes in any version.
const MIN_ELEMENT_LEN: usize = 4;

fn count(
    wire: &mut Wire<'_>,
    compact: bool,
    field: &'static str,
    budget: &mut usize,
    limits: &GuardLimits,
) -> Result<usize, WireError> {
    let count = wire.nullable_count(compact, field)?.ok_or(WireError::Null { field })?;
    if count > wire.remaining() / MIN_ELEMENT_LEN {
        return Err(WireError::CountTooLarge { field, count, remaining: wire.remaining() });
    }
    *budget = budget.checked_sub(count).ok_or(WireError::TooManyElements { field, limit: limits.max_elements })?;
    Ok(count)
}

fn topic_ref(wire: &mut Wire<'_>, compact: bool, version: i16) -> Result<TopicRef, WireError> {
    if version >= FIRST_WITH_TOPIC_ID {
        return wire.uuid("topic_id").map(TopicId).map(TopicRef::Id);
    }
    let name = wire.nullable_str(compact, "name")?.ok_or(WireError::Null { field: "name" })?;
    utf8(name, "name").map(TopicRef::Name)
}

fn partition(wire: &mut Wire<'_>, compact: bool, version: i16) -> Result<PartitionRange, WireError> {
    let index = PartitionId(wire.i32("index")?);
    let records = wire.nullable_bytes(compact, "records")?;
    let range = records.map(|records| wire.position() - records.len()..wire.position());
    let columnar = if version >= FIRST_WITH_TOPIC_ID {
        wire.find_tagged_field(TAG as u32)?.map(Bytes::copy_from_slice)
    } else {
        skip_tags(wire, compact)?;
        None
    };
    Ok((index, range, columnar))
}

fn skip_tags(wire: &mut Wire<'_>, compact: bool) -> Result<(), WireError> {
    if compact { wire.skip_tagged_fields() } else { Ok(()) }
}

fn utf8(bytes: &[u8], field: &'static str) -> Result<String, WireError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| WireError::NotUtf8 { field })
}

#[cfg(test)]
mod tests;
