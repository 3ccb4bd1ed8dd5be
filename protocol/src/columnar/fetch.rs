//! `ColumnarFetch`: tag 5700 at the top level of FetchRequest 13+.
use std::collections::HashSet;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{ColumnarError, VERSION_MAX, count, put_bytes, put_len, put_no_tags, string, version};
use crate::WireError;
use crate::wire::Wire;

/// How the rows of a result are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFormat {
    /// One Arrow IPC stream.
    ArrowIpc,
    /// Kafka record batches with the rows encoded again in the topic's row format.
    KafkaRecords,
}

/// Codecs of Arrow IPC bodies that the client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AcceptedCodecs {
    /// LZ4 frames.
    pub lz4: bool,
    /// ZSTD.
    pub zstd: bool,
}

/// The order of rows in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanOrder {
    /// By offset.
    Offset,
    /// By window, grouped inside of one; for topics with `weir.cluster.by`.
    Window,
}

/// Which changes of a changelog topic are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeTypes(u8);

impl ChangeTypes {
    /// Every change.
    pub const ALL: ChangeTypes = ChangeTypes(0b1111);

    /// From the mask of the wire: +I 1, -U 2, +U 4, -D 8, and 0 for all.
    #[must_use]
    pub fn from_mask(mask: u8) -> Option<ChangeTypes> {
        match mask {
            0 => Some(ChangeTypes::ALL),
            1..=15 => Some(ChangeTypes(mask)),
            _ => None,
        }
    }

    /// Whether the change with this `_change_type` (0 to 3) is wanted.
    #[must_use]
    pub fn wants(self, change_type: i8) -> bool {
        (0..4).contains(&change_type) && self.0 & (1 << change_type) != 0
    }

    fn mask(self) -> u8 {
        if self == ChangeTypes::ALL { 0 } else { self.0 }
    }
}

/// What is asked of the topics of one fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnarFetch {
    /// Encoding of the rows.
    pub format: ResultFormat,
    /// Codecs of the bodies; none means uncompressed bodies only.
    pub codecs: AcceptedCodecs,
    /// Order of the rows.
    pub order: ScanOrder,
    /// Bytes of input after which a scan answers with what it has; `None` leaves it to the broker.
    pub max_scan_bytes: Option<u64>,
    /// Topics answered with columns; each once.
    pub topics: Vec<ColumnarTopic>,
}

/// Columns and rows of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnarTopic {
    /// The topic.
    pub topic_id: Uuid,
    /// Schema version whose names and types projection, predicate and result use; `None` is the current one.
    pub read_schema: Option<i32>,
    /// Column paths; `None` is every user column, empty is none.
    pub projection: Option<Vec<String>>,
    /// SQL text; `None` takes every row. Not yet known to be UTF-8 or to parse.
    pub predicate: Option<Bytes>,
    /// Wanted changes.
    pub change_types: ChangeTypes,
}

/// `Topics` element: id, schema id, null projection, kind, empty predicate, change types, no tags.
const TOPIC_LEN_MIN: usize = 16 + 4 + 1 + 1 + 1 + 1 + 1;

impl ColumnarFetch {
    /// From the bytes of the tag.
    pub fn decode(bytes: &[u8]) -> Result<ColumnarFetch, ColumnarError> {
        let mut wire = Wire::new(bytes);
        version(&mut wire)?;
        let format = match wire.i8("ResultFormat")? {
            0 => ResultFormat::ArrowIpc,
            1 => ResultFormat::KafkaRecords,
            got => return Err(value("ResultFormat", got, "0 is an Arrow IPC stream, 1 Kafka records")),
        };
        let codecs = match wire.i8("AcceptedCodecs")? {
            mask @ 0..=3 => AcceptedCodecs { lz4: mask & 1 != 0, zstd: mask & 2 != 0 },
            got => return Err(value("AcceptedCodecs", got, "bit 0 is LZ4_FRAME, bit 1 ZSTD")),
        };
        let order = match wire.i8("Order")? {
            0 => ScanOrder::Offset,
            1 => ScanOrder::Window,
            got => return Err(value("Order", got, "0 is offset order, 1 window order")),
        };
        let max_scan_bytes = match wire.i64("MaxScanBytes")? {
            -1 => None,
            bytes => Some(u64::try_from(bytes).map_err(|_| ColumnarError::Value {
                field: "MaxScanBytes",
                got: bytes,
                allowed: "-1 leaves it to the broker",
            })?),
        };
        let topics = topics(&mut wire)?;
        wire.skip_tagged_fields()?;
        wire.finish()?;
        Ok(ColumnarFetch { format, codecs, order, max_scan_bytes, topics })
    }

