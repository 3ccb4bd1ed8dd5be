//! Coordinators' state on our own log: `__consumer_offsets`, and `__transaction_state` in the same way.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use weir_protocol::ids::{Offset, PartitionId, ProducerId, Timestamp};
use weir_protocol::records::{BatchBuilder, BatchHeader, ControlType, DecompressLimits, batches, decode};
use weir_storage::log::{AckLevel, AppendError, AppendOrigin, PendingAppend, ReadLimit, ReadRequest, Storage};

use super::coordinator::{LogEntry, LogRecord, OffsetsLog, TransactionalWriter};
use crate::topics::Topic;

const READ_BYTES: usize = 1 << 20;

/// An internal topic as its coordinator uses it.
pub struct StorageLog {
    storage: Arc<Storage>,
    topic: Arc<Topic>,
}

impl StorageLog {
    pub fn new(storage: Arc<Storage>, topic: Arc<Topic>) -> StorageLog {
        StorageLog { storage, topic }
    }

    fn partition(&self, partition: i32) -> Result<Arc<weir_storage::log::Partition>, String> {
        let found = self.storage.partition(self.topic.id, PartitionId(partition));
        found.ok_or_else(|| format!("{} has no partition {partition}", self.topic.name))
    }
}

impl StorageLog {
    async fn write(
        &self,
        partition: i32,
        mut builder: BatchBuilder,
        records: &[LogRecord],
        origin: AppendOrigin,
    ) -> Result<Offset, AppendError> {
        let now = now();
        let unavailable = |reason: String| AppendError::LogUnavailable { reason };
        for (key, value) in records {
            builder.append(Some(key), value.as_deref(), &[], now).map_err(|e| unavailable(e.to_string()))?;
        }
        let bytes = builder.build().map_err(|e| unavailable(e.to_string()))?;
        let header = BatchHeader::parse(&bytes).map_err(|e| unavailable(e.to_string()))?;
        let batch = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let partition = self.partition(partition).map_err(unavailable)?;
        let pending = PendingAppend::rows(partition, batch, header, origin);
        let results = self.storage.submit(vec![pending], AckLevel::Durable).await.await;
        let appended = results.into_iter().next().unwrap_or(Err(AppendError::ShuttingDown))?;
        Ok(appended.base_offset)
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_millis() as i64))
}

#[async_trait]
impl OffsetsLog for StorageLog {
    fn partitions(&self) -> i32 {
        self.topic.partitions
    }

    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, String> {
        let written = self.write(partition, BatchBuilder::new(), &records, AppendOrigin::Coordinator).await;
        written.map_err(|error| error.to_string())
    }

    async fn append_transactional(
        &self,
        partition: i32,
        records: Vec<LogRecord>,
        writer: TransactionalWriter,
    ) -> Result<Offset, AppendError> {
        let builder = BatchBuilder::new().producer(writer.producer_id, writer.epoch, -1).transactional();
        let origin = writer.guard.map_or(AppendOrigin::Client, AppendOrigin::Verified);
        self.write(partition, builder, &records, origin).await
    }

    async fn read_all(&self, partition: i32, visit: &mut (dyn FnMut(LogEntry) + Send)) -> Result<(), String> {
        let partition = self.partition(partition)?;
        let mut offset = partition.offsets().log_start;
        loop {
            let request =
                ReadRequest { offset, max_bytes: READ_BYTES, at_least_one: true, limit: ReadLimit::HighWatermark };
            let outcome = partition.read(request).await.map_err(|e| e.to_string())?;
            if outcome.bytes == 0 {
                return Ok(());
            }
            for chunk in &outcome.chunks {
                for batch in batches(chunk) {
                    let batch = batch.map_err(|e| e.to_string())?;
                    offset = batch.header.next_offset();
                    if batch.header.record_count == 0 {
                        continue;
                    }
                    let decoded = decode(batch.bytes, &DecompressLimits::default()).map_err(|e| e.to_string())?;
                    let producer_id = ProducerId(batch.header.producer_id);
                    let transaction_of = batch.header.attributes.is_transactional().then_some(producer_id);
                    for record in decoded.records() {
                        let record = record.map_err(|e| e.to_string())?;
                        let Some(key) = record.key else { continue };
                        if batch.header.attributes.is_control() {
                            let commit = ControlType::from_key(key) == Some(ControlType::Commit);
                            visit(LogEntry::Marker { producer_id, commit });
                            continue;
                        }
                        visit(LogEntry::Record {
                            offset: record.offset(&batch.header),
                            key: Bytes::copy_from_slice(key),
                            value: record.value.map(Bytes::copy_from_slice),
                            transaction_of,
                        });
                    }
                }
            }
        }
    }
}
