//! `__consumer_offsets` on our own log.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use weir_protocol::ids::{Offset, PartitionId, Timestamp};
use weir_protocol::records::{BatchBuilder, BatchHeader, DecompressLimits, batches, decode};
use weir_storage::log::{AckLevel, AppendOrigin, PendingAppend, ReadLimit, ReadRequest, Storage};

use super::coordinator::{LogRecord, OffsetsLog};
use crate::topics::Topic;

const READ_BYTES: usize = 1 << 20;

/// The internal topic as the coordinator uses it.
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
        let now = now();
        let mut builder = BatchBuilder::new();
        for (key, value) in &records {
            builder.append(Some(key), value.as_deref(), &[], now).map_err(|e| e.to_string())?;
        }
        let bytes = builder.build().map_err(|e| e.to_string())?;
        let header = BatchHeader::parse(&bytes).map_err(|e| e.to_string())?;
        let batch = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let pending =
            PendingAppend { partition: self.partition(partition)?, batch, header, origin: AppendOrigin::Coordinator };
        let results = self.storage.submit(vec![pending], AckLevel::Durable).await.await;
        match results.into_iter().next() {
            Some(Ok(appended)) => Ok(appended.base_offset),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("no result".to_owned()),
        }
    }

    async fn read_all(
        &self,
        partition: i32,
        visit: &mut (dyn FnMut(Offset, Bytes, Option<Bytes>) + Send),
    ) -> Result<(), String> {
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
                    if batch.header.attributes.is_control() || batch.header.record_count == 0 {
                        continue;
                    }
                    let decoded = decode(batch.bytes, &DecompressLimits::default()).map_err(|e| e.to_string())?;
                    for record in decoded.records() {
                        let record = record.map_err(|e| e.to_string())?;
                        if let Some(key) = record.key {
                            let value = record.value.map(Bytes::copy_from_slice);
                            visit(record.offset(&batch.header), Bytes::copy_from_slice(key), value);
                        }
                    }
                }
            }
        }
    }
}