    /// Appends the bytes of the tag.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i8(VERSION_MAX);
        out.put_i8(match self.format {
            ResultFormat::ArrowIpc => 0,
            ResultFormat::KafkaRecords => 1,
        });
        out.put_i8(i8::from(self.codecs.lz4) | i8::from(self.codecs.zstd) << 1);
        out.put_i8(match self.order {
            ScanOrder::Offset => 0,
            ScanOrder::Window => 1,
        });
        out.put_i64(self.max_scan_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)));
        put_len(out, self.topics.len());
        for topic in &self.topics {
            topic.encode(out);
        }
        put_no_tags(out);
    }
}

fn value(field: &'static str, got: i8, allowed: &'static str) -> ColumnarError {
    ColumnarError::Value { field, got: got.into(), allowed }
}

fn topics(wire: &mut Wire<'_>) -> Result<Vec<ColumnarTopic>, ColumnarError> {
    let field = "Topics";
    let count = count(wire, TOPIC_LEN_MIN, field)?.ok_or(WireError::Null { field })?;
    let mut topics = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    for _ in 0..count {
        let topic = ColumnarTopic::decode(wire)?;
        if !seen.insert(topic.topic_id) {
            return Err(ColumnarError::TopicTwice { topic: topic.topic_id });
        }
        topics.push(topic);
    }
    Ok(topics)
}

impl ColumnarTopic {
    fn decode(wire: &mut Wire<'_>) -> Result<ColumnarTopic, ColumnarError> {
        let topic_id = wire.uuid("TopicId")?;
        let read_schema = match wire.i32("ReadSchemaId")? {
            -1 => None,
            id => Some(id),
        };
        let projection = match count(wire, 1, "Projection")? {
            None => None,
            Some(columns) => Some((0..columns).map(|_| string(wire, "Projection")).collect::<Result<_, _>>()?),
        };
        let kind = wire.i8("PredicateKind")?;
        let field = "Predicate";
        let text = wire.nullable_bytes(true, field)?.ok_or(WireError::Null { field })?;
        let predicate = match kind {
            0 if text.is_empty() => None,
            0 => {
                let got = text.len() as i64;
                return Err(ColumnarError::Value { field, got, allowed: "without a PredicateKind it is empty" });
            }
            1 => Some(Bytes::copy_from_slice(text)),
            got => return Err(value("PredicateKind", got, "0 is none, 1 SQL")),
        };
        let mask = wire.i8("ChangeTypes")?;
        let change_types = u8::try_from(mask).ok().and_then(ChangeTypes::from_mask);
        let change_types =
            change_types.ok_or_else(|| value("ChangeTypes", mask, "+I is 1, -U 2, +U 4, -D 8, all of them 0"))?;
        wire.skip_tagged_fields()?;
        Ok(ColumnarTopic { topic_id, read_schema, projection, predicate, change_types })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(self.topic_id.as_bytes());
        out.put_i32(self.read_schema.unwrap_or(-1));
        match &self.projection {
            None => out.put_u8(0),
            Some(columns) => {
                put_len(out, columns.len());
                for column in columns {
                    put_bytes(out, column.as_bytes());
                }
            }
        }
        out.put_i8(i8::from(self.predicate.is_some()));
        put_bytes(out, self.predicate.as_deref().unwrap_or_default());
        out.put_u8(self.change_types.mask());
        put_no_tags(out);
    }
}
