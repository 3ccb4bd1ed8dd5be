//! What a batch must fulfil before it gets an offset, beyond its header and CRC.
//!
//! Records are always opened, compressed ones too, as in Kafka: one malformed record would stop every consumer of its partition,
//! and the CRC proves only that the producer meant it (docs/decisions/0005-produce-opens-batches.md). No IO, no clock: the time is an argument.
use bytes::BytesMut;
use thiserror::Error;
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{
    BatchError, BatchHeader, CompressError, Compression, DecodeError, DecompressLimits, Record, RecordSummary,
    RewriteError, ValidationLimits, decode, recompress, set_max_timestamp, validate_produced, validate_producer,
    visit_records,
};

use crate::topic_config::TopicSettings;

/// At most so many records are named in an answer.
pub const RECORD_ERRORS_MAX: usize = 1000;

/// First Produce version whose clients may send zstd.
const ZSTD_SINCE: i16 = 7;

/// The settings of a topic that decide about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// `compression.type` with its level; None = whatever the producer chose.
    pub compression: Option<(Compression, Option<i32>)>,
    /// `cleanup.policy` has `compact`: every record needs a key.
    pub keys_required: bool,
    /// `message.timestamp.type=LogAppendTime`: the producer's timestamps are replaced, so they are not checked.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`; None = unlimited.
    pub before_max_ms: Option<i64>,
    /// `message.timestamp.after.max.ms`; None = unlimited.
    pub after_max_ms: Option<i64>,
    /// How far records may expand.
    pub decompress: DecompressLimits,
}

impl Rules {
    pub fn of(settings: &TopicSettings) -> Rules {
        Rules {
            max_batch_bytes: settings.max_message_bytes,
            compression: settings.compression,
            keys_required: settings.compacted,
            log_append_time: settings.log_append_time,
            before_max_ms: settings.timestamp_before_max_ms,
            after_max_ms: settings.timestamp_after_max_ms,
            decompress: DecompressLimits::default(),
        }
    }

    /// Copies of the decompressed records that there are at once while a batch of this codec is checked.
    pub fn copies(&self, codec: Compression) -> usize {
        if self.other_codec(codec).is_some() { 2 } else { 1 }
    }

    /// The codec and level to write with, if the batch has another codec.
    fn other_codec(&self, codec: Compression) -> Option<(Compression, Option<i32>)> {
        self.compression.filter(|(wanted, _)| *wanted != codec)
    }
}

/// A record that the topic refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    pub index: i32,
    pub reason: String,
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValidateError {
    #[error("the partition has no record batch; a produce request carries exactly one for each partition")]
    NoBatch,
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("zstd needs Produce version {ZSTD_SINCE}, the request has {version}")]
    ZstdTooEarly { version: i16 },
    #[error(transparent)]
    Records(#[from] DecodeError),
    #[error("{} record(s) without a key; the topic is compacted, each record needs one", refused.len())]
    NullKeys { refused: Vec<RefusedRecord> },
    #[error("{} record(s) outside of message.timestamp.before.max.ms and message.timestamp.after.max.ms", refused.len())]
    Timestamps { refused: Vec<RefusedRecord> },
    #[error("{count} record(s) do not fit the topic's table{}", first(refused))]
    Rows { count: usize, refused: Vec<RefusedRecord> },
    #[error("rows of this topic cannot be checked: {reason}")]
    NoTable { reason: String },
    #[error("the batch cannot be written with the topic's compression.type: {0}")]
    Recompress(RewriteError),
}

/// Clients that show no record errors show this.
fn first(refused: &[RefusedRecord]) -> String {
    refused.first().map_or_else(String::new, |record| format!("; record {}: {}", record.index, record.reason))
}

impl ValidateError {
    /// Whether the records expand beyond [`Rules::decompress`].
    pub fn is_expansion(&self) -> bool {
        let compress = match self {
            ValidateError::Records(DecodeError::Compress(error)) => error,
            ValidateError::Recompress(RewriteError::Decode(DecodeError::Compress(error))) => error,
            _ => return false,
        };
        matches!(compress, CompressError::TooLarge { .. })
    }

    /// The records to blame, for `record_errors`.
    pub fn refused(&self) -> &[RefusedRecord] {
        match self {
            ValidateError::NullKeys { refused }
            | ValidateError::Timestamps { refused }
            | ValidateError::Rows { refused, .. } => refused,
            _ => &[],
        }
    }
}

/// Where the records of a batch are read whose header and CRC are sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// On the connection's thread: they are plain, or compressed and few.
    Here,
    /// On the threads for computations: they have to be decompressed, or compressed anew.
    Costly,
}

/// A compressed batch up to this size is opened on the connection's thread, unless it expands beyond
/// [`SMALL_EXPANDED_BYTES`]: handing it to another one would take longer than opening it.
pub const SMALL_BATCH_BYTES: usize = 2 << 10;

/// See [`SMALL_BATCH_BYTES`].
pub const SMALL_EXPANDED_BYTES: usize = 32 << 10;

/// The checks that cost one CRC pass.
pub fn shallow(version: i16, batch: &[u8], rules: &Rules) -> Result<(BatchHeader, Depth), ValidateError> {
    if batch.is_empty() {
        return Err(ValidateError::NoBatch);
    }
    let limits = ValidationLimits { max_batch_bytes: rules.max_batch_bytes, ..ValidationLimits::default() };
    let header = validate_produced(batch, &limits)?;
    let codec = header.attributes.compression();
    if codec == Compression::Zstd && version < ZSTD_SINCE {
        return Err(ValidateError::ZstdTooEarly { version });
    }
    Ok((header, depth(&header, rules)))
}

