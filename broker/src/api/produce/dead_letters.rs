//! Rows that do not fit, under `weir.on.invalid=dead-letter`: their copies in `<topic>.dlq`.
//!
//! A copy has the original key, value, headers and timestamp, and in further headers where it comes from and why it is
//! there. It can only be written when the batch has its offsets, so it follows the batch; the producer is answered when both
//! are durable. A batch that comes a second time (an idempotent producer that got no answer) has its copies written a second
//! time: there is at least one of each.
use std::sync::Arc;

use bytes::BytesMut;
use weir_protocol::ids::{PartitionId, Timestamp};
use weir_protocol::records::{BatchBuilder, BatchHeader, BuildError, Record};
use weir_storage::log::{
    AckLevel, AppendError, AppendFuture, AppendOrigin, Appended, Partition, PendingAppend, Storage,
};
use weir_table::codec::RowError;

use crate::topic_config::TopicConfigs;
use crate::topics::{Topic, TopicError, Topics};

/// Behind the name of a topic: the name of the topic of its dead letters.
pub const SUFFIX: &str = ".dlq";

/// Bytes of one batch of copies, before its last record.
const BATCH_BYTES: usize = 512 << 10;

/// A row that does not fit, with everything its copy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    pub offset_delta: i32,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    column: String,
    reason: String,
}

impl DeadRow {
    pub fn new(batch: &BatchHeader, record: &Record<'_>, error: &RowError) -> DeadRow {
        let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        DeadRow {
            offset_delta: record.offset_delta,
            timestamp: record.timestamp(batch),
            key: own(record.key),
            value: own(record.value),
            headers: record.headers.iter().map(|header| (header.key.to_vec(), own(header.value))).collect(),
            column: error.column.clone(),
            reason: error.to_string(),
        }
    }
}

/// The rows of one batch that do not fit.
pub struct DeadLetters {
    pub topic: Arc<Topic>,
    pub partition: i32,
    /// The schema version that they do not fit.
    pub version: i32,
    /// Where their copies go.
    pub target: Arc<Partition>,
    pub rows: Vec<DeadRow>,
}

/// The partition for copies of rows of `partition`; makes the topic if there is none.
pub async fn target(
    topics: &Arc<Topics>,
    storage: &Storage,
    topic: &Topic,
    partition: i32,
) -> Result<Arc<Partition>, TopicError> {
    let name = format!("{}{SUFFIX}", topic.name);
    let dead = match topics.get(&name) {
        Some(dead) => dead,
        None => match topics.create(&name, Some(topic.partitions), TopicConfigs::default()).await {
            Err(TopicError::AlreadyExists { name }) => topics.get(&name).ok_or(TopicError::Unknown { name })?,
            created => created?,
        },
    };
    let index = PartitionId(partition % dead.partitions.max(1));
    storage.partition(dead.id, index).ok_or(TopicError::Unknown { name })
}

/// The outcome of batches whose copies are written behind them. Goes on if nobody waits any more.
/// `letters` names the batches by their position among those that are appended.
pub fn follow(
    storage: Arc<Storage>,
    outcome: AppendFuture,
    letters: Vec<(usize, DeadLetters)>,
    acks: AckLevel,
) -> AppendFuture {
    if letters.is_empty() {
        return outcome;
    }
    let written = tokio::spawn(async move {
        let mut results = outcome.await;
        for (position, letters) in letters {
            let Some(result) = results.get_mut(position) else { continue };
            let Ok(appended) = result else { continue };
            if let Err(error) = write(&storage, &letters, appended, acks).await {
                // An idempotent producer sends the batch again, and the copies are written then.
                *result = Err(error);
            }
        }
        results
    });
    Box::pin(async move { written.await.unwrap_or_default() })
}

async fn write(
    storage: &Storage,
    letters: &DeadLetters,
    appended: &Appended,
    acks: AckLevel,
) -> Result<(), AppendError> {
    let failed = |error: BuildError| AppendError::LogUnavailable { reason: format!("dead letters: {error}") };
    let batches = batches(letters, appended.base_offset.0).map_err(failed)?;
    for result in storage.submit(batches, acks).await.await {
        result?;
    }
    Ok(())
}

fn batches(letters: &DeadLetters, base_offset: i64) -> Result<Vec<PendingAppend>, BuildError> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new();
    for (index, row) in letters.rows.iter().enumerate() {
        append(&mut builder, letters, row, base_offset)?;
        if builder.plain_len() > BATCH_BYTES || index + 1 == letters.rows.len() {
            let batch = BytesMut::from(std::mem::take(&mut builder).build()?);
            // Just built.
            if let Ok(header) = BatchHeader::parse(&batch) {
                let (partition, origin) = (letters.target.clone(), AppendOrigin::Coordinator);
                batches.push(PendingAppend::rows(partition, batch, header, origin));
            }
        }
    }
    Ok(batches)
}

fn append(builder: &mut BatchBuilder, letters: &DeadLetters, row: &DeadRow, base: i64) -> Result<(), BuildError> {
    let (partition, version) = (letters.partition.to_string(), letters.version.to_string());
    let offset = (base + i64::from(row.offset_delta)).to_string();
    let added = [
        ("weir.dlq.topic", letters.topic.name.as_str()),
        ("weir.dlq.partition", &partition),
        ("weir.dlq.offset", &offset),
        ("weir.dlq.schema.version", &version),
        ("weir.dlq.column", &row.column),
        ("weir.dlq.reason", &row.reason),
    ];
    let own = row.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
    let added = added.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_bytes())));
    let headers: Vec<_> = own.chain(added).collect();
    builder.append(row.key.as_deref(), row.value.as_deref(), &headers, row.timestamp)
}