fn depth(header: &BatchHeader, rules: &Rules) -> Depth {
    let codec = header.attributes.compression();
    let cheap = codec == Compression::None || header.total_len() <= SMALL_BATCH_BYTES;
    if cheap && rules.other_codec(codec).is_none() { Depth::Here } else { Depth::Costly }
}

/// The checks that read the records; writes the batch anew if the topic asks for another codec. Returns the header of the
/// batch to append. After an error the batch can be checked again. `visit` is shown each record, since opening a batch is
/// what costs most.
pub fn deep(
    batch: &mut BytesMut,
    header: BatchHeader,
    rules: &Rules,
    now: Timestamp,
    visit: impl FnMut(usize, &BatchHeader, &Record<'_>),
) -> Result<BatchHeader, ValidateError> {
    let summary = visit_records(batch, &rules.decompress, visit)?;
    if rules.keys_required && summary.first_null_key.is_some() {
        return Err(ValidateError::NullKeys { refused: records_without_key(batch, rules)? });
    }
    if !rules.log_append_time && !within_bounds(&summary, rules, now) {
        let refused = records_out_of_time(batch, rules, now)?;
        if !refused.is_empty() {
            return Err(ValidateError::Timestamps { refused });
        }
    }
    let header = if summary.max_timestamp.0 == header.max_timestamp {
        header
    } else {
        // Time look-ups and retention trust this field.
        set_max_timestamp(batch, summary.max_timestamp);
        BatchHeader::parse(batch)?
    };
    let Some((wanted, level)) = rules.other_codec(header.attributes.compression()) else { return Ok(header) };
    let (rewritten, header) = rewrite(batch, wanted, level, rules)?;
    *batch = rewritten;
    Ok(header)
}

fn rewrite(
    batch: &[u8],
    wanted: Compression,
    level: Option<i32>,
    rules: &Rules,
) -> Result<(BytesMut, BatchHeader), ValidateError> {
    let rewritten = recompress(batch, wanted, level, &rules.decompress);
    let batch = BytesMut::from(rewritten.map_err(ValidateError::Recompress)?);
    if batch.len() > rules.max_batch_bytes {
        return Err(BatchError::TooLarge { bytes: batch.len(), limit: rules.max_batch_bytes }.into());
    }
    let header = BatchHeader::parse(&batch)?;
    Ok((batch, header))
}

/// Whether a batch of so many bytes, which were checked, may be appended as it is. `times`: its smallest and its largest timestamp.
pub fn takes(header: &BatchHeader, bytes: usize, times: (Timestamp, Timestamp), rules: &Rules, now: Timestamp) -> bool {
    let in_time = [times.0, times.1].iter().all(|time| out_of_time(time.0, rules, now).is_none());
    let plain = !rules.keys_required && !rules.log_append_time;
    plain && in_time && bytes <= rules.max_batch_bytes && validate_producer(header).is_ok()
}

fn within_bounds(summary: &RecordSummary, rules: &Rules, now: Timestamp) -> bool {
    out_of_time(summary.min_timestamp.0, rules, now).is_none()
        && out_of_time(summary.max_timestamp.0, rules, now).is_none()
}

/// Why this timestamp is refused. -1 stands for "none" and passes.
fn out_of_time(timestamp: i64, rules: &Rules, now: Timestamp) -> Option<String> {
    let age = now.0.saturating_sub(timestamp);
    if timestamp == -1 {
        None
    } else if let Some(before) = rules.before_max_ms.filter(|before| age > *before) {
        Some(format!("timestamp {timestamp} is {age} ms old, message.timestamp.before.max.ms is {before}"))
    } else if let Some(after) = rules.after_max_ms.filter(|after| age.saturating_neg() > *after) {
        let ahead = age.saturating_neg();
        Some(format!("timestamp {timestamp} is {ahead} ms in the future, message.timestamp.after.max.ms is {after}"))
    } else {
        None
    }
}

fn records_without_key(batch: &[u8], rules: &Rules) -> Result<Vec<RefusedRecord>, ValidateError> {
    refuse(batch, rules, |_, record| {
        record.key.is_none().then(|| "compacted topic cannot accept a record without key".to_owned())
    })
}

fn records_out_of_time(batch: &[u8], rules: &Rules, now: Timestamp) -> Result<Vec<RefusedRecord>, ValidateError> {
    refuse(batch, rules, |header, record| out_of_time(record.timestamp(header).0, rules, now))
}

fn refuse(
    batch: &[u8],
    rules: &Rules,
    reason: impl Fn(&BatchHeader, &Record<'_>) -> Option<String>,
) -> Result<Vec<RefusedRecord>, ValidateError> {
    let decoded = decode(batch, &rules.decompress)?;
    let mut refused = Vec::new();
    for (index, record) in (0..).zip(decoded.records()) {
        let record = record.map_err(DecodeError::from)?;
        if let Some(reason) = reason(&decoded.header, &record) {
            refused.push(RefusedRecord { index, reason });
            if refused.len() == RECORD_ERRORS_MAX {
                break;
            }
        }
    }
    Ok(refused)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
